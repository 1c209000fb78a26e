"""Stored hits judged again under other profiles, from what is kept of them."""

from __future__ import annotations

from typing import Final, NamedTuple

from analytics_core.byte_ranges import ByteRange, RangeKind
from analytics_core.evidence import evidence_of
from analytics_core.judging import verdict_of
from analytics_core.network_classes import NetworkClass
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.verdicts import Verdict

__all__ = ("FIRST_TWO_BYTES", "StoredFacts", "judge_again")

FIRST_TWO_BYTES: Final = ByteRange(RangeKind.CLOSED, 0, 1)
"""A probe: what players ask for to see whether a server knows ranges."""

_NETWORK_BITS: Final = Verdict.DATACENTER.bit | Verdict.VPN.bit


class StoredFacts(NamedTuple):
    """All that is kept of a hit and decides under some profile; equal ones are judged once.

    Attributes:
        verdict_bits: What :func:`analytics_core.judging.judge` said of it as it landed.
        range_kind: ``RangeKind``.
        range_first: As of ``ByteRange``.
        range_last: As of ``ByteRange``.
        agent_kind: ``AgentKind``.
        networks: Union of ``NetworkClass``; 0 too of hits of before it was kept.
        referrer: Host of the page that it came from; empty when there was none.
    """

    verdict_bits: int
    range_kind: int
    range_first: int
    range_last: int
    agent_kind: int
    networks: int
    referrer: str


def judge_again(facts: StoredFacts, length_bytes: int | None, duration_s: int | None, profile: Profile) -> Verdict:
    """Judge a stored hit under a profile.

    Rules that no profile changes keep what they said as the hit landed, so that the default profile always decides
    as it did then, whatever feeds and lists say by now.

    Args:
        facts: Of the hit.
        length_bytes: The enclosure's length as the feed says now; ``None`` when unknown. It is used where the
            profile weighs in another way than the default.
        duration_s: The same of the episode's duration, in seconds.
        profile: Any.

    >>> from analytics_core.profiles import PTMG_2_3
    >>> probe = StoredFacts(0, *FIRST_TWO_BYTES, 1, 0, "")
    >>> [judge_again(probe, None, None, profile).label for profile in (DEFAULT_PROFILE, PTMG_2_3)]
    ['eligible', 'tiny_range']
    """
    bits = facts.verdict_bits
    if profile.networks != DEFAULT_PROFILE.networks:
        networks = facts.networks
        if not networks:
            # Landed before classes were kept: what speaks against it tells them, relays excepted.
            networks |= NetworkClass.DATACENTER if bits & Verdict.DATACENTER.bit else 0
            networks |= NetworkClass.VPN if bits & Verdict.VPN.bit else 0
        bits = bits & ~_NETWORK_BITS | profile.networks.verdict_bits(networks, facts.agent_kind)
    if facts.referrer in profile.preload_referrers:
        bits |= Verdict.PRELOAD.bit
    asked = ByteRange(RangeKind(facts.range_kind), facts.range_first, facts.range_last)
    if asked == FIRST_TWO_BYTES:
        is_tiny = not profile.counts_probes
    elif profile.weighing == DEFAULT_PROFILE.weighing:
        is_tiny = bool(bits & Verdict.TINY_RANGE.bit)
    else:
        is_tiny = evidence_of(asked, length_bytes, duration_s, profile)[1]
    bits = bits & ~Verdict.TINY_RANGE.bit | (Verdict.TINY_RANGE.bit if is_tiny else 0)
    return verdict_of(bits, profile)
