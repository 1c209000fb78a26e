"""What the SDK's events cost their host, beside posthog's Python client: ``python benchmarks/sdk.py``.

Both track the same purchase, each in a process of its own and with its usual settings but for the size of the queue,
and send to the same local server, which has to have every event afterwards. Beside the time of one call on the caller's
thread: events through to the server, memory with nobody there, the import, and
the import with the first client.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.workbench import (
    CannotMeasure,
    Comparison,
    Workbench,
    WrongResult,
    host_load,
    median,
    pace_ms,
    run_measurement,
)

_KEY: Final = "cl_live_" + "a" * 38
_SIDES: Final = ("castledger", "posthog")
_IMPORTS: Final = 20
_PROPERTIES: Final[dict[str, str | int]] = {"plan": "pro", "seats": 3}


class Client(NamedTuple):
    """One SDK: track the event, and end with all sent."""

    track: Callable[[], object]
    end: Callable[[], object]


def ours(url: str, *, queue_size: int, spool_dir: str | None) -> Client:
    """Use Castledger's."""
    from castledger import Castledger

    client = Castledger(_KEY, collector_url=url, queue_size=queue_size, spool_dir=spool_dir)
    track = client.track

    def purchase() -> object:
        return track(
            "purchase",
            customer_id="u_123",
            external_id="order-77",
            value_amount=4999,
            currency="EUR",
            properties=_PROPERTIES,
        )

    return Client(purchase, lambda: client.close(60.0))


def posthogs(url: str, *, queue_size: int) -> Client:
    """Use posthog's."""
    from posthog import Posthog

    client = Posthog(_KEY, host=url, max_queue_size=queue_size)
    capture = client.capture

    def purchase() -> object:
        return capture(
            "purchase",
            distinct_id="u_123",
            properties={"order": "order-77", "value_amount": 4999, "currency": "EUR", **_PROPERTIES},
        )

    return Client(purchase, client.shutdown)


def take_quickest_core() -> float:
    """Have this thread stay on the core that is quickest now, and say what :func:`pace_ms` found there.

    A virtual core loses up to half of its speed while the other thread of the real one works for somebody else.
    """

    if not hasattr(os, "sched_setaffinity"):
        return pace_ms()
    pace: dict[int, float] = {}
    for core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})
        pace[core] = pace_ms()
    quickest = min(pace, key=lambda core: pace[core])
    os.sched_setaffinity(0, {quickest})
    return pace[quickest]


def run_side(options: argparse.Namespace) -> dict[str, float]:
    """Track events in this process and say what it cost."""
    if options.side == "posthog":
        client = posthogs(options.url, queue_size=options.queue_size)
    else:
        client = ours(options.url, queue_size=options.queue_size, spool_dir=options.spool_dir)
    for _ in range(100):
        client.track()
    # The workers' threads are there by now, and stay where they like.
    pace = take_quickest_core()
    clock, track = time.perf_counter_ns, client.track
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times: list[int] = []
    began, began_s, own_began = clock(), time.process_time(), time.thread_time()
    for number in range(options.events):
        at = clock()
        track()
        # A sample is enough, and memory is measured here too.
        if number < 50_000:
            times.append(clock() - at)
    own_s = time.thread_time() - own_began
    if options.is_down:
        # Nothing will be sent, and waiting for that is not what is measured.
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
        return {"grown_mib": grown_kib / 1024, "median_us": statistics.median(times) / 1000}
    client.end()
    wall_s, used_s = (clock() - began) / 1e9, time.process_time() - began_s
    return {
        "median_us": statistics.median(times) / 1000,
        "p99_us": sorted(times)[len(times) * 99 // 100] / 1000,
        "own_us": own_s / options.events * 1e6,
        "processor_us": used_s / options.events * 1e6,
        "events_per_s": options.events / wall_s,
        "pace_ms": pace,
    }


def side(name: str, url: str, events: int, *more: str) -> dict[str, float]:
    """Run one SDK in a process of its own.

    Raises:
        WrongResult: It failed.
    """
    command = [sys.executable, __file__, "--side", name, "--url", url, "--events", str(events), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongResult(f"{name} ended with {done.returncode}: {done.stderr[-500:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def start_ms(statements: str) -> float:
    """Time what a program begins with in fresh interpreters: the median of their processor time."""
    code = f"import time; began = time.process_time(); {statements}; print((time.process_time() - began) * 1000)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(_IMPORTS)
    ]
    return median(times)


def received(url: str) -> int:
    """Ask the server how many events it has."""
    with urllib.request.urlopen(f"{url}/count") as answer:
        return int(json.load(answer)["count"])


def middle(rounds: Sequence[Mapping[str, float]], name: str) -> float:
    """Take the median of the rounds."""
    return median([found[name] for found in rounds])


def _listed(rounds: Sequence[Mapping[str, float]]) -> str:
    return ", ".join(f"{found['median_us']:.1f}" for found in rounds)


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Run both sides in turn.

    Raises:
        CannotMeasure: posthog is not installed.
        WrongResult: The server does not have every event.
    """
    if find_spec("posthog") is None:
        raise CannotMeasure("posthog is missing: install it with `pip install -e '.[bench]'`")
    sink = bench.start([sys.executable, "-m", "benchmarks.event_sink"], stdout=subprocess.PIPE)
    assert sink.stdout is not None
    url = f"http://127.0.0.1:{int(sink.stdout.readline())}"
    found: dict[str, list[dict[str, float]]] = {"castledger": [], "posthog": [], "spool": []}
    queue = ("--queue-size", str(options.events + 100))
    expected = 0
    for number in range(options.rounds):
        for name in found:
            spool = ("--spool-dir", str(bench.folder / f"spool-{number}")) if name == "spool" else ()
            found[name].append(side("castledger" if spool else name, url, options.events, *queue, *spool))
            expected += options.events + 100
            if received(url) != expected:
                raise WrongResult(f"{expected} events were tracked until {name}, and {received(url)} have arrived")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    down = side("castledger", nobody, options.down_events, "--is-down")
    more: dict[str, Any] = {
        "events": options.events,
        "rounds": options.rounds,
        **{name: {figure: round(middle(rounds, figure), 1) for figure in rounds[0]} for name, rounds in found.items()},
        "down": {"events": options.down_events, **{name: round(value, 1) for name, value in down.items()}},
        "import_ms": {name: round(start_ms(f"import {name}"), 1) for name in _SIDES},
        # Whoever makes a client takes what the import left out: httpx above all.
        "first_client_ms": round(start_ms(f"import castledger; castledger.Castledger({_KEY!r})"), 1),
        "host_load": host_load(),
    }
    for name, rounds in found.items():
        print(f"{name}, the middle call of each round, us: {_listed(rounds)}")
    mine, yours = middle(found["castledger"], "median_us"), middle(found["posthog"], "median_us")
    return Comparison("sdk", mine, yours, "us/event on the caller's thread, median", yours / mine, more)


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="sdk.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of both sides (default 7)")
    parser.add_argument("--events", type=int, default=20_000, help="events a round and side (default 20000)")
    parser.add_argument("--down-events", type=int, default=1_000_000, help="events with nobody there (default 1000000)")
    parser.add_argument("--queue-size", type=int, default=10_000, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=_SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--spool-dir", help=argparse.SUPPRESS)
    parser.add_argument("--is-down", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        print(json.dumps(run_side(options)), flush=True)
        return 0
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
