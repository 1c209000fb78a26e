"""What is asked of the API to sell a campaign, by what somebody wrote in a terminal."""

from __future__ import annotations

import argparse
import datetime as dt
import shlex
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

import msgspec

from analytics_core.errors import InvalidInput
from analytics_core.money import Money, format_money, parse_amount, parse_currency, price_impressions
from castledger_server.api_access import Api
from castledger_server.campaign_answers import Campaign, Sponsor
from castledger_server.campaign_table import days_of
from castledger_server.choosing import choose, name_some
from castledger_server.commands import printable
from castledger_server.making import Wanted, midnight, read_day

__all__ = ("WANTS", "want_campaign")

_PRICINGS: Final = ("cpm", "flat", "cpa")
_PER: Final = {"cpm": " a thousand impressions", "flat": " for all of it", "cpa": " a conversion"}
_A_DAY: Final = dt.timedelta(days=1)
_CAMPAIGN_OPTIONS: Final = {
    "name": "--name",
    "starts_on": "--from",
    "ends_on": "--until",
    "budget_amount": "--budget",
    "currency": "--currency",
}
_FLIGHT_OPTIONS: Final = {
    "name": "--name",
    "starts_at": "--from",
    "ends_at": "--until",
    "price_amount": "--price",
    "booked_impressions": "--booked",
}
_ENDED: Final = ("missed", "pulled")


class _Flight(msgspec.Struct, frozen=True):
    flight_id: UUID
    name: str
    status: str
    starts_at: dt.datetime
    ends_at: dt.datetime
    price_amount: int
    currency: str
    booked_impressions: int | None


class _Podcast(msgspec.Struct, frozen=True):
    podcast_id: UUID
    title: str


class _Episode(msgspec.Struct, frozen=True):
    episode_id: UUID
    guid: str
    title: str


class _Placed(msgspec.Struct, frozen=True, kw_only=True):
    placement_id: UUID
    episode_id: UUID
    episode_title: str
    podcast_title: str
    position: str
    status: str
    live_from: dt.datetime
    live_until: dt.datetime
    downloads: int


class _Code(msgspec.Struct, frozen=True):
    code: str


class _Codes(msgspec.Struct, frozen=True):
    data: list[_Code]


class _Link(msgspec.Struct, frozen=True):
    slug: str
    short_url: str | None
    target: str


def want_campaign(sponsor: Sponsor, options: argparse.Namespace) -> list[Wanted]:
    """Want a campaign under an order of its name, and its flight of all days unless that is left out.

    Raises:
        InvalidInput: Days, prices or the budget cannot be.
    """
    currency = parse_currency(options.currency, path="--currency")
    pricing = next(one for one in _PRICINGS if getattr(options, one) is not None)
    price = parse_amount(getattr(options, pricing), currency, path=f"--{pricing}")
    first, last = _read_days(options.first, options.last)
    campaign = {
        "sponsor_id": sponsor.sponsor_id,
        "name": options.name,
        "currency": currency,
        "starts_on": first,
        "ends_on": last,
        "pricing": pricing,
        "budget_amount": _budget(options, pricing, price, currency),
        "model": options.model,
        "window_days": options.window_days,
    }
    wanted = [Wanted("/campaigns", campaign, lambda answer: _tell_campaign(answer, sponsor), _CAMPAIGN_OPTIONS)]
    if not options.no_flight:
        flight = _flight_body(options.name, first, last, price=price, booked=options.booked)
        wanted.append(
            Wanted(
                "/campaigns/{campaign_id}/flights",
                flight,
                lambda answer: _tell_flight(answer, pricing, options.name),
                _FLIGHT_OPTIONS | {"price_amount": f"--{pricing}"},
            )
        )
    return wanted


def _read_days(first: str, last: str) -> tuple[dt.date, dt.date]:
    days = read_day(first, "--from"), read_day(last, "--until")
    if days[1] < days[0]:
        raise InvalidInput("--until", "is the last day, and not before --from")
    if days[1] == dt.date.max:
        raise InvalidInput("--until", "is the last day of the calendar, and there is one after a flight")
    return days


def _budget(options: argparse.Namespace, pricing: str, price: int, currency: str) -> int:
    if options.budget is not None:
        return parse_amount(options.budget, currency, path="--budget")
    if pricing == "flat":
        return price
    if pricing == "cpm" and options.booked is not None:
        return price_impressions(options.booked, cpm_amount=price, cap=None)
    raise InvalidInput("--budget", "is needed: what it may cost follows from --flat alone, or from --cpm with --booked")


