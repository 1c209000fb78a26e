"""The generation of ownership: how many podcasts have moved from one tenant to another, or were erased.

Whoever writes hits reads the generation before it looks owners up, and compares it, under a lock, before it writes.
So no hit lands for a tenant who had lost the podcast when it landed, whatever was cached or in flight. An erasure may
take numbers of agents and secrets along: what was remembered of them under another generation is to be forgotten.
"""

from __future__ import annotations

from typing import Final, LiteralString

from analytics_core.db.pool import Connection

__all__ = ("lock_ownership", "raise_ownership", "read_ownership")

_LOCK_SHARED: Final[LiteralString] = """/* ownership.lock_shared */
select pg_advisory_xact_lock_shared(hashtext('castledger.ownership'))"""

_LOCK: Final[LiteralString] = """/* ownership.lock */ select pg_advisory_xact_lock(hashtext('castledger.ownership'))"""

_READ: Final[LiteralString] = """/* ownership.read */
select (select coalesce(max(transfer_no), 0) from app.podcast_transfers) + (select erasures from ops.ownership)"""

_RAISE: Final[LiteralString] = """/* ownership.raise */ update ops.ownership set erasures = erasures + $1"""


async def lock_ownership(conn: Connection, *, exclusive: bool = False) -> None:
    """Keep podcasts from moving until the transaction ends; *exclusive* waits for all who land, to move one."""
    await conn.execute(_LOCK if exclusive else _LOCK_SHARED)


async def read_ownership(conn: Connection) -> int:
    """Read the generation, which grows with every podcast that moves or is erased, and every tenant; as ingest."""
    return int(await conn.fetchval(_READ))


async def raise_ownership(conn: Connection, *, by: int = 1) -> None:
    """Raise the generation because of an erasure, in a transaction that holds :func:`lock_ownership` alone."""
    await conn.execute(_RAISE, by)
