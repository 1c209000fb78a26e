"""Histories: whatever lands, is final, restated, erased or dropped, in whatever order, rollups say what hits say.

What is said of days whose downloads have gone is what was said of them before.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from itertools import chain, count, pairwise
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.erasure import erase_tenant
from analytics_core.db.pool import Tenant, open_pool, tenant_transaction
from analytics_core.db.restating import NotRestated, find_late_hits, list_final_days
from analytics_core.db.spikes import Decision, decide
from analytics_core.hits import HitFlag
from analytics_core.ids import new_id
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Verdict
from ingest.pending import rejudge_pending
from ingest.restatements import restate, restate_due
from ingest.retention import drop_old
from ingest.rollups import refresh_listeners, refresh_rollups
from ingest.spikes import apply_due
from tests.factories import OVERCAST, MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import NOW, Ledger

pytestmark = pytest.mark.anyio

AGENTS: Final = (OVERCAST, b"AntennaPod/3.3.2", b"Googlebot/2.1 (+http://www.google.com/bot.html)")
RANGES: Final = ("", "bytes=0-1", "bytes=0-2000000", "bytes=5000000-5000100")


class Land(NamedTuple):
    """Hits are shipped, each of an episode, so many days and minutes ago, of a listener, a range, and an agent.

    The third episode is new, the fourth a guest's.
    """

    rows: list[tuple[int, int, int, int, int, int]]


class Finish(NamedTuple):
    """The days so far become final."""


class Publish(NamedTuple):
    """The feed brings the new episode, and what waited for it is judged again."""


class Refresh(NamedTuple):
    """A refresher's turn."""


class Restart(NamedTuple):
    """Ingest begins anew, and knows only what the database knows."""


class Restate(NamedTuple):
    """Late hits are taken in: all, as an operator has it done, or those that waited, as the job does."""

    is_by_hand: bool


class Decide(NamedTuple):
    """What an app asked for, in an hour so many hours ago, is accepted as a spike; or all such are reverted."""

    app: str
    hours: int
    accepts: bool


class Retire(NamedTuple):
    """Downloads of final days go, and hits with them or without."""

    with_hits: bool


class Erase(NamedTuple):
    """The guest is erased with all that was theirs; what is asked of them afterwards is an unknown episode's."""


Step = Land | Finish | Publish | Refresh | Restart | Restate | Decide | Retire | Erase

# Some of them in another month than the others.
_ROW = st.tuples(
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 600),
    st.integers(1, 3),
    st.integers(0, len(RANGES) - 1),
    st.integers(0, len(AGENTS) - 1),
)
_LAND = st.builds(Land, st.lists(_ROW, min_size=1, max_size=8))
_RESTATE = st.builds(Restate, st.booleans())
_DECIDE = st.builds(Decide, st.sampled_from(["Overcast", "AntennaPod"]), st.integers(0, 82), st.booleans())
_RETIRE = st.builds(Retire, st.booleans())
_REFRESH, _FINISH, _PUBLISH, _RESTART, _ERASE = map(st.builds, (Refresh, Finish, Publish, Restart, Erase))
# In pieces that belong together: of steps drawn one by one hardly any would find something to restate.
_CHAPTER: st.SearchStrategy[tuple[Step, ...]] = st.one_of(
    st.tuples(_LAND),
    st.tuples(_LAND, _FINISH, _LAND),
    st.tuples(_FINISH, _LAND, _RESTATE),
    st.tuples(_FINISH, _LAND, _REFRESH, _RESTATE),
    st.tuples(_LAND, _FINISH, _PUBLISH, _RESTATE),
    st.tuples(_LAND, _FINISH, _RETIRE, _LAND, _RESTATE),
    st.tuples(_LAND, _DECIDE, _LAND),
    st.tuples(_LAND, _DECIDE, _FINISH, _LAND, _DECIDE, _RESTATE),
    *map(st.tuples, (_RESTATE, _REFRESH, _FINISH, _PUBLISH, _RESTART, _ERASE)),
)
_STEPS = st.lists(_CHAPTER, min_size=2, max_size=7).map(lambda chapters: list(chain.from_iterable(chapters)))
_names = count(1)
_examples = count()
ONE_DAY: Final = dt.timedelta(days=1)
LONG_AGO: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
"""When episodes came out: before any of these days."""

