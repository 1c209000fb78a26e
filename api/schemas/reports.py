"""The forms of reports, and of the links that lead to them."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from analytics_core.db.report_shares import ShareRow
from analytics_core.db.reports import ReportRow, stored_params
from analytics_core.reporting.files import Format
from analytics_core.reporting.requests import ReportKind, ReportParams

__all__ = ("CreateReport", "CreateShare", "NewShare", "Report", "Share", "SharedReport", "UnlockShare")

_Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
State = Literal["open", "expired", "used_up", "revoked"]


class CreateReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A report to be made: of the days from `from` to before `to`, 400 at most.

    `podcast` needs `podcast_id`, and its days are those of `tz`; `sponsor` needs `sponsor_id` and may name one
    `campaign_id` of it, and the `run_id` of an attribution run: without one the latest run of exactly these days tells
    of conversions, if there is any. Redemptions of codes are those of conversions that were received before
    `received_before`: the run's cutoff, or now, unless it is given. `delivery` is about all flights, or those of
    `sponsor_id` or `campaign_id`.
    """

    kind: ReportKind
    format: Format
    start: dt.date = msgspec.field(name="from")
    end: dt.date = msgspec.field(name="to")
    tz: str = "UTC"
    podcast_id: UUID | None = None
    sponsor_id: UUID | None = None
    campaign_id: UUID | None = None
    run_id: UUID | None = None
    received_before: dt.datetime | None = None

    @property
    def params(self) -> ReportParams:
        """What it is about."""
        return ReportParams(
            start=self.start,
            end=self.end,
            tz=self.tz,
            podcast_id=self.podcast_id,
            sponsor_id=self.sponsor_id,
            campaign_id=self.campaign_id,
            run_id=self.run_id,
            received_before=self.received_before,
        )


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report, and how far it is.

    `status` is `queued`, `running`, `ready`, `failed`, or `erased` where its file went with a podcast that it named;
    `error` says why of the last two. `done_ppm` is how much of it is made, in millionths. Its file is at
    `/reports/{report_id}/file` while `has_file` is true: until `expires_at`.
    `sha256` is the file's. Hits from before `cutoff` are in it.
    """

    report_id: UUID
    kind: str
    format: str
    params: dict[str, Any]
    sponsor_id: UUID | None
    status: str
    done_ppm: int
    error: str | None
    cutoff: dt.datetime | None
    sha256: str | None
    size_bytes: int | None
    has_file: bool
    created_at: dt.datetime
    finished_at: dt.datetime | None
    expires_at: dt.datetime

    @classmethod
    def of(cls, row: ReportRow) -> Report:
        """Show a report as it stands."""
        return cls(
            report_id=row.report_id,
            kind=row.kind,
            format=row.format,
            params=stored_params(row.params),
            sponsor_id=row.sponsor_id,
            status="erased" if row.is_erased else row.status,
            done_ppm=row.done_ppm,
            error=row.error,
            cutoff=row.cutoff_at,
            sha256=None if row.sha256 is None else row.sha256.hex(),
            size_bytes=row.size_bytes,
            has_file=row.has_file,
            created_at=row.created_at,
            finished_at=row.finished_at,
            expires_at=row.expires_at,
        )


class CreateShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link to a report, good until `expires_at`, 365 days at most.

    With `password` it needs that one; with `max_views` it can be opened so often, and no more.
    """

    expires_at: dt.datetime
    password: _Password | None = None
    max_views: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A link to a report; `state` is `open`, `expired`, `used_up` or `revoked`."""

    share_id: UUID
    report_id: UUID
    state: State
    has_password: bool
    expires_at: dt.datetime
    max_views: int | None
    views: int
    created_at: dt.datetime
    revoked_at: dt.datetime | None

    @classmethod
    def of(cls, row: ShareRow, *, now: dt.datetime) -> Share:
        """Show a link as it stands."""
        state: State = "open"
        if row.revoked_at is not None:
            state = "revoked"
        elif row.expires_at <= now:
            state = "expired"
        elif row.max_views is not None and row.views >= row.max_views:
            state = "used_up"
        return cls(
            share_id=row.share_id,
            report_id=row.report_id,
            state=state,
            has_password=row.has_password,
            expires_at=row.expires_at,
            max_views=row.max_views,
            views=row.views,
            created_at=row.created_at,
            revoked_at=row.revoked_at,
        )


class NewShare(msgspec.Struct, frozen=True, kw_only=True):
    """A link that was just made. `token` is shown this once; `url` is null where nobody knows our address."""

    share: Share
    token: str
    url: str | None


class UnlockShare(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The password of a link."""

    password: _Password


class SharedReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a link leads to; the file comes with `?download=1`, which is a view. `views_left` is null without a cap."""

    kind: str
    format: str
    params: dict[str, Any]
    cutoff: dt.datetime | None
    sha256: str
    size_bytes: int
    finished_at: dt.datetime
    expires_at: dt.datetime
    views_left: int | None
