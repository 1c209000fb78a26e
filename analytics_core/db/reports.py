"""Reports that were asked for: kept with their files for a while, made one after the other."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict
from analytics_core.ids import new_id
from analytics_core.reporting.documents import MAX_PAGE_BYTES
from analytics_core.reporting.requests import ReportParams

__all__ = (
    "KEEP_FILES",
    "KEEP_ROWS",
    "MAX_ATTEMPTS",
    "MAX_WAITING",
    "PIECE_BYTES",
    "ReportRow",
    "WaitingReport",
    "add_report",
    "begin_report",
    "delete_report",
    "drop_reports",
    "fail_report",
    "find_report",
    "finish_report",
    "list_reports",
    "list_waiting",
    "note_progress",
    "put_back",
    "read_figures",
    "read_piece",
    "stored_params",
)

KEEP_FILES: Final = dt.timedelta(days=90)
"""How long a file is kept, unless it is shared for longer."""
KEEP_ROWS: Final = dt.timedelta(days=90)
"""How long it is known afterwards that there was one, and links to it say so."""
MAX_WAITING: Final = 50
"""Reports of a tenant that are not made yet."""
MAX_ATTEMPTS: Final = 2
PIECE_BYTES: Final = 1024 * 1024
"""Of a file at a time."""


class ReportRow(msgspec.Struct, frozen=True, kw_only=True):
    """A report.

    Attributes:
        sponsor_id: Whose login sees it; ``None`` of one about podcasts.
        status: ``queued``, ``running``, ``ready`` or ``failed``.
        done_ppm: How much of it is made, in millionths.
        error: Why it failed, or why the file of one that is ready was erased, in words for whoever asked for it.
        cutoff_at: Up to when hits had landed that are in it.
        sha256: Of the file.
        size_bytes: Of the file.
        expires_at: When the file goes.
        has_file: Whether it is there.
    """

    report_id: UUID
    sponsor_id: UUID | None
    kind: str
    format: str
    params: ReportParams
    status: str
    done_ppm: int
    error: str | None
    cutoff_at: dt.datetime | None
    sha256: bytes | None
    size_bytes: int | None
    created_by: UUID | None
    created_at: dt.datetime
    finished_at: dt.datetime | None
    expires_at: dt.datetime
    has_file: bool

    @property
    def is_erased(self) -> bool:
        """Tell whether its file was erased, with a podcast that it named."""
        return self.status == "ready" and self.error is not None


class WaitingReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that is to be made, or was begun by somebody who did not come to its end.

    Attributes:
        attempts: How often it was begun.
    """

    tenant: Tenant
    report_id: UUID
    kind: str
    format: str
    params: ReportParams
    attempts: int


_COUNT: Final[LiteralString] = """/* reports.count_waiting */
select count(*) from app.reports where status in ('queued', 'running')"""

_ADD: Final[LiteralString] = """/* reports.add */
insert into app.reports (tenant_id, report_id, sponsor_id, kind, format, params, created_by, created_at, expires_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

_LIST: Final[LiteralString] = """/* reports.list */
select r.report_id, r.sponsor_id, r.kind, r.format, r.params, r.status, r.done_ppm, r.error, r.cutoff_at, r.sha256,
    r.bytes as size_bytes, r.created_by, r.created_at, r.finished_at, r.expires_at,
    exists (select from app.report_files f where f.tenant_id = r.tenant_id and f.report_id = r.report_id) as has_file
from app.reports r
where ($1::uuid is null or r.report_id = $1)
    and ($2::uuid is null or r.tenant_id = $2)
    and ($3::uuid is null or r.sponsor_id = $3)
    and ($4::timestamptz is null or (r.created_at, r.report_id) > ($4, $5::uuid))
order by r.created_at, r.report_id limit $6"""

_DELETE: Final[LiteralString] = """/* reports.delete */
delete from app.reports where report_id = $1"""

_PIECE: Final[LiteralString] = """/* reports.read_piece */
select substring(content from $3::integer for $4::integer) from app.report_files
where tenant_id = $1 and report_id = $2"""

_FIGURES: Final[LiteralString] = """/* reports.read_figures */
select coalesce(f.figures, f.content) from app.report_files f join app.reports r using (tenant_id, report_id)
where f.tenant_id = $1 and f.report_id = $2 and (f.figures is not null or r.format = 'json')
    and length(coalesce(f.figures, f.content)) <= $3"""

# The oldest of each tenant, so that nobody waits for all that another has asked for.
_WAITING: Final[LiteralString] = """/* reports.waiting */
select distinct on (r.tenant_id) r.tenant_id, t.tenant_no, r.report_id, r.sponsor_id, r.kind, r.format, r.params,
    r.attempts
