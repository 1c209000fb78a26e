"""``castledger campaigns`` and ``castledger campaign``: how sponsors' campaigns stand, by command, over the API."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Final

from castledger_server.api_options import add_api_options, add_making_options, api_of
from castledger_server.argument_kinds import MODELS, whole_number
from castledger_server.campaign_steps_cli import add_campaign_steps

__all__ = ("add_campaigns",)

_MAX_BOOKED: Final = 10**12


def add_campaigns(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``campaigns`` and ``campaign`` to the command line."""
    campaigns = commands.add_parser(
        "campaigns",
        help="list campaigns: delivered, pace, conversions, cost of one; and make one",
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
            "  castledger campaigns add --help         how to make one\n"
        ),
    )
    campaigns.add_argument("--sponsor", metavar="NAME", help="only of this sponsor; its id will do as well")
    campaigns.add_argument("--all", action="store_true", help="completed and cancelled ones too")
    campaigns.add_argument("--json", action="store_true", help="write the API's answers instead, a campaign a line")
    add_api_options(campaigns)
    campaigns.set_defaults(run=_list)
    _add_add(campaigns.add_subparsers(metavar="add", title="to make one"))
    campaign = commands.add_parser(
        "campaign",
        help="tell how a campaign stands, and what came of it; and run it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Tell of one campaign what its page tells: delivered beside due, how it will end, flights, the episodes\n"
            "in which it is heard, promo codes and links, and conversions by each model of the latest attribution\n"
            "run. `–` is what has no meaning yet, or is not known. With an action, do that instead."
        ),
        epilog=(
            "from a draft to its end:\n"
            "  castledger campaigns add --sponsor Acme --name Autumn --from 2026-11-20 --until 2026-12-31 \\\n"
            "      --cpm 25.00 --currency EUR --booked 100000\n"
            "  castledger campaign Autumn place 'The moat' 'The keep'\n"
            "  castledger campaign Autumn code add ACME20\n"
            "  castledger campaign Autumn link add https://shop.example.com/ --slug acme --click-id\n"
            "  castledger campaign Autumn activate\n"
            "  castledger campaign Autumn\n"
            "  castledger campaign Autumn complete\n"
        ),
    )
    campaign.add_argument("campaign", metavar="CAMPAIGN", help="its name, or its id as `castledger campaigns` shows it")
    campaign.add_argument("--json", action="store_true", help="write the API's answers instead: delivery, performance")
    add_api_options(campaign)
    campaign.set_defaults(run=_show)
    add_campaign_steps(campaign)


def _add_add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    add = actions.add_parser(
        "add",
        help="make a campaign, as a draft",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Make a campaign, as a draft: under an insertion order of its name, and with a flight of all of its days\n"
            "unless --no-flight leaves flights to `castledger campaign NAME flight add`."
        ),
        epilog=(
            "examples:\n"
            "  castledger campaigns add --sponsor Acme --name Autumn --from 2026-11-20 --until 2026-12-31 \\\n"
            "      --cpm 25.00 --currency EUR --booked 100000\n"
            "  castledger campaigns add --sponsor Acme --name Winter --from 2027-01-01 --until 2027-01-31 \\\n"
            "      --cpa 12.50 --budget 2000 --currency EUR --dry-run\n"
            "\n"
            "then: castledger campaign Autumn place EPISODE, a code or a link, and activate;\n"
            "`castledger campaign --help` has all of it.\n"
        ),
    )
    add.add_argument("--sponsor", required=True, metavar="NAME", help="who pays; its id will do as well")
    add.add_argument("--name", required=True, metavar="NAME", help="what it is called")
    add.add_argument("--from", dest="first", required=True, metavar="DATE", help="its first UTC day")
    add.add_argument("--until", dest="last", required=True, metavar="DATE", help="its last one, itself in it")
    pricing = add.add_mutually_exclusive_group(required=True)
    pricing.add_argument("--cpm", metavar="PRICE", help="of a thousand impressions, such as 25.00")
    pricing.add_argument("--flat", metavar="PRICE", help="of all of it")
    pricing.add_argument("--cpa", metavar="PRICE", help="of a conversion")
    add.add_argument("--currency", required=True, metavar="CODE", help="of all its money, such as EUR")
    add.add_argument(
        "--booked", type=whole_number(1, _MAX_BOOKED), metavar="N", help="how many impressions are promised"
    )
    add.add_argument(
        "--budget", metavar="AMOUNT", help="what it may cost; by default --flat, or what --booked costs by --cpm"
    )
    add.add_argument(
        "--model", choices=MODELS, default="linear", help="how conversions are shared that others led to (linear)"
    )
    add.add_argument(
        "--window-days",
        type=whole_number(1, 90),
        default=30,
        metavar="N",
        help="how long before a conversion something may have led to it (30)",
    )
    add.add_argument("--no-flight", action="store_true", help="make no flight yet")
    add_making_options(add)
    add.set_defaults(run=_make)


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.campaign_table import list_campaign_lines, list_standing_lines
    from castledger_server.commands import write_lines

    api = api_of(options, environ)
    list_lines = list_standing_lines if options.json else list_campaign_lines
    write_lines(list_lines(api, sponsor=options.sponsor, is_all=options.all))
    return 0


def _make(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.campaign_answers import find_sponsor
    from castledger_server.campaign_making import want_campaign
    from castledger_server.making import carry_out

    api = api_of(options, environ)
    return carry_out(api, want_campaign(find_sponsor(api, options.sponsor), options), options)


def _show(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.campaign_answers import find_campaign
    from castledger_server.campaign_table import campaign_lines
    from castledger_server.commands import write_lines

    api = api_of(options, environ)
    campaign_id = find_campaign(api, options.campaign).campaign_id
    if options.json:
        for path in ("delivery", "performance"):
            sys.stdout.buffer.write(api.get(f"/campaigns/{campaign_id}/{path}", {}) + b"\n")
        sys.stdout.buffer.flush()
        return 0
    write_lines(campaign_lines(api, campaign_id))
    return 0
