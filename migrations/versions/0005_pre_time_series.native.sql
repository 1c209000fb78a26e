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
) partition by range (occurred_at);
create index listener_events_at on ts.listener_events using brin (occurred_at) with (pages_per_range = 32);

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
) partition by range (day);
grant select, insert on ts.listener_events to castledger_ingest;
grant select, insert, update, delete on ts.downloads to castledger_ingest;

-- Daily partitions, made ahead and on demand; there is no default one, which would hide a missing day. A table is
-- built first and attached then, so that readers and writers of other days are not held up.
create function ops.ensure_partitions(days date[]) returns void language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    wanted date;
    name text;
begin
    for wanted in select distinct d from unnest(days) as d order by d loop
        name := to_char(wanted, '"listener_events_"YYYYMMDD');
        if to_regclass('ts.' || name) is null then
            perform pg_advisory_xact_lock(hashtext('castledger.partitions'));
            if to_regclass('ts.' || name) is null then
                execute format('create table ts.%I (like ts.listener_events including defaults including indexes)', name);
                execute format('alter table ts.listener_events attach partition ts.%I for values from (%L) to (%L)',
                    name, wanted::timestamp at time zone 'UTC', (wanted + 1)::timestamp at time zone 'UTC');
                name := to_char(wanted, '"downloads_"YYYYMMDD');
                execute format('create table ts.%I (like ts.downloads including defaults including indexes)', name);
                execute format('alter table ts.downloads attach partition ts.%I for values from (%L) to (%L)',
                    name, wanted, wanted + 1);
            end if;
        end if;
    end loop;
end
$$;
revoke execute on function ops.ensure_partitions(date[]) from public;
grant execute on function ops.ensure_partitions(date[]) to castledger_ingest;
