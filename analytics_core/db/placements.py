"""Placements: the episodes in which a flight is heard, and when."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.campaign_changes import FlightTimes, moved_live_range
from analytics_core.campaigns import Delivery, PlacementStatus, Position
from analytics_core.db.ad_slots import AdSlotRow
from analytics_core.db.flights import FlightRow
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict, NotFound, Outdated
from analytics_core.ids import new_id

__all__ = (
    "MAX_PLACEMENTS",
    "PlacedEpisode",
    "PlacementFields",
    "PlacementRow",
    "add_placement",
    "change_placement",
    "find_placement",
    "hold_placement",
    "list_placements",
    "move_placements",
    "set_placement_status",
    "use_episode",
)

MAX_PLACEMENTS: Final = 5_000
"""Placements a flight, missed ones too."""


class PlacedEpisode(msgspec.Struct, frozen=True):
    """The episode of a placement.

    Attributes:
        published_at: ``None`` where its feed does not say it.
    """

    episode_id: UUID
    episode_no: int
    podcast_id: UUID
    podcast_no: int
    published_at: dt.datetime | None


class PlacementFields(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a placement, beside where it is.

    Attributes:
        slot_no: Which of the slot's places.
        offset_s: Seconds into the episode.
        host_read: Whether somebody of the podcast says it.
        live_from: The first quarter hour in which downloads count.
        live_until: The instant behind the last one.
        aircheck_url: Where it can be heard that it ran.
    """

    slot_no: int = 1
    position: Position
    offset_s: int | None = None
    delivery: Delivery
    host_read: bool = True
    live_from: dt.datetime
    live_until: dt.datetime
    aircheck_url: str | None = None


class PlacementRow(PlacementFields, frozen=True, kw_only=True):
    """A placement.

    Attributes:
        downloads: What it has delivered so far.
        version: Raised by one with every change.
    """

    placement_id: UUID
    flight_id: UUID
    campaign_id: UUID
    sponsor_id: UUID
    podcast_id: UUID
    podcast_title: str
    episode_id: UUID
    episode_title: str
    ad_slot_id: UUID | None
    status: PlacementStatus
    downloads: int
    version: int
    created_at: dt.datetime


_COLUMNS: Final[LiteralString] = """p.placement_id, p.flight_id, p.campaign_id, p.sponsor_id, p.podcast_id,
    s.title as podcast_title, p.episode_id, e.title as episode_title, p.ad_slot_id, p.slot_no, p.position, p.offset_s,
    p.delivery, p.host_read, p.status, p.live_from, p.live_until, p.aircheck_url, (
        select coalesce(sum(d.downloads), 0)::bigint from app.placement_daily d
        where d.tenant_id = p.tenant_id and d.placement_id = p.placement_id
    ) as downloads, p.version, p.created_at
from app.placements p
join app.episodes e on e.tenant_id = p.tenant_id and e.episode_id = p.episode_id
join app.podcasts s on s.tenant_id = p.tenant_id and s.podcast_id = p.podcast_id"""

# Whoever erases the podcast waits, or has taken it away.
_USE_EPISODE: Final[LiteralString] = """/* placements.use_episode */
select episode_id, episode_no, podcast_id, podcast_no, published_at from app.episodes where episode_id = $1
for key share"""

_COUNT: Final[LiteralString] = """/* placements.count */ select count(*) from app.placements where flight_id = $1"""

_ADD: Final[LiteralString] = """/* placements.add */
insert into app.placements (tenant_id, placement_id, flight_id, campaign_id, sponsor_id, podcast_id, episode_id,
    tenant_no, podcast_no, episode_no, ad_slot_id, ad_slot_no, slot_no, position, offset_s, delivery, host_read,
    live_from, live_until, aircheck_url, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)"""

_FIND: Final[LiteralString] = "/* placements.find */ select " + _COLUMNS + " where p.placement_id = $1"

