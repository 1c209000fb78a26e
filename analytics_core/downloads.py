"""Downloads: how much of an episode a request asked for, what speaks against it, and which requests are one download.

Each hit is judged alone, and what a download's row keeps is the best of its hits, so that the rows are a pure
function of the set of hits: order, repetition and the number of writers do not matter. The requests of a redirect
show intent, not delivery; ``docs/methodology.md`` says so.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Final, NamedTuple

from analytics_core.byte_ranges import ByteRange, RangeKind
from analytics_core.hits import Method
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence, Verdict, first_verdict

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

_DAY_US: Final = 86_400_000_000
_EPOCH_ORDINAL: Final = dt.date(1970, 1, 1).toordinal()


def utc_day(at_us: int) -> dt.date:
    """Name the UTC calendar day of an instant: the window inside which a listener's requests are one download.

    Of the windows that the guideline allows, the calendar day is the one whose result does not depend on the order
    in which requests are seen.

    Args:
        at_us: Microseconds since 1970-01-01 UTC; before it negative.

    Raises:
        ValueError: The instant is outside the years 1 to 9999.

    Source:
        Podcast Technical Measurement Guidelines v2.3, section 5.5.1.

    >>> utc_day(86_399_999_999), utc_day(86_400_000_000)
    (datetime.date(1970, 1, 1), datetime.date(1970, 1, 2))
    """
    try:
        return dt.date.fromordinal(_EPOCH_ORDINAL + at_us // _DAY_US)
    except (OverflowError, ValueError):
        raise ValueError("an instant has to fall into the years 1 to 9999") from None


def believable_length_bytes(
    length_bytes: int | None, duration_s: int | None, profile: Profile = DEFAULT_PROFILE
) -> int | None:
    """Take a feed's word for an enclosure's size, or not.

    Feeds carry placeholders, and a length that is too short for the stated duration is wrong.

    Args:
        length_bytes: The enclosure's ``length``; ``None`` when there was none.
        duration_s: The episode's stated duration, in seconds; ``None`` or 0 when unknown.

    Returns:
        The length, or ``None`` when it cannot be believed.

    Source:
        Podcast Technical Measurement Guidelines v2.3, section 5.5.3, on missing sizes; the bounds are our own.

    >>> believable_length_bytes(33, None) is None
    True
    >>> believable_length_bytes(28_800_000, 1800)
    28800000
    >>> believable_length_bytes(100_000, 3600) is None
    True
    """
    if length_bytes is None or length_bytes < profile.least_length_bytes:
        return None
    if duration_s and duration_s > 0 and length_bytes < profile.least_bytes_per_second * duration_s:
        return None
    return length_bytes


def believable_duration_s(
    length_bytes: int | None, duration_s: int | None, profile: Profile = DEFAULT_PROFILE
) -> int | None:
    """Take a feed's word for an episode's duration, or not.

    It serves only to work out a rate, so that without a believable length there is none either.

    Returns:
        The duration in seconds, or ``None`` when it cannot be believed.

    >>> believable_duration_s(28_800_000, 1800)
    1800
    >>> believable_duration_s(28_800_000, 1) is None
    True
    """
    length = believable_length_bytes(length_bytes, duration_s, profile)
    if length is None or not duration_s or duration_s < 0 or length > profile.most_bytes_per_second * duration_s:
        return None
    return duration_s


def threshold_bytes(length_bytes: int | None, duration_s: int | None, profile: Profile = DEFAULT_PROFILE) -> int:
    """Work out how many bytes a partial request has to ask for.

    The header's allowance and a minute of sound, at the enclosure's own rate where it is known; never more than the
    whole file, which is therefore what an episode of up to a minute needs.

    Returns:
        Bytes, at least 1.

    Source:
        Podcast Technical Measurement Guidelines v2.3, section 5.5.3: header and 60 seconds of content, or all of a
        shorter file. Without believable sizes our assumption of 128 kbit/s stands in, disclosed as a correction.

    >>> threshold_bytes(28_800_000, 1800)
    1260000
    >>> threshold_bytes(None, None)
    1260000
    >>> threshold_bytes(400_000, 30)
    400000
    """
    length = believable_length_bytes(length_bytes, duration_s, profile)
    duration = believable_duration_s(length_bytes, duration_s, profile)
    if length is None:
        return profile.header_bytes + profile.seconds * profile.bytes_per_second
    if duration is None:
        return min(length, profile.header_bytes + profile.seconds * profile.bytes_per_second)
    # Rounded up: a byte less would be less than a minute.
    return min(length, profile.header_bytes - (-profile.seconds * length // duration))


_FULL: Final = (Evidence.FULL, False)
_PARTIAL: Final = (Evidence.PARTIAL, False)
_PROBE: Final = (Evidence.PROBE, False)
_TINY: Final = (Evidence.NONE, True)


def evidence_of(
    byte_range: ByteRange,
    length_bytes: int | None,
    duration_s: int | None,
    profile: Profile = DEFAULT_PROFILE,
) -> tuple[Evidence, bool]:
    """Weigh how much of an episode one request asked for.

    A request for all, or from the start to the end, is full. A remainder or a closed range is partial when it
    reaches :func:`threshold_bytes` inside the file, else tiny. The last bytes of a file are looked up for their
    tags and are tiny unless they are the whole file. Exactly the first two bytes are a probe where the profile
    counts probes, else tiny.

    Args:
        byte_range: What the request asked for.
        length_bytes: The enclosure's length as the feed says; ``None`` when unknown. It is believed only so far.
        duration_s: The episode's duration as the feed says, in seconds; ``None`` when unknown.

    Returns:
        The evidence, and whether the request asked for too little to count; then the evidence is ``NONE``.

    Source:
        Podcast Technical Measurement Guidelines v2.3, sections 5.5.2 (two-byte requests) and 5.5.3 (threshold);
        the guideline's own reassembly of several ranges is not possible for a tracker that redirects.

    >>> from analytics_core.byte_ranges import parse_range
    >>> evidence_of(parse_range(""), None, None)
    (<Evidence.FULL: 3>, False)
    >>> evidence_of(parse_range("bytes=0-1"), None, None)
    (<Evidence.PROBE: 1>, False)
    >>> evidence_of(parse_range("bytes=0-0"), None, None)
    (<Evidence.NONE: 0>, True)
    >>> evidence_of(parse_range("bytes=-128"), 28_800_000, 1800)
    (<Evidence.NONE: 0>, True)
    """
    kind, first, last = byte_range
    if kind in (RangeKind.NONE, RangeKind.INVALID) or (kind is RangeKind.OPEN and first == 0):
        return _FULL
    length = believable_length_bytes(length_bytes, duration_s, profile)
    if kind is RangeKind.SUFFIX:
        return _FULL if length is not None and last >= length else _TINY
    threshold = threshold_bytes(length_bytes, duration_s, profile)
    if kind is RangeKind.OPEN:
        return _PARTIAL if length is None or length - first >= threshold else _TINY
    if kind is RangeKind.CLOSED and (first, last) == (0, 1):
        return _PROBE if profile.counts_probes else _TINY
    if length is None:
        return _PARTIAL if last - first + 1 >= threshold else _TINY
    # What is asked for behind the end of the file is not there to be sent.
    inside = min(last, length - 1) - first + 1
    if first == 0 and inside == length:
        return _FULL
    return _PARTIAL if inside >= threshold else _TINY


class HitFacts(NamedTuple):
    """All that decides whether one hit counts; no address, no text, so that equal ones are judged once.

    Attributes:
        method: How the enclosure was asked for.
        episode_known: Whether the target is an episode's enclosure.
        live: Whether the episode is a live item, whose enclosure is a stream.
        at_us: Microseconds since 1970-01-01 UTC of the request.
        published_at_us: The same of the episode's publication; ``None`` when unknown.
        agent_empty: Whether there was no user agent.
        agent_kind: ``AgentKind`` of the agent.
        prefetch: Whether the request called itself a prefetch or preview.
        blocked: Whether the address is in a network that the operator blocked.
        datacenter: Whether it is in a data centre's network, relays for people excepted.
        vpn: Whether it is in a VPN's network, relays for people excepted.
        tiny: Whether too little was asked for: the second of what :func:`evidence_of` returns.
    """

    method: Method = Method.GET
    episode_known: bool = True
    live: bool = False
    at_us: int = 0
    published_at_us: int | None = None
    agent_empty: bool = False
    agent_kind: int = AgentKind.APP
    prefetch: bool = False
    blocked: bool = False
    datacenter: bool = False
    vpn: bool = False
    tiny: bool = False


def judge(facts: HitFacts) -> int:
    """List everything that speaks against a hit, whatever profile is asked for.

    * ``head``: a HEAD delivers nothing (PTMG v2.3, 1.3).
    * ``unknown_episode``: only episodes have downloads (6.1).
    * ``live``: a live stream is not an episode that can be downloaded (2.2).
    * ``unpublished``: asked for before its publication, by whoever makes it. Own rule.
    * ``no_user_agent``: such requests come from servers almost without exception. Own rule.
    * ``bot``: agents that say they are bots (1.2, rule 5).
    * ``watch``: Apple Watch fetching again what its telephone has (1.2, rule 7, and 8.1).
    * ``preload``: fetched without anyone having asked to hear it (5.5.2 and 7).
    * ``blocked``: networks that the operator found to be no listeners (1.2, rule 1, and 5.5.4).
    * ``datacenter``, ``vpn``: addresses of machines (1.2, rule 2).
    * ``tiny_range``: too little was asked for (5.5.3).

    Returns:
        The union of the bits of every verdict that applies; 0 when none does.

    Source:
        Podcast Technical Measurement Guidelines v2.3, in the sections named above.

    >>> from analytics_core.verdicts import verdict_names
    >>> verdict_names(judge(HitFacts(method=Method.HEAD, agent_kind=AgentKind.BOT)))
    ['head', 'bot']
    >>> judge(HitFacts())
    0
    """
    bits = 0
    if facts.method == Method.HEAD:
        bits |= Verdict.HEAD.bit
    if not facts.episode_known:
        bits |= Verdict.UNKNOWN_EPISODE.bit
    if facts.live:
        bits |= Verdict.LIVE.bit
    if facts.published_at_us is not None and facts.at_us < facts.published_at_us:
        bits |= Verdict.UNPUBLISHED.bit
    if facts.agent_empty:
        bits |= Verdict.NO_USER_AGENT.bit
    if facts.agent_kind == AgentKind.BOT:
        bits |= Verdict.BOT.bit
    if facts.agent_kind == AgentKind.WATCH:
        bits |= Verdict.WATCH.bit
    if facts.prefetch:
        bits |= Verdict.PRELOAD.bit
    if facts.blocked:
        bits |= Verdict.BLOCKED.bit
    if facts.datacenter:
        bits |= Verdict.DATACENTER.bit
    if facts.vpn:
        bits |= Verdict.VPN.bit
    if facts.tiny:
        bits |= Verdict.TINY_RANGE.bit
    return bits


def verdict_of(bits: int, profile: Profile = DEFAULT_PROFILE) -> Verdict:
    """Pick the verdict that decides a hit under a profile.

    >>> verdict_of(Verdict.BOT.bit | Verdict.VPN.bit).label
    'bot'
    """
    return first_verdict(bits & profile.excluding)


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
