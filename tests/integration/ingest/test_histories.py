"""Histories: whatever order hits, late ones, new episodes and final days come in, rollups say what the hits say."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.hits import HitFlag
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Verdict
from ingest.pending import rejudge_pending
from ingest.rollups import refresh_rollups
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, write_segment
from tests.ledgers import NOW, Ledger

pytestmark = pytest.mark.anyio

RANGES: Final = ("", "bytes=0-1", "bytes=0-2000000", "bytes=5000000-5000100")


class Land(NamedTuple):
    """Hits are shipped: of an episode (the third is new), so many days and minutes ago, a listener and a range."""

    rows: list[tuple[int, int, int, int, int]]


class Finish(NamedTuple):
    """The days so far become final."""


class Publish(NamedTuple):
    """The feed brings the new episode, and what waited for it is judged again."""


class Refresh(NamedTuple):
    """A refresher's turn."""


Step = Land | Finish | Publish | Refresh

_ROW = st.tuples(
    st.integers(0, 2), st.integers(0, 2), st.integers(0, 600), st.integers(1, 3), st.integers(0, len(RANGES) - 1)
)
_LAND = st.builds(Land, st.lists(_ROW, min_size=1, max_size=8))
_STEPS = st.lists(
    st.one_of(_LAND, _LAND, st.builds(Refresh), st.builds(Finish), st.builds(Publish)), min_size=1, max_size=8
)
_names = count(1)

Counted = dict[tuple[int, dt.date], tuple[int, int, Counter[int]]]


async def by_hits(ledger: Ledger) -> Counted:
    """Count downloads, strict ones, and those of each quarter hour, from nothing but the hits."""
    rows = await ledger.conn.fetch(
        "select occurred_at, segment_no, ordinal, episode_no, listener_key, evidence from ts.listener_events"
        " where verdict = $1 and flags & $2 = 0",
        int(Verdict.ELIGIBLE),
        int(HitFlag.LATE),
    )
    best: dict[tuple[int, dt.date, object], tuple[int, dt.datetime, int, int]] = {}
    for at, segment_no, ordinal, episode_no, listener, evidence in rows:
        key = (episode_no, at.date(), listener)
        best[key] = min(best.get(key, (0, at, 0, 0)), (-evidence, at, segment_no, ordinal))
    counted: Counted = {}
    for (episode_no, day, _), (evidence, at, _, _) in best.items():
        downloads, strict, quarters = counted.get((episode_no, day), (0, 0, Counter()))
        quarters[at.hour * 4 + at.minute // 15] += 1
        counted[episode_no, day] = downloads + 1, strict + (evidence < -1), quarters
    return counted


async def by_rollups(ledger: Ledger) -> Counted:
    """Read the same from the rollups."""
    rows = await ledger.conn.fetch(
        "select episode_no, day, downloads, downloads_strict, quarters from app.metrics_daily where dimension = 'total'"
    )
    return {
        (row[0], row[1]): (row[2], row[3], Counter({place: n for place, n in enumerate(row[4]) if n})) for row in rows
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_rollups_are_what_the_hits_say_after_any_history(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, steps: Sequence[Step]
) -> None:
    # Hits of earlier examples stay: one more history before this one.
    new = f"new{next(_names)}"
    await ledger.conn.execute("update ops.days set final_at = null")
    before = await ledger.count("ts.listener_events") + await ledger.count("ops.pending_hits")
    asked = 0
    for step in steps:
        match step:
            case Land(rows):
                hits = [
                    make_hit(
                        NOW - dt.timedelta(days=days, minutes=minutes),
                        f"cdn.example.com/{('a', 'b', new)[episode]}.mp3",
                        address=f"192.0.2.{listener}",
                        byte_range=RANGES[byte_range],
                        arguments=f"pg={podcast.guid}",
                    )
                    for episode, days, minutes, listener, byte_range in rows
                ]
                write_segment(ledger.folder, hits)
                await ledger.ship_all()
                asked += len(hits)
            case Finish():
                await ledger.conn.execute("update ops.days set final_at = now()")
            case Publish():
                await make_podcast(database, podcast.tenant, make_episode(new))
                new = f"new{next(_names)}"
                while await rejudge_pending(ledger.conn, ledger.secrets):
                    pass
            case Refresh():
                await refresh_rollups(ledger.conn)
    await ledger.refresh()
    assert await ledger.count("ts.listener_events") + await ledger.count("ops.pending_hits") == before + asked
    assert await by_rollups(ledger) == await by_hits(ledger)
