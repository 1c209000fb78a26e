"""Profiles: hits that were judged by the default rules, judged by those of their day, by column.

Of every hit what speaks against it by the default rules stays as it is, whatever its day is judged by; verdict and
evidence are the day's. Where the day's evidence is another, what the default said is kept in ``rules``. So a day can
go from any profile to any other and back, and nothing is lost on the way.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from analytics_core.byte_ranges import ByteRange, RangeKind
from analytics_core.db.hits import HitColumns, Integers
from analytics_core.hits import HitFlag
from analytics_core.network_classes import NetworkClass
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.rejudging import FIRST_TWO_BYTES
from analytics_core.verdicts import NO_VERDICT, Evidence, Verdict, first_verdict
from ingest.batches import distinct
from ingest.steps.verdicts import weigh_ranges

__all__ = ("ProfileFacts", "by_default", "judge_by", "weigh_again")

_EVIDENCE_SHIFT: Final = 8
"""In ``rules``, above the version: the evidence by the default rules and one, where the day's is another; else 0."""

_SETS: Final = 1 << max(Verdict)
_NETWORK_BITS: Final = Verdict.DATACENTER.bit | Verdict.VPN.bit


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """What is known of hits today beside what is stored with them.

    Attributes:
        agent_kind: ``AgentKind``.
        length_bytes: Of the episode's first enclosure, as the feed says; -1 where unknown.
        duration_s: The same of the episode's duration, in seconds.
        is_preload: Whether a web player that loads unasked referred it.
    """

    agent_kind: Integers
    length_bytes: Integers
    duration_s: Integers
    is_preload: npt.NDArray[np.bool_]


@functools.lru_cache(maxsize=64)
def _first_verdicts(excluding: int) -> Integers:
    """The verdict that decides, for each set of verdicts."""
    return np.array([first_verdict(bits & excluding) for bits in range(_SETS)], np.int64)


def weigh_again(
    hits: HitColumns, length_bytes: Integers, duration_s: Integers, profile: Profile = DEFAULT_PROFILE
) -> Integers:
    """Weigh stored ranges by what feeds say today: their ``Evidence``."""
    range_places, range_codes = distinct(hits.range_kind, hits.range_first, hits.range_last)
    ranges = [
        ByteRange(RangeKind(kind), first, last)
        for kind, first, last in zip(
            hits.range_kind[range_places].tolist(),
            hits.range_first[range_places].tolist(),
            hits.range_last[range_places].tolist(),
            strict=True,
        )
    ]
    return weigh_ranges(ranges, range_codes, length_bytes, duration_s, _is_playlist(hits), profile)[1]


def _is_playlist(hits: HitColumns) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = hits.flags & int(HitFlag.PLAYLIST) != 0
    return found


def by_default(hits: HitColumns) -> HitColumns:
    """Return stored hits as the default rules judge them, whatever their day is judged by."""
    kept = hits.rules >> _EVIDENCE_SHIFT
    verdict = _first_verdicts(DEFAULT_PROFILE.excluding)[hits.verdict_bits]
    return dataclasses.replace(
        hits,
        verdict=np.where(hits.verdict == NO_VERDICT, NO_VERDICT, verdict),
        evidence=np.where(kept > 0, kept - 1, hits.evidence),
        rules=hits.rules & ((1 << _EVIDENCE_SHIFT) - 1),
    )


def judge_by(hits: HitColumns, facts: ProfileFacts, profile: Profile) -> HitColumns:
    """Judge hits by a profile, as :class:`analytics_core.rejudging.Judge` judges one; clicks stay as they are.

    Args:
        hits: As the default rules judge them.
        facts: Of these hits.
        profile: One that days can be judged by.
    """
    if profile == DEFAULT_PROFILE:
        return hits
    bits = hits.verdict_bits
    if profile.networks != DEFAULT_PROFILE.networks:
        bits = (bits & ~_NETWORK_BITS) | _against(hits, facts, profile)
    bits = np.where(facts.is_preload, bits | Verdict.PRELOAD.bit, bits)
    is_probe = _is_playlist(hits) | (
        (hits.range_kind == FIRST_TWO_BYTES.kind)
        & (hits.range_first == FIRST_TWO_BYTES.first)
        & (hits.range_last == FIRST_TWO_BYTES.last)
    )
    if profile.weighing == DEFAULT_PROFILE.weighing:
        evidence, is_tiny = hits.evidence, bits & Verdict.TINY_RANGE.bit != 0
    else:
        evidence = weigh_again(hits, facts.length_bytes, facts.duration_s, profile)
        is_tiny = evidence == Evidence.NONE
    is_tiny = np.where(is_probe, not profile.counts_probes, is_tiny)
    bits = np.where(is_tiny, bits | Verdict.TINY_RANGE.bit, bits & ~Verdict.TINY_RANGE.bit)
    verdict = _first_verdicts(profile.excluding)[bits]
    counts = verdict == Verdict.ELIGIBLE
    # Of hits that do not count by default it was not kept.
    unknown = np.flatnonzero(counts & ~is_probe & ~is_tiny & (evidence == Evidence.NONE))
    if len(unknown):
        weighed = weigh_again(hits.select(unknown), facts.length_bytes[unknown], facts.duration_s[unknown])
        evidence = evidence.copy()
        evidence[unknown] = np.where(weighed == Evidence.NONE, int(Evidence.PARTIAL), weighed)
    # What counts though it asked for too little is no more than a probe.
    evidence = np.where(is_probe | is_tiny, int(Evidence.PROBE), evidence)
    evidence = np.where(counts, evidence, int(Evidence.NONE))
    is_click = hits.verdict == NO_VERDICT
    evidence = np.where(is_click, hits.evidence, evidence)
    is_other = evidence != hits.evidence
    return dataclasses.replace(
        hits,
        verdict=np.where(is_click, NO_VERDICT, verdict),
        evidence=evidence,
        rules=np.where(is_other, hits.rules | ((hits.evidence + 1) << _EVIDENCE_SHIFT), hits.rules),
    )


def _against(hits: HitColumns, facts: ProfileFacts, profile: Profile) -> Integers:
    """What speaks against hits by their networks, each distinct pair of networks and kind judged once."""
    bits = hits.verdict_bits
    # Landed before classes were kept: what speaks against it tells them, relays excepted.
    told = np.where(bits & Verdict.DATACENTER.bit, int(NetworkClass.DATACENTER), 0) | np.where(
        bits & Verdict.VPN.bit, int(NetworkClass.VPN), 0
    )
    networks = np.where(hits.networks == 0, told, hits.networks)
    places, codes = distinct(networks, facts.agent_kind)
    found = [
        profile.networks.verdict_bits(*pair)
        for pair in zip(networks[places].tolist(), facts.agent_kind[places].tolist(), strict=True)
    ]
    return np.array(found, np.int64)[codes]
