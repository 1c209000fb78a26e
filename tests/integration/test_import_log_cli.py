"""``castledger import-log``: what it refuses before anything lands, what it tells, and what becomes of final days."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from analytics_core.db.pool import connect, open_pool
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.factories import make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import NOW, Ledger

TODAY = dt.datetime.now(dt.UTC)
AT = TODAY.replace(hour=12, minute=0, second=0, microsecond=0) - dt.timedelta(days=10)
ONE_DAY = dt.timedelta(days=1)
DAYS = [(AT + number * ONE_DAY).date() for number in range(5)]


def line(at: dt.datetime, listener: int = 1, status: int = 200) -> str:
    request = f'"GET /a.mp3 HTTP/1.1" {status} 28800000 "-" "Overcast/3.0"'
    return f"192.0.2.{listener} - - [{at:%d/%b/%Y:%H:%M:%S %z}] {request}\n"


async def _fill(database: DatabaseSettings, folder: Path, *, live: list[dt.datetime]) -> None:
    await make_podcast(database, await make_tenant(database), make_episode("a", published_at=AT - 30 * ONE_DAY))
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    conn = await connect(database, Role.INGEST, application_name="test")
    if live:
        write_segment(folder, [make_hit(at, address="198.51.100.1") for at in live])
        ledger = Ledger(pool, conn, folder)
        ledger.clock.advance(TODAY - NOW)
        await ledger.ship_all()
    await conn.close()
    await pool.close()


async def _finalise(database: DatabaseSettings) -> None:
    conn = await connect(database, Role.INGEST, application_name="test")
    await conn.execute("update ops.days set final_at = now()")
    await conn.close()


class Command:
    """The command on a database, with a log of one's own."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self._capsys = capsys

    def run(self, *arguments: str) -> tuple[int, list[str], str]:
        return self._run("import-log", "--format", "nginx", "--host", "cdn.example.com", *arguments, str(self.path))

    def replaced(self, *arguments: str) -> tuple[int, list[str], str]:
        return self._run("replaced", *arguments)

    def _run(self, *arguments: str) -> tuple[int, list[str], str]:
        code = main(list(arguments))
        said = self._capsys.readouterr()
        return (
            code,
            said.out.replace(f"{self.path}", "LOG").splitlines(),
            said.err.strip().replace(str(self.path), "LOG"),
        )


