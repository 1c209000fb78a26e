"""JSON lines on standard error: one a request and one an error, without addresses, tokens or what was asked for."""

from __future__ import annotations

import contextlib
import datetime as dt
import traceback
from collections.abc import Mapping
from typing import Any, Final, TextIO

import msgspec

from analytics_core.errors import Unavailable

__all__ = ("RequestLog",)

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_MAX_FRAMES: Final = 20


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
        causes: list[dict[str, str]] = []
        cause: BaseException | None = error
        while cause is not None and len(causes) < 5:
            text = str(cause).splitlines()
            causes.append({"type": type(cause).__qualname__, "text": text[0][:500] if text else ""})
            cause = cause.__cause__ or cause.__context__
        frames = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        self.write("error", "error", {"request_id": request_id, "causes": causes, "frames": frames[-_MAX_FRAMES:]})
