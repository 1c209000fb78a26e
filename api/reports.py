"""What the API and the page do with reports alike: hand out files, and open links to them."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple

from litestar import Request, Response
from litestar.response import Stream

from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.report_shares import OpenShare, count_attempt, count_view, find_open_share, forget_attempts
from analytics_core.db.reports import ReportRow, find_report, read_piece
from analytics_core.errors import Conflict, NotFound, NotKept, Unauthenticated
from analytics_core.reporting.files import MEDIA_TYPES, Format, file_name
from analytics_core.reporting.shares import ShareEnded, is_token
from api.errors import TooSoon
from api.rates import whole_seconds
from api.resources import resources_of

__all__ = (
    "PRIVATE",
    "OpenedShare",
    "ReportErased",
    "ReportExpired",
    "WrongPassword",
    "as_private",
    "begin_visit",
    "check_file",
    "open_share",
    "send_file",
    "use_view",
)

PRIVATE: Final = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow", "Cache-Control": "no-store"}
"""Headers of what a link leads to: its address is a secret, and nobody's to be found."""

_ENDED: Final = "this link has ended; ask whoever sent it to you for another one"

Lend = Callable[[], AbstractAsyncContextManager[Connection]]


class ReportExpired(NotKept):
    """A report's file was there, and its time is over."""

    code = "report_expired"


class ReportErased(NotKept):
    """A report's file was there, and named a podcast that was erased."""

    code = "report_erased"


class WrongPassword(Unauthenticated):
    """A link needs a password, and this is none, or not the one; 401."""

    code = "wrong_password"


class OpenedShare(NamedTuple):
    """A link that is good, the report that it leads to, and whether a view of it was counted already."""

    share: OpenShare
    report: ReportRow
    is_visiting: bool


def check_file(report: ReportRow) -> None:
    """See that a report has a file.

    Raises:
        Conflict: ``report_not_ready``, or ``report_failed``.
        ReportErased: It named a podcast that was erased.
        ReportExpired: Its time is over.
    """
    if report.status == "failed":
        raise Conflict("report_failed", f"this report could not be made: {report.error}")
    if report.status != "ready":
        raise Conflict("report_not_ready", "this report is not made yet; ask again in a moment")
    if report.is_erased:
        raise ReportErased(f"the file of this report was erased: {report.error}; have the report made again")
    if not report.has_file:
        raise ReportExpired("the file of this report is kept no longer; have the report made again")


async def _pieces(lend: Lend, tenant: Tenant, report: ReportRow, first: bytes) -> AsyncIterator[bytes]:
    """Read a file a piece at a time; no connection is held while a client takes its time."""
    yield first
    offset = len(first)
    while offset < (report.size_bytes or 0):
        async with lend() as conn:
            piece = await read_piece(conn, tenant, report.report_id, offset=offset)
        if not piece:
            raise ReportExpired("the report was deleted in this very moment")
        offset += len(piece)
        yield piece


async def send_file(lend: Lend, tenant: Tenant, report: ReportRow) -> Stream:
    """Answer with a report's file.

    Args:
        lend: Lends connections that see it.
        tenant: Whose report.
        report: Which.

    Raises:
        Conflict, ReportErased, ReportExpired: As :func:`check_file`.
    """
    check_file(report)
    async with lend() as conn:
        first = await read_piece(conn, tenant, report.report_id, offset=0)
    if first is None:
        raise ReportExpired("the report was deleted in this very moment")
    wanted, params = Format(report.format), report.params
    name = file_name(report.kind, params.start, params.end, wanted)
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Length": str(report.size_bytes),
        "Repr-Digest": f"sha-256=:{base64.b64encode(report.sha256 or b'').decode()}:",
    }
    return Stream(_pieces(lend, tenant, report, first), media_type=MEDIA_TYPES[wanted], headers=headers)


def _check_share(share: OpenShare, now: dt.datetime, *, is_visiting: bool) -> None:
    # Whoever has used up the last view is still in it.
    is_used_up = not is_visiting and share.max_views is not None and share.views >= share.max_views
    if share.revoked_at is not None or share.expires_at <= now or is_used_up:
        raise ShareEnded(_ENDED)


async def open_share(
    request: Request[Any, Any, Any], token: str, *, password: str | None, visit: str = ""
) -> OpenedShare:
    """Find what a link leads to, for whoever has it and its password; no view is counted yet.

    Passwords are counted before they are compared, so that whoever tries many at once gets no more of them.

    Args:
        request: Without a credential.
        token: Of the link.
        password: As given; ``None`` when none is.
        visit: What :func:`begin_visit` gave; whoever is still in it needs neither a password nor another view. It is
            for files alone: another page would begin another visit.

    Raises:
        NotFound: There is no such link.
        ShareEnded: It was taken back, its time is over, or its views are used up.
        WrongPassword: It needs another password.
        TooSoon: There were too many wrong ones.
        ReportErased, ReportExpired: The file is gone.
    """
    resources = resources_of(request)
    now = resources.clock.now()
    if not is_token(token):
        raise NotFound("link")
    async with resources.database.auth() as conn:
        share = await find_open_share(conn, token)
        if share is None:
            raise NotFound("link")
        is_visiting = resources.tokens.is_visit(visit, share.share_id, now=now)
        _check_share(share, now, is_visiting=is_visiting)
        needs_password = share.password_hash is not None and not is_visiting
        if needs_password:
            if password is None:
                raise WrongPassword("this link needs a password: send it in a POST")
            wait = await count_attempt(conn, share, now=now)
            if wait is not None:
                wait_s = whole_seconds(wait // dt.timedelta(microseconds=1))
                raise TooSoon(f"too many wrong passwords; try again in {wait_s} s", retry_after_s=wait_s)
    if needs_password:
        if not await resources.passwords.verify(password or "", share.password_hash or ""):
            raise WrongPassword("this is not the password of this link")
        async with resources.database.auth() as conn:
            await forget_attempts(conn, share)
    async with resources.database.auth() as conn:
        report = await find_report(conn, share.report_id, tenant=share.tenant)
    if report is None:
        raise NotFound("link")
    check_file(report)
    return OpenedShare(share, report, is_visiting)


async def begin_visit(request: Request[Any, Any, Any], opened: OpenedShare) -> str:
    """Count a view, and return what lets its page hand out the file, for a while.

    Raises:
        ShareEnded: There are none left, or it has ended in this very moment.
    """
    await use_view(request, opened.share)
    resources = resources_of(request)
    return resources.tokens.sign_visit(opened.share.share_id, now=resources.clock.now())


async def use_view(request: Request[Any, Any, Any], share: OpenShare) -> None:
    """Count a view of a link, before anything of the report is shown.

    Raises:
        ShareEnded: There are none left, or it has ended in this very moment.
    """
    resources = resources_of(request)
    async with resources.database.auth() as conn:
        if not await count_view(conn, share, now=resources.clock.now()):
            raise ShareEnded(_ENDED)


def as_private(answer: Response[Any]) -> Response[Any]:
    """Keep an answer out of caches, indexes and other sites' logs."""
    answer.headers.update(PRIVATE)
    return answer
