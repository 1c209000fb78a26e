"""Whom a request may be redirected to: open for audio, closed for clicks.

A tracker that redirected everyone everywhere would be an open redirect, and phishers would find it within days; one
that knew only what it was told would silence a podcast whose host has moved. So players are believed where the path
looks like media, browsers only where a verified podcast has registered the very enclosure.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from analytics_core.enclosures import EnclosureIdentity, identify
from analytics_core.errors import InvalidInput
from analytics_core.hosts import HostKind
from analytics_core.registry import Known
from analytics_core.settings import HostPolicyMode
from prefix_redirect.targets import Target, TargetFault, parse_target

__all__ = ("MEDIA_SUFFIXES", "HostPolicy", "Ruling", "is_navigation")

MEDIA_SUFFIXES: Final = tuple(b".mp3 .m4a .m4b .mp4 .m4v .mov .aac .ogg .oga .opus .flac .wav .webm .m3u8".split())
_ANYONES_SERVICE: Final = re.compile(r"pp\d+\.")


class Ruling(enum.Enum):
    """What the policy says of a target."""

    REDIRECT = "redirect"
    NOT_REGISTERED = "single-label and reserved hosts have to be registered"
    DENIED = "the host is on the deny list"
    UNKNOWN_CLICK = "a browser may only follow a registered enclosure of a verified podcast"
    UNKNOWN_HOST = "the host is not known here"


def is_navigation(accept: bytes, fetch_dest: bytes) -> bool:
    """Say whether a browser asks for a page to show, rather than a player for media.

    Args:
        accept: The ``Accept`` header; empty when there was none.
        fetch_dest: The ``Sec-Fetch-Dest`` header; empty when there was none.

    >>> is_navigation(b"text/html,application/xhtml+xml,*/*;q=0.8", b"")
    True
    >>> is_navigation(b"audio/*;q=0.9,text/html;q=0.5", b"audio"), is_navigation(b"*/*", b"")
    (False, False)
    """
    if fetch_dest and fetch_dest.strip().lower() == b"document":
        return True
    lowered = accept.lower()
    if b"text/html" not in lowered:
        return False
    best, wanted = b"", 0.0
    for part in lowered.split(b","):
        media_type, *parameters = (piece.strip() for piece in part.split(b";"))
        weight = _weight(parameters)
        # Among equals the first is meant: that is how browsers write their own preference.
        if weight > wanted:
            best, wanted = media_type, weight
    return best == b"text/html"


def _weight(parameters: Collection[bytes]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            try:
                return min(1.0, float(value))
            except ValueError:
                return 0.0
    return 1.0


class HostPolicy:
    """DESIGN's host policy over one registry snapshot; immutable.

    Args:
        registry: What the ledger knows; empty when no snapshot was ever read.
        mode: Where players may be sent beyond known hosts.
        deny_hosts: Denied besides those of the registry, lower-case; subdomains too.
        own_hosts: Names of ours besides those of the registry, lower-case.
    """

    def __init__(
        self,
        registry: Known,
        *,
        mode: HostPolicyMode = HostPolicyMode.MEDIA,
        deny_hosts: Collection[str] = (),
        own_hosts: Collection[str] = (),
    ) -> None:
        self.registry = registry
        self.mode = mode
        self.own_hosts = registry.own_hosts.union(own_hosts)
        self._deny_hosts = registry.deny_hosts.union(deny_hosts)

    def rule(self, target: Target, *, navigation: bool) -> Ruling:
        """Judge a target by its innermost URL behind known prefix services.

        Args:
            target: A well-formed target.
            navigation: Whether a browser wants to show it as a page.

        Returns:
            ``REDIRECT``, or why not.
        """
        if target.host_kind is not HostKind.PUBLIC and not self._is_known(target.host):
            return Ruling.NOT_REGISTERED
        identity = self._identify(target)
        if self._deny_hosts and self._is_denied((target.host, *(identity.hosts if identity else ()))):
            return Ruling.DENIED
        if self.mode is HostPolicyMode.ANY:
            return Ruling.REDIRECT
        if identity is not None and any(map(self._is_strange_service, identity.hosts)):
            identity = None
        if navigation:
            known = identity is not None and identity.key.hex in self.registry.click_keys
            return Ruling.REDIRECT if known else Ruling.UNKNOWN_CLICK
        innermost = _innermost(target, identity)
        if innermost is None:
            return Ruling.UNKNOWN_HOST
        if self._is_known(innermost.host):
            return Ruling.REDIRECT
        if self.mode is HostPolicyMode.MEDIA and innermost.host_kind is HostKind.PUBLIC:
            return Ruling.REDIRECT if innermost.path.lower().endswith(MEDIA_SUFFIXES) else Ruling.UNKNOWN_HOST
        return Ruling.UNKNOWN_HOST

    def denies(self, url: str) -> bool:
        """Say whether a link may not lead to a URL: its host, or a domain above it, is on a deny list."""
        if not self._deny_hosts:
            return False
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            return True
        return self._is_denied((host.removesuffix("."),))

    def _identify(self, target: Target) -> EnclosureIdentity | None:
        try:
            return identify(target.location, own_hosts=self.own_hosts)
        except InvalidInput:
            return None

    def _is_known(self, host: str) -> bool:
        known = self.registry.hosts
        return host in known or (":" in host and f"[{host}]" in known)

    def _is_strange_service(self, host: str) -> bool:
        """Say whether anyone could have named a host so that it looks like a prefix service.

        Whoever owns ``pp1.<any domain>`` could otherwise hide behind a registered enclosure.
        """
        return _ANYONES_SERVICE.match(host) is not None and not self._is_known(host)

    def _is_denied(self, hosts: Collection[str]) -> bool:
        for host in hosts:
            name = host
            while name:
                if name in self._deny_hosts:
                    return True
                name = name.partition(".")[2]
        return False


def _innermost(target: Target, identity: EnclosureIdentity | None) -> Target | None:
    if identity is None:
        return target
    innermost = parse_target(identity.innermost.encode())
    return None if isinstance(innermost, TargetFault) else innermost
