"""Answers to the question where somebody heard of a sponsor, each of which stands for a flight."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.conversions import answer_key
from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict, NotFound
from analytics_core.ids import new_id

__all__ = ("MAX_OPTIONS", "OptionRow", "add_option", "archive_option", "list_options")

MAX_OPTIONS: Final = 100
"""Options a flight, archived ones not counted."""


class OptionRow(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that stands for a flight."""

    survey_option_id: UUID
    sponsor_id: UUID
    campaign_id: UUID
    flight_id: UUID
    answer: str
    created_at: dt.datetime
    archived_at: dt.datetime | None


_COLUMNS: Final[LiteralString] = """o.survey_option_id, o.sponsor_id, o.campaign_id, o.flight_id, o.answer,
    o.created_at, o.archived_at"""

# A merge of sponsors changes whose it is, and is waited for.
_FLIGHT: Final[LiteralString] = """/* survey_options.flight */
select 1 from app.flights where flight_id = $1 for share"""

_SEES: Final[LiteralString] = """/* survey_options.sees_flight */ select 1 from app.flights where flight_id = $1"""

_COUNT: Final[LiteralString] = """/* survey_options.count */
select count(*) from app.survey_options where flight_id = $1 and archived_at is null"""

_ADD: Final[LiteralString] = (
    """/* survey_options.add */
with o as (
    insert into app.survey_options
        (tenant_id, survey_option_id, sponsor_id, campaign_id, flight_id, answer, answer_key, created_at)
    select f.tenant_id, $2, f.sponsor_id, f.campaign_id, f.flight_id, $3, $4, $5 from app.flights f
    where f.tenant_id = $6 and f.flight_id = $1 returning *
)
select """
    + _COLUMNS
    + " from o"
)

_LIST: Final[LiteralString] = (
    "/* survey_options.list */ select "
    + _COLUMNS
    + """ from app.survey_options o
where o.flight_id = $1 and ($2::timestamptz is null or (o.created_at, o.survey_option_id) > ($2, $3::uuid))
order by o.created_at, o.survey_option_id limit $4"""
)

_ARCHIVE: Final[LiteralString] = """/* survey_options.archive */
update app.survey_options set archived_at = coalesce(archived_at, $2) where survey_option_id = $1 returning 1"""


async def add_option(conn: Connection, tenant: Tenant, flight_id: UUID, answer: str, *, now: dt.datetime) -> OptionRow:
    """Have an answer stand for a flight.

    Args:
        conn: In a transaction of the tenant.
        tenant: Whose it is.
        flight_id: Which flight.
        answer: As it is shown; compared without regard to case and forms of letters.
        now: Aware instant.

    Raises:
        NotFound: The tenant has no such flight.
        Conflict: ``answer_taken``: it stands for a flight of this sponsor already; ``too_many_options``.
    """
    if await conn.fetchval(_FLIGHT, flight_id) is None:
        raise NotFound("flight")
    if await conn.fetchval(_COUNT, flight_id) >= MAX_OPTIONS:
        raise Conflict("too_many_options", f"the flight has {MAX_OPTIONS} answers already; delete some")
    try:
        row = await conn.fetchrow(_ADD, flight_id, new_id(), answer, answer_key(answer), now, tenant.tenant_id)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "survey_options_answer":
            raise
        raise Conflict(
            "answer_taken",
            f"{answer!r} stands for a flight of this sponsor already: delete it there, or word this one otherwise",
        ) from error
    return msgspec.convert(row, OptionRow)


async def list_options(
    conn: Connection, flight_id: UUID, *, after: tuple[dt.datetime, UUID] | None, limit: int
) -> list[OptionRow]:
    """List the answers that stand for a flight, deleted ones too, in the order in which they were added.

    Raises:
        NotFound: The transaction sees no such flight.
    """
    if await conn.fetchval(_SEES, flight_id) is None:
        raise NotFound("flight")
    at, option_id = after if after is not None else (None, None)
    return [msgspec.convert(row, OptionRow) for row in await conn.fetch(_LIST, flight_id, at, option_id, limit)]


async def archive_option(conn: Connection, survey_option_id: UUID, *, now: dt.datetime) -> None:
    """Have an answer stand for nothing any more; twice is as once.

    Raises:
        NotFound: The tenant has none of this id.
    """
    if await conn.fetchval(_ARCHIVE, survey_option_id, now) is None:
        raise NotFound("survey option")
