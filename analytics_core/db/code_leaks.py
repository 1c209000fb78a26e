"""Redemptions of promo codes, and which of them may have leaked, as they stand now."""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.redemptions import read_limits

__all__ = ("MAX_GROUPS", "RedeemedCode", "list_redeemed")

MAX_GROUPS: Final = 50_000
"""Codes by the sites that their redeemers came from; what is redeemed least is left out."""

_TIMEOUT_S: Final = 30.0


class RedeemedCode(msgspec.Struct, frozen=True):
    """Redemptions of one code by those who came from one site.

    Attributes:
        code: As it is compared.
        promo_code_id: ``None`` of a code that the sponsor does not have, or that was not valid; with it *campaign_id*
            and *flight_id* are.
        referrer_host: ``None`` where it is not known.
        is_late: Whether the code was over, and within its grace.
        is_exposed: Whether an episode with the flight was downloaded in the window before.
        is_over_limit: Whether the code had been redeemed before as often as was agreed on.
        redemptions: How many.
    """

    sponsor_id: UUID
    code: str
    promo_code_id: UUID | None
    campaign_id: UUID | None
    flight_id: UUID | None
    referrer_host: str | None
    is_late: bool
    is_exposed: bool
    is_over_limit: bool
    redemptions: int


# Codes as `analytics_core.promo_codes` judges them, exposures and limits as `analytics_core.attribution.leaks`: a test
# holds both to one another. A conversion whose last word is that it was none is no redemption.
_REDEEMED: Final[LiteralString] = """/* code_leaks.list */
with redeemed as (
    select c.tenant_id, c.sponsor_id, c.conversion_id, c.occurred_at, c.referrer_host, c.promo_key as code
    from app.conversions c
    where ($1::uuid is null or c.sponsor_id = $1) and c.occurred_at >= $2 and c.occurred_at < $3
        and c.promo_key is not null
        and (
            select a.kind from app.conversion_adjustments a
            where a.tenant_id = c.tenant_id and a.conversion_id = c.conversion_id
            order by a.adjusted_at desc, a.adjustment_id desc limit 1
        ) is distinct from 'retract'
), judged as (
    select r.sponsor_id, r.code, p.promo_code_id, p.campaign_id, p.flight_id, r.referrer_host,
        coalesce(p.is_late, false) as is_late,
        exists (
            select from app.placement_daily d
            where d.tenant_id = r.tenant_id and d.campaign_id = p.campaign_id and d.flight_id = p.flight_id
                and d.day >= ((r.occurred_at - p.window_length) at time zone 'UTC')::date
                and d.day <= (r.occurred_at at time zone 'UTC')::date
        ) as is_exposed,
        coalesce((r.occurred_at, r.conversion_id) > (w.occurred_at, w.conversion_id), false) as is_over_limit
    from redeemed r left join lateral (
        select o.promo_code_id, o.campaign_id, o.flight_id, o.valid_until <= r.occurred_at as is_late,
            make_interval(hours => 24 * coalesce(f.window_days, g.window_days)) as window_length
        from app.promo_codes o join app.flights f using (tenant_id, flight_id)
            join app.campaigns g on g.tenant_id = o.tenant_id and g.campaign_id = o.campaign_id
        where o.tenant_id = r.tenant_id and o.sponsor_id = r.sponsor_id and o.code = r.code
            and o.valid_from <= r.occurred_at
            and (o.valid_until is null or o.valid_until > o.valid_from
                and r.occurred_at < o.valid_until + make_interval(hours => 24 * o.grace_days))
        order by o.valid_from desc, o.promo_code_id desc limit 1
    ) p on true left join unnest($4::uuid[], $5::timestamptz[], $6::uuid[])
        as w(promo_code_id, occurred_at, conversion_id) on w.promo_code_id = p.promo_code_id
)
select sponsor_id, code, promo_code_id, campaign_id, flight_id, referrer_host, is_late, is_exposed,
    is_over_limit, count(*) as redemptions
from judged group by 1, 2, 3, 4, 5, 6, 7, 8, 9
order by redemptions desc, sponsor_id, code, promo_code_id, referrer_host, is_late, is_exposed, is_over_limit
limit $7"""


async def list_redeemed(
    conn: Connection, tenant: Tenant, *, sponsor_id: UUID | None, starts_at: dt.datetime, ends_at: dt.datetime
) -> list[RedeemedCode]:
    """List how often codes were redeemed, the most often first.

    Args:
        conn: In a transaction of the tenant, which sees one instant.
        tenant: Whose.
        sponsor_id: Of which sponsor; ``None`` for all that the transaction sees.
        starts_at: From this instant,
        ends_at: to before this one.
    """
    limits = (await read_limits(conn, tenant, sponsor_id=sponsor_id)).last
    rows = await conn.fetch(
        _REDEEMED,
        sponsor_id,
        starts_at,
        ends_at,
        list(limits),
        [at for at, _ in limits.values()],
        [conversion_id for _, conversion_id in limits.values()],
        MAX_GROUPS,
        timeout=_TIMEOUT_S,
    )
    return [msgspec.convert(row, RedeemedCode) for row in rows]
