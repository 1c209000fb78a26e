"""Restatements as the API tells of them, and figures that say that they were restated."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import pytest

from analytics_core.clock import FixedClock
from analytics_core.hits import HitFlag
from analytics_core.profiles import DEFAULT_PROFILE, PTMG_2_3
from analytics_core.verdicts import Evidence
from ingest.recounts import recount
from ingest.restatements import restate
from ingest.rollups import refresh_listeners, refresh_rollups
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


async def land_late(ledger: Ledger, episode: str, at: str, *, listener: int) -> str:
    """Land a hit for a final day, which makes no download."""
    hit_id = await ledger.land(at, episode, listener=listener, flags=HitFlag.LATE)
    await ledger.ingest.execute("delete from ts.downloads where listener_key = $1", UUID(int=listener))
    return hit_id


async def take_in(ledger: Ledger, *days: str, at: dt.datetime = NOW) -> None:
    tenant = await ledger.tenant_of("home")
    dates = [dt.date.fromisoformat(day) for day in days]
    await restate(ledger.ingest, int(tenant.tenant_no), dates, reason="late", origin="command", clock=FixedClock(at))


async def settle(ledger: Ledger) -> None:
    while await refresh_rollups(ledger.ingest):
        continue
    while await refresh_listeners(ledger.ingest, at_most_every=None):
        continue


async def test_a_restatement_is_listed_and_told_day_by_day(api: Api, ledger: Ledger, episode: str) -> None:
    await ledger.land(f"{DAY}T10:00+00:00", episode, listener=1, evidence=Evidence.PROBE)
    await ledger.finalise("home", [DAY, "2026-11-03"])
    await land_late(ledger, episode, f"{DAY}T11:00+00:00", listener=2)
    await land_late(ledger, episode, "2026-11-03T11:00+00:00", listener=3)
    assert await api.data("/restatements") == {"data": [], "next_cursor": None}
    await take_in(ledger, DAY, "2026-11-03")
    (listed,) = (await api.data("/restatements"))["data"]
    assert listed == {
        "restatement_id": listed["restatement_id"],
        "first_day": DAY,
        "last_day": "2026-11-03",
        "reason": "late",
        "origin": "command",
        "key_id": None,
        "state": "done",
        "started_at": "2026-11-20T12:00:00Z",
        "finished_at": "2026-11-20T12:00:00Z",
        "days": 2,
        "hits": 2,
        "downloads_before": 1,
        "downloads_after": 3,
        "downloads_strict_before": 0,
        "downloads_strict_after": 2,
        "rules": None,
    }
    days = [(DAY, 1, 2, 0, 1), ("2026-11-03", 0, 1, 0, 1)]
    assert await api.data(f"/restatements/{listed['restatement_id']}") == {
        **listed,
        "data": [
            {
                "day": day,
                "hits": 1,
                "downloads_before": before,
                "downloads_after": after,
                "downloads_strict_before": strict_before,
                "downloads_strict_after": strict_after,
            }
            for day, before, after, strict_before, strict_after in days
        ],
    }
    other = await ledger.make_key("other")
    assert (await api.get("/restatements", key=other)).json()["data"] == []
    problem(await api.get(f"/restatements/{listed['restatement_id']}", key=other), 404, "not_found")
    problem(await api.get("/restatements/x"), 404, "not_found")


async def test_restatements_come_in_pages_newest_first(api: Api, ledger: Ledger, episode: str) -> None:
    await ledger.finalise("home", [DAY])
    for number in range(5):
        await land_late(ledger, episode, f"{DAY}T11:00+00:00", listener=number + 1)
        await take_in(ledger, DAY, at=NOW + dt.timedelta(hours=number // 2))
    seen: list[tuple[str, int]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = await api.data("/restatements", limit=2, **({"cursor": cursor} if cursor else {}))
        assert len(page["data"]) <= 2
        seen += [(row["started_at"], row["downloads_after"]) for row in page["data"]]
        cursor = page["next_cursor"]
    assert [after for _, after in seen] == [5, 4, 3, 2, 1]
    assert codes(await api.get("/restatements", cursor="x", by="day")) == {
        ("cursor", "bad_cursor"),
        ("by", "unknown_parameter"),
    }


async def test_figures_of_a_restated_day_follow_and_say_so(
    api: Api, ledger: Ledger, podcast: str, episode: str
) -> None:
    await ledger.land(f"{DAY}T10:00+00:00", episode, listener=1)
    await ledger.roll_up()
    await ledger.finalise("home", [DAY])
    await ledger.set_cutoff("2026-11-24T00:00+00:00")
    hit_id = await land_late(ledger, episode, f"{DAY}T11:00+00:00", listener=2)
    query = {"podcast_id": podcast, "from_": DAY, "to": "2026-11-04"}
    paths = ("/analytics/downloads", "/analytics/overview")
    before = {path: await api.get(path, **query) for path in paths}
    assert [answer.json()["restated"] for answer in before.values()] == [0, 0]
    assert "a restatement would count it" in (await api.data(f"/analytics/hits/{hit_id}"))["why"]
    await take_in(ledger, DAY)
    await settle(ledger)
    for path in paths:
        answer = await api.get(path, **query)
        assert answer.json()["restated"] == 1
        assert answer.headers["etag"] != before[path].headers["etag"]
    (first, _) = (await api.data("/analytics/downloads", **query))["data"]
    assert (first["downloads"], first["listeners"]) == (2, 2)
    assert (await api.data("/analytics/downloads", **{**query, "from_": "2026-11-03"}))["restated"] == 0
    assert (await api.data("/analytics/curves", episode_id=episode, origin="first_hit"))["restated"] == 1
    day = await api.data("/analytics/explain", podcast_id=podcast, day=DAY)
    assert (day["restated"], day["state"], day["downloads"], day["hits"]) == (1, "final", 2, 2)
    hit = await api.data(f"/analytics/hits/{hit_id}")
    assert (hit["counted"], hit["flags"]) == (True, ["restated"])
    assert hit["why"] == (
        f"Counts: first full request of this listener for this episode on {DAY} (UTC)."
        " It landed after that day was final; a restatement took it in."
    )


async def test_a_restatement_that_changes_no_figure_changes_the_tag(
    api: Api, ledger: Ledger, podcast: str, episode: str
) -> None:
    await ledger.land(f"{DAY}T10:00+00:00", episode, listener=1)
    await ledger.roll_up()
    await ledger.finalise("home", [DAY])
    await ledger.set_cutoff("2026-11-24T00:00+00:00")
    await ledger.land(f"{DAY}T11:00+00:00", episode, listener=2, bits=32, flags=HitFlag.LATE)
    query = {"podcast_id": podcast, "from_": DAY, "to": "2026-11-04"}
    before = await api.get("/analytics/downloads", **query)
    await take_in(ledger, DAY)
    after = await api.get("/analytics/downloads", **query)
    assert after.json()["data"] == before.json()["data"]
    assert (after.json()["restated"], after.headers["etag"] != before.headers["etag"]) == (1, True)


async def test_figures_hits_and_records_name_the_profile_that_their_days_are_judged_by(
    api: Api, ledger: Ledger, episode: str
) -> None:
    hit_id = await ledger.land(f"{DAY}T10:00+00:00", episode, listener=1)
    other_id = await ledger.land("2026-11-03T10:00+00:00", episode, listener=1)
    await ledger.finalise("home", [DAY, "2026-11-03"])
    await settle(ledger)

    ours, strict = DEFAULT_PROFILE.rules_version, PTMG_2_3.rules_version

    async def counted(until: str) -> tuple[str, str]:
        said = await api.data("/analytics/downloads", **{"episode_id": episode, "from": DAY, "to": until})
        return said["profile"], said["rules"]

    assert await counted("2026-11-04") == ("castledger-1", ours)
    await recount(
        ledger.ingest,
        int((await ledger.tenant_of("home")).tenant_no),
        [dt.date.fromisoformat(DAY)],
        reason="strictly",
        origin="command",
        clock=FixedClock(NOW),
        profile=PTMG_2_3,
    )
    assert await counted("2026-11-03") == ("ptmg-2.3", strict)
    assert await counted("2026-11-04") == ("castledger-1, ptmg-2.3", f"{ours}, {strict}")
    explained = await api.data("/analytics/explain", episode_id=episode, day=DAY)
    assert (explained["profile"], explained["downloads"]) == ("ptmg-2.3", 1)
    hits = [await api.data(f"/analytics/hits/{one}") for one in (hit_id, other_id)]
    assert [hit["profile"] for hit in hits] == ["ptmg-2.3", "castledger-1"]
    (listed,) = (await api.data("/restatements"))["data"]
    assert (listed["rules"], listed["reason"]) == (strict, "strictly")
