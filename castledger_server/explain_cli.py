"""``castledger explain`` and ``castledger classify``: why hits count, and what user agents are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from analytics_core.settings import load_settings
from castledger_server.api_options import add_api_options, api_of
from castledger_server.retention_cli import find_settings
from castledger_server.what_if_cli import ASKED_EPILOG, add_asked, explain_asked

__all__ = ("add_classify", "add_explain")


def add_classify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``classify`` to the command line."""
    classify = commands.add_parser(
        "classify",
        help="tell what user agents are",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Read user agents from standard input, one a line, and write a line of JSON for each:\n"
            "kind (app, browser, library, bot, watch or unknown), app, device, the rule that decided, and os, the\n"
            "operating system. Lists that CASTLEDGER_AGENT_LISTS names decide as they do for ingest."
        ),
        epilog="example:\n  printf 'Overcast/3.0\\n' | castledger classify\n",
    )
    classify.set_defaults(run=_classify)


def add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``explain`` to the command line."""
    explain = commands.add_parser(
        "explain",
        help="tell why a day's hits count or do not, and how a request would",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Show a UTC day's hits by verdict; they add up to all that was recorded. With --url: say what a tracker\n"
            "would answer to a request that nobody sends, and walk it through the rules."
        ),
        epilog=(
            "examples:\n  castledger explain\n  castledger explain --episode 0198f0c2-… --day 2026-11-23\n"
            f"{ASKED_EPILOG}"
        ),
    )
    what = explain.add_mutually_exclusive_group()
    what.add_argument("--episode", metavar="ID", help="an episode_id")
    what.add_argument(
        "--podcast",
        metavar="ID",
        help="a podcast_id: all of its episodes; by default the only podcast. With --url a podcast's guid, as by pg=",
    )
    explain.add_argument("--day", metavar="YYYY-MM-DD", help="a UTC day; today by default")
    add_asked(explain)
    add_api_options(explain)
    explain.set_defaults(run=_explain)


def _classify(_: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.agent_lists import AgentLists
    from castledger_server.commands import classify_lines

    settings = load_settings(environ).ingest
    lists = AgentLists(settings.agent_lists, settings.agent_lists_mode, keep=settings.agent_lists_kept)
    if lists.fault is not None:
        print(f"lists of user agents cannot be used, those before stay in force: {lists.fault}", file=sys.stderr)
    for row in classify_lines(sys.stdin.buffer, lists.table):
        sys.stdout.buffer.write(row)
    sys.stdout.buffer.flush()
    return 0


def _explain(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.clock import SystemClock
    from castledger_server.commands import explain_day, write_lines

    if options.url is not None:
        return explain_asked(options, find_settings(options, environ))
    api = api_of(options, environ)
    day: str = options.day or SystemClock().now().date().isoformat()
    write_lines(explain_day(api, day=day, episode_id=options.episode, podcast_id=options.podcast))
    return 0
