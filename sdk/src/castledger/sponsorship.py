"""Sponsorship: who pays, what was ordered and placed, and by which codes it is known what came of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypedDict, Unpack
from uuid import UUID

from msgspec import UNSET, UnsetType

from castledger._models import ClickReport, Utm
from castledger._nouns import AsyncNoun, Noun, pages, sends
from castledger._requests import Call, Interval, Moment, Paged, given, given_range, path_id
from castledger._sponsorship import (
    AdSlot,
    Campaign,
    CampaignStanding,
    Contact,
    Flight,
    InsertionOrder,
    MadePromoCodes,
    MergedSponsors,
    Model,
    Placement,
    Pricing,
    PromoCode,
    SlotPlaces,
    Sponsor,
    Targeting,
)

__all__ = (
    "AdSlotFields",
    "AdSlots",
    "AsyncAdSlots",
    "AsyncCampaigns",
    "AsyncInsertionOrders",
    "AsyncPromoCodes",
    "AsyncSponsors",
    "CampaignFields",
    "Campaigns",
    "FlightFields",
    "Id",
    "InsertionOrders",
    "PlacementFields",
    "PromoCodeFields",
    "PromoCodes",
    "SponsorFields",
    "Sponsors",
)

Id: TypeAlias = UUID | str
"""An id, or its text."""


class SponsorFields(TypedDict, total=False):
    """What may be said of a sponsor beside its name."""

    domain: str | None
    category: str | None
    contacts: Sequence[Contact]
    targeting: Targeting


class CampaignFields(TypedDict, total=False):
    """What may be said of a campaign beside what it cannot do without; ``utm`` is for the links of its flights."""

    excludes_prior_customers: bool
    utm: Utm


class FlightFields(TypedDict, total=False):
    """What may be said of a flight beside what it cannot do without."""

    booked_impressions: int | None
    window_days: int | None
    measurement_days: int


class AdSlotFields(TypedDict, total=False):
    """What may be said of a slot beside its name and position."""

    per_episode: int
    max_seconds: int | None


class PlacementFields(TypedDict, total=False):
    """What may be said of a placement; without a slot it needs a position, and it is live for as long as its flight."""

    ad_slot_id: Id | None
    slot_no: int
    position: Literal["pre", "mid", "post"]
    offset_s: int | None
    host_read: bool
    live_from: dt.datetime
    live_until: dt.datetime
    aircheck_url: str | None


class PromoCodeFields(TypedDict, total=False):
    """When promo codes count, and how often."""

    valid_from: dt.datetime
    valid_until: dt.datetime | None
    grace_days: int
    max_redemptions: int | None


class Sponsors(Noun):
    """Who pays.

    A change with the *version* that was read overwrites nobody else's: it is ``outdated`` then, here and with all that
    has a version.
    """

    @sends
    def create(self, *, name: str, **fields: Unpack[SponsorFields]) -> Call[Sponsor]:
        """Add a sponsor.

        Raises:
            Conflict: ``sponsor_name_taken``.
        """
        return Call(Sponsor, "POST", "/sponsors", json={"name": name, **fields})

    @pages
    def list(self, *, state: Literal["active", "archived"] | None = None) -> Paged[Sponsor]:
        """Go through sponsors, in the order in which they were added."""
        return Paged(Sponsor, "/sponsors", given(state=state))

    @sends
    def get(self, sponsor_id: Id) -> Call[Sponsor]:
        """Read one sponsor."""
        return Call(Sponsor, "GET", f"/sponsors/{path_id(sponsor_id)}")

    @sends
    def update(
        self,
        sponsor_id: Id,
        *,
        version: int | None = None,
        name: str | UnsetType = UNSET,
        **fields: Unpack[SponsorFields],
    ) -> Call[Sponsor]:
        """Change what is given; contacts and targeting as a whole."""
        path = f"/sponsors/{path_id(sponsor_id)}"
        return Call(Sponsor, "PATCH", path, json={"name": name, **fields}, version=version)

    @sends
    def archive(self, sponsor_id: Id, *, version: int | None = None) -> Call[Sponsor]:
        """Put a sponsor away: it gets nothing new, and what it has goes on."""
        return Call(Sponsor, "POST", f"/sponsors/{path_id(sponsor_id)}/archive", version=version)

    @sends
    def restore(self, sponsor_id: Id, *, version: int | None = None) -> Call[Sponsor]:
        """Take an archived sponsor back."""
        return Call(Sponsor, "POST", f"/sponsors/{path_id(sponsor_id)}/restore", version=version)

    @sends
    def merge(self, sponsor_id: Id, *, into: Id, version: int | None = None) -> Call[MergedSponsors]:
        """Give all that a sponsor has to another one, and archive it."""
        path = f"/sponsors/{path_id(sponsor_id)}/merge"
        return Call(MergedSponsors, "POST", path, json={"into": into}, version=version)

    @sends
    def erase_contacts(self, sponsor_id: Id, *, version: int | None = None) -> Call[Sponsor]:
        """Erase all people to ask."""
        return Call(Sponsor, "POST", f"/sponsors/{path_id(sponsor_id)}/contacts/erase", version=version)

    @sends
    def clicks(
        self,
        sponsor_id: Id,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        interval: Interval | None = "day",
        tz: str | None = None,
    ) -> Call[ClickReport]:
        """Report the clicks on all links of a sponsor, as :meth:`Links.clicks` does on one."""
        params = given(interval=interval, tz=tz) | given_range(start, end)
        return Call(ClickReport, "GET", f"/sponsors/{path_id(sponsor_id)}/clicks", params=params)


class AsyncSponsors(AsyncNoun, Sponsors):
    """:class:`Sponsors`, awaited."""


class InsertionOrders(Noun):
    """What sponsors ordered: one or more campaigns in one currency.

    A step that its state does not allow is a ``Conflict``, ``illegal_transition``, which names those that it does, here
    and with campaigns, flights and placements.
    """

    @sends
    def create(self, *, sponsor_id: Id, name: str, currency: str, reference: str | None = None) -> Call[InsertionOrder]:
        """Make an order; *reference* is the sponsor's own number for it."""
        fields = {"sponsor_id": sponsor_id, "name": name, "currency": currency, "reference": reference}
        return Call(InsertionOrder, "POST", "/insertion-orders", json=fields)

    @pages
    def list(self, *, sponsor_id: Id | None = None) -> Paged[InsertionOrder]:
        """Go through orders, in the order in which they were made."""
        return Paged(InsertionOrder, "/insertion-orders", given(sponsor_id=sponsor_id))

    @sends
    def get(self, insertion_order_id: Id) -> Call[InsertionOrder]:
        """Read one order."""
        return Call(InsertionOrder, "GET", f"/insertion-orders/{path_id(insertion_order_id)}")

    @sends
    def update(
        self,
        insertion_order_id: Id,
        *,
        version: int | None = None,
        name: str | UnsetType = UNSET,
        reference: str | UnsetType | None = UNSET,
    ) -> Call[InsertionOrder]:
        """Change what is given."""
        fields = {"name": name, "reference": reference}
        path = f"/insertion-orders/{path_id(insertion_order_id)}"
        return Call(InsertionOrder, "PATCH", path, json=fields, version=version)

    @sends
    def open(self, insertion_order_id: Id, *, version: int | None = None) -> Call[InsertionOrder]:
        """Open a draft: its campaigns may run."""
        return Call(InsertionOrder, "POST", f"/insertion-orders/{path_id(insertion_order_id)}/open", version=version)

    @sends
    def close(self, insertion_order_id: Id, *, version: int | None = None) -> Call[InsertionOrder]:
        """Close an open order."""
        return Call(InsertionOrder, "POST", f"/insertion-orders/{path_id(insertion_order_id)}/close", version=version)

    @sends
    def cancel(self, insertion_order_id: Id, *, version: int | None = None) -> Call[InsertionOrder]:
        """Cancel an order that is not closed."""
        return Call(InsertionOrder, "POST", f"/insertion-orders/{path_id(insertion_order_id)}/cancel", version=version)

    @sends
    def invoice(self, insertion_order_id: Id, *, run_id: Id | None = None) -> Call[dict[str, Any]]:
        """Show what each flight costs by what is known; as the API writes it."""
        path = f"/insertion-orders/{path_id(insertion_order_id)}/invoice"
        return Call(dict[str, Any], "GET", path, params=given(run_id=run_id))


