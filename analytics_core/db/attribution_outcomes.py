"""What a run made of each conversion, and what each model gave to its campaigns: all of a run at once, as the API."""

from __future__ import annotations

from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection

__all__ = ("OutcomeRow", "ShareRow", "list_outcomes", "list_shares")

_OUTCOMES: Final[LiteralString] = """/* attribution.outcomes */
select c.external_id, a.status, a.value_amount, a.campaign_id, a.signal, a.is_late_code, a.leak
from app.attributed_conversions a join app.conversions c using (tenant_id, conversion_id)
where a.run_id = $1
order by a.occurred_at, a.conversion_id"""

_SHARES: Final[LiteralString] = """/* attribution.shares */
select c.external_id, p.model, t.campaign_id, sum(p.credit_ppm)::bigint as credit_ppm
from app.attribution_credits p
join app.attribution_touches t using (tenant_id, run_id, conversion_id, touch_no)
join app.conversions c using (tenant_id, conversion_id)
where p.run_id = $1
group by c.external_id, p.model, t.campaign_id
order by c.external_id, p.model, t.campaign_id"""


class OutcomeRow(msgspec.Struct, frozen=True):
    """What a run made of a conversion; campaign and signal are those of the deterministic answer."""

    external_id: str
    status: str
    value_amount: int | None
    campaign_id: UUID | None
    signal: str | None
    is_late_code: bool
    leak: str | None


class ShareRow(msgspec.Struct, frozen=True):
    """What a model gave to a campaign of a conversion."""

    external_id: str
    model: str
    campaign_id: UUID
    credit_ppm: int


async def list_outcomes(conn: Connection, run_id: UUID) -> list[OutcomeRow]:
    """List what a run made of its conversions, in order of time."""
    return msgspec.convert(await conn.fetch(_OUTCOMES, run_id), list[OutcomeRow])


async def list_shares(conn: Connection, run_id: UUID) -> list[ShareRow]:
    """List what every model gave to every campaign, conversion by conversion."""
    return msgspec.convert(await conn.fetch(_SHARES, run_id), list[ShareRow])
