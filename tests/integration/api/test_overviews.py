"""A podcast or a tenant at a glance: the figures of the other routes, in any time zone."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.test_downloads import World

pytestmark = pytest.mark.anyio

PATH = "/analytics/overview"


@pytest.fixture
async def world(api: Api, ledger: Ledger) -> World:
    return await World(api, ledger).fill()


def top(part: Any) -> list[tuple[str, int, int]]:
    return [(value["key"], value["downloads"], value["downloads_strict"]) for value in part["data"]]


async def test_a_podcast_at_a_glance(world: World) -> None:
    answer = await world.api.data(PATH, podcast_id=world.podcast, from_="2026-11-01", to="2026-11-02")
    one, two = world.episodes
    assert (answer["downloads"], answer["downloads_strict"], answer["listeners"]) == (4, 3, 3)
    assert answer["former"] == {
        "from": "2026-10-31T00:00:00Z",
        "to": "2026-11-01T00:00:00Z",
        "downloads": 1,
        "downloads_strict": 1,
        "change": 3.0,
    }
    # With as many downloads, the one that was added last comes first.
    assert top(answer["episodes"]) in ([(two, 2, 1), (one, 2, 2)], [(one, 2, 2), (two, 2, 1)])
    assert {value["title"] for value in answer["episodes"]["data"]} == {"Episode 1", "Episode 2"}
    assert top(answer["apps"]) == [("Castaway", 2, 1), ("Overcast", 2, 2)]
    assert top(answer["countries"]) == [("", 3, 2), ("US", 1, 1)]
    assert [value["share"] for value in answer["countries"]["data"]] == [0.75, 0.25]
    assert answer["podcasts"] is None
    assert (answer["state"], answer["partial"], answer["tz"]) == ("provisional", False, "UTC")


async def test_a_tenant_at_a_glance_and_what_is_not_named(world: World) -> None:
    answer = await world.api.data(PATH, from_="2026-11-01", to="2026-11-02", limit=1)
    assert (answer["downloads"], answer["downloads_strict"], answer["listeners"]) == (5, 4, 4)
    (podcast,) = answer["podcasts"]["data"]
    assert (podcast["key"], podcast["title"], podcast["downloads"]) == (world.podcast, "Podcast 1", 4)
    for name in ("podcasts", "episodes", "apps", "countries"):
        part = answer[name]
        assert len(part["data"]) == 1
        assert part["other_downloads"] + part["data"][0]["downloads"] == 5
        assert part["other_downloads_strict"] + part["data"][0]["downloads_strict"] == 4
        assert part["other_values"] == (2 if name == "episodes" else 1)


async def test_before_counting_began_there_is_nothing_to_compare_with(world: World) -> None:
    answer = await world.api.data(PATH, podcast_id=world.podcast, from_="2026-10-31", to="2026-11-02")
    assert (answer["former"], answer["downloads"]) == (None, 5)
    later = await world.api.data(PATH, podcast_id=world.podcast, from_="2026-11-04", to="2026-11-05")
    assert (later["downloads"], later["listeners"], later["former"]["change"]) == (0, 0, None)
    assert later["episodes"] == {"data": [], "other_values": 0, "other_downloads": 0, "other_downloads_strict": 0}
    empty = await world.api.data(PATH, podcast_id=world.other, from_="2026-12-01", to="2026-12-02")
    assert (empty["former"]["downloads"], empty["state"]) == (0, "live")


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("Asia/Kolkata", ("2026-11-01", "2026-11-03")),
        ("Asia/Kathmandu", ("2026-11-01", "2026-11-03")),
        # Clocks are set back on the first of November in America, and were on the 25th of October in Europe.
        ("America/New_York", ("2026-11-01", "2026-11-02")),
        ("Europe/Berlin", ("2026-10-25", "2026-10-26")),
    ],
)
async def test_any_time_zone_is_exact_to_the_quarter_hour(world: World, zone: str, days: tuple[str, str]) -> None:
    ledger, tz = world.ledger, ZoneInfo(zone)
    first, last = (dt.datetime.fromisoformat(day).replace(tzinfo=tz) for day in days)
    # Right before and right at either end of the range, and of the one before it.
    before = dt.datetime.combine(first.date() - (last.date() - first.date()), dt.time(), tz)
    edges = [before, first, last]
    for number, edge in enumerate(edges):
        at = edge.astimezone(dt.UTC)
        await ledger.land((at - dt.timedelta(seconds=1)).isoformat(), world.episodes[0], listener=100 + 2 * number)
        await ledger.land(at.isoformat(), world.episodes[0], listener=101 + 2 * number)
    await ledger.land("2026-10-01T00:00+00:00", world.episodes[1], listener=99)
    await ledger.roll_up()
    landed = await ledger.ingest.fetch(
        "select occurred_at from ts.downloads d join app.podcasts p using (podcast_no) where p.podcast_id::text = $1",
        world.podcast,
    )
    times = [row["occurred_at"] for row in landed]
    answer = await world.api.data(PATH, podcast_id=world.podcast, from_=days[0], to=days[1], tz=zone)
    assert answer["downloads"] == sum(first <= at < last for at in times)
    assert answer["former"]["downloads"] == sum(before <= at < first for at in times)
    assert sum(value["downloads"] for value in answer["apps"]["data"]) == answer["downloads"]
    assert sum(value["downloads"] for value in answer["episodes"]["data"]) == answer["downloads"]
    assert answer["from"] == first.isoformat()
    assert answer["former"]["from"] == before.isoformat()


async def test_bad_questions_are_refused(world: World) -> None:
    assert codes(await world.api.get(PATH, from_="2010-01-01", to="2026-11-01", limit=101, tz="Mars")) == {
        ("limit", "invalid"),
        ("tz", "unknown_time_zone"),
    }
    assert codes(await world.api.get(PATH, from_="2010-01-01", to="2026-11-01")) == {("to", "range_too_long")}
    assert codes(await world.api.get(PATH, interval="hour")) == {("interval", "unknown_parameter")}
    other = await world.ledger.make_key("other")
    problem(await world.api.get(PATH, key=other, podcast_id=world.podcast), 404, "not_found")
