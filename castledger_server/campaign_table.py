"""Campaigns told to people in a terminal: all of them as a table, one of them as its page tells it."""

from __future__ import annotations

import datetime as dt
import itertools
import shlex
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from analytics_core.money import Money, format_money
from castledger_server.api_access import Api
from castledger_server.campaign_answers import (
    CampaignDelivery,
    Code,
    Flight,
    Link,
    Paced,
    Performance,
    Placement,
    Standing,
    find_sponsor,
    list_codes,
    list_links,
    read_delivery,
    read_months,
    read_performance,
    read_sponsor,
)
from castledger_server.commands import printable

__all__ = ("campaign_lines", "days_of", "list_campaign_lines", "list_standing_lines")

_Device = TypeVar("_Device", Code, Link)

_OVER: Final = ("completed", "cancelled")
_BAR: Final = 40
_SHOWN: Final = 50
"""Placements, and codes and links, of one campaign."""
_NOTHING: Final = "–"
_NO_PACE: Final = {"no_booking": "no booking", "not_started": "not begun", "cancelled": "cancelled"}
_NO_REACH: Final = {
    "across_months": "known by month alone, below",
    "no_impressions": "none yet",
    "changed_since": "not known any more, as impressions have changed",
}


def list_campaign_lines(api: Api, *, sponsor: str | None, is_all: bool) -> Iterator[str]:
    """List campaigns, a line each under a heading, with how each stands.

    Args:
        api: Is asked.
        sponsor: Name or id of the one that is meant; ``None`` for all.
        is_all: Completed and cancelled campaigns too.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: There is no such sponsor.
    """
    found = left = 0
    is_lacking = False
    for raw in _list_standings(api, sponsor):
        one = msgspec.json.decode(raw, type=Standing)
        found += 1
        if one.status in _OVER and not is_all:
            left += 1
            continue
        if found - left == 1:
            yield (
                f"{'id':<38}{'state':<11}{'delivered':>12}{'booked':>12}  {'pace':<17}{'sure':>6}{'cost of one':>14}  "
                "campaign (sponsor)"
            )
        is_lacking |= one.conversions is None
        yield (
            f"{one.campaign_id!s:<38}{one.status:<11}{one.delivered:>12,}{_count(one.booked):>12}  {_pace(one):<17}"
            f"{_NOTHING if one.conversions is None else _parts(one.conversions):>6}"
            f"{_money(one.cpa_amount, one.currency):>14}  {printable(one.name)} ({printable(one.sponsor_name)})"
        )
    if is_lacking:
        yield f"sure {_NOTHING}: no attribution run of the sponsor is ready; castledger sponsor NAME attribute --help"
    if not found:
        yield "there is no campaign; make one:"
        yield (
            f"  castledger campaigns add --sponsor {'Acme' if sponsor is None else shlex.quote(sponsor)} --name Autumn "
            "--from 2026-11-20 --until 2026-12-31 --cpm 25.00 --currency EUR --booked 100000"
        )
        if sponsor is None:
            yield "for a sponsor of `castledger sponsors`, or one that `castledger sponsors add Acme` adds first"
    elif left == found:
        yield f"no campaign is going on; --all shows {found:,} that are over"
    elif left:
        yield f"left out: {left:,} of {found:,}, which --all shows too, as they are over"


def list_standing_lines(api: Api, *, sponsor: str | None, is_all: bool) -> Iterator[str]:
    """List campaigns as the API has them, a line each; arguments and errors are those of the list for people."""
    for raw in _list_standings(api, sponsor):
        if is_all or msgspec.json.decode(raw, type=Standing).status not in _OVER:
            yield bytes(raw).decode()


def _list_standings(api: Api, sponsor: str | None) -> Iterator[msgspec.Raw]:
    chosen = {} if sponsor is None else {"sponsor_id": str(find_sponsor(api, sponsor).sponsor_id)}
    return api.get_all("/campaign-standings", msgspec.Raw, **chosen)


