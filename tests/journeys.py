"""Conversions with touches, to share and to share again otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np
from hypothesis import strategies as st

from analytics_core.attribution.journeys import Journeys
from analytics_core.attribution.parameters import Model, Parameters
from analytics_core.attribution.removal import RemovalEffects
from analytics_core.attribution.rounding import MAX_VALUE
from analytics_core.attribution.touches import Signal, Touch, competing

__all__ = (
    "CAMPAIGNS",
    "DAY_US",
    "MODELS",
    "NOON",
    "Converted",
    "conversions",
    "effects_by_id",
    "gathered",
    "made_effects",
    "parameters",
    "touches",
    "values",
)

DAY_US = 86_400_000_000
NOON = 1_793_620_800_000_000
CAMPAIGNS = [UUID(int=number) for number in range(1, 5)]
MODELS = st.sampled_from(Model)

# Two flights a campaign, with windows of their own.
_FLIGHTS = [(UUID(int=100 + number), campaign) for number, campaign in enumerate(CAMPAIGNS * 2)]
_WINDOWS = {flight: days * DAY_US for (flight, _), days in zip(_FLIGHTS, (1, 7, 14, 30, 60, 90, 30, 30), strict=True)}

# Few instants, so that touches meet, and the ends of windows with a microsecond to either side.
_AGES = st.builds(
    lambda days, more: days * DAY_US + more,
    st.sampled_from([0, 1, 3, 7, 14, 30, 60, 90]),
    st.sampled_from([-1, 0, 0, 0, 1, DAY_US // 3]),
)

touches = st.builds(
    lambda age, signal, flight, is_own: Touch(
        NOON - age, signal, flight[0], flight[1], _WINDOWS[flight[0]], is_own and age == 0
    ),
    _AGES,
    st.sampled_from(Signal),
    st.sampled_from(_FLIGHTS),
    st.booleans(),
)
"""A touch of a conversion at noon; some come after it, and some outside their window."""

values = st.one_of(st.integers(0, 12), st.integers(0, 100_000), st.integers(MAX_VALUE - 1_000, MAX_VALUE))

parameters = st.builds(Parameters, half_life_days=st.integers(1, 90))

made_effects = st.lists(
    st.sampled_from([0.0, 0.0, 0.5]) | st.floats(0, 1), min_size=len(CAMPAIGNS), max_size=len(CAMPAIGNS)
).map(lambda effects: RemovalEffects(np.array(effects), 0.5, 100, 100))
"""Removal effects of all campaigns, as some run might have found them."""


class Converted(NamedTuple):
    """A conversion at noon."""

    value: int
    touches: list[Touch]


conversions = st.lists(st.builds(Converted, values, st.lists(touches, max_size=12)), max_size=6)


def effects_by_id(effects: RemovalEffects) -> dict[UUID, float]:
    return dict(zip(CAMPAIGNS, effects.effects.tolist(), strict=True))


def gathered(found: Sequence[Converted]) -> Journeys:
    """Put conversions into columns, with the touches that compete for them."""
    chosen = [competing(NOON, one.touches) for one in found]
    return Journeys(
        np.concatenate(([0], np.cumsum([len(told) for told in chosen], dtype=np.int64))),
        np.array([CAMPAIGNS.index(touch.campaign_id) for told in chosen for touch in told], np.int32),
        np.array([touch.at_us for told in chosen for touch in told], np.int64),
        np.array([one.value for one in found], np.int64),
    )
