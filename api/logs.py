"""JSON lines on standard error: one a request and one an error, without addresses, tokens or what was asked for."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, TextIO

import msgspec

from analytics_core.errors import Unavailable
from analytics_core.logs import causes_of, frames_of

__all__ = ("RequestLog",)

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class RequestLog:
    """Writes lines to a stream.

    Args:
        stream: Where to, such as ``sys.stderr``.
        level: What is not written: everything below.
    """

    def __init__(self, stream: TextIO, *, level: str = "info") -> None:
        self._stream = stream
        self._level = _LEVELS[level]

    def write(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write one line."""
        if _LEVELS[level] < self._level:
            return
        line = {"at": dt.datetime.now(dt.UTC), "level": level, "service": "api", "event": event, **fields}
        # A reader that went away stops no request.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(msgspec.json.encode(line).decode() + "\n")
            self._stream.flush()

    def error(self, error: BaseException, *, request_id: str | None = None) -> None:
        """Write down an error with its place, its causes and the first line of its text.

        What stands on further lines are the driver's details, which may quote stored values.
        """
        if isinstance(error, Unavailable):
            # Where it was noticed says nothing, and there may be many of them.
            cause_text = str(error.__cause__ or "").partition("\n")[0][:500]
            self.write("error", "unavailable", {"request_id": request_id, "what": str(error), "cause": cause_text})
            return
        self.write("error", "error", {"request_id": request_id, "causes": causes_of(error), "frames": frames_of(error)})
