"""The job that computes the attribution runs that were asked for."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.crediting import Credits, attribute
from analytics_core.attribution.histories import MAX_OF_CUSTOMER, Customer, JudgedConversion, Terms, judge
from analytics_core.attribution.journeys import Journeys
from analytics_core.attribution.parameters import Model
from analytics_core.attribution.removal import InsufficientData, RemovalEffects, Transitions
from analytics_core.attribution.rounding import MILLION
from analytics_core.attribution.summaries import Tally
from analytics_core.attribution.versions import code_version
from analytics_core.clock import Clock
from analytics_core.db.attribution_inputs import (
    READ_ROWS,
    Scope,
    count_conversions,
    read_customers,
    read_inputs,
    read_null_paths,
)
from analytics_core.db.attribution_rows import (
    CreditRows,
    add_credits,
    add_judged,
    add_totals,
    count_wrong,
    forget_erased,
)
from analytics_core.db.attribution_runs import (
    MAX_ATTEMPTS,
    WaitingRun,
    begin_run,
    computing,
    fail_run,
    finish_run,
    list_waiting,
    note_progress,
)
from analytics_core.db.ownership import lock_ownership
from analytics_core.db.pool import Connection, Pool, connection
from analytics_core.db.redemptions import read_limits

__all__ = ("MAX_CONVERSIONS", "RunLimits", "attribute_runs")

MAX_CONVERSIONS: Final = 1_000_000
"""Conversions of a run."""

MAX_RUN_TOUCHES: Final = 20_000_000
"""Touches of a run's conversions, which are held in memory until the last model has seen them."""

_ROWS: Final = 10_000
"""Credits that are written together."""

_READ_PPM: Final = 400_000
"""How far a run is when all is read; the models come after."""

_log = logging.getLogger("castledger.ingest")


class RunLimits(NamedTuple):
    """What bounds the work of a run.

    Attributes:
        touches: Of all of its conversions; with more it fails.
        of_customer: More conversions or signals under one key are many people's.
        read_rows: How many conversions are read together.
    """

    touches: int = MAX_RUN_TOUCHES
    of_customer: int = MAX_OF_CUSTOMER
    read_rows: int = READ_ROWS


_LIMITS: Final = RunLimits()


class TooMuch(Exception):
    """A run is more than can be computed; its text says why, for people."""


class _Book:
    """A run's journeys while they are read: what the models need of them, in columns, and nothing else.

    Args:
        campaigns: All of the sponsor's.
        most_touches: How many it holds.
    """

    def __init__(self, campaigns: Sequence[UUID], most_touches: int) -> None:
        self._most_touches = most_touches
        self.campaigns: Final = sorted(set(campaigns))
        self._numbers = {campaign_id: number for number, campaign_id in enumerate(self.campaigns)}
        self._ids = bytearray()
        self._values = array("q")
        self._has_value = bytearray()
        self._lengths = array("q")
        self._touched = array("i")
        self._at_us = array("q")

    def add(self, judged: JudgedConversion) -> None:
        """Note an attributed conversion.

        Raises:
            TooMuch: There are more touches than it holds.
        """
        self._ids += judged.conversion.conversion_id.bytes
        value = judged.standing.value_amount
        self._values.append(value or 0)
        self._has_value.append(value is not None)
        self._lengths.append(len(judged.touches))
        self._touched.extend(self._numbers[touch.campaign_id] for touch in judged.touches)
        self._at_us.extend(touch.at_us for touch in judged.touches)
        if len(self._touched) > self._most_touches:
            raise TooMuch(f"there are more than {self._most_touches:,} touches: ask for a shorter range")

    def path(self, campaigns: Sequence[UUID]) -> list[int]:
        """Number the campaigns of a path."""
        return [self._numbers[campaign_id] for campaign_id in campaigns]

    def journeys(self) -> Journeys:
        """Return all of them, in the order in which they were noted."""
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.frombuffer(self._lengths, np.int64))))
        campaigns = np.frombuffer(self._touched, np.int32)
        values = np.frombuffer(self._values, np.int64)
        return Journeys(offsets, campaigns, np.frombuffer(self._at_us, np.int64), values)

    def rows(self, journeys: Journeys, found: Credits) -> Iterator[CreditRows]:
        """Cut what a model gave into rows, some at a time, without those that got nothing."""
        given: NDArray[np.intp] = np.flatnonzero((found.ppm > 0) | (found.amounts > 0))
        for first in range(0, len(given), _ROWS):
            places = given[first : first + _ROWS]
            conversions = np.searchsorted(journeys.offsets, places, side="right") - 1
            amounts = found.amounts[places].tolist()
            yield CreditRows(
                [UUID(bytes=bytes(self._ids[16 * one : 16 * one + 16])) for one in conversions.tolist()],
                (places - journeys.offsets[conversions]).tolist(),
                found.ppm[places].tolist(),
                [
                    amount if self._has_value[one] else None
                    for one, amount in zip(conversions.tolist(), amounts, strict=True)
                ],
            )


def _judge_all(customers: Sequence[Customer], terms: Terms, scope: Scope) -> list[tuple[JudgedConversion, bool]]:
    return [
        (judged, customer.is_shared)
        for customer in customers
        for judged in judge(customer, terms, starts_at=scope.starts_at, ends_at=scope.ends_at)
    ]


