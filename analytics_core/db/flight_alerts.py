"""What is remembered of flights that are behind, and whom of a tenant to tell of them."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.flight_alerts import FlightAlert
from analytics_core.ids import TenantId, TenantNo

__all__ = (
    "WatchedTenant",
    "count_flights_at_risk",
    "list_alert_recipients",
    "list_watched_flights",
    "list_watched_tenants",
    "lock_alerts",
    "read_alerts",
    "read_last_told",
    "save_alert",
)

_MAX_FLIGHTS: Final = 5_000
_MAX_RECIPIENTS: Final = 1_000
# A flight that was over long ago when somebody first looked is no news.
_LAST_WORD_WITHIN: Final = dt.timedelta(days=7)


class WatchedTenant(msgspec.Struct, frozen=True):
    """A tenant with flights that somebody may have to be told of."""

    tenant_id: TenantId
    tenant_no: TenantNo
    name: str

    @property
    def tenant(self) -> Tenant:
        """The tenant as a transaction names it."""
        return Tenant(self.tenant_id, self.tenant_no)


# Those that are behind by what is remembered, and those that lag behind an even delivery and are not over for long.
# Whether they are behind is told by how they stand; of the others nobody has to work it out.
_WATCHED: Final[LiteralString] = """
from app.flights f
left join app.flight_alerts a on a.tenant_id = f.tenant_id and a.flight_id = f.flight_id
where a.behind_since is not null or (
    f.status in ('active', 'completed') and f.booked_impressions is not null and a.last_word_at is null
    and f.starts_at < $1 and f.ends_at + f.measurement_days * interval '1 day' > $1 - $2::interval
    and f.booked_impressions * extract(epoch from least($1, f.ends_at) - f.starts_at)::numeric
        > extract(epoch from f.ends_at - f.starts_at)::numeric * (
            select coalesce(sum(d.downloads), 0) from app.placement_daily d
            where d.tenant_id = f.tenant_id and d.campaign_id = f.campaign_id and d.flight_id = f.flight_id)
)"""

_TENANTS: Final[LiteralString] = (
    """/* flight_alerts.tenants */
select tenant_id, tenant_no, name from app.tenants
where status = 'active' and tenant_id in (select f.tenant_id"""
    + _WATCHED
    + ") order by tenant_no"
)

# Those that end first are those that something can least be done about later.
_FLIGHTS: Final[LiteralString] = (
    "/* flight_alerts.flights */ select w.flight_id from (select f.tenant_id, f.flight_id, f.ends_at"
    + _WATCHED
    + ") w where w.tenant_id = $3 order by w.ends_at, w.flight_id limit $4"
)

_LOCK: Final[LiteralString] = """/* flight_alerts.lock */
select pg_advisory_xact_lock(hashtext('castledger.flight_alerts'), $1)"""

_READ: Final[LiteralString] = """/* flight_alerts.read */
select flight_id, behind_since, told_at, last_word_at from app.flight_alerts
where tenant_id = $1 and flight_id = any($2::uuid[])"""

_LAST_TOLD: Final[LiteralString] = """/* flight_alerts.last_told */
select max(told_at) from app.flight_alerts where tenant_id = $1"""

_AT_RISK: Final[LiteralString] = """/* flight_alerts.at_risk */
select count(*) from app.flight_alerts where behind_since is not null"""

_SAVE: Final[LiteralString] = """/* flight_alerts.save */
insert into app.flight_alerts (tenant_id, flight_id, behind_since, told_at, last_word_at) values ($1, $2, $3, $4, $5)
on conflict (tenant_id, flight_id) do update set behind_since = excluded.behind_since, told_at = excluded.told_at,
    last_word_at = excluded.last_word_at"""

_RECIPIENTS: Final[LiteralString] = """/* flight_alerts.recipients */
select email from app.list_delivery_recipients($1) as email"""


async def count_flights_at_risk(conn: Connection) -> int:
    """Count the flights of all tenants that are behind by what is remembered; as ingest."""
    return int(await conn.fetchval(_AT_RISK))


async def list_watched_tenants(conn: Connection, *, at: dt.datetime) -> list[WatchedTenant]:
    """List the tenants at work with flights that somebody may have to be told of; as ingest.

    Args:
        conn: As ingest.
        at: Until when flights were to have delivered.
    """
    return [msgspec.convert(row, WatchedTenant) for row in await conn.fetch(_TENANTS, at, _LAST_WORD_WITHIN)]


async def list_watched_flights(conn: Connection, tenant_id: TenantId, *, at: dt.datetime) -> list[UUID]:
    """List those flights of a tenant, those first that end first; as ingest."""
    rows = await conn.fetch(_FLIGHTS, at, _LAST_WORD_WITHIN, tenant_id, _MAX_FLIGHTS)
    return [row["flight_id"] for row in rows]


async def lock_alerts(conn: Connection, tenant: Tenant) -> None:
    """Have nobody else look at a tenant's flights until the transaction ends."""
    await conn.execute(_LOCK, tenant.tenant_no)


async def read_alerts(conn: Connection, tenant_id: TenantId, flight_ids: Collection[UUID]) -> dict[UUID, FlightAlert]:
    """Read what is remembered of some flights, in a transaction of the tenant; one without anything is not there.

    Whoever is held to sponsors sees nothing of it.
    """
    return {
        row["flight_id"]: FlightAlert(
            behind_since=row["behind_since"], told_at=row["told_at"], last_word_at=row["last_word_at"]
        )
        for row in await conn.fetch(_READ, tenant_id, list(flight_ids))
    }


async def read_last_told(conn: Connection, tenant_id: TenantId) -> dt.datetime | None:
    """Tell when a tenant's people were last told of a flight."""
    told_at: dt.datetime | None = await conn.fetchval(_LAST_TOLD, tenant_id)
    return told_at


async def save_alert(conn: Connection, tenant_id: TenantId, flight_id: UUID, alert: FlightAlert) -> None:
    """Remember something of a flight; as ingest."""
    await conn.execute(_SAVE, tenant_id, flight_id, alert.behind_since, alert.told_at, alert.last_word_at)


async def list_alert_recipients(conn: Connection) -> list[str]:
    """List the addresses of owners, admins and sales who want to hear of flights, in a transaction of their tenant."""
    return [row["email"] for row in await conn.fetch(_RECIPIENTS, _MAX_RECIPIENTS)]
