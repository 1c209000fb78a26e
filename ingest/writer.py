"""Landing: judged hits, downloads, marks, waiting hits and the checkpoint, all in one transaction or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, LiteralString

import asyncpg
import numpy as np
import numpy.typing as npt

from analytics_core.db.day_sources import PodcastDay, find_day_sources
from analytics_core.db.dead_letters import DeadLetter, add_dead_letters
from analytics_core.db.hits import (
    DayPartitions,
    Downloads,
    HitColumns,
    HitRows,
    HitSource,
    add_marks,
    copy_hits,
    encode_hits,
    ensure_partitions,
    find_partitions,
    lock_finality,
    note_days,
    upsert_downloads,
)
from analytics_core.db.ledger import Entry, add_entries
from analytics_core.db.links import add_clicks
from analytics_core.db.ownership import lock_ownership, read_ownership
from analytics_core.db.pending import PendingHit, add_pending
from analytics_core.db.pool import Connection
from analytics_core.db.segments import Checkpoint, advance_cutoff, move_checkpoint
from analytics_core.db.unknown_hosts import note_sightings
from analytics_core.hits import MAX_AGENT_BYTES, HitFlag
from analytics_core.hosts import HostSighting
from analytics_core.verdicts import NO_VERDICT, Verdict
from ingest.batches import Batch, Texts, distinct
from ingest.bookkeeping import book_judged
from ingest.day_profiles import judge_by_days
from ingest.merging import learn_days, merge_days, sort_out
from ingest.metrics import Metrics
from ingest.pipeline import MAX_TARGET_CHARS, Judged
from ingest.sieve import Places, Refusal, Sieve, describe, is_refusal
from ingest.winners import pick_winners
from ingest.written_keys import WrittenKeys

__all__ = (
    "CUTOFF_SOURCE",
    "TRY_AGAIN",
    "FenceLost",
    "OwnershipMoved",
    "count_landed",
    "hold_ownership",
    "land_apart",
    "land_batch",
    "write_hits",
    "write_letter",
)

CUTOFF_SOURCE: Final = "spool"
"""Under which name ingest says how far the ledger is complete."""

TRY_AGAIN: Final = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""What passes by itself when the same transaction is tried once more."""

_EPOCH: Final = dt.date(1970, 1, 1)
_EPOCH_INSTANT: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

_AT_ONCE: Final[LiteralString] = """/* writer.at_once */ set constraints all immediate"""

_log = logging.getLogger("castledger.ingest.writer")


class FenceLost(Exception):
    """A batch's checkpoint had been moved by someone else: it has landed already, and nothing of it may land again."""


class OwnershipMoved(Exception):
    """A podcast moved to another tenant after the hits were judged: they have to be judged again."""


async def hold_ownership(conn: Connection, ownership: int) -> None:
    """Keep podcasts where they are until the transaction ends.

    Args:
        conn: In a transaction that has written nothing of the hits yet.
        ownership: The generation that the hits were judged under.

    Raises:
        OwnershipMoved: It is over.
    """
    await lock_ownership(conn)
    # In a statement of its own: its snapshot has to be taken when the lock is held.
    if await read_ownership(conn) != ownership:
        raise OwnershipMoved