class AsyncInsertionOrders(AsyncNoun, InsertionOrders):
    """:class:`InsertionOrders`, awaited."""


class Campaigns(Noun):
    """What sponsors were promised: campaigns, their flights, and the placements of these in episodes."""

    @sends
    def create(
        self,
        *,
        name: str,
        starts_on: dt.date,
        ends_on: dt.date,
        pricing: Pricing,
        budget_amount: int,
        model: Model,
        window_days: int,
        insertion_order_id: Id | None = None,
        sponsor_id: Id | None = None,
        currency: str | None = None,
        **fields: Unpack[CampaignFields],
    ) -> Call[Campaign]:
        """Make a campaign of the UTC days from *starts_on* to *ends_on*, both in it.

        Args:
            name: What to call it.
            starts_on: Its first day.
            ends_on: Its last.
            pricing: What is paid for.
            budget_amount: Minor units of the currency, as all amounts are.
            model: How conversions are shared that others led to as well.
            window_days: How long after a touch a conversion counts for it.
            insertion_order_id: What it belongs to.
            sponsor_id: Or whose it is: an order of its name is made with it,
            currency: in this currency.
            fields: As in :class:`CampaignFields`.
        """
        required = {
            "name": name,
            "starts_on": starts_on,
            "ends_on": ends_on,
            "pricing": pricing,
            "budget_amount": budget_amount,
            "model": model,
            "window_days": window_days,
            "insertion_order_id": insertion_order_id,
            "sponsor_id": sponsor_id,
            "currency": currency,
        }
        return Call(Campaign, "POST", "/campaigns", json={**required, **fields})

    @pages
    def list(
        self, *, sponsor_id: Id | None = None, insertion_order_id: Id | None = None, status: str | None = None
    ) -> Paged[Campaign]:
        """Go through campaigns, in the order in which they were made."""
        params = given(sponsor_id=sponsor_id, insertion_order_id=insertion_order_id, status=status)
        return Paged(Campaign, "/campaigns", params)

    @sends
    def get(self, campaign_id: Id) -> Call[Campaign]:
        """Read one campaign."""
        return Call(Campaign, "GET", f"/campaigns/{path_id(campaign_id)}")

    @sends
    def update(
        self,
        campaign_id: Id,
        *,
        version: int | None = None,
        name: str | UnsetType = UNSET,
        starts_on: dt.date | UnsetType = UNSET,
        ends_on: dt.date | UnsetType = UNSET,
        pricing: Pricing | UnsetType = UNSET,
        budget_amount: int | UnsetType = UNSET,
        model: Model | UnsetType = UNSET,
        window_days: int | UnsetType = UNSET,
        **fields: Unpack[CampaignFields],
    ) -> Call[Campaign]:
        """Change what is given."""
        changes = {
            "name": name,
            "starts_on": starts_on,
            "ends_on": ends_on,
            "pricing": pricing,
            "budget_amount": budget_amount,
            "model": model,
            "window_days": window_days,
        }
        path = f"/campaigns/{path_id(campaign_id)}"
        return Call(Campaign, "PATCH", path, json={**changes, **fields}, version=version)

    @sends
    def schedule(self, campaign_id: Id, *, version: int | None = None) -> Call[Campaign]:
        """Have a draft begin on its first day; one that cannot be tracked is a ``Conflict``, ``not_trackable``."""
        return Call(Campaign, "POST", f"/campaigns/{path_id(campaign_id)}/schedule", version=version)

    @sends
    def activate(self, campaign_id: Id, *, version: int | None = None) -> Call[Campaign]:
        """Begin now, on the first day or later; otherwise as :meth:`schedule`."""
        return Call(Campaign, "POST", f"/campaigns/{path_id(campaign_id)}/activate", version=version)

    @sends
    def pause(self, campaign_id: Id, *, version: int | None = None) -> Call[Campaign]:
        """Pause what is active."""
        return Call(Campaign, "POST", f"/campaigns/{path_id(campaign_id)}/pause", version=version)

    @sends
    def resume(self, campaign_id: Id, *, version: int | None = None) -> Call[Campaign]:
        """Go on with what is paused."""
        return Call(Campaign, "POST", f"/campaigns/{path_id(campaign_id)}/resume", version=version)

    @sends
    def complete(self, campaign_id: Id, *, version: int | None = None) -> Call[Campaign]:
        """End what has begun."""
        return Call(Campaign, "POST", f"/campaigns/{path_id(campaign_id)}/complete", version=version)

    @sends
    def cancel(self, campaign_id: Id, *, version: int | None = None) -> Call[Campaign]:
        """Give up what is not complete."""
        return Call(Campaign, "POST", f"/campaigns/{path_id(campaign_id)}/cancel", version=version)

    @sends
    def duplicate(self, campaign_id: Id, *, name: str | None = None) -> Call[Campaign]:
        """Make a draft like it, with its flights."""
        return Call(Campaign, "POST", f"/campaigns/{path_id(campaign_id)}/duplicate", json={"name": name})

    @sends
    def performance(self, campaign_id: Id, *, run_id: Id | None = None) -> Call[dict[str, Any]]:
        """Show what came of a campaign beside what it costs, by model; as the API writes it."""
        params = given(run_id=run_id)
        return Call(dict[str, Any], "GET", f"/campaigns/{path_id(campaign_id)}/performance", params=params)

    @sends
    def delivery(self, campaign_id: Id) -> Call[dict[str, Any]]:
        """Show what is booked, delivered, expected and owed, by flight; as the API writes it."""
        return Call(dict[str, Any], "GET", f"/campaigns/{path_id(campaign_id)}/delivery")

    @pages
    def standings(self, *, sponsor_id: Id | None = None) -> Paged[CampaignStanding]:
        """Go through campaigns, in the order in which they were made, and how each stands."""
        return Paged(CampaignStanding, "/campaign-standings", given(sponsor_id=sponsor_id))

    @sends
    def reach(self, campaign_id: Id) -> Call[dict[str, Any]]:
        """Show how many listeners a campaign reached, by month; as the API writes it."""
        return Call(dict[str, Any], "GET", f"/campaigns/{path_id(campaign_id)}/reach")

    @sends
    def create_flight(
        self,
        campaign_id: Id,
        *,
        name: str,
        starts_at: dt.datetime,
        ends_at: dt.datetime,
        price_amount: int,
        makegood_of: Id | None = None,
        **fields: Unpack[FlightFields],
    ) -> Call[Flight]:
        """Make a flight: what is booked, from one quarter hour to before another, at which price.

        With *makegood_of* it makes good what another flight of the campaign fell short of.
        """
        required = {
            "name": name,
            "starts_at": starts_at,
            "ends_at": ends_at,
            "price_amount": price_amount,
            "makegood_of": makegood_of,
        }
        return Call(Flight, "POST", f"/campaigns/{path_id(campaign_id)}/flights", json={**required, **fields})

    @pages
    def flights(self, campaign_id: Id) -> Paged[Flight]:
        """Go through a campaign's flights."""
        return Paged(Flight, "/flights", {"campaign_id": path_id(campaign_id)})

    @sends
    def get_flight(self, flight_id: Id) -> Call[Flight]:
        """Read one flight."""
        return Call(Flight, "GET", f"/flights/{path_id(flight_id)}")

    @sends
    def update_flight(
        self,
        flight_id: Id,
        *,
        version: int | None = None,
        name: str | UnsetType = UNSET,
        starts_at: dt.datetime | UnsetType = UNSET,
        ends_at: dt.datetime | UnsetType = UNSET,
        price_amount: int | UnsetType = UNSET,
        **fields: Unpack[FlightFields],
    ) -> Call[Flight]:
        """Change what is given."""
        changes = {"name": name, "starts_at": starts_at, "ends_at": ends_at, "price_amount": price_amount}
        path = f"/flights/{path_id(flight_id)}"
        return Call(Flight, "PATCH", path, json={**changes, **fields}, version=version)

    @sends
    def cancel_flight(self, flight_id: Id, *, version: int | None = None) -> Call[Flight]:
        """Give a flight up."""
        return Call(Flight, "POST", f"/flights/{path_id(flight_id)}/cancel", version=version)

    @sends
    def flight_delivery(self, flight_id: Id) -> Call[dict[str, Any]]:
        """Show of a flight what :meth:`delivery` shows of a campaign."""
        return Call(dict[str, Any], "GET", f"/flights/{path_id(flight_id)}/delivery")

    @sends
    def create_placement(
        self,
        flight_id: Id,
        *,
        episode_id: Id,
        delivery: Literal["baked_in", "dynamic"],
        **fields: Unpack[PlacementFields],
    ) -> Call[Placement]:
        """Place a flight in an episode, whose counted downloads are exposures while it is live.

        Raises:
            Conflict: The place in the slot is taken.
        """
        required = {"episode_id": episode_id, "delivery": delivery}
        return Call(Placement, "POST", f"/flights/{path_id(flight_id)}/placements", json={**required, **fields})

    @pages
    def placements(
        self,
        *,
        campaign_id: Id | None = None,
        flight_id: Id | None = None,
        episode_id: Id | None = None,
        podcast_id: Id | None = None,
    ) -> Paged[Placement]:
        """Go through placements, of what is named."""
        params = given(campaign_id=campaign_id, flight_id=flight_id, episode_id=episode_id, podcast_id=podcast_id)
        return Paged(Placement, "/placements", params)

    @sends
    def get_placement(self, placement_id: Id) -> Call[Placement]:
        """Read one placement."""
        return Call(Placement, "GET", f"/placements/{path_id(placement_id)}")

    @sends
    def update_placement(
        self,
        placement_id: Id,
        *,
        version: int | None = None,
        delivery: Literal["baked_in", "dynamic"] | UnsetType = UNSET,
        **fields: Unpack[PlacementFields],
    ) -> Call[Placement]:
        """Change what is given."""
        path = f"/placements/{path_id(placement_id)}"
        return Call(Placement, "PATCH", path, json={"delivery": delivery, **fields}, version=version)

    @sends
    def move_placement(
        self,
        placement_id: Id,
        step: Literal["go-live", "verify", "miss", "pull"],
        *,
        version: int | None = None,
    ) -> Call[Placement]:
        """Tell what became of a placement: it is heard, was checked, was not heard, or was taken out."""
        return Call(Placement, "POST", f"/placements/{path_id(placement_id)}/{step}", version=version)


