"""Evidence: how much of an episode a request asked for, against a minute of its sound."""

from __future__ import annotations

from typing import Final

from analytics_core.byte_ranges import ByteRange, RangeKind
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.verdicts import Evidence

__all__ = ("believable_duration_s", "believable_length_bytes", "evidence_of", "threshold_bytes")


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
    if not profile.believes_sizes or length_bytes is None or length_bytes < profile.least_length_bytes:
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
    *,
    is_playlist: bool = False,
) -> tuple[Evidence, bool]:
    """Weigh how much of an episode one request asked for.

    A request for all, or from the start to the end, is full. A remainder or a closed range is partial when it
    reaches :func:`threshold_bytes` inside the file, else tiny. The last bytes of a file are looked up for their
    tags: unless the profile counts tails they are tiny when they are not the whole file. Exactly the first two
    bytes are a probe where the profile counts probes, else tiny; so is any part of a playlist, and all of it, since
    there is no sound in it.

    Args:
        byte_range: What the request asked for.
        length_bytes: The enclosure's length as the feed says; ``None`` when unknown. It is believed only so far.
        duration_s: The episode's duration as the feed says, in seconds; ``None`` when unknown.
        profile: Whose threshold.
        is_playlist: Whether the file is a playlist: ``analytics_core.playlists``.

    Returns:
        The evidence, and whether the request asked for too little to count; then the evidence is ``NONE``.

    Source:
        Podcast Technical Measurement Guidelines v2.3, sections 1.3 (HLS), 5.5.2 (two-byte requests) and 5.5.3
        (threshold); the guideline's own reassembly of several ranges is not possible for a tracker that redirects.

    >>> from analytics_core.byte_ranges import parse_range
    >>> evidence_of(parse_range(""), None, None)
    (<Evidence.FULL: 3>, False)
    >>> evidence_of(parse_range("bytes=0-1"), None, None)
    (<Evidence.PROBE: 1>, False)
    >>> evidence_of(parse_range("bytes=0-0"), None, None)
    (<Evidence.NONE: 0>, True)
    >>> evidence_of(parse_range("bytes=-128"), 28_800_000, 1800)
    (<Evidence.NONE: 0>, True)
    >>> evidence_of(parse_range(""), None, None, is_playlist=True)
    (<Evidence.PROBE: 1>, False)
    """
    if is_playlist:
        return _PROBE if profile.counts_probes else _TINY
    kind, first, last = byte_range
    if kind in (RangeKind.NONE, RangeKind.INVALID) or (kind is RangeKind.OPEN and first == 0):
        return _FULL
    length = believable_length_bytes(length_bytes, duration_s, profile)
    threshold = threshold_bytes(length_bytes, duration_s, profile)
    if kind is RangeKind.SUFFIX:
        if length is not None and last >= length:
            return _FULL
        return _PARTIAL if profile.counts_tails and last >= threshold else _TINY
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
