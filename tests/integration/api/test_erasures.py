"""Erasures asked for through the API, done by the job of ingest, each tenant's own, and proven."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.erasure_requests import list_requests
from analytics_core.db.jobs import arm_jobs, end_job, list_jobs, take_job
from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.errors import Unavailable
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.erasures import work_off
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

KEY = "0" * 31 + "1"
DONE_AT = dt.datetime(2026, 11, 24, 12, 30, tzinfo=dt.UTC)


async def ask(api: Api, *, key: str | None = None, **wanted: Any) -> dict[str, Any]:
    answer = await api.request("POST", "/erasures", json=wanted, key=key)
    assert answer.status_code == 202, answer.text
    asked: dict[str, Any] = answer.json()
    return asked


async def do(database: DatabaseSettings) -> dict[str, int]:
    """Do what the job does."""
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    try:
        async with pool.acquire() as conn:
            return dict(await work_off(conn, pool, now=DONE_AT))
    finally:
        pool.terminate()


async def landed(api: Api, ledger: Ledger, number: int = 1, *, key: str | None = None) -> tuple[dict[str, Any], str]:
    """Add a podcast and land a hit of its first episode; return the podcast and the hit's id."""
    podcast = await api.add_podcast(number, key=key)
    episodes = await api.get(f"/podcasts/{podcast['podcast_id']}/episodes", key=key)
    hit = await ledger.land("2026-11-20T01:00+00:00", episodes.json()["data"][0]["episode_id"])
    await ledger.ingest.execute(
        "insert into ops.days (tenant_no, day) select tenant_no, day from ts.downloads on conflict do nothing"
    )
    return podcast, hit


async def test_a_listener_is_erased_by_one_of_its_hits(api: Api, ledger: Ledger, database: DatabaseSettings) -> None:
    _, hit = await landed(api, ledger)
    asked = await ask(api, kind="listener", hit_id=hit)
    assert asked == {
        "erasure_id": asked["erasure_id"],
        "kind": "listener",
        "state": "waiting",
        "month": "2026-11-01",
        "started_at": "2026-11-24T12:00:00Z",
        "removed": {},
        "finished_at": None,
        "remaining": None,
        "subject_hash": asked["subject_hash"],
        "digest": None,
        "whole": False,
    }
    # The same by its key, and in the same moment: one erasure.
    assert await ask(api, kind="listener", listener_key=KEY, month="2026-11") == asked
    other = {"kind": "listener", "listener_key": KEY, "month": "2026-10"}
    both = await asyncio.gather(ask(api, **other), ask(api, **other))
    assert both[0] == both[1] != asked
    assert await do(database) == {"done": 2, "left": 0}
    path = f"/erasures/{asked['erasure_id']}"
    done = await api.data(path)
    assert done == {
        **asked,
        "state": "done",
        "removed": {"hits": 1, "clicks": 0, "downloads": 1, "spikes": 0, "pending_hits": 0},
        "finished_at": "2026-11-24T12:30:00Z",
        "remaining": {"hits": 0, "downloads": 0, "spikes": 0, "pending_hits": 0},
        "digest": done["digest"],
        "whole": True,
    }
    assert await list_requests(ledger.ingest) == []
    # What lands later of it is there again, so that it can be asked for again.
    assert (await ask(api, kind="listener", listener_key=KEY, month="2026-11"))["erasure_id"] != asked["erasure_id"]


async def test_a_podcast_is_erased_once_its_title_is_given(
    api: Api, ledger: Ledger, database: DatabaseSettings
) -> None:
    podcast, hit = await landed(api, ledger)
    wanted = {"kind": "podcast", "podcast_id": podcast["podcast_id"]}
    refused = await api.request("POST", "/erasures", json={**wanted, "confirm": "Podcast 2"})
    assert codes(refused) == {("/confirm", "not_confirmed")}
    asked = await ask(api, **wanted, confirm="Podcast 1")
    assert (asked["state"], asked["month"]) == ("waiting", None)
    assert await ask(api, **wanted, confirm=" Podcast 1 ") == asked
    assert (await api.get(f"/podcasts/{podcast['podcast_id']}")).status_code == 200
    assert await do(database) == {"done": 1, "left": 0}
    problem(await api.get(f"/podcasts/{podcast['podcast_id']}"), 404, "not_found")
    problem(await api.get(f"/analytics/hits/{hit}"), 404, "not_found")
    done = await api.data(f"/erasures/{asked['erasure_id']}")
    assert (done["state"], done["whole"], set(done["remaining"].values())) == ("done", True, {0})
    assert (done["removed"]["podcasts"], done["removed"]["episodes"], done["removed"]["hits"]) == (1, 2, 1)
    # Asked for once more it is the same, done as it is; and its feed can be added again.
    assert await ask(api, **wanted, confirm="whatever") == done
    await api.add_podcast(1)


