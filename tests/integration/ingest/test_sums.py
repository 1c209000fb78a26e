"""Sums of rollups: exactly what the downloads say, whatever happened and whoever worked at the same time."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations_with_replacement, pairwise
from typing import NamedTuple
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.analytics import Scope
from analytics_core.db.listeners import read_listeners
from analytics_core.db.pool import Connection, connect
from analytics_core.db.rollups import claim_episodes, recompute_days, take_marks
from analytics_core.db.sums import find_wrong_sums
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.rollups import refresh_listeners, refresh_rollups
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import DAY, Ledger, minute

pytestmark = pytest.mark.anyio

# Around the ends of months of different lengths.
DAYS = [dt.date(2026, 1, 30), dt.date(2026, 1, 31), dt.date(2026, 2, 1), dt.date(2026, 2, 28), dt.date(2026, 9, 9)]
COUNTRIES = [0, ord("U") * 256 + ord("S")]


class Download(NamedTuple):
    """A download of the model; its day, episode and listener are its key."""

    at: dt.datetime
    app: int
    country: int
    evidence: int


class Write(NamedTuple):
    """Hits land: downloads appear, or better ones take their place, also on days long gone."""

    rows: list[tuple[int, int, int, int, int, int, int]]


class Remove(NamedTuple):
    """A restatement: a listener's downloads of an episode go."""

    episode: int
    listener: int


class Rekey(NamedTuple):
    """A restatement: a listener's downloads are another's now, who may have been one of two."""

    listener: int
    other: int


class Drop(NamedTuple):
    """Retention: the downloads of a day go without a mark, and its rollups stay for ever."""

    day: int


class Hand(NamedTuple):
    """A row of rollups changes tenant, or goes, by a statement that is not ours."""

    episode: int
    day: int
    tenant_no: int | None


class Refresh(NamedTuple):
    """A refresher's turn, for so many episodes."""

    limit: int


Step = Write | Remove | Rekey | Drop | Hand | Refresh

_EPISODE = st.integers(0, 2)
_DAY = st.integers(0, len(DAYS) - 1)
_LISTENER = st.integers(1, 3)
_ROW = st.tuples(
    _EPISODE, _DAY, _LISTENER, st.integers(0, 24 * 60 - 1), st.integers(0, 1), st.integers(0, 1), st.integers(1, 3)
)
_WRITE = st.builds(Write, st.lists(_ROW, min_size=1, max_size=6))
_STEPS = st.lists(
    st.one_of(
        _WRITE,
        _WRITE,
        st.builds(Refresh, st.integers(1, 3)),
        st.builds(Remove, _EPISODE, _LISTENER),
        st.builds(Rekey, _LISTENER, _LISTENER),
        st.builds(Drop, _DAY),
        st.builds(Hand, _EPISODE, _DAY, st.none() | st.integers(1, 2)),
    ),
    max_size=10,
)


