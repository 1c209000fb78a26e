"""What is to be done about a campaign: the steps that its state allows, and what it still lacks for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from analytics_core.audit import Actor
from analytics_core.campaigns import CAMPAIGN_MOVES, PLACEMENT_MOVES, CampaignStatus, FlightStatus, allowed
from analytics_core.db.attribution_runs import RunRow, find_latest_run
from analytics_core.db.audit import AuditFilter, list_entries
from analytics_core.db.campaigns import CampaignRow, Trackable, count_trackable, find_campaign
from analytics_core.db.conversion_actions import ActionRow, list_actions
from analytics_core.db.deliveries import DeliveredCampaign
from analytics_core.db.memberships import find_member
from analytics_core.db.pool import Connection
from analytics_core.db.reports import ReportRow, list_campaign_reports
from analytics_core.deliveries import FlightTerms, PlacementDelivery
from analytics_core.permissions import Permission
from api.callers import Caller
from api.pages.words import instant

__all__ = ("Lack", "Part", "Step", "Tasks", "lacks_of", "parts_of", "read_tasks", "steps_of", "who_was_first")


class Step(msgspec.Struct, frozen=True):
    """A step that can be taken.

    Attributes:
        is_final: Whether nothing leads back.
    """

    name: str
    label: str
    words: str
    is_final: bool


_REPORTS: Final = 10
_ACTIONS: Final = 50
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "schedule": ("Schedule", "It begins by itself on its first day."),
    "activate": ("Activate", "It begins now."),
    "pause": ("Pause", "What is placed is heard on, and goes on counting."),
    "resume": ("Resume", "It goes on."),
    "complete": ("Complete", "It is over before its last day. This cannot be undone."),
    "cancel": ("Cancel", "Its flights end with it, and placements are pulled or missed. This cannot be undone."),
}
_FINAL: Final = ("complete", "cancel")
_PLACEMENT_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "go-live": ("It is in", "No figure changes by that."),
    "verify": ("It was heard", "Somebody of yours has heard it. No figure changes by that."),
    "miss": ("It never ran", "It has delivered nothing, then. This cannot be undone."),
    "pull": ("Take it out", "Downloads count until the end of this quarter hour. This cannot be undone."),
}
_CANCEL_FLIGHT: Final = Step(
    "cancel",
    "Cancel the flight",
    "What it has delivered stays, and what is placed is pulled. This cannot be undone.",
    True,
)


class Lack(msgspec.Struct, frozen=True):
    """Something that a campaign needs before it can begin, and the form that adds it."""

    words: str
    path: str
    add: str


class Part(msgspec.Struct, frozen=True):
    """A flight or placement that can be moved on, in the version that is shown."""

    version: int
    steps: Sequence[Step]


class Tasks(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody may do about a campaign.

    Attributes:
        campaign: As it stands, with its version; ``None`` for whoever may not change it.
        lacks: What it needs before it can begin, while it has not begun.
        actions: What its sponsor wants to happen; ``None`` for whoever brings no conversions.
        run: The attribution run of its sponsor that was asked for last.
        reports: About it, the latest first; ``None`` for whoever may not see any.
        parts: Its flights and placements that can be moved on, by their ids.
        is_open: Whether something can be added to it.
    """

    campaign: CampaignRow | None
    steps: Sequence[Step]
    lacks: Sequence[Lack]
    actions: Sequence[ActionRow] | None
    run: RunRow | None
    reports: Sequence[ReportRow] | None
    parts: Mapping[UUID, Part]
    is_open: bool
    may_link: bool
    may_attribute: bool
    may_report: bool


def steps_of(status: str, *, starts_on: dt.date, today: dt.date) -> list[Step]:
    """List the steps that a campaign's state and first day allow.

    >>> day = dt.date(2026, 11, 1)
    >>> [step.name for step in steps_of("draft", starts_on=day, today=day)]
    ['activate', 'cancel']
    >>> [step.name for step in steps_of("draft", starts_on=day, today=dt.date(2026, 10, 1))]
    ['schedule', 'cancel']
    """
    # Before its first day it is scheduled, from then on activated: the other is refused, or is over at once.
    left_out = "schedule" if starts_on <= today else "activate"
    return [Step(name, *_WORDS[name], name in _FINAL) for name in allowed(CAMPAIGN_MOVES, status) if name != left_out]


