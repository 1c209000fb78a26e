"""What our table says of agents that nobody has written down: their form has to tell."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.agent_table import load_table
from analytics_core.user_agents import AgentKind

ROOT = Path(__file__).resolve().parents[2]
# Without the packages that are asked for what it leaves open: they may be there or not.
TABLE = load_table((ROOT / "analytics_core" / "agents.toml").read_text(encoding="utf-8"))

# Words that are names of telephones, people and programmes, and of machines.
UNLUCKY_WORDS = """
Botany Abbott Talbot Cubot Robot Spiderman Spider Crawley Crawler Monitor Scanner Harvest Search Index Research Service
Archive Check Health Script Python Ruby Perl Java Ghost Mint Finch Riverside Captivate Transistor Resonate Discourse
Security Scandal Insight Mastodon API Pipeline Worker Twisted Bass Poco Rustic Siege Node Down Needle Request Got Pandas
Grab
"""
UNLUCKY = st.sampled_from(UNLUCKY_WORDS.split())
FIRMS = st.sampled_from(["Grafana", "Comscore", "Nielsen", "Buzzsprout", "Semrush", "Chartable", "Meltwater"])
FORMS = (
    "{}/3 CFNetwork/1490.0.4 Darwin/23.2.0",
    "{} (unknown version) CFNetwork/1490.0.4 Darwin/23.2.0",
    "{}/4.2.1 (com.example.app; build:4; iOS 17.2.1) Alamofire/5.8.1",
    "{}/4.2.1 (iPhone; iOS 17.2; Scale/3.00)",
    "{}/5.10.0 (Linux;Android 14) ExoPlayerLib/2.19.1",
    "{}/5.10.0 (Linux;Android 14) AndroidXMedia3/1.4.1",
    "{}/2.3.1 Android/33 (Pixel 7)",
    "{}/2.3.1 (Android 14; Pixel 7)",
)


@given(st.lists(UNLUCKY | FIRMS, min_size=1, max_size=3).map(" ".join), st.sampled_from(FORMS), st.booleans())
def test_an_app_in_its_platforms_form_is_no_bot_whatever_it_is_called(name: str, form: str, encoded: bool) -> None:
    """A listener who is taken for a machine is the worst mistake that a table can make."""
    found = TABLE.classify(form.format(quote(name) if encoded else name))
    assert (found.kind, found.device) == (AgentKind.APP, "phone")


@given(
    UNLUCKY, st.sampled_from(["Podcast", "Podcasts", "Radio", "Player", "FM"]), st.sampled_from(["/7.4.2", "/1.0", ""])
)
def test_a_name_that_ends_in_listening_is_no_bots(name: str, ending: str, version: str) -> None:
    assert TABLE.classify(f"{name} {ending}{version}").kind is AgentKind.APP


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        # Players in pages name their site behind the browser's name; machines name theirs in front of its engine.
        ("Mozilla/5.0 (X11; Linux x86_64; rv:122.0) Gecko/20100101 Firefox/122.0 example.org", AgentKind.BROWSER),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:122.0) example.com/policy Gecko/20100101 Firefox/122.0", AgentKind.BOT),
        # A version behind the sign is no address.
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/111.0.0.0 Mobile "
            "Safari/537.36 (Ecosia android@111.0.5563.116)",
            AgentKind.BROWSER,
        ),
        (
            "Mozilla/5.0 (Linux; Android 7.0; ID bot 53+ Build/NRD90M) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/55.0.2883.91 Mobile Safari/537.36",
            AgentKind.BROWSER,
        ),
        # Scripts keep the version that they began with, and say nothing else; apps go on, or speak of listening.
        ("Kollectr/1.0", AgentKind.BOT),
        ("Kollectr/0.4.2", AgentKind.BOT),
        ("Kollectr/1.7.2", AgentKind.APP),
        ("Kollectr/1.0 (Android 14)", AgentKind.APP),
        ("KollectrCast/1.0", AgentKind.APP),
        ("Kollectr", AgentKind.UNKNOWN),
        # An Android app's identifier is no confession either.
        ("com.example.feedreader.Pro", AgentKind.APP),
    ],
)
def test_agents_never_seen_are_told_by_their_form(agent: str, kind: AgentKind) -> None:
    assert TABLE.classify(agent).kind is kind


LOCALISED = """
Podcasts Podcaster Podcastit Podcasty Podcastok Podcasturi Pod-casturi Podkaster Podcasti Podcast’ler Balados
播客 ポッドキャスト 팟캐스트 Подкасты Подкасти Подкасттар البودكاست بودكاست پادکست פודקאסטים
พ็อดคาสท์ พอดแคสต์ पॉडकास्ट পডকাস্ট பாட்காஸ்ட்கள்
"""


@given(st.sampled_from(LOCALISED.split()), st.sampled_from(["1650.20", "4023.410.2", "12"]), st.booleans())
def test_apple_podcasts_is_known_in_any_language(name: str, version: str, encoded: bool) -> None:
    agent = f"{quote(name) if encoded else name}/{version} CFNetwork/1490.0.4 Darwin/23.2.0"
    assert TABLE.classify(agent).app == "Apple Podcasts"
