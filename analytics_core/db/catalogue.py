"""Which episode a target belongs to: the owners of enclosures over all tenants, as ingest asks for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt
from asyncpg.pgproto import pgproto

from analytics_core.db.copying import EPOCH_US
from analytics_core.db.pool import Connection
from analytics_core.playlists import PLAYLIST_ENDINGS

__all__ = (
    "NEVER_US",
    "OWNER_DTYPE",
    "OwnerRow",
    "PodcastNumbers",
    "find_owner_columns",
    "find_owners",
    "find_owners_by_bare_key",
    "find_owners_by_file_name",
    "find_podcasts",
    "find_title",
)


NEVER_US: Final = np.iinfo(np.int64).min
"""The publication of an episode without a date: no hit is earlier."""

OWNER_DTYPE: Final = np.dtype(
    [
        ("tenant_no", "i4"),
        ("podcast_no", "i4"),
        ("episode_no", "i4"),
        ("duration_s", "i4"),
        ("length_bytes", "i8"),
        ("published_us", "i8"),
        ("live", "?"),
        ("playlist", "?"),
    ]
)
"""What judging needs of an owner, as numpy keeps it; lengths and durations are -1 where unknown."""


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

# Each column's values as one array on the wire: of a record a row, with an object a value, numpy would take each apart.
# Keys in order find their leaf of the index where the one before was, and so do episodes in the order of their numbers.
_COLUMNS_BY_KEY: Final[LiteralString] = """/* enclosure_owners.columns_by_key */
select array_send(array_agg(o.place::integer)), array_send(array_agg(o.tenant_no)),
    array_send(array_agg(o.podcast_no)), array_send(array_agg(o.episode_no)),
    array_send(array_agg(coalesce(e.duration_s, -1))), array_send(array_agg(coalesce(o.length_bytes, -1))),
    array_send(array_agg(coalesce(e.published_at, '-infinity'))), array_send(array_agg(e.live::integer)),
    array_send(array_agg((o.is_playlist or o.file_name like any($2::text[]))::integer))
from (
    select n.place, w.*
    from (
        select u.* from unnest($1::uuid[]) with ordinality as u(enclosure_key, place) order by u.enclosure_key offset 0
    ) n
    cross join lateral (
        select w.tenant_no, w.podcast_no, w.episode_no, w.length_bytes, w.is_playlist, w.file_name
        from app.enclosure_owners w where w.enclosure_key = n.enclosure_key offset 0
    ) w
    order by w.episode_no offset 0
) o
cross join lateral (
    select p.published_at, p.duration_s, p.live from app.episodes p where p.episode_no = o.episode_no offset 0
) e"""

_ARRAY_HEADER_BYTES: Final = 20
"""Of an array of one dimension, as PostgreSQL sends it; each value has its length of four bytes before it."""

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


def _read_array(data: bytes, code: str) -> npt.NDArray[Any]:
    """Read an array without nulls, as PostgreSQL sends it."""
    values: npt.NDArray[Any] = np.frombuffer(data, [("length", ">i4"), ("value", code)], offset=_ARRAY_HEADER_BYTES)
    return values["value"]


async def find_owner_columns(conn: Connection, keys: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Find the owners of exactly these keys, many at a time.

    Args:
        conn: As ingest, over all tenants.
        keys: Of 16 bytes each.

    Returns:
        The places of those keys that have an owner, and their rows of ``OWNER_DTYPE``.
    """
    found = await conn.fetchrow(
        _COLUMNS_BY_KEY, [pgproto.UUID(key) for key in keys], [f"%{ending}" for ending in PLAYLIST_ENDINGS]
    )
    if found is None or found[0] is None:
        return np.empty(0, np.int64), np.empty(0, OWNER_DTYPE)
    codes = (">i4", ">i4", ">i4", ">i4", ">i4", ">i8", ">i8", ">i4", ">i4")
    arrays = [_read_array(data, code) for data, code in zip(found, codes, strict=True)]
    rows: npt.NDArray[Any] = np.empty(len(arrays[0]), OWNER_DTYPE)
    for name, array in zip(OWNER_DTYPE.names or (), arrays[1:], strict=True):
        rows[name] = array
    rows["published_us"][rows["published_us"] != NEVER_US] += EPOCH_US
    return arrays[0].astype(np.int64) - 1, rows


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