@pytest.fixture
def command(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    monkeypatch.setenv("CASTLEDGER_DATA_DIR", str(tmp_path / "data"))
    return Command(tmp_path / "access.log", capsys)


def test_a_log_is_told_by_reason_and_imported_once(
    database: DatabaseSettings, tmp_path: Path, command: Command
) -> None:
    asyncio.run(_fill(database, tmp_path / "spool", live=[]))
    command.path.write_text(line(AT) + line(AT, 2) + line(AT + ONE_DAY) + line(AT, status=404) + "nonsense\n")
    told = [
        "LOG: 5 lines, 3 hits",
        "             1  status: the file was not given: errors, and 304",
        "             1  malformed: not of the format, the first in line 5",
    ]
    days = f"on 2 days from {DAYS[0]} to {DAYS[1]}"
    assert command.run("--dry-run") == (0, [*told, f"3 hits {days} would be imported"], "")
    assert command.run("--strict") == (2, [], "castledger: LOG, line 5: not of the format; nothing was imported")
    done = f"3 hits {days} were imported; 3 downloads of these days are theirs"
    assert command.run("--tenant", "one") == (0, [*told, done], "")
    nothing = ["LOG: 0 lines, 0 hits", "there was no new hit to import"]
    assert command.run() == (0, nothing, "")


def test_what_trackers_have_counted_is_not_counted_again(
    database: DatabaseSettings, tmp_path: Path, command: Command
) -> None:
    asyncio.run(_fill(database, tmp_path / "spool", live=[AT + number * ONE_DAY for number in range(1, 5)]))
    command.path.write_text("".join(line(AT + number * ONE_DAY) for number in range(5)))
    assert command.run() == (
        2,
        [],
        f"castledger: trackers have counted Podcast on {DAYS[1]}, Podcast on {DAYS[2]}, Podcast on {DAYS[3]} and 1 more"
        ", so that listeners would count twice; nothing was imported. "
        f"Import what is before, with --before {DAYS[1]}, or have the log count instead, with --replace",
    )
    assert command.run("--before", f"{DAYS[1]}") == (
        0,
        [
            "LOG: 5 lines, 1 hits",
            "             4  beyond: on or behind the day of --before",
            f"1 hits on {DAYS[0]} were imported; 1 downloads of these days are theirs",
        ],
        "",
    )


def test_a_log_counts_instead_of_trackers_when_it_is_told_to_and_that_is_undone(
    database: DatabaseSettings, tmp_path: Path, command: Command
) -> None:
    asyncio.run(_fill(database, tmp_path / "spool", live=[AT + number * ONE_DAY for number in range(3)]))
    # The last day of the log ends before a tracker's hit of that day.
    command.path.write_text(
        line(AT) + line(AT, 2) + line(AT + ONE_DAY, 3) + line(AT + 2 * ONE_DAY - ONE_DAY / 24, 4) + line(AT, 5, 404)
    )
    told = ["LOG: 5 lines, 4 hits", "             1  status: the file was not given: errors, and 304"]
    assert command.run("--replace", "--dry-run") == (
        0,
        [
            *told,
            f"4 hits on 3 days from {DAYS[0]} to {DAYS[2]} would be imported",
            "day           trackers       log  podcast",
            f"{DAYS[0]}           1         2  Podcast",
            f"{DAYS[1]}           1         1  Podcast",
            f"{DAYS[2]}           1         1  Podcast (not all of the day is in the log: trackers go on counting)",
        ],
        "",
    )
    assert command.run("--reason", "")[2] == "castledger: --reason: is a line of 1 to 500 characters"
    head = "tenant              day               hits  downloads               strict"
    assert command.run("--replace", "--reason", "the host knows better") == (
        1,
        [
            *told,
            f"trackers go on counting Podcast on {DAYS[2]}: trackers counted from {DAYS[2]}T12:00Z to {DAYS[2]}T12:00Z"
            f", the log goes from {DAYS[0]}T12:00Z to {DAYS[2]}T11:00Z; give the files before or behind as well",
            head,
            f"one                 {DAYS[0]}           3  1 → 2                   1 → 2",
            f"one                 {DAYS[1]}           2  1 → 1                   1 → 1",
            "the log counts instead of trackers on 2 days; `castledger replaced undo` takes that back",
            f"4 hits on 3 days from {DAYS[0]} to {DAYS[2]} were imported; 3 downloads of these days are theirs",
        ],
        "",
    )
    days = ["--from", f"{DAYS[0]}", "--to", f"{DAYS[4]}"]

    def replaced(*arguments: str) -> tuple[int, list[str]]:
        code, out, _ = command.replaced(*arguments)
        return code, out

    code, listed = replaced("ls", *days)
    assert (code, [row[:40].split() for row in listed]) == (
        0,
        [
            ["tenant", "day", "counts"],
            ["one", f"{DAYS[0]}", "log"],
            ["one", f"{DAYS[1]}", "log"],
            ["one", f"{DAYS[2]}", "trackers"],
        ],
    )
    back = [
        head,
        f"one                 {DAYS[0]}           3  2 → 1                   2 → 1",
        f"one                 {DAYS[1]}           2  1 → 1                   1 → 1",
    ]
    assert replaced("undo", *days, "--dry-run") == (0, [*back, "trackers would count again on 2 days"])
    assert replaced("undo", *days) == (0, [*back, "trackers count again on 2 days"])
    assert replaced("undo", *days) == (0, ["no log counts instead of trackers on these days"])
    assert command.replaced("ls", *days, "--podcast", "x")[2].startswith("castledger: --podcast: is no podcast's id")


def test_what_comes_late_for_final_days_is_taken_in_when_asked_to(
    database: DatabaseSettings, tmp_path: Path, command: Command
) -> None:
    asyncio.run(_fill(database, tmp_path / "spool", live=[]))
    command.path.write_text(line(AT))
    assert command.run()[0] == 0
    asyncio.run(_finalise(database))
    with command.path.open("a") as file:
        file.write(line(AT, 2))
    late = [
        "LOG: 1 lines, 1 hits",
        # The first listener's is of the same file.
        f"1 hits on {DAYS[0]} were imported; 1 downloads of these days are theirs",
        "1 hits came late for 1 final days, and count once they are taken in:",
        f"  castledger restate --from {DAYS[0]} --to {DAYS[1]} --tenant one --reason 'imported logs'",
    ]
    assert command.run() == (0, late, "")
    with command.path.open("a") as file:
        file.write(line(AT, 3))
    assert command.run("--restate") == (0, [*late[:2], "2 late hits of 1 final days were taken in"], "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--before", "soon"], "--before: is a date such as 2026-11-01, not 'soon'"),
        (["--host", "localhost"], "--host: has to be a public name: addresses and reserved names are never accepted"),
        (["--host", "cdn..example"], "--host: is no host name such as cdn.example.com"),
        (["--format", "castledger"], "--host: is not for this format: its lines name their hosts"),
        (["--tenant", "nobody"], "--tenant: there is no tenant 'nobody'; `castledger retention ls` names them"),
        ([], "--tenant: is needed: `castledger retention ls` names them"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    database: DatabaseSettings, command: Command, arguments: list[str], complaint: str
) -> None:
    for slug in ("one", "two"):
        asyncio.run(make_tenant(database, slug))
    command.path.write_text(line(AT))
    assert command.run(*arguments) == (2, [], f"castledger: {complaint}")


def test_a_file_that_is_not_there_is_named(command: Command) -> None:
    assert command.run() == (2, [], "castledger: LOG: cannot be read (No such file or directory)")
