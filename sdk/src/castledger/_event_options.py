"""How events are delivered: read once, and checked at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from castledger._errors import ConfigurationError
from castledger._options import Options, read_url

__all__ = ("EventOptions",)

_DEFAULT_URL: Final = "http://127.0.0.1:8001"
_MAX_QUEUE: Final = 10_000_000
# What the collector takes in one request.
_MAX_BATCH: Final = 500
_LONGEST_INTERVAL_S: Final = 3600.0
_MAX_SPOOL_MB: Final = 1_000_000


def _whole_number(name: str, value: object, *, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ConfigurationError(f"{name}: is a whole number from 1 to {most}")
    return value


class EventOptions:
    """How events are delivered; a plain class, so that no pretty-printer shows the key in the headers.

    Args:
        options: Whose key and timeout are used.
        collector_url: ``None`` for ``CASTLEDGER_COLLECTOR_URL``, else this machine's port 8001.
        queue_size: Events that wait in memory at most.
        batch_size: Events of a request at most, up to 500.
        flush_interval: Seconds that an event waits at most for others, above 0, up to an hour.
        spool_dir: A folder for events until they are sent; made when it is not there.
        spool_mb: What files there hold at most, all processes together.
        is_strict: Whether ``track`` raises what it refuses.
        is_enabled: Whether anything is done at all.
        environ: The process's own when ``None``.

    Raises:
        ConfigurationError: Names the option.
    """

    def __init__(
        self,
        options: Options,
        *,
        collector_url: str | None = None,
        queue_size: int = 10_000,
        batch_size: int = 100,
        flush_interval: float = 2.0,
        spool_dir: str | os.PathLike[str] | None = None,
        spool_mb: int = 64,
        is_strict: bool = False,
        is_enabled: bool = True,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.collector_url = read_url(
            "collector_url", collector_url, "CASTLEDGER_COLLECTOR_URL", _DEFAULT_URL, environ=environ
        )
        self.api_key = options.api_key
        self.headers = options.headers()
        self.timeout = options.timeout
        self.queue_size = _whole_number("queue_size", queue_size, most=_MAX_QUEUE)
        self.batch_size = min(_whole_number("batch_size", batch_size, most=_MAX_BATCH), self.queue_size)
        # Written so that it refuses NaN.
        if not 0 < flush_interval <= _LONGEST_INTERVAL_S:
            raise ConfigurationError(
                f"flush_interval: is a number of seconds above 0, at most {_LONGEST_INTERVAL_S:.0f}"
            )
        self.flush_interval = flush_interval
        self.spool_dir = None if spool_dir is None else Path(spool_dir)
        self.spool_bytes = _whole_number("spool_mb", spool_mb, most=_MAX_SPOOL_MB) * 1024 * 1024
        self.is_strict = is_strict
        self.is_enabled = is_enabled

    def __repr__(self) -> str:
        return f"EventOptions(collector_url={self.collector_url!r})"
