"""``castledger podcast`` and ``castledger feed``: podcasts registered, and feeds written and checked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from analytics_core.errors import ConfigError
from castledger_server.api_options import add_api_options, api_of
from castledger_server.argument_kinds import whole_number
from castledger_server.data_dir_options import add_data_dir, settings_of

__all__ = ("add_feed", "add_podcast")


def add_podcast(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``podcast`` to the command line."""
    podcast = commands.add_parser("podcast", help="register a podcast")
    actions = podcast.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser(
        "add",
        help="register a podcast by its feed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Register a podcast by its feed's address, which is polled from then on, or by a file.",
        epilog="example:\n  castledger podcast add https://example.com/feed.xml\n",
    )
    add.add_argument("feed", metavar="FEED_URL_OR_FILE")
    add_api_options(add)
    add.set_defaults(run=_podcast_add)


def add_feed(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``feed`` to the command line."""
    feed = commands.add_parser("feed", help="put our prefix into a feed, and check what a feed does to the numbers")
    actions = feed.add_subparsers(metavar="ACTION", required=True)
    rewrite = actions.add_parser(
        "rewrite",
        help="write a feed whose enclosures have our prefix",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Put our prefix in front of every enclosure of a feed, alternate ones too; no other byte changes.\n"
            "Live items and torrents are left alone, and what has our prefix already keeps it."
        ),
        epilog="example:\n  castledger feed rewrite in.xml --public-url https://pod.example.com --output out.xml\n",
    )
    rewrite.add_argument("feed", metavar="FEED_URL_OR_FILE")
    rewrite.add_argument("--output", type=Path, metavar="PATH", help="file to write; standard output by default")
    rewrite.add_argument("--public-url", metavar="URL", help="the tracker's name (TRACKER_PUBLIC_URL)")
    add_data_dir(rewrite)
    rewrite.set_defaults(run=_feed_rewrite)
    check = actions.add_parser(
        "check",
        help="say what is wrong with a feed for measuring",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Say what is wrong with a feed for measuring: episodes without our prefix, lost extensions, long chains,\n"
            "missing or repeated guids, http addresses, sizes and durations that cannot be. The newest episodes are\n"
            "followed to their files as a player would, with HEAD and one byte at the end, which counts nowhere: slow\n"
            "and broken hops, and hosts that do not answer Range. Each finding says what it does to the numbers and\n"
            "what to do. Ends with 1 when there is a fault; warnings and notes alone end with 0."
        ),
        epilog=(
            "examples:\n"
            "  castledger feed check https://example.com/feed.xml --public-url https://pod.example.com\n"
            "  castledger feed check feed.xml --episodes 0        what stands in the feed, asking nobody\n"
            "  castledger feed check feed.xml --json | jq '.findings[] | select(.level == \"fault\")'\n"
        ),
    )
    check.add_argument("feed", metavar="FEED_URL_OR_FILE")
    check.add_argument(
        "--episodes",
        type=whole_number(0, 100_000),
        default=3,
        metavar="N",
        help="newest episodes to follow to their files (default 3)",
    )
    check.add_argument(
        "--concurrency",
        type=whole_number(1, 32),
        default=4,
        metavar="N",
        help="how many to follow at a time (default 4)",
    )
    check.add_argument("--json", action="store_true", help="write the findings as JSON")
    check.add_argument("--public-url", metavar="URL", help="the tracker's name (TRACKER_PUBLIC_URL)")
    add_data_dir(check)
    check.set_defaults(run=_feed_check)


def _podcast_add(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import add_podcast as register
    from castledger_server.commands import write_lines

    api, settings = api_of(options, environ), settings_of(options, environ)
    write_lines(register(api, options.feed, settings=settings.feed))
    return 0


def _feed_rewrite(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import find_public_url, say
    from castledger_server.feed_commands import rewrite

    settings = settings_of(options, environ)
    public_url = find_public_url(options.public_url, settings.tracker.public_url, settings.data_dir)
    data = rewrite(options.feed, public_url=public_url, settings=settings.feed, say=say)
    output: Path | None = options.output
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return 0
    try:
        output.write_bytes(data)
    except OSError as error:
        raise ConfigError([f"--output: {output} cannot be written ({error.strerror})"]) from error
    return 0


def _feed_check(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.feed_rules import FeedLevel
    from castledger_server.commands import find_public_url, say, write_lines
    from castledger_server.feed_commands import check, tell_report

    settings = settings_of(options, environ)
    public_url: str | None
    try:
        public_url = find_public_url(options.public_url, settings.tracker.public_url, settings.data_dir)
    except ConfigError:
        if options.public_url:
            raise
        public_url = None
    report = check(
        options.feed,
        public_url=public_url,
        settings=settings.feed,
        episodes=options.episodes,
        concurrency=options.concurrency,
        say=say,
    )
    if options.json:
        sys.stdout.buffer.write(report.as_json())
        sys.stdout.buffer.flush()
    else:
        write_lines(tell_report(report))
    return 1 if report.count(FeedLevel.FAULT) else 0
