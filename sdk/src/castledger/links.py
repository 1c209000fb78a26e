"""Links: ``client.links``."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from msgspec import UNSET, UnsetType

from castledger._models import ClickReport, Link, Utm, VanityHost
from castledger._nouns import AsyncNoun, Noun, pages, sends
from castledger._requests import (
    Call,
    Interval,
    Moment,
    Paged,
    given,
    given_range,
    path_id,
)

__all__ = ("AsyncLinks", "Links")


class Links(Noun):
    """Short addresses that lead to a target and count who follows them."""

    @sends
    def create(
        self,
        *,
        url: str,
        slug: str | None = None,
        utm: Utm | None = None,
        click_id: bool = False,
        sponsor_id: UUID | str | None = None,
        flight_id: UUID | str | None = None,
    ) -> Call[Link]:
        """Make a link, live on the trackers within two seconds.

        Args:
            url: Where it leads.
            slug: What stands behind ``/go/``; one of eight characters is made when none is given.
            utm: Campaign parameters to set in the target's query.
            click_id: Whether the target is given each click's id, as ``cl_click``.
            sponsor_id: Whose link it is.
            flight_id: What it tells of; its sponsor and campaign come with it.

        Raises:
            Conflict: ``slug_taken``: it is, or was, somebody's; or ``too_many_links``.
            ValidationError: A value was refused; ``errors`` says which.
        """
        fields = {"url": url, "slug": slug, "utm": utm or Utm(), "click_id": click_id, "sponsor_id": sponsor_id}
        return Call(Link, "POST", "/links", json={**fields, "flight_id": flight_id or UNSET})

    @pages
    def list(self, *, sponsor_id: UUID | str | None = None, flight_id: UUID | str | None = None) -> Paged[Link]:
        """Go through all links, or a sponsor's or a flight's, in the order of their making; deleted ones too."""
        return Paged(Link, "/links", given(sponsor_id=sponsor_id, flight_id=flight_id))

    @sends
    def get(self, link_id: UUID | str) -> Call[Link]:
        """Read one link."""
        return Call(Link, "GET", f"/links/{path_id(link_id)}")

    @sends
    def update(
        self,
        link_id: UUID | str,
        *,
        url: str | UnsetType = UNSET,
        utm: Utm | UnsetType = UNSET,
        click_id: bool | UnsetType = UNSET,
        sponsor_id: UUID | str | UnsetType | None = UNSET,
        flight_id: UUID | str | UnsetType | None = UNSET,
    ) -> Call[Link]:
        """Change what is given, within two seconds; *utm* as a whole, and a *sponsor_id* of ``None`` makes it nobody's.

        Raises:
            ValidationError: A value was refused; ``errors`` says which.
        """
        fields = {"url": url, "utm": utm, "click_id": click_id, "sponsor_id": sponsor_id, "flight_id": flight_id}
        return Call(Link, "PATCH", f"/links/{path_id(link_id)}", json=fields)

    @sends
    def delete(self, link_id: UUID | str) -> Call[None]:
        """Take a link away: trackers then answer 404. Its clicks stay, and nobody else gets its slug."""
        return Call(type(None), "DELETE", f"/links/{path_id(link_id)}")

    @sends
    def qr(
        self,
        link_id: UUID | str,
        *,
        format: Literal["svg", "png"] = "svg",  # noqa: A002 - the API calls it so
        size: int | None = None,
        host: str | None = None,
    ) -> Call[bytes]:
        """Draw a link as a QR code.

        Args:
            link_id: Which.
            format: How it is drawn.
            size: Pixels a side, of a PNG the most; 512 unless given.
            host: One of its vanity hosts, to be drawn instead of its short address.

        Raises:
            Conflict: ``no_public_url``: it has no short address yet.
        """
        params = given(format=format, size=size, host=host)
        return Call(bytes, "GET", f"/links/{path_id(link_id)}/qr", params=params)

    @sends
    def create_vanity_host(self, link_id: UUID | str, *, host: str) -> Call[VanityHost]:
        """Have a host lead to a link within two seconds; point its name at the tracker first."""
        return Call(VanityHost, "POST", "/vanity-hosts", json={"host": host, "link_id": link_id})

    @pages
    def vanity_hosts(self, *, link_id: UUID | str | None = None) -> Paged[VanityHost]:
        """Go through all vanity hosts, or a link's; deleted ones too."""
        return Paged(VanityHost, "/vanity-hosts", given(link_id=link_id))

    @sends
    def delete_vanity_host(self, vanity_host_id: UUID | str) -> Call[None]:
        """Take a host away: it leads nowhere then, and may lead to another link."""
        return Call(type(None), "DELETE", f"/vanity-hosts/{path_id(vanity_host_id)}")

    @sends
    def clicks(
        self,
        link_id: UUID | str | None = None,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        interval: Interval | None = "day",
        tz: str | None = None,
    ) -> Call[ClickReport]:
        """Report the clicks on one link, or on all, deleted ones too.

        Args:
            link_id: Of one link.
            start: A date, or an aware instant on the quarter hour; by default 30 days before *end*.
            end: Likewise, itself excluded; by default the end of today.
            interval: How long a row's time is.
            tz: Time zone of the intervals, UTC by default.
        """
        path = "/clicks" if link_id is None else f"/links/{path_id(link_id)}/clicks"
        return Call(ClickReport, "GET", path, params=given(interval=interval, tz=tz) | given_range(start, end))


class AsyncLinks(AsyncNoun, Links):
    """:class:`Links`, awaited."""
