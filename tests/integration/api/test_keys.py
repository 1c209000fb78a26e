"""Keys over the API: made within their maker's rights, changed, rotated with an overlap, and noted when used."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest

from analytics_core.api_keys import KeyKind, new_key
from analytics_core.clock import FixedClock
from analytics_core.db.keys import MAX_KEYS
from analytics_core.db.pool import open_pool
from analytics_core.db.tenants import find_key
from analytics_core.errors import Unavailable
from analytics_core.permissions import ALL_PERMISSIONS
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret, Settings
from api.app import create_app
from api.key_uses import KeyUses
from api.known_keys import KnownKeys
from api.logs import RequestLog
from api.resources import Database, Resources, open_resources
from tests.integration.api.ledger import Api, Ledger, codes, problem, unreachable

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example"


async def make(api: Api, *, by: str | None = None, **wanted: Any) -> dict[str, Any]:
    """Make a key that has to be made."""
    answer = await api.request("POST", "/api-keys", key=by, json={"name": "k", **wanted})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def rotate(api: Api, key_id: str, *, by: str | None = None, **wanted: Any) -> Any:
    return await api.request("POST", f"/api-keys/{key_id}/rotate", key=by, json=wanted)


async def test_a_secret_key_may_do_what_it_was_given_and_is_told_what_it_lacks(api: Api) -> None:
    made = await make(api, scopes=["podcasts:read", "links:read", "links:read"])
    assert (made["kind"], made["scopes"], made["origins"]) == ("secret", ["links:read", "podcasts:read"], [])
    assert made["key"].startswith("cl_live_")
    assert (await api.get("/podcasts", key=made["key"])).status_code == 200
    refused = problem(await api.request("POST", "/links", key=made["key"], json={}), 403, "forbidden")
    assert "links:write" in refused["detail"]
    assert "keys:read" in problem(await api.get("/api-keys", key=made["key"]), 403, "forbidden")["detail"]


async def test_a_key_without_scopes_gets_those_of_its_maker(api: Api) -> None:
    everything = await make(api)
    assert everything["scopes"] == sorted(ALL_PERMISSIONS)
    some = await make(api, scopes=["keys:read", "keys:write"])
    child = await make(api, by=some["key"])
    assert child["scopes"] == ["keys:read", "keys:write"]
    assert (await api.data("/api-keys"))["data"][0]["scopes"] is None


async def test_nobody_makes_a_key_that_may_do_more_than_they_may(api: Api) -> None:
    keeper = (await make(api, scopes=["keys:read", "keys:write", "links:read"]))["key"]
    for wanted in (
        {"scopes": ["links:read", "podcasts:read"]},
        {"scopes": sorted(ALL_PERMISSIONS)},
        {"kind": "publishable", "origins": [SHOP]},
    ):
        answer = await api.request("POST", "/api-keys", key=keeper, json={"name": "k", **wanted})
        assert "more than you may" in problem(answer, 403, "escalation")["detail"]
    owners, mine = (await api.data("/api-keys"))["data"]
    # The new key's text is as good as the old one's: who rotates it has to be allowed all of it.
    problem(await rotate(api, owners["key_id"], by=keeper), 403, "escalation")
    assert (await rotate(api, mine["key_id"], by=keeper)).status_code == 201
    assert (await api.data(f"/api-keys/{owners['key_id']}"))["replaced_by"] is None


async def test_a_scope_that_this_version_does_not_know_allows_nothing_and_is_handed_to_nobody(
    api: Api, ledger: Ledger
) -> None:
    made = await make(api, scopes=["podcasts:read"])
    await ledger.operator.execute(
        "update app.api_keys set scopes = '{podcasts:read,moon:read}' where key_id = $1", UUID(made["key_id"])
    )
    assert (await api.get("/podcasts", key=made["key"])).status_code == 200
    assert "moon:read" in problem(await rotate(api, made["key_id"]), 403, "escalation")["detail"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"scopes": ["links:eat"]}, ("/scopes", "invalid")),
        ({"scopes": []}, ("/scopes", "invalid")),
        ({"scopes": "links:read"}, ("/scopes", "invalid")),
        ({"scopes": ["links:read"] * 200}, ("/scopes", "invalid")),
        ({"kind": "master"}, ("/kind", "invalid")),
        ({"origins": [SHOP]}, ("/origins", "invalid")),
        ({"kind": "publishable"}, ("/origins", "invalid")),
        ({"kind": "publishable", "origins": [SHOP], "scopes": ["links:read"]}, ("/scopes", "invalid")),
        ({"kind": "publishable", "origins": [SHOP, "https://*.example"]}, ("/origins/1", "invalid")),
        ({"kind": "publishable", "origins": [SHOP] * 51}, ("/origins", "invalid")),
        ({"kind": "publishable", "origins": [1]}, ("/origins", "invalid")),
        ({"expires_at": "2026-11-24T12:00:00Z"}, ("/expires_at", "invalid")),
        ({"expires_at": "2036-12-25T12:00:00Z"}, ("/expires_at", "invalid")),
        ({"expires_at": "2027-01-01T12:00:00"}, ("/expires_at", "invalid")),
        ({"expires_at": "tomorrow"}, ("/expires_at", "invalid")),
        ({"name": "\u202ekey"}, ("/name", "invalid")),
    ],
)
async def test_what_cannot_be_is_refused_by_field(api: Api, wanted: dict[str, Any], found: tuple[str, str]) -> None:
    answer = await api.request("POST", "/api-keys", json={"name": "k", **wanted})
    assert codes(answer) == {found}
    assert len((await api.data("/api-keys"))["data"]) == 1


async def test_a_publishable_key_names_its_origins_as_browsers_send_them(api: Api) -> None:
    made = await make(api, kind="publishable", origins=["https://Shop.example:443", SHOP, "http://localhost:3000"])
    assert made["key"].startswith("cl_pub_")
    assert made["hint"] == made["key"][:11] + "…"
    assert (made["scopes"], made["origins"]) == (["events:write"], [SHOP, "http://localhost:3000"])


async def test_a_key_ends_when_it_was_said_to(api: Api, ledger: Ledger) -> None:
    made = await make(api, expires_at="2036-11-01T12:00:00+02:00")
    assert made["expires_at"] == "2036-11-01T10:00:00Z"
    assert (await api.get("/podcasts", key=made["key"])).status_code == 200
    await ledger.operator.execute("update app.api_keys set expires_at = now() where key_id = $1", UUID(made["key_id"]))
    problem(await api.refusal("/podcasts", key=made["key"]), 401, "unauthenticated")
    problem(await rotate(api, made["key_id"]), 409, "key_expired")


async def test_a_name_and_origins_can_be_changed_and_nothing_else(api: Api) -> None:
    made = await make(api, kind="publishable", origins=[SHOP])
    path = f"/api-keys/{made['key_id']}"
    changed = await api.request("PATCH", path, json={"name": "the shop"})
    assert (changed.status_code, changed.json()["name"], changed.json()["origins"]) == (200, "the shop", [SHOP])
    assert "key" not in changed.json()
    moved = await api.request("PATCH", path, json={"origins": ["https://store.example"]})
    assert (moved.json()["name"], moved.json()["origins"]) == ("the shop", ["https://store.example"])
    assert codes(await api.request("PATCH", path, json={"origins": []})) == {("/origins", "invalid")}
    assert codes(await api.request("PATCH", path, json={"scopes": ["links:read"]})) == {("/scopes", "unknown_field")}
    secret = await make(api)
    answer = await api.request("PATCH", f"/api-keys/{secret['key_id']}", json={"origins": [SHOP]})
    assert codes(answer) == {("/origins", "invalid")}
    keeper = (await make(api, scopes=["keys:read", "keys:write"]))["key"]
    problem(await api.request("PATCH", path, key=keeper, json={"origins": [SHOP]}), 403, "escalation")
    assert (await api.request("PATCH", path, key=keeper, json={"name": "x"})).status_code == 200


async def test_a_rotated_key_and_its_successor_overlap(api: Api, ledger: Ledger) -> None:
    old = await make(api, name="shop", scopes=["podcasts:read"])
    answer = await rotate(api, old["key_id"], overlap_s=3600)
    assert answer.status_code == 201
    new = answer.json()
    assert new["key"] != old["key"]
    assert [new[name] for name in ("name", "kind", "scopes", "origins", "expires_at", "replaces")] == [
        "shop",
        "secret",
        ["podcasts:read"],
        [],
        None,
        old["key_id"],
    ]
    shown = await api.data(f"/api-keys/{old['key_id']}")
    assert shown["replaced_by"] == new["key_id"]
    ends, made = (dt.datetime.fromisoformat(text) for text in (shown["expires_at"], new["created_at"]))
    assert ends - made == dt.timedelta(hours=1)
    for key in (old["key"], new["key"]):
        assert (await api.get("/podcasts", key=key)).status_code == 200
    # The overlap passes.
    await ledger.operator.execute(
        "update app.api_keys set expires_at = expires_at - interval '1 hour' where key_id = $1", UUID(old["key_id"])
    )
    problem(await api.refusal("/podcasts", key=old["key"]), 401, "unauthenticated")
    assert (await api.get("/podcasts", key=new["key"])).status_code == 200
    again = problem(await rotate(api, old["key_id"]), 409, "already_replaced")
    assert new["key_id"] in again["detail"]


async def test_without_an_overlap_the_old_key_ends_at_once_and_a_publishable_one_keeps_its_origins(api: Api) -> None:
    old = await make(api, scopes=["podcasts:read"])
    new = (await rotate(api, old["key_id"], overlap_s=0)).json()
    problem(await api.get("/podcasts", key=old["key"]), 401, "unauthenticated")
    assert (await api.get("/podcasts", key=new["key"])).status_code == 200
    page = await make(api, kind="publishable", origins=[SHOP])
    after = (await rotate(api, page["key_id"])).json()
    assert after["key"].startswith("cl_pub_")
    assert (after["kind"], after["scopes"], after["origins"]) == ("publishable", ["events:write"], [SHOP])


async def test_a_key_that_was_made_for_a_time_is_replaced_by_one_for_as_long_and_never_outlives_its_own_end(
    api: Api,
) -> None:
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=10)
    old = await make(api, expires_at=ends.isoformat())
    new = (await rotate(api, old["key_id"], overlap_s=30 * 24 * 3600)).json()
    lasts = [
        dt.datetime.fromisoformat(key["expires_at"]) - dt.datetime.fromisoformat(key["created_at"])
        for key in (old, new)
    ]
    assert lasts[0] == lasts[1]
    assert (await api.data(f"/api-keys/{old['key_id']}"))["expires_at"] == old["expires_at"]


@pytest.mark.parametrize("overlap", [-1, 30 * 24 * 3600 + 1, "1", 1.5, None])
async def test_an_overlap_is_none_to_thirty_days(api: Api, overlap: object) -> None:
    made = await make(api)
    assert codes(await rotate(api, made["key_id"], overlap_s=overlap)) == {("/overlap_s", "invalid")}


async def test_of_two_rotations_at_the_same_time_one_makes_a_key(api: Api, ledger: Ledger) -> None:
    old = await make(api)
    answers = await asyncio.gather(*(rotate(api, old["key_id"]) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    replacing = "select count(*) from app.api_keys where replaces = $1"
    assert await ledger.operator.fetchval(replacing, UUID(old["key_id"])) == 1


async def test_the_database_itself_keeps_the_rules(api: Api, ledger: Ledger) -> None:
    key_id = UUID((await make(api))["key_id"])
    for change in (
        "kind = 'publishable'",
        "kind = 'publishable', origins = '{https://shop.example}'",
        "kind = 'publishable', origins = '{https://shop.example}', scopes = '{links:read}'",
        "origins = '{https://shop.example}'",
        "kind = 'master'",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await ledger.operator.execute(f"update app.api_keys set {change} where key_id = $1", key_id)


async def test_what_is_revoked_is_read_and_no_longer_changed(api: Api) -> None:
    made = await make(api)
    path = f"/api-keys/{made['key_id']}"
    assert (await api.request("DELETE", path)).status_code == 204
    assert (await api.data(path))["revoked_at"] is not None
    problem(await rotate(api, made["key_id"]), 404, "not_found")
    problem(await api.request("PATCH", path, json={"name": "x"}), 404, "not_found")


async def test_another_tenants_key_is_not_there_and_stays_as_it_is(api: Api, ledger: Ledger) -> None:
    mine = await make(api, kind="publishable", origins=[SHOP])
    other = await ledger.make_key("other")
    before = await ledger.operator.fetch("select * from app.api_keys order by key_id")
    path = f"/api-keys/{mine['key_id']}"
    for answer in (
        await api.get(path, key=other),
        await api.request("PATCH", path, key=other, json={"name": "x"}),
        await rotate(api, mine["key_id"], by=other),
        await api.request("DELETE", path, key=other),
    ):
        assert problem(answer, 404, "not_found")["detail"] == "no such API key"
    assert await ledger.operator.fetch("select * from app.api_keys order by key_id") == before


async def test_a_tenant_has_so_many_keys_and_no_more(api: Api, ledger: Ledger) -> None:
    await ledger.operator.execute(
        """insert into app.api_keys (tenant_id, key_id, name, hint, key_hash)
        select tenant_id, gen_random_uuid(), 'k', 'h', sha256(n::text::bytea)
        from app.tenants, generate_series(2, $1) n where slug = 'home'""",
        MAX_KEYS,
    )
    problem(await api.request("POST", "/api-keys", json={"name": "one more"}), 409, "too_many_keys")
    gone = (await api.data("/api-keys"))["data"][5]["key_id"]
    problem(await rotate(api, gone), 409, "too_many_keys")
    await api.request("DELETE", f"/api-keys/{gone}")
    assert (await api.request("POST", "/api-keys", json={"name": "one more"})).status_code == 201


async def test_uses_are_kept_in_memory_and_written_together(
    settings: Settings, clock: FixedClock, ledger: Ledger
) -> None:
    key = await ledger.make_key("home", is_installation=True)
    noted = "select last_used_at from app.api_keys"
    async with (
        open_resources(settings, clock=clock) as resources,
        Api.open(create_app(resources, log=RequestLog(io.StringIO())), key) as api,
    ):
        for _ in range(3):
            await api.data("/podcasts")
            clock.advance(dt.timedelta(seconds=10))
        assert await ledger.auth.fetchval(noted) is None
        await resources.key_uses.flush()
        first = clock.now() - dt.timedelta(seconds=10)
        assert await ledger.auth.fetchval(noted) == first
        # Where another process knows of a later use, that stays.
        await ledger.operator.execute("update app.api_keys set last_used_at = $1", clock.now())
        clock.advance(dt.timedelta(seconds=-5))
        await api.data("/podcasts")
        await resources.key_uses.flush()
        assert await ledger.auth.fetchval(noted) == first + dt.timedelta(seconds=10)
        clock.advance(dt.timedelta(hours=1))
        await api.data("/podcasts")
    # The last ones are written when the process ends.
    assert await ledger.auth.fetchval(noted) == clock.now()


async def test_nobody_waits_for_a_key_that_somebody_is_changing(api: Api, resources: Resources, ledger: Ledger) -> None:
    await api.data("/podcasts")
    async with ledger.operator.transaction():
        await ledger.operator.execute("select from app.api_keys for update")
        await resources.key_uses.flush()
    assert await ledger.auth.fetchval("select last_used_at from app.api_keys") is None
    await api.data("/podcasts")
    await resources.key_uses.flush()
    assert await ledger.auth.fetchval("select last_used_at from app.api_keys") is not None


async def test_uses_that_no_database_took_are_written_when_there_is_one(
    settings: Settings, resources: Resources, clock: FixedClock, ledger: Ledger
) -> None:
    key = await find_key(ledger.auth, await ledger.make_key("home"))
    assert key is not None
    gone = msgspec.structs.replace(settings.require_database(), url=Secret("postgresql://nobody@127.0.0.1:1/none"))
    async with open_resources(settings, database=gone) as dead:
        reached = dead.database
        uses = KeyUses(lambda: reached.auth())
        uses.note(key, now=clock.now())
        with pytest.raises(Unavailable):
            await uses.flush()
        reached = resources.database
        await uses.flush()
    assert await ledger.auth.fetchval("select last_used_at from app.api_keys") == clock.now()


async def test_a_request_costs_one_statement_to_authenticate_and_a_made_up_key_none(
    resources: Resources, database: DatabaseSettings, ledger: Ledger
) -> None:
    sent: list[str] = []
    api_pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    auth_pool = await open_pool(database, Role.AUTH, application_name="test", max_size=1)
    reading_pool = await open_pool(database, Role.API, application_name="test", max_size=1, only_reads=True)
    try:
        async with auth_pool.acquire() as conn:
            conn.add_query_logger(lambda record: sent.append(record.query))
        ours = Database(api=api_pool, auth=auth_pool, reading=reading_pool)
        # It listens to nobody, so that every key is looked up.
        known_keys = KnownKeys(unreachable, ours.auth, clock=resources.clock)
        watched = msgspec.structs.replace(resources, database=ours, known_keys=known_keys)
        app = create_app(watched, log=RequestLog(io.StringIO()))
        async with Api.open(app, await ledger.make_key("home", is_installation=True)) as api:
            await api.data("/podcasts")
            sent.clear()
            await api.data("/podcasts")
            assert [query.partition("*/")[0] for query in sent] == ["/* api_keys.find "]
            sent.clear()
            good = new_key()
            for made_up in (good[:-1] + ("A" if good[-1] != "A" else "B"), "cl_live_", good[:-1], "x" * 4_000):
                problem(await api.get("/podcasts", key=made_up), 401, "unauthenticated")
            assert sent == []
            for unknown in (good, new_key(KeyKind.PUBLISHABLE)):
                problem(await api.get("/podcasts", key=unknown), 401, "unauthenticated")
            assert len(sent) == 2
    finally:
        await reading_pool.close()
        await api_pool.close()
        await auth_pool.close()


async def test_a_made_up_key_is_refused_with_no_database_at_all(settings: Settings) -> None:
    gone = msgspec.structs.replace(settings.require_database(), url=Secret("postgresql://nobody@127.0.0.1:1/none"))
    async with (
        open_resources(settings, database=gone) as resources,
        Api.open(create_app(resources, log=RequestLog(io.StringIO())), "cl_live_" + "A" * 38) as api,
    ):
        problem(await api.get("/podcasts"), 401, "unauthenticated")
        problem(await api.get("/podcasts", key=new_key()), 503, "unavailable")
