"""Links: ``client.links``."""

from __future__ import annotations

from uuid import UUID

from msgspec import UNSET, UnsetType

from castledger._models import ClickReport, Link, Utm
from castledger._nouns import AsyncNoun, Noun
from castledger._paging import AsyncItems, Items
from castledger._requests import Call, Interval, Moment, Paged, given, given_range, path_id

__all__ = ("AsyncLinks", "Links")


def _create(url: str, slug: str | None, utm: Utm | None, click_id: bool, sponsor_id: UUID | str | None) -> Call[Link]:
    fields = {"url": url, "slug": slug, "utm": utm or Utm(), "click_id": click_id, "sponsor_id": sponsor_id}
    return Call(Link, "POST", "/links", json=fields)


def _list(sponsor_id: UUID | str | None) -> Paged[Link]:
    return Paged(Link, "/links", given(sponsor_id=sponsor_id))


def _get(link_id: UUID | str) -> Call[Link]:
    return Call(Link, "GET", f"/links/{path_id(link_id)}")


def _update(
    link_id: UUID | str,
    url: str | UnsetType,
    utm: Utm | UnsetType,
    click_id: bool | UnsetType,
    sponsor_id: UUID | str | UnsetType | None,
) -> Call[Link]:
    fields = {"url": url, "utm": utm, "click_id": click_id, "sponsor_id": sponsor_id}
    return Call(Link, "PATCH", f"/links/{path_id(link_id)}", json=fields)


def _delete(link_id: UUID | str) -> Call[None]:
    return Call(type(None), "DELETE", f"/links/{path_id(link_id)}")


def _clicks(
    link_id: UUID | str | None,
    *,
    start: Moment | None,
    end: Moment | None,
    interval: Interval | None,
    tz: str | None,
) -> Call[ClickReport]:
    path = "/clicks" if link_id is None else f"/links/{path_id(link_id)}/clicks"
    return Call(ClickReport, "GET", path, params=given(interval=interval, tz=tz) | given_range(start, end))


class Links(Noun):
    """Short addresses that lead to a target and count who follows them."""

    def create(
        self,
        *,
        url: str,
        slug: str | None = None,
        utm: Utm | None = None,
        click_id: bool = False,
        sponsor_id: UUID | str | None = None,
    ) -> Link:
        """Make a link, live on the trackers within two seconds.

        Args:
            url: Where it leads.
            slug: What stands behind ``/go/``; one of eight characters is made when none is given.
            utm: Campaign parameters to set in the target's query.
            click_id: Whether the target is given each click's id, as ``cl_click``.
            sponsor_id: Whose link it is.

        Raises:
            Conflict: ``slug_taken``: it is, or was, somebody's; or ``too_many_links``.
            ValidationError: A value was refused; ``errors`` says which.
        """
        return self._client.send(_create(url, slug, utm, click_id, sponsor_id))

    def list(self, *, sponsor_id: UUID | str | None = None) -> Items[Link]:
        """Go through all links, or a sponsor's, in the order in which they were made; deleted ones too."""
        return self._client.pages(_list(sponsor_id))

    def get(self, link_id: UUID | str) -> Link:
        """Read one link."""
        return self._client.send(_get(link_id))

    def update(
        self,
        link_id: UUID | str,
        *,
        url: str | UnsetType = UNSET,
        utm: Utm | UnsetType = UNSET,
        click_id: bool | UnsetType = UNSET,
        sponsor_id: UUID | str | UnsetType | None = UNSET,
    ) -> Link:
        """Change what is given, within two seconds; *utm* as a whole, and a *sponsor_id* of ``None`` makes it nobody's.

        Raises:
            ValidationError: A value was refused; ``errors`` says which.
        """
        return self._client.send(_update(link_id, url, utm, click_id, sponsor_id))

    def delete(self, link_id: UUID | str) -> None:
        """Take a link away: trackers then answer 404. Its clicks stay, and nobody else gets its slug."""
        self._client.send(_delete(link_id))

    def clicks(
        self,
        link_id: UUID | str | None = None,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        interval: Interval | None = "day",
        tz: str | None = None,
    ) -> ClickReport:
        """Report the clicks on one link, or on all, deleted ones too.

        Args:
            link_id: Of one link.
            start: A date, or an aware instant on the quarter hour; by default 30 days before *end*.
            end: Likewise, itself excluded; by default the end of today.
            interval: How long a row's time is.
            tz: Time zone of the intervals, UTC by default.
        """
        return self._client.send(_clicks(link_id, start=start, end=end, interval=interval, tz=tz))


class AsyncLinks(AsyncNoun):
    """:class:`Links`, awaited."""

    async def create(
        self,
        *,
        url: str,
        slug: str | None = None,
        utm: Utm | None = None,
        click_id: bool = False,
        sponsor_id: UUID | str | None = None,
    ) -> Link:
        """Make a link, live on the trackers within two seconds.

        Args:
            url: Where it leads.
            slug: What stands behind ``/go/``; one of eight characters is made when none is given.
            utm: Campaign parameters to set in the target's query.
            click_id: Whether the target is given each click's id, as ``cl_click``.
            sponsor_id: Whose link it is.

        Raises:
            Conflict: ``slug_taken``: it is, or was, somebody's; or ``too_many_links``.
            ValidationError: A value was refused; ``errors`` says which.
        """
        return await self._client.send(_create(url, slug, utm, click_id, sponsor_id))

    def list(self, *, sponsor_id: UUID | str | None = None) -> AsyncItems[Link]:
        """Go through all links, or a sponsor's, in the order in which they were made; deleted ones too."""
        return self._client.pages(_list(sponsor_id))

    async def get(self, link_id: UUID | str) -> Link:
        """Read one link."""
        return await self._client.send(_get(link_id))

    async def update(
        self,
        link_id: UUID | str,
        *,
        url: str | UnsetType = UNSET,
        utm: Utm | UnsetType = UNSET,
        click_id: bool | UnsetType = UNSET,
        sponsor_id: UUID | str | UnsetType | None = UNSET,
    ) -> Link:
        """Change what is given, within two seconds; *utm* as a whole, and a *sponsor_id* of ``None`` makes it nobody's.

        Raises:
            ValidationError: A value was refused; ``errors`` says which.
        """
        return await self._client.send(_update(link_id, url, utm, click_id, sponsor_id))

    async def delete(self, link_id: UUID | str) -> None:
        """Take a link away: trackers then answer 404. Its clicks stay, and nobody else gets its slug."""
        await self._client.send(_delete(link_id))

    async def clicks(
        self,
        link_id: UUID | str | None = None,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        interval: Interval | None = "day",
        tz: str | None = None,
    ) -> ClickReport:
        """Report the clicks on one link, or on all, deleted ones too.

        Args:
            link_id: Of one link.
            start: A date, or an aware instant on the quarter hour; by default 30 days before *end*.
            end: Likewise, itself excluded; by default the end of today.
            interval: How long a row's time is.
            tz: Time zone of the intervals, UTC by default.
        """
        return await self._client.send(_clicks(link_id, start=start, end=end, interval=interval, tz=tz))