def lacks_of(found: Trackable, campaign_id: UUID) -> list[Lack]:
    """Say what a campaign needs before it can begin, in the order in which it is added."""
    at = f"/campaigns/{campaign_id}"
    ways = {
        "flight": Lack(
            "It has no flight: a part of it with its own days and price.", f"{at}/flights/new", "Add a flight"
        ),
        "placement": Lack("It is placed in no episode.", f"{at}/placements/new", "Place it in an episode"),
        "promo code or link": Lack(
            "It has no promo code and no link, so that nobody could tell what it does.",
            f"{at}/promo-codes/new",
            "Give it a promo code",
        ),
    }
    return [ways[what] for what in found.missing]


def parts_of(flights: Sequence[FlightTerms], placements: Sequence[PlacementDelivery]) -> dict[UUID, Part]:
    """List the flights and placements that can be moved on, by their ids."""
    found = {
        row.flight_id: Part(row.version, [_CANCEL_FLIGHT])
        for row in flights
        if row.status not in (FlightStatus.CANCELLED, FlightStatus.COMPLETED)
    }
    for placed in placements:
        steps = [Step(name, *_PLACEMENT_WORDS[name], False) for name in allowed(PLACEMENT_MOVES, placed.status)]
        if steps:
            found[placed.placement_id] = Part(placed.version, steps)
    return found


async def read_tasks(conn: Connection, caller: Caller, found: DeliveredCampaign, *, now: dt.datetime) -> Tasks:
    """Read what somebody may do about a campaign.

    Args:
        conn: In a transaction of the caller's tenant.
        caller: Who looks.
        found: The campaign, as its page shows it.
        now: Aware instant.

    Raises:
        NotFound: The transaction sees none of this id.
    """
    may, campaign_id, sponsor_id = caller.permissions, found.head.campaign_id, found.head.sponsor_id
    campaign, steps, lacks = None, [], []
    parts: dict[UUID, Part] = {}
    if Permission.CAMPAIGNS_WRITE in may:
        parts = parts_of([one.terms for one in found.delivery.flights], found.placements)
        campaign = await find_campaign(conn, campaign_id)
        steps = steps_of(campaign.status, starts_on=campaign.starts_on, today=now.astimezone(dt.UTC).date())
        if campaign.status in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED):
            lacks = lacks_of(await count_trackable(conn, campaign_id), campaign_id)
    may_attribute = Permission.ATTRIBUTION_WRITE in may
    return Tasks(
        campaign=campaign,
        steps=steps,
        lacks=lacks,
        actions=[
            row
            for row in await list_actions(conn, after=None, limit=_ACTIONS, sponsor_id=sponsor_id)
            if row.archived_at is None
        ]
        if may_attribute
        else None,
        run=await find_latest_run(conn, sponsor_id) if may_attribute else None,
        reports=await list_campaign_reports(conn, campaign_id, limit=_REPORTS)
        if Permission.REPORTS_READ in may
        else None,
        parts=parts,
        is_open=campaign is not None and campaign.status not in (CampaignStatus.COMPLETED, CampaignStatus.CANCELLED),
        may_link=Permission.LINKS_WRITE in may,
        may_attribute=may_attribute,
        may_report=Permission.REPORTS_WRITE in may,
    )


async def who_was_first(conn: Connection, caller: Caller, resource_id: UUID) -> str:
    """Say who changed something last, and when, to whoever was about to change what they had read before."""
    wanted = AuditFilter(resource_id=str(resource_id))
    entries = await list_entries(conn, caller.tenant, wanted, limit=1)
    if not entries:
        return "Somebody changed it meanwhile."
    entry, who = entries[0], "somebody"
    if entry.actor is Actor.KEY:
        who = "a program with an API key"
    elif entry.actor is Actor.COMMAND:
        who = "a command, or the calendar,"
    elif entry.actor_id is not None:
        member = await find_member(conn, caller.tenant.tenant_id, entry.actor_id)
        who = "somebody who has left" if member is None else member.name or who
    return f"{who[:1].upper()}{who[1:]} was first ({entry.action.partition('.')[2]}), {instant(entry.at)}."
