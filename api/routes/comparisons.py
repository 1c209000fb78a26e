"""One episode's stored hits under several profiles."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request, Response, get

from analytics_core.db.episodes import get_episode
from analytics_core.errors import NotFound
from analytics_core.permissions import Permission
from analytics_core.profiles import PROFILES, Profile
from api.auth import caller_of
from api.comparisons import MAX_COMPARED_DAYS, MAX_COMPARED_PROFILES, compare_profiles
from api.limits import HEAVY_COST
from api.queries import Parameter, Query, Refusal, utc_day
from api.resources import resources_of
from api.schemas.comparisons import ComparisonAnswer
from api.scopes import EPISODE_ID
from api.tags import answer_with

__all__ = ("DEFAULT_COMPARED", "compare", "find_profiles")

DEFAULT_COMPARED: Final[tuple[str, ...]] = ("castledger-1", "ptmg-2.3", "op3", "odl")
"""What is compared where nothing is named."""

_DEFAULT_DAYS: Final = 7
_DATE: Final = {"type": "string", "format": "date"}


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not all(re.fullmatch(r"[a-z0-9.-]{1,40}", name) for name in names):
        raise Refusal("invalid", f"has to be names of profiles with commas between them, such as {','.join(PROFILES)}")
    if len(set(names)) < len(names):
        raise Refusal("repeated", "names a profile twice")
    if len(names) > MAX_COMPARED_PROFILES:
        raise Refusal("too_many_profiles", f"names {len(names)} profiles; at most {MAX_COMPARED_PROFILES} are compared")
    return names


FROM: Final[Parameter[dt.date | None]] = Parameter(
    "from", utc_day, None, f"The first day, in UTC. By default {_DEFAULT_DAYS} days before `to`.", _DATE
)
TO: Final[Parameter[dt.date | None]] = Parameter(
    "to",
    utc_day,
    None,
    f"The day behind the last, in UTC, at most {MAX_COMPARED_DAYS} days behind `from`. By default tomorrow.",
    _DATE,
)
COMPARED: Final = Parameter(
    "profiles",
    _names,
    DEFAULT_COMPARED,
    f"Which profiles, at most {MAX_COMPARED_PROFILES}, with commas between their names: ours, or the installation's.",
    {"type": "string", "default": ",".join(DEFAULT_COMPARED), "examples": ["castledger-1,ptmg-2.3"]},
)


def find_profiles(names: tuple[str, ...], known: Mapping[str, Profile]) -> list[Profile]:
    """Find profiles by name.

    Raises:
        Refusal: There is none of a name.
    """
    for name in names:
        if name not in known:
            raise Refusal("unknown_profile", f"names {name!r}, and there are {', '.join(known)}")
    return [known[name] for name in names]


@get(
    "/analytics/compare",
    tags=["analytics"],
    opt={
        "permission": Permission.ANALYTICS_READ,
        "cost": HEAVY_COST,
        "is_tagged": True,
        "query": (EPISODE_ID, FROM, TO, COMPARED),
    },
)
async def compare(request: Request[Any, Any, Any]) -> Response[ComparisonAnswer]:
    """Judge an episode's hits again under several profiles, and tell what makes them differ.

    Of whole UTC days. Reports show one profile; here others are tried on the same hits, those of other trackers too as
    far as their rules are known.
    """
    resources = resources_of(request)
    now = resources.clock.now()
    query = Query.of(request)
    episode_id, start, end, names = query.get(EPISODE_ID), query.get(FROM), query.get(TO), query.get(COMPARED)
    if not query.is_given(EPISODE_ID):
        query.refuse("episode_id", "missing", "is required")
    if end is None:
        latest = now.astimezone(dt.UTC).date() + dt.timedelta(days=1)
        end = latest if start is None else min(latest, start + dt.timedelta(days=MAX_COMPARED_DAYS))
    start = start or end - dt.timedelta(days=_DEFAULT_DAYS)
    if query.is_good(FROM, TO):
        if end <= start:
            query.refuse("to", "reversed_range", "does not lie behind `from`: there would be no day")
        elif (end - start).days > MAX_COMPARED_DAYS:
            query.refuse("to", "range_too_long", f"lies more than {MAX_COMPARED_DAYS} days behind `from`")
    profiles: list[Profile] = []
    try:
        profiles = find_profiles(names, resources.profiles)
    except Refusal as refusal:
        query.refuse("profiles", refusal.code, str(refusal))
    query.finish()
    if episode_id is None:
        raise AssertionError("a required parameter is there")
    # Whoever waits for another comparison does not keep a connection meanwhile.
    async with resources.comparing, resources.database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        episode = await get_episode(conn, episode_id)
        if episode is None:
            raise NotFound("episode")
        answer = await compare_profiles(conn, episode, profiles, start=start, end=end, now=now)
    return answer_with(request, answer)
