"""An installation's own profiles: what a file changes, and every fault of one named with its file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics_core.errors import ConfigError
from analytics_core.own_profiles import load_profiles
from analytics_core.profiles import CASTLEDGER_1, OP3, PROFILES, NetworkPolicy, Profile
from analytics_core.settings import load_settings
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Verdict
from analytics_core.windows import Window

HOUSE = """
[profiles.house]
base = "op3"
version = 3
summary = "What our sponsors agreed to."
counts_probes = false
header_bytes = 100_000
seconds = 30
excluding = ["head", "unknown_episode", "bot", "tiny_range", "vpn"]
preload_referrers = ["player.example.com"]
window = "last_touch"
by_referrer = false

[profiles.house.networks]
vpn = ["library", "browser"]
relay = ["browser"]
spares_shared = true

[profiles."short-2"]
base = "castledger-1"
seconds = 20
"""


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "profiles.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_file_says_what_is_different_from_a_base(tmp_path: Path) -> None:
    found = load_profiles(write(tmp_path, HOUSE))
    assert list(found) == [*PROFILES, "house", "short-2"]
    assert found["house"] == Profile(
        name="house",
        version=3,
        summary="What our sponsors agreed to.",
        counts_probes=False,
        counts_tails=OP3.counts_tails,
        header_bytes=100_000,
        seconds=30,
        believes_sizes=OP3.believes_sizes,
        excluding=sum(
            verdict.bit
            for verdict in (Verdict.HEAD, Verdict.UNKNOWN_EPISODE, Verdict.BOT, Verdict.TINY_RANGE, Verdict.VPN)
        ),
        preload_referrers=("player.example.com",),
        networks=NetworkPolicy(
            datacenter=(AgentKind.BROWSER,),
            vpn=(AgentKind.BROWSER, AgentKind.LIBRARY),
            relay=(AgentKind.BROWSER,),
            spares_shared=True,
        ),
        window=Window.LAST_TOUCH,
        by_referrer=False,
        differences=OP3.differences,
    )
    short = found["short-2"]
    assert (short.seconds, short.header_bytes, short.rules_version) == (20, CASTLEDGER_1.header_bytes, "short-2.1")
    assert {name: found[name] for name in PROFILES} == dict(PROFILES)


def test_without_a_file_there_are_ours() -> None:
    assert load_profiles(None) == PROFILES


def faults(tmp_path: Path, text: str | bytes) -> list[str]:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_profiles(path)
    start = f"CASTLEDGER_PROFILES: {path}: "
    assert all(fault.startswith(start) for fault in caught.value.faults)
    return [fault.removeprefix(start) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("secnds = 30", "profiles.house.secnds: there is no such key; is seconds meant?"),
        ("zzz = 30", "profiles.house.zzz: there is no such key; known: base, version, summary"),
        ("seconds = 3601", "profiles.house.seconds: has to be a whole number from 0 to 3,600"),
        ("seconds = true", "profiles.house.seconds: has to be a whole number from 0 to 3,600"),
        ("seconds = 30.5", "profiles.house.seconds: has to be a whole number from 0 to 3,600"),
        ("header_bytes = 0", "profiles.house.header_bytes: has to be a whole number from 1 to 100,000,000"),
        ("networks = { spares_shared = [] }", "profiles.house.networks.spares_shared: has to be true or false"),
        ("counts_probes = 1", "profiles.house.counts_probes: has to be true or false"),
        ('window = "hour"', "profiles.house.window: has to be one of calendar_day, first_touch, last_touch"),
        ("window = []", "profiles.house.window: has to be one of calendar_day, first_touch, last_touch"),
        ('excluding = ["bot"]', "profiles.house.excluding: has to hold unknown_episode"),
        ('excluding = ["unknown_episode", "bots"]', "profiles.house.excluding: holds 'bots', which is none of head"),
        ('excluding = ["bot", "bot"]', "profiles.house.excluding: names something twice"),
        ('excluding = "bot"', "profiles.house.excluding: has to be a list of at most 100 texts"),
        ('preload_referrers = ["www.a.com"]', "profiles.house.preload_referrers: holds 'www.a.com', which is no host"),
        ('preload_referrers = ["http://a.com/"]', "profiles.house.preload_referrers: holds 'http://a.com/', which"),
        ('summary = ""', "profiles.house.summary: has to be a line of 1 to 300 characters"),
        ('differences = ["a\\nb"]', "profiles.house.differences: has to be a line of 1 to 300 characters"),
        ('networks = ["vpn"]', "profiles.house.networks: has to be a table with datacenter, vpn, relay"),
        ('networks = {vpn = ["phone"]}', "profiles.house.networks.vpn: holds 'phone', which is none of unknown, app"),
        ("networks = {vpm = []}", "profiles.house.networks.vpm: there is no such key; is vpn meant?"),
    ],
)
def test_what_is_wrong_with_a_key_is_said_of_it(tmp_path: Path, line: str, fault: str) -> None:
    (found,) = faults(tmp_path, f'[profiles.house]\nbase = "castledger-1"\n{line}\n')
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "profiles: there are none"),
        ("profiles = 1", "profiles: there are none"),
        ("[profile.house]", "profile: there is no such key; is profiles meant?"),
        ("[profiles]\nhouse = 1", "profiles.house: has to be a table"),
        ("[profiles.house]", "profiles.house.base: is missing; has to be one of castledger-1, ptmg-2.3"),
        ('[profiles.house]\nbase = "iab"', "profiles.house.base: is none of ours; has to be one of castledger-1"),
        ('[profiles.op3]\nbase = "op3"', "profiles.op3: is the name of one of ours; choose another"),
        ('[profiles."a b"]\nbase = "op3"', "profiles.a b: a name has 1 to 40 lower-case letters"),
        ('[profiles.house]\nbase = "op3\n', "Illegal character"),
        (b"\xff", None),
        ("#" * 70_000, "has more than 65,536 bytes"),
        ("".join(f'[profiles.p{number}]\nbase = "op3"\n' for number in range(21)), "profiles: there are 21, at most"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_of_it(tmp_path: Path, text: str | bytes, fault: str | None) -> None:
    if fault is None:
        with pytest.raises(ConfigError, match="is not UTF-8 text"):
            load_profiles(write(tmp_path, text))
        return
    assert any(found.startswith(fault) for found in faults(tmp_path, text))


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = '[profiles.op3]\nbase = "x"\nseconds = -1\n[profiles.house]\nbase = "op3"\nversion = 0\n'
    assert len(faults(tmp_path, text)) == 4


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_profiles(tmp_path)
    with pytest.raises(ConfigError, match="CASTLEDGER_PROFILES: there is no file"):
        load_settings({"CASTLEDGER_PROFILES": str(tmp_path / "none.toml")})
