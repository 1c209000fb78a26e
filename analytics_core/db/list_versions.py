"""Since when addresses are looked up in which lists and databases."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection

__all__ = ("ListVersion", "note_list_versions", "read_list_versions")

_MAX_VERSION: Final = 200

_NOTE: Final[LiteralString] = """/* list_versions.note */
insert into ops.list_versions (kind, since, version)
select kind, $3, version from unnest($1::text[], $2::text[]) as now (kind, version)
where version is distinct from (
    select l.version from ops.list_versions l where l.kind = now.kind order by l.since desc limit 1)
on conflict do nothing"""

_READ: Final[LiteralString] = """/* list_versions.read */
select kind, version, since, until from (
    select kind, version, since, lead(since) over (partition by kind order by since) as until from ops.list_versions
) known
where since < $2 and (until is null or until > $1)
order by kind, since"""


class ListVersion(msgspec.Struct, frozen=True):
    """What hits were looked up in for some time.

    Attributes:
        kind: ``networks``, ``asns`` (autonomous systems) or ``countries``.
        version: As figures name it.
        since: From when on hits that landed were looked up in it.
        until: Until when; ``None`` while it is in force.
    """

    kind: str
    version: str
    since: dt.datetime
    until: dt.datetime | None


async def note_list_versions(conn: Connection, versions: Mapping[str, str], *, now: dt.datetime) -> None:
    """Note what hits are looked up in from *now* on, where that is something else than before; as ingest.

    Args:
        conn: As ingest.
        versions: By kind.
        now: The time.
    """
    await conn.execute(_NOTE, list(versions), [version[:_MAX_VERSION] for version in versions.values()], now)


async def read_list_versions(conn: Connection, *, first: dt.datetime, until: dt.datetime) -> list[ListVersion]:
    """Read what was in force at any time from *first* to before *until*, by kind and time."""
    return [msgspec.convert(row, ListVersion) for row in await conn.fetch(_READ, first, until)]
