"""Links and the clicks on them."""

from __future__ import annotations

from uuid import UUID

import msgspec

from castledger._models.common import Instant, Table, Tabular

__all__ = ("ClickReport", "ClickRow", "ClickTotals", "Link", "Utm")


class Utm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Campaign parameters, without ``utm_``."""

    source: str | None = None
    medium: str | None = None
    campaign: str | None = None
    term: str | None = None
    content: str | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A short address that leads to a target.

    Attributes:
        short_url: What you hand out; ``None`` while the installation has no public URL.
        url: Where it leads, without campaign parameters.
        target: With them.
        click_id: Whether the target is given each click's id, as ``cl_click``.
        clicks: Of anyone but bots.
        archived_at: Since when it answers 404, as it was deleted.
    """

    link_id: UUID
    slug: str
    url: str
    target: str
    click_id: bool
    clicks: int
    bots: int
    created_at: Instant
    utm: Utm = Utm()
    short_url: str | None = None
    sponsor_id: UUID | None = None
    archived_at: Instant | None = None


class ClickRow(msgspec.Struct, frozen=True, kw_only=True):
    """The clicks of the interval that begins at ``start``."""

    start: Instant
    clicks: int
    bots: int


class ClickTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Clicks by anyone but bots, and by bots."""

    clicks: int
    bots: int


class ClickReport(Tabular, frozen=True, kw_only=True):
    """Clicks by time.

    Attributes:
        totals: The sum of ``data``.
        undated: Clicks of all times of which only the number is kept.
        cutoff: Clicks before this instant have all been counted; ``None`` while nothing has.
    """

    data: tuple[ClickRow, ...]
    start: Instant = msgspec.field(name="from")
    end: Instant = msgspec.field(name="to")
    tz: str
    interval: str
    totals: ClickTotals
    undated: ClickTotals
    cutoff: Instant | None = None

    def as_table(self) -> Table:
        """Give the rows, in the report's time zone."""
        return Table(ClickRow, self.data, self.tz)
