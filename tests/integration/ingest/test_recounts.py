"""Recounts: another table of agents reclassifies history, day by day, recorded; the same one changes nothing."""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.agent_table import AgentEntry, AgentTable
from analytics_core.db.day_profiles import list_sizes
from analytics_core.db.explain import find_hit
from analytics_core.db.pool import Connection, connect, open_pool, tenant_transaction
from analytics_core.db.recounting import StoredHits, read_day
from analytics_core.db.restatements import find_restatement, list_restatements
from analytics_core.db.restating import NotRestated, RestatedDay
from analytics_core.downloads import JudgedHit, count_downloads
from analytics_core.errors import Unavailable
from analytics_core.geo import open_countries
from analytics_core.hits import HitFlag, Method
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence, Verdict
from ingest.dictionaries import AgentNumbers
from ingest.recounts import ISOLATION, Recount, recount, recount_day
from ingest.restatements import DayOutcome
from ingest.retention import KEEP_DOWNLOADS, drop_old
from ingest.rollups import refresh_listeners
from tests.address_databases import write_database
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, micros, write_segment
from tests.integration.ingest.erasing import Eraser
from tests.ledgers import DAY, NOW, Ledger, minute
from tests.postgres import operator_url

pytestmark = pytest.mark.anyio

ONE_DAY: Final = dt.timedelta(days=1)
FINAL_AT: Final = dt.datetime(2026, 12, 10, tzinfo=dt.UTC)
GONE: Final = FINAL_AT + KEEP_DOWNLOADS + ONE_DAY
REST: Final = "bytes=0-2000000"


def table(**kinds: str) -> AgentTable:
    """Make a table that says of programs by name what they are: a kind, and perhaps another name behind a colon."""
    entries = []
    for name, said in kinds.items():
        kind, _, app = said.partition(":")
        entries.append(AgentEntry(name=app or name, kind=kind, pattern=f"^{name}/"))
    return AgentTable(tuple(entries), (), version=str(kinds))


ONE: Final = table(Earwig="bot", Mole="app", Newt="app", Owl="app")
TWO: Final = table(Earwig="app", Mole="bot", Newt="app:Newt Pro", Owl="app")


class Tables:
    """A ledger whose table of agents can be changed."""

    def __init__(self, ledger: Ledger, podcast: MadePodcast) -> None:
        self.ledger = ledger
        self.podcast = podcast
        self.tenant_no = int(podcast.tenant.tenant_no)
        self._table = ONE
        ledger.pipeline.agents = AgentNumbers(ledger.clock, table=lambda: self._table)

    async def land(
        self,
        *hits: tuple[str, str, int],
        at: dt.datetime | None = None,
        byte_range: str = "",
        method: Method = Method.GET,
    ) -> None:
        """Land a hit of each program, episode and listener, and have everything made of it."""
        write_segment(
            self.ledger.folder,
            [
                make_hit(
                    (at or minute(10)) + dt.timedelta(seconds=place),
                    f"cdn.example.com/{episode}.mp3",
                    agent=f"{program}/1".encode(),
                    address=f"192.0.2.{listener}",
                    byte_range=byte_range,
                    method=method,
                )
                for place, (program, episode, listener) in enumerate(hits)
            ],
        )
        await self.ledger.ship_all()
        await self.settle()

    async def settle(self) -> None:
        await self.ledger.refresh()
        while await refresh_listeners(self.ledger.conn, at_most_every=None):
            continue

    async def finalise(self) -> None:
        await self.ledger.conn.execute("update ops.days set final_at = $1 where final_at is null", FINAL_AT)

    async def change(self, other: AgentTable) -> None:
        self._table = other
        while (await self.ledger.pipeline.agents.bring_up_to_date(self.ledger.conn, limit=100))[0]:
            continue

    async def recount(self, *days: dt.date, dry_run: bool = False) -> Recount:
        return await recount(
            self.ledger.conn,
            self.tenant_no,
            days or [DAY],
            reason="another table",
            origin="command",
            clock=self.ledger.clock,
            dry_run=dry_run,
        )

    async def hits(self) -> list[tuple[object, ...]]:
        """All of all hits, but for what a recount may change."""
        rows = await self.ledger.conn.fetch(
            "select occurred_at, range_first, range_last, listener_key, segment_no, ordinal, tenant_no, podcast_no,"
            " episode_no, referrer_no, feed_app_no, country, kind, method, range_kind, flags, source, rules, asn,"
            " networks, place_no from ts.listener_events order by segment_no, ordinal"
        )
        return [tuple(row) for row in rows]

    async def everything(self) -> list[tuple[object, ...]]:
        """All that a recount may change."""
        queries = (
            "select segment_no, ordinal, agent_no, verdict_bits, verdict, evidence, flags, ctid::text"
            " from ts.listener_events order by 1, 2",
            "select tenant_no, day, generation, final_at, hits_incomplete from ops.days order by 1, 2",
            "select tenant_no, episode_no, day from ops.dirty_marks order by 1, 2, 3",
            "select restatement_id, state from app.restatements order by 1",
            "select restatement_id, day, hits from app.restatement_days order by 1, 2",
            "select day, episode_no, listener_key, agent_no, segment_no, ordinal, place_no"
            " from ts.downloads order by 1, 2, 3",
        )
        return [tuple(row) for query in queries for row in await self.ledger.conn.fetch(query)]

    async def apps(self) -> dict[str, int]:
        """The downloads of the rollups, by app."""
        rows = await self.ledger.conn.fetch(
            "select key, sum(downloads) as n from app.podcast_daily where dimension = 'app' group by key"
        )
        return {row["key"]: row["n"] for row in rows if row["n"]}


