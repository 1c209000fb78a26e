"""The forms of vanity hosts."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.db.vanity_hosts import VanityHostRow

__all__ = ("AddVanityHost", "VanityHost")


class AddVanityHost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host that is to lead to a link, such as `acme.show.example.net`."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    link_id: UUID


class VanityHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host that leads to the link of this `slug`, whatever path is asked for; `url` is what you hand out."""

    vanity_host_id: UUID
    host: str
    url: str
    link_id: UUID
    slug: str
    created_at: dt.datetime
    archived_at: dt.datetime | None

    @classmethod
    def of(cls, row: VanityHostRow) -> VanityHost:
        """Show a stored host."""
        return cls(**msgspec.structs.asdict(row), url=f"https://{row.host}/")
