"""The ``castledger`` command. Each command loads only what it needs."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TextIO

from analytics_core.errors import CastledgerError, ConfigError, Conflict, InvalidInput
from analytics_core.settings import load_settings
from castledger_server.archive_cli import add_archive
from castledger_server.audit_cli import add_audit
from castledger_server.backup_cli import add_backup
from castledger_server.campaigns_cli import add_campaigns
from castledger_server.compare_cli import add_compare
from castledger_server.demo_cli import add_demo
from castledger_server.erase_cli import add_erase
from castledger_server.explain_cli import add_classify, add_explain
from castledger_server.feed_cli import add_feed, add_podcast
from castledger_server.health_cli import add_doctor, add_health
from castledger_server.import_log_cli import add_import_log
from castledger_server.jobs_cli import add_jobs
from castledger_server.keys_cli import add_keys
from castledger_server.lists_cli import add_lists
from castledger_server.mail_cli import add_mail
from castledger_server.owner_key_cli import add_owner_key
from castledger_server.profile_cli import add_profile
from castledger_server.recount_cli import add_recount
from castledger_server.replaced_cli import add_replaced
from castledger_server.report_cli import add_report
from castledger_server.restate_cli import add_restate
from castledger_server.retention_cli import add_retention
from castledger_server.spikes_cli import add_spikes
from castledger_server.sponsors_cli import add_sponsors
from castledger_server.spool_cli import add_spool
from castledger_server.tenants_cli import add_tenants
from castledger_server.up_cli import add_up
from castledger_server.users_cli import add_users

__all__ = ("main",)

_Command = Callable[[argparse.Namespace, Mapping[str, str]], int]

_SERVICES: Final = {
    "tracker": "run a tracker alone",
    "collector": "run a collector of events alone",
    "ingest": "run ingest alone, against DATABASE_URL",
    "api": "run the API alone, against DATABASE_URL",
    "migrate": "bring a database to the schema of this version: up, status or verify",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        0 when it did what was asked, 1 when it could not, 2 when arguments or settings cannot be used, 3 when a backup
        could not be verified, 130 when it was stopped.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        # The settings warn of contradictions; a person wants the sentence, not the place in our code.
        warnings.showwarning = _show_warning
        return _run(arguments, os.environ)


def _run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    try:
        if arguments and arguments[0] in _SERVICES:
            return _run_service(arguments[0], arguments[1:], environ)
        options = _parser().parse_args(arguments)
        command: _Command = options.run
        return command(options, environ)
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"castledger: {fault}\n")
        return 2
    except CastledgerError as error:
        sys.stderr.write(f"castledger: {error}\n")
        return 2 if isinstance(error, InvalidInput | Conflict) else 1
    except BrokenPipeError:
        # Whoever reads us has seen enough; nothing may be written to them at exit either.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    sys.stderr.write(f"castledger: {message}\n")


def _run_service(name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    if name == "tracker":
        from prefix_redirect.__main__ import main as run_tracker

        return run_tracker(arguments)
    if name == "collector":
        from ingest.collector.__main__ import main as run_collector

        return run_collector(arguments)
    if name == "ingest":
        from ingest.__main__ import main as run_ingest

        return run_ingest(arguments)
    if name == "api":
        from api.server import main as run_api

        return run_api(arguments)
    from migrations.__main__ import main as run_migrations

    if not environ.get("DATABASE_URL") and not environ.get("POSTGRES_HOST"):
        from castledger_server.data_dir import read_running_up

        running = read_running_up(load_settings(environ).data_dir)
        if running is not None and running.database_url:
            return run_migrations(arguments, {**environ, "DATABASE_URL": running.database_url})
    return run_migrations(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="castledger",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A self-hosted ledger of podcast downloads.",
        epilog=(
            "a first look, without any set-up:\n"
            "  castledger up --data-dir ./ledger\n"
            "  castledger podcast add https://example.com/feed.xml --data-dir ./ledger\n"
            "  castledger feed rewrite feed.xml --data-dir ./ledger --output public.xml\n"
            "\n"
            "settings come from the environment (DATABASE_URL, TRACKER_PUBLIC_URL, …); `castledger doctor` checks\n"
            "them.\n"
        ),
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_up(commands)
    for name, text in _SERVICES.items():
        # Only listed here: `_run_service` hands their arguments on unread.
        commands.add_parser(name, help=text, add_help=False)
    add_doctor(commands)
    add_health(commands)
    add_owner_key(commands)
    add_keys(commands)
    add_podcast(commands)
    add_feed(commands)
    add_classify(commands)
    add_explain(commands)
    add_compare(commands)
    add_sponsors(commands)
    add_campaigns(commands)
    add_report(commands)
    add_spool(commands)
    add_jobs(commands)
    add_lists(commands)
    add_mail(commands)
    add_users(commands)
    add_tenants(commands)
    add_retention(commands)
    add_backup(commands)
    add_restate(commands)
    add_recount(commands)
    add_profile(commands)
    add_spikes(commands)
    add_erase(commands)
    add_archive(commands)
    add_audit(commands)
    add_import_log(commands)
    add_replaced(commands)
    add_demo(commands)
    return parser