def _flight_body(name: str, first: dt.date, last: dt.date, *, price: int, booked: int | None) -> dict[str, Any]:
    return {
        "name": name,
        "starts_at": midnight(first),
        "ends_at": midnight(last + _A_DAY),
        "price_amount": price,
        "booked_impressions": booked,
    }


def _tell_campaign(answer: bytes, sponsor: Sponsor) -> Iterator[str]:
    made = msgspec.json.decode(answer, type=Campaign)
    yield f"campaign_id: {made.campaign_id}"
    yield f"campaign: {printable(made.name)}, for {printable(sponsor.name)}, {made.starts_on} to {made.ends_on}"
    yield f"state: {made.status}"


def _tell_flight(answer: bytes, pricing: str, campaign: str) -> Iterator[str]:
    made = msgspec.json.decode(answer, type=_Flight)
    booked = "" if made.booked_impressions is None else f", {made.booked_impressions:,} impressions booked"
    price = format_money(Money(made.price_amount, made.currency))
    yield f"flight: {printable(made.name)}, {days_of(made.starts_at, made.ends_at)}, {price}{_PER[pricing]}{booked}"
    yield f"next: castledger campaign {shlex.quote(printable(campaign))} place EPISODE"


def _want_flight(api: Api, campaign: Campaign, options: argparse.Namespace) -> list[Wanted]:
    """Want a flight more; what is not said of it is as of the campaign, and its price that of the flight before.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: Days or the price cannot be.
    """
    first = str(campaign.starts_on) if options.first is None else options.first
    last = str(campaign.ends_on) if options.last is None else options.last
    days = _read_days(first, last)
    if options.price is not None:
        price = parse_amount(options.price, campaign.currency, path="--price")
    else:
        flights = _list_flights(api, campaign)
        if not flights:
            raise InvalidInput("--price", "is needed: the campaign has no other flight to take it from")
        price = flights[-1].price_amount
    body = _flight_body(options.name, *days, price=price, booked=options.booked)
    path = f"/campaigns/{campaign.campaign_id}/flights"
    return [Wanted(path, body, lambda answer: _tell_flight(answer, campaign.pricing, campaign.name), _FLIGHT_OPTIONS)]


def _list_flights(api: Api, campaign: Campaign) -> list[_Flight]:
    found = api.get_all("/flights", _Flight, campaign_id=str(campaign.campaign_id))
    return [one for one in found if one.status != "cancelled"]


def _choose_flight(api: Api, campaign: Campaign, text: str | None) -> _Flight:
    flights = _list_flights(api, campaign)
    if text is None and len(flights) == 1:
        return flights[0]
    if text is None and not flights:
        raise InvalidInput(
            "--flight",
            f"the campaign has none yet: castledger campaign {shlex.quote(printable(campaign.name))} flight add --help",
        )
    if text is None:
        listed = name_some(printable(one.name) for one in flights)
        raise InvalidInput("--flight", f"the campaign has several; say which:{listed}")
    return choose(
        flights,
        text,
        option="--flight",
        what="flight",
        title=lambda one: one.name,
        keys=lambda one: (str(one.flight_id),),
    )


def _want_placements(api: Api, campaign: Campaign, options: argparse.Namespace) -> list[Wanted]:
    """Want a flight to be heard in some episodes.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: An episode or the flight is not there, not the only one of its name, or has the other already.
    """
    flight = _choose_flight(api, campaign, options.flight)
    episodes = _find_episodes(api, options.episodes, options.podcast)
    if not options.again:
        there = {
            one.episode_id
            for one in api.get_all("/placements", _Placed, flight_id=str(flight.flight_id))
            if one.position == options.position and one.status not in _ENDED
        }
        for one in episodes:
            if one.episode_id in there:
                raise InvalidInput(
                    "EPISODE",
                    f"the flight is in {printable(one.title)} already, {options.position}-roll; with --again it is "
                    "placed once more, and each download counts for both",
                )
            there.add(one.episode_id)
    return [
        Wanted(
            f"/flights/{flight.flight_id}/placements",
            {
                "episode_id": one.episode_id,
                "delivery": "dynamic" if options.dynamic else "baked_in",
                "position": options.position,
                "host_read": not options.produced,
            },
            _tell_placement,
        )
        for one in episodes
    ]


