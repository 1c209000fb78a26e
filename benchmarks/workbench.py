"""What all measurements share: a folder of their own, processes that end with them, and one line of result.

A measurement is a function of a :class:`Workbench`. However it ends (done, failed, Ctrl-C, SIGTERM), its processes
are stopped and its folder is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, NamedTuple, NoReturn, Self

from castledger_server.processes import die_with_parent

__all__ = (
    "ROOT",
    "CannotMeasure",
    "Comparison",
    "Workbench",
    "WrongResult",
    "host_load",
    "need_program",
    "pace_ms",
    "peak_mib",
    "processor_s",
    "resident_mib",
    "run_measurement",
    "two_cores",
    "wait_until",
)

ROOT: Final = Path(__file__).resolve().parents[1]
"""The repository, from which our own programs are run."""

_STOP_S: Final = 15.0


class CannotMeasure(Exception):
    """Something that the measurement needs is not on this machine; the message says what, in one line."""


class WrongResult(Exception):
    """What was measured did not do its work, so that its speed says nothing."""


class Comparison(NamedTuple):
    """A measurement's result, for the last line.

    Attributes:
        name: Of the measurement.
        ours: Median of our rounds.
        theirs: Median of theirs.
        unit: Of both.
        ratio: Above 1 is better for us, whether more or less of the unit is better.
        more: What else is worth keeping.
    """

    name: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    more: Mapping[str, Any]

    def as_line(self) -> str:
        """Write the result as one JSON object."""
        required = {
            "name": self.name,
            "ours": round(self.ours, 1),
            "theirs": round(self.theirs, 1),
            "unit": self.unit,
            "ratio": round(self.ratio, 3),
        }
        interpreter = {"python": platform.python_version(), "pace_ms": round(pace_ms(), 1)}
        return json.dumps(required | interpreter | dict(self.more))


def pace_ms() -> float:
    """Say how many ms a fixed piece of work in plain Python takes here, the least of seven.

    A machine may be slow, or its Python built without optimisation: either moves ratios against programs in C.
    """

    def once_ms() -> float:
        began = time.perf_counter()
        total = 0
        for number in range(200_000):
            total += number * number
        return (time.perf_counter() - began) * 1000

    return min(once_ms() for _ in range(7))


def need_program(name: str, *, package: str) -> str:
    """Find a program.

    Args:
        name: As it is typed.
        package: What to install for it.

    Raises:
        CannotMeasure: It is not there.
    """
    # Servers are often where only root looks.
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which(name, path=path)
    if found is None:
        raise CannotMeasure(f"{name} is missing: install it (such as `apt-get install {package}`)")
    return found


def two_cores() -> tuple[int, int]:
    """Choose a core for the server and one for its clients.

    Raises:
        CannotMeasure: This process may only use one.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise CannotMeasure("two cores are needed, one for the server and one for its clients; here is one")
    return cores[0], cores[1]


def host_load() -> float:
    """Say how busy the machine was in the last minute: numbers of a busy one are worth less."""
    return round(os.getloadavg()[0], 2)


def _status_mib(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise WrongResult(f"process {pid} has no {field}")


def processor_s(pid: int) -> float:
    """Add up the processor time that a process and its children have had, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return used + sum(processor_s(int(child)) for child in children)


def resident_mib(pid: int) -> float:
    """Read how much memory a process holds, in MiB."""
    return _status_mib(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """Read the most memory that a process ever held, in MiB."""
    return _status_mib(pid, "VmHWM")


def wait_until(is_so: Callable[[], bool], *, what: str, within_s: float = 30.0) -> None:
    """Wait for something.

    Raises:
        WrongResult: It did not happen in time.
    """
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise WrongResult(f"{what} did not happen within {within_s:.0f} s")
        time.sleep(0.02)


class Workbench:
    """A folder, and processes that end with it."""

    def __init__(self) -> None:
        self._closing = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="castledger-bench-"))
        # Databases and web servers that root starts run as somebody else, who has to pass through.
        self.folder.chmod(0o711)
        self._closing.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._began_s = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.close()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the measurement began."""
        return time.monotonic() - self._began_s

    def at_end(self, end: Callable[[], object]) -> None:
        """Have something done at the end, last named first."""
        self._closing.callback(end)

    def start(
        self,
        command: Sequence[str],
        *,
        core: int | None = None,
        environ: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        stdin: int = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> subprocess.Popen[str]:
        """Start a process that ends with the bench.

        Args:
            command: The program and its arguments.
            core: The only core that it may run on; by default any.
            environ: Its environment beside ``PATH``; by default ours.
            pass_fds: Descriptors that it inherits.
            stdin: As ``subprocess`` takes it.
            stdout: The same.
        """
        die = die_with_parent(signal.SIGTERM)

        def before_program() -> None:
            die()
            if core is not None:
                os.sched_setaffinity(0, {core})

        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=None if environ is None else {"PATH": os.environ.get("PATH", os.defpath), **environ},
            pass_fds=pass_fds,
            stdin=stdin,
            stdout=stdout,
            text=True,
            # Of their own, so that Ctrl-C reaches us alone and we stop them in order.
            start_new_session=True,
            preexec_fn=before_program,
        )
        self.at_end(lambda: stop(process))
        return process

    def run(self, command: Sequence[str], *, core: int | None = None, environ: Mapping[str, str] | None = None) -> str:
        """Run a process to its end and return what it wrote.

        Raises:
            WrongResult: It failed.
        """
        process = self.start(command, core=core, environ=environ, stdout=subprocess.PIPE)
        said, _ = process.communicate()
        if process.returncode:
            raise WrongResult(f"{Path(command[0]).name} ended with {process.returncode}")
        return said


def stop(process: subprocess.Popen[str]) -> None:
    """End a process: asked first, forced after a while; nothing happens when it has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def median(values: Sequence[float]) -> float:
    """Take the middle one."""
    return float(statistics.median(values))


def run_measurement(measure: Callable[[Workbench], Comparison]) -> int:
    """Run a measurement and print its result on the last line.

    Returns:
        0; 1 when something did not do its work; 2 when something is missing here; 130 when interrupted.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        # Shells have background jobs ignore the first one.
        signal.signal(number, _interrupt)
    try:
        with Workbench() as bench:
            result = measure(bench)
    except CannotMeasure as error:
        print(error, file=sys.stderr)
        return 2
    except WrongResult as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(result.as_line(), flush=True)
    return 0
