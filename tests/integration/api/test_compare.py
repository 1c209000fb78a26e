"""An episode under several profiles: figures, what makes them differ, and what cannot be asked."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from analytics_core.byte_ranges import RangeKind
from analytics_core.db.episodes import get_episode
from analytics_core.hits import HitFlag, HitKind
from analytics_core.own_profiles import load_profiles
from analytics_core.profiles import OP3, PROFILES
from analytics_core.verdicts import Evidence, Verdict
from api.app import create_app
from api.comparisons import compare_profiles
from api.errors import InvalidRequest
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

PATH = "/analytics/compare"
RANGE = {"from_": "2026-11-20", "to": "2026-11-23"}
PROBE = (RangeKind.CLOSED, 0, 1)
PART = (RangeKind.CLOSED, 5, 99)


@pytest.fixture
async def episode(api: Api) -> str:
    podcast_id = (await api.add_podcast())["podcast_id"]
    rows = (await api.data(f"/podcasts/{podcast_id}/episodes"))["data"]
    episode_id: str = rows[0]["episode_id"]
    return episode_id


class Landed(msgspec.Struct):
    """Hits of three days, by what they are there for."""

    probe: str
    tiny: str
    cloud_app: str
    late: str


async def land(ledger: Ledger, episode: str) -> Landed:
    tiny, cloud = Verdict.TINY_RANGE.bit, Verdict.DATACENTER.bit
    chrome = await ledger.agent("Chrome", kind=2, app="Chrome", rule="chrome")
    await ledger.land("2026-11-20T10:00+00:00", episode, listener=1)
    await ledger.land("2026-11-20T11:00+00:00", episode, listener=1)
    probe = await ledger.land("2026-11-20T10:00+00:00", episode, listener=2, byte_range=PROBE, evidence=Evidence.PROBE)
    asked = await ledger.land("2026-11-20T10:00+00:00", episode, listener=3, byte_range=PART, bits=tiny)
    app = await ledger.land("2026-11-21T10:00+00:00", episode, listener=4, bits=cloud)
    await ledger.land("2026-11-21T10:00+00:00", episode, listener=5, bits=cloud, agent_no=chrome)
    await ledger.land("2026-11-21T10:00+00:00", episode, listener=1, kind=HitKind.CLICK)
    await ledger.land("2026-11-21T09:30+00:00", episode, listener=1)
    await ledger.land("2026-11-23T00:00+00:00", episode, listener=9)
    await ledger.roll_up()
    # Landed after its day was final: in no report.
    late = await ledger.land("2026-11-22T10:00+00:00", episode, listener=6, bits=Verdict.BOT.bit, flags=HitFlag.LATE)
    await ledger.set_cutoff("2026-11-24T00:00+00:00")
    return Landed(probe, asked, app, late)


async def test_an_episode_under_several_profiles(api: Api, ledger: Ledger, episode: str) -> None:
    landed = await land(ledger, episode)
    answer = await api.data(PATH, episode_id=episode, **RANGE)
    assert {name: answer[name] for name in ("episode_id", "from", "to", "cutoff", "partial", "state")} == {
        "episode_id": episode,
        "from": "2026-11-20",
        "to": "2026-11-23",
        "cutoff": "2026-11-24T00:00:00Z",
        "partial": False,
        "state": "provisional",
    }
    assert [(row["profile"], row["downloads"]) for row in answer["profiles"]] == [
        ("castledger-1", 3),
        ("ptmg-2.3", 2),
        ("op3", 5),
        ("odl", 3),
    ]
    for row in answer["profiles"]:
        profile = PROFILES[row["profile"]]
        assert (row["rules"], row["summary"], row["differences"]) == (
            profile.rules_version,
            profile.summary,
            list(profile.differences),
        )
    assert answer["data"] == [
        {
            "day": "2026-11-20",
            "downloads": {"castledger-1": 2, "ptmg-2.3": 1, "op3": 3, "odl": 2},
            "counted": 2,
            "hits": 4,
            "late": 0,
            "reason": None,
        },
        {
            "day": "2026-11-21",
            "downloads": {"castledger-1": 1, "ptmg-2.3": 1, "op3": 2, "odl": 1},
            "counted": 1,
            "hits": 3,
            "late": 0,
            "reason": None,
        },
        {
            "day": "2026-11-22",
            "downloads": {"castledger-1": 0, "ptmg-2.3": 0, "op3": 0, "odl": 0},
            "counted": 0,
            "hits": 1,
            "late": 1,
            "reason": None,
        },
    ]
    pairs = {(pair["one"], pair["other"]): pair for pair in answer["pairs"]}
    assert len(pairs) == 6
    assert pairs["castledger-1", "ptmg-2.3"] == {
        "one": "castledger-1",
        "other": "ptmg-2.3",
        "difference": 1,
        "reasons": [
            {
                "counted_by": "castledger-1",
                "reason": "probe",
                "why": "For ptmg-2.3 the request asked for the first two bytes only.",
                "downloads": 1,
                "hits": [landed.probe],
            }
        ],
    }
    assert pairs["castledger-1", "op3"]["difference"] == -2
    assert [(row["counted_by"], row["reason"], row["hits"]) for row in pairs["castledger-1", "op3"]["reasons"]] == [
        ("op3", "tiny_range", [landed.tiny]),
        ("op3", "datacenter", [landed.cloud_app]),
    ]
    for pair in pairs.values():
        signs = {pair["one"]: 1, pair["other"]: -1}
        assert sum(signs[row["counted_by"]] * row["downloads"] for row in pair["reasons"]) == pair["difference"]


async def test_rolling_windows_look_at_the_day_before(api: Api, ledger: Ledger, episode: str) -> None:
    await land(ledger, episode)
    answer = await api.data(
        PATH, episode_id=episode, from_="2026-11-21", to="2026-11-22", profiles="castledger-1,first-touch,last-touch"
    )
    assert answer["data"][0]["downloads"] == {"castledger-1": 1, "first-touch": 0, "last-touch": 0}
    assert [pair["reasons"][0]["reason"] for pair in answer["pairs"][:2]] == ["window", "window"]
    assert (answer["data"][0]["hits"], len(answer["data"])) == (3, 1)


async def test_the_default_is_what_reports_show(api: Api, ledger: Ledger, episode: str) -> None:
    await land(ledger, episode)
    compared = await api.data(PATH, episode_id=episode, profiles="ptmg-2.3,castledger-1", **RANGE)
    reported = await api.data("/analytics/downloads", episode_id=episode, **RANGE)
    assert [(day["downloads"]["castledger-1"], day["downloads"]["ptmg-2.3"]) for day in compared["data"]] == [
        (row["downloads"], row["downloads_strict"]) for row in reported["data"]
    ]


async def test_a_day_whose_hits_are_gone_has_no_figures(api: Api, ledger: Ledger, episode: str) -> None:
    await land(ledger, episode)
    await ledger.operator.execute("delete from ts.listener_events where occurred_at < '2026-11-21T00:00Z'")
    answer = await api.data(PATH, episode_id=episode, **RANGE)
    assert (answer["data"][0]["downloads"], answer["data"][0]["reason"]) == (None, "hits_not_kept")
    assert answer["data"][0]["counted"] == 2
    assert answer["data"][1]["downloads"]["castledger-1"] == 1
    assert answer["profiles"][0]["downloads"] == 1


async def test_an_installations_own_profiles_are_compared(
    resources: Resources, ledger: Ledger, api: Api, episode: str, tmp_path: Path
) -> None:
    await land(ledger, episode)
    path = tmp_path / "profiles.toml"
    path.write_text('[profiles.house]\nbase = "castledger-1"\n[profiles.house.networks]\ndatacenter = ["browser"]\n')
    own = msgspec.structs.replace(resources, profiles=load_profiles(path))
    async with Api.open(create_app(own, log=RequestLog(io.StringIO())), api.key) as opened:
        answer = await opened.data(PATH, episode_id=episode, profiles="castledger-1,house", **RANGE)
        assert [row["downloads"] for row in answer["profiles"]] == [3, 4]
        assert answer["pairs"][0]["reasons"][0]["reason"] == "datacenter"
        refused = await opened.get(PATH, episode_id=episode, profiles="hause")
    assert codes(refused) == {("profiles", "unknown_profile")}
    assert "house" in refused.text
    assert codes(await api.get(PATH, episode_id=episode, profiles="house")) == {("profiles", "unknown_profile")}


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ({}, {("episode_id", "missing")}),
        ({"episode_id": "x", "from_": "yesterday"}, {("episode_id", "invalid"), ("from", "invalid")}),
        ({"from_": "2026-10-01", "to": "2026-11-02"}, {("to", "range_too_long")}),
        ({"from_": "2026-11-02", "to": "2026-11-02"}, {("to", "reversed_range")}),
        ({"from_": "2026-11-03", "to": "2026-11-02"}, {("to", "reversed_range")}),
        ({"from_": "2026-11-02T10:00:00Z"}, {("from", "invalid")}),
        ({"profiles": "castledger-1,iab"}, {("profiles", "unknown_profile")}),
        ({"profiles": "castledger-1,"}, {("profiles", "invalid")}),
        ({"profiles": "op3,op3"}, {("profiles", "repeated")}),
        ({"profiles": "a,b,c,d,e,f,g"}, {("profiles", "too_many_profiles")}),
        ({"profile": "op3"}, {("profile", "unknown_parameter")}),
    ],
)
async def test_a_bad_question_is_422(
    api: Api, episode: str, query: dict[str, str], faults: set[tuple[str, str]]
) -> None:
    given: dict[str, Any] = query if faults == {("episode_id", "missing")} else {"episode_id": episode, **query}
    assert codes(await api.get(PATH, **given)) == faults


async def test_31_days_can_be_asked_for(api: Api, episode: str) -> None:
    answer = await api.data(PATH, episode_id=episode, from_="2026-10-24")
    assert (answer["from"], answer["to"], len(answer["data"])) == ("2026-10-24", "2026-11-24", 31)
    assert (await api.data(PATH, episode_id=episode))["from"] == "2026-11-18"


async def test_no_more_than_so_many_hits_are_judged(
    api: Api, ledger: Ledger, resources: Resources, episode: str
) -> None:
    await land(ledger, episode)
    tenant = await ledger.tenant_of("home")
    start, end = dt.date(2026, 11, 20), dt.date(2026, 11, 23)
    async with resources.database.tenant(tenant, snapshot=True) as conn:
        row = await get_episode(conn, UUID(episode))
        assert row is not None
        now = resources.clock.now()
        answer = await compare_profiles(conn, row, [OP3], start=start, end=end, now=now, max_hits=8)
        assert [profile.downloads for profile in answer.profiles] == [5]
        with pytest.raises(InvalidRequest) as caught:
            await compare_profiles(conn, row, [OP3], start=start, end=end, now=now, max_hits=7)
    (fault,) = caught.value.faults
    assert (fault.pointer, fault.code) == ("to", "too_many_hits")
    assert fault.message == "spans 8 hits, and at most 7 are judged at once; ask for fewer days"


async def test_people_see_profiles_side_by_side_and_why(
    resources: Resources, ledger: Ledger, api: Api, episode: str
) -> None:
    landed = await land(ledger, episode)
    app = create_app(resources, log=RequestLog(io.StringIO()))
    path = f"/episodes/{episode}/compare"
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        assert path in (await browser.get(f"/episodes/{episode}")).links()
        page = await browser.get(f"{path}?first=2026-11-20&last=2026-11-22&profile=castledger-1&profile=op3")
        assert page.texts("//table[@id='compared']//td") == ["2", "3", "1", "2", "0", "0", "3", "5"]
        assert "1 late hit, in no report yet" in page.text
        assert page.texts("//h3")[0] == "op3: 2 more"
        assert f"/hits/{landed.tiny}" in page.links()
        assert "For castledger-1 the request is from a data centre." in page.text
        assert [str(node.get("value")) for node in page.find("//input[@checked]")] == ["castledger-1", "op3"]
        usual = await browser.get(path)
        assert usual.texts("//table[@id='compared']//th[@scope='col']")[1:] == [
            "castledger-1",
            "ptmg-2.3",
            "op3",
            "odl",
        ]
        assert len(usual.texts("//table[@id='compared']//tbody/tr")) == 8
        for query, fault in (
            ("first=2026-10-01&last=2026-11-20", "No more than 31 days"),
            ("first=x&last=2026-11-20", "have to be dates"),
            ("first=2026-11-21&last=2026-11-20", "has to lie before"),
            ("first=2026-11-21&last=2026-12-20", "none in the future"),
        ):
            refused = await browser.get(f"{path}?{query}")
            (said,) = refused.texts("//p[@role='alert']")
            assert fault in said
        other = await ledger.make_key("other")
    async with Browser.open(app) as browser:
        await browser.sign_in(other)
        assert (await browser.get(path)).status == 404


async def test_another_tenants_episode_is_not_there(api: Api, ledger: Ledger, episode: str) -> None:
    other = await ledger.make_key("other")
    problem(await api.get(PATH, key=other, episode_id=episode), 404, "not_found")
    problem(await api.get(PATH, episode_id=str(UUID(int=1))), 404, "not_found")
