"""Reports with a file, as ingest would have left them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from analytics_core.db.reports import begin_report, finish_report, list_waiting
from tests.integration.api.ledger import Api, Ledger

__all__ = ("keep_report",)

_DAYS = {"from": "2026-11-02", "to": "2026-11-03"}
_NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


async def keep_report(api: Api, ledger: Ledger, *, key: str | None = None, **wanted: Any) -> str:
    """Ask for a report, put a file where ingest would, and return its id."""
    asked = await api.request("POST", "/reports", key=key, json={"format": "csv", **_DAYS, **wanted})
    assert asked.status_code == 202, asked.text
    report_id = str(asked.json()["report_id"])
    (waiting,) = [one for one in await list_waiting(ledger.ingest) if str(one.report_id) == report_id]
    begun = await begin_report(ledger.ingest, waiting)
    assert begun is not None
    assert await finish_report(
        ledger.ingest, begun, content=b"a", figures=None, sha256=bytes(32), cutoff_at=None, now=_NOW
    )
    return report_id
