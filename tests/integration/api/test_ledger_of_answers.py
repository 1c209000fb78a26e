"""The ledger of answers is shown whole to the installation's own tenant, and to nobody else."""

from __future__ import annotations

import datetime as dt

import pytest

from analytics_core.db.ledger import IMPORT_SOURCE, Entry, add_entries
from analytics_core.db.segments import advance_cutoff
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

AT = dt.datetime(2026, 11, 20, 10, tzinfo=dt.UTC)


async def enter(ledger: Ledger, at: dt.datetime, **accounts: int) -> None:
    """Enter accounts as ingest does; ``lost_flood`` stands for ``lost:flood``."""
    entries = [
        Entry(ledger.segment_no, int(at.timestamp()) // 60, what.replace("_", ":", 1) if "lost" in what else what, hits)
        for what, hits in accounts.items()
    ]
    await add_entries(ledger.ingest, entries)


async def test_what_became_of_answers_is_shown_by_span(api: Api, ledger: Ledger) -> None:
    await enter(ledger, AT, answered=9, eligible=3, bot=1, click=1, pending=1, dead=1, lost_flood=2)
    await enter(ledger, AT + dt.timedelta(minutes=1), answered=1, lost_damaged=1)
    await enter(ledger, AT + dt.timedelta(hours=1), answered=2, eligible=2, pending=0)
    path = {"from_": "2026-11-20", "to": "2026-11-21"}
    answer = await api.data("/ledger", interval="minute", **path)
    assert answer["balanced"] is True
    assert answer["data"][0] == {
        "start": "2026-11-20T10:00:00Z",
        "source": "test",
        "answered": 9,
        "landed": {"eligible": 3, "bot": 1, "click": 1},
        "pending": 1,
        "dead": 1,
        "lost": {"flood": 2},
        "difference": 0,
    }
    by_hour = (await api.data("/ledger", **path))["data"]
    assert [(bucket["start"], bucket["answered"]) for bucket in by_hour] == [
        ("2026-11-20T10:00:00Z", 10),
        ("2026-11-20T11:00:00Z", 2),
    ]
    assert by_hour[0]["lost"] == {"damaged": 1, "flood": 2}
    (day,) = (await api.data("/ledger", interval="day", from_="2026-11-01", to="2026-12-01"))["data"]
    assert (day["start"], day["answered"]) == ("2026-11-20T00:00:00Z", 12)
    assert (await api.data("/ledger", from_="2026-11-21", to="2026-11-22"))["data"] == []


async def test_what_is_missing_is_said(api: Api, ledger: Ledger) -> None:
    await enter(ledger, AT, answered=9, eligible=7)
    answer = await api.data("/ledger", from_="2026-11-20", to="2026-11-21")
    assert (answer["balanced"], answer["data"][0]["difference"]) == (False, 2)


async def test_silent_trackers_are_named(api: Api, ledger: Ledger) -> None:
    heard = dt.datetime.now(dt.UTC).replace(microsecond=0)
    await ledger.ingest.execute("update ops.segments set last_frame_at = $1", heard)
    await advance_cutoff(ledger.ingest, source="spool", at=heard + dt.timedelta(minutes=3))
    assert (await api.data("/ledger"))["silent"] == []
    await advance_cutoff(ledger.ingest, source="spool", at=heard + dt.timedelta(minutes=4))
    answer = await api.data("/ledger")
    assert answer["silent"] == [{"source": "test", "last_frame_at": heard.isoformat().replace("+00:00", "Z")}]
    # Nobody is to miss what no tracker sent.
    await ledger.ingest.execute("update ops.segments set source = $1", IMPORT_SOURCE)
    assert (await api.data("/ledger"))["silent"] == []


async def test_other_tenants_see_nothing_of_it(api: Api, ledger: Ledger) -> None:
    await enter(ledger, AT, answered=1, eligible=1)
    other = await ledger.make_key("other")
    problem(await api.get("/ledger", key=other), 403, "forbidden")


async def test_spans_that_are_too_long_are_refused(api: Api, ledger: Ledger) -> None:
    refused = await api.get("/ledger", interval="minute", from_="2026-11-01", to="2026-11-03")
    assert codes(refused) == {("to", "range_too_long")}
    assert codes(await api.get("/ledger", interval="week")) == {("interval", "invalid")}
    assert codes(await api.get("/ledger", from_="2026-01-01", to="2026-11-03")) == {("to", "range_too_long")}
