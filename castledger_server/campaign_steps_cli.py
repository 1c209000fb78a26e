"""What ``castledger campaign NAME`` can do: flights, placements, promo codes, links, and the steps to the end."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final, TypeAlias

from castledger_server.api_options import add_making_options, api_of
from castledger_server.argument_kinds import POSITIONS, whole_number

__all__ = ("add_campaign_steps",)

_Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_STEPS: Final = {
    "schedule": "have a draft begin by itself on its first day",
    "activate": "begin now, on its first day or later",
    "pause": "pause it; what is placed is heard on, and counts",
    "resume": "go on with what is paused",
    "complete": "end it before its last day",
    "cancel": "give it up, with its flights; what was delivered stays",
}
_MOVES: Final = {
    "go-live": "it is in episodes now; no figure changes",
    "miss": "it never ran in episodes, so that nothing counts",
    "pull": "it was live and is taken out of episodes: downloads count until this quarter hour ends",
}
_NEEDS: Final = "It needs a flight, a placement, and a promo code or a link of a flight."


def add_campaign_steps(campaign: argparse.ArgumentParser) -> None:
    """Add the actions to ``campaign``."""
    actions = campaign.add_subparsers(metavar="ACTION", title="actions")
    flight = _add_noun(actions, "flight", "add a part of the campaign with days and a price of its own")
    add = _add(
        flight,
        "add",
        "flight",
        help_="add a flight",
        description="Add a flight. Its days are the campaign's and its price that of the flight before, unless given.",
        examples=("flight add --name December --from 2026-12-01 --until 2026-12-31 --booked 50000 --price 27.50",),
    )
    add.add_argument("--name", required=True, metavar="NAME", help="what it is called")
    add.add_argument("--from", dest="first", metavar="DATE", help="its first UTC day")
    add.add_argument("--until", dest="last", metavar="DATE", help="its last one, itself in it")
    add.add_argument("--price", metavar="PRICE", help="as the campaign is priced: a thousand impressions, all, or one")
    add.add_argument("--booked", type=whole_number(1, 10**12), metavar="N", help="how many impressions are promised")
    place = _add(
        actions,
        "place",
        "place",
        help_="place it in episodes",
        description=(
            "Place a flight in episodes, each named by its id, its guid, its title, or a part of that which no other\n"
            "title has. Their downloads count from the begin of the flight, or from when the episode was published."
        ),
        examples=("place 'The moat' 'The keep'", "place moat --podcast 'Castle Talk' --position pre --dynamic"),
    )
    place.add_argument("episodes", nargs="+", metavar="EPISODE", help="in which it is heard")
    place.add_argument("--podcast", metavar="NAME", help="look for episodes in this one alone")
    place.add_argument("--position", choices=POSITIONS, default="mid", help="where it is heard (mid)")
    place.add_argument("--dynamic", action="store_true", help="put in at each download, and not a part of the file")
    place.add_argument("--produced", action="store_true", help="a spot, and not said by somebody of the podcast")
    place.add_argument(
        "--again", action="store_true", help="also where it is heard already: each download counts twice"
    )
    _add_flight(place)
    for name, what in _MOVES.items():
        move = _add(
            actions,
            name,
            "move",
            help_=f"say that {what}",
            description=f"Say that {what}. The campaign's episodes are named as for `place`.",
            examples=(f"{name} 'The moat'",),
        )
        move.add_argument("episodes", nargs="+", metavar="EPISODE", help="in which it was placed")
        move.set_defaults(step=name)
    code = _add(
        _add_noun(actions, "code", "give it promo codes"),
        "add",
        "code",
        help_="give it a promo code, or some that are made",
        description="Give a flight a promo code of your choice, or some that are made, of signs that nobody mishears.",
        examples=("code add ACME20", "code add --count 50 --prefix ACME"),
    )
    which = code.add_mutually_exclusive_group(required=True)
    which.add_argument("code", nargs="?", metavar="CODE", help="as customers enter it")
    which.add_argument("--count", type=whole_number(1, 1_000), metavar="N", help="how many to make")
    code.add_argument("--prefix", metavar="TEXT", help="what those begin with")
    _add_flight(code)
    link = _add(
        _add_noun(actions, "link", "give it links"),
        "add",
        "link",
        help_="give it a link",
        description="Give a flight a link, live on the trackers within two seconds.",
        examples=("link add https://shop.example.com/ --slug acme --click-id",),
    )
    link.add_argument("url", metavar="URL", help="where it leads")
    link.add_argument("--slug", metavar="SLUG", help="what stands behind /go/; one is made where none is given")
    link.add_argument("--click-id", action="store_true", help="tell the shop each click's id, as cl_click")
    _add_flight(link)
    for name, what in _STEPS.items():
        step = _add(
            actions,
            name,
            "step",
            help_=what,
            description=f"{what[0].upper()}{what[1:]}." + (f" {_NEEDS}" if name in ("schedule", "activate") else ""),
            examples=(name,),
        )
        step.set_defaults(step=name)


def _add_noun(actions: _Actions, name: str, help_: str) -> _Actions:
    noun = actions.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
    return noun.add_subparsers(metavar="ACTION", required=True)


def _add(
    actions: _Actions, name: str, want: str, *, help_: str, description: str, examples: tuple[str, ...]
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=help_,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=description,
        epilog="examples:\n" + "".join(f"  castledger campaign Autumn {example}\n" for example in examples),
    )
    add_making_options(parser)
    parser.set_defaults(run=_run, want=want)
    return parser


def _add_flight(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--flight", metavar="NAME", help="of which flight; by default of the only one")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.campaign_answers import find_campaign
    from castledger_server.campaign_making import WANTS
    from castledger_server.making import carry_out

    api = api_of(options, environ)
    return carry_out(api, WANTS[options.want](api, find_campaign(api, options.campaign), options), options)
