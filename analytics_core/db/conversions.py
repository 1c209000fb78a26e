"""Conversions as they are stored, each once, and what was said of them later."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Collection, Sequence
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from analytics_core.attribution.counting import Adjustment, Standing, last_word
from analytics_core.conversions import FORGOTTEN, AdjustmentKind, ConversionSource, GivenConversion, said_hash
from analytics_core.db.conversion_actions import ActionRow
from analytics_core.db.pool import Connection
from analytics_core.errors import NotFound
from analytics_core.ids import new_id

__all__ = (
    "Added",
    "AdjustmentRow",
    "ConversionRow",
    "Fate",
    "NewConversion",
    "add_adjustments",
    "add_conversions",
    "answer_survey",
    "find_conversion",
    "find_conversion_id",
    "foresee_conversions",
    "hold_conversion",
    "list_adjustments",
    "list_conversions",
    "standing_of",
)


class NewConversion(msgspec.Struct, frozen=True, kw_only=True):
    """A conversion to be stored; see :class:`analytics_core.conversions.GivenConversion`.

    Attributes:
        said_hash: As :func:`analytics_core.conversions.said_hash` makes it.
        occurred_at: When it came in, where nobody said.
        value_amount: Its action's, where nobody said.
    """

    tenant_id: UUID
    conversion_id: UUID
    action_id: UUID
    sponsor_id: UUID
    external_id: str
    said_hash: bytes
    source: ConversionSource
    occurred_at: dt.datetime
    received_at: dt.datetime
    value_amount: int | None
    currency: str | None
    click_id: UUID | None
    link: str | None
    promo_code: str | None
    survey_answer: str | None
    customer_key: UUID | None
    new_customer: bool | None
    referrer_host: str | None

    @property
    def key(self) -> tuple[UUID, str]:
        """What makes it one conversion of its tenant."""
        return self.action_id, self.external_id

    @classmethod
    def of(
        cls,
        given: GivenConversion,
        action: ActionRow,
        *,
        tenant_id: UUID,
        customer_key: UUID | None,
        source: ConversionSource,
        received_at: dt.datetime,
    ) -> NewConversion:
        """Make a row of what was said; what was not said of its value is the action's."""
        is_valued = given.currency is not None
        return cls(
            tenant_id=tenant_id,
            conversion_id=new_id(),
            action_id=action.action_id,
            sponsor_id=action.sponsor_id,
            external_id=given.external_id,
            said_hash=said_hash(given, customer_key),
            source=source,
            occurred_at=given.occurred_at or received_at,
            received_at=received_at,
            value_amount=given.value_amount if is_valued else action.default_value_amount,
            currency=given.currency if is_valued else action.currency,
            click_id=given.click_id,
            link=given.link,
            promo_code=given.promo_code,
            survey_answer=given.survey_answer,
            customer_key=customer_key,
            new_customer=given.new_customer,
            referrer_host=given.referrer_host,
        )


class Fate(enum.Enum):
    """What became of a conversion that was told of."""

    CREATED = "created"
    REPEATED = "repeated"
    DIFFERS = "differs"


class Added(NamedTuple):
    """What became of one conversion, and the id of the one that is stored under its name."""

    fate: Fate
    conversion_id: UUID


class ConversionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A conversion as it was said first."""

    conversion_id: UUID
    action_id: UUID
    sponsor_id: UUID
    external_id: str
    source: ConversionSource
    occurred_at: dt.datetime
    received_at: dt.datetime
    value_amount: int | None
    currency: str | None
    click_id: UUID | None
    link: str | None
    promo_code: str | None
    survey_answer: str | None
    customer_key: UUID | None
    new_customer: bool | None
    referrer_host: str | None


class AdjustmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a conversion later."""

    adjustment_id: UUID
    conversion_id: UUID
    kind: AdjustmentKind
    value_amount: int | None
    external_id: str | None
    said_hash: bytes
    reason: str | None
    adjusted_at: dt.datetime
    received_at: dt.datetime


_SAID: Final = NewConversion.__struct_fields__
_SHOWN: Final[LiteralString] = """c.conversion_id, c.action_id, c.sponsor_id, c.external_id, c.source, c.occurred_at,
    c.received_at, c.value_amount, c.currency, c.click_id, c.link, c.promo_code, c.survey_answer, c.customer_key,
    c.new_customer, c.referrer_host"""

