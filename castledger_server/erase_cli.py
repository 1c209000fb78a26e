"""``castledger erase``: a listener, a podcast or a customer erased, and the records that prove it."""

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
    from analytics_core.db.erasure_requests import StoredErasure
    from castledger_server.erasing import PodcastToErase

__all__ = ("add_erase",)

_KEY: Final = re.compile(r"[0-9a-f]{32}")
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MONTH: Final = re.compile(r"\d{4}-\d{2}")
_MAX_CUSTOMER_CHARS: Final = 128


def add_erase(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``erase`` with its actions to the command line."""
    erase = commands.add_parser("erase", help="erase a listener, a podcast or a customer, and show the proof of it")
    actions = erase.add_subparsers(metavar="ACTION", required=True)
    listener = actions.add_parser(
        "listener",
        help="erase the hits and downloads of a listener",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Erase all that is there of one listener in one UTC month: hits, clicks, downloads, hits that wait. Name\n"
            "it by one of its hits, or by its key with the month. Figures are made anew without it; where downloads\n"
            "are not kept any more they stay. Prints a record that names nobody. What was stopped goes on when it is\n"
            "called again, or when ingest runs."
        ),
        epilog="example:\n  castledger erase listener h_1a-ff --tenant home\n",
    )
    listener.add_argument("listener", metavar="HIT_OR_KEY", help="h_… or 32 hexadecimal digits")
    listener.add_argument("--month", metavar="YYYY-MM", help="of the key; a hit has its own")
    _add_tenant(listener)
    listener.set_defaults(run=_erase_listener)
    podcast = actions.add_parser(
        "podcast",
        help="erase a podcast with all that is kept of it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Erase a podcast: episodes and enclosures, every hit, download and figure, claims on it, moves of it.\n"
            "What is asked for later under its addresses is nobody's. Nothing of it can be had back. Prints a record\n"
            "that names nobody. What was stopped goes on when it is called again, or when ingest runs."
        ),
        epilog="example:\n  castledger erase podcast 019abc00-0000-7000-8000-000000000000 --tenant home --dry-run\n",
    )
    podcast.add_argument("podcast", metavar="PODCAST_ID", help="as GET /api/v1/podcasts names it")
    podcast.add_argument("--dry-run", action="store_true", help="only say what is kept of it, by table")
    podcast.add_argument("--yes", action="store_true", help="do not ask for its title first")
    _add_tenant(podcast)
    podcast.set_defaults(run=_erase_podcast)
    customer = actions.add_parser(
        "customer",
        help="erase the attribution events of a customer",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Erase all attribution events of a customer, by the name that the shop or app has for it: the one that\n"
            "it sends as customer_id. Their ids are kept for as long as any, so that events that are sent again do\n"
            "not come back. Prints a record that names nobody. What was stopped goes on when it is called again, or\n"
            "when ingest runs."
        ),
        epilog=(
            "examples:\n"
            "  castledger erase customer u_123 --tenant home --dry-run\n"
            "  castledger erase customer u_123 --tenant home\n"
        ),
    )
    customer.add_argument("customer", metavar="CUSTOMER_ID", help="as it is sent with events")
    customer.add_argument("--dry-run", action="store_true", help="only say what is kept of it, and the key")
    _add_tenant(customer)
    customer.set_defaults(run=_erase_customer)
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
    verify.add_argument("--podcast", metavar="PODCAST_ID", help="check as well that it is about this podcast")
    verify.add_argument("--customer", metavar="KEY", help="check as well that it is about this customer")
    verify.add_argument("--closed-tenant", metavar="TENANT_ID", help="check as well that it is about this tenant")
    _add_tenant(verify)
    verify.set_defaults(run=_verify)


def _add_tenant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tenant", required=True, metavar="TENANT", help="whose, as `castledger retention ls` names it"
    )
    add_data_dir(parser)


def _key(text: str, name: str) -> UUID:
    if not _KEY.fullmatch(text):
        raise InvalidInput(name, "a key is 32 hexadecimal digits")
    return UUID(hex=text)


def _month(text: str | None) -> date:
    if text is not None and _MONTH.fullmatch(text):
        try:
            return date.fromisoformat(f"{text}-01")
        except ValueError:
            pass
    raise InvalidInput("--month", "is the month of the key, such as 2026-11")


def _id(text: str, name: str) -> UUID:
    if not _ID.fullmatch(text):
        raise InvalidInput(name, "an id is such as 019abc00-0000-7000-8000-000000000000")
    return UUID(text)


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


def _erase_listener(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.ids import parse_hit_id
    from castledger_server.erasing import erase_listener

    text: str = options.listener
    hit = parse_hit_id(text) if text.startswith("h_") else None
    named = None if hit is not None else (_key(text, "HIT_OR_KEY"), _month(options.month))
    database = find_settings(options, environ).require_database()
    stored = asyncio.run(erase_listener(database, options.tenant, hit=hit, named=named))
    _write(stored)
    return 0 if stored.is_whole else 1


def _erase_podcast(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    import msgspec

    from castledger_server.erasing import erase_podcast, look_at_podcast

    podcast_id = _id(options.podcast, "PODCAST_ID")
    database = find_settings(options, environ).require_database()
    found = asyncio.run(look_at_podcast(database, options.tenant, podcast_id))
    if options.dry_run:
        title = None if found.podcast is None else found.podcast.title
        sys.stdout.buffer.write(msgspec.json.encode({"title": title, "would_remove": found.rows}) + b"\n")
        sys.stdout.buffer.flush()
        return 0
    if not options.yes:
        _confirm(found)
    stored = asyncio.run(erase_podcast(database, options.tenant, podcast_id))
    _write(stored)
    return 0 if stored.is_whole else 1


def _erase_customer(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    import msgspec

    from castledger_server.erasing import erase_customer, look_at_customer

    customer: str = options.customer
    if not 1 <= len(customer) <= _MAX_CUSTOMER_CHARS:
        raise InvalidInput("CUSTOMER_ID", f"has 1 to {_MAX_CUSTOMER_CHARS} characters")
    database = find_settings(options, environ).require_database()
    if options.dry_run:
        key, kept = asyncio.run(look_at_customer(database, options.tenant, customer))
        answer = {"customer_key": key.hex, "would_remove": kept}
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()
        return 0
    stored = asyncio.run(erase_customer(database, options.tenant, customer))
    _write(stored)
    return 0 if stored.is_whole else 1


def _confirm(found: PodcastToErase) -> None:
    """Have the title typed; what goes on with an erasure was confirmed before.

    Raises:
        InvalidInput: It was not, or nobody is there to do it.
    """
    if found.podcast is None or found.asked is not None:
        return
    if not sys.stdin.isatty():
        raise InvalidInput("--yes", "is needed where nobody is at a terminal: nothing that is erased can be had back")
    title = found.podcast.title
    sys.stderr.write(f"All of {title!r} goes, {found.rows['hits']} hits among it. Type its title to erase it: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != title.strip():
        raise InvalidInput("title", "is not the podcast's: nothing was erased")


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.erasing import read_erasures

    erasures = asyncio.run(read_erasures(find_settings(options, environ).require_database(), options.tenant))
    if not erasures:
        sys.stderr.write(f"there is no erasure of {options.tenant} yet\n")
    for stored in erasures:
        _write(stored)
    return 0


def _verify(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.erasures import is_about
    from castledger_server.erasing import read_erasures

    key = None if options.key is None else _key(options.key, "--key")
    podcast_id = None if options.podcast is None else _id(options.podcast, "--podcast")
    customer = None if options.customer is None else _key(options.customer, "--customer")
    tenant_id = None if options.closed_tenant is None else _id(options.closed_tenant, "--closed-tenant")
    erasures = asyncio.run(read_erasures(find_settings(options, environ).require_database(), options.tenant))
    stored = next((one for one in erasures if str(one.record.erasure_id) == options.erasure), None)
    if stored is None:
        raise NotFound("erasure of this tenant")
    if not stored.is_whole:
        sys.stdout.write("not whole: it is not done, or the record is not what was written\n")
        return 1
    named = {"listener": key, "podcast": podcast_id, "customer": customer, "tenant": tenant_id}
    if any(
        about is not None and not (stored.record.kind == kind and is_about(stored.record, about.bytes))
        for kind, about in named.items()
    ):
        sys.stdout.write("whole, and about somebody or something else\n")
        return 1
    sys.stdout.write(f"whole: nothing was left on {stored.record.finished_at:%Y-%m-%d %H:%M:%S}Z\n")
    return 0
