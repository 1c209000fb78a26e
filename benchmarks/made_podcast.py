"""A podcast with a year behind it, made by SQL: episodes, their downloads and the marks that these leave.

Half of the episodes were there when counting began and have only a tail of downloads; the others come out one after
the other, each with most of its downloads in the first days. Apps, countries and feed apps are as unequal as real
ones are; listeners are drawn from a fixed crowd whose keys change with the month. All of it follows from one seed.
"""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Final, NamedTuple

from analytics_core.db.podcasts import PodcastRow, add_podcast
from analytics_core.db.pool import Connection, Tenant
from analytics_core.feeds import Feed, FeedEnclosure, FeedEpisode

__all__ = ("MadeYear", "add_made_podcast", "make_downloads")

APPS: Final = 40
COUNTRIES: Final = 60
DEVICES: Final = ("phone", "computer", "tablet", "speaker", "tv", "car")
FEED_APPS: Final = 12
LISTENERS: Final = 60_000
_AGENTS: Final = 240
_MEBIBYTES: Final = 28


class MadeYear(NamedTuple):
    """How large the podcast is.

    Attributes:
        today: The last day with downloads.
        days: Days with downloads, up to today.
        episodes: Episodes in all.
        launch: Downloads of a new episode in its first 24 hours.
        host: Where its files are; another one makes another podcast.
    """

    today: dt.date
    days: int = 365
    episodes: int = 500
    launch: int = 1_900
    host: str = "cdn.example.com"

    @property
    def first(self) -> dt.date:
        """The day with which counting began."""
        return self.today - dt.timedelta(days=self.days - 1)

    def published_at(self, place: int) -> dt.datetime:
        """Say when an episode came out: place 0 first, half of them before counting began."""
        early = self.episodes // 2
        step = dt.timedelta(days=self.days) / max(self.episodes - early, 1)
        start = dt.datetime.combine(self.first, dt.time(5), dt.UTC)
        # The last one a day ago, so that it has a beginning.
        return start + (place - early) * step - (dt.timedelta(days=1) if place >= early else dt.timedelta())


async def add_made_podcast(conn: Connection, tenant: Tenant, year: MadeYear) -> PodcastRow:
    """Store the podcast with its episodes, oldest first.

    Args:
        conn: In a transaction of the tenant, as the API.
        tenant: Whose podcast.
        year: How large.
    """
    episodes = tuple(
        FeedEpisode(
            f"e{place}",
            "feed",
            f"Episode {place + 1}: what somebody said about something else",
            year.published_at(place),
            1800,
            False,
            (FeedEnclosure(f"https://{year.host}/e{place}.mp3", "audio/mpeg", _MEBIBYTES << 20, "enclosure"),),
        )
        for place in range(year.episodes)
    )
    feed = Feed(
        "A podcast of some size", None, "en", None, uuid.uuid5(uuid.NAMESPACE_DNS, year.host), True, (), episodes, ()
    )
    now = dt.datetime.combine(year.first, dt.time(), dt.UTC)
    return await add_podcast(conn, tenant, feed, feed_url=f"https://{year.host}/feed", verified=True, now=now)


# A power of a random number makes small places frequent: with 3 the first of 40 has 29 %, the last 0.8 %.
_AGENT_ROWS: Final = """
insert into ops.agents (agent_hash, user_agent, kind, app, device, rule, table_version)
select md5('agent' || n)::uuid, 'Agent/' || n, 1, 'App ' || n % $2, ($3::text[])[1 + n % cardinality($3::text[])],
    'made', 'made'
from generate_series(0, $1 - 1) as n
on conflict do nothing"""

_TERM_ROWS: Final = """
insert into ops.terms (kind, term)
select 'feed_app', 'feed-app-' || n from generate_series(1, $1) as n
union all select 'referrer', 'site-' || n || '.example' from generate_series(1, 30) as n
on conflict do nothing"""

