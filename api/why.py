"""Why a hit counts or does not, in one sentence for people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final

from analytics_core.byte_ranges import ByteRange, RangeKind
from analytics_core.db.explain import HitRow
from analytics_core.db.hits import HitSource
from analytics_core.hits import HitFlag
from analytics_core.ids import format_hit_id
from analytics_core.network_classes import NetworkClass
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence, Verdict

__all__ = ("replaced_words", "why")

_MAX_AGENT: Final = 60


def _agent(hit: HitRow) -> str:
    text = hit.user_agent if len(hit.user_agent) <= _MAX_AGENT else hit.user_agent[: _MAX_AGENT - 1] + "…"
    return repr(text)


def _bot(hit: HitRow) -> str:
    kind = "a library that only bots use" if hit.agent_kind == AgentKind.LIBRARY else "a bot"
    return f"the agent {_agent(hit)} is {kind} (rule {hit.agent_rule})"


def _watch(hit: HitRow) -> str:
    return f"the agent {_agent(hit)} is an Apple Watch (rule {hit.agent_rule}), whose phone downloads the same episode"


def _tiny(hit: HitRow) -> str:
    if hit.flags & HitFlag.PLAYLIST:
        return "it asked for a playlist, in which there is no sound"
    requested = ByteRange(RangeKind(hit.range_kind), hit.range_first, hit.range_last).requested_bytes
    size = "too small a part" if requested is None else f"{requested:,} bytes, too small a part,"
    return f"it asked for {size} of the file"


_REASONS: Final[dict[Verdict, Callable[[HitRow], str]]] = {
    Verdict.HEAD: lambda hit: "a HEAD request asks for no sound",
    Verdict.UNKNOWN_EPISODE: lambda hit: (
        "no episode has this target; it is judged again when one has"
        if hit.target is not None
        else "no episode had this target"
    ),
    Verdict.LIVE: lambda hit: "it is a live stream, not an episode",
    Verdict.UNPUBLISHED: lambda hit: "it came before the episode was published",
    Verdict.NO_USER_AGENT: lambda hit: "it had no user agent",
    Verdict.BOT: _bot,
    Verdict.WATCH: _watch,
    Verdict.PRELOAD: lambda hit: "a browser loaded it ahead, nobody had asked to play it",
    Verdict.BLOCKED: lambda hit: "its address is on the operator's block list",
    Verdict.DATACENTER: lambda hit: "its address belongs to a data centre",
    Verdict.VPN: lambda hit: "its address belongs to a VPN",
    Verdict.TINY_RANGE: _tiny,
}


def _counts(hit: HitRow, day: str) -> str:
    match hit.evidence:
        case Evidence.FULL:
            return f"Counts: first full request of this listener for this episode on {day}"
        case Evidence.PARTIAL:
            return f"Counts: first request of this listener for enough of this episode on {day}; no full one came"
        case _ if hit.flags & HitFlag.PLAYLIST:
            return (
                f"Counts, but not strictly: this listener asked for a playlist on {day}, and whether a minute of sound "
                "came of it a prefix cannot see"
            )
        case _:
            return f"Counts, but not strictly: only two-byte probes of this listener came for this episode on {day}"


def replaced_words(source: HitSource) -> str:
    """Say what counts instead of a hit that a source told of.

    >>> replaced_words(HitSource.LOG)
    'trackers are counted for this podcast instead of an imported log'
    """
    if source is HitSource.LOG:
        return "trackers are counted for this podcast instead of an imported log"
    return "an imported log is counted for this podcast instead of trackers"


def why(hit: HitRow) -> str:
    """Say in a sentence why a hit counts or does not."""
    verdict = Verdict(hit.verdict)
    day = f"{hit.occurred_at.astimezone(dt.UTC).date()} (UTC)"
    if verdict is not Verdict.ELIGIBLE:
        return f"Does not count: {_REASONS[verdict](hit)}."
    if hit.flags & HitFlag.REPLACED:
        return f"Does not count: {replaced_words(HitSource(hit.source))} on {day}."
    if hit.flags & HitFlag.SPIKE:
        at = "" if hit.spike_at is None else f" on {hit.spike_at.astimezone(dt.UTC).date()}"
        return f"Left out: it is of a spike that was accepted{at}; reverting that would take it in again."
    if hit.is_counted:
        since = " It landed after that day was final; a restatement took it in." * bool(hit.flags & HitFlag.RESTATED)
        shared = " Its address is on the list of shared addresses." * bool(hit.networks & NetworkClass.SHARED)
        return f"{_counts(hit, day)}.{since}{shared}"
    if hit.winner_segment_no is not None and hit.winner_ordinal is not None:
        winner = format_hit_id(hit.winner_segment_no, hit.winner_ordinal)
        return f"Repeat of {winner}: a listener's requests for an episode are one download a day, on {day}."
    if hit.flags & HitFlag.LATE:
        if hit.is_settled:
            return (
                f"Does not count: it landed after {day} was final, and downloads of that day are not kept any more, "
                "so that none can be added."
            )
        return f"Does not count yet: it landed after {day} was final; a restatement would count it."
    return f"Eligible, but the downloads of {day} are no longer kept, so that which hit was counted is not known."