Place = tuple[str, int, dt.date, str, str, str]
"""Whose (an episode's, a podcast's, a podcast's by days), its number, day, dimension, key, and what is counted."""


@pytest.fixture
async def podcast(database: DatabaseSettings) -> MadePodcast:
    episodes = [make_episode(name, published_at=LONG_AGO) for name in ("a", "b")]
    return await make_podcast(database, await make_tenant(database), *episodes)


async def by_hits(ledger: Ledger, first: dt.date, last: dt.date) -> Counter[Place]:
    """Count from nothing but the hits of some days."""
    rows = await ledger.conn.fetch(
        "select occurred_at, segment_no, ordinal, podcast_no, episode_no, listener_key, evidence, a.app"
        " from ts.listener_events left join ops.agents a using (agent_no) where verdict = $1 and flags & $2 = 0"
        " and (occurred_at at time zone 'UTC')::date between $3 and $4",
        int(Verdict.ELIGIBLE),
        int(HitFlag.LATE | HitFlag.SPIKE),
        first,
        last,
    )
    best: dict[tuple[int, dt.date, object], tuple[int, dt.datetime, int, int, int, str]] = {}
    for at, segment_no, ordinal, podcast_no, episode_no, listener, evidence, app in rows:
        hit = (-evidence, at, segment_no, ordinal, podcast_no, app)
        key = (episode_no, at.date(), listener)
        best[key] = min(best.get(key, hit), hit)
    counted: Counter[Place] = Counter()
    for (episode_no, day, _), (evidence, at, _, _, podcast_no, app) in best.items():
        quarter = at.hour * 4 + at.minute // 15
        for dimension, name in (("total", ""), ("app", app)):
            for measure in ("all", "strict")[: 1 + (evidence < -1)]:
                counted["episode", episode_no, day, dimension, name, f"{measure} {quarter}"] += 1
                counted["podcast", podcast_no, day, dimension, name, f"{measure} {quarter}"] += 1
                counted["days", podcast_no, day, dimension, name, measure] += 1
    return counted


async def by_rollups(ledger: Ledger) -> Counter[Place]:
    """Read the same from the rollups."""
    counted: Counter[Place] = Counter()
    for row in await ledger.conn.fetch("select * from app.metrics_daily where dimension in ('total', 'app')"):
        place = ("episode", row["episode_no"], row["day"], row["dimension"], row["key"])
        assert (row["downloads"], row["downloads_strict"]) == (sum(row["quarters"]), sum(row["quarters_strict"]))
        for measure, quarters in (("all", row["quarters"]), ("strict", row["quarters_strict"])):
            counted.update({(*place, f"{measure} {quarter}"): many for quarter, many in enumerate(quarters)})
    for row in await ledger.conn.fetch("select * from app.podcast_daily where dimension in ('total', 'app')"):
        place = ("podcast", row["podcast_no"], row["day"], row["dimension"], row["key"])
        for measure, running in (("all", row["running"]), ("strict", row["running_strict"])):
            counted.update({(*place, f"{measure} {quarter}"): many for quarter, many in enumerate(steps_of(running))})
    for row in await ledger.conn.fetch("select * from app.podcast_months where dimension in ('total', 'app')"):
        for measure, running in (("all", row["running"]), ("strict", row["running_strict"])):
            for number, many in enumerate(steps_of(running)):
                day = row["month"] + dt.timedelta(days=number)
                counted["days", row["podcast_no"], day, row["dimension"], row["key"], measure] += many
    return +counted


