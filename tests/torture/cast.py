"""Who takes part: ingest processes that are killed and filled up, and what the kernel says of them."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ("IngestProcess", "Shippers", "descriptors", "resident_kb")

_READY_S: Final = 60.0


def resident_kb(pid: int) -> int:
    """Tell how much memory a process has, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def descriptors(pid: int) -> int:
    """Tell how many files and sockets a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


class IngestProcess:
    """One ingest, whose log goes to a file."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        read, write = os.pipe()
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ingest", "--ready-fd", str(write)],
                env={**os.environ, **environ},
                pass_fds=(write,),
                stderr=file,
            )
        os.close(write)
        self._ready = os.fdopen(read)

    def wait(self) -> str:
        """Wait until it runs; return the address of its admin server."""
        with self._ready:
            line = self._ready.readline()
        assert line, f"ingest ended with {self.process.wait(10)}"
        return f"http://127.0.0.1:{json.loads(line)['admin_port']}"

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait(20)
        self._ready.close()

    def stop(self) -> None:
        """Ask it to end; that has to work."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        self._ready.close()

    def fill_disk(self, *, is_full: bool) -> None:
        """Have every write to a file fail, or no longer.

        The kernel's limit of a file's size does it: for whoever writes it is a disk on which no byte has place, and
        it needs no disk of its own.
        """
        _, hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0 if is_full else hard, hard))


class Shippers:
    """One or more ingest processes over one spool."""

    def __init__(self, environ: Mapping[str, str], log: Path) -> None:
        self._environ = environ
        self._log = log
        self.all: list[IngestProcess] = []

    def start(self) -> IngestProcess:
        """Start one more, and do not wait for it."""
        ingest = IngestProcess(self._environ, self._log)
        self.all.append(ingest)
        return ingest

    def kill(self, ingest: IngestProcess) -> None:
        """Kill one."""
        self.all.remove(ingest)
        ingest.kill()

    def check(self) -> None:
        """Make sure that none has ended by itself."""
        for ingest in self.all:
            assert ingest.process.poll() is None, f"ingest ended by itself with {ingest.process.returncode}"

    def end(self) -> None:
        """Kill all."""
        for ingest in list(self.all):
            self.kill(ingest)
