"""Laws that every model keeps, whatever touches there are, one conversion at a time."""

from __future__ import annotations

import random
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.attribution.explaining import Credit, credit, explain
from analytics_core.attribution.parameters import DEFAULT_PARAMETERS, Model, Parameters
from analytics_core.attribution.removal import RemovalEffects
from analytics_core.attribution.touches import Signal, Touch, competing
from tests.journeys import (
    CAMPAIGNS,
    DAY_US,
    MODELS,
    NOON,
    effects_by_id,
    made_effects,
    parameters,
    touches,
    values,
)

TOUCHES = st.lists(touches, max_size=12)


def share(
    told: list[Touch], value: int | None, model: Model, chosen: Parameters, found: RemovalEffects
) -> list[Credit]:
    return credit(competing(NOON, told), value, model, chosen, effects=effects_by_id(found))


@given(TOUCHES, values, MODELS, parameters, made_effects)
def test_credits_add_up_to_a_million_and_money_to_the_value(
    told: list[Touch], value: int, model: Model, chosen: Parameters, found: RemovalEffects
) -> None:
    given_ = share(told, value, model, chosen, found)
    assert len(given_) == len(competing(NOON, told))
    if given_:
        assert sum(one.credit_ppm for one in given_) == 1_000_000
        assert sum(one.value_amount or 0 for one in given_) == value
        assert sum(one.share for one in given_) == pytest.approx(1.0, abs=1e-12)
    for one in given_:
        assert one.value_amount is not None
        # Money is one rounding of the share, off by less than a cent; so are millionths.
        assert abs(one.value_amount - Fraction(one.share) * value) < 1 + Fraction(value, 10**15)
        assert abs(one.credit_ppm - one.share * 1_000_000) < 1


@given(TOUCHES, values, MODELS, parameters, made_effects, st.randoms(use_true_random=False))
def test_the_order_in_which_touches_are_told_changes_nothing(
    told: list[Touch], value: int, model: Model, chosen: Parameters, found: RemovalEffects, chance: random.Random
) -> None:
    expected = share(told, value, model, chosen, found)
    again = [*told, *told[::2]]
    chance.shuffle(again)
    assert share(again, value, model, chosen, found) == expected


@given(TOUCHES, values, st.integers(2, 1_000), MODELS, parameters, made_effects)
def test_shares_are_the_same_whatever_the_value(
    told: list[Touch], value: int, times: int, model: Model, chosen: Parameters, found: RemovalEffects
) -> None:
    once = share(told, value, model, chosen, found)
    more = share(told, value * times, model, chosen, found)
    assert [(one.share, one.credit_ppm) for one in more] == [(one.share, one.credit_ppm) for one in once]
    assert [one.value_amount for one in share(told, None, model, chosen, found)] == [None] * len(once)


@given(
    TOUCHES,
    touches.filter(lambda touch: not 0 <= NOON - touch.at_us <= touch.window_us),
    values,
    MODELS,
    parameters,
    made_effects,
)
def test_a_touch_outside_its_window_changes_no_credit(
    told: list[Touch], outside: Touch, value: int, model: Model, chosen: Parameters, found: RemovalEffects
) -> None:
    assert share([*told, outside], value, model, chosen, found) == share(told, value, model, chosen, found)


@given(TOUCHES, values, st.sampled_from(CAMPAIGNS))
def test_without_a_campaign_no_other_has_less_by_last_touch(told: list[Touch], value: int, removed: UUID) -> None:
    def by_campaign(left: list[Touch]) -> dict[UUID, int]:
        chosen = competing(NOON, left)
        sums = dict.fromkeys(CAMPAIGNS, 0)
        for touch, given_ in zip(chosen, credit(chosen, value, Model.LAST), strict=True):
            sums[touch.campaign_id] += given_.credit_ppm
        return sums

    before, after = by_campaign(told), by_campaign([touch for touch in told if touch.campaign_id != removed])
    assert all(after[campaign] >= before[campaign] for campaign in CAMPAIGNS if campaign != removed)
    assert after[removed] == 0


@given(TOUCHES.filter(lambda told: bool(competing(NOON, told))), parameters)
def test_later_touches_never_weigh_less_under_time_decay(told: list[Touch], chosen: Parameters) -> None:
    kept = competing(NOON, told)
    shares = [one.share for one in credit(kept, 1, Model.TIME_DECAY, chosen)]
    assert shares == sorted(shares)
    powers = [2.0 ** (-(NOON - touch.at_us) / (chosen.half_life_days * DAY_US)) for touch in kept]
    assert shares == pytest.approx([power / sum(powers) for power in powers], abs=1e-10)


@given(TOUCHES, made_effects)
def test_campaigns_are_given_by_their_last_touch_and_in_proportion(told: list[Touch], found: RemovalEffects) -> None:
    kept = competing(NOON, told)
    last = {touch.campaign_id: place for place, touch in enumerate(kept)}
    even = credit(kept, None, Model.SHAPLEY)
    by_effect = credit(kept, None, Model.MARKOV, effects=effects_by_id(found))
    whole = sum(effects_by_id(found)[campaign] for campaign in last)
    for place, touch in enumerate(kept):
        if last[touch.campaign_id] != place:
            assert even[place].share == by_effect[place].share == 0
            continue
        assert even[place].share == pytest.approx(1 / len(last))
        expected = effects_by_id(found)[touch.campaign_id] / whole if whole else 1 / len(last)
        assert by_effect[place].share == pytest.approx(expected, abs=1e-10)


def test_campaigns_that_would_not_be_missed_share_alike() -> None:
    told = [Touch(NOON - 1, Signal.CLICK, UUID(int=9), CAMPAIGNS[0], DAY_US)]
    told.append(told[0]._replace(at_us=NOON, campaign_id=CAMPAIGNS[1]))
    given_ = credit(told, 101, Model.MARKOV, effects=dict.fromkeys(CAMPAIGNS, 0.0))
    assert [one.value_amount for one in given_] == [51, 50]


def test_markov_needs_to_be_told_the_effects() -> None:
    told = [Touch(NOON, Signal.CLICK, UUID(int=9), CAMPAIGNS[0], DAY_US)]
    with pytest.raises(ValueError, match="removal effects of the run"):
        credit(told, 100, Model.MARKOV)


@given(TOUCHES, values, parameters, made_effects)
def test_an_explanation_says_what_every_model_gave(
    told: list[Touch], value: int, chosen: Parameters, found: RemovalEffects
) -> None:
    explained = explain(NOON, value, told, Model, chosen, effects=effects_by_id(found))
    assert explained.touches == competing(NOON, told)
    assert len(explained.candidates) == len(told)
    assert explained.credits == {model: share(told, value, model, chosen, found) for model in Model}


def test_a_single_touch_is_given_everything() -> None:
    (only,) = credit([Touch(NOON, Signal.CODE, UUID(int=9), CAMPAIGNS[0], DAY_US)], 5, Model.LINEAR, DEFAULT_PARAMETERS)
    assert only == Credit(1.0, 1_000_000, 5)
