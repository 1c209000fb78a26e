"""Profiles that days are judged by: which of them can be, and what is stored of one.

A day keeps the whole profile, as it was when it was chosen: what lands on it years later is judged by the same rules,
whatever became of an installation's own profiles meanwhile.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

from analytics_core.errors import InvalidInput
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.windows import Window

__all__ = ("choose_profile", "profile_from_stored", "profile_to_store")


def choose_profile(name: str, known: Mapping[str, Profile]) -> Profile:
    """Find a profile that days can be judged by.

    Args:
        name: What was asked for.
        known: All profiles of the installation by name.

    Raises:
        InvalidInput: There is none of that name, or days cannot be judged by it.

    >>> from analytics_core.profiles import PROFILES
    >>> choose_profile("ptmg-2.3", PROFILES).counts_probes
    False
    """
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f"is {close[0]} meant? There" if close else "there"
        raise InvalidInput("profile", f"there is no profile {name[:40]!r}; {meant} are {', '.join(known)}")
    profile = known[name]
    if not profile.is_for_comparing:
        return profile
    if profile.window is not Window.CALENDAR_DAY:
        reason = f"its window, {profile.window.value}, depends on the order of requests and on the day before"
    else:
        reason = "it tells downloads apart by referrers, and what is stored is one a listener, episode and UTC day"
    raise InvalidInput("profile", f"{name} is for comparing alone: {reason}; `castledger compare` counts by it")


def profile_to_store(profile: Profile) -> dict[str, Any] | None:
    """Write a profile as it is stored; ``None`` for the default one.

    >>> profile_to_store(DEFAULT_PROFILE) is None
    True
    """
    if profile == DEFAULT_PROFILE:
        return None
    stored: dict[str, Any] = msgspec.to_builtins(profile)
    return stored


def profile_from_stored(stored: object) -> Profile:
    """Read a profile as it was stored.

    Raises:
        msgspec.ValidationError: It is none.

    >>> from analytics_core.profiles import PTMG_2_3
    >>> profile_from_stored(profile_to_store(PTMG_2_3)) == PTMG_2_3
    True
    """
    return DEFAULT_PROFILE if stored is None else msgspec.convert(stored, Profile)
