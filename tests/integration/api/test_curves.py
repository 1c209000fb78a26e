"""How episodes began: exact from the quarter hour, and null with the reason where it cannot be said."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from analytics_core.clock import FixedClock
from analytics_core.verdicts import Evidence
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

PATH = "/analytics/curves"
UNTIL = "2026-11-24T11:59+00:00"


async def _episodes(api: Api, number: int = 1) -> tuple[str, list[str]]:
    """Add a podcast; its episodes came out on the first and the second of November at six."""
    podcast = (await api.add_podcast(number))["podcast_id"]
    rows = (await api.data(f"/podcasts/{podcast}/episodes"))["data"]
    return podcast, [row["episode_id"] for row in reversed(rows)]


def points(curve: Any) -> dict[int, tuple[int | None, int | None, str | None]]:
    return {point["day"]: (point["downloads"], point["downloads_strict"], point["reason"]) for point in curve["points"]}


async def test_days_are_counted_from_the_publish_date_or_the_first_download(api: Api, ledger: Ledger) -> None:
    podcast, (one, two) = await _episodes(api)
    await ledger.land("2026-10-20T12:00+00:00", one, listener=9)
    await ledger.land("2026-11-01T06:00+00:00", one, listener=1)
    await ledger.land("2026-11-02T05:59+00:00", one, listener=2)
    await ledger.land("2026-11-02T06:00+00:00", one, listener=3, evidence=Evidence.PROBE)
    await ledger.land("2026-11-08T05:44+00:00", one, listener=4)
    await ledger.land("2026-11-05T18:20+00:00", two, listener=1)
    await ledger.land("2026-11-06T18:14+00:00", two, listener=2)
    await ledger.land("2026-11-06T18:15+00:00", two, listener=3)
    await ledger.roll_up()
    await ledger.set_cutoff(UNTIL)

    answer = await api.data(PATH, podcast_id=podcast)
    newest, oldest = answer["data"]
    assert (newest["episode_id"], oldest["episode_id"]) == (two, one)
    assert (oldest["starts_at"], oldest["published_at"]) == ("2026-11-01T06:00:00Z", "2026-11-01T06:00:00Z")
    assert points(oldest) == {
        1: (2, 2, None),
        3: (3, 2, None),
        7: (4, 3, None),
        14: (4, 3, None),
        28: (None, None, "not_over"),
        30: (None, None, "not_over"),
        60: (None, None, "not_over"),
        90: (None, None, "not_over"),
    }
    assert points(newest)[3] == (0, 0, None)
    assert points(newest)[7] == (3, 3, None)
    assert [point["ends_at"] for point in oldest["points"]][:2] == ["2026-11-02T06:00:00Z", "2026-11-04T06:00:00Z"]
    assert (answer["origin"], answer["cutoff"], answer["partial"]) == ("published", "2026-11-24T11:59:00Z", False)
    assert answer["state"] == "provisional"

    (curve,) = (await api.data(PATH, episode_id=two, origin="first_hit"))["data"]
    assert curve["starts_at"] == "2026-11-05T18:15:00Z"
    assert points(curve)[1] == (2, 2, None)
    assert points(curve)[3] == (3, 3, None)
    assert points(curve)[28] == (None, None, "not_over")


async def test_what_came_out_before_counting_began_has_no_beginning(api: Api, ledger: Ledger) -> None:
    podcast, (one, two) = await _episodes(api)
    await ledger.land("2026-11-02T12:00+00:00", one)
    await ledger.roll_up()
    answer = await api.data(PATH, podcast_id=podcast)
    newest, oldest = answer["data"]
    assert {reason for _, _, reason in points(oldest).values()} == {"counted_later"}
    assert points(newest)[1] == (0, 0, None)
    assert (answer["cutoff"], answer["partial"]) == (None, True)
    (curve,) = (await api.data(PATH, episode_id=two, origin="first_hit"))["data"]
    assert (curve["starts_at"], {reason for _, _, reason in points(curve).values()}) == (None, {"no_downloads"})
    await ledger.operator.execute("update app.episodes set published_at = null")
    (curve,) = (await api.data(PATH, episode_id=one))["data"]
    assert {reason for _, _, reason in points(curve).values()} == {"no_publish_date"}


async def test_a_day_is_over_at_its_very_end_and_no_sooner(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    # Back before anything is asked: a clock that is set back takes a moment of the key's rate.
    clock.advance(dt.datetime(2026, 11, 2, 5, 59, tzinfo=dt.UTC) - clock.now())
    podcast, (one, _) = await _episodes(api)
    await ledger.land("2026-11-01T06:00+00:00", one)
    await ledger.roll_up()
    await ledger.set_cutoff(UNTIL)
    clock.advance(dt.datetime(2026, 11, 2, 5, 59, 59, tzinfo=dt.UTC) - clock.now())
    assert points((await api.data(PATH, episode_id=one))["data"][0])[1] == (None, None, "not_over")
    clock.advance(dt.datetime(2026, 11, 2, 6, tzinfo=dt.UTC) - clock.now())
    assert points((await api.data(PATH, episode_id=one))["data"][0])[1] == (1, 1, None)
    assert (await api.data(PATH, podcast_id=podcast))["state"] == "live"


async def test_curves_come_in_pages_and_only_of_what_is_ones_own(api: Api, ledger: Ledger) -> None:
    podcast, (one, two) = await _episodes(api)
    first = await api.data(PATH, podcast_id=podcast, limit=1)
    second = await api.data(PATH, podcast_id=podcast, limit=1, cursor=first["next_cursor"])
    assert [curve["episode_id"] for curve in (*first["data"], *second["data"])] == [two, one]
    assert second["next_cursor"] is None
    other = await ledger.make_key("other")
    problem(await api.get(PATH, key=other, podcast_id=podcast), 404, "not_found")
    problem(await api.get(PATH, key=other, episode_id=one), 404, "not_found")
    assert codes(await api.get(PATH)) == {("podcast_id", "missing")}
    assert codes(await api.get(PATH, podcast_id=podcast, origin="either", limit=201, cursor="x")) == {
        ("origin", "invalid"),
        ("limit", "invalid"),
        ("cursor", "bad_cursor"),
    }
