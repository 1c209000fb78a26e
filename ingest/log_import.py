"""Imports of access logs: judged by the rules of the day like hits of a tracker, landed portion by portion.

A file is looked through before anything of it lands, so that one that may not be imported leaves no trace. Its
checkpoint, an offset into the unpacked file, moves in the transaction that lands a portion: the same file twice lands
nothing, one that has grown goes on where it ended, and so does an import that was interrupted.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np

from analytics_core.clock import Clock
from analytics_core.db.copying import unpack_key
from analytics_core.db.day_sources import PodcastDay, note_day_sources
from analytics_core.db.hits import HitColumns, HitSource, Integers
from analytics_core.db.log_imports import (
    LiveDay,
    add_to_tally,
    begin_tally,
    count_downloads,
    find_live_days,
    read_tally,
    register_log,
)
from analytics_core.db.pool import Connection
from analytics_core.db.segments import Checkpoint, SegmentRow, find_segments
from analytics_core.errors import Conflict, Unavailable
from analytics_core.spool import Totals
from ingest.batches import Batch, Piece, build_batch, distinct
from ingest.bookkeeping import book_answers
from ingest.log_files import PORTION_LINES, LogDamage, LogFile, Portion
from ingest.pipeline import Judged, Pipeline
from ingest.sieve import Sieve, is_refusal
from ingest.steps.targets import resolve_targets
from ingest.walks import micros
from ingest.winners import pick_winners
from ingest.writer import TRY_AGAIN, FenceLost, OwnershipMoved, land_apart, land_batch

__all__ = ("BEYOND", "NO_EPISODE", "REFUSED", "LogImport", "LogSummary")

NO_EPISODE: Final = "no_episode"
"""Requests for what is no episode of the tenant's are counted under this reason."""
BEYOND: Final = "beyond"
"""Requests on or behind the day that the import is to end before."""
REFUSED: Final = "refused"
"""Hits that the database would not take: they are kept as dead letters."""

_TRIES: Final = 5
_EPOCH: Final = dt.date(1970, 1, 1)
_DAY_US: Final = 86_400_000_000

Tell = Callable[[int], None]
"""Called with the lines of each portion that is done."""


@dataclass(slots=True)
class LogSummary:
    """What a file held behind its checkpoint.

    Attributes:
        lines: Whole lines.
        hits: Requests for the tenant's episodes.
        waiting: Those of them whose episode is not known yet.
        skipped: Lines that are none, by reason.
        pairs: Numbers of podcasts with the UTC days, counted from 1970-01-01, of their hits.
        damage: The first damaged line; ``None`` without any.
        tail_bytes: Bytes of a last line without an end, which is left for the next time.
        fault: Why the file could not be read to its end.
        first_us: Time of the earliest of its requests, of whatever podcast; ``None`` without any.
        last_us: The same of the latest.
    """

    lines: int = 0
    hits: int = 0
    waiting: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    pairs: set[tuple[int, int]] = field(default_factory=set)
    damage: LogDamage | None = None
    tail_bytes: int = 0
    fault: str | None = None
    first_us: int | None = None
    last_us: int | None = None

    def note(self, portion: Portion, skipped: Counter[str]) -> None:
        """Add what a portion's lines were."""
        self.lines += portion.lines
        self.skipped += portion.skipped + skipped
        self.damage = self.damage or portion.damage
        self.tail_bytes = portion.tail_bytes
        self.fault = portion.fault
        if portion.span_us is not None:
            first_us, last_us = portion.span_us
            self.first_us = first_us if self.first_us is None else min(self.first_us, first_us)
            self.last_us = last_us if self.last_us is None else max(self.last_us, last_us)

    @property
    def days(self) -> list[dt.date]:
        """The UTC days that have hits, in order."""
        return [_EPOCH + dt.timedelta(days=day) for day in sorted({day for _, day in self.pairs})]


class _Undone(Exception):
    """Undoes a transaction."""


class _Chosen(NamedTuple):
    """The hits of a portion that are to land, their podcasts' numbers, and why the others are not."""

    batch: Batch
    podcast_no: Integers
    skipped: Counter[str]

    @property
    def pairs(self) -> set[tuple[int, int]]:
        day = self.batch.at_us // _DAY_US
        places, _ = distinct(self.podcast_no, day)
        return set(zip(self.podcast_no[places].tolist(), day[places].tolist(), strict=True))


