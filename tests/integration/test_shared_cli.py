"""`castledger lists shared`: the file changed a line at a time, whole or not at all, with a record."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from pathlib import Path

import msgspec
import pytest

from analytics_core.audit import Actor
from analytics_core.db.pool import connect
from analytics_core.db.tenants import create_tenant
from analytics_core.errors import InvalidInput
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.shared_addresses import SharedEntry, parse_shared_network
from castledger_server.cli import main
from castledger_server.data_dir import RunningUp, write_running_up
from castledger_server.shared_list import Change, SharedList
from tests.days import find_today
from tests.integration.records import read_entries

AT = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)


@pytest.fixture
def today() -> dt.date:
    """The day on which all of a test happens."""
    return find_today()


@pytest.fixture
def hand_made(today: dt.date) -> str:
    """A list as people write them, of which one entry is due."""
    return f"""# ours, by region

203.0.113.0/24   {today - dt.timedelta(days=80)}   Dormitory Northside
2001:db8::/48 {today} Campus, by its network office  # since May
"""


def shared(tmp_path: Path, *arguments: str) -> int:
    return main(["lists", "shared", *arguments, "--data-dir", str(tmp_path)])


def text(tmp_path: Path) -> str:
    return (tmp_path / "lists" / "shared.txt").read_text()


def record(tmp_path: Path) -> list[Change]:
    lines = (tmp_path / "lists" / "shared.record.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Change) for line in lines]


def write(tmp_path: Path, content: str) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "shared.txt").write_text(content)


def test_entries_are_added_listed_validated_and_taken_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], today: dt.date
) -> None:
    assert shared(tmp_path, "ls") == 0
    assert "there is nothing in" in capsys.readouterr().out
    assert shared(tmp_path, "add", "192.0.2.77/24", "--note", " Office,  told by Ada ", "--by", "Bob") == 0
    assert "added: 192.0.2.0/24 (Office, told by Ada)" in capsys.readouterr().out
    assert shared(tmp_path, "ls") == 0
    assert f"192.0.2.0/24  {today}  acts for 90 days  Office, told by Ada" in capsys.readouterr().out
    assert shared(tmp_path, "validate", "192.0.2.0/24") == 0
    assert shared(tmp_path, "rm", "192.0.2.0/24", "--by", "Cyd") == 0
    assert [(change.action, change.network) for change in record(tmp_path)] == [
        ("add", "192.0.2.0/24"),
        ("validate", "192.0.2.0/24"),
        ("rm", "192.0.2.0/24"),
    ]
    assert [record(tmp_path)[place].by for place in (0, 2)] == ["Bob", "Cyd"]
    # Without a name it is the account's.
    assert record(tmp_path)[1].by
    assert record(tmp_path)[0].validated == today
    assert all(line.startswith("#") for line in text(tmp_path).splitlines())


def test_comments_order_and_other_lines_stay_as_they_are(tmp_path: Path, hand_made: str, today: dt.date) -> None:
    write(tmp_path, hand_made)
    assert shared(tmp_path, "validate", "203.0.113.0/24") == 0
    before, after = hand_made.splitlines(), text(tmp_path).splitlines()
    assert after == [*before[:2], f"203.0.113.0/24           {today}  Dormitory Northside", before[3]]
    assert shared(tmp_path, "rm", "2001:DB8::/48") == 0
    assert text(tmp_path).splitlines() == after[:3]


def test_all_are_validated_at_once(tmp_path: Path, hand_made: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, hand_made)
    assert shared(tmp_path, "ls") == 1
    assert "acts for 10 days, validate it again  Dormitory" in capsys.readouterr().out
    assert shared(tmp_path, "validate", "--all", "--by", "Ada") == 0
    assert shared(tmp_path, "ls") == 0
    assert [(change.by, change.network) for change in record(tmp_path)] == [
        ("Ada", "203.0.113.0/24"),
        ("Ada", "2001:db8::/48"),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "192.0.2.1", "--note", "Office", "--dry-run"),
        ("validate", "--all", "--dry-run"),
        ("rm", "203.0.113.0/24", "--dry-run"),
    ],
)
def test_a_dry_run_changes_nothing(
    tmp_path: Path, hand_made: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, hand_made)
    assert shared(tmp_path, *arguments) == 0
    assert "would be" in capsys.readouterr().out
    assert text(tmp_path) == hand_made
    assert not (tmp_path / "lists" / "shared.record.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("add", "10.0.0.0/16", "--note", "Office"), "CIDR: '10.0.0.0/16' is private"),
        (("add", "203.0.0.0/8", "--note", "Office"), "wider than /16"),
        (("add", "office", "--note", "Office"), "CIDR: 'office' is no network"),
        (("add", "192.0.2.1", "--note", "  "), "--note: says who"),
        (("add", "192.0.2.1", "--note", "x" * 201), "--note: is at most 200 characters"),
        (("add", "192.0.2.1", "--note", "Office", "--by", " "), "--by: is a name"),
        (("add", "203.0.113.9/24", "--note", "Office"), "is in the list; to validate it again"),
        (("validate", "192.0.2.0/24"), "no such entry of the list: 192.0.2.0/24"),
        # A part of an entry is no entry.
        (("rm", "203.0.113.0/25"), "no such entry of the list: 203.0.113.0/25"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    tmp_path: Path, hand_made: str, arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, hand_made)
    assert shared(tmp_path, *arguments) != 0
    assert reason in capsys.readouterr().err
    assert text(tmp_path) == hand_made


@pytest.mark.parametrize("arguments", [("ls",), ("validate", "--all"), ("add", "192.0.2.1", "--note", "Office")])
def test_a_damaged_list_is_named_and_left_alone(
    tmp_path: Path, hand_made: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = hand_made + "198.51.100.\n"
    write(tmp_path, damaged)
    assert shared(tmp_path, *arguments) != 0
    assert "shared.txt:5" in capsys.readouterr().err
    assert text(tmp_path) == damaged


def test_changes_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    def add(host: int) -> None:
        entry = SharedEntry(parse_shared_network(f"192.0.2.{host}"), AT.date(), "Office")
        SharedList(tmp_path).add(entry, by="Ada", at=AT)

    threads = [threading.Thread(target=add, args=(host,)) for host in range(1, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(SharedList(tmp_path).entries(AT.date())) == 12


def test_a_list_that_is_full_stays_as_it_is(tmp_path: Path) -> None:
    lines = "".join(f"192.{168 - at // 256}.{at % 256}.1 2026-11-01 Office\n" for at in range(10_000))
    lines = lines.replace("192.168.", "193.168.")
    (tmp_path / "shared.txt").write_text(lines)
    entry = SharedEntry(parse_shared_network("198.51.100.1"), AT.date(), "Office")
    with pytest.raises(InvalidInput, match="at most 10,000 networks"):
        SharedList(tmp_path).add(entry, by="Ada", at=AT)
    assert (tmp_path / "shared.txt").read_text() == lines


def test_what_was_changed_is_on_record_of_the_installation(
    database: DatabaseSettings,
    tmp_path: Path,
    today: dt.date,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DATABASE_URL", "POSTGRES_HOST"):
        monkeypatch.delenv(name, raising=False)
    add = ("add", "192.0.2.0/24", "--note", "Office", "--by", "Ada")
    assert shared(tmp_path, *add) == 0
    assert "done, and not on record: no database is known here" in capsys.readouterr().err
    running = RunningUp(pid=1, database_url=str(database.url), answers={}, admin_urls={}, children={})
    write_running_up(tmp_path, running)
    assert shared(tmp_path, "validate", "--all") == 0
    assert "not on record: the database has no tenant yet" in capsys.readouterr().err
    asyncio.run(make_installation(database))
    assert shared(tmp_path, "rm", "192.0.2.0/24", "--dry-run") == 0
    assert shared(tmp_path, "rm", "192.0.2.0/24") == 0
    assert shared(tmp_path, *add) == 0
    assert shared(tmp_path, *add) == 2
    entries = asyncio.run(read_entries(database, "home"))
    assert [(entry.action, entry.resource_id, entry.after) for entry in entries] == [
        ("shared_address.add", "192.0.2.0/24", {"validated": str(today)}),
        ("shared_address.remove", "192.0.2.0/24", None),
    ]
    assert {entry.actor for entry in entries} == {Actor.COMMAND}


async def make_installation(database: DatabaseSettings) -> None:
    conn = await connect(database, Role.AUTH, application_name="test")
    try:
        await create_tenant(conn, slug="home", name="Home", is_installation=True)
    finally:
        await conn.close()
