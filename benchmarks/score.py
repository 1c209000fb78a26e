"""How well our table of user agents does on real ones: `nox -s score`.

Compares :func:`analytics_core.agent_table.classify` with the open OPAWG v2 tables, first match first (bots, apps,
libraries, browsers), on agents of real podcast requests weighted by their requests, and on those tables' own examples.
Agents fall into two halves by a hash of their text. Patterns are written while looking at the first half only, so that
the second tells how the table does on agents that nobody has shown it.

The data is not ours to ship: it is read from ``../shared/data`` where that is there, else from ``CASTLEDGER_DATA``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from analytics_core.agent_table import classify
from analytics_core.user_agents import AgentKind

__all__ = ("OpenTables", "Opinion", "Score", "find_data", "read_examples", "read_requests", "score")

GOAL_KIND: Final = 99.7
GOAL_UNKNOWN: Final = 0.3
GOAL_APP: Final = 99.0
GOAL_EXAMPLES: Final = 97.0

_LISTED: Final = 10
_VARIABLES: Final = ("CASTLEDGER_DATA", "CASTLEDGER_TEST_DATA")
_ROOT: Final = Path(__file__).resolve().parents[1]
_TABLES: Final = (("bots", "bot"), ("apps", "app"), ("libraries", "library"), ("browsers", "browser"))


class Opinion(NamedTuple):
    """What a table thinks of an agent: a kind's label and the program's name, empty when it knows none."""

    kind: str
    name: str


class Sample(NamedTuple):
    """An agent, how much it weighs, and what the open tables say of it."""

    agent: str
    weight: int
    theirs: Opinion


class OpenTables:
    """The open tables as their authors mean them to be used.

    Args:
        folder: Holds ``bots.runtime.json`` and so on.
    """

    def __init__(self, folder: Path) -> None:
        self._rules = []
        for table, kind in _TABLES:
            for entry in _entries(folder / f"{table}.runtime.json"):
                found = "bot" if entry.get("category") == "bot" else kind
                self._rules.append((re.compile(entry["pattern"]).search, Opinion(found, entry["name"])))

    def classify(self, agent: str) -> Opinion:
        """Say what the first match says, ``unknown`` without one."""
        return next((opinion for search, opinion in self._rules if search(agent)), Opinion("unknown", ""))


def _entries(path: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["entries"]
    return entries


def find_data() -> Path | None:
    """Find the folder with the real agents, ``None`` when there is none."""
    named = [Path(path) for name in _VARIABLES if (path := os.environ.get(name))]
    for folder in (_ROOT.parent / "shared" / "data", *named):
        if (folder / "useragents" / "real_user_agents.csv").is_file():
            return folder / "useragents"
    return None


def read_requests(folder: Path, tables: OpenTables) -> Iterator[Sample]:
    """Read the agents of real requests."""
    with (folder / "real_user_agents.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield Sample(row["user_agent"], int(row["count"]), tables.classify(row["user_agent"]))


def read_examples(folder: Path) -> Iterator[Sample]:
    """Read the open tables' own examples, each with what it was written down for."""
    for table, kind in _TABLES:
        categories = {entry["name"]: entry.get("category") for entry in _entries(folder / f"{table}.runtime.json")}
        for entry in _entries(folder / f"{table}.examples.json"):
            found = "bot" if categories.get(entry["name"]) == "bot" else kind
            for agent in entry["examples"]:
                yield Sample(agent, 1, Opinion(found, entry["name"]))


def is_held_out(agent: str) -> bool:
    """Tell whether an agent is of the half that nobody looks at while writing patterns."""
    return bool(hashlib.blake2b(agent.encode(), digest_size=1).digest()[0] & 1)


@dataclass(frozen=True, slots=True)
class Score:
    """How often we agree, in percent of the weight, and where not, the heaviest first."""

    kind: float
    unknown: float
    app: float
    kinds: list[tuple[Sample, Opinion]]
    apps: list[tuple[Sample, Opinion]]


def score(samples: Iterable[Sample]) -> Score:
    """Compare what we say of agents with what the open tables say."""
    total = same = unknown = app_total = app_same = 0
    kinds, apps = [], []
    for sample in samples:
        found = classify(sample.agent)
        # To the open tables a watch that copies what its phone asked for is one more bot.
        ours = Opinion((AgentKind.BOT if found.kind is AgentKind.WATCH else found.kind).label, found.app)
        total += sample.weight
        unknown += sample.weight * (ours.kind == "unknown")
        if ours.kind == sample.theirs.kind:
            same += sample.weight
        else:
            kinds.append((sample, ours))
        if sample.theirs.kind == "app":
            app_total += sample.weight
            if ours.name == sample.theirs.name:
                app_same += sample.weight
            else:
                apps.append((sample, ours))
    for rows in (kinds, apps):
        rows.sort(key=lambda row: -row[0].weight)
    return Score(
        100 * same / max(total, 1), 100 * unknown / max(total, 1), 100 * app_same / max(app_total, 1), kinds, apps
    )


def _print_worst(what: str, rows: list[tuple[Sample, Opinion]], listed: int) -> None:
    print(f"\nthe worst disagreements about {what}, {len(rows):,} in all: weight, agent, ours, theirs")
    for sample, ours in rows[:listed]:
        print(f"{sample.weight:>8,}  {sample.agent[:150]!r}\n{'':>10}{ours}  {sample.theirs}")


def main() -> int:
    """Print the score; 1 when a goal is missed, 2 without data."""
    parser = argparse.ArgumentParser(description="Score our table of user agents on real ones.")
    parser.add_argument("--half", choices=("all", "first", "second"), default="all", help="which agents to score")
    parser.add_argument("--worst", type=int, default=_LISTED, metavar="N", help="disagreements to list of each kind")
    options = parser.parse_args()
    folder = find_data()
    if folder is None:
        print(
            "there are no real user agents: set CASTLEDGER_DATA to a folder with useragents/real_user_agents.csv and "
            "useragents/opawg-v2/*.json",
            file=sys.stderr,
        )
        return 2
    opawg = folder / "opawg-v2"
    wanted = {"all": (False, True), "first": (False,), "second": (True,)}[options.half]
    requests = [each for each in read_requests(folder, OpenTables(opawg)) if is_held_out(each.agent) in wanted]
    examples = [each for each in read_examples(opawg) if is_held_out(each.agent) in wanted]
    real, shown = score(requests), score(examples)
    figures = (
        ("requests whose kind is the open tables'", real.kind, ">=", GOAL_KIND),
        ("requests of unknown kind", real.unknown, "<=", GOAL_UNKNOWN),
        ("app requests whose app is the open tables'", real.app, ">=", GOAL_APP),
        ("the open tables' examples of their kind", shown.kind, ">=", GOAL_EXAMPLES),
    )
    print(f"{len(requests):,} agents of {sum(each.weight for each in requests):,} requests, {len(examples):,} examples")
    passed = True
    for what, percent, sign, goal in figures:
        is_good = percent >= goal if sign == ">=" else percent <= goal
        passed &= is_good
        print(f"{what:<45}{percent:>9.3f} %   goal {sign} {goal} %   {'passed' if is_good else 'MISSED'}")
    print(f"{'(the same app in the examples, no goal)':<45}{shown.app:>9.3f} %")
    _print_worst("the kind of requests", real.kinds, options.worst)
    _print_worst("the app of requests", real.apps, options.worst)
    _print_worst("the kind of examples", shown.kinds, options.worst)
    _print_worst("the app of examples", shown.apps, options.worst)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
