"""Links to reports: what they open, for how long, how often, and by which password."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from typing import Any

import httpx
import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.report_shares import MAX_SHARES
from analytics_core.db.reports import KEEP_FILES, drop_reports
from analytics_core.reporting.shares import LOCKED_FOR, MAX_FAILURES, new_token
from analytics_core.settings import DatabaseSettings
from ingest.reports import make_reports
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

PASSWORD = "a harbour of seven boats"
SOON = "2026-12-24T12:00:00Z"


async def open_link(api: Api, token: str, **query: Any) -> httpx.Response:
    """Open a link as somebody without a login does."""
    return await api.http.get(f"/api/v1/shared/{token}", params=query)


async def unlock(api: Api, token: str, password: str, **query: Any) -> httpx.Response:
    return await api.http.post(f"/api/v1/shared/{token}", json={"password": password}, params=query)


@pytest.fixture
async def report(api: Api, ledger: Ledger, database: DatabaseSettings, clock: FixedClock) -> dict[str, Any]:
    podcast = await api.add_podcast()
    await ledger.set_cutoff("2026-11-24T11:00+00:00")
    wanted = {"podcast_id": podcast["podcast_id"], "from": "2026-11-01", "to": "2026-11-15"}
    answer = await api.request("POST", "/reports", json={"kind": "podcast", "format": "csv", **wanted})
    await make_reports(ledger.ingest, database, clock=clock)
    made: dict[str, Any] = await api.data(f"/reports/{answer.json()['report_id']}")
    assert made["status"] == "ready"
    return made


async def share(api: Api, report: dict[str, Any], **given: Any) -> dict[str, Any]:
    answer = await api.request("POST", f"/reports/{report['report_id']}/shares", json={"expires_at": SOON, **given})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_link_opens_the_report_to_somebody_without_a_login(api: Api, report: dict[str, Any]) -> None:
    made = await share(api, report)
    assert made["share"] == {
        "share_id": made["share"]["share_id"],
        "report_id": report["report_id"],
        "state": "open",
        "has_password": False,
        "expires_at": SOON,
        "max_views": None,
        "views": 0,
        "created_at": "2026-11-24T12:00:00Z",
        "revoked_at": None,
    }
    told = await open_link(api, made["token"])
    assert told.json() == {
        "kind": "podcast",
        "format": "csv",
        "params": report["params"],
        "cutoff": report["cutoff"],
        "sha256": report["sha256"],
        "size_bytes": report["size_bytes"],
        "finished_at": report["finished_at"],
        "expires_at": SOON,
        "views_left": None,
    }
    file = await open_link(api, made["token"], download=1)
    assert file.content == (await api.get(f"/reports/{report['report_id']}/file")).content
    for answer in (told, file):
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-robots-tag"] == "noindex, nofollow"
        assert answer.headers["cache-control"] == "no-store"
    listed = await api.data(f"/reports/{report['report_id']}/shares")
    # What it is for is asked as often as one likes; handing out the file is a view.
    assert [one["views"] for one in listed["data"]] == [1]
    assert made["token"] not in str(listed)
    audit = await api.get("/audit")
    assert made["token"] not in audit.text
    problem(await open_link(api, new_token()), 404, "not_found")
    problem(await open_link(api, "anything"), 404, "not_found")
    assert codes(await open_link(api, made["token"], download=2)) == {("download", "invalid")}


async def test_the_token_is_nowhere_but_in_its_answer(api: Api, ledger: Ledger, report: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "share-1"}
    path, body = f"/reports/{report['report_id']}/shares", {"expires_at": SOON, "password": PASSWORD}
    made = (await api.request("POST", path, json=body, headers=headers)).json()
    problem(await api.request("POST", path, json=body, headers=headers), 409, "idempotency_answer_gone")
    for table in ("app.report_shares", "app.audit_log", "app.idempotency_keys"):
        rows = str([tuple(row) for row in await ledger.operator.fetch(f"select t::text from {table} t")])
        assert made["token"] not in rows, table
        assert PASSWORD not in rows, table


async def test_a_link_ends_when_it_is_to_end(
    api: Api, report: dict[str, Any], clock: FixedClock, ledger: Ledger
) -> None:
    made, taken_back = await share(api, report), await share(api, report)
    answer = await api.request("DELETE", f"/report-shares/{taken_back['share']['share_id']}")
    assert answer.status_code == 204
    problem(await open_link(api, taken_back["token"]), 410, "share_ended")
    clock.advance(dt.timedelta(days=30) - dt.timedelta(seconds=1))
    assert (await open_link(api, made["token"])).status_code == 200
    clock.advance(dt.timedelta(seconds=1))
    problem(await open_link(api, made["token"]), 410, "share_ended")
    problem(await open_link(api, made["token"], download=1), 410, "share_ended")
    states = [one["state"] for one in (await api.data(f"/reports/{report['report_id']}/shares"))["data"]]
    assert states == ["expired", "revoked"]


async def test_a_report_is_kept_for_as_long_as_it_is_shared(
    api: Api, report: dict[str, Any], clock: FixedClock, ledger: Ledger
) -> None:
    expires_at = clock.now() + dt.timedelta(days=365)
    made = await share(api, report, expires_at=expires_at.isoformat())
    await drop_reports(ledger.ingest, now=clock.now() + KEEP_FILES)
    assert (await open_link(api, made["token"], download=1)).status_code == 200
    await drop_reports(ledger.ingest, now=expires_at)
    problem(await open_link(api, made["token"]), 410, "report_expired")


async def test_a_link_can_be_opened_so_often_and_never_more(api: Api, report: dict[str, Any]) -> None:
    made = await share(api, report, max_views=3)
    answers = await asyncio.gather(*[open_link(api, made["token"], download=1) for _ in range(12)])
    assert Counter(answer.status_code for answer in answers) == {200: 3, 410: 9}
    problem(await open_link(api, made["token"]), 410, "share_ended")
    (listed,) = (await api.data(f"/reports/{report['report_id']}/shares"))["data"]
    assert (listed["views"], listed["state"]) == (3, "used_up")


async def test_a_password_is_asked_for_and_too_many_wrong_ones_are_no_use(
    api: Api, report: dict[str, Any], clock: FixedClock
) -> None:
    made = await share(api, report, password=PASSWORD)
    problem(await open_link(api, made["token"]), 401, "wrong_password")
    assert (await unlock(api, made["token"], PASSWORD)).json()["sha256"] == report["sha256"]
    file = await unlock(api, made["token"], PASSWORD, download=1)
    assert file.headers["content-type"].startswith("text/csv")
    for _ in range(MAX_FAILURES):
        problem(await unlock(api, made["token"], "not this one"), 401, "wrong_password")
    clock.advance(dt.timedelta(minutes=1))
    for password in ("nor this", PASSWORD):
        answer = await unlock(api, made["token"], password)
        problem(answer, 429, "too_soon")
        assert answer.headers["retry-after"] == str(int(LOCKED_FOR.total_seconds()) - 60)
    clock.advance(LOCKED_FOR - dt.timedelta(minutes=1))
    assert (await unlock(api, made["token"], PASSWORD)).status_code == 200
    for _ in range(MAX_FAILURES):
        problem(await unlock(api, made["token"], "not this one"), 401, "wrong_password")


async def test_many_wrong_passwords_at_once_are_no_more_than_one_after_another(
    api: Api, report: dict[str, Any]
) -> None:
    made = await share(api, report, password=PASSWORD)
    answers = await asyncio.gather(*[unlock(api, made["token"], f"guess number {n}") for n in range(12)])
    assert Counter(answer.status_code for answer in answers) == {401: MAX_FAILURES, 429: 12 - MAX_FAILURES}


async def test_what_no_link_can_be_is_refused(api: Api, report: dict[str, Any]) -> None:
    path = f"/reports/{report['report_id']}/shares"
    for body, fault in (
        ({}, ("/expires_at", "missing")),
        ({"expires_at": "2026-11-24T12:00:00Z"}, ("/expires_at", "out_of_range")),
        ({"expires_at": "2027-11-24T12:00:01Z"}, ("/expires_at", "out_of_range")),
        ({"expires_at": "2026-12-01T12:00:00"}, ("/expires_at", "naive_time")),
        ({"expires_at": SOON, "max_views": 0}, ("/max_views", "invalid")),
        ({"expires_at": SOON, "password": "short"}, ("/password", "weak_password")),
        ({"expires_at": SOON, "colour": "red"}, ("/colour", "unknown_field")),
    ):
        assert codes(await api.request("POST", path, json=body)) == {fault}
    made = await share(api, report)
    answer = await api.http.post(f"/api/v1/shared/{made['token']}", json={"password": ""})
    assert codes(answer) == {("/password", "invalid")}
    for _ in range(MAX_SHARES - 1):
        await share(api, report)
    problem(await api.request("POST", path, json={"expires_at": SOON}), 409, "too_many_shares")


async def test_a_deleted_report_takes_its_links_with_it(api: Api, ledger: Ledger, report: dict[str, Any]) -> None:
    made = await share(api, report)
    assert (await api.request("DELETE", f"/reports/{report['report_id']}")).status_code == 204
    problem(await open_link(api, made["token"]), 404, "not_found")
    for table in ("report_files", "report_shares", "reports"):
        assert await ledger.operator.fetchval(f"select count(*) from app.{table}") == 0


async def test_nothing_is_shared_that_is_not_made(api: Api) -> None:
    podcast = await api.add_podcast(2)
    wanted = {"podcast_id": podcast["podcast_id"], "from": "2026-11-01", "to": "2026-11-15"}
    asked = (await api.request("POST", "/reports", json={"kind": "podcast", "format": "csv", **wanted})).json()
    answer = await api.request("POST", f"/reports/{asked['report_id']}/shares", json={"expires_at": SOON})
    problem(answer, 409, "report_not_ready")
