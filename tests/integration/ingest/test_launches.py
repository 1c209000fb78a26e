"""How episodes began, and whole days: what is read from the sums is what the downloads say."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.analytics import Scope
from analytics_core.db.launches import MAX_DAYS, Origin, read_launches
from analytics_core.db.pool import Connection
from analytics_core.db.whole_days import rank_episodes, read_days, sum_by_keys, sum_of_episodes
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.reports import CURVE_DAYS
from analytics_core.settings import DatabaseSettings
from tests.factories import MadePodcast, make_episode, make_podcast, make_tenant
from tests.ledgers import Ledger

pytestmark = pytest.mark.anyio

FIRST = dt.datetime(2026, 1, 30, tzinfo=dt.UTC)
# The month after has 28 days, so that 30 days touch three months.
PUBLISHED = dt.datetime(2026, 1, 31, 14, 37, tzinfo=dt.UTC)
DAYS = 30
QUARTER = dt.timedelta(minutes=15)
# Beyond the longest curve, whole days and quarter hours off them.
_MINUTES = st.lists(st.integers(0, 34 * 24 * 60) | st.integers(0, 95 * 24 * 60), max_size=12)


def _down(at: dt.datetime) -> dt.datetime:
    return at - (at - FIRST) % QUARTER


async def _put(ledger: Ledger, podcast: MadePodcast, downloads: dict[str, list[dt.datetime]]) -> None:
    """Replace all downloads by these, each of a listener of its own."""
    conn: Connection = ledger.conn
    days = sorted({at.date() for times in downloads.values() for at in times})
    await conn.execute("select ops.ensure_partitions($1::date[])", days)
    await conn.execute(
        "insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)"
        " select distinct tenant_no, podcast_no, episode_no, day from ts.downloads"
    )
    await conn.execute("delete from ts.downloads")
    for guid, times in downloads.items():
        for listener, at in enumerate(times):
            await conn.execute(
                "insert into ts.downloads (day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no,"
                " podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source)"
                " values ($1, $2, $3, $4, 1, 1, $5, $6, 0, 0, 0, 0, $7, 1)",
                at.date(),
                podcast.episodes[guid],
                UUID(int=listener),
                at,
                int(podcast.tenant.tenant_no),
                podcast.podcast_no,
                1 + listener % 3,
            )
    await conn.execute(
        "insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)"
        " select distinct tenant_no, podcast_no, episode_no, day from ts.downloads"
    )
    await ledger.refresh()


@pytest.fixture
async def dated(database: DatabaseSettings) -> MadePodcast:
    """A podcast with a dated episode and one without a date."""
    tenant = await make_tenant(database)
    return await make_podcast(
        database, tenant, make_episode("a", published_at=PUBLISHED), make_episode("b", published_at=None)
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(a=_MINUTES, b=_MINUTES, marks=st.sets(st.integers(1, DAYS), max_size=3))
async def test_launches_and_days_are_what_the_downloads_say(
    ledger: Ledger, dated: MadePodcast, a: list[int], b: list[int], marks: set[int]
) -> None:
    times = {
        guid: [FIRST + dt.timedelta(minutes=minute) for minute in minutes] for guid, minutes in (("a", a), ("b", b))
    }
    await _put(ledger, dated, times)
    numbers = list(dated.episodes.values())
    found = await read_launches(ledger.conn, numbers, days=DAYS)
    rough = await read_launches(ledger.conn, numbers, days=DAYS, exact=marks)
    starts = {"a": _down(PUBLISHED)} | ({"b": _down(min(times["b"]))} if b else {})
    assert set(found) == set(rough) == {dated.episodes[guid] for guid in starts}
    for guid, start in starts.items():
        launch = found[dated.episodes[guid]]
        running = [
            sum(start <= at < start + dt.timedelta(days=day) for at in times[guid]) for day in range(1, DAYS + 1)
        ]
        assert (launch.start_at, launch.running) == (start, running)
        # One that is not exact ends with the UTC day before: never more, and in order with the others.
        shape = rough[dated.episodes[guid]].running
        assert [shape[mark - 1] for mark in marks] == [running[mark - 1] for mark in marks]
        assert shape == sorted(shape)
        assert all(some <= exact for some, exact in zip(shape, running, strict=True))

    firsts = {guid: _down(min(given)) for guid, given in times.items() if given}
    for origin, begins in ((Origin.PUBLISHED, {"a": _down(PUBLISHED)}), (Origin.FIRST_HIT, firsts)):
        curves = await read_launches(ledger.conn, numbers, days=MAX_DAYS, exact=CURVE_DAYS, origin=origin, strict=True)
        assert set(curves) == {dated.episodes[guid] for guid in begins}
        for guid, start in begins.items():
            curve = curves[dated.episodes[guid]]
            assert curve.start_at == start
            for day in CURVE_DAYS:
                counted = [start <= at < start + dt.timedelta(days=day) for at in times[guid]]
                assert curve.running[day - 1] == sum(counted)
                # Evidence goes round among three listeners, and the first of them only probed.
                assert curve.running_strict[day - 1] == sum(
                    is_in and listener % 3 > 0 for listener, is_in in enumerate(counted)
                )

    scope = Scope((PodcastNo(dated.podcast_no),))
    first, last = FIRST.date() + dt.timedelta(days=1), FIRST.date() + dt.timedelta(days=31)
    days = [first + dt.timedelta(days=place) for place in range(31)]
    per_guid = {guid: [sum(at.date() == day for at in times[guid]) for day in days] for guid in "ab"}
    whole = await read_days(ledger.conn, scope, first=first, last=last)
    assert whole.downloads == [sum(pair) for pair in zip(*per_guid.values(), strict=True)]
    assert sum(whole.downloads_strict) == sum(
        listener % 3 > 0 for guid in "ab" for listener, at in enumerate(times[guid]) if first <= at.date() <= last
    )
    for guid in "ab":
        one = Scope(scope.podcast_nos, EpisodeNo(dated.episodes[guid]))
        assert (await read_days(ledger.conn, one, first=first, last=last)).downloads == per_guid[guid]
    totals = {guid: sum(counts) for guid, counts in per_guid.items()}
    sums = await sum_of_episodes(ledger.conn, scope, [EpisodeNo(number) for number in numbers], first=first, last=last)
    assert {guid: sums.get(EpisodeNo(dated.episodes[guid]), 0) for guid in "ab"} == totals
    ranked = await rank_episodes(ledger.conn, scope, first=first, last=last, limit=1)
    assert [row.downloads for row in ranked] == [most for most in [max(totals.values())] if most]
    keys = await sum_by_keys(ledger.conn, scope, first=first, last=last, dimensions=["total", "source"])
    assert sorted((row.dimension, row.key, row.downloads) for row in keys) == (
        [("source", "prefix", sum(totals.values())), ("total", "", sum(totals.values()))]
        if any(totals.values())
        else []
    )
