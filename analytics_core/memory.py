"""What a service does with its memory once it has started."""

from __future__ import annotations

import gc

__all__ = ("settle_memory",)


def settle_memory() -> None:
    """Leave what is there for good out of collections of garbage, and collect seldom; for the whole process.

    A page makes some ten thousand objects, a batch of hits a hundred thousand, nearly none of them in a cycle: with the
    defaults their collections walk them, and all modules with them. That is 10 ms of one page in a few, and a twentieth
    of ingest's processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
