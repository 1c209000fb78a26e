"""A log that counts instead of trackers: all or nothing a day, and back, whatever lands meanwhile."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.day_sources import choose_source, flag_replaced_hits, list_day_sources, note_day_sources
from analytics_core.db.hits import HitSource, hold_days_open
from analytics_core.db.pool import connect
from analytics_core.db.restating import NotRestated, RestatedDay
from analytics_core.hits import HitFlag
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.log_replacing import by_day, is_covered
from ingest.log_import import LogImport, LogSummary
from ingest.replacing import change_sources
from ingest.restatements import DayOutcome
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, write_segment
from tests.integration.ingest.test_log_import import log_file, make_import, nginx
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio

ONE_DAY = dt.timedelta(days=1)


class Count(NamedTuple):
    """What makes a download, as it is stored."""

    episode_no: int
    source: int
    evidence: int


async def counted(ledger: Ledger) -> list[Count]:
    rows = await ledger.conn.fetch("select episode_no, source, evidence from ts.downloads order by 1, 2, 3")
    return [Count(*row) for row in rows]


async def by_hand(ledger: Ledger) -> list[tuple[object, ...]]:
    """Count downloads from the hits, hit by hit, with the source of each podcast's day as it is noted."""
    rows = await ledger.conn.fetch(
        "select (e.occurred_at at time zone 'UTC')::date as day, e.podcast_no, e.episode_no, e.listener_key,"
        " e.evidence, e.occurred_at, e.segment_no, e.ordinal, e.source, e.verdict, e.flags from ts.listener_events e"
    )
    sources = {
        (row["day"], row["podcast_no"]): row["source"]
        for row in await ledger.conn.fetch("select day, podcast_no, source from ops.day_sources")
    }
    best: dict[tuple[object, ...], tuple[int, dt.datetime, int, int]] = {}
    for row in rows:
        counts = sources.get((row["day"], row["podcast_no"]), row["source"])
        if row["verdict"] or not row["evidence"] or row["flags"] & HitFlag.LATE or row["source"] != counts:
            continue
        key = (row["day"], row["episode_no"], row["listener_key"])
        merit = (-row["evidence"], row["occurred_at"], row["segment_no"], row["ordinal"])
        best[key] = min(best.get(key, merit), merit)
    return sorted((*key, at, segment, ordinal, -less) for key, (less, at, segment, ordinal) in best.items())


async def import_instead(
    ledger: Ledger, podcast: MadePodcast, *paths: Path
) -> tuple[LogImport, list[LogSummary], list[DayOutcome]]:
    """Do what the command does with ``--replace``."""
    run = make_import(ledger, podcast, replace=True)
    looks = [await run.look(log_file(path)) for path in paths]
    live = await run.find_overlap(looks)
    await run.hold_back(live)
    for path in paths:
        await run.land(log_file(path))
    covered = [one for one in live if is_covered(one, looks)]
    if not covered:
        return run, looks, []
    return run, looks, await change(ledger, podcast, by_day(covered), HitSource.LOG)


async def change(
    ledger: Ledger, podcast: MadePodcast, days: dict[dt.date, list[int]], source: HitSource, *, dry_run: bool = False
) -> list[DayOutcome]:
    return await change_sources(
        ledger.conn,
        podcast.tenant.tenant_no,
        days,
        source=source,
        reason="test",
        origin="command",
        clock=ledger.clock,
        dry_run=dry_run,
    )


@pytest.fixture
async def other(database: DatabaseSettings, podcast: MadePodcast) -> MadePodcast:
    """Another podcast of the same tenant, of which no log tells."""
    return await make_podcast(database, podcast.tenant, make_episode("c"))


async def ship(ledger: Ledger, *hits: tuple[int, str, str]) -> None:
    """Land hits of a tracker: at a minute, for an episode, from an address."""
    made = [make_hit(minute(at), f"cdn.example.com/{name}.mp3", address=address) for at, name, address in hits]
    write_segment(ledger.folder, made)
    await ledger.ship_all()


