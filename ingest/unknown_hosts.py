"""Which hosts players ask for under a podcast's prefix that no feed of the installation has registered."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from analytics_core.db.pending import PendingHit
from analytics_core.enclosures import identify
from analytics_core.errors import InvalidInput
from analytics_core.hosts import HostSighting, merge_sightings

__all__ = ("UnknownHosts",)


class UnknownHosts:
    """Finds unknown hosts in hits that wait for their episode.

    Args:
        own_hosts: Host names of our trackers, which are no part of a target's identity.
    """

    def __init__(self, *, own_hosts: Collection[str] = ()) -> None:
        self._own_hosts = frozenset(own_hosts)
        self._known: frozenset[str] = frozenset()

    def know(self, hosts: frozenset[str]) -> None:
        """Learn which hosts are known by now."""
        self._known = hosts

    def find(self, hits: Iterable[PendingHit]) -> list[HostSighting]:
        """Add up the hits of each podcast and unknown host; what names no podcast of ours is nobody's to accept.

        The host is the innermost one, behind known prefix services: the one that the host policy judges.
        """
        hosts: dict[str, str | None] = {}
        sightings = []
        for hit in hits:
            if not hit.podcast_no:
                continue
            if hit.target not in hosts:
                hosts[hit.target] = self._host(hit.target)
            host = hosts[hit.target]
            if host is not None:
                at = hit.occurred_at
                sightings.append(HostSighting(hit.tenant_no, hit.podcast_no, host, at, at, 1))
        return merge_sightings(sightings)

    def _host(self, target: str) -> str | None:
        try:
            hosts = identify(target, own_hosts=self._own_hosts).hosts
        except InvalidInput:
            return None
        return hosts[-1] if hosts and len(hosts[-1]) <= 255 and hosts[-1] not in self._known else None
