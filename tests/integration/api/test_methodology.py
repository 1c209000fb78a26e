"""The methodology: public, and told from what runs."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import io
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar

from analytics_core.agent_lists import LIST_FILES
from analytics_core.agent_table import table_version
from analytics_core.own_profiles import load_profiles
from analytics_core.profiles import PROFILES, Profile
from analytics_core.settings import Settings
from analytics_core.verdicts import Verdict
from api.app import create_app
from api.lists import ListVersions
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.browsers import Browser

pytestmark = pytest.mark.anyio


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


async def read(app: Litestar, path: str = "/methodology.json", **headers: str) -> Any:
    async with Browser.open(app) as browser:
        answer = (await browser.get(path, headers=headers)).answer
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    return answer.json()


async def test_everyone_may_read_how_figures_are_made(app: Litestar, settings: Settings) -> None:
    told = await read(app)
    assert (told["profile"], told["rules"]) == ("castledger-1", "castledger-1.2")
    assert [row["verdict"] for row in told["filters"]] == [verdict.label for verdict in Verdict if verdict]
    assert told["lists"]["agents"] == table_version()
    assert (told["lists"]["networks"], told["list_files"]) == ("none", [])
    assert told["shared"] == {"entries": 0, "acting": 0, "oldest_validated": None, "valid_days": 90}
    kept = " ".join(f"{row['what']}: {row['how_long']}" for row in told["kept"])
    assert f"Hits: {settings.ingest.hits_months} months" in kept
    assert told["final_after_days"] == settings.ingest.final_after_days
    assert told["deviations"]
    assert told["unseen"]


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
async def test_every_profile_is_told_whole(app: Litestar, profile: Profile) -> None:
    (told,) = (row for row in (await read(app))["profiles"] if row["profile"] == profile.name)
    assert told["rules"] == profile.rules_version
    assert (told["window"], told["counts_probes"]) == (profile.window.value, profile.counts_probes)
    assert ("referrer's host" in told["key"]) == profile.by_referrer
    assert told["threshold"]["header_bytes"] == profile.header_bytes
    assert told["differences"] == list(profile.differences)
    assert sum(Verdict[label.upper()].bit for label in told["excluding"]) == profile.excluding
    assert told["networks"]["spares_shared"] == profile.networks.spares_shared
    assert told["networks"]["datacenter"] == [kind.label for kind in profile.networks.datacenter]
    assert (told["is_default"], told["is_own"]) == (profile.name == "castledger-1", False)


async def test_a_program_may_ask_for_it_by_what_it_accepts(app: Litestar) -> None:
    assert await read(app, "/methodology", Accept="application/json") == await read(app)


async def test_lists_have_their_dates_and_own_profiles_are_there(resources: Resources, tmp_path: Path) -> None:
    folder = resources.settings.ingest.lists_dir
    folder.mkdir(parents=True)
    (folder / "datacenter.txt").write_text("203.0.113.0/24\n")
    changed = dt.datetime(2026, 11, 3, 12, tzinfo=dt.UTC).timestamp()
    os.utime(folder / "datacenter.txt", (changed, changed))
    path = tmp_path / "profiles.toml"
    path.write_text('[profiles.house]\nbase = "op3"\nsummary = "Ours."\n')
    own = msgspec.structs.replace(resources, profiles=load_profiles(path))
    told = await read(create_app(own, log=RequestLog(io.StringIO())))
    assert told["list_files"] == [{"name": "datacenter.txt", "changed": "2026-11-03"}]
    assert {row["verdict"] for row in told["filters"] if not row["in_force"]} == {"blocked", "vpn"}
    assert not any("No list of data centres" in text for text in told["deviations"])
    assert told["lists"]["networks"] != "none"
    assert (told["profiles"][-1]["profile"], told["profiles"][-1]["is_own"]) == ("house", True)


async def test_it_is_dated_and_says_which_filters_have_nothing_to_go_by(app: Litestar, resources: Resources) -> None:
    told = await read(app)
    assert told["as_of"] == resources.clock.now().date().isoformat()
    assert told["software"] == importlib.metadata.version("castledger-server")
    assert {row["verdict"] for row in told["filters"] if not row["in_force"]} == {"blocked", "datacenter", "vpn"}
    assert any("No list of data centres" in text for text in told["deviations"])


async def test_lists_of_agents_have_their_dates_too(resources: Resources, tmp_path: Path) -> None:
    changed = dt.datetime(2026, 11, 4, 12, tzinfo=dt.UTC).timestamp()
    for name in LIST_FILES:
        (tmp_path / name).write_text(f'{{"entries": [{{"name": "{name}", "pattern": "^Earwig/"}}]}}')
        os.utime(tmp_path / name, (changed, changed))
    ingest = msgspec.structs.replace(resources.settings.ingest, agent_lists=tmp_path)
    own = msgspec.structs.replace(resources, lists=ListVersions(ingest))
    told = await read(create_app(own, log=RequestLog(io.StringIO())))
    assert told["list_files"] == [{"name": name, "changed": "2026-11-04"} for name in LIST_FILES]
    assert told["lists"]["agents"] != table_version()


async def test_shared_addresses_are_disclosed_and_those_before_where_the_list_is_damaged(resources: Resources) -> None:
    today = resources.clock.now().date()
    path = resources.settings.ingest.lists_dir / "shared.txt"
    path.parent.mkdir(parents=True)
    old = today - dt.timedelta(days=91)
    path.write_text(f"192.0.2.0/24 {today} Office\n198.51.100.0/24 {old} Dormitory\n")
    app = create_app(resources, log=RequestLog(io.StringIO()))
    expected = {"entries": 2, "acting": 1, "oldest_validated": old.isoformat(), "valid_days": 90}
    assert (await read(app))["shared"] == expected
    async with Browser.open(app) as browser:
        page = await browser.get("/methodology", headers={"Accept": "text/html"})
        assert "2 entries, the oldest validated on" in page.text
        assert "1 of them act no longer" in page.text
        # Who is behind them is the operator's to know.
        assert "Dormitory" not in page.text
        path.write_text("nonsense\n")
        assert (await read(app))["shared"] == expected
        path.unlink()
        assert (await read(app))["shared"]["entries"] == 0


async def test_people_read_it_on_a_page_without_signing_in(app: Litestar) -> None:
    async with Browser.open(app) as browser:
        page = await browser.get("/methodology", headers={"Accept": "text/html,*/*;q=0.8"})
        assert (page.status, page.path) == (200, "/methodology")
        assert page.texts("//h1") == ["How downloads are counted here"]
        assert len(page.find("//h3")) == len(PROFILES)
        for profile in PROFILES.values():
            assert profile.summary in page.text
            assert all(difference in page.text for difference in profile.differences)
        assert "none installed" in page.text
        assert "all count but browser" in page.text
        assert "default-src 'none'" in page.answer.headers["content-security-policy"]
        assert "/methodology" in (await browser.get("/sign-in")).links("//footer//a")
