"""Deliveries: what flights and campaigns promised and delivered, what that costs, and what came of it."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get

from analytics_core.db.deliveries import (
    find_campaign,
    list_terms,
    read_campaign_delivery,
    read_cutoff,
    read_flight_delivery,
)
from analytics_core.db.flight_alerts import read_alerts
from analytics_core.db.performances import read_invoice, read_performance
from analytics_core.db.pool import Tenant
from analytics_core.db.reach import read_campaign_reach, read_flight_reach
from analytics_core.flight_alerts import FlightAlert
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.queries import Parameter, Query, identifier
from api.resources import resources_of
from api.schemas.deliveries import CampaignDeliveryAnswer, FlightDeliveryAnswer
from api.schemas.invoices import InvoiceAnswer
from api.schemas.performances import PerformanceAnswer
from api.schemas.reach import ReachAnswer
from api.scopes import path_id
from api.tags import answer_with

__all__ = (
    "get_campaign_delivery",
    "get_campaign_performance",
    "get_campaign_reach",
    "get_flight_delivery",
    "get_invoice",
)

_RUN_ID: Final[Parameter[UUID | None]] = Parameter(
    "run_id",
    identifier,
    None,
    "The attribution run that tells of conversions; by default the latest of the sponsor that is ready.",
    {"type": "string", "format": "uuid"},
)


def _asked(request: Request[Any, Any, Any]) -> tuple[Tenant, dt.datetime]:
    return caller_of(request).tenant, resources_of(request).clock.now()


def _run_id(request: Request[Any, Any, Any]) -> UUID | None:
    query = Query.of(request)
    run_id = query.get(_RUN_ID)
    query.finish()
    return run_id


@get(
    "/flights/{flight_id:str}/delivery",
    tags=["delivery"],
    opt={"permission": Permission.CAMPAIGNS_READ, "is_tagged": True},
)
async def get_flight_delivery(request: Request[Any, Any, Any]) -> Response[FlightDeliveryAnswer]:
    """Tell how a flight stands: booked, delivered, expected so far, and how it will end; by placement and by day."""
    wanted = path_id(request, "flight_id", what="flight")
    tenant, now = _asked(request)
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        cutoff = await read_cutoff(conn)
        found = await read_flight_delivery(conn, tenant.tenant_id, wanted, now=now)
        alerts = await read_alerts(conn, tenant.tenant_id, [wanted])
    return answer_with(request, FlightDeliveryAnswer.of(found, alerts.get(wanted, FlightAlert()), cutoff))


@get(
    "/campaigns/{campaign_id:str}/delivery",
    tags=["delivery"],
    opt={"permission": Permission.CAMPAIGNS_READ, "is_tagged": True},
)
async def get_campaign_delivery(request: Request[Any, Any, Any]) -> Response[CampaignDeliveryAnswer]:
    """Tell how a campaign stands: the sums of its flights, and each flight; by placement and by day."""
    wanted = path_id(request, "campaign_id", what="campaign")
    tenant, now = _asked(request)
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        cutoff = await read_cutoff(conn)
        found = await read_campaign_delivery(conn, tenant.tenant_id, wanted, now=now)
    return answer_with(request, CampaignDeliveryAnswer.of(found, cutoff))


@get(
    "/campaigns/{campaign_id:str}/performance",
    tags=["delivery"],
    opt={"permission": Permission.CAMPAIGNS_READ, "is_tagged": True, "query": (_RUN_ID,), "refusals": (409,)},
)
async def get_campaign_performance(request: Request[Any, Any, Any]) -> Response[PerformanceAnswer]:
    """Tell what came of a campaign beside what it costs: impressions, reach, clicks, and conversions by model."""
    wanted, run_id = path_id(request, "campaign_id", what="campaign"), _run_id(request)
    tenant, now = _asked(request)
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        cutoff = await read_cutoff(conn)
        found = await read_performance(conn, tenant.tenant_id, wanted, run_id=run_id, now=now)
    return answer_with(request, PerformanceAnswer.of(found, cutoff=cutoff))


@get(
    "/campaigns/{campaign_id:str}/reach",
    tags=["delivery"],
    opt={"permission": Permission.CAMPAIGNS_READ, "is_tagged": True},
)
async def get_campaign_reach(request: Request[Any, Any, Any]) -> Response[ReachAnswer]:
    """Tell how many listeners a campaign and its flights reached in each UTC month, and how often."""
    wanted = path_id(request, "campaign_id", what="campaign")
    tenant, _ = _asked(request)
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        head = await find_campaign(conn, tenant.tenant_id, wanted)
        terms = await list_terms(conn, tenant.tenant_id, campaign_id=wanted)
        months = await read_campaign_reach(conn, tenant.tenant_id, wanted)
        flights = await read_flight_reach(conn, tenant.tenant_id, wanted, [one.flight_id for one in terms])
    shown = [(one, flights.get(one.flight_id, [])) for one in terms]
    return answer_with(request, ReachAnswer.of(head, months, shown))


@get(
    "/insertion-orders/{insertion_order_id:str}/invoice",
    tags=["delivery"],
    opt={"permission": Permission.CAMPAIGNS_READ, "is_tagged": True, "query": (_RUN_ID,), "refusals": (409,)},
)
async def get_invoice(request: Request[Any, Any, Any]) -> Response[InvoiceAnswer]:
    """Work out the figures of an insertion order's invoice, a line a flight.

    Impressions are paid for up to what was booked, conversions as an attribution run gives them to the flight for sure.
    """
    wanted, run_id = path_id(request, "insertion_order_id", what="insertion order"), _run_id(request)
    tenant, now = _asked(request)
    async with resources_of(request).database.tenant(tenant, snapshot=True) as conn:
        cutoff = await read_cutoff(conn)
        found = await read_invoice(conn, tenant.tenant_id, wanted, run_id=run_id, now=now)
    return answer_with(request, InvoiceAnswer.of(found, cutoff=cutoff, now=now))
