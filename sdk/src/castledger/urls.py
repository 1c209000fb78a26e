"""Addresses that a tracker understands: prefixed enclosures, links, campaign parameters and ids of clicks.

Nothing is asked here. What is refused is what a tracker would answer with 400, or would read as something else.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote_plus
from uuid import UUID

from castledger._events import SLUG

__all__ = ("CLICK_PARAMETER", "find_click_id", "link_url", "prefix_url", "with_click_id", "with_utm")

CLICK_PARAMETER: Final = "cl_click"
"""Under which name a click's id reaches a link's target."""

UTM: Final = ("source", "medium", "campaign", "term", "content")
MAX_UTM_CHARS: Final = 200
_URL: Final = re.compile(r"(https?)://([^/?#]*)", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([1-9][0-9]{0,4}))?")
_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
# How browsers decide that a name is meant as an IPv4 address (WHATWG URL, "ends in a number").
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
_MAX_HOST_CHARS: Final = 253
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_PREFIX: Final = re.compile(r"https?://[^?#]*/e(?:,[^/?#]*)?/", re.IGNORECASE)


def format_click_id(click_id: UUID) -> str:
    """Write an id as trackers do: 22 characters.

    >>> format_click_id(UUID(int=1))
    'AAAAAAAAAAAAAAAAAAAAAQ'
    """
    return base64.urlsafe_b64encode(click_id.bytes).decode().rstrip("=")


def parse_click_id(text: str) -> UUID | None:
    """Read what :func:`format_click_id` wrote; ``None`` when it is something else."""
    try:
        found = UUID(bytes=base64.b64decode(f"{text}==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return None
    # The last character has bits to spare; an id has one spelling.
    return found if format_click_id(found) == text else None


def _is_address(host: str, *, of: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> bool:
    try:
        of(host)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    """Tell whether a tracker takes what stands before the first slash for a host, with or without a port."""
    found = _HOST.fullmatch(text)
    if found is None or int(found[3] or 80) > 65535:
        return False
    if found[1] is not None:
        return _is_address(found[1], of=ipaddress.IPv6Address)
    name = found[2].removesuffix(".")
    labels = name.split(".")
    if len(name) > _MAX_HOST_CHARS or not all(map(_LABEL.fullmatch, labels)):
        return False
    return not _NUMBER.fullmatch(labels[-1]) or _is_address(name, of=ipaddress.IPv4Address)


def _check(name: str, url: str) -> re.Match[str]:
    """Refuse what is no address that a tracker redirects to.

    Raises:
        ValueError: Says which part is wrong; the address is not quoted, as it may be private.
    """
    found = _URL.match(url)
    if found is None:
        raise ValueError(f"{name}: has to begin with http:// or https://")
    if _UNSAFE.search(url):
        raise ValueError(f"{name}: holds a space, a control character or a backslash")
    if "@" in found[2]:
        raise ValueError(f"{name}: must not name a user")
    if not found[2].isascii():
        raise ValueError(f"{name}: write the host's name in ASCII (xn--…)")
    if not _is_host(found[2]):
        raise ValueError(f"{name}: its host or its port is none")
    return found


def prefix_url(prefix: str, url: str) -> str:
    """Put a podcast's prefix in front of an enclosure's address; its path and query stay byte for byte.

    Args:
        prefix: As :attr:`Podcast.prefix` has it.
        url: The enclosure's ``http`` or ``https`` address; one that has this very prefix is returned as it is.

    Raises:
        ValueError: One of them is none.

    >>> prefix_url("https://pod.example.com/e,pg=9b024349-ccf0-5f69-a609-6b82873eab3c/", "https://cdn.example.com/1.mp3")
    'https://pod.example.com/e,pg=9b024349-ccf0-5f69-a609-6b82873eab3c/cdn.example.com/1.mp3'
    >>> prefix_url("https://pod.example.com/e/", "http://cdn.example.com/1.mp3?a=%2F")
    'https://pod.example.com/e/http://cdn.example.com/1.mp3?a=%2F'
    """
    _check("prefix", prefix)
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("prefix: looks like https://pod.example.com/e,pg=…/, with a slash at its end")
    if url.startswith(prefix):
        return url
    found = _check("url", url)
    behind = url[found.end(1) + len("://") :]
    return f"{prefix}{'http://' if found[1].lower() == 'http' else ''}{behind}"


def link_url(public_url: str, slug: str, *, utm: Mapping[str, str] | None = None) -> str:
    """Write a link's address, with campaign parameters of this placement, which win over the link's own.

    Args:
        public_url: The tracker's address, such as ``https://pod.example.com``.
        slug: The link's.
        utm: As in :func:`with_utm`.

    Raises:
        ValueError: One of them is none.

    >>> link_url("https://pod.example.com", "Spring-Sale", utm={"content": "episode 42"})
    'https://pod.example.com/go/spring-sale?utm_content=episode%2042'
    """
    _check("public_url", public_url)
    if "?" in public_url or "#" in public_url:
        raise ValueError("public_url: has a query or a fragment")
    if not SLUG.fullmatch(slug.lower()):
        raise ValueError("slug: has 1 to 64 letters a to z, digits and hyphens, with no hyphen at an end")
    return with_utm(f"{public_url.rstrip('/')}/go/{slug.lower()}", utm or {})


def with_utm(url: str, utm: Mapping[str, str]) -> str:
    """Set campaign parameters in an address and leave every other byte as it is.

    Args:
        url: An address of the web, such as :attr:`Link.short_url`.
        utm: Values by name without ``utm_``: ``source``, ``medium``, ``campaign``, ``term``, ``content``.

    Raises:
        ValueError: The address is none, a name is another, or a value is longer than 200 characters, which a tracker
            ignores.

    >>> with_utm("https://shop.example.com/?utm_source=old&a=%2F#top", {"medium": "podcast", "source": "the show"})
    'https://shop.example.com/?utm_source=the%20show&a=%2F&utm_medium=podcast#top'
    """
    _check("url", url)
    for name, value in utm.items():
        if name not in UTM:
            raise ValueError(f"utm: has {', '.join(UTM)}, and {name!r} is none of them")
        if len(value) > MAX_UTM_CHARS:
            raise ValueError(f"utm: {name} is longer than {MAX_UTM_CHARS} characters")
    return _set_parameters(url, {f"utm_{name}": utm[name] for name in UTM if name in utm})


def with_click_id(url: str, click_id: UUID) -> str:
    """Set a click's id in an address, as a tracker does for a link with ``click_id``.

    Raises:
        ValueError: The address is none.

    >>> with_click_id("https://shop.example.com/", UUID(int=1))
    'https://shop.example.com/?cl_click=AAAAAAAAAAAAAAAAAAAAAQ'
    """
    _check("url", url)
    return _set_parameters(url, {CLICK_PARAMETER: format_click_id(click_id)})


def find_click_id(url: str) -> UUID | None:
    """Read the id of the click that led to an address; ``None`` where there is none, or none that a tracker wrote.

    >>> find_click_id("https://shop.example.com/?a=1&cl_click=AAAAAAAAAAAAAAAAAAAAAQ#top").int
    1
    >>> find_click_id("https://shop.example.com/?cl_click=x") is None
    True
    """
    query = url.partition("#")[0].partition("?")[2]
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name) == CLICK_PARAMETER:
            return parse_click_id(unquote_plus(value))
    return None


def _set_parameters(url: str, wanted: Mapping[str, str]) -> str:
    """Set parameters where they stand, the first time they do, and append those that are missing."""
    if not wanted:
        return url
    base, mark, fragment = url.partition("#")
    path, question, query = base.partition("?")
    missing = dict(wanted)
    parts = []
    for part in query.split("&") if question else ():
        name = unquote_plus(part.partition("=")[0])
        if name not in wanted:
            parts.append(part)
        elif name in missing:
            parts.append(_pair(name, missing.pop(name)))
    if parts == [""]:
        parts = []
    parts += [_pair(name, value) for name, value in missing.items()]
    return f"{path}?{'&'.join(parts)}{mark}{fragment}"


def _pair(name: str, value: str) -> str:
    return f"{quote(name, safe='')}={quote(value, safe='')}"
