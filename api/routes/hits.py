"""Hits, each with the reason why it counts or does not."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from litestar import Request, Response, get

from analytics_core.byte_ranges import RangeKind
from analytics_core.countries import unpack_country
from analytics_core.db.days import list_days_without_hits
from analytics_core.db.explain import HitFilter, HitRow, find_hit
from analytics_core.db.explain import list_hits as read_hits
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.hits import HitFlag, Method
from analytics_core.ids import format_hit_id, parse_hit_id
from analytics_core.network_classes import NetworkClass
from analytics_core.permissions import Permission
from analytics_core.profiles import DEFAULT_PROFILE
from analytics_core.reports import utc_days
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence, Verdict, verdict_names
from api.auth import caller_of
from api.limits import REPORT_COST
from api.pagination import HIT_CURSOR, LIMIT, write_hit_cursor
from api.queries import Parameter, Query, Refusal
from api.ranges import HIT_FROM, HIT_TO, read_hit_range
from api.resources import resources_of
from api.schemas.analytics import ByteRangeAnswer, HitAnswer, HitPage
from api.scopes import EPISODE_ID, PODCAST_ID, find_scope
from api.tags import answer_with
from api.why import why

__all__ = ("get_hit", "list_hits")

_VERDICTS: Final = {verdict.label: verdict for verdict in Verdict}


def _verdict(text: str) -> Verdict:
    try:
        return _VERDICTS[text]
    except KeyError:
        raise Refusal("invalid", f"has to be one of {', '.join(_VERDICTS)}") from None


VERDICT: Final[Parameter[Verdict | None]] = Parameter(
    "verdict",
    _verdict,
    None,
    "Only hits that this verdict decides.",
    {"type": "string", "enum": list(_VERDICTS)},
)


def _range(row: HitRow) -> ByteRangeAnswer | None:
    kind = RangeKind(row.range_kind)
    if kind is RangeKind.NONE:
        return None
    first, last = (None if value < 0 else value for value in (row.range_first, row.range_last))
    return ByteRangeAnswer(kind.label, first, last)


def _show(row: HitRow) -> HitAnswer:
    return HitAnswer(
        hit_id=format_hit_id(row.segment_no, row.ordinal),
        at=row.occurred_at.astimezone(dt.UTC),
        podcast_id=row.podcast_id,
        episode_id=row.episode_id,
        verdict=Verdict(row.verdict).label,
        verdicts=verdict_names(row.verdict_bits),
        evidence=Evidence(row.evidence).label if row.evidence else None,
        method=Method(row.method).name,
        agent=row.user_agent,
        agent_kind=AgentKind(row.agent_kind).label,
        app=row.app,
        device=row.device,
        os=row.os or None,
        country=unpack_country(row.country),
        region=row.region or None,
        city=row.city or None,
        referrer=row.referrer or None,
        range=_range(row),
        target=row.target,
        networks=[str(one.name).lower() for one in NetworkClass if one & row.networks],
        flags=[str(flag.name).lower() for flag in HitFlag if flag and flag & row.flags],
        counted=row.is_counted,
        spike_id=row.spike_id,
        why=why(row),
        profile=(row.rules or DEFAULT_PROFILE.rules_version).rpartition(".")[0],
    )


@get(
    "/analytics/hits",
    tags=["analytics"],
    opt={
        "permission": Permission.HITS_READ,
        "cost": REPORT_COST,
        "is_tagged": True,
        "query": (PODCAST_ID, EPISODE_ID, HIT_FROM, HIT_TO, VERDICT, LIMIT, HIT_CURSOR),
    },
)
async def list_hits(request: Request[Any, Any, Any]) -> Response[HitPage]:
    """List hits in the order in which they occurred, those that wait for their episode too.

    Clicks on links are not among them: no verdict is about those.
    """
    resources = resources_of(request)
    query = Query.of(request)
    podcast_id, episode_id, verdict = query.get(PODCAST_ID), query.get(EPISODE_ID), query.get(VERDICT)
    limit, after = query.get(LIMIT), query.get(HIT_CURSOR)
    wanted = read_hit_range(query, now=resources.clock.now())
    query.finish()
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        podcast_no = episode_no = None
        if podcast_id is not None or episode_id is not None:
            scope, _ = await find_scope(conn, podcast_id=podcast_id, episode_id=episode_id)
            (podcast_no,), episode_no = scope.podcast_nos, scope.episode_no
        chosen = HitFilter(
            start=wanted.start,
            end=wanted.end,
            podcast_no=podcast_no,
            episode_no=episode_no,
            verdict=None if verdict is None else int(verdict),
        )
        rows = await read_hits(conn, chosen, after=after, limit=limit + 1)
        first, last = utc_days(wanted.start, wanted.end)
        gone = await list_days_without_hits(conn, first=first, last=last)
    cursor = write_hit_cursor(rows[limit - 1].place) if len(rows) > limit else None
    return answer_with(request, HitPage([_show(row) for row in rows[:limit]], cursor, gone))


@get(
    "/analytics/hits/{hit_id:str}",
    tags=["analytics"],
    opt={"permission": Permission.HITS_READ, "is_tagged": True, "refusals": (410,)},
)
async def get_hit(request: Request[Any, Any, Any]) -> Response[HitAnswer]:
    """Read one hit."""
    try:
        place = parse_hit_id(str(request.path_params["hit_id"]))
    except InvalidInput:
        raise NotFound("hit") from None
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        row = await find_hit(conn, *place)
    if row is None:
        raise NotFound("hit")
    return answer_with(request, _show(row))
