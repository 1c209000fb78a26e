"""Ranges, evidence and verdicts: each distinct combination of facts is judged once, by the same rules as one hit."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analytics_core.byte_ranges import RangeKind, parse_range
from analytics_core.hits import Method
from analytics_core.judging import HitFacts, judge
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.verdicts import Evidence, first_verdict
from ingest.batches import Codes, distinct

__all__ = (
    "FactColumns",
    "RangeColumns",
    "VerdictColumns",
    "eligible_evidence",
    "judge_facts",
    "read_range",
    "weigh_ranges",
)

_REMEMBERED: Final = 16_384
_LONGEST_REMEMBERED: Final = 64
"""In bytes: a header may have thousands, and then nobody sends it again."""


@dataclass(frozen=True, slots=True)
class RangeColumns:
    """Each hit's range."""

    kind: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FactColumns:
    """All that decides whether hits count, by column; ``analytics_core.judging.HitFacts`` says the same of one."""

    is_head: npt.NDArray[np.bool_]
    episode_known: npt.NDArray[np.bool_]
    live: npt.NDArray[np.bool_]
    is_unpublished: npt.NDArray[np.bool_]
    agent_empty: npt.NDArray[np.bool_]
    agent_kind: npt.NDArray[np.int64]
    prefetch: npt.NDArray[np.bool_]
    blocked: npt.NDArray[np.bool_]
    datacenter: npt.NDArray[np.bool_]
    vpn: npt.NDArray[np.bool_]
    tiny: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class VerdictColumns:
    """Each hit's verdicts as bits, and the first of them."""

    bits: npt.NDArray[np.int64]
    verdict: npt.NDArray[np.int64]


