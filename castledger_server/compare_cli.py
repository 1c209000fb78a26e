"""``castledger compare``: an episode counted under several profiles, side by side, and why they differ."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from castledger_server.api_options import add_api_options, api_of

__all__ = ("add_compare",)


def add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``compare`` to the command line."""
    compare = commands.add_parser(
        "compare",
        help="count an episode under several profiles, and tell why they differ",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Judge an episode's stored hits again under several profiles: the downloads of each UTC day, a column a\n"
            "profile, and below them what makes two profiles differ, with some of the hits; two that agree are not\n"
            "named. `-` is a day whose hits are no longer kept."
        ),
        epilog=(
            "examples:\n"
            "  castledger compare 0198f0c2-…\n"
            "  castledger compare 0198f0c2-… --from 2026-11-01 --to 2026-11-08 --profiles castledger-1,op3\n"
        ),
    )
    compare.add_argument("episode", metavar="EPISODE_ID")
    compare.add_argument("--from", dest="start", metavar="YYYY-MM-DD", help="first UTC day; 7 days before --to")
    compare.add_argument("--to", dest="end", metavar="YYYY-MM-DD", help="UTC day behind the last; tomorrow")
    compare.add_argument("--profiles", metavar="NAMES", help="with commas between them (castledger-1,ptmg-2.3,op3,odl)")
    add_api_options(compare)
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import write_lines
    from castledger_server.comparison_table import compare_lines

    api = api_of(options, environ)
    write_lines(
        compare_lines(api, episode_id=options.episode, start=options.start, end=options.end, profiles=options.profiles)
    )
    return 0
