"""A year of a large podcast as the refresher would have left it, made by SQL straight into the tables of sums.

Downloads come in lots of 96, one in each quarter hour of the day, so that every sum of sums is exact: of episodes,
apps, countries, days and quarter hours alike. All are strict ones. Episodes have their totals by day alone; by app,
country and the rest there are only the podcast's, which is what reports of a podcast read.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from analytics_core.db.pool import Connection, Tenant
from benchmarks.made_podcast import MadeYear

__all__ = ("make_rollups",)

_KEYS: Final = {
    "total": 1,
    "app": 40,
    "device": 6,
    "os": 9,
    "country": 60,
    "region": 1,
    "city": 1,
    "referrer": 31,
    "feed_app": 13,
    "source": 1,
}

# A launch that wears off, and a tail; in lots, at least one.
_EPISODES: Final = """
with weights as (
    select e.tenant_no, e.podcast_no, e.episode_no, d::date as day,
        power(d::date - (e.published_at at time zone 'UTC')::date + 1.0, -0.9) + 0.03 as weight
    from app.episodes e cross join generate_series($2::timestamp, $3::timestamp, interval '1 day') as d
    where e.podcast_no = $1 and (e.published_at at time zone 'UTC')::date <= d::date
), lots as (
    select *, greatest(round($4::bigint * weight / sum(weight) over () / 96), 1)::integer as n from weights
)
insert into app.metrics_daily (tenant_no, podcast_no, episode_no, day, dimension, key, downloads, downloads_strict,
    quarters, quarters_strict)
select tenant_no, podcast_no, episode_no, day, 'total', '', 96 * n, 96 * n, q, q
from lots cross join lateral (select array_fill(n, array[96]) as q) f"""

# A power of an even share makes the first keys frequent; what rounding leaves is somebody's, so that they add up.
_DAYS: Final = """
with totals as (
    select tenant_no, podcast_no, day, sum(downloads) / 96 as n from app.metrics_daily
    where podcast_no = $1 and dimension = 'total' group by 1, 2, 3
), parts as (
    select t.*, k.dimension, i as place, floor(t.n * power(i::numeric / k.keys, 0.33))::integer
        - floor(t.n * power((i - 1)::numeric / k.keys, 0.33))::integer as lots
    from totals t cross join unnest($2::text[], $3::integer[]) as k(dimension, keys)
    cross join lateral generate_series(1, k.keys) as i
)
insert into app.podcast_daily (tenant_no, podcast_no, day, dimension, key, downloads, downloads_strict, running,
    running_strict)
select tenant_no, podcast_no, day, dimension,
    case when dimension = 'total' then '' when dimension = 'country' then chr(65 + place / 26) || chr(65 + place % 26)
        else dimension || ' ' || place end,
    96 * lots, 96 * lots, r, r
from parts cross join lateral (select array_agg(lots * q order by q) as r from generate_series(1, 96) as q) f
where lots > 0"""

_MONTHS: Final = """
insert into app.podcast_months (tenant_no, podcast_no, month, dimension, key, running, running_strict)
select tenant_no, podcast_no, month, dimension, key, r, r
from (
    select tenant_no, podcast_no, date_trunc('month', day)::date as month, dimension, key,
        app.running_counts(array_agg(downloads::bigint), array_agg(extract(day from day)::integer), 31) as r
    from (
        select tenant_no, podcast_no, day, dimension, key, downloads from app.podcast_daily where podcast_no = $1
        union all
        select tenant_no, podcast_no, day, 'episode', episode_no::text, downloads from app.metrics_daily
        where podcast_no = $1 and dimension = 'total'
    ) d group by 1, 2, 3, 4, 5
) m"""

# Nine of ten listeners of a day came on another one of its month before.
_LISTENERS: Final = """
insert into app.listener_months (tenant_no, podcast_no, episode_no, month, days, former, listeners, counted_at, took)
select tenant_no, podcast_no, 0, month, array_agg(d order by d, f), array_agg(f order by d, f),
    array_agg(case f when 0 then 9000 else 600 end order by d, f), now(), interval '5 s'
from (select distinct tenant_no, podcast_no, month from app.podcast_months where podcast_no = $1) m
cross join generate_series(1, 31) as d cross join lateral generate_series(0, d - 1) as f
group by tenant_no, podcast_no, month"""


async def make_rollups(conn: Connection, tenant: Tenant, podcast_no: int, year: MadeYear, *, downloads: int) -> int:
    """Make the podcast's rollups and return how many downloads they say there are.

    Args:
        conn: As ingest, outside of a transaction.
        tenant: Whose podcast.
        podcast_no: The podcast, with its episodes stored.
        year: How large.
        downloads: About how many.
    """
    await conn.execute(_EPISODES, podcast_no, year.first, year.today, downloads)
    await conn.execute(_DAYS, podcast_no, list(_KEYS), list(_KEYS.values()))
    await conn.execute(_MONTHS, podcast_no)
    await conn.execute(_LISTENERS, podcast_no)
    await conn.execute("delete from ops.sum_marks where podcast_no = $1", podcast_no)
    days = (year.today - year.first).days + 1
    await conn.execute(
        "insert into ops.days (tenant_no, day, final_at) select $1, $2::date + n, now()"
        " from generate_series(0, $3::integer - 1) as n on conflict do nothing",
        tenant.tenant_no,
        year.first,
        days,
    )
    await conn.execute(
        "insert into ops.ingest_status (source, cutoff_at) values ('made', $1)"
        " on conflict (source) do update set cutoff_at = excluded.cutoff_at",
        dt.datetime.now(dt.UTC),
    )
    return int(
        await conn.fetchval(
            "select sum(downloads) from app.podcast_daily where podcast_no = $1 and dimension = 'total'", podcast_no
        )
    )
