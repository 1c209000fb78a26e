"""``castledger retention``: what is kept for how long, seen and set by command."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from analytics_core.audit import Actor
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from castledger_server.data_dir import RunningUp, write_running_up
from tests.factories import make_tenant
from tests.integration.records import read_entries


def test_a_tenants_time_is_set_listed_and_taken_back(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "POSTGRES_HOST"):
        monkeypatch.delenv(name, raising=False)
    asyncio.run(make_tenant(database, "studio"))
    # Without a setting, the database is that of a running `up`.
    running = RunningUp(pid=1, database_url=str(database.url), answers={}, admin_urls={}, children={})
    write_running_up(tmp_path, running)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["retention", *arguments, "--data-dir", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out.strip(), said.err.strip()

    assert run("ls")[1].split(maxsplit=1) == ["studio", "25 months (default)"]
    assert run("set", "studio", "90") == (0, "hits of studio are kept for 90 days", "")
    assert run("ls")[1].split(maxsplit=1) == ["studio", "90 days"]
    for days in ("29", "7321", "x", "9" * 5000):
        code, _, complaint = run("set", "studio", days)
        assert code == 2
        assert "is from 30 to 7320" in complaint
    code, _, complaint = run("set", "nobody", "90")
    assert code == 2
    assert "there is no tenant 'nobody'" in complaint
    assert run("set", "studio", "default") == (0, "hits of studio are kept as long as those of all", "")
    assert run("ls")[1].split(maxsplit=1) == ["studio", "25 months (default)"]
    # What was refused is not on record.
    entries = asyncio.run(read_entries(database, "studio"))
    assert [(entry.actor, entry.action, entry.before, entry.after) for entry in entries] == [
        (Actor.COMMAND, "retention.set", {"hits_days": 90}, {"hits_days": None}),
        (Actor.COMMAND, "retention.set", {"hits_days": None}, {"hits_days": 90}),
    ]
