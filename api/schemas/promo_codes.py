"""The forms of promo codes."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.db.promo_codes import PromoCodeRow
from analytics_core.promo_codes import (
    MAX_CODES_AT_ONCE,
    MAX_ENTERED,
    MAX_RANDOM,
    MIN_RANDOM,
)

__all__ = ("AddPromoCodes", "ChangePromoCode", "MadePromoCodes", "PromoCode")

_Text = Annotated[str, msgspec.Meta(max_length=MAX_ENTERED)]
_Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]
_GraceDays = Annotated[int, msgspec.Meta(ge=0, le=90)]
_MaxRedemptions = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class AddPromoCodes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Codes to be given to a flight: the one in `code`, or `count` of them that are made.

    Those that are made begin with `prefix` and go on with `length` random characters. They count from `valid_from`,
    which is the flight's begin unless you say otherwise, to before `valid_until`, null for no end, and for `grace_days`
    more as late ones.
    """

    code: _Text | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_CODES_AT_ONCE)] | None = None
    prefix: _Text | None = None
    length: Annotated[int, msgspec.Meta(ge=MIN_RANDOM, le=MAX_RANDOM)] | None = None
    valid_from: _Instant | None = None
    valid_until: _Instant | None = None
    grace_days: _GraceDays = 7
    max_redemptions: _MaxRedemptions | None = None


class ChangePromoCode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is. A code is never another one."""

    valid_from: _Instant | msgspec.UnsetType = msgspec.UNSET
    valid_until: _Instant | msgspec.UnsetType | None = msgspec.UNSET
    grace_days: _GraceDays | msgspec.UnsetType = msgspec.UNSET
    max_redemptions: _MaxRedemptions | msgspec.UnsetType | None = msgspec.UNSET


class PromoCode(msgspec.Struct, frozen=True, kw_only=True):
    """A promo code of a flight, in capitals.

    `redemptions` are the conversions with it that were not retracted, `late_redemptions` those of them that came in the
    `grace_days` after its end, `over_limit_redemptions` those that are more than `max_redemptions`. They are refused by
    nobody here, and among what leaked.
    """

    promo_code_id: UUID
    sponsor_id: UUID
    campaign_id: UUID
    flight_id: UUID
    code: str
    valid_from: dt.datetime
    valid_until: dt.datetime | None
    grace_days: int
    max_redemptions: int | None
    redemptions: int
    late_redemptions: int
    over_limit_redemptions: int
    created_at: dt.datetime
    archived_at: dt.datetime | None

    @classmethod
    def of(cls, row: PromoCodeRow) -> PromoCode:
        """Show a stored code."""
        return cls(**msgspec.structs.asdict(row))


class MadePromoCodes(msgspec.Struct, frozen=True, kw_only=True):
    """The codes that a flight has got."""

    data: list[PromoCode]
