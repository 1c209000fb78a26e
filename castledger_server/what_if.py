"""What ``castledger explain --url`` finds out: what a tracker would answer, and how the request would count."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
import numpy as np

from analytics_core.addresses import pack_address
from analytics_core.agent_table import AgentTable
from analytics_core.countries import unpack_country
from analytics_core.db.catalogue import find_podcasts, find_title
from analytics_core.db.pending import PendingTarget
from analytics_core.db.pool import connect
from analytics_core.enclosures import identify, parse_prefix_arguments
from analytics_core.errors import InvalidInput
from analytics_core.hits import MAX_TEXT_BYTES, Method
from analytics_core.network_classes import NetworkClass
from analytics_core.network_tables import to_column
from analytics_core.playlists import is_playlist
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.registry import Known, Registry, RegistryDamaged, read_registry
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, HostPolicyMode, IngestSettings, TrackerSettings
from api.pages.rules import EpisodeFacts, Outcome
from api.what_if import AskedRequest, Placed, WhatIf, what_if
from ingest.catalogue import match_targets
from ingest.place_sources import open_places
from prefix_redirect.decisions import Decision, decide
from prefix_redirect.host_policy import HostPolicy
from prefix_redirect.targets import split_prefix

__all__ = (
    "Answer",
    "Asked",
    "Explained",
    "Found",
    "answer",
    "assume_episode",
    "explain_request",
    "find_episode",
    "open_registry",
    "place",
    "read_url",
    "tell",
)

_NAME: Final = "castledger explain"
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ABOVE: Final = b"/e/"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it is given on the command line.

    Attributes:
        url: At our prefix, or an enclosure's own.
        method: As written.
        at: When it would come.
        is_navigation: A browser asks for a page.
    """

    url: str
    method: str = "GET"
    agent: str = ""
    byte_range: str = ""
    referrer: str = ""
    address: str | None = None
    podcast: str | None = None
    at: dt.datetime
    is_navigation: bool = False


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a tracker would answer.

    Attributes:
        location: Where it redirects to.
        recorded: Whether it would record the request.
        why: A sentence.
    """

    status: int
    location: str | None
    recorded: bool
    why: str


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; ``hit`` is there where the request would be recorded as one for an episode."""

    url: str
    at: dt.datetime
    answer: Answer
    episode: EpisodeFacts | None
    is_assumed: bool
    hit: WhatIf | None


def read_url(text: str) -> bytes:
    """Make of a URL what a tracker's request line holds: its path and query, behind ``/e/`` where it has no prefix.

    Raises:
        InvalidInput: It is too long, empty, or more than a line.

    >>> read_url("https://pod.example.org/e,pg=x/cdn.example.com/a.mp3?b=c")
    b'/e,pg=x/cdn.example.com/a.mp3?b=c'
    >>> read_url("https://cdn.example.com/a.mp3"), read_url("/go/offer")
    (b'/e/https://cdn.example.com/a.mp3', b'/go/offer')
    """
    if not text.strip() or not text.isprintable():
        raise InvalidInput("--url", "is an address such as https://pod.example.org/e,pg=…/cdn.example.com/ep.mp3")
    raw = text.strip().encode()
    if len(raw) > MAX_TEXT_BYTES:
        raise InvalidInput("--url", f"is longer than the {MAX_TEXT_BYTES:,} bytes that a tracker reads")
    if raw.startswith(b"/"):
        return raw
    scheme, colon, rest = raw.partition(b"://")
    path = b"/" + (rest if colon else raw).partition(b"/")[2]
    if colon and scheme.lower() in (b"http", b"https") and (split_prefix(path) is not None or path.startswith(b"/go/")):
        return path
    return _ABOVE + raw


def answer(asked: Asked, settings: TrackerSettings, registry: Known | None) -> tuple[Answer, Decision]:
    """Decide on a request as a tracker would.

    Args:
        asked: The request.
        settings: Of trackers.
        registry: What trackers know; ``None`` where there is no snapshot.

    Raises:
        InvalidInput: The URL is none.
    """
    own = urlsplit(settings.public_url).hostname
    policy = HostPolicy(
        Registry() if registry is None else registry,
        mode=settings.hosts,
        deny_hosts=settings.deny_hosts,
        own_hosts=(own,) if own else (),
    )
    raw = read_url(asked.url)
    decision = decide(asked.method.encode(), raw, navigation=asked.is_navigation, policy=policy)
    if decision.status != 302:
        why = decision.body.decode().strip() or "It is asked only for what is allowed."
        if registry is None and decision.status == 404:
            why += " (There is no registry of known hosts here: a tracker may know more.)"
        return Answer(status=decision.status, location=None, recorded=False, why=why), decision
    location = decision.headers.partition(b"Location: ")[2].partition(b"\r\n")[0].decode("latin-1")
    return (
        Answer(status=302, location=location, recorded=decision.record, why=_why(location, policy, asked)),
        decision,
    )


def _why(location: str, policy: HostPolicy, asked: Asked) -> str:
    if asked.is_navigation and policy.mode is not HostPolicyMode.ANY:
        return "A verified podcast has registered this very enclosure, so that browsers are sent on as well."
    host = identify(location, own_hosts=policy.own_hosts).hosts[-1]
    if host in policy.registry.hosts:
        return f"The host {host} is known."
    if policy.mode is HostPolicyMode.ANY:
        return f"The host {host} is not known here; TRACKER_HOSTS=any lets all of them pass."
    return f"The host {host} is not known here, but the path ends as media does (TRACKER_HOSTS={policy.mode.value})."


