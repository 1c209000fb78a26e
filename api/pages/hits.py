"""A day taken apart, down to single hits, and one hit explained rule by rule."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import Request, Response, get

from analytics_core.countries import unpack_country
from analytics_core.db.analytics import Scope
from analytics_core.db.episodes import EpisodeRow, get_episode
from analytics_core.db.explain import HitFilter, HitRow, find_hit, list_hits
from analytics_core.db.podcasts import PodcastRow, get_podcast
from analytics_core.db.pool import Connection
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.hits import HitFlag, Method
from analytics_core.ids import format_hit_id, parse_hit_id
from analytics_core.permissions import Permission
from analytics_core.reports import EARLIEST
from analytics_core.verdicts import Evidence, Verdict
from api.auth import caller_of
from api.explanations import read_day
from api.limits import REPORT_COST
from api.pages.episodes import find_episode
from api.pages.rules import VERDICT_WORDS, explain_steps, range_words
from api.pages.views import show
from api.pages.words import city_name, country_name, region_name
from api.pagination import HIT_CURSOR, write_hit_cursor
from api.queries import Refusal
from api.resources import resources_of
from api.scopes import find_podcast, path_id
from api.why import why

__all__ = ("show_episode_hits", "show_hit", "show_podcast_hits")

_PAGE: Final = 50
_DAY: Final = dt.timedelta(days=1)
_LEFT_OUT: Final = HitFlag.SPIKE | HitFlag.REPLACED
_VERDICTS: Final = {verdict.label: verdict for verdict in Verdict}


class ListedHit(msgspec.Struct, frozen=True):
    """A hit as a line of a list."""

    hit_id: str
    at: dt.datetime
    verdict: str
    evidence: str | None
    app: str
    agent: str
    country: str
    asked_for: str
    is_counted: bool
    is_left_out: bool


def _listed(row: HitRow) -> ListedHit:
    return ListedHit(
        format_hit_id(row.segment_no, row.ordinal),
        row.occurred_at,
        Verdict(row.verdict).label,
        Evidence(row.evidence).label if row.evidence else None,
        row.app,
        row.user_agent,
        _country(row.country),
        range_words(row),
        row.is_counted,
        row.verdict == Verdict.ELIGIBLE and bool(row.flags & _LEFT_OUT),
    )


def _country(packed: int) -> str:
    code = unpack_country(packed)
    return "" if code is None else country_name(code)


def _place(row: HitRow) -> str:
    """Name where a hit came from, as closely as it is known."""
    if row.city:
        return city_name(row.city)
    return region_name(row.region) if row.region else _country(row.country)


def _day_of(params: Mapping[str, str], today: dt.date) -> dt.date:
    """Read the day; what is none, or still to come, is today."""
    try:
        day = dt.date.fromisoformat(params.get("day", ""))
    except ValueError:
        return today
    return day if EARLIEST < day <= today else today


async def _show_day(
    request: Request[Any, Any, Any], conn: Connection, podcast: PodcastRow, episode: EpisodeRow | None
) -> Response[Any]:
    params = dict(request.query_params.multi_items())
    now = resources_of(request).clock.now()
    today = now.astimezone(dt.UTC).date()
    day = _day_of(params, today)
    verdict = _VERDICTS.get(params.get("verdict", ""))
    try:
        after = HIT_CURSOR.parse(params["cursor"]) if "cursor" in params else None
    except Refusal:
        after = None
    episode_no = None if episode is None else episode.episode_no
    explanation = await read_day(
        conn,
        Scope((podcast.podcast_no,), episode_no),
        podcast_id=podcast.podcast_id,
        episode_id=None if episode is None else episode.episode_id,
        day=day,
        now=now,
    )
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    chosen = HitFilter(
        start=start,
        end=start + _DAY,
        podcast_no=podcast.podcast_no,
        episode_no=episode_no,
        verdict=None if verdict is None else int(verdict),
    )
    rows = await list_hits(conn, chosen, after=after, limit=_PAGE + 1)
    more = {"day": day.isoformat(), **({"verdict": verdict.label} if verdict is not None else {})}
    following = None
    if len(rows) > _PAGE:
        following = urlencode({**more, "cursor": write_hit_cursor(rows[_PAGE - 1].place)})
    return show(
        request,
        "day.html",
        podcast=podcast,
        episode=episode,
        tab="hits",
        base=f"/podcasts/{podcast.podcast_id}" if episode is None else f"/episodes/{episode.episode_id}",
        day=day,
        before=day - _DAY,
        after=day + _DAY if day < today else None,
        explanation=explanation,
        words=VERDICT_WORDS,
        verdict=None if verdict is None else verdict.label,
        hits=[_listed(row) for row in rows[:_PAGE]],
        is_first_page=after is None,
        first=urlencode(more),
        following=following,
    )


@get("/podcasts/{podcast_id:str}/hits", opt={"permission": Permission.HITS_READ, "cost": REPORT_COST})
async def show_podcast_hits(request: Request[Any, Any, Any]) -> Response[Any]:
    """Take a podcast's day apart."""
    wanted = path_id(request, "podcast_id", what="podcast")
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        return await _show_day(request, conn, await find_podcast(conn, wanted), None)


@get("/episodes/{episode_id:str}/hits", opt={"permission": Permission.HITS_READ, "cost": REPORT_COST})
async def show_episode_hits(request: Request[Any, Any, Any]) -> Response[Any]:
    """Take an episode's day apart."""
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        podcast, episode = await find_episode(conn, path_id(request, "episode_id", what="episode"))
        return await _show_day(request, conn, podcast, episode)


def _answer(sentence: str) -> str:
    """Leave out what stands in the heading already."""
    _, colon, rest = sentence.partition(": ")
    return rest[:1].upper() + rest[1:] if colon else sentence


@get("/hits/{hit_id:str}", opt={"permission": Permission.HITS_READ})
async def show_hit(request: Request[Any, Any, Any]) -> Response[Any]:
    """Explain one hit: every rule in order, what it saw and what it decided."""
    try:
        segment_no, ordinal = parse_hit_id(str(request.path_params["hit_id"]))
    except InvalidInput:
        raise NotFound("hit") from None
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        hit = await find_hit(conn, segment_no, ordinal)
        if hit is None:
            raise NotFound("hit")
        podcast = await get_podcast(conn, hit.podcast_id) if hit.podcast_id is not None else None
        episode = await get_episode(conn, hit.episode_id) if hit.episode_id is not None else None
    winner = None
    is_left_out = bool(hit.flags & _LEFT_OUT)
    if not hit.is_counted and not is_left_out and hit.winner_segment_no is not None and hit.winner_ordinal is not None:
        winner = format_hit_id(hit.winner_segment_no, hit.winner_ordinal)
    return show(
        request,
        "hit.html",
        podcast=podcast,
        episode=episode,
        tab="hits",
        hit=hit,
        hit_id=format_hit_id(segment_no, ordinal),
        day=hit.occurred_at.astimezone(dt.UTC).date(),
        method=Method(hit.method).name,
        place=_place(hit),
        asked_for=range_words(hit),
        flags=[str(flag.name).lower().replace("_", " ") for flag in HitFlag if flag and flag & hit.flags],
        answer=_answer(why(hit)),
        steps=explain_steps(hit, episode),
        winner=winner,
    )