def campaign_lines(api: Api, campaign_id: UUID) -> Iterator[str]:
    """Tell one campaign as its page does.

    Raises:
        ApiRefusal: The API refused, or there is no such campaign.
    """
    delivery = read_delivery(api, campaign_id)
    performance = read_performance(api, campaign_id)
    sponsor = read_sponsor(api, delivery.sponsor_id)
    yield f"{printable(delivery.name)}, for {printable(sponsor.name)}"
    budget = _money(performance.budget_amount, performance.currency)
    yield f"{delivery.status}, {delivery.starts_on} to {delivery.ends_on}, budget {budget}"
    yield ""
    yield from _standing(delivery)
    yield ""
    yield from _outcome(performance)
    yield from _flights(delivery.flights)
    yield from _placements(delivery.placements)
    links = (link for flight in delivery.flights for link in list_links(api, flight.flight_id))
    yield from _devices(_first(list_codes(api, campaign_id)), _first(links))
    yield from _conversions(performance)
    if performance.reach_reason == "across_months":
        yield ""
        yield f"{'listeners':>12}{'impressions':>14}  month (UTC)"
        for month in read_months(api, campaign_id):
            yield f"{_count(month.reach):>12}{month.delivered:>14,}  {month.month:%Y-%m}"
        yield "Months are not added: a listener is known within one month alone."
    yield ""
    cutoff = delivery.cutoff
    yield "no download has landed yet" if cutoff is None else f"every download before {_instant(cutoff)} is in it"


def _standing(delivery: CampaignDelivery) -> Iterator[str]:
    most = max(delivery.delivered, delivery.expected or 0, delivery.booked or 0)
    booked = "no number was booked" if delivery.booked is None else f"of {delivery.booked:,} booked"
    yield f"delivered  {_bar(delivery.delivered, most)}  {delivery.delivered:,} {booked}"
    if delivery.expected is not None:
        yield f"due        {_bar(delivery.expected, most)}  {delivery.expected:,} by now: {_pace(delivery)}"
    elif delivery.pace_reason == "not_started":
        yield "due        nothing yet, it has not begun"
    if delivery.projected is not None and delivery.projected.low < delivery.projected.high:
        low, mid, high = delivery.projected.low, delivery.projected.mid, delivery.projected.high
        yield f"in the end {mid:,} are likely; nine times out of ten {low:,} to {high:,}"
    if delivery.makegood_owed:
        yield f"owed       {delivery.makegood_owed:,} to be made good, {delivery.makegood_booked:,} of them booked"


def _outcome(performance: Performance) -> Iterator[str]:
    if performance.reach is not None and performance.frequency is not None:
        yield f"listeners  {performance.reach:,}, {performance.frequency:.1f} times each"
    else:
        yield f"listeners  {_NO_REACH.get(performance.reach_reason or '', 'not counted yet')}"
    yield f"clicks     {performance.clicks:,}"
    sure = performance.sure
    if sure is None:
        yield "sure       not known: no attribution run of the sponsor is ready"
    else:
        many = "conversion" if sure.conversions == 1 else "conversions"
        each = "" if sure.cpa_amount is None else f", {_money(sure.cpa_amount, performance.currency)} each"
        yield f"sure       {_parts(sure.conversions)} {many}{each}"
    cost = performance.cost_amount
    so_far = "conversions are paid for, and none were counted yet"
    yield f"cost       {so_far if cost is None else _money(cost, performance.currency) + ' so far'}"


def days_of(start: dt.datetime, end: dt.datetime) -> str:
    """Write the UTC days of a range, the last one in it."""
    last = end.astimezone(dt.UTC) - dt.timedelta(microseconds=1)
    return f"{start.astimezone(dt.UTC):%Y-%m-%d} to {last:%Y-%m-%d}"


def _flights(flights: Sequence[Flight]) -> Iterator[str]:
    yield ""
    if not flights:
        yield "no flight yet"
        return
    yield f"{'delivered':>12}{'booked':>12}{'owed':>12}  {'pace':<17}flight"
    for flight in sorted(flights, key=lambda one: one.starts_at):
        days = days_of(flight.starts_at, flight.ends_at)
        instead = "" if flight.makegood_of is None else ", makes good another"
        yield (
            f"{flight.delivered:>12,}{_count(flight.booked):>12}{_count(flight.makegood_owed):>12}  "
            f"{_pace(flight):<17}{printable(flight.name)}, {days}{instead}"
        )