_LIST: Final[LiteralString] = (
    "/* placements.list */ select "
    + _COLUMNS
    + """
where ($1::timestamptz is null or (p.created_at, p.placement_id) > ($1, $2::uuid))
    and ($4::uuid is null or p.campaign_id = $4) and ($5::uuid is null or p.flight_id = $5)
    and ($6::uuid is null or p.episode_id = $6) and ($7::uuid is null or p.podcast_id = $7)
order by p.created_at, p.placement_id limit $3"""
)

_LOCK: Final[LiteralString] = """/* placements.lock */
select version from app.placements where placement_id = $1 for update"""

_CHANGE: Final[LiteralString] = """/* placements.change */
update app.placements set ad_slot_id = $2, ad_slot_no = $3, slot_no = $4, position = $5, offset_s = $6, delivery = $7,
    host_read = $8, live_from = $9, live_until = $10, aircheck_url = $11, version = version + 1
where placement_id = $1"""

_SET_STATUS: Final[LiteralString] = """/* placements.set_status */
update app.placements set status = $2, live_until = $3, version = version + 1 where placement_id = $1"""

_LOCK_PLANNED: Final[LiteralString] = """/* placements.lock_planned */
select p.placement_id, p.live_from, p.live_until, p.delivery, e.published_at
from app.placements p join app.episodes e on e.tenant_id = p.tenant_id and e.episode_id = p.episode_id
where p.flight_id = $1 and p.status = 'planned' and p.live_from > $2 order by p.placement_id for update of p"""

_MOVE: Final[LiteralString] = """/* placements.move */
update app.placements p set live_from = n.live_from, live_until = n.live_until, version = version + 1
from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as n(placement_id, live_from, live_until)
where p.placement_id = n.placement_id"""


@contextlib.contextmanager
def _one_a_place() -> Iterator[None]:
    """Say what it means that a place is taken."""
    try:
        yield
    except asyncpg.ExclusionViolationError as error:
        raise Conflict(
            "slot_taken",
            "another placement has this place of the slot in this episode at that time: take another slot_no, another "
            "time, or pull the other one first",
        ) from error


async def use_episode(conn: Connection, episode_id: UUID) -> PlacedEpisode:
    """Read an episode for a placement, so that it does not go meanwhile.

    Raises:
        NotFound: The tenant has none of this id.
    """
    row = await conn.fetchrow(_USE_EPISODE, episode_id)
    if row is None:
        raise NotFound("episode")
    return msgspec.convert(row, PlacedEpisode)


async def add_placement(
    conn: Connection,
    tenant: Tenant,
    flight: FlightRow,
    episode: PlacedEpisode,
    slot: AdSlotRow | None,
    fields: PlacementFields,
    *,
    now: dt.datetime,
) -> PlacementRow:
    """Place a flight in an episode.

    Args:
        conn: In a transaction of the tenant that holds flight, episode and slot.
        tenant: Whose it is.
        flight: What is placed.
        episode: In which.
        slot: In which place of it; ``None`` where the podcast keeps no account of its places.
        fields: What else is said of it.
        now: Aware instant.

    Raises:
        Conflict: ``slot_taken``, or ``too_many_placements``.
    """
    if await conn.fetchval(_COUNT, flight.flight_id) >= MAX_PLACEMENTS:
        raise Conflict("too_many_placements", f"a flight has at most {MAX_PLACEMENTS} placements; make another flight")
    placement_id = new_id()
    with _one_a_place():
        await conn.execute(
            _ADD,
            tenant.tenant_id,
            placement_id,
            flight.flight_id,
            flight.campaign_id,
            flight.sponsor_id,
            episode.podcast_id,
            episode.episode_id,
            int(tenant.tenant_no),
            episode.podcast_no,
            episode.episode_no,
            None if slot is None else slot.ad_slot_id,
            None if slot is None else slot.ad_slot_no,
            fields.slot_no,
            fields.position.value,
            fields.offset_s,
            fields.delivery.value,
            fields.host_read,
            fields.live_from,
            fields.live_until,
            fields.aircheck_url,
            now,
        )
    return await find_placement(conn, placement_id)