# In one order, so that writers meet in it.
_ADD: Final[LiteralString] = """/* conversions.add */
insert into app.conversions (tenant_id, conversion_id, action_id, sponsor_id, external_id, said_hash, source,
    occurred_at, received_at, value_amount, currency, click_id, link, promo_code, survey_answer, customer_key,
    new_customer, referrer_host)
select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bytea[], $7::text[],
    $8::timestamptz[], $9::timestamptz[], $10::bigint[], $11::text[], $12::uuid[], $13::text[], $14::text[],
    $15::text[], $16::uuid[], $17::boolean[], $18::text[])
    as n(tenant_id, conversion_id, action_id, sponsor_id, external_id)
order by n.tenant_id, n.action_id, n.external_id
on conflict (tenant_id, action_id, external_id) do nothing returning conversion_id"""

_STORED: Final[LiteralString] = """/* conversions.stored */
select c.action_id, c.external_id, c.conversion_id, c.said_hash
from unnest($1::uuid[], $2::uuid[], $3::text[]) as n(tenant_id, action_id, external_id)
join app.conversions c using (tenant_id, action_id, external_id)"""

_FIND: Final[LiteralString] = (
    "/* conversions.find */ select " + _SHOWN + " from app.conversions c where c.conversion_id = $1"
)

_FIND_ID: Final[LiteralString] = """/* conversions.find_id */
select conversion_id from app.conversions where action_id = $1 and external_id = $2"""

_HOLD: Final[LiteralString] = """/* conversions.hold */
select 1 from app.conversions where conversion_id = $1 for update"""

_LIST: Final[LiteralString] = (
    "/* conversions.list */ select "
    + _SHOWN
    + """ from app.conversions c
where ($1::timestamptz is null or (c.occurred_at, c.conversion_id) > ($1, $2::uuid))
    and ($4::timestamptz is null or c.occurred_at >= $4) and ($5::timestamptz is null or c.occurred_at < $5)
    and ($6::uuid is null or c.sponsor_id = $6) and ($7::uuid is null or c.action_id = $7)
order by c.occurred_at, c.conversion_id limit $3"""
)

# Which filters there are decides about the index.
_FOR_THESE: Final[LiteralString] = """/* conversions.for_these_values */
select set_config('plan_cache_mode', 'force_custom_plan', true)"""

_ADJUSTMENTS: Final[LiteralString] = """/* conversion_adjustments.list */
select adjustment_id, conversion_id, kind, value_amount, external_id, said_hash, reason, adjusted_at, received_at
from app.conversion_adjustments where conversion_id = any($1::uuid[])
order by conversion_id, adjusted_at, adjustment_id"""

_ADJUST: Final[LiteralString] = """/* conversion_adjustments.add */
insert into app.conversion_adjustments (tenant_id, adjustment_id, conversion_id, kind, value_amount, external_id,
    said_hash, reason, adjusted_at, received_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"""

_ANSWER: Final[LiteralString] = """/* conversions.answer_survey */
update app.conversions set survey_answer = $2 where conversion_id = $1"""


async def _find_stored(
    conn: Connection, conversions: Sequence[NewConversion]
) -> dict[tuple[UUID, str], tuple[UUID, bytes]]:
    rows = await conn.fetch(
        _STORED,
        [one.tenant_id for one in conversions],
        [one.action_id for one in conversions],
        [one.external_id for one in conversions],
    )
    return {
        (UUID(int=row["action_id"].int), row["external_id"]): (UUID(int=row["conversion_id"].int), row["said_hash"])
        for row in rows
    }


def _judge(
    conversions: Sequence[NewConversion], stored: dict[tuple[UUID, str], tuple[UUID, bytes]], new: Collection[UUID]
) -> list[Added]:
    """Say of each conversion whether it is the one that is stored under its name, says the same, or something else."""
    found = []
    for one in conversions:
        conversion_id, said = stored[one.key]
        if conversion_id == one.conversion_id and conversion_id in new:
            fate = Fate.CREATED
        else:
            # Of whom was erased it is not known what was said: whatever is said again is what was.
            fate = Fate.REPEATED if said in (one.said_hash, FORGOTTEN) else Fate.DIFFERS
        found.append(Added(fate, conversion_id))
    return found


