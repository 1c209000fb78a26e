"""One hit rule by rule: what each looked at, what it saw, and what it decided."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Self

import msgspec

from analytics_core.byte_ranges import RangeKind
from analytics_core.db.episodes import EpisodeRow
from analytics_core.db.explain import HitRow
from analytics_core.db.hits import HitSource
from analytics_core.downloads import believable_length_bytes, threshold_bytes
from analytics_core.hits import HitFlag, Method
from analytics_core.ids import format_hit_id
from analytics_core.network_classes import NetworkClass
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence, Verdict
from api.pages.words import instant, number
from api.why import replaced_words

__all__ = (
    "ASKS_ONE_A_DAY",
    "SHARED_WORDS",
    "VERDICT_WORDS",
    "EpisodeFacts",
    "Outcome",
    "Step",
    "explain_steps",
    "range_words",
    "walk_rules",
)

VERDICT_WORDS: Final[Mapping[str, str]] = {
    "eligible": "nothing speaks against it",
    "head": "asked only whether the file is there",
    "unknown_episode": "no episode of the feed has this file (yet)",
    "live": "a live stream, not an episode",
    "unpublished": "before the episode was published",
    "no_user_agent": "did not say what it is",
    "bot": "a bot, a crawler or a monitor",
    "watch": "an Apple Watch, which asks for everything twice",
    "preload": "loaded ahead by a browser, unasked",
    "blocked": "from an address on the operator’s block list",
    "datacenter": "from a data centre",
    "vpn": "from a VPN",
    "tiny_range": "asked for less than a minute of sound",
}
"""Every verdict in half a sentence."""


SHARED_WORDS: Final = "It is on the list of shared addresses: people are behind it, whatever other lists say."
"""Of an address that lists of machines name as well."""


class Outcome(enum.Enum):
    """What a rule decided about a hit."""

    PASSED = "passed"
    AGAINST = "against"
    """It speaks against the hit too, but an earlier rule had decided."""
    ALLOWED = "allowed"
    """It would speak against the hit by default, and does not under the profile of its day."""
    DECIDES = "decides"
    COUNTS = "counts"
    REPEAT = "repeat"
    LEFT_OUT = "left_out"
    """It is of an accepted spike, or another source counts instead."""
    OPEN = "open"
    SKIPPED = "skipped"


class Step(msgspec.Struct, frozen=True):
    """One rule and a hit.

    Attributes:
        name: The rule's, such as a verdict's label.
        asks: What it looks for.
        saw: What it found in this hit, as a sentence.
    """

    name: str
    asks: str
    saw: str
    outcome: Outcome


class EpisodeFacts(msgspec.Struct, frozen=True):
    """What rules ask of an episode, as its feed tells it now."""

    title: str
    published_at: dt.datetime | None
    live: bool
    length_bytes: int | None
    duration_s: int | None

    @classmethod
    def of(cls, episode: EpisodeRow) -> Self:
        """Take them from an episode; the length is its first file's."""
        length_bytes = episode.enclosures[0].length_bytes if episode.enclosures else None
        return cls(episode.title, episode.published_at, episode.live, length_bytes, episode.duration_s)


def range_words(hit: HitRow) -> str:
    """Say which bytes a hit asked for."""
    kind, first, last = RangeKind(hit.range_kind), hit.range_first, hit.range_last
    match kind:
        case RangeKind.NONE:
            return "the whole file: there was no Range"
        case RangeKind.INVALID:
            return "the whole file: its Range was none that can be read"
        case RangeKind.OPEN:
            return "the whole file: from its first byte on" if first == 0 else f"all from byte {number(first)} on"
        case RangeKind.CLOSED:
            return f"bytes {number(first)} to {number(last)}, {number(last - first + 1)} in all"
        case RangeKind.SUFFIX:
            return f"the last {number(last)} bytes"
        case RangeKind.MULTIPLE:
            return f"several parts, {number(last - first + 1)} bytes together"


def _agent(hit: HitRow, episode: EpisodeFacts | None) -> str:
    kind = AgentKind(hit.agent_kind).label
    named = f"{hit.app}, " if hit.app else ""
    return f"{named}{kind}, by the rule {hit.agent_rule or 'none'}."


