"""Spikes of a podcast: a list, one with what it is made of, and a form to decide about it."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.response import Redirect

from analytics_core.db.podcasts import get_podcast
from analytics_core.db.spikes import Decision, SpikeFilter, SpikeRow, list_spikes
from analytics_core.db.states import State
from analytics_core.errors import Conflict, InvalidInput, NotFound
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.limits import HEAVY_COST
from api.pages.charts import BarPoint, draw_bars
from api.pages.forms import read_form
from api.pages.sessions import session_of
from api.pages.views import show
from api.pages.words import country_name
from api.pagination import id_cursor, write_cursor
from api.queries import Refusal
from api.resources import resources_of
from api.schemas.spikes import SpikeHourFigure
from api.scopes import find_podcast, path_id
from api.spikes import decide_on, read_spike

__all__ = ("decide_spike", "show_spike", "show_spikes")

_PAGE: Final = 50
_CURSOR: Final = id_cursor("spikes")
_DECISIONS: Final[dict[str, Decision]] = {"accept": "accepted", "dismiss": "dismissed", "revert": "reverted"}


class ListedSpike(msgspec.Struct, frozen=True):
    """A spike in words."""

    row: SpikeRow
    title: str

    @classmethod
    def of(cls, row: SpikeRow) -> ListedSpike:
        """Say what all hits of a spike have in common."""
        return cls(row, _title(row))


def _title(row: SpikeRow) -> str:
    parts = []
    if row.listener is not None:
        parts.append(f"One source ({row.listener})")
    if row.app is not None:
        parts.append(row.app or "Agents that are not known")
    if row.asn is not None:
        parts.append(f"{'from the' if parts else 'The'} network AS{row.asn}")
    if row.country_code is not None:
        name = country_name(row.country_code)
        parts.append(f"from {name}" if parts else name)
    return " ".join(parts) or str(row.user_agent)


def _points(hours: list[SpikeHourFigure]) -> list[BarPoint]:
    """Put hours into bars: below what is usual, above it what is more; an hour outside of the spike is usual."""
    return [
        BarPoint(
            f"{hour.hour:02}",
            hour.requests,
            hour.requests if hour.expected is None else min(hour.requests, hour.expected),
            None,
            State.FINAL if hour.expected is not None else None,
        )
        for hour in hours
    ]


@get("/podcasts/{podcast_id:str}/spikes", opt={"permission": Permission.SPIKES_READ})
async def show_spikes(request: Request[Any, Any, Any]) -> Response[Any]:
    """List a podcast's spikes, those that began last first."""
    try:
        after = _CURSOR.parse(request.query_params.get("cursor", "")) if "cursor" in request.query_params else None
    except Refusal:
        after = None
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        podcast = await find_podcast(conn, wanted)
        rows = await list_spikes(conn, SpikeFilter(podcast_no=podcast.podcast_no), after=after, limit=_PAGE + 1)
    last = rows[_PAGE - 1] if len(rows) > _PAGE else None
    return show(
        request,
        "spikes.html",
        tab="hits",
        podcast=podcast,
        spikes=[ListedSpike.of(row) for row in rows[:_PAGE]],
        is_first_page=after is None,
        cursor=None if last is None else write_cursor("spikes", last.begins_at, last.spike_id),
    )


async def _show(
    request: Request[Any, Any, Any], spike_id: UUID, *, fault: str = "", status_code: int = 200
) -> Response[Any]:
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        row, answer = await read_spike(conn, spike_id)
        podcast = await get_podcast(conn, row.podcast_id)
    return show(
        request,
        "spike.html",
        status_code=status_code,
        tab="hits",
        podcast=podcast,
        spike=row,
        title=_title(row),
        day=row.day,
        begins=row.begins_at.astimezone(dt.UTC),
        ends=row.ends_at.astimezone(dt.UTC),
        answer=answer,
        chart=draw_bars(_points(answer.hours)) if any(hour.requests for hour in answer.hours) else None,
        fault=fault,
    )


@get("/spikes/{spike_id:str}", opt={"permission": Permission.SPIKES_READ})
async def show_spike(request: Request[Any, Any, Any]) -> Response[Any]:
    """Show a spike: its hours, the episodes that it changes, some of its hits, and what can be decided."""
    return await _show(request, path_id(request, "spike_id", what="spike"))


@post(
    "/spikes/{spike_id:str}/decide",
    request_max_body_size=16_384,
    status_code=200,
    opt={"permission": Permission.SPIKES_WRITE, "cost": HEAVY_COST},
)
async def decide_spike(request: Request[Any, Any, Any]) -> Response[Any]:
    """Decide about a spike."""
    wanted = path_id(request, "spike_id", what="spike")
    fields = await read_form(request, session_of(request))
    decision, reason = _DECISIONS.get(str(fields.get("decision", ""))), fields.get("reason", "")
    if decision is None:
        raise NotFound("decision")
    try:
        await decide_on(wanted, decision, reason if isinstance(reason, str) else "", request=request)
    except InvalidInput as error:
        return await _show(request, wanted, fault=f"The reason {error.reason}.", status_code=422)
    except Conflict as error:
        return await _show(request, wanted, fault=f"{str(error)[:1].upper()}{str(error)[1:]}.", status_code=409)
    return Redirect(f"/spikes/{wanted}", status_code=303)
