"""Figures by time: regrouped exactly, complete where they have to be, and honest about what they do not know."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from analytics_core.agent_table import table_version
from analytics_core.verdicts import Evidence, Verdict
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

PATH = "/analytics/downloads"


class World:
    """Two podcasts with episodes, and downloads on three days around a month's end."""

    def __init__(self, api: Api, ledger: Ledger) -> None:
        self.api = api
        self.ledger = ledger
        self.podcast = ""
        self.episodes: list[str] = []
        self.other = ""

    async def fill(self) -> World:
        """Land what the tests count."""
        api, ledger = self.api, self.ledger
        self.podcast = (await api.add_podcast(1))["podcast_id"]
        self.other = (await api.add_podcast(2))["podcast_id"]
        rows = (await api.data(f"/podcasts/{self.podcast}/episodes"))["data"]
        self.episodes = [row["episode_id"] for row in reversed(rows)]
        other = (await api.data(f"/podcasts/{self.other}/episodes"))["data"][0]["episode_id"]
        overcast = await ledger.agent("Overcast/3", app="Overcast", rule="overcast")
        one, two = self.episodes
        us = ord("U") * 256 + ord("S")
        await ledger.land("2026-10-31T23:50+00:00", one, listener=1, country=us)
        await ledger.land("2026-11-01T00:05+00:00", one, listener=1, country=us)
        await ledger.land("2026-11-01T18:20+00:00", one, listener=2, agent_no=overcast)
        await ledger.land("2026-11-01T18:29+00:00", two, listener=2, agent_no=overcast)
        await ledger.land("2026-11-01T18:30+00:00", two, listener=3, evidence=Evidence.PROBE)
        await ledger.land("2026-11-01T18:31+00:00", two, listener=3, evidence=Evidence.PROBE)
        await ledger.land("2026-11-02T05:44+00:00", one, listener=4)
        await ledger.land("2026-11-02T06:00+00:00", one, listener=4, bits=Verdict.BOT.bit)
        await ledger.land("2026-11-01T12:00+00:00", other, listener=9)
        await ledger.roll_up()
        await ledger.set_cutoff("2026-11-24T11:59+00:00")
        return self


@pytest.fixture
async def world(api: Api, ledger: Ledger) -> World:
    return await World(api, ledger).fill()


def figures(answer: Any) -> list[tuple[str, int, int, int | None]]:
    return [(row["start"], row["downloads"], row["downloads_strict"], row["listeners"]) for row in answer["data"]]


async def test_every_day_of_the_range_is_there(world: World) -> None:
    answer = await world.api.data(PATH, podcast_id=world.podcast, from_="2026-10-31", to="2026-11-04")
    assert figures(answer) == [
        ("2026-10-31T00:00:00Z", 1, 1, 1),
        ("2026-11-01T00:00:00Z", 4, 3, 3),
        ("2026-11-02T00:00:00Z", 1, 1, 1),
        ("2026-11-03T00:00:00Z", 0, 0, 0),
    ]
    assert {row["key"] for row in answer["data"]} == {None}
    answer.pop("data")
    assert answer == {
        "cutoff": "2026-11-24T11:59:00Z",
        "profile": "castledger-1",
        "rules": "castledger-1.2",
        "lists": {
            "agents": table_version(),
            "networks": "none",
            "countries": answer["lists"]["countries"],
            "places": "none",
            "asns": "none",
        },
        "state": "provisional",
        "partial": False,
        "restated": 0,
        "tz": "UTC",
        "interval": "day",
        "from": "2026-10-31T00:00:00Z",
        "to": "2026-11-04T00:00:00Z",
        "listeners_reason": None,
    }
    assert answer["lists"]["countries"].startswith("iptocc-")


async def test_an_episode_alone_and_the_whole_tenant(world: World) -> None:
    query = {"from_": "2026-11-01", "to": "2026-11-02"}
    one, two = world.episodes
    assert figures(await world.api.data(PATH, episode_id=one, **query)) == [("2026-11-01T00:00:00Z", 2, 2, 2)]
    assert figures(await world.api.data(PATH, episode_id=two, **query)) == [("2026-11-01T00:00:00Z", 2, 1, 2)]
    both = await world.api.data(PATH, episode_id=two, podcast_id=world.podcast, **query)
    assert figures(both) == [("2026-11-01T00:00:00Z", 2, 1, 2)]
    # The listener of both podcasts' episodes is one listener.
    assert figures(await world.api.data(PATH, **query)) == [("2026-11-01T00:00:00Z", 5, 4, 4)]


