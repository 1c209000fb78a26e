"""How episodes began, side by side: a chart of a few and a line in a table of many."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from analytics_core.db.episodes import EpisodeHead
from analytics_core.db.launches import Launch, read_launches
from analytics_core.db.pool import Connection
from analytics_core.ids import EpisodeNo
from api.pages.charts import LineChart, draw_lines, spark

__all__ = ("EpisodeLine", "LaunchChart", "compare_launches", "list_lines")

DAYS: Final = 30
_MARKS: Final = (1, 7, 30)


class EpisodeLine(msgspec.Struct, frozen=True):
    """An episode in a table.

    Attributes:
        downloads: In the table's period.
        marks: Downloads after 1, 7 and 30 days; ``None`` while these are not over.
        spark: Path of its first 30 days; all of a table on one scale.
    """

    episode: EpisodeHead
    downloads: int
    marks: list[int | None]
    spark: str


class LaunchChart(msgspec.Struct, frozen=True):
    """A chart of running counts, and the table behind it: a row a day, a column an episode."""

    chart: LineChart
    titles: list[str]
    rows: list[list[int | None]]


async def _read_counted(
    conn: Connection, episodes: Sequence[EpisodeHead], began: dt.date | None, *, exact: Collection[int] | None = None
) -> dict[int, Launch]:
    """Read how those episodes began whose beginning was counted: others would seem to have begun with nothing."""
    if began is None:
        return {}
    found = await read_launches(conn, [episode.episode_no for episode in episodes], days=DAYS, exact=exact)
    return {number: launch for number, launch in found.items() if launch.start_at.astimezone(dt.UTC).date() >= began}


async def list_lines(
    conn: Connection,
    episodes: Sequence[EpisodeHead],
    downloads: Mapping[EpisodeNo, int],
    *,
    began: dt.date | None,
    now: dt.datetime,
) -> list[EpisodeLine]:
    """Put episodes into lines.

    Args:
        conn: In a transaction of the tenant.
        episodes: In the order of the table.
        downloads: In the table's period, by episode number.
        began: The day with which counting began; what was published before has no first days.
        now: Aware instant: what is still to come is left out.
    """
    launches = await _read_counted(conn, episodes, began, exact=_MARKS)
    known = {number: launch.known(now) for number, launch in launches.items()}
    top = max((values[-1] for values in known.values() if values), default=0)
    lines = []
    for episode in episodes:
        launch = launches.get(episode.episode_no)
        lines.append(
            EpisodeLine(
                episode,
                downloads.get(episode.episode_no, 0),
                [None if launch is None else launch.at_day(mark, now) for mark in _MARKS],
                spark(known.get(episode.episode_no, []), top=top, days=DAYS),
            )
        )
    return lines


async def compare_launches(
    conn: Connection, episodes: Sequence[EpisodeHead], *, began: dt.date | None, now: dt.datetime
) -> LaunchChart | None:
    """Draw how episodes began, the first of them as the main line; ``None`` when that one's beginning is not known."""
    launches = await _read_counted(conn, episodes, began)
    if not episodes or episodes[0].episode_no not in launches:
        return None
    series = [
        (episode.title, launches[episode.episode_no].known(now))
        for episode in episodes
        if episode.episode_no in launches
    ]
    if not any(values and values[-1] for _, values in series):
        return None
    rows = [[values[at] if at < len(values) else None for _, values in series] for at in range(DAYS)]
    return LaunchChart(draw_lines(series, days=DAYS), [title for title, _ in series], rows)
