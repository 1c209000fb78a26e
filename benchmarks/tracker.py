"""The tracker against nginx: ``python benchmarks/tracker.py``.

Ours is one worker slot, ``python -m prefix_redirect``, that records every hit; theirs is nginx with one worker,
``return 302`` and a buffered access log. Each has the first core to itself, the client the second. Rounds alternate,
medians are compared, and every answer that the client counted has to be in the spool.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from analytics_core.spool import HEADER_BYTES, Frame, decode_hits, read_frames
from benchmarks.workbench import (
    Comparison,
    Workbench,
    WrongResult,
    host_load,
    need_program,
    peak_mib,
    processor_s,
    resident_mib,
    run_measurement,
    two_cores,
    wait_until,
)

CONNECTIONS: Final = 64
HITS_FOR_MEMORY: Final = 10_000_000
BUDGET_S: Final = 480.0
IDLE: Final = 10_000
SLOW: Final = 5_000
_ENVIRON: Final = {"CASTLEDGER_LOG_LEVEL": "warning", "TRACKER_MAX_CONNECTIONS": "20000"}

TARGET: Final = "cdn.example.com/shows/harbour/episode-0042.mp3"
PATH: Final = f"/e,pg=9b024349-ccf0-5f69-a609-6b82873eab3c/{TARGET}"
AGENT: Final = "AppleCoreMedia/1.0.0.21F90 (iPhone; U; CPU OS 17_5_1 like Mac OS X; en_us)"
HEADERS: Final = (f"User-Agent: {AGENT}", "Accept: */*", "Range: bytes=0-")

_NGINX: Final = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 20000; }}
http {{
    access_log {folder}/access.log combined buffer=64k flush=1s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 302 https://{target}; }}
    }}
}}
"""

# 2,000 episodes and 300 agents, so that nothing is served from the memory of the request before.
_VARIED: Final = """
local requests = {}
function init(args)
    for i = 0, 7999 do
        wrk.headers["User-Agent"] = "AppleCoreMedia/1.0.0.21F" .. (i * 7 % 300)
            .. " (iPhone; U; CPU OS 17_5_1 like Mac OS X; en_us)"
        wrk.headers["Range"] = "bytes=" .. (i * 4096) .. "-"
        requests[i] = wrk.format("GET", "/e,pg=9b024349-ccf0-5f69-a609-6b82873eab3c/cdn.example.com/shows/s"
            .. (i % 40) .. "/episode-" .. (i % 2000) .. ".mp3")
    end
end
local at = 0
function request()
    at = (at + 1) % 8000
    return requests[at]
end
"""


class Load(NamedTuple):
    """What wrk counted."""

    answers: int
    per_s: float


