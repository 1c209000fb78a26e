"""An episode under several profiles, side by side, and why they differ, down to the hits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from litestar import Request, Response, get

from analytics_core.permissions import Permission
from analytics_core.reports import EARLIEST
from api.auth import caller_of
from api.comparisons import MAX_COMPARED_DAYS, MAX_COMPARED_PROFILES, compare_profiles
from api.errors import InvalidRequest
from api.limits import HEAVY_COST
from api.pages.episodes import find_episode
from api.pages.views import show
from api.resources import resources_of
from api.routes.comparisons import DEFAULT_COMPARED
from api.scopes import path_id

__all__ = ("show_comparison",)

_DAY: Final = dt.timedelta(days=1)
_DEFAULT_DAYS: Final = 7


class _Days(NamedTuple):
    """Which days are compared, both included, and what was wrong with those that were asked for."""

    first: dt.date
    last: dt.date
    fault: str = ""


def _read_days(params: Mapping[str, str], today: dt.date) -> _Days:
    usual = _Days(today - (_DEFAULT_DAYS - 1) * _DAY, today)
    if "first" not in params and "last" not in params:
        return usual
    try:
        first, last = (dt.date.fromisoformat(params.get(name, "")) for name in ("first", "last"))
    except ValueError:
        return usual._replace(fault="The days have to be dates.")
    if not EARLIEST < first <= last <= today:
        return usual._replace(fault="The first day has to lie before the last one, and none in the future.")
    if (last - first).days >= MAX_COMPARED_DAYS:
        return usual._replace(fault=f"No more than {MAX_COMPARED_DAYS} days are compared at once.")
    return _Days(first, last)


@get("/episodes/{episode_id:str}/compare", opt={"permission": Permission.ANALYTICS_READ, "cost": HEAVY_COST})
async def show_comparison(request: Request[Any, Any, Any]) -> Response[Any]:
    """Compare what profiles make of an episode's hits."""
    resources = resources_of(request)
    now = resources.clock.now()
    asked = request.query_params
    days = _read_days(dict(asked.multi_items()), now.astimezone(dt.UTC).date())
    wanted = dict.fromkeys(name for name in asked.getall("profile", []) if name in resources.profiles)
    names = list(wanted)[:MAX_COMPARED_PROFILES] or list(DEFAULT_COMPARED)
    fault = days.fault
    if len(wanted) > MAX_COMPARED_PROFILES:
        fault = f"No more than {MAX_COMPARED_PROFILES} profiles are compared at once."
    comparison = None
    # Whoever waits for another comparison does not keep a connection meanwhile.
    async with resources.comparing, resources.database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        podcast, episode = await find_episode(conn, path_id(request, "episode_id", what="episode"))
        try:
            comparison = await compare_profiles(
                conn,
                episode,
                [resources.profiles[name] for name in names],
                start=days.first,
                end=days.last + _DAY,
                now=now,
            )
        except InvalidRequest as refused:
            fault = f"This range {refused.faults[0].message}."
    return show(
        request,
        "compare.html",
        tab="episodes",
        podcast=podcast,
        episode=episode,
        base=f"/episodes/{episode.episode_id}",
        days=days,
        names=names,
        profiles=list(resources.profiles),
        comparison=comparison,
        # Everything against the first: all pairs would be a table of tables.
        pairs=[] if comparison is None else [pair for pair in comparison.pairs if pair.one == names[0]],
        fault=fault,
    )
