"""What is wrong with a feed for measuring: each fault with what it does to the numbers and how it is mended.

A feed's text is judged here, and what was seen on the way to an enclosure; who goes that way is
:mod:`analytics_core.chain_probes`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import msgspec

from analytics_core.enclosures import MEDIA_EXTENSIONS, find_own_prefix, identify, media_extension
from analytics_core.errors import InvalidInput
from analytics_core.evidence import believable_duration_s, believable_length_bytes
from analytics_core.feed_rewriting import is_torrent
from analytics_core.feed_rules import RULES, Rule
from analytics_core.feeds import Feed, FeedEnclosure, FeedEpisode
from analytics_core.playlists import is_playlist

__all__ = ("Chain", "FeedFinding", "Hop", "check_chain", "check_feed", "newest_episodes")

# PRX advises its customers not to go beyond: Apple Podcasts follows a limited number of redirects.
_MOST_PREFIXES: Final = 4
_MOST_REDIRECTS: Final = 5
_FAR_TOO_MANY_REDIRECTS: Final = 10
_SLOW_HOP_MS: Final = 1_000
_SLOW_CHAIN_MS: Final = 3_000
_LENGTH_TOLERANCE_PCT: Final = 10
_EXTENSIONS_OF: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "audio/mpeg": frozenset(("mp3",)),
        "audio/mp3": frozenset(("mp3",)),
        "audio/x-m4a": frozenset(("m4a", "m4b", "mp4")),
        "audio/mp4": frozenset(("m4a", "m4b", "mp4")),
        "audio/ogg": frozenset(("ogg", "oga", "opus")),
        "audio/opus": frozenset(("opus", "ogg", "oga")),
        "video/mp4": frozenset(("mp4", "m4v")),
        "video/x-m4v": frozenset(("m4v", "mp4")),
        "video/quicktime": frozenset(("mov", "mp4", "m4v")),
    }
)


class FeedFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong.

    Attributes:
        code: One of ``RULES``.
        text: What was seen.
        guid: Of the episode; ``None`` when the whole feed is meant.
        title: Likewise.
        url: The address that is meant, if one is.
    """

    code: str
    text: str
    guid: str | None = None
    title: str | None = None
    url: str | None = None

    @property
    def rule(self) -> Rule:
        """What the code stands for."""
        return RULES[self.code]


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One request on the way to a file.

    Attributes:
        url: What was asked.
        status: What was answered; ``None`` without an answer.
        ms: How long the answer's head took, connecting included.
    """

    url: str
    status: int | None
    ms: int


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """The way from an enclosure's address to its file.

    Attributes:
        hops: In order; the last is where it ended.
        fault: Code of what ended it early; ``None`` when the file was reached.
        detail: The same in words.
        range_status: What a request for the first byte was answered at the end; ``None`` when it was not reached.
        length_bytes: The file's size by that answer.
        media_type: The file's type by that answer.
    """

    hops: tuple[Hop, ...]
    fault: str | None = None
    detail: str = ""
    range_status: int | None = None
    length_bytes: int | None = None
    media_type: str | None = None


def newest_episodes(feed: Feed, count: int) -> list[FeedEpisode]:
    """Take the newest episodes that are no live streams, newest first; those without a date come last.

    Args:
        feed: The feed.
        count: How many, 0 or more.
    """
    oldest = dt.datetime.min.replace(tzinfo=dt.UTC)
    episodes = [episode for episode in feed.episodes if not episode.live]
    return sorted(episodes, key=lambda episode: episode.published_at or oldest, reverse=True)[:count]


def check_feed(feed: Feed, *, public_url: str | None) -> list[FeedFinding]:
    """Judge what stands in a feed, without asking anybody.

    Args:
        feed: The feed as it was read.
        public_url: Our tracker's address; ``None`` when it is not known, then no prefix is looked for.

    Returns:
        Findings, those of the whole feed first, then episode by episode.
    """
    found: list[FeedFinding] = []
    if not feed.episodes:
        found.append(FeedFinding(code="no_episodes", text="no item has an enclosure with a web address"))
    if not feed.guid_declared:
        found.append(FeedFinding(code="podcast_guid_missing", text=f"the guid {feed.podcast_guid} was computed"))
    if public_url is None:
        found.append(FeedFinding(code="prefix_unknown", text="the tracker's name is not known"))
    for episode in feed.episodes:
        found += _check_episode(episode, feed, public_url)
    for episode in feed.repeated:
        found.append(_of(episode, "guid_repeated", f"an earlier item has the guid {episode.guid!r} too"))
    return found


def _of(episode: FeedEpisode, code: str, text: str, *, url: str | None = None) -> FeedFinding:
    guid = episode.guid if episode.guid_from == "feed" else None
    return FeedFinding(code=code, text=text, guid=guid, title=episode.title, url=url)


def _check_episode(episode: FeedEpisode, feed: Feed, public_url: str | None) -> Iterator[FeedFinding]:
    if episode.guid_from != "feed":
        yield _of(episode, "guid_missing", "the item has no <guid>")
    if episode.live:
        return
    if episode.published_at is None:
        yield _of(episode, "date_missing", "the item has no <pubDate> that can be read")
    for enclosure in episode.enclosures:
        if is_torrent(enclosure.url, enclosure.media_type):
            continue
        if public_url is not None:
            yield from _check_prefix(episode, enclosure, feed, public_url)
        yield from _check_address(episode, enclosure, public_url)
        if enclosure.kind == "enclosure" and not is_playlist(_path(enclosure.url).lower(), enclosure.media_type):
            yield from _check_sizes(episode, enclosure)


def _check_prefix(episode: FeedEpisode, enclosure: FeedEnclosure, feed: Feed, public_url: str) -> Iterator[FeedFinding]:
    url = enclosure.url
    prefix = find_own_prefix(url, public_url=public_url)
    if prefix is None:
        what = "an alternate enclosure has" if enclosure.kind == "alternate" else "the enclosure has"
        yield _of(episode, "no_prefix", f"{what} no prefix of {public_url}", url=url)
        return
    if prefix.podcast_guid is None:
        yield _of(episode, "prefix_without_podcast", "the prefix names no podcast", url=url)
    elif feed.guid_declared and prefix.podcast_guid != feed.podcast_guid:
        # A computed one follows from where the feed was read, and a rewritten feed may stand elsewhere.
        text = f"the prefix names {prefix.podcast_guid}, but this is {feed.podcast_guid}"
        yield _of(episode, "prefix_of_other_podcast", text, url=url)
    host = _host(public_url).lower()
    if url.lower().count(f"{host}/e,") + url.lower().count(f"{host}/e/") > 1:
        yield _of(episode, "prefix_twice", "our prefix stands there more than once", url=url)


def _check_address(episode: FeedEpisode, enclosure: FeedEnclosure, public_url: str | None) -> Iterator[FeedFinding]:
    url = enclosure.url
    path = _path(url)
    extension = path.rpartition(".")[2].lower()
    media_type = (enclosure.media_type or "").partition(";")[0].strip().lower()
    if not media_extension(path):
        text = f"the path ends in {path.rpartition('/')[2][-40:]!r}"
        if any(f".{known}" in url.lower() for known in MEDIA_EXTENSIONS):
            text += "; the file's name stands elsewhere in the address"
        yield _of(episode, "extension_lost", text, url=url)
    elif media_type in _EXTENSIONS_OF and extension not in _EXTENSIONS_OF[media_type]:
        yield _of(episode, "extension_differs", f"type {media_type}, but the address ends in .{extension}", url=url)
    try:
        identity = identify(url, own_hosts=_own_hosts(public_url))
    except InvalidInput as error:
        yield _of(episode, "address_invalid", error.reason, url=url)
        return
    services = len(identity.hosts) - 1
    if services > _MOST_PREFIXES:
        text = f"{services} prefix services stand before the host: {', '.join(identity.hosts[:-1])}"
        yield _of(episode, "many_prefixes", text, url=url)
    if url.lower().startswith("http://") or "/http:/" in url.lower():
        where = "the address begins with" if url.lower().startswith("http://") else "what is behind the prefix begins"
        yield _of(episode, "http", f"{where} http://", url=url)


def _check_sizes(episode: FeedEpisode, enclosure: FeedEnclosure) -> Iterator[FeedFinding]:
    length, duration = enclosure.length_bytes, episode.duration_s
    if not length:
        yield _of(episode, "length_missing", "the enclosure states no length", url=enclosure.url)
    elif believable_length_bytes(length, duration) is None:
        text = f"{length:,} bytes" + (f" for {duration:,} s" if duration else "")
        yield _of(episode, "length_unbelievable", text, url=enclosure.url)
    if duration is None:
        yield _of(episode, "duration_missing", "the item states no duration that can be read")
    elif length and believable_length_bytes(length, duration) and believable_duration_s(length, duration) is None:
        yield _of(episode, "duration_unbelievable", f"{duration:,} s for {length:,} bytes", url=enclosure.url)


def check_chain(episode: FeedEpisode, chain: Chain, *, public_url: str | None) -> list[FeedFinding]:
    """Judge the way from an episode's first enclosure to its file.

    Args:
        episode: Whose enclosure it is.
        chain: What was seen.
        public_url: Our tracker's address, by which our own refusal is told from others'.
    """
    return list(_check_chain(episode, chain, public_url))


def _check_chain(episode: FeedEpisode, chain: Chain, public_url: str | None) -> Iterator[FeedFinding]:
    last = chain.hops[-1]
    redirects = len(chain.hops) - 1
    if chain.fault == "hop_failed" and last.status in (400, 404) and _is_here(last.url, public_url):
        yield _of(episode, "refused_here", f"our tracker answered {last.status}", url=last.url)
    elif chain.fault is not None:
        yield _of(episode, chain.fault, chain.detail, url=last.url)
    if chain.fault != "too_many_redirects" and redirects > _MOST_REDIRECTS:
        code = "too_many_redirects" if redirects > _FAR_TOO_MANY_REDIRECTS else "many_redirects"
        yield _of(episode, code, f"{redirects} redirects: {_way(chain.hops)}", url=chain.hops[0].url)
    slow = [hop for hop in chain.hops if hop.ms > _SLOW_HOP_MS]
    for hop in slow:
        yield _of(episode, "hop_slow", f"{_host(hop.url)} took {hop.ms / 1000:.1f} s", url=hop.url)
    total_ms = sum(hop.ms for hop in chain.hops)
    if not slow and total_ms > _SLOW_CHAIN_MS:
        text = f"the {len(chain.hops)} hops took {total_ms / 1000:.1f} s together: {_way(chain.hops)}"
        yield _of(episode, "hop_slow", text, url=chain.hops[0].url)
    for hop, after in zip(chain.hops, chain.hops[1:], strict=False):
        if hop.url.startswith("https://") and after.url.startswith("http://"):
            text = f"{_host(hop.url)} leads from https to http"
            yield _of(episode, "http", text, url=after.url)
    if chain.range_status is None:
        return
    if chain.range_status != 206:
        text = f"a request for one byte was answered {chain.range_status} instead of 206"
        yield _of(episode, "range_lost", text, url=last.url)
    if (chain.media_type or "").startswith(("text/", "application/json", "application/xhtml")):
        yield _of(episode, "not_media", f"the file says that it is {chain.media_type}", url=last.url)
    stated = episode.enclosures[0].length_bytes
    if stated and chain.length_bytes and believable_length_bytes(stated, episode.duration_s):
        off_pct = 100 * abs(chain.length_bytes - stated) / stated
        if off_pct > _LENGTH_TOLERANCE_PCT:
            text = f"the feed says {stated:,} bytes, the host {chain.length_bytes:,}"
            yield _of(episode, "length_differs", text, url=last.url)


def _path(url: str) -> str:
    """Take an address's path, of one that is malformed too."""
    return re.sub(r"^[A-Za-z]+://[^/?#]*", "", re.split(r"[?#]", url, maxsplit=1)[0])


def _host(url: str) -> str:
    match = re.match(r"[A-Za-z]+://([^/?#]*)", url)
    return match[1] if match is not None else url


def _own_hosts(public_url: str | None) -> tuple[str, ...]:
    host = urlsplit(public_url or "").hostname
    return (host,) if host else ()


def _is_here(url: str, public_url: str | None) -> bool:
    return public_url is not None and _host(url).lower() == _host(public_url).lower()


def _way(hops: Sequence[Hop]) -> str:
    return " → ".join(_host(hop.url) for hop in hops)
