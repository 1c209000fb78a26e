"""Projections: what placements will have delivered in the end, with an interval that says how sure that is.

Downloads of an episode fade as a power of its age: on a day on which it is ``a`` days old there are
``level * (1 + a) ** -decay`` of them. Each placement has a level of its own, and those of a flight share the decay, as
one day says little about how fast something fades. Both are fitted by maximum likelihood to the last 28 whole UTC days;
until these tell, the decay is held near that of most podcasts. Days vary more than chance alone would have it, by the
weekday above all: the spread around the curve is measured (a negative binomial's), and goes into the interval together
with how well level and decay are known, and with how far a curve may stray from how it began.

All is arithmetic on the figures that the answer shows: the same figures make the same projection.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

__all__ = ("COVERAGE", "FITTED_DAYS", "PlacementCounts", "Projection", "project")

COVERAGE: Final = 0.9
"""How often what comes about is to lie in the interval."""
FITTED_DAYS: Final = 28
"""Whole days before today that the curve is fitted to."""

# A standard normal's quantile for the coverage.
_QUANTILE: Final = 1.6449
# With a decay of 1.2 two thirds of the downloads of 30 days are those of the first seven; one of 0.7 to 1.7 is usual.
_USUAL_DECAY: Final = 1.2
_DECAY_SPREAD: Final = 0.5
_DECAYS: Final = (-0.5, 4.0)
# By how much the decay of what is to come may differ from that of the days before: no curve goes on as it began.
_DRIFT: Final = 0.3
# Days that differ by a fifth, known as well as a week would tell it.
_USUAL_SPREAD: Final = 0.04
_SPREAD_DAYS: Final = 7
# How levels of episodes differ where fewer than three are there to tell.
_USUAL_VARIETY: Final = 0.25
_ENOUGH_LEVELS: Final = 3
_LEVEL_DAYS: Final = 7
_LEAST_DAYS: Final = 0.5
_STEPS: Final = 12
_ENOUGH: Final = 1e-6
_DAY: Final = dt.timedelta(days=1)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class PlacementCounts(msgspec.Struct, frozen=True):
    """A placement and what it delivered.

    Attributes:
        podcast: Whose episode it is in; anything that tells podcasts apart.
        live_from: Aware instant from which downloads count.
        live_until: Aware instant before which they count.
        downloads: By UTC day; days without any may be missing.
    """

    podcast: object
    live_from: dt.datetime
    live_until: dt.datetime
    downloads: Mapping[dt.date, int]


class Projection(msgspec.Struct, frozen=True):
    """Impressions at the end of measurement: what is most likely, and between which it lies nine times out of ten."""

    low: int
    mid: int
    high: int


class _Stretch(NamedTuple):
    """The live part of a day: its length in days, the logarithm of the age in its middle, its downloads."""

    length: float
    age: float
    downloads: int


class _Fit(NamedTuple):
    """A placement's curve beside the decay that all share.

    Attributes:
        level: Downloads of a day of age 0.
        variance: Of the logarithm of the level, at the given decay.
        age: The mean logarithm of the ages that the level is known from.
    """

    level: float
    variance: float
    age: float


def project(placements: Sequence[PlacementCounts], *, now: dt.datetime) -> Projection | None:
    """Project what placements will have delivered once none of them is live any more.

    Args:
        placements: Those of one flight, or of a campaign; whole, so that a placement's days are all there.
        now: Aware instant; today is what is still open.

    Returns:
        ``None`` where no placement has been live for half a day before today, so that nothing can be said.
    """
    today = now.astimezone(dt.UTC).date()
    midnight = float(today.toordinal())
    delivered = sum(sum(one.downloads.values()) for one in placements)
    before = sum(count for one in placements for day, count in one.downloads.items() if day < today)
    rest = [_stretches(one, midnight, math.inf) for one in placements]
    if placements and not any(rest):
        return Projection(delivered, delivered, delivered)
    seen = [_stretches(one, midnight - FITTED_DAYS, midnight) for one in placements]
    known = [sum(part.length for part in parts) >= _LEAST_DAYS for parts in seen]
    if not any(known):
        return None
    observed = [parts for parts, is_known in zip(seen, known, strict=True) if is_known]
    decay, spread = _fit_decay(observed)
    fits = [_fit_level(parts, decay, spread) if is_known else None for parts, is_known in zip(seen, known, strict=True)]
    decay_variance = _decay_variance(observed, decay, spread)
    # As far as the oldest of them tells how the others go on.
    oldest = max(parts[-1].age for parts in observed)
    total, variance = _sum_up(
        placements, fits, rest, decay=decay, spread=spread, decay_variance=decay_variance, oldest=oldest
    )
    if total <= 0:
        return Projection(delivered, delivered, delivered)
    # As a lognormal: what is to come is never less than nothing.
    width = _QUANTILE * math.sqrt(math.log1p(variance / total**2))
    low, mid, high = (max(delivered, before + round(total * math.exp(step * width))) for step in (-1, 0, 1))
    return Projection(low, mid, high)


def _days_of(at: dt.datetime) -> float:
    """Count days as a date's ordinal does, with the part of the day that is gone."""
    return (at - _EPOCH) / _DAY + _EPOCH.toordinal()


def _stretches(placement: PlacementCounts, start: float, end: float) -> list[_Stretch]:
    """Cut the part of a placement's live range that lies in a range into UTC days."""
    begin = _days_of(placement.live_from)
    at, end = max(start, begin), min(end, _days_of(placement.live_until))
    counts = {day.toordinal(): count for day, count in placement.downloads.items()}
    found = []
    while at < end:
        day = math.floor(at)
        until = min(day + 1.0, end)
        found.append(_Stretch(until - at, math.log1p((at + until) / 2 - begin), counts.get(day, 0)))
        at = until
    return found


