"""Reports: ``client.reports``. Made once, kept as files, shared by links."""

from __future__ import annotations

import datetime as dt
from typing import Literal, TypedDict, Unpack
from uuid import UUID

from castledger._nouns import AsyncNoun, Noun, pages, sends
from castledger._requests import Call, Paged, given, path_id
from castledger._sponsorship import NewShare, Report, Share

__all__ = ("AsyncReports", "ReportFields", "Reports")


class ReportFields(TypedDict, total=False):
    """What a report is about; of ``podcast`` its podcast and time zone, of the others their sponsor or campaign."""

    podcast_id: UUID | str
    tz: str
    sponsor_id: UUID | str
    campaign_id: UUID | str
    run_id: UUID | str
    received_before: dt.datetime


class Reports(Noun):
    """Reports as files."""

    @sends
    def create(
        self,
        *,
        kind: Literal["sponsor", "podcast", "delivery"],
        format: Literal["json", "csv", "xlsx", "parquet"],  # noqa: A002 - the report's field is called so
        start: dt.date,
        end: dt.date,
        **fields: Unpack[ReportFields],
    ) -> Call[Report]:
        """Have a report made of the days from *start* up to, not including, *end*; :meth:`wait` for it."""
        return Call(
            Report, "POST", "/reports", json={"kind": kind, "format": format, "from": start, "to": end, **fields}
        )

    @pages
    def list(self, *, sponsor_id: UUID | str | None = None) -> Paged[Report]:
        """Go through reports, in the order in which they were asked for."""
        return Paged(Report, "/reports", given(sponsor_id=sponsor_id))

    @sends
    def get(self, report_id: UUID | str) -> Call[Report]:
        """Read how far a report is."""
        return Call(Report, "GET", f"/reports/{path_id(report_id)}")

    @sends
    def wait(self, report_id: UUID | str, *, timeout: float = 300.0) -> Call[Report]:
        """Wait until a report is ``ready`` or ``failed``, which its ``status`` says.

        Raises:
            TimeoutError: It is neither after *timeout* seconds.
        """
        return Call(Report, "GET", f"/reports/{path_id(report_id)}", patience_s=timeout)

    @sends
    def download(self, report_id: UUID | str) -> Call[bytes]:
        """Fetch a report's file.

        Raises:
            Conflict: ``report_not_ready``.
            APIError: ``report_expired``: the file is kept no longer; or ``report_erased``: it named a podcast that was.
        """
        return Call(bytes, "GET", f"/reports/{path_id(report_id)}/file")

    @sends
    def delete(self, report_id: UUID | str) -> Call[None]:
        """Delete a report, its file and all links to it."""
        return Call(type(None), "DELETE", f"/reports/{path_id(report_id)}")

    @sends
    def share(
        self,
        report_id: UUID | str,
        *,
        expires_at: dt.datetime,
        password: str | None = None,
        max_views: int | None = None,
    ) -> Call[NewShare]:
        """Make a link that opens a report without a login, until *expires_at* and so often at most."""
        fields = {"expires_at": expires_at, "password": password, "max_views": max_views}
        return Call(NewShare, "POST", f"/reports/{path_id(report_id)}/shares", json=fields)

    @pages
    def shares(self, report_id: UUID | str) -> Paged[Share]:
        """Go through a report's links."""
        return Paged(Share, f"/reports/{path_id(report_id)}/shares")

    @sends
    def revoke_share(self, share_id: UUID | str) -> Call[None]:
        """Close a link at once."""
        return Call(type(None), "DELETE", f"/report-shares/{path_id(share_id)}")


class AsyncReports(AsyncNoun, Reports):
    """:class:`Reports`, awaited."""
