"""Which episode a requested target belongs to, asked a batch at a time behind a bounded cache."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt

from analytics_core.db.catalogue import (
    NEVER_US,
    OWNER_DTYPE,
    OwnerRow,
    PodcastNumbers,
    find_owner_columns,
    find_owners,
    find_owners_by_bare_key,
    find_owners_by_file_name,
    find_podcasts,
)
from analytics_core.db.copying import pack_keys
from analytics_core.db.ownership import read_ownership
from analytics_core.db.pending import PendingTarget
from analytics_core.db.pool import Connection
from analytics_core.enclosures import identify, is_plain, parse_prefix_arguments
from analytics_core.errors import InvalidInput
from analytics_core.playlists import is_playlist
from ingest.caches import GenerationCache
from ingest.known_targets import KnownTargets

__all__ = ("Catalogue", "Episode", "Resolved", "episode_of", "match_targets")

_PODCASTS: Final = 16_000
_KEY_BYTES: Final = 16
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


class Resolved(NamedTuple):
    """What was found out about some targets.

    Attributes:
        rows: Of ``OWNER_DTYPE``, one for each. Who belongs to no episode that we know has the numbers of the podcast
            that the prefix names, 0 where it names none of ours, and episode 0.
        waiting: The keys of each that belongs to none, for its hits have to wait; ``podcast_no`` as above.
        ownership: The generation of ownership as it was before any of them was looked up.
    """

    rows: npt.NDArray[Any]
    waiting: dict[int, PendingTarget]
    ownership: int


class _Memory:
    """What was found out since the catalogue last changed; it is replaced whole.

    So what a look-up in flight finds out goes into a memory that nobody asks any more.
    """

    def __init__(self, ownership: int) -> None:
        self.ownership = ownership
        self.known = KnownTargets()
        self.podcasts = GenerationCache[UUID, PodcastNumbers](_PODCASTS)


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


def _row(episode: Episode) -> tuple[int, int, int, int, int, int, bool, bool]:
    """Write an episode as a row of ``OWNER_DTYPE``."""
    return (
        episode.tenant_no,
        episode.podcast_no,
        episode.episode_no,
        -1 if episode.duration_s is None else episode.duration_s,
        -1 if episode.length_bytes is None else episode.length_bytes,
        NEVER_US if episode.published_at_us is None else episode.published_at_us,
        episode.live,
        episode.is_playlist,
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
    others = iter(await _match_others(conn, missing))
    return [exact.get(target.enclosure_key) or next(others) for target in targets]


async def _match_others(conn: Connection, targets: Sequence[PendingTarget]) -> list[OwnerRow | None]:
    """Find the owners of targets of which none has exactly their key."""
    by_bare: defaultdict[UUID, list[OwnerRow]] = defaultdict(list)
    by_name: defaultdict[tuple[int, str], list[OwnerRow]] = defaultdict(list)
    if targets:
        for owner in await find_owners_by_bare_key(conn, {target.bare_key for target in targets}):
            by_bare[owner.bare_key].append(owner)
        named = sorted({(t.podcast_no, t.file_name) for t in targets if t.podcast_no and t.file_name})
        if named:
            for owner in await find_owners_by_file_name(conn, named):
                by_name[owner.podcast_no, owner.file_name].append(owner)
    return [
        _only(by_bare.get(target.bare_key, ())) or _only(by_name.get((target.podcast_no, target.file_name), ()))
        for target in targets
    ]


def _digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=_KEY_BYTES).digest()


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
            What each came to; unknown ones are not remembered: they may be in a feed that is being read right now.
        """
        memory = self._memory
        if memory is None:
            memory = self._memory = _Memory(await read_ownership(conn))
        # With how long the arguments are in front, so that no two pairs are written alike.
        keys = pack_keys([_digest(b"%d %b%b" % (len(arguments), arguments, target)) for target, arguments in wanted])
        rows, is_known = memory.known.get(keys)
        waiting: dict[int, PendingTarget] = {}
        places = np.flatnonzero(~is_known)
        if len(places):
            fresh, unknown = await self._look_up(conn, [wanted[place] for place in places.tolist()], memory)
            rows[places] = fresh
            found = fresh["episode_no"] > 0
            memory.known.put(keys[places[found]], fresh[found])
            waiting = {int(places[place]): target for place, target in unknown.items()}
        return Resolved(rows, waiting, memory.ownership)

    async def _look_up(
        self, conn: Connection, pairs: Sequence[tuple[bytes, bytes]], memory: _Memory
    ) -> tuple[npt.NDArray[Any], dict[int, PendingTarget]]:
        """Ask the database about pairs: by their exact keys in columns, and only about the others one by one."""
        identities: dict[int, PendingTarget] = {}
        keys = []
        for place, (target, _) in enumerate(pairs):
            if is_plain(target, own_hosts=self._own_hosts):
                keys.append(_digest(target))
            else:
                identities[place] = self._identify(target)
                keys.append(identities[place].enclosure_key.bytes)
        places, owners = await find_owner_columns(conn, keys)
        rows: npt.NDArray[Any] = np.zeros(len(pairs), OWNER_DTYPE)
        rows[places] = owners
        missing = np.flatnonzero(rows["episode_no"] == 0).tolist()
        if not missing:
            return rows, {}
        numbers = await self._name_podcasts(conn, {pairs[place][1] for place in missing}, memory)
        targets = []
        for place in missing:
            target, arguments = pairs[place]
            identity = identities.get(place) or self._identify(target)
            targets.append(msgspec.structs.replace(identity, podcast_no=numbers[arguments][1]))
        waiting: dict[int, PendingTarget] = {}
        for place, waits, owner in zip(missing, targets, await _match_others(conn, targets), strict=True):
            if owner is None:
                waiting[place] = waits
                rows[place] = (*numbers[pairs[place][1]], 0, -1, -1, NEVER_US, False, False)
            else:
                rows[place] = _row(episode_of(owner))
        return rows, waiting

    async def _name_podcasts(
        self, conn: Connection, distinct: Collection[bytes], memory: _Memory
    ) -> dict[bytes, tuple[int, int]]:
        """Read the numbers of tenant and podcast that arguments name; 0 where they name none of ours."""
        named = {arguments: parse_prefix_arguments(arguments).podcast_guid for arguments in distinct}
        podcasts = await self._find_podcasts(conn, {guid for guid in named.values() if guid is not None}, memory)
        return {
            arguments: (podcasts[guid].tenant_no, podcasts[guid].podcast_no) if guid in podcasts else (0, 0)
            for arguments, guid in named.items()
        }

    async def _find_podcasts(self, conn: Connection, guids: set[UUID], memory: _Memory) -> dict[UUID, PodcastNumbers]:
        found = {guid: numbers for guid in guids if (numbers := memory.podcasts.get(guid)) is not None}
        missing = guids - found.keys()
        if missing:
            for guid, numbers in (await find_podcasts(conn, missing)).items():
                memory.podcasts.put(guid, numbers)
                found[guid] = numbers
        return found

    def _identify(self, target: bytes) -> PendingTarget:
        """Find the keys of a target; the podcast is not named yet."""
        try:
            identity = identify(target, own_hosts=self._own_hosts)
        except InvalidInput:
            # Kept all the same, under a key that no enclosure has.
            key = UUID(bytes=_digest(b"\x00" + target))
            return PendingTarget(key, key, 0, "")
        return PendingTarget(identity.key, identity.bare_key, 0, identity.file_name)
