"""Days judged by another profile: recounted or from the first hit on, downloads are what its rules say, and go back."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.day_profiles import read_day_profile, set_day_profile, use_profile
from analytics_core.db.explain import find_hit
from analytics_core.db.pool import Connection, connect, open_pool, tenant_transaction
from analytics_core.db.restatements import list_restatements
from analytics_core.db.restating import NotRestated, RestatedDay, hold_day
from analytics_core.hits import Method
from analytics_core.network_tables import NetworkTable
from analytics_core.networks import NetworkLists
from analytics_core.profiles import DEFAULT_PROFILE, ODL, PTMG_2_3, NetworkPolicy, Profile
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence, Verdict
from ingest.recounts import Recount, recount, recount_day
from ingest.restatements import DayOutcome, restate
from tests.factories import OVERCAST, MadePodcast, make_hit, write_segment
from tests.integration.ingest.test_open_days import is_waited_for
from tests.ledgers import DAY, Ledger, minute

pytestmark = pytest.mark.anyio

ONE_DAY: Final = dt.timedelta(days=1)
BROWSER: Final = b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
BOT: Final = b"Googlebot/2.1 (+http://www.google.com/bot.html)"
AGENTS: Final = (OVERCAST, BROWSER, BOT)
RANGES: Final = ("", "bytes=0-1", "bytes=0-2000000", "bytes=0-999", "bytes=-128")
ADDRESSES: Final = ("192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.2")
REFERRERS: Final = ("", "https://podverse.fm/x")
HOUSE: Final = msgspec.structs.replace(
    DEFAULT_PROFILE,
    name="house",
    seconds=20,
    networks=NetworkPolicy(datacenter=(AgentKind.BROWSER,)),
    preload_referrers=("podverse.fm",),
)
PROFILES: Final = (DEFAULT_PROFILE, PTMG_2_3, ODL, HOUSE)


class Row(NamedTuple):
    """A request: its minute, and the places of its listener's address, agent, range and referrer."""

    at: int
    address: int
    agent: int
    byte_range: int
    referrer: int


ROWS: Final = st.lists(
    st.builds(
        Row,
        st.integers(0, 40),
        st.integers(0, len(ADDRESSES) - 1),
        st.integers(0, len(AGENTS) - 1),
        st.integers(0, len(RANGES) - 1),
        st.integers(0, len(REFERRERS) - 1),
    ),
    min_size=1,
    max_size=20,
)


