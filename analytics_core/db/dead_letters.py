"""Dead letters: hits that could not be judged, or that the database refuses: why, and nothing of their address."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from analytics_core.db.pool import Connection

__all__ = ("MAX_MESSAGE_CHARS", "DeadLetter", "add_dead_letters", "count_dead_letters", "drop_dead_letters")

MAX_MESSAGE_CHARS: Final = 500


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A hit that could not land.

    Attributes:
        tenant_no: ``None`` when nobody found out.
        podcast_no: The same.
        step: ``judge`` or ``land``.
        reason: A SQLSTATE, or the name of an exception.
        message: What the database said without the row, or where judging failed; at most ``MAX_MESSAGE_CHARS``.
        target: As it was asked for, cut to a bound.
        agent: The user agent, cut to a bound.
    """

    segment_no: int
    ordinal: int
    occurred_at: dt.datetime
    tenant_no: int | None
    podcast_no: int | None
    step: str
    reason: str
    message: str
    target: str
    agent: str


_ADD: Final[LiteralString] = """/* dead_letters.add */
insert into ops.dead_letters
    (segment_no, ordinal, occurred_at, tenant_no, podcast_no, step, reason, message, target, agent)
select segment_no, ordinal, occurred_at, tenant_no, podcast_no, step, reason, message, target, agent
from unnest($1::integer[], $2::integer[], $3::timestamptz[], $4::integer[], $5::integer[], $6::text[], $7::text[],
        $8::text[], $9::text[], $10::text[])
    as n(segment_no, ordinal, occurred_at, tenant_no, podcast_no, step, reason, message, target, agent)"""

_COUNT: Final[LiteralString] = """/* dead_letters.count */ select count(*) from ops.dead_letters"""

_DROP: Final[LiteralString] = """/* dead_letters.drop */ delete from ops.dead_letters where buried_at < $1"""


async def add_dead_letters(conn: Connection, letters: Sequence[DeadLetter]) -> None:
    """Bury hits, in the transaction that lands the rest of their batch."""
    if letters:
        columns = zip(*(msgspec.structs.astuple(letter) for letter in letters), strict=True)
        await conn.execute(_ADD, *(list(column) for column in columns))


async def count_dead_letters(conn: Connection) -> int:
    """Count the dead letters that are kept."""
    return int(await conn.fetchval(_COUNT))


async def drop_dead_letters(conn: Connection, *, before: dt.datetime) -> int:
    """Drop dead letters that were buried before *before*; return how many."""
    return int(str(await conn.execute(_DROP, before)).split()[-1])
