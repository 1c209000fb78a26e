"""A shipper of events without a process around it."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

from analytics_core.accounts import difference
from analytics_core.db.ledger import read_accounts
from analytics_core.db.pool import Connection
from analytics_core.spool import FrameKind
from ingest.dictionaries import AgentNumbers
from ingest.events.shipper import EventShipper
from ingest.spool_reader import SpoolFolder
from tests.ledgers import NOW, Ledger

__all__ = ("Events",)

_DAY = dt.timedelta(days=1)


class Events:
    """A shipper of events of one's own on a database and a spool."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.folder = ledger.folder.with_name("events")
        self.shipper = self.make_shipper()

    def make_shipper(self, *, batch_events: int = 5_000) -> EventShipper:
        return EventShipper(
            SpoolFolder(self.folder, kind=FrameKind.EVENTS),
            agents=AgentNumbers(self.ledger.clock),
            places=lambda: self.ledger.pipeline.places,
            clock=self.ledger.clock,
            metrics=self.ledger.metrics,
            batch_events=batch_events,
        )

    async def ship_all(self, *, shipper: EventShipper | None = None, conn: Connection | None = None) -> int:
        """Ship until nothing is left; return the events that were read."""
        read = 0
        for _ in range(1000):
            shipped = await (shipper or self.shipper).ship(conn or self.ledger.conn)
            read += shipped.hits
            if shipped.caught_up and not shipped.moved:
                return read
        raise AssertionError("the shipper never catches up")

    async def rows(self) -> list[dict[str, Any]]:
        rows = await self.ledger.conn.fetch(
            "select * from ts.attribution_events order by tenant_no, occurred_at, event_id"
        )
        return [dict(row) for row in rows]

    async def ids(self) -> set[UUID]:
        return {UUID(int=row["event_id"].int) for row in await self.rows()}

    async def accounts(self) -> dict[str, int]:
        """What became of everything, of all times; it balances."""
        start, end = NOW - 3 * 365 * _DAY, NOW + _DAY
        accounts = {what: n for what, n in (await read_accounts(self.ledger.conn, start=start, end=end)).items() if n}
        assert difference(accounts) == 0
        return accounts