def weigh_ranges(
    ranges: Sequence[tuple[int, int, int]],
    range_codes: Codes,
    length_bytes: npt.NDArray[np.int64],
    duration_s: npt.NDArray[np.int64],
    is_playlist: npt.NDArray[np.bool_],
    profile: Profile = DEFAULT_PROFILE,
) -> tuple[RangeColumns, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Weigh how much of its episode each hit asked for, as ``analytics_core.evidence.evidence_of`` weighs one.

    By column, since there are nearly as many pairs of range and size as there are hits, and in a large catalogue nearly
    as many sizes.

    Args:
        ranges: Distinct ranges, ``ByteRange`` or as plain numbers.
        range_codes: Each hit's place among them.
        length_bytes: The length of each hit's file, as its feed says; -1 where unknown.
        duration_s: The duration of each hit's episode, the same.
        is_playlist: Whether each hit's file is a playlist.
        profile: Whose rules weigh.

    Returns:
        Each hit's range, its ``Evidence``, and whether it asked for too little.
    """
    table = np.fromiter(itertools.chain.from_iterable(ranges), np.int64).reshape(-1, 3)[range_codes]
    kind, first, last = table[:, 0], table[:, 1], table[:, 2]
    length, threshold = _believe(length_bytes, duration_s, profile)
    is_known, is_open, is_closed = length >= 0, kind == RangeKind.OPEN, kind == RangeKind.CLOSED
    is_suffix = kind == RangeKind.SUFFIX
    is_probe = is_playlist | (is_closed & (first == 0) & (last == 1))
    # The bytes of the file behind the first that they ask for: what they say where its length is unknown, and of an
    # open range then enough. One less than all of them, for those of the largest range do not fit into 63 bits.
    more = np.where(is_known, np.minimum(last, length - 1), last) - first
    more = np.where(is_open, np.where(is_known, length - 1 - first, threshold), more)
    is_whole = (kind == RangeKind.NONE) | (kind == RangeKind.INVALID) | (is_open & (first == 0))
    is_whole |= is_suffix & is_known & (last >= length)
    is_whole |= ~is_suffix & is_known & (first == 0) & (more == length - 1)
    is_enough = ~is_suffix & (more >= threshold - 1)
    if profile.counts_tails:
        is_enough |= is_suffix & (last >= threshold)
    probe = Evidence.PROBE if profile.counts_probes else Evidence.NONE
    evidence = np.select(
        (is_probe, is_whole, is_enough),
        (int(probe), int(Evidence.FULL), int(Evidence.PARTIAL)),
        int(Evidence.NONE),
    )
    return RangeColumns(kind, first, last), evidence, evidence == Evidence.NONE


def _believe(
    length: npt.NDArray[np.int64], duration: npt.NDArray[np.int64], profile: Profile
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Find the lengths that are believed, -1 for none, and the thresholds, as ``analytics_core.evidence`` finds one."""
    is_told = duration > 0
    is_believed = (length >= max(profile.least_length_bytes, 0)) & profile.believes_sizes
    is_believed &= ~is_told | (length >= profile.least_bytes_per_second * duration)
    has_rate = is_believed & is_told & (length <= profile.most_bytes_per_second * duration)
    seconds = np.where(has_rate, duration, 1)
    # A minute of it, rounded up; the rest apart, as sixty times the largest file does not fit into 64 bits.
    content = profile.seconds * (length // seconds) - (-profile.seconds * (length % seconds) // seconds)
    content[~has_rate] = profile.seconds * profile.bytes_per_second
    threshold = profile.header_bytes + content
    return np.where(is_believed, length, -1), np.where(is_believed, np.minimum(length, threshold), threshold)


def read_range(value: bytes) -> tuple[int, int, int]:
    """Read a header as ``parse_range`` does, as plain numbers; a short one is remembered."""
    return _read_short_range(value) if len(value) <= _LONGEST_REMEMBERED else _read_range(value)


def _read_range(value: bytes) -> tuple[int, int, int]:
    kind, first, last = parse_range(value)
    return int(kind), first, last


_read_short_range: Final = functools.lru_cache(_REMEMBERED)(_read_range)


# Each fact's place in a number that stands for all of them.
_BITS: Final = (
    ("is_head", 1),
    ("episode_known", 1),
    ("live", 1),
    ("is_unpublished", 1),
    ("agent_empty", 1),
    ("agent_kind", 4),
    ("prefetch", 1),
    ("blocked", 1),
    ("datacenter", 1),
    ("vpn", 1),
    ("tiny", 1),
)


def _unpack(number: int) -> HitFacts:
    facts: dict[str, int] = {}
    for name, width in _BITS:
        facts[name] = number & ((1 << width) - 1)
        number >>= width
    return HitFacts(
        method=Method.HEAD if facts["is_head"] else Method.GET,
        episode_known=bool(facts["episode_known"]),
        live=bool(facts["live"]),
        # Only whether the hit came before the publication is left of both times.
        at_us=0,
        published_at_us=1 if facts["is_unpublished"] else None,
        agent_empty=bool(facts["agent_empty"]),
        agent_kind=facts["agent_kind"],
        prefetch=bool(facts["prefetch"]),
        blocked=bool(facts["blocked"]),
        datacenter=bool(facts["datacenter"]),
        vpn=bool(facts["vpn"]),
        tiny=bool(facts["tiny"]),
    )


def judge_facts(facts: FactColumns) -> VerdictColumns:
    """Judge each distinct combination of facts once."""
    packed = np.zeros(len(facts.is_head), np.int64)
    shift = 0
    for name, width in _BITS:
        column: npt.NDArray[Any] = getattr(facts, name)
        packed |= column.astype(np.int64) << shift
        shift += width
    places, codes = distinct(packed)
    bits = [judge(_unpack(number)) for number in packed[places].tolist()]
    verdicts = [int(first_verdict(one & DEFAULT_PROFILE.excluding)) for one in bits]
    return VerdictColumns(bits=np.array(bits, np.int64)[codes], verdict=np.array(verdicts, np.int64)[codes])


def eligible_evidence(verdicts: VerdictColumns, evidence: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Keep the evidence of hits that count: that of others says nothing."""
    return np.where(verdicts.verdict == 0, evidence, int(Evidence.NONE))
