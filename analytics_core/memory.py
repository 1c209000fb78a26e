"""What a service does with its memory once it has started."""

from __future__ import annotations

import ctypes
import gc
from typing import Final

__all__ = ("give_memory_back", "settle_memory", "share_one_arena")

_M_ARENA_MAX: Final = -8
"""Of glibc's ``mallopt``."""


def share_one_arena() -> None:
    """Have all threads of the process allocate from one arena: to be called before there are any others.

    glibc gives each thread its own, and each keeps what large batches have left in it. Threads of Python take turns
    anyway. Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Hand what large batches have used back to the system: glibc keeps it, on a machine that has little."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def settle_memory() -> None:
    """Leave what is there for good out of collections of garbage, and collect seldom; for the whole process.

    A page makes some ten thousand objects, a batch of hits a hundred thousand, nearly none of them in a cycle: with the
    defaults their collections walk them, and all modules with them. That is 10 ms of one page in a few, and a twentieth
    of ingest's processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
