"""Whoever asks for attribution runs, and whoever computes them, on a real database."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from analytics_core.attribution.parameters import Model, Parameters, parse_models
from analytics_core.clock import FixedClock
from analytics_core.db.attribution_runs import RunRow, add_run, find_run
from analytics_core.db.pool import Pool, Tenant, connection, open_pool, tenant_transaction
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.attribution import RunLimits, attribute_runs
from tests.attributions import START, MadeSponsor, open_operator
from tests.factories import make_tenant

__all__ = ("CHEAP", "END", "LIMITS", "NOW", "ROWS", "Desk", "day", "open_desk")

NOW = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)
END = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
LIMITS = RunLimits()
CHEAP = tuple(model for model in Model if model is not Model.MARKOV)
ROWS = ("attributed_conversions", "attribution_touches", "attribution_credits", "attribution_totals")


def day(number: float) -> dt.datetime:
    """Count days from the first of November."""
    return START + dt.timedelta(days=number)


class Desk(NamedTuple):
    """Whoever asks for runs, and whoever computes them."""

    api: Pool
    ingest: Pool
    tenant: Tenant
    acme: MadeSponsor

    async def ask(
        self,
        models: Sequence[str] = CHEAP,
        *,
        sponsor_id: UUID | None = None,
        starts_at: dt.datetime = START,
        ends_at: dt.datetime = END,
        cutoff_at: dt.datetime = NOW,
        params: Parameters = Parameters(),  # noqa: B008 - frozen
    ) -> RunRow:
        async with tenant_transaction(self.api, self.tenant) as conn:
            return await add_run(
                conn,
                self.tenant,
                sponsor_id=sponsor_id or self.acme.sponsor_id,
                starts_at=starts_at,
                ends_at=ends_at,
                models=parse_models(models),
                params=params,
                cutoff_at=cutoff_at,
                code_version="test",
                now=NOW,
            )

    async def work(self, limits: RunLimits = LIMITS) -> dict[str, int]:
        async with connection(self.ingest) as conn:
            return dict(await attribute_runs(conn, self.ingest, clock=FixedClock(NOW), limits=limits))

    async def run(self, models: Sequence[str] = CHEAP, *, limits: RunLimits = LIMITS, **given: Any) -> RunRow:
        """Ask for a run and have it computed."""
        asked = await self.ask(models, **given)
        assert (await self.work(limits))["ready"] == 1
        return await self.read(asked.run_id)

    async def read(self, run_id: UUID) -> RunRow:
        async with tenant_transaction(self.api, self.tenant) as conn:
            return await find_run(conn, run_id)

    async def rows(self, run: RunRow, table: str) -> list[tuple[Any, ...]]:
        """Read a run's rows of a table, without whose and which run they are, in order."""
        found = await self.acme.operator.fetch(f"select * from app.{table} where run_id = $1", run.run_id)
        return sorted(tuple(row)[2:] for row in found) if found else []

    async def states(self, run: RunRow) -> dict[UUID, tuple[str, str | None]]:
        found = await self.acme.operator.fetch("select * from app.attributed_conversions where run_id = $1", run.run_id)
        return {row["conversion_id"]: (row["status"], row["reason"]) for row in found}

    async def credits(self, run: RunRow, conversion_id: UUID, model: str) -> list[tuple[UUID, int, int | None]]:
        found = await self.acme.operator.fetch(
            """select t.flight_id, c.credit_ppm, c.value_amount
            from app.attribution_credits c join app.attribution_touches t using (run_id, conversion_id, touch_no)
            where c.run_id = $1 and c.conversion_id = $2 and c.model = $3 order by touch_no""",
            run.run_id,
            conversion_id,
            model,
        )
        return [tuple(row) for row in found]

    async def totals(self, run: RunRow, model: str) -> dict[tuple[UUID, str], tuple[int, int, int]]:
        found = await self.acme.operator.fetch(
            "select * from app.attribution_totals where run_id = $1 and model = $2", run.run_id, model
        )
        return {
            (row["flight_id"], row["currency"]): (
                row["conversions_ppm"],
                row["new_customers_ppm"],
                row["value_amount"],
            )
            for row in found
        }


@contextlib.asynccontextmanager
async def open_desk(database: DatabaseSettings) -> AsyncIterator[Desk]:
    """Open a desk of a new tenant with the sponsor Acme."""
    tenant = await make_tenant(database)
    api = await open_pool(database, Role.API, application_name="test", max_size=2)
    ingest = await open_pool(database, Role.INGEST, application_name="test", max_size=6)
    async with open_operator(database) as operator:
        yield Desk(api, ingest, tenant, await MadeSponsor.make(operator, tenant))
    api.terminate()
    ingest.terminate()
