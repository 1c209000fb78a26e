"""``castledger compare``: an episode counted under several profiles, side by side, and why they differ."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from analytics_core.settings import load_settings

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
    compare.add_argument("--api-url", metavar="URL", help="the API (CASTLEDGER_API_URL); else that of a running `up`")
    compare.add_argument("--api-key", metavar="KEY", help="the key to it (CASTLEDGER_API_KEY)")
    compare.add_argument("--data-dir", type=Path, metavar="DIR", help="of a running `up` (CASTLEDGER_DATA_DIR)")
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.api_access import find_api
    from castledger_server.commands import write_lines
    from castledger_server.comparison_table import compare_lines

    data_dir: Path | None = options.data_dir
    settings = load_settings(environ, data_dir=data_dir.absolute() if data_dir else None)
    api = find_api(options.api_url, options.api_key, environ, data_dir=settings.data_dir)
    write_lines(
        compare_lines(api, episode_id=options.episode, start=options.start, end=options.end, profiles=options.profiles)
    )
    return 0
