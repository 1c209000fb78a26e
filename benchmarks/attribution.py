"""What attribution costs a conversion: ``python benchmarks/attribution.py``.

Ours is a million conversions with ten touches each by all seven models, on one core: touches as they are read, in no
order, are gathered into journeys, the chain of all of them is solved, and each model's credits are made, added up and
dropped. Theirs are the same rules in plain Python, one conversion after the other, on a sample of 2,000 that is scaled
up; both have to come out alike to the last cent. Drawing the conversions is left out of both.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from analytics_core.attribution.crediting import attribute
from analytics_core.attribution.explaining import credit
from analytics_core.attribution.journeys import Journeys, gather
from analytics_core.attribution.parameters import Model
from analytics_core.attribution.removal import RemovalEffects, Transitions
from analytics_core.attribution.rounding import MILLION
from analytics_core.attribution.touches import Signal, Touch, competing
from benchmarks.workbench import Comparison, Workbench, WrongResult, host_load, peak_mib, run_measurement

PORTION: Final = 50_000
"""Conversions that are gathered at a time."""
CAMPAIGNS: Final = 40
FLIGHTS: Final = 120
DAY_US: Final = 86_400_000_000
START_US: Final = 1_790_000_000_000_000


class Drawn(NamedTuple):
    """A portion of conversions, and their touches in no order."""

    converted_at_us: NDArray[np.int64]
    values: NDArray[np.int64]
    conversions: NDArray[np.int64]
    at_us: NDArray[np.int64]
    signals: NDArray[np.int8]
    flights: NDArray[np.int32]
    campaigns: NDArray[np.int32]
    window_us: NDArray[np.int64]


def draw(conversions: int, touches: int) -> Iterator[Drawn]:
    """Draw conversions of a year, their touches in the 60 days before; some campaigns are met far more than others."""
    chance = np.random.default_rng(9)
    for first in range(0, conversions, PORTION):
        count = min(PORTION, conversions - first)
        converted_at_us = START_US + chance.integers(0, 365 * DAY_US, count)
        whose = chance.permutation(np.repeat(np.arange(count), touches))
        flights = (FLIGHTS * chance.random(len(whose)) ** 2).astype(np.int32)
        yield Drawn(
            converted_at_us,
            chance.integers(500, 50_000, count),
            whose,
            converted_at_us[whose] - chance.integers(0, 60 * DAY_US, len(whose)),
            chance.integers(0, len(Signal), len(whose), dtype=np.int8),
            flights,
            flights % np.int32(CAMPAIGNS),
            np.full(len(whose), 90 * DAY_US),
        )


def processor_us() -> float:
    """Say how much processor time this process has had, in microseconds."""
    return time.process_time_ns() / 1000


def one_by_one(drawn: Drawn, count: int, effects: RemovalEffects) -> dict[Model, list[list[tuple[int, int | None]]]]:
    """Attribute the first conversions of a portion, each by itself."""
    by_id = {UUID(int=number): effect for number, effect in enumerate(effects.effects.tolist())}
    told: list[list[Touch]] = [[] for _ in range(count)]
    for place in np.flatnonzero(drawn.conversions < count).tolist():
        touch = Touch(
            int(drawn.at_us[place]),
            Signal(int(drawn.signals[place])),
            UUID(int=int(drawn.flights[place])),
            UUID(int=int(drawn.campaigns[place])),
            int(drawn.window_us[place]),
        )
        told[int(drawn.conversions[place])].append(touch)
    found: dict[Model, list[list[tuple[int, int | None]]]] = {model: [] for model in Model}
    for place, touches in enumerate(told):
        chosen = competing(int(drawn.converted_at_us[place]), touches)
        for model in Model:
            given = credit(chosen, int(drawn.values[place]), model, effects=by_id)
            found[model].append([(one.credit_ppm, one.value_amount) for one in given])
    return found


def check(journeys: Journeys, sample: dict[Model, list[list[tuple[int, int | None]]]], effects: RemovalEffects) -> None:
    """Compare both ways.

    Raises:
        WrongResult: They differ.
    """
    for model, expected in sample.items():
        credits_ = attribute(journeys, model, effects=effects)
        for place, given in enumerate(expected):
            row = slice(*journeys.offsets[place : place + 2].tolist())
            if list(zip(credits_.ppm[row].tolist(), credits_.amounts[row].tolist(), strict=True)) != given:
                raise WrongResult(f"{model.value} gives conversion {place} otherwise in columns than by itself")


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Time both ways over the same conversions."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    steps: dict[str, float] = {"gather": 0.0}
    portions = []
    for drawn in draw(options.conversions, options.touches):
        began = processor_us()
        portions.append(gather(**drawn._asdict()))
        steps["gather"] += processor_us() - began
    touches = sum(len(journeys.campaigns) for journeys in portions)
    values = sum(int(journeys.values.sum()) for journeys in portions)

    began = processor_us()
    chain = Transitions(CAMPAIGNS)
    for journeys in portions:
        chain.add(journeys)
    effects = chain.effects()
    steps["effects"] = processor_us() - began
    for model in Model:
        ppm = amounts = 0
        began = processor_us()
        for journeys in portions:
            credits_ = attribute(journeys, model, effects=effects)
            ppm += int(credits_.ppm.sum(dtype=np.int64))
            amounts += int(credits_.amounts.sum())
        steps[model.value] = processor_us() - began
        if ppm != options.conversions * MILLION or amounts != values:
            raise WrongResult(f"{model.value} gives {ppm:,} millionths and {amounts:,} of {values:,} in money")
    memory = peak_mib(os.getpid())
    for step, us in steps.items():
        print(f"{step:10} {us / 1e6:6.2f} s, {us / options.conversions:6.3f} us a conversion", flush=True)

    drawn = next(draw(options.conversions, options.touches))
    count = min(options.sample, len(drawn.values))
    began = processor_us()
    sample = one_by_one(drawn, count, effects)
    theirs = (processor_us() - began) / count
    check(portions[0], sample, effects)
    ours = sum(steps.values()) / options.conversions
    return Comparison(
        "attribution",
        ours,
        theirs,
        "us/conversion",
        theirs / ours,
        {
            "conversions": options.conversions,
            "touches": touches,
            "seconds": round(sum(steps.values()) / 1e6, 1),
            "peak_mib": round(memory),
            "steps": {step: round(us / 1e6, 2) for step, us in steps.items()},
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="attribution.py", description=__doc__)
    add = parser.add_argument
    add("--conversions", type=int, default=1_000_000, help="conversions to attribute (default 1,000,000)")
    add("--touches", type=int, default=10, help="touches of each (default 10)")
    add("--sample", type=int, default=2_000, help="conversions of the other side (default 2,000)")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
