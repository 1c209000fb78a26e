"""Days and hits explained: complete, one's own, and in plain words."""

from __future__ import annotations

from uuid import UUID

import pytest

from analytics_core.byte_ranges import RangeKind
from analytics_core.hits import HitFlag
from analytics_core.places import Place
from analytics_core.verdicts import Evidence, Verdict
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

DAY = "2026-11-23"


@pytest.fixture
async def podcast(api: Api) -> str:
    podcast_id: str = (await api.add_podcast())["podcast_id"]
    return podcast_id


@pytest.fixture
async def episode(api: Api, podcast: str) -> str:
    rows = (await api.data(f"/podcasts/{podcast}/episodes"))["data"]
    episode_id: str = rows[0]["episode_id"]
    return episode_id


async def test_a_day_adds_up(api: Api, ledger: Ledger, podcast: str, episode: str) -> None:
    await ledger.land(f"{DAY}T00:00+00:00", episode, listener=1, evidence=Evidence.PARTIAL)
    await ledger.land(f"{DAY}T01:00+00:00", episode, listener=1)
    await ledger.land(f"{DAY}T02:00+00:00", episode, listener=1)
    await ledger.land(f"{DAY}T03:00+00:00", episode, listener=2, evidence=Evidence.PROBE)
    await ledger.land(f"{DAY}T04:00+00:00", episode, listener=3, bits=Verdict.BOT.bit | Verdict.TINY_RANGE.bit)
    await ledger.land(f"{DAY}T04:00+00:00", episode, listener=3, bits=Verdict.HEAD.bit | Verdict.BOT.bit)
    await ledger.land(f"{DAY}T05:00+00:00", None, podcast_id=podcast, bits=Verdict.UNKNOWN_EPISODE.bit)
    await ledger.wait_for_episode(f"{DAY}T06:00+00:00", podcast, "cdn1.example.com/new.mp3")
    await ledger.land("2026-11-24T00:00+00:00", episode, listener=1)
    await ledger.land("2026-11-22T23:59:59+00:00", episode, listener=1)
    await ledger.set_cutoff("2026-11-24T00:00+00:00")

    of_podcast = await api.data("/analytics/explain", podcast_id=podcast, day=DAY)
    assert of_podcast == {
        "podcast_id": podcast,
        "episode_id": None,
        "day": DAY,
        "hits": 8,
        "hits_reason": None,
        "downloads": 2,
        "downloads_strict": 1,
        "repeats": 2,
        "left_out": 0,
        "verdicts": [
            {"verdict": "eligible", "evidence": "full", "hits": 2, "downloads": 1},
            {"verdict": "eligible", "evidence": "partial", "hits": 1, "downloads": 0},
            {"verdict": "eligible", "evidence": "probe", "hits": 1, "downloads": 1},
            {"verdict": "head", "evidence": None, "hits": 1, "downloads": 0},
            {"verdict": "unknown_episode", "evidence": None, "hits": 2, "downloads": 0},
            {"verdict": "bot", "evidence": None, "hits": 1, "downloads": 0},
        ],
        "cutoff": "2026-11-24T00:00:00Z",
        "profile": "castledger-1",
        "rules": "castledger-1.2",
        "partial": False,
        "state": "provisional",
        "restated": 0,
    }
    of_episode = await api.data("/analytics/explain", episode_id=episode, day=DAY)
    assert (of_episode["hits"], of_episode["downloads"], of_episode["repeats"]) == (6, 2, 2)
    assert (of_episode["podcast_id"], of_episode["episode_id"]) == (podcast, episode)
    assert sum(row["hits"] for row in of_episode["verdicts"]) == of_episode["hits"]


async def test_a_day_without_hits_is_explained_too(api: Api, podcast: str) -> None:
    answer = await api.data("/analytics/explain", podcast_id=podcast, day=DAY)
    assert (answer["hits"], answer["downloads"], answer["repeats"], answer["verdicts"]) == (0, 0, 0, [])
    assert answer["partial"] is True
    today = await api.data("/analytics/explain", podcast_id=podcast, day="2026-11-24")
    assert today["state"] == "live"


