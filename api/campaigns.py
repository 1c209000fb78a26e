"""What the API and the page do to campaigns alike, and what is read alike of all that comes under orders."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response

from analytics_core.campaign_changes import check_campaign_change
from analytics_core.campaigns import (
    CAMPAIGN_MOVES,
    CampaignStatus,
    FlightStatus,
    OrderStatus,
    check_campaign_days,
    move,
    next_quarter,
)
from analytics_core.db.campaigns import (
    CampaignFields,
    CampaignRow,
    add_campaign,
    change_campaign,
    count_trackable,
    find_campaign,
    hold_campaign,
    set_campaign_status,
)
from analytics_core.db.flights import end_placements, list_campaign_flights, settle_flights
from analytics_core.db.insertion_orders import OrderRow, add_order, find_order, use_order
from analytics_core.db.links import refill_links
from analytics_core.db.sponsors import SponsorFields, find_sponsor, lock_sponsor, refuse_archived
from analytics_core.errors import Conflict, InvalidInput
from analytics_core.links import parse_target_url
from analytics_core.money import parse_currency
from analytics_core.sponsors import clean_text
from analytics_core.utm_templates import parse_utm_template
from api.errors import Fault, InvalidRequest
from api.resources import resources_of
from api.schemas.campaigns import AddCampaign, Campaign, ChangeCampaign
from api.sponsors import add_within
from api.versions import answer_version
from api.writing import Work, writing

__all__ = (
    "answer_campaign",
    "change",
    "changed_fields",
    "check",
    "create",
    "given_fields",
    "take_step",
    "use_open_order",
)


def changed_fields(was: msgspec.Struct, wished: msgspec.Struct) -> list[str]:
    """List the fields that would say something else than before."""
    return [name for name in was.__struct_fields__ if getattr(was, name) != getattr(wished, name)]


def check(*rules: Callable[[], object]) -> None:
    """Apply rules, and tell all that they refuse.

    Raises:
        InvalidRequest: One of them refuses; the fault of each is listed.
    """
    faults: list[Fault] = []
    for rule in rules:
        try:
            rule()
        except InvalidInput as error:
            faults.append(Fault(error.path, error.code, error.reason))
    if faults:
        raise InvalidRequest(faults)


def _read_url(text: str, *, path: str) -> str:
    try:
        return parse_target_url(text)
    except InvalidInput as error:
        raise InvalidInput(path, error.reason, code=error.code) from error


_TEXTS: Final[dict[str, Callable[..., str]]] = {
    "name": clean_text,
    "reference": clean_text,
    "currency": parse_currency,
    "aircheck_url": _read_url,
}


def given_fields(given: msgspec.Struct, *, leave: tuple[str, ...] = ()) -> dict[str, Any]:
    """List what is given, with texts as they are kept.

    Args:
        given: As the request says it.
        leave: What the caller reads itself.

    Raises:
        InvalidRequest: A text cannot be shown, or is no address or currency; all are listed.
    """
    found = {
        name: value
        for name, value in msgspec.structs.asdict(given).items()
        if value is not msgspec.UNSET and name not in leave
    }

    def read(name: str) -> None:
        found[name] = _TEXTS[name](found[name], path=f"/{name}")

    check(*(lambda name=name: read(name) for name in _TEXTS if found.get(name) is not None))
    return found


def answer_campaign(row: CampaignRow) -> Response[Campaign]:
    """Answer with a campaign and its version."""
    return answer_version(Campaign.of(row), version=row.version)


def _check_owner(given: AddCampaign, *, is_new: bool) -> None:
    has_sponsor = is_new or given.sponsor_id is not None
    if given.insertion_order_id is None and (not has_sponsor or given.currency is None):
        missing = "currency" if has_sponsor else "sponsor_id"
        raise InvalidInput(f"/{missing}", "is needed where no insertion_order_id is given", code="missing")


async def use_open_order(work: Work, order_id: UUID) -> OrderRow:
    """Read an order that stays as it is. Its sponsor is locked before it, as a merge does it."""
    refuse_archived(await lock_sponsor(work.conn, (await find_order(work.conn, order_id)).sponsor_id))
    return await use_order(work.conn, order_id)


async def _take_order(work: Work, given: AddCampaign, name: str, *, now: dt.datetime) -> OrderRow:
    """Find the order that a campaign comes under, or make one.

    Raises:
        NotFound, Conflict: There is no such order or sponsor, or nothing comes under it any more.
        InvalidInput: The order is another sponsor's, or in another currency.
    """
    if given.insertion_order_id is None:
        if given.sponsor_id is None or given.currency is None:
            raise AssertionError("it was checked that both are given")
        refuse_archived(await lock_sponsor(work.conn, given.sponsor_id))
        return await add_order(
            work.conn,
            work.tenant,
            sponsor_id=given.sponsor_id,
            name=name,
            reference=None,
            currency=given.currency,
            status=OrderStatus.OPEN,
            now=now,
        )
    if given.sponsor_id is not None:
        await find_sponsor(work.conn, given.sponsor_id)
    order = await use_open_order(work, given.insertion_order_id)
    for field in ("sponsor_id", "currency"):
        said, known = getattr(given, field), getattr(order, field)
        if said not in (None, known):
            raise InvalidInput(
                f"/{field}", f"is not the order's, which is {known}; leave it out", code="not_the_orders"
            )
    return order


async def create(
    request: Request[Any, Any, Any], given: AddCampaign, *, sponsor: SponsorFields | None = None
) -> CampaignRow:
    """Make a campaign, as a draft: under an order, or with an open order of its own name and sponsor.

    Args:
        request: Which asks.
        given: What is said of it.
        sponsor: Of a new one whose campaign it is; *given* then names neither sponsor nor order.

    Raises:
        InvalidRequest: Something is wrong with what is given; all is listed.
        NotFound, Conflict, InvalidInput: There is no such order or sponsor, nothing comes under it any more, or the
            order is another sponsor's.
    """
    said = given_fields(given, leave=("insertion_order_id", "sponsor_id", "utm"))
    said.pop("currency")
    fields = CampaignFields(**said, utm=given.utm.as_mapping())
    check(
        lambda: _check_owner(given, is_new=sponsor is not None),
        lambda: check_campaign_days(given.starts_on, given.ends_on),
        lambda: parse_utm_template(fields.utm),
    )
    async with writing(request, "campaign.create") as work:
        now = resources_of(request).clock.now()
        if sponsor is not None:
            added = await add_within(work, sponsor, now=now)
            given = msgspec.structs.replace(given, sponsor_id=added.sponsor_id)
        order = await _take_order(work, given, fields.name, now=now)
        row = await add_campaign(work.conn, work.tenant, order, fields, now=now)
        return work.done(row, resource=row.campaign_id, answer=answer_campaign(row))


async def change(
    request: Request[Any, Any, Any], campaign_id: UUID, given: ChangeCampaign, *, version: int | None
) -> CampaignRow:
    """Change what is said of a campaign that is not over. Its days go on holding all of its flights.

    Raises:
        InvalidRequest: Something is wrong with what is given; all is listed.
        NotFound: There is none of this id.
        Outdated: There is another version.
        Conflict: ``campaign_over``, ``campaign_begun`` or ``flights_outside``.
    """
    fields = given_fields(given, leave=("utm",))
    if not isinstance(given.utm, msgspec.UnsetType):
        fields["utm"] = template = given.utm.as_mapping()
        check(lambda: parse_utm_template(template))
    async with writing(request, "campaign.update") as work:
        was = await hold_campaign(work.conn, campaign_id, version=version)
        wished = msgspec.structs.replace(was, **fields)
        check_campaign_change(was.status, changed_fields(was, wished))
        check(lambda: check_campaign_days(wished.starts_on, wished.ends_on))
        await _check_flights(work, wished)
        row = await change_campaign(work.conn, was, wished)
        if (row.utm, row.name) != (was.utm, was.name):
            await refill_links(work.conn, campaign_id)
        return work.done(row, resource=campaign_id, before=was, answer=answer_campaign(row))


async def _check_flights(work: Work, wished: CampaignRow) -> None:
    """Make sure that a campaign's flights are inside of its days.

    Raises:
        Conflict: ``flights_outside``.
    """
    first = dt.datetime.combine(wished.starts_on, dt.time(), dt.UTC)
    until = dt.datetime.combine(wished.ends_on, dt.time(), dt.UTC) + dt.timedelta(days=1)
    outside = [
        flight.name
        for flight in await list_campaign_flights(work.conn, wished.campaign_id)
        if flight.status is not FlightStatus.CANCELLED
        and (flight.starts_at < first or (flight.ends_at > until and flight.makegood_of is None))
    ]
    if outside:
        raise Conflict(
            "flights_outside", f"flights would be outside of the campaign: {', '.join(outside[:5])}; change them first"
        )


async def _require_trackable(work: Work, campaign: CampaignRow) -> None:
    missing = (await count_trackable(work.conn, campaign.campaign_id)).missing
    if missing:
        raise Conflict("not_trackable", f"the campaign has no {', no '.join(missing)}: nobody could tell what it does")


async def take_step(
    request: Request[Any, Any, Any], campaign_id: UUID, step: str, *, version: int | None
) -> CampaignRow:
    """Move a campaign on, and its flights with it.

    Args:
        request: Which asks.
        campaign_id: Which.
        step: One of :data:`analytics_core.campaigns.CAMPAIGN_MOVES`.
        version: The one that it has to be at; ``None`` where that does not matter.

    Raises:
        NotFound: There is none of this id.
        Outdated: There is another version.
        Conflict: ``illegal_transition``, ``campaign_over``, ``not_yet`` or ``not_trackable``.
    """
    async with writing(request, f"campaign.{step}") as work:
        now = resources_of(request).clock.now()
        was = await hold_campaign(work.conn, campaign_id, version=version)
        status = CampaignStatus(move(CAMPAIGN_MOVES, was.status, step, what="campaign"))
        today = now.astimezone(dt.UTC).date()
        if step in ("schedule", "activate", "resume") and was.ends_on < today:
            raise Conflict("campaign_over", f"the campaign ended on {was.ends_on}; give it another ends_on first")
        if step == "activate" and was.starts_on > today:
            raise Conflict("not_yet", f"the campaign starts on {was.starts_on}; schedule it, and it begins by itself")
        if step in ("schedule", "activate"):
            await _require_trackable(work, was)
        await set_campaign_status(work.conn, campaign_id, status, now=now)
        await settle_flights(work.conn, await find_campaign(work.conn, campaign_id), now=now)
        if status is CampaignStatus.CANCELLED:
            for flight in await list_campaign_flights(work.conn, campaign_id):
                # What was sold and heard goes on being measured.
                if flight.status is not FlightStatus.COMPLETED:
                    await end_placements(work.conn, flight.flight_id, at=next_quarter(now))
        row = await find_campaign(work.conn, campaign_id)
        return work.done(row, resource=campaign_id, before=was, answer=answer_campaign(row))
