"""Recounts: stored hits judged again by today's table of agents and by a profile, a day a transaction, with a record.

What a hit brought with it stays as it was found when it landed, since addresses are not kept and feeds change: its
networks, its range, whether its episode was published. What its agent is, is looked up again; what speaks against it by
the default rules follows from that, and what the day's profile makes of it comes last. So a recount under the same
table and profile changes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Final, NamedTuple

import asyncpg
import numpy as np
import numpy.typing as npt

from analytics_core.clock import Clock
from analytics_core.db.day_profiles import find_referrers, read_day_profile, set_day_profile
from analytics_core.db.hits import HIT_LAYOUT, HitColumns, HitRows, encode_hits
from analytics_core.db.pool import Connection
from analytics_core.db.recounting import StoredHits, read_day, replace_hits
from analytics_core.db.restatements import Origin
from analytics_core.db.restating import NotRestated, RestatedDay, hold_day, replace_downloads
from analytics_core.errors import Unavailable
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import NO_VERDICT, Evidence, Verdict
from ingest.restatements import DayOutcome, Isolation, Told, restate_days
from ingest.steps.profiles import ProfileFacts, by_default, judge_by, weigh_again
from ingest.steps.verdicts import FactColumns, eligible_evidence, judge_facts

__all__ = ("ISOLATION", "Recount", "judge_again", "recount", "recount_day")

ISOLATION: Final[Isolation] = "repeatable_read"
"""Of the transactions that final days are recounted in: what is read, and nothing else, is written anew."""

_PIECE: Final = 20_000


class Recount(NamedTuple):
    """What a recount changed.

    Attributes:
        outcomes: The days that changed, or that cannot be recounted.
        moves: How many hits were judged otherwise, by their verdict before and after; the same one twice where only
            the agent is called otherwise, or the evidence is.
    """

    outcomes: list[DayOutcome]
    moves: Counter[tuple[Verdict, Verdict]]


def _has(hits: HitColumns, verdict: Verdict) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = hits.verdict_bits & verdict.bit != 0
    return found


def judge_again(
    stored: StoredHits, profile: Profile = DEFAULT_PROFILE, *, referrer_nos: Sequence[int] = ()
) -> HitColumns:
    """Judge stored hits by what their agents are today; clicks, which no verdict is about, stay as they are.

    Args:
        stored: Whatever they have been judged by.
        profile: One that days can be judged by.
        referrer_nos: The numbers of the web players that it names.
    """
    hits = by_default(stored.hits)
    is_click = hits.verdict == NO_VERDICT
    was_bot, was_watch = _has(hits, Verdict.BOT), _has(hits, Verdict.WATCH)
    kind_before = np.select(
        (was_bot, was_watch), (int(AgentKind.BOT), int(AgentKind.WATCH)), default=int(AgentKind.UNKNOWN)
    )
    kind = np.where(stored.agent_kind < 0, kind_before, stored.agent_kind)
    verdicts = judge_facts(
        FactColumns(
            is_head=_has(hits, Verdict.HEAD),
            episode_known=~_has(hits, Verdict.UNKNOWN_EPISODE),
            live=_has(hits, Verdict.LIVE),
            is_unpublished=_has(hits, Verdict.UNPUBLISHED),
            agent_empty=_has(hits, Verdict.NO_USER_AGENT),
            agent_kind=kind,
            prefetch=_has(hits, Verdict.PRELOAD),
            blocked=_has(hits, Verdict.BLOCKED),
            datacenter=_has(hits, Verdict.DATACENTER),
            vpn=_has(hits, Verdict.VPN),
            tiny=_has(hits, Verdict.TINY_RANGE),
        )
    )
    evidence = hits.evidence.copy()
    # Of hits that did not count it was not kept.
    counts_now = np.flatnonzero((verdicts.verdict == Verdict.ELIGIBLE) & (hits.verdict > Verdict.ELIGIBLE))
    if len(counts_now):
        weighed = weigh_again(hits.select(counts_now), stored.length_bytes[counts_now], stored.duration_s[counts_now])
        evidence[counts_now] = np.where(weighed == Evidence.NONE, int(Evidence.PARTIAL), weighed)
    judged = dataclasses.replace(
        hits,
        agent_no=np.where(is_click, hits.agent_no, stored.agent_no),
        verdict_bits=np.where(is_click, hits.verdict_bits, verdicts.bits),
        verdict=np.where(is_click, hits.verdict, verdicts.verdict),
        evidence=np.where(is_click, hits.evidence, eligible_evidence(verdicts, evidence)),
        rules=np.where(is_click, hits.rules, DEFAULT_PROFILE.version),
    )
    facts = ProfileFacts(kind, stored.length_bytes, stored.duration_s, np.isin(hits.referrer_no, referrer_nos))
    return judge_by(judged, facts, profile)


def _others(before: HitColumns, after: HitColumns) -> npt.NDArray[np.intp]:
    """Find the hits that are not judged as they were."""
    is_other = np.zeros(len(before), np.bool_)
    for name in ("agent_no", "verdict_bits", "verdict", "evidence"):
        is_other |= getattr(before, name) != getattr(after, name)
    return np.flatnonzero(is_other)


def _moves(before: HitColumns, after: HitColumns) -> Counter[tuple[Verdict, Verdict]]:
    """Count hits by their verdict before and after."""
    # No verdict is above 15, and clicks, which have none, are never among them.
    counts = np.bincount((before.verdict << 4) | after.verdict)
    return Counter(
        {(Verdict(code >> 4), Verdict(code & 15)): int(counts[code]) for code in np.flatnonzero(counts).tolist()}
    )


@contextlib.contextmanager
def _finding_room() -> Iterator[None]:
    """Tell a fault of temporary files from one of the database."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{tempfile.gettempdir()} has no room for the hits of a day: {error.strerror}") from error


