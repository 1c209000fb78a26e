"""``castledger doctor`` and ``castledger health``: what is wrong, and whether services can do their work."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from castledger_server.data_dir_options import add_data_dir, settings_of

__all__ = ("add_doctor", "add_health")


def add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``doctor`` to the command line."""
    doctor = commands.add_parser(
        "doctor",
        help="look at everything that can be wrong, and say how to mend it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Look at settings (malformed, misspelt, easily guessed), folder, disk, ports, the database with its clock\n"
            "and schema, Redis, mail, the spool, the lists of networks, and whether our public name leads to us.\n"
            "Changes nothing. Ends with 1 when something fails; what only warns ends with 0."
        ),
        epilog=(
            "examples:\n"
            "  castledger doctor\n"
            "  castledger doctor --json | jq -r '.findings[] | select(.level != \"ok\") | .text'\n"
        ),
    )
    doctor.add_argument("--json", action="store_true", help="write the findings as JSON")
    add_data_dir(doctor)
    doctor.set_defaults(run=_doctor)


def add_health(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``health`` to the command line."""
    health = commands.add_parser(
        "health",
        help="ask whether services can do their work, for containers and monitors",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Ask a service on this machine, at its port of CASTLEDGER_ADMIN_PORTS, or all of the running `up`,\n"
            "whether it can do its work. Ends with 0 when all can, else with 1; with 2 when there is none to ask."
        ),
        epilog="examples:\n  castledger health\n  castledger health tracker\n",
    )
    health.add_argument(
        "service", nargs="?", choices=("tracker", "collector", "ingest", "api"), metavar="tracker|collector|ingest|api"
    )
    add_data_dir(health)
    health.set_defaults(run=_health)


def _doctor(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import write_lines
    from castledger_server.doctor import Finding, Level, examine, report_json

    findings: list[Finding] = []
    for finding in examine(environ, data_dir=options.data_dir):
        findings.append(finding)
        if not options.json:
            write_lines([str(finding)])
    if options.json:
        sys.stdout.buffer.write(report_json(findings))
        sys.stdout.buffer.flush()
    return int(any(finding.level is Level.FAIL for finding in findings))


def _health(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import write_lines
    from castledger_server.health import ask_health

    said = list(ask_health(settings_of(options, environ), options.service))
    write_lines(str(health) for health in said)
    return int(not all(health.is_ready for health in said))