class LogImport:
    """Imports of one tenant's logs, in one run: months whose secret is destroyed have one secret in all of them.

    Args:
        conn: As ingest, outside a transaction, used by nobody else meanwhile; it holds the tenant's days open.
        pipeline: Judges hits, of the source ``LOG``.
        tenant_no: Whose podcasts are counted; requests for others' are left out.
        clock: The time.
        before: The UTC day before which the import ends; ``None`` for all days.
        replace: Files are looked through from their beginning, whatever of them has landed: what counts may change
            for days whose hits are all there.
        max_lines: Lines that are held at once.
    """

    def __init__(
        self,
        conn: Connection,
        pipeline: Pipeline,
        *,
        tenant_no: int,
        clock: Clock,
        before: dt.date | None = None,
        replace: bool = False,
        max_lines: int = PORTION_LINES,
    ) -> None:
        self._conn = conn
        self._pipeline = pipeline
        self._tenant_no = tenant_no
        self._now = clock.now()
        self._before_us = None if before is None else (before - _EPOCH).days * _DAY_US
        self._replace = replace
        self._max_lines = max_lines
        self._sieve = Sieve()
        self._segment_nos: set[int] = set()

    async def look(self, file: LogFile, *, weigh: bool = False, tell: Tell | None = None) -> LogSummary:
        """Look through what would land of a file; nothing is written.

        Args:
            file: Any.
            weigh: Find out as well which downloads its hits would make, for :meth:`weighed`; the run is good for
                nothing else then, and its pipeline's secrets are to be kept nowhere.
            tell: Called with the lines of each portion that is done.

        Raises:
            ConfigError: The file cannot be read.
            InvalidInput: It is another file than was imported under its first line.
        """
        summary = LogSummary()
        segment_id = await asyncio.to_thread(file.segment_id, self._tenant_no)
        found = {} if segment_id is None else await find_segments(self._conn, [segment_id])
        start = found[segment_id].committed if segment_id in found and not self._replace else 0
        async for portion in self._portions(file, start):
            chosen = await self._choose(portion, segment_no=0, ordinal=0)
            summary.note(portion, chosen.skipped)
            summary.hits += len(chosen.batch)
            summary.pairs |= chosen.pairs
            if weigh and len(chosen.batch):
                await self._weigh(chosen.batch)
            if tell is not None:
                tell(portion.lines)
        return summary

    async def _weigh(self, batch: Batch) -> None:
        """Note the downloads of a portion, and undo what judging it has stored of agents and names."""
        judged: Judged | None = None
        with contextlib.suppress(_Undone):
            async with self._conn.transaction():
                judged = await self._pipeline.judge(self._conn, batch)
                raise _Undone
        if judged is None:
            raise AssertionError("a batch is judged")
        best = pick_winners(judged.hits)
        await begin_tally(self._conn)
        await add_to_tally(
            self._conn,
            podcast_nos=best.podcast_no.tolist(),
            days=[_EPOCH + dt.timedelta(days=day) for day in best.day.tolist()],
            episode_nos=best.episode_no.tolist(),
            listener_keys=[UUID(bytes=unpack_key(key)) for key in best.listener_key],
        )

    async def weighed(self) -> dict[PodcastDay, int]:
        """Count the downloads that the files which were weighed would make, by podcast and UTC day."""
        await begin_tally(self._conn)
        return await read_tally(self._conn)

    async def hold_back(self, live: Sequence[LiveDay]) -> None:
        """Have the log's hits of these days land without counting, until they count instead of what trackers saw."""
        days = [(one.podcast_no, one.day) for one in live]
        await note_day_sources(self._conn, self._tenant_no, days, source=HitSource.PREFIX)

    async def find_overlap(self, looks: Sequence[LogSummary]) -> list[LiveDay]:
        """Find the days that trackers have counted downloads for, of podcasts that these files have hits of then."""
        found: set[tuple[int, int]] = set().union(*(look.pairs for look in looks))
        pairs = {(podcast_no, _EPOCH + dt.timedelta(days=day)) for podcast_no, day in found if podcast_no}
        return await find_live_days(self._conn, pairs, source=int(HitSource.PREFIX)) if pairs else []

    async def land(self, file: LogFile, *, tell: Tell | None = None) -> LogSummary:
        """Land what has not landed of a file.

        Raises:
            ConfigError: The file cannot be read; what was read before has landed.
            Conflict: ``in_use``: it is being imported by somebody else.
            InvalidInput: It is another file than was imported under its first line.
            Unavailable: Rows were in use all the time; what has landed stays.
        """
        summary = LogSummary()
        segment_id = await asyncio.to_thread(file.segment_id, self._tenant_no)
        if segment_id is None:
            return summary
        row = await self._register(segment_id)
        self._segment_nos.add(row.segment_no)
        hits = row.hits
        async for portion in self._portions(file, row.committed):
            if portion.lines:
                await self._land(file, portion, row, hits, summary)
                hits += portion.hits
            else:
                summary.note(portion, Counter())
            if tell is not None:
                tell(portion.lines)
        return summary

    async def count_downloads(self, days: Sequence[dt.date]) -> int:
        """Count the downloads of some days whose best hit came in one of the files that were landed."""
        return await count_downloads(self._conn, self._tenant_no, segment_nos=sorted(self._segment_nos), days=days)

    async def _register(self, segment_id: UUID) -> SegmentRow:
        await register_log(self._conn, segment_id, now=self._now)
        return (await find_segments(self._conn, [segment_id]))[segment_id]

    async def _portions(self, file: LogFile, start: int) -> AsyncIterator[Portion]:
        portions = file.read(start, now_us=micros(self._now), max_lines=self._max_lines)
        while (portion := await asyncio.to_thread(lambda: next(portions, None))) is not None:
            yield portion

    async def _choose(self, portion: Portion, *, segment_no: int, ordinal: int) -> _Chosen:
        """Take the hits of the tenant's podcasts, before the day that the import ends before."""
        piece = Piece(segment_no, ordinal, portion.rows, portion.texts)
        batch = build_batch([piece], received_us=micros(self._now))
        skipped: Counter[str] = Counter()
        if self._before_us is not None:
            is_before = batch.at_us < self._before_us
            skipped[BEYOND] = len(batch) - int(is_before.sum())
            batch = batch.extract(np.flatnonzero(is_before))
        if not len(batch):
            return _Chosen(batch, np.empty(0, np.int64), +skipped)
        targets = await resolve_targets(self._conn, batch, self._pipeline.catalogue)
        is_ours = (targets.tenant_no == self._tenant_no)[targets.codes]
        skipped[NO_EPISODE] = len(batch) - int(is_ours.sum())
        places = np.flatnonzero(is_ours)
        return _Chosen(batch.extract(places), targets.podcast_no[targets.codes][places], +skipped)

    async def _land(self, file: LogFile, portion: Portion, row: SegmentRow, hits: int, summary: LogSummary) -> None:
        for _ in range(_TRIES):
            chosen = await self._choose(portion, segment_no=row.segment_no, ordinal=hits)
            try:
                judged = await self._write(portion, chosen.batch, row, hits)
            except TRY_AGAIN:
                continue
            except OwnershipMoved:
                self._pipeline.catalogue.forget()
                continue
            except FenceLost as error:
                raise Conflict("in_use", f"{file.path} is being imported by somebody else at this moment") from error
            summary.note(portion, chosen.skipped + Counter({REFUSED: len(judged.dead)}))
            summary.hits += len(judged)
            summary.waiting += len(judged.pending)
            summary.pairs |= chosen.pairs
            return
        raise Unavailable(f"{file.path}: rows that it needs are in use all the time; what has landed stays")

    async def _write(self, portion: Portion, batch: Batch, row: SegmentRow, hits: int) -> Judged:
        judged = Judged(HitColumns.empty(), [])
        if len(batch):
            judged = await self._pipeline.judge(self._conn, batch)
        step = Checkpoint(
            segment_id=row.segment_id,
            before=portion.start,
            after=portion.end,
            hits=portion.hits,
            first_us=int(batch.at_us.min()) if len(batch) else None,
            last_us=int(batch.at_us.max()) if len(batch) else None,
            totals_before=_totals(hits),
            totals=_totals(hits + portion.hits),
            read_at=self._now,
        )
        # Only what is to land was asked of us.
        answers = book_answers(row.segment_no, step, batch.at_us)
        try:
            await land_batch(self._conn, judged, checkpoints=[step], answers=answers, cutoff=None)
        except Exception as error:
            if not is_refusal(error):
                raise
            judged = await land_apart(
                self._conn,
                judged,
                batch,
                checkpoints=[step],
                answers=answers,
                cutoff=None,
                sieve=self._sieve,
                find_hosts=self._pipeline.unknown_hosts.find,
                error=error,
            )
        self._sieve.note(landed=len(judged), refused=len(judged.dead))
        return judged


def _totals(hits: int) -> Totals:
    return Totals(answered=hits, recorded=hits)