def _want_moves(api: Api, campaign: Campaign, options: argparse.Namespace) -> list[Wanted]:
    """Want placements in some episodes to be in another state.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: An episode has none, or is not the only one of its name.
    """
    placements = [
        one
        for one in api.get_all("/placements", _Placed, campaign_id=str(campaign.campaign_id))
        if one.status not in _ENDED
    ]

    def tell(answer: bytes) -> Iterator[str]:
        moved = msgspec.json.decode(answer, type=_Placed)
        yield f"{moved.status}: {printable(moved.episode_title)}, {moved.position}-roll, {moved.downloads:,} downloads"

    wanted = []
    episodes = {one.episode_id: one for one in placements}.values()
    for text in options.episodes:
        chosen = choose(
            episodes,
            text,
            option="EPISODE",
            what="episode of the campaign",
            title=lambda one: one.episode_title,
            keys=lambda one: (str(one.episode_id),),
            may_be_part=True,
        )
        wanted += [
            Wanted(f"/placements/{one.placement_id}/{options.step}", None, tell)
            for one in placements
            if one.episode_id == chosen.episode_id
        ]
    return wanted


def _find_episodes(api: Api, texts: list[str], podcast: str | None) -> list[_Episode]:
    podcasts = list(api.get_all("/podcasts", _Podcast))
    if podcast is not None:
        podcasts = [
            choose(
                podcasts,
                podcast,
                option="--podcast",
                what="podcast",
                title=lambda one: one.title,
                keys=lambda one: (str(one.podcast_id),),
                may_be_part=True,
            )
        ]
    episodes = [one for found in podcasts for one in api.get_all(f"/podcasts/{found.podcast_id}/episodes", _Episode)]
    return [
        choose(
            episodes,
            text,
            option="EPISODE",
            what="episode",
            title=lambda one: one.title,
            keys=lambda one: (str(one.episode_id), one.guid),
            may_be_part=True,
        )
        for text in texts
    ]


def _tell_placement(answer: bytes) -> Iterator[str]:
    made = msgspec.json.decode(answer, type=_Placed)
    start, end = (f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M}" for at in (made.live_from, made.live_until))
    yield (
        f"placed: {printable(made.episode_title)} ({printable(made.podcast_title)}), {made.position}-roll, "
        f"downloads count {start} to {end} UTC"
    )


def _want_codes(api: Api, campaign: Campaign, options: argparse.Namespace) -> list[Wanted]:
    """Want a promo code of somebody's choice, or some that are made.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: The flight is not there, or not the only one.
    """
    flight = _choose_flight(api, campaign, options.flight)
    body: dict[str, Any] = {"count": options.count} if options.code is None else {"code": options.code}
    if options.prefix is not None:
        body["prefix"] = options.prefix

    def tell(answer: bytes) -> Iterator[str]:
        for made in msgspec.json.decode(answer, type=_Codes).data:
            yield f"code: {made.code}"

    options_of = {"code": "CODE", "count": "--count", "prefix": "--prefix"}
    return [Wanted(f"/flights/{flight.flight_id}/promo-codes", body, tell, options_of)]


def _want_link(api: Api, campaign: Campaign, options: argparse.Namespace) -> list[Wanted]:
    """Want a link of a flight.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: The flight is not there, or not the only one.
    """
    flight = _choose_flight(api, campaign, options.flight)
    body = {"url": options.url, "flight_id": flight.flight_id, "click_id": options.click_id, "slug": options.slug}

    def tell(answer: bytes) -> Iterator[str]:
        made = msgspec.json.decode(answer, type=_Link)
        yield f"link: {made.short_url or f'/go/{made.slug}'}"
        yield f"leads to: {printable(made.target)}"

    return [Wanted("/links", body, tell, {"url": "URL", "slug": "--slug"})]


def _want_step(_: Api, campaign: Campaign, options: argparse.Namespace) -> list[Wanted]:
    """Want a campaign to be in another state."""

    def tell(answer: bytes) -> Iterator[str]:
        moved = msgspec.json.decode(answer, type=Campaign)
        yield f"{printable(moved.name)} is {moved.status}, {moved.starts_on} to {moved.ends_on}"

    help_ = f"castledger campaign {shlex.quote(options.campaign)} --help"
    advice = {"not_trackable": f"how to give it one says `{help_}`"}
    return [Wanted(f"/campaigns/{campaign.campaign_id}/{options.step}", None, tell, advice=advice)]


WANTS: Final[Mapping[str, Callable[[Api, Campaign, argparse.Namespace], list[Wanted]]]] = MappingProxyType(
    {
        "flight": _want_flight,
        "place": _want_placements,
        "move": _want_moves,
        "code": _want_codes,
        "link": _want_link,
        "step": _want_step,
    }
)
"""What a campaign is to have or to be, by what is wanted of it.

Raises:
    ApiRefusal: The API refused.
    InvalidInput: What is named is not there, or not the only one of its name.
"""
