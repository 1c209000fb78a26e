"""Silence: a tracker that should be heard of and is not, told once when it begins and once when it is over."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Final

from analytics_core.db.pool import Connection
from analytics_core.db.segments import list_silent
from ingest.metrics import Metrics

__all__ = ("SILENT_AFTER", "SilenceWatch")

SILENT_AFTER: Final = dt.timedelta(minutes=3)
"""A tracker that lives writes a frame a minute, whether it has hits or not."""

_log = logging.getLogger("castledger.ingest.silence")


class SilenceWatch:
    """Knows which trackers are silent.

    Args:
        metrics: Takes a gauge a tracker.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._since: dict[str, dt.datetime] = {}

    async def look(self, conn: Connection) -> str | None:
        """Look for silent trackers.

        Args:
            conn: As ingest.

        Returns:
            Which ones are, for people; ``None`` when none is.
        """
        silent = {one.source: one.last_frame_at for one in await list_silent(conn, after=SILENT_AFTER)}
        for source in sorted(silent.keys() - self._since.keys()):
            _log.error("nothing is heard of %s since %s, though it did not stop", source, _clock(silent[source]))
            self._metrics.silent.labels(source).set(1)
        for source in sorted(self._since.keys() - silent.keys()):
            _log.info("%s is no longer silent", source)
            self._metrics.silent.labels(source).set(0)
        self._since = silent
        if not silent:
            return None
        return "; ".join(f"{source} is silent since {_clock(at)}" for source, at in sorted(silent.items()))


def _clock(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