class Days:
    """A ledger whose days can be judged by any profile; a data centre is 198.51.100.0/24."""

    def __init__(self, ledger: Ledger, podcast: MadePodcast) -> None:
        self.ledger = ledger
        self.conn = ledger.conn
        self.podcast = podcast
        self.tenant_no = int(podcast.tenant.tenant_no)
        ledger.pipeline = ledger.make_pipeline(NetworkLists(datacenter=NetworkTable.from_lines(["198.51.100.0/24"])))
        ledger.shipper = ledger.make_shipper()

    async def land(self, rows: Sequence[Row], day: dt.date = DAY) -> None:
        """Land requests, each on a day, for the episodes a and b in turn."""
        before = DAY - day
        hits = [
            make_hit(
                minute(row.at) - before,
                f"cdn.example.com/{'ab'[place % 2]}.mp3",
                address=ADDRESSES[row.address],
                agent=AGENTS[row.agent],
                byte_range=RANGES[row.byte_range],
                referrer=REFERRERS[row.referrer],
                method=Method.HEAD if place % 7 == 6 else Method.GET,
            )
            for place, row in enumerate(rows)
        ]
        write_segment(self.ledger.folder, hits)
        await self.ledger.ship_all()

    async def recount(self, profile: Profile | None = None, *days: dt.date, dry_run: bool = False) -> Recount:
        return await recount(
            self.conn,
            self.tenant_no,
            days or [DAY],
            reason="other rules",
            origin="command",
            clock=self.ledger.clock,
            profile=profile,
            dry_run=dry_run,
        )

    async def choose(self, day: dt.date, profile: Profile) -> None:
        """Have a day that has no hits be judged by a profile."""
        await use_profile(self.conn, "one", profile, today=day - ONE_DAY)
        await self.conn.execute("update app.tenants set profile_from = $1", day)
        await set_day_profile(self.conn, self.tenant_no, day, profile)

    async def forget(self, *days: dt.date) -> None:
        """Take all away that an example has left."""
        await self.conn.execute("update app.tenants set profile = null, profile_from = null, profile_before = null")
        await self.conn.execute("update ops.days set final_at = now(), profile = null")
        for day in days:
            await self.conn.execute("select ops.delete_hits($1, $2)", self.tenant_no, day)
        await self.conn.execute("delete from ts.downloads")
        await self.conn.execute("update ops.days set final_at = null")

    async def finalise(self) -> None:
        await self.conn.execute("update ops.days set final_at = now() where final_at is null")

    async def profile(self, day: dt.date = DAY) -> Profile:
        found = await read_day_profile(self.conn, self.tenant_no, day)
        assert found is not None
        return found[1]

    async def hits(self, day: dt.date = DAY) -> list[tuple[Any, ...]]:
        rows = await self.conn.fetch(
            "select * from ts.listener_events where (occurred_at at time zone 'UTC')::date = $1"
            " order by segment_no, ordinal",
            day,
        )
        return [tuple(row) for row in rows]

    async def downloads(self, day: dt.date = DAY) -> list[tuple[Any, ...]]:
        rows = await self.conn.fetch("select * from ts.downloads where day = $1 order by episode_no, listener_key", day)
        return [tuple(row) for row in rows]

    async def comparable(self, day: dt.date) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        """The verdicts of a day's hits, and its downloads with their dimensions, by what is the same on other days."""
        hits = await self.conn.fetch(
            "select (occurred_at at time zone 'UTC')::time, ordinal, listener_key, verdict_bits, verdict, evidence,"
            " rules from ts.listener_events where (occurred_at at time zone 'UTC')::date = $1 order by ordinal",
            day,
        )
        downloads = await self.conn.fetch(
            "select (occurred_at at time zone 'UTC')::time, ordinal, episode_no, listener_key, agent_no, referrer_no,"
            " country, evidence, source from ts.downloads where day = $1 order by episode_no, listener_key",
            day,
        )
        return [tuple(row) for row in hits], [tuple(row) for row in downloads]


@pytest.fixture
def days(ledger: Ledger, podcast: MadePodcast) -> Days:
    return Days(ledger, podcast)


@pytest.fixture
async def second(database: DatabaseSettings) -> AsyncIterator[Connection]:
    conn = await connect(database, Role.INGEST, application_name="second")
    yield conn
    conn.terminate()


SOME: Final = [Row(0, 0, 0, 1, 0), Row(1, 1, 0, 0, 0), Row(2, 2, 0, 0, 0), Row(3, 3, 1, 0, 0), Row(4, 0, 1, 3, 0)]
"""A lone probe, a download, an app and a browser from a data centre, and too little."""


