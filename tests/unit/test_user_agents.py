"""Our own table of user agents: its examples, its order, its bounds, and how it does on real traffic."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.agent_fallbacks import installed_versions
from analytics_core.agent_table import AgentEntry, AgentTable, classify, load_table, table_version
from analytics_core.errors import InvalidInput
from analytics_core.user_agents import DEVICES, MAX_AGENT_CHARS, AgentKind, normalise_agent
from benchmarks.score import (
    GOAL_APP,
    GOAL_EXAMPLES,
    GOAL_KIND,
    GOAL_UNKNOWN,
    OpenTables,
    find_data,
    read_examples,
    read_requests,
    score,
)

ROOT = Path(__file__).resolve().parents[2]
TABLE_TEXT = (ROOT / "analytics_core" / "agents.toml").read_text(encoding="utf-8")
TABLE = load_table(TABLE_TEXT)
EXAMPLES = [(entry.name, example) for entry in TABLE.agents for example in entry.examples]
# Compiled once: these take longer than a test of hypothesis may.
PLAIN = {entry.name: re.compile(entry.pattern) for entry in TABLE.agents if entry.pattern}
NAMED = {entry.name: AgentTable((entry,), (), version="") for entry in TABLE.agents if entry.names}


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_is_decided_by_its_own_entry(name: str, example: str) -> None:
    assert classify(example).rule == name


def test_every_entry_has_an_example() -> None:
    assert [entry.name for entry in TABLE.agents if not entry.examples] == []


def test_every_device_pattern_decides_its_own_examples() -> None:
    everything = AgentEntry(name="anything", kind="app", pattern=".")
    table = AgentTable((everything,), TABLE.devices, version="")
    examples = [(entry.device, example) for entry in TABLE.devices for example in entry.examples]
    assert len(examples) >= len(TABLE.devices)
    assert [(table.classify(example).device, example) for _, example in examples] == examples


@pytest.mark.parametrize(
    ("agent", "kind", "app", "device"),
    [
        # The same name: a feed fetcher, a phone, a watch.
        ("Overcast/1.0 Podcast Sync (+http://overcast.fm/)", AgentKind.BOT, "Overcast feed fetcher", "unknown"),
        ("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)", AgentKind.APP, "Overcast", "phone"),
        ("Overcast (+http://overcast.fm/; Apple Watch podcast app)", AgentKind.APP, "Overcast", "watch"),
        ("Spotify/1.0", AgentKind.BOT, "Spotify cache", "unknown"),
        ("Spotify/8.9.8 iOS/17.2.1 (iPhone14,2)", AgentKind.APP, "Spotify", "phone"),
        # A bot in a browser's clothes is a bot, on no device.
        (
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/86.0.4240.96 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            AgentKind.BOT,
            "Google crawlers",
            "unknown",
        ),
        # A telephone's maker with an unlucky name is none.
        (
            "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.4430.91 "
            "Mobile Safari/537.36",
            AgentKind.BROWSER,
            "Chrome",
            "phone",
        ),
        ("%E6%92%AD%E5%AE%A2/4022.400.1 CFNetwork/1404.0.5 Darwin/22.3.0", AgentKind.APP, "Apple Podcasts", "phone"),
        ("播客/4022.400.1 CFNetwork/1404.0.5 Darwin/22.3.0", AgentKind.APP, "Apple Podcasts", "phone"),
        ("AirPodcasts/4023.420.1 CFNetwork/1492.0.1 Darwin/23.3.0", AgentKind.APP, "Apple HomePod", "speaker"),
        ("atc/1.0 watchOS/9.6.3", AgentKind.WATCH, "Apple Podcasts", "watch"),
        (
            "AppleCoreMedia/1.0.0.20K71 (Apple TV; U; CPU OS 16_1 like Mac OS X; en_au)",
            AgentKind.LIBRARY,
            "AppleCoreMedia",
            "tv",
        ),
        (
            "AppleCoreMedia/1.0.0.19A583 (Macintosh; U; Intel Mac OS X 10_15; en_us)",
            AgentKind.LIBRARY,
            "AppleCoreMedia",
            "computer",
        ),
        # Libraries that scripts use are bots; those inside of players are not.
        ("okhttp/4.12.0", AgentKind.BOT, "okhttp", "unknown"),
        ("Dalvik/2.1.0 (Linux; U; Android 13; Pixel 7 Build/TQ3A)", AgentKind.LIBRARY, "Dalvik", "phone"),
        ("Something nobody has seen", AgentKind.UNKNOWN, "", "unknown"),
    ],
)
def test_the_first_entry_that_matches_decides(agent: str, kind: AgentKind, app: str, device: str) -> None:
    found = classify(agent)
    assert (found.kind, found.app, found.device) == (kind, app, device)


@pytest.mark.parametrize("agent", ["", " \t\r\n", "\x00\x07", "%00%0A", "\u200b"])
def test_an_agent_without_readable_text_is_empty(agent: str) -> None:
    found = classify(agent)
    assert (found.kind, found.app, found.rule) == (AgentKind.UNKNOWN, "", "empty")


@pytest.mark.parametrize(
    ("agent", "normalised"),
    [
        ("Pocket\x00 Casts\r\n", "Pocket Casts"),
        ("TuneIn%20Radio/2202", "TuneIn Radio/2202"),
        ("TuneIn%2520Radio/2202", "TuneIn Radio/2202"),
        ("100%/1.0", "100%/1.0"),
        ("%%34%31", "A"),
        ("%ff", "\ufffd"),
        ("a\ud800b\u202ec", "abc"),
        ("x" * 600, "x" * MAX_AGENT_CHARS),
        ("%25" * 170, "%" * 170),
    ],
)
def test_a_malformed_agent_is_corrected(agent: str, normalised: str) -> None:
    assert normalise_agent(agent) == normalised


def test_what_was_encoded_without_end_loses_its_signs() -> None:
    assert "%" not in normalise_agent("My%" + "25" * 200 + "20App")
    assert normalise_agent("My%" + "25" * 3 + "20App") == "My App"


JUNK = [
    "/" * 512,
    "(" * 512,
    "%" * 512,
    "%25" * 170,
    "%" + "25" * 255,
    "%4" + "%3" * 200 + "1" * 100,
    "a/1 " * 128,
    "Mozilla/5.0 (Linux; Android " + "9; " * 150,
    "Mozilla/5.0 (compatible; " + "(" * 480,
    "podcast " * 64,
    "".join(chr(code) for code in range(512)),
    "\udcff" * 512,
    "\U0001f399" * 512,
    "ı" * 512,
    "İ" * 512,
]


@pytest.mark.parametrize("agent", JUNK)
def test_junk_is_classified_like_anything_else(agent: str) -> None:
    found = classify(agent)
    assert found.device in DEVICES
    found.rule.encode()


agents = st.text(max_size=600) | st.lists(
    st.sampled_from(["%", "25", "41", "0A", "E6", "/", " ", "(", "Mozilla/5.0", "bot", "iOS", "\x00", "ſ", "\u202e"]),
    max_size=200,
).map("".join)


@given(agents)
def test_every_text_has_one_class(agent: str) -> None:
    found = classify(agent)
    assert found == classify(agent)
    assert found.device in DEVICES
    assert (found.kind is AgentKind.UNKNOWN) == (found.rule in {"empty", "none"})


@given(agents)
def test_normalising_twice_changes_nothing_more(agent: str) -> None:
    once = normalise_agent(agent)
    assert normalise_agent(once) == once
    assert len(once) <= MAX_AGENT_CHARS
    assert once.encode().decode() == once


@given(agents)
def test_what_is_equal_once_normalised_is_classified_alike(agent: str) -> None:
    assert classify(normalise_agent(agent)) == classify(agent)


@given(st.text(max_size=60))
def test_encoded_and_plain_agents_are_classified_alike(agent: str) -> None:
    assert classify(quote(agent, safe="")) == classify(agent)
    assert classify(quote(agent)) == classify(agent)


@given(st.binary(max_size=600))
def test_any_bytes_are_classified_however_they_are_decoded(agent: bytes) -> None:
    for errors in ("replace", "surrogateescape", "backslashreplace"):
        assert classify(agent.decode("utf-8", errors)).device in DEVICES


@given(st.sampled_from([example for _, example in EXAMPLES if len(example) <= 160]))
def test_an_example_means_the_same_encoded(example: str) -> None:
    assert classify(quote(example, safe="")) == classify(example)


@given(st.sampled_from([example for _, example in EXAMPLES]), st.data())
def test_the_compiled_patterns_mean_what_they_say(example: str, data: st.DataObject) -> None:
    """The rewrites that make patterns cheap must not change what the plain ones would find."""
    cut = data.draw(st.integers(0, len(example)))
    text = normalise_agent(data.draw(st.sampled_from([example, example[cut:], example[:cut], example.upper()])))
    plain = next((entry.name for entry in TABLE.agents if is_plainly_found(entry, text)), "none" if text else "empty")
    assert TABLE.classify(text).rule == plain


def is_plainly_found(entry: AgentEntry, text: str) -> bool:
    if entry.pattern:
        return PLAIN[entry.name].search(text) is not None
    return bool(text) and NAMED[entry.name].classify(text).rule == entry.name


def table(*, name: str = "Castaway", kind: str = "app", pattern: str = "^Castaway/", more: str = "") -> str:
    return f"[[agent]]\nname = '{name}'\nkind = '{kind}'\npattern = '{pattern}'\n{more}\n"


def test_another_table_can_be_loaded() -> None:
    other = load_table(table() + table(name="Tool", kind="library", pattern="(?i)^TOOL/", more="category = 'bot'"))
    assert other.classify("Castaway/1.0").kind is AgentKind.APP
    assert other.classify("tool/2").kind is AgentKind.BOT
    assert other.classify("Overcast/3.0").rule == "none"
    assert other.version != table_version()


@pytest.mark.parametrize("pattern", ["^a|b|^c", "^(a|b)", "^[(|]x|^y", r"^\(|\|", "(?i)^a|[B]", "(?i)^É"])
def test_alternatives_anchors_and_case_keep_their_meaning(pattern: str) -> None:
    other = load_table(table(pattern=pattern))
    for text in (
        "a",
        "xa",
        "b",
        "xb",
        "c",
        "xc",
        "(x",
        "|x",
        "x|x",
        "y",
        "xy",
        "(",
        "x|",
        "A",
        "B",
        "xB",
        "é",
        "É",
        "xé",
    ):
        assert (other.classify(text).rule == "Castaway") == bool(re.search(pattern, text)), text


@pytest.mark.parametrize(
    ("agent", "app"),
    [
        ("Cast Away/1.0", "Castaway"),
        ("castaway", "Castaway"),
        ("CASTAWAY-Android 4.1 (Pixel)", "Castaway"),
        ("castawayApp2/7 CFNetwork/1490", "Castaway"),
        ("Old%20Name/1.0", "New Name"),
        ("Castaways/1.0", ""),
        ("A Castaway/1.0", ""),
    ],
)
def test_a_listed_name_is_found_however_it_is_spelled(agent: str, app: str) -> None:
    other = load_table(table(name="By name", pattern="", more="names = ['Castaway', 'Old Name = New Name']"))
    assert other.classify(agent).app == app


def test_a_program_may_name_itself() -> None:
    other = load_table(table(name="Anything", pattern="^(?P<app>[^/]*)/"))
    found = other.classify('  " My App- "/1.0')
    assert (found.app, found.rule, found.names_itself) == ("My App", "Anything", True)
    nameless = other.classify("-/1.0")
    assert (nameless.app, nameless.names_itself) == ("Anything", False)
    assert len(other.classify("x" * 200 + "/1.0").app) == 60
    folded = load_table(table(name="Anything", pattern="(?i)^i*(?P<app>cast[^/]*)/"))
    assert folded.classify("İiCastAway/1").app == ""
    assert folded.classify("iiCastAway/1").app == "CastAway"
    # What is lower case is longer here than what was sent.
    assert load_table(table(pattern="(?i)^.{1,9} (?P<app>away)/")).classify("İİİ Away/1").app == "away"
    # Ignoring case, this letter is an i, too.
    assert load_table(table(pattern="(?i)^xiyZ/")).classify("Xİyz/1").kind is AgentKind.APP


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("not toml", "agents", "not TOML"),
        ("agents = 1", "agents", "agents"),
        ("agent = 1", "agents", "array"),
        (table(kind="crawler"), "agent 'Castaway'", "crawler"),
        (table(kind="unknown"), "agent 'Castaway'", "unknown"),
        (table(pattern="("), "agent 'Castaway'", "regular expression"),
        (table(pattern="x*"), "agent 'Castaway'", "matches everything"),
        (table(more="device = 'toaster'"), "agent 'Castaway'", "toaster"),
        (table(pattern="(x+)+y"), "agent 'Castaway'", "inside of a repetition"),
        (table(pattern=""), "agent 'Castaway'", "either a pattern or names"),
        (table(more="names = ['Castaway']"), "agent 'Castaway'", "either a pattern or names"),
        (table(pattern="", more="names = ['Cast-Away', 'castaway']"), "agent 'Castaway'", "already"),
        (table(pattern="", more="names = ['- = Castaway']"), "agent 'Castaway'", "no letters"),
        (table(more="colour = 'red'"), "agent 'Castaway'", "colour"),
        (table(more="examples = 'one'"), "agent 'Castaway'", "array"),
        (table() + table(), "agent 'Castaway'", "only once"),
        (table(name=""), "agent ''", "name"),
        ("[[agent]]\nkind = 'app'\npattern = 'x'", "agent 1", "name"),
        ("[[device]]\ndevice = 'toaster'\npattern = 'x'", "device 1", "one of"),
        ("[[device]]\ndevice = 'tv'\npattern = '['", "device 1", "regular expression"),
        ("[[device]]\npattern = 'x'", "device 1", "device"),
    ],
)
def test_a_faulty_table_is_refused_with_the_entrys_name(text: str, path: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_table(text)
    assert caught.value.path.startswith(path)
    assert reason in caught.value.reason


MOLE = "Mozilla/5.0 (X11; U; Mole 3; en) Gecko/20100101 Galeon/2.0.6"


def test_a_list_of_crawlers_is_asked_only_for_what_is_left_open() -> None:
    crawlers = pytest.importorskip("crawleruseragents")
    overcast = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"
    assert crawlers.is_crawler(overcast)
    other = load_table(table(pattern="^Castaway"), asks_others=True)
    found = other.classify("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
    assert (found.kind, found.app, found.device, found.rule) == (
        AgentKind.BOT,
        "Other crawlers",
        "unknown",
        "crawler-user-agents",
    )
    assert other.classify("Castaway/1.0 Googlebot/2.1").kind is AgentKind.APP
    assert classify(overcast).kind is AgentKind.APP
    assert load_table(table()).classify("Googlebot/2.1").rule == "none"


def test_browsers_and_devices_that_are_left_open_are_guessed() -> None:
    pytest.importorskip("user_agents")
    other = load_table(table(pattern="^Castaway"), asks_others=True)
    found = other.classify(MOLE)
    assert (found.kind, found.app, found.rule) == (AgentKind.BROWSER, "Galeon", "user-agents")
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    assert other.classify(phone).device == "phone"
    # It would call this one a telephone, for no reason.
    assert other.classify("Pocket Casts").device == "unknown"
    assert load_table(table()).classify(MOLE).rule == "none"


def test_the_version_names_the_content() -> None:
    assert table_version() == load_table(TABLE_TEXT, asks_others=True).version
    assert (table_version() == TABLE.version) == (not installed_versions())
    assert re.fullmatch(r"[0-9a-f]{12}", table_version())
    assert load_table(TABLE_TEXT + "\n# changed\n").version != table_version()


def test_real_traffic_is_classified_as_the_open_tables_do() -> None:
    folder = find_data()
    if folder is None:
        pytest.skip("no real user agents: set CASTLEDGER_DATA to the folder that holds useragents/")
    real = score(read_requests(folder, OpenTables(folder / "opawg-v2")))
    examples = score(read_examples(folder / "opawg-v2"))
    assert real.kind >= GOAL_KIND
    assert real.unknown <= GOAL_UNKNOWN
    assert real.app >= GOAL_APP
    assert examples.kind >= GOAL_EXAMPLES
