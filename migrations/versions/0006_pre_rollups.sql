-- Rollups, ordinary tables under row security on both branches, and what else the API may see.

-- A row carries the downloads of each of its day's 96 quarter hours, so that every time zone, interval and curve
-- is exact to the quarter hour after the downloads themselves are gone.
create table app.metrics_daily (
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    day date not null,
    dimension text not null check (dimension in ('total', 'app', 'device', 'country', 'referrer', 'feed_app', 'source')),
    key text not null,
    downloads integer not null check (downloads >= 0),
    downloads_strict integer not null check (downloads_strict between 0 and downloads),
    quarters integer[] not null check (array_length(quarters, 1) = 96),
    quarters_strict integer[] not null check (array_length(quarters_strict, 1) = 96),
    refreshed_at timestamptz not null default now(),
    primary key (episode_no, day, dimension, key)
);
create index metrics_daily_podcast on app.metrics_daily (podcast_no, dimension, day);

alter table app.metrics_daily enable row level security;
alter table app.metrics_daily force row level security;
create policy tenant on app.metrics_daily for select to castledger_api using (tenant_no = app.tenant_no());
create policy ingest on app.metrics_daily to castledger_ingest using (true);
grant select on app.metrics_daily to castledger_api;
grant select, insert, update, delete on app.metrics_daily to castledger_ingest;

create view api.listener_events with (security_barrier) as
    select e.occurred_at, e.segment_no, e.ordinal, e.podcast_no, e.episode_no, e.range_first, e.range_last, e.range_kind,
        e.verdict_bits, e.verdict, e.evidence, e.country, e.kind, e.method, e.flags, e.source, e.rules, e.listener_key,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app
    from ts.listener_events e
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = e.referrer_no
    left join ops.terms f on f.term_no = e.feed_app_no
    where e.tenant_no = app.tenant_no();

create view api.pending_hits with (security_barrier) as
    select p.occurred_at, p.segment_no, p.ordinal, p.podcast_no, p.target, p.range_first, p.range_last, p.range_kind,
        p.verdict_bits, p.country, p.kind, p.method, p.flags, p.source,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app
    from ops.pending_hits p
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = p.referrer_no
    left join ops.terms f on f.term_no = p.feed_app_no
    where p.tenant_no = app.tenant_no();

create view api.downloads with (security_barrier) as
    select day, podcast_no, episode_no, listener_key, occurred_at, segment_no, ordinal, evidence
    from ts.downloads where tenant_no = app.tenant_no();

create view api.segments with (security_barrier) as
    select segment_no, first_hit_at, last_hit_at from ops.segments;

create view api.dirty_marks with (security_barrier) as
    select podcast_no, episode_no, day from ops.dirty_marks where tenant_no = app.tenant_no();

create view api.days with (security_barrier) as
    select day, final_at, rekeyed from ops.days where tenant_no = app.tenant_no();

create view api.cutoff with (security_barrier) as
    select min(cutoff_at) as cutoff_at from ops.ingest_status;

grant select on api.listener_events, api.pending_hits, api.downloads, api.segments, api.dirty_marks, api.days, api.cutoff
    to castledger_api;
