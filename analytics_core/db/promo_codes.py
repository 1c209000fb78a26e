"""Promo codes of flights, and how often each was redeemed."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.redemptions import REDEEMS
from analytics_core.db.tracked_flights import TrackedFlight
from analytics_core.errors import Conflict, NotFound
from analytics_core.ids import new_id

__all__ = (
    "MAX_PROMO_CODES",
    "CodeFilter",
    "CodeTerms",
    "PromoCodeRow",
    "add_promo_codes",
    "archive_promo_code",
    "change_promo_code",
    "find_promo_code",
    "hold_promo_code",
    "list_promo_codes",
    "taken_codes",
)

MAX_PROMO_CODES: Final = 100_000
"""Codes a tenant, archived ones not counted."""


class CodeTerms(msgspec.Struct, frozen=True, kw_only=True):
    """When a code counts, and how often it is meant to be redeemed."""

    valid_from: dt.datetime
    valid_until: dt.datetime | None
    grace_days: int
    max_redemptions: int | None


class PromoCodeRow(CodeTerms, frozen=True, kw_only=True):
    """A promo code.

    Attributes:
        redemptions: Conversions with this code that count for it and were not retracted, late ones too.
        late_redemptions: Those of them that came within the grace after its end.
        over_limit_redemptions: Those of them that are more than it is meant to have.
    """

    promo_code_id: UUID
    sponsor_id: UUID
    campaign_id: UUID
    flight_id: UUID
    code: str
    created_at: dt.datetime
    archived_at: dt.datetime | None
    redemptions: int
    late_redemptions: int
    over_limit_redemptions: int


class CodeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which codes are listed: those of all that is given. ``code`` is as it is compared."""

    sponsor_id: UUID | None = None
    campaign_id: UUID | None = None
    flight_id: UUID | None = None
    code: str | None = None


_COUNT: Final[LiteralString] = """/* promo_codes.count */
select count(*) from app.promo_codes where archived_at is null"""

_ADD: Final[LiteralString] = """/* promo_codes.add */
insert into app.promo_codes (tenant_id, promo_code_id, sponsor_id, campaign_id, flight_id, code, valid_from,
    valid_until, grace_days, max_redemptions, created_at)
select $1, n.promo_code_id, $2, $3, $4, n.code, $7, $8, $9, $10, $11
from unnest($5::uuid[], $6::text[]) as n(promo_code_id, code)"""

_TAKEN: Final[LiteralString] = """/* promo_codes.taken */
select code from app.promo_codes where sponsor_id = $1 and code = any($2::text[])"""

_HOLDER: Final[LiteralString] = """/* promo_codes.holder */
select c.code, f.name, f.flight_id from app.promo_codes c join app.flights f using (tenant_id, flight_id)
where c.sponsor_id = $1 and c.code = any($2::text[]) and c.promo_code_id <> all($5::uuid[])
    and tstzrange(c.valid_from, c.valid_until) && tstzrange($3, $4)
order by c.code, c.valid_from limit 1"""

_CHANGE: Final[LiteralString] = """/* promo_codes.change */
update app.promo_codes set valid_from = $2, valid_until = $3, grace_days = $4, max_redemptions = $5
where promo_code_id = $1"""

_ARCHIVE: Final[LiteralString] = """/* promo_codes.archive */
update app.promo_codes set archived_at = $2, valid_until = greatest(valid_from, least(valid_until, $2))
where promo_code_id = $1"""

_HOLD: Final[LiteralString] = """/* promo_codes.hold */
select 1 from app.promo_codes where promo_code_id = $1 for update"""

_COUNTED: Final[LiteralString] = (
    """, known as not materialized (
    table app.promo_codes
), adjusted as not materialized (
    table app.conversion_adjustments
), redeemed as (
    select p.promo_code_id, count(*) as redemptions, count(*) filter (where c.occurred_at >= p.valid_until) as late
    from page p join app.conversions c on """
    + REDEEMS
    + """
    group by 1
)
select p.promo_code_id, p.sponsor_id, p.campaign_id, p.flight_id, p.code, p.valid_from, p.valid_until, p.grace_days,
    p.max_redemptions, p.created_at, p.archived_at, coalesce(r.redemptions, 0) as redemptions,
    coalesce(r.late, 0) as late_redemptions, greatest(r.redemptions - p.max_redemptions, 0) as over_limit_redemptions
from page p left join redeemed r using (promo_code_id)
order by p.created_at, p.promo_code_id"""
)

_FIND: Final[LiteralString] = (
    """/* promo_codes.find */ with page as materialized (
    select * from app.promo_codes where promo_code_id = any($1::uuid[])
)"""
    + _COUNTED
)

_LIST: Final[LiteralString] = (
    """/* promo_codes.list */ with page as materialized (
    select * from app.promo_codes c
    where ($1::timestamptz is null or (c.created_at, c.promo_code_id) > ($1, $2::uuid))
        and ($4::uuid is null or c.sponsor_id = $4) and ($5::uuid is null or c.campaign_id = $5)
        and ($6::uuid is null or c.flight_id = $6) and ($7::text is null or c.code = $7)
    order by c.created_at, c.promo_code_id limit $3
)"""
    + _COUNTED
)


