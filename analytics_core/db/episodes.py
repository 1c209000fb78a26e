"""Episodes and their enclosures: stored as a feed tells them, and never lost when it stops telling."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.enclosures import EnclosureIdentity, identify
from analytics_core.errors import Conflict, InvalidInput
from analytics_core.feeds import FeedEnclosure, FeedEpisode
from analytics_core.ids import EpisodeId, EpisodeNo, PodcastId, PodcastNo, new_id
from analytics_core.playlists import is_playlist

__all__ = (
    "EnclosureRow",
    "EpisodeHead",
    "EpisodeRow",
    "Stored",
    "get_episode",
    "get_heads",
    "list_episodes",
    "list_heads",
    "store_episodes",
)


class EnclosureRow(msgspec.Struct, frozen=True):
    """A file of an episode, as the feed lists it."""

    url: str
    media_type: str | None
    length_bytes: int | None
    kind: str


class EpisodeHead(msgspec.Struct, frozen=True):
    """An episode without its files."""

    episode_id: EpisodeId
    episode_no: EpisodeNo
    podcast_id: PodcastId
    podcast_no: PodcastNo
    guid: str
    title: str
    published_at: dt.datetime | None
    duration_s: int | None
    live: bool
    removed_at: dt.datetime | None
    first_seen_at: dt.datetime


class EpisodeRow(EpisodeHead, frozen=True):
    """An episode with the enclosures that its feed lists."""

    enclosures: list[EnclosureRow]


class Stored(msgspec.Struct, frozen=True):
    """What storing a feed's episodes did.

    Attributes:
        changed: Whether anything is different now.
        taken_by_others: Enclosures that belong to another tenant's podcast and stay there.
    """

    changed: bool
    taken_by_others: tuple[str, ...]


class _Placed(msgspec.Struct, frozen=True):
    """An enclosure of an episode with its identity and its place in the episode."""

    guid: str
    place: int
    enclosure: FeedEnclosure
    identity: EnclosureIdentity


_UPSERT: Final[LiteralString] = """/* episodes.upsert */
insert into app.episodes as old (tenant_id, episode_id, podcast_id, podcast_no, tenant_no, guid, guid_from_feed, title,
    published_at, duration_s, live, first_seen_at)
select $1, n.episode_id, $2, $3, $4, n.guid, n.guid_from_feed, n.title, n.published_at, n.duration_s, n.live, $5
from unnest($6::uuid[], $7::text[], $8::boolean[], $9::text[], $10::timestamptz[], $11::integer[], $12::boolean[])
    as n(episode_id, guid, guid_from_feed, title, published_at, duration_s, live)
on conflict (tenant_id, podcast_id, guid) do update
    set title = excluded.title, published_at = excluded.published_at, duration_s = excluded.duration_s,
        live = excluded.live, removed_at = null
    where (old.title, old.published_at, old.duration_s, old.live, old.removed_at)
        is distinct from (excluded.title, excluded.published_at, excluded.duration_s, excluded.live, null)"""

_REMOVE: Final[LiteralString] = """/* episodes.remove */
update app.episodes set removed_at = $3
where tenant_id = $1 and podcast_id = $2 and removed_at is null and guid <> all($4::text[])"""

_NUMBERS: Final[LiteralString] = """/* episodes.numbers */
select guid, episode_id, episode_no from app.episodes where tenant_id = $1 and podcast_id = $2"""

_UPSERT_ENCLOSURES: Final[LiteralString] = """/* enclosures.upsert */
insert into app.enclosures as old (tenant_id, episode_id, enclosure_key, place, kind, url, hosts, media_type,
    length_bytes, first_seen_at)
select $1, n.episode_id, n.enclosure_key, n.place, n.kind, n.url, string_to_array(n.hosts, ' '), n.media_type,
    n.length_bytes, $2
from unnest($3::uuid[], $4::uuid[], $5::smallint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[])
    as n(episode_id, enclosure_key, place, kind, url, hosts, media_type, length_bytes)
on conflict (tenant_id, episode_id, enclosure_key) do update
    set place = excluded.place, kind = excluded.kind, url = excluded.url, hosts = excluded.hosts,
        media_type = excluded.media_type, length_bytes = excluded.length_bytes, gone_at = null
    where (old.place, old.kind, old.url, old.hosts, old.media_type, old.length_bytes, old.gone_at)
        is distinct from (excluded.place, excluded.kind, excluded.url, excluded.hosts, excluded.media_type,
            excluded.length_bytes, null)"""

_RETIRE_ENCLOSURES: Final[LiteralString] = """/* enclosures.retire */
update app.enclosures c set gone_at = $3
from app.episodes e
where c.tenant_id = $1 and e.tenant_id = $1 and e.podcast_id = $2 and c.episode_id = e.episode_id and c.gone_at is null
    and not exists (select from unnest($4::uuid[], $5::uuid[]) as n(episode_id, enclosure_key)
        where n.episode_id = c.episode_id and n.enclosure_key = c.enclosure_key)"""

_OWNERS: Final[LiteralString] = """/* enclosure_owners.of_keys */
select enclosure_key, tenant_no, podcast_no from app.enclosure_owners where enclosure_key = any($1::uuid[])"""

_UPSERT_OWNERS: Final[LiteralString] = """/* enclosure_owners.upsert */
insert into app.enclosure_owners as old (enclosure_key, bare_key, file_name, tenant_no, podcast_no, episode_no,
    length_bytes, is_playlist)
