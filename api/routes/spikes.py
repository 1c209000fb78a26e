"""Spikes: floods that were found, and what is decided about them."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, get, post

from analytics_core.db.spikes import Decision, SpikeFilter, SpikeKind, SpikeState
from analytics_core.db.spikes import list_spikes as read_spikes
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.limits import HEAVY_COST
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Parameter, Query, Refusal
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.spikes import DecideSpike, Spike, SpikeAnswer
from api.scopes import PODCAST_ID, find_podcast, path_id
from api.spikes import decide_on, read_spike

__all__ = ("accept_spike", "dismiss_spike", "get_spike", "list_spikes", "revert_spike")

_LIST: Final = "spikes"
_CURSOR: Final = id_cursor(_LIST)
_STATES: Final[dict[str, SpikeState]] = {
    "open": "open",
    "accepted": "accepted",
    "dismissed": "dismissed",
    "reverted": "reverted",
}
_KINDS: Final[dict[str, SpikeKind]] = {
    "source": "source",
    "agent": "agent",
    "network": "network",
    "country": "country",
}


def _state(text: str) -> SpikeState:
    if text not in _STATES:
        raise Refusal("invalid", f"has to be one of {', '.join(_STATES)}")
    return _STATES[text]


def _kind(text: str) -> SpikeKind:
    if text not in _KINDS:
        raise Refusal("invalid", f"has to be one of {', '.join(_KINDS)}")
    return _KINDS[text]


_STATE: Final[Parameter[SpikeState | None]] = Parameter(
    "state", _state, None, "Only those in this state.", {"type": "string", "enum": list(_STATES)}
)
_KIND: Final[Parameter[SpikeKind | None]] = Parameter(
    "kind", _kind, None, "Only those of this kind.", {"type": "string", "enum": list(_KINDS)}
)
_DECIDES: Final = {"bodies": {"application/json": DecideSpike}, "refusals": (409,)}


@get(
    "/spikes",
    tags=["spikes"],
    opt={"permission": Permission.SPIKES_READ, "query": (PODCAST_ID, _STATE, _KIND, LIMIT, _CURSOR)},
)
async def list_spikes(request: Request[Any, Any, Any]) -> Page[Spike]:
    """List spikes, those that began last first.

    A spike is a flood of requests: a source that asks for more episodes than anybody plays, or an agent, a network or
    a country that rises far above what is usual while the others do not. Figures are not changed by it, until you
    accept it.
    """
    query = Query.of(request)
    podcast_id, state, kind = query.get(PODCAST_ID), query.get(_STATE), query.get(_KIND)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        podcast_no = None if podcast_id is None else (await find_podcast(conn, podcast_id)).podcast_no
        wanted = SpikeFilter(podcast_no=podcast_no, state=state, kind=kind)
        rows = await read_spikes(conn, wanted, after=after, limit=limit + 1)
    return page_of(rows, limit, Spike.of, _LIST, lambda row: (row.begins_at, row.spike_id))


@get("/spikes/{spike_id:str}", tags=["spikes"], opt={"permission": Permission.SPIKES_READ})
async def get_spike(request: Request[Any, Any, Any]) -> SpikeAnswer:
    """Read one spike, hour by hour, with some of its hits and the episodes that it changes."""
    wanted = path_id(request, "spike_id", what="spike")
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        _, answer = await read_spike(conn, wanted)
    return answer


async def _decide(request: Request[Any, Any, Any], decision: Decision) -> Spike:
    wanted = path_id(request, "spike_id", what="spike")
    given = await read_json(request, DecideSpike)
    return await decide_on(wanted, decision, given.reason, request=request)


@post(
    "/spikes/{spike_id:str}/accept",
    tags=["spikes"],
    status_code=202,
    opt={"permission": Permission.SPIKES_WRITE, "cost": HEAVY_COST, **_DECIDES},
)
async def accept_spike(request: Request[Any, Any, Any]) -> Spike:
    """Leave a spike's hits out of the downloads of its day, within seconds; `GET /restatements` tells what changed."""
    return await _decide(request, "accepted")


@post(
    "/spikes/{spike_id:str}/dismiss",
    tags=["spikes"],
    status_code=200,
    opt={"permission": Permission.SPIKES_WRITE, **_DECIDES},
)
async def dismiss_spike(request: Request[Any, Any, Any]) -> Spike:
    """Say that a spike is none. No figure changes, and the same is not told again for two weeks."""
    return await _decide(request, "dismissed")


@post(
    "/spikes/{spike_id:str}/revert",
    tags=["spikes"],
    status_code=202,
    opt={"permission": Permission.SPIKES_WRITE, "cost": HEAVY_COST, **_DECIDES},
)
async def revert_spike(request: Request[Any, Any, Any]) -> Spike:
    """Take the hits of an accepted spike in again, within seconds: figures are what they were before."""
    return await _decide(request, "reverted")
