"""An ingest without a process around it: the parts of shipping on a database and a spool of one's own."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from uuid import UUID

from analytics_core.asns import AsnLookup, NoAsns
from analytics_core.clock import FixedClock
from analytics_core.db.pool import Connection, Pool
from analytics_core.geo import CountryLookup, NoCountries
from analytics_core.networks import NetworkLists
from ingest.metrics import Metrics
from ingest.pipeline import Pipeline
from ingest.place_sources import PlaceSources
from ingest.rollups import refresh_rollups
from ingest.secrets import SecretStore
from ingest.shipper import Shipper, UnknownTargets
from ingest.spool_reader import SpoolFolder

__all__ = ("DAY", "NOW", "Ledger", "minute")

NOW = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
DAY = NOW.date()


def minute(number: int) -> dt.datetime:
    """Name a minute of the hour before ``NOW``."""
    return NOW - dt.timedelta(hours=1) + dt.timedelta(minutes=number)


class Ledger:
    """An ingest of one's own on a database and a spool, without a process around it."""

    def __init__(self, pool: Pool, conn: Connection, folder: Path) -> None:
        self.pool = pool
        self.conn = conn
        self.folder = folder
        self.clock = FixedClock(NOW)
        self.metrics = Metrics()
        self.secrets = SecretStore(pool, self.clock)
        self.pipeline = self.make_pipeline()
        self.shipper = self.make_shipper()

    def make_pipeline(
        self,
        networks: NetworkLists | None = None,
        *,
        countries: CountryLookup | None = None,
        asns: AsnLookup | None = None,
    ) -> Pipeline:
        return Pipeline(
            clock=self.clock,
            secrets=self.secrets,
            own_hosts=("pod.example.org",),
            places=PlaceSources(countries or NoCountries(), asns or NoAsns(), networks or NetworkLists()),
            metrics=self.metrics,
        )

    def make_shipper(self, *, batch_hits: int = 100_000, on_unknown: UnknownTargets | None = None) -> Shipper:
        return Shipper(
            SpoolFolder(self.folder),
            self.pipeline,
            clock=self.clock,
            metrics=self.metrics,
            batch_hits=batch_hits,
            on_unknown=on_unknown,
        )

    async def ship_all(self) -> int:
        """Ship until nothing is left; return the hits that landed."""
        landed = 0
        for _ in range(1000):
            shipped = await self.shipper.ship(self.conn)
            landed += shipped.hits
            if shipped.caught_up and not shipped.moved:
                return landed
        raise AssertionError("the shipper never catches up")

    async def hits(self) -> list[tuple[int, ...]]:
        rows = await self.conn.fetch(
            "select segment_no, ordinal, episode_no, verdict, evidence from ts.listener_events order by 1, 2"
        )
        return [tuple(row) for row in rows]

    async def downloads(self) -> list[tuple[object, ...]]:
        rows = await self.conn.fetch(
            "select day, episode_no, listener_key, occurred_at, segment_no, ordinal, evidence from ts.downloads"
            " order by day, episode_no, listener_key"
        )
        return [tuple(row) for row in rows]

    async def refresh(self) -> int:
        """Recompute all rollups that are marked; return the number of days."""
        days = 0
        while count := await refresh_rollups(self.conn):
            days += count
        return days

    async def count(self, table: str) -> int:
        return int(await self.conn.fetchval(f"select count(*) from {table}"))

    async def ending(self, segment_id: UUID | None = None) -> str | None:
        why: str | None = await self.conn.fetchval(
            "select finished_why from ops.segments where $1::uuid is null or segment_id = $1", segment_id
        )
        return why