async def restate_all(ledger: Ledger, first: dt.date, last: dt.date) -> None:
    """Take in what is late on these days, as the command does."""
    late: dict[int, list[dt.date]] = {}
    for day in await list_final_days(ledger.conn, first=first, until=last + ONE_DAY):
        for found in await find_late_hits(ledger.conn, day):
            late.setdefault(found.tenant_no, []).append(day)
    for tenant_no, days in late.items():
        outcomes = await restate(ledger.conn, tenant_no, days, reason="test", origin="command", clock=ledger.clock)
        assert [day for day, _ in outcomes] == days
        for day, outcome in outcomes:
            left = [found.tenant_no for found in await find_late_hits(ledger.conn, day)]
            assert (tenant_no in left) is isinstance(outcome, NotRestated)


async def decide_all(ledger: Ledger, podcast: MadePodcast, app: str, at: dt.datetime, *, accepts: bool) -> None:
    """Accept an app's hits of an hour as a spike, or revert all that are accepted; what cannot be is taken back."""
    begins = at.replace(minute=0)
    if accepts:
        await ledger.conn.execute(
            "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, app, usual, hits,"
            " downloads, episodes, found_at) values ($1, $2, $3, 'agent', $4, $5, $6, '{0}', 0, 0, 0, $5)"
            " on conflict do nothing",
            podcast.tenant.tenant_no,
            new_id(),
            podcast.podcast_no,
            begins,
            begins + dt.timedelta(hours=1),
            app,
        )
    spikes = await ledger.conn.fetch(
        "select spike_id from app.spikes where case when $1 then state in ('open', 'reverted') and begins_at = $2"
        " else state = 'accepted' end",
        accepts,
        begins,
    )
    for row in spikes:
        decision: Decision = "accepted" if accepts else "reverted"
        assert await decide(ledger.conn, row["spike_id"], decision, reason="test", key_id=None, now=NOW)
    done = await apply_due(ledger.conn, clock=ledger.clock)
    assert done["decisions"] + done["refused"] == len(spikes)


async def retire(ledger: Ledger, *, with_hits: bool) -> set[tuple[int, dt.date]]:
    """Let what is old go, once all is made of it; say of which tenants' days anything is gone."""
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue
    await ledger.conn.execute("update ops.days set final_at = $1 where final_at is not null", NOW - 1000 * ONE_DAY)
    await drop_old(ledger.conn, now=NOW + 1000 * ONE_DAY, hits_months=1 if with_hits else 1000)
    return await list_gone(ledger)


async def list_gone(ledger: Ledger) -> set[tuple[int, dt.date]]:
    """Say of which tenants' days hits or downloads are gone."""
    gone = await ledger.conn.fetch(
        "select tenant_no, day from ops.days"
        " where downloads_dropped_at is not null or hits_dropped_at is not null or hits_incomplete"
    )
    return {(row["tenant_no"], row["day"]) for row in gone}


async def owners(ledger: Ledger) -> dict[tuple[str, int], int]:
    """Say whose each episode and podcast is."""
    rows = await ledger.conn.fetch("select episode_no, podcast_no, tenant_no from app.episodes")
    of_episodes = {("episode", row["episode_no"]): row["tenant_no"] for row in rows}
    return of_episodes | {(kind, row["podcast_no"]): row["tenant_no"] for row in rows for kind in ("podcast", "days")}


def steps_of(running: Sequence[int]) -> list[int]:
    """Take a running sum apart."""
    return [after - before for before, after in pairwise([0, *running])]


async def count_hits(ledger: Ledger) -> int:
    """Count the hits that are kept, wherever."""
    return await ledger.count("ts.listener_events") + await ledger.count("ops.pending_hits")


async def erase(database: DatabaseSettings, tenant: Tenant) -> None:
    """Erase a tenant, as the owner does."""
    pool = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    async with tenant_transaction(pool, tenant) as conn:
        await erase_tenant(conn, tenant)
    await pool.close()


