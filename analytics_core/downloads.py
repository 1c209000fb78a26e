"""Downloads: which of the hits that count are one download, and which of them its row keeps.

Each hit is judged alone, and what a download's row keeps is the best of its hits, so that the rows are a pure
function of the set of hits: order, repetition and the number of writers do not matter. The requests of a redirect
show intent, not delivery; ``docs/methodology.md`` says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

from analytics_core.evidence import believable_duration_s, believable_length_bytes, evidence_of, threshold_bytes
from analytics_core.judging import HitFacts, judge, verdict_of
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.verdicts import Evidence, Verdict
from analytics_core.windows import utc_day

__all__ = (
    "CountedDownload",
    "Download",
    "DownloadKey",
    "HitFacts",
    "JudgedHit",
    "believable_duration_s",
    "believable_length_bytes",
    "better",
    "count_downloads",
    "evidence_of",
    "judge",
    "merge",
    "threshold_bytes",
    "utc_day",
    "verdict_of",
)


class Download(NamedTuple):
    """The hit that a download's row keeps, as far as it decides against others.

    Attributes:
        evidence: What the hit asked for.
        at_us: Microseconds since 1970-01-01 UTC.
        segment_no: The number of the hit's segment.
        ordinal: The hit's place therein; with ``segment_no`` its id.
    """

    evidence: Evidence
    at_us: int
    segment_no: int
    ordinal: int


def better(one: Download, other: Download) -> bool:
    """Tell whether *one* takes the row from *other*: by more evidence, then the earlier time, then the lower id.

    The order is total on hits, as their ids differ; nothing is better than itself.

    >>> better(Download(Evidence.FULL, 9, 0, 0), Download(Evidence.PROBE, 1, 0, 0))
    True
    >>> better(Download(Evidence.FULL, 9, 0, 0), Download(Evidence.FULL, 9, 0, 0))
    False
    """
    return (-one.evidence, one.at_us, one.segment_no, one.ordinal) < (
        -other.evidence,
        other.at_us,
        other.segment_no,
        other.ordinal,
    )


def merge(one: Download, other: Download) -> Download:
    """Keep the better of two.

    Commutative, associative and idempotent, which is why rows can be merged in any order, and again.

    >>> merge(Download(Evidence.FULL, 9, 0, 1), Download(Evidence.FULL, 3, 0, 2)).at_us
    3
    """
    return other if better(other, one) else one


class JudgedHit(NamedTuple):
    """One hit with what was found out about it.

    Attributes:
        at_us: Microseconds since 1970-01-01 UTC.
        episode_no: The episode's number; ``None`` when it is unknown.
        listener_key: 16 bytes.
        verdict_bits: What :func:`judge` returned.
        evidence: What :func:`evidence_of` returned.
        segment_no: The number of the hit's segment.
        ordinal: The hit's place therein.
    """

    at_us: int
    episode_no: int | None
    listener_key: bytes
    verdict_bits: int
    evidence: Evidence
    segment_no: int
    ordinal: int


class DownloadKey(NamedTuple):
    """What makes requests one download: the UTC day, the episode and the listener."""

    day: dt.date
    episode_no: int
    listener_key: bytes


class CountedDownload(NamedTuple):
    """One row.

    Attributes:
        winner: The hit that the row takes every dimension from.
        hits: Eligible hits in the row, the winner included; the others are its repeats.
    """

    winner: Download
    hits: int


def count_downloads(
    hits: Iterable[JudgedHit], *, profile: Profile = DEFAULT_PROFILE
) -> dict[DownloadKey, CountedDownload]:
    """Count downloads in the plainest way: the reference that storage is tested against.

    Hits with the same id are the same hit and count once. *Any* order gives the same rows. The evidence of each hit
    has to come from the same profile.

    Args:
        hits: Judged hits, in any order, with any repetition.
        profile: Whose verdicts exclude.

    Returns:
        A row for each download; empty when nothing is eligible. Of all eligible hits, ``sum(row.hits)``,
        as many as there are rows are downloads and the rest are repeats.

    Source:
        Podcast Technical Measurement Guidelines v2.3, sections 5.5.1 (window) and 5.5.4 (address and agent).

    >>> play = JudgedHit(5, 1, b"k" * 16, 0, Evidence.PARTIAL, 0, 0)
    >>> more = play._replace(at_us=9, evidence=Evidence.FULL, ordinal=1)
    >>> [(row.winner.at_us, row.hits) for row in count_downloads([play, more, play]).values()]
    [(9, 2)]
    """
    groups: dict[DownloadKey, set[Download]] = {}
    for hit in hits:
        if verdict_of(hit.verdict_bits, profile) is not Verdict.ELIGIBLE or hit.episode_no is None:
            continue
        key = DownloadKey(utc_day(hit.at_us), hit.episode_no, hit.listener_key)
        groups.setdefault(key, set()).add(Download(hit.evidence, hit.at_us, hit.segment_no, hit.ordinal))
    rows: dict[DownloadKey, CountedDownload] = {}
    for key, group in groups.items():
        winner, *others = group
        for download in others:
            winner = merge(winner, download)
        rows[key] = CountedDownload(winner, len(group))
    return rows