def _pairs(hits: HitColumns) -> tuple[list[tuple[int, dt.date]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """List the distinct pairs of tenant and day, and for each hit the place of its own."""
    places, codes = distinct(hits.day, hits.tenant_no)
    pairs = [
        (tenant_no, _EPOCH + dt.timedelta(days=day))
        for tenant_no, day in zip(hits.tenant_no[places].tolist(), hits.day[places].tolist(), strict=True)
    ]
    return pairs, codes


def _replaced(hits: HitColumns, sources: Mapping[PodcastDay, HitSource]) -> npt.NDArray[np.bool_]:
    """Tell the hits of podcasts' days for which another source counts."""
    found = np.zeros(len(hits), np.bool_)
    for counted in set(sources.values()):
        days = [podcast_no << 32 | (day - _EPOCH).days for (podcast_no, day), one in sources.items() if one is counted]
        found |= np.isin(hits.podcast_no << 32 | hits.day, days) & (hits.source != int(counted))
    return found


async def _copy(
    conn: Connection, rows: HitRows, downloads: Downloads, written: WrittenKeys | None, partitions: DayPartitions
) -> None:
    """Write hits, laid out, and the downloads that they make."""
    if written is None:
        await copy_hits(conn, rows, partition=partitions.hits)
        await upsert_downloads(conn, downloads)
        return
    await learn_days(conn, downloads, written)
    # PostgreSQL takes some time for the hits, and nothing for downloads that are not sorted out yet.
    sorting = asyncio.create_task(asyncio.to_thread(sort_out, downloads, written))
    try:
        await copy_hits(conn, rows, partition=partitions.hits)
    except BaseException:
        sorting.cancel()
        raise
    await merge_days(conn, await sorting, written, partitions.downloads)


async def write_hits(
    conn: Connection,
    hits: HitColumns,
    *,
    winners: Downloads | None = None,
    rows: HitRows | None = None,
    written: WrittenKeys | None = None,
    late_flags: HitFlag = HitFlag.LATE,
) -> HitColumns:
    """Write judged hits with the downloads that they make.

    A hit of a day that has a profile of its own is judged by it. One of a day that is final is flagged ``LATE``, one of
    a podcast's day for which another source counts ``REPLACED``; both make no download.

    Args:
        conn: In a transaction.
        hits: New ones: no hit may be written twice.
        winners: The best of them as they are, where that is known already.
        rows: All of them as they are sent, where they have been laid out already.
        written: What this process knows to be there.
        late_flags: How a hit of a final day is flagged: ``LATE``, and what says more about it.

    Returns:
        The hits as they were written.
    """
    if not len(hits):
        return hits
    await lock_finality(conn)
    pairs, codes = _pairs(hits)
    days = {day for _, day in pairs}
    await ensure_partitions(conn, days)
    is_rekeyed = hits.flags & int(HitFlag.REKEYED) != 0
    rekeyed = {pairs[code] for code in np.unique(codes[is_rekeyed]).tolist()}
    noted = await note_days(conn, [pair for pair in pairs if pair[0]], rekeyed=rekeyed)
    if noted.profiles:
        hits = await judge_by_days(conn, hits, pairs, codes, noted.profiles)
        winners = rows = None
    if noted.final:
        late = np.array([pair in noted.final for pair in pairs], np.bool_)[codes]
        hits = dataclasses.replace(hits, flags=hits.flags | np.where(late, int(late_flags), 0))
        winners = rows = None
    replaced = _replaced(hits, await find_day_sources(conn, [pair for pair in pairs if pair[0]]))
    if replaced.any():
        hits = dataclasses.replace(hits, flags=hits.flags | np.where(replaced, int(HitFlag.REPLACED), 0))
        winners = rows = None
    partitions = await find_partitions(conn, *days) if len(days) == 1 else DayPartitions()
    downloads = pick_winners(hits) if winners is None else winners
    await _copy(conn, encode_hits(hits) if rows is None else rows, downloads, written, partitions)
    await add_marks(conn, downloads)
    return hits


async def _write_pending(conn: Connection, hits: Sequence[PendingHit]) -> None:
    """Write hits that wait; a day on which they are all that a tenant has becomes final like any other."""
    days = {(hit.tenant_no, hit.occurred_at.astimezone(dt.UTC).date()) for hit in hits if hit.tenant_no}
    if days:
        await lock_finality(conn)
        await note_days(conn, days)
    await add_pending(conn, hits)


async def land_batch(
    conn: Connection,
    judged: Judged,
    *,
    checkpoints: Sequence[Checkpoint],
    answers: Sequence[Entry] = (),
    cutoff: dt.datetime | None,
    written: WrittenKeys | None = None,
) -> None:
    """Land a batch in one transaction.

    Args:
        conn: Outside a transaction.
        judged: The batch.
        checkpoints: A step for each of its segments, the fence: all of them move, or nothing lands.
        answers: What the trackers say of the same steps.
        cutoff: Up to when the ledger is complete once the batch has landed; ``None`` when that is unknown.
        written: What this process knows to be there.

    Raises:
        FenceLost: Someone else landed it; nothing was written.
        OwnershipMoved: It was judged under owners who are not the owners any more; nothing was written.
    """
    async with conn.transaction():
        await _pass_fence(conn, judged, checkpoints)
        judged = await _write(conn, judged, written)
        await add_dead_letters(conn, judged.dead)
        await add_entries(conn, [*answers, *book_judged(judged)])
        await note_sightings(conn, judged.sightings)
        if cutoff is not None:
            await advance_cutoff(conn, source=CUTOFF_SOURCE, at=cutoff)


async def _pass_fence(conn: Connection, judged: Judged, checkpoints: Sequence[Checkpoint]) -> None:
    # In one order, and first of all: two shippers of one spool meet here, before either did any work.
    for step in sorted(checkpoints, key=lambda step: step.segment_id):
        if not await move_checkpoint(conn, step):
            raise FenceLost(f"segment {step.segment_id} has moved on from {step.before}")
    if judged.ownership is not None:
        await hold_ownership(conn, judged.ownership)


async def _write(conn: Connection, judged: Judged, written: WrittenKeys | None = None) -> Judged:
    """Write a batch; return it as it was written."""
    # Days before downloads, as everywhere, so that writers meet in one order.
    await _write_pending(conn, judged.pending)
    hits = await write_hits(conn, judged.hits, winners=judged.winners, rows=judged.rows, written=written)
    await add_clicks(conn, judged.clicks)
    return dataclasses.replace(judged, hits=hits)


async def land_apart(
    conn: Connection,
    judged: Judged,
    batch: Batch,
    *,
    checkpoints: Sequence[Checkpoint],
    answers: Sequence[Entry],
    cutoff: dt.datetime | None,
    sieve: Sieve,
    find_hosts: Callable[[Sequence[PendingHit]], Sequence[HostSighting]],
    error: Exception,
) -> Judged:
    """Land a batch that the database refused as a whole: all but the hits that it refuses alone, which are buried.

    One transaction, as for any other batch: hits, dead letters and checkpoint are there together or not at all.

    Args:
        conn: Outside a transaction.
        judged: The batch.
        batch: What it was judged from.
        checkpoints: As for :func:`land_batch`.
        answers: The same.
        cutoff: The same.
        sieve: Finds the hits.
        find_hosts: Finds unknown hosts in those that wait.
        error: Why it was refused.

    Returns:
        What landed, with all dead letters.

    Raises:
        Exception: *error*, when none of the hits can land: then it is not they that are wrong.
        FenceLost: As by :func:`land_batch`.
        OwnershipMoved: The same.
    """

    async def attempt(places: Places) -> Judged:
        async with conn.transaction():
            return await _write(conn, judged.take(places))

    async def probe(places: Places) -> None:
        savepoint = conn.transaction()
        await savepoint.start()
        try:
            await _write(conn, judged.take(places))
        finally:
            await savepoint.rollback()

    async with conn.transaction():
        await _pass_fence(conn, judged, checkpoints)
        # What would be found at the end only could not be told apart.
        await conn.execute(_AT_ONCE)
        sifted = await sieve.sift(len(judged), attempt, probe, error)
        letters = [_letter(judged, batch, refusal) for refusal in sifted.refused]
        landed = Judged.joined(sifted.passed, dead=[*judged.dead, *letters])
        await add_dead_letters(conn, landed.dead)
        await add_entries(conn, [*answers, *book_judged(landed)])
        await _note_sightings(conn, find_hosts(landed.pending))
        if cutoff is not None:
            await advance_cutoff(conn, source=CUTOFF_SOURCE, at=cutoff)
    return landed


async def _note_sightings(conn: Connection, sightings: Sequence[HostSighting]) -> None:
    """Note unknown hosts; where the database refuses them the hits, which name them as well, land all the same."""
    try:
        async with conn.transaction():
            await note_sightings(conn, sightings)
    except Exception as error:
        if not is_refusal(error):
            raise
        _log.error("unknown hosts could not be noted: %s", describe(error)[1])


def _letter(judged: Judged, batch: Batch, refusal: Refusal) -> DeadLetter:
    """Write a dead letter for a hit that was judged and is refused."""
    hits = judged.hits
    if refusal.place < len(hits):
        segment_no, ordinal = int(hits.segment_no[refusal.place]), int(hits.ordinal[refusal.place])
        whose = int(hits.tenant_no[refusal.place]), int(hits.podcast_no[refusal.place])
    else:
        waiting = judged.pending[refusal.place - len(hits)]
        segment_no, ordinal = waiting.segment_no, waiting.ordinal
        whose = waiting.tenant_no, waiting.podcast_no
    place = int(np.flatnonzero((batch.segment_no == segment_no) & (batch.ordinal == ordinal))[0])
    return write_letter(batch, Refusal(place, refusal.error), step="land", whose=whose)


def write_letter(batch: Batch, refusal: Refusal, *, step: str, whose: tuple[int, int] = (0, 0)) -> DeadLetter:
    """Write a dead letter for a hit of a batch.

    Args:
        batch: Any.
        refusal: Which hit, by its place in the batch, and why.
        step: ``judge`` or ``land``.
        whose: The numbers of its tenant and podcast; 0 where nobody found out.
    """
    place = refusal.place
    reason, message = describe(refusal.error)
    return DeadLetter(
        segment_no=int(batch.segment_no[place]),
        ordinal=int(batch.ordinal[place]),
        occurred_at=_EPOCH_INSTANT + dt.timedelta(microseconds=int(batch.at_us[place])),
        tenant_no=whose[0] or None,
        podcast_no=whose[1] or None,
        step=step,
        reason=reason,
        message=message,
        target=_readable(batch.target, place)[:MAX_TARGET_CHARS],
        agent=_readable(batch.agent, place)[:MAX_AGENT_BYTES],
    )


def _readable(texts: Texts, place: int) -> str:
    return texts.values[int(texts.codes[place])].decode("utf-8", "replace").replace("\x00", "\ufffd")


def count_landed(metrics: Metrics, judged: Judged) -> None:
    """Count a batch that has landed."""
    is_judged = judged.hits.verdict != NO_VERDICT
    for verdict, hits in enumerate(np.bincount(judged.hits.verdict[is_judged]).tolist()):
        if hits:
            metrics.landed.labels(Verdict(verdict).label).inc(hits)
    clicks = len(judged.hits) - int(is_judged.sum())
    if clicks:
        metrics.landed.labels("click").inc(clicks)
    if judged.pending:
        metrics.landed.labels("pending").inc(len(judged.pending))
    for letter in judged.dead:
        metrics.dead_letters.labels(letter.step, letter.reason).inc()
    metrics.batches.labels("landed").inc()
