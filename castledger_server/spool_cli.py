"""``castledger spool``: its arguments, and what each action prints. The work is in ``spool_commands``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from analytics_core.errors import ConfigError
from analytics_core.settings import load_settings

__all__ = ("add_spool",)


def add_spool(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``spool`` with its actions to the command line."""
    spool = commands.add_parser(
        "spool", help="look at recorded hits and events that have not landed yet, check and repair them"
    )
    actions = spool.add_subparsers(metavar="ACTION", required=True)
    ls = _action(
        actions,
        "ls",
        "list the spool's segments",
        description=(
            "List the segments that wait in the spool, oldest first: of trackers, or with --events of collectors. A\n"
            "segment is `writing` while somebody has it, `left` when its writer died, `sealed` when it is complete;\n"
            "`damaged` ones have landed as far as they are whole, and `repaired` ones have given up what could be\n"
            "saved."
        ),
        epilog=(
            "examples:\n"
            "  castledger spool ls\n"
            "  castledger spool ls --events\n"
            "  castledger spool ls --json | jq '[.[].hits] | add'\n"
        ),
    )
    ls.add_argument("--json", action="store_true", help="write the list as JSON")
    _add_folder(ls)
    ls.set_defaults(run=_list)
    cat = _action(
        actions,
        "cat",
        "print hits or events, a line of JSON each",
        description=(
            "Print the hits or events of segments, a line of JSON each, as they were recorded. Addresses are cut to\n"
            "their network, customers are hidden, pages end before their query; whole addresses and customers' names\n"
            "are shown only when asked for."
        ),
        epilog="example:\n  castledger spool cat /var/lib/castledger/spool/*.sealed | jq -r .agent | sort | uniq -c\n",
    )
    cat.add_argument("files", nargs="+", type=Path, metavar="FILE")
    cat.add_argument("--addresses", action="store_true", help="show whole client addresses")
    cat.add_argument("--customers", action="store_true", help="show senders' names for customers")
    cat.set_defaults(run=_cat)
    verify = _action(
        actions,
        "verify",
        "check segments for damage",
        description=(
            "Check headers, checksums, forms, running totals and seals of segments: those named, or all of the spool.\n"
            "Changes nothing. Ends with 1 when something is damaged. A half-written end of a tracker that died is no\n"
            "damage: its hits were never answered."
        ),
        epilog="example:\n  castledger spool verify\n",
    )
    verify.add_argument("files", nargs="*", type=Path, metavar="FILE")
    _add_folder(verify)
    verify.set_defaults(run=_verify)
    repair = _action(
        actions,
        "repair",
        "save what is in a damaged segment that ingest could not land",
        description=(
            "Save the hits or events of a segment that neither its header nor its name tell of (*.damaged). They go\n"
            "into a new segment, which ingest lands by itself; the old one becomes *.repaired and may be deleted. Of\n"
            "every other damaged segment ingest has landed all that is whole. Doing it twice lands nothing twice."
        ),
        epilog=(
            "examples:\n"
            "  castledger spool repair --dry-run lost+found/segment.damaged\n"
            "  castledger spool repair lost+found/segment.damaged\n"
        ),
    )
    repair.add_argument("files", nargs="+", type=Path, metavar="FILE")
    repair.add_argument("--dry-run", action="store_true", help="say what could be saved, and change nothing")
    repair.set_defaults(run=_repair)


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    *,
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    return actions.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spool-dir", type=Path, metavar="DIR", help="the spool's folder (SPOOL_DIR)")
    parser.add_argument("--events", action="store_true", help="the collectors' spool instead (COLLECTOR_SPOOL_DIR)")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="else `spool`, or `events`, in this data folder (CASTLEDGER_DATA_DIR)",
    )


def _folder(options: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    folder: Path | None = options.spool_dir
    if folder is None:
        data_dir: Path | None = options.data_dir
        settings = load_settings(environ, data_dir=data_dir.absolute() if data_dir else None)
        folder = settings.collector.spool_dir if options.events else settings.tracker.spool_dir
    if not folder.is_dir():
        writer = "collector" if options.events else "tracker"
        raise ConfigError([f"--spool-dir: there is no folder {folder}; a {writer} makes it when it starts"])
    return folder


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.spool_commands import as_json, look, tell_list

    looks = look(_folder(options, environ))
    sys.stdout.write(as_json(looks) if options.json else tell_list(looks))
    return 0


def _cat(options: argparse.Namespace, _: Mapping[str, str]) -> int:
    from castledger_server.spool_commands import record_lines

    for path in options.files:
        for line in record_lines(path, addresses=options.addresses, customers=options.customers):
            sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
    return 0


def _verify(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.spool_commands import look, look_at, tell_faults

    looks = [look_at(path) for path in options.files] if options.files else look(_folder(options, environ))
    for one in looks:
        sys.stdout.write(tell_faults(one))
    if not looks:
        sys.stdout.write("there is no segment in the spool: all has landed\n")
    return 1 if any(one.faults for one in looks) else 0


def _repair(options: argparse.Namespace, _: Mapping[str, str]) -> int:
    from castledger_server.spool_repair import repair

    for path in options.files:
        sys.stdout.write(f"{path.name}: {repair(path, is_dry=options.dry_run)}\n")
    return 0