def months_earlier(at: dt.datetime, months: int) -> dt.datetime:
    """Go back some months, to the same day: the second."""
    number = at.year * 12 + at.month - 1 - months
    return at.replace(year=number // 12, month=number % 12 + 1)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_rollups_are_what_the_hits_say_after_any_history(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, steps: Sequence[Step]
) -> None:
    # Days of this example's own as a rule, as some that were dropped cannot be opened again; what others left stays.
    now = months_earlier(NOW, 2 * (next(_examples) % 50))
    first, last = (now - 4 * ONE_DAY).date(), now.date()
    new, guest = f"new{next(_names)}", f"guest{next(_names)}"
    tenant = await make_tenant(database, guest)
    await make_podcast(database, tenant, make_episode(guest, published_at=LONG_AGO))
    ledger.pipeline.catalogue.forget()
    kept = await count_hits(ledger)
    await ledger.refresh()
    gone = await list_gone(ledger)

    async def counted() -> Counter[Place]:
        """Count what the hits of this example's days say; of days of which anything is gone what was said before."""
        owner = await owners(ledger)
        said = await by_hits(ledger, first, last)
        return Counter(
            {place: many for place, many in said.items() if (owner[place[0], place[1]], place[2]) not in gone}
        ) + Counter({place: many for place, many in settled.items() if (place[0], place[1]) in owner})

    async def shown() -> Counter[Place]:
        return Counter({place: many for place, many in (await by_rollups(ledger)).items() if first <= place[2] <= last})

    async def settle() -> Counter[Place]:
        """Keep what is said of days of which anything is gone."""
        owner = await owners(ledger)
        return Counter(
            {place: many for place, many in (await shown()).items() if (owner[place[0], place[1]], place[2]) in gone}
        )

    settled = await settle()
    for step in steps:
        match step:
            case Land(rows):
                hits = [
                    make_hit(
                        now - dt.timedelta(days=days, minutes=minutes),
                        f"cdn.example.com/{('a', 'b', new, guest)[episode]}.mp3",
                        address=f"192.0.2.{listener}",
                        byte_range=RANGES[byte_range],
                        agent=AGENTS[agent],
                        arguments=f"pg={podcast.guid}",
                    )
                    for episode, days, minutes, listener, byte_range, agent in rows
                ]
                write_segment(ledger.folder, hits)
                await ledger.ship_all()
                kept += len(hits)
                assert await count_hits(ledger) == kept
            case Finish():
                await ledger.conn.execute("update ops.days set final_at = now() where final_at is null")
            case Publish():
                await make_podcast(database, podcast.tenant, make_episode(new, published_at=LONG_AGO))
                new = f"new{next(_names)}"
                while await rejudge_pending(ledger.conn, ledger.secrets):
                    pass
                ledger.pipeline.catalogue.forget()
                assert await count_hits(ledger) == kept
            case Refresh():
                await refresh_rollups(ledger.conn)
            case Restart():
                ledger.pipeline = ledger.make_pipeline()
                ledger.shipper = ledger.make_shipper()
            case Restate(is_by_hand):
                if is_by_hand:
                    await restate_all(ledger, first, last)
                else:
                    await restate_due(ledger.conn, clock=ledger.clock)
                    assert await restate_due(ledger.conn, clock=ledger.clock) == {"days": 0, "hits": 0, "refused": 0}
            case Decide(app, hours, accepts):
                await decide_all(ledger, podcast, app, now - dt.timedelta(hours=hours), accepts=accepts)
            case Retire(with_hits):
                before = await counted()
                gone = await retire(ledger, with_hits=with_hits)
                # Nothing but what is gone is different.
                settled = await settle()
                assert await shown() == before
                kept = await count_hits(ledger)
            case Erase():
                await erase(database, tenant)
                kept = await count_hits(ledger)
    await ledger.refresh()
    assert await count_hits(ledger) == kept
    assert await shown() == await counted()
