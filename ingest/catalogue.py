"""Which episode a requested target belongs to, asked a batch at a time behind a bounded cache."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from analytics_core.db.catalogue import (
    OwnerRow,
    PodcastNumbers,
    find_owners,
    find_owners_by_bare_key,
    find_owners_by_file_name,
    find_podcasts,
)
from analytics_core.db.ownership import read_ownership
from analytics_core.db.pending import PendingTarget
from analytics_core.db.pool import Connection
from analytics_core.enclosures import identify, parse_prefix_arguments
from analytics_core.errors import InvalidInput
from analytics_core.playlists import is_playlist
from analytics_core.referrers import feed_app
from ingest.caches import GenerationCache

__all__ = ("Catalogue", "Episode", "Resolution", "Resolved", "episode_of", "match_targets")

# A target with what it came to takes 750 bytes, and there are twice as many: a large catalogue's popular ones.
_CACHE_LIMIT: Final = 16_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


class Episode(NamedTuple):
    """The episode that a target belongs to, with what judging its hits needs."""

    tenant_no: int
    podcast_no: int
    episode_no: int
    length_bytes: int | None
    duration_s: int | None
    published_at_us: int | None
    live: bool
    is_playlist: bool


class Resolution(NamedTuple):
    """What was found out about a target.

    Attributes:
        episode: ``None`` when it belongs to none that we know.
        target: Its keys, for hits that have to wait; ``podcast_no`` is the named podcast's, or 0.
        tenant_no: The named podcast's tenant; 0 when the prefix names none of ours.
        feed_app: The app whose feed the listener uses, as hosts stamp it into the address; may be empty.
    """

    episode: Episode | None
    target: PendingTarget | None
    tenant_no: int
    feed_app: str


class Resolved(NamedTuple):
    """The resolutions of some targets, and the generation of ownership that they hold under."""

    resolutions: list[Resolution]
    ownership: int


class _Memory:
    """What was found out since the catalogue last changed; it is replaced whole.

    So what a look-up in flight finds out goes into a memory that nobody asks any more.
    """

    def __init__(self, ownership: int) -> None:
        self.ownership = ownership
        self.known = GenerationCache[tuple[bytes, bytes], Resolution](_CACHE_LIMIT)
        self.podcasts = GenerationCache[UUID, PodcastNumbers](_CACHE_LIMIT)


def episode_of(owner: OwnerRow) -> Episode:
    """Take from an owner's row what judging needs."""
    published = owner.published_at
    return Episode(
        owner.tenant_no,
        owner.podcast_no,
        owner.episode_no,
        owner.length_bytes,
        owner.duration_s,
        None if published is None else (published - _EPOCH) // _MICROSECOND,
        owner.live,
        owner.is_playlist or is_playlist(owner.file_name),
    )


def _only(owners: Iterable[OwnerRow]) -> OwnerRow | None:
    """Take the first owner if all of them are one episode."""
    found = list(owners)
    return found[0] if found and len({owner.episode_no for owner in found}) == 1 else None


async def match_targets(conn: Connection, targets: Sequence[PendingTarget]) -> list[OwnerRow | None]:
    """Find the owner of each target.

    By its exact key; else without its query, if that leaves one episode; else by its file name inside the podcast
    that the prefix named, if that leaves one episode there.

    Args:
        conn: As ingest, over all tenants.
        targets: Any; ``podcast_no`` 0 names no podcast.

    Returns:
        For each target its owner, or ``None``.

    Source:
        ``docs/methodology.md``, "Which episode a target belongs to".
    """
    exact = {owner.enclosure_key: owner for owner in await find_owners(conn, {t.enclosure_key for t in targets})}
    missing = [target for target in targets if target.enclosure_key not in exact]
    by_bare: defaultdict[UUID, list[OwnerRow]] = defaultdict(list)
    by_name: defaultdict[tuple[int, str], list[OwnerRow]] = defaultdict(list)
    if missing:
        for owner in await find_owners_by_bare_key(conn, {target.bare_key for target in missing}):
            by_bare[owner.bare_key].append(owner)
        named = sorted({(t.podcast_no, t.file_name) for t in missing if t.podcast_no and t.file_name})
        if named:
            for owner in await find_owners_by_file_name(conn, named):
                by_name[owner.podcast_no, owner.file_name].append(owner)
    return [
        exact.get(target.enclosure_key)
        or _only(by_bare.get(target.bare_key, ()))
        or _only(by_name.get((target.podcast_no, target.file_name), ()))
        for target in targets
    ]