async def test_erasures_are_listed_and_seen_by_their_tenant_alone(
    api: Api, ledger: Ledger, clock: FixedClock, database: DatabaseSettings
) -> None:
    other = await ledger.make_key("other")
    podcast, hit = await landed(api, ledger)
    asked = [await ask(api, kind="listener", hit_id=hit)]
    clock.advance(dt.timedelta(seconds=1))
    asked.append(await ask(api, kind="podcast", podcast_id=podcast["podcast_id"], confirm="Podcast 1"))
    first = await api.data("/erasures", limit=1)
    assert first["data"] == asked[:1]
    assert (await api.data("/erasures", limit=1, cursor=first["next_cursor"])) == {
        "data": asked[1:],
        "next_cursor": None,
    }
    assert (await api.get("/erasures", key=other)).json() == {"data": [], "next_cursor": None}
    problem(await api.get(f"/erasures/{asked[0]['erasure_id']}", key=other), 404, "not_found")
    problem(await api.get("/erasures/nothing"), 404, "not_found")
    for body, faults in (
        ({"kind": "listener", "hit_id": hit}, {("/hit_id", "not_found")}),
        (
            {"kind": "podcast", "podcast_id": podcast["podcast_id"], "confirm": "Podcast 1"},
            {("/podcast_id", "not_found")},
        ),
    ):
        assert codes(await api.request("POST", "/erasures", json=body, key=other)) == faults
    # Another tenant's key names nobody of theirs, and takes nobody of ours away.
    await ask(api, kind="listener", listener_key=KEY, month="2026-11", key=other)
    tenant = await ledger.tenant_of("other")
    [theirs] = [request for request in await list_requests(ledger.ingest) if request.tenant == tenant]
    assert await do(database) == {"done": 3, "left": 0}
    record = (await api.get(f"/erasures/{theirs.erasure_id}", key=other)).json()
    assert set(record["removed"].values()) == {0}


@pytest.mark.parametrize(
    ("wanted", "faults"),
    [
        ({}, {("/kind", "missing")}),
        ({"kind": "tenant"}, {("/kind", "invalid")}),
        ({"kind": "listener"}, {("/listener_key", "missing"), ("/month", "missing")}),
        ({"kind": "listener", "listener_key": KEY}, {("/month", "missing")}),
        ({"kind": "listener", "listener_key": "xyz", "month": "2026-11"}, {("/listener_key", "invalid")}),
        ({"kind": "listener", "listener_key": KEY, "month": "November"}, {("/month", "invalid")}),
        ({"kind": "listener", "listener_key": KEY, "month": "2026-13"}, {("/month", "invalid")}),
        ({"kind": "listener", "hit_id": "h_x"}, {("/hit_id", "invalid")}),
        ({"kind": "listener", "hit_id": "h_1-1"}, {("/hit_id", "not_found")}),
        ({"kind": "listener", "hit_id": "h_1-1", "month": "2026-11"}, {("/month", "unexpected")}),
        (
            {"kind": "listener", "hit_id": "h_1-1", "podcast_id": str(UUID(int=1)), "confirm": "x"},
            {("/podcast_id", "unexpected"), ("/confirm", "unexpected")},
        ),
        ({"kind": "podcast"}, {("/podcast_id", "missing"), ("/confirm", "missing")}),
        ({"kind": "podcast", "podcast_id": "7", "confirm": "x"}, {("/podcast_id", "invalid")}),
        ({"kind": "podcast", "podcast_id": str(UUID(int=1)), "confirm": "x"}, {("/podcast_id", "not_found")}),
        (
            {"kind": "podcast", "podcast_id": str(UUID(int=1)), "title": "x"},
            {
                ("/title", "unknown_field"),
            },
        ),
    ],
)
async def test_bad_input_is_named_and_nothing_is_asked_for(api: Api, wanted: dict[str, Any], faults: set[Any]) -> None:
    answer = await api.request("POST", "/erasures", json=wanted)
    assert codes(answer) == faults
    assert (await api.data("/erasures"))["data"] == []


