"""Logs as lines of JSON, without addresses, tokens or mail addresses: what services write to standard error."""

from __future__ import annotations

import datetime as dt
import logging
import traceback
from typing import Final, TextIO

import msgspec

__all__ = ("JsonFormatter", "causes_of", "frames_of", "write_json_logs")

_MAX_CAUSES: Final = 5
_MAX_FRAMES: Final = 20
_MAX_TEXT: Final = 500


def causes_of(error: BaseException) -> list[dict[str, str]]:
    """List an error and its causes, each with the first line of its text.

    What stands on further lines are the driver's details, which may quote stored values.
    """
    causes: list[dict[str, str]] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < _MAX_CAUSES:
        text = str(cause).splitlines()
        causes.append({"type": type(cause).__qualname__, "text": text[0][:_MAX_TEXT] if text else ""})
        cause = cause.__cause__ or cause.__context__
    return causes


def frames_of(error: BaseException) -> list[str]:
    """List the places that an error came through, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-_MAX_FRAMES:]]


class JsonFormatter(logging.Formatter):
    """Writes records of the standard library's logging as the API writes its own lines.

    >>> record = logging.LogRecord("castledger.ingest", logging.INFO, "", 0, "%d claims were settled", (2,), None)
    >>> line = JsonFormatter("ingest").format(record)
    >>> line[line.index('"level"'):]
    '"level":"info","service":"ingest","event":"log","logger":"castledger.ingest","text":"2 claims were settled"}'

    Args:
        service: Who writes.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        line: dict[str, object] = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC),
            "level": record.levelname.lower(),
            "service": self._service,
            "event": "log",
            "logger": record.name,
            "text": record.getMessage(),
        }
        if record.exc_info is not None and record.exc_info[1] is not None:
            line["event"] = "error"
            line["causes"] = causes_of(record.exc_info[1])
            line["frames"] = frames_of(record.exc_info[1])
        return msgspec.json.encode(line).decode()


def write_json_logs(service: str, *, level: str, stream: TextIO) -> None:
    """Have everything that a process logs written to a stream, a line each.

    Args:
        service: Who writes.
        level: What is not written: everything below.
        stream: Where to, such as ``sys.stderr``.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler])
