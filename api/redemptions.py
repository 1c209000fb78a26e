"""How a shop's list of redemptions comes in: looked through as a whole first, then stored as a whole or not at all."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request

from analytics_core.conversions import ConversionSource, GivenConversion, said_hash
from analytics_core.db.conversion_actions import ActionRow, action_archived, find_action, use_actions
from analytics_core.db.conversions import Added, Fate, NewConversion, add_conversions, foresee_conversions
from analytics_core.db.pool import Connection
from analytics_core.event_pages import customer_key
from analytics_core.redemptions import MAX_ROWS, Listed, RedemptionList, open_redemptions
from api.auth import caller_of
from api.customers import customer_secret
from api.errors import Fault, InvalidRequest, Refused
from api.resources import resources_of
from api.schemas.redemptions import TakenRedemptions
from api.writing import writing

__all__ = ("open_list", "take_redemptions")

_SPREADSHEETS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_MAX_FAULTS: Final = 1_000
_MAX_NAMES: Final = 20
_MAX_NAME_CHARS: Final = 64
_CHUNK: Final = 2_000

_Store = Callable[[Connection, Sequence[NewConversion]], Awaitable[list[Added]]]


def open_list(data: bytes, *, action_id: UUID, currency: str | None, tz: ZoneInfo | None) -> RedemptionList:
    """Read the header of a list.

    Raises:
        Refused: It is a spreadsheet.
        InvalidInput: As :func:`analytics_core.redemptions.open_redemptions`.
    """
    if data.startswith(_SPREADSHEETS):
        raise Refused(415, "unsupported_media_type", "this is a spreadsheet: save it as CSV, in UTF-8")
    return open_redemptions(data, action_id=action_id, currency=currency, tz=tz)


class _BadLines(InvalidRequest):
    """Lines of a list were refused, and so the whole of it; the first thousand faults are listed."""

    def __init__(self, faults: Sequence[Fault], count: int) -> None:
        super().__init__(faults)
        self.code = "bad_lines"
        shown = "" if count == len(faults) else f", the first {len(faults)} of which are listed"
        self.args = (f"nothing was stored: {count} faults were found{shown}; `pointer` is /line/column",)


class _Faults:
    """What is wrong with a list, as much of it as is told."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Fault] = []

    def add(self, pointer: str, code: str, message: str) -> None:
        """Note a fault."""
        self.count += 1
        if len(self.first) < _MAX_FAULTS:
            self.first.append(Fault(pointer, code, message))

    def refuse(self) -> None:
        """Refuse the list when anything is wrong with it.

        Raises:
            InvalidRequest: It is.
        """
        if self.count:
            raise _BadLines(self.first, self.count)


class _Looked(msgspec.Struct):
    """What a look through a whole list found.

    Attributes:
        rows: How many lines say something.
        repeats: The lines that say what an earlier one said.
        names_customers: Whether any names a customer.
    """

    rows: int = 0
    repeats: set[int] = msgspec.field(default_factory=set)
    names_customers: bool = False


def _look_through(listed: RedemptionList, now: dt.datetime) -> _Looked:
    """Look through a list.

    Raises:
        Refused: It has too many lines.
        InvalidRequest: Something is wrong with it; all is listed.
    """
    looked, faults = _Looked(), _Faults()
    seen: dict[str, tuple[int, bytes]] = {}
    for row in listed.rows(now=now):
        looked.rows += 1
        if looked.rows > MAX_ROWS:
            raise Refused(413, "too_many_rows", f"a list has at most {MAX_ROWS:,} lines: send it in parts")
        for fault in row.faults:
            faults.add(fault.pointer, fault.code, fault.message)
        if row.conversion is None:
            continue
        looked.names_customers |= row.conversion.customer_id is not None
        # Names of customers stand for their keys here: one file has one secret.
        said = said_hash(row.conversion, None) + (row.conversion.customer_id or "").encode()
        line, before = seen.setdefault(row.conversion.external_id, (row.line, said))
        if line != row.line:
            if said != before:
                faults.add(f"/{row.line}", "conversion_differs", f"says something else of the order on line {line}")
            looked.repeats.add(row.line)
    faults.refuse()
    return looked


