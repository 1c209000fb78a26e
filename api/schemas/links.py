"""The forms of links."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.db.links import LinkRow
from analytics_core.links import MAX_TARGET_CHARS, UTM

__all__ = ("AddLink", "ChangeLink", "Link", "Utm")

_Value = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Url = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TARGET_CHARS)]


class Utm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Campaign parameters, without `utm_`: they are set in the target's query, the rest of which stays as it is."""

    source: _Value | None = None
    medium: _Value | None = None
    campaign: _Value | None = None
    term: _Value | None = None
    content: _Value | None = None

    def as_mapping(self) -> dict[str, str]:
        """Those that are set, in the order in which they are appended."""
        found = {name: getattr(self, name) for name in UTM}
        return {name: value for name, value in found.items() if value is not None}


class AddLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link to be made. Without a `slug` a short one is made; `click_id` appends `cl_click` to the target.

    With `sponsor_id` it is a sponsor's, with `flight_id` a flight's too: its campaign's `utm` fills what is left open.
    """

    url: _Url
    slug: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    utm: Utm = Utm()
    click_id: bool = False
    sponsor_id: UUID | None = None
    flight_id: UUID | None = None


class ChangeLink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is, and `utm` is replaced as a whole.

    A `sponsor_id` of null makes the link nobody's, a `flight_id` of null no flight's; it stays its sponsor's then.
    """

    url: _Url | msgspec.UnsetType = msgspec.UNSET
    utm: Utm | msgspec.UnsetType = msgspec.UNSET
    click_id: bool | msgspec.UnsetType = msgspec.UNSET
    sponsor_id: UUID | msgspec.UnsetType | None = msgspec.UNSET
    flight_id: UUID | msgspec.UnsetType | None = msgspec.UNSET


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A link: `short_url` is what you hand out, `target` what it leads to. `clicks` are those of anyone but bots.

    `short_url` is null while the installation has no public URL.
    """

    link_id: UUID
    slug: str
    short_url: str | None
    url: str
    target: str
    utm: Utm
    click_id: bool
    sponsor_id: UUID | None
    campaign_id: UUID | None
    flight_id: UUID | None
    clicks: int
    bots: int
    created_at: dt.datetime
    archived_at: dt.datetime | None

    @classmethod
    def of(cls, row: LinkRow, *, public_url: str) -> Link:
        """Show a stored link."""
        return cls(
            link_id=row.link_id,
            slug=row.slug,
            short_url=f"{public_url.rstrip('/')}/go/{row.slug}" if public_url else None,
            url=row.url,
            target=row.target,
            utm=Utm(**row.utm),
            click_id=row.click_id,
            sponsor_id=row.sponsor_id,
            campaign_id=row.campaign_id,
            flight_id=row.flight_id,
            clicks=row.clicks,
            bots=row.bots,
            created_at=row.created_at,
            archived_at=row.archived_at,
        )
