"""A podcast filled with the same rows in any database, and every question that the API asks of it."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import NAMESPACE_DNS, NAMESPACE_OID, UUID, uuid5
from zoneinfo import ZoneInfo

import msgspec

from analytics_core.db.analytics import (
    Scope,
    count_listeners,
    podcast_numbers,
    read_status,
    sum_downloads,
)
from analytics_core.db.dictionaries import number_places
from analytics_core.db.event_lists import list_events
from analytics_core.db.events import ensure_event_partitions
from analytics_core.db.explain import HitFilter, count_day, find_hit, list_hits
from analytics_core.db.launches import read_launches
from analytics_core.db.listeners import read_listeners
from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.db.sums import find_wrong_sums
from analytics_core.db.whole_days import rank_episodes, read_days, sum_by_keys, sum_of_episodes
from analytics_core.hits import HitKind
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.places import Place
from analytics_core.reports import Interval, plan_buckets
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.rollups import refresh_listeners, refresh_rollups
from tests.factories import MadePodcast, make_episode, make_podcast, make_tenant

__all__ = ("FIRST", "LAST", "LOAD_HITS", "ask_everything", "fill")

FIRST, LAST = dt.date(2026, 10, 29), dt.date(2026, 11, 3)
HITS = 3000

# Over six days, 20 s to some minutes apart, of 400 listeners and six agents; every ninth is no download.
LOAD_HITS = """
insert into ts.listener_events (occurred_at, range_first, range_last, listener_key, segment_no, ordinal, tenant_no,
    podcast_no, episode_no, agent_no, referrer_no, feed_app_no, verdict_bits, verdict, evidence, country, kind, method,
    range_kind, flags, source, rules, place_no)
select '2026-10-29 00:00+00'::timestamptz + n * interval '172 seconds', 0, -1, md5((n % 400)::text)::uuid, $3, n, $1,
    $2, ($4::integer[])[1 + n % array_length($4::integer[], 1)], n % 6, n % 3, 0,
    case when n % 9 = 0 then 64 else 0 end, case when n % 9 = 0 then 6 else 0 end,
    case when n % 9 = 0 then 0 else 1 + n % 3 end, case when n % 5 = 0 then 0 else 21843 end, $6, 0, 0, 0, 1, 1,
    coalesce((select place_no from ops.places where place = 'US/CA/City ' || n % 7), 0)
from generate_series(1, $5) n"""

_LOAD_DOWNLOADS = """
insert into ts.downloads (day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no, podcast_no,
    agent_no, referrer_no, feed_app_no, country, evidence, source, place_no)
select distinct on (1, 2, 3) (occurred_at at time zone 'UTC')::date, episode_no, listener_key, occurred_at, segment_no,
    ordinal, tenant_no, podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source, place_no
from ts.listener_events where verdict = 0 and tenant_no = $1
order by 1, 2, 3, evidence desc, occurred_at, segment_no, ordinal"""


# Over the same days, by when they were received; they occurred up to weeks before.
_LOAD_EVENTS = """
insert into ts.attribution_events (received_at, occurred_at, event_id, tenant_no, source, type, value_amount, currency,
    properties, agent_no, asn, country, networks, is_bot)
select at, at - n * interval '1 hour', md5('event ' || n)::uuid, $1, n % 3, (array['purchase', 'signup'])[1 + n % 2],
    n, 'EUR', jsonb_build_object('n', n), 0, 0, 0, 0, false
