"""What taking an event costs: ``python benchmarks/collector.py``.

Ours is a collector as it is served, sent batches of 100 purchases by a secret key: the key is looked up, its rate is
judged, each event is judged by all rules, written to the spool, and answered. Theirs is a bare Litestar
route on the same server that decodes the batch and drops it (``benchmarks/bare_events.py``). Both have the first core,
the client the second; rounds alternate and medians are compared. Every event that was answered has to be in the spool.
Then ours once more, open loop at 10,000 events a second (half of the goal, 20,000 on one core), for the wait.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analytics_core.api_keys import hash_key, new_key
from analytics_core.registry import CollectorKey, Registry, write_registry
from analytics_core.spool import HEADER_BYTES, read_frames
from benchmarks.workbench import (
    ROOT,
    Comparison,
    Workbench,
    WrongResult,
    host_load,
    need_program,
    processor_s,
    resident_mib,
    run_measurement,
    two_cores,
)

EVENTS: Final = 100
CONNECTIONS: Final = 16
HALF: Final = 10_000
"""Events a second at which waits are measured."""

_PATH: Final = "/api/v1/attribution/events"


class Side(NamedTuple):
    """Something that is sent events."""

    name: str
    pid: int
    port: int


class Round(NamedTuple):
    """What one round found: events a second, and microseconds of processor time of the server for each."""

    rate: float
    processor_us: float


def make_batch() -> bytes:
    """Make a batch as the SDK sends it, each event with all that a shop knows."""
    now = dt.datetime.now(dt.UTC)
    events = [
        {
            "event_id": str(UUID(int=place + 1)),
            "type": "purchase",
            "occurred_at": (now - dt.timedelta(seconds=place)).isoformat(),
            "click_id": "AAAAAAAAAAAAAAAAAAAAAQ",
            "promo_code": "SAVE20",
            "customer_id": f"u_{place}",
            "external_id": f"order-{place}",
            "value_amount": 4999,
            "currency": "EUR",
            "new_customer": place % 2 == 0,
            "url": "https://shop.example.com/checkout/thanks?utm_source=podcast",
            "properties": {"plan": "pro", "seats": 3},
        }
        for place in range(EVENTS)
    ]
    envelope = {"sent_at": now.isoformat(), "library": "castledger-python/0.2.0", "events": events}
    return json.dumps(envelope, separators=(",", ":")).encode()


def start_collector(bench: Workbench, key: str, *, core: int) -> Side:
    """Start ours on a registry that knows the key."""
    folder = bench.folder / "collector"
    write_registry(folder / "registry.snapshot", Registry(version=1, keys={hash_key(key): CollectorKey(tenant_no=1)}))
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "ingest.collector", "--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
    process = bench.start(
        [*command, "--data-dir", str(folder), "--ready-fd", str(writing)],
        core=core,
        # Judged, and never spent.
        environ={"COLLECTOR_RATE": "60000000", "COLLECTOR_RESERVE_MB": "0", "CASTLEDGER_LOG_LEVEL": "warning"},
        pass_fds=(writing,),
    )
    os.close(writing)
    with os.fdopen(reading) as ready:
        line = ready.readline()
    if not line:
        raise WrongResult("the collector did not start")
    return Side("ours", process.pid, int(json.loads(line)["port"]))


def start_bare(bench: Workbench, *, core: int) -> Side:
    """Start the yardstick."""
    command = [sys.executable, str(ROOT / "benchmarks" / "bare_events.py")]
    process = bench.start(command, core=core, environ={}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise WrongResult("the bare route did not start")
    return Side("bare route", process.pid, int(line))


def send(side: Side, script: Path, *, seconds: int, core: int, bench: Workbench) -> tuple[Round, int]:
    """Send to one side for a while; return what was found and how many events were answered.

    Raises:
        WrongResult: Not every answer was good.
    """
    before_s = processor_s(side.pid)
    command = [need_program("wrk", package="wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script)]
    said = bench.run([*command, f"http://127.0.0.1:{side.port}{_PATH}"], core=core)
    used_s = processor_s(side.pid) - before_s
    answered = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if answered is None or rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise WrongResult(f"{side.name}: {said}")
    events = int(answered[1]) * EVENTS
    return Round(float(rate[1]) * EVENTS, used_s * 1e6 / events), events


def count_spool(folder: Path) -> int:
    """Count the events of a spool."""
    count = 0
    for path in folder.iterdir():
        if path.suffix in (".open", ".sealed"):
            count += sum(frame.hits for frame in read_frames(path.read_bytes()[HEADER_BYTES:], offset=HEADER_BYTES))
    return count


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Send to both in turn."""
    need_program("wrk", package="wrk")
    core, other = two_cores()
    key, body = new_key(), make_batch()
    (bench.folder / "batch.json").write_bytes(body)
    script = bench.folder / "batch.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = io.open("{bench.folder}/batch.json"):read("*a")\n'
        f'wrk.headers["Authorization"] = "Bearer {key}"\nwrk.headers["Content-Type"] = "application/json"\n'
    )
    ours = start_collector(bench, key, core=core)
    sides = [ours, start_bare(bench, core=core)]
    rounds: dict[str, list[Round]] = {side.name: [] for side in sides}
    recorded = 0
    for number in range(options.rounds + 1):
        for side in sides:
            seconds = options.seconds if number else 1
            found, events = send(side, script, seconds=seconds, core=other, bench=bench)
            recorded += events if side is ours else 0
            if number:
                rounds[side.name].append(found)
    in_spool = count_spool(bench.folder / "collector" / "events")
    # What was in flight when the client hung up was recorded too.
    surplus = in_spool - recorded
    if not 0 <= surplus <= CONNECTIONS * EVENTS * (options.rounds + 1):
        raise WrongResult(f"{recorded} events were answered, and {in_spool} are in the spool")
    head = (
        f"POST {_PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    (bench.folder / "request").write_bytes(head.encode() + body)
    asking = [sys.executable, str(ROOT / "benchmarks" / "open_loop.py"), "--port", str(ours.port), "--status", "202"]
    asking += ["--rate", str(HALF / EVENTS), "--seconds", str(options.open_seconds), "--connections", str(CONNECTIONS)]
    waits = json.loads(bench.run([*asking, f"@{bench.folder}/request"], core=other))
    rates = {name: statistics.median(found.rate for found in some) for name, some in rounds.items()}
    used_us = {name: statistics.median(found.processor_us for found in some) for name, some in rounds.items()}
    print(f"{'':14}{'events/s':>12}{'processor us an event':>24}")
    for name in rounds:
        print(f"{name:14}{rates[name]:12.0f}{used_us[name]:24.1f}")
    print(f"{HALF} events/s: p50 {waits['p50_us'] / 1000:.1f} ms, p99 {waits['p99_us'] / 1000:.1f} ms")
    return Comparison(
        "collector",
        rates["ours"],
        rates["bare route"],
        "events/s",
        rates["ours"] / rates["bare route"],
        {
            "processor_us": {name: round(value, 1) for name, value in used_us.items()},
            "goal": 20_000,
            "half_rate": HALF,
            "half_p50_ms": round(waits["p50_us"] / 1000, 2),
            "half_p99_ms": round(waits["p99_us"] / 1000, 2),
            "batch_bytes": len(body),
            "collector_mib": round(resident_mib(ours.pid), 1),
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="collector.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side (default 5)")
    parser.add_argument("--seconds", type=int, default=4, help="seconds of a round (default 4)")
    parser.add_argument("--open-seconds", type=int, default=10, help="seconds at half of the goal (default 10)")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
