"""The ledger of answers balances: what trackers answered has landed, waits, is dead or was lost, whatever happens."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from analytics_core.accounts import ANSWERED, DAMAGED, difference
from analytics_core.db.ledger import drop_entries, link_segments, read_accounts
from analytics_core.hits import Hit
from analytics_core.settings import DatabaseSettings
from analytics_core.spool import (
    FrameKind,
    SegmentHeader,
    Totals,
    encode_header,
    encode_hit,
    encode_hits_frame,
    encode_totals_frame,
    segment_name,
)
from ingest.pending import rejudge_pending
from tests.factories import MadePodcast, make_hit, write_segment
from tests.integration.ingest.test_dead_letters import BAD, refuse
from tests.ledgers import NOW, Ledger, minute

pytestmark = pytest.mark.anyio

NUMBERS = itertools.count(1)
"""Every life has a source of its own: whose a segment is of which no frame is whole, its name alone tells."""

DAY_OF_NOW = dt.timedelta(days=1)


async def accounts(ledger: Ledger) -> dict[str, int]:
    return await read_accounts(ledger.conn, start=NOW - DAY_OF_NOW, end=NOW + DAY_OF_NOW)


async def settle(ledger: Ledger) -> dict[str, int]:
    """Ship all, link all, and return what the ledger says."""
    await ledger.ship_all()
    while await link_segments(ledger.conn):
        continue
    found = await accounts(ledger)
    assert difference(found) == 0, found
    return {what: hits for what, hits in found.items() if hits}


class Life:
    """One process of a tracker, writing segments as trackers do."""

    def __init__(self, ledger: Ledger, number: int) -> None:
        self.folder = ledger.folder
        self.source = f"tracker-{number}"
        self.totals = Totals()
        self.created = NOW - dt.timedelta(hours=2)
        self.parts: list[bytes] = []
        self.begin()
        self.write(encode_totals_frame(FrameKind.TOTALS, self.totals))

    def begin(self) -> None:
        self.created += dt.timedelta(seconds=1)
        created_us = int(self.created.timestamp()) * 1_000_000
        self.header = SegmentHeader(uuid4(), created_us, self.source)
        self.parts = [encode_header(self.header)]

    def write(self, frame: bytes) -> None:
        self.parts.append(frame)

    def record(self, hits: list[Hit]) -> None:
        self.totals.answered += len(hits)
        self.totals.recorded += len(hits)
        rows, texts = zip(*map(encode_hit, hits), strict=True)
        self.write(encode_hits_frame(rows, texts, self.totals))

    def lose(self, reason: str, count: int) -> None:
        self.totals.answered += count
        self.totals.lost[reason] = self.totals.lost.get(reason, 0) + count

    def end(self, *, damaged: set[int], sealed: bool = True, is_gone: bool = False) -> None:
        """Put the segment in hand into the spool, some of its frames damaged, or not at all."""
        if sealed:
            self.write(encode_totals_frame(FrameKind.SEAL, self.totals))
        parts = [
            part[:20] + bytes([part[20] ^ 1]) + part[21:] if place in damaged else part
            for place, part in enumerate(self.parts)
        ]
        if not is_gone:
            self.folder.mkdir(exist_ok=True)
            path = self.folder / f"{segment_name(self.header)}.{'sealed' if sealed else 'open'}"
            path.write_bytes(b"".join(parts))
        self.begin()


def hits_of(count: int, *, bad: bool = False, target: str = "cdn.example.com/a.mp3") -> list[Hit]:
    agent = BAD if bad else b"Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"
    return [make_hit(minute(number), target, agent=agent) for number in range(count)]


async def test_losses_told_between_segments_are_entered(ledger: Ledger, podcast: MadePodcast) -> None:
    life = Life(ledger, 0)
    life.lose("write_error", 2)
    life.record(hits_of(3))
    life.end(damaged=set())
    life.lose("disk_full", 5)
    life.record(hits_of(4))
    life.lose("flood", 1)
    life.end(damaged=set())
    assert await settle(ledger) == {
        ANSWERED: 15,
        "eligible": 7,
        "lost:write_error": 2,
        "lost:disk_full": 5,
        "lost:flood": 1,
    }


async def test_hits_of_a_segment_that_is_gone_are_missed(ledger: Ledger, podcast: MadePodcast) -> None:
    life = Life(ledger, 0)
    life.record(hits_of(3))
    life.end(damaged=set())
    life.record(hits_of(4))
    life.end(damaged=set(), is_gone=True)
    life.record(hits_of(2))
    life.end(damaged=set())
    assert await settle(ledger) == {ANSWERED: 9, "eligible": 5, DAMAGED: 4}


async def test_hits_that_wait_change_their_account_when_they_are_judged(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    write_segment(ledger.folder, hits_of(3, target="cdn.example.com/new.mp3"))
    assert await settle(ledger) == {ANSWERED: 3, "pending": 3}
    await ledger.conn.execute(
        "update ops.pending_hits p set enclosure_key = o.enclosure_key, bare_key = o.bare_key"
        " from app.enclosure_owners o where o.episode_no = $1",
        podcast.episodes["a"],
    )
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 3
    assert await settle(ledger) == {ANSWERED: 3, "eligible": 3}
    assert await drop_entries(ledger.conn, before=NOW) > 0
    assert await accounts(ledger) == {}


# Frames that are damaged, by numbers that are taken modulo those that may be.
WOUNDS = st.sets(st.integers(0, 11), max_size=2)

ACTS = st.lists(
    st.tuples(st.just("record"), st.integers(1, 5), WOUNDS)
    | st.tuples(st.just("bad"), st.integers(1, 2), WOUNDS)
    | st.tuples(st.just("unknown"), st.integers(1, 2), WOUNDS)
    | st.tuples(st.sampled_from(["flood", "disk_full", "write_error"]), st.integers(1, 9), WOUNDS)
    | st.tuples(st.sampled_from(["beat", "seal"]), st.just(0), WOUNDS),
    max_size=15,
)


class Plan(NamedTuple):
    """What one process does, how it ends, and how ingest takes it."""

    acts: list[tuple[str, int, set[int]]]
    wounds: set[int]
    is_killed: bool
    batch_hits: int
    is_shipped_between: bool


def live(life: Life, plan: Plan) -> None:
    for act, count, wounds in plan.acts:
        match act:
            case "record":
                life.record(hits_of(count))
            case "bad":
                life.record(hits_of(count, bad=True))
            case "unknown":
                life.record(hits_of(count, target="cdn.example.com/none.mp3"))
            case "beat":
                life.write(encode_totals_frame(FrameKind.TOTALS, life.totals))
            case "seal":
                life.end(damaged={1 + wound % len(life.parts) for wound in wounds})
            case reason:
                life.lose(reason, count)
    # The last frame of a life is whole: what no frame tells of, nobody can know.
    damaged = {1 + wound % (len(life.parts) - 1) for wound in plan.wounds} if len(life.parts) > 1 else set()
    life.write(encode_totals_frame(FrameKind.TOTALS, life.totals))
    life.end(damaged=damaged, sealed=not plan.is_killed)


PLANS = st.lists(st.builds(Plan, ACTS, WOUNDS, st.booleans(), st.integers(1, 20), st.booleans()), max_size=3)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLANS)
# All that a process answered was lost before its second segment began.
@example([Plan([("flood", 1, set()), ("seal", 0, set())], set(), False, 1, False)])
async def test_it_balances_under_random_histories(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, plans: list[Plan]
) -> None:
    if await ledger.conn.fetchval("select to_regproc('public.refuse') is null"):
        await refuse(database, "ts.listener_events")
    before = await settle(ledger)
    answered = told = 0
    for plan in plans:
        life = Life(ledger, next(NUMBERS))
        live(life, plan)
        answered += life.totals.answered
        told += sum(life.totals.lost.values())
        ledger.shipper = ledger.make_shipper(batch_hits=plan.batch_hits)
        if plan.is_shipped_between:
            await ledger.shipper.ship(ledger.conn)
            await link_segments(ledger.conn)
    after = await settle(ledger)

    def grown(what: str) -> int:
        return after.get(what, 0) - before.get(what, 0)

    assert grown(ANSWERED) == answered
    assert sum(grown(what) for what in after if what.startswith("lost:") and what != DAMAGED) == told
    assert after.get("dead", 0) == await ledger.count("ops.dead_letters")
    assert after.get("pending", 0) == await ledger.count("ops.pending_hits")
    assert after.get("eligible", 0) == await ledger.count("ts.listener_events")
