"""Reports asked for through the API and made by the job of ingest: their figures are those of the API."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import hashlib
import io
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.jobs import arm_jobs, end_job, list_jobs, take_job
from analytics_core.db.pool import Connection, connect
from analytics_core.db.reports import KEEP_FILES, KEEP_ROWS, MAX_WAITING, begin_report, drop_reports, list_waiting
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from api.routes.reports import create_report
from ingest.reports import make_reports
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

DAYS = {"from": "2026-11-20", "to": "2026-11-23"}


@pytest.fixture
async def worker(database: DatabaseSettings) -> AsyncIterator[Connection]:
    """The connection of the job."""
    conn = await connect(database, Role.INGEST, application_name="test")
    yield conn
    await conn.close()


async def ask(api: Api, **wanted: Any) -> dict[str, Any]:
    answer = await api.request("POST", "/reports", json=wanted)
    assert answer.status_code == 202, answer.text
    asked: dict[str, Any] = answer.json()
    return asked


async def heard(api: Api, ledger: Ledger) -> dict[str, Any]:
    """Have a podcast that was heard in some apps and countries."""
    podcast = await api.add_podcast(episodes=3)
    episodes = (await api.data(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]
    other = await ledger.agent("=Earwig()", app="=Earwig()", rule="earwig")
    for listener, (at, episode, agent, country) in enumerate(
        [
            ("2026-11-20T01:00+00:00", 0, None, 0x4445),
            ("2026-11-20T23:30+00:00", 0, other, 0x4445),
            ("2026-11-21T10:00+00:00", 1, other, 0x4652),
            ("2026-11-22T10:00+00:00", 1, None, 0),
            ("2026-11-25T10:00+00:00", 2, None, 0),
        ],
        start=1,
    ):
        await ledger.land(at, episodes[episode]["episode_id"], listener=listener, agent_no=agent, country=country)
    await ledger.roll_up()
    await ledger.set_cutoff("2026-11-24T11:00+00:00")
    return podcast


async def test_a_podcasts_report_says_what_the_api_says(
    api: Api, ledger: Ledger, database: DatabaseSettings, worker: Connection, clock: FixedClock
) -> None:
    podcast = await heard(api, ledger)
    wanted = {"kind": "podcast", "format": "json", "podcast_id": podcast["podcast_id"], "tz": "Europe/Berlin", **DAYS}
    asked = await ask(api, **wanted)
    assert asked == {
        "report_id": asked["report_id"],
        "kind": "podcast",
        "format": "json",
        "params": {**DAYS, "tz": "Europe/Berlin", "podcast_id": podcast["podcast_id"]},
        "sponsor_id": None,
        "status": "queued",
        "done_ppm": 0,
        "error": None,
        "cutoff": None,
        "sha256": None,
        "size_bytes": None,
        "has_file": False,
        "created_at": "2026-11-24T12:00:00Z",
        "finished_at": None,
        "expires_at": "2027-02-22T12:00:00Z",
    }
    path = f"/reports/{asked['report_id']}"
    problem(await api.get(f"{path}/file"), 409, "report_not_ready")
    assert await make_reports(worker, database, clock=clock) == {"made": 1, "failed": 0}
    file = await api.get(f"{path}/file")
    assert file.headers["content-type"] == "application/json"
    assert 'filename="castledger-podcast-2026-11-20-2026-11-23.json"' in file.headers["content-disposition"]
    made = await api.data(path)
    assert made == {
        **asked,
        "status": "ready",
        "done_ppm": 1_000_000,
        "cutoff": "2026-11-22T23:00:00Z",
        "sha256": hashlib.sha256(file.content).hexdigest(),
        "size_bytes": len(file.content),
        "has_file": True,
        "finished_at": "2026-11-24T12:00:00Z",
    }
    report = file.json()
    query = {"podcast_id": podcast["podcast_id"], "tz": "Europe/Berlin", "from_": DAYS["from"], "to": DAYS["to"]}
    told = await api.data("/analytics/downloads", **query)
    assert [(row["day"], row["downloads"], row["listeners"]) for row in report["tables"]["days"]] == [
        (row["start"][:10], row["downloads"], row["listeners"]) for row in told["data"]
    ]
    overview = await api.data("/analytics/overview", **query)
    assert report["tables"]["totals"] == [
        {name: overview[name] for name in ("downloads", "downloads_strict", "listeners")}
    ]
    assert report["tables"]["totals"][0]["downloads"] == 4
    for table, column, tops in (("apps", "app", "apps"), ("countries", "country", "countries")):
        assert [(row[column], row["downloads"]) for row in report["tables"][table]] == [
            (row["key"], row["downloads"]) for row in overview[tops]["data"]
        ]
    assert [(row["episode_id"], row["title"], row["downloads"]) for row in report["tables"]["episodes"]] == [
        (row["key"], row["title"], row["downloads"]) for row in overview["episodes"]["data"]
    ]
    about = report["about"]
    assert about == {
        "podcast_id": podcast["podcast_id"],
        "podcast": "Podcast 1",
        **DAYS,
        "tz": "Europe/Berlin",
        "cutoff": "2026-11-22T23:00:00Z",
        "profile": told["profile"],
        "rules": told["rules"],
        "state": "provisional",
        "partial": False,
        "restated_days": 0,
    }


async def test_made_again_it_is_the_same_bytes_whatever_lands_after_its_days(
    api: Api, ledger: Ledger, database: DatabaseSettings, worker: Connection, clock: FixedClock
) -> None:
    podcast = await heard(api, ledger)
    for wanted in ("csv", "json", "xlsx", "parquet"):
        params = {"kind": "podcast", "format": wanted, "podcast_id": podcast["podcast_id"], **DAYS}
        first = await ask(api, **params)
        await make_reports(worker, database, clock=clock)
        clock.advance(dt.timedelta(hours=3))
        await ledger.set_cutoff(f"{clock.now():%Y-%m-%dT%H:%M}+00:00")
        second = await ask(api, **params)
        await make_reports(worker, database, clock=clock)
        digests = {(await api.data(f"/reports/{one['report_id']}"))["sha256"] for one in (first, second)}
        assert len(digests) == 1, wanted
    rows = [*csv.DictReader(io.StringIO((await api.get(f"/reports/{(await newest_csv(api))}/file")).text, newline=""))]
    # Nobody's spreadsheet runs what an app calls itself.
    assert [row["app"] for row in rows if row["table"] == "apps"] == ["'=Earwig()", "Castaway"] or [
        row["app"] for row in rows if row["table"] == "apps"
    ] == ["Castaway", "'=Earwig()"]


async def newest_csv(api: Api) -> str:
    listed = (await api.data("/reports"))["data"]
    return str([one["report_id"] for one in listed if one["format"] == "csv"][-1])


async def test_what_cannot_be_made_is_refused_field_by_field(api: Api) -> None:
    podcast = await api.add_podcast()
    good = {"kind": "podcast", "format": "csv", "podcast_id": podcast["podcast_id"], **DAYS}
    for change, fault in (
        ({"kind": "roi"}, ("/kind", "invalid")),
        ({"format": "pdf"}, ("/format", "invalid")),
        ({"from": "2025-01-01"}, ("/to", "range_too_long")),
        ({"to": "2026-11-20"}, ("/to", "empty_range")),
        ({"podcast_id": str(UUID(int=1))}, ("/podcast_id", "not_found")),
        ({"podcast_id": None}, ("/podcast_id", "missing")),
        ({"tz": "Mars/Base"}, ("/tz", "unknown_time_zone")),
        ({"surprise": 1}, ("/surprise", "unknown_field")),
    ):
        assert codes(await api.request("POST", "/reports", json={**good, **change})) == {fault}
    assert (await api.data("/reports"))["data"] == []


async def test_no_more_wait_than_can_be_made(api: Api) -> None:
    podcast = await api.add_podcast()
    wanted = {"kind": "podcast", "format": "csv", "podcast_id": podcast["podcast_id"], **DAYS}
    for _ in range(MAX_WAITING):
        await ask(api, **wanted)
    problem(await api.request("POST", "/reports", json=wanted), 409, "too_many_waiting")
    listed = await api.data("/reports", limit=30)
    rest = await api.data("/reports", limit=30, cursor=listed["next_cursor"])
    assert len({one["report_id"] for one in listed["data"] + rest["data"]}) == MAX_WAITING
    problem(await api.get("/reports", sponsor_id=str(UUID(int=1))), 404, "not_found")


async def test_a_report_that_was_stopped_is_begun_once_more_and_then_given_up(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock
) -> None:
    podcast = await api.add_podcast()
    wanted = {"kind": "podcast", "format": "csv", "podcast_id": podcast["podcast_id"], **DAYS}
    once, twice, gone = [await ask(api, **wanted) for _ in range(3)]
    # Whoever makes it dies, or is taken for dead.
    for report, stops in ((once, 1), (twice, 2)):
        for _ in range(stops):
            waiting = next(one for one in await list_waiting(worker) if str(one.report_id) == report["report_id"])
            assert await begin_report(worker, waiting) is not None
            # Whoever thought so too is too late.
            assert await begin_report(worker, waiting) is None
        if report is once:
            assert (await make_reports(worker, database, clock=clock))["made"] == 3
            assert (await api.data(f"/reports/{once['report_id']}"))["status"] == "ready"
            await worker.execute(
                "update app.reports set status = 'queued', attempts = 0, sha256 = null, finished_at = null"
                " where report_id = any($1::uuid[])",
                [UUID(twice["report_id"]), UUID(gone["report_id"])],
            )
            await worker.execute("delete from app.report_files where report_id <> $1", UUID(once["report_id"]))
            answer = await api.request("DELETE", f"/reports/{gone['report_id']}")
            assert answer.status_code == 204
    assert await make_reports(worker, database, clock=clock) == {"made": 0, "failed": 1}
    failed = await api.data(f"/reports/{twice['report_id']}")
    assert (failed["status"], failed["has_file"]) == ("failed", False)
    assert "stopped both times" in failed["error"]
    body = problem(await api.get(f"/reports/{twice['report_id']}/file"), 409, "report_failed")
    assert failed["error"] in body["detail"]
    problem(await api.get(f"/reports/{gone['report_id']}"), 404, "not_found")


async def test_a_report_of_what_is_gone_fails_with_the_reason_and_others_are_made(
    api: Api, ledger: Ledger, database: DatabaseSettings, worker: Connection, clock: FixedClock
) -> None:
    podcast = await api.add_podcast()
    other_key = await ledger.make_key("other")
    other = await api.add_podcast(2, key=other_key)
    asked = await ask(api, kind="podcast", format="csv", podcast_id=podcast["podcast_id"], **DAYS)
    theirs = await api.request(
        "POST",
        "/reports",
        key=other_key,
        json={"kind": "podcast", "format": "csv", "podcast_id": other["podcast_id"], **DAYS},
    )
    await worker.execute(
        "update app.reports set params = jsonb_set(params, '{podcast_id}', to_jsonb($2::text)) where report_id = $1",
        UUID(asked["report_id"]),
        # Another tenant's is as good as gone.
        other["podcast_id"],
    )
    assert await make_reports(worker, database, clock=clock) == {"made": 1, "failed": 1}
    failed = await api.data(f"/reports/{asked['report_id']}")
    assert (failed["status"], failed["error"]) == ("failed", "its podcast is not there any more")
    assert (await api.get(f"/reports/{theirs.json()['report_id']}", key=other_key)).json()["status"] == "ready"
    problem(await api.get(f"/reports/{theirs.json()['report_id']}"), 404, "not_found")


async def test_what_nobody_foresaw_is_tried_once_more_and_said_in_plain_words(
    api: Api, ledger: Ledger, database: DatabaseSettings, worker: Connection, clock: FixedClock
) -> None:
    podcast = await heard(api, ledger)
    asked = await ask(api, kind="podcast", format="csv", podcast_id=podcast["podcast_id"], **DAYS)
    await ledger.operator.execute("alter table app.podcast_daily rename to elsewhere")
    assert await make_reports(worker, database, clock=clock) == {"made": 0, "failed": 1}
    failed = await api.data(f"/reports/{asked['report_id']}")
    assert (
        failed["error"]
        == "it could not be made, twice, for a reason of ours: the operator finds it in the log of ingest"
    )
    attempts = await worker.fetchval("select attempts from app.reports")
    assert attempts == 2


async def test_asking_makes_the_job_due_and_it_runs(api: Api, worker: Connection) -> None:
    podcast = await api.add_podcast()
    await arm_jobs(worker, ["reports"])
    job = await take_job(worker, ["reports"], lease=dt.timedelta(minutes=1))
    assert job is not None
    await end_job(worker, job, outcome="done", pause=dt.timedelta(hours=1), counts={})
    assert (await list_jobs(worker))[0].overdue_s == 0
    await ask(api, kind="podcast", format="csv", podcast_id=podcast["podcast_id"], **DAYS)
    assert await take_job(worker, ["reports"], lease=dt.timedelta(minutes=1)) is not None


async def test_files_go_when_their_time_is_over_and_reports_a_while_later(
    api: Api, ledger: Ledger, database: DatabaseSettings, worker: Connection, clock: FixedClock
) -> None:
    podcast = await heard(api, ledger)
    asked = await ask(api, kind="podcast", format="csv", podcast_id=podcast["podcast_id"], **DAYS)
    await make_reports(worker, database, clock=clock)
    path = f"/reports/{asked['report_id']}"
    assert await drop_reports(worker, now=clock.now() + KEEP_FILES - dt.timedelta(seconds=1)) == 0
    assert await drop_reports(worker, now=clock.now() + KEEP_FILES) == 1
    problem(await api.get(f"{path}/file"), 410, "report_expired")
    kept = await api.data(path)
    assert (kept["status"], kept["has_file"], len(kept["sha256"])) == ("ready", False, 64)
    problem(
        await api.request("POST", f"{path}/shares", json={"expires_at": "2026-12-24T00:00:00Z"}), 410, "report_expired"
    )
    await drop_reports(worker, now=clock.now() + KEEP_FILES + KEEP_ROWS)
    problem(await api.get(path), 404, "not_found")


async def test_a_file_of_many_pieces_arrives_whole(
    api: Api, ledger: Ledger, database: DatabaseSettings, worker: Connection, clock: FixedClock
) -> None:
    podcast = await heard(api, ledger)
    asked = await ask(api, kind="podcast", format="csv", podcast_id=podcast["podcast_id"], **DAYS)
    await make_reports(worker, database, clock=clock)
    content = bytes(range(256)) * 10_001
    await worker.execute("delete from app.report_files")
    await worker.execute(
        "insert into app.report_files (tenant_id, report_id, content) select tenant_id, report_id, $1 from app.reports",
        content,
    )
    await worker.execute("update app.reports set bytes = $1", len(content))
    file = await api.get(f"/reports/{asked['report_id']}/file")
    assert (file.content == content, file.headers["content-length"]) == (True, str(len(content)))
    with pytest.raises(asyncpg.CheckViolationError):
        await worker.execute("update app.reports set bytes = 67108865")


async def test_reports_asked_for_at_once_are_all_there(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock
) -> None:
    podcast = await api.add_podcast()
    wanted = {"kind": "podcast", "format": "csv", "podcast_id": podcast["podcast_id"], **DAYS}
    asked = await asyncio.gather(*[ask(api, **wanted) for _ in range(5)])
    assert await make_reports(worker, database, clock=clock) == {"made": 5, "failed": 0}
    listed = (await api.data("/reports"))["data"]
    assert {one["report_id"] for one in listed} == {one["report_id"] for one in asked}
    assert {one["status"] for one in listed} == {"ready"}
    assert create_report.opt["permission"] == "reports:write"
