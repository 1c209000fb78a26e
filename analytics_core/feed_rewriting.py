"""Put our prefix into a feed: the same document, byte for byte, but for what stands in front of its enclosures.

A parser would write the document anew: other quotes, other entities, other white space, and players would see every
episode change. So the text is walked tag by tag, and nothing but the beginning of an address is replaced.
"""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Final
from uuid import UUID

from analytics_core.enclosures import find_own_prefix
from analytics_core.errors import InvalidInput
from analytics_core.feed_encodings import wide_encoding

__all__ = ("is_torrent", "rewrite_feed")

_PODCAST: Final = "podcastindex.org/namespace/|podcast-namespace/blob/main/docs/"
_MEDIA: Final = "search.yahoo.com/mrss"
# White space is spelled out: `\s` would take bytes of UTF-8 for it where the text is read byte by byte.
_TAG: Final = re.compile(
    r"<!--(?:.*?-->|.*)"
    r"|<!\[CDATA\[(?:.*?\]\]>|.*)"
    r"|<\?(?:.*?\?>|.*)"
    r"|<!DOCTYPE[^>\[]*+(?:\[.*?\][ \t\r\n]*+)?+>"
    r"|<(?P<close>/?)(?P<name>[A-Za-z_][^ \t\r\n<>\"'/=]*+)"
    r"(?P<rest>(?:[^<>\"']|\"[^\"<]*+\"|'[^'<]*+')*+)>",
    re.DOTALL,
)
_ATTRIBUTE: Final = re.compile(
    r"(?P<name>[^ \t\r\n=/\"'<>]++)[ \t\r\n]*+=[ \t\r\n]*+(?:\"(?P<double>[^\"<]*+)\"|'(?P<single>[^'<]*+)')"
)
_NAMESPACE: Final = re.compile(rf"xmlns:([A-Za-z_][\w.-]*)\s*=\s*[\"'][^\"'<]*(?:(?P<podcast>{_PODCAST})|{_MEDIA})")
_TOKEN: Final = re.compile(r"&[#0-9A-Za-z]{1,10};|.", re.DOTALL)
_SCHEME: Final = re.compile(r"[ \t\r\n]*(https?)://", re.IGNORECASE)
_LONGEST_SCHEME: Final = 64


def is_torrent(url: str, media_type: str | None) -> bool:
    """Tell a torrent from audio: fetching one is no download of an episode, so it needs no prefix.

    >>> is_torrent("https://example.com/1.torrent?x=1", None), is_torrent("https://example.com/1.mp3", "audio/mpeg")
    (True, False)
    """
    return (media_type or "").lower() == "application/x-bittorrent" or re.split(r"[?#]", url, maxsplit=1)[
        0
    ].lower().endswith(".torrent")


def rewrite_feed(data: bytes, *, public_url: str, podcast_guid: UUID) -> bytes:
    """Put our prefix in front of every enclosure of a feed and leave every other byte as it is.

    Enclosures are ``enclosure``, the sources of ``podcast:alternateEnclosure``, and ``media:content`` where it names
    an enclosure's file again. Live items are left alone, since their enclosures are streams, and so are torrents.
    What has our prefix anywhere in its chain keeps it, so that rewriting twice is rewriting once.

    Args:
        data: A feed that ``parse_feed`` reads; UTF-8, UTF-16, UTF-32 or an encoding that contains ASCII.
        public_url: Our tracker's address.
        podcast_guid: The podcast's.

    Raises:
        InvalidInput: The bytes are not what their own first ones say.
    """
    encoding = wide_encoding(data) or "latin-1"
    errors = "strict" if encoding == "latin-1" else "surrogatepass"
    # A last character may be cut; it has no enclosure in it, but it stays.
    whole = len(data) - len(data) % {"latin-1": 1, "utf-16-le": 2, "utf-16-be": 2}.get(encoding, 4)
    try:
        text = data[:whole].decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise InvalidInput("feed_url", f"the feed is no {encoding.upper()} as it says", code="not_a_feed") from error
    return _Rewriter(text, public_url.rstrip("/"), podcast_guid).run().encode(encoding, errors) + data[whole:]


class _Rewriter:
    def __init__(self, text: str, public_url: str, podcast_guid: UUID) -> None:
        self._text = text
        self._public_url = public_url
        prefix = f"{public_url}/e,pg={podcast_guid}/"
        self._prefix = escape(prefix, quote=True).encode("ascii", "xmlcharrefreplace").decode("ascii")
        self._podcast_names = {"podcast"}
        self._media_names = {"media"}
        for match in _NAMESPACE.finditer(text):
            (self._podcast_names if match["podcast"] else self._media_names).add(match[1])
        self._live = 0
        self._addresses: set[str] = set()

    def run(self) -> str:
        # The same file may be named again before the enclosure that says so.
        if any(f"<{name}:content" in self._text for name in self._media_names):
            for match in _TAG.finditer(self._text):
                if match["name"] == "enclosure":
                    found = _find(match["rest"], "url")
                    self._addresses.add(_plain(found) if found else "")
            self._addresses.discard("")
        return _TAG.sub(self._rewrite_tag, self._text)

    def _rewrite_tag(self, match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        space, _, name = match["name"].rpartition(":")
        if name == "liveItem" and not match["rest"].endswith("/"):
            self._live = max(0, self._live + (-1 if match["close"] else 1))
        if self._live or match["close"]:
            return match[0]
        attribute = self._address(match["rest"], space, name)
        if attribute is None:
            return match[0]
        at = match.start("rest") - match.start()
        start, end = attribute.span("double") if attribute["double"] is not None else attribute.span("single")
        return f"{match[0][: at + start]}{self._prefixed(match[0][at + start : at + end])}{match[0][at + end :]}"

    def _address(self, rest: str, space: str, name: str) -> re.Match[str] | None:
        """Find the attribute with an address to rewrite; ``None`` in most tags."""
        if name == "enclosure" and not space:
            return _find(rest, "url")
        if name == "source" and (not space or space in self._podcast_names):
            found, media_type = _find(rest, "uri"), _find(rest, "contentType")
            if found is not None and is_torrent(_plain(found), _plain(media_type) if media_type else None):
                return None
            return found
        if name == "content" and space in self._media_names:
            found = _find(rest, "url")
            return found if found is not None and _plain(found) in self._addresses else None
        return None

    def _prefixed(self, raw: str) -> str:
        """Write an address with our prefix; what follows its scheme stays as it is written, entities and all."""
        seen, at = "", 0
        for token in _TOKEN.finditer(raw, 0, _LONGEST_SCHEME):
            seen += unescape(token[0])
            at = token.end()
            if seen.endswith("//"):
                break
        match = _SCHEME.fullmatch(seen)
        if match is None or raw[at : at + 1] in ("", "/") or self._is_ours(unescape(raw).strip(" \t\r\n")):
            return raw
        space = raw[: len(raw) - len(raw.lstrip(" \t\r\n"))]
        return f"{space}{self._prefix}{'http://' if match[1].lower() == 'http' else ''}{raw[at:]}"

    def _is_ours(self, url: str) -> bool:
        return find_own_prefix(url, public_url=self._public_url) is not None


def _find(rest: str, name: str) -> re.Match[str] | None:
    return next((match for match in _ATTRIBUTE.finditer(rest) if match["name"] == name), None)


def _plain(attribute: re.Match[str]) -> str:
    value = attribute["double"] if attribute["double"] is not None else attribute["single"]
    return unescape(value).strip(" \t\r\n")
