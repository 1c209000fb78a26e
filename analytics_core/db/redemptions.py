"""Which conversions redeem which promo codes, and which of them are more than was agreed on."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

from analytics_core.attribution.leaks import Limits
from analytics_core.db.pool import Connection, Tenant

__all__ = ("REDEEMS", "read_limits")

_TIMEOUT_S: Final = 600.0

# A conversion `c` counts for the code `p` that was valid then; within the grace after its end, for the one of its name
# that ended last; and not when its last word is that it was none. Which codes and adjustments are known the statement
# says that this is put into, as `known` and `adjusted`. As `analytics_core.attribution.signals` finds codes.
REDEEMS: Final[LiteralString] = """c.tenant_id = p.tenant_id and c.sponsor_id = p.sponsor_id and c.promo_key = p.code
    and c.occurred_at >= p.valid_from
    and (p.valid_until is null or c.occurred_at < p.valid_until or (
        p.valid_until > p.valid_from and c.occurred_at < p.valid_until + make_interval(hours => 24 * p.grace_days)
        and not exists (
            select from known o
            where o.tenant_id = p.tenant_id and o.sponsor_id = p.sponsor_id and o.code = p.code
                and o.valid_from >= p.valid_until and o.valid_from <= c.occurred_at
                and (o.valid_until is null or o.valid_until > o.valid_from
                    and c.occurred_at < o.valid_until + make_interval(hours => 24 * o.grace_days))
        )
    ))
    and (
        select a.kind from adjusted a
        where a.tenant_id = c.tenant_id and a.conversion_id = c.conversion_id
        order by a.adjusted_at desc, a.adjustment_id desc limit 1
    ) is distinct from 'retract'"""

_LIMITS: Final[LiteralString] = (
    """/* redemptions.limits */
with known as not materialized (
    select * from app.promo_codes where tenant_id = $1 and created_at < coalesce($3::timestamptz, 'infinity')
), adjusted as not materialized (
    select * from app.conversion_adjustments where received_at < coalesce($3, 'infinity')
)
select p.promo_code_id, last.occurred_at, last.conversion_id
from known p cross join lateral (
    select c.occurred_at, c.conversion_id from app.conversions c
    where c.received_at < coalesce($3, 'infinity') and """
    + REDEEMS
    + """
    order by c.occurred_at, c.conversion_id offset p.max_redemptions - 1 limit 1
) last
where p.max_redemptions is not null and ($2::uuid is null or p.sponsor_id = $2)"""
)


async def read_limits(
    conn: Connection, tenant: Tenant, *, sponsor_id: UUID | None, cutoff_at: dt.datetime | None = None
) -> Limits:
    """Read the last redemption within the limit of each code that was redeemed so often.

    Args:
        conn: As ingest, or in a transaction of the tenant.
        tenant: Whose.
        sponsor_id: Codes of this one; ``None`` of all that the transaction sees.
        cutoff_at: As it was known before this instant; ``None`` as it is now.
    """
    rows = await conn.fetch(_LIMITS, tenant.tenant_id, sponsor_id, cutoff_at, timeout=_TIMEOUT_S)
    return Limits({row["promo_code_id"]: (row["occurred_at"], row["conversion_id"]) for row in rows})