async def test_another_tenants_day_is_not_there(api: Api, ledger: Ledger, podcast: str, episode: str) -> None:
    other = await ledger.make_key("other")
    for query in ({"podcast_id": podcast}, {"episode_id": episode}):
        problem(await api.get("/analytics/explain", key=other, day=DAY, **query), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ({}, {("podcast_id", "missing"), ("day", "missing")}),
        ({"podcast_id": str(UUID(int=1)), "day": "today"}, {("day", "invalid")}),
        ({"podcast_id": str(UUID(int=1)), "day": "2026-11-23T00:00:00Z"}, {("day", "invalid")}),
        ({"podcast_id": str(UUID(int=1)), "day": "1900-01-01"}, {("day", "out_of_range")}),
        ({"podcast_id": "x", "day": DAY, "tz": "UTC"}, {("podcast_id", "invalid"), ("tz", "unknown_parameter")}),
    ],
)
async def test_a_bad_question_about_a_day_is_422(api: Api, query: dict[str, str], faults: set[tuple[str, str]]) -> None:
    assert codes(await api.get("/analytics/explain", **query)) == faults


async def test_a_hit_says_what_it_is_and_why_it_counts(api: Api, ledger: Ledger, podcast: str, episode: str) -> None:
    us = ord("U") * 256 + ord("S")
    place_no = await ledger.place(Place("US", "CA", "San Francisco"))
    hit_id = await ledger.land(
        f"{DAY}T10:00:00.123456+00:00", episode, country=us, place_no=place_no, byte_range=(RangeKind.OPEN, 0, -1)
    )
    assert await api.data(f"/analytics/hits/{hit_id}") == {
        "hit_id": hit_id,
        "at": "2026-11-23T10:00:00.123456Z",
        "podcast_id": podcast,
        "episode_id": episode,
        "verdict": "eligible",
        "verdicts": [],
        "evidence": "full",
        "method": "GET",
        "agent": "Castaway/1.0",
        "agent_kind": "app",
        "app": "Castaway",
        "device": "phone",
        "os": "iOS",
        "country": "US",
        "region": "US-CA",
        "city": "US-CA/San Francisco",
        "referrer": None,
        "range": {"kind": "open", "first": 0, "last": None},
        "target": None,
        "networks": [],
        "flags": [],
        "counted": True,
        "spike_id": None,
        "why": "Counts: first full request of this listener for this episode on 2026-11-23 (UTC).",
        "profile": "castledger-1",
    }


async def test_each_rule_has_its_sentence(api: Api, ledger: Ledger, podcast: str, episode: str) -> None:
    first = await ledger.land(f"{DAY}T10:00+00:00", episode, listener=1)
    repeat = await ledger.land(f"{DAY}T11:00+00:00", episode, listener=1, evidence=Evidence.PARTIAL)
    partial = await ledger.land(f"{DAY}T11:00+00:00", episode, listener=2, evidence=Evidence.PARTIAL)
    probe = await ledger.land(f"{DAY}T11:00+00:00", episode, listener=3, evidence=Evidence.PROBE)
    bot_agent = await ledger.agent("Wget/1.21", kind=4, app="Wget", rule="wget")
    bot = await ledger.land(f"{DAY}T12:00+00:00", episode, bits=Verdict.BOT.bit, agent_no=bot_agent)
    tiny = await ledger.land(
        f"{DAY}T12:00+00:00", episode, bits=Verdict.TINY_RANGE.bit, byte_range=(RangeKind.CLOSED, 0, 1023)
    )
    waiting = await ledger.wait_for_episode(f"{DAY}T13:00+00:00", podcast, "cdn1.example.com/new.mp3")
    unknown = await ledger.land(f"{DAY}T13:00+00:00", None, podcast_id=podcast, bits=Verdict.UNKNOWN_EPISODE.bit)
    whys = {
        hit_id: (await api.data(f"/analytics/hits/{hit_id}"))["why"]
        for hit_id in (repeat, partial, probe, bot, tiny, waiting, unknown)
    }
    assert whys == {
        repeat: f"Repeat of {first}: a listener's requests for an episode are one download a day, on {DAY} (UTC).",
        partial: f"Counts: first request of this listener for enough of this episode on {DAY} (UTC); no full one came.",
        probe: f"Counts, but not strictly: only two-byte probes of this listener came for this episode on {DAY} (UTC).",
        bot: "Does not count: the agent 'Wget/1.21' is a bot (rule wget).",
        tiny: "Does not count: it asked for 1,024 bytes, too small a part, of the file.",
        waiting: "Does not count: no episode has this target; it is judged again when one has.",
        unknown: "Does not count: no episode had this target.",
    }


