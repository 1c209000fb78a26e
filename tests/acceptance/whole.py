"""`castledger` as a command of its own, and `castledger up` with all that it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from castledger_server.processes import is_running

DEADLINE_S = 90.0
# Settings of whoever runs the tests would lead `up` to another database or name.
ENVIRON = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("DATABASE_", "POSTGRES_", "CASTLEDGER_", "TRACKER_", "SPOOL_", "REDIS_", "PG"))
}
# Tests look twenty times a second whether something has happened.
ENVIRON |= {"CASTLEDGER_API_RATE": "600000", "CASTLEDGER_API_BURST": "10000"}
# Whatever else runs meanwhile, another test's `up` among it, may have the usual ones.
ENVIRON |= {"CASTLEDGER_ADMIN_PORTS": "tracker=0,api=0,ingest=0,collector=0"}


def until(what: Callable[[], bool], why: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def castledger(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "castledger_server", *arguments],
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


class Up:
    """`castledger up` as a process."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.ready_file = folder / "ready.json"
        # That of a killed run tells of ports which nobody serves.
        self.ready_file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "castledger_server", "up", *options(folder), *more],
            env=ENVIRON,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> dict[str, str]:
        """Wait until everything answers, and return what was printed."""
        until(lambda: self.ready_file.exists() or self.process.poll() is not None, "`up` neither answered nor gave up")
        assert self.process.poll() is None, "`up` gave up"
        said: dict[str, str] = json.loads(self.ready_file.read_text())
        return said

    def family(self) -> list[int]:
        """All processes of ours, the database's own included."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                pid = int(entry.name)
                parents.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(pid)
        found = [self.process.pid]
        for pid in found:
            found += parents.get(pid, [])
        return found

    def kill_all(self) -> None:
        """End all of its processes as a power cut would."""
        family = self.family()
        for pid in family:
            # Whatever dies with its parent may be gone already.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.communicate()
        until(lambda: not any(is_running(pid) for pid in family), "a killed process lives")

    def stop(self) -> str:
        """Ask it to end, and return what it printed."""
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=DEADLINE_S)
        return said


def options(folder: Path) -> list[str]:
    """Options of `up` for a folder of its own and free ports."""
    return [
        f"--data-dir={folder / 'ledger'}",
        "--tracker-port=0",
        "--collector-port=0",
        "--api-port=0",
        f"--ready-file={folder / 'ready.json'}",
    ]