from app.reports r join app.tenants t using (tenant_id)
where r.status in ('queued', 'running') order by r.tenant_id, r.created_at, r.report_id"""

_BEGIN: Final[LiteralString] = """/* reports.begin */
update app.reports set status = 'running', attempts = attempts + 1, done_ppm = 0
where tenant_id = $1 and report_id = $2 and status in ('queued', 'running') and attempts = $3 returning true"""

_PROGRESS: Final[LiteralString] = """/* reports.note_progress */
update app.reports set done_ppm = $3 where tenant_id = $1 and report_id = $2 and status = 'running'"""

_FILE: Final[LiteralString] = """/* reports.add_file */
insert into app.report_files (tenant_id, report_id, content, figures) values ($1, $2, $3, $4)"""

_FINISH: Final[LiteralString] = """/* reports.finish */
update app.reports set status = 'ready', done_ppm = 1000000, cutoff_at = $4, sha256 = $5, bytes = $6, finished_at = $7
where tenant_id = $1 and report_id = $2 and status = 'running' and attempts = $3 returning true"""

_PUT_BACK: Final[LiteralString] = """/* reports.put_back */
update app.reports set status = 'queued', done_ppm = 0
where tenant_id = $1 and report_id = $2 and status = 'running' and attempts = $3"""

_FAIL: Final[LiteralString] = """/* reports.fail */
update app.reports set status = 'failed', error = left($4, 500), finished_at = $5
where tenant_id = $1 and report_id = $2 and status in ('queued', 'running') and attempts = $3"""

_DROP_FILES: Final[LiteralString] = """/* reports.drop_files */
delete from app.report_files f using app.reports r
where r.tenant_id = f.tenant_id and r.report_id = f.report_id and r.expires_at <= $1"""

_DROP: Final[LiteralString] = """/* reports.drop */
delete from app.reports where expires_at <= $1"""


def stored_params(params: ReportParams) -> dict[str, object]:
    """Return what a report was asked for by as it is stored: without what was left out."""
    plain: dict[str, object] = msgspec.to_builtins(params)
    return plain


async def add_report(
    conn: Connection,
    tenant: Tenant,
    *,
    kind: str,
    format: str,  # noqa: A002 - the column's name
    params: ReportParams,
    by: UUID,
    now: dt.datetime,
) -> ReportRow:
    """Have a report made.

    Args:
        conn: As the API, in a transaction of the tenant.
        tenant: Whose.
        kind: Which report.
        format: Of its file.
        params: As :func:`analytics_core.reporting.requests.find_faults` has found nothing wrong with.
        by: Who asks.
        now: Aware instant.

    Raises:
        Conflict: ``too_many_waiting``.
    """
    if await conn.fetchval(_COUNT) >= MAX_WAITING:
        raise Conflict("too_many_waiting", f"{MAX_WAITING} reports are waiting to be made already; ask again later")
    report_id = new_id()
    await conn.execute(
        _ADD,
        tenant.tenant_id,
        report_id,
        params.sponsor_id,
        kind,
        format,
        stored_params(params),
        by,
        now,
        now + KEEP_FILES,
    )
    found = await find_report(conn, report_id)
    if found is None:
        raise AssertionError("a report that was added is there")
    return found


async def find_report(conn: Connection, report_id: UUID, *, tenant: Tenant | None = None) -> ReportRow | None:
    """Find a report of the transaction's tenant, or of the one that is named by a role that sees all."""
    tenant_id = None if tenant is None else tenant.tenant_id
    row = await conn.fetchrow(_LIST, report_id, tenant_id, None, None, None, 1)
    return None if row is None else msgspec.convert(row, ReportRow)