class SpoolTally:
    """Counts the hits of a spool while it grows, and removes the segments that it has counted.

    Args:
        folder: The spool's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[str, int] = {}
        self.hits = 0
        self.last: Frame | None = None
        """The last frame with hits."""

    def count(self) -> int:
        """Read on; return the hits that were ever there."""
        for path in sorted(self._folder.iterdir()):
            if path.suffix not in (".open", ".sealed"):
                continue
            offset = self._offsets.get(path.stem, HEADER_BYTES)
            try:
                with path.open("rb") as file:
                    file.seek(offset)
                    data = file.read()
            except FileNotFoundError:
                # It was sealed since we looked, and is found under its new name the next time.
                continue
            for frame in read_frames(data, offset=offset):
                self.hits += frame.hits
                offset = frame.end
                if frame.hits:
                    self.last = frame
            self._offsets[path.stem] = offset
            if path.suffix == ".sealed":
                path.unlink()
        return self.hits


class Tracker:
    """One slot of ours, recording."""

    def __init__(self, bench: Workbench, *, core: int) -> None:
        folder = bench.folder / "tracker"
        folder.mkdir()
        ready_out, ready_in = os.pipe()
        command = [sys.executable, "-m", "prefix_redirect", "--data-dir", str(folder), "--ready-fd", str(ready_in)]
        command += ["--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]
        process = bench.start(command, core=core, environ=_ENVIRON, pass_fds=(ready_in,))
        os.close(ready_in)
        with os.fdopen(ready_out) as ready:
            line = ready.readline()
        if not line:
            raise WrongResult("the tracker did not start")
        self.pid = process.pid
        self.port = int(json.loads(line)["port"])
        self.tally = SpoolTally(folder / "spool")
        self.answers = 0

    def account(self, answers: int, *, in_flight: int) -> None:
        """Make sure that every answer is in the spool.

        Args:
            answers: What the client counted since the last time.
            in_flight: Answers that it may have left uncounted when it hung up.

        Raises:
            WrongResult: Hits are missing, or there are more than were asked for.
        """
        self.answers += answers
        try:
            wait_until(lambda: self.tally.count() >= self.answers, what="recording all answers", within_s=10)
        except WrongResult:
            raise WrongResult(f"{self.answers} answers, but only {self.tally.hits} hits in the spool") from None
        before = -1
        # What was in flight is still being read; it is over when a while brings nothing new.
        while before != (before := self.tally.count()):
            time.sleep(0.3)
        surplus = self.tally.hits - self.answers
        if surplus > in_flight:
            raise WrongResult(f"{surplus} more hits in the spool than answers, with {in_flight} connections")
        last = self.tally.last
        if last is None or decode_hits(last)[-1].target.partition(b"/")[0] != b"cdn.example.com":
            raise WrongResult("the last hit in the spool does not name its target")
        self.answers = self.tally.hits


def start_nginx(bench: Workbench, *, core: int) -> tuple[int, int]:
    """Start nginx; return its process id and its port."""
    folder = bench.folder / "nginx"
    folder.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port, target=TARGET))
    program = need_program("nginx", package="nginx")
    process = bench.start([program, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)], core=core)
    wait_until(lambda: _is_listening(port), what="the start of nginx")
    return process.pid, port


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _check_answer(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", PATH, headers=dict(header.split(": ", 1) for header in HEADERS))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 302 or answer.headers["Location"] != f"https://{TARGET}":
        raise WrongResult(f"port {port} answers {answer.status} with Location {answer.headers['Location']}")


class Wrk:
    """The closed-loop client.

    Args:
        bench: The bench.
        core: Its core.
    """

    def __init__(self, bench: Workbench, *, core: int) -> None:
        self._bench = bench
        self._core = core
        self._program = need_program("wrk", package="wrk")
        self._script = bench.folder / "varied.lua"
        self._script.write_text(_VARIED)

    def ask(self, port: int, *, seconds: int, closing: bool = False, varied: bool = False) -> Load:
        """Ask as fast as the server answers.

        Args:
            port: The server's.
            seconds: How long.
            closing: One connection a request.
            varied: Thousands of different requests in turn.

        Raises:
            WrongResult: wrk met errors, or answers that redirect nowhere.
        """
        command = [self._program, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
        command += ["-s", str(self._script)] if varied else []
        headers = (*HEADERS, "Connection: close") if closing else HEADERS
        for header in headers:
            command += ["-H", header]
        said = self._bench.run([*command, f"http://127.0.0.1:{port}{PATH}"], core=self._core)
        if "Non-2xx or 3xx" in said or "Socket errors" in said:
            raise WrongResult(f"wrk met errors: {' / '.join(said.splitlines()[-5:])}")
        asked = re.search(r"(\d+) requests in", said)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
        if asked is None or rate is None:
            raise WrongResult(f"wrk said something unexpected: {said!r}")
        return Load(int(asked[1]), float(rate[1]))


def _rates(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    one, other = statistics.median(ours), statistics.median(theirs)
    return one, other, one / other


def _ask_open_loop(
    bench: Workbench, port: int, *, rate: float, seconds: int, core: int, slow_senders: int = 0
) -> dict[str, Any]:
    lines = (f"GET {PATH} HTTP/1.1", f"Host: 127.0.0.1:{port}", *HEADERS, "", "")
    command = [sys.executable, "-m", "benchmarks.open_loop", "--port", str(port), "--rate", str(rate)]
    command += ["--seconds", str(seconds), "--connections", str(CONNECTIONS), "--slow-senders", str(slow_senders)]
    command.append("\r\n".join(lines))
    found: dict[str, Any] = json.loads(bench.run(command, core=core))
    if found["answered"] != found["asked"]:
        raise WrongResult(f"{found['asked'] - found['answered']} requests of the open loop were not answered")
    return found


@contextlib.contextmanager
def _crowd(bench: Workbench, port: int, *, count: int, core: int) -> Iterator[None]:
    """Have some thousand idle connections be there meanwhile."""
    command = [sys.executable, "-m", "benchmarks.crowd", "--port", str(port), "--count", str(count)]
    crowd = bench.start(command, core=core, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if crowd.stdout is None or crowd.stdin is None or crowd.stdout.readline() != "ready\n":
        raise WrongResult("the crowd did not come")
    try:
        yield
    finally:
        crowd.stdin.close()
        crowd.wait()


def _with_crowds(
    bench: Workbench, tracker: Tracker, nginx_port: int, *, rate: float, rounds: int, seconds: int, core: int
) -> dict[str, Any]:
    """Measure what connections cost that do next to nothing."""
    before = resident_mib(tracker.pid)
    with _crowd(bench, tracker.port, count=IDLE, core=core):
        idle = resident_mib(tracker.pid) - before
    tracker.account(IDLE, in_flight=0)
    # nginx with the same senders tells how much of it is the client's, which sends for them too.
    found: dict[tuple[int, int], list[float]] = {}
    for _ in range(rounds):
        for port, slow in itertools.product((tracker.port, nginx_port), (0, SLOW)):
            run = _ask_open_loop(bench, port, rate=rate, seconds=seconds, core=core, slow_senders=slow)
            if port == tracker.port:
                tracker.account(run["answered"], in_flight=0)
            found.setdefault((port, slow), []).append(run["p99_us"])
    p99, slow_p99, nginx_p99, nginx_slow_p99 = (statistics.median(runs) for runs in found.values())
    print(
        f"{IDLE:,} idle connections take {idle:.0f} MiB; at {rate:,} requests/s p99 is {p99:.0f} us, "
        f"beside {SLOW:,} that send a byte a second {slow_p99:.0f} us ({slow_p99 / p99:.2f} times); "
        f"nginx's {nginx_p99:.0f} and {nginx_slow_p99:.0f} us ({nginx_slow_p99 / nginx_p99:.2f} times)",
        flush=True,
    )
    return {
        "idle_mib": round(idle, 1),
        "slow_p99_us": [p99, slow_p99],
        "nginx_slow_p99_us": [nginx_p99, nginx_slow_p99],
    }


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Run all rounds."""
    server_core, client_core = two_cores()
    wrk = Wrk(bench, core=client_core)
    nginx_pid, nginx_port = start_nginx(bench, core=server_core)
    tracker = Tracker(bench, core=server_core)
    for port in (tracker.port, nginx_port):
        _check_answer(port)
    tracker.account(1, in_flight=0)
    access_log = bench.folder / "nginx" / "access.log"
    for port in (tracker.port, nginx_port):
        warm_up = wrk.ask(port, seconds=2)
        if port == tracker.port:
            tracker.account(warm_up.answers, in_flight=CONNECTIONS)

    def alternate(ask: Callable[[int], Load], rounds: int) -> tuple[list[float], list[float]]:
        ours, theirs = [], []
        for _ in range(rounds):
            load = ask(tracker.port)
            tracker.account(load.answers, in_flight=CONNECTIONS)
            ours.append(load.per_s)
            theirs.append(ask(nginx_port).per_s)
            os.truncate(access_log, 0)
        return ours, theirs

    rounds, seconds = options.rounds, options.seconds
    processor_us: dict[int, list[float]] = {tracker.port: [], nginx_port: []}

    def ask_timed(port: int) -> Load:
        # Processor time tells what a request costs even where others disturb the measurement.
        pid = tracker.pid if port == tracker.port else nginx_pid
        before_s = processor_s(pid)
        load = wrk.ask(port, seconds=seconds)
        processor_us[port].append((processor_s(pid) - before_s) / load.answers * 1e6)
        return load

    kept = alternate(ask_timed, rounds)
    ours, theirs, ratio = _rates(*kept)
    cost, nginx_cost = (statistics.median(processor_us[port]) for port in (tracker.port, nginx_port))
    print(
        f"one connection kept: {ours:,.0f} against {theirs:,.0f} requests/s: {ratio:.2f}; "
        f"processor time a request {cost:.1f} against {nginx_cost:.1f} us",
        flush=True,
    )
    varied = alternate(lambda port: wrk.ask(port, seconds=seconds, varied=True), min(rounds, 3))
    ours_varied, theirs_varied, varied_ratio = _rates(*varied)
    print(
        f"the same, 2,000 episodes and 300 agents in turn: {ours_varied:,.0f} against {theirs_varied:,.0f} "
        f"requests/s: {varied_ratio:.2f}",
        flush=True,
    )
    closed = alternate(lambda port: wrk.ask(port, seconds=seconds, closing=True), rounds)
    ours_closed, theirs_closed, closed_ratio = _rates(*closed)
    print(
        f"one connection a request: {ours_closed:,.0f} against {theirs_closed:,.0f} requests/s: {closed_ratio:.2f}",
        flush=True,
    )
    rate = round(ours / 2)
    found: dict[int, list[dict[str, Any]]] = {tracker.port: [], nginx_port: []}
    # Where others take the core away, a tail differs by ten times between rounds: many short ones tell more than few.
    tails, tail_s = 2 * rounds, max(seconds // 2, 2)
    for _ in range(tails):
        for port, runs in found.items():
            run = _ask_open_loop(bench, port, rate=rate, seconds=tail_s, core=client_core)
            runs.append(run)
            if port == tracker.port:
                tracker.account(run["answered"], in_flight=0)

    def middle(port: int, key: str) -> float:
        return float(statistics.median(run[key] for run in found[port]))

    p99, nginx_p99 = middle(tracker.port, "p99_us"), middle(nginx_port, "p99_us")
    print(
        f"at {rate:,} requests/s, open loop (our own client, polling, from the instant a request is due): "
        f"p50 {middle(tracker.port, 'p50_us'):.0f} against {middle(nginx_port, 'p50_us'):.0f} us, "
        f"p99 {p99:.0f} against {nginx_p99:.0f} us ({p99 / nginx_p99:.2f} times), "
        f"p99.9 {middle(tracker.port, 'p999_us'):.0f} against {middle(nginx_port, 'p999_us'):.0f} us; "
        f"the client itself was late by p99 {middle(tracker.port, 'late_us'):.0f} "
        f"and {middle(nginx_port, 'late_us'):.0f} us",
        flush=True,
    )
    crowds = _with_crowds(
        bench, tracker, nginx_port, rate=round(ours / 4), rounds=tails, seconds=tail_s, core=client_core
    )
    while tracker.answers < options.hits_for_memory and bench.elapsed_s < BUDGET_S:
        tracker.account(wrk.ask(tracker.port, seconds=10, varied=True).answers, in_flight=CONNECTIONS)
    memory, peak = resident_mib(tracker.pid), peak_mib(tracker.pid)
    print(f"the tracker holds {memory:.0f} MiB after {tracker.answers:,} hits, {peak:.0f} MiB at most", flush=True)
    return Comparison(
        "tracker",
        ours,
        theirs,
        "requests/s",
        ratio,
        {
            "processor_us": [round(cost, 1), round(nginx_cost, 1)],
            "varied_ratio": round(varied_ratio, 3),
            "connection_a_request_ratio": round(closed_ratio, 3),
            "connection_a_request_per_s": [round(ours_closed), round(theirs_closed)],
            "open_loop_rate": rate,
            "p99_us": [p99, nginx_p99],
            "p99_times": round(p99 / nginx_p99, 2),
            **crowds,
            "memory_mib": round(memory, 1),
            "hits": tracker.answers,
            "rounds": [[round(one), round(other)] for one, other in zip(*kept, strict=True)],
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="tracker.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of each kind (default 5)")
    parser.add_argument("--seconds", type=int, default=6, help="seconds a round and side (default 6)")
    parser.add_argument(
        "--hits-for-memory",
        type=int,
        default=HITS_FOR_MEMORY,
        help=f"go on until the tracker has recorded that many hits (default {HITS_FOR_MEMORY:,})",
    )
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
