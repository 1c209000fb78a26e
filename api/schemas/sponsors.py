"""The forms of sponsors."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.db.sponsors import SponsorRow
from analytics_core.sponsors import MAX_CONTACTS, MAX_NAME, Contact, Targeting

__all__ = ("AddSponsor", "ChangeSponsor", "MergeSponsors", "MergedSponsors", "Sponsor")

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Domain = Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
_Category = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
_Contacts = Annotated[tuple[Contact, ...], msgspec.Meta(max_length=MAX_CONTACTS)]


class AddSponsor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sponsor to be added; only its name is needed."""

    name: _Name
    domain: _Domain | None = None
    category: _Category | None = None
    contacts: _Contacts = ()
    targeting: Targeting = Targeting()


class ChangeSponsor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is. `contacts` and `targeting` are replaced as a whole."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    domain: _Domain | msgspec.UnsetType | None = msgspec.UNSET
    category: _Category | msgspec.UnsetType | None = msgspec.UNSET
    contacts: _Contacts | msgspec.UnsetType = msgspec.UNSET
    targeting: Targeting | msgspec.UnsetType = msgspec.UNSET


class MergeSponsors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sponsor that gets all that the other one has."""

    into: UUID


class Sponsor(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays. `links` are those that are in use; `version` rises with every change, and is the `ETag`."""

    sponsor_id: UUID
    name: str
    domain: str | None
    category: str | None
    contacts: tuple[Contact, ...]
    targeting: Targeting
    links: int
    version: int
    created_at: dt.datetime
    archived_at: dt.datetime | None

    @classmethod
    def of(cls, row: SponsorRow) -> Sponsor:
        """Show a stored sponsor."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})


class MergedSponsors(msgspec.Struct, frozen=True, kw_only=True):
    """The sponsor that is left, and how many links it got."""

    sponsor: Sponsor
    links_moved: int