class World:
    """Three episodes of two podcasts, and beside the database a plain model of their downloads."""

    def __init__(self, conn: Connection, podcast_of: dict[int, int]) -> None:
        self.conn = conn
        self.podcast_of = podcast_of
        self.episodes = list(podcast_of)
        self.downloads: dict[tuple[dt.date, int, int], Download] = {}
        self.dropped: set[dt.date] = set()
        self.agents: list[int] = []

    async def reset(self) -> None:
        """Begin anew, without any download."""
        for table in ("ts.downloads", "ops.dirty_marks", "app.metrics_daily"):
            await self.conn.execute(f"delete from {table}")
        await self.refresh(10)
        await self.count_listeners()
        # What is made of nothing is nothing.
        for table in (
            "app.podcast_daily",
            "app.podcast_months",
            "app.listener_months",
            "ops.sum_marks",
            "ops.listener_marks",
        ):
            assert await self.conn.fetchval(f"select count(*) from {table}") == 0
        await self.conn.execute("select ops.ensure_partitions($1::date[])", DAYS)
        for app in "AB"[len(self.agents) :]:
            number = await self.conn.fetchval(
                "insert into ops.agents (agent_hash, user_agent, kind, app, device, rule, os, table_version)"
                " values (md5($1)::uuid, $1, 1, $1, 'phone', 'r', 'iOS', 't') returning agent_no",
                app,
            )
            self.agents.append(number)
        self.downloads.clear()
        self.dropped.clear()

    async def _mark(self, episode_no: int, day: dt.date) -> None:
        await self.conn.execute(
            "insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day) values (1, $1, $2, $3)",
            self.podcast_of[episode_no],
            episode_no,
            day,
        )

    async def take(self, step: Step) -> None:
        """Do a step in the database and in the model."""
        match step:
            case Write(rows):
                for episode, day, listener, minutes, app, country, evidence in rows:
                    at = dt.datetime.combine(DAYS[day], dt.time(), dt.UTC) + dt.timedelta(minutes=minutes)
                    await self._write(self.episodes[episode], listener, Download(at, app, country, evidence))
            case Remove(episode, listener):
                for key in [key for key in self.downloads if key[1:] == (self.episodes[episode], listener)]:
                    await self._remove(key)
            case Rekey(listener, other):
                for key in [key for key in self.downloads if key[2] == listener != other]:
                    if download := await self._remove(key):
                        await self._write(key[1], other, download)
            case Drop(day):
                # What was not summed up before would be lost: only days that wait for nothing are dropped.
                await self.refresh(10)
                self.dropped.add(DAYS[day])
                await self.conn.execute("delete from ts.downloads where day = $1", DAYS[day])
            case Hand(episode, day, None):
                await self.refresh(10)
                if DAYS[day] not in self.dropped:
                    await self.conn.execute(
                        "delete from app.metrics_daily where episode_no = $1 and day = $2",
                        self.episodes[episode],
                        DAYS[day],
                    )
                    await self.refresh(1)
                    assert await find_wrong_sums(self.conn, first=DAYS[0], last=DAYS[-1]) == []
                    await self._mark(self.episodes[episode], DAYS[day])
            case Hand(_, _, tenant_no):
                await self.conn.execute(
                    "update app.metrics_daily set tenant_no = $2 where podcast_no = $1",
                    self.podcast_of[self.episodes[0]],
                    tenant_no,
                )
            case Refresh(limit):
                await refresh_rollups(self.conn, limit=limit)

    async def _remove(self, key: tuple[dt.date, int, int]) -> Download | None:
        if key[0] in self.dropped:
            return None
        await self.conn.execute(
            "delete from ts.downloads where day = $1 and episode_no = $2 and listener_key = $3",
            *key[:2],
            UUID(int=key[2]),
        )
        await self._mark(key[1], key[0])
        return self.downloads.pop(key)

    async def _write(self, episode_no: int, listener: int, download: Download) -> None:
        day = download.at.date()
        if day in self.dropped:
            return
        self.downloads[day, episode_no, listener] = download
        await self.conn.execute(
            "insert into ts.downloads (day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no,"
            " podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source)"
            " values ($1, $2, $3, $4, 1, 1, 1, $5, $6, 0, 0, $7, $8, 1) on conflict (day, episode_no, listener_key)"
            " do update set occurred_at = excluded.occurred_at, agent_no = excluded.agent_no,"
            " country = excluded.country, evidence = excluded.evidence",
            day,
            episode_no,
            UUID(int=listener),
            download.at,
            self.podcast_of[episode_no],
            self.agents[download.app],
            COUNTRIES[download.country],
            download.evidence,
        )
        await self._mark(episode_no, day)

    async def refresh(self, limit: int) -> None:
        """Refresh until nothing waits."""
        while await refresh_rollups(self.conn, limit=limit):
            continue

    async def count_listeners(self) -> None:
        """Count until nothing waits."""
        while await refresh_listeners(self.conn, at_most_every=None):
            continue

    async def check_listeners(self) -> None:
        """Compare the listeners of all stretches of days with the model, in months that are kept whole."""
        gone = {day.replace(day=1) for day in self.dropped}
        stretches = [
            (first, last)
            for first, last in combinations_with_replacement(DAYS, 2)
            if first.replace(day=1) == last.replace(day=1) not in gone
        ]
        podcasts = [Scope((PodcastNo(number),)) for number in set(self.podcast_of.values())]
        episodes = [
            Scope((PodcastNo(podcast_no),), EpisodeNo(episode_no)) for episode_no, podcast_no in self.podcast_of.items()
        ]
        for first, last in stretches:
            for scope in (*podcasts, *episodes):
                listeners = {
                    listener
                    for day, episode_no, listener in self.downloads
                    if first <= day <= last
                    and self.podcast_of[episode_no] in scope.podcast_nos
                    and scope.episode_no in (None, episode_no)
                }
                found = await read_listeners(self.conn, scope, first=first, last=last)
                assert (found or 0) == len(listeners)

    def counted(self) -> dict[tuple[int, dt.date, str, str], tuple[list[int], list[int]]]:
        """Count the quarter hours of podcasts' and episodes' days from the model."""
        rows: dict[tuple[int, dt.date, str, str], tuple[list[int], list[int]]] = defaultdict(
            lambda: ([0] * 96, [0] * 96)
        )
        for (day, episode_no, _), download in self.downloads.items():
            for dimension, key in (
                ("total", ""),
                ("app", "AB"[download.app]),
                ("device", "phone"),
                ("os", "iOS"),
                ("country", "US" if download.country else ""),
                ("region", ""),
                ("city", ""),
                ("referrer", ""),
                ("feed_app", ""),
                ("source", "prefix"),
                ("episode", str(episode_no)),
            ):
                counts, strict = rows[self.podcast_of[episode_no], day, dimension, key]
                quarter = download.at.hour * 4 + download.at.minute // 15
                counts[quarter] += 1
                strict[quarter] += download.evidence > 1
        return dict(rows)

    async def check(self) -> None:
        """Compare all sums with the model, and with what the rollups say."""
        counted = self.counted()
        by_day = {
            (row["podcast_no"], row["day"], row["dimension"], row["key"]): (
                differences(row["running"]),
                differences(row["running_strict"]),
            )
            for row in await self.conn.fetch("select * from app.podcast_daily")
        }
        assert by_day == {key: value for key, value in counted.items() if key[2] != "episode"}
        by_month = {}
        for row in await self.conn.fetch("select * from app.podcast_months"):
            strict = differences(row["running_strict"])
            for place, n in enumerate(differences(row["running"])):
                if n:
                    day = row["month"] + dt.timedelta(days=place)
                    by_month[row["podcast_no"], day, row["dimension"], row["key"]] = n, strict[place]
            assert row["running"][-1] > 0
        assert by_month == {key: (sum(value[0]), sum(value[1])) for key, value in counted.items()}
        assert await find_wrong_sums(self.conn, first=DAYS[0], last=DAYS[-1]) == []
        tenants = await self.conn.fetch("select distinct podcast_no, tenant_no from app.metrics_daily order by 1")
        for table in ("podcast_daily", "podcast_months"):
            assert tenants == await self.conn.fetch(
                f"select distinct podcast_no, tenant_no from app.{table} order by 1"
            )