class _Chunks:
    """Reads a list again, as rows to be stored.

    Args:
        listed: Looked through already.
        looked: What that found.
        action: Of which they are conversions.
        tenant_id: Whose they are.
        secret: Under which customers are keyed.
        now: When the list came in.
    """

    def __init__(
        self,
        listed: RedemptionList,
        looked: _Looked,
        action: ActionRow,
        *,
        tenant_id: UUID,
        secret: bytes,
        now: dt.datetime,
    ) -> None:
        rows: Iterator[Listed] = listed.rows(now=now)
        self._rows = (
            (row.line, row.conversion) for row in rows if row.conversion is not None and row.line not in looked.repeats
        )
        self._action = action
        self._tenant_id = tenant_id
        self._secret = secret
        self._now = now

    def take(self) -> list[tuple[int, NewConversion]]:
        """Read some more, each with its line; nothing when there are no more."""
        return [(line, self._row(given)) for line, given in itertools.islice(self._rows, _CHUNK)]

    def _row(self, given: GivenConversion) -> NewConversion:
        customer = given.customer_id
        return NewConversion.of(
            given,
            self._action,
            tenant_id=self._tenant_id,
            customer_key=None if customer is None else customer_key(customer, self._secret),
            source=ConversionSource.CSV,
            received_at=self._now,
        )


async def _store_all(conn: Connection, chunks: _Chunks, store: _Store) -> int:
    """Store all, or say what would become of all; returns how many are new.

    Raises:
        InvalidRequest: Some say something else than is stored under their name; all are listed.
    """
    created, faults = 0, _Faults()
    # Off the loop: a list has as many lines as to keep others waiting.
    while chunk := await asyncio.to_thread(chunks.take):
        added = await store(conn, [row for _, row in chunk])
        for (line, row), one in zip(chunk, added, strict=True):
            created += one.fate is Fate.CREATED
            if one.fate is Fate.DIFFERS:
                faults.add(
                    f"/{line}", "conversion_differs", f"there is an order {row.external_id!r} that says something else"
                )
    faults.refuse()
    return created


def _warnings(listed: RedemptionList) -> list[str]:
    names = [name[:_MAX_NAME_CHARS] for name in listed.ignored[:_MAX_NAMES]]
    return [f"these columns were not read: {', '.join(names)}"] if names else []


async def _open_action(conn: Connection, action_id: UUID) -> ActionRow:
    action = await find_action(conn, action_id)
    if action.archived_at is not None:
        raise action_archived()
    return action


async def take_redemptions(
    request: Request[Any, Any, Any], listed: RedemptionList, action_id: UUID, *, is_dry_run: bool
) -> TakenRedemptions:
    """Take a list as a whole, or say what would become of it.

    Args:
        request: Which brings it.
        listed: Its header was read.
        action_id: Of which its lines are conversions.
        is_dry_run: Whether nothing is to be stored.

    Raises:
        Refused: It has too many lines.
        InvalidRequest: Something is wrong with some of them; all is listed.
        NotFound: There is no such action.
        Conflict: ``action_archived``.
    """
    tenant, now = caller_of(request).tenant, resources_of(request).clock.now()
    looked = await asyncio.to_thread(_look_through, listed, now)
    secret = await customer_secret(request) if looked.names_customers else b""

    async def run(conn: Connection, store: _Store) -> TakenRedemptions:
        action = await _open_action(conn, action_id)
        chunks = _Chunks(listed, looked, action, tenant_id=tenant.tenant_id, secret=secret, now=now)
        created = await _store_all(conn, chunks, store)
        return TakenRedemptions(
            rows=looked.rows,
            created=created,
            repeated=looked.rows - created,
            is_dry_run=is_dry_run,
            warnings=_warnings(listed),
        )

    if is_dry_run:
        async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
            return await run(conn, foresee_conversions)
    async with writing(request, "conversion.import") as work:
        await use_actions(work.conn, [action_id])
        taken = await run(work.conn, add_conversions)
        told = {"action_id": action_id, "created": taken.created, "repeated": taken.repeated}
        return work.done(taken, resource=None, after=told)
