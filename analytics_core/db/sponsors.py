"""Sponsors of a tenant."""

# Pieces of statements are put together from constants alone.
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.pool import Connection, Tenant
from analytics_core.errors import Conflict, InvalidInput, NotFound, Outdated
from analytics_core.ids import new_id
from analytics_core.sponsors import Contact, Targeting, name_key

__all__ = (
    "MAX_SPONSORS",
    "SponsorFields",
    "SponsorRow",
    "add_sponsor",
    "archive_sponsor",
    "change_sponsor",
    "erase_contacts",
    "find_sponsor",
    "hold_sponsor",
    "list_sponsor_names",
    "list_sponsors",
    "lock_sponsor",
    "merge_sponsors",
    "refuse_archived",
    "require_sponsors",
    "require_unmerged",
    "restore_sponsor",
)

MAX_SPONSORS: Final = 10_000
"""Sponsors a tenant, archived ones too."""


class SponsorFields(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a sponsor; each checked by the rules of :mod:`analytics_core.sponsors`.

    Attributes:
        domain: Under which it is on the web.
        category: What it sells.
    """

    name: str
    domain: str | None = None
    category: str | None = None
    contacts: tuple[Contact, ...] = ()
    targeting: Targeting = Targeting()


class SponsorRow(SponsorFields, frozen=True, kw_only=True):
    """A sponsor.

    Attributes:
        version: Raised by one with every change.
        links: How many links it has, deleted ones not counted.
    """

    sponsor_id: UUID
    version: int
    created_at: dt.datetime
    archived_at: dt.datetime | None
    links: int


_COLUMNS: Final[LiteralString] = """s.sponsor_id, s.name, s.domain, s.category, s.contacts, s.targeting, s.version,
    s.created_at, s.archived_at, (select count(*) from app.links l
        where l.tenant_id = s.tenant_id and l.sponsor_id = s.sponsor_id and l.archived_at is null) as links"""

_COUNT: Final[LiteralString] = """/* sponsors.count */ select count(*) from app.sponsors"""

_ADD: Final[LiteralString] = """/* sponsors.add */
insert into app.sponsors (tenant_id, sponsor_id, name, name_key, domain, category, contacts, targeting, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""

_FIND: Final[LiteralString] = "/* sponsors.find */ select " + _COLUMNS + " from app.sponsors s where s.sponsor_id = $1"

_LIST: Final[LiteralString] = (
    "/* sponsors.list */ select "
    + _COLUMNS
    + """ from app.sponsors s
where ($1::timestamptz is null or (s.created_at, s.sponsor_id) > ($1, $2::uuid))
    and ($4::boolean is null or (s.archived_at is not null) = $4)
order by s.created_at, s.sponsor_id limit $3"""
)

_NAMES: Final[LiteralString] = """/* sponsors.names */
select sponsor_id, name from app.sponsors where sponsor_id = any($1::uuid[])"""

_KNOWN: Final[LiteralString] = """/* sponsors.known */
select count(*) from app.sponsors where sponsor_id = any($1::uuid[])"""

# By id, so that two that are locked by two transactions are locked in the same order.
_LOCK: Final[LiteralString] = """/* sponsors.lock */
select sponsor_id, version, archived_at is not null as is_archived from app.sponsors
where sponsor_id = any($1::uuid[]) order by sponsor_id for update"""

# Whoever merges or archives it is waited for, and others who use it are not.
_USE: Final[LiteralString] = """/* sponsors.use */
select archived_at is not null as is_archived from app.sponsors where sponsor_id = $1 for share"""

_CHANGE: Final[LiteralString] = """/* sponsors.change */
update app.sponsors set name = $2, name_key = $3, domain = $4, category = $5, contacts = $6, targeting = $7,
    version = version + 1
where sponsor_id = $1"""

_ARCHIVE: Final[LiteralString] = """/* sponsors.archive */
update app.sponsors set archived_at = $2, merged_into = null, version = version + 1 where sponsor_id = $1"""

# One that was archived before stays archived since then.
_MARK_MERGED: Final[LiteralString] = """/* sponsors.mark_merged */
update app.sponsors set merged_into = $2, archived_at = coalesce(archived_at, $3),
    version = version + (archived_at is null)::integer
where sponsor_id = $1"""

# The one behind all merges since. A sponsor that was taken back stands for itself.
_FIND_HEIR: Final[LiteralString] = """/* sponsors.find_heir */
with recursive heirs as (
    select s.merged_into as sponsor_id, 1 as generation from app.sponsors s
    where s.sponsor_id = $1 and s.archived_at is not null and s.merged_into is not null
    union all
    select s.merged_into, h.generation + 1 from heirs h join app.sponsors s using (sponsor_id)
    where s.archived_at is not null and s.merged_into is not null and h.generation < 100
)
select h.sponsor_id, s.name from heirs h join app.sponsors s using (sponsor_id) order by h.generation desc limit 1"""

_ERASE: Final[LiteralString] = """/* sponsors.erase_contacts */
update app.sponsors set contacts = '[]', version = version + 1 where sponsor_id = $1"""

_RAISE: Final[LiteralString] = """/* sponsors.raise_version */
update app.sponsors set version = version + 1 where sponsor_id = $1"""

# What both have of that of which a sponsor has one.
_FIND_SHARED: Final[LiteralString] = """/* sponsors.find_shared */
select 'promo_code_taken' as code, a.code as name from app.promo_codes a
join app.promo_codes b on b.code = a.code and b.sponsor_id = $2
    and tstzrange(b.valid_from, b.valid_until) && tstzrange(a.valid_from, a.valid_until)
where a.sponsor_id = $1
union all
select 'action_name_taken', a.name from app.conversion_actions a
join app.conversion_actions b on b.name_key = a.name_key and b.sponsor_id = $2 where a.sponsor_id = $1
union all
select 'event_type_taken', a.event_type from app.conversion_actions a
join app.conversion_actions b on b.event_type = a.event_type and b.sponsor_id = $2 and b.archived_at is null
where a.sponsor_id = $1 and a.archived_at is null
union all
select 'answer_taken', a.answer from app.survey_options a
join app.survey_options b on b.answer_key = a.answer_key and b.sponsor_id = $2 and b.archived_at is null
where a.sponsor_id = $1 and a.archived_at is null
order by 1, 2 limit 1"""

# In the order in which those lock them who bring conversions.
_LOCK_ACTIONS: Final[LiteralString] = """/* sponsors.lock_actions */
select 1 from app.conversion_actions where sponsor_id = $1 order by action_id for update"""

# And in that of those who adjust them; moving the actions would take them as they lie.
_LOCK_CONVERSIONS: Final[LiteralString] = """/* sponsors.lock_conversions */
select 1 from app.conversions where sponsor_id = $1 order by conversion_id for no key update"""

_COUNT_LINKS: Final[LiteralString] = """/* sponsors.count_links */
select count(*) from app.links where sponsor_id = $1"""

# Listeners that both reached are not told apart any more: the reach of the two together is counted anew, or not known.
_FORGET_REACH: Final[LiteralString] = """/* sponsors.forget_reach */
delete from app.reach_months where level = 'sponsor' and sponsor_id = any($1::uuid[])"""

# With an order goes all that is under it, with an action its conversions, with a run its results: by their keys.
# Whoever writes several of these locks them in this order too: sponsors, actions and conversions by id, orders,
# campaigns, flights, placements, links.
_MOVES: Final[tuple[LiteralString, ...]] = (
    "/* sponsors.move_orders */ update app.insertion_orders set sponsor_id = $2 where sponsor_id = $1",
    "/* sponsors.move_links */ update app.links set sponsor_id = $2 where sponsor_id = $1",
    "/* sponsors.move_actions */ update app.conversion_actions set sponsor_id = $2 where sponsor_id = $1",
    "/* sponsors.move_runs */ update app.attribution_runs set sponsor_id = $2 where sponsor_id = $1",
    "/* sponsors.move_reports */ update app.reports set sponsor_id = $2 where sponsor_id = $1",
    "/* sponsors.move_reach */ update app.reach_months set sponsor_id = $2 where sponsor_id = $1",
    "/* sponsors.move_intake */ update app.event_intake set sponsor_id = $2 where sponsor_id = $1",
)

_SHARED: Final = {
    "promo_code_taken": "both have the promo code {name} at the same time; end or rename one of the two first",
    "action_name_taken": "both have an action named {name!r}; rename one of the two first",
    "event_type_taken": "both have an action of {name} events; archive one of the two first",
    "answer_taken": "both have the survey answer {name!r}; remove one of the two first",
}


class _Locked(msgspec.Struct, frozen=True):
    sponsor_id: UUID
    version: int
    is_archived: bool


@contextlib.contextmanager
def _one_of_a_name(name: str) -> Iterator[None]:
    """Say what it means that a name is taken."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "sponsors_name":
            raise
        raise Conflict(
            "sponsor_name_taken",
            f"there is a sponsor named {name!r} already, maybe archived: use it, restore it, or merge the two",
        ) from error


async def _lock(conn: Connection, sponsor_ids: Sequence[UUID]) -> dict[UUID, _Locked]:
    rows = [msgspec.convert(row, _Locked) for row in await conn.fetch(_LOCK, list(sponsor_ids))]
    return {row.sponsor_id: row for row in rows}


async def _lock_version(conn: Connection, sponsor_id: UUID, version: int | None) -> _Locked:
    found = (await _lock(conn, [sponsor_id])).get(sponsor_id)
    if found is None:
        raise NotFound("sponsor")
    if version is not None and version != found.version:
        raise Outdated("sponsor", version=found.version)
    return found


def refuse_archived(is_archived: bool) -> None:
    """Refuse to give something to, or to change, what is archived.

    Raises:
        Conflict: ``sponsor_archived``.
    """
    if is_archived:
        raise Conflict("sponsor_archived", "this sponsor is archived; restore it first")


async def add_sponsor(conn: Connection, tenant: Tenant, fields: SponsorFields, *, now: dt.datetime) -> SponsorRow:
    """Add a sponsor.

    Args:
        conn: In a transaction of the tenant.
        tenant: Whose it is.
        fields: What is said of it.
        now: Aware instant.

    Raises:
        Conflict: ``sponsor_name_taken``, or ``too_many_sponsors``.
    """
    if await conn.fetchval(_COUNT) >= MAX_SPONSORS:
        raise Conflict("too_many_sponsors", f"there are {MAX_SPONSORS} sponsors already; merge those that are the same")
    sponsor_id = new_id()
    with _one_of_a_name(fields.name):
        await conn.execute(
            _ADD,
            tenant.tenant_id,
            sponsor_id,
            fields.name,
            name_key(fields.name),
            fields.domain,
            fields.category,
            msgspec.to_builtins(fields.contacts),
            msgspec.to_builtins(fields.targeting),
            now,
        )
    return await find_sponsor(conn, sponsor_id)


async def find_sponsor(conn: Connection, sponsor_id: UUID) -> SponsorRow:
    """Read one sponsor that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await conn.fetchrow(_FIND, sponsor_id)
    if row is None:
        raise NotFound("sponsor")
    return msgspec.convert(row, SponsorRow)


async def list_sponsors(
    conn: Connection, *, after: tuple[dt.datetime, UUID] | None, limit: int, archived: bool | None = None
) -> list[SponsorRow]:
    """List the sponsors that the transaction sees in the order in which they were added, behind *after*.

    Args:
        conn: In a transaction of the tenant.
        after: The row behind which the list begins.
        limit: How many at most.
        archived: Only archived ones, or only others; ``None`` for all.
    """
    at, sponsor_id = after if after is not None else (None, None)
    return [msgspec.convert(row, SponsorRow) for row in await conn.fetch(_LIST, at, sponsor_id, limit, archived)]


async def list_sponsor_names(conn: Connection, sponsor_ids: Collection[UUID]) -> dict[UUID, str]:
    """Name some sponsors, as far as the transaction sees them."""
    return {row["sponsor_id"]: row["name"] for row in await conn.fetch(_NAMES, list(sponsor_ids))}


async def require_sponsors(conn: Connection, sponsor_ids: Collection[UUID]) -> None:
    """Make sure that all of some sponsors are the tenant's.

    Raises:
        NotFound: One is not.
    """
    if await conn.fetchval(_KNOWN, list(sponsor_ids)) < len(set(sponsor_ids)):
        raise NotFound("sponsor")


async def lock_sponsor(conn: Connection, sponsor_id: UUID) -> bool:
    """Make sure until the transaction ends that a sponsor is not archived or merged meanwhile.

    Before links are locked, as a merge does it: two that wait for one another in a circle are stopped.

    Returns:
        Whether it is archived already.

    Raises:
        NotFound: The tenant has none of this id.
    """
    is_archived: bool | None = await conn.fetchval(_USE, sponsor_id)
    if is_archived is None:
        raise NotFound("sponsor")
    return is_archived


async def require_unmerged(conn: Connection, sponsor_id: UUID) -> None:
    """Make sure until the transaction ends that a sponsor, archived or not, is not merged into another one.

    Raises:
        NotFound: The tenant has none of this id.
        Conflict: ``sponsor_merged``: it was, and the message has the id of the other.
    """
    await lock_sponsor(conn, sponsor_id)
    # In a statement of its own: the lock may have been waited for.
    heir = await conn.fetchrow(_FIND_HEIR, sponsor_id)
    if heir is not None:
        raise Conflict(
            "sponsor_merged",
            f"this sponsor was merged into {heir['name']!r}, which has all of it: ask for {heir['sponsor_id']}",
        )


async def hold_sponsor(conn: Connection, sponsor_id: UUID, *, version: int | None = None) -> SponsorRow:
    """Read a sponsor that nobody else changes until the transaction ends.

    Args:
        conn: In a transaction of the tenant.
        sponsor_id: Which.
        version: The one that is expected; ``None`` for whichever there is.

    Raises:
        NotFound: The tenant has none of this id.
        Outdated: There is another version.
    """
    await _lock_version(conn, sponsor_id, version)
    return await find_sponsor(conn, sponsor_id)


async def change_sponsor(conn: Connection, held: SponsorRow, fields: SponsorFields) -> SponsorRow:
    """Say something else of a sponsor.

    Args:
        conn: In a transaction of the tenant.
        held: As :func:`hold_sponsor` read it.
        fields: All of it, also what stays as it was.

    Raises:
        Conflict: ``sponsor_archived``, or ``sponsor_name_taken``.
    """
    refuse_archived(held.archived_at is not None)
    with _one_of_a_name(fields.name):
        await conn.execute(
            _CHANGE,
            held.sponsor_id,
            fields.name,
            name_key(fields.name),
            fields.domain,
            fields.category,
            msgspec.to_builtins(fields.contacts),
            msgspec.to_builtins(fields.targeting),
        )
    return await find_sponsor(conn, held.sponsor_id)


async def archive_sponsor(conn: Connection, held: SponsorRow, *, now: dt.datetime) -> SponsorRow:
    """Put a sponsor away: it keeps its name and its links, and gets nothing new. Twice is as once."""
    if held.archived_at is not None:
        return held
    await conn.execute(_ARCHIVE, held.sponsor_id, now)
    return await find_sponsor(conn, held.sponsor_id)


async def restore_sponsor(conn: Connection, held: SponsorRow) -> SponsorRow:
    """Take an archived sponsor back. Twice is as once."""
    if held.archived_at is None:
        return held
    await conn.execute(_ARCHIVE, held.sponsor_id, None)
    return await find_sponsor(conn, held.sponsor_id)


async def erase_contacts(conn: Connection, held: SponsorRow) -> SponsorRow:
    """Forget whom to ask at a sponsor's, archived or not."""
    await conn.execute(_ERASE, held.sponsor_id)
    return await find_sponsor(conn, held.sponsor_id)


async def merge_sponsors(
    conn: Connection, sponsor_id: UUID, *, into: UUID, now: dt.datetime, version: int | None = None
) -> tuple[SponsorRow, int]:
    """Give all that a sponsor has to another one, and archive it.

    What is said of either stays, and so do logins: who was held to the one does not see the other's by this.

    Args:
        conn: In a transaction of the tenant.
        sponsor_id: The one that gives.
        into: The one that gets.
        now: Aware instant.
        version: Of the one that gives; ``None`` for whichever there is.

    Returns:
        The one that got, and how many links it got.

    Raises:
        InvalidInput: ``same_sponsor``: they are one.
        NotFound: The tenant has none of either id.
        Conflict: ``sponsor_archived``: the one that is to get; or ``promo_code_taken``, ``action_name_taken``,
            ``event_type_taken``, ``answer_taken``: both have one that a sponsor has once.
        Outdated: There is another version.
    """
    if sponsor_id == into:
        raise InvalidInput("/into", "is the same sponsor", code="same_sponsor")
    found = await _lock(conn, [sponsor_id, into])
    await _lock_version(conn, sponsor_id, version)
    if into not in found:
        raise NotFound("sponsor")
    refuse_archived(found[into].is_archived)
    shared = await conn.fetchrow(_FIND_SHARED, sponsor_id, into)
    if shared is not None:
        raise Conflict(shared["code"], _SHARED[shared["code"]].format(name=shared["name"]))
    await conn.execute(_LOCK_ACTIONS, sponsor_id)
    await conn.execute(_LOCK_CONVERSIONS, sponsor_id)
    links: int = await conn.fetchval(_COUNT_LINKS, sponsor_id)
    await conn.execute(_FORGET_REACH, [sponsor_id, into])
    for move in _MOVES:
        await conn.execute(move, sponsor_id, into)
    await conn.execute(_MARK_MERGED, sponsor_id, into, now)
    await conn.execute(_RAISE, into)
    return await find_sponsor(conn, into), links