@pytest.fixture
def tables(ledger: Ledger, podcast: MadePodcast, tmp_path: Path) -> Tables:
    record = {"country_code": "FR", "state1": "Var", "city": "Toulon"}
    ledger.pipeline = ledger.make_pipeline(
        countries=open_countries(write_database(tmp_path / "cities.mmdb", record, record), cities=True)
    )
    ledger.shipper = ledger.make_shipper()
    return Tables(ledger, podcast)


@pytest.fixture
async def second(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """Another ingest."""
    conn = await connect(database, Role.INGEST, application_name="second")
    yield conn
    conn.terminate()


async def test_under_the_same_table_nothing_changes_and_nothing_is_recorded(tables: Tables) -> None:
    await tables.land(("Earwig", "a", 1), ("Mole", "a", 1), ("Mole", "b", 2))
    await tables.land(("Mole", "a", 3), byte_range="bytes=0-1")
    await tables.finalise()
    await tables.land(("Mole", "a", 4))
    before = await tables.everything()
    assert await tables.recount() == Recount([], Counter())
    # Whoever is back at a table has its numbers again.
    await tables.change(TWO)
    await tables.change(ONE)
    assert await tables.recount() == Recount([], Counter())
    assert await tables.everything() == before


async def test_another_table_reclassifies_history(
    tables: Tables, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await tables.land(("Earwig", "a", 1), ("Earwig", "b", 1), ("Mole", "a", 2), ("Newt", "a", 3), ("Owl", "a", 4))
    await tables.land(("Earwig", "a", 1), ("Earwig", "a", 5), byte_range=REST, at=minute(1))
    await tables.land(("Earwig", "a", 6), byte_range="bytes=0-1")
    await tables.land(("Earwig", "a", 7), byte_range="bytes=0-2")
    await tables.land(("Earwig", "a", 8), ("Newt", "b", 3), method=Method.HEAD)
    await tables.land(("Owl", "a", 1), at=NOW - ONE_DAY)
    assert await tables.apps() == {"Mole": 1, "Newt": 1, "Owl": 2}
    await tables.finalise()
    # Late, and late it stays.
    await tables.land(("Earwig", "b", 9))
    hits, before = await tables.hits(), await tables.everything()
    await tables.change(TWO)

    moves = Counter(
        {
            (Verdict.BOT, Verdict.ELIGIBLE): 6,
            (Verdict.BOT, Verdict.TINY_RANGE): 1,
            (Verdict.ELIGIBLE, Verdict.BOT): 1,
            (Verdict.ELIGIBLE, Verdict.ELIGIBLE): 1,
            (Verdict.HEAD, Verdict.HEAD): 2,
        }
    )
    dry = await tables.recount(DAY - ONE_DAY, DAY, dry_run=True)
    assert [outcome.day for outcome in dry.outcomes] == [DAY]
    assert dry.moves == moves
    told = [DayOutcome(DAY, RestatedDay(DAY, moves.total(), 3, 6, 3, 5))]
    assert dry.outcomes == told
    assert await tables.everything() == before
    assert await tables.recount(DAY - ONE_DAY, DAY) == Recount(told, moves)
    await tables.settle()

    assert await tables.hits() == hits
    assert await tables.apps() == {"Earwig": 4, "Newt Pro": 1, "Owl": 2}
    rows = await tables.ledger.conn.fetch(
        "select d.evidence, d.episode_no, d.occurred_at from ts.downloads d join ops.agents using (agent_no)"
        " where app = 'Earwig' order by 2, 1, 3"
    )
    a, b = podcast.episodes["a"], podcast.episodes["b"]
    assert [(row["evidence"], row["episode_no"]) for row in rows] == [
        (Evidence.PROBE, a),
        (Evidence.PARTIAL, a),
        (Evidence.FULL, a),
        (Evidence.FULL, b),
    ]
    after = await tables.everything()
    assert await tables.recount(DAY - ONE_DAY, DAY) == Recount([], Counter())
    assert await tables.everything() == after

    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    async with tenant_transaction(pool, podcast.tenant, readonly=True) as conn:
        (row,) = await list_restatements(conn, after=None, limit=9)
        assert (row.reason, row.origin, row.state, row.days) == ("another table", "command", "done", 1)
        record = await find_restatement(conn, row.restatement_id)
        assert record is not None
        assert record.days == [outcome.outcome for outcome in told]
        hit = await find_hit(conn, int(str(hits[0][4])), int(str(hits[0][5])))
        assert hit is not None
        assert (hit.agent_kind, hit.app, hit.verdict_bits, hit.evidence) == (AgentKind.APP, "Earwig", 0, Evidence.FULL)
    await pool.close()


async def test_another_tenants_hits_are_not_touched(
    tables: Tables, ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    tenant = await make_tenant(database, "two")
    await make_podcast(database, tenant, make_episode("x", "https://x.example.net/x.mp3"))
    write_segment(ledger.folder, [make_hit(minute(0), "x.example.net/x.mp3", agent=b"Earwig/1")])
    await ledger.ship_all()
    await tables.land(("Earwig", "a", 1))
    await tables.finalise()
    await tables.change(TWO)
    assert (await tables.recount()).outcomes == [DayOutcome(DAY, RestatedDay(DAY, 1, 0, 1, 0, 1))]
    rows = await ledger.conn.fetch("select tenant_no, verdict from ts.listener_events order by tenant_no")
    assert [tuple(row) for row in rows] == [(podcast.tenant.tenant_no, 0), (tenant.tenant_no, Verdict.BOT)]


async def test_days_of_which_something_is_gone_are_refused(tables: Tables, ledger: Ledger) -> None:
    # TimescaleDB has no chunk, which could go, for a day without any download.
    await tables.land(("Earwig", "a", 1), ("Owl", "a", 2))
    await tables.land(("Earwig", "a", 1), ("Owl", "a", 2), at=NOW - ONE_DAY)
    await tables.change(TWO)
    await tables.finalise()
    await ledger.conn.execute("update ops.days set hits_incomplete = true where day < $1", DAY)
    before = await tables.everything()
    assert await tables.recount(DAY - ONE_DAY) == Recount([DayOutcome(DAY - ONE_DAY, NotRestated.HITS_GONE)], Counter())
    assert await tables.everything() == before
    await drop_old(ledger.conn, now=GONE, hits_months=25)
    assert (await tables.recount()).outcomes == [DayOutcome(DAY, NotRestated.DOWNLOADS_GONE)]
    assert await tables.recount(DAY + ONE_DAY) == Recount([], Counter())


async def test_what_is_killed_in_the_middle_leaves_the_day_as_it_was(tables: Tables, second: Connection) -> None:
    await tables.land(("Earwig", "a", 1), ("Mole", "b", 2))
    await tables.finalise()
    await tables.change(TWO)
    before = await tables.everything()
    await second.transaction(isolation=ISOLATION).start()
    told = await recount_day(second, tables.tenant_no, DAY, Counter())
    assert told == RestatedDay(DAY, 2, 1, 1, 1, 1)
    second.terminate()
    assert await tables.everything() == before
    assert (await tables.recount()).outcomes == [DayOutcome(DAY, told)]


async def test_what_is_killed_between_days_goes_on_with_the_next_run(tables: Tables, second: Connection) -> None:
    days = [DAY - ONE_DAY, DAY]
    for day in (1, 0):
        await tables.land(("Earwig", "a", 1), at=NOW - day * ONE_DAY)
    await tables.finalise()
    await tables.change(TWO)
    with pytest.raises(asyncpg.InterfaceError):
        await recount(
            second,
            tables.tenant_no,
            days,
            reason="first",
            origin="command",
            clock=tables.ledger.clock,
            tell=lambda _: second.terminate(),
        )
    assert [outcome.day for outcome in (await tables.recount(*days)).outcomes] == [DAY]
    rows = await tables.ledger.conn.fetch("select reason, state from app.restatements order by reason")
    assert [tuple(row) for row in rows] == [("another table", "done"), ("first", "stopped")]


async def test_hits_that_land_meanwhile_are_kept_and_late(tables: Tables, ledger: Ledger, second: Connection) -> None:
    await tables.land(("Earwig", "a", 1))
    await tables.finalise()
    await tables.change(TWO)
    transaction = second.transaction(isolation=ISOLATION)
    await transaction.start()
    # What is read is settled by now.
    assert await second.fetchval("select count(*) from ts.listener_events") == 1
    await tables.land(("Earwig", "a", 2))
    assert await recount_day(second, tables.tenant_no, DAY, Counter()) == RestatedDay(DAY, 1, 0, 1, 0, 1)
    await tables.land(("Earwig", "a", 3))
    await transaction.commit()
    rows = await ledger.conn.fetch("select verdict, flags, count(*) from ts.listener_events group by 1, 2 order by 2")
    assert [tuple(row) for row in rows] == [(0, 0, 1), (0, HitFlag.LATE, 2)]
    assert await ledger.count("ts.downloads") == 1


async def test_hits_that_are_taken_away_meanwhile_do_not_come_back(
    tables: Tables, ledger: Ledger, second: Connection
) -> None:
    await tables.land(("Earwig", "a", 1), ("Earwig", "a", 2))
    await tables.finalise()
    await tables.change(TWO)
    transaction = second.transaction(isolation=ISOLATION)
    await transaction.start()
    assert await second.fetchval("select count(*) from ts.listener_events") == 2
    await ledger.conn.execute("select ops.delete_hits($1, $2)", tables.tenant_no, DAY)
    with pytest.raises(asyncpg.SerializationError):
        await recount_day(second, tables.tenant_no, DAY, Counter())
    await transaction.rollback()
    assert await ledger.count("ts.listener_events") == 0


@pytest.mark.parametrize("what", ["listener", "podcast"])
async def test_who_is_erased_meanwhile_is_not_written_anew(
    tables: Tables, podcast: MadePodcast, eraser: Eraser, second: Connection, what: str
) -> None:
    await tables.land(("Earwig", "a", 1), ("Earwig", "a", 2))
    await tables.finalise()
    await tables.change(TWO)
    keys = await second.fetch("select listener_key from ts.listener_events order by ordinal")
    transaction = second.transaction(isolation=ISOLATION)
    await transaction.start()
    assert await recount_day(second, tables.tenant_no, DAY, Counter()) is not None
    erase = (
        eraser.erase_listener(podcast.tenant, keys[0]["listener_key"], DAY.replace(day=1), now=NOW)
        if what == "listener"
        else eraser.erase_podcast(podcast, now=NOW)
    )
    erasing = asyncio.create_task(erase)
    await eraser.somebody_waits()
    await transaction.commit()
    assert (await erasing).finished_at is not None
    left = await second.fetch("select listener_key from ts.listener_events")
    assert left == (keys[1:] if what == "listener" else [])
    assert await tables.ledger.count("ts.downloads") == len(left)


async def test_without_room_for_temporary_files_nothing_changes(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tables.land(("Earwig", "a", 1))
    await tables.finalise()
    await tables.change(TWO)
    before = await tables.everything()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(Unavailable, match="gone has no room for the hits of a day: No such file or directory"):
        await tables.recount()
    assert await tables.everything() == before
    monkeypatch.undo()
    assert len((await tables.recount()).outcomes) == 1


async def test_two_at_once_recount_once(tables: Tables, second: Connection) -> None:
    await tables.land(("Earwig", "a", 1))
    await tables.finalise()
    await tables.change(TWO)
    transaction = second.transaction(isolation=ISOLATION)
    await transaction.start()
    assert await recount_day(second, tables.tenant_no, DAY, Counter()) is not None
    await tables.ledger.conn.execute("set lock_timeout = '200ms'")
    with pytest.raises(asyncpg.LockNotAvailableError):
        await tables.recount()
    await transaction.commit()
    assert await tables.recount() == Recount([], Counter())


PROGRAMS: Final = ("Earwig", "Mole", "Newt", "Owl")
HITS: Final = st.lists(
    st.tuples(
        st.sampled_from(PROGRAMS), st.sampled_from("ab"), st.integers(1, 3), st.sampled_from(["", REST, "bytes=0-1"])
    ),
    min_size=1,
    max_size=12,
)


@given(hits=HITS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_hits_count_as_they_would_had_the_table_been_there(
    tables: Tables, podcast: MadePodcast, hits: list[tuple[str, str, int, str]]
) -> None:
    conn = tables.ledger.conn
    await conn.execute("delete from ts.downloads")
    await conn.execute("update ops.days set final_at = now() where final_at is null")
    await conn.execute("select ops.delete_hits($1, $2)", tables.tenant_no, DAY)
    await conn.execute("update ops.days set final_at = null")
    await tables.change(ONE)
    write_segment(
        tables.ledger.folder,
        [
            make_hit(
                minute(place),
                f"cdn.example.com/{episode}.mp3",
                agent=f"{program}/1".encode(),
                address=f"192.0.2.{listener}",
                byte_range=byte_range,
            )
            for place, (program, episode, listener, byte_range) in enumerate(hits)
        ],
    )
    await tables.ledger.ship_all()
    await tables.finalise()
    await tables.change(TWO)
    await tables.recount()
    found = await conn.fetch("select episode_no, listener_key, occurred_at, evidence from ts.downloads")
    keys = await conn.fetch("select occurred_at, listener_key from ts.listener_events")
    by_time = {row["occurred_at"]: row["listener_key"].bytes for row in keys}
    weighed = {"": Evidence.FULL, REST: Evidence.PARTIAL, "bytes=0-1": Evidence.PROBE}
    wanted = count_downloads(
        JudgedHit(
            micros(minute(place)),
            podcast.episodes[episode],
            by_time[minute(place)],
            Verdict.BOT.bit if program == "Mole" else 0,
            weighed[byte_range],
            0,
            place,
        )
        for place, (program, episode, _, byte_range) in enumerate(hits)
    )
    assert sorted(
        (row["episode_no"], row["listener_key"].bytes, micros(row["occurred_at"]), row["evidence"]) for row in found
    ) == sorted(
        (key.episode_no, key.listener_key, row.winner.at_us, int(row.winner.evidence)) for key, row in wanted.items()
    )


JOINED: Final = """
select e.segment_no, e.ordinal, coalesce(t.agent_no, e.agent_no), coalesce(t.kind, -1), coalesce(c.length_bytes, -1),
    coalesce(p.duration_s, -1)
from ts.listener_events e
left join ops.agents a on a.agent_no = e.agent_no
left join ops.agents t on t.agent_hash = coalesce(a.superseded_hash, a.agent_hash)
left join app.episodes p on p.episode_no = e.episode_no
left join app.enclosures c on c.episode_id = p.episode_id
order by e.segment_no, e.ordinal"""


async def test_what_is_known_of_a_hit_is_of_its_own_agent_and_episode(
    ledger: Ledger, database: DatabaseSettings
) -> None:
    tenant = await make_tenant(database, "reader")
    podcast = await make_podcast(
        database,
        tenant,
        make_episode("one", length_bytes=5_000_000, duration_s=600),
        make_episode("two", length_bytes=None),
        make_episode("three", duration_s=None),
    )
    tables = Tables(ledger, podcast)
    await tables.land(
        *((name, guid, 1) for name in ("Earwig", "Mole", "Owl") for guid in ("one", "two", "three", "no"))
    )
    await tables.change(TWO)
    operator = await asyncpg.connect(operator_url(database))
    # A number that no agent has any more.
    await operator.execute("update ts.listener_events set agent_no = 1000000 where ordinal = 5")
    found: list[StoredHits] = []
    assert await read_day(ledger.conn, tables.tenant_no, DAY, take=found.append) == len(await tables.hits())
    columns = [
        np.concatenate(column).tolist()
        for column in zip(
            *(
                (one.hits.segment_no, one.hits.ordinal, one.agent_no, one.agent_kind, one.length_bytes, one.duration_s)
                for one in found
            ),
            strict=True,
        )
    ]
    expected = [tuple(row) for row in await operator.fetch(JOINED)]
    await operator.close()
    assert sorted(zip(*columns, strict=True)) == expected


async def test_an_episode_that_has_gone_is_as_long_as_its_feed_said_last(
    ledger: Ledger, database: DatabaseSettings
) -> None:
    podcast = await make_podcast(
        database, await make_tenant(database, "reader"), make_episode("one"), make_episode("two"), make_episode("three")
    )
    tables = Tables(ledger, podcast)
    await tables.land(*(("Earwig", guid, 1) for guid in ("one", "two", "three")))
    # Each had three files in turn, all of them in the same place; three has one of its own yet.
    operator = await asyncpg.connect(operator_url(database))
    await operator.execute(
        """update app.enclosures c set gone_at = $1 from app.episodes e
        where e.episode_id = c.episode_id and e.guid <> 'three'""",
        NOW,
    )
    for length, days in ((1_000_000, (-2, 1, -2)), (2_000_000, (-1, -2, 1)), (3_000_000, (2, -1, -1))):
        await operator.execute(
            """insert into app.enclosures (tenant_id, episode_id, enclosure_key, place, kind, url, hosts, length_bytes,
                gone_at)
            select c.tenant_id, c.episode_id, gen_random_uuid(), c.place, c.kind, c.url, c.hosts, $1, g.gone_at
            from app.enclosures c join app.episodes e using (tenant_id, episode_id)
            join unnest($2::text[], $3::timestamptz[]) as g(guid, gone_at) using (guid)
            where c.length_bytes = 28800000""",
            length,
            ["one", "two", "three"],
            [NOW + day * ONE_DAY for day in days],
        )
    await operator.close()
    last = {"one": 3_000_000, "two": 1_000_000, "three": 28_800_000}
    found: list[StoredHits] = []
    await read_day(ledger.conn, tables.tenant_no, DAY, take=found.append)
    read = {
        episode_no: length
        for one in found
        for episode_no, length in zip(one.hits.episode_no.tolist(), one.length_bytes.tolist(), strict=True)
    }
    assert read == {podcast.episodes[guid]: length for guid, length in last.items()}
    sizes = await list_sizes(ledger.conn, list(podcast.episodes.values()))
    assert {size.episode_no: size.length_bytes for size in sizes} == read
