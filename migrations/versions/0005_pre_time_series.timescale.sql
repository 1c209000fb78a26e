-- Every hit with its verdict, and one row a listener, episode and day. Fixed-width columns only, widest first:
-- rows are written by COPY from columns. No row security (TimescaleDB refuses it beside the columnstore): the API
-- has no grant here and sees its tenant's rows through views.
create table ts.listener_events (
    occurred_at timestamptz not null,
    range_first bigint not null,
    range_last bigint not null,
    listener_key uuid not null,
    segment_no integer not null,
    ordinal integer not null,
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    agent_no integer not null,
    referrer_no integer not null,
    feed_app_no integer not null,
    verdict_bits integer not null,
    verdict smallint not null,
    evidence smallint not null,
    country smallint not null,
    kind smallint not null,
    method smallint not null,
    range_kind smallint not null,
    flags smallint not null,
    source smallint not null,
    rules smallint not null
);

create table ts.downloads (
    day date not null,
    episode_no integer not null,
    listener_key uuid not null,
    occurred_at timestamptz not null,
    segment_no integer not null,
    ordinal integer not null,
    tenant_no integer not null,
    podcast_no integer not null,
    agent_no integer not null,
    referrer_no integer not null,
    feed_app_no integer not null,
    country smallint not null,
    evidence smallint not null,
    source smallint not null,
    primary key (day, episode_no, listener_key)
);

select public.create_hypertable('ts.listener_events', public.by_range('occurred_at', interval '1 day'),
    create_default_indexes => false);
select public.create_hypertable('ts.downloads', public.by_range('day', interval '1 day'), create_default_indexes => false);
create index listener_events_at on ts.listener_events using brin (occurred_at) with (pages_per_range = 32);

alter table ts.listener_events set (timescaledb.compress, timescaledb.compress_segmentby = 'podcast_no',
    timescaledb.compress_orderby = 'episode_no, occurred_at');
alter table ts.downloads set (timescaledb.compress, timescaledb.compress_segmentby = 'podcast_no',
    timescaledb.compress_orderby = 'episode_no, listener_key');
select public.add_compression_policy('ts.listener_events', interval '2 days');
select public.add_compression_policy('ts.downloads', interval '14 days');
-- Hits by policy; downloads by our own job, which heeds what is final.
select public.add_retention_policy('ts.listener_events', interval '25 months');

grant select, insert on ts.listener_events to castledger_ingest;
grant select, insert, update, delete on ts.downloads to castledger_ingest;

-- TimescaleDB makes its chunks by itself; ingest need not know which branch it writes to.
create function ops.ensure_partitions(days date[]) returns void language sql security definer
    set search_path = pg_catalog, pg_temp
as $$ select null::void $$;
revoke execute on function ops.ensure_partitions(date[]) from public;
grant execute on function ops.ensure_partitions(date[]) to castledger_ingest;