def open_registry(settings: TrackerSettings) -> Known | None:
    """Read what trackers know; ``None`` where no snapshot is there or it cannot be read."""
    try:
        return read_registry(settings.registry_path)
    except (OSError, RegistryDamaged):
        return None


def place(address: str | None, settings: IngestSettings, *, at: dt.datetime) -> Placed | None:
    """Look an address up in the lists that are installed.

    Raises:
        ConfigError: A list cannot be used.
        InvalidInput: It is no address.
    """
    if address is None:
        return None
    try:
        packed = pack_address(address)
    except InvalidInput as error:
        raise InvalidInput("--address", error.reason) from None
    sources = open_places(settings)
    row = np.frombuffer(packed, np.uint8).reshape(1, 16)
    asns = sources.asns.asns(row)
    country = int(sources.countries.countries(to_column([packed]))[0])
    networks = NetworkClass(int(sources.networks.classes(row, asns)[0]))
    if len(sources.networks.shared) and (at - _EPOCH).days <= int(sources.networks.shared.lookup(row)[0]):
        networks |= NetworkClass.SHARED
    return Placed(
        networks,
        int(asns[0]),
        unpack_country(country) or "",
        sources.networks.version,
    )


class Found(NamedTuple):
    """What a request is for: ``None`` where no episode has its target, and whether the file is a playlist."""

    episode: EpisodeFacts | None
    is_playlist: bool


async def find_episode(
    database: DatabaseSettings, decision: Decision, *, own_hosts: Collection[str], podcast: str | None
) -> Found:
    """Ask the ledger which episode a request is for, as ingest would.

    Args:
        database: The ledger's.
        decision: That redirects.
        own_hosts: Names of our trackers.
        podcast: The guid of the podcast that the prefix is taken to name, instead of what it names.

    Raises:
        InvalidInput: The target is no enclosure's.
    """
    identity = identify(decision.target, own_hosts=own_hosts)
    guid = parse_prefix_arguments(f"pg={podcast}" if podcast else decision.arguments).podcast_guid
    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        podcasts = {} if guid is None else await find_podcasts(conn, [guid])
        target = PendingTarget(
            enclosure_key=identity.key,
            bare_key=identity.bare_key,
            file_name=identity.file_name,
            podcast_no=podcasts[guid].podcast_no if guid in podcasts else 0,
        )
        (owner,) = await match_targets(conn, [target])
        if owner is None:
            return Found(None, is_playlist(identity.file_name))
        title = await find_title(conn, owner.episode_no)
    finally:
        conn.terminate()
    facts = EpisodeFacts(title, owner.published_at, owner.live, owner.length_bytes, owner.duration_s)
    return Found(facts, owner.is_playlist or is_playlist(identity.file_name))


def assume_episode(decision: Decision, *, own_hosts: Collection[str]) -> Found:
    """Take a request for an episode's, of which nothing is known but the name of its file."""
    return Found(None, is_playlist(identify(decision.target, own_hosts=own_hosts).file_name))


def explain_request(
    asked: Asked,
    answered: Answer,
    *,
    found: Found,
    is_assumed: bool,
    placed: Placed | None,
    table: AgentTable,
    profiles: Sequence[Profile],
    is_click: bool,
) -> Explained:
    """Explain a request that has been decided on."""
    hit = None
    if answered.recorded and not is_click:
        request = AskedRequest(
            method=Method[asked.method],
            agent=asked.agent,
            byte_range=asked.byte_range,
            referrer=asked.referrer,
            at=asked.at,
            place=placed,
            episode=found.episode,
            is_assumed=is_assumed,
            is_playlist=found.is_playlist,
        )
        hit = what_if(request, table, profiles=profiles)
    return Explained(url=asked.url, at=asked.at, answer=answered, episode=found.episode, is_assumed=is_assumed, hit=hit)


_SIGNS: Final[Mapping[Outcome, str]] = {
    Outcome.PASSED: "no",
    Outcome.AGAINST: "yes, too",
    Outcome.DECIDES: "YES",
    Outcome.COUNTS: "yes",
    Outcome.SKIPPED: "–",
}


def tell(explained: Explained) -> Iterator[str]:
    """Write what was found out for people."""
    answered = explained.answer
    yield "nothing was sent, and nothing is recorded"
    yield f"a tracker would answer {answered.status}{f', to {answered.location}' if answered.location else ''}"
    yield f"  {answered.why}"
    hit = explained.hit
    if hit is None:
        clicked = "it would be recorded as a click on a short link, which no rule is about"
        yield clicked if answered.recorded else "no hit would be recorded, so that nothing could count"
        return
    against = "" if hit.counts else f": {', '.join(hit.verdicts)}"
    evidence = f", evidence {hit.evidence}" if hit.evidence else ""
    yield f"the hit would {'' if hit.counts else 'not '}count by {DEFAULT_PROFILE.name}{against}{evidence}"
    for one in hit.profiles:
        yield f"  {one.profile:<14}{'counts' if one.counts else f'does not count: {one.verdict}'}"
    yield ""
    for step in hit.steps:
        sign = "" if step.name == "evidence" else _SIGNS[step.outcome]
        yield f"{step.name:<16}{sign:<9} {step.asks}"
        yield f"{'':<26}{step.saw}"
    yield ""
    default = "the default, since the file's length and duration are not known" if hit.is_default else "by the feed"
    yield f"a minute of sound: {hit.needed_bytes:,} bytes ({default})"
    device = hit.device or "unknown device"
    yield f"agent: {hit.app or 'unknown'}, {hit.agent_kind}, {device}; rule {hit.rule}, table {hit.table}"