@pytest.mark.parametrize("is_final", [True, False])
async def test_a_day_is_judged_by_another_profile_and_back(
    days: Days, database: DatabaseSettings, is_final: bool
) -> None:
    await days.land(SOME)
    if is_final:
        await days.finalise()
    hits, downloads = await days.hits(), await days.downloads()
    assert len(downloads) == 2
    moves = Counter({(Verdict.ELIGIBLE, Verdict.TINY_RANGE): 1})
    told = [DayOutcome(DAY, RestatedDay(DAY, 1, 2, 1, 1, 1))]
    assert await days.recount(PTMG_2_3, dry_run=True) == Recount(told, moves)
    assert (await days.hits(), await days.downloads(), await days.profile()) == (hits, downloads, DEFAULT_PROFILE)
    assert await days.recount(PTMG_2_3) == Recount(told, moves)
    assert await days.profile() == PTMG_2_3
    assert len(await days.downloads()) == 1
    # Once it is judged so, it stays so without being told.
    assert await days.recount() == await days.recount(PTMG_2_3) == Recount([], Counter())
    tally = Counter({(Verdict.TINY_RANGE, Verdict.ELIGIBLE): 1, (Verdict.DATACENTER, Verdict.ELIGIBLE): 1})
    assert (await days.recount(HOUSE)).moves == tally
    await days.recount(DEFAULT_PROFILE)
    assert (await days.hits(), await days.downloads(), await days.profile()) == (hits, downloads, DEFAULT_PROFILE)
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    async with tenant_transaction(pool, days.podcast.tenant, readonly=True) as conn:
        rules = [row.rules for row in await list_restatements(conn, after=None, limit=9)]
    await pool.close()
    assert sorted(rules, key=str) == [one.rules_version for one in (DEFAULT_PROFILE, HOUSE, PTMG_2_3)]


async def test_a_day_of_which_no_hit_is_judged_otherwise_has_other_rules_nevertheless(days: Days) -> None:
    await days.land(SOME[1:2])
    hits = await days.conn.fetchval("select array_agg(ctid::text) from ts.listener_events")
    assert await days.recount(PTMG_2_3) == Recount([DayOutcome(DAY, RestatedDay(DAY, 0, 1, 1, 1, 1))], Counter())
    assert await days.profile() == PTMG_2_3
    assert await days.conn.fetchval("select array_agg(ctid::text) from ts.listener_events") == hits


async def test_what_lands_on_a_day_is_judged_by_its_profile(days: Days, database: DatabaseSettings) -> None:
    await days.land(SOME[1:2])
    await days.recount(HOUSE)
    await days.land(SOME)
    verdicts = await days.conn.fetch(
        "select verdict, verdict_bits from ts.listener_events order by segment_no, ordinal"
    )
    datacenter, tiny = Verdict.DATACENTER.bit, Verdict.TINY_RANGE.bit
    assert [tuple(row) for row in verdicts] == [
        (0, 0),
        (0, 0),
        (0, 0),
        (Verdict.ELIGIBLE, datacenter),
        (Verdict.DATACENTER, datacenter),
        (Verdict.TINY_RANGE, tiny),
    ]
    # So it is entered into the ledger of answers.
    booked = "select sum(hits) from ops.ledger_minutes where what = 'datacenter'"
    assert await days.conn.fetchval(booked) == 1
    await days.finalise()
    await days.land([Row(9, 3, 0, 0, 0)])
    (late,) = await days.conn.fetch("select verdict, evidence from ts.listener_events where flags & 16 <> 0")
    assert tuple(late) == (Verdict.ELIGIBLE, Evidence.FULL)
    before = len(await days.downloads())
    await restate(days.conn, days.tenant_no, [DAY], reason="late", origin="command", clock=days.ledger.clock)
    assert len(await days.downloads()) == before + 1
    hit = await days.conn.fetchrow("select segment_no, ordinal from ts.listener_events where flags & 512 <> 0")
    assert hit is not None
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    async with tenant_transaction(pool, days.podcast.tenant, readonly=True) as conn:
        found = await find_hit(conn, hit["segment_no"], hit["ordinal"])
    await pool.close()
    assert found is not None
    assert (found.verdict, found.verdict_bits, found.rules, found.is_counted) == (
        0,
        datacenter,
        HOUSE.rules_version,
        True,
    )


