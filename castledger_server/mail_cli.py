"""``castledger mail``: what waits in the outbox, and whether the mail server takes what we send."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from uuid import UUID

from analytics_core.errors import ConfigError, InvalidInput, NotFound
from analytics_core.settings import DatabaseSettings
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from analytics_core.mailers import Mailer

__all__ = ("add_mail", "list_lines", "retry_all", "send_test", "show_text")

_NAME = "castledger mail"
_MOST = 1_000


def add_mail(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``mail`` with its actions to the command line."""
    mail = commands.add_parser("mail", help="see mail that waits, and try the mail server")
    actions = mail.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser(
        "ls",
        help="list mail that has not gone yet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "List mail that has not gone yet, oldest first: when it was queued, how often it was tried, why it did\n"
            "not go, and to whom it is. Mail that went or was given up is not listed: nothing of it is kept."
        ),
        epilog="example:\n  castledger mail ls\n",
    )
    add_data_dir(ls)
    ls.set_defaults(run=_list)
    show = actions.add_parser(
        "show",
        help="print a mail that has not gone yet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Print a mail that waits, with its link: where no mail server is configured, hand it to whom it is for.\n"
            "Whoever has the link can use it."
        ),
        epilog="example:\n  castledger mail show 01a22a6f-c198-7462-b192-804f1af075fa\n",
    )
    show.add_argument("mail_id", metavar="MAIL_ID", help="as `castledger mail ls` names it")
    add_data_dir(show)
    show.set_defaults(run=_show)
    retry = actions.add_parser(
        "retry",
        help="have mail that did not go tried again at once",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make mail due that was tried before; an ingest that is up sends it within seconds.",
        epilog="example:\n  castledger mail test ana@example.com && castledger mail retry\n",
    )
    add_data_dir(retry)
    retry.set_defaults(run=_retry)
    test = actions.add_parser(
        "test",
        help="send a mail now, and say what the server answers",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Send a mail to an address by the server of CASTLEDGER_SMTP_URL, past the outbox. Needs no database. Ends\n"
            "with 1 when the server does not take it."
        ),
        epilog=(
            "example:\n"
            "  export CASTLEDGER_SMTP_URL=smtp://ledger:secret@mail.example.org\n"
            "  export CASTLEDGER_MAIL_FROM='Castledger <ledger@example.org>'\n"
            "  castledger mail test ana@example.com\n"
        ),
    )
    test.add_argument("address", metavar="ADDRESS", help="to whom")
    add_data_dir(test)
    test.set_defaults(run=_test)


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    database = find_settings(options, environ).require_database()
    for line in asyncio.run(list_lines(database)):
        sys.stdout.write(f"{line}\n")
    return 0


def _show(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    try:
        mail_id = UUID(options.mail_id)
    except ValueError:
        raise InvalidInput("MAIL_ID", f"{options.mail_id!r} is no id; `castledger mail ls` lists them") from None
    sys.stdout.write(asyncio.run(show_text(find_settings(options, environ).require_database(), mail_id)))
    return 0


def _retry(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    count = asyncio.run(retry_all(find_settings(options, environ).require_database()))
    sys.stdout.write(f"{count} are due now; an ingest that is up sends them within seconds\n")
    return 0


def _test(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.mailers import Undelivered, open_mailer

    mailer = open_mailer(find_settings(options, environ).mail, sys.stdout)
    try:
        asyncio.run(send_test(mailer, options.address))
    except Undelivered as error:
        sys.stderr.write(f"castledger: {error}: {error.detail}\n" if error.detail else f"castledger: {error}\n")
        return 1
    sys.stdout.write(f"the server took a mail to {options.address}; see whether it arrives, and not among spam\n")
    return 0


async def list_lines(database: DatabaseSettings) -> list[str]:
    """Tell what waits, a line each.

    Raises:
        ConfigError: The login may not act as ingest.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.outbox import list_waiting_mail
    from analytics_core.db.pool import connect
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        waiting = await list_waiting_mail(conn, limit=_MOST)
    finally:
        await conn.close()

    def lines() -> Iterator[str]:
        for mail in waiting:
            why = "not tried yet" if mail.last_error is None else f"tried {mail.attempts}: {mail.last_error}"
            yield f"{mail.mail_id}  {mail.queued_at:%Y-%m-%d %H:%M}Z  {why:<28}  {mail.recipient}  {mail.subject}"
        if not waiting:
            yield "no mail waits"
        if len(waiting) == _MOST:
            yield f"… and what was queued after these {_MOST}"

    return list(lines())


async def show_text(database: DatabaseSettings, mail_id: UUID) -> str:
    """Write a mail out that waits.

    Raises:
        ConfigError: The login may not act as ingest.
        NotFound: None such waits.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.outbox import read_mail
    from analytics_core.db.pool import connect
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        found = await read_mail(conn, mail_id)
    finally:
        await conn.close()
    if found is None:
        raise NotFound("mail that waits; what went or was given up is not kept")
    return f"To: {found.recipient}\nSubject: {found.subject}\n\n{found.body.rstrip()}\n"


async def retry_all(database: DatabaseSettings) -> int:
    """Make mail due that was tried before; return how much.

    Raises:
        ConfigError: The login may not act as ingest.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.outbox import make_mail_due
    from analytics_core.db.pool import connect
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        return await make_mail_due(conn, now=dt.datetime.now(dt.UTC))
    finally:
        await conn.close()


async def send_test(mailer: Mailer | None, address: str) -> None:
    """Send a mail to see whether it arrives.

    Args:
        mailer: That of the settings.
        address: To whom.

    Raises:
        ConfigError: No server is configured.
        InvalidInput: The address is none.
        Undelivered: The server did not take it.
    """
    from analytics_core.ids import new_id
    from analytics_core.mail import Mail, check_address

    if mailer is None:
        raise ConfigError(["CASTLEDGER_SMTP_URL: is not set, so that mail waits; docs/mail.md says what it may be"])
    mail = Mail(
        check_address(address, path="ADDRESS"),
        "A test of Castledger",
        "This mail was sent by `castledger mail test`. Your Castledger can send mail.\n",
    )
    await mailer.send(mail, mail_id=new_id(), now=dt.datetime.now(dt.UTC))
