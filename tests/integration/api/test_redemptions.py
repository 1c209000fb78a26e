"""A shop's list of orders: taken as a whole or not at all, once, whatever is sent again."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from analytics_core.conversions import ActionCategory
from analytics_core.redemptions import MAX_BYTES, MAX_ROWS
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

HEAD = "external_id,occurred_at,code,value,currency,customer_id"


async def make_action(api: Api) -> str:
    sponsor = (await api.request("POST", "/sponsors", json={"name": "Acme"})).json()
    given = {"sponsor_id": sponsor["sponsor_id"], "name": "Purchase", "category": ActionCategory.PURCHASE}
    return str((await api.request("POST", "/conversion-actions", json=given)).json()["action_id"])


@pytest.fixture
async def action_id(api: Api) -> str:
    return await make_action(api)


async def send(api: Api, action_id: str, *lines: str, head: str = HEAD, **query: Any) -> Any:
    return await api.request(
        "POST",
        "/attribution/redemptions",
        params={"action_id": action_id, **query},
        content="\r\n".join([head, *lines]).encode(),
        headers={"Content-Type": "text/csv; charset=utf-8", **query.pop("headers", {})},
    )


def order(name: str, *, value: str = "49.99", code: str = "SAVE20", customer: str = "") -> str:
    return f"{name},2026-11-20T10:00:00Z,{code},{value},EUR,{customer}"


async def stored(api: Api) -> list[Any]:
    rows: list[Any] = (await api.data("/attribution/conversions"))["data"]
    return rows


async def test_a_list_is_taken_once_however_often_it_is_sent(api: Api, action_id: str) -> None:
    lines = [order("1", customer="u_1"), order("2"), order("2"), "", order("3", value="", code="")]
    dry = await send(api, action_id, *lines, dry_run="true")
    assert dry.json() == {"rows": 4, "created": 3, "repeated": 1, "is_dry_run": True, "warnings": []}
    assert await stored(api) == []
    first = await send(api, action_id, *lines)
    assert (first.status_code, first.json()) == (200, {**dry.json(), "is_dry_run": False})
    again = await send(api, action_id, *reversed(lines), order("4"))
    assert again.json() == {"rows": 5, "created": 1, "repeated": 4, "is_dry_run": False, "warnings": []}
    rows = {row["external_id"]: row for row in await stored(api)}
    assert set(rows) == {"1", "2", "3", "4"}
    assert (rows["1"]["source"], rows["1"]["value_amount"], rows["1"]["promo_code"]) == ("csv", 4999, "SAVE20")
    assert rows["1"]["customer_key"] is not None
    assert rows["3"]["value_amount"] is None


async def test_an_order_from_a_list_and_from_a_server_is_one(api: Api, action_id: str) -> None:
    said = {
        "action_id": action_id,
        "external_id": "1",
        "occurred_at": "2026-11-20T11:00:00+01:00",
        "promo_code": "SAVE20",
        "value_amount": 4999,
        "currency": "EUR",
        "customer_id": "u_1",
    }
    assert (await api.request("POST", "/attribution/conversions", json=said)).status_code == 201
    assert (await send(api, action_id, order("1", customer="u_1"))).json()["repeated"] == 1


async def test_one_line_that_is_wrong_keeps_all_from_being_stored(api: Api, action_id: str) -> None:
    await send(api, action_id, order("old"))
    answer = await send(api, action_id, order("new"), order("bad", value="-1"), order("new", value="1"))
    assert codes(answer) == {("/3/value", "invalid"), ("/4", "conversion_differs")}
    assert problem(answer, 422, "bad_lines")["detail"].startswith("nothing was stored: 2 faults")
    for dry_run in ("true", "false"):
        answer = await send(api, action_id, order("new"), order("old", value="1"), dry_run=dry_run)
        assert codes(answer) == {("/3", "conversion_differs")}
    assert [row["external_id"] for row in await stored(api)] == ["old"]


async def test_of_very_many_faults_the_first_are_told(api: Api, action_id: str) -> None:
    answer = await send(api, action_id, *(order(str(number), value="x") for number in range(1500)))
    body = problem(answer, 422, "bad_lines")
    assert (len(body["errors"]), body["errors"][999]["pointer"]) == (1000, "/1001/value")
    assert "1500 faults were found, the first 1000 of which are listed" in body["detail"]


async def test_what_is_not_read_is_named(api: Api, action_id: str) -> None:
    head = "order;occurred_at;code;Gift;value"
    answer = await send(api, action_id, "1;2026-11-20 10:00;X;a;5", head=head, tz="UTC", currency="USD")
    assert answer.json()["warnings"] == ["these columns were not read: Gift"]
    (row,) = await stored(api)
    assert (row["value_amount"], row["currency"]) == (500, "USD")


async def test_a_file_that_is_no_list_is_refused(api: Api, action_id: str) -> None:
    async def sent(content: bytes, media_type: str = "text/csv", **query: str) -> Any:
        params = {"action_id": action_id, **query}
        headers = {"Content-Type": media_type}
        return await api.request("POST", "/attribution/redemptions", params=params, content=content, headers=headers)

    problem(await sent(b"PK\x03\x04rest"), 415, "unsupported_media_type")
    problem(await sent(b"{}", "application/json"), 415, "unsupported_media_type")
    problem(await sent(b"a,b\n"), 422, "missing")
    problem(await sent(b"\xff\xfe"), 422, "not_utf8")
    problem(await sent(b"x" * (MAX_BYTES + 1)), 413, "too_large")
    line = b"1,2026-11-20T10:00:00Z,X\n"
    many = b"external_id,occurred_at,code\n" + line * (MAX_ROWS + 1)
    problem(await sent(many), 413, "too_many_rows")
    assert codes(await sent(line, tz="Mars", currency="eur", dry_run="yes")) == {
        ("tz", "unknown_time_zone"),
        ("currency", "invalid"),
        ("dry_run", "invalid"),
    }
    problem(await send(api, str(uuid4()), order("1")), 404, "not_found")
    await api.request("POST", f"/conversion-actions/{action_id}/archive")
    problem(await send(api, action_id, order("1")), 409, "action_archived")


async def test_a_long_list_is_stored_in_pieces_and_as_a_whole(api: Api, ledger: Ledger, action_id: str) -> None:
    lines = [order(str(number), customer=f"u_{number % 50}") for number in range(5_000)]
    answer = await send(api, action_id, *lines)
    assert answer.json()["created"] == 5_000
    counted = await ledger.ingest.fetchrow("select count(*), count(distinct customer_key) from app.conversions")
    assert counted is not None
    assert tuple(counted) == (5_000, 50)
    # The last line says something else: the new ones before it are not stored either.
    answer = await send(api, action_id, *(order(f"n{number}") for number in range(3_000)), order("7", value="1"))
    assert codes(answer) == {("/3002", "conversion_differs")}
    assert await ledger.ingest.fetchval("select count(*) from app.conversions") == 5_000