async def test_a_profile_is_used_from_the_next_day_on(days: Days) -> None:
    await days.land(SOME, DAY - ONE_DAY)
    first = await use_profile(days.conn, "one", PTMG_2_3, today=DAY - ONE_DAY)
    assert first == DAY
    # What was told for a day that has not come holds no more, and what held until now holds before.
    assert await use_profile(days.conn, "one", HOUSE, today=DAY - ONE_DAY) == DAY
    await days.land(SOME)
    await days.land(SOME, DAY - 2 * ONE_DAY)
    profiles = [await days.profile(DAY - place * ONE_DAY) for place in range(3)]
    assert profiles == [HOUSE, DEFAULT_PROFILE, DEFAULT_PROFILE]
    # Who has hits for days to come keeps what those were judged by.
    assert await use_profile(days.conn, "one", DEFAULT_PROFILE, today=DAY - ONE_DAY) == DAY + ONE_DAY
    assert await use_profile(days.conn, "nobody", PTMG_2_3, today=DAY) is None


async def test_hits_land_once_an_open_day_has_been_recounted_and_are_judged_by_its_new_profile(
    days: Days, second: Connection, ledger: Ledger, database: DatabaseSettings
) -> None:
    third = await connect(database, Role.INGEST, application_name="third")
    await days.land(SOME)
    transaction = second.transaction()
    await transaction.start()
    told = await recount_day(second, days.tenant_no, DAY, Counter(), profile=PTMG_2_3, is_open=True)
    assert told == RestatedDay(DAY, 1, 2, 1, 1, 1)
    landing = asyncio.create_task(days.land([Row(20, 0, 0, 1, 0), Row(21, 2, 1, 0, 0), Row(22, 0, 1, 0, 0)]))
    assert await is_waited_for(third, ledger.conn, second)
    await transaction.commit()
    await landing
    third.terminate()
    by_hand = await days.downloads()
    assert len(by_hand) == 2
    assert await days.recount() == Recount([], Counter())
    verdicts = await days.conn.fetch("select verdict from ts.listener_events order by segment_no, ordinal")
    assert [row["verdict"] for row in verdicts][-3:] == [Verdict.TINY_RANGE, Verdict.DATACENTER, 0]


async def test_a_day_that_became_final_is_begun_again(days: Days, second: Connection) -> None:
    await days.land(SOME)
    await days.finalise()
    async with second.transaction():
        assert await hold_day(second, days.tenant_no, DAY, open_too=True) is True
    # Who thought it open is told to try again; who thought it final while it is not, that it is not.
    with pytest.raises(Exception, match="has become final"):
        async with second.transaction():
            await recount_day(second, days.tenant_no, DAY, Counter(), is_open=True)
    await days.conn.execute("update ops.days set final_at = null")
    async with second.transaction():
        assert await recount_day(second, days.tenant_no, DAY, Counter()) is NotRestated.NOT_FINAL


@given(rows=ROWS, profiles=st.lists(st.sampled_from(PROFILES), min_size=1, max_size=3), is_final=st.booleans())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_recounts_are_what_would_have_landed_and_go_back(
    days: Days, rows: list[Row], profiles: list[Profile], is_final: bool
) -> None:
    landed, twin = DAY, DAY - ONE_DAY
    await days.forget(landed, twin)
    await days.land(rows, landed)
    hits, downloads = await days.hits(landed), await days.downloads(landed)
    assert await days.recount(None, landed) == Recount([], Counter())
    await days.choose(twin, profiles[-1])
    await days.land(rows, twin)
    assert await days.profile(twin) == profiles[-1]
    if is_final:
        await days.finalise()
    for profile in profiles:
        await days.recount(profile, landed)
        assert await days.recount(None, landed) == await days.recount(profile, landed) == Recount([], Counter())
        found = await days.downloads(landed)
        assert sum(row["evidence"] > Evidence.PROBE for row in await _rows(days, landed)) <= len(found)
    assert await days.comparable(landed) == await days.comparable(twin)
    await days.recount(DEFAULT_PROFILE, landed)
    assert (await days.hits(landed), await days.downloads(landed)) == (hits, downloads)


async def _rows(days: Days, day: dt.date) -> list[Any]:
    return list(await days.conn.fetch("select evidence from ts.downloads where day = $1", day))
