"""Quotas of tenants, and what is used of them.

The database counts by triggers, in the transaction that makes or takes away what is counted, and refuses there what
would be one too many: :class:`analytics_core.errors.QuotaExceeded`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection
from analytics_core.quotas import Metric, Period, Quota

__all__ = ("Usage", "read_usage", "set_quotas")


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is of something, and how much there may be.

    Attributes:
        limit: ``None`` for as much as one likes.
        used: How many there are, or were made since the period began.
        resets_at: When the period ends; ``None`` for the total.
    """

    metric: Metric
    period: Period
    limit: int | None
    used: int
    resets_at: dt.datetime | None


_READ: Final[LiteralString] = """/* quotas.read */
select m.metric, p.period, q.limit_value as limit,
    coalesce(case when c.starts_on >= p.starts_on then c.used end, 0) as used, p.resets_at
from unnest($2::text[]) m(metric) cross join (values
    ('day', $3::date, ($3::date + 1)::timestamp at time zone 'UTC'),
    ('month', date_trunc('month', $3::date::timestamp)::date,
        (date_trunc('month', $3::date::timestamp) + interval '1 month') at time zone 'UTC'),
    ('total', date '2000-01-01', null)
) p(period, starts_on, resets_at)
left join app.tenant_quotas q on q.tenant_id = $1 and q.metric = m.metric and q.period = p.period
left join app.usage_counters c on c.tenant_id = $1 and c.metric = m.metric and c.period = p.period
order by m.metric, p.period"""

_CLEAR: Final[LiteralString] = """/* quotas.clear */ delete from app.tenant_quotas where tenant_id = $1"""

_SET: Final[LiteralString] = """/* quotas.set */
insert into app.tenant_quotas (tenant_id, metric, period, limit_value, updated_at, updated_by)
values ($1, $2, $3, $4, $5, $6)"""


async def read_usage(conn: Connection, tenant_id: UUID, *, now: dt.datetime) -> list[Usage]:
    """Read what a tenant that the transaction may see uses of everything that is counted.

    Args:
        conn: As the API, in a transaction of the tenant or of the installation's own.
        tenant_id: Whose.
        now: Aware instant, whose UTC day and month are meant.
    """
    rows = await conn.fetch(_READ, tenant_id, [*Metric], now.astimezone(dt.UTC).date())
    return [msgspec.convert(row, Usage) for row in rows]


async def set_quotas(conn: Connection, tenant_id: UUID, quotas: Sequence[Quota], *, now: dt.datetime, by: str) -> None:
    """Set a tenant's quotas in place of those that it had; what is not named is without limit.

    What there is already stays, also where it is more than that.

    Args:
        conn: As the API, in a transaction of the installation's own.
        tenant_id: Whose.
        quotas: At most one for a metric and period.
        now: Aware instant.
        by: Who does it.
    """
    await conn.execute(_CLEAR, tenant_id)
    for quota in quotas:
        await conn.execute(_SET, tenant_id, quota.metric.value, quota.period.value, quota.limit, now, by)