async def test_a_log_counts_instead_of_trackers_and_they_count_again(
    ledger: Ledger, podcast: MadePodcast, other: MadePodcast, tmp_path: Path
) -> None:
    await ship(ledger, (0, "a", "192.0.0.1"), (1, "b", "192.0.0.2"), (2, "c", "192.0.0.3"))
    before = await ledger.downloads()
    path = tmp_path / "access.log"
    path.write_bytes(nginx(minute(0)) + nginx(minute(1), listener=7) + nginx(minute(2), listener=8))
    _, _, outcomes = await import_instead(ledger, podcast, path)
    a, b, c = podcast.episodes["a"], podcast.episodes["b"], other.episodes["c"]
    assert await counted(ledger) == [Count(a, 2, 3), Count(a, 2, 3), Count(a, 2, 3), Count(c, 1, 3)]
    # Two of trackers are replaced, three of the log count now.
    assert outcomes == [DayOutcome(DAY, RestatedDay(DAY, 5, 3, 4, 3, 4))]
    await ledger.refresh()
    rows = await ledger.conn.fetch(
        "select key, sum(downloads) from app.metrics_daily where dimension = 'source' group by 1"
    )
    assert {row[0]: row[1] for row in rows} == {"log": 3, "prefix": 1}
    # Nothing is changed by a second one, and nothing overlaps any more.
    run, looks, again = await import_instead(ledger, podcast, path)
    assert (again, await run.find_overlap(looks)) == ([], [])
    # Back: the very rows of before.
    days = {DAY: [podcast.podcast_no]}
    dry = await change(ledger, podcast, days, HitSource.PREFIX, dry_run=True)
    assert await counted(ledger) == [Count(a, 2, 3), Count(a, 2, 3), Count(a, 2, 3), Count(c, 1, 3)]
    assert await change(ledger, podcast, days, HitSource.PREFIX) == dry
    assert await ledger.downloads() == before
    assert sorted(one.episode_no for one in await counted(ledger)) == sorted([a, b, c])
    assert await change(ledger, podcast, days, HitSource.PREFIX) == []
    # And forth once more, by the same file.
    _, _, outcomes = await import_instead(ledger, podcast, path)
    assert [one.outcome for one in outcomes] == [RestatedDay(DAY, 5, 3, 4, 3, 4)]
    records = await ledger.conn.fetch("select reason, origin, state, finished_at is not null from app.restatements")
    assert [tuple(row) for row in records] == [("test", "command", "done", True)] * 3


async def test_what_lands_later_counts_only_where_its_source_does(
    ledger: Ledger, podcast: MadePodcast, other: MadePodcast, tmp_path: Path
) -> None:
    await ship(ledger, (0, "a", "192.0.0.1"))
    path = tmp_path / "access.log"
    path.write_bytes(nginx(minute(0)))
    await import_instead(ledger, podcast, path)
    # A tracker's later hit on the same day is kept and flagged, that of another podcast counts.
    await ship(ledger, (5, "a", "192.0.0.9"), (6, "c", "192.0.0.9"))
    flags = await ledger.conn.fetch(
        "select source, flags & 2048 > 0 from ts.listener_events order by occurred_at, source"
    )
    assert [tuple(row) for row in flags] == [(1, True), (2, False), (1, True), (1, False)]
    assert [one.source for one in await counted(ledger)] == [2, 1]
    # The log goes on without being asked to replace: nobody else counts.
    with path.open("ab") as file:
        file.write(nginx(minute(9), listener=9))
    run = make_import(ledger, podcast)
    assert await run.find_overlap([await run.look(log_file(path))]) == []
    await run.land(log_file(path))
    assert [one.source for one in await counted(ledger)] == [2, 2, 1]
    await change(ledger, podcast, {DAY: [podcast.podcast_no]}, HitSource.PREFIX)
    assert [one.source for one in await counted(ledger)] == [1, 1, 1]
    # A log's hits land beside what trackers count, when it was undone.
    with path.open("ab") as file:
        file.write(nginx(minute(10), listener=10))
    await make_import(ledger, podcast).land(log_file(path))
    assert [one.source for one in await counted(ledger)] == [1, 1, 1]
    assert await ledger.downloads() == await by_hand(ledger)


