"""What it costs to say what a user agent is: ``python benchmarks/agents.py``.

New agents, of real requests where their data is there and else the table's own examples, by our table against the same
patterns tried one after the other; the operator's lists of the open tables against those tables tried the same way; and
known agents out of ingest's memory; new ones once more with the packages that are installed for what our table leaves
open. Processor time, not the wall's, since one thread does it all. Both sides have to agree on the rule for every
agent.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analytics_core.agent_lists import build_table, read_list_files
from analytics_core.agent_table import AgentTable, our_table
from analytics_core.settings import ListMode
from analytics_core.user_agents import normalise_agent
from benchmarks.score import find_data
from benchmarks.workbench import CannotMeasure, Comparison, Workbench, WrongResult, host_load, median, run_measurement
from ingest.caches import GenerationCache

_MOST_AGENTS: Final = 20_000


class Times(NamedTuple):
    """Microseconds of processor time an agent: of all, and of the slowest hundredth and one."""

    mean: float
    p99: float
    slowest: float


def read_agents() -> list[str]:
    """Read distinct agents: real ones where they are there."""
    folder = find_data()
    if folder is None:
        return [example for entry in our_table().agents for example in entry.examples]
    with (folder / "real_user_agents.csv").open(newline="", encoding="utf-8") as file:
        return [row["user_agent"] for row in csv.DictReader(file)][:_MOST_AGENTS]


def one_after_the_other(table: AgentTable) -> Callable[[str], str]:
    """Make what finds the rule of an agent by trying one entry after the other."""
    searches: list[tuple[str, Callable[[str], object]]] = []
    for entry in table.agents:
        if entry.pattern:
            searches.append((entry.name, re.compile(entry.pattern).search))
        else:
            searches.append((entry.name, AgentTable((entry,), (), version="").lists_name_of))

    def rule_of(agent: str) -> str:
        text = normalise_agent(agent)
        return next((name for name, finds in searches if finds(text)), "none" if text else "empty")

    return rule_of


def take_times(work: Callable[[str], object], agents: Sequence[str]) -> Times:
    """Time each agent once."""
    clock = time.process_time_ns
    times = []
    for agent in agents:
        began = clock()
        work(agent)
        times.append(clock() - began)
    times.sort()
    return Times(sum(times) / len(times) / 1000, times[len(times) * 99 // 100] / 1000, times[-1] / 1000)


def known_us(agents: Sequence[str]) -> float:
    """Time a look-up in what ingest remembers, in microseconds of processor time an agent."""
    cache = GenerationCache[bytes, int](_MOST_AGENTS)
    encoded = [agent.encode() for agent in agents]
    for number, agent in enumerate(encoded):
        cache.put(agent, number)
    get, rounds = cache.get, 20
    began = time.process_time_ns()
    for _ in range(rounds):
        for agent in encoded:
            get(agent)
    return (time.process_time_ns() - began) / rounds / len(encoded) / 1000


def first_agent_ms() -> int:
    """Time the first agent that our table leaves open: it loads the packages that are asked of such."""
    began = time.process_time()
    our_table().classify("Mozilla/5.0 (Linux; U; Cuttle)")
    return round((time.process_time() - began) * 1000)


def compare(table: AgentTable, agents: Sequence[str], rounds: int) -> tuple[Times, float]:
    """Time both ways in turn, and look whether they agree.

    Raises:
        WrongResult: They do not.
    """
    plain = one_after_the_other(table)
    for agent in agents:
        if table.classify(agent).rule != plain(agent):
            raise WrongResult(
                f"{agent!r} is {table.classify(agent).rule!r} to us, {plain(agent)!r} by each pattern alone"
            )
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(take_times(table.classify, agents))
        theirs.append(take_times(plain, agents).mean)
    middle = sorted(ours)[len(ours) // 2]
    return middle, median(theirs)


def measure(_: Workbench, options: argparse.Namespace) -> Comparison:
    """Time our table, the open tables where they are there, and what is known."""
    agents = read_agents()
    if not agents:
        raise CannotMeasure("there are no agents")
    own = AgentTable(our_table().agents, our_table().devices, version="")
    ours, theirs = compare(own, agents, options.rounds)
    more: dict[str, object] = {"agents": len(agents), "p99": round(ours.p99, 1), "slowest": round(ours.slowest, 1)}
    folder = find_data()
    if folder is not None:
        lists = build_table(read_list_files(folder / "opawg-v2"), ListMode.REPLACE)
        listed, listed_plain = compare(lists, agents, options.rounds)
        more["lists"] = {"ours": round(listed.mean, 1), "theirs": round(listed_plain, 1), "p99": round(listed.p99, 1)}
    first_ms = first_agent_ms()
    with_others = take_times(our_table().classify, agents)
    more["with_others"] = {"ours": round(with_others.mean, 1), "p99": round(with_others.p99, 1), "first_ms": first_ms}
    more["known_us"] = round(known_us(agents), 3)
    more["host_load"] = host_load()
    return Comparison("agents", ours.mean, theirs, "us/new agent", theirs / ours.mean, more)


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="agents.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of both sides (default 5)")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