async def test_every_verdict_can_be_explained(api: Api, ledger: Ledger, episode: str) -> None:
    for number, verdict in enumerate(Verdict):
        hit_id = await ledger.land(f"{DAY}T10:00+00:00", episode, listener=number, bits=verdict.bit)
        hit = await api.data(f"/analytics/hits/{hit_id}")
        assert hit["verdict"] == verdict.label
        assert hit["counted"] == (verdict is Verdict.ELIGIBLE)
        assert hit["why"].startswith("Counts" if hit["counted"] else "Does not count: ")
        assert hit["why"].endswith(".")


async def test_a_late_hit_and_one_whose_downloads_are_gone_say_so(api: Api, ledger: Ledger, episode: str) -> None:
    late = await ledger.land(f"{DAY}T10:00+00:00", episode, flags=HitFlag.LATE)
    old = await ledger.land(f"{DAY}T10:00+00:00", episode)
    await ledger.ingest.execute("delete from ts.downloads")
    hit = await api.data(f"/analytics/hits/{late}")
    assert (hit["counted"], hit["flags"]) == (False, ["late"])
    assert "landed after 2026-11-23 (UTC) was final" in hit["why"]
    assert "no longer kept" in (await api.data(f"/analytics/hits/{old}"))["why"]


async def test_a_late_hit_of_a_day_without_downloads_will_never_count(api: Api, ledger: Ledger, episode: str) -> None:
    winner = await ledger.land(f"{DAY}T10:00+00:00", episode, listener=1)
    repeat = await ledger.land(f"{DAY}T11:00+00:00", episode, listener=1)
    late = await ledger.land(f"{DAY}T10:00+00:00", episode, listener=2, flags=HitFlag.LATE)
    await ledger.finalise("home", [DAY])
    await ledger.ingest.execute("delete from ts.downloads")
    await ledger.ingest.execute("update ops.days set downloads_dropped_at = now()")
    day = await api.data("/analytics/explain", episode_id=episode, day=DAY)
    assert (day["hits"], day["downloads"], day["repeats"], day["hits_reason"]) == (3, 1, 2, None)
    assert (await api.data(f"/analytics/hits/{winner}"))["counted"] is True
    assert (await api.data(f"/analytics/hits/{repeat}"))["why"].startswith(f"Repeat of {winner}: ")
    assert (await api.data(f"/analytics/hits/{late}"))["why"] == (
        f"Does not count: it landed after {DAY} (UTC) was final, and downloads of that day are not kept any more, "
        "so that none can be added."
    )


async def test_a_day_whose_hits_are_gone_says_so_and_keeps_its_downloads(
    api: Api, ledger: Ledger, podcast: str, episode: str
) -> None:
    hit_id = await ledger.land(f"{DAY}T10:00+00:00", episode, listener=1)
    await ledger.land(f"{DAY}T11:00+00:00", episode, listener=2, evidence=Evidence.PROBE)
    await ledger.roll_up()
    await ledger.finalise("home", [DAY])
    await ledger.operator.execute("delete from ts.listener_events; delete from ts.downloads")
    await ledger.ingest.execute("update ops.days set downloads_dropped_at = now(), hits_dropped_at = now()")
    for query in ({"podcast_id": podcast}, {"episode_id": episode}):
        day = await api.data("/analytics/explain", day=DAY, **query)
        assert (day["hits"], day["repeats"], day["verdicts"], day["state"]) == (None, None, [], "final")
        assert (day["downloads"], day["downloads_strict"], day["hits_reason"]) == (2, 1, "hits_not_kept")
    assert await api.data("/analytics/hits", from_="2026-11-22", to="2026-11-25") == {
        "data": [],
        "next_cursor": None,
        "hits_not_kept": [DAY],
    }
    gone = problem(await api.get(f"/analytics/hits/{hit_id}"), 410, "not_kept")
    assert gone["detail"] == f"hits of {DAY} are not kept any more; the figures of that day are"
    # To whom it never belonged it is not there.
    other = await ledger.make_key("other")
    problem(await api.get(f"/analytics/hits/{hit_id}", key=other), 404, "not_found")