async def test_an_interrupted_replacement_changes_whole_days_and_goes_on(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    yesterday = NOW - ONE_DAY
    hits = [make_hit(at, address="198.51.100.1") for at in (yesterday, minute(0))]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    before = await ledger.downloads()
    path = tmp_path / "access.log"
    path.write_bytes(nginx(yesterday) + nginx(yesterday, listener=2) + nginx(minute(0)) + nginx(minute(1), listener=2))
    run = make_import(ledger, podcast, replace=True)
    looks = [await run.look(log_file(path))]
    live = await run.find_overlap(looks)
    assert [one.day for one in live] == [DAY - ONE_DAY, DAY]
    await run.hold_back(live)
    await run.land(log_file(path))
    # All of the log is there, and counts nowhere.
    assert await ledger.downloads() == before
    await change(ledger, podcast, {DAY: [podcast.podcast_no]}, HitSource.LOG)
    assert [one.source for one in await counted(ledger)] == [1, 2, 2]
    # The same call does the rest.
    _, _, outcomes = await import_instead(ledger, podcast, path)
    assert [one.day for one in outcomes] == [DAY - ONE_DAY]
    assert [one.source for one in await counted(ledger)] == [2, 2, 2, 2]
    listed = await list_day_sources(
        ledger.conn, podcast.tenant.tenant_no, first=DAY - ONE_DAY, until=DAY + ONE_DAY, podcast_id=podcast.podcast_id
    )
    assert [(row.day, row.source) for row in listed] == [(DAY - ONE_DAY, 2), (DAY, 2)]


async def test_final_days_are_replaced_and_late_hits_of_the_log_taken_in(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    await ship(ledger, (0, "a", "198.51.100.1"))
    await ledger.conn.execute("update ops.days set final_at = $1", NOW)
    await ship(ledger, (1, "a", "198.51.100.2"))
    before = await ledger.downloads()
    path = tmp_path / "access.log"
    path.write_bytes(nginx(minute(0)) + nginx(minute(1), listener=2))
    _, _, outcomes = await import_instead(ledger, podcast, path)
    assert outcomes == [DayOutcome(DAY, RestatedDay(DAY, 4, 1, 2, 1, 2))]
    rows = await ledger.conn.fetch("select source, flags from ts.listener_events order by source, occurred_at")
    late, restated, replaced = int(HitFlag.LATE), int(HitFlag.RESTATED), int(HitFlag.REPLACED)
    assert [tuple(row) for row in rows] == [(1, replaced), (1, replaced | late), (2, restated), (2, restated)]
    # Undone, the tracker's late hit is late again, and its day as it was.
    await change(ledger, podcast, {DAY: [podcast.podcast_no]}, HitSource.PREFIX)
    assert await ledger.downloads() == before
    rows = await ledger.conn.fetch("select flags from ts.listener_events where source = 1 order by occurred_at")
    assert [row[0] for row in rows] == [0, late]


async def test_days_whose_downloads_are_gone_are_left(ledger: Ledger, podcast: MadePodcast) -> None:
    await ship(ledger, (0, "a", "198.51.100.1"))
    tenant_no, pair = podcast.tenant.tenant_no, (podcast.podcast_no, DAY)
    await note_day_sources(ledger.conn, tenant_no, [pair], source=HitSource.PREFIX)
    await ledger.conn.execute("update ops.days set final_at = $1, downloads_dropped_at = $1", NOW)
    outcomes = await change(ledger, podcast, {DAY: [podcast.podcast_no]}, HitSource.LOG)
    assert outcomes == [DayOutcome(DAY, NotRestated.DOWNLOADS_GONE)]
    assert await ledger.count("ops.day_sources where source = 2") == 0
    # A day that nobody knows has nothing to change.
    assert await change(ledger, podcast, {DAY - 9 * ONE_DAY: [podcast.podcast_no]}, HitSource.LOG) == []


async def test_who_lands_waits_for_a_source_that_changes_and_the_change_for_who_lands(
    ledger: Ledger, podcast: MadePodcast, other: MadePodcast, database: DatabaseSettings, tmp_path: Path
) -> None:
    await ship(ledger, (0, "a", "198.51.100.1"))
    path = tmp_path / "access.log"
    path.write_bytes(nginx(minute(0)))
    run = make_import(ledger, podcast, replace=True)
    await run.hold_back(await run.find_overlap([await run.look(log_file(path))]))
    await run.land(log_file(path))
    tenant_no = podcast.tenant.tenant_no
    conn = await connect(database, Role.INGEST, application_name="test")
    await hold_days_open(conn, tenant_no)
    change_under_way = conn.transaction()
    await change_under_way.start()
    await choose_source(conn, tenant_no, DAY, [podcast.podcast_no], source=HitSource.LOG)
    write_segment(ledger.folder, [make_hit(minute(5), address="198.51.100.5")])
    landing = asyncio.create_task(ledger.ship_all())
    watcher = await connect(database, Role.INGEST, application_name="watcher")
    while not await watcher.fetchval("select count(*) from pg_locks where not granted"):
        assert not landing.done()
        await asyncio.sleep(0.01)
    assert await flag_replaced_hits(conn, tenant_no, DAY, [podcast.podcast_no]) == 2
    await change_under_way.commit()
    assert await landing == 1
    flags = await watcher.fetch("select source, flags & 2048 > 0 from ts.listener_events order by occurred_at, source")
    assert [tuple(row) for row in flags] == [(1, True), (2, False), (1, True)]
    await conn.close()
    await watcher.close()


async def test_what_a_log_would_count_is_found_without_a_trace(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, tmp_path: Path
) -> None:
    await ship(ledger, (0, "a", "198.51.100.1"))
    path = tmp_path / "access.log"
    path.write_bytes(
        nginx(minute(0), agent="Unheard/1.0")
        + nginx(minute(1), agent="Unheard/1.0")
        + nginx(minute(1), listener=2, agent="Googlebot/2.1")
        + nginx(minute(2), "/b.mp3", listener=3)
        + nginx(NOW - ONE_DAY, listener=3)
    )
    secrets = await ledger.count("ops.listener_secrets")
    run = make_import(ledger, podcast, replace=True, keep_secrets=False, max_lines=2)
    look = await run.look(log_file(path), weigh=True)
    assert look.hits == 5
    assert await run.weighed() == {(podcast.podcast_no, DAY): 2, (podcast.podcast_no, DAY - ONE_DAY): 1}
    assert await ledger.count("ops.agents where user_agent like 'Unheard%'") == 0
    assert await ledger.count("ops.listener_secrets") == secrets
    assert await ledger.count("ts.listener_events") == 1


async def test_a_log_that_holds_half_a_day_does_not_replace_it(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    await ship(ledger, (0, "a", "198.51.100.1"), (50, "a", "198.51.100.2"))
    paths = [tmp_path / "access.log.1", tmp_path / "access.log"]
    paths[0].write_bytes(nginx(minute(0)) + nginx(minute(30), listener=2))
    paths[1].write_bytes(nginx(minute(31), listener=3) + nginx(minute(50), listener=4))
    run = make_import(ledger, podcast, replace=True)
    looks = [await run.look(log_file(path)) for path in paths]
    (live,) = await run.find_overlap(looks)
    assert [is_covered(live, looks[:1]), is_covered(live, looks[1:]), is_covered(live, looks)] == [False, False, True]
    assert not is_covered(live, [])
    # The half that came alone is kept and counts nowhere; with the other half it does.
    await import_instead(ledger, podcast, paths[0])
    assert [one.source for one in await counted(ledger)] == [1, 1]
    await import_instead(ledger, podcast, *paths)
    assert [one.source for one in await counted(ledger)] == [2] * 4


ROWS: Final = st.lists(st.tuples(st.integers(0, 59), st.sampled_from("abc"), st.integers(1, 4)), min_size=1, max_size=5)
STEPS: Final = st.lists(
    st.one_of(
        ROWS,
        st.tuples(ROWS, st.sampled_from(HitSource)),
        st.sampled_from(HitSource),
    ),
    min_size=2,
    max_size=6,
)
_numbers = itertools.count()


@given(steps=STEPS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_downloads_are_those_of_the_source_that_counts_whatever_lands_and_changes(
    ledger: Ledger,
    podcast: MadePodcast,
    other: MadePodcast,
    tmp_path: Path,
    steps: list[list[tuple[int, str, int]] | tuple[list[tuple[int, str, int]], HitSource] | HitSource],
) -> None:
    """Hits of trackers land, logs are imported and one of the two is chosen, or it is chosen anew."""
    both = {DAY: [podcast.podcast_no, other.podcast_no]}
    for step in steps:
        if isinstance(step, HitSource):
            await change(ledger, podcast, both, step)
        elif isinstance(step, list):
            await ship(ledger, *((at, name, f"192.0.0.{listener}") for at, name, listener in step))
        else:
            rows, source = step
            path = tmp_path / f"{next(_numbers)}.log"
            lines = (nginx(minute(at), f"/{name}.mp3", listener=listener) for at, name, listener in rows)
            path.write_bytes(nginx(minute(0), f"/{path.name}") + b"".join(lines))
            run = make_import(ledger, podcast, replace=True)
            await run.hold_back(await run.find_overlap([await run.look(log_file(path))]))
            await run.land(log_file(path))
            # Trackers may have counted since an earlier log landed, which nobody had held back.
            await change(ledger, podcast, both, source)
        assert await ledger.downloads() == await by_hand(ledger)
