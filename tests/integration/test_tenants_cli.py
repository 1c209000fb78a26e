"""``castledger tenants``: made, limited, suspended and closed by command, over a running API."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from analytics_core.api_keys import is_well_formed
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.api_processes import make_owner_key, start

Run: TypeAlias = Callable[..., tuple[int, list[str], str]]


class Served(NamedTuple):
    """A running API with the owner's key."""

    url: str
    key: str

    def commands(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
        """Make the command against it, which the environment names."""
        monkeypatch.setenv("CASTLEDGER_API_URL", self.url)
        monkeypatch.setenv("CASTLEDGER_API_KEY", self.key)

        def call(*arguments: str) -> tuple[int, list[str], str]:
            code = main(["tenants", *arguments])
            said = capsys.readouterr()
            return code, said.out.splitlines(), said.err.strip()

        return call


@contextlib.contextmanager
def serve(database: DatabaseSettings, folder: Path) -> Iterator[Served]:
    key = make_owner_key(database)
    with start(folder, DATABASE_URL=str(database.url)) as running:
        yield Served(running.url, key)


@pytest.fixture
def run(
    database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    with serve(database, tmp_path) as served:
        yield served.commands(monkeypatch, capsys)


@pytest.fixture(scope="module")
def untouched(untouched_database: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """What refuses all that it is told."""
    with serve(untouched_database, tmp_path_factory.mktemp("api")) as served:
        yield served


def test_a_tenant_is_made_limited_suspended_and_closed(run: Run) -> None:
    code, (key,), told = run("add", "--slug", "studio", "--name", "Night Shift", "--owner-key")
    assert (code, is_well_formed(key)) == (0, True)
    assert told.startswith("castledger: the tenant studio is made (")
    assert key not in told
    assert run("add", "--slug", "studio", "--name", "x", "--owner-key")[0] == 1
    code, (said,), _ = run("add", "--slug", "other", "--name", "Other", "--owner-email", "ann@example.com")
    assert said.endswith("ann@example.com is invited by mail and owns it once they accept")
    assert [line.split()[0] for line in run("ls")[1]] == ["slug", "home", "studio", "other"]
    assert run("ls")[1][1].endswith("active, the installation's own")

    assert run("quota", "studio", "links=2", "api_keys=5")[0] == 0
    dry = run("quota", "studio", "links/day=1", "links=unlimited", "--dry-run")[1]
    assert dry[0] == "studio would have:"
    assert [" ".join(line.split()) for line in dry[1:]] == [
        "api_keys 1 of 5",
        "links/day 0 of 1",
        "links 0 no limit",
        "members 0 no limit",
        "podcasts 0 no limit",
    ]
    shown = run("show", "studio")[1]
    assert "  links                        0 of 2" in shown
    assert "  api_keys                     1 of 5" in shown

    assert run("suspend", "studio") == (0, ["studio is suspended"], "")
    assert run("resume", "studio") == (0, ["studio is active"], "")
    assert run("close", "studio", "--dry-run")[1][0].startswith("studio would be read alone, and erased in 30 days")
    assert run("close", "studio")[2].startswith("castledger: --yes: is needed")
    code, (said,), _ = run("close", "studio", "--yes", "--days", "7")
    assert code == 0
    assert "(closed by the installation); `castledger tenants resume studio`" in said
    assert run("close", "home", "--yes")[2].startswith("castledger: the installation's own tenant can neither")
    assert run("resume", "studio") == (0, ["studio is active"], "")
    assert "only the installation's own tenant does this" in run("ls", "--api-key", key)[2]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show", "No Slug"], "SLUG: has 1 to 63 characters"),
        (["suspend", "nobody"], "SLUG: there is no tenant 'nobody'; `castledger tenants ls` names them"),
        (["add", "--slug", "A", "--name", "x", "--owner-key"], "--slug: has 1 to 63 characters"),
        (["add", "--slug", "a", "--name", "\x07", "--owner-key"], "--name: "),
        (["quota", "home", "links"], "QUOTA: is such as links=100"),
        (["quota", "home", "listens=1"], "QUOTA: there is no metric 'listens'; there are api_keys, links"),
        (["quota", "home", "links/year=1"], "QUOTA: there is no period 'year'"),
        (["quota", "home", "links=-1"], "QUOTA: a limit is from 0 to 1000000000, or `unlimited`, not '-1'"),
        (["quota", "home", "links=1", "links/total=2"], "QUOTA: is given twice for the same thing"),
    ],
)
def test_what_cannot_be_read_is_named(
    untouched: Served,
    arguments: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said, told = untouched.commands(monkeypatch, capsys)(*arguments)
    assert (code, said) == (2, [])
    assert told.startswith(f"castledger: {complaint}")


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("ls", "show", "add", "suspend", "resume", "quota", "close"):
        with pytest.raises(SystemExit):
            main(["tenants", action, "--help"])
        assert f"  castledger tenants {action}" in capsys.readouterr().out
