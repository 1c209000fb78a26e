"""``castledger erase``: a listener's erasure, and the records that prove it."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Final
from uuid import UUID

from analytics_core.errors import InvalidInput, NotFound
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from analytics_core.db.listener_erasure import StoredErasure
    from analytics_core.db.pool import Tenant
    from analytics_core.settings import DatabaseSettings

__all__ = ("add_erase",)

_NAME: Final = "castledger erase"
_KEY: Final = re.compile(r"[0-9a-f]{32}")
_MONTH: Final = re.compile(r"\d{4}-\d{2}")


def add_erase(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``erase`` with its actions to the command line."""
    erase = commands.add_parser("erase", help="erase a listener, and show the proof of it")
    actions = erase.add_subparsers(metavar="ACTION", required=True)
    listener = actions.add_parser(
        "listener",
        help="erase the hits and downloads of a listener",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Erase all that is there of one listener in one UTC month: hits, clicks, downloads, hits that wait. Name\n"
            "it by one of its hits, or by its key with the month. Figures are made anew without it; where downloads\n"
            "are not kept any more they stay. Prints a record that names nobody. What was stopped goes on when it is\n"
            "called again."
        ),
        epilog="example:\n  castledger erase listener h_1a-ff --tenant home\n",
    )
    listener.add_argument("listener", metavar="HIT_OR_KEY", help="h_… or 32 hexadecimal digits")
    listener.add_argument("--month", metavar="YYYY-MM", help="of the key; a hit has its own")
    _add_tenant(listener)
    listener.set_defaults(run=_erase)
    ls = actions.add_parser("ls", help="list erasures, a record of JSON each")
    _add_tenant(ls)
    ls.set_defaults(run=_list)
    verify = actions.add_parser(
        "verify",
        help="check the record of an erasure",
        description="Check that a record is whole: done, with nothing left, and what was written. Ends with 1 if not.",
    )
    verify.add_argument("erasure", metavar="ERASURE_ID")
    verify.add_argument("--key", metavar="KEY", help="check as well that it is about this listener")
    _add_tenant(verify)
    verify.set_defaults(run=_verify)


def _add_tenant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tenant", required=True, metavar="TENANT", help="whose, as `castledger retention ls` names it"
    )
    add_data_dir(parser)


def _key(text: str, name: str) -> UUID:
    if not _KEY.fullmatch(text):
        raise InvalidInput(name, "a listener's key is 32 hexadecimal digits")
    return UUID(hex=text)


def _month(text: str | None) -> date:
    if text is not None and _MONTH.fullmatch(text):
        try:
            return date.fromisoformat(f"{text}-01")
        except ValueError:
            pass
    raise InvalidInput("--month", "is the month of the key, such as 2026-11")


def _write(stored: StoredErasure) -> None:
    import msgspec

    record = {
        **msgspec.to_builtins(stored.record),
        "subject_hash": stored.record.subject_hash.hex(),
        "digest": None if stored.digest is None else stored.digest.hex(),
        "whole": stored.is_whole,
    }
    sys.stdout.buffer.write(msgspec.json.encode(record) + b"\n")
    sys.stdout.buffer.flush()


def _erase(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.ids import parse_hit_id

    text: str = options.listener
    hit = parse_hit_id(text) if text.startswith("h_") else None
    named = None if hit is not None else (_key(text, "HIT_OR_KEY"), _month(options.month))
    database = find_settings(options, environ).require_database()
    stored = asyncio.run(_erase_listener(database, options.tenant, hit, named))
    _write(stored)
    return 0 if stored.is_whole else 1


async def _erase_listener(
    database: DatabaseSettings, slug: str, hit: tuple[int, int] | None, named: tuple[UUID, date] | None
) -> StoredErasure:
    from analytics_core.clock import SystemClock
    from analytics_core.db.listener_erasure import erase_listener, find_erasure, find_listener
    from analytics_core.db.pool import open_pool, tenant_transaction
    from analytics_core.roles import Role

    tenant = await _tenant(database, slug)
    pool = await open_pool(database, Role.OWNER, application_name=_NAME, max_size=2)
    try:
        if hit is not None:
            async with tenant_transaction(pool, tenant) as conn:
                named = await find_listener(conn, tenant, *hit)
        if named is None:
            raise NotFound("hit of this tenant, or it has not landed")
        record = await erase_listener(pool, tenant, *named, now=SystemClock().now())
        async with tenant_transaction(pool, tenant) as conn:
            stored = await find_erasure(conn, tenant, record.erasure_id)
    finally:
        pool.terminate()
    if stored is None:
        raise AssertionError("an erasure has a record")
    return stored


async def _tenant(database: DatabaseSettings, slug: str) -> Tenant:
    from analytics_core.db.pool import connect
    from analytics_core.db.tenants import find_tenant
    from analytics_core.roles import Role

    conn = await connect(database, Role.AUTH, application_name=_NAME)
    try:
        row = await find_tenant(conn, slug)
    finally:
        await conn.close()
    if row is None:
        raise InvalidInput("--tenant", f"there is no tenant {slug!r}; `castledger retention ls` names them")
    return row.tenant


async def _read(database: DatabaseSettings, slug: str) -> list[StoredErasure]:
    from analytics_core.db.listener_erasure import list_erasures
    from analytics_core.db.pool import open_pool, tenant_transaction
    from analytics_core.roles import Role

    tenant = await _tenant(database, slug)
    pool = await open_pool(database, Role.API, application_name=_NAME, max_size=1)
    try:
        async with tenant_transaction(pool, tenant, readonly=True) as conn:
            return await list_erasures(conn, tenant)
    finally:
        pool.terminate()


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    for stored in asyncio.run(_read(find_settings(options, environ).require_database(), options.tenant)):
        _write(stored)
    return 0


def _verify(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.erasures import is_about

    key = None if options.key is None else _key(options.key, "--key")
    erasures = asyncio.run(_read(find_settings(options, environ).require_database(), options.tenant))
    stored = next((one for one in erasures if str(one.record.erasure_id) == options.erasure), None)
    if stored is None:
        raise NotFound("erasure of this tenant")
    if not stored.is_whole:
        sys.stdout.write("not whole: it is not done, or the record is not what was written\n")
        return 1
    if key is not None and not is_about(stored.record, key.bytes):
        sys.stdout.write("whole, and about another listener\n")
        return 1
    sys.stdout.write(f"whole: nothing was left on {stored.record.finished_at:%Y-%m-%d %H:%M:%S}Z\n")
    return 0
