"""``castledger audit``: the record of changes, listed, and proven to be whole."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from analytics_core.errors import InvalidInput
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from analytics_core.db.audit import AuditRow
    from analytics_core.db.audit_seals import AuditedTenant
    from analytics_core.db.pool import Connection
    from analytics_core.settings import DatabaseSettings

__all__ = ("Known", "add_audit", "verify_records")

_NAME: Final = "castledger audit"
_PAGE: Final = 1_000
_TELL_EVERY: Final = 100_000
_HEAD: Final = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


class Known(NamedTuple):
    """A place in a tenant's sequence that somebody noted, with its hash."""

    seq: int
    hash: bytes


def add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``audit`` with its actions to the command line."""
    audit = commands.add_parser("audit", help="see who changed what, and prove that the record of it is whole")
    actions = audit.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser(
        "ls",
        help="list what was changed, newest first",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="List what was changed of a tenant, by whom and when, an entry a line, the newest first.",
        epilog="examples:\n  castledger audit ls --tenant home\n  castledger audit ls --tenant home --action link\n",
    )
    ls.add_argument("--tenant", required=True, metavar="TENANT", help="whose, as `castledger retention ls` names it")
    ls.add_argument("--action", metavar="ACTION", help="only this, such as link.create, or all of it, such as link")
    ls.add_argument("--limit", type=_limit, default=50, metavar="N", help="how many at most, 1 to 1000 (50)")
    add_data_dir(ls)
    ls.set_defaults(run=_list)
    verify = actions.add_parser(
        "verify",
        help="prove that nothing was taken from the record or changed in it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Walk each tenant's sequence from its first entry, make every hash anew and compare it with what was\n"
            "sealed. Ends with 1 and names the place where a sequence breaks first. What it prints as the head is\n"
            "worth keeping elsewhere: with it, --known finds an end that was cut off, or a record made anew."
        ),
        epilog=("examples:\n  castledger audit verify\n  castledger audit verify --tenant home --known 1234:8f43…\n"),
    )
    verify.add_argument("--tenant", metavar="TENANT", help="only of this one, as `castledger retention ls` names it")
    verify.add_argument("--known", metavar="SEQ:HASH", help="a head that was printed before; needs --tenant")
    add_data_dir(verify)
    verify.set_defaults(run=_verify)


def _limit(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 1000")
    return number


def _known(options: argparse.Namespace) -> Known | None:
    if options.known is None:
        return None
    match = _HEAD.fullmatch(options.known)
    if match is None or int(match[1]) == 0:
        raise InvalidInput("--known", "is a head that `castledger audit verify` printed, such as 1234:8f43…")
    if options.tenant is None:
        raise InvalidInput("--known", "needs --tenant: each tenant has a sequence of its own")
    return Known(int(match[1]), bytes.fromhex(match[2]))


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    database = find_settings(options, environ).require_database()
    rows = asyncio.run(_read(database, options.tenant, action=options.action, limit=options.limit))
    if not rows:
        sys.stderr.write("nothing that is on record\n")
    for row in rows:
        who = f"{row.actor.value} {row.actor_id}" if row.actor_id is not None else row.actor.value
        seq = "-" if row.seq is None else str(row.seq)
        sys.stdout.write(f"{seq:>8}  {row.at:%Y-%m-%d %H:%M:%S}Z  {row.action:<24}{row.resource_id or '-':<38}{who}\n")
    return 0


def _verify(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    known = _known(options)
    database = find_settings(options, environ).require_database()
    return 0 if asyncio.run(verify_records(database, slug=options.tenant, known=known)) else 1


async def _read(database: DatabaseSettings, slug: str, *, action: str | None, limit: int) -> list[AuditRow]:
    from analytics_core.db.audit import AuditFilter, list_entries
    from analytics_core.db.pool import Tenant, connect
    from analytics_core.ids import TenantId, TenantNo
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        (found,) = await _find(conn, slug)
        tenant = Tenant(TenantId(found.tenant_id), TenantNo(found.tenant_no))
        return await list_entries(conn, tenant, AuditFilter(action=action), limit=limit)
    finally:
        await conn.close()


async def _find(conn: Connection, slug: str | None) -> list[AuditedTenant]:
    from analytics_core.db.audit_seals import list_audited

    found = await list_audited(conn, slug=slug)
    if slug is not None and not found:
        raise InvalidInput("--tenant", f"there is no tenant {slug!r}; `castledger retention ls` names them")
    return found


async def verify_records(database: DatabaseSettings, *, slug: str | None = None, known: Known | None = None) -> bool:
    """Prove the records of all tenants, or of one, and print what was found, a line each.

    Args:
        database: Where.
        slug: Of the one tenant; all when ``None``.
        known: A place in its sequence with the hash that it has to have.

    Returns:
        Whether all are whole.

    Raises:
        ConfigError: The login may not act as ingest.
        InvalidInput: There is no such tenant.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.pool import connect
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        whole = True
        for tenant in await _find(conn, slug):
            fault, head = await _walk(conn, tenant, known)
            if fault is None and not tenant.is_queued:
                fault = "there are entries that have no seal and do not wait for one"
            whole &= fault is None
            said = f"broken: {fault}" if fault is not None else f"whole, {head}"
            sys.stdout.write(f"{tenant.slug:<24}{said}\n")
            if tenant.unsealed and tenant.is_queued:
                sys.stdout.write(f"{'':<24}{tenant.unsealed} without a seal yet; an ingest that is up gives it\n")
            sys.stdout.flush()
        return whole
    finally:
        await conn.close()


async def _walk(conn: Connection, tenant: AuditedTenant, known: Known | None) -> tuple[str | None, str]:
    """Walk a tenant's sequence: where it breaks first, and its head for people."""
    from analytics_core.audit import find_break
    from analytics_core.db.audit import read_sealed

    head: tuple[int, bytes] | None = None
    while True:
        links = await read_sealed(conn, tenant.tenant_id, after=head[0] if head else 0, limit=_PAGE)
        fault = find_break(tenant.tenant_id, links, after=head)
        if fault is not None:
            return fault, ""
        for link in links:
            if known is not None and link.seq == known.seq and link.hash != known.hash:
                return f"sequence {known.seq}: its hash is not the one that is known", ""
        if not links:
            break
        head = (links[-1].seq, links[-1].hash)
        if head[0] % _TELL_EVERY == 0:
            sys.stderr.write(f"castledger: {tenant.slug}: {head[0]:,} entries are as they were sealed\n")
    if known is not None and (head is None or head[0] < known.seq):
        return f"sequence {known.seq}: there is none, though it is known; the last one is {head[0] if head else 0}", ""
    return None, "nothing on record" if head is None else f"{head[0]} entries, head {head[0]}:{head[1].hex()}"
