"""The record of changes: an entry for each write, in its transaction, and never a secret."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import uuid4

import pytest

from analytics_core.db.audit_seals import seal_entries
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example.com/"


async def entries(ledger: Ledger) -> list[dict[str, Any]]:
    rows = await ledger.operator.fetch(
        "select actor, actor_id, action, resource_id, request_id, before::text, after::text, at "
        "from app.audit_log order by entry_no"
    )
    return [
        {**row, "before": json.loads(row["before"] or "null"), "after": json.loads(row["after"] or "null")}
        for row in rows
    ]


async def key_id(ledger: Ledger) -> Any:
    return await ledger.operator.fetchval("select key_id from app.api_keys order by created_at limit 1")


async def test_each_write_has_an_entry_with_who_what_and_which(api: Api, ledger: Ledger) -> None:
    made = await api.request("POST", "/links", json={"url": SHOP}, headers={"X-Request-Id": "request-0001"})
    link = made.json()
    await api.request("PATCH", f"/links/{link['link_id']}", json={"url": f"{SHOP}new"})
    await api.request("DELETE", f"/links/{link['link_id']}")
    created, updated, deleted = await entries(ledger)
    assert (created["actor"], created["actor_id"]) == ("key", await key_id(ledger))
    assert (created["action"], created["resource_id"], created["request_id"]) == (
        "link.create",
        link["link_id"],
        "request-0001",
    )
    assert created["before"] is None
    assert created["after"] == link
    # Of a change only what differs.
    assert updated["action"] == "link.update"
    assert updated["before"] == {"url": SHOP, "target": SHOP}
    assert updated["after"] == {"url": f"{SHOP}new", "target": f"{SHOP}new"}
    assert (deleted["action"], deleted["resource_id"]) == ("link.delete", link["link_id"])
    assert created["at"] <= updated["at"] <= deleted["at"]


async def test_what_is_refused_has_no_entry_and_changes_nothing(api: Api, ledger: Ledger) -> None:
    assert (await api.request("POST", "/links", json={"url": SHOP, "slug": "one"})).status_code == 201
    problem(await api.request("POST", "/links", json={"url": SHOP, "slug": "one"}), 409, "slug_taken")
    problem(await api.request("PATCH", f"/links/{uuid4()}", json={"url": SHOP}), 404, "not_found")
    problem(await api.request("DELETE", f"/api-keys/{uuid4()}"), 404, "not_found")
    assert [entry["action"] for entry in await entries(ledger)] == ["link.create"]


async def test_an_entry_never_has_a_secret(api: Api, ledger: Ledger) -> None:
    made = (await api.request("POST", "/api-keys", json={"name": "site"})).json()
    await api.request("DELETE", f"/api-keys/{made['key_id']}")
    await api.add_podcast()
    other = await ledger.make_key("other")
    taken = await api.request(
        "POST",
        "/podcasts",
        key=other,
        json={"feed_url": "https://feeds.example.com/none"},
    )
    assert taken.status_code >= 400
    whole = json.dumps(await entries(ledger), default=str)
    assert made["key"] not in whole
    assert made["key"][8:] not in whole
    assert api.key not in whole
    assert {entry["action"] for entry in await entries(ledger)} == {"key.create", "key.revoke", "podcast.create"}


async def test_an_entry_is_seen_by_its_tenant_alone_and_changed_by_no_service(api: Api, ledger: Ledger) -> None:
    await api.request("POST", "/links", json={"url": SHOP})
    for role in ("api", "auth", "ingest"):
        for table in ("app.audit_log", "app.audit_seals"):
            for right in ("update", "delete", "truncate"):
                assert not await ledger.operator.fetchval(
                    "select has_table_privilege($1, $2, $3)", f"castledger_{role}", table, right
                ), (role, table, right)
        columns = await ledger.operator.fetchval(
            "select count(*) from information_schema.column_privileges where grantee = $1 "
            "and table_name in ('audit_log', 'audit_seals') and privilege_type = 'UPDATE'",
            f"castledger_{role}",
        )
        assert columns == 0
    async with ledger.operator.transaction():
        await ledger.operator.execute("set local role castledger_api")
        assert await ledger.operator.fetchval("select count(*) from app.audit_log") == 0


async def make_links(api: Api, count: int) -> list[str]:
    made = [await api.request("POST", "/links", json={"url": f"{SHOP}{number}"}) for number in range(count)]
    return [answer.json()["link_id"] for answer in made]


async def test_the_record_is_listed_newest_first_in_pages(api: Api, ledger: Ledger) -> None:
    links = await make_links(api, 5)
    assert [one["seq"] for one in (await api.data("/audit"))["data"]] == [None] * 5
    assert await seal_entries(ledger.ingest) == 5
    seen: list[dict[str, Any]] = []
    cursor = None
    for _ in range(3):
        page = await api.data("/audit", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += page["data"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert [one["resource_id"] for one in seen] == links[::-1]
    assert [one["seq"] for one in seen] == [5, 4, 3, 2, 1]
    assert seen[0]["action"] == "link.create"
    assert seen[0]["actor"] == "key"
    assert seen[0]["actor_id"] == str(await key_id(ledger))
    assert seen[0]["after"]["url"] == f"{SHOP}4"
    assert len(bytes.fromhex(seen[0]["hash"])) == 32


async def test_the_record_is_searched(api: Api, ledger: Ledger) -> None:
    (link,) = await make_links(api, 1)
    made = (await api.request("POST", "/api-keys", json={"name": "second"})).json()
    await api.request("DELETE", f"/links/{link}", key=made["key"])

    async def found(**query: Any) -> list[str]:
        return [one["action"] for one in (await api.data("/audit", **query))["data"]]

    assert await found(action="link") == ["link.delete", "link.create"]
    assert await found(action="key.create") == ["key.create"]
    assert await found(action="lin") == []
    assert await found(resource=link) == ["link.delete", "link.create"]
    assert await found(actor_id=made["key_id"]) == ["link.delete"]
    assert await found(actor="key") == ["link.delete", "key.create", "link.create"]
    assert await found(actor="command") == []
    times = [one["at"] for one in (await api.data("/audit"))["data"]]
    assert await found(from_=times[1]) == ["link.delete", "key.create"]
    assert await found(to=times[1]) == ["link.create"]
    assert await found(from_=times[2], to=times[0]) == ["key.create", "link.create"]


async def test_a_search_that_cannot_be_is_refused(api: Api) -> None:
    answer = await api.get(
        "/audit", action="Link;", actor="nobody", actor_id="x", resource="", cursor="x", limit=0, more="1"
    )
    assert {pointer for pointer, _ in codes(answer)} == {
        "action",
        "actor",
        "actor_id",
        "resource",
        "cursor",
        "limit",
        "more",
    }
    assert codes(await api.get("/audit", from_="2026-11-02", to="2026-11-02")) == {("to", "empty_range")}
    assert codes(await api.get("/audit/export", limit=1)) == {("limit", "unknown_parameter")}


async def test_the_whole_record_is_exported_as_lines_that_anybody_can_check(api: Api, ledger: Ledger) -> None:
    await make_links(api, 3)
    assert (await api.get("/audit/export")).content == b""
    await seal_entries(ledger.ingest)
    answer = await api.get("/audit/export")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert lines == (await api.data("/audit"))["data"][::-1]
    tenant_id = str(await ledger.operator.fetchval("select tenant_id from app.tenants where slug = 'home'"))
    previous = bytes(32)
    for line in lines:
        digest = line.pop("hash")
        said = json.dumps({**line, "tenant_id": tenant_id}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        previous = hashlib.sha256(previous + said.encode()).digest()
        assert previous.hex() == digest


async def test_another_tenants_record_is_nobodys(api: Api, ledger: Ledger) -> None:
    (link,) = await make_links(api, 1)
    await seal_entries(ledger.ingest)
    other = await ledger.make_key("other")
    assert (await api.get("/audit", key=other)).json()["data"] == []
    assert (await api.get("/audit", key=other, resource=link)).json()["data"] == []
    assert (await api.get("/audit/export", key=other)).content == b""
