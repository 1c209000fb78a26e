"""``castledger users``: people, by the operator: who there is, the first one, who is kept out."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from analytics_core.errors import InvalidInput
from analytics_core.people import parse_email, parse_locale, parse_name
from analytics_core.permissions import RoleName
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from castledger_server.users import NewMember

__all__ = ("add_users",)

_STATES: Final = {"disable": "disabled", "enable": "active"}


def add_users(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``users`` with its actions to the command line."""
    users = commands.add_parser("users", help="see people, add the first one, and let in or keep out")
    actions = users.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser("ls", help="list people, and the tenants that they belong to")
    ls.add_argument(
        "--tenant", metavar="TENANT", help="only members of this one, as `castledger retention ls` names it"
    )
    add_data_dir(ls)
    ls.set_defaults(run=_list)
    _add_add(actions)
    _add_action(
        actions,
        "password",
        help_="set somebody's password",
        description=(
            "Set somebody's password and end all of their sessions. It is asked for twice without being shown, or\n"
            "read from standard input, one line, where that is no terminal."
        ),
        run=_password,
    )
    _add_action(
        actions,
        "disable",
        help_="keep somebody out",
        description="End all sessions of somebody at once, and let them sign in no longer. What they belong to stays.",
        run=_set_status,
    )
    _add_action(
        actions,
        "enable",
        help_="let somebody in again",
        description="Let somebody sign in again who was kept out.",
        run=_set_status,
    )
    _add_action(
        actions,
        "restore",
        help_="take back that somebody deleted themselves",
        description=(
            "Take back that somebody deleted themselves, within the 30 days before they are erased. Tenants that they\n"
            "left invite them anew, and they set a new password: by mail, or with `castledger users password`."
        ),
        run=_restore,
    )


def _add_add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "add",
        help="add somebody to a tenant, without any mail",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Add somebody to a tenant, so that there is a first person who can invite others. Their password is asked\n"
            "for twice without being shown, or read from standard input, one line, where that is no terminal. Who has\n"
            "an account already keeps its password and name, and only joins the tenant."
        ),
        epilog=(
            "examples:\n"
            "  castledger users add --email ann@example.com\n"
            "  pwgen 20 1 | castledger users add --email bob@example.com --tenant studio --role analyst\n"
        ),
    )
    parser.add_argument("--email", required=True, metavar="ADDRESS", help="which they sign in with")
    parser.add_argument("--tenant", default="home", metavar="TENANT", help="its short name (home)")
    roles = [role.value for role in RoleName if role is not RoleName.SPONSOR]
    parser.add_argument("--role", default=RoleName.OWNER.value, choices=roles, help="what they are there (owner)")
    parser.add_argument("--name", default="", metavar="TEXT", help="how they are called")
    parser.add_argument("--locale", default="en", metavar="TAG", help="their language (en)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add_data_dir(parser)
    parser.set_defaults(run=_add)


def _add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    help_: str,
    description: str,
    run: object,
) -> None:
    parser = actions.add_parser(
        name,
        help=help_,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=description,
        epilog=f"example:\n  castledger users {name} ann@example.com\n",
    )
    parser.add_argument("email", metavar="ADDRESS", help="as `castledger users ls` shows it")
    add_data_dir(parser)
    parser.set_defaults(run=run, action=name)


def read_password() -> str:
    """Ask for a password twice without showing it, or read one from standard input.

    Raises:
        InvalidInput: There is none, or the two differ.
    """
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = getpass.getpass("password: ")
        if password and getpass.getpass("once more: ") != password:
            raise InvalidInput("password", "the two are not the same")
    if not password:
        raise InvalidInput("password", "is missing: type it, or write it to standard input as one line")
    return password


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.users import list_lines

    database = find_settings(options, environ).require_database()
    for line in asyncio.run(list_lines(database, slug=options.tenant)):
        sys.stdout.write(f"{line}\n")
    return 0


def _read_member(options: argparse.Namespace) -> NewMember:
    from castledger_server.users import NewMember

    return NewMember(
        email=parse_email(options.email, path="--email"),
        tenant=options.tenant,
        role=RoleName(options.role),
        name=parse_name(options.name, path="--name"),
        locale=parse_locale(options.locale, path="--locale"),
    )


def _add(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.users import add_member

    settings, member = find_settings(options, environ), _read_member(options)
    told = asyncio.run(
        add_member(
            settings.require_database(),
            member,
            ask=None if options.dry_run else read_password,
            bcrypt_cost=settings.people.bcrypt_cost,
        )
    )
    sys.stdout.write(f"{told}\n")
    return 0


def _password(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.users import set_new_password

    settings, email = find_settings(options, environ), parse_email(options.email, path="ADDRESS")
    database, cost = settings.require_database(), settings.people.bcrypt_cost
    asyncio.run(set_new_password(database, email, ask=read_password, bcrypt_cost=cost))
    sys.stdout.write(f"{email} has a new password, and is signed in nowhere\n")
    return 0


def _set_status(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.users import change_status

    database, email = find_settings(options, environ).require_database(), parse_email(options.email, path="ADDRESS")
    asyncio.run(change_status(database, email, _STATES[options.action]))
    sys.stdout.write(f"{email} is {_STATES[options.action]}\n")
    return 0


def _restore(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.users import restore_deleted

    database, email = find_settings(options, environ).require_database(), parse_email(options.email, path="ADDRESS")
    asyncio.run(restore_deleted(database, email))
    sys.stdout.write(f"{email} is back, and has to set a new password\n")
    return 0
