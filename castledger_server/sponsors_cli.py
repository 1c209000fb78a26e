"""``castledger sponsors`` and ``castledger sponsor``: who pays, what they count, and who did it, over the API."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final, TypeAlias

from castledger_server.api_options import add_api_options, add_making_options, api_of
from castledger_server.argument_kinds import CATEGORIES, COUNTINGS, MODELS, whole_number

__all__ = ("add_sponsors",)

_Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_WAIT_S: Final = 600
_MOST_WAIT_S: Final = 86_400


def add_sponsors(commands: _Actions) -> None:
    """Add ``sponsors`` and ``sponsor`` to the command line."""
    sponsors = commands.add_parser(
        "sponsors",
        help="list sponsors, and add one",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="List the sponsors that are not archived, in the order in which they were added.",
        epilog="examples:\n  castledger sponsors\n  castledger sponsors add Acme --domain shop.example.com\n",
    )
    sponsors.add_argument("--json", action="store_true", help="write the API's answers instead, one a line")
    add_api_options(sponsors)
    sponsors.set_defaults(run=_list)
    add = _add(
        sponsors.add_subparsers(metavar="add", title="to add one"),
        "add",
        help_="add a sponsor",
        description="Add a sponsor.",
        examples=("sponsors add Acme --domain shop.example.com --category retail",),
    )
    add.add_argument("name", metavar="NAME", help="what it is called")
    add.add_argument("--domain", metavar="HOST", help="of its shop: events of its pages are its own")
    add.add_argument("--category", metavar="WORD", help="what it sells, such as food")
    add.set_defaults(run=_make)
    sponsor = commands.add_parser(
        "sponsor",
        help="tell a sponsor what is to count, and have its conversions attributed",
        description="Tell what is to count for a sponsor, and have its conversions attributed to its campaigns.",
    )
    sponsor.add_argument("sponsor", metavar="SPONSOR", help="its name, or its id")
    sponsor.set_defaults(json=False, api_url=None, api_key=None, data_dir=None)
    actions = sponsor.add_subparsers(metavar="ACTION", required=True)
    action = actions.add_parser("action", help="say what is to count", description="Say what is to count.")
    wanted = _add(
        action.add_subparsers(metavar="ACTION", required=True),
        "add",
        help_="have something count as a conversion",
        description="Have something that a sponsor wants to happen count as a conversion.",
        examples=("sponsor Acme action add Order --category purchase --event-type purchase",),
    )
    wanted.add_argument("name", metavar="NAME", help="what it is called")
    wanted.add_argument("--category", choices=CATEGORIES, required=True, help="what kind of thing it is")
    wanted.add_argument("--event-type", metavar="TYPE", help="events of this type are conversions of it")
    wanted.add_argument(
        "--counting",
        choices=COUNTINGS,
        default="every",
        help="each time, or once a customer and window (every)",
    )
    wanted.set_defaults(run=_add_action)
    attribute = _add(
        actions,
        "attribute",
        help_="have conversions attributed: who did it",
        description=(
            "Have the conversions of some UTC days attributed to the sponsor's campaigns, and wait for it. From then\n"
            "on `castledger campaigns` and `castledger campaign NAME` tell of them. A run never changes."
        ),
        examples=(
            "sponsor Acme attribute --from 2026-11-01 --to 2026-12-01",
            "sponsor Acme attribute --from 2026-11-01 --to 2026-12-01 --model first --model last",
        ),
    )
    attribute.add_argument("--from", dest="first", required=True, metavar="DATE", help="the first day")
    attribute.add_argument("--to", dest="until", required=True, metavar="DATE", help="the day after the last one")
    attribute.add_argument(
        "--model", dest="models", action="append", choices=MODELS, help="one of some; by default all"
    )
    attribute.add_argument(
        "--wait",
        type=whole_number(0, _MOST_WAIT_S),
        default=_WAIT_S,
        metavar="SECONDS",
        help=f"how long to wait for it ({_WAIT_S})",
    )
    attribute.set_defaults(run=_attribute)


def _add(
    actions: _Actions, name: str, *, help_: str, description: str, examples: tuple[str, ...]
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=help_,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=description,
        epilog="examples:\n" + "".join(f"  castledger {example}\n" for example in examples),
    )
    add_making_options(parser)
    return parser


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import write_lines
    from castledger_server.sponsor_making import list_lines

    write_lines(list_lines(api_of(options, environ), is_json=options.json))
    return 0


def _make(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.making import carry_out
    from castledger_server.sponsor_making import want_sponsor

    return carry_out(api_of(options, environ), want_sponsor(options), options)


def _add_action(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.campaign_answers import find_sponsor
    from castledger_server.making import carry_out
    from castledger_server.sponsor_making import want_action

    api = api_of(options, environ)
    return carry_out(api, want_action(find_sponsor(api, options.sponsor, option="SPONSOR"), options), options)


def _attribute(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.campaign_answers import find_sponsor
    from castledger_server.making import carry_out
    from castledger_server.sponsor_making import want_run

    api = api_of(options, environ)
    return carry_out(api, want_run(api, find_sponsor(api, options.sponsor, option="SPONSOR"), options), options)
