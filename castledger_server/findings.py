"""What ``castledger doctor`` says of one thing that it looked at."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = ("Finding", "Level")


class Level(enum.Enum):
    """How bad it is; any ``FAIL`` makes the command end with 1."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One thing that was looked at; the text of a bad one holds the remedy."""

    level: Level
    what: str
    text: str

    def __str__(self) -> str:
        return f"{self.level.value:<5}{self.what}: {self.text}"
