"""Links: their slugs, the targets that they may have, and parameters set in a query without disturbing the rest."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, unquote_plus, urlsplit
from uuid import UUID

from analytics_core.errors import InvalidInput
from analytics_core.hosts import parse_host_name

__all__ = (
    "CLICK_PARAMETER",
    "MAX_TARGET_CHARS",
    "MAX_UTM_CHARS",
    "UTM",
    "LinkArguments",
    "format_click_id",
    "link_target",
    "new_slug",
    "parse_click_id",
    "parse_link_arguments",
    "parse_slug",
    "parse_target_url",
    "parse_vanity_host",
    "requested_utm",
    "set_parameters",
)

UTM: Final = ("source", "medium", "campaign", "term", "content")
"""Campaign parameters as Google Analytics names them, without ``utm_``."""

CLICK_PARAMETER: Final = "cl_click"
"""Under which name a click's id reaches the target."""

MAX_TARGET_CHARS: Final = 2048
MAX_UTM_CHARS: Final = 200
"""Of a campaign parameter."""
# With the link's own parameters; a request's, and a click's id, then fit into a header line as a rule.
_MAX_SET_CHARS: Final = 4096
# 128 bits in characters of six: of the last one only two bits are used.
_CLICK_ID: Final = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]")
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
# Without vowels, so that no word comes of it, and without what is misread.
_ALPHABET: Final = "23456789bcdfghjkmnpqrstvwxz"
_NEW_SLUG_CHARS: Final = 8
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]")
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f\\]")
_ENTITY: Final = re.compile(rb"(?:^|,)(go|click)=([^,]*)")


class LinkArguments(NamedTuple):
    """A click's slug, and the id that the target was given, where it was."""

    slug: str
    click_id: UUID | None


def new_slug() -> str:
    """Make a slug that nobody guesses and nobody misreads."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_NEW_SLUG_CHARS))


def parse_slug(text: str) -> str:
    """Read a slug as somebody writes it.

    Raises:
        InvalidInput: It is none.

    >>> parse_slug("Spring-Sale")
    'spring-sale'
    """
    slug = text.lower()
    if not _SLUG.fullmatch(slug):
        raise InvalidInput(
            "slug", "has 1 to 64 letters a to z, digits and hyphens, with no hyphen at an end", code="slug_invalid"
        )
    return slug


def parse_target_url(text: str, *, own_hosts: Collection[str] = ()) -> str:
    """Read where a link leads.

    Args:
        text: An absolute URL of the web.
        own_hosts: Of our trackers, in lower case: links to links are refused.

    Returns:
        The URL, with what is no printable ASCII in its path, query and fragment percent-encoded.

    Raises:
        InvalidInput: It is none, or its host is not public.

    >>> parse_target_url("https://Shop.example.com/für?a=1#b")
    'https://Shop.example.com/f%C3%BCr?a=1#b'
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput("url", "is no web address", code="url_invalid") from None
    if parts.scheme not in ("http", "https") or not host or _CONTROL.search(text):
        raise InvalidInput(
            "url", "has to be a web address that begins with https:// and holds no space", code="url_invalid"
        )
    if "@" in parts.netloc:
        raise InvalidInput("url", "must not name a user", code="url_invalid")
    if port == 0:
        raise InvalidInput("url", "has no valid port", code="url_invalid")
    if not parts.netloc.isascii():
        raise InvalidInput("url", "write the host's name in ASCII (xn--…)", code="url_invalid")
    try:
        name = parse_host_name(host)
    except InvalidInput as error:
        raise InvalidInput("url", f"its host {error.reason}", code=error.code) from error
    if name in own_hosts:
        raise InvalidInput("url", "leads back to this tracker; name where the link is to end", code="url_own_host")
    url = _UNSAFE.sub(lambda found: quote(found[0], safe=""), text)
    if len(url) > MAX_TARGET_CHARS:
        raise InvalidInput("url", f"is longer than {MAX_TARGET_CHARS} characters", code="url_too_long")
    return url


