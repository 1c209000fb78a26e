"""How far the demo is, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Final

from castledger_server.commands import say
from castledger_server.demo.report import choose_ink, write_progress

__all__ = ("Progress",)

_DRAW_S: Final = 0.1


class Progress:
    """Draws on standard error how far it is, where that is a terminal; else says once what is going on.

    Args:
        total: How many requests there are.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._is_terminal = sys.stderr.isatty()
        self._ink = choose_ink(sys.stderr.encoding)
        self._drawn_s = 0.0

    def __enter__(self) -> Callable[[int], None]:
        """Begin to draw."""
        if not self._is_terminal:
            say(f"playing {self._total:,} requests")
        self._draw(0)
        return self._draw

    def __exit__(self, *_: object) -> None:
        """End the line."""
        if self._is_terminal:
            sys.stderr.write("\n")

    def _draw(self, done: int) -> None:
        now_s = time.monotonic()
        if self._is_terminal and (done == self._total or now_s - self._drawn_s >= _DRAW_S):
            self._drawn_s = now_s
            sys.stderr.write(f"\r{write_progress(done, self._total, ink=self._ink)}")
            sys.stderr.flush()
