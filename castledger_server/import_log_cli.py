"""``castledger import-log``: what media hosts have logged, counted by the rules of the day."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analytics_core.errors import InvalidInput
from castledger_server.restate_cli import read_reason
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from ingest.log_files import LogFile

__all__ = ("add_import_log",)

_REASON: Final = "imported logs instead of what trackers counted"
_FORMATS: Final = ("nginx", "cloudfront", "caddy", "castledger")


def add_import_log(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import-log`` to the command line."""
    command = commands.add_parser(
        "import-log",
        help="count what a media host has logged",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Judge the requests of access logs, plain or gzip, by the same rules as hits of trackers, and count them;\n"
            "`by=source` tells them apart. All files are looked through first: when trackers have counted downloads\n"
            "of the same podcasts on the same days, nothing is imported, unless the log is to count instead of them\n"
            "there (--replace; `castledger replaced` lists and undoes it). The same file twice changes nothing, one\n"
            "that has grown goes on where it ended. Give all files of a month in one call: where the month's secret\n"
            "is destroyed, a listener is known again inside one call alone."
        ),
        epilog=(
            "examples:\n"
            "  castledger import-log --format nginx --host cdn.example.com --dry-run access.log.*.gz\n"
            "  castledger import-log --format cloudfront --before 2026-11-01 logs/*.gz\n"
            "  castledger import-log --format castledger --restate hits.jsonl\n"
            "  castledger import-log --format nginx --host cdn.example.com --replace --dry-run access.log.*.gz\n"
        ),
    )
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="in the order of their time")
    command.add_argument("--format", dest="form", required=True, choices=_FORMATS, help="of all files")
    command.add_argument("--host", metavar="HOST", help="whose files the paths are; nginx needs it")
    command.add_argument("--before", metavar="DATE", help="leave out requests on and behind this UTC day")
    command.add_argument("--tenant", metavar="TENANT", help="whose podcasts, as `castledger retention ls` names it")
    command.add_argument("--strict", action="store_true", help="import nothing when a line is damaged")
    command.add_argument("--dry-run", action="store_true", help="say what would be imported, and change nothing")
    command.add_argument("--restate", action="store_true", help="count what comes late for final days at once")
    command.add_argument(
        "--replace", action="store_true", help="count instead of trackers on the UTC days of podcasts that both tell of"
    )
    command.add_argument("--reason", default=_REASON, metavar="TEXT", help=f"why, for the record ({_REASON})")
    add_data_dir(command)
    command.set_defaults(run=_import_log)


def _import_log(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.log_importing import ImportOptions, import_logs

    before = _date(options.before)
    reason = read_reason(options)
    files = _open_files(options.files, options.form, options.host)
    settings = find_settings(options, environ)
    settings.require_database()
    wanted = ImportOptions(
        tenant=options.tenant,
        before=before,
        strict=options.strict,
        dry_run=options.dry_run,
        restate=options.restate,
        replace=options.replace,
        reason=reason,
    )
    is_whole = asyncio.run(import_logs(settings, files, wanted, write=sys.stdout.write))
    return 0 if is_whole else 1


def _date(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidInput("--before", f"is a date such as 2026-11-01, not {text!r}") from None


def _open_files(paths: list[Path], form: str, host: str | None) -> list[LogFile]:
    from analytics_core.hosts import parse_host_name
    from analytics_core.log_formats import LogFormat
    from ingest.log_files import LogFile

    if host is not None:
        try:
            host = parse_host_name(host)
        except InvalidInput as error:
            raise InvalidInput("--host", error.reason) from None
    return [LogFile(path, LogFormat(form), host=host) for path in paths]