async def test_whoever_asks_has_the_job_run_at_once(api: Api, ledger: Ledger) -> None:
    await arm_jobs(ledger.ingest, ["erasures", "retention"])
    for kind in ("erasures", "retention"):
        job = await take_job(ledger.ingest, [kind], lease=dt.timedelta(minutes=1))
        assert job is not None
        await end_job(ledger.ingest, job, outcome="done", pause=dt.timedelta(hours=1), counts={})
    assert await take_job(ledger.ingest, ["erasures"], lease=dt.timedelta(minutes=1)) is None
    await ask(api, kind="listener", listener_key=KEY, month="2026-11")
    assert await take_job(ledger.ingest, ["erasures"], lease=dt.timedelta(minutes=1)) is not None
    assert await take_job(ledger.ingest, ["retention"], lease=dt.timedelta(minutes=1)) is None


async def test_an_erasure_that_fails_keeps_no_other_from_being_done(
    api: Api, ledger: Ledger, database: DatabaseSettings
) -> None:
    podcast, _ = await landed(api, ledger)
    await ask(api, kind="podcast", podcast_id=podcast["podcast_id"], confirm="Podcast 1")
    other = await ledger.make_key("other")
    await ask(api, kind="listener", listener_key=KEY, month="2026-11", key=other)
    # As if it met somebody each time who is in the middle of something with the podcast.
    await ledger.operator.execute(
        """create function public.meet() returns trigger language plpgsql as $$
        begin raise exception 'as if' using errcode = 'deadlock_detected'; end $$;
        create trigger meet before delete on app.podcasts for each row execute function public.meet()"""
    )
    with pytest.raises(Unavailable, match="rows are in use"):
        await do(database)
    assert [row["state"] for row in (await api.data("/erasures"))["data"]] == ["waiting"]
    assert (await api.get("/erasures", key=other)).json()["data"][0]["state"] == "done"
    await ledger.operator.execute("drop trigger meet on app.podcasts")
    assert await do(database) == {"done": 1, "left": 0}


async def test_an_erasure_of_which_something_is_left_fails(
    api: Api, ledger: Ledger, database: DatabaseSettings
) -> None:
    podcast, _ = await landed(api, ledger)
    # As nobody writes them: hits of a day of which nothing is known.
    await ledger.operator.execute("delete from ops.days")
    asked = await ask(api, kind="podcast", podcast_id=podcast["podcast_id"], confirm="Podcast 1")
    with pytest.raises(Unavailable, match=f"erasure {asked['erasure_id']}: each time something was left"):
        await do(database)
    stands = await api.data(f"/erasures/{asked['erasure_id']}")
    assert (stands["state"], stands["whole"], stands["remaining"]) == ("working", False, None)
    await ledger.operator.execute("insert into ops.days (tenant_no, day) select tenant_no, day from ts.downloads")
    assert await do(database) == {"done": 1, "left": 0}


async def test_no_service_deletes_a_hit_that_no_erasure_is_about(
    api: Api, ledger: Ledger, database: DatabaseSettings
) -> None:
    await landed(api, ledger)
    tenant = await ledger.tenant_of("home")
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=1)
    with pytest.raises(asyncpg.NoDataFoundError):
        async with tenant_transaction(pool, tenant) as conn:
            await conn.execute("select ops.erase_hits($1, '2026-11-20')", UUID(int=1))
    await pool.close()
    for role, statement in (
        (Role.INGEST, "insert into app.erasure_requests (tenant_no, erasure_id) values (1, gen_random_uuid())"),
        (Role.INGEST, "delete from ts.listener_events"),
        (Role.API, "delete from app.erasure_requests"),
        (Role.API, "delete from app.podcasts"),
        (Role.API, "update app.erasures set removed = '{}'"),
        (Role.API, "select ops.erase_hits(gen_random_uuid(), '2026-11-20')"),
    ):
        conn = await connect(database, role, application_name="test")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(statement)
        await conn.close()
    assert await ledger.ingest.fetchval("select count(*) from ts.listener_events") == 1
    assert "erasures" not in [job.kind for job in await list_jobs(ledger.ingest)]