def differences(running: Sequence[int]) -> list[int]:
    return [after - before for before, after in pairwise([0, *running])]


@pytest.fixture
async def world(ledger: Ledger, database: DatabaseSettings) -> World:
    tenant = await make_tenant(database)
    one = await make_podcast(database, tenant, make_episode("a"), make_episode("b"))
    two = await make_podcast(database, tenant, make_episode("c"))
    return World(
        ledger.conn,
        {
            one.episodes["a"]: one.podcast_no,
            one.episodes["b"]: one.podcast_no,
            two.episodes["c"]: two.podcast_no,
        },
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_whatever_happened_all_sums_are_what_the_downloads_say(world: World, steps: Sequence[Step]) -> None:
    await world.reset()
    for step in steps:
        await world.take(step)
    # One of two tenants owns a podcast whose rows changed hands in between.
    await world.conn.execute("update app.metrics_daily set tenant_no = 1 where tenant_no <> 1")
    await world.refresh(10)
    await world.check()
    await world.count_listeners()
    await world.check_listeners()


async def podcast_total(ledger: Ledger) -> int:
    return int(
        await ledger.conn.fetchval(
            "select coalesce(sum(downloads), 0) from app.podcast_daily where dimension = 'total' and day = $1", DAY
        )
    )


async def _land_both(ledger: Ledger) -> None:
    write_segment(ledger.folder, [make_hit(minute(0)), make_hit(minute(1), "cdn.example.com/b.mp3")])
    await ledger.ship_all()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
async def test_two_refreshers_of_one_podcast_follow_each_other(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, ending: str
) -> None:
    await _land_both(ledger)
    first = await connect(database, Role.INGEST, application_name="first")
    transaction = first.transaction()
    await transaction.start()
    claim = await claim_episodes(first, limit=1)
    assert (claim.podcast_nos, len(claim.episode_nos)) == ([podcast.podcast_no], 1)
    await recompute_days(first, await take_marks(first, claim))
    # The podcast is in the first one's hands, also for its other episode; nobody waits.
    assert await refresh_rollups(ledger.conn) == 0
    await (transaction.commit() if ending == "commit" else transaction.rollback())
    await first.close()
    # The first one did not come to summing up: its mark has stayed.
    assert await refresh_rollups(ledger.conn) == 2
    assert await podcast_total(ledger) == 2
    assert await find_wrong_sums(ledger.conn, first=DAY, last=DAY) == []


async def test_rollups_that_the_version_before_writes_are_summed_up_by_this_one(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    await _land_both(ledger)
    async with ledger.conn.transaction():
        # All that it did.
        await recompute_days(ledger.conn, await take_marks(ledger.conn, await claim_episodes(ledger.conn, limit=9)))
    assert await podcast_total(ledger) == 0
    assert await find_wrong_sums(ledger.conn, first=DAY, last=DAY) == []
    assert await ledger.refresh() == 2
    assert await podcast_total(ledger) == 2
    assert await ledger.count("ops.sum_marks") == 0


async def test_a_sum_that_somebody_changed_is_named_and_is_right_again_once_its_day_is_marked(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    await _land_both(ledger)
    await ledger.refresh()
    await ledger.conn.execute(
        "update app.podcast_months set running = array_fill(7, array[31]) where dimension = 'total'"
    )
    await ledger.conn.execute("delete from app.podcast_daily where dimension = 'app'")
    found = [str(wrong) for wrong in await find_wrong_sums(ledger.conn, first=DAY, last=DAY)]
    number = podcast.podcast_no
    assert found == [
        f"podcast_daily: podcast {number}, {DAY}, app Overcast: 0 downloads (0 strict) are kept, 2 (2) are counted",
        f"podcast_months: podcast {number}, {DAY}, total: 0 downloads (2 strict) are kept, 2 (2) are counted",
    ]
    await ledger.conn.execute("update app.metrics_daily set refreshed_at = now() where dimension = 'total'")
    assert await find_wrong_sums(ledger.conn, first=DAY, last=DAY) == []
    await ledger.refresh()
    assert await ledger.count("ops.sum_marks") == 0
    assert await find_wrong_sums(ledger.conn, first=DAY, last=DAY) == []


async def test_other_tenants_sums_are_not_there(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await _land_both(ledger)
    await ledger.refresh()
    api = await connect(database, Role.API, application_name="api")
    seen = []
    for tenant_no in (int(podcast.tenant.tenant_no), int(podcast.tenant.tenant_no) + 1):
        async with api.transaction():
            await api.execute("select set_config('app.tenant_no', $1, true)", str(tenant_no))
            seen.append(
                [await api.fetchval(f"select count(*) from app.podcast_{name}") for name in ("daily", "months")]
            )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await api.execute("delete from app.podcast_daily")
    await api.close()
    assert all(seen[0])
    assert seen[1] == [0, 0]
