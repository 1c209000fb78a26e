"""Tenants: made by the installation, set by themselves, suspended, held to quotas, closed and opened again."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.pool import Tenant, open_pool, tenant_transaction
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

STUDIO = {"slug": "studio", "name": "O'Brien; DROP TABLE tenants"}


async def make(api: Api, **given: Any) -> dict[str, Any]:
    answer = await api.request("POST", "/tenants", json={**STUDIO, **given})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def close(api: Api, key: str, slug: str = "studio") -> Any:
    return await api.request("POST", "/tenant/close", key=key, json={"confirm": slug})


async def test_a_tenant_is_made_with_its_owners_key_and_starts_empty(api: Api) -> None:
    await api.add_podcast(1)
    made = await make(api)
    assert (made["slug"], made["name"], made["status"]) == ("studio", STUDIO["name"], "active")
    key = made["api_key"]
    own = (await api.get("/tenant", key=key)).json()
    assert own == {name: value for name, value in made.items() if name not in ("api_key", "owner")}
    assert (await api.get("/podcasts", key=key)).json()["data"] == []
    await api.add_podcast(2, key=key)
    assert [row["title"] for row in (await api.data("/podcasts"))["data"]] == ["Podcast 1"]
    assert [row["slug"] for row in (await api.data("/tenants"))["data"]] == ["home", "studio"]
    assert await api.data(f"/tenants/{made['tenant_id']}") == own


async def test_a_taken_slug_is_refused_and_leaves_nothing(api: Api, ledger: Ledger) -> None:
    await make(api)
    problem(await api.request("POST", "/tenants", json=STUDIO), 409, "slug_taken")
    assert await ledger.auth.fetchval("select count(*) from app.tenants") == 2
    assert await ledger.auth.fetchval("select count(*) from app.api_keys") == 2


@pytest.mark.parametrize("slug", ["", "A", "a_b", "-a", "a-", "a" * 64, "ä", "a b", "a\x00", "a\n"])
async def test_a_bad_slug_is_refused_by_name(api: Api, slug: str) -> None:
    answer = await api.request("POST", "/tenants", json={"slug": slug, "name": " "})
    assert {pointer for pointer, _ in codes(answer)} >= {"/slug"}
    # What is empty, too long or has a NUL is refused before anybody asks what it is.
    if slug and len(slug) < 64 and "\x00" not in slug:
        assert codes(answer) == {("/slug", "invalid_slug"), ("/name", "invalid")}


async def test_only_the_installation_sees_tenants_and_makes_them(api: Api) -> None:
    made = await make(api)
    key, path = made["api_key"], f"/tenants/{made['tenant_id']}"
    for method, where, body in (
        ("GET", "/tenants", None),
        ("POST", "/tenants", {"slug": "mine", "name": "Mine"}),
        ("GET", path, None),
        ("PATCH", path, {"status": "active"}),
        ("GET", f"{path}/quotas", None),
        ("PUT", f"{path}/quotas", {"quotas": []}),
    ):
        problem(await api.request(method, where, key=key, json=body), 403, "forbidden")
    problem(await api.get(f"/tenants/{uuid4()}"), 404, "not_found")
    problem(await api.request("PATCH", f"/tenants/{uuid4()}", json={"status": "suspended"}), 404, "not_found")
    problem(await api.request("PUT", f"/tenants/{uuid4()}/quotas", json={"quotas": []}), 404, "not_found")


async def test_the_database_holds_a_tenant_to_its_own_row(api: Api, database: DatabaseSettings, ledger: Ledger) -> None:
    made = await make(api)
    row = await ledger.auth.fetchrow("select tenant_id, tenant_no from app.tenants where slug = 'studio'")
    assert row is not None
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, Tenant(row["tenant_id"], row["tenant_no"])) as conn:
            assert await conn.fetchval("select count(*) from app.tenants") == 1
            assert await conn.execute("update app.tenants set name = 'x' where is_installation") == "UPDATE 0"
        for statement in (
            "insert into app.tenants (tenant_id, slug, name) values (gen_random_uuid(), 'x', 'x')",
            "update app.tenants set status = 'suspended'",
            "insert into app.tenant_quotas values (app.tenant_id(), 'links', 'total', 1, now(), 'x')",
            "update app.usage_counters set used = 0",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with tenant_transaction(pool, Tenant(row["tenant_id"], row["tenant_no"])) as conn:
                    await conn.execute(statement)
        await api.request("PATCH", f"/tenants/{made['tenant_id']}", json={"status": "suspended"})
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with tenant_transaction(pool, Tenant(row["tenant_id"], row["tenant_no"])) as conn:
                await conn.execute("update app.tenants set status = 'active'")
    finally:
        pool.terminate()


async def test_a_suspended_tenant_reads_and_is_told_why_it_cannot_write(api: Api) -> None:
    made = await make(api)
    key, path = made["api_key"], f"/tenants/{made['tenant_id']}"
    for _ in range(2):
        answer = await api.request("PATCH", path, json={"status": "suspended"})
        assert answer.json()["status"] == "suspended"
    assert (await api.get("/podcasts", key=key)).status_code == 200
    problem(await api.request("PATCH", "/tenant", key=key, json={"name": "x"}), 403, "tenant_suspended")
    problem(await close(api, key), 403, "tenant_suspended")
    problem(await api.request("POST", "/tenant/reopen", key=key), 403, "tenant_suspended")
    assert (await api.request("PATCH", path, json={"status": "active"})).json()["status"] == "active"
    assert (await api.request("PATCH", "/tenant", key=key, json={"name": "x"})).json()["name"] == "x"


async def test_the_installations_own_tenant_is_neither_suspended_nor_closed_nor_limited(
    api: Api, ledger: Ledger
) -> None:
    home = await api.data("/tenant")
    limits = {"quotas": [{"metric": "api_keys", "limit": 0}]}
    problem(await api.request("PUT", f"/tenants/{home['tenant_id']}/quotas", json=limits), 409, "installation")
    answer = await api.request("PATCH", f"/tenants/{home['tenant_id']}", json={"status": "suspended"})
    problem(answer, 409, "installation")
    problem(await close(api, api.key, "home"), 409, "installation")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ledger.operator.execute("update app.tenants set status = 'suspended' where is_installation")


async def test_closing_wants_the_slug_keeps_reading_and_can_be_taken_back(api: Api, clock: FixedClock) -> None:
    key = (await make(api))["api_key"]
    assert codes(await close(api, key, "home")) == {("/confirm", "not_confirmed")}
    closed = (await close(api, key)).json()
    assert (closed["status"], closed["closed_by"]) == ("closing", "tenant")
    ends = clock.now() + dt.timedelta(days=30)
    assert dt.datetime.fromisoformat(closed["closes_at"]) == ends
    assert (await api.get("/podcasts", key=key)).status_code == 200
    problem(await api.request("POST", "/api-keys", key=key, json={"name": "x"}), 403, "tenant_closing")
    problem(await close(api, key), 403, "tenant_closing")
    clock.advance(dt.timedelta(days=29))
    for _ in range(2):
        opened = (await api.request("POST", "/tenant/reopen", key=key)).json()
        assert (opened["status"], opened["closes_at"]) == ("active", None)
    assert (await api.request("POST", "/api-keys", key=key, json={"name": "x"})).status_code == 201


async def test_what_is_over_is_not_opened_again(api: Api, clock: FixedClock) -> None:
    made = await make(api)
    await close(api, made["api_key"])
    clock.advance(dt.timedelta(days=30))
    problem(await api.request("POST", "/tenant/reopen", key=made["api_key"]), 409, "tenant_closed")
    answer = await api.request("PATCH", f"/tenants/{made['tenant_id']}", json={"status": "active"})
    problem(answer, 409, "tenant_closed")


async def test_settings_have_defaults_a_version_and_types(api: Api) -> None:
    answer = await api.get("/tenant/settings")
    assert answer.headers["etag"] == '"1"'
    shown = answer.json()
    assert {key: (row["value"], row["source"]) for key, row in shown["settings"].items()} == {
        "timezone": ("UTC", "default"),
        "interval": ("day", "default"),
        "range_days": (30, "default"),
    }

    async def change(match: str | None = None, **settings: Any) -> Any:
        headers = {} if match is None else {"If-Match": match}
        return await api.request("PATCH", "/tenant/settings", json={"settings": settings}, headers=headers)

    changed = await change('"1"', timezone="Europe/Berlin", range_days=7)
    assert (changed.headers["etag"], changed.json()["version"]) == ('"2"', 2)
    row = changed.json()["settings"]["timezone"]
    assert (row["value"], row["source"], row["updated_by"][:4]) == ("Europe/Berlin", "tenant", "key:")
    for stale in ('"1"', '"3"'):
        problem(await change(stale, range_days=8), 412, "outdated")
    problem(await change("nonsense", range_days=8), 400, "bad_if_match")
    back = await change('"2"', timezone=None)
    assert (back.json()["version"], back.json()["settings"]["timezone"]["source"]) == (3, "default")
    assert codes(await change(timezone="Nowhere/Town", range_days="7", interval="year", colour="red", theme=None)) == {
        ("/settings/timezone", "invalid"),
        ("/settings/range_days", "invalid"),
        ("/settings/interval", "invalid"),
        ("/settings/colour", "unknown_setting"),
        ("/settings/theme", "unknown_setting"),
    }
    assert codes(await change(range_days=True)) == {("/settings", "invalid")}
    assert (await api.data("/tenant/settings"))["version"] == 3


async def test_settings_of_one_tenant_are_no_others(api: Api) -> None:
    key = (await make(api))["api_key"]
    await api.request("PATCH", "/tenant/settings", json={"settings": {"range_days": 7}})
    assert (await api.get("/tenant/settings", key=key)).json()["settings"]["range_days"]["value"] == 30


async def test_a_quota_refuses_the_next_one_and_deleting_gives_back(api: Api) -> None:
    made = await make(api)
    key, path = made["api_key"], f"/tenants/{made['tenant_id']}/quotas"
    wanted = {"quotas": [{"metric": "links", "limit": 2}, {"metric": "links", "period": "day", "limit": 3}]}
    assert (await api.request("PUT", path, json=wanted)).status_code == 200

    async def add() -> Any:
        return await api.request("POST", "/links", key=key, json={"url": "https://example.com/"})

    first, second = (await add()).json(), await add()
    assert second.status_code == 201
    refused = await add()
    assert problem(refused, 429, "quota_exceeded")["resets_at"] is None
    assert "retry-after" not in refused.headers
    assert (await api.request("DELETE", f"/links/{first['link_id']}", key=key)).status_code == 204
    assert (await add()).status_code == 201
    await api.request("DELETE", f"/links/{second.json()['link_id']}", key=key)
    refused = await add()
    assert problem(refused, 429, "quota_exceeded")["resets_at"] is not None
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    used = {(row["metric"], row["period"]): (row["used"], row["limit"]) for row in (await api.data(path))["data"]}
    assert used[("links", "total")] == (1, 2)
    assert used[("api_keys", "total")] == (1, None)
    assert (await api.get("/tenant/quotas", key=key)).json()["data"][0]["metric"] == "api_keys"
    await api.request("PUT", path, json={"quotas": []})
    assert (await add()).status_code == 201


@pytest.mark.parametrize(
    ("metric", "send"),
    [
        ("api_keys", ("/api-keys", {"name": "x"})),
        ("links", ("/links", {"url": "https://example.com/"})),
    ],
)
async def test_what_a_quota_of_none_forbids(api: Api, metric: str, send: tuple[str, dict[str, str]]) -> None:
    made = await make(api)
    await api.request("PUT", f"/tenants/{made['tenant_id']}/quotas", json={"quotas": [{"metric": metric, "limit": 0}]})
    problem(await api.request("POST", send[0], key=made["api_key"], json=send[1]), 429, "quota_exceeded")


async def test_a_quota_of_podcasts_is_not_stepped_over_by_a_feed(api: Api) -> None:
    made = await make(api)
    path = f"/tenants/{made['tenant_id']}/quotas"
    await api.request("PUT", path, json={"quotas": [{"metric": "podcasts", "limit": 1}]})
    await api.add_podcast(1, key=made["api_key"])
    answer = await api.request(
        "POST",
        "/podcasts",
        key=made["api_key"],
        content=b"<rss><channel><title>x</title><link>https://x.example.com/</link></channel></rss>",
        headers={"Content-Type": "application/rss+xml"},
    )
    problem(answer, 429, "quota_exceeded")
    assert len((await api.get("/podcasts", key=made["api_key"])).json()["data"]) == 1


@pytest.mark.parametrize(
    "quota",
    [
        {"metric": "listeners", "limit": 1},
        {"metric": "links", "limit": -1},
        {"metric": "links", "limit": 1_000_000_001},
        {"metric": "links", "limit": "many"},
        {"metric": "links", "period": "year", "limit": 1},
        {"metric": "links"},
    ],
)
async def test_a_quota_of_another_form_is_refused(api: Api, quota: dict[str, Any]) -> None:
    made = await make(api)
    path = f"/tenants/{made['tenant_id']}/quotas"
    assert codes(await api.request("PUT", path, json={"quotas": [quota]})) == {("/quotas", "invalid")}
    twice = {"quotas": [{"metric": "links", "limit": 1}] * 2}
    assert codes(await api.request("PUT", path, json=twice)) == {("/quotas/1", "repeated")}


async def test_the_owner_is_a_person_who_is_known_or_invited(api: Api, ledger: Ledger) -> None:
    user_id = uuid4()
    await ledger.auth.execute(
        "insert into app.users (user_id, email, name, created_at, email_verified_at)"
        " values ($1, 'Ann@example.com', 'Ann', now(), now())",
        user_id,
    )
    made = await make(api, owner_email="ann@EXAMPLE.com")
    assert (made["owner"], made["api_key"]) == ("member", None)
    row = await ledger.auth.fetchrow("select tenant_id::text, user_id, role from app.memberships")
    assert row is not None
    assert tuple(row) == (made["tenant_id"], user_id, "owner")

    other = await make(api, slug="other", owner_email="bob@example.com")
    assert (other["owner"], other["api_key"]) == ("invited", None)
    invited = await ledger.operator.fetchrow("select tenant_id::text, email, role from app.invitations")
    assert invited is not None
    assert tuple(invited) == (other["tenant_id"], "bob@example.com", "owner")
    mail = await ledger.operator.fetchrow("select tenant_id::text, recipient, body from app.outbox")
    assert mail is not None
    assert tuple(mail)[:2] == (other["tenant_id"], "bob@example.com")
    assert "O'Brien; DROP TABLE tenants" in mail["body"]
    problem(await api.request("POST", "/tenants", json={**STUDIO, "owner_email": "eve@example.com"}), 409, "slug_taken")
    assert await ledger.operator.fetchval("select count(*) from app.outbox") == 1
    bad = {"slug": "third", "name": "x", "owner_email": "not an address"}
    assert codes(await api.request("POST", "/tenants", json=bad)) == {("/owner_email", "invalid")}


async def test_an_address_that_nobody_proved_to_be_theirs_is_asked_first(api: Api, ledger: Ledger) -> None:
    await ledger.auth.execute(
        "insert into app.users (user_id, email, name, created_at) values ($1, 'eve@example.com', 'Eve', now())", uuid4()
    )
    assert (await make(api, owner_email="eve@example.com"))["owner"] == "invited"
    assert await ledger.auth.fetchval("select count(*) from app.memberships") == 0


async def test_what_the_installation_closed_it_alone_opens(api: Api, clock: FixedClock) -> None:
    made = await make(api)
    key, path = made["api_key"], f"/tenants/{made['tenant_id']}"
    answer = await api.request("POST", f"{path}/close", json={"confirm": "home"})
    assert codes(answer) == {("/confirm", "not_confirmed")}
    closed = (await api.request("POST", f"{path}/close", json={"confirm": "studio", "grace_days": 3})).json()
    assert dt.datetime.fromisoformat(closed["closes_at"]) == clock.now() + dt.timedelta(days=3)
    problem(await api.request("POST", "/tenant/reopen", key=key), 403, "tenant_closing")
    problem(await api.request("PATCH", path, json={"status": "suspended"}), 409, "tenant_closing")
    assert (await api.request("PATCH", path, json={"status": "active"})).json()["closed_by"] is None
    assert [row["slug"] for row in (await api.data("/tenants", slug="studio"))["data"]] == ["studio"]
    assert (await api.data("/tenants", slug="nobody"))["data"] == []
    assert codes(await api.get("/tenants", slug="No Slug")) == {("slug", "invalid_slug")}


async def test_what_is_done_to_tenants_is_on_record_without_keys(api: Api, ledger: Ledger) -> None:
    made = await make(api)
    path = f"/tenants/{made['tenant_id']}"
    await api.request("PUT", f"{path}/quotas", json={"quotas": [{"metric": "links", "limit": 1}]})
    await api.request("PATCH", path, json={"status": "suspended"})
    rows = await ledger.operator.fetch("select action, resource_id, before, after from app.audit_log order by entry_no")
    assert [row["action"] for row in rows] == ["tenant.create", "tenant_quotas.set", "tenant.suspend"]
    assert {row["resource_id"] for row in rows} == {made["tenant_id"]}
    assert made["api_key"] not in str([tuple(row) for row in rows])


async def test_a_report_is_as_the_tenant_has_set_it_where_the_request_leaves_it_open(api: Api) -> None:
    path = "/analytics/downloads"
    before = await api.get(path)
    assert (before.json()["tz"], before.json()["interval"]) == ("UTC", "day")
    assert len(before.json()["data"]) == 30
    wanted = {"timezone": "Asia/Tokyo", "interval": "week", "range_days": 14}
    assert (await api.request("PATCH", "/tenant/settings", json={"settings": wanted})).status_code == 200
    after = (await api.get(path)).json()
    assert (after["tz"], after["interval"]) == ("Asia/Tokyo", "week")
    assert dt.datetime.fromisoformat(after["to"]) - dt.datetime.fromisoformat(after["from"]) == dt.timedelta(days=14)
    assert after["from"].endswith("T00:00:00+09:00")
    # Who has seen the figures of before is not told that they are still the same.
    again = await api.request("GET", path, headers={"If-None-Match": before.headers["etag"]})
    assert again.status_code == 200
    given = await api.data(path, tz="UTC", interval="day", from_="2026-11-20", to="2026-11-22")
    assert (given["tz"], len(given["data"])) == ("UTC", 2)
    overview = await api.data("/analytics/overview")
    assert overview["tz"] == "Asia/Tokyo"
    days = dt.datetime.fromisoformat(overview["to"]) - dt.datetime.fromisoformat(overview["from"])
    assert days == dt.timedelta(days=14)
    await api.request("PATCH", "/tenant/settings", json={"settings": {"interval": "hour"}})
    assert (await api.get("/analytics/overview", from_="2020-01-01")).status_code == 200
