"""How far an export or an import is: a line on a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys

__all__ = ("Progress",)

_EVERY_ROWS = 50_000


class Progress:
    """Tells a person what is being done."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._rows = 0
        self._said = 0

    def add(self, what: str, rows: int) -> None:
        """Note that rows of *what* were done."""
        self._rows += rows
        if self._is_terminal and self._rows >= self._said + _EVERY_ROWS:
            self._said = self._rows
            sys.stderr.write(f"\r\x1b[Kcastledger: {what}, {self._rows:,} rows")
            sys.stderr.flush()

    def close(self) -> None:
        """Leave the line to whatever is written next."""
        if self._is_terminal and self._said:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
