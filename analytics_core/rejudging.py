"""Stored hits judged again under other profiles, from what is kept of them."""

from __future__ import annotations

from typing import Final, NamedTuple

from analytics_core.byte_ranges import ByteRange, RangeKind
from analytics_core.evidence import evidence_of
from analytics_core.judging import verdict_of
from analytics_core.network_classes import NetworkClass
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.verdicts import Verdict

__all__ = ("FIRST_TWO_BYTES", "Judge", "StoredFacts")

FIRST_TWO_BYTES: Final = ByteRange(RangeKind.CLOSED, 0, 1)
"""A probe: what players ask for to see whether a server knows ranges."""

_NETWORK_BITS: Final = Verdict.DATACENTER.bit | Verdict.VPN.bit
_TINY_BIT: Final = Verdict.TINY_RANGE.bit


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
        is_playlist: Whether it asked for a playlist, of which ranges say nothing.
    """

    verdict_bits: int
    range_kind: int
    range_first: int
    range_last: int
    agent_kind: int
    networks: int
    referrer: str
    is_playlist: bool = False

    @property
    def is_probe(self) -> bool:
        """Whether it shows that somebody began, and no more, whatever the profile's threshold."""
        return self.is_playlist or self[1:4] == FIRST_TWO_BYTES


class Judge:
    """Judges stored hits of one episode under a profile.

    Rules that no profile changes keep what they said as a hit landed, so that the default profile always decides as it
    did then, whatever feeds and lists say by now.

    Args:
        profile: Any.
        length_bytes: The enclosure's length as the feed says now; ``None`` when unknown. It is used where the profile
            weighs in another way than the default.
        duration_s: The same of the episode's duration, in seconds.

    >>> from analytics_core.profiles import PTMG_2_3
    >>> probe = StoredFacts(0, *FIRST_TWO_BYTES, 1, 0, "")
    >>> [Judge(profile).verdict(probe).label for profile in (DEFAULT_PROFILE, PTMG_2_3)]
    ['eligible', 'tiny_range']
    """

    def __init__(self, profile: Profile, *, length_bytes: int | None = None, duration_s: int | None = None) -> None:
        self._profile = profile
        self._length_bytes = length_bytes
        self._duration_s = duration_s
        self._weighs_as_stored = profile.weighing == DEFAULT_PROFILE.weighing
        self._has_stored_policy = profile.networks == DEFAULT_PROFILE.networks
        # Few are the combinations of all that is no range.
        self._known: dict[tuple[int, int, int, bool, bool], Verdict] = {}

    def verdict(self, facts: StoredFacts) -> Verdict:
        """Tell which verdict decides a hit."""
        bits = facts.verdict_bits
        is_tiny = self._is_tiny(facts)
        is_preload = facts.referrer in self._profile.preload_referrers
        key = (bits, facts.agent_kind, facts.networks, is_tiny, is_preload)
        found = self._known.get(key)
        if found is None:
            if not self._has_stored_policy:
                against = self._profile.networks.verdict_bits(_networks(facts), facts.agent_kind)
                bits = bits & ~_NETWORK_BITS | against
            if is_preload:
                bits |= Verdict.PRELOAD.bit
            bits = bits & ~_TINY_BIT | (_TINY_BIT if is_tiny else 0)
            found = self._known[key] = verdict_of(bits, self._profile)
        return found

    def _is_tiny(self, facts: StoredFacts) -> bool:
        if facts.is_probe:
            return not self._profile.counts_probes
        if self._weighs_as_stored:
            return facts.verdict_bits & _TINY_BIT != 0
        asked = ByteRange(RangeKind(facts.range_kind), facts.range_first, facts.range_last)
        return evidence_of(asked, self._length_bytes, self._duration_s, self._profile)[1]


def _networks(facts: StoredFacts) -> int:
    if facts.networks:
        return facts.networks
    # Landed before classes were kept: what speaks against it tells them, relays excepted.
    networks = NetworkClass.DATACENTER if facts.verdict_bits & Verdict.DATACENTER.bit else NetworkClass.NONE
    return networks | (NetworkClass.VPN if facts.verdict_bits & Verdict.VPN.bit else NetworkClass.NONE)
