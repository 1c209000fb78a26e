"""What becomes of conversions, whatever their customers did."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.attribution import words
from analytics_core.attribution.counting import Adjustment
from analytics_core.attribution.histories import (
    MAX_OF_CUSTOMER,
    Customer,
    HeldConversion,
    JudgedConversion,
    Reason,
    Status,
    Terms,
    judge,
)
from analytics_core.attribution.leaks import Exposures, Leak, Limits, coupon_sites, find_leak, is_coupon_site
from analytics_core.attribution.parameters import Model
from analytics_core.attribution.signals import (
    DAY_US,
    Devices,
    KnownClick,
    KnownCode,
    KnownFlight,
    KnownLink,
    KnownOption,
    Missing,
    Said,
    name_flights,
)
from analytics_core.attribution.summaries import Tally
from analytics_core.attribution.touches import Setback, Signal, Touch
from analytics_core.conversions import answer_key

START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
START_US = (START - EPOCH) // dt.timedelta(microseconds=1)
ENDLESS = START + dt.timedelta(days=1_000)
ANN = UUID(int=77)
BUY, SUBSCRIBE = UUID(int=50), UUID(int=51)


def at(day: float) -> dt.datetime:
    return START + dt.timedelta(days=day)


def us(day: float) -> int:
    return (at(day) - EPOCH) // dt.timedelta(microseconds=1)


FLIGHTS = [
    KnownFlight(UUID(int=1), UUID(int=11), 10 * DAY_US, False),
    KnownFlight(UUID(int=2), UUID(int=12), 5 * DAY_US, True),
    KnownFlight(UUID(int=3), UUID(int=11), DAY_US, False),
]
ACME, OTHER = UUID(int=90), UUID(int=91)
DEVICES = Devices(
    ACME,
    flights=FLIGHTS,
    links=[
        KnownLink(1, "one", ACME, UUID(int=1)),
        KnownLink(2, "two", ACME, UUID(int=2)),
        KnownLink(3, "loose", None, None),
        KnownLink(4, "theirs", OTHER, UUID(int=9)),
    ],
    codes=[
        KnownCode(UUID(int=101), "ONE", UUID(int=1), at(0), at(4), 2),
        # The same code is another flight's from the sixth day on.
        KnownCode(UUID(int=102), "ONE", UUID(int=2), at(6), None, 0),
        KnownCode(UUID(int=103), "THREE", UUID(int=3), at(0), None, 0),
        KnownCode(UUID(int=104), "GONE", UUID(int=3), at(5), at(5), 90),
    ],
    options=[
        KnownOption(answer_key("The Show"), UUID(int=2), None),
        KnownOption(answer_key("the show"), UUID(int=1), us(3)),
    ],
)
CLICKS = {
    UUID(int=201): KnownClick(us(1), 1),
    UUID(int=202): KnownClick(us(2), 2),
    UUID(int=203): KnownClick(us(2), 4),
    UUID(int=204): KnownClick(us(2), 999),
}
TERMS = Terms(DEVICES, CLICKS, Exposures({UUID(int=1): [us(2) // DAY_US]}), Limits({}), dt.timedelta(days=30))


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (Said(us(3), click_id=UUID(int=201)), [(Signal.CLICK, 1, 1, None, False)]),
        (Said(us(3), click_id=UUID(int=299)), [(Signal.CLICK, None, None, Missing.UNKNOWN_CLICK, False)]),
        (Said(us(3), click_id=UUID(int=204)), [(Signal.CLICK, None, None, Missing.UNKNOWN_CLICK, False)]),
        (Said(us(3), click_id=UUID(int=203)), [(Signal.CLICK, None, None, Missing.OTHER_SPONSOR, False)]),
        # A link beside a click that is known is that click; beside one that is not it is looked at.
        (Said(us(3), click_id=UUID(int=201), link="one"), [(Signal.CLICK, 1, 1, None, False)]),
        (
            Said(us(3), click_id=UUID(int=299), link="TWO"),
            [(Signal.CLICK, None, None, Missing.UNKNOWN_CLICK, False), (Signal.VANITY, 2, 3, None, False)],
        ),
        (Said(us(3), link="loose"), [(Signal.VANITY, None, None, Missing.NO_FLIGHT, False)]),
        (Said(us(3), link="theirs"), [(Signal.VANITY, None, None, Missing.OTHER_SPONSOR, False)]),
        (Said(us(3), link="no-such"), [(Signal.VANITY, None, None, Missing.UNKNOWN_LINK, False)]),
        (Said(us(3), promo_code=" o-n e"), [(Signal.CODE, 1, 3, None, False)]),
        (Said(us(4), promo_code="ONE"), [(Signal.CODE, 1, 4, None, True)]),
        (Said(us(6) - 1, promo_code="ONE"), [(Signal.CODE, 1, 6, None, True)]),
        (Said(us(6), promo_code="ONE"), [(Signal.CODE, 2, 6, None, False)]),
        (Said(us(-1), promo_code="ONE"), [(Signal.CODE, None, None, Missing.CODE_NOT_VALID, False)]),
        (Said(us(6), promo_code="GONE"), [(Signal.CODE, None, None, Missing.CODE_NOT_VALID, False)]),
        (Said(us(6), promo_code="ONEE"), [(Signal.CODE, None, None, Missing.UNKNOWN_CODE, False)]),
        (Said(us(3), survey_answer="THE  show"), [(Signal.SURVEY, 2, 3, None, False)]),
        (Said(us(3), survey_answer="a friend"), [(Signal.SURVEY, None, None, Missing.UNKNOWN_ANSWER, False)]),
        (Said(us(3)), []),
    ],
)
def test_what_was_said_names_a_flight_or_says_why_not(said: Said, wanted: list[tuple[object, ...]]) -> None:
    found = name_flights(said, DEVICES, CLICKS)
    assert [
        (
            named.signal,
            None if named.touch is None else named.touch.flight_id.int,
            None if named.touch is None else round((named.touch.at_us - START_US) / DAY_US),
            named.missing,
            named.is_late,
        )
        for named in found
    ] == wanted


_DAYS = st.integers(0, 14)
_SAID = st.builds(
    Said,
    _DAYS.map(us),
    st.sampled_from([None, *CLICKS, UUID(int=299)]),
    st.sampled_from([None, "one", "two", "loose"]),
    st.sampled_from([None, "one", "THREE", "typo"]),
    st.sampled_from([None, "the show"]),
)


def _held(
    number: int, action: UUID, said: Said, value: int | None, new: bool | None, told: list[int | None]
) -> HeldConversion:
    return HeldConversion(
        UUID(int=1000 + number),
        action,
        action == SUBSCRIBE,
        EPOCH + dt.timedelta(microseconds=said.at_us),
        value,
        None if value is None else "EUR",
        new,
        None,
        said,
        [Adjustment(at(20 + place), UUID(int=place), amount) for place, amount in enumerate(told)],
    )


_CONVERSIONS = st.lists(
    st.tuples(
        st.sampled_from([BUY, SUBSCRIBE]),
        _SAID,
        st.none() | st.integers(0, 10_000),
        st.none() | st.booleans(),
        st.lists(st.none() | st.integers(0, 10_000), max_size=2),
    ),
    min_size=1,
    max_size=6,
).map(lambda rows: [_held(number, *row) for number, row in enumerate(rows)])
_SIGNALS = st.lists(_SAID, max_size=5)


def judged_of(conversions: Sequence[HeldConversion], signals: Sequence[Said]) -> list[JudgedConversion]:
    return judge(Customer(ANN, conversions, signals), TERMS, starts_at=START, ends_at=ENDLESS)


@given(_CONVERSIONS, _SIGNALS, st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_read_makes_no_difference(
    conversions: list[HeldConversion], signals: list[Said], random: Random
) -> None:
    before = judged_of(conversions, signals)
    shuffled = [one._replace(adjustments=tuple(reversed(one.adjustments))) for one in reversed(conversions)]
    random.shuffle(signals)
    after = judged_of(shuffled, signals)
    assert [_result(one) for one in before] == [_result(one) for one in after]


def _result(one: JudgedConversion) -> tuple[object, ...]:
    return (one.conversion.conversion_id, one.standing, one.status, one.reason, one.touches, one.surest, one.leak)


@given(_CONVERSIONS, _SIGNALS)
def test_every_conversion_has_one_status_that_its_touches_bear_out(
    conversions: list[HeldConversion], signals: list[Said]
) -> None:
    found = judged_of(conversions, signals)
    assert sorted(one.conversion.conversion_id for one in found) == sorted(one.conversion_id for one in conversions)
    for one in found:
        assert (one.status is Status.ATTRIBUTED) == bool(one.touches)
        assert (one.reason is None) == bool(one.touches)
        assert (one.status is Status.RETRACTED) == one.standing.is_retracted
        assert one.standing.value_amount is None or one.conversion.currency is not None
        if one.status is Status.NOT_COUNTED:
            assert one.conversion.is_counted_once
        for touch in one.touches:
            assert 0 <= one.conversion.said.at_us - touch.at_us <= touch.window_us
            if one.conversion.new_customer is False:
                assert not DEVICES.flights[touch.flight_id].excludes_prior
        if one.surest is not None:
            assert one.surest.is_own
            assert one.surest in one.touches
            assert one.surest.signal == min(touch.signal for touch in one.touches if touch.is_own)
        else:
            assert not any(touch.is_own for touch in one.touches)
        if one.reason is not None:
            assert words.explain_reason(one.reason.value).endswith(".")
        if one.leak is not None or one.is_late_code:
            assert one.conversion.said.promo_code is not None


@given(_CONVERSIONS, _SIGNALS, _SAID)
def test_what_a_customer_does_afterwards_changes_nothing(
    conversions: list[HeldConversion], signals: list[Said], later: Said
) -> None:
    last = max(one.said.at_us for one in conversions)
    moved = later._replace(at_us=last + 1, click_id=None)
    assert [_result(one) for one in judged_of(conversions, signals)] == [
        _result(one) for one in judged_of(conversions, [*signals, moved])
    ]


@given(_CONVERSIONS, _SIGNALS)
def test_touches_are_what_was_said_until_then_inside_the_windows(
    conversions: list[HeldConversion], signals: list[Said]
) -> None:
    """Against all signals of the customer, looked through one by one."""
    for one in judged_of(conversions, signals):
        if one.status is not Status.ATTRIBUTED:
            continue
        mine = one.conversion
        said = [mine.said, *signals]
        said += [
            other.said
            for other in conversions
            if (other.occurred_at, other.conversion_id) < (mine.occurred_at, mine.conversion_id)
        ]
        touched = {
            (named.touch.at_us, named.touch.flight_id)
            for words_ in said
            for named in name_flights(words_, DEVICES, CLICKS)
            if named.touch is not None and 0 <= mine.said.at_us - named.touch.at_us <= named.touch.window_us
        }
        kept = {(touch.at_us, touch.flight_id) for touch in one.touches}
        assert kept <= touched
        assert all(DEVICES.flights[flight_id].excludes_prior for _, flight_id in touched - kept)
        assert [touch.at_us for touch in one.touches] == sorted(touch.at_us for touch in one.touches)


@given(_CONVERSIONS, _SIGNALS)
def test_what_is_tallied_adds_up(conversions: list[HeldConversion], signals: list[Said]) -> None:
    tally = Tally()
    found = judged_of(conversions, signals)
    for one in found:
        tally.add(one)
    summary = tally.summary(insufficient={Model.MARKOV: "too few"}, removal_ppm={})
    assert summary.conversions == len(conversions) == sum(one.conversions for one in summary.counted)
    assert sum(summary.reasons.values()) == sum(one.reason is not None for one in found)
    assert sum(summary.signals.values()) == sum(one.surest is not None for one in found)
    assert sum(summary.leaks.values()) == sum(one.leak is not None for one in found)
    told = sum(one.value_amount or 0 for one in conversions)
    standing = sum(one.standing.value_amount or 0 for one in found)
    raised = sum(max((one.standing.value_amount or 0) - (one.conversion.value_amount or 0), 0) for one in found)
    assert told - sum(one.value_amount for one in summary.refunded) + raised == standing


def conversion(day: float, said: Said | None = None, *, number: int = 0, new: bool | None = None) -> HeldConversion:
    held = said or Said(us(day))
    return HeldConversion(UUID(int=2000 + number), BUY, False, at(day), 5, "EUR", new, None, held)


def test_a_prior_customer_is_one_who_converted_before_the_first_touch() -> None:
    first = conversion(1)
    code = Said(us(7), promo_code="ONE")
    [_, excluded] = judged_of([first, conversion(7, code, number=1)], [])
    assert (excluded.status, excluded.reason) == (Status.EXCLUDED, Reason.PRIOR_CUSTOMER)
    assert [setback for _, setback in excluded.candidates] == [None]
    # Whoever was touched first was won by it.
    [_, won] = judged_of([conversion(3), conversion(7, code, number=1)], [Said(us(2), link="two")])
    assert won.status is Status.ATTRIBUTED
    [alone] = judged_of([conversion(7, code, number=1)], [])
    assert alone.status is Status.ATTRIBUTED
    # A conversion that was none made nobody a customer.
    none = first._replace(adjustments=[Adjustment(at(2), UUID(int=1), None)])
    [_, fresh] = judged_of([none, conversion(7, code, number=1)], [])
    assert fresh.status is Status.ATTRIBUTED


def test_a_key_with_too_much_under_it_is_many_peoples() -> None:
    many = [conversion(1, Said(us(1), promo_code="ONE"))]
    many += [conversion(2, number=number) for number in range(1, MAX_OF_CUSTOMER)]
    assert [one.status for one in judged_of(many, [])].count(Status.ATTRIBUTED) == MAX_OF_CUSTOMER
    more = [*many, conversion(2, number=MAX_OF_CUSTOMER)]
    assert [one.status for one in judged_of(more, [])].count(Status.ATTRIBUTED) == 1


def test_days_of_exposure_at_the_window_s_ends_count_whole() -> None:
    exposures = Exposures({UUID(int=1): [12, 10]})

    def touch(day: float) -> Touch:
        return Touch(round(day * DAY_US), Signal.CODE, UUID(int=1), UUID(int=11), 2 * DAY_US)

    assert [day for day in range(8, 17) if exposures.is_exposed(touch(day))] == [10, 11, 12, 13, 14]
    assert exposures.is_exposed(touch(14.99))
    assert not exposures.is_exposed(touch(15))
    assert not exposures.is_exposed(touch(11)._replace(flight_id=UUID(int=2)))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 99)), unique=True, max_size=12), st.integers(1, 6))
def test_as_many_are_over_a_limit_as_there_are_more_and_none_before_one_within(
    redeemed: list[tuple[int, int]], limit: int
) -> None:
    code = UUID(int=101)
    redemptions = [(at(day), UUID(int=number)) for day, number in redeemed]
    within = sorted(redemptions)[:limit]
    limits = Limits({code: within[-1]} if len(within) == limit else {})
    over = [one for one in redemptions if limits.is_over(code, *one)]
    assert len(over) == max(len(redemptions) - limit, 0)
    assert set(over).isdisjoint(within)
    # A code without a limit, or that has not reached it, has none.
    assert not any(limits.is_over(UUID(int=102), *one) for one in redemptions)


def test_the_surest_sign_of_a_leak_is_told() -> None:
    found = [
        find_leak(host, is_exposed=is_exposed, is_over_limit=is_over)
        for is_over in (True, False)
        for host in ("coupons.com", None)
        for is_exposed in (False, True)
    ]
    assert found == [*[Leak.OVER_LIMIT] * 4, *[Leak.COUPON_REFERRER] * 2, Leak.NO_EXPOSURE, None]


def test_sites_that_collect_codes_are_hosts_as_referrers_are_kept() -> None:
    assert len(coupon_sites()) > 20
    assert all(host == host.lower().strip() and "." in host and "/" not in host for host in coupon_sites())
    assert not any(host.startswith("www.") for host in coupon_sites())
    assert is_coupon_site("mydealz.de")
    assert not is_coupon_site("de")
    assert not is_coupon_site("shop.example.com")


def test_every_reason_has_words() -> None:
    for kind in (Reason, Missing, Setback, Leak, Status):
        for word in kind:
            if word in (Status.UNATTRIBUTED, Status.NOT_COUNTED, Status.EXCLUDED):
                # These always come with a reason.
                continue
            assert words.explain_reason(word.value)
    assert set(words.METHODS) == set(Model)
