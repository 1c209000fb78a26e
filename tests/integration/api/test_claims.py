"""A feed that is taken can be had by whoever proves that it is theirs, and by nobody else."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from typing import Any
from uuid import UUID

import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.transfers import settle_claims
from tests.integration.api.feed_hosts import FeedHost, feed_host
from tests.integration.api.ledger import Api, Ledger, make_feed, problem

pytestmark = pytest.mark.anyio


def with_text(feed: bytes, text: str) -> bytes:
    """Put a description into a feed's channel."""
    return feed.replace(b"<language>", f"<description>{text}</description><language>".encode(), 1)


async def add(api: Api, url: str, *, key: str | None = None) -> dict[str, Any]:
    answer = await api.request("POST", "/podcasts", key=key, json={"feed_url": url})
    assert answer.status_code == 201, answer.text
    added: dict[str, Any] = answer.json()
    return added


async def claim(api: Api, host: FeedHost, key: str) -> dict[str, Any]:
    """Ask for a taken feed, and take the claim that comes with the refusal."""
    refusal = problem(
        await api.request("POST", "/podcasts", key=key, json={"feed_url": host.url}), 409, "podcast_taken"
    )
    return (await api.get(f"/podcasts/claims/{refusal['claim_id']}", key=key)).json()  # type: ignore[no-any-return]


async def check(api: Api, claim_id: str, key: str) -> dict[str, Any]:
    answer = await api.request("POST", f"/podcasts/claims/{claim_id}/check", key=key)
    assert answer.status_code == 200, answer.text
    checked: dict[str, Any] = answer.json()
    return checked


async def episodes_of(api: Api, podcast_id: str, key: str) -> list[tuple[str, list[object]]]:
    listed = (await api.get(f"/podcasts/{podcast_id}/episodes", key=key)).json()["data"]
    return [(episode["guid"], episode["enclosures"]) for episode in listed]


