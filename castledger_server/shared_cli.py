"""``castledger lists shared``: the list of shared addresses, seen and changed."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import pwd
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from analytics_core.addresses import IPNetwork
from analytics_core.errors import InvalidInput
from analytics_core.shared_addresses import (
    MAX_NOTE,
    RECORD_NAME,
    VALID_DAYS,
    WARN_DAYS,
    SharedEntry,
    parse_entry,
    parse_shared_network,
)
from castledger_server.command_records import record_of_installation
from castledger_server.retention_cli import find_settings
from castledger_server.shared_list import SharedList

__all__ = ("add_shared", "entry_lines")

_MAX_NAME: Final = 100
_READ: Final = "An ingest that is up reads it within a minute; hits that have landed keep what was found of them."


class _Done(NamedTuple):
    """What was done to entries: as the record has it, and as it is said."""

    action: str
    said: str


Folder = Callable[[argparse.Namespace, Mapping[str, str]], Path]


def add_shared(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    *,
    add_folder: Callable[[argparse.ArgumentParser], None],
    folder: Folder,
) -> None:
    """Add ``shared`` with its actions to ``lists``.

    Args:
        actions: Of ``lists``.
        add_folder: Adds the option that tells where the lists are.
        folder: Reads it.
    """
    shared = actions.add_parser(
        "shared",
        help="addresses that many people share, which count whatever other lists say",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Offices, dormitories and campuses leave through few addresses, and some of these stand in lists of data\n"
            "centres and VPNs. What is in this list counts all the same, unless you block it.\n\n"
            f"The guideline wants every entry to be validated again every {VALID_DAYS} days at least, and a record.\n"
            f"An entry acts for hits up to {VALID_DAYS} days after it was validated, ingest's health and `castledger\n"
            f"doctor` name it from {WARN_DAYS} days on, and who changed what is written down in {RECORD_NAME}."
        ),
        epilog=(
            "examples:\n"
            "  castledger lists shared ls\n"
            "  castledger lists shared add 192.0.2.0/24 --note 'Dormitory Northside, told by its network office'\n"
            "  castledger lists shared validate 192.0.2.0/24 --by 'Ada Example'\n"
            "  castledger lists shared rm 192.0.2.0/24\n"
        ),
    )
    verbs = shared.add_subparsers(metavar="ACTION", required=True)
    ls = verbs.add_parser(
        "ls",
        help="list the entries, and for how long each acts",
        description="List the entries, and for how long each acts. Ends with 1 when one has to be validated again.",
    )
    add_folder(ls)
    ls.set_defaults(run=lambda options, environ: _list(SharedList(folder(options, environ))))

    add = verbs.add_parser(
        "add",
        help="add a network that you have found people behind",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Add a network, validated today. The widest that is taken is an IPv4 /16 or an IPv6 /32: what is wider is\n"
            "a provider's, and no office. Private networks are refused, since no hit comes from one."
        ),
        epilog="examples:\n  castledger lists shared add 192.0.2.7 --note 'Example Inc., exit of the Berlin office'\n",
    )
    add.add_argument("network", metavar="CIDR", help="such as 192.0.2.0/24, 192.0.2.7 or 2001:db8::/48")
    add.add_argument(
        "--note",
        required=True,
        metavar="TEXT",
        help=f"who is behind it and how you know, at most {MAX_NOTE} characters",
    )
    _add_change(add, add_folder)
    add.set_defaults(run=lambda options, environ: _add(options, environ, SharedList(folder(options, environ))))

    validate = verbs.add_parser(
        "validate",
        help="note that people are still behind a network, as you have found out today",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Note that an entry was validated today. Ask whoever runs the network before you do: what is written\n"
            "down is that you have."
        ),
        epilog=(
            "examples:\n  castledger lists shared validate 192.0.2.0/24 --by 'Ada Example'\n"
            "  castledger lists shared validate --all --by 'Ada Example'\n"
        ),
    )
    which = validate.add_mutually_exclusive_group(required=True)
    which.add_argument("network", metavar="CIDR", nargs="?", help="as `castledger lists shared ls` names it")
    which.add_argument("--all", action="store_true", help="every entry")
    _add_change(validate, add_folder)
    validate.set_defaults(
        run=lambda options, environ: _validate(options, environ, SharedList(folder(options, environ)))
    )

    rm = verbs.add_parser(
        "rm",
        help="take a network out",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Take a network out: what other lists say of its addresses acts again from then on.",
        epilog="examples:\n  castledger lists shared rm 192.0.2.0/24 --by 'Ada Example'\n",
    )
    rm.add_argument("network", metavar="CIDR", help="as `castledger lists shared ls` names it")
    _add_change(rm, add_folder)
    rm.set_defaults(run=lambda options, environ: _remove(options, environ, SharedList(folder(options, environ))))


def _add_change(parser: argparse.ArgumentParser, add_folder: Callable[[argparse.ArgumentParser], None]) -> None:
    parser.add_argument("--by", metavar="NAME", help="who does it, for the record; the account's name where left out")
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    add_folder(parser)


def entry_lines(entries: Sequence[SharedEntry], today: dt.date) -> Iterator[str]:
    """Tell each entry in a line, and for how long it acts."""
    width = max((len(str(entry.network)) for entry in entries), default=0)
    for entry in entries:
        left = VALID_DAYS - entry.age_days(today)
        acts = f"acts for {left} days" if left >= 0 else "acts no longer"
        if entry.age_days(today) >= WARN_DAYS:
            acts += ", validate it again"
        yield f"{entry.network!s:<{width}}  {entry.validated}  {acts}  {entry.note}"


def _list(shared: SharedList) -> int:
    today = _now().date()
    entries = shared.entries(today)
    sys.stdout.write(f"in {shared.path}:\n" if entries else f"there is nothing in {shared.path}\n")
    for line in entry_lines(entries, today):
        sys.stdout.write(f"{line}\n")
    return int(any(entry.age_days(today) >= WARN_DAYS for entry in entries))


def _add(options: argparse.Namespace, environ: Mapping[str, str], shared: SharedList) -> int:
    now = _now()
    network = _network(options.network)
    note = " ".join(options.note.split())
    if not note:
        raise InvalidInput("--note", "says who is behind the network, and how you know")
    try:
        entry = parse_entry(f"{network} {now.date()} {note}")
    except InvalidInput as error:
        raise InvalidInput("--note", error.reason) from None
    if entry is None:
        raise AssertionError("a network is no comment")
    shared.add(entry, by=_by(options), at=now, dry_run=options.dry_run)
    return _tell(options, environ, _Done("add", "added"), [entry])


def _validate(options: argparse.Namespace, environ: Mapping[str, str], shared: SharedList) -> int:
    now = _now()
    network = None if options.all else _network(options.network)
    renewed = shared.validate(network, by=_by(options), at=now, dry_run=options.dry_run)
    return _tell(options, environ, _Done("validate", "validated"), renewed)


def _remove(options: argparse.Namespace, environ: Mapping[str, str], shared: SharedList) -> int:
    removed = shared.remove(_network(options.network), by=_by(options), at=_now(), dry_run=options.dry_run)
    return _tell(options, environ, _Done("remove", "taken out"), [removed])


def _tell(options: argparse.Namespace, environ: Mapping[str, str], done: _Done, entries: Sequence[SharedEntry]) -> int:
    for entry in entries:
        sys.stdout.write(f"{'would be ' if options.dry_run else ''}{done.said}: {entry.network} ({entry.note})\n")
    if options.dry_run:
        sys.stdout.write("nothing was changed\n")
        return 0
    sys.stdout.write(f"{_READ}\n")
    # Who, and what they wrote, stands in the list's own record, which can be erased.
    record_of_installation(
        find_settings(options, environ),
        action=f"shared_address.{done.action}",
        resource_id=str(entries[0].network) if len(entries) == 1 else f"{len(entries)} networks",
        after=None if done.action == "remove" else {"validated": str(entries[0].validated)},
    )
    return 0


def _network(text: str) -> IPNetwork:
    try:
        return parse_shared_network(text)
    except InvalidInput as error:
        raise InvalidInput("CIDR", error.reason) from None


def _by(options: argparse.Namespace) -> str:
    text: str | None = options.by
    if text is None:
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            raise InvalidInput("--by", "is needed: this account has no name") from None
    name = text.strip()
    if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
        raise InvalidInput("--by", f"is a name of 1 to {_MAX_NAME} characters")
    return name


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)