class AsyncCampaigns(AsyncNoun, Campaigns):
    """:class:`Campaigns`, awaited."""


class AdSlots(Noun):
    """What every episode of a podcast has room for."""

    @sends
    def create(
        self,
        podcast_id: Id,
        *,
        name: str,
        position: Literal["pre", "mid", "post"],
        **fields: Unpack[AdSlotFields],
    ) -> Call[AdSlot]:
        """Give a podcast's episodes a slot."""
        required = {"name": name, "position": position}
        return Call(AdSlot, "POST", f"/podcasts/{path_id(podcast_id)}/ad-slots", json={**required, **fields})

    @pages
    def list(self, podcast_id: Id) -> Paged[AdSlot]:
        """Go through a podcast's slots, archived ones too."""
        return Paged(AdSlot, f"/podcasts/{path_id(podcast_id)}/ad-slots")

    @sends
    def update(
        self,
        ad_slot_id: Id,
        *,
        version: int | None = None,
        name: str | UnsetType = UNSET,
        position: Literal["pre", "mid", "post"] | UnsetType = UNSET,
        **fields: Unpack[AdSlotFields],
    ) -> Call[AdSlot]:
        """Change what is given; what is placed stays where it is."""
        changes = {"name": name, "position": position}
        path = f"/ad-slots/{path_id(ad_slot_id)}"
        return Call(AdSlot, "PATCH", path, json={**changes, **fields}, version=version)

    @sends
    def archive(self, ad_slot_id: Id, *, version: int | None = None) -> Call[AdSlot]:
        """Put a slot away: nothing new is placed in it."""
        return Call(AdSlot, "POST", f"/ad-slots/{path_id(ad_slot_id)}/archive", version=version)

    @pages
    def inventory(self, podcast_id: Id, *, start: dt.date, end: dt.date) -> Paged[SlotPlaces]:
        """Count the places of each slot in the episodes published on the UTC days from *start* to before *end*."""
        path = f"/podcasts/{path_id(podcast_id)}/inventory"
        return Paged(SlotPlaces, path, given_range(start, end), limit=None)


