"""Hosts: what a name or address is, and the bounded list of those that nobody has registered."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from analytics_core.addresses import is_public, pack_address
from analytics_core.errors import InvalidInput

__all__ = (
    "MAX_UNKNOWN_HOSTS",
    "OTHER_HOSTS",
    "HostKind",
    "HostSighting",
    "bound_sightings",
    "classify_host",
    "merge_sightings",
    "parse_host_name",
)

MAX_UNKNOWN_HOSTS: Final = 100
"""Hosts that are listed a podcast: whoever knows its prefix can make up as many as they like."""

OTHER_HOSTS: Final = "other"
"""Under which name the rest is counted; no public host has a single label."""

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# How browsers decide that a name is meant as an IPv4 address (WHATWG URL, "ends in a number").
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_RESERVED_SUFFIXES: Final = frozenset({"localhost", "local", "internal", "test", "example", "invalid", "onion"})


class HostKind(enum.Enum):
    """What a well-formed host is; all but ``PUBLIC`` have to be registered."""

    PUBLIC = "public"
    SINGLE_LABEL = "single label"
    RESERVED = "reserved"


class HostSighting(msgspec.Struct, frozen=True):
    """How often, and when, players asked for a host under a podcast's prefix."""

    tenant_no: int
    podcast_no: int
    host: str
    first_seen_at: dt.datetime
    last_seen_at: dt.datetime
    hits: int


@functools.lru_cache(maxsize=1024)
def classify_host(name: str) -> HostKind | None:
    """Say what a host name or IPv4 literal is.

    Underscores are allowed, hyphens at a label's ends are not. A name whose last label is a number is an IPv4
    address to browsers, so it has to be one in its plain dotted form.

    Args:
        name: Lower-case, without port and trailing dot.

    Returns:
        Its kind, or ``None`` when it is malformed.

    >>> classify_host("a_b.example.com"), classify_host("printer.local"), classify_host("0x7f.1")
    (<HostKind.PUBLIC: 'public'>, <HostKind.RESERVED: 'reserved'>, None)
    """
    labels = name.split(".")
    if len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        return None
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return HostKind.PUBLIC if is_public(pack_address(name)) else HostKind.RESERVED
        except InvalidInput:
            return None
    if len(labels) == 1:
        return HostKind.SINGLE_LABEL
    return HostKind.RESERVED if labels[-1] in _RESERVED_SUFFIXES else HostKind.PUBLIC


def parse_host_name(text: str) -> str:
    """Read the name of a host that may be made known to trackers.

    Returns:
        The name in lower case, without a trailing dot.

    Raises:
        InvalidInput: ``host_invalid`` when it is no host name, ``host_not_public`` when it is an address, has a single
            label, or is reserved.

    >>> parse_host_name("CDN.Example.com.")
    'cdn.example.com'
    """
    name = text.lower().removesuffix(".")
    kind = HostKind.RESERVED if ":" in name else classify_host(name)
    if kind is None:
        raise InvalidInput("host", "is no host name such as cdn.example.com", code="host_invalid")
    if kind is not HostKind.PUBLIC or _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise InvalidInput(
            "host", "has to be a public name: addresses and reserved names are never accepted", code="host_not_public"
        )
    return name


def merge_sightings(sightings: Iterable[HostSighting]) -> list[HostSighting]:
    """Add up the sightings of each podcast and host, sorted by both."""
    merged: dict[tuple[int, str], HostSighting] = {}
    for one in sightings:
        key = one.podcast_no, one.host
        before = merged.get(key, one)
        merged[key] = msgspec.structs.replace(
            one,
            first_seen_at=min(before.first_seen_at, one.first_seen_at),
            last_seen_at=max(before.last_seen_at, one.last_seen_at),
            hits=one.hits + (before.hits if key in merged else 0),
        )
    return [merged[key] for key in sorted(merged)]


def bound_sightings(
    sightings: Iterable[HostSighting], listed: Mapping[int, Collection[str]], *, limit: int = MAX_UNKNOWN_HOSTS
) -> list[HostSighting]:
    """Keep a podcast's list within its bound: hosts for which there is no more room are counted as ``other``.

    Args:
        sightings: Of any podcasts.
        listed: The hosts that are listed already, by podcast; they stay listed.
        limit: Hosts a podcast, ``other`` not counted.

    Returns:
        The same hits, by podcast and host; of new hosts those with the most hits are listed.
    """
    merged = merge_sightings(sightings)
    taken = {podcast_no: set(hosts) - {OTHER_HOSTS} for podcast_no, hosts in listed.items()}
    for one in sorted(merged, key=lambda one: (one.podcast_no, -one.hits, one.host)):
        hosts = taken.setdefault(one.podcast_no, set())
        if len(hosts) < limit and one.host != OTHER_HOSTS:
            hosts.add(one.host)
    return merge_sightings(
        one if one.host in taken[one.podcast_no] else msgspec.structs.replace(one, host=OTHER_HOSTS) for one in merged
    )
