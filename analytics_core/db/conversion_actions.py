"""Conversion actions: what a sponsor wants to happen."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Collection, Iterator
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.conversions import ActionCategory, Counting
from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.sponsors import lock_sponsor, refuse_archived
from analytics_core.errors import Conflict, NotFound, Outdated
from analytics_core.ids import new_id
from analytics_core.sponsors import name_key

__all__ = (
    "MAX_ACTIONS",
    "ActionFields",
    "ActionRow",
    "action_archived",
    "add_action",
    "archive_action",
    "change_action",
    "find_action",
    "find_actions",
    "hold_action",
    "list_actions",
    "use_actions",
)

MAX_ACTIONS: Final = 200
"""Actions a sponsor, archived ones too."""


class ActionFields(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of an action; each checked already.

    Attributes:
        event_type: The type of the events that are conversions of it; ``None`` where none are.
        default_value_amount: What a conversion is worth that says nothing of it, in minor units of ``currency``.
    """

    name: str
    category: ActionCategory
    event_type: str | None = None
    counting: Counting = Counting.EVERY
    default_value_amount: int | None = None
    currency: str | None = None


class ActionRow(ActionFields, frozen=True, kw_only=True):
    """An action.

    Attributes:
        version: Raised by one with every change.
    """

    action_id: UUID
    sponsor_id: UUID
    version: int
    created_at: dt.datetime
    archived_at: dt.datetime | None


_COLUMNS: Final[LiteralString] = """a.action_id, a.sponsor_id, a.name, a.category, a.event_type, a.counting,
    a.default_value_amount, a.currency, a.version, a.created_at, a.archived_at"""

_COUNT: Final[LiteralString] = """/* conversion_actions.count */
select count(*) from app.conversion_actions where sponsor_id = $1"""

_ADD: Final[LiteralString] = """/* conversion_actions.add */
insert into app.conversion_actions (tenant_id, action_id, sponsor_id, name, name_key, category, event_type, counting,
    default_value_amount, currency, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"""

_FIND: Final[LiteralString] = (
    "/* conversion_actions.find */ select " + _COLUMNS + " from app.conversion_actions a where a.action_id = $1"
)

_FIND_SOME: Final[LiteralString] = (
    "/* conversion_actions.find_some */ select "
    + _COLUMNS
    + " from app.conversion_actions a where a.action_id = any($1::uuid[])"
)

# Whoever archives one, or merges its sponsor, is waited for; in one order, in which a merge locks them too.
_USE_SOME: Final[LiteralString] = """/* conversion_actions.use_some */
select 1 from app.conversion_actions where action_id = any($1::uuid[]) order by action_id for share"""

_LIST: Final[LiteralString] = (
    "/* conversion_actions.list */ select "
    + _COLUMNS
    + """ from app.conversion_actions a
where ($1::timestamptz is null or (a.created_at, a.action_id) > ($1, $2::uuid))
    and ($4::uuid is null or a.sponsor_id = $4)
order by a.created_at, a.action_id limit $3"""
)

_LOCK: Final[LiteralString] = """/* conversion_actions.lock */
select version from app.conversion_actions where action_id = $1 for update"""

_CHANGE: Final[LiteralString] = """/* conversion_actions.change */
update app.conversion_actions set name = $2, name_key = $3, category = $4, event_type = $5, counting = $6,
    default_value_amount = $7, currency = $8, version = version + 1
where action_id = $1"""

_ARCHIVE: Final[LiteralString] = """/* conversion_actions.archive */
update app.conversion_actions set archived_at = $2, version = version + 1 where action_id = $1"""


def action_archived() -> Conflict:
    """Say that an archived action gets no conversions."""
    return Conflict("action_archived", "this action is archived and gets no conversions: name another one")


