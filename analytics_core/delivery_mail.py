"""What we write to who sells: which flights have fallen behind, and which ended short."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final
from uuid import UUID

from analytics_core.deliveries import FlightDelivery
from analytics_core.flight_alerts import News, NewsKind
from analytics_core.mail import Mail, quote_line
from analytics_core.pacing import measured_until

__all__ = ("delivery_mail",)

_DAY: Final = dt.timedelta(days=1)


def delivery_mail(
    to: str,
    news: Sequence[News],
    *,
    waiting: int,
    tenant_id: UUID,
    tenant: str,
    sponsors: Mapping[UUID, str],
    as_of: dt.datetime,
    public_url: str,
) -> Mail:
    """Write the mail that tells of flights.

    Args:
        to: An address.
        news: At least one, and at most :data:`~analytics_core.flight_alerts.MAX_TOLD`.
        waiting: How many more there are that the next mail will tell of.
        tenant_id: Whose flights they are.
        tenant: The tenant's name, which like other names is anybody's words: one line of it is told.
        sponsors: Names of the flights' sponsors.
        as_of: Until when all downloads are counted that the figures have in them.
        public_url: Where the page is; empty where nobody knows.
    """
    behind = [one for one in news if one.kind is NewsKind.BEHIND]
    short = [one for one in news if one.kind is NewsKind.ENDED_SHORT]
    counted = [
        *([f"{_flights(len(behind))} behind"] if behind else []),
        *([f"{_flights(len(short))} that ended short"] if short else []),
    ]
    lines = [f"In {quote_line(tenant)}, by the downloads until {as_of.astimezone(dt.UTC):%d %B %Y, %H:%M} UTC."]
    if short:
        lines += ["", "ENDED SHORT: all downloads are counted, and there are fewer than were booked."]
        for one in short:
            lines += ["", *_head(one, sponsors), *_ended(one), _way(one, public_url)]
    if behind:
        lines += ["", "BEHIND: fewer downloads than were due by now, and not enough to be expected until the end."]
        for one in behind:
            lines += ["", *_head(one, sponsors), *_running(one.delivery, one.owed, as_of), _way(one, public_url)]
    if waiting:
        lines += ["", f"There is news of {_flights(waiting)} more, which the next mail tells of."]
    lines += ["", *_why(tenant_id, public_url)]
    return Mail(to, f"Castledger: {' and '.join(counted)}", "\n".join(lines) + "\n")


def _flights(count: int) -> str:
    return "1 flight" if count == 1 else f"{count} flights"


def _days(span: dt.timedelta) -> str:
    days = -(-span // _DAY)
    return "1 day" if days == 1 else f"{days:,} days"


def _date(at: dt.datetime) -> str:
    return f"{at.astimezone(dt.UTC):%d %B %Y}"


def _row(name: str, value: str) -> str:
    return f"  {name:<20}{value}"


def _head(one: News, sponsors: Mapping[UUID, str]) -> Iterator[str]:
    terms = one.delivery.terms
    yield f"{quote_line(terms.campaign_name)} of {quote_line(sponsors.get(terms.sponsor_id, ''))}"
    yield f"  flight {quote_line(terms.name)}, {_date(terms.starts_at)} to {_date(terms.ends_at)}"


def _running(delivery: FlightDelivery, owed: int, as_of: dt.datetime) -> Iterator[str]:
    terms, pace, projected = delivery.terms, delivery.pace, delivery.projected
    yield _row("booked", f"{terms.booked_impressions or 0:,}")
    if pace is not None:
        yield _row("due by now", f"{pace.expected:,}")
        yield _row("delivered", f"{delivery.delivered:,}, {_percent(pace.index)} of what was due")
    if projected is not None:
        yield _row(
            "in the end", f"about {projected.mid:,}; nine times out of ten {projected.low:,} to {projected.high:,}"
        )
        yield _row("would be owed", f"{owed:,}")
    elif delivery.projected_reason == "no_placements":
        yield _row("in the end", "no more: it is in no episode")
        yield _row("would be owed", f"{owed:,}")
    else:
        # It was put into an episode since it fell behind.
        yield _row("in the end", "too early to tell")
    if delivery.makegood_booked:
        yield _row("booked instead", f"{delivery.makegood_booked:,}")
    last = measured_until(terms.ends_at, terms.measurement_days)
    if as_of < terms.ends_at:
        yield _row("left", f"{_days(terms.ends_at - as_of)}; downloads count until {_date(last)}")
    else:
        yield _row("left", f"it is over; downloads count for {_days(last - as_of)}, until {_date(last)}")


def _ended(one: News) -> Iterator[str]:
    delivery = one.delivery
    yield _row("booked", f"{delivery.terms.booked_impressions or 0:,}")
    yield _row("delivered", f"{delivery.delivered:,}")
    yield _row("make-good owed", f"{one.owed:,}")
    if delivery.makegood_booked:
        yield _row("booked instead", f"{delivery.makegood_booked:,}")


def _percent(index: Fraction) -> str:
    # Rounded down: what is under nine tenths never reads as 90 %.
    return f"{int(index * 100)} %"


def _way(one: News, public_url: str) -> str:
    campaign_id = one.delivery.terms.campaign_id
    return f"  {public_url}/campaigns/{campaign_id}" if public_url else f"  castledger campaign {campaign_id}"


def _why(tenant_id: UUID, public_url: str) -> Iterator[str]:
    yield "Owners, admins and sales get this, once a day at most, and of each flight once until it has caught up."
    if public_url:
        yield f"To get it no more: {public_url}/account"
    else:
        yield f'To get it no more: PATCH /api/v1/users/me/tenants/{tenant_id} with {{"delivery_mail": false}}'
