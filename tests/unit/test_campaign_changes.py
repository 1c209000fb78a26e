"""What may be changed in which state, and which placements move with their flight."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.campaign_changes import (
    CAMPAIGN_FIELDS,
    FLIGHT_FIELDS,
    PLACEMENT_FIELDS,
    check_campaign_change,
    check_flight_change,
    check_placement_change,
    moved_live_range,
    refuse_flight,
    refuse_placement,
)
from analytics_core.campaigns import CampaignStatus, Delivery, FlightStatus, default_live_range
from analytics_core.db.campaigns import CampaignFields
from analytics_core.db.flights import FlightFields
from analytics_core.db.placements import PlacementFields
from analytics_core.errors import Conflict, InvalidInput
from api.schemas.campaigns import ChangeCampaign, ChangeFlight
from api.schemas.placements import ChangePlacement

START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
NOW = START + dt.timedelta(days=10)

instants = st.integers(0, 4 * 24 * 40).map(lambda quarters: START + quarters * dt.timedelta(minutes=15))
ranges = st.tuples(instants, instants).filter(lambda ends: ends[0] < ends[1])
flights = st.builds(
    lambda ends, days: FlightFields(
        name="x", starts_at=ends[0], ends_at=ends[1], price_amount=1, measurement_days=days
    ),
    ranges,
    st.integers(0, 40),
)


def test_every_field_that_a_request_may_change_has_a_rule() -> None:
    assert set(CAMPAIGN_FIELDS) == set(ChangeCampaign.__struct_fields__) == set(CampaignFields.__struct_fields__)
    assert set(FLIGHT_FIELDS) == set(ChangeFlight.__struct_fields__) == set(FlightFields.__struct_fields__)
    assert set(PLACEMENT_FIELDS) == set(ChangePlacement.__struct_fields__)
    assert set(PLACEMENT_FIELDS) == {*PlacementFields.__struct_fields__, "ad_slot_id"}


@pytest.mark.parametrize(
    ("status", "field", "code"),
    [
        (CampaignStatus.DRAFT, "pricing", None),
        (CampaignStatus.SCHEDULED, "pricing", None),
        (CampaignStatus.ACTIVE, "pricing", "campaign_begun"),
        (CampaignStatus.PAUSED, "starts_on", "campaign_begun"),
        (CampaignStatus.ACTIVE, "ends_on", None),
        (CampaignStatus.COMPLETED, "name", "campaign_over"),
        (CampaignStatus.CANCELLED, "name", "campaign_over"),
    ],
)
def test_what_a_campaign_is_sold_by_stays_once_it_has_begun(
    status: CampaignStatus, field: str, code: str | None
) -> None:
    if code is None:
        check_campaign_change(status, [field])
    else:
        with pytest.raises(Conflict) as refused:
            check_campaign_change(status, ["ends_on", field])
        assert refused.value.code == code


def test_a_flight_keeps_its_price_once_it_has_begun() -> None:
    check_flight_change(FlightStatus.PLANNED, list(FLIGHT_FIELDS))
    for status in (FlightStatus.ACTIVE, FlightStatus.PAUSED, FlightStatus.COMPLETED):
        check_flight_change(status, ["name", "ends_at", "booked_impressions"])
        with pytest.raises(Conflict, match="price_amount, starts_at") as refused:
            check_flight_change(status, ["starts_at", "name", "price_amount"])
        assert refused.value.code == "flight_begun"
    with pytest.raises(Conflict) as refused:
        check_flight_change(FlightStatus.CANCELLED, [])
    assert refused.value.code == "flight_cancelled"


@given(st.sampled_from(CampaignStatus), st.booleans())
def test_what_is_over_gets_nothing_but_makegoods_and_their_placements(
    status: CampaignStatus, is_makegood: bool
) -> None:
    is_over = status is CampaignStatus.CANCELLED or (status is CampaignStatus.COMPLETED and not is_makegood)
    refusals: list[Callable[[], None]] = [
        lambda: refuse_flight(status, is_makegood=is_makegood),
        lambda: refuse_placement(status, is_makegood=is_makegood),
        lambda: check_placement_change(status, ["live_until"], is_makegood=is_makegood),
    ]
    for refuse in refusals:
        if not is_over:
            refuse()
        else:
            with pytest.raises(Conflict, match=status.value) as refused:
                refuse()
            assert refused.value.code == "campaign_over"


def test_where_it_can_be_heard_is_told_once_a_campaign_is_completed() -> None:
    check_placement_change(CampaignStatus.COMPLETED, ["aircheck_url", "offset_s"], is_makegood=False)
    with pytest.raises(Conflict, match="aircheck_url"):
        check_placement_change(CampaignStatus.CANCELLED, ["aircheck_url"], is_makegood=False)


@given(
    was=flights,
    becomes=flights,
    delivery=st.sampled_from(Delivery),
    published_at=st.none() | instants,
    own=st.none() | ranges,
)
def test_what_follows_its_flight_moves_with_it_and_nothing_else_does(
    was: FlightFields,
    becomes: FlightFields,
    delivery: Delivery,
    published_at: dt.datetime | None,
    own: tuple[dt.datetime, dt.datetime] | None,
) -> None:
    def default(flight: FlightFields) -> tuple[dt.datetime, dt.datetime] | None:
        try:
            return default_live_range(
                delivery,
                starts_at=flight.starts_at,
                ends_at=flight.ends_at,
                measurement_days=flight.measurement_days,
                published_at=published_at,
            )
        except InvalidInput:
            return None

    live = own or default(was) or (was.starts_at, was.ends_at)
    follows = live == default(was) and live[0] > NOW

    def move() -> tuple[dt.datetime, dt.datetime]:
        return moved_live_range(*live, delivery=delivery, published_at=published_at, was=was, becomes=becomes, now=NOW)

    if not follows:
        assert move() == live
    elif default(becomes) is None:
        with pytest.raises(Conflict):
            move()
    else:
        assert move() == default(becomes)
