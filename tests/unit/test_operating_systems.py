"""Operating systems: which one an agent names, on agents of real requests and on any text."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.agent_table import classify
from analytics_core.operating_systems import OPERATING_SYSTEMS, operating_system
from analytics_core.user_agents import AgentKind, normalise_agent

AGENTS = [
    ("Podcasts/4023.410.2 CFNetwork/1492.0.1 Darwin/23.3.0", "iOS"),
    ("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)", "iOS"),
    ("Spotify/8.9.8 iOS/17.2.1 (iPhone14,2)", "iOS"),
    ("CastBox/10.18.1 (fm.castbox.audiobook.radio.podcast; build:240108.202310; iOS 17.2.1)", "iOS"),
    ("Castro 2023.15/1113", "iOS"),
    ("Spotify/8.9.8 iOS/17.2 (iPad13,18)", "iPadOS"),
    ("ThePodcastApp/6.54.0 (iPad; iPadOS 17.2; ) player (build 6883; +https://podcast.app/)", "iPadOS"),
    ("AppleCoreMedia/1.0.0.21S644 (Apple Watch; U; CPU OS 10_3 like Mac OS X; en_us)", "watchOS"),
    ("atc/1.0 watchOS/9.6.3", "watchOS"),
    ("AppleCoreMedia/1.0.0.21K69 (Apple TV; U; CPU OS 17_1 like Mac OS X; en_gb)", "tvOS"),
    ("AppleCoreMedia/1.0.0.20K71 (HomePod; U; CPU OS 16_1 like Mac OS X; en_us)", ""),
    ("Podcasts/1440.4 CFNetwork/1128.1 Darwin/19.6.0 (x86_64)", "macOS"),
    ("iTunes/12.8.3 (Macintosh; OS X 10.13.6) AppleWebKit/605.3.8", "macOS"),
    ("Spotify/122900605 OSX_ARM64/0 (MacBookAir10,1)", "macOS"),
    ("AppleCoreMedia/1.0.0.21E236 (Macintosh; U; Intel Mac OS X 14_4; en_us)", "macOS"),
    ("iTunes/12.13 (Windows; Microsoft Windows 10 x64; x64) AppleWebKit/7613.2007", "Windows"),
    ("Spotify/122601187 Win32_x86_64/0 (PC laptop)", "Windows"),
    ("Mozilla/5.0 (Windows Phone 10.0; Android 4.2.1; Microsoft; Lumia 950) AppleWebKit/537.36 Edge/13.1", "Windows"),
    ("CastBox/11.10.0-240116515 (Linux;Android 14) ExoPlayerLib/2.10.4", "Android"),
    ("PodcastAddict/v5 (+https://podcastaddict.com/; Android podcast app)", "Android"),
    ("Mozilla/5.0 (Linux; U; Windows NT 6.1; en-us; dream) DoggCatcher", "Android"),
    ("GSA/15.2.36.28.arm64", "Android"),
    ("AntennaPod/3.2.0", "Android"),
    ("Mozilla/5.0 (Linux; Android 12; HarmonyOS; NOH-AN00; HMSCore 6.13.0.302) AppleWebKit/537.36", "HarmonyOS"),
    ("Mozilla/5.0 (Linux; Android 9; KFTRWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/120.2.2", "Fire OS"),
    ("Dalvik/2.1.0 (Linux; U; Android 7.1.2; AFTMM Build/NS6271)", "Fire OS"),
    ("Amazon;AFTKA;756a522d9f1648b89e76e80be654456a;;tpapi;3.203.233", "Fire OS"),
    ("After Work/2.1 (Linux; Android 13; Pixel 7)", "Android"),
    ("Mozilla/5.0 (Mobile; LYF/F220B/LYF-F220B-003-01-69-170322;Android; rv:48.0) Firefox/48.0 KAIOS/2.5", "KaiOS"),
    ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36", "ChromeOS"),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:122.0) Gecko/20100101 Firefox/122.0", "Linux"),
    ("Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) 76.0.3809.146/6.0", "Tizen"),
    ("Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/53.0.2785.34", "webOS"),
    ("Roku/DVP-9.10 (519.10E04111A)", "Roku OS"),
    ("Pocket Casts", ""),
    ("Helios Radio/1.0", ""),
    ("okhttp/4.12.0", ""),
    ("", ""),
]


@pytest.mark.parametrize(("agent", "system"), AGENTS)
def test_an_agent_tells_its_operating_system(agent: str, system: str) -> None:
    assert operating_system(agent) == system


def test_every_operating_system_is_told_of_some_agent_but_one_too_new_to_have_been_met() -> None:
    assert set(OPERATING_SYSTEMS) - {system for _, system in AGENTS} == {"visionOS"}


@given(st.text(max_size=300) | st.lists(st.sampled_from([agent for agent, _ in AGENTS]), max_size=3).map(" ".join))
def test_whatever_is_sent_the_answer_is_of_a_closed_set_and_case_makes_no_difference(text: str) -> None:
    found = operating_system(text)
    assert found in ("", *OPERATING_SYSTEMS)
    assert operating_system(text.lower()) == found


def test_a_bot_that_claims_a_telephone_has_no_operating_system() -> None:
    found = classify("Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) (compatible; Googlebot/2.1)")
    assert (found.kind, found.os) == (AgentKind.BOT, "")


def test_most_real_requests_of_apps_and_browsers_tell_their_operating_system(data_dir: Path) -> None:
    told = asked = 0
    with (data_dir / "useragents" / "real_user_agents.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if classify(row["user_agent"]).kind in (AgentKind.APP, AgentKind.BROWSER):
                asked += int(row["count"])
                told += int(row["count"]) * bool(operating_system(normalise_agent(row["user_agent"])))
    assert told / asked > 0.93
