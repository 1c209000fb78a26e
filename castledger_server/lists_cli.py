"""``castledger lists``: lists of networks, of user agents, and databases of addresses: seen, and fetched when asked."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from analytics_core.settings import load_settings
from castledger_server.command_records import record_of_installation
from castledger_server.retention_cli import find_settings
from castledger_server.shared_cli import add_shared

if TYPE_CHECKING:
    # With an HTTP client, which takes longer to load than all other commands together.
    from castledger_server.list_sources import Fetched, Source

__all__ = ("add_lists",)


def add_lists(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``lists`` with its actions to the command line."""
    lists = commands.add_parser("lists", help="see and fetch lists of networks and agents, and databases of addresses")
    actions = lists.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser(
        "ls",
        help="list what can be fetched, under which licence, and what was",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="List the sources of lists, the licence of each, and what was fetched of them and when.",
    )
    _add_folder(ls)
    _add_sources(ls)
    ls.set_defaults(run=_list)
    update = actions.add_parser(
        "update",
        help="fetch sources by their names",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Fetch lists into the folder of lists. All files of a source are fetched and checked before any takes its\n"
            "place; where one cannot be had or used, those before stay. An ingest that is up reads them in a minute.\n"
            "Nothing is ever fetched by itself. What is fetched has a licence of its own, which is shown."
        ),
        epilog=(
            "examples:\n"
            "  castledger lists update x4b-networks\n"
            "  castledger lists update dbip-countries dbip-asns\n"
            "  castledger lists update x4b-networks --sources mirror.toml\n"
        ),
    )
    update.add_argument("names", nargs="+", metavar="SOURCE", help="as `castledger lists ls` names it, or `all`")
    _add_folder(update)
    _add_sources(update)
    update.set_defaults(run=_update)
    add_shared(actions, add_folder=_add_folder, folder=_folder)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="with `lists` in it (CASTLEDGER_DATA_DIR, CASTLEDGER_LISTS_DIR)",
    )


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sources",
        type=Path,
        metavar="FILE",
        help="your own list of sources, such as a mirror's, in the form of castledger_server/list_sources.toml",
    )


def _folder(options: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    data_dir: Path | None = options.data_dir
    return load_settings(environ, data_dir=data_dir.absolute() if data_dir else None).ingest.lists_dir


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.list_sources import read_sources
    from castledger_server.list_updates import list_lines

    for line in list_lines(read_sources(options.sources), _folder(options, environ), now=dt.datetime.now(dt.UTC)):
        sys.stdout.write(f"{line}\n")
    return 0


def _update(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.list_sources import read_sources
    from castledger_server.list_updates import update_lists

    sources, settings = read_sources(options.sources), find_settings(options, environ)

    def note(source: Source, found: Mapping[str, Fetched]) -> None:
        files = {name: fetched.sha256 for name, fetched in found.items()}
        record_of_installation(settings, action="lists.update", resource_id=source.name, after={"sha256": files})

    for line in update_lists(sources, options.names, settings.ingest.lists_dir, now=dt.datetime.now(dt.UTC), note=note):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0
