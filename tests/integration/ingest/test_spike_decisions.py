"""Spikes that are accepted leave their hits out of downloads, and reverting them brings back the very rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import asyncpg
import pytest

from analytics_core.db.pool import Pool, open_pool, tenant_transaction
from analytics_core.db.restatements import list_restatements
from analytics_core.db.restating import NotRestated
from analytics_core.db.spikes import (
    SpikeRow,
    decide,
    find_refusal,
    find_spike,
    list_due_spikes,
    list_effects,
    list_spike_hits,
    list_spike_hours,
)
from analytics_core.hits import HitFlag
from analytics_core.ids import new_id
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.rollups import refresh_listeners
from ingest.spikes import apply_due, carry_out
from tests.factories import OVERCAST, MadePodcast, make_hit, write_segment
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio

ANTENNA: Final = b"AntennaPod/3.3.2"
NOTHING: Final = {"decisions": 0, "refused": 0}
HOUR: Final = minute(0)


@pytest.fixture
async def api(database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = await open_pool(database, Role.API, application_name="test", max_size=2)
    yield pool
    pool.terminate()


async def land(ledger: Ledger, *hits: tuple[str, int, bytes, dt.datetime]) -> None:
    write_segment(
        ledger.folder,
        [
            make_hit(at, f"cdn.example.com/{name}.mp3", address=f"192.0.2.{listener}", agent=agent)
            for name, listener, agent, at in sorted(hits, key=lambda hit: hit[3])
        ],
    )
    await ledger.ship_all()
    await settle(ledger)


async def settle(ledger: Ledger) -> None:
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue


async def finalise(ledger: Ledger) -> None:
    await ledger.conn.execute("update ops.days set final_at = $1 where final_at is null", NOW)


async def flag(ledger: Ledger, podcast: MadePodcast, *, hours: int = 1, **what: Any) -> UUID:
    """Enter a spike of the hour before ``NOW`` as the job would; returns its id."""
    spike_id = new_id()
    columns = {"app": None, "user_agent": None, "asn": None, "country": None, "listener_key": None, **what}
    await ledger.conn.execute(
        "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, app, user_agent, asn,"
        " country, listener_key, usual, hits, downloads, episodes, found_at)"
        " values ($1, $2, $3, 'agent', $4, $5, $6, $7, $8, $9, $10, '{0}', 0, 0, 0, $11)",
        podcast.tenant.tenant_no,
        spike_id,
        podcast.podcast_no,
        HOUR,
        HOUR + hours * dt.timedelta(hours=1),
        *columns.values(),
        NOW,
    )
    return spike_id


async def settle_on(ledger: Ledger, spike_id: UUID, decision: Any) -> dict[str, int]:
    assert await decide(ledger.conn, spike_id, decision, reason="a crawler", key_id=None, now=NOW)
    done = dict(await apply_due(ledger.conn, clock=ledger.clock))
    await settle(ledger)
    return done


async def read(ledger: Ledger, spike_id: UUID) -> SpikeRow:
    row = await find_spike(ledger.conn, spike_id)
    assert row is not None
    return row


async def flags(ledger: Ledger) -> list[int]:
    rows = await ledger.conn.fetch("select flags from ts.listener_events order by occurred_at, segment_no, ordinal")
    return [row["flags"] for row in rows]


async def everything(ledger: Ledger) -> list[tuple[object, ...]]:
    """All figures, and what they are made of; but for versions, which only ever grow."""
    queries = (
        "select segment_no, ordinal, flags from ts.listener_events order by 1, 2",
        "select episode_no, day, dimension, key, quarters, quarters_strict from app.metrics_daily order by 1, 2, 3, 4",
        "select podcast_no, day, dimension, key, running, running_strict from app.podcast_daily order by 1, 2, 3, 4",
        "select podcast_no, month, dimension, key, running from app.podcast_months order by 1, 2, 3, 4",
        "select podcast_no, episode_no, month, days, former, listeners from app.listener_months order by 1, 2, 3",
        "select * from ts.downloads order by day, episode_no, listener_key",
    )
    return [tuple(row) for query in queries for row in await ledger.conn.fetch(query)]


async def test_an_accepted_spike_makes_no_download_and_reverting_it_brings_back_the_very_rows(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    await land(
        ledger,
        *[("a", number, OVERCAST, minute(number)) for number in range(5)],
        *[("a", number, ANTENNA, minute(10 + number)) for number in range(7)],
        # Outside of the spike's hour: the one comes for another episode, the other for the same.
        ("b", 1, ANTENNA, minute(-90)),
        ("a", 2, ANTENNA, minute(-90)),
    )
    await finalise(ledger)
    before = await everything(ledger)
    spike_id = await flag(ledger, podcast, app="AntennaPod")
    assert await settle_on(ledger, spike_id, "accepted") == {"decisions": 1, "refused": 0}
    assert sorted(await flags(ledger)) == [0] * 7 + [HitFlag.SPIKE] * 7
    assert len(await ledger.downloads()) == 5 + 2
    assert (
        await ledger.conn.fetchval(
            "select sum(downloads) from app.podcast_daily where dimension = 'app' and key = 'AntennaPod'"
        )
        == 2
    )
    accepted = await read(ledger, spike_id)
    assert (accepted.state, accepted.is_due, accepted.applied_at) == ("accepted", False, NOW)
    # Once only.
    assert dict(await apply_due(ledger.conn, clock=ledger.clock)) == NOTHING
    assert not await decide(ledger.conn, spike_id, "accepted", reason="again", key_id=None, now=NOW)
    assert await settle_on(ledger, spike_id, "reverted") == {"decisions": 1, "refused": 0}
    assert await everything(ledger) == before
    # And once more, as often as one likes.
    await settle_on(ledger, spike_id, "accepted")
    assert len(await ledger.downloads()) == 5 + 2


async def test_both_are_recorded_with_who_and_why(ledger: Ledger, podcast: MadePodcast, api: Pool) -> None:
    await land(ledger, *[("a", number, ANTENNA, minute(number)) for number in range(3)])
    await finalise(ledger)
    spike_id, key_id = await flag(ledger, podcast, user_agent=ANTENNA.decode()), new_id()
    await settle_on(ledger, spike_id, "accepted")
    async with tenant_transaction(api, podcast.tenant) as conn:
        assert await decide(conn, spike_id, "reverted", reason="people after all", key_id=key_id, now=NOW)
        assert not await decide(conn, spike_id, "accepted", reason="no", key_id=key_id, now=NOW)
    await apply_due(ledger.conn, clock=ledger.clock)
    async with tenant_transaction(api, podcast.tenant) as conn:
        rows = await list_restatements(conn, after=None, limit=10)
    told = {
        row.reason: (row.origin, row.key_id, row.state, row.hits, row.downloads_before, row.downloads_after)
        for row in rows
    }
    assert told == {
        "spike accepted: a crawler": ("command", None, "done", 3, 3, 0),
        "spike reverted: people after all": ("key", key_id, "done", 3, 0, 3),
    }


async def test_what_two_accepted_spikes_have_in_common_stays_out_until_both_are_reverted(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    await land(ledger, *[("a", number, agent, minute(number)) for number in range(3) for agent in (OVERCAST, ANTENNA)])
    await finalise(ledger)
    keys = await ledger.conn.fetch(
        "select listener_key, user_agent from ts.listener_events join ops.agents using (agent_no)"
        " where user_agent = $1 order by occurred_at",
        ANTENNA.decode(),
    )
    by_agent = await flag(ledger, podcast, app="AntennaPod")
    by_key = await flag(ledger, podcast, listener_key=keys[0]["listener_key"])
    await settle_on(ledger, by_agent, "accepted")
    await settle_on(ledger, by_key, "accepted")
    assert len(await ledger.downloads()) == 3
    await settle_on(ledger, by_agent, "reverted")
    assert len(await ledger.downloads()) == 5
    await settle_on(ledger, by_key, "reverted")
    assert len(await ledger.downloads()) == 6
    assert set(await flags(ledger)) == {0}


async def test_a_renamed_app_is_cleared_all_the_same(ledger: Ledger, podcast: MadePodcast) -> None:
    await land(ledger, *[("a", number, ANTENNA, minute(number)) for number in range(3)])
    await finalise(ledger)
    spike_id = await flag(ledger, podcast, app="AntennaPod")
    await settle_on(ledger, spike_id, "accepted")
    await ledger.conn.execute("update ops.agents set app = 'Earwig'")
    await settle_on(ledger, spike_id, "reverted")
    assert set(await flags(ledger)) == {0}
    assert len(await ledger.downloads()) == 3


async def test_days_whose_hits_are_gone_are_refused_and_the_decision_taken_back(
    ledger: Ledger, podcast: MadePodcast, api: Pool
) -> None:
    await land(ledger, ("a", 1, ANTENNA, minute(1)))
    await finalise(ledger)
    spike_id = await flag(ledger, podcast, app="AntennaPod")
    await ledger.conn.execute("update ops.days set hits_incomplete = true")
    async with tenant_transaction(api, podcast.tenant) as conn:
        assert await find_refusal(conn, DAY) is NotRestated.HITS_GONE
    assert await settle_on(ledger, spike_id, "accepted") == {"decisions": 0, "refused": 1}
    row = await read(ledger, spike_id)
    assert (row.state, row.is_due, row.refusal) == ("open", False, NotRestated.HITS_GONE.value)
    assert set(await flags(ledger)) == {0}
    assert await ledger.count("app.restatements") == 0


async def test_a_decision_that_somebody_else_carried_out_changes_nothing(ledger: Ledger, podcast: MadePodcast) -> None:
    await land(ledger, ("a", 1, ANTENNA, minute(1)))
    await finalise(ledger)
    spike_id = await flag(ledger, podcast, app="AntennaPod")
    assert await decide(ledger.conn, spike_id, "accepted", reason="a crawler", key_id=None, now=NOW)
    (due,) = await list_due_spikes(ledger.conn, limit=10)
    assert await carry_out(ledger.conn, due, clock=ledger.clock) is not None
    assert await carry_out(ledger.conn, due, clock=ledger.clock) is None
    assert await ledger.count("app.restatements") == 1


async def test_what_a_spike_changes_is_told_before_and_after(ledger: Ledger, podcast: MadePodcast, api: Pool) -> None:
    await land(
        ledger,
        *[("a", number, ANTENNA, minute(number)) for number in range(3)],
        ("a", 9, OVERCAST, minute(3)),
        ("b", 1, ANTENNA, minute(4)),
        ("b", 1, ANTENNA, minute(-90)),
    )
    await finalise(ledger)
    spike_id = await flag(ledger, podcast, app="AntennaPod")
    told = []
    for decision in (None, "accepted"):
        if decision is not None:
            await settle_on(ledger, spike_id, decision)
        spike = await read(ledger, spike_id)
        async with tenant_transaction(api, podcast.tenant, readonly=True) as conn:
            effects = await list_effects(conn, spike, limit=10)
            hits = await list_spike_hits(conn, spike, limit=2)
            hours = await list_spike_hours(conn, spike)
        told.append(([(row.title, row.with_spike, row.without_spike) for row in effects], hits, hours))
    # Who also came outside of the spike is a download without it.
    assert told[0][0] == [("Episode a", 4, 1)]
    assert len(told[0][1]) == 2
    assert [(row.hour, row.requests) for row in told[0][2]] == [(9, 1), (11, 4)]
    assert told[0] == told[1]


async def test_others_neither_see_nor_decide_nor_flag(
    ledger: Ledger, podcast: MadePodcast, api: Pool, database: DatabaseSettings
) -> None:
    from tests.factories import make_tenant

    spike_id = await flag(ledger, podcast, app="AntennaPod")
    async with tenant_transaction(api, await make_tenant(database, "two")) as conn:
        assert await find_spike(conn, spike_id) is None
        assert not await decide(conn, spike_id, "dismissed", reason="x", key_id=new_id(), now=NOW)
    async with tenant_transaction(api, podcast.tenant) as conn:
        assert await find_spike(conn, spike_id) is not None
        assert await decide(conn, spike_id, "dismissed", reason="x", key_id=new_id(), now=NOW)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.fetchval("select ops.flag_spike($1)", spike_id)
