"""Histories: in whatever order hits, new episodes, final days and erasures come, rollups say what the hits say."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from itertools import count, pairwise
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.erasure import erase_tenant
from analytics_core.db.pool import Tenant, open_pool, tenant_transaction
from analytics_core.hits import HitFlag
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Verdict
from ingest.pending import rejudge_pending
from ingest.rollups import refresh_rollups
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


class Erase(NamedTuple):
    """The guest is erased with all that was theirs; what is asked of them afterwards is an unknown episode's."""


Step = Land | Finish | Publish | Refresh | Restart | Erase

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
_STEPS = st.lists(
    st.one_of(_LAND, _LAND, *map(st.builds, (Refresh, Finish, Publish, Restart, Erase))), min_size=1, max_size=10
)
_names = count(1)

Place = tuple[str, int, dt.date, str, str, str]
"""Whose (an episode's, a podcast's, a podcast's by days), its number, day, dimension, key, and what is counted."""


async def by_hits(ledger: Ledger) -> Counter[Place]:
    """Count from nothing but the hits."""
    rows = await ledger.conn.fetch(
        "select occurred_at, segment_no, ordinal, podcast_no, episode_no, listener_key, evidence, a.app"
        " from ts.listener_events left join ops.agents a using (agent_no) where verdict = $1 and flags & $2 = 0",
        int(Verdict.ELIGIBLE),
        int(HitFlag.LATE),
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


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_rollups_are_what_the_hits_say_after_any_history(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, steps: Sequence[Step]
) -> None:
    # Hits of earlier examples stay: one more history before this one.
    new, guest = f"new{next(_names)}", f"guest{next(_names)}"
    tenant = await make_tenant(database, guest)
    await make_podcast(database, tenant, make_episode(guest))
    ledger.pipeline.catalogue.forget()
    await ledger.conn.execute("update ops.days set final_at = null")
    kept = await count_hits(ledger)
    for step in steps:
        match step:
            case Land(rows):
                hits = [
                    make_hit(
                        NOW - dt.timedelta(days=days, minutes=minutes),
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
                await ledger.conn.execute("update ops.days set final_at = now()")
            case Publish():
                await make_podcast(database, podcast.tenant, make_episode(new))
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
            case Erase():
                await erase(database, tenant)
                kept = await count_hits(ledger)
    await ledger.refresh()
    assert await count_hits(ledger) == kept
    assert await by_rollups(ledger) == await by_hits(ledger)
