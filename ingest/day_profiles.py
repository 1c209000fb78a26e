"""Hits that land on days with a profile of their own, judged by it in the transaction that holds these days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from analytics_core.db.day_profiles import find_referrers, list_sizes
from analytics_core.db.dictionaries import read_agent_kinds
from analytics_core.db.hits import HitColumns, Integers
from analytics_core.db.pool import Connection
from analytics_core.profiles import Profile
from analytics_core.user_agents import AgentKind
from ingest.steps.profiles import ProfileFacts, judge_by

__all__ = ("judge_by_days",)


async def judge_by_days(
    conn: Connection,
    hits: HitColumns,
    pairs: Sequence[tuple[int, dt.date]],
    codes: npt.NDArray[np.int64],
    profiles: Mapping[tuple[int, dt.date], Profile],
) -> HitColumns:
    """Judge those of some hits again whose days have a profile of their own.

    Args:
        conn: In a transaction that keeps these days' profiles as they are.
        hits: As the default rules judge them.
        pairs: Tenants and UTC days.
        codes: Each hit's place among them.
        profiles: Of pairs that do not have the default profile.
    """
    columns = hits.as_mapping()
    verdict, evidence, rules = hits.verdict.copy(), hits.evidence.copy(), hits.rules.copy()
    for pair, profile in profiles.items():
        places = np.flatnonzero(codes == pairs.index(pair))
        some = hits.select(places)
        judged = judge_by(some, await _read_facts(conn, some, profile), profile)
        verdict[places], evidence[places], rules[places] = judged.verdict, judged.evidence, judged.rules
    return HitColumns(**{**columns, "verdict": verdict, "evidence": evidence, "rules": rules})


def _look_up(numbers: Integers, known: Mapping[int, int], default: int) -> Integers:
    values, codes = np.unique(numbers, return_inverse=True)
    return np.array([known.get(number, default) for number in values.tolist()], np.int64)[codes]


async def _read_facts(conn: Connection, hits: HitColumns, profile: Profile) -> ProfileFacts:
    kinds = await read_agent_kinds(conn, np.unique(hits.agent_no).tolist())
    sizes = await list_sizes(conn, np.unique(hits.episode_no).tolist())
    referrers = await find_referrers(conn, profile.preload_referrers) if profile.preload_referrers else []
    return ProfileFacts(
        agent_kind=_look_up(hits.agent_no, {no: row.kind for no, row in kinds.items()}, AgentKind.UNKNOWN),
        length_bytes=_look_up(hits.episode_no, {size.episode_no: size.length_bytes for size in sizes}, -1),
        duration_s=_look_up(hits.episode_no, {size.episode_no: size.duration_s for size in sizes}, -1),
        is_preload=np.isin(hits.referrer_no, referrers),
    )
