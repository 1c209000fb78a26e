"""``castledger profile``: what tenants' days are judged by, seen and chosen by command."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from analytics_core.profiles import DEFAULT_PROFILE, PROFILES
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.factories import make_tenant

OWN = """
[profiles.house]
base = "castledger-1"
seconds = 30
"""


def test_profiles_are_listed_and_used_from_the_next_day_on(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "profiles.toml"
    own.write_text(OWN)
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    monkeypatch.setenv("CASTLEDGER_PROFILES", str(own))
    asyncio.run(make_tenant(database))

    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = main(["profile", *arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.strip()

    code, lines, _ = run("ls")
    assert code == 0
    assert [line.split()[0] for line in lines if line][:7] == [
        *(profile.rules_version for profile in PROFILES.values()),
        "house.1",
    ]
    assert sum("For comparing alone." in line for line in lines) == 3
    assert lines[-1].split() == ["one", DEFAULT_PROFILE.rules_version, "none"]

    code, lines, _ = run("use", "house", "--tenant", "one")
    first = dt.date.fromisoformat(lines[0].split()[-3])
    assert (code, lines) == (
        0,
        [
            f"hits of one are judged by house.1 from {first} (UTC) on",
            f"days before stay as they are: castledger recount --from … --to {first} --profile house --tenant one",
        ],
    )
    assert 0 < (first - dt.datetime.now(dt.UTC).date()).days <= 1
    assert run("ls")[1][-1].split() == ["one", "house.1", str(first), "none"]
    assert run("use", "odl", "--tenant", "two") == (
        2,
        [],
        "castledger: --tenant: there is no tenant 'two'; `castledger profile ls` names them",
    )
    assert run("use", "haus")[2].startswith(
        "castledger: profile: there is no profile 'haus'; is house meant? There are"
    )
