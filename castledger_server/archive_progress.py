"""How far an export or an import is: a line on a terminal, and nothing elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

__all__ = ("Progress",)

_EVERY_ROWS = 50_000


class Progress:
    """Tells a person what is being done.

    Args:
        stream: Where; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = self._stream.isatty()
        self._rows = 0
        self._said = 0

    def add(self, what: str, rows: int) -> None:
        """Note that rows of *what* were done."""
        self._rows += rows
        if self._is_terminal and self._rows >= self._said + _EVERY_ROWS:
            self._said = self._rows
            self._stream.write(f"\r\x1b[Kcastledger: {what}, {self._rows:,} rows")
            self._stream.flush()

    def close(self) -> None:
        """Leave the line to whatever is written next."""
        if self._is_terminal and self._said:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
