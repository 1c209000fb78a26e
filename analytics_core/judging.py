"""Judging: what speaks against a hit, and what of it decides under a profile."""

from __future__ import annotations

from typing import NamedTuple

from analytics_core.hits import Method
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Verdict, first_verdict

__all__ = ("HitFacts", "judge", "verdict_of")


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