from (
    select n, '2026-10-29 00:00+00'::timestamptz + n * interval '1031 seconds' as at from generate_series(1, 500) n
) e"""


async def fill(database: DatabaseSettings, slug: str) -> MadePodcast:
    """Store a podcast of three episodes with the same hits, downloads and rollups whatever the database."""
    tenant = await make_tenant(database, slug)
    published = dt.datetime(2026, 10, 30, 9, tzinfo=dt.UTC)
    made = await make_podcast(
        database,
        tenant,
        *(make_episode(f"{slug}-{n}", f"https://{slug}.example.com/{n}.mp3", published_at=published) for n in range(3)),
        guid=uuid5(NAMESPACE_DNS, slug),
    )
    conn = await connect(database, Role.INGEST, application_name="filler")
    try:
        async with conn.transaction():
            days = [FIRST + dt.timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
            await conn.execute("select ops.ensure_partitions($1::date[])", days)
            segment_no = await conn.fetchval(
                "insert into ops.segments (segment_id, source, created_at, committed, hits, first_hit_at, last_hit_at) "
                "values ($1, 'tracker-0', $2, 1, $3, $2, $4) returning segment_no",
                uuid5(NAMESPACE_OID, slug),
                dt.datetime(2026, 10, 29, tzinfo=dt.UTC),
                HITS,
                dt.datetime(2026, 11, 4, tzinfo=dt.UTC),
            )
            numbers = [made.episodes[guid] for guid in sorted(made.episodes)]
            await number_places(conn, [Place("US", "CA", f"City {n}") for n in range(5)])
            await conn.execute(
                LOAD_HITS, int(tenant.tenant_no), made.podcast_no, segment_no, numbers, HITS, int(HitKind.REQUEST)
            )
            await conn.execute(_LOAD_DOWNLOADS, int(tenant.tenant_no))
            await ensure_event_partitions(conn, days)
            await conn.execute(_LOAD_EVENTS, int(tenant.tenant_no))
            await conn.execute(
                "insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day) "
                "select distinct tenant_no, podcast_no, episode_no, day from ts.downloads where tenant_no = $1",
                int(tenant.tenant_no),
            )
        while await refresh_rollups(conn):
            pass
        while await refresh_listeners(conn, at_most_every=None):
            pass
        assert await find_wrong_sums(conn, first=FIRST, last=LAST) == []
    finally:
        await conn.close()
    return made


def _neutral(value: Any, made: MadePodcast) -> Any:
    """Write an answer without what differs from one database to the next: its numbers and ids of podcasts."""
    text = repr(value)
    for place, guid in enumerate(sorted(made.episodes)):
        text = text.replace(f"episode_no={made.episodes[guid]},", f"episode_no=#{place},")
    return text


async def ask_everything(database: DatabaseSettings, made: MadePodcast) -> dict[str, Any]:
    """Ask each question of the API's once or more, in the API's role."""
    numbers = [EpisodeNo(made.episodes[guid]) for guid in sorted(made.episodes)]
    podcast, episode = (Scope((PodcastNo(made.podcast_no),), number) for number in (None, numbers[0]))
    start, end = dt.datetime(2026, 10, 29, tzinfo=dt.UTC), dt.datetime(2026, 11, 4, tzinfo=dt.UTC)
    answers: dict[str, Any] = {}
    pool = await open_pool(database, Role.API, application_name="asker", max_size=1)
    try:
        async with tenant_transaction(pool, made.tenant, readonly=True) as conn:
            assert await podcast_numbers(conn) == (made.podcast_no,)
            for name, scope in (("podcast", podcast), ("episode", episode)):
                status = await read_status(conn, scope, first=FIRST, last=LAST)
                # It tells of when listeners were counted.
                answers[f"{name} status"] = msgspec.structs.replace(status, version="")
                answers[f"{name} day"] = await count_day(conn, scope, day=FIRST)
                answers[f"{name} days"] = await read_days(conn, scope, first=FIRST, last=LAST)
                answers[f"{name} listeners"] = await read_listeners(conn, scope, first=dt.date(2026, 11, 1), last=LAST)
                for zone in ("UTC", "Asia/Kathmandu", "America/New_York"):
                    for interval in Interval:
                        buckets = plan_buckets(start, end, interval=interval, tz=ZoneInfo(zone))
                        question = f"{name} {zone} {interval.value}"
                        answers[question] = await sum_downloads(conn, scope, buckets)
                        answers[f"{question} by country"] = sorted(
                            await sum_downloads(conn, scope, buckets, by="country"),
                            key=lambda row: (row.bucket, row.key),
                        )
                        answers[f"{question} listeners"] = await count_listeners(conn, scope, buckets)
            dimensions = ("app", "os", "country", "region", "city")
            keys = await sum_by_keys(conn, podcast, first=FIRST, last=LAST, dimensions=dimensions)
            assert {row.dimension for row in keys} == set(dimensions)
            answers["keys"] = sorted(map(repr, keys))
            ranked = await rank_episodes(conn, podcast, first=FIRST, last=LAST, limit=10)
            answers["ranked"] = [(numbers.index(row.episode_no), row.downloads) for row in ranked]
            sums = await sum_of_episodes(conn, podcast, numbers, first=FIRST, last=LAST)
            answers["episodes"] = [sums[number] for number in numbers]
            launches = await read_launches(conn, numbers, days=30)
            answers["launches"] = [launches[number] for number in numbers]
            wanted = HitFilter(start=start, end=end, podcast_no=made.podcast_no)
            hits = await list_hits(conn, wanted, after=None, limit=500)
            answers["hits"] = [(hit.occurred_at, hit.ordinal, hit.evidence, hit.winner_ordinal) for hit in hits]
            middle = start + dt.timedelta(days=2)
            for after in (None, (middle, UUID(int=0))):
                answers[f"events after {after}"] = await list_events(
                    conn, start=start, end=end, kind="purchase", after=after, limit=100
                )
            found = await find_hit(conn, hits[0].segment_no, hits[0].ordinal)
            answers["hit"] = None if found is None else (found.occurred_at, found.ordinal, found.country)
    finally:
        await pool.close()
    return {question: _neutral(answer, made) for question, answer in answers.items()}