async def test_a_taken_feed_starts_a_claim_that_tells_nothing_of_its_owner(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host:
        podcast = await add(api, host.url)
        answer = await api.request("POST", "/podcasts", key=other, json={"feed_url": host.url})
        refusal = problem(answer, 409, "podcast_taken")
        again = problem(
            await api.request("POST", "/podcasts", key=other, json={"feed_url": host.url}), 409, "podcast_taken"
        )
    home = await ledger.tenant_of("home")
    for secret in (podcast["podcast_id"], str(home.tenant_id), "home"):
        assert secret not in answer.text
    assert refusal["token"] in refusal["detail"]
    assert refusal["expires_at"] == "2026-12-08T12:00:00Z"
    assert (again["claim_id"], again["token"]) == (refusal["claim_id"], refusal["token"])
    listed = (await api.get("/podcasts/claims", key=other)).json()
    shown = (await api.get(f"/podcasts/claims/{refusal['claim_id']}", key=other)).json()
    assert listed == {"data": [shown], "next_cursor": None}
    assert shown["token"] in shown.pop("what_to_do")
    assert shown == {
        "claim_id": refusal["claim_id"],
        "status": "open",
        "title": "Podcast 1",
        "feed_url": host.url,
        "token": refusal["token"],
        "created_at": "2026-11-24T12:00:00Z",
        "expires_at": "2026-12-08T12:00:00Z",
        "checks": 0,
        "checked_at": None,
        "check_fault": None,
        "proof": None,
        "proven_at": None,
        "closed_at": None,
        "podcast_id": None,
    }


@pytest.mark.parametrize("how", ["podcast_txt", "channel_text"])
async def test_a_proven_claim_moves_the_podcast(api: Api, ledger: Ledger, how: str) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host:
        podcast = await add(api, host.url)
        started = await claim(api, host, other)
        text = started["token"]
        if how == "podcast_txt":
            tag = f'<podcast:txt purpose="verify">{text}</podcast:txt><item>'.encode()
            host.body = make_feed().replace(b"<item>", tag, 1)
        else:
            host.body = with_text(make_feed(), f"A podcast. {text}")
        checked = await check(api, started["claim_id"], other)
        assert (checked["status"], checked["proof"], checked["check_fault"]) == ("proven", how, None)
        # Asked again, it says the same and fetches nothing.
        asked = host.asked
        assert (await check(api, started["claim_id"], other))["status"] == "proven"
        assert host.asked == asked
        assert await settle_claims(ledger.ingest, now=dt.datetime(2026, 11, 24, 12, 5, tzinfo=dt.UTC)) == 1
        assert await settle_claims(ledger.ingest, now=dt.datetime(2026, 11, 24, 12, 6, tzinfo=dt.UTC)) == 0
        # The former owner adds it once more, and is where the other one was.
        problem(await api.request("POST", "/podcasts", json={"feed_url": host.url}), 409, "podcast_taken")
    ended = (await api.get(f"/podcasts/claims/{started['claim_id']}", key=other)).json()
    assert (ended["status"], ended["closed_at"], ended["what_to_do"]) == ("moved", "2026-11-24T12:05:00Z", None)
    moved = (await api.get(f"/podcasts/{ended['podcast_id']}", key=other)).json()
    assert moved["podcast_id"] != podcast["podcast_id"]
    for same in ("title", "feed_url", "podcast_guid", "link", "language", "episodes", "prefix"):
        assert moved[same] == podcast[same]
    assert moved["verified"] is True
    assert (moved["archived_at"], moved["transferred_at"]) == (None, None)
    left = await api.data(f"/podcasts/{podcast['podcast_id']}")
    assert left["verified"] is False
    assert left["prefix"] is None
    assert left["archived_at"] == left["transferred_at"] == "2026-11-24T12:05:00Z"
    assert "another owner" in left["feed_error"]
    old = await episodes_of(api, podcast["podcast_id"], api.key)
    new = await episodes_of(api, ended["podcast_id"], other)
    assert [guid for guid, _ in old] == [guid for guid, _ in new]
    assert all(enclosures == [] for _, enclosures in old)
    assert all(enclosures for _, enclosures in new)
    record = await ledger.ingest.fetchrow("select * from app.podcast_transfers")
    home, there = await ledger.tenant_of("home"), await ledger.tenant_of("other")
    assert record is not None
    assert (record["from_tenant_id"], record["to_tenant_id"]) == (home.tenant_id, there.tenant_id)
    assert (record["proof"], record["feed_url"], str(record["claim_id"])) == (how, host.url, started["claim_id"])
    assert record["podcast_guid"] == UUID(podcast["podcast_guid"])
    assert record["feed_digest"] == hashlib.sha256(host.body).digest()


async def test_history_stays_with_the_former_owner(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host:
        podcast = await add(api, host.url)
        episodes = await api.data(f"/podcasts/{podcast['podcast_id']}/episodes")
        await ledger.land("2026-11-20T10:00:00Z", episodes["data"][0]["episode_id"])
        await ledger.roll_up()
        started = await claim(api, host, other)
        host.body = with_text(make_feed(), started["token"])
        await check(api, started["claim_id"], other)
    await settle_claims(ledger.ingest, now=dt.datetime(2026, 11, 24, 12, 5, tzinfo=dt.UTC))
    new_id = (await api.get(f"/podcasts/claims/{started['claim_id']}", key=other)).json()["podcast_id"]
    query = {"from_": "2026-11-20", "to": "2026-11-21"}
    before = await api.data("/analytics/downloads", podcast_id=podcast["podcast_id"], **query)
    assert [figure["downloads"] for figure in before["data"]] == [1]
    after = (await api.get("/analytics/downloads", key=other, podcast_id=new_id, **query)).json()
    assert [figure["downloads"] for figure in after["data"]] == [0]
    assert (await api.get("/analytics/hits", key=other, **query)).json()["data"] == []


async def test_another_tenants_claim_is_not_there(api: Api, ledger: Ledger) -> None:
    other, third = await ledger.make_key("other"), await ledger.make_key("third")
    with feed_host(make_feed()) as host:
        await add(api, host.url)
        started = await claim(api, host, other)
        host.body = with_text(make_feed(), started["token"])
        for key in (third, api.key):
            path = f"/podcasts/claims/{started['claim_id']}"
            foreign = problem(await api.get(path, key=key), 404, "not_found")
            problem(await api.request("POST", f"{path}/check", key=key), 404, "not_found")
            assert foreign["detail"] == "no such claim"
            assert (await api.get("/podcasts/claims", key=key)).json()["data"] == []
        # Nor does anybody else's token help: a third claim has one of its own.
        own = await claim(api, host, third)
        assert own["token"] != started["token"]
        checked = await check(api, own["claim_id"], third)
    assert checked["status"] == "open"
    assert checked["check_fault"]["code"] == "token_not_found"
    for path in ("/podcasts/claims/not-an-id", f"/podcasts/claims/{UUID(int=7)}"):
        problem(await api.get(path), 404, "not_found")


async def test_a_feed_is_fetched_once_a_minute_a_claim(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host:
        await add(api, host.url)
        started = await claim(api, host, other)
        asked = host.asked
        path = f"/podcasts/claims/{started['claim_id']}/check"
        answers = await asyncio.gather(*(api.request("POST", path, key=other) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 429, 429]
        clock.advance(dt.timedelta(seconds=59.5))
        late = await api.request("POST", path, key=other)
        problem(late, 429, "too_soon")
        assert late.headers["Retry-After"] == "1"
        assert host.asked == asked + 1
        clock.advance(dt.timedelta(seconds=0.5))
        assert (await check(api, started["claim_id"], other))["checks"] == 2


async def test_a_claim_expires_and_the_next_has_another_token(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host:
        await add(api, host.url)
        started = await claim(api, host, other)
        host.body = with_text(make_feed(), started["token"])
        clock.advance(dt.timedelta(days=14))
        path = f"/podcasts/claims/{started['claim_id']}"
        assert (await api.get(path, key=other)).json()["status"] == "expired"
        problem(await api.request("POST", f"{path}/check", key=other), 409, "claim_ended")
        second = await claim(api, host, other)
        assert second["claim_id"] != started["claim_id"]
        assert second["token"] != started["token"]
        assert (await check(api, second["claim_id"], other))["status"] == "open"
    pages = [(await api.get("/podcasts/claims", key=other, limit=1)).json()]
    pages.append((await api.get("/podcasts/claims", key=other, limit=1, cursor=pages[0]["next_cursor"])).json())
    assert [page["data"][0]["status"] for page in pages] == ["expired", "open"]
    assert pages[1]["next_cursor"] is None


async def test_the_token_is_looked_for_where_the_feed_is_registered_and_nowhere_else(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as registered, feed_host(make_feed()) as copy:
        await add(api, registered.url)
        # A copy of the feed, under the claimer's control, names the same podcast.
        started = await claim(api, copy, other)
        # Where the feed is registered is its owner's to know.
        assert started["feed_url"] is None
        copy.body = with_text(make_feed(), started["token"])
        asked = copy.asked
        checked = await check(api, started["claim_id"], other)
        assert copy.asked == asked
        assert checked["check_fault"]["code"] == "token_not_found"
        assert registered.url not in str(checked)


@pytest.mark.parametrize(
    ("body", "status", "code"), [(b"gone", 404, "feed_status"), (b"<html>no feed</html>", 200, "not_a_feed")]
)
async def test_a_feed_that_cannot_be_read_proves_nothing(
    api: Api, ledger: Ledger, body: bytes, status: int, code: str
) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host:
        await add(api, host.url)
        started = await claim(api, host, other)
        host.body, host.status = body, status
        checked = await check(api, started["claim_id"], other)
    assert (checked["status"], checked["check_fault"]["code"]) == ("open", code)
    assert "127.0.0.1" not in checked["check_fault"]["message"]


async def test_a_podcast_of_ones_own_is_verified_by_the_same_proof(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host:
        podcast = await add(api, host.url, key=other)
        assert podcast["verified"] is False
        path = f"/podcasts/{podcast['podcast_id']}/claims"
        started = await api.request("POST", path, key=other)
        assert started.status_code == 201
        claim_id = started.json()["claim_id"]
        assert started.json()["feed_url"] == host.url
        # Adding it once more leads to the same claim.
        assert (await claim(api, host, other))["claim_id"] == claim_id
        problem(await api.request("POST", path), 404, "not_found")
        host.body = with_text(make_feed(), started.json()["token"])
        assert (await check(api, claim_id, other))["status"] == "proven"
        assert await settle_claims(ledger.ingest, now=dt.datetime(2026, 11, 24, 12, 5, tzinfo=dt.UTC)) == 1
        ended = (await api.get(f"/podcasts/claims/{claim_id}", key=other)).json()
        assert (ended["status"], ended["podcast_id"]) == ("verified", podcast["podcast_id"])
        assert (await api.get(f"/podcasts/{podcast['podcast_id']}", key=other)).json()["verified"] is True
        problem(await api.request("POST", path, key=other), 409, "already_verified")
        refusal = problem(
            await api.request("POST", "/podcasts", key=other, json={"feed_url": host.url}), 409, "podcast_taken"
        )
    assert "claim_id" not in refusal
    assert await ledger.ingest.fetchval("select count(*) from app.podcast_transfers") == 0


async def test_a_podcast_without_a_feeds_address_cannot_be_claimed(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    podcast = await api.add_podcast(key=other)
    problem(await api.request("POST", f"/podcasts/{podcast['podcast_id']}/claims", key=other), 409, "no_feed_url")
    with feed_host(make_feed()) as host:
        refusal = problem(await api.request("POST", "/podcasts", json={"feed_url": host.url}), 409, "podcast_taken")
    assert "claim_id" not in refusal
    assert "operator" in refusal["detail"]


async def test_a_feed_with_somebody_elses_enclosures_leads_to_the_podcast_that_owns_them(
    api: Api, ledger: Ledger
) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host, feed_host(make_feed().replace(b"000000000001", b"0000000000ff")) as alike:
        await add(api, host.url)
        started = await claim(api, alike, other)
        host.body = with_text(make_feed(), started["token"])
        assert (await check(api, started["claim_id"], other))["status"] == "proven"


async def test_a_podcast_that_moved_cannot_be_verified_by_its_former_owner(api: Api, ledger: Ledger) -> None:
    other, third = await ledger.make_key("other"), await ledger.make_key("third")
    with feed_host(make_feed()) as host:
        podcast = await add(api, host.url, key=other)
        first, late = await claim(api, host, api.key), await claim(api, host, third)
        host.body = with_text(make_feed(), f"{first['token']} {late['token']}")
        for one, key in ((first, api.key), (late, third)):
            assert (await check(api, one["claim_id"], key))["status"] == "proven"
        # Both are proven; the first has it, and the second would have to prove itself against the new owner.
        assert await settle_claims(ledger.ingest, now=dt.datetime(2026, 11, 24, 12, 5, tzinfo=dt.UTC)) == 1
        assert (await api.get(f"/podcasts/claims/{late['claim_id']}", key=third)).json()["status"] == "superseded"
        problem(await api.request("POST", f"/podcasts/claims/{late['claim_id']}/check", key=third), 409, "claim_ended")
        problem(await api.request("POST", f"/podcasts/{podcast['podcast_id']}/claims", key=other), 409, "podcast_moved")


async def test_a_suspended_tenant_gets_nothing(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    with feed_host(make_feed()) as host:
        await add(api, host.url)
        started = await claim(api, host, other)
        host.body = with_text(make_feed(), started["token"])
        await check(api, started["claim_id"], other)
    await ledger.suspend("other")
    await api.until_refused(other)
    path = f"/podcasts/claims/{started['claim_id']}/check"
    problem(await api.request("POST", path, key=other), 403, "tenant_suspended")
    assert await settle_claims(ledger.ingest, now=dt.datetime(2026, 11, 24, 12, 5, tzinfo=dt.UTC)) == 0