async def add_conversions(conn: Connection, conversions: Sequence[NewConversion]) -> list[Added]:
    """Store those conversions whose name is not taken; of those of one name in the list, the first.

    Args:
        conn: In a transaction of the tenant, or as ingest.
        conversions: Each with an id of its own.

    Returns:
        What became of each, in their order.
    """
    if not conversions:
        return []
    firsts: dict[tuple[UUID, str], NewConversion] = {}
    for one in conversions:
        firsts.setdefault(one.key, one)
    columns = ([getattr(one, name) for one in firsts.values()] for name in _SAID)
    new = {UUID(int=row["conversion_id"].int) for row in await conn.fetch(_ADD, *columns)}
    stored = {one.key: (one.conversion_id, one.said_hash) for one in firsts.values() if one.conversion_id in new}
    others = [one for one in firsts.values() if one.conversion_id not in new]
    if others:
        # In a statement of its own: whoever stored them first has committed meanwhile.
        stored |= await _find_stored(conn, others)
    return _judge(conversions, stored, new)


async def foresee_conversions(conn: Connection, conversions: Sequence[NewConversion]) -> list[Added]:
    """Say what would become of conversions, and store none."""
    stored = await _find_stored(conn, conversions)
    new: set[UUID] = set()
    for one in conversions:
        if one.key not in stored:
            stored[one.key] = (one.conversion_id, one.said_hash)
            new.add(one.conversion_id)
    return _judge(conversions, stored, new)


async def find_conversion(conn: Connection, conversion_id: UUID) -> ConversionRow:
    """Read one conversion that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, conversion_id)
    if row is None:
        raise NotFound("conversion")
    return msgspec.convert(row, ConversionRow)


async def find_conversion_id(conn: Connection, action_id: UUID, external_id: str) -> UUID:
    """Find a conversion by its name.

    Raises:
        NotFound: The transaction sees none of this action and name.
    """
    found = await conn.fetchval(_FIND_ID, action_id, external_id)
    if found is None:
        raise NotFound("conversion")
    return UUID(int=found.int)


async def hold_conversion(conn: Connection, conversion_id: UUID) -> ConversionRow:
    """Read a conversion that nobody else adjusts or answers for until the transaction ends.

    Raises:
        NotFound: The transaction sees none of this id.
    """
    if await conn.fetchval(_HOLD, conversion_id) is None:
        raise NotFound("conversion")
    return await find_conversion(conn, conversion_id)


async def list_conversions(
    conn: Connection,
    *,
    after: tuple[dt.datetime, UUID] | None,
    limit: int,
    start: dt.datetime | None = None,
    end: dt.datetime | None = None,
    sponsor_id: UUID | None = None,
    action_id: UUID | None = None,
) -> list[ConversionRow]:
    """List the conversions that the transaction sees in the order in which they occurred, behind *after*.

    Args:
        conn: In a transaction of the tenant.
        after: When the conversion before the first one occurred, and its id.
        limit: How many at most.
        start: Only those that occurred then or later.
        end: Only those that occurred before.
        sponsor_id: Only of this sponsor.
        action_id: Only of this action.
    """
    at, conversion_id = after if after is not None else (None, None)
    await conn.execute(_FOR_THESE)
    rows = await conn.fetch(_LIST, at, conversion_id, limit, start, end, sponsor_id, action_id)
    return [msgspec.convert(row, ConversionRow) for row in rows]


async def list_adjustments(conn: Connection, conversion_ids: Collection[UUID]) -> dict[UUID, list[AdjustmentRow]]:
    """List what was said of some conversions later, by their ids, in the order in which it counts."""
    found: dict[UUID, list[AdjustmentRow]] = {conversion_id: [] for conversion_id in conversion_ids}
    for row in await conn.fetch(_ADJUSTMENTS, list(conversion_ids)):
        adjustment = msgspec.convert(row, AdjustmentRow)
        found[adjustment.conversion_id].append(adjustment)
    return found


def standing_of(value_amount: int | None, adjustments: Sequence[AdjustmentRow]) -> Standing:
    """Say what holds of a conversion after stored adjustments."""
    return last_word(
        value_amount, [Adjustment(one.adjusted_at, one.adjustment_id, one.value_amount) for one in adjustments]
    )


async def add_adjustments(conn: Connection, tenant_id: UUID, adjustments: Sequence[AdjustmentRow]) -> None:
    """Store what was said of conversions later; whoever calls holds them."""
    await conn.executemany(
        _ADJUST,
        [
            (
                tenant_id,
                one.adjustment_id,
                one.conversion_id,
                one.kind,
                one.value_amount,
                one.external_id,
                one.said_hash,
                one.reason,
                one.adjusted_at,
                one.received_at,
            )
            for one in adjustments
        ],
    )


async def answer_survey(conn: Connection, conversion_id: UUID, answer: str) -> None:
    """Say what a customer answered; whoever calls holds the conversion, and has seen that it has no answer."""
    await conn.execute(_ANSWER, conversion_id, answer)