@contextlib.contextmanager
def _one_of_a_kind(fields: ActionFields) -> Iterator[None]:
    """Say what it means that a name, or a type of events, is taken."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "conversion_actions_name":
            message = f"the sponsor has an action named {fields.name!r} already, maybe archived: choose another name"
            raise Conflict("action_name_taken", message) from error
        if error.constraint_name == "conversion_actions_event":
            message = (
                f"events of type {fields.event_type!r} are conversions of another action of this sponsor: change that "
                "one, or archive it"
            )
            raise Conflict("event_type_taken", message) from error
        raise


async def add_action(
    conn: Connection, tenant: Tenant, sponsor_id: UUID, fields: ActionFields, *, now: dt.datetime
) -> ActionRow:
    """Add an action of a sponsor.

    Args:
        conn: In a transaction of the tenant.
        tenant: Whose it is.
        sponsor_id: Who wants it to happen.
        fields: What is said of it.
        now: Aware instant.

    Raises:
        NotFound: The tenant has no such sponsor.
        Conflict: ``sponsor_archived``, ``too_many_actions``, ``action_name_taken`` or ``event_type_taken``.
    """
    refuse_archived(await lock_sponsor(conn, sponsor_id))
    if await conn.fetchval(_COUNT, sponsor_id) >= MAX_ACTIONS:
        raise Conflict("too_many_actions", f"the sponsor has {MAX_ACTIONS} actions already")
    action_id = new_id()
    with _one_of_a_kind(fields):
        await conn.execute(
            _ADD,
            tenant.tenant_id,
            action_id,
            sponsor_id,
            fields.name,
            name_key(fields.name),
            fields.category,
            fields.event_type,
            fields.counting,
            fields.default_value_amount,
            fields.currency,
            now,
        )
    return await find_action(conn, action_id)


async def find_action(conn: Connection, action_id: UUID) -> ActionRow:
    """Read one action that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, action_id)
    if row is None:
        raise NotFound("conversion action")
    return msgspec.convert(row, ActionRow)


async def find_actions(conn: Connection, action_ids: Collection[UUID]) -> dict[UUID, ActionRow]:
    """Read those of some actions that the transaction sees, by their ids."""
    rows = [msgspec.convert(row, ActionRow) for row in await conn.fetch(_FIND_SOME, list(action_ids))]
    return {row.action_id: row for row in rows}


async def use_actions(conn: Connection, action_ids: Collection[UUID]) -> dict[UUID, ActionRow]:
    """Read some actions for conversions of them, so that none is archived, or gets another sponsor, meanwhile.

    Args:
        conn: In a transaction of the tenant, as the API.
        action_ids: Which; those that the tenant has are in the answer.
    """
    await conn.execute(_USE_SOME, list(action_ids))
    # In a statement of its own: as whoever was waited for has left them.
    return await find_actions(conn, action_ids)


async def list_actions(
    conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int, sponsor_id: UUID | None = None
) -> list[ActionRow]:
    """List the actions that the transaction sees in the order in which they were added, behind *after*."""
    at, action_id = after if after is not None else (None, None)
    return [msgspec.convert(row, ActionRow) for row in await conn.fetch(_LIST, at, action_id, limit, sponsor_id)]


async def hold_action(conn: Connection, action_id: UUID, *, version: int | None = None) -> ActionRow:
    """Read an action that nobody else changes until the transaction ends.

    Args:
        conn: In a transaction of the tenant.
        action_id: Which.
        version: The one that is expected; ``None`` for whichever there is.

    Raises:
        NotFound: The tenant has none of this id.
        Outdated: There is another version.
    """
    found = await conn.fetchval(_LOCK, action_id)
    if found is None:
        raise NotFound("conversion action")
    if version is not None and version != found:
        raise Outdated("conversion action", version=found)
    return await find_action(conn, action_id)


async def change_action(conn: Connection, held: ActionRow, fields: ActionFields) -> ActionRow:
    """Say something else of an action; conversions that there are keep what they are worth.

    Args:
        conn: In a transaction of the tenant.
        held: As :func:`hold_action` read it.
        fields: All of it, also what stays as it was.

    Raises:
        Conflict: ``action_archived``, ``action_name_taken`` or ``event_type_taken``.
    """
    if held.archived_at is not None:
        raise Conflict("action_archived", "this action is archived: add another one")
    with _one_of_a_kind(fields):
        await conn.execute(
            _CHANGE,
            held.action_id,
            fields.name,
            name_key(fields.name),
            fields.category,
            fields.event_type,
            fields.counting,
            fields.default_value_amount,
            fields.currency,
        )
    return await find_action(conn, held.action_id)


async def archive_action(conn: Connection, held: ActionRow, *, now: dt.datetime) -> ActionRow:
    """Put an action away: its conversions stay, and it gets no new ones. Twice is as once."""
    if held.archived_at is not None:
        return held
    await conn.execute(_ARCHIVE, held.action_id, now)
    return await find_action(conn, held.action_id)
