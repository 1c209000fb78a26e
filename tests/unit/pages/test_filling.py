"""Forms as they were filled in: whatever is typed is read, or refused by field, and shown again as it was."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.campaigns import CAMPAIGN_MOVES, CampaignStatus, allowed
from analytics_core.errors import Conflict, Outdated
from analytics_core.money import CURRENCIES, MAX_AMOUNT, Money, format_money
from api.errors import InvalidRequest
from api.pages.campaign_tasks import steps_of
from api.pages.filling import Filled
from api.schemas.campaigns import AddFlight
from api.schemas.promo_codes import AddPromoCodes

LABELS = {
    "name": "Name",
    "starts_at": "First day",
    "ends_at": "Last day",
    "price_amount": "Price",
    "window_days": "Window",
}
DAYS = st.dates(dt.date(2000, 1, 1), dt.date(2100, 1, 1))


def read_flight(form: Filled) -> AddFlight:
    form.texts("name")
    form.begin_of("starts_at")
    form.end_of("ends_at")
    form.amount("price_amount", "EUR")
    form.numbers("window_days")
    return form.convert(AddFlight)


@given(st.fixed_dictionaries({name: st.text(max_size=30) for name in LABELS}))
def test_whatever_is_typed_is_read_or_refused_by_its_field_and_kept(fields: dict[str, str]) -> None:
    form = Filled(LABELS, fields)
    try:
        found = read_flight(form)
    except InvalidRequest as error:
        shown = form.refuse(error)
        assert shown.status_code == 422
        assert {told.name for told in shown.told} <= LABELS.keys()
        assert len({told.name for told in shown.told}) == len(shown.told)
        assert all(told.message and "Expected" not in told.message for told in shown.told)
    else:
        assert found.name == fields["name"].strip()
    assert form.fields == fields


@given(DAYS, DAYS, st.integers(0, MAX_AMOUNT), st.none() | st.integers(1, 90))
def test_a_flight_from_one_day_to_another_has_both_of_them_and_the_price_that_was_typed(
    first: dt.date, last: dt.date, amount: int, window: int | None
) -> None:
    price = format_money(Money(amount, "EUR")).removeprefix("€")
    form = Filled(
        LABELS,
        {
            "name": "A",
            "starts_at": str(first),
            "ends_at": str(last),
            "price_amount": price,
            "window_days": "" if window is None else str(window),
        },
    )
    found = read_flight(form)
    assert (found.starts_at.date(), found.ends_at.date()) == (first, last + dt.timedelta(days=1))
    assert (found.ends_at - found.starts_at) == (last - first) + dt.timedelta(days=1)
    assert (found.price_amount, found.window_days) == (amount, window)


@given(st.integers(1, 10**12), st.sampled_from(["", ",", " ", "\u202f"]))
def test_whole_numbers_are_read_with_any_mark_between_thousands(number: int, mark: str) -> None:
    class Booked(msgspec.Struct):
        booked_impressions: int

    form = Filled({"booked_impressions": "Booked"}, {"booked_impressions": f"{number:,}".replace(",", mark)})
    form.numbers("booked_impressions")
    assert form.convert(Booked).booked_impressions == number


@given(st.sampled_from(sorted(CURRENCIES)), st.integers(0, MAX_AMOUNT))
def test_amounts_have_the_decimals_of_their_currency(currency: str, amount: int) -> None:
    exponent = CURRENCIES[currency]
    whole, part = divmod(amount, 10**exponent)
    form = Filled(LABELS, {"price_amount": f"{whole}.{part:0{exponent}d}" if exponent else str(whole)})
    form.amount("price_amount", currency)
    assert form.document == {"price_amount": amount}


def test_the_last_day_of_the_calendar_has_no_day_behind_it() -> None:
    form = Filled(LABELS, {"name": "A", "starts_at": "2026-11-01", "ends_at": "9999-12-31", "price_amount": "1"})
    with pytest.raises(InvalidRequest, match="/ends_at: is too late"):
        read_flight(form)


def test_a_conflict_is_told_at_the_field_that_mends_it_and_others_of_the_whole_form() -> None:
    form = Filled({"code": "Code"}, places={"promo_code_taken": "code"})
    form.refuse(Conflict("promo_code_taken", "the code is taken"))
    form.refuse(Outdated("campaign", version=3))
    assert [(told.name, told.label) for told in form.told] == [("", ""), ("code", "Code")]
    assert form.faults("code") == ["the code is taken"]
    assert form.status_code == 409


def test_names_of_fields_are_told_as_they_are_labelled() -> None:
    form = Filled({"starts_on": "First day", "ends_on": "Last day"})
    form.tell("ends_on", "has to be on starts_on or after it")
    assert form.faults("ends_on") == ["has to be on “First day” or after it"]


@given(st.text(max_size=12))
def test_a_version_is_a_number_or_none(text: str) -> None:
    version = Filled({}, {"version": text}).version()
    assert version is None or str(version) == text.strip().lstrip("0") or version == 0


@given(st.sampled_from(CampaignStatus), DAYS, DAYS)
def test_of_the_steps_that_a_state_allows_all_but_one_way_to_begin_are_offered(
    status: CampaignStatus, starts_on: dt.date, today: dt.date
) -> None:
    offered = [step.name for step in steps_of(status, starts_on=starts_on, today=today)]
    possible = allowed(CAMPAIGN_MOVES, status)
    assert set(possible) - set(offered) <= {"schedule", "activate"}
    assert set(offered) <= set(possible)
    if status is CampaignStatus.DRAFT:
        assert ("schedule" in offered) is (today < starts_on)
        assert ("activate" in offered) is (today >= starts_on)


def test_what_is_left_empty_is_left_to_the_api() -> None:
    form = Filled({"code": "Code"}, {"code": "  ", "count": "", "grace_days": "7"})
    form.texts("code")
    form.numbers("count", "grace_days")
    assert form.convert(AddPromoCodes) == AddPromoCodes(grace_days=7)