select n.enclosure_key, n.bare_key, n.file_name, $1, $2, n.episode_no, n.length_bytes, n.is_playlist
from unnest($3::uuid[], $4::uuid[], $5::text[], $6::integer[], $7::bigint[], $8::boolean[])
    as n(enclosure_key, bare_key, file_name, episode_no, length_bytes, is_playlist)
on conflict (enclosure_key) do update set episode_no = excluded.episode_no, length_bytes = excluded.length_bytes,
        is_playlist = excluded.is_playlist
    where old.podcast_no = excluded.podcast_no and (old.episode_no, old.length_bytes, old.is_playlist)
        is distinct from (excluded.episode_no, excluded.length_bytes, excluded.is_playlist)"""

_LIST: Final[LiteralString] = """/* episodes.list */
select e.episode_id, e.episode_no, e.podcast_id, e.podcast_no, e.guid, e.title, e.published_at, e.duration_s, e.live,
    e.removed_at, e.first_seen_at,
    coalesce((select jsonb_agg(jsonb_build_object('url', c.url, 'media_type', c.media_type,
            'length_bytes', c.length_bytes, 'kind', c.kind) order by c.place)
        from app.enclosures c where c.tenant_id = e.tenant_id and c.episode_id = e.episode_id and c.gone_at is null),
        '[]') as enclosures
from app.episodes e
where e.podcast_id = $1
    and ($2::timestamptz is null or (coalesce(e.published_at, e.first_seen_at), e.episode_id) < ($2, $3::uuid))
order by coalesce(e.published_at, e.first_seen_at) desc, e.episode_id desc limit $4"""

_GET: Final[LiteralString] = """/* episodes.get */
select e.episode_id, e.episode_no, e.podcast_id, e.podcast_no, e.guid, e.title, e.published_at, e.duration_s, e.live,
    e.removed_at, e.first_seen_at,
    coalesce((select jsonb_agg(jsonb_build_object('url', c.url, 'media_type', c.media_type,
            'length_bytes', c.length_bytes, 'kind', c.kind) order by c.place)
        from app.enclosures c where c.tenant_id = e.tenant_id and c.episode_id = e.episode_id and c.gone_at is null),
        '[]') as enclosures
from app.episodes e where e.episode_id = $1"""

_LIST_HEADS: Final[LiteralString] = """/* episodes.list_heads */
select episode_id, episode_no, podcast_id, podcast_no, guid, title, published_at, duration_s, live, removed_at,
    first_seen_at
from app.episodes
where podcast_id = $1
    and ($2::timestamptz is null or (coalesce(published_at, first_seen_at), episode_id) < ($2, $3::uuid))
order by coalesce(published_at, first_seen_at) desc, episode_id desc limit $4"""

_GET_HEADS: Final[LiteralString] = """/* episodes.get_heads */
select episode_id, episode_no, podcast_id, podcast_no, guid, title, published_at, duration_s, live, removed_at,
    first_seen_at
from app.episodes where episode_no = any($1::integer[])"""


def _place(episodes: Sequence[FeedEpisode], own_hosts: Collection[str]) -> list[_Placed]:
    """Give each enclosure its identity; a file listed twice in an episode is one, and what is no web address none."""
    placed: list[_Placed] = []
    for episode in episodes:
        seen: set[UUID] = set()
        for place, enclosure in enumerate(episode.enclosures):
            try:
                identity = identify(enclosure.url, own_hosts=own_hosts)
            except InvalidInput:
                continue
            if identity.key not in seen:
                seen.add(identity.key)
                placed.append(_Placed(episode.guid, place, enclosure, identity))
    return placed


def _touched(status: str) -> int:
    """Read the number of rows from a command's status, such as ``INSERT 0 5``."""
    return int(status.rsplit(" ", 1)[-1])


