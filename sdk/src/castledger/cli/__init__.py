"""The command line: ``python -m castledger``."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final, TextIO, TypeAlias, get_args

from castledger._client import Castledger
from castledger._errors import CastledgerError
from castledger._options import __version__
from castledger._requests import Dimension, Interval, Moment
from castledger.cli._commands import show_downloads, show_episodes, show_explanation, show_links, show_podcasts
from castledger.cli._terminal import Terminal, View, write_view

__all__ = ("main",)

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_Show: TypeAlias = Callable[[Castledger, argparse.Namespace], View]

_FAILED: Final = 1
_INTERRUPTED: Final = 130
_MOST_VALUES: Final = 100
_NAMING: Final = "by its id, its guid, or a part of its title that no other has"


def _moment(text: str) -> Moment:
    try:
        if len(text) == len("2026-11-01"):
            return dt.date.fromisoformat(text)
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2026-11-01") from None
    if at.utcoffset() is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset; write 2026-11-01, or 2026-11-01T12:00+01:00")
    return at


def _date(text: str) -> dt.date:
    found = _moment(text)
    if isinstance(found, dt.datetime):
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-11-01")
    return found


def _count(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def _add(commands: _Commands, name: str, show: _Show, *, summary: str, examples: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forms = command.add_mutually_exclusive_group()
    forms.add_argument("--json", dest="form", action="store_const", const="json", help="write JSON, whole")
    forms.add_argument(
        "--csv",
        dest="form",
        action="store_const",
        const="csv",
        help="write CSV; texts that a spreadsheet would run as a formula get an apostrophe in front",
    )
    command.add_argument("--api-url", metavar="URL", help="the API (CASTLEDGER_API_URL), else http://127.0.0.1:8000")
    command.add_argument("--api-key", metavar="KEY", help="the key to it (CASTLEDGER_API_KEY), better kept out of here")
    command.set_defaults(show=show, form="table")
    return command


def _add_scope(command: argparse.ArgumentParser) -> None:
    command.add_argument("--podcast", metavar="NAME", help=f"{_NAMING}; see `podcasts`")
    command.add_argument("--episode", metavar="NAME", help=f"an episode of it, {_NAMING}; see `episodes`")


def _add_downloads(commands: _Commands) -> None:
    downloads = _add(
        commands,
        "downloads",
        show_downloads,
        summary="count downloads by time, or by app, country and more",
        examples=(
            "  python -m castledger downloads --podcast 'castle talk'\n"
            "  python -m castledger downloads --podcast castle --by app --from 2026-11-01 --to 2026-12-01\n"
            "  python -m castledger downloads --by country --interval week --tz Europe/Berlin --csv\n"
        ),
    )
    _add_scope(downloads)
    downloads.add_argument(
        "--from", dest="start", type=_moment, metavar="DAY", help="first day, such as 2026-11-01 (30 days before --to)"
    )
    downloads.add_argument("--to", dest="end", type=_moment, metavar="DAY", help="the day behind the last (tomorrow)")
    downloads.add_argument(
        "--by", choices=get_args(Dimension), help="break them down; summed up unless --interval is named"
    )
    downloads.add_argument("--interval", choices=get_args(Interval), help="how long a row's time is (day)")
    downloads.add_argument(
        "--limit",
        type=_count(1, _MOST_VALUES),
        default=20,
        metavar="N",
        help=f"with --by: how many values to name, up to {_MOST_VALUES} (20)",
    )
    downloads.add_argument("--tz", metavar="ZONE", help="whose days, such as Europe/Berlin (the tenant's, or UTC)")


def _add_others(commands: _Commands) -> None:
    _add(
        commands,
        "podcasts",
        show_podcasts,
        summary="list your podcasts",
        examples="  python -m castledger podcasts\n  python -m castledger podcasts --json\n",
    )
    episodes = _add(
        commands,
        "episodes",
        show_episodes,
        summary="list a podcast's episodes, newest first, and how each began",
        examples=(
            "  python -m castledger episodes --podcast 'castle talk'\n"
            "  python -m castledger episodes --podcast castle --limit 0 --csv > episodes.csv\n"
        ),
    )
    episodes.add_argument("--podcast", metavar="NAME", help=f"{_NAMING}; not needed where there is one podcast")
    episodes.add_argument(
        "--limit", type=_count(0, 1_000_000), default=20, metavar="N", help="how many; 0 for all of them (20)"
    )
    explain = _add(
        commands,
        "explain",
        show_explanation,
        summary="take a day apart: every hit, and why it counts or does not",
        examples=(
            "  python -m castledger explain --podcast 'castle talk' --day 2026-11-24\n"
            "  python -m castledger explain --podcast castle --episode 'the moat'\n"
        ),
    )
    _add_scope(explain)
    explain.add_argument("--day", type=_date, metavar="DAY", help="a UTC day, such as 2026-11-24 (yesterday)")
    links = _add(
        commands,
        "links",
        show_links,
        summary="list your links and the clicks on them",
        examples="  python -m castledger links\n  python -m castledger links --all --csv\n",
    )
    links.add_argument("--all", action="store_true", help="deleted ones too")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m castledger",
        description=(
            "Read a Castledger ledger: downloads, and what they are made of.\n\n"
            "CASTLEDGER_API_KEY holds the key that `castledger up` printed, CASTLEDGER_API_URL the API's address.\n"
            "Every command shows a table, or writes the same as --json or --csv."
        ),
        epilog=(
            "examples:\n"
            "  python -m castledger podcasts\n"
            "  python -m castledger downloads --podcast 'castle talk' --by app\n\n"
            "exit codes: 0 done, 1 refused or not reached, 2 misused, 130 interrupted"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"castledger {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_downloads(commands)
    _add_others(commands)
    return parser


def _connect(options: argparse.Namespace) -> Castledger:
    return Castledger(options.api_key, base_url=options.api_url)


def main(
    argv: Sequence[str] | None = None,
    *,
    connect: Callable[[argparse.Namespace], Castledger] = _connect,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Run a command.

    Args:
        argv: What stands behind ``python -m castledger``; the process's own when ``None``.
        connect: Makes the client, from the options.
        out: Where to write; standard output when ``None``.
        err: Where to complain; standard error when ``None``.

    Returns:
        0, or what the process is to exit with.

    Raises:
        SystemExit: With 2 where the arguments are none, with 0 behind ``--help``.
    """
    out, err = out or sys.stdout, err or sys.stderr
    options = _parser().parse_args(argv)
    try:
        with connect(options) as client:
            view = options.show(client, options)
        if options.form != "table" and isinstance(out, io.TextIOWrapper):
            # Programs read it, whatever the terminal's language is.
            out.reconfigure(encoding="utf-8")
        write_view(view, form=options.form, terminal=Terminal.of(out, os.environ), out=out)
        out.flush()
    except CastledgerError as error:
        # One line, and none of what others wrote, such as a title, may command the terminal.
        said = Terminal.of(err, os.environ).clean(" ".join(str(error).split()))
        err.write(f"castledger: {said}\n")
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has seen enough, as `head` does; nothing is to be said at the interpreter's end either.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
