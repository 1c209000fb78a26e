"""Profiles: what they promise, and that a change of rules cannot go by unnoticed."""

from __future__ import annotations

import hashlib

import msgspec
import pytest

from analytics_core.profiles import CASTLEDGER_1, DEFAULT_PROFILE, PROFILES, PTMG_2_3, Profile
from analytics_core.verdicts import Verdict

# Changing a rule means raising the profile's version, and then this line.
_RULES = {
    "castledger-1.1": "2a102a066d34",
    "ptmg-2.3.1": "4939d48cc7f1",
}


def test_every_profile_is_found_by_its_name() -> None:
    assert {name: profile.name for name, profile in PROFILES.items()} == {
        "castledger-1": "castledger-1",
        "ptmg-2.3": "ptmg-2.3",
    }
    assert DEFAULT_PROFILE is CASTLEDGER_1


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
