"""Podcast feeds: what RSS says of a podcast and its episodes, read as tolerantly as players read it."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID, uuid5

import msgspec
from lxml import etree

from analytics_core.errors import InvalidInput
from analytics_core.feed_encodings import wide_encoding
from analytics_core.feed_rewriting import rewrite_feed

__all__ = ("Feed", "FeedEnclosure", "FeedEpisode", "compute_guid", "parse_duration", "parse_feed", "rewrite_feed")

MAX_EPISODES: Final = 20_000
MAX_ENCLOSURES: Final = 64
_MAX_TEXT: Final = 1000
_MAX_URL: Final = 8000
_MAX_CHANNEL_TEXTS: Final = 100
_MAX_CHANNEL_TEXT: Final = 100_000
_PODCAST: Final = (
    "https://podcastindex.org/namespace/1.0",
    "https://github.com/Podcastindex-org/podcast-namespace/blob/main/docs/1.0.md",
)
_ITUNES: Final = ("http://www.itunes.com/dtds/podcast-1.0.dtd",)
_ATOM: Final = ("http://www.w3.org/2005/Atom",)
_GUID_SPACE: Final = UUID("ead4c236-bf58-58c6-a2c6-a6b28d128cb6")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class FeedEnclosure(msgspec.Struct, frozen=True):
    """A file of an episode; ``kind`` is ``enclosure`` or ``alternate``."""

    url: str
    media_type: str | None
    length_bytes: int | None
    kind: str


class FeedEpisode(msgspec.Struct, frozen=True):
    """An item with at least one enclosure.

    Attributes:
        guid_from: ``feed``, or ``enclosure`` when the feed gave none and it was made from the enclosure's URL.
        published_at: Aware UTC instant, or ``None`` when the feed gives none that can be read; never "now".
        duration_s: Seconds, or ``None``.
        live: Whether it is a live item, whose enclosure is a stream.
    """

    guid: str
    guid_from: str
    title: str
    published_at: dt.datetime | None
    duration_s: int | None
    live: bool
    enclosures: tuple[FeedEnclosure, ...]


class Feed(msgspec.Struct, frozen=True):
    """A podcast as its feed describes it.

    Attributes:
        feed_url: The address that the feed gives for itself, or under which it was read.
        guid_declared: Whether ``podcast_guid`` stands in the feed; else it was computed.
        verify_texts: Texts of ``podcast:txt purpose="verify"``.
        repeated: Episodes left out because an earlier one has their guid.
        warnings: What a podcaster should know of: one sentence each.
        channel_texts: The texts of the channel's own elements, whole but for white space; those of items are left out.
    """

    title: str
    link: str | None
    language: str | None
    feed_url: str | None
    podcast_guid: UUID
    guid_declared: bool
    verify_texts: tuple[str, ...]
    episodes: tuple[FeedEpisode, ...]
    warnings: tuple[str, ...]
    repeated: tuple[FeedEpisode, ...] = ()
    channel_texts: tuple[str, ...] = ()


def compute_guid(feed_url: str) -> UUID:
    """Compute a podcast's guid from its feed's address.

    Source:
        The Podcasting 2.0 namespace, ``podcast:guid``.

    >>> compute_guid("https://podnews.net/rss/")
    UUID('9b024349-ccf0-5f69-a609-6b82873eab3c')
    """
    return uuid5(_GUID_SPACE, re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", feed_url.strip()).rstrip("/"))


def parse_duration(text: str) -> int | None:
    """Read an episode's duration in seconds; junk is ``None``.

    >>> parse_duration("1:02:03"), parse_duration("62"), parse_duration("2:05"), parse_duration("an hour")
    (3723, 62, 125, None)
    """
    parts = text.strip().split(":")
    if not 1 <= len(parts) <= 3 or not all(re.fullmatch(r"\d{1,6}(?:\.\d+)?", part) for part in parts):
        return None
    seconds = 0
    for part in parts:
        seconds = seconds * 60 + int(float(part))
    return seconds if 0 < seconds < 8_640_000 else None


def _clean(text: str | None, limit: int = _MAX_TEXT) -> str:
    """Fold white space and drop what PostgreSQL and people cannot read."""
    return re.sub(r"[\x00-\x20\x7f]+", " ", text or "").strip()[:limit]


def _children(node: etree._Element, name: str, spaces: tuple[str, ...]) -> list[etree._Element]:
    return [child for space in spaces for child in node.iterchildren(f"{{{space}}}{name}" if space else name)]


def _text(node: etree._Element, name: str, spaces: tuple[str, ...] = ("",), limit: int = _MAX_TEXT) -> str:
    for child in _children(node, name, spaces):
        text = _clean("".join(str(part) for part in child.itertext()), limit)
        if text:
            return text
    return ""


def _instant(text: str) -> dt.datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        try:
            at = dt.datetime.fromisoformat(text)
        except ValueError:
            return None
    try:
        return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def _length(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if re.fullmatch(r"\d{1,15}", text) else None


def _web_address(text: str | None) -> str | None:
    url = (text or "").strip()
    if len(url) > _MAX_URL or not re.match(r"https?://[^/]", url, re.IGNORECASE):
        return None
    return re.sub(r"[\x00-\x20]", lambda match: f"%{ord(match[0]):02X}", url)


def _enclosures(item: etree._Element) -> tuple[FeedEnclosure, ...]:
    found: dict[str, FeedEnclosure] = {}
    for node in item.iterchildren("enclosure"):
        url = _web_address(node.get("url"))
        if url is not None:
            media_type = _clean(node.get("type"), 100) or None
            found.setdefault(url, FeedEnclosure(url, media_type, _length(node.get("length")), "enclosure"))
    for node in _children(item, "alternateEnclosure", _PODCAST):
        media_type = _clean(node.get("type"), 100) or None
        for source in _children(node, "source", _PODCAST):
            url = _web_address(source.get("uri"))
            if url is not None:
                # A source may be of another type than the file is: a torrent of it, or a playlist.
                own_type = _clean(source.get("contentType"), 100) or media_type
                found.setdefault(url, FeedEnclosure(url, own_type, _length(node.get("length")), "alternate"))
    return tuple(found.values())[:MAX_ENCLOSURES]


def _episode(item: etree._Element, *, live: bool) -> FeedEpisode | None:
    enclosures = _enclosures(item)
    if not enclosures:
        return None
    guid = _text(item, "guid")
    published = _text(item, "pubDate") or (_clean(item.get("start")) if live else "")
    return FeedEpisode(
        guid=guid or hashlib.sha256(enclosures[0].url.encode("utf-8", "replace")).hexdigest()[:32],
        guid_from="feed" if guid else "enclosure",
        title=_text(item, "title") or _text(item, "title", _ITUNES) or "(untitled)",
        published_at=_instant(published),
        duration_s=parse_duration(_text(item, "duration", _ITUNES)),
        live=live,
        enclosures=enclosures,
    )


def _channel(data: bytes) -> etree._Element:
    encoding = wide_encoding(data)
    if encoding is not None:
        data = data.decode(encoding, "replace").encode("utf-8", "replace")
    start = data.find(b"<")
    head = data[start : start + 4096].lower() if start >= 0 else b""
    if start < 0 or head.startswith((b"<!doctype html", b"<html")):
        raise InvalidInput("feed_url", "this is no feed: it does not hold RSS", code="not_a_feed")
    if b"<!entity" in data.lower():
        raise InvalidInput("feed_url", "the feed declares entities of its own, which is refused", code="not_a_feed")
    parser = etree.XMLParser(
        recover=True,
        no_network=True,
        resolve_entities=False,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        # What we made UTF-8 still says otherwise.
        encoding="utf-8" if encoding is not None else None,
    )
    try:
        root = etree.fromstring(data[start:], parser)
    except etree.XMLSyntaxError as error:
        raise InvalidInput("feed_url", "this is no feed: it does not hold XML", code="not_a_feed") from error
    # With nothing to recover, the parser answers with no element at all, whatever its types say.
    channel = next(root.iter("channel"), None) if isinstance(root, etree._Element) else None
    if channel is None:
        raise InvalidInput("feed_url", "this is no feed: there is no <channel> in it", code="not_a_feed")
    return channel


def _channel_texts(channel: etree._Element) -> tuple[str, ...]:
    texts: list[str] = []
    for child in channel.iterchildren("{*}*"):
        if etree.QName(child).localname in ("item", "liveItem"):
            continue
        text = _clean("".join(str(part) for part in child.itertext()), _MAX_CHANNEL_TEXT)
        if text and len(texts) < _MAX_CHANNEL_TEXTS:
            texts.append(text)
    return tuple(texts)


def _guid(channel: etree._Element, feed_url: str | None, title: str, warnings: list[str]) -> tuple[UUID, bool]:
    declared = _text(channel, "guid", _PODCAST)
    if _UUID.fullmatch(declared):
        return UUID(declared), True
    if declared:
        warnings.append(f"podcast:guid {declared[:80]!r} is no UUID; one was computed from the feed's address")
    if feed_url is not None:
        return compute_guid(feed_url), False
    link = _text(channel, "link")
    warnings.append(
        "neither a podcast:guid nor the feed's address is known; the guid was computed from its title and link"
    )
    return uuid5(_GUID_SPACE, f"{title}\n{link}"), False


def parse_feed(data: bytes, *, feed_url: str | None = None) -> Feed:
    """Read a podcast's feed.

    Feeds that are not well-formed are read as far as they make sense. Items without an enclosure are no episodes.
    Of two items with one guid the first is taken.

    Args:
        data: The feed's bytes, within the size that the caller allows.
        feed_url: Where it was read; ``None`` when it was sent, then its own ``atom:link rel="self"`` is taken.

    Raises:
        InvalidInput: ``not_a_feed``: it is no RSS, or declares entities of its own.
    """
    channel = _channel(data)
    warnings: list[str] = []
    own = [_web_address(node.get("href")) for node in _children(channel, "link", _ATOM) if node.get("rel") == "self"]
    address = feed_url or next((url for url in own if url is not None), None)
    title = _text(channel, "title") or (urlsplit(address).hostname if address else None) or "(untitled)"
    podcast_guid, declared = _guid(channel, address, title, warnings)
    episodes: dict[str, FeedEpisode] = {}
    repeated: list[FeedEpisode] = []
    made = 0
    items = [(node, False) for node in channel.iter("item")]
    items += [(node, True) for node in _children(channel, "liveItem", _PODCAST)]
    for node, live in items:
        if len(episodes) >= MAX_EPISODES:
            warnings.append(f"the feed has more than {MAX_EPISODES} episodes; the rest was left out")
            break
        episode = _episode(node, live=live)
        if episode is None:
            continue
        made += episode.guid_from == "enclosure"
        if episode.guid in episodes:
            repeated.append(episode)
        else:
            episodes[episode.guid] = episode
    if made:
        warnings.append(f"{made} episodes have no guid; one was made from the enclosure, which then must never change")
    if repeated:
        warnings.append(f"{len(repeated)} episodes repeat another's guid and were left out")
    return Feed(
        title=title,
        link=_web_address(_text(channel, "link")),
        language=_text(channel, "language", limit=35) or None,
        feed_url=address,
        podcast_guid=podcast_guid,
        guid_declared=declared,
        verify_texts=tuple(
            _clean(node.text) for node in _children(channel, "txt", _PODCAST) if node.get("purpose") == "verify"
        ),
        episodes=tuple(episodes.values()),
        warnings=tuple(warnings),
        repeated=tuple(repeated),
        channel_texts=_channel_texts(channel),
    )
