"""The reports of what was sold: a sponsor's, of what it got for its money, and that of deliveries, flight by flight."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from analytics_core.deliveries import FlightDelivery, sum_booked
from analytics_core.performances import A_WHOLE, DETERMINISTIC, ModelFigures, ModelTotal, figures_by_model
from analytics_core.reach import MonthReach, frequency_of
from analytics_core.reporting.campaigns import CampaignPart
from analytics_core.reporting.documents import Cell, Column, Document, Kind, Table
from analytics_core.reporting.podcasts import Counted, about_counting
from analytics_core.reporting.requests import ReportParams

__all__ = ("CodeFigure", "LinkFigure", "RunFacts", "SponsorFigures", "write_delivery", "write_sponsor")

_ID: Final = (Column("campaign", Kind.TEXT), Column("flight", Kind.TEXT))
_DELIVERED: Final = (Column("booked"), Column("delivered"), Column("delivered_in_range"))

_IMPRESSIONS: Final = (
    "An impression is a counted download of an episode that carried the ad, while it was to be heard there. "
    "`delivered` are all until the end of the report, `delivered_in_range` those in its days."
)
_PACING: Final = (
    "`expected` is the part of the booking that an even delivery would have reached by then; `pacing` is delivered by "
    "expected: under 0.9 is under-delivery. A make-good is owed when the time of measurement is over and less was "
    "delivered than was booked."
)
_MONEY: Final = (
    "`cost_amount` is what the report's days cost: impressions by the thousand up to the booking, a flat fee when its "
    "flight begins."
)
_CONVERSIONS: Final = (
    "Conversions are what the sponsor's shop told us. `deterministic` gives each one whole to the surest sign that "
    "came with it: a click, an address said in the show, a promo code, an answer to where somebody heard of it. The "
    "models share each one among all such signs that came before it, each by a rule of its own. They are several "
    "answers to one question, and never added up."
)
_CODES: Final = (
    "Who buys without a code or link is not seen, so these figures are the least there was. Codes get around: "
    "`coupon_referrer` came from a site that collects them, `no_exposure` when nobody had heard the ad yet, "
    "`over_limit` when the code had been redeemed as often as was agreed on. All are among the redemptions."
)
_REACH: Final = (
    "Reach is an estimate of how many people heard the ad, known for a month at a time: it is never added up over "
    "months or flights."
)
_NO_RUN: Final = (
    "There is no attribution run of exactly these days, so nothing is said of conversions: have one made, and the "
    "report after it."
)


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The attribution run that tells of conversions.

    Attributes:
        insufficient: Models that had too little to say anything by, and why.
        campaigns: All that it could credit; ``None`` where that was not noted.
    """

    run_id: UUID
    starts_at: dt.datetime
    ends_at: dt.datetime
    cutoff_at: dt.datetime
    code_version: str
    models: Sequence[str]
    insufficient: Mapping[str, str]
    campaigns: frozenset[UUID] | None = None

    def tells_of(self, campaign_id: UUID) -> bool:
        """Tell whether nothing given to a campaign means that it got nothing."""
        return self.campaigns is None or campaign_id in self.campaigns


class CodeFigure(msgspec.Struct, frozen=True, kw_only=True):
    """A promo code, and how often it was redeemed in the report's days.

    Attributes:
        late: Redemptions after its end, within its grace.
        coupon_referrer: Those that came from a site that collects codes; ``None`` without an attribution run.
        no_exposure: Those before anybody had heard the ad; likewise.
        over_limit: Those beyond how often the code was meant to be redeemed; likewise.
    """

    code: str
    campaign_id: UUID
    flight_id: UUID
    valid_from: dt.datetime
    valid_until: dt.datetime | None
    redemptions: int
    late: int
    coupon_referrer: int | None
    no_exposure: int | None
    over_limit: int | None


class LinkFigure(msgspec.Struct, frozen=True):
    """A link of a flight, and the clicks on it in the report's days, those of bots left out."""

    slug: str
    campaign_id: UUID
    flight_id: UUID
    clicks: int


class SponsorFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What the reports of what was sold are made of, as storage gives it.

    Attributes:
        sponsor: Its name; ``None`` where it is about all.
        campaigns: In the order in which they were made.
        months: Reach of each campaign.
        run: ``None`` without one.
        totals: Of that run.
    """

    sponsor: str | None
    counted: Counted
    campaigns: Sequence[CampaignPart]
    months: Mapping[UUID, Sequence[MonthReach]]
    codes: Sequence[CodeFigure]
    links: Sequence[LinkFigure]
    run: RunFacts | None
    totals: Sequence[ModelTotal]


def _names(figures: SponsorFigures) -> dict[UUID, tuple[str, str]]:
    return {
        flight.terms.flight_id: (campaign.name, flight.terms.name)
        for campaign in figures.campaigns
        for flight in campaign.flights
    }


def _booked(flight: FlightDelivery) -> int | None:
    return None if flight.terms.is_cancelled else flight.terms.booked_impressions


def _amount(campaign: CampaignPart, flight_id: UUID) -> int | None:
    amount = campaign.costs[flight_id].amount
    return None if amount is None else amount.amount


def _campaigns(figures: SponsorFigures) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for campaign in figures.campaigns:
        cost = campaign.cost
        rows.append(
            (
                campaign.name,
                campaign.status,
                campaign.starts_on,
                campaign.ends_on,
                sum_booked(campaign.flights),
                sum(flight.delivered for flight in campaign.flights),
                sum(campaign.in_range.values()),
                campaign.clicks,
                campaign.redemptions,
                campaign.currency,
                None if cost is None else cost.amount,
            )
        )
    columns = (
        Column("campaign", Kind.TEXT),
        Column("status", Kind.TEXT),
        Column("starts_on", Kind.DAY),
        Column("ends_on", Kind.DAY),
        *_DELIVERED,
        Column("clicks"),
        Column("redemptions"),
        Column("currency", Kind.TEXT),
        Column("cost_amount"),
    )
    return Table("campaigns", columns, rows)


def _flights(figures: SponsorFigures, *, projected: bool) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for campaign in figures.campaigns:
        for flight in campaign.flights:
            terms, pace, mid = flight.terms, flight.pace, flight.projected
            row: tuple[Cell, ...] = (
                campaign.name,
                terms.name,
                terms.status,
                terms.starts_at,
                terms.ends_at,
                _booked(flight),
                flight.delivered,
                campaign.in_range.get(terms.flight_id, 0),
                None if pace is None else pace.expected,
                None if pace is None else round(float(pace.index), 4),
                None if pace is None else pace.state.value,
                flight.makegood_owed,
                flight.makegood_booked,
                terms.pricing,
                terms.price_amount,
                terms.currency,
                _amount(campaign, terms.flight_id),
            )
            ahead = (None, None, None) if mid is None else (mid.low, mid.mid, mid.high)
            rows.append((*row, *ahead) if projected else row)
    columns: tuple[Column, ...] = (
        *_ID,
        Column("status", Kind.TEXT),
        Column("starts_at", Kind.INSTANT),
        Column("ends_at", Kind.INSTANT),
        *_DELIVERED,
        Column("expected"),
        Column("pacing", Kind.NUMBER),
        Column("pace", Kind.TEXT),
        Column("makegood_owed"),
        Column("makegood_booked"),
        Column("pricing", Kind.TEXT),
        Column("price_amount"),
        Column("currency", Kind.TEXT),
        Column("cost_amount"),
    )
    if projected:
        columns += (Column("projected_low"), Column("projected"), Column("projected_high"))
    return Table("flights", columns, rows)


def _placements(figures: SponsorFigures) -> Table:
    names = _names(figures)
    columns = (
        *_ID,
        Column("podcast", Kind.TEXT),
        Column("episode", Kind.TEXT),
        Column("position", Kind.TEXT),
        Column("status", Kind.TEXT),
        Column("live_from", Kind.INSTANT),
        Column("live_until", Kind.INSTANT),
        *_DELIVERED[1:],
    )
    rows = [
        (
            *names[one.flight_id],
            one.podcast_title,
            one.episode_title,
            one.position,
            one.status,
            one.live_from,
            one.live_until,
            one.delivered,
            part.in_range,
        )
        for campaign in figures.campaigns
        for part in campaign.placements
        for one in [part.placement]
    ]
    return Table("placements", columns, rows)


def _days(params: ReportParams, figures: SponsorFigures) -> Table:
    """Count impressions of each day, those without any too; days that lie behind the cutoff are not known yet."""
    delivered: Counter[dt.date] = Counter()
    for campaign in figures.campaigns:
        for part in campaign.placements:
            for one in part.placement.days:
                delivered[one.day] += one.delivered
    cutoff_at = figures.counted.cutoff_at
    rows = []
    for number in range((params.end - params.start).days):
        day = params.start + dt.timedelta(days=number)
        is_known = cutoff_at is not None and dt.datetime.combine(day, dt.time(), dt.UTC) < cutoff_at
        rows.append((day, delivered[day] if is_known else None))
    return Table("days", (Column("day", Kind.DAY), Column("impressions")), rows)


def _reach(figures: SponsorFigures) -> Table:
    columns = (
        Column("campaign", Kind.TEXT),
        Column("month", Kind.DAY),
        Column("reach"),
        Column("frequency", Kind.NUMBER),
        Column("reason", Kind.TEXT),
    )
    rows = [
        (
            campaign.name,
            month.month,
            month.reach if month.reason is None else None,
            frequency_of(month.impressions, month.reach) if month.reason is None else None,
            month.reason,
        )
        for campaign in figures.campaigns
        for month in figures.months.get(campaign.campaign_id, ())
    ]
    return Table("reach", columns, rows)


def _codes(figures: SponsorFigures) -> Table:
    names = _names(figures)
    columns = (
        *_ID,
        Column("code", Kind.TEXT),
        Column("valid_from", Kind.INSTANT),
        Column("valid_until", Kind.INSTANT),
        Column("redemptions"),
        Column("late"),
        Column("coupon_referrer"),
        Column("no_exposure"),
        Column("over_limit"),
    )
    rows = [
        (
            *names[one.flight_id],
            one.code,
            one.valid_from,
            one.valid_until,
            one.redemptions,
            one.late,
            one.coupon_referrer,
            one.no_exposure,
            one.over_limit,
        )
        for one in figures.codes
    ]
    return Table("codes", columns, rows)


def _links(figures: SponsorFigures) -> Table:
    names = _names(figures)
    rows = [(*names[one.flight_id], f"/go/{one.slug}", one.clicks) for one in figures.links]
    return Table("links", (*_ID, Column("link", Kind.TEXT), Column("clicks")), rows)


def _conversions(figures: SponsorFigures) -> Table:
    """Tell what each model gave each campaign; nothing of one that had too little to say anything by."""
    columns = (
        Column("campaign", Kind.TEXT),
        Column("model", Kind.TEXT),
        Column("conversions", Kind.NUMBER),
        Column("new_customers", Kind.NUMBER),
        Column("currency", Kind.TEXT),
        Column("value_amount"),
        Column("cost_amount"),
        Column("cpa_amount"),
        Column("roas", Kind.NUMBER),
        Column("reason", Kind.TEXT),
    )
    rows: list[tuple[Cell, ...]] = []
    run = figures.run
    if run is None:
        return Table("conversions", columns, rows)
    for campaign in figures.campaigns:
        if not run.tells_of(campaign.campaign_id):
            continue
        flight_ids = {flight.terms.flight_id for flight in campaign.flights}
        own = [total for total in figures.totals if total.flight_id in flight_ids]
        for one in figures_by_model(own, run.models, cost=campaign.cost, currency=campaign.currency):
            if one.model in run.insufficient:
                rows.append((campaign.name, one.model, *[None] * 7, "insufficient_data"))
            else:
                rows += _of_model(campaign, one)
    return Table("conversions", columns, rows)


def _of_model(campaign: CampaignPart, figures: ModelFigures) -> Iterator[tuple[Cell, ...]]:
    """Tell what a model gave a campaign: in its own currency all of it, in any other the value alone."""
    values = {money.currency: money.amount for money in figures.values}
    cost = campaign.cost
    yield (
        campaign.name,
        figures.model,
        figures.conversions_ppm / A_WHOLE,
        figures.new_customers_ppm / A_WHOLE,
        campaign.currency,
        values.pop(campaign.currency, 0),
        None if cost is None else cost.amount,
        figures.cpa_amount,
        figures.roas,
        figures.return_reason,
    )
    for currency, value in sorted(values.items()):
        yield (campaign.name, figures.model, None, None, currency, value, *[None] * 3, "other_currencies")


def _totals(figures: SponsorFigures) -> Table:
    flights = [flight for campaign in figures.campaigns for flight in campaign.flights]
    row = (
        sum_booked(flights),
        sum(flight.delivered for flight in flights),
        sum(sum(campaign.in_range.values()) for campaign in figures.campaigns),
        sum(campaign.clicks for campaign in figures.campaigns),
        sum(campaign.redemptions for campaign in figures.campaigns),
    )
    return Table("totals", (*_DELIVERED, Column("clicks"), Column("redemptions")), [row])


def _about(params: ReportParams, figures: SponsorFigures) -> dict[str, Cell]:
    about: dict[str, Cell] = {
        "sponsor_id": params.sponsor_id,
        "sponsor": figures.sponsor,
        "campaign_id": params.campaign_id,
        "from": params.start,
        "to": params.end,
        "tz": params.tz,
        "amounts": "in the smallest unit of their currency, such as cents",
        **about_counting(figures.counted),
    }
    return about


def _about_run(params: ReportParams, run: RunFacts | None) -> dict[str, Cell]:
    """Say which run tells of conversions, and up to when conversions were received that codes are counted by."""
    return {
        "received_before": params.received_before,
        "run_id": None if run is None else run.run_id,
        "run_from": None if run is None else run.starts_at,
        "run_to": None if run is None else run.ends_at,
        "run_cutoff": None if run is None else run.cutoff_at,
        "run_version": None if run is None else run.code_version,
        "surest": None if run is None else DETERMINISTIC,
        "models": None if run is None else ", ".join(run.models),
    }


def _days_of(params: ReportParams) -> str:
    return f"from {params.start} to {params.end - dt.timedelta(days=1)}"


def write_sponsor(params: ReportParams, figures: SponsorFigures) -> Document:
    """Write the report of a sponsor: of all of its campaigns in the days, or of one.

    Args:
        params: With the sponsor's id.
        figures: Of the campaigns.
    """
    notes = [_IMPRESSIONS, _PACING, _MONEY, _CONVERSIONS if figures.run is not None else _NO_RUN, _CODES, _REACH]
    if figures.run is not None:
        notes += [f"The model {name} had too little to go by." for name in sorted(figures.run.insufficient)]
    one = figures.campaigns[0].name if params.campaign_id is not None and figures.campaigns else None
    return Document(
        kind="sponsor",
        title=f"{figures.sponsor}{f', {one}' if one else ''}: {_days_of(params)}",
        about={**_about(params, figures), **_about_run(params, figures.run)},
        notes=notes,
        tables=[
            _totals(figures),
            _campaigns(figures),
            _flights(figures, projected=False),
            _placements(figures),
            _days(params, figures),
            _conversions(figures),
            _codes(figures),
            _links(figures),
            _reach(figures),
        ],
    )


def write_delivery(params: ReportParams, figures: SponsorFigures) -> Document:
    """Write the report of deliveries: what was booked, delivered and is owed, flight by flight.

    Args:
        params: Of whom, if not of all.
        figures: Of the campaigns.
    """
    of = f" for {figures.sponsor}" if figures.sponsor else ""
    projected = "Nine times out of ten the end lies between `projected_low` and `projected_high`."
    return Document(
        kind="delivery",
        title=f"Delivery{of}: {_days_of(params)}",
        about=_about(params, figures),
        notes=[_IMPRESSIONS, _PACING, _MONEY, projected],
        tables=[
            _flights(figures, projected=True),
            _placements(figures),
            _days(params, figures),
        ],
    )