class AsyncAdSlots(AsyncNoun, AdSlots):
    """:class:`AdSlots`, awaited."""


class PromoCodes(Noun):
    """Codes that customers enter, each of one flight."""

    @sends
    def create(
        self,
        flight_id: Id,
        *,
        code: str | None = None,
        count: int | None = None,
        prefix: str | None = None,
        length: int | None = None,
        **fields: Unpack[PromoCodeFields],
    ) -> Call[MadePromoCodes]:
        """Give a flight promo codes, all of them or none.

        Args:
            flight_id: Which.
            code: One of your choice.
            count: Or so many that are made, of characters that nobody mishears.
            prefix: What these begin with.
            length: How many characters follow that.
            fields: As in :class:`PromoCodeFields`; they count from the flight's begin unless you say otherwise.
        """
        wanted = {"code": code, "count": count, "prefix": prefix, "length": length}
        path = f"/flights/{path_id(flight_id)}/promo-codes"
        return Call(MadePromoCodes, "POST", path, json={**wanted, **fields})

    @pages
    def list(
        self,
        *,
        sponsor_id: Id | None = None,
        campaign_id: Id | None = None,
        flight_id: Id | None = None,
        code: str | None = None,
    ) -> Paged[PromoCode]:
        """Go through promo codes."""
        params = given(sponsor_id=sponsor_id, campaign_id=campaign_id, flight_id=flight_id, code=code)
        return Paged(PromoCode, "/promo-codes", params)

    @sends
    def get(self, promo_code_id: Id) -> Call[PromoCode]:
        """Read one promo code."""
        return Call(PromoCode, "GET", f"/promo-codes/{path_id(promo_code_id)}")

    @sends
    def update(self, promo_code_id: Id, **fields: Unpack[PromoCodeFields]) -> Call[PromoCode]:
        """Change what is given."""
        return Call(PromoCode, "PATCH", f"/promo-codes/{path_id(promo_code_id)}", json={**fields})

    @sends
    def archive(self, promo_code_id: Id) -> Call[PromoCode]:
        """End a code now; what is redeemed within its grace counts as late."""
        return Call(PromoCode, "POST", f"/promo-codes/{path_id(promo_code_id)}/archive")


class AsyncPromoCodes(AsyncNoun, PromoCodes):
    """:class:`PromoCodes`, awaited."""