def _pieces(file: IO[bytes], layout: np.dtype[np.void]) -> Iterator[HitRows]:
    while data := file.read(_PIECE * layout.itemsize):
        yield np.frombuffer(data, layout)


async def recount_day(
    conn: Connection,
    tenant_no: int,
    day: dt.date,
    moves: Counter[tuple[Verdict, Verdict]],
    *,
    profile: Profile | None = None,
    is_open: bool = False,
) -> RestatedDay | NotRestated | None:
    """Judge a tenant's hits of a UTC day again, and make its downloads what they say then.

    In bounded memory: hits that are judged otherwise wait in a temporary file, some 200 bytes each, until all have been
    read. They alone are written anew.

    Args:
        conn: As ingest, in a transaction that has read nothing yet, with ``ISOLATION`` or, for a day that is not final,
            READ COMMITTED.
        tenant_no: Whose hits.
        day: Which day.
        moves: Takes how many hits were judged otherwise; what it held before is forgotten.
        profile: What the day's hits are judged by from now on; ``None`` for what they are judged by.
        is_open: The day is not final.

    Returns:
        What changed, ``None`` when nothing did, or why it cannot be; then nothing was changed.

    Raises:
        asyncpg.SerializationError: Somebody took hits away meanwhile, or it is not as *is_open* says; it has to be
            tried again.
        Unavailable: There is no room for the file.
    """
    moves.clear()
    held = await hold_day(conn, tenant_no, day, open_too=is_open)
    if isinstance(held, NotRestated):
        return held
    found = await read_day_profile(conn, tenant_no, day) if held else None
    if found is None:
        return None
    is_final, before = found
    if is_final is is_open:
        raise asyncpg.SerializationError(f"{day} has become final")
    wanted = profile or before
    referrer_nos = await find_referrers(conn, wanted.preload_referrers) if wanted.preload_referrers else []
    with contextlib.ExitStack() as stack:
        with _finding_room():
            file = stack.enter_context(tempfile.TemporaryFile(prefix="castledger-recount-"))

        def take(stored: StoredHits) -> None:
            judged = judge_again(stored, wanted, referrer_nos=referrer_nos)
            others = _others(stored.hits, judged)
            if len(others):
                judged = judged.select(others)
                moves.update(_moves(stored.hits.select(others), judged))
                with _finding_room():
                    file.write(encode_hits(judged).tobytes())

        await read_day(conn, tenant_no, day, take=take)
        if not moves and wanted == before:
            return None
        if moves:
            with _finding_room():
                file.seek(0)
            await replace_hits(conn, tenant_no, day, _pieces(file, HIT_LAYOUT))
    if wanted != before:
        await set_day_profile(conn, tenant_no, day, wanted)
    return await replace_downloads(conn, tenant_no, day, hits=moves.total(), noted_alone=True)


async def recount(
    conn: Connection,
    tenant_no: int,
    days: Sequence[dt.date],
    *,
    reason: str,
    origin: Origin,
    clock: Clock,
    profile: Profile | None = None,
    dry_run: bool = False,
    tell: Told | None = None,
    begin: Callable[[dt.date], None] | None = None,
) -> Recount:
    """Recount some days of a tenant, as :func:`ingest.restatements.restate_days` restates them.

    Args:
        conn: As ingest, outside a transaction.
        tenant_no: Whose days.
        days: UTC days, sorted; at least one.
        reason: For people.
        origin: Who recounts.
        clock: Tells when it began and when it was done.
        profile: What hits of these days are judged by from now on; ``None`` for what they are judged by.
        dry_run: Find out what would change, and change nothing.
        tell: Called with each day that changed or cannot be recounted, once it is done.
        begin: Called with each day before it is read.

    Raises:
        Unavailable: A day's rows were in use all the time, or its hits found no room.
    """
    total: Counter[tuple[Verdict, Verdict]] = Counter()
    of_day: Counter[tuple[Verdict, Verdict]] = Counter()
    is_open = False

    async def isolation(conn: Connection, day: dt.date) -> Isolation:
        nonlocal is_open
        found = await read_day_profile(conn, tenant_no, day)
        is_open = found is not None and not found[0]
        return "read_committed" if is_open else ISOLATION

    async def remake(conn: Connection, tenant_no: int, day: dt.date) -> RestatedDay | NotRestated | None:
        if begin is not None:
            begin(day)
        return await recount_day(conn, tenant_no, day, of_day, profile=profile, is_open=is_open)

    def done(outcome: DayOutcome) -> None:
        # Not in the transaction, which may have to be tried again.
        total.update(of_day)
        if tell is not None:
            tell(outcome)

    outcomes = await restate_days(
        conn,
        tenant_no,
        days,
        remake,
        isolation=isolation,
        reason=reason,
        origin=origin,
        clock=clock,
        profile=profile,
        dry_run=dry_run,
        tell=done,
    )
    return Recount(outcomes, total)