class Catalogue:
    """Resolves targets; remembers those that it could resolve until the catalogue changes.

    Args:
        own_hosts: Host names of our trackers, which are no part of an enclosure's identity.
    """

    def __init__(self, *, own_hosts: Collection[str] = ()) -> None:
        self._own_hosts = frozenset(own_hosts)
        self._memory: _Memory | None = None

    def forget(self) -> None:
        """Drop what is remembered: podcasts, episodes or enclosures have changed."""
        self._memory = None

    async def resolve(self, conn: Connection, wanted: Sequence[tuple[bytes, bytes]]) -> Resolved:
        """Resolve pairs of target and prefix arguments.

        Args:
            conn: As ingest.
            wanted: Distinct pairs, as recorded.

        Returns:
            A resolution for each, with the generation of ownership as it was before any of them was looked up.
        """
        memory = self._memory
        if memory is None:
            memory = self._memory = _Memory(await read_ownership(conn))
        known = [memory.known.get(pair) for pair in wanted]
        unknown = [pair for pair, resolution in zip(wanted, known, strict=True) if resolution is None]
        fresh = iter(await self._look_up(conn, unknown, memory) if unknown else ())
        return Resolved([resolution or next(fresh) for resolution in known], memory.ownership)

    async def _look_up(
        self, conn: Connection, pairs: Sequence[tuple[bytes, bytes]], memory: _Memory
    ) -> list[Resolution]:
        # Each once: a podcast's episodes share them.
        distinct = {arguments for _, arguments in pairs}
        named = {arguments: parse_prefix_arguments(arguments).podcast_guid for arguments in distinct}
        podcasts = await self._find_podcasts(conn, {guid for guid in named.values() if guid is not None}, memory)
        numbers = {
            arguments: (podcasts[guid].tenant_no, podcasts[guid].podcast_no) if guid in podcasts else (0, 0)
            for arguments, guid in named.items()
        }
        targets = [self._identify(target, numbers[arguments][1]) for target, arguments in pairs]
        resolutions = []
        for pair, target, owner in zip(pairs, targets, await match_targets(conn, targets), strict=True):
            app = feed_app(pair[0].decode("utf-8", "replace"))
            if owner is None:
                # Not remembered: what is unknown now may be in a feed that is being read at this moment.
                resolutions.append(Resolution(None, target, numbers[pair[1]][0], app))
            else:
                resolution = Resolution(episode_of(owner), None, owner.tenant_no, app)
                memory.known.put(pair, resolution)
                resolutions.append(resolution)
        return resolutions

    async def _find_podcasts(self, conn: Connection, guids: set[UUID], memory: _Memory) -> dict[UUID, PodcastNumbers]:
        found = {guid: numbers for guid in guids if (numbers := memory.podcasts.get(guid)) is not None}
        missing = guids - found.keys()
        if missing:
            for guid, numbers in (await find_podcasts(conn, missing)).items():
                memory.podcasts.put(guid, numbers)
                found[guid] = numbers
        return found

    def _identify(self, target: bytes, podcast_no: int) -> PendingTarget:
        try:
            identity = identify(target, own_hosts=self._own_hosts)
        except InvalidInput:
            # Kept all the same, under a key that no enclosure has.
            key = UUID(bytes=hashlib.blake2b(b"\x00" + target, digest_size=16).digest())
            return PendingTarget(key, key, podcast_no, "")
        return PendingTarget(identity.key, identity.bare_key, podcast_no, identity.file_name)
