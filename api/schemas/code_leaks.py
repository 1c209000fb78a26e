"""The form of leaked promo codes."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from analytics_core.attribution.leaks import Leak, find_leak, is_coupon_site
from analytics_core.db.code_leaks import RedeemedCode

__all__ = ("CodeLeaks", "LeakageAnswer", "Redemptions", "Referrer")

_MAX_REFERRERS: Final = 10


class Redemptions(msgspec.Struct, frozen=True, kw_only=True):
    """How often codes were redeemed, how often as late ones, within their grace, and what leaked, by reason."""

    redemptions: int
    late: int
    leaked: dict[Leak, int]


class Referrer(msgspec.Struct, frozen=True, kw_only=True):
    """Where those came from who redeemed a code."""

    host: str
    redemptions: int
    is_coupon_site: bool


class CodeLeaks(msgspec.Struct, frozen=True, kw_only=True):
    """A code as it was redeemed.

    A code that the sponsor does not have, or that was not valid, has no `promo_code_id`, campaign and flight, and
    nothing to leak. `referrers` are the ten that most came from.
    """

    sponsor_id: UUID
    code: str
    promo_code_id: UUID | None
    campaign_id: UUID | None
    flight_id: UUID | None
    redeemed: Redemptions
    referrers: list[Referrer]


class LeakageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Codes that were redeemed, those first of which most leaked; `totals` are of all of them, `left_out` of how many.

    Of a code that leaked nobody can tell which redemptions a listener made: they stay credited, and are counted here.
    """

    data: list[CodeLeaks]
    totals: Redemptions
    unknown: int
    left_out: int
    start: dt.datetime = msgspec.field(name="from")
    end: dt.datetime = msgspec.field(name="to")

    @classmethod
    def of(cls, rows: Sequence[RedeemedCode], *, start: dt.datetime, end: dt.datetime, limit: int) -> LeakageAnswer:
        """Add up, code by code."""
        grouped: dict[tuple[UUID, str, UUID | None], list[RedeemedCode]] = {}
        for row in rows:
            grouped.setdefault((row.sponsor_id, row.code, row.promo_code_id), []).append(row)
        found = [_of_code(of_code) for of_code in grouped.values()]
        found.sort(key=lambda one: (-sum(one.redeemed.leaked.values()), -one.redeemed.redemptions, one.code))
        return cls(
            data=found[:limit],
            totals=_redemptions(rows),
            unknown=sum(row.redemptions for row in rows if row.promo_code_id is None),
            left_out=len(found[limit:]),
            start=start,
            end=end,
        )


def _redemptions(rows: Sequence[RedeemedCode]) -> Redemptions:
    leaked: Counter[Leak] = Counter()
    for row in rows:
        leak = find_leak(row.referrer_host, is_exposed=row.is_exposed, is_over_limit=row.is_over_limit)
        if leak is not None and row.promo_code_id is not None:
            leaked[leak] += row.redemptions
    return Redemptions(
        redemptions=sum(row.redemptions for row in rows),
        late=sum(row.redemptions for row in rows if row.is_late),
        leaked={leak: leaked[leak] for leak in Leak},
    )


def _of_code(rows: Sequence[RedeemedCode]) -> CodeLeaks:
    first = rows[0]
    hosts: Counter[str] = Counter()
    for row in rows:
        if row.referrer_host is not None:
            hosts[row.referrer_host] += row.redemptions
    most = sorted(hosts.items(), key=lambda found: (-found[1], found[0]))[:_MAX_REFERRERS]
    return CodeLeaks(
        sponsor_id=first.sponsor_id,
        code=first.code,
        promo_code_id=first.promo_code_id,
        campaign_id=first.campaign_id,
        flight_id=first.flight_id,
        redeemed=_redemptions(rows),
        referrers=[Referrer(host=host, redemptions=count, is_coupon_site=is_coupon_site(host)) for host, count in most],
    )
