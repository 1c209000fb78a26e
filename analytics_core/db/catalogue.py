"""Which episode a target belongs to: the owners of enclosures over all tenants, as ingest asks for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection

__all__ = (
    "OwnerRow",
    "PodcastNumbers",
    "find_owners",
    "find_owners_by_bare_key",
    "find_owners_by_file_name",
    "find_podcasts",
    "find_title",
)


class OwnerRow(msgspec.Struct, frozen=True):
    """An enclosure's owner, with what judging its hits needs.

    Attributes:
        enclosure_key: The exact key.
        bare_key: The key without the query.
        file_name: The path's last segment.
        length_bytes: As the feed says; ``None`` when it says nothing.
        is_playlist: By its name or by the type that the feed gives; by its name alone it may not be known here yet.
    """

    enclosure_key: UUID
    bare_key: UUID
    file_name: str
    tenant_no: int
    podcast_no: int
    episode_no: int
    length_bytes: int | None
    published_at: dt.datetime | None
    duration_s: int | None
    live: bool
    is_playlist: bool


class PodcastNumbers(msgspec.Struct, frozen=True):
    """The numbers of the podcast that a prefix names."""

    podcast_guid: UUID
    tenant_no: int
    podcast_no: int


# A look-up for each key, which `offset 0` keeps: for 30,000 of five million the planner would read all of them instead.
_BY_KEY: Final[LiteralString] = """/* enclosure_owners.by_key */
select o.enclosure_key, o.bare_key, o.file_name, o.tenant_no, o.podcast_no, o.episode_no, o.length_bytes,
    e.published_at, e.duration_s, e.live, o.is_playlist
from unnest($1::uuid[]) as n(enclosure_key)
cross join lateral (select * from app.enclosure_owners w where w.enclosure_key = n.enclosure_key offset 0) o
cross join lateral (
    select p.published_at, p.duration_s, p.live from app.episodes p where p.episode_no = o.episode_no offset 0
) e"""

_BY_BARE_KEY: Final[LiteralString] = """/* enclosure_owners.by_bare_key */
select o.enclosure_key, o.bare_key, o.file_name, o.tenant_no, o.podcast_no, o.episode_no, o.length_bytes,
    e.published_at, e.duration_s, e.live, o.is_playlist
from app.enclosure_owners o join app.episodes e using (episode_no)
where o.bare_key = any($1::uuid[])
order by o.enclosure_key"""

_BY_FILE_NAME: Final[LiteralString] = """/* enclosure_owners.by_file_name */
select o.enclosure_key, o.bare_key, o.file_name, o.tenant_no, o.podcast_no, o.episode_no, o.length_bytes,
    e.published_at, e.duration_s, e.live, o.is_playlist
from unnest($1::integer[], $2::text[]) as n(podcast_no, file_name)
join app.enclosure_owners o using (podcast_no, file_name) join app.episodes e using (episode_no)
order by o.enclosure_key"""

_PODCASTS: Final[LiteralString] = """/* podcasts.numbers */
select podcast_guid, tenant_no, podcast_no from app.podcasts
where podcast_guid = any($1::uuid[]) and transferred_at is null"""


_TITLE: Final[LiteralString] = """/* episodes.title */ select title from app.episodes where episode_no = $1"""


async def find_title(conn: Connection, episode_no: int) -> str:
    """Find an episode's title; empty when it is gone."""
    return await conn.fetchval(_TITLE, episode_no) or ""


async def find_owners(conn: Connection, keys: Collection[UUID]) -> list[OwnerRow]:
    """Find the owners of exactly these keys."""
    return [OwnerRow(*row) for row in await conn.fetch(_BY_KEY, list(keys))]


async def find_owners_by_bare_key(conn: Connection, bare_keys: Collection[UUID]) -> list[OwnerRow]:
    """Find all owners whose targets are these but for their queries, in the order of their keys."""
    return [OwnerRow(*row) for row in await conn.fetch(_BY_BARE_KEY, list(bare_keys))]


async def find_owners_by_file_name(conn: Connection, names: Sequence[tuple[int, str]]) -> list[OwnerRow]:
    """Find all owners inside podcasts by their file names; *names* are pairs of podcast number and file name."""
    rows = await conn.fetch(_BY_FILE_NAME, [podcast_no for podcast_no, _ in names], [name for _, name in names])
    return [OwnerRow(*row) for row in rows]


async def find_podcasts(conn: Connection, guids: Collection[UUID]) -> dict[UUID, PodcastNumbers]:
    """Find podcasts by their guids; unknown ones are left out."""
    rows = [msgspec.convert(row, PodcastNumbers) for row in await conn.fetch(_PODCASTS, list(guids))]
    return {row.podcast_guid: row for row in rows}