@pytest.mark.parametrize(
    ("tz", "interval", "expected"),
    [
        (
            "Asia/Kolkata",
            "day",
            [("2026-11-01T00:00:00+05:30", 4), ("2026-11-02T00:00:00+05:30", 2), ("2026-11-03T00:00:00+05:30", 0)],
        ),
        (
            "Asia/Kathmandu",
            "day",
            [("2026-11-01T00:00:00+05:45", 2), ("2026-11-02T00:00:00+05:45", 4), ("2026-11-03T00:00:00+05:45", 0)],
        ),
        (
            # Clocks go back in the night to this Sunday.
            "America/New_York",
            "day",
            [("2026-11-01T00:00:00-04:00", 3), ("2026-11-02T00:00:00-05:00", 1), ("2026-11-03T00:00:00-05:00", 0)],
        ),
        ("UTC", "week", [("2026-11-01T00:00:00Z", 4), ("2026-11-02T00:00:00Z", 1)]),
        ("UTC", "month", [("2026-11-01T00:00:00Z", 5)]),
    ],
)
async def test_a_time_zone_regroups_to_the_quarter_hour(
    world: World, tz: str, interval: str, expected: list[tuple[str, int]]
) -> None:
    answer = await world.api.data(
        PATH, podcast_id=world.podcast, from_="2026-11-01", to="2026-11-04", tz=tz, interval=interval
    )
    assert [(row["start"], row["downloads"]) for row in answer["data"]] == expected
    assert answer["tz"] == tz


async def test_hours_hold_what_days_hold(world: World) -> None:
    query = {"podcast_id": world.podcast, "from_": "2026-11-01T18:15:00Z", "to": "2026-11-01T19:30:00Z"}
    answer = await world.api.data(PATH, interval="hour", **query)
    assert figures(answer) == [
        ("2026-11-01T18:15:00Z", 3, 2, 2),
        ("2026-11-01T19:00:00Z", 0, 0, 0),
    ]
    whole = await world.api.data(PATH, podcast_id=world.podcast, from_="2026-10-01", to="2026-12-01", interval="hour")
    assert sum(row["downloads"] for row in whole["data"]) == 6
    assert len(whole["data"]) == 61 * 24


async def test_the_clocks_going_back_make_a_day_of_25_hours(world: World) -> None:
    answer = await world.api.data(
        PATH, podcast_id=world.podcast, from_="2026-11-01", to="2026-11-02", interval="hour", tz="America/New_York"
    )
    assert len(answer["data"]) == 25
    assert len({row["start"] for row in answer["data"]}) == 25
    assert sum(row["downloads"] for row in answer["data"]) == 3


async def test_figures_by_key_hold_only_keys_with_downloads(world: World) -> None:
    query = {"podcast_id": world.podcast, "from_": "2026-11-01", "to": "2026-11-03"}
    by_app = await world.api.data(PATH, by="app", **query)
    assert [(row["start"][:10], row["key"], row["downloads"], row["listeners"]) for row in by_app["data"]] == [
        ("2026-11-01", "Castaway", 2, None),
        ("2026-11-01", "Overcast", 2, None),
        ("2026-11-02", "Castaway", 1, None),
    ]
    assert by_app["listeners_reason"] == "by"
    by_country = await world.api.data(PATH, by="country", tz="Asia/Kolkata", interval="month", **query)
    assert [(row["key"], row["downloads"]) for row in by_country["data"]] == [("", 4), ("US", 2)]
    by_episode = await world.api.data(PATH, by="episode", interval="month", **query)
    assert {row["key"]: row["downloads"] for row in by_episode["data"]} == {world.episodes[0]: 3, world.episodes[1]: 2}
    of_one = await world.api.data(PATH, by="app", episode_id=world.episodes[1], interval="month", **query)
    assert {row["key"]: row["downloads"] for row in of_one["data"]} == {"Castaway": 1, "Overcast": 1}


