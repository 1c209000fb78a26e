-- Three dimensions more: the operating system that an agent names, and the region and the city that an operator's
-- database names for an address, which is not kept: the place is kept with the hit and with the download.

-- Null where nobody has told it yet: rows of before, until ingest has read their agents again.
alter table ops.agents add column os text;
create index agents_os on ops.agents (agent_no) where os is null;

-- Places by number. `place` is country, region and city as databases name them, apart by slashes; `region` and `city` are
-- the keys that figures have, empty where unknown. 0 is no place, and has no row.
create table ops.places (
    place_no integer generated always as identity primary key,
    place text not null unique,
    region text not null,
    city text not null
);
grant select, insert on ops.places to castledger_ingest;

alter table ts.listener_events add column place_no integer not null default 0;
-- Null is taken, never written by this version: the one before goes on staging downloads in temporary tables like this
-- one, which have its columns without their defaults.
alter table ts.downloads add column place_no integer default 0;
alter table ops.pending_hits add column place_no integer not null default 0;

create or replace view api.listener_events with (security_barrier) as
    select e.occurred_at, e.segment_no, e.ordinal, e.podcast_no, e.episode_no, e.range_first, e.range_last, e.range_kind,
        e.verdict_bits, e.verdict, e.evidence, e.country, e.kind, e.method, e.flags, e.source, e.rules, e.listener_key,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, e.asn, e.networks,
        coalesce(a.os, '') as os, coalesce(l.region, '') as region, coalesce(l.city, '') as city
    from ts.listener_events e
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = e.referrer_no
    left join ops.terms f on f.term_no = e.feed_app_no
    left join ops.places l on l.place_no = e.place_no
    where e.tenant_no = app.tenant_no();

create or replace view api.pending_hits with (security_barrier) as
    select p.occurred_at, p.segment_no, p.ordinal, p.podcast_no, p.target, p.range_first, p.range_last, p.range_kind,
        p.verdict_bits, p.country, p.kind, p.method, p.flags, p.source,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, p.asn, p.networks,
        coalesce(a.os, '') as os, coalesce(l.region, '') as region, coalesce(l.city, '') as city
    from ops.pending_hits p
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = p.referrer_no
    left join ops.terms f on f.term_no = p.feed_app_no
    left join ops.places l on l.place_no = p.place_no
    where p.tenant_no = app.tenant_no();

alter table app.metrics_daily drop constraint metrics_daily_dimension_check;
alter table app.metrics_daily add constraint metrics_daily_dimension_check check (dimension in
    ('total', 'app', 'device', 'os', 'country', 'region', 'city', 'referrer', 'feed_app', 'source'));

-- Sums of the new dimensions as well: the function as it is, with three names more in both of its lists.
do $$
begin
    execute replace(pg_get_functiondef('app.sum_up(integer[], integer[], date[])'::regprocedure),
        '{total,app,device,country,referrer,feed_app,source}',
        '{total,app,device,os,country,region,city,referrer,feed_app,source}');
end
$$;

-- What was counted before is unknown by them, so that they add up for all days. Row security binds the owner too, who has
-- no rows of its own: it is lifted for this transaction. Sums follow by the marks that this leaves.
set local statement_timeout = 0;
alter table app.metrics_daily no force row level security;
insert into app.metrics_daily (tenant_no, podcast_no, episode_no, day, dimension, key, downloads, downloads_strict,
    quarters, quarters_strict)
select m.tenant_no, m.podcast_no, m.episode_no, m.day, d.dimension, '', m.downloads, m.downloads_strict, m.quarters,
    m.quarters_strict
from app.metrics_daily m cross join unnest('{os,region,city}'::text[]) as d(dimension) where m.dimension = 'total';
alter table app.metrics_daily force row level security;
