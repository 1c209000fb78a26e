"""Holds what was attributed up to what is true. Pure; nothing is asked here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from castledger_server.demo.sponsorship.world import Conversion, Fate, Signal, World

__all__ = (
    "DETERMINISTIC",
    "MILLION",
    "Figure",
    "Found",
    "Leaked",
    "ModelError",
    "Shares",
    "compare",
    "credit_of",
    "leaked",
    "true_credit",
    "weigh",
)

Shares = Mapping[str, Mapping[int, int]]
"""What a model gave, in millionths: by conversion, to campaigns."""

DETERMINISTIC: Final = "deterministic"
"""The answer that is no model."""

MILLION: Final = 1_000_000
"""What of a conversion models share."""


class Found(NamedTuple):
    """What a run made of a conversion; campaign and signal are those of the deterministic answer."""

    status: str
    value_amount: int | None
    campaign: int | None
    signal: str | None
    is_late: bool
    leak: str | None


class Leaked(NamedTuple):
    """Redemptions of a sponsor's codes, and which of them were late or leaked."""

    redemptions: int
    late: int
    leaks: Mapping[str, int]


class Figure(NamedTuple):
    """A number that was counted, beside what it has to be."""

    name: str
    counted: int
    true: int


class ModelError(NamedTuple):
    """How far a model is from the truth.

    Attributes:
        share_points: By how many percentage points a campaign's share of its sponsor's conversions is off, in the mean.
        right_ppm: Of the conversions that a campaign caused, those that are whole with that campaign.
        uncaused_ppm: Of what is credited, what no campaign caused.
        sponsors: For how many sponsors the model has an answer.
    """

    model: str
    share_points: float
    right_ppm: int
    uncaused_ppm: int
    sponsors: int


def _expected(one: Conversion) -> Found:
    is_counted = one.fate is Fate.COUNTED
    return Found(
        status=one.fate.value,
        value_amount=None if one.fate is Fate.RETRACTED else one.value_amount,
        campaign=one.named if is_counted else None,
        signal=None if one.signal is None or not is_counted else one.signal.value,
        is_late=one.is_late and is_counted,
        leak=None if one.leak is None or not is_counted else one.leak.value,
    )


def _as_told(found: Found) -> Found:
    """Leave out what the truth does not speak of: what models give, and what retracted conversions were worth."""
    if found.status in ("attributed", "unattributed"):
        return found._replace(status=Fate.COUNTED.value)
    return found._replace(value_amount=None) if found.status == Fate.RETRACTED else found


def compare(world: World, found: Mapping[str, Found]) -> Iterator[str]:
    """Tell each conversion of which something else was found than is true."""
    truth = {one.external_id: _expected(one) for one in world.conversions}
    for external_id, expected in truth.items():
        if external_id not in found:
            yield f"{external_id} is missing: {_words(expected)}"
        elif (told := _as_told(found[external_id])) != expected:
            yield f"{external_id} is {_words(told)}, and in truth {_words(expected)}"
    for external_id in found.keys() - truth.keys():
        yield f"{external_id} never happened"


def _words(found: Found) -> str:
    words = [found.status, f"worth {found.value_amount}"]
    words.append("no campaign's" if found.campaign is None else f"campaign {found.campaign + 1}'s by {found.signal}")
    words += ["late"] * found.is_late + ([found.leak] if found.leak else [])
    return " ".join(words)


def credit_of(found: Mapping[str, Found]) -> Shares:
    """Read the deterministic answer as a model's: each conversion whole to one campaign."""
    return {name: {one.campaign: MILLION} for name, one in found.items() if one.campaign is not None}


def leaked(world: World, sponsor: int) -> Leaked:
    """Count a sponsor's true redemptions: of all conversions that were not retracted."""
    codes = [
        one
        for one in world.conversions
        if one.sponsor == sponsor and one.signal is Signal.CODE and one.fate is not Fate.RETRACTED
    ]
    leaks = Counter(one.leak.value for one in codes if one.leak is not None)
    return Leaked(len(codes), sum(one.is_late for one in codes), leaks)


def weigh(world: World, model: str, shares: Shares, sponsors: Sequence[int]) -> ModelError:
    """Hold a model up to what made people buy, over the conversions that are to be weighed.

    Args:
        world: With the truth.
        model: Its name.
        shares: What it gave.
        sponsors: Those for whom it has an answer.
    """
    weighed = [one for one in world.conversions if one.is_weighed and one.fate is Fate.COUNTED]
    off: list[float] = []
    right = caused = uncaused = credited = 0
    for sponsor in sponsors:
        of_sponsor = [one for one in weighed if one.sponsor == sponsor]
        given: Counter[int] = Counter()
        true: Counter[int] = Counter()
        for one in of_sponsor:
            got = shares.get(one.external_id, {})
            given.update(got)
            total = sum(got.values())
            credited += total
            if one.cause is None:
                uncaused += total
            else:
                true[one.cause] += 1
                caused += 1
                right += got.get(one.cause) == MILLION
        off += _off(world, sponsor, given, true)
    return ModelError(
        model=model,
        share_points=100 * sum(off) / len(off) if off else 0.0,
        right_ppm=right * MILLION // caused if caused else 0,
        uncaused_ppm=uncaused * MILLION // credited if credited else 0,
        sponsors=len(sponsors),
    )


def _off(world: World, sponsor: int, given: Mapping[int, int], true: Mapping[int, int]) -> Iterator[float]:
    all_given, all_true = sum(given.values()), sum(true.values())
    if all_given and all_true:
        for campaign in world.campaigns:
            if campaign.sponsor == sponsor:
                yield abs(given.get(campaign.number, 0) / all_given - true.get(campaign.number, 0) / all_true)


def true_credit(world: World) -> Mapping[int, tuple[int, int]]:
    """Add up what each campaign has in truth by what conversions name themselves: how many, and how much."""
    sums: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for one in world.conversions:
        if one.fate is Fate.COUNTED and one.named is not None:
            count, amount = sums[one.named]
            sums[one.named] = count + 1, amount + one.value_amount
    return dict(sums)
