"""Hits whose episode is not known yet: stored whole but for the address, taken out again when it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.pool import Connection

__all__ = (
    "PendingHit",
    "PendingTarget",
    "add_pending",
    "list_pending_targets",
    "lock_pending",
    "take_aged",
    "take_pending",
)


class PendingHit(msgspec.Struct, frozen=True, kw_only=True):
    """A hit that waits for its episode.

    Attributes:
        tenant_no: Of the podcast that the prefix named; 0 when that is none of ours.
        podcast_no: The same.
        enclosure_key: Of the target; of its bytes when it is no web address.
        target: As it was asked for, cut to a bound.
        k0: First-stage key of the listener.
        verdict_bits: All that spoke against it, ``unknown_episode`` included.
        asn: Autonomous system of the address, 0 where unknown.
        networks: In which lists the address was, a union of ``analytics_core.networks.NetworkClass``.
        place_no: Where the address was; 0 where nobody knows more than the country.
    """

    segment_no: int
    ordinal: int
    occurred_at: dt.datetime
    tenant_no: int
    podcast_no: int
    enclosure_key: UUID
    bare_key: UUID
    file_name: str
    target: str
    k0: UUID
    range_first: int
    range_last: int
    agent_no: int
    referrer_no: int
    feed_app_no: int
    verdict_bits: int
    country: int
    kind: int
    method: int
    range_kind: int
    flags: int
    source: int
    asn: int = 0
    networks: int = 0
    place_no: int = 0


class PendingTarget(msgspec.Struct, frozen=True):
    """A distinct target that hits wait for."""

    enclosure_key: UUID
    bare_key: UUID
    podcast_no: int
    file_name: str


_COLUMNS: Final = PendingHit.__struct_fields__

_LOCK: Final[LiteralString] = """/* pending.lock */
select pg_try_advisory_xact_lock(hashtext('castledger.pending'))"""

_TARGETS: Final[LiteralString] = """/* pending.targets */
select enclosure_key, bare_key, podcast_no, max(file_name) as file_name from ops.pending_hits
where $1::uuid is null or (enclosure_key, podcast_no) > ($1, $2::integer)
group by enclosure_key, bare_key, podcast_no
order by enclosure_key, podcast_no limit $3"""

_TAKE: Final[LiteralString] = """/* pending.take */
delete from ops.pending_hits where (segment_no, ordinal) in (
    select p.segment_no, p.ordinal from unnest($1::uuid[], $2::integer[]) as n(enclosure_key, podcast_no)
    join ops.pending_hits p using (enclosure_key, podcast_no) limit $3)
returning segment_no, ordinal, occurred_at, tenant_no, podcast_no, enclosure_key, bare_key, file_name, target, k0,
    range_first, range_last, agent_no, referrer_no, feed_app_no, verdict_bits, country, kind, method, range_kind, flags,
    source, asn, networks, place_no"""

_TAKE_AGED: Final[LiteralString] = """/* pending.take_aged */
delete from ops.pending_hits where (segment_no, ordinal) in (
    select segment_no, ordinal from ops.pending_hits where occurred_at < $1 limit $2)
returning segment_no, ordinal, occurred_at, tenant_no, podcast_no, enclosure_key, bare_key, file_name, target, k0,
    range_first, range_last, agent_no, referrer_no, feed_app_no, verdict_bits, country, kind, method, range_kind, flags,
    source, asn, networks, place_no"""


async def add_pending(conn: Connection, hits: Sequence[PendingHit]) -> None:
    """Store hits that wait."""
    if hits:
        await conn.copy_records_to_table(
            "pending_hits",
            schema_name="ops",
            columns=_COLUMNS,
            records=[msgspec.structs.astuple(hit) for hit in hits],
        )


async def lock_pending(conn: Connection) -> bool:
    """Be the only one who moves waiting hits until the transaction ends; ``False`` when someone else is."""
    return bool(await conn.fetchval(_LOCK))


async def list_pending_targets(conn: Connection, *, after: PendingTarget | None, limit: int) -> list[PendingTarget]:
    """List distinct targets that hits wait for, by key, behind *after*."""
    key, podcast_no = (None, None) if after is None else (after.enclosure_key, after.podcast_no)
    return [msgspec.convert(row, PendingTarget) for row in await conn.fetch(_TARGETS, key, podcast_no, limit)]


async def take_pending(conn: Connection, targets: Sequence[PendingTarget], *, limit: int) -> list[PendingHit]:
    """Delete and return hits that wait for these targets, at most *limit*."""
    rows = await conn.fetch(
        _TAKE, [target.enclosure_key for target in targets], [target.podcast_no for target in targets], limit
    )
    return [msgspec.convert(row, PendingHit) for row in rows]


async def take_aged(conn: Connection, *, before: dt.datetime, limit: int) -> list[PendingHit]:
    """Delete and return hits from before *before* that have waited in vain, at most *limit*."""
    return [msgspec.convert(row, PendingHit) for row in await conn.fetch(_TAKE_AGED, before, limit)]