async def test_values_beyond_the_limit_are_one_row_and_nothing_is_lost(world: World) -> None:
    query = {"podcast_id": world.podcast, "from_": "2026-10-31", "to": "2026-11-03"}
    for tz in ("UTC", "Asia/Kolkata", "Asia/Kathmandu"):
        totals = {row["start"]: row for row in (await world.api.data(PATH, tz=tz, **query))["data"]}
        for by in ("app", "country", "episode"):
            capped = (await world.api.data(PATH, by=by, limit=1, tz=tz, **query))["data"]
            whole = (await world.api.data(PATH, by=by, tz=tz, **query))["data"]
            assert all(row["values"] is None for row in whole)
            (named,) = {row["key"] for row in capped if row["values"] is None}
            assert [row for row in capped if row["key"] == named] == [row for row in whole if row["key"] == named]
            assert {(row["key"], row["values"]) for row in capped if row["key"] != named} == {("other", 1)}
            for start, total in totals.items():
                for figure in ("downloads", "downloads_strict"):
                    assert sum(row[figure] for row in capped if row["start"] == start) == total[figure]
    # The one that is named has the most over the whole range, not in each bucket.
    (overall,) = (await world.api.data(PATH, by="app", limit=1, interval="month", **{**query, "from_": "2026-11-01"}))[
        "data"
    ][:1]
    assert (overall["key"], overall["downloads"]) == ("Castaway", 3)
    of_one = (await world.api.data(PATH, by="app", limit=1, episode_id=world.episodes[0], **query))["data"]
    assert {(row["key"], row["values"]) for row in of_one} == {("Castaway", None), ("other", 1)}


async def test_listeners_across_months_are_null_with_the_reason(world: World) -> None:
    answer = await world.api.data(PATH, podcast_id=world.podcast, from_="2026-10-26", to="2026-11-09", interval="week")
    assert figures(answer) == [("2026-10-26T00:00:00Z", 5, 4, None), ("2026-11-02T00:00:00Z", 1, 1, 1)]
    assert answer["listeners_reason"] == "across_months"


async def test_listeners_of_downloads_that_are_gone_are_null_with_the_reason(world: World) -> None:
    await world.ledger.ingest.execute("delete from ts.downloads where day = '2026-11-01'")
    answer = await world.api.data(PATH, podcast_id=world.podcast, from_="2026-11-01", to="2026-11-03")
    assert figures(answer) == [("2026-11-01T00:00:00Z", 4, 3, None), ("2026-11-02T00:00:00Z", 1, 1, 1)]
    assert answer["listeners_reason"] == "downloads_not_kept"


async def test_partial_says_when_hits_may_be_missing(world: World) -> None:
    query = {"podcast_id": world.podcast, "from_": "2026-11-01", "to": "2026-11-02"}
    assert (await world.api.data(PATH, **query))["partial"] is False
    await world.ledger.mark_dirty(world.episodes[0], "2026-11-01")
    assert (await world.api.data(PATH, **query))["partial"] is True
    # Neither another day's mark nor another episode's matters.
    assert (await world.api.data(PATH, **{**query, "from_": "2026-11-02", "to": "2026-11-03"}))["partial"] is False
    assert (await world.api.data(PATH, episode_id=world.episodes[1], **query))["partial"] is False
    await world.ledger.ingest.execute("delete from ops.dirty_marks")
    await world.ledger.set_cutoff("2026-11-01T23:59:59+00:00")
    assert (await world.api.data(PATH, **query))["partial"] is True
    await world.ledger.set_cutoff("2026-11-02T00:00+00:00")
    assert (await world.api.data(PATH, **query))["partial"] is False


async def test_without_any_ingest_figures_are_partial_and_have_no_cutoff(api: Api) -> None:
    answer = await api.data(PATH)
    assert (answer["cutoff"], answer["partial"], len(answer["data"])) == (None, True, 30)
    assert (answer["from"], answer["to"]) == ("2026-10-26T00:00:00Z", "2026-11-25T00:00:00Z")


async def test_the_state_is_final_only_when_every_day_is(world: World) -> None:
    query = {"podcast_id": world.podcast, "from_": "2026-11-01", "to": "2026-11-03"}
    await world.ledger.finalise("home", ["2026-11-01"])
    assert (await world.api.data(PATH, **query))["state"] == "provisional"
    await world.ledger.finalise("home", ["2026-11-02"])
    assert (await world.api.data(PATH, **query))["state"] == "final"
    assert (await world.api.data(PATH, tz="Asia/Kolkata", **query))["state"] == "provisional"
    assert (await world.api.data(PATH, podcast_id=world.podcast, from_="2026-11-24"))["state"] == "live"
    assert (await world.api.data(PATH, podcast_id=world.podcast, from_="2026-11-01"))["state"] == "live"


