"""Promo codes: what listeners hear and enter, each of one flight."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, get, patch, post

from analytics_core.db.campaigns import find_campaign
from analytics_core.db.flights import find_flight
from analytics_core.db.promo_codes import CodeFilter, find_promo_code
from analytics_core.db.promo_codes import list_promo_codes as read_promo_codes
from analytics_core.db.sponsors import find_sponsor
from analytics_core.errors import InvalidInput
from analytics_core.permissions import Permission
from analytics_core.promo_codes import MAX_ENTERED, parse_entered_code
from api.auth import caller_of
from api.bodies import read_json
from api.pagination import LIMIT, id_cursor, page_of
from api.promo_codes import add as add_new
from api.promo_codes import archive as put_away
from api.promo_codes import change as change_given
from api.queries import Parameter, Query, Refusal
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.promo_codes import AddPromoCodes, ChangePromoCode, MadePromoCodes, PromoCode
from api.scopes import CAMPAIGN_ID, FLIGHT_ID, SPONSOR_ID, path_id

__all__ = (
    "archive_promo_code",
    "create_promo_codes",
    "get_promo_code",
    "list_promo_codes",
    "update_promo_code",
)

_LIST: Final = "promo_codes"
_CURSOR: Final = id_cursor(_LIST)


def _entered(text: str) -> str:
    try:
        return parse_entered_code(text[: MAX_ENTERED + 1])
    except InvalidInput as error:
        raise Refusal(error.code, error.reason) from None


_CODE: Final[Parameter[str | None]] = Parameter(
    "code",
    _entered,
    None,
    "Only these, as somebody has entered them: case, blanks and hyphens make no difference.",
    {"type": "string", "minLength": 3, "maxLength": MAX_ENTERED},
)


def _promo_code_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "promo_code_id", what="promo code")


@post(
    "/flights/{flight_id:str}/promo-codes",
    tags=["promo codes"],
    opt={
        "permission": Permission.CAMPAIGNS_WRITE,
        "bodies": {"application/json": AddPromoCodes},
        "refusals": (409,),
    },
)
async def create_promo_codes(request: Request[Any, Any, Any]) -> MadePromoCodes:
    """Give a flight promo codes: one of your choice, or up to 1,000 that are made, all of them or none.

    A sponsor has a code once at a time. Codes that are made have no characters that are mistaken for one another when
    they are said, and none of them was ever that sponsor's.
    """
    wanted = path_id(request, "flight_id", what="flight")
    return await add_new(request, wanted, await read_json(request, AddPromoCodes))


@get(
    "/promo-codes",
    tags=["promo codes"],
    opt={
        "permission": Permission.CAMPAIGNS_READ,
        "query": (SPONSOR_ID, CAMPAIGN_ID, FLIGHT_ID, _CODE, LIMIT, _CURSOR),
    },
)
async def list_promo_codes(request: Request[Any, Any, Any]) -> Page[PromoCode]:
    """List promo codes in the order in which they were made, archived ones too."""
    query = Query.of(request)
    wanted = CodeFilter(
        sponsor_id=query.get(SPONSOR_ID),
        campaign_id=query.get(CAMPAIGN_ID),
        flight_id=query.get(FLIGHT_ID),
        code=query.get(_CODE),
    )
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        if wanted.sponsor_id is not None:
            await find_sponsor(conn, wanted.sponsor_id)
        if wanted.campaign_id is not None:
            await find_campaign(conn, wanted.campaign_id)
        if wanted.flight_id is not None:
            await find_flight(conn, wanted.flight_id)
        rows = await read_promo_codes(conn, wanted, after=after, limit=limit + 1)
    return page_of(rows, limit, PromoCode.of, _LIST, lambda row: (row.created_at, row.promo_code_id))


@get("/promo-codes/{promo_code_id:str}", tags=["promo codes"], opt={"permission": Permission.CAMPAIGNS_READ})
async def get_promo_code(request: Request[Any, Any, Any]) -> PromoCode:
    """Read one promo code, and how often it was redeemed."""
    wanted = _promo_code_id(request)
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        return PromoCode.of(await find_promo_code(conn, wanted))


@patch(
    "/promo-codes/{promo_code_id:str}",
    tags=["promo codes"],
    opt={"permission": Permission.CAMPAIGNS_WRITE, "bodies": {"application/json": ChangePromoCode}},
)
async def update_promo_code(request: Request[Any, Any, Any]) -> PromoCode:
    """Have a code count at another time, or more often; the code itself stays what was said aloud."""
    wanted = _promo_code_id(request)
    return await change_given(request, wanted, await read_json(request, ChangePromoCode))


@post(
    "/promo-codes/{promo_code_id:str}/archive",
    tags=["promo codes"],
    status_code=200,
    opt={"permission": Permission.CAMPAIGNS_WRITE},
)
async def archive_promo_code(request: Request[Any, Any, Any]) -> PromoCode:
    """End a code now: what was redeemed stays counted, what comes within its grace is late.

    The same code can be given to another flight from then on.
    """
    return await put_away(request, _promo_code_id(request))
