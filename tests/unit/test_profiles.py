"""Profiles: what they promise, and that a change of rules cannot go by unnoticed."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from analytics_core.network_classes import NetworkClass
from analytics_core.profiles import (
    CASTLEDGER_1,
    DEFAULT_PROFILE,
    ODL,
    OP3,
    PROFILES,
    PTMG_2_3,
    NetworkPolicy,
    Profile,
)
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Verdict

# Changing a rule means raising the profile's version, and then this line.
_RULES = {
    "castledger-1.2": "de51855c2bb7",
    "ptmg-2.3.2": "6e55b1ab824f",
    "op3.2": "374bc6334a1f",
    "odl.2": "ba7cd9911f6e",
    "first-touch.2": "6dc161245c12",
    "last-touch.2": "2340fb083f0c",
}


def test_every_profile_is_found_by_its_name() -> None:
    assert [profile.name for profile in PROFILES.values()] == list(PROFILES)
    assert list(PROFILES) == ["castledger-1", "ptmg-2.3", "op3", "odl", "first-touch", "last-touch"]
    assert DEFAULT_PROFILE is CASTLEDGER_1


def test_what_stands_for_somebody_elses_rules_says_where_it_differs() -> None:
    assert all(OP3.differences)
    assert all(ODL.differences)
    assert not CASTLEDGER_1.differences


def test_only_calendar_days_of_listeners_can_be_counted_with() -> None:
    assert [profile.name for profile in PROFILES.values() if profile.is_for_comparing] == [
        "op3",
        "first-touch",
        "last-touch",
    ]


@pytest.mark.parametrize("kind", AgentKind)
def test_networks_are_policy(kind: AgentKind) -> None:
    everything = NetworkClass.DATACENTER | NetworkClass.VPN
    both = Verdict.DATACENTER.bit | Verdict.VPN.bit
    assert CASTLEDGER_1.networks.verdict_bits(everything, kind) == both
    assert CASTLEDGER_1.networks.verdict_bits(NetworkClass.RELAY | NetworkClass.BLOCKED, kind) == 0
    # A podcast app from a cloud network is not a browser from one.
    is_browser = kind is AgentKind.BROWSER
    assert OP3.networks.verdict_bits(everything, kind) == (Verdict.DATACENTER.bit if is_browser else 0)
    relays = NetworkPolicy(relay=(AgentKind.APP,))
    assert relays.verdict_bits(NetworkClass.RELAY, kind) == (Verdict.VPN.bit if kind is AgentKind.APP else 0)


def test_the_table_of_profiles_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PROFILES["mine"] = CASTLEDGER_1  # type: ignore[index]  # what is to fail
    with pytest.raises(AttributeError):
        CASTLEDGER_1.seconds = 1  # type: ignore[misc]  # what is to fail


def test_the_strict_twin_differs_in_probes_alone() -> None:
    def rules(profile: Profile) -> dict[str, object]:
        return {
            field: value
            for field, value in msgspec.structs.asdict(profile).items()
            if field not in ("name", "version", "summary")
        }

    assert rules(CASTLEDGER_1) == rules(PTMG_2_3) | {"counts_probes": True}
    assert PTMG_2_3.counts_probes is False


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict is not Verdict.ELIGIBLE])
def test_every_verdict_excludes_under_both(verdict: Verdict) -> None:
    assert CASTLEDGER_1.excluding & PTMG_2_3.excluding & verdict.bit


def test_rules_change_only_with_their_version() -> None:
    found = {
        profile.rules_version: hashlib.sha256(msgspec.json.encode(profile)).hexdigest()[:12]
        for profile in PROFILES.values()
    }
    assert found == _RULES