async def test_hits_come_in_order_in_pages_with_the_waiting_ones_among_them(
    api: Api, ledger: Ledger, podcast: str, episode: str
) -> None:
    expected = []
    for minute in range(5):
        expected.append(await ledger.land(f"{DAY}T10:{minute:02d}+00:00", episode, listener=minute))
        expected.append(await ledger.wait_for_episode(f"{DAY}T10:{minute:02d}+00:00", podcast, "x.example.com/y.mp3"))
    seen: list[str] = []
    query = {"podcast_id": podcast, "from_": DAY, "limit": 3}
    cursor: str | None = ""
    while cursor is not None:
        page = await api.data("/analytics/hits", **query, **({"cursor": cursor} if cursor else {}))
        seen += [row["hit_id"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert seen == expected
    waiting = await api.data(f"/analytics/hits/{expected[1]}")
    assert (waiting["verdict"], waiting["target"], waiting["podcast_id"]) == (
        "unknown_episode",
        "x.example.com/y.mp3",
        podcast,
    )


async def test_hits_are_filtered(api: Api, ledger: Ledger, podcast: str, episode: str) -> None:
    counted = await ledger.land(f"{DAY}T10:00+00:00", episode)
    bot = await ledger.land(f"{DAY}T11:00+00:00", episode, bits=Verdict.BOT.bit | Verdict.TINY_RANGE.bit)
    waiting = await ledger.wait_for_episode(f"{DAY}T12:00+00:00", podcast, "x.example.com/y.mp3")
    waiting_head = await ledger.wait_for_episode(
        f"{DAY}T13:00+00:00", podcast, "x.example.com/y", bits=Verdict.HEAD.bit
    )
    today = await ledger.land("2026-11-24T01:00+00:00", episode)

    async def found(**query: str) -> list[str]:
        return [row["hit_id"] for row in (await api.data("/analytics/hits", **query))["data"]]

    # Without a range it is today.
    assert await found() == [today]
    assert await found(from_=DAY) == [counted, bot, waiting, waiting_head]
    assert await found(from_=DAY, to="2026-11-25") == [counted, bot, waiting, waiting_head, today]
    assert await found(to="2026-11-24") == [counted, bot, waiting, waiting_head]
    assert await found(from_=f"{DAY}T11:00:00Z", to=f"{DAY}T12:00:00Z") == [bot]
    assert await found(from_=DAY, episode_id=episode) == [counted, bot]
    assert await found(from_=DAY, verdict="bot") == [bot]
    assert await found(from_=DAY, verdict="tiny_range") == []
    assert await found(from_=DAY, verdict="eligible") == [counted]
    assert await found(from_=DAY, verdict="unknown_episode") == [waiting]
    assert await found(from_=DAY, verdict="head") == [waiting_head]


async def test_another_tenants_hits_are_not_there(api: Api, ledger: Ledger, podcast: str, episode: str) -> None:
    landed = await ledger.land(f"{DAY}T10:00+00:00", episode)
    waiting = await ledger.wait_for_episode(f"{DAY}T12:00+00:00", podcast, "x.example.com/y.mp3")
    other = await ledger.make_key("other")
    assert (await api.get("/analytics/hits", key=other, from_=DAY)).json()["data"] == []
    for hit_id in (landed, waiting):
        foreign = problem(await api.get(f"/analytics/hits/{hit_id}", key=other), 404, "not_found")
        assert foreign["detail"] == "no such hit"
    problem(await api.get("/analytics/hits", key=other, podcast_id=podcast), 404, "not_found")


@pytest.mark.parametrize("hit_id", ["h_1", "1-1", "h_ffffffff-1", "h_7fffffff-7fffffff", "h_1-1'--", "%01"])
async def test_a_hit_that_is_none_is_404(api: Api, hit_id: str) -> None:
    problem(await api.get(f"/analytics/hits/{hit_id}"), 404, "not_found")


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ({"from": "2026-11-01", "to": "2026-12-31"}, {("to", "range_too_long")}),
        ({"from": "2026-11-02", "to": "2026-11-01"}, {("to", "reversed_range")}),
        ({"from": "2026-11-02T10:00:00"}, {("from", "naive_time")}),
        ({"verdict": "good", "by": "app"}, {("verdict", "invalid"), ("by", "unknown_parameter")}),
    ],
)
async def test_a_bad_question_about_hits_is_422(api: Api, query: dict[str, str], faults: set[tuple[str, str]]) -> None:
    assert codes(await api.get("/analytics/hits", **query)) == faults