def _placements(placements: Sequence[Placement]) -> Iterator[str]:
    yield ""
    if not placements:
        yield "in no episode yet"
        return
    yield f"{'delivered':>12}  {'place':<17}{'counted':<26}episode (podcast)"
    ranked = sorted(placements, key=lambda one: (-one.delivered, one.live_from))
    for one in ranked[:_SHOWN]:
        place = f"{one.position}-roll" + (f", {one.status}" if one.status in ("missed", "pulled") else "")
        days = days_of(one.live_from, one.live_until)
        podcast = "" if one.podcast_title is None else f" ({printable(one.podcast_title)})"
        yield f"{one.delivered:>12,}  {place:<17}{days:<26}{printable(one.episode_title or 'an episode')}{podcast}"
    if rest := ranked[_SHOWN:]:
        yield f"{sum(one.delivered for one in rest):>12,}  in {len(rest):,} more"


def _devices(codes: Sequence[Code], links: Sequence[Link]) -> Iterator[str]:
    yield ""
    if not codes and not links:
        yield "it has no promo code and no link"
        return
    yield f"{'used':>12}  code or link"
    for code in codes[:_SHOWN]:
        late = f", {code.late_redemptions:,} of them late" if code.late_redemptions else ""
        over = f", {code.over_limit_redemptions:,} more than agreed on" if code.over_limit_redemptions else ""
        yield f"{code.redemptions:>12,}  code {code.code}{_until(code.archived_at or code.valid_until)}{late}{over}"
    for link in links[:_SHOWN]:
        yield f"{link.clicks:>12,}  link {link.short_url or f'/go/{link.slug}'}{_until(link.archived_at)}"
    if max(len(codes), len(links)) > _SHOWN:
        yield "there are more; the API lists all of them"


def _conversions(performance: Performance) -> Iterator[str]:
    run = performance.run
    if run is None:
        return
    yield ""
    yield f"{'conversions':>12}{'new':>9}{'cost of one':>14}{'return':>9}  {'by':<24}worth"
    for one in performance.models:
        name = "sure" if one is performance.sure else one.model
        agreed = " (agreed on)" if one.model == performance.model else ""
        worth = " + ".join(_money(value.value_amount, value.currency) for value in one.values)
        returned = _NOTHING if one.roas is None else f"{one.roas:.2f}"
        yield (
            f"{_parts(one.conversions):>12}{_parts(one.new_customers):>9}"
            f"{_money(one.cpa_amount, performance.currency):>14}{returned:>9}  {name + agreed:<24}{worth or _NOTHING}"
        )
    yield "Each line tells the same conversions by another rule: they are never added."
    yield f"Conversions of {_instant(run.start)} to {_instant(run.end)}, as known at {_instant(run.cutoff)}."


def _first(found: Iterator[_Device]) -> list[_Device]:
    return list(itertools.islice(found, _SHOWN + 1))


def _pace(figures: Paced) -> str:
    """Say how delivery stands beside what was due.

    >>> _pace(Paced(booked=9, delivered=1, expected=2, index=0.5, state="under", pace_reason=None))
    'behind, 50 %'
    """
    if figures.index is None:
        return _NO_PACE.get(figures.pace_reason or "", _NOTHING)
    share = f"{100 * figures.index:,.0f} %"
    return {"under": f"behind, {share}", "over": f"ahead, {share}"}.get(figures.state or "", "on pace")


def _bar(value: int, most: int) -> str:
    """Draw a number; whatever is more than 0 is seen.

    >>> [_bar(*figures).count("#") for figures in ((1, 1000), (3, 4), (4, 4), (0, 0))]
    [1, 30, 40, 0]
    """
    filled = max(1, _BAR * value // most) if value else 0
    return "#" * filled + "." * (_BAR - filled)


def _parts(conversions: float) -> str:
    """Write a number of conversions, with a digit where a model shares them.

    >>> _parts(1250.0), _parts(0.3333)
    ('1,250', '0.3')
    """
    return f"{conversions:,.0f}" if conversions.is_integer() else f"{conversions:,.1f}"


def _count(value: int | None) -> str:
    return _NOTHING if value is None else f"{value:,}"


def _money(amount: int | None, currency: str) -> str:
    return _NOTHING if amount is None else format_money(Money(amount, currency))


def _until(end: dt.datetime | None) -> str:
    return "" if end is None else f", until {end.astimezone(dt.UTC):%Y-%m-%d}"


def _instant(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
