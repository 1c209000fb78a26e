"""Redemptions: a shop's list of orders, as a CSV file."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import Request, post
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from analytics_core.money import CURRENCIES
from analytics_core.permissions import Permission
from analytics_core.redemptions import MAX_BYTES
from api.bodies import media_type_of, refuse_media_type
from api.errors import Refused
from api.idempotency import replay_answer
from api.limits import HEAVY_COST
from api.queries import Parameter, Query, Refusal, identifier, time_zone
from api.redemptions import open_list, take_redemptions
from api.schemas.redemptions import TakenRedemptions

__all__ = ("send_redemptions",)

_NO_ACTION: Final = UUID(int=0)


def _currency(text: str) -> str | None:
    if text not in CURRENCIES:
        raise Refusal("invalid", "has to be a currency of ISO 4217 in three capital letters, such as EUR")
    return text


def _flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise Refusal("invalid", "has to be true or false")
    return text == "true"


_ACTION: Final = Parameter(
    "action_id",
    identifier,
    _NO_ACTION,
    "The conversion action that these orders are conversions of.",
    {"type": "string", "format": "uuid"},
    required=True,
)
_TZ: Final[Parameter[ZoneInfo | None]] = Parameter(
    "tz", time_zone, None, "Where times without an offset are told, such as `Europe/Berlin`.", {"type": "string"}
)
_CURRENCY: Final[Parameter[str | None]] = Parameter(
    "currency", _currency, None, "Of values on lines that name none, such as `EUR`.", {"type": "string"}
)
_DRY_RUN: Final = Parameter(
    "dry_run", _flag, False, "Only say what would become of the list.", {"type": "boolean", "default": False}
)


@post(
    "/attribution/redemptions",
    tags=["conversions"],
    status_code=200,
    request_max_body_size=MAX_BYTES,
    opt={
        "permission": Permission.ATTRIBUTION_WRITE,
        "bodies": {"text/csv": None},
        "cost": HEAVY_COST,
        "query": (_ACTION, _TZ, _CURRENCY, _DRY_RUN),
        "refusals": (404, 409),
    },
)
async def send_redemptions(request: Request[Any, Any, Any]) -> TakenRedemptions:
    """Send a shop's list of orders as CSV: UTF-8, columns in any order, split by commas, semicolons or tabs.

    `external_id` (or `order`), `occurred_at` and `code` are needed; `value` (such as 49.99) or `value_amount` (4999),
    `currency`, `customer_id`, `new_customer` and `referrer` are read where they are there. All lines are taken or none:
    what is wrong is listed by line and column. Sent again, the same list changes nothing.
    """
    query = Query.of(request)
    action_id, tz = query.get(_ACTION), query.get(_TZ)
    currency, is_dry_run = query.get(_CURRENCY), query.get(_DRY_RUN)
    query.finish()
    if media_type_of(request) != "text/csv":
        raise refuse_media_type("text/csv")
    try:
        if not is_dry_run:
            await replay_answer(request)
        data = await request.body()
    except RequestEntityTooLarge as error:
        limit = f"a list has at most {MAX_BYTES // 1024 // 1024} MiB: send it in parts"
        raise Refused(413, "too_large", limit) from error
    listed = open_list(data, action_id=action_id, currency=currency, tz=tz)
    return await take_redemptions(request, listed, action_id, is_dry_run=is_dry_run)
