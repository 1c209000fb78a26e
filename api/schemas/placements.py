"""The forms of slots for advertising, and of placements."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.campaigns import Delivery, PlacementStatus, Position
from analytics_core.db.ad_slots import AdSlotRow, SlotInventory
from analytics_core.db.placements import PlacementRow
from analytics_core.sponsors import MAX_NAME

__all__ = (
    "AdSlot",
    "AddAdSlot",
    "AddPlacement",
    "ChangeAdSlot",
    "ChangePlacement",
    "Inventory",
    "Placement",
    "SlotPlaces",
)

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Seconds = Annotated[int, msgspec.Meta(ge=1, le=3_600)]
_Places = Annotated[int, msgspec.Meta(ge=1, le=20)]
_Offset = Annotated[int, msgspec.Meta(ge=0, le=86_400)]
_Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]
_Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class AddAdSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A slot that every episode of a podcast has. It has room for `per_episode` at a time."""

    name: _Name
    position: Position
    max_seconds: _Seconds | None = None
    per_episode: _Places = 1


class ChangeAdSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    position: Position | msgspec.UnsetType = msgspec.UNSET
    max_seconds: _Seconds | msgspec.UnsetType | None = msgspec.UNSET
    per_episode: _Places | msgspec.UnsetType = msgspec.UNSET


class AdSlot(msgspec.Struct, frozen=True, kw_only=True):
    """Room for advertising in each episode of a podcast. `version` rises with every change, and is the `ETag`."""

    ad_slot_id: UUID
    podcast_id: UUID
    name: str
    position: Position
    max_seconds: int | None
    per_episode: int
    version: int
    created_at: dt.datetime
    archived_at: dt.datetime | None

    @classmethod
    def of(cls, row: AdSlotRow) -> AdSlot:
        """Show a stored slot."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class SlotPlaces(msgspec.Struct, frozen=True, kw_only=True):
    """The places of a slot: all, those that a placement has, and the others."""

    ad_slot_id: UUID
    name: str
    position: Position
    total: int
    taken: int
    free: int

    @classmethod
    def of(cls, found: SlotInventory) -> SlotPlaces:
        """Show what was counted of a slot."""
        return cls(
            ad_slot_id=found.ad_slot_id,
            name=found.name,
            position=found.position,
            total=found.total,
            taken=found.taken,
            free=found.total - found.taken,
        )


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """The places of each slot of a podcast in its episodes of some time."""

    data: list[SlotPlaces]


class AddPlacement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An episode in which a flight is heard.

    With `ad_slot_id` it takes a place of that slot, the `slot_no`-th, and `position` is the slot's. Without `live_from`
    and `live_until` it is live from the start of the flight, or from when the episode was published, to the flight's
    end, and what is baked in for `measurement_days` more.
    """

    episode_id: UUID
    delivery: Delivery
    ad_slot_id: UUID | None = None
    slot_no: _Places = 1
    position: Position | None = None
    offset_s: _Offset | None = None
    host_read: bool = True
    live_from: _Instant | None = None
    live_until: _Instant | None = None
    aircheck_url: _Url | None = None


class ChangePlacement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is. Flight and episode stay what they are."""

    ad_slot_id: UUID | msgspec.UnsetType | None = msgspec.UNSET
    slot_no: _Places | msgspec.UnsetType = msgspec.UNSET
    position: Position | msgspec.UnsetType = msgspec.UNSET
    offset_s: _Offset | msgspec.UnsetType | None = msgspec.UNSET
    delivery: Delivery | msgspec.UnsetType = msgspec.UNSET
    host_read: bool | msgspec.UnsetType = msgspec.UNSET
    live_from: _Instant | msgspec.UnsetType = msgspec.UNSET
    live_until: _Instant | msgspec.UnsetType = msgspec.UNSET
    aircheck_url: _Url | msgspec.UnsetType | None = msgspec.UNSET


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """An episode in which a flight is heard.

    `downloads` are those of the episode that counted from `live_from` to before `live_until`, as of the last time that
    figures were made, which is seconds ago.
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
    slot_no: int
    position: Position
    offset_s: int | None
    delivery: Delivery
    host_read: bool
    status: PlacementStatus
    live_from: dt.datetime
    live_until: dt.datetime
    aircheck_url: str | None
    downloads: int
    version: int
    created_at: dt.datetime

    @classmethod
    def of(cls, row: PlacementRow) -> Placement:
        """Show a stored placement."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})
