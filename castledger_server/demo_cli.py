"""``castledger demo``: sample podcasts played and counted."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from analytics_core.errors import ConfigError
from castledger_server.argument_kinds import whole_number
from castledger_server.data_dir_options import add_data_dir, settings_of

__all__ = ("add_demo",)


def add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``demo`` to the command line."""
    demo = commands.add_parser(
        "demo",
        help="play a month of a sample podcast, and see it counted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Play a believable month of a sample podcast on a running `castledger up`: through a tracker of its\n"
            "own on this machine, into the same ledger, under a tenant of its own. Then print what was counted\n"
            "beside what is known to be true: downloads by day, hits by verdict, and by app, country and episode.\n"
            "Ends with 1 when they differ. A former demo is taken away first; nobody else's figures are touched."
        ),
        epilog=(
            "examples:\n"
            "  castledger up --data-dir ./ledger            in one terminal, and in another:\n"
            "  castledger demo --data-dir ./ledger          a month of 200 listeners, ending yesterday\n"
            "  castledger demo --days 7 --users 1000 --seed 5 --data-dir ./ledger\n"
            "  castledger demo --sponsorship --data-dir ./ledger\n"
            "                                               a year of sponsors, some minutes\n"
            "  castledger demo --remove --data-dir ./ledger without a trace\n"
        ),
    )
    demo.add_argument("--users", type=whole_number(1, 10_000), metavar="N", help="regular listeners (default 200)")
    demo.add_argument(
        "--days",
        type=whole_number(1, 45),
        metavar="N",
        help="days, ending yesterday (default 30, most 45)",
    )
    demo.add_argument(
        "--seed",
        type=whole_number(0, 2**31 - 1),
        default=1,
        metavar="N",
        help="the same one plays the same (default 1)",
    )
    demo.add_argument(
        "--sponsorship",
        action="store_true",
        help="a year of sponsors instead: 40 campaigns, attributed and held up to why people really bought",
    )
    demo.add_argument(
        "--scale",
        choices=("small", "full"),
        help="of --sponsorship: a year, or a month of two podcasts (default full)",
    )
    demo.add_argument("--remove", action="store_true", help="take the demo away instead")
    add_data_dir(demo)
    demo.set_defaults(run=_demo)


def _demo(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.demo.command import DemoOptions, remove_demo, run_demo

    settings = settings_of(options, environ)
    if options.remove:
        remove_demo(settings)
        return 0
    if options.scale and not options.sponsorship:
        raise ConfigError(["--scale: says how large a world of sponsors is; say --sponsorship as well"])
    if options.sponsorship:
        if options.users or options.days:
            raise ConfigError(["--sponsorship: has listeners and days of its own; leave out --users and --days"])
        from castledger_server.demo.sponsorship.playing import run_sponsorship
        from castledger_server.demo.sponsorship.world import SIZES

        return run_sponsorship(options.seed, SIZES[options.scale or "full"], settings, environ)
    wanted = DemoOptions(
        users=options.users or 200, days=options.days or 30, seed=options.seed, data_dir=options.data_dir
    )
    return run_demo(wanted, settings, environ)