async def _compute(conn: Connection, pool: Pool, waiting: WaitingRun, *, clock: Clock, limits: RunLimits) -> None:
    """Compute one run.

    Args:
        conn: As ingest, outside a transaction, inside :func:`analytics_core.db.attribution_runs.computing`.
        pool: As ingest; one connection is taken to read from.
        waiting: Which.
        clock: The time.
        limits: What bounds it.

    Raises:
        TooMuch: It is more than can be computed.
        Unavailable: The database does not answer.
    """
    run = waiting.run
    await begin_run(conn, waiting, code_version=code_version())
    scope = Scope(
        tenant=waiting.tenant,
        sponsor_id=run.sponsor_id,
        starts_at=run.starts_at,
        ends_at=run.ends_at,
        cutoff_at=run.cutoff_at,
        most_of_customer=limits.of_customer,
        read_rows=limits.read_rows,
    )
    tally = Tally()
    # Read over a connection of its own, which sees one instant; what is written is committed portion by portion.
    async with connection(pool) as reader, reader.transaction(isolation="repeatable_read", readonly=True):
        expected = await count_conversions(reader, scope)
        if expected > MAX_CONVERSIONS:
            raise TooMuch(f"there are {expected:,} conversions, and a run takes {MAX_CONVERSIONS:,}: ask for less time")
        inputs = await read_inputs(reader, scope)
        code_limits = await read_limits(reader, scope.tenant, sponsor_id=scope.sponsor_id, cutoff_at=scope.cutoff_at)
        book = _Book([flight.campaign_id for flight in inputs.devices.flights.values()], limits.touches)
        chain = _chain(run.models, book)
        counting = dt.timedelta(days=run.params.counting_days)
        read = 0
        async for customers, clicks in read_customers(reader, scope):
            terms = Terms(inputs.devices, clicks, inputs.exposures, code_limits, counting)
            found = await asyncio.to_thread(_judge_all, customers, terms, scope)
            for judged, is_shared in found:
                tally.add(judged, is_shared=is_shared)
                if judged.touches:
                    book.add(judged)
            read += len(found)
            async with conn.transaction():
                await add_judged(conn, waiting, [judged for judged, _ in found])
                await note_progress(conn, waiting, _READ_PPM * read // max(expected, read, 1))
        if isinstance(chain, Transitions):
            async for paths in read_null_paths(reader, scope, inputs.devices):
                chain.add_null(Journeys.of_paths([book.path(path) for path in paths]))
    journeys = book.journeys()
    effects = await asyncio.to_thread(_effects, chain, journeys)
    insufficient = {Model.MARKOV: str(effects)} if isinstance(effects, InsufficientData) else {}
    models = [model for model in run.models if model not in insufficient]
    removal = effects if isinstance(effects, RemovalEffects) else None
    for number, model in enumerate(models, start=1):
        credited = await asyncio.to_thread(attribute, journeys, model, run.params, effects=removal)
        for rows in book.rows(journeys, credited):
            async with conn.transaction():
                await add_credits(conn, waiting, model, rows)
        await note_progress(conn, waiting, _READ_PPM + (MILLION - _READ_PPM) * number // (len(models) + 1))
    removal_ppm = {} if removal is None else _in_ppm(book.campaigns, removal)
    async with conn.transaction():
        wrong = await count_wrong(conn, waiting, models=len(models))
        if wrong:
            raise AssertionError(f"{wrong} conversions are not credited once")
        await add_totals(conn, waiting)
        # As the last thing: no customer is erased until the run is ready.
        await lock_ownership(conn)
        await forget_erased(conn, waiting)
        summary = tally.summary(insufficient=insufficient, removal_ppm=removal_ppm, campaigns=book.campaigns)
        await finish_run(conn, waiting, summary, now=clock.now())


def _chain(models: Sequence[Model], book: _Book) -> Transitions | InsufficientData | None:
    if Model.MARKOV not in models:
        return None
    try:
        return Transitions(len(book.campaigns))
    except InsufficientData as error:
        return error


def _effects(
    chain: Transitions | InsufficientData | None, journeys: Journeys
) -> RemovalEffects | InsufficientData | None:
    if not isinstance(chain, Transitions):
        return chain
    try:
        chain.add(journeys)
        return chain.effects()
    except InsufficientData as error:
        return error


def _in_ppm(campaigns: Sequence[UUID], removal: RemovalEffects) -> dict[UUID, int]:
    return {
        campaign_id: round(effect * MILLION)
        for campaign_id, effect in zip(campaigns, removal.effects.tolist(), strict=True)
        if effect
    }


async def attribute_runs(
    conn: Connection, pool: Pool, *, clock: Clock, limits: RunLimits = _LIMITS
) -> Mapping[str, int]:
    """Compute all runs that were asked for, oldest first; those that somebody else is at are left to them.

    Args:
        conn: As ingest, outside a transaction.
        pool: As ingest; one connection is taken.
        clock: The time.
        limits: What bounds each run.

    Returns:
        How many became ready, how many failed for good, and how many are left to others.

    Raises:
        Exception: What stopped one, once the others were tried; it is begun again the next time, a few times.
    """
    done = {"ready": 0, "failed": 0, "left": 0}
    fault: Exception | None = None
    for asked in await list_waiting(conn):
        async with computing(conn, asked.run.run_id) as is_ours:
            if not is_ours:
                done["left"] += 1
                continue
            # Somebody may have done it since.
            for waiting in await list_waiting(conn, run_id=asked.run.run_id):
                try:
                    if waiting.attempts >= MAX_ATTEMPTS:
                        raise TooMuch(f"it was stopped {MAX_ATTEMPTS} times; the log of ingest has the reasons")
                    await _compute(conn, pool, waiting, clock=clock, limits=limits)
                    done["ready"] += 1
                except TooMuch as error:
                    await fail_run(conn, waiting, str(error), now=clock.now())
                    done["failed"] += 1
                except Exception as error:
                    _log.exception("attribution run %s stopped and will be begun again", waiting.run.run_id)
                    fault = error
    if fault is not None:
        raise fault
    return done
