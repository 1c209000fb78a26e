"""The nouns of the API, typed, and what all its answers share; fields that a newer API adds are ignored."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import polars as pl

__all__ = (
    "ApiKey",
    "ClickReport",
    "ClickRow",
    "ClickTotals",
    "Enclosure",
    "Episode",
    "EventBrowser",
    "Instant",
    "LandedEvent",
    "Link",
    "NewApiKey",
    "Podcast",
    "Table",
    "Tabular",
    "UnknownHost",
    "Utm",
)

# Without an offset nobody knows when it was: such an answer is refused while it is read.
Instant: TypeAlias = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class Table(NamedTuple):
    """The rows of a report, for a frame.

    Attributes:
        kind: What each row is.
        tz: In whose clocks instants are shown.
    """

    kind: type[msgspec.Struct]
    rows: Sequence[Any]
    tz: str = "UTC"


class Tabular(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that has rows."""

    def as_table(self) -> Table:
        """Give the rows for a frame."""
        raise NotImplementedError

    def to_polars(self) -> pl.DataFrame:
        """Make a frame of the rows; needs the extra ``polars``, see :mod:`castledger.frames`."""
        from castledger.frames import to_polars

        return to_polars(self)

    def to_pandas(self) -> pd.DataFrame:
        """Make a frame of the rows; needs the extra ``pandas``, see :mod:`castledger.frames`."""
        from castledger.frames import to_pandas

        return to_pandas(self)


class Podcast(msgspec.Struct, frozen=True, kw_only=True):
    """A podcast.

    Attributes:
        verified: Whether the feed was proven to be its owner's.
        episodes: How many the feed lists.
        prefix: What goes in front of its enclosures' addresses (:func:`castledger.urls.prefix_url`); ``None`` while
            the installation has no public URL.
        feed_error: Why the feed could not be read when it was last fetched.
        transferred_at: Since when the feed is somebody else's, who proved a claim.
        warnings: What the feed could do better; told when it is added.
    """

    podcast_id: UUID
    title: str
    podcast_guid: UUID
    verified: bool
    episodes: int
    created_at: Instant
    feed_url: str | None = None
    link: str | None = None
    language: str | None = None
    prefix: str | None = None
    feed_error: str | None = None
    feed_checked_at: Instant | None = None
    archived_at: Instant | None = None
    transferred_at: Instant | None = None
    warnings: tuple[str, ...] = ()


class Enclosure(msgspec.Struct, frozen=True, kw_only=True):
    """A media file of an episode; ``kind`` is ``enclosure`` or ``alternate``."""

    url: str
    kind: str
    type: str | None = None
    length_bytes: int | None = None


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """An episode as its feed describes it."""

    episode_id: UUID
    podcast_id: UUID
    guid: str
    title: str
    live: bool
    published_at: Instant | None = None
    duration_s: int | None = None
    removed_at: Instant | None = None
    enclosures: tuple[Enclosure, ...] = ()


class UnknownHost(msgspec.Struct, frozen=True, kw_only=True):
    """A host that players asked for under a podcast's prefix, though no feed has registered it.

    Attributes:
        host: Its name; ``other`` stands for all beyond the hundred that are listed.
        hits: How often it was asked for while it was unknown.
        accepted_at: Since when trackers know it.
    """

    host: str
    hits: int
    first_seen_at: Instant | None = None
    last_seen_at: Instant | None = None
    accepted_at: Instant | None = None


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


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its text.

    Attributes:
        kind: ``secret`` or ``publishable``.
        hint: How its text begins.
        scopes: What it may do; ``None`` for one that may do everything.
        origins: On whose pages a publishable one may be used.
        last_used_at: Up to a minute late.
        replaces: The key in whose place this one was made.
        replaced_by: The key that was made in its place.
    """

    key_id: UUID
    kind: str
    name: str
    hint: str
    created_at: Instant
    scopes: tuple[str, ...] | None = None
    origins: tuple[str, ...] = ()
    last_used_at: Instant | None = None
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
    replaces: UUID | None = None
    replaced_by: UUID | None = None


class NewApiKey(ApiKey, frozen=True, kw_only=True):
    """An API key that was just made; ``key`` is told this once, and left out where the object is printed."""

    key: str

    def __repr__(self) -> str:
        return f"NewApiKey(key_id={self.key_id!r}, name={self.name!r}, hint={self.hint!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("key_id", self.key_id), ("name", self.name), ("hint", self.hint)]


_Property: TypeAlias = str | int | float | bool | None


class EventBrowser(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of who sent an event from a page.

    Attributes:
        networks: The lists that the address was found in.
        bot: Whether its user agent is a program's.
    """

    bot: bool
    app: str | None = None
    device: str | None = None
    country: str | None = None
    networks: tuple[str, ...] = ()


class LandedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An attribution event as the ledger keeps it.

    Attributes:
        occurred_at: By the sender's clock, corrected.
        received_at: When a collector took it.
        source: ``server``, ``browser`` or ``pixel``.
        customer_key: Stands for the customer: the same for all events of one, and nobody's name.
        value_amount: In the minor unit of ``currency``.
        utm: Campaign parameters of the page, without ``utm_``.
        browser: ``None`` for an event that a server sent.
    """

    event_id: UUID
    type: str
    occurred_at: Instant
    received_at: Instant
    source: str
    click_id: UUID | None = None
    promo_code: str | None = None
    link: str | None = None
    customer_key: str | None = None
    external_id: str | None = None
    value_amount: int | None = None
    currency: str | None = None
    new_customer: bool | None = None
    page_host: str | None = None
    page_path: str | None = None
    referrer_host: str | None = None
    utm: dict[str, str] = {}
    properties: dict[str, _Property] = {}
    browser: EventBrowser | None = None
