"""Imports of access logs: judged like hits of trackers, once, whatever becomes of the file and of the import."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path
from uuid import uuid4

import pytest

from analytics_core.db.hits import HitSource
from analytics_core.db.pool import Connection, connect
from analytics_core.db.segments import list_silent
from analytics_core.errors import ConfigError, Conflict, InvalidInput
from analytics_core.hits import HitFlag
from analytics_core.log_formats import LogFormat
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.spool_commands import record_lines
from ingest.log_files import LogFile
from ingest.log_import import BEYOND, NO_EPISODE, REFUSED, LogImport, LogSummary
from ingest.pipeline import Pipeline
from ingest.secrets import SecretStore, destroy_old_secrets
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, micros, write_segment
from tests.integration.ingest.test_dead_letters import BAD, refuse
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio

HOST = "cdn.example.com"
NOW_US = micros(NOW)
APP = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"


def nginx(
    at: dt.datetime,
    path: str = "/a.mp3",
    *,
    listener: int = 1,
    status: int = 200,
    sent: int = 28_800_000,
    agent: str = APP,
) -> bytes:
    agent = agent.replace('"', r"\x22")
    request = f'"GET {path} HTTP/1.1" {status} {sent} "-" "{agent}"'
    return f"192.0.{listener // 250}.{listener % 250} - - [{at:%d/%b/%Y:%H:%M:%S %z}] {request}\n".encode()


def log_file(path: Path, form: LogFormat = LogFormat.NGINX) -> LogFile:
    return LogFile(path, form, host=HOST if form is LogFormat.NGINX else None)


def make_import(
    ledger: Ledger,
    podcast: MadePodcast,
    *,
    conn: Connection | None = None,
    before: dt.date | None = None,
    replace: bool = False,
    keep_secrets: bool = True,
    max_lines: int = 50_000,
) -> LogImport:
    """Make a run as the command makes one: with secrets of its own."""
    pipeline = Pipeline(
        clock=ledger.clock,
        secrets=SecretStore(ledger.pool if keep_secrets else None, ledger.clock),
        own_hosts=("pod.example.org",),
        places=ledger.pipeline.places,
        metrics=ledger.metrics,
        source=HitSource.LOG,
    )
    return LogImport(
        conn or ledger.conn,
        pipeline,
        tenant_no=podcast.tenant.tenant_no,
        clock=ledger.clock,
        before=before,
        replace=replace,
        max_lines=max_lines,
    )


def told(summary: LogSummary) -> tuple[int, int, dict[str, int]]:
    return summary.lines, summary.hits, dict(summary.skipped)


async def test_requests_count_as_those_of_a_tracker_and_are_told_apart(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(
        nginx(minute(1), status=206, sent=2)
        + nginx(minute(2))
        + nginx(minute(3), listener=2, agent="Googlebot/2.1")
        + nginx(minute(3), "/b.mp3?utm_source=x", listener=3)
        + nginx(minute(4), listener=4, status=206, sent=1_000)
        + nginx(minute(4), listener=5, status=404)
        + nginx(minute(5), "/cover.jpg")
        + b"nonsense\n"
        + nginx(NOW + dt.timedelta(days=2))
        + nginx(NOW - dt.timedelta(days=4_000))
    )
    run = make_import(ledger, podcast)
    skipped = {"status": 1, "malformed": 1, "time": 2, NO_EPISODE: 1}
    looked = await run.look(log_file(path))
    assert told(looked) == (10, 5, skipped)
    assert looked.damage is not None
    assert (looked.damage.line, looked.damage.reason) == (8, "malformed")
    assert await ledger.count("ops.segments") == 0
    landed = await run.land(log_file(path))
    assert told(landed) == (10, 5, skipped)
    assert landed.days == looked.days == [DAY]
    a, b = podcast.episodes["a"], podcast.episodes["b"]
    assert [(row[1], row[2], row[3] == 0) for row in await ledger.hits()] == [
        (0, a, True), (1, a, True), (2, a, False), (3, b, True), (4, a, False),
    ]  # fmt: skip
    downloads = await ledger.downloads()
    assert [(row[1], row[5]) for row in downloads] == [(a, 1), (b, 3)]
    assert await run.count_downloads([DAY]) == 2
    await ledger.refresh()
    rows = await ledger.conn.fetch(
        "select key, sum(downloads) as n from app.metrics_daily where dimension = 'source' group by 1"
    )
    assert [tuple(row) for row in rows] == [("log", 2)]
    # The ledger of answers balances, and nobody is missed.
    entries = await ledger.conn.fetch("select what, sum(hits)::int as hits from ops.ledger_minutes group by 1")
    booked = {row["what"]: row["hits"] for row in entries}
    assert booked.pop("answered") == sum(booked.values()) == 5
    await ledger.conn.execute("insert into ops.ingest_status values ('spool', $1)", NOW + dt.timedelta(hours=1))
    assert await list_silent(ledger.conn, after=dt.timedelta(minutes=3)) == []


async def test_a_file_lands_once_and_goes_on_where_it_ended(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    path = tmp_path / "access.log"
    first = nginx(minute(1)) + nginx(minute(2), listener=2)
    path.write_bytes(first + nginx(minute(3), listener=3)[:-20])
    landed = await make_import(ledger, podcast).land(log_file(path))
    assert (landed.lines, landed.hits, landed.tail_bytes > 0) == (2, 2, True)
    again = await make_import(ledger, podcast).land(log_file(path))
    assert (again.lines, again.hits) == (0, 0)
    renamed = tmp_path / "access.log.1.gz"
    renamed.write_bytes(gzip.compress(first + nginx(minute(3), listener=3) + b"nonsense\n"))
    looked = await make_import(ledger, podcast).look(log_file(renamed))
    grown = await make_import(ledger, podcast).land(log_file(renamed))
    assert told(looked) == told(grown) == (2, 1, {"malformed": 1})
    assert grown.damage is not None
    assert grown.damage.line == 4
    assert [row[1] for row in await ledger.hits()] == [0, 1, 2]
    assert len(await ledger.downloads()) == 3


async def test_another_tenants_podcasts_stay_as_they_are(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, tmp_path: Path
) -> None:
    other = await make_podcast(database, await make_tenant(database, "two"), make_episode("c"))
    path = tmp_path / "access.log"
    path.write_bytes(nginx(minute(1)) + nginx(minute(2), "/c.mp3"))
    assert told(await make_import(ledger, podcast).land(log_file(path))) == (2, 1, {NO_EPISODE: 1})
    assert told(await make_import(ledger, other).land(log_file(path))) == (2, 1, {NO_EPISODE: 1})
    assert [row[2] for row in await ledger.hits()] == [podcast.episodes["a"], other.episodes["c"]]


async def test_what_is_no_more_the_same_file_is_refused(ledger: Ledger, podcast: MadePodcast, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(nginx(minute(1)) + nginx(minute(2)))
    await make_import(ledger, podcast).land(log_file(path))
    for changed in (nginx(minute(1)), nginx(minute(1)) + nginx(minute(2), "/other/longer.mp3") * 2):
        path.write_bytes(changed)
        with pytest.raises(InvalidInput, match="not the file any more"):
            await make_import(ledger, podcast).land(log_file(path))
    assert len(await ledger.hits()) == 2


class _Stopped(Exception):
    pass


async def test_an_interrupted_import_goes_on_and_portions_are_all_that_is_held(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"".join(nginx(minute(number % 60), listener=number) for number in range(25)))
    portions: list[int] = []

    def stop(lines: int) -> None:
        portions.append(lines)
        if len(portions) == 2:
            raise _Stopped

    with pytest.raises(_Stopped):
        await make_import(ledger, podcast, max_lines=10).land(log_file(path), tell=stop)
    assert len(await ledger.hits()) == 20
    rest = await make_import(ledger, podcast, max_lines=10).land(log_file(path), tell=portions.append)
    assert (rest.lines, rest.hits) == (5, 5)
    assert portions == [10, 10, 5, 0]
    assert [row[1] for row in await ledger.hits()] == list(range(25))
    assert len(await ledger.downloads()) == 25
    held = [portion.hits for portion in log_file(path).read(0, now_us=NOW_US, max_lines=4)]
    assert held == [4, 4, 4, 4, 4, 4, 1, 0]


async def test_of_two_imports_of_a_file_one_gives_way(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, tmp_path: Path
) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"".join(nginx(minute(number), listener=number) for number in range(4)))
    conn = await connect(database, Role.INGEST, application_name="test")
    other = make_import(ledger, podcast, conn=conn)
    run = make_import(ledger, podcast, max_lines=2)
    file = log_file(path)
    segment_id = file.segment_id(podcast.tenant.tenant_no)
    assert segment_id is not None
    row = await run._register(segment_id)
    portion = next(file.read(0, now_us=NOW_US))
    await other.land(log_file(path))
    with pytest.raises(Conflict) as refused:
        await run._land(file, portion, row, 0, LogSummary())
    assert refused.value.code == "in_use"
    await conn.close()
    assert len(await ledger.hits()) == 4


async def test_cloudfront_and_our_own_lines_land_too(ledger: Ledger, podcast: MadePodcast, tmp_path: Path) -> None:
    path = tmp_path / "E1.2026-11-02-11.gz"
    head = "#Version: 1.0\n#Fields: date time c-ip cs-method cs-uri-stem sc-status cs(User-Agent) x-host-header\n"
    line = f"2026-11-02\t11:00:05\t2001:db8::1\tGET\t/a.mp3\t200\tOvercast/3.0\t{HOST}\n"
    path.write_bytes(gzip.compress((head + line).encode()))
    assert told(await make_import(ledger, podcast).land(log_file(path, LogFormat.CLOUDFRONT))) == (3, 1, {})
    # Its columns are known behind its checkpoint as well.
    path.write_bytes(gzip.compress((head + line + line.replace("::1", ":1::1")).encode()))
    assert told(await make_import(ledger, podcast).land(log_file(path, LogFormat.CLOUDFRONT))) == (1, 1, {})
    named = f"pg={podcast.guid}"
    hits = [
        make_hit(minute(1), byte_range="bytes=0-", arguments=named),
        make_hit(minute(2), "cdn.example.com/new.mp3", arguments=named),
        make_hit(minute(3), "cdn.example.com/new.mp3", arguments=f"pg={uuid4()}"),
    ]
    spooled = tmp_path / "hits.jsonl"
    spooled.write_bytes(b"".join(record_lines(write_segment(tmp_path / "old", hits), addresses=True)))
    landed = await make_import(ledger, podcast).land(log_file(spooled, LogFormat.CASTLEDGER))
    assert (told(landed), landed.waiting) == ((3, 2, {NO_EPISODE: 1}), 1)
    assert (len(await ledger.downloads()), await ledger.count("ops.pending_hits where source = 2")) == (3, 1)


async def test_a_month_without_its_secret_gets_one_for_the_run(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    old = NOW - dt.timedelta(days=100)
    ledger.clock.advance(-dt.timedelta(days=100))
    write_segment(ledger.folder, [make_hit(old, "cdn.example.com/b.mp3")])
    await ledger.ship_all()
    ledger.clock.advance(dt.timedelta(days=100))
    await destroy_old_secrets(ledger.conn, now=NOW)
    # Published on 2026-10-01: what came before does not count, but is kept and keyed.
    paths = [tmp_path / name for name in ("one.log", "two.log")]
    paths[0].write_bytes(nginx(old) + nginx(old, listener=2))
    paths[1].write_bytes(nginx(old + dt.timedelta(hours=1)))
    run = make_import(ledger, podcast)
    for path in paths:
        await run.land(log_file(path))
    rows = await ledger.conn.fetch(
        "select listener_key, flags & $1 > 0 as rekeyed from ts.listener_events where source = 2", int(HitFlag.REKEYED)
    )
    assert (len(rows), len({row["listener_key"] for row in rows}), {row["rekeyed"] for row in rows}) == (3, 2, {True})
    assert await ledger.count("ops.days where rekeyed") == 1


async def test_days_that_trackers_have_counted_are_found(ledger: Ledger, podcast: MadePodcast, tmp_path: Path) -> None:
    write_segment(ledger.folder, [make_hit(minute(0), address="198.51.100.1")])
    await ledger.ship_all()
    path = tmp_path / "access.log"
    yesterday = NOW - dt.timedelta(days=1)
    path.write_bytes(nginx(yesterday) + nginx(minute(1)) + nginx(minute(2), listener=2))
    run = make_import(ledger, podcast)
    looks = [await run.look(log_file(path))]
    assert [(one.day, one.podcast_no) for one in await run.find_overlap(looks)] == [(DAY, podcast.podcast_no)]
    # From figures alone too, when the downloads are not kept any more.
    await ledger.refresh()
    assert await ledger.conn.execute("delete from ts.downloads") == "DELETE 1"
    assert [one.day for one in await run.find_overlap(looks)] == [DAY]
    until = make_import(ledger, podcast, before=DAY)
    looks = [await until.look(log_file(path))]
    assert (told(looks[0]), await until.find_overlap(looks)) == ((3, 1, {BEYOND: 2}), [])
    # What was imported itself is nothing that it overlaps with.
    await until.land(log_file(path))
    with path.open("ab") as file:
        file.write(nginx(yesterday, listener=9))
    assert await until.find_overlap([await until.look(log_file(path))]) == []
    assert (await until.land(log_file(path))).hits == 1


async def test_hits_that_the_database_refuses_stay_out_alone(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, tmp_path: Path
) -> None:
    await refuse(database, "ts.listener_events")
    path = tmp_path / "access.log"
    path.write_bytes(nginx(minute(1)) + nginx(minute(2), listener=2, agent=BAD.decode()) + nginx(minute(3), listener=3))
    assert told(await make_import(ledger, podcast).land(log_file(path))) == (3, 2, {REFUSED: 1})
    assert await ledger.count("ops.dead_letters") == 1
    assert len(await ledger.downloads()) == 2


async def test_a_torn_archive_lands_up_to_where_it_is_torn(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    lines = b"".join(nginx(minute(number % 60), listener=number) for number in range(3_000))
    packed = gzip.compress(lines)
    path = tmp_path / "access.log.gz"
    path.write_bytes(packed[: len(packed) // 2])
    landed = await make_import(ledger, podcast).land(log_file(path))
    assert landed.fault is not None
    assert 0 < landed.hits < 3_000
    path.write_bytes(packed)
    rest = await make_import(ledger, podcast).land(log_file(path))
    assert (landed.hits + rest.hits, rest.fault, len(await ledger.downloads())) == (3_000, None, 3_000)


async def test_a_file_without_a_line_and_one_that_is_not_there(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    path = tmp_path / "empty.log"
    path.write_bytes(b"")
    run = make_import(ledger, podcast)
    assert told(await run.look(log_file(path))) == told(await run.land(log_file(path))) == (0, 0, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        log_file(tmp_path / "gone.log")


async def test_too_long_lines_are_passed_over(ledger: Ledger, podcast: MadePodcast, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(nginx(minute(1)) + b"x" * 200_000 + b"\n" + nginx(minute(2), listener=2))
    assert told(await make_import(ledger, podcast).land(log_file(path))) == (3, 2, {"too_long": 1})