async def store_episodes(
    conn: Connection,
    tenant: Tenant,
    podcast_id: PodcastId,
    podcast_no: PodcastNo,
    episodes: Sequence[FeedEpisode],
    *,
    now: dt.datetime,
    own_hosts: Collection[str] = (),
) -> Stored:
    """Bring a podcast's episodes to what its feed says, inside a transaction.

    Episodes are known by their guid. One that the feed no longer lists is marked, never deleted, and its targets
    still lead to it. A file in several episodes belongs to the one that was published first.

    Raises:
        Conflict: ``podcast_taken``: another tenant took an enclosure in the same moment.
    """
    changed = _touched(
        await conn.execute(
            _UPSERT,
            tenant.tenant_id,
            podcast_id,
            podcast_no,
            tenant.tenant_no,
            now,
            [new_id() for _ in episodes],
            [episode.guid for episode in episodes],
            [episode.guid_from == "feed" for episode in episodes],
            [episode.title for episode in episodes],
            [episode.published_at for episode in episodes],
            [episode.duration_s for episode in episodes],
            [episode.live for episode in episodes],
        )
    )
    guids = [episode.guid for episode in episodes]
    changed += _touched(await conn.execute(_REMOVE, tenant.tenant_id, podcast_id, now, guids))
    numbers = {
        row["guid"]: (row["episode_id"], row["episode_no"])
        for row in await conn.fetch(_NUMBERS, tenant.tenant_id, podcast_id)
    }
    placed = _place(episodes, own_hosts)
    episode_ids = [numbers[item.guid][0] for item in placed]
    keys = [item.identity.key for item in placed]
    changed += _touched(
        await conn.execute(
            _UPSERT_ENCLOSURES,
            tenant.tenant_id,
            now,
            episode_ids,
            keys,
            [item.place for item in placed],
            [item.enclosure.kind for item in placed],
            [item.enclosure.url for item in placed],
            [" ".join(item.identity.hosts) for item in placed],
            [item.enclosure.media_type for item in placed],
            [item.enclosure.length_bytes for item in placed],
        )
    )
    changed += _touched(await conn.execute(_RETIRE_ENCLOSURES, tenant.tenant_id, podcast_id, now, episode_ids, keys))
    owners = {row["enclosure_key"]: row for row in await conn.fetch(_OWNERS, keys)}
    ours: dict[UUID, tuple[_Placed, int]] = {}
    taken: list[str] = []
    far_future = dt.datetime.max.replace(tzinfo=dt.UTC)
    published = {episode.guid: episode.published_at or far_future for episode in episodes}
    for item in sorted(placed, key=lambda item: (published[item.guid], item.guid)):
        owner = owners.get(item.identity.key)
        if owner is None or owner["podcast_no"] == podcast_no:
            ours.setdefault(item.identity.key, (item, numbers[item.guid][1]))
        elif owner["tenant_no"] != tenant.tenant_no:
            taken.append(item.enclosure.url)
    try:
        changed += _touched(
            await conn.execute(
                _UPSERT_OWNERS,
                tenant.tenant_no,
                podcast_no,
                list(ours),
                [item.identity.bare_key for item, _ in ours.values()],
                [item.identity.file_name for item, _ in ours.values()],
                [episode_no for _, episode_no in ours.values()],
                [item.enclosure.length_bytes for item, _ in ours.values()],
                [is_playlist(item.identity.file_name, item.enclosure.media_type) for item, _ in ours.values()],
            )
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise Conflict("podcast_taken", "one of this feed's enclosures was just taken by someone else") from error
    return Stored(changed > 0, tuple(taken))


async def list_episodes(
    conn: Connection, podcast_id: UUID, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[EpisodeRow]:
    """List a podcast's episodes, newest first (by publish date, else by when they were seen first), behind *after*."""
    at, episode_id = after if after is not None else (None, None)
    return [msgspec.convert(row, EpisodeRow) for row in await conn.fetch(_LIST, podcast_id, at, episode_id, limit)]


async def list_heads(
    conn: Connection, podcast_id: UUID, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[EpisodeHead]:
    """List a podcast's episodes as :func:`list_episodes` does, without their files."""
    at, episode_id = after if after is not None else (None, None)
    rows = await conn.fetch(_LIST_HEADS, podcast_id, at, episode_id, limit)
    return [EpisodeHead(*row) for row in rows]


async def get_episode(conn: Connection, episode_id: UUID) -> EpisodeRow | None:
    """Read one episode of the transaction's tenant."""
    row = await conn.fetchrow(_GET, episode_id)
    return None if row is None else msgspec.convert(row, EpisodeRow)


async def get_heads(conn: Connection, episode_nos: Sequence[EpisodeNo]) -> list[EpisodeHead]:
    """Read episodes of the transaction's tenant in the order of their numbers here; what is not there is left out."""
    places = {episode_no: place for place, episode_no in enumerate(episode_nos)}
    heads = [EpisodeHead(*row) for row in await conn.fetch(_GET_HEADS, list(episode_nos))]
    return sorted(heads, key=lambda head: places[head.episode_no])
