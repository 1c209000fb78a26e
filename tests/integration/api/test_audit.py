"""The record of changes: an entry for each write, in its transaction, and never a secret."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.integration.api.ledger import Api, Ledger, problem

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
