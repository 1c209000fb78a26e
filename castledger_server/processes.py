"""What the front door knows about processes: how a child dies with us, and who a process id really is."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

__all__ = ("die_with_parent", "is_running", "kill_group", "memory_bytes", "start_mark")

_PR_SET_PDEATHSIG: Final = 1
_prctl: Final = getattr(ctypes.CDLL(None), "prctl", None)


_CGROUP_LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_bytes(limits: Sequence[Path] = _CGROUP_LIMITS) -> int:
    """Tell how much memory there is for us: the machine's, or less where a container is allowed less."""
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in limits:
        try:
            # Without a limit the one says "max", the other a number that no machine has.
            there = min(there, int(path.read_text()))
        except (OSError, ValueError):
            continue
    return there


def die_with_parent(by: signal.Signals) -> Callable[[], None]:
    """Make what a new child runs before its program: it will get the signal *by* when we end, however we end.

    To be called in the process and thread that starts the child, and run after a change of user, which would clear
    it (``subprocess`` does so). The kernel speaks of the starting *thread*: start children from the main thread.
    Without Linux's ``prctl`` a child only ends when it is told to.
    """
    parent = os.getpid()

    def before_program() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, int(by), 0, 0, 0)
        # Nobody would tell us of a parent that ended before the line above.
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_program


def start_mark(pid: int) -> str | None:
    """Tell when a process began, as text that no later process of the same id shares.

    Returns:
        The mark, or ``None`` when there is no such process (a zombie counts as none) or no ``/proc``.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, UnicodeDecodeError):
        return None
    # The name, in parentheses, may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def is_running(pid: int) -> bool:
    """Tell whether a process of that id exists, ours or not."""
    if Path("/proc/self/stat").exists():
        return start_mark(pid) is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill_group(leader: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Signal every process of a group; nothing happens when none is left."""
    try:
        os.killpg(leader, by)
    except (ProcessLookupError, PermissionError):
        return