async def _find(conn: Connection, promo_code_ids: Sequence[UUID]) -> list[PromoCodeRow]:
    rows = await conn.fetch(_FIND, list(promo_code_ids))
    return [msgspec.convert(row, PromoCodeRow) for row in rows]


async def taken_codes(conn: Connection, sponsor_id: UUID, codes: Collection[str]) -> set[str]:
    """Tell which of some codes a sponsor has, or had, at any time."""
    return {row["code"] for row in await conn.fetch(_TAKEN, sponsor_id, list(codes))}


async def _taken(
    conn: Connection, sponsor_id: UUID, codes: Sequence[str], terms: CodeTerms, *, own: Sequence[UUID] = ()
) -> Conflict:
    held = await conn.fetchrow(_HOLDER, sponsor_id, list(codes), terms.valid_from, terms.valid_until, list(own))
    if held is None:
        return Conflict("promo_code_taken", "another request has just taken this code; try again")
    return Conflict(
        "promo_code_taken",
        f"the code {held['code']} is that of the flight {held['name']!r} ({held['flight_id']}) in this time: archive "
        "it there, choose another time, or choose another code",
    )


async def add_promo_codes(
    conn: Connection,
    tenant: Tenant,
    flight: TrackedFlight,
    codes: Sequence[str],
    terms: CodeTerms,
    *,
    now: dt.datetime,
) -> list[PromoCodeRow]:
    """Give a flight codes: all of them, or none.

    Args:
        conn: In a transaction of the tenant.
        tenant: Whose they are.
        flight: Held by :func:`analytics_core.db.tracked_flights.hold_flight`.
        codes: As :func:`analytics_core.promo_codes.parse_code` writes them, each another.
        terms: When they count.
        now: Aware instant.

    Raises:
        Conflict: ``promo_code_taken``: the sponsor has one of them in this time; or ``too_many_promo_codes``.
    """
    if await conn.fetchval(_COUNT) + len(codes) > MAX_PROMO_CODES:
        raise Conflict(
            "too_many_promo_codes",
            f"a tenant has at most {MAX_PROMO_CODES} promo codes that are not archived; archive those that are over",
        )
    made = [new_id() for _ in codes]
    try:
        async with conn.transaction():
            await conn.execute(
                _ADD,
                tenant.tenant_id,
                flight.sponsor_id,
                flight.campaign_id,
                flight.flight_id,
                made,
                list(codes),
                terms.valid_from,
                terms.valid_until,
                terms.grace_days,
                terms.max_redemptions,
                now,
            )
    except asyncpg.ExclusionViolationError as error:
        raise await _taken(conn, flight.sponsor_id, codes, terms) from error
    return await _find(conn, made)


async def find_promo_code(conn: Connection, promo_code_id: UUID) -> PromoCodeRow:
    """Read one code that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    for row in await _find(conn, [promo_code_id]):
        return row
    raise NotFound("promo code")


async def hold_promo_code(conn: Connection, promo_code_id: UUID) -> PromoCodeRow:
    """Read a code that nobody else changes until the transaction ends.

    Raises:
        NotFound: The tenant has none of this id.
    """
    await conn.execute(_HOLD, promo_code_id)
    return await find_promo_code(conn, promo_code_id)


async def list_promo_codes(
    conn: Connection, wanted: CodeFilter, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[PromoCodeRow]:
    """List the codes that the transaction sees in the order in which they were made, archived ones too."""
    at, promo_code_id = after if after is not None else (None, None)
    rows = await conn.fetch(
        _LIST,
        at,
        promo_code_id,
        limit,
        wanted.sponsor_id,
        wanted.campaign_id,
        wanted.flight_id,
        wanted.code,
    )
    return [msgspec.convert(row, PromoCodeRow) for row in rows]


async def change_promo_code(conn: Connection, held: PromoCodeRow, terms: CodeTerms) -> PromoCodeRow:
    """Have a code count at another time, or more often.

    Args:
        conn: In a transaction of the tenant.
        held: As :func:`hold_promo_code` read it.
        terms: All of them, also those that stay.

    Raises:
        Conflict: ``promo_code_archived``, or ``promo_code_taken``: the sponsor has another of this name in that time.
    """
    if held.archived_at is not None:
        raise Conflict("promo_code_archived", "this code is archived: what was said of it stays")
    try:
        async with conn.transaction():
            await conn.execute(
                _CHANGE,
                held.promo_code_id,
                terms.valid_from,
                terms.valid_until,
                terms.grace_days,
                terms.max_redemptions,
            )
    except asyncpg.ExclusionViolationError as error:
        raise await _taken(conn, held.sponsor_id, [held.code], terms, own=[held.promo_code_id]) from error
    return await find_promo_code(conn, held.promo_code_id)


async def archive_promo_code(conn: Connection, held: PromoCodeRow, *, now: dt.datetime) -> PromoCodeRow:
    """End a code now, if it has not ended before; one that has not begun was never valid then. Twice is as once."""
    if held.archived_at is not None:
        return held
    await conn.execute(_ARCHIVE, held.promo_code_id, now)
    return await find_promo_code(conn, held.promo_code_id)
