"""The figures that are compared: once counted from the schedule, request by request, once read from the API."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from castledger_server.api_access import Api
from castledger_server.demo.schedule import Schedule

__all__ = ("Figures", "count_truth", "days_of", "read_counted", "settled_hits")

_EVIDENCE: Final = ("probe", "partial", "full")


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be equal.

    Attributes:
        hits: All requests, by UTC day.
        downloads: By UTC day.
        strict: The same without lone probes.
        explained: Downloads by UTC day once more, from the hits themselves instead of the rollups.
        verdicts: Hits by verdict; ``eligible`` with its evidence behind a blank.
        apps: Downloads by app.
        countries: Downloads by country; ``None`` where an operator's own database says what is where.
        episodes: Downloads by episode's title.
    """

    hits: dict[dt.date, int]
    downloads: dict[dt.date, int]
    strict: dict[dt.date, int]
    explained: dict[dt.date, int]
    verdicts: dict[str, int]
    apps: dict[str, int]
    countries: dict[str, int] | None
    episodes: dict[str, int]


def days_of(schedule: Schedule) -> list[dt.date]:
    """List the UTC days of a schedule."""
    return [schedule.first_day + dt.timedelta(days=number) for number in range(schedule.days)]


def count_truth(schedule: Schedule) -> Figures:
    """Count what was planned, as ``docs/methodology.md`` says and not as our code does.

    A download is a UTC day, an episode, and a home's user agent with an eligible request; strictly, with more than
    a probe.
    """
    days = days_of(schedule)
    begin_us = int(dt.datetime.combine(schedule.first_day, dt.time(), dt.UTC).timestamp()) * 1_000_000
    hits: Counter[dt.date] = Counter(dict.fromkeys(days, 0))
    verdicts: Counter[str] = Counter()
    best: dict[tuple[dt.date, int, int, str], tuple[int, str, str]] = {}
    for request in schedule.requests:
        day = days[(request.at_us - begin_us) // 86_400_000_000]
        hits[day] += 1
        verdicts[f"{request.verdict} {request.evidence}".rstrip()] += 1
        if request.verdict != "eligible" or request.episode is None:
            continue
        key = (day, request.episode, request.home, request.agent)
        shown = (_EVIDENCE.index(request.evidence), request.app, request.country)
        best[key] = max(best.get(key, shown), shown)
    downloads: Counter[dt.date] = Counter(dict.fromkeys(days, 0))
    strict: Counter[dt.date] = Counter(dict.fromkeys(days, 0))
    apps: Counter[str] = Counter()
    countries: Counter[str] = Counter()
    episodes: Counter[str] = Counter()
    for (day, number, _, _), (evidence, app, country) in best.items():
        downloads[day] += 1
        strict[day] += evidence > 0
        apps[app] += 1
        countries[country] += 1
        episodes[schedule.episodes[number].title] += 1
    return Figures(
        hits=dict(hits),
        downloads=dict(downloads),
        strict=dict(strict),
        explained=dict(downloads),
        verdicts=dict(verdicts),
        apps=dict(apps),
        countries=dict(countries),
        episodes=dict(episodes),
    )


class _Verdict(msgspec.Struct):
    verdict: str
    evidence: str | None
    hits: int


class _Day(msgspec.Struct):
    hits: int
    downloads: int
    partial: bool
    verdicts: list[_Verdict]


class _Row(msgspec.Struct):
    start: dt.datetime
    key: str | None
    downloads: int
    downloads_strict: int


class _Lists(msgspec.Struct):
    countries: str


class _Report(msgspec.Struct):
    data: list[_Row]
    lists: _Lists
    partial: bool


class _Episode(msgspec.Struct):
    episode_id: str
    title: str


class _Episodes(msgspec.Struct):
    data: list[_Episode]


def _explain(api: Api, podcast_id: str, day: dt.date) -> _Day:
    found = api.get("/analytics/explain", {"podcast_id": podcast_id, "day": day.isoformat()})
    return msgspec.json.decode(found, type=_Day)


def _report(api: Api, podcast_id: str, days: list[dt.date], **more: str) -> _Report:
    end = days[-1] + dt.timedelta(days=1)
    asked = {"podcast_id": podcast_id, "from": days[0].isoformat(), "to": end.isoformat(), **more}
    return msgspec.json.decode(api.get("/analytics/downloads", asked), type=_Report)


def settled_hits(api: Api, podcast_id: str, days: Iterable[dt.date]) -> dict[dt.date, int]:
    """Read how many hits have landed, of those days whose downloads are all summed up."""
    found = {day: _explain(api, podcast_id, day) for day in days}
    return {day: explained.hits for day, explained in found.items() if not explained.partial}


def read_counted(api: Api, podcast_id: str, days: list[dt.date]) -> Figures:
    """Read what was counted.

    Raises:
        ApiRefusal: The API refused, or does not answer.
    """
    explained = {day: _explain(api, podcast_id, day) for day in days}
    verdicts: Counter[str] = Counter()
    for one in explained.values():
        for row in one.verdicts:
            if row.hits:
                verdicts[f"{row.verdict} {row.evidence or ''}".rstrip()] += row.hits
    daily = _report(api, podcast_id, days)
    listed = msgspec.json.decode(api.get(f"/podcasts/{podcast_id}/episodes", {"limit": "200"}), type=_Episodes)
    titles = {episode.episode_id: episode.title for episode in listed.data}
    by: dict[str, Counter[str]] = {}
    for dimension in ("app", "country", "episode"):
        by[dimension] = Counter()
        for figure in _report(api, podcast_id, days, by=dimension, interval="month").data:
            by[dimension][figure.key or ""] += figure.downloads
    is_ours = daily.lists.countries.startswith("iptocc-")
    return Figures(
        hits={day: one.hits for day, one in explained.items()},
        downloads={row.start.date(): row.downloads for row in daily.data},
        strict={row.start.date(): row.downloads_strict for row in daily.data},
        explained={day: one.downloads for day, one in explained.items()},
        verdicts=dict(verdicts),
        apps=dict(by["app"]),
        countries=dict(by["country"]) if is_ours else None,
        episodes={titles.get(key, key): downloads for key, downloads in by["episode"].items()},
    )
