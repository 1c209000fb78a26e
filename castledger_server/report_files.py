"""Reports that the API makes: asked for, waited for, and written to a file."""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from analytics_core.errors import ConfigError
from castledger_server.api_access import Api
from castledger_server.making import Wanted
from castledger_server.waiting import NotMade, wait_until_made

__all__ = ("Report", "ask_for_report", "read_report", "wait_for_report", "want_share", "write_report")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report, and how far it is."""

    report_id: UUID
    format: str
    status: str
    done_ppm: int
    error: str | None
    sha256: str | None


class _Shared(msgspec.Struct, frozen=True):
    token: str
    url: str | None


def ask_for_report(api: Api, wanted: Mapping[str, Any]) -> Report:
    """Have a report made of what is wanted, as the API takes it.

    Raises:
        ApiRefusal: The API refused.
    """
    return msgspec.json.decode(api.send("POST", "/reports", wanted), type=Report)


def read_report(api: Api, report_id: UUID) -> Report:
    """Read how far a report is.

    Raises:
        ApiRefusal: The API refused.
    """
    return msgspec.json.decode(api.get(f"/reports/{report_id}", {}), type=Report)


def wait_for_report(api: Api, report: Report, *, wait_s: float, say: Callable[[str], None]) -> Report:
    """Look at a report until it is ready, and tell how far it is.

    Raises:
        ApiRefusal: The API refused.
        NotMade: It failed, or was not ready in time.
    """
    return wait_until_made(
        report,
        lambda: read_report(api, report.report_id),
        wait_s=wait_s,
        say=say,
        what=f"the report {report.report_id}",
        later=f"later: castledger report fetch {report.report_id}",
    )


def write_report(api: Api, report: Report, out: Path | None, *, say: Callable[[str], None]) -> None:
    """Write the file of a report that is ready to *out*, or to standard output.

    Raises:
        ApiRefusal: The API refused.
        ConfigError: The file cannot be written.
        NotMade: Another file came than was made; nothing is written.
    """
    content = api.get(f"/reports/{report.report_id}/file", {})
    if hashlib.sha256(content).hexdigest() != report.sha256:
        raise NotMade(f"another file came than was made; try again: castledger report fetch {report.report_id}")
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise ConfigError([f"--out: {out} cannot be written ({error.strerror})"]) from error
    say(f"{out}: {len(content):,} bytes")


def want_share(report_id: UUID, *, expires_at: dt.datetime, max_views: int | None) -> list[Wanted]:
    """Want a link that opens a report without a login."""

    def tell(answer: bytes) -> Iterator[str]:
        made = msgspec.json.decode(answer, type=_Shared)
        if made.url is None:
            yield f"token: {made.token}"
            yield "no address is known, as CASTLEDGER_PUBLIC_URL is not set; the API has it at /api/v1/shared/TOKEN"
        else:
            yield f"url: {made.url}"
        yield f"good until {expires_at:%Y-%m-%d %H:%M} UTC"

    return [Wanted(f"/reports/{report_id}/shares", {"expires_at": expires_at, "max_views": max_views}, tell)]