def parse_vanity_host(text: str, *, own_hosts: Collection[str] = ()) -> str:
    """Read the name of a host that is to lead to a link.

    Args:
        text: Without scheme, port and path.
        own_hosts: Of ours, in lower case: what is answered there is not anybody's to change.

    Raises:
        InvalidInput: ``host_invalid``, ``host_not_public``, or ``host_own``.

    >>> parse_vanity_host("Acme.Show.example.net.")
    'acme.show.example.net'
    """
    host = parse_host_name(text)
    if host in own_hosts:
        raise InvalidInput(
            "host", "is this installation's own name; use another, such as one below it", code="host_own"
        )
    return host


def set_parameters(url: str, wanted: Mapping[str, str]) -> str:
    """Set parameters of a URL's query and leave every other byte as it is.

    A parameter that is there gets its new value where it stands, and stays once; others come behind the query, in their
    order. The fragment stays last.

    >>> set_parameters("https://a.example/?x=%2F&utm_source=old&&y#top", {"utm_source": "pod cast", "utm_medium": "ü"})
    'https://a.example/?x=%2F&utm_source=pod%20cast&&y&utm_medium=%C3%BC#top'
    """
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


def link_target(url: str, utm: Mapping[str, str]) -> str:
    """Write where a link leads: its URL with its campaign parameters, in their fixed order.

    Args:
        url: As :func:`parse_target_url` writes it.
        utm: By name, without ``utm_``.

    Raises:
        InvalidInput: On ``utm``: it becomes too long to be redirected to.

    >>> link_target("https://a.example/", {"medium": "podcast", "source": "show"})
    'https://a.example/?utm_source=show&utm_medium=podcast'
    """
    target = set_parameters(url, {f"utm_{name}": utm[name] for name in UTM if name in utm})
    if len(target) > _MAX_SET_CHARS:
        raise InvalidInput(
            "utm",
            f"url and utm make a target of {len(target)} characters; at most {_MAX_SET_CHARS} are redirected to, and "
            "each character beyond ASCII takes several: shorten them",
            code="target_too_long",
        )
    return target


def _pair(name: str, value: str) -> str:
    return f"{quote(name, safe='')}={quote(value, safe='')}"


def requested_utm(query: str) -> dict[str, str]:
    """Read the campaign parameters of a request for a link: they win over the link's own.

    So one link serves several placements. Other parameters are ignored, and so is a value that is longer than 200
    characters.

    >>> requested_utm("utm_source=ep+42&fbclid=1&utm_medium=")
    {'utm_source': 'ep 42', 'utm_medium': ''}
    """
    names = {f"utm_{name}" for name in UTM}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=50, errors="replace")
    except ValueError:
        return {}
    return {name: value for name, value in pairs if name in names and len(value) <= MAX_UTM_CHARS}


def format_click_id(click_id: UUID) -> str:
    """Write a click's id as it stands in the target's query.

    >>> format_click_id(UUID(int=1))
    'AAAAAAAAAAAAAAAAAAAAAQ'
    """
    return base64.urlsafe_b64encode(click_id.bytes).decode().rstrip("=")


def parse_click_id(text: str) -> UUID:
    """Read what :func:`format_click_id` wrote.

    Raises:
        InvalidInput: It is no click's id.

    >>> parse_click_id("AAAAAAAAAAAAAAAAAAAAAQ").int
    1
    """
    if not _CLICK_ID.fullmatch(text):
        raise InvalidInput(CLICK_PARAMETER, "is no id of a click")
    # Twice as fast as the library's own function for this alphabet: every event that came of a click has one.
    return UUID(bytes=binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=="))


def parse_link_arguments(arguments: bytes) -> LinkArguments:
    """Read what a tracker recorded of a click beside its target; what is not there, or is no slug, is empty.

    >>> parse_link_arguments(b"go=offer").slug
    'offer'
    """
    found = {name: value.decode("ascii", "replace") for name, value in _ENTITY.findall(arguments)}
    click_id = None
    if b"click" in found:
        try:
            click_id = parse_click_id(found[b"click"])
        except InvalidInput:
            click_id = None
    slug = found.get(b"go", "")
    return LinkArguments(slug if _SLUG.fullmatch(slug) else "", click_id)
