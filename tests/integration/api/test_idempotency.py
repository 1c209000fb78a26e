"""Writes under an `Idempotency-Key`: done once, answered the same, whoever sends them how often."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import httpx
import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.idempotency import KEPT, MAX_ANSWER_BYTES, drop_answers
from tests.integration.api.ledger import Api, Ledger, codes, make_feed, problem

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example.com/"


async def send(
    api: Api, key: str, method: str = "POST", path: str = "/links", *, by: str | None = None, **given: Any
) -> httpx.Response:
    return await api.request(
        method, path, key=by, headers={"Idempotency-Key": key, **given.pop("headers", {})}, **given
    )


async def count(ledger: Ledger, table: str = "app.links") -> int:
    return int(await ledger.operator.fetchval(f"select count(*) from {table}"))


async def test_what_is_sent_twice_is_done_once_and_answered_the_same(api: Api, ledger: Ledger) -> None:
    first = await send(api, "one", json={"url": SHOP})
    again = await send(api, "one", json={"url": SHOP})
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers["content-type"] == first.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (await count(ledger), await count(ledger, "app.audit_log")) == (1, 1)
    # The same without a key, or with another, is another link.
    await send(api, "two", json={"url": SHOP})
    await api.request("POST", "/links", json={"url": SHOP})
    assert await count(ledger) == 3


async def test_an_empty_answer_is_repeated_too(api: Api) -> None:
    link = (await send(api, "made", json={"url": SHOP})).json()["link_id"]
    first = await send(api, "gone", "DELETE", f"/links/{link}")
    again = await send(api, "gone", "DELETE", f"/links/{link}")
    assert (first.status_code, first.content) == (again.status_code, again.content) == (204, b"")
    problem(await send(api, "later", "DELETE", f"/links/{link}"), 404, "not_found")


async def test_a_key_stands_for_one_request_of_one_caller(api: Api, ledger: Ledger) -> None:
    link = (await send(api, "one", json={"url": SHOP})).json()["link_id"]
    problem(await send(api, "one", json={"url": f"{SHOP}x"}), 409, "idempotency_key_reused")
    problem(await send(api, "one", "PATCH", f"/links/{link}", json={"url": SHOP}), 409, "idempotency_key_reused")
    problem(await send(api, "one", "DELETE", f"/links/{link}"), 409, "idempotency_key_reused")
    problem(await send(api, "one", path="/api-keys", json={"name": "x"}), 409, "idempotency_key_reused")
    # Another key of the same tenant, and another tenant, have keys of their own.
    second = (await api.request("POST", "/api-keys", json={"name": "second"})).json()["key"]
    other = await ledger.make_key("other")
    for by in (second, other):
        answer = await send(api, "one", by=by, json={"url": SHOP})
        assert answer.status_code == 201
        assert answer.json()["link_id"] != link


async def test_what_was_refused_may_be_sent_again(api: Api, ledger: Ledger) -> None:
    await api.request("POST", "/links", json={"url": SHOP, "slug": "taken"})
    problem(await send(api, "one", json={"url": SHOP, "slug": "taken"}), 409, "slug_taken")
    problem(await send(api, "two", json={"url": "no"}), 422, "url_invalid")
    assert await count(ledger, "app.idempotency_keys") == 0
    assert (await send(api, "one", json={"url": SHOP, "slug": "free"})).status_code == 201
    assert (await send(api, "two", json={"url": SHOP})).status_code == 201


async def test_twins_at_the_same_moment_have_one_effect_and_one_answer(api: Api, ledger: Ledger) -> None:
    for turn in range(3):
        answers = await asyncio.gather(*(send(api, f"twin-{turn}", json={"url": SHOP}) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert sum("idempotent-replayed" in answer.headers for answer in answers) == 7
    assert (await count(ledger), await count(ledger, "app.audit_log")) == (3, 3)


async def test_the_answer_that_is_seen_once_is_not_kept(api: Api, ledger: Ledger) -> None:
    made = await send(api, "one", path="/api-keys", json={"name": "site"})
    assert made.status_code == 201
    refused = problem(await send(api, "one", path="/api-keys", json={"name": "site"}), 409, "idempotency_answer_gone")
    assert made.json()["key_id"] in refused["detail"]
    stored = await ledger.operator.fetch("select * from app.idempotency_keys")
    assert made.json()["key"] not in repr([dict(row) for row in stored])
    assert len((await api.data("/api-keys"))["data"]) == 2


async def test_the_key_of_a_new_tenant_is_not_kept_either(api: Api, ledger: Ledger) -> None:
    wanted = {"slug": "studio", "name": "Studio"}
    made = (await send(api, "one", path="/tenants", json=wanted)).json()
    refused = problem(await send(api, "one", path="/tenants", json=wanted), 409, "idempotency_answer_gone")
    assert made["tenant_id"] in refused["detail"]
    for table in ("app.idempotency_keys", "app.audit_log"):
        rows = await ledger.operator.fetch(f"select to_jsonb(t)::text from {table} t")
        assert rows
        assert made["api_key"] not in repr(rows)


async def test_a_podcast_is_answered_again_without_looking_at_its_feed(api: Api, ledger: Ledger) -> None:
    sent: dict[str, Any] = {"content": make_feed(1), "headers": {"Content-Type": "application/rss+xml"}}
    first = await send(api, "one", path="/podcasts", **sent)
    again = await send(api, "one", path="/podcasts", **sent)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    other = await ledger.make_key("other")
    taken = problem(await send(api, "one", path="/podcasts", by=other, **sent), 409, "podcast_taken")
    assert "claim_id" not in taken
    too_large = {**sent, "content": b"<rss>" + b" " * 1_100_000}
    assert codes(await send(api, "two", path="/podcasts", **too_large)) == {("", "feed_too_large")}


async def test_a_key_is_kept_for_a_day(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    first = (await send(api, "one", json={"url": SHOP})).json()
    clock.advance(KEPT - dt.timedelta(seconds=1))
    assert (await send(api, "one", json={"url": SHOP})).json() == first
    assert await drop_answers(ledger.ingest, now=clock.now()) == 0
    clock.advance(dt.timedelta(seconds=1))
    # Nobody has to wait for the job: what is over is over.
    later = await send(api, "one", json={"url": f"{SHOP}later"})
    assert later.status_code == 201
    assert (await send(api, "one", json={"url": f"{SHOP}later"})).content == later.content
    clock.advance(KEPT)
    assert await drop_answers(ledger.ingest, now=clock.now()) == 1
    assert await count(ledger, "app.idempotency_keys") == 0


async def test_an_answer_that_is_too_long_is_not_kept(api: Api, ledger: Ledger) -> None:
    assert (await send(api, "one", json={"url": SHOP})).status_code == 201
    with pytest.raises(Exception, match="idempotency_keys_answer_check"):
        await ledger.operator.execute("update app.idempotency_keys set answer = $1", b"x" * (MAX_ANSWER_BYTES + 1))


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é", "tab\t1"])
async def test_a_key_that_is_none_is_refused(api: Api, ledger: Ledger, key: str) -> None:
    sent = [(b"Authorization", f"Bearer {api.key}".encode()), (b"Idempotency-Key", key.encode())]
    answer = await api.http.post("/api/v1/links", json={"url": SHOP}, headers=sent)
    assert codes(answer) == {("Idempotency-Key", "invalid")}
    assert await count(ledger) == 0


async def test_keys_of_all_lengths_and_signs_are_taken(api: Api, ledger: Ledger) -> None:
    for key in ("!", "~", "x" * 255, "'; drop table app.links --".replace(" ", "_"), '"quoted"'):
        assert (await send(api, key, json={"url": SHOP})).status_code == 201
    assert await count(ledger) == 5


async def test_every_write_of_somebody_who_is_known_says_that_it_takes_a_key(api: Api) -> None:
    document = await api.data("/openapi.json")
    keyed = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            # Whoever signs in is nobody yet whose key it could be.
            is_open = operation.get("security") == []
            named = [one["name"] for one in operation["parameters"] if one["name"] == "Idempotency-Key"]
            assert named == ([] if method == "get" or is_open else ["Idempotency-Key"]), (method, path)
            keyed += len(named)
            assert not named or "409" in operation["responses"], (method, path)
    assert keyed > 15


async def test_a_versions_tag_is_repeated_with_its_answer(api: Api) -> None:
    first = await send(api, "made", path="/sponsors", json={"name": "O'Brien; DROP TABLE"})
    path = f"/sponsors/{first.json()['sponsor_id']}"
    change: dict[str, Any] = {"headers": {"If-Match": first.headers["etag"]}, "json": {"name": "O'Brien"}}
    changed = await send(api, "changed", "PATCH", path, **change)
    assert changed.headers["etag"] != first.headers["etag"]
    # That the version has moved on meanwhile is what it did itself.
    given: dict[str, Any]
    for key, method, at, given, answer in (
        ("made", "POST", "/sponsors", {"json": {"name": "O'Brien; DROP TABLE"}}, first),
        ("changed", "PATCH", path, change, changed),
    ):
        again = await send(api, key, method, at, **given)
        assert (again.status_code, again.content) == (answer.status_code, answer.content)
        assert again.headers["etag"] == answer.headers["etag"]
        assert again.headers["idempotent-replayed"] == "true"