async def test_another_tenants_figures_are_not_there(world: World) -> None:
    other = await world.ledger.make_key("other")
    query = {"from_": "2026-11-01", "to": "2026-11-02"}
    problem(await world.api.get(PATH, key=other, podcast_id=world.podcast, **query), 404, "not_found")
    problem(await world.api.get(PATH, key=other, episode_id=world.episodes[0], **query), 404, "not_found")
    empty = (await world.api.get(PATH, key=other, **query)).json()
    assert figures(empty) == [("2026-11-01T00:00:00Z", 0, 0, 0)]
    # An episode is only there within its own podcast.
    mixed = await world.api.get(PATH, podcast_id=world.other, episode_id=world.episodes[0], **query)
    problem(mixed, 404, "not_found")
    problem(await world.api.get(PATH, podcast_id=str(UUID(int=5)), **query), 404, "not_found")


BAD_QUERIES: list[tuple[dict[str, str], set[tuple[str, str]]]] = [
    ({"from": "2026-11-02", "to": "2026-11-01"}, {("to", "reversed_range")}),
    ({"from": "2026-11-01", "to": "2026-11-01"}, {("to", "empty_range")}),
    ({"from": "2026-11-02T00:00:00Z", "to": "2026-11-02T02:00:00+02:00"}, {("to", "empty_range")}),
    ({"from": "2026-11-01T00:00:00"}, {("from", "naive_time")}),
    (
        {"from": "2026-11-01T00:07:00Z", "to": "2026-11-01T01:00:01Z"},
        {("from", "off_the_quarter_hour"), ("to", "off_the_quarter_hour")},
    ),
    ({"from": "2026-11-01T00:00:00+00:10"}, {("from", "off_the_quarter_hour")}),
    ({"from": "yesterday"}, {("from", "invalid")}),
    ({"from": "2026-02-30"}, {("from", "invalid")}),
    ({"from": ""}, {("from", "invalid")}),
    ({"from": "1969-01-01", "to": "9999-12-31"}, {("from", "out_of_range"), ("to", "out_of_range")}),
    ({"from": "2025-11-01", "to": "2026-11-03", "interval": "hour"}, {("to", "range_too_long")}),
    ({"from": "2010-01-01", "to": "2026-01-01"}, {("to", "range_too_long")}),
    ({"tz": "Mars/Olympus"}, {("tz", "unknown_time_zone")}),
    ({"tz": "../../etc/passwd"}, {("tz", "unknown_time_zone")}),
    ({"tz": "Europe"}, {("tz", "unknown_time_zone")}),
    ({"tz": ""}, {("tz", "unknown_time_zone")}),
    ({"interval": "minute"}, {("interval", "invalid")}),
    ({"by": "listener"}, {("by", "invalid")}),
    ({"by": "app,country"}, {("by", "too_many_dimensions")}),
    ({"by": "app", "limit": "1001"}, {("limit", "invalid")}),
    ({"by": "app", "limit": "0"}, {("limit", "invalid")}),
    ({"limit": "5"}, {("limit", "without_by")}),
    ({"podcast_id": "1"}, {("podcast_id", "invalid")}),
    ({"podcast_id": "null"}, {("podcast_id", "invalid")}),
    ({"podcast_id": ""}, {("podcast_id", "invalid")}),
    (
        {"from": "2026-11-02T00:00", "to": "x", "interval": "y", "by": "z", "tz": "?", "episode_id": "?", "q": "1"},
        {
            ("q", "unknown_parameter"),
            ("from", "naive_time"),
            ("to", "invalid"),
            ("interval", "invalid"),
            ("by", "invalid"),
            ("tz", "unknown_time_zone"),
            ("episode_id", "invalid"),
        },
    ),
]


async def test_bad_parameters_are_422_all_at_once(api: Api) -> None:
    for query, faults in BAD_QUERIES:
        assert codes(await api.get(PATH, **query)) == faults, query


async def test_refusals_name_what_is_allowed(api: Api) -> None:
    answer = await api.get(PATH, interval="minute", by="x", metric="y")
    text = answer.json()["detail"]
    assert "hour, day, week, month" in text
    assert "episode, app, device, os, country, region, city, referrer, feed_app, source" in text
    assert "allowed: podcast_id, episode_id, from, to, interval, by, limit, tz" in text


async def test_an_offset_may_come_with_a_plus_that_was_not_encoded(api: Api) -> None:
    answer = await api.request("GET", f"{PATH}?from=2026-11-01T00:00:00+01:00&to=2026-11-01T00:00:00Z")
    assert answer.status_code == 200
    assert answer.json()["from"] == "2026-10-31T23:00:00Z"


async def test_a_year_by_the_hour_is_answered_also_where_the_clocks_move(api: Api) -> None:
    answer = await api.data(PATH, from_="2024-01-01", to="2025-01-01", interval="hour", tz="Europe/Berlin")
    assert len(answer["data"]) == 366 * 24
