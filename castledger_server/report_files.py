"""Reports that the API makes: asked for, waited for, and written to a file."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from analytics_core.errors import CastledgerError, ConfigError
from castledger_server.api_access import Api

__all__ = ("Report", "ReportNotMade", "ask_for_report", "read_report", "wait_for_report", "write_report")

_LOOK_EVERY_S: Final = 1.0
_A_WHOLE: Final = 1_000_000


class ReportNotMade(CastledgerError):
    """A report failed, or was not ready in time."""

    code = "report_not_made"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A report, and how far it is."""

    report_id: UUID
    format: str
    status: str
    done_ppm: int
    error: str | None
    sha256: str | None


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
        ReportNotMade: It failed, or was not ready in time.
    """
    deadline = time.monotonic() + wait_s
    told = 0
    while report.status not in ("ready", "failed", "erased"):
        if report.done_ppm > told:
            told = report.done_ppm
            say(f"{100 * told // _A_WHOLE} % is made")
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise ReportNotMade(
                f"the report is {report.status} after {wait_s:,} s; later: castledger report fetch {report.report_id}"
            )
        time.sleep(min(_LOOK_EVERY_S, left_s))
        report = read_report(api, report.report_id)
    if report.status == "failed":
        raise ReportNotMade(f"the report {report.report_id} could not be made: {report.error}")
    if report.status == "erased":
        raise ReportNotMade(f"the file of the report {report.report_id} was erased: {report.error}; have it made again")
    return report


def write_report(api: Api, report: Report, out: Path | None, *, say: Callable[[str], None]) -> None:
    """Write the file of a report that is ready to *out*, or to standard output.

    Raises:
        ApiRefusal: The API refused.
        ConfigError: The file cannot be written.
        ReportNotMade: Another file came than was made; nothing is written.
    """
    content = api.get(f"/reports/{report.report_id}/file", {})
    if hashlib.sha256(content).hexdigest() != report.sha256:
        raise ReportNotMade(f"another file came than was made; try again: castledger report fetch {report.report_id}")
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise ConfigError([f"--out: {out} cannot be written ({error.strerror})"]) from error
    say(f"{out}: {len(content):,} bytes")