_DOWNLOADS: Final = """
with agents as (
    select array_agg(agent_no order by agent_no) as nos from ops.agents where table_version = 'made'
), terms as (
    select array_agg(term_no order by term_no) filter (where kind = 'feed_app') as feed_apps,
        array_agg(term_no order by term_no) filter (where kind = 'referrer') as referrers from ops.terms
), wanted as (
    select e.episode_no, e.podcast_no, e.tenant_no, d::date as day,
        greatest(d, date_bin('15 minutes', e.published_at, timestamptz '1970-01-01 00:00:00+00') at time zone 'UTC')
            as start,
        -- A launch that wears off, and a tail that is drawn.
        floor($3 * power(d::date - (e.published_at at time zone 'UTC')::date + 1.0, -1.9) + 4 * random())::integer as n
    from app.episodes e
    cross join generate_series($1::timestamp, $2::timestamp, interval '1 day') as d
    where e.podcast_no = $4 and (e.published_at at time zone 'UTC')::date <= d::date
), drawn as (
    select w.*, floor($5 * power(random(), 1.5))::integer as listener, random() as at, random() as agent,
        random() as country, random() as feed_app, random() as referrer, random() as evidence
    from wanted w cross join lateral generate_series(1, w.n)
)
insert into ts.downloads (day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no, podcast_no,
    agent_no, referrer_no, feed_app_no, country, evidence, source)
select d.day, d.episode_no, md5(date_trunc('month', d.day)::text || d.listener)::uuid,
    (d.start + d.at * (d.day + 1 - d.start)) at time zone 'UTC',
    1, row_number() over (), d.tenant_no, d.podcast_no,
    a.nos[1 + floor(cardinality(a.nos) * power(d.agent, 3))::integer],
    case when d.referrer < 0.05 then t.referrers[1 + floor(600 * d.referrer)::integer] else 0 end,
    case when d.feed_app < 0.6 then t.feed_apps[1 + floor($6 * power(d.feed_app / 0.6, 2))::integer] else 0 end,
    -- Letters from AA on: not all of these countries exist, which costs nothing.
    case when d.country < 0.02 then 0
        else 65 * 256 + 65 + floor($7 * power(d.country, 3))::integer % 26
            + 256 * (floor($7 * power(d.country, 3))::integer / 26) end,
    case when d.evidence < 0.06 then 1 else 3 end, 1
from drawn d, agents a, terms t
order by d.day, d.episode_no
on conflict do nothing"""

_MARKS: Final = """
insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)
select distinct tenant_no, podcast_no, episode_no, day from ts.downloads
where podcast_no = $1 and day between $2 and $3"""

_DAYS: Final = """
insert into ops.days (tenant_no, day, final_at)
select $1, d::date, case when d::date < $3::date - 7 then now() end
from generate_series($2::timestamp, $3::timestamp, interval '1 day') as d on conflict do nothing"""


async def make_downloads(conn: Connection, tenant: Tenant, podcast_no: int, year: MadeYear) -> int:
    """Make the podcast's downloads and mark their days; return how many there are.

    Args:
        conn: As ingest, outside of a transaction.
        tenant: Whose podcast.
        podcast_no: The podcast of :func:`add_made_podcast`.
        year: How large.
    """
    await conn.execute(_AGENT_ROWS, _AGENTS, APPS, list(DEVICES))
    await conn.execute(_TERM_ROWS, FEED_APPS)
    await conn.execute("select setseed(0.5)")
    first = year.first
    while first <= year.today:
        last = min(first + dt.timedelta(days=30), year.today)
        days = [first + dt.timedelta(days=at) for at in range((last - first).days + 1)]
        await conn.execute("select ops.ensure_partitions($1::date[])", days)
        await conn.execute(_DOWNLOADS, first, last, year.launch, podcast_no, LISTENERS, FEED_APPS, COUNTRIES)
        await conn.execute(_MARKS, podcast_no, first, last)
        first = last + dt.timedelta(days=1)
    await conn.execute(_DAYS, tenant.tenant_no, year.first, year.today)
    await conn.execute(
        "insert into ops.ingest_status (source, cutoff_at) values ('made', now())"
        " on conflict (source) do update set cutoff_at = excluded.cutoff_at"
    )
    return int(await conn.fetchval("select count(*) from ts.downloads where podcast_no = $1", podcast_no))
