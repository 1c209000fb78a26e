"""What if: how a request that nobody has sent would count, by the rules and in the words of stored hits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from analytics_core.agent_table import AgentTable
from analytics_core.byte_ranges import parse_range
from analytics_core.db.explain import HitRow
from analytics_core.evidence import believable_duration_s, evidence_of, threshold_bytes
from analytics_core.hits import MAX_AGENT_BYTES, HitFlag, Method
from analytics_core.judging import HitFacts, judge
from analytics_core.network_classes import NetworkClass
from analytics_core.profiles import DEFAULT_PROFILE, PTMG_2_3, Profile
from analytics_core.referrers import referrer_host
from analytics_core.rejudging import Judge, StoredFacts
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence, Verdict, first_verdict, verdict_names
from api.pages.rules import ASKS_ONE_A_DAY, SHARED_WORDS, EpisodeFacts, Outcome, Step, range_words, walk_rules

__all__ = ("DEFAULT_PROFILES", "AskedRequest", "Placed", "ProfileAnswer", "WhatIf", "what_if")

DEFAULT_PROFILES: Final = (DEFAULT_PROFILE, PTMG_2_3)
"""What is answered without being asked: what is counted, and what is counted strictly."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LISTED: Final = {
    Verdict.BLOCKED: NetworkClass.BLOCKED,
    Verdict.DATACENTER: NetworkClass.DATACENTER,
    Verdict.VPN: NetworkClass.VPN,
}


class Placed(NamedTuple):
    """Where an address is.

    Attributes:
        networks: The lists that it is in.
        asn: The autonomous system that announces it; 0 where unknown.
        country: Its two letters; empty where unknown.
        lists: The version of the lists that were asked; ``none`` without any.
    """

    networks: NetworkClass
    asn: int
    country: str
    lists: str


class AskedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it would reach a tracker.

    Attributes:
        place: Where its address is; ``None`` when no address is given.
        episode: The episode that it is for; ``None`` when there is none, or nobody to ask.
        is_assumed: Nobody could be asked: it is taken for a request for an episode, of which nothing is known.
        is_playlist: The file is a playlist.
    """

    method: Method = Method.GET
    agent: str = ""
    byte_range: str = ""
    referrer: str = ""
    at: dt.datetime
    place: Placed | None = None
    episode: EpisodeFacts | None = None
    is_assumed: bool = False
    is_playlist: bool = False


class ProfileAnswer(msgspec.Struct, frozen=True):
    """What a profile makes of a request: ``eligible`` counts."""

    profile: str
    verdict: str
    counts: bool


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """How a request would count.

    Attributes:
        counts: Whether it would, as the listener's first of the day.
        verdicts: All that speaks against it, the deciding one first.
        evidence: How much it asks for; ``None`` where that is not asked.
        needed_bytes: What a closed range has to hold.
        is_default: Whether that is the default, since the episode's length or duration is unknown or unbelievable.
        asked_for: The range in words.
        rule: The entry of the table of user agents that decided.
        table: That table's version.
        steps: Every rule in order.
        profiles: What else was asked.
    """

    counts: bool
    verdict: str
    verdicts: list[str]
    evidence: str | None
    needed_bytes: int
    is_default: bool
    asked_for: str
    agent_kind: str
    app: str
    device: str
    rule: str
    table: str
    steps: list[Step]
    profiles: list[ProfileAnswer]


def what_if(asked: AskedRequest, table: AgentTable, *, profiles: Sequence[Profile] = DEFAULT_PROFILES) -> WhatIf:
    """Judge a request that nobody has sent.

    Args:
        asked: The request.
        table: The table of user agents in force.
        profiles: Which ones are to answer; the rules are walked by the default one.
    """
    agent = asked.agent.encode("utf-8", "replace")[:MAX_AGENT_BYTES].decode("utf-8", "ignore")
    found = table.classify(agent)
    byte_range = parse_range(asked.byte_range.encode())
    length, duration = (None, None) if asked.episode is None else (asked.episode.length_bytes, asked.episode.duration_s)
    evidence, tiny = evidence_of(byte_range, length, duration, is_playlist=asked.is_playlist)
    networks = NetworkClass.NONE if asked.place is None else asked.place.networks
    has_people = NetworkClass.SHARED in networks
    published_at = None if asked.episode is None else asked.episode.published_at
    bits = judge(
        HitFacts(
            method=asked.method,
            episode_known=asked.is_assumed or asked.episode is not None,
            live=asked.episode is not None and asked.episode.live,
            at_us=_micros(asked.at),
            published_at_us=None if published_at is None else _micros(published_at),
            agent_empty=found.rule == "empty",
            agent_kind=found.kind,
            blocked=NetworkClass.BLOCKED in networks,
            datacenter=NetworkClass.DATACENTER in networks and not has_people,
            vpn=NetworkClass.VPN in networks and not has_people,
            tiny=tiny,
        )
    )
    verdict = first_verdict(bits)
    hit = HitRow(
        occurred_at=asked.at,
        segment_no=0,
        ordinal=0,
        podcast_id=None,
        episode_id=None,
        verdict_bits=bits,
        verdict=int(verdict),
        evidence=int(evidence) if verdict is Verdict.ELIGIBLE else 0,
        range_kind=int(byte_range.kind),
        range_first=byte_range.first,
        range_last=byte_range.last,
        method=int(asked.method),
        flags=int(HitFlag.PLAYLIST) if asked.is_playlist else 0,
        country=0,
        user_agent=agent,
        agent_kind=int(found.kind),
        app=found.app,
        device=found.device,
        agent_rule=found.rule,
        referrer=referrer_host(asked.referrer),
        os=found.os,
        region="",
        city="",
        target=None,
        networks=int(networks),
        winner_segment_no=None,
        winner_ordinal=None,
    )
    facts = StoredFacts(bits, *byte_range, int(found.kind), int(networks), hit.referrer, asked.is_playlist)
    answers = []
    for profile in profiles:
        found_verdict = Judge(profile, length_bytes=length, duration_s=duration).verdict(facts)
        answers.append(ProfileAnswer(profile.name, found_verdict.label, found_verdict is Verdict.ELIGIBLE))
    return WhatIf(
        counts=verdict is Verdict.ELIGIBLE,
        verdict=verdict.label,
        verdicts=verdict_names(bits),
        evidence=Evidence(hit.evidence).label if hit.evidence else None,
        needed_bytes=threshold_bytes(length, duration),
        is_default=believable_duration_s(length, duration) is None,
        asked_for=range_words(hit),
        agent_kind=AgentKind(found.kind).label,
        app=found.app,
        device=found.device,
        rule=found.rule,
        table=table.version,
        steps=walk_rules(hit, asked.episode, last=_last(hit, verdict), said=_said(asked, hit)),
        profiles=answers,
    )


def _micros(at: dt.datetime) -> int:
    return (at - _EPOCH) // dt.timedelta(microseconds=1)


def _said(asked: AskedRequest, hit: HitRow) -> dict[Verdict, str]:
    """Say what rules saw where a stored hit would know more, or less."""
    said = {Verdict.PRELOAD: "It is taken for one without such a header."}
    if asked.is_assumed:
        said |= {
            Verdict.UNKNOWN_EPISODE: "It is taken for an episode's: there is no ledger here to ask.",
            Verdict.LIVE: "It is taken for a file.",
            Verdict.UNPUBLISHED: "It is taken for published.",
        }
    elif asked.episode is None:
        said[Verdict.UNKNOWN_EPISODE] = "No episode has this target."
    if not hit.user_agent:
        said[Verdict.BOT] = said[Verdict.WATCH] = "There is no agent to look at."
    for verdict, network in _LISTED.items():
        said[verdict] = _listed(asked.place, network)
    return said


def _listed(place: Placed | None, network: NetworkClass) -> str:
    if place is None:
        return "No address is given."
    if network in place.networks and network is not NetworkClass.BLOCKED and NetworkClass.SHARED in place.networks:
        return SHARED_WORDS
    if network in place.networks:
        announced = f", announced by AS{place.asn}" if place.asn else ""
        return f"It is in that list ({place.lists}){announced}."
    if NetworkClass.RELAY in place.networks:
        return "It is a relay in front of people, which counts."
    if place.lists == "none":
        return "No list is installed: `castledger lists update` brings some."
    return f"It is not in that list ({place.lists})."


def _last(hit: HitRow, verdict: Verdict) -> Step:
    day = hit.occurred_at.astimezone(dt.UTC).date()
    if verdict is not Verdict.ELIGIBLE:
        return Step("one a day", ASKS_ONE_A_DAY, "Not asked, since a rule above speaks against it.", Outcome.SKIPPED)
    saw = f"Of those with this address and agent on {day} (UTC) the best one counts: this one, while it is alone."
    return Step("one a day", ASKS_ONE_A_DAY, saw, Outcome.COUNTS)
