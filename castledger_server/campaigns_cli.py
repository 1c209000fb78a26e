"""``castledger campaigns`` and ``castledger campaign``: how sponsors' campaigns stand, by command, over the API."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from uuid import UUID

from analytics_core.errors import InvalidInput
from castledger_server.api_options import add_api_options, api_of

__all__ = ("add_campaigns",)


def add_campaigns(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``campaigns`` and ``campaign`` to the command line."""
    campaigns = commands.add_parser(
        "campaigns",
        help="list campaigns: delivered, pace, conversions, cost of one",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "List the campaigns that are not over yet in the order in which they were made: what was delivered of\n"
            "what was booked, how that stands beside what was due by now (`behind` below 90 %, `ahead` above 110 %),\n"
            "the conversions that are known for sure by the latest attribution run, and what one of these has cost."
        ),
        epilog=(
            "examples:\n"
            "  castledger campaigns\n"
            "  castledger campaigns --sponsor Acme --all\n"
            "  castledger campaigns | grep behind\n"
        ),
    )
    campaigns.add_argument("--sponsor", metavar="NAME", help="only of this sponsor; its id will do as well")
    campaigns.add_argument("--all", action="store_true", help="completed and cancelled ones too")
    add_api_options(campaigns)
    campaigns.set_defaults(run=_list)
    campaign = commands.add_parser(
        "campaign",
        help="tell how a campaign stands, and what came of it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Tell of one campaign what its page tells: delivered beside due, how it will end, flights, the episodes\n"
            "in which it is heard, promo codes and links, and conversions by each model of the latest attribution\n"
            "run. `–` is what has no meaning yet, or is not known."
        ),
        epilog="examples:\n  castledger campaigns            shows the ids\n  castledger campaign 0198f0c2-…\n",
    )
    campaign.add_argument("campaign", metavar="ID", help="as `castledger campaigns` shows it")
    add_api_options(campaign)
    campaign.set_defaults(run=_show)


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.campaign_table import list_campaign_lines
    from castledger_server.commands import say, write_lines

    api = api_of(options, environ)
    write_lines(list_campaign_lines(api, sponsor=options.sponsor, is_all=options.all, say=say))
    return 0


def _show(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.campaign_table import campaign_lines
    from castledger_server.commands import write_lines

    try:
        campaign_id = UUID(options.campaign)
    except ValueError:
        raise InvalidInput("ID", f"{options.campaign!r} is no id; `castledger campaigns` shows them") from None
    write_lines(campaign_lines(api_of(options, environ), campaign_id))
    return 0
