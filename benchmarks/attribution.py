"""What attribution costs a conversion: ``python benchmarks/attribution.py``.

Ours is a million conversions with ten touches each by all seven models, in columns, on one core: the chain of all of
them is solved, and each model's credits are made, added up and dropped. Theirs are the same models in plain Python, one
conversion after the other, on a sample of 2,000; both have to come out alike to the last cent. Beside it what it takes
to choose the touches that compete for a conversion, which is done for one after the other. Drawing conversions is left
out of all.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from analytics_core.attribution.crediting import attribute
from analytics_core.attribution.explaining import credit
from analytics_core.attribution.journeys import Journeys
from analytics_core.attribution.parameters import Model
from analytics_core.attribution.removal import RemovalEffects, Transitions
from analytics_core.attribution.rounding import MILLION
from analytics_core.attribution.touches import Signal, Touch, competing
from benchmarks.workbench import Comparison, Workbench, WrongResult, host_load, peak_mib, run_measurement

PORTION: Final = 50_000
"""Conversions that are drawn and credited at a time."""
CAMPAIGNS: Final = 40
DAY_US: Final = 86_400_000_000
CONVERTED_AT_US: Final = 1_790_000_000_000_000


def draw(conversions: int, touches: int) -> Iterator[Journeys]:
    """Draw conversions, their touches in the 60 days before; some campaigns are met far more than others."""
    chance = np.random.default_rng(9)
    for first in range(0, conversions, PORTION):
        count = min(PORTION, conversions - first)
        at_us = np.sort(CONVERTED_AT_US - chance.integers(0, 60 * DAY_US, (count, touches)), axis=1)
        yield Journeys(
            np.arange(0, count * touches + 1, touches),
            (CAMPAIGNS * chance.random(count * touches) ** 2).astype(np.int32),
            at_us.ravel(),
            chance.integers(500, 50_000, count),
        )


def touches_of(journeys: Journeys, count: int) -> list[list[Touch]]:
    """Take the first conversions apart, each touch being a click of its campaign's only flight."""
    return [
        [
            Touch(at_us, Signal.CLICK, UUID(int=campaign), UUID(int=campaign), 90 * DAY_US)
            for at_us, campaign in zip(
                journeys.at_us[first:last].tolist(), journeys.campaigns[first:last].tolist(), strict=True
            )
        ]
        for first, last in itertools.pairwise(journeys.offsets[: count + 1].tolist())
    ]


def processor_us() -> float:
    """Say how much processor time this process has had, in microseconds."""
    return time.process_time_ns() / 1000


def one_by_one(
    told: list[list[Touch]], values: list[int], effects: RemovalEffects
) -> dict[Model, list[list[tuple[int, int | None]]]]:
    """Credit conversions, each by itself."""
    by_id = {UUID(int=number): effect for number, effect in enumerate(effects.effects.tolist())}
    return {
        model: [
            [(one.credit_ppm, one.value_amount) for one in credit(touches, value, model, effects=by_id)]
            for touches, value in zip(told, values, strict=True)
        ]
        for model in Model
    }


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
    portions = list(draw(options.conversions, options.touches))
    values = sum(int(journeys.values.sum()) for journeys in portions)
    steps: dict[str, float] = {}
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

    sample = touches_of(portions[0], options.sample)
    began = processor_us()
    chosen = [competing(CONVERTED_AT_US, touches) for touches in sample]
    choosing = (processor_us() - began) / len(sample)
    print(f"{'choosing':10} {choosing:14.3f} us a conversion, in plain Python", flush=True)
    began = processor_us()
    found = one_by_one(chosen, portions[0].values[: len(chosen)].tolist(), effects)
    theirs = (processor_us() - began) / len(chosen)
    check(portions[0], found, effects)
    ours = sum(steps.values()) / options.conversions
    return Comparison(
        "attribution",
        ours,
        theirs,
        "us/conversion",
        theirs / ours,
        {
            "conversions": options.conversions,
            "touches": options.conversions * options.touches,
            "seconds": round(sum(steps.values()) / 1e6, 1),
            "choosing_us": round(choosing, 1),
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