def _episode(hit: HitRow, episode: EpisodeFacts | None) -> str:
    if episode is not None:
        return f"It belongs to “{episode.title}”."
    return f"No episode has the target {hit.target}." if hit.target else "No episode had its target."


def _published(hit: HitRow, episode: EpisodeFacts | None) -> str:
    if episode is None or episode.published_at is None:
        return "The feed gives no date."
    return f"Published {instant(episode.published_at)}, requested {instant(hit.occurred_at)}."


def _address(hit: HitRow, episode: EpisodeFacts | None) -> str:
    return "Looked up as it landed; the address itself is not kept."


def _machines(hit: HitRow, episode: EpisodeFacts | None) -> str:
    told = _address(hit, episode)
    if hit.networks & NetworkClass.SHARED:
        return f"{told} {SHARED_WORDS}"
    return told


def _range(hit: HitRow, episode: EpisodeFacts | None) -> str:
    if hit.flags & HitFlag.PLAYLIST:
        return f"It asked for {range_words(hit)}, of a playlist: how much of one says nothing of minutes."
    length, duration = (None, None) if episode is None else (episode.length_bytes, episode.duration_s)
    needed = threshold_bytes(length, duration)
    believed = believable_length_bytes(length, duration)
    of = f" of {number(believed)}" if believed is not None else ""
    words = range_words(hit)
    other = f" {hit.rules}, by which its day is judged, may weigh otherwise." if hit.rules else ""
    return f"It asked for {words}. A minute of sound needs {number(needed)} bytes{of}.{other}"


def _preload(hit: HitRow, episode: EpisodeFacts | None) -> str:
    return "It said that it was a prefetch." if hit.flags & HitFlag.PREFETCH else "It did not say so."


_SAW: Final[Mapping[Verdict, Callable[[HitRow, EpisodeFacts | None], str]]] = {
    Verdict.HEAD: lambda hit, _: f"The method was {Method(hit.method).name}.",
    Verdict.UNKNOWN_EPISODE: _episode,
    Verdict.LIVE: lambda _, episode: (
        "The feed calls it a live item." if episode is not None and episode.live else "A file, as far as the feed says."
    ),
    Verdict.UNPUBLISHED: _published,
    Verdict.NO_USER_AGENT: lambda hit, _: f"It said {hit.user_agent}." if hit.user_agent else "It said nothing.",
    Verdict.BOT: _agent,
    Verdict.WATCH: _agent,
    Verdict.PRELOAD: _preload,
    Verdict.BLOCKED: _address,
    Verdict.DATACENTER: _machines,
    Verdict.VPN: _machines,
    Verdict.TINY_RANGE: _range,
}
_EVIDENCE: Final[Mapping[Evidence, str]] = {
    Evidence.NONE: "Not asked, since a rule above speaks against it.",
    Evidence.PROBE: "Two bytes, a probe: alone it counts in castledger-1, not in the strict figure.",
    Evidence.PARTIAL: "Partial: at least a minute of sound.",
    Evidence.FULL: "Full: all of the file.",
}
_PLAYLIST: Final = (
    "A playlist: somebody pressed play, and what followed did not come here. Alone it counts in castledger-1, not in "
    "the strict figure."
)


ASKS_ONE_A_DAY: Final = "Is it the best hit of this listener for this episode on this UTC day?"
"""What the last rule asks."""


