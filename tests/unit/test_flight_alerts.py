"""Flight alerts: each time behind is told of once, however often somebody looks, and a mail holds what it tells."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.deliveries import FlightDelivery, FlightTerms, NoProjection
from analytics_core.delivery_mail import delivery_mail
from analytics_core.flight_alerts import (
    AT_MOST_EVERY,
    MAX_TOLD,
    FlightAlert,
    News,
    NewsKind,
    choose_news,
    find_news,
    follow,
    is_behind,
    note_told,
)
from analytics_core.mail import MAX_TEXT
from analytics_core.pacing import Pace, makegood_owed, pace_of
from analytics_core.projections import Projection

DOCS = Path(__file__).parents[2] / "docs"
START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)


def stand(
    delivered: int,
    mid: int | None,
    *,
    low: int | None = None,
    number: int = 0,
    at: dt.datetime = START + 10 * DAY,
    reason: NoProjection | None = None,
    **given: Any,
) -> FlightDelivery:
    """Tell how a flight of twenty days and 1,000 impressions stands, measured for ten days more."""
    values: dict[str, Any] = {
        "flight_id": UUID(int=number),
        "campaign_id": UUID(int=1),
        "sponsor_id": UUID(int=2),
        "insertion_order_id": UUID(int=3),
        "name": "Flight",
        "campaign_name": "Campaign",
        "status": "active" if at < START + 20 * DAY else "completed",
        "campaign_status": "active",
        "pricing": "cpm",
        "price_amount": 2_500,
        "currency": "EUR",
        "starts_at": START,
        "ends_at": START + 20 * DAY,
        "booked_impressions": 1_000,
        "measurement_days": 10,
        "makegood_of": None,
    }
    terms = FlightTerms(**(values | given))
    booked = terms.booked_impressions
    pace: Pace | None = None
    owed: int | None = None
    if booked is not None and not terms.is_cancelled:
        pace = pace_of(delivered, booked=booked, starts_at=terms.starts_at, ends_at=terms.ends_at, now=at)
        owed = makegood_owed(delivered, booked=booked, ends_at=terms.ends_at, measurement_days=10, now=at)
    projected = None if mid is None else Projection(mid if low is None else low, mid, mid)
    return FlightDelivery(
        terms=terms,
        phase=terms.phase(at),
        delivered=delivered,
        delivered_strict=delivered,
        pace=pace,
        pace_reason=None if pace else "no_booking",
        projected=projected,
        projected_reason=reason,
        makegood_owed=owed,
        makegood_reason=None if owed is not None else "not_over",
        makegood_booked=0,
    )


@pytest.mark.parametrize(
    ("delivery", "expected"),
    [
        (stand(449, 999), True),
        (stand(449, 1_000), False),
        (stand(450, 600), False),
        (stand(0, None, reason="no_placements"), True),
        (stand(0, None, reason="too_early"), False),
        (stand(0, 0, booked_impressions=None), False),
        (stand(0, 0, status="cancelled"), False),
    ],
)
def test_it_is_behind_that_has_too_little_and_will_not_make_up_for_it(delivery: FlightDelivery, expected: bool) -> None:
    assert is_behind(delivery) is expected


def test_it_stays_behind_until_it_has_caught_up() -> None:
    alert = follow(FlightAlert(), stand(400, 800), now=START)
    assert alert == FlightAlert(behind_since=START)
    for delivery in (stand(480, 960), stand(499, 2_000, low=999), stand(400, 800, status="paused")):
        assert follow(alert, delivery, now=START + HOUR) == alert
    for delivery in (stand(500, 960), stand(1, 2_000, low=1_000), stand(400, 800, status="cancelled")):
        assert follow(alert, delivery, now=START + HOUR) == FlightAlert()


def test_nothing_is_told_of_what_is_paused_or_was_never_sold() -> None:
    for status in ("planned", "paused", "cancelled"):
        assert follow(FlightAlert(), stand(0, 0, status=status), now=START) == FlightAlert()
        over = stand(0, 0, at=START + 30 * DAY, status=status)
        assert find_news(follow(FlightAlert(), over, now=START), over) is None
    # It fell behind before, and waits for the next mail.
    untold = FlightAlert(behind_since=START)
    assert find_news(untold, stand(400, 800, status="paused")) is None
    assert find_news(untold, stand(400, 800)) is not None


def test_what_is_owed_in_the_end_is_what_is_projected_to_be_missing() -> None:
    assert News(NewsKind.BEHIND, stand(400, 800)).owed == 200
    assert News(NewsKind.BEHIND, stand(400, None, reason="no_placements")).owed == 600
    assert News(NewsKind.ENDED_SHORT, stand(990, 1_000, at=START + 30 * DAY)).owed == 10


class Told(NamedTuple):
    """What a mail told of a flight."""

    flight: int
    kind: NewsKind
    at: dt.datetime


class Ledger:
    """What is remembered of some flights, and all that was told."""

    def __init__(self, flights: int) -> None:
        self.alerts = [FlightAlert()] * flights
        self.told: list[Told] = []

    def look(self, deliveries: Sequence[FlightDelivery], *, now: dt.datetime) -> None:
        """Do what the job does."""
        self.alerts = [follow(alert, one, now=now) for alert, one in zip(self.alerts, deliveries, strict=True)]
        news = [find_news(alert, one) for alert, one in zip(self.alerts, deliveries, strict=True)]
        last = max((alert.told_at for alert in self.alerts if alert.told_at is not None), default=None)
        for one in choose_news([each for each in news if each is not None], told_at=last, now=now):
            flight = one.delivery.terms.flight_id.int
            self.alerts[flight] = note_told(self.alerts[flight], one.kind, now=now)
            self.told.append(Told(flight, one.kind, now))


# Behind, neither, and caught up: of a flight that had half of its time, or of one that is over.
_LEVELS = {0: (400, 800), 1: (480, 960), 2: (500, 1_000)}
_TICKS = st.lists(
    st.tuples(st.integers(0, 30), st.lists(st.sampled_from([0, 1, 2]), min_size=3, max_size=3), st.booleans()),
    min_size=1,
    max_size=40,
)


@given(ticks=_TICKS, is_over=st.booleans())
def test_each_time_behind_is_told_of_once_however_often_somebody_looks(
    ticks: list[tuple[int, list[int], bool]], is_over: bool
) -> None:
    once, often = Ledger(3), Ledger(3)
    now = START
    behind_since: dict[int, dt.datetime] = {}
    for hours, levels, twice in ticks:
        now += hours * HOUR
        deliveries = [stand(*_LEVELS[level], number=number) for number, level in enumerate(levels)]
        once.look(deliveries, now=now)
        for _ in range(2 if twice else 1):
            often.look(deliveries, now=now)
        for number, level in enumerate(levels):
            if level == 0:
                behind_since.setdefault(number, now)
            elif level == 2:
                behind_since.pop(number, None)
        mails = sorted({told.at for told in once.told})
        assert all(later - earlier >= AT_MOST_EVERY for earlier, later in itertools.pairwise(mails))
        for number in range(3):
            assert once.alerts[number].behind_since == behind_since.get(number)
            since = behind_since.get(number)
            times = [told.at for told in once.told if told.flight == number and since is not None and told.at >= since]
            # Nobody was told of it yet who could be.
            assert len(times) == 1 or since is None or (not times and now - mails[-1] < AT_MOST_EVERY)
    if is_over:
        for days in (31, 32, 40):
            over = [stand(480, 480, number=number, at=START + 30 * DAY) for number in range(3)]
            once.look(over, now=now + days * DAY)
            often.look(over, now=now + days * DAY)
        assert [told.kind for told in once.told].count(NewsKind.ENDED_SHORT) == 3
        assert all(alert.behind_since is None for alert in once.alerts)
    assert often.told == once.told


def test_what_does_not_fit_into_a_mail_is_told_in_the_next_one() -> None:
    ledger = Ledger(MAX_TOLD + 5)
    deliveries = [stand(400, 800, number=number) for number in range(MAX_TOLD + 5)]
    for hours in range(60):
        ledger.look(deliveries, now=START + hours * HOUR)
    assert sorted(told.flight for told in ledger.told) == list(range(MAX_TOLD + 5))
    assert {told.at for told in ledger.told} == {START, START + DAY}


def test_what_has_ended_comes_first_and_then_what_owes_most() -> None:
    news = [
        News(NewsKind.BEHIND, stand(400, 800, number=0)),
        News(NewsKind.BEHIND, stand(400, 500, number=1)),
        News(NewsKind.ENDED_SHORT, stand(999, 999, number=2, at=START + 30 * DAY)),
    ]
    chosen = choose_news(news, told_at=None, now=START)
    assert [one.delivery.terms.flight_id.int for one in chosen] == [2, 1, 0]


def test_the_longest_mail_can_be_sent() -> None:
    most = 10**12
    wide: dict[str, Any] = {"name": "w" * 200, "campaign_name": "c" * 200, "booked_impressions": most}
    behind = msgspec.structs.replace(
        stand(0, 0, **wide), pace=Pace(0, Fraction(most)), projected=Projection(most, most, most), makegood_booked=most
    )
    mail = delivery_mail(
        "ana@example.com",
        [News(NewsKind.BEHIND, behind)] * MAX_TOLD,
        waiting=5_000,
        tenant_id=UUID(int=7),
        tenant="t" * 200,
        sponsors={UUID(int=2): "s" * 200},
        as_of=START + 10 * DAY,
        public_url="https://" + "h" * 190,
    )
    assert MAX_TEXT // 2 < len(mail.text) <= MAX_TEXT


def test_the_mail_in_the_docs_is_the_one_that_is_sent() -> None:
    as_of = dt.datetime(2026, 11, 11, 8, 59, tzinfo=dt.UTC)
    behind = stand(3_000, 6_900, at=as_of, name="Mid-rolls", campaign_name="Autumn launch", booked_impressions=10_000)
    terms = msgspec.structs.replace(
        behind.terms, campaign_id=UUID("01a22cc7-6288-74c1-a982-6892fdcb07c1"), measurement_days=30
    )
    behind = msgspec.structs.replace(behind, terms=terms, projected=Projection(6_120, 6_900, 7_980))
    mail = delivery_mail(
        "ana@example.com",
        [News(NewsKind.BEHIND, behind)],
        waiting=0,
        tenant_id=UUID(int=7),
        tenant="Tide Tables",
        sponsors={UUID(int=2): "Acme"},
        as_of=as_of,
        public_url="https://ledger.example.com",
    )
    shown, why = mail.text.rsplit("\n\n", 1)
    assert f"```text\nSubject: {mail.subject}\n\n{shown}\n```" in (DOCS / "delivery.md").read_text()
    assert "https://ledger.example.com/account" in why


@pytest.mark.parametrize(
    ("delivery", "line"),
    [
        (stand(0, None, reason="no_placements"), "  in the end          no more: it is in no episode"),
        (stand(0, None, reason="too_early"), "  in the end          too early to tell"),
        (stand(600, 700, at=START + 21 * DAY), "  left                it is over; downloads count for 9 days, until"),
    ],
)
def test_a_mail_says_no_more_than_is_known(delivery: FlightDelivery, line: str) -> None:
    as_of = START + (21 if delivery.delivered else 10) * DAY
    mail = delivery_mail(
        "ana@example.com",
        [News(NewsKind.BEHIND, delivery)],
        waiting=1,
        tenant_id=UUID(int=7),
        tenant="Tide Tables",
        sponsors={},
        as_of=as_of,
        public_url="",
    )
    assert f"\n{line}" in mail.text
    assert ("would be owed" in mail.text) is (delivery.projected_reason != "too_early")
    assert "There is news of 1 flight more, which the next mail tells of." in mail.text
    assert f"PATCH /api/v1/users/me/tenants/{UUID(int=7)} with" in mail.text
    assert f"  castledger campaign {UUID(int=1)}\n" in mail.text


def test_names_are_a_line_each_whatever_is_in_them() -> None:
    news = [News(NewsKind.BEHIND, stand(400, 800, name="A\n\nB", campaign_name="\u202eC\r\nSubject: x"))]
    mail = delivery_mail(
        "ana@example.com",
        news,
        waiting=0,
        tenant_id=UUID(int=7),
        tenant="T\nT",
        sponsors={UUID(int=2): "\x00S"},
        as_of=START + 10 * DAY,
        public_url="",
    )
    assert mail.subject == "Castledger: 1 flight behind"
    assert mail.text.splitlines()[:6] == [
        "In “T T”, by the downloads until 11 November 2026, 00:00 UTC.",
        "",
        "BEHIND: fewer downloads than were due by now, and not enough to be expected until the end.",
        "",
        "“C Subject: x” of “S”",
        "  flight “A B”, 01 November 2026 to 21 November 2026",
    ]