async def list_reports(
    conn: Connection, *, sponsor_id: UUID | None = None, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[ReportRow]:
    """List reports of the transaction's tenant in the order in which they were asked for, behind *after*."""
    rows = await conn.fetch(_LIST, None, None, sponsor_id, *(after or (None, None)), limit)
    return [msgspec.convert(row, ReportRow) for row in rows]


async def delete_report(conn: Connection, report_id: UUID) -> bool:
    """Delete a report of the transaction's tenant, its file and all links to it; false when there is none."""
    return bool(await conn.execute(_DELETE, report_id) == "DELETE 1")


async def read_piece(conn: Connection, tenant: Tenant, report_id: UUID, *, offset: int) -> bytes | None:
    """Read up to ``PIECE_BYTES`` of a file from an offset on; ``None`` when it is gone."""
    piece: bytes | None = await conn.fetchval(_PIECE, tenant.tenant_id, report_id, offset + 1, PIECE_BYTES)
    return piece


async def read_figures(conn: Connection, tenant: Tenant, report_id: UUID) -> bytes | None:
    """Read a report as JSON, whichever format its file has; ``None`` when it is gone, or too large for a page."""
    found: bytes | None = await conn.fetchval(_FIGURES, tenant.tenant_id, report_id, MAX_PAGE_BYTES)
    return found


async def list_waiting(conn: Connection) -> Sequence[WaitingReport]:
    """List the oldest report of each tenant that is not made yet, as ingest."""
    return [
        WaitingReport(
            tenant=Tenant(row["tenant_id"], row["tenant_no"]),
            report_id=row["report_id"],
            kind=row["kind"],
            format=row["format"],
            # As a merge of sponsors has left it.
            params=msgspec.structs.replace(msgspec.convert(row["params"], ReportParams), sponsor_id=row["sponsor_id"]),
            attempts=row["attempts"],
        )
        for row in await conn.fetch(_WAITING)
    ]


async def begin_report(conn: Connection, report: WaitingReport) -> WaitingReport | None:
    """Begin to make a report, as ingest; ``None`` when it was deleted, or somebody else has begun it."""
    if not await conn.fetchval(_BEGIN, report.tenant.tenant_id, report.report_id, report.attempts):
        return None
    return msgspec.structs.replace(report, attempts=report.attempts + 1)


async def note_progress(conn: Connection, report: WaitingReport, *, done_ppm: int) -> None:
    """Tell how much of a report is made."""
    await conn.execute(_PROGRESS, report.tenant.tenant_id, report.report_id, done_ppm)


async def finish_report(
    conn: Connection,
    report: WaitingReport,
    *,
    content: bytes,
    figures: bytes | None,
    sha256: bytes,
    cutoff_at: dt.datetime | None,
    now: dt.datetime,
) -> bool:
    """Keep a report's file.

    Args:
        conn: As ingest, outside a transaction.
        report: As it was begun.
        content: The file.
        figures: The report as JSON; ``None`` when the file is that, or it is too large for a page.
        sha256: Of the file.
        cutoff_at: Up to when hits had landed that are in it.
        now: Aware instant.

    Returns:
        False when it was deleted meanwhile, or somebody else has begun it: nothing was kept.
    """
    key = (report.tenant.tenant_id, report.report_id)
    async with conn.transaction():
        is_ours = await conn.fetchval(_FINISH, *key, report.attempts, cutoff_at, sha256, len(content), now)
        if is_ours:
            await conn.execute(_FILE, *key, content, figures)
    return bool(is_ours)


async def put_back(conn: Connection, report: WaitingReport) -> None:
    """Have a report that was begun be made once more."""
    await conn.execute(_PUT_BACK, report.tenant.tenant_id, report.report_id, report.attempts)


async def fail_report(conn: Connection, report: WaitingReport, *, error: str, now: dt.datetime) -> None:
    """Give a report up, with a reason for whoever asked for it."""
    await conn.execute(_FAIL, report.tenant.tenant_id, report.report_id, report.attempts, error, now)


async def drop_reports(conn: Connection, *, now: dt.datetime) -> int:
    """Drop files whose time is over, and a while later the reports themselves, as ingest; return how many files."""
    done = await conn.execute(_DROP_FILES, now)
    await conn.execute(_DROP, now - KEEP_ROWS)
    return int(done.rpartition(" ")[2])
