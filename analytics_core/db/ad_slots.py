"""Slots for advertising: what a podcast has room for in each of its episodes, and what of it is taken."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.campaigns import Position
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict, NotFound, Outdated
from analytics_core.ids import new_id

__all__ = (
    "MAX_SLOTS",
    "AdSlotFields",
    "AdSlotRow",
    "SlotInventory",
    "add_slot",
    "archive_slot",
    "change_slot",
    "count_inventory",
    "find_slot",
    "hold_slot",
    "list_slots",
)

MAX_SLOTS: Final = 50
"""Slots a podcast, archived ones too."""


class AdSlotFields(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a slot.

    Attributes:
        max_seconds: How long something in it may be; ``None`` for any length.
        per_episode: How many places it has in each episode.
    """

    name: str
    position: Position
    max_seconds: int | None = None
    per_episode: int = 1


class AdSlotRow(AdSlotFields, frozen=True, kw_only=True):
    """A slot.

    Attributes:
        version: Raised by one with every change.
    """

    ad_slot_id: UUID
    ad_slot_no: int
    podcast_id: UUID
    version: int
    created_at: dt.datetime
    archived_at: dt.datetime | None


class SlotInventory(msgspec.Struct, frozen=True, kw_only=True):
    """The places of a slot in the episodes of some time.

    Attributes:
        total: In all of them.
        taken: Places that a placement has or had, unless it never ran or was taken out again.
    """

    ad_slot_id: UUID
    name: str
    position: Position
    total: int
    taken: int


_COLUMNS: Final[LiteralString] = """ad_slot_id, ad_slot_no, podcast_id, name, position, max_seconds, per_episode,
    version, created_at, archived_at"""

# One after the other a podcast, so that its slots can be counted.
_LOCK_PODCAST: Final[LiteralString] = """/* ad_slots.lock_podcast */
select 1 from app.podcasts where podcast_id = $1 for no key update"""

_COUNT: Final[LiteralString] = """/* ad_slots.count */ select count(*) from app.ad_slots where podcast_id = $1"""

_ADD: Final[LiteralString] = """/* ad_slots.add */
insert into app.ad_slots (tenant_id, ad_slot_id, podcast_id, name, position, max_seconds, per_episode, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)"""

_FIND: Final[LiteralString] = "/* ad_slots.find */ select " + _COLUMNS + " from app.ad_slots where ad_slot_id = $1"

_HOLD: Final[LiteralString] = _FIND.replace("ad_slots.find", "ad_slots.hold") + " for update"

_LIST: Final[LiteralString] = (
    "/* ad_slots.list */ select "
    + _COLUMNS
    + """ from app.ad_slots
where podcast_id = $4 and ($1::timestamptz is null or (created_at, ad_slot_id) > ($1, $2::uuid))
order by created_at, ad_slot_id limit $3"""
)

_CHANGE: Final[LiteralString] = """/* ad_slots.change */
update app.ad_slots set name = $2, position = $3, max_seconds = $4, per_episode = $5, version = version + 1
where ad_slot_id = $1"""

_ARCHIVE: Final[LiteralString] = """/* ad_slots.archive */
update app.ad_slots set archived_at = $2, version = version + 1 where ad_slot_id = $1"""

# Places beyond those that a slot has by now may be taken from before.
_INVENTORY: Final[LiteralString] = """/* ad_slots.inventory */
with listed as materialized (
    select episode_id from app.episodes
    where podcast_id = $1 and removed_at is null and published_at >= $2 and published_at < $3
)
select s.ad_slot_id, s.name, s.position, (select count(*) from listed) * s.per_episode as total, (
    select count(distinct (p.episode_id, p.slot_no)) from app.placements p
    where p.tenant_id = s.tenant_id and p.ad_slot_no = s.ad_slot_no and p.slot_no <= s.per_episode
        and p.status not in ('missed', 'pulled') and p.episode_id in (select episode_id from listed)
) as taken
from app.ad_slots s where s.podcast_id = $1 and s.archived_at is null order by s.created_at, s.ad_slot_id"""


async def add_slot(
    conn: Connection, tenant: Tenant, podcast_id: UUID, fields: AdSlotFields, *, now: dt.datetime
) -> AdSlotRow:
    """Add a slot to a podcast.

    Raises:
        NotFound: The tenant has no such podcast.
        Conflict: ``too_many_ad_slots``.
    """
    if await conn.fetchval(_LOCK_PODCAST, podcast_id) is None:
        raise NotFound("podcast")
    if await conn.fetchval(_COUNT, podcast_id) >= MAX_SLOTS:
        raise Conflict("too_many_ad_slots", f"a podcast has at most {MAX_SLOTS} slots, archived ones too")
    ad_slot_id = new_id()
    await conn.execute(
        _ADD,
        tenant.tenant_id,
        ad_slot_id,
        podcast_id,
        fields.name,
        fields.position.value,
        fields.max_seconds,
        fields.per_episode,
        now,
    )
    return await find_slot(conn, ad_slot_id)


async def find_slot(conn: Connection, ad_slot_id: UUID) -> AdSlotRow:
    """Read one slot.

    Raises:
        NotFound: The tenant has none of this id.
    """
    row = await conn.fetchrow(_FIND, ad_slot_id)
    if row is None:
        raise NotFound("ad slot")
    return msgspec.convert(row, AdSlotRow)


async def hold_slot(conn: Connection, ad_slot_id: UUID, *, version: int | None = None) -> AdSlotRow:
    """Read a slot that nobody else changes until the transaction ends.

    Raises:
        NotFound: The tenant has none of this id.
        Outdated: There is another version than the one that is expected.
    """
    row = await conn.fetchrow(_HOLD, ad_slot_id)
    if row is None:
        raise NotFound("ad slot")
    found = msgspec.convert(row, AdSlotRow)
    if version is not None and version != found.version:
        raise Outdated("ad slot", version=found.version)
    return found


async def list_slots(
    conn: Connection, podcast_id: UUID, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[AdSlotRow]:
    """List the slots of a podcast in the order in which they were made, behind *after*, archived ones too."""
    at, ad_slot_id = after if after is not None else (None, None)
    return [msgspec.convert(row, AdSlotRow) for row in await conn.fetch(_LIST, at, ad_slot_id, limit, podcast_id)]


async def change_slot(conn: Connection, held: AdSlotRow, fields: AdSlotFields) -> AdSlotRow:
    """Say something else of a slot that is held. What is placed in it stays where it is.

    Raises:
        Conflict: ``ad_slot_archived``.
    """
    if held.archived_at is not None:
        raise Conflict("ad_slot_archived", "this slot is archived; make another one")
    await conn.execute(
        _CHANGE, held.ad_slot_id, fields.name, fields.position.value, fields.max_seconds, fields.per_episode
    )
    return await find_slot(conn, held.ad_slot_id)


async def archive_slot(conn: Connection, held: AdSlotRow, *, now: dt.datetime) -> AdSlotRow:
    """Put a slot away: nothing new is placed in it. Twice is as once."""
    if held.archived_at is None:
        await conn.execute(_ARCHIVE, held.ad_slot_id, now)
    return await find_slot(conn, held.ad_slot_id)


async def count_inventory(
    conn: Connection, podcast_id: UUID, *, start: dt.datetime, end: dt.datetime
) -> list[SlotInventory]:
    """Count the places of a podcast's slots in its episodes that were published from *start* to before *end*."""
    return [msgspec.convert(row, SlotInventory) for row in await conn.fetch(_INVENTORY, podcast_id, start, end)]