def _one_a_day(hit: HitRow) -> Step:
    """Explain the last rule: of a listener's eligible hits for an episode on a UTC day the best one counts."""
    asks = ASKS_ONE_A_DAY
    day = hit.occurred_at.astimezone(dt.UTC).date().isoformat()
    if hit.verdict != Verdict.ELIGIBLE:
        return Step("one a day", asks, "Not asked, since a rule above speaks against it.", Outcome.SKIPPED)
    if hit.flags & HitFlag.REPLACED:
        return Step("one a day", asks, f"Left out: {replaced_words(HitSource(hit.source))} on {day}.", Outcome.LEFT_OUT)
    if hit.flags & HitFlag.SPIKE:
        at = "" if hit.spike_at is None else f" on {hit.spike_at.astimezone(dt.UTC).date()}"
        saw = f"Left out: it is of a spike that was accepted{at}, which leaves it out of {day}."
        return Step("one a day", asks, saw, Outcome.LEFT_OUT)
    if hit.is_counted:
        since = ", since a restatement" if hit.flags & HitFlag.RESTATED else ""
        return Step("one a day", asks, f"Yes: it is the download of {day}{since}.", Outcome.COUNTS)
    if hit.winner_segment_no is not None and hit.winner_ordinal is not None:
        winner = format_hit_id(hit.winner_segment_no, hit.winner_ordinal)
        return Step("one a day", asks, f"No: {winner} is the download of {day}.", Outcome.REPEAT)
    if hit.flags & HitFlag.LATE and hit.is_settled:
        saw = f"It landed after {day} was final, and downloads so old are not kept any more."
        return Step("one a day", asks, saw, Outcome.REPEAT)
    if hit.flags & HitFlag.LATE:
        return Step("one a day", asks, f"It landed after {day} was final; a restatement would count it.", Outcome.OPEN)
    return Step("one a day", asks, f"The downloads of {day} are no longer kept, so it cannot be told.", Outcome.OPEN)


_ASKS: Final[Mapping[Verdict, str]] = {
    Verdict.HEAD: "Was it a HEAD request, which carries no sound?",
    Verdict.UNKNOWN_EPISODE: "Is there no episode with this target?",
    Verdict.LIVE: "Is it a live stream?",
    Verdict.UNPUBLISHED: "Did it come before the episode was published?",
    Verdict.NO_USER_AGENT: "Did it come without a user agent?",
    Verdict.BOT: "Is the agent a bot?",
    Verdict.WATCH: "Is the agent an Apple Watch?",
    Verdict.PRELOAD: "Was it loaded ahead, unasked?",
    Verdict.BLOCKED: "Is the address on the operator’s block list?",
    Verdict.DATACENTER: "Does the address belong to a data centre?",
    Verdict.VPN: "Does the address belong to a VPN?",
    Verdict.TINY_RANGE: "Did it ask for less than a minute of sound?",
}


def walk_rules(
    hit: HitRow,
    episode: EpisodeFacts | None,
    *,
    last: Step,
    said: Mapping[Verdict, str] = MappingProxyType({}),
) -> list[Step]:
    """Walk a hit through all rules, in the order in which they decide.

    Args:
        hit: With what each rule decided of it.
        episode: Its episode, when it has one.
        last: What became of it among the other hits of its listener's day.
        said: What rules saw, where that is not what a stored hit tells.
    """
    first = Verdict(hit.verdict)
    steps = []
    for verdict, asks in _ASKS.items():
        applies = bool(verdict.bit & hit.verdict_bits)
        if verdict is first:
            outcome = Outcome.DECIDES
        elif not applies:
            outcome = Outcome.PASSED
        else:
            # What would have decided and did not is none of the rules of its day.
            outcome = Outcome.ALLOWED if first is Verdict.ELIGIBLE or verdict < first else Outcome.AGAINST
        steps.append(Step(verdict.label, asks, said.get(verdict) or _SAW[verdict](hit, episode), outcome))
    evidence = Evidence(hit.evidence)
    judged = Outcome.PASSED if first is Verdict.ELIGIBLE else Outcome.SKIPPED
    saw = _PLAYLIST if evidence is Evidence.PROBE and hit.flags & HitFlag.PLAYLIST else _EVIDENCE[evidence]
    steps.append(Step("evidence", "How much of the episode did it ask for?", saw, judged))
    steps.append(last)
    return steps


def explain_steps(hit: HitRow, episode: EpisodeRow | None) -> list[Step]:
    """Walk a stored hit through all rules.

    Args:
        hit: As it is stored: what each rule decided was stored with it.
        episode: Its episode as the feed tells it now, when it has one.
    """
    return walk_rules(hit, None if episode is None else EpisodeFacts.of(episode), last=_one_a_day(hit))