def _weights(parts: Sequence[_Stretch], decay: float) -> list[float]:
    return [part.length * math.exp(-decay * part.age) for part in parts]


def _mean_age(parts: Sequence[_Stretch], weights: Sequence[float]) -> float:
    return sum(weight * part.age for weight, part in zip(weights, parts, strict=True)) / sum(weights)


def _fit_decay(observed: Sequence[Sequence[_Stretch]]) -> tuple[float, float]:
    """Fit the decay that placements share, and the spread of days around their curves.

    The likelihood, given each placement's sum, is that of shares of it; its slope is one of a concave function, so that
    Newton's steps end at its top. What the days tell counts for less the more they vary.
    """
    decay, spread, scale = _USUAL_DECAY, _USUAL_SPREAD, 1.0
    for _ in range(2):
        for _ in range(_STEPS):
            slope = (_USUAL_DECAY - decay) / _DECAY_SPREAD**2
            bend = 1 / _DECAY_SPREAD**2
            for parts in observed:
                weights = _weights(parts, decay)
                mean = _mean_age(parts, weights)
                count = sum(part.downloads for part in parts)
                square = sum(weight * (part.age - mean) ** 2 for weight, part in zip(weights, parts, strict=True))
                slope += (count * mean - sum(part.downloads * part.age for part in parts)) / scale
                bend += count * square / sum(weights) / scale
            step = slope / bend
            decay = min(max(decay + step, _DECAYS[0]), _DECAYS[1])
            if abs(step) < _ENOUGH:
                break
        spread = _fit_spread(observed, decay)
        means = [mean for parts in observed for mean in _means(parts, decay)]
        scale = 1 + spread * sum(mean**2 for mean in means) / sum(means) if sum(means) > 0 else 1.0
    return decay, spread


def _means(parts: Sequence[_Stretch], decay: float) -> list[float]:
    """Say what the curve has for each day."""
    weights = _weights(parts, decay)
    level = sum(part.downloads for part in parts) / sum(weights)
    return [level * weight for weight in weights]


def _fit_spread(observed: Sequence[Sequence[_Stretch]], decay: float) -> float:
    """Measure by what share days differ from the curve beyond chance, as a variance: a negative binomial's 1/k."""
    excess = _USUAL_SPREAD * _SPREAD_DAYS
    days = float(_SPREAD_DAYS)
    for parts in observed:
        for part, mean in zip(parts, _means(parts, decay), strict=True):
            if mean >= 1:
                excess += ((part.downloads - mean) ** 2 - mean) / mean**2
                days += 1
        # A level that is fitted to its own days takes one of them away.
        days -= 1
    return max(excess / max(days, 1.0), 0.0)


def _fit_level(parts: Sequence[_Stretch], decay: float, spread: float) -> _Fit:
    """Fit the level to the last week alone, so that what comes goes on from there even where the curve was another."""
    parts = parts[-_LEVEL_DAYS:]
    weights = _weights(parts, decay)
    # Half a download more: who had none so far will have some.
    count = sum(part.downloads for part in parts) + 0.5
    level = count / sum(weights)
    variance = sum(level * weight + spread * (level * weight) ** 2 for weight in weights) / count**2
    return _Fit(level, variance, _mean_age(parts, weights))


def _decay_variance(observed: Sequence[Sequence[_Stretch]], decay: float, spread: float) -> float:
    """Tell how well the decay is known: a sandwich, as days vary more than the likelihood has it."""
    told = noise = 0.0
    for parts in observed:
        weights = _weights(parts, decay)
        mean_age = _mean_age(parts, weights)
        for part, mean in zip(parts, _means(parts, decay), strict=True):
            square = (part.age - mean_age) ** 2
            told += mean * square
            noise += (mean + spread * mean**2) * square
    if not told:
        return _DECAY_SPREAD**2
    return 1 / (told**2 / noise + 1 / _DECAY_SPREAD**2)


def _sum_up(
    placements: Sequence[PlacementCounts],
    fits: Sequence[_Fit | None],
    rest: Sequence[Sequence[_Stretch]],
    *,
    decay: float,
    spread: float,
    decay_variance: float,
    oldest: float,
) -> tuple[float, float]:
    """Add up what placements have still to deliver, and its variance.

    One that nothing is known of yet gets the mean level of the others of its podcast, or of all where it has none.
    """
    total = variance = tilt = drift = 0.0
    borrowed: dict[int, float] = {}
    for number, (placement, fit, parts) in enumerate(zip(placements, fits, rest, strict=True)):
        if not parts:
            continue
        weights = _weights(parts, decay)
        if fit is None:
            others = [
                (other.podcast == placement.podcast, known.level)
                for other, known in zip(placements, fits, strict=True)
                if known is not None
            ]
            levels = [level for is_same, level in others if is_same] or [level for _, level in others]
            level = sum(levels) / len(levels)
            variety = _USUAL_VARIETY
            if len(levels) >= _ENOUGH_LEVELS:
                variety = sum((one - level) ** 2 for one in levels) / (len(levels) - 1) / level**2
            fit = _Fit(level, variety * (1 + 1 / len(levels)), 0.0)
            borrowed[number] = level * sum(weights) * math.sqrt(variety / len(levels))
        means = [fit.level * weight for weight in weights]
        coming = sum(means)
        total += coming
        variance += sum(mean + spread * mean**2 for mean in means) + coming**2 * fit.variance
        age = _mean_age(parts, weights)
        tilt += coming * (fit.age - age)
        drift += coming * max(0.0, age - oldest)
    # Those that borrow a level err together.
    shared = sum(borrowed.values()) ** 2 - sum(error**2 for error in borrowed.values())
    return total, variance + shared + tilt**2 * decay_variance + drift**2 * _DRIFT**2
