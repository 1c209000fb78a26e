"""Spikes as the API tells of them, and what is decided about them."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from analytics_core.clock import FixedClock
from analytics_core.ids import new_id
from analytics_core.verdicts import Evidence
from ingest.rollups import refresh_rollups
from ingest.spikes import apply_due
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

DAY = "2026-11-02"
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


@pytest.fixture
async def podcast(api: Api) -> str:
    podcast_id: str = (await api.add_podcast())["podcast_id"]
    return podcast_id


@pytest.fixture
async def episode(api: Api, podcast: str) -> str:
    return str((await api.data(f"/podcasts/{podcast}/episodes"))["data"][0]["episode_id"])


async def flag(ledger: Ledger, podcast: str, hour: int = 11, **what: Any) -> str:
    """Enter a spike as the guard would; returns its id."""
    begins = dt.datetime.fromisoformat(f"{DAY}T{hour:02}:00+00:00")
    spike_id = new_id()
    await ledger.ingest.execute(
        "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, app, listener_key, asn,"
        " usual, hits, downloads, episodes, found_at)"
        " select tenant_no, $2, podcast_no, $3, $4, $5, $6, $7, $8, '{1}', 2, 2, 1, $9 from app.podcasts"
        " where podcast_id = $1",
        UUID(podcast),
        spike_id,
        what.get("kind", "agent"),
        begins,
        begins + dt.timedelta(hours=1),
        what.get("app"),
        what.get("listener_key"),
        what.get("asn"),
        NOW,
    )
    return str(spike_id)


async def decide(api: Api, spike: str, what: str, reason: str = "a crawler", **given: Any) -> Any:
    return await api.request("POST", f"/spikes/{spike}/{what}", json={"reason": reason}, **given)


async def apply(ledger: Ledger) -> None:
    await apply_due(ledger.ingest, clock=FixedClock(NOW))
    while await refresh_rollups(ledger.ingest):
        continue


async def downloads(api: Api, podcast: str) -> int:
    body = await api.data("/analytics/downloads", podcast_id=podcast, from_=DAY, to="2026-11-03")
    return sum(row["downloads"] for row in body["data"])


@pytest.fixture
async def flood(ledger: Ledger, episode: str) -> list[str]:
    """Land two hits of Earwig at 11, and two of others; returns the ids of the two."""
    earwig = await ledger.agent("Earwig/1.0", app="Earwig")
    await ledger.land(f"{DAY}T09:00+00:00", episode, listener=7)
    hits = [
        await ledger.land(f"{DAY}T11:0{number}+00:00", episode, listener=number, agent_no=earwig)
        for number in range(1, 3)
    ]
    await ledger.land(f"{DAY}T11:30+00:00", episode, listener=8, evidence=Evidence.PROBE)
    await ledger.mark_dirty(episode, DAY)
    await ledger.finalise("home", [DAY])
    while await refresh_rollups(ledger.ingest):
        continue
    return hits


async def test_a_spike_is_told_with_its_hours_its_hits_and_what_it_changes(
    api: Api, ledger: Ledger, podcast: str, episode: str, flood: list[str]
) -> None:
    spike = await flag(ledger, podcast, app="Earwig")
    (listed,) = (await api.data("/spikes"))["data"]
    assert listed == {
        "spike_id": spike,
        "podcast_id": podcast,
        "kind": "agent",
        "begins_at": f"{DAY}T11:00:00Z",
        "ends_at": f"{DAY}T12:00:00Z",
        "listener": None,
        "app": "Earwig",
        "user_agent": None,
        "asn": None,
        "country": None,
        "hits": 2,
        "downloads": 2,
        "episodes": 1,
        "expected": 1,
        "found_at": "2026-11-20T12:00:00Z",
        "state": "open",
        "pending": False,
        "reason": None,
        "origin": None,
        "key_id": None,
        "decided_at": None,
        "applied_at": None,
        "refusal": None,
    }
    told = await api.data(f"/spikes/{spike}")
    assert told["sample"] == flood
    assert told["by_episode"] == [
        {"episode_id": episode, "title": "Episode 1", "downloads_with": 4, "downloads_without": 2}
    ] or told["by_episode"] == [
        {"episode_id": episode, "title": "Episode 2", "downloads_with": 4, "downloads_without": 2}
    ]
    assert [row for row in told["hours"] if row["requests"]] == [{"hour": 11, "requests": 2, "expected": 1}]
    assert len(told["hours"]) == 24
    other = await ledger.make_key("other")
    assert (await api.get("/spikes", key=other)).json()["data"] == []
    problem(await api.get(f"/spikes/{spike}", key=other), 404, "not_found")
    problem(await decide(api, spike, "accept", key=other), 404, "not_found")


async def test_a_source_is_named_by_the_beginning_of_its_key(api: Api, ledger: Ledger, podcast: str) -> None:
    key = UUID(int=0xABCDEF01 << 96)
    await flag(ledger, podcast, kind="source", listener_key=key)
    (listed,) = (await api.data("/spikes", kind="source"))["data"]
    assert listed["listener"] == "abcdef01"


async def test_accepting_changes_figures_and_explanations_and_reverting_undoes_it(
    api: Api, ledger: Ledger, podcast: str, episode: str, flood: list[str]
) -> None:
    spike = await flag(ledger, podcast, app="Earwig")
    before = await api.data("/analytics/explain", podcast_id=podcast, day=DAY)
    assert (await downloads(api, podcast), before["left_out"]) == (4, 0)
    accepted = await decide(api, spike, "accept")
    assert accepted.status_code == 202
    assert (accepted.json()["state"], accepted.json()["pending"], accepted.json()["origin"]) == (
        "accepted",
        True,
        "key",
    )
    problem(await decide(api, spike, "revert"), 409, "decision_pending")
    await apply(ledger)
    assert await downloads(api, podcast) == 2
    day = await api.data("/analytics/explain", podcast_id=podcast, day=DAY)
    assert (day["hits"], day["downloads"], day["left_out"], day["repeats"]) == (4, 2, 2, 0)
    hit = await api.data(f"/analytics/hits/{flood[0]}")
    assert (hit["counted"], hit["spike_id"], hit["flags"]) == (False, spike, ["spike"])
    assert hit["why"].startswith("Left out: it is of a spike that was accepted on 20")
    compared = await api.data(
        "/analytics/compare", episode_id=episode, from_=DAY, to="2026-11-03", profiles="castledger-1,op3"
    )
    assert compared["profiles"][0]["downloads"] == 2
    (record,) = (await api.data("/restatements"))["data"]
    assert (record["reason"], record["origin"], record["downloads_before"], record["downloads_after"]) == (
        "spike accepted: a crawler",
        "key",
        4,
        2,
    )
    problem(await decide(api, spike, "accept"), 409, "wrong_state")
    problem(await decide(api, spike, "dismiss"), 409, "wrong_state")
    assert (await decide(api, spike, "revert", "people")).status_code == 202
    await apply(ledger)
    assert await downloads(api, podcast) == 4
    after = await api.data("/analytics/explain", podcast_id=podcast, day=DAY)
    assert {**after, "restated": 0} == before


async def test_what_is_dismissed_changes_nothing_and_can_be_accepted_later(
    api: Api, ledger: Ledger, podcast: str, flood: list[str]
) -> None:
    spike = await flag(ledger, podcast, app="Earwig")
    assert (await decide(api, spike, "dismiss", "featured")).json()["state"] == "dismissed"
    problem(await decide(api, spike, "revert"), 409, "wrong_state")
    await apply(ledger)
    assert await downloads(api, podcast) == 4
    assert (await decide(api, spike, "accept")).status_code == 202


async def test_days_whose_hits_are_gone_and_bad_reasons_are_refused(
    api: Api, ledger: Ledger, podcast: str, flood: list[str]
) -> None:
    spike = await flag(ledger, podcast, app="Earwig")
    assert codes(await decide(api, spike, "accept", "")) == {("/reason", "invalid")}
    assert codes(await decide(api, spike, "accept", "  ")) == {("/reason", "invalid")}
    assert codes(await decide(api, spike, "accept", "a\nb")) == {("/reason", "invalid")}
    assert codes(await decide(api, spike, "accept", "x" * 501)) == {("/reason", "invalid")}
    problem(await decide(api, str(new_id()), "accept"), 404, "not_found")
    await ledger.operator.execute("update ops.days set hits_incomplete = true")
    refused = problem(await decide(api, spike, "accept"), 409, "not_kept")
    assert "its hits are not kept any more" in refused["detail"]
    assert (await decide(api, spike, "dismiss")).status_code == 200


async def test_spikes_are_filtered_and_come_in_pages(api: Api, ledger: Ledger, podcast: str) -> None:
    spikes = [await flag(ledger, podcast, hour, app="Earwig") for hour in range(5)]
    await flag(ledger, podcast, kind="network", asn=64500)
    await decide(api, spikes[0], "dismiss")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await api.data("/spikes", limit=2, kind="agent", **({"cursor": cursor} if cursor else {}))
        seen += [row["spike_id"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert seen == spikes[::-1]
    of_state = await api.data("/spikes", state="dismissed", podcast_id=podcast)
    assert [row["spike_id"] for row in of_state["data"]] == spikes[:1]
    assert codes(await api.get("/spikes", state="x", kind="y", cursor="z", by="day")) == {
        ("state", "invalid"),
        ("kind", "invalid"),
        ("cursor", "bad_cursor"),
        ("by", "unknown_parameter"),
    }