async def find_placement(conn: Connection, placement_id: UUID) -> PlacementRow:
    """Read one placement that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, placement_id)
    if row is None:
        raise NotFound("placement")
    return msgspec.convert(row, PlacementRow)


async def list_placements(
    conn: Connection,
    *,
    after: tuple[dt.datetime, UUID] | None,
    limit: int,
    campaign_id: UUID | None = None,
    flight_id: UUID | None = None,
    episode_id: UUID | None = None,
    podcast_id: UUID | None = None,
) -> list[PlacementRow]:
    """List the placements that the transaction sees in the order in which they were made, behind *after*.

    Args:
        conn: In a transaction of the tenant.
        after: The row behind which the list begins.
        limit: How many at most.
        campaign_id: Only of this campaign.
        flight_id: Only of this flight.
        episode_id: Only in this episode.
        podcast_id: Only in this podcast.
    """
    at, placement_id = after if after is not None else (None, None)
    rows = await conn.fetch(_LIST, at, placement_id, limit, campaign_id, flight_id, episode_id, podcast_id)
    return [msgspec.convert(row, PlacementRow) for row in rows]


async def hold_placement(conn: Connection, placement_id: UUID, *, version: int | None = None) -> PlacementRow:
    """Read a placement that nobody else changes until the transaction ends.

    Raises:
        NotFound: The tenant has none of this id.
        Outdated: There is another version than the one that is expected.
    """
    found: int | None = await conn.fetchval(_LOCK, placement_id)
    if found is None:
        raise NotFound("placement")
    if version is not None and version != found:
        raise Outdated("placement", version=found)
    return await find_placement(conn, placement_id)


async def change_placement(
    conn: Connection, held: PlacementRow, slot: AdSlotRow | None, fields: PlacementFields
) -> PlacementRow:
    """Say something else of a placement that is held: all of it, also what stays as it was.

    Raises:
        Conflict: ``slot_taken``.
    """
    with _one_a_place():
        await conn.execute(
            _CHANGE,
            held.placement_id,
            None if slot is None else slot.ad_slot_id,
            None if slot is None else slot.ad_slot_no,
            fields.slot_no,
            fields.position.value,
            fields.offset_s,
            fields.delivery.value,
            fields.host_read,
            fields.live_from,
            fields.live_until,
            fields.aircheck_url,
        )
    return await find_placement(conn, held.placement_id)


async def move_placements(conn: Connection, held: FlightRow, becomes: FlightTimes, *, now: dt.datetime) -> None:
    """Have those placements of a flight follow it that :func:`analytics_core.campaign_changes.moved_live_range` moves.

    Args:
        conn: In the transaction that holds the flight.
        held: As it was.
        becomes: Its new times.
        now: Aware instant.

    Raises:
        Conflict: ``placements_outside``, or ``slot_taken``.
    """
    moved: dict[UUID, tuple[dt.datetime, dt.datetime]] = {}
    for row in await conn.fetch(_LOCK_PLANNED, held.flight_id, now):
        live = (row["live_from"], row["live_until"])
        wished = moved_live_range(
            *live,
            delivery=Delivery(row["delivery"]),
            published_at=row["published_at"],
            was=held,
            becomes=becomes,
            now=now,
        )
        if wished != live:
            moved[row["placement_id"]] = wished
    if moved:
        with _one_a_place():
            await conn.execute(
                _MOVE, list(moved), [one[0] for one in moved.values()], [one[1] for one in moved.values()]
            )


async def set_placement_status(
    conn: Connection, held: PlacementRow, status: PlacementStatus, *, live_until: dt.datetime | None = None
) -> PlacementRow:
    """Move a placement that is held to another state.

    Args:
        conn: In the transaction that holds it.
        held: As it is.
        status: What it is then.
        live_until: When it ends; ``None`` for when it did.
    """
    await conn.execute(_SET_STATUS, held.placement_id, status.value, live_until or held.live_until)
    return await find_placement(conn, held.placement_id)
