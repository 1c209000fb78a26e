-- Erasures of a podcast; erasures that tenants ask for, which ingest does; what is kept no longer than it is needed.

alter table app.erasures drop constraint erasures_kind_check;
alter table app.erasures add constraint erasures_kind_check check (kind in ('listener', 'podcast'));
alter table app.erasures alter column month drop not null;
alter table app.erasures add constraint erasures_month_of check ((kind = 'listener') = (month is not null));
create policy request on app.erasures for insert to castledger_api
    with check (tenant_no = (select app.tenant_no()) and finished_at is null);
create policy ingest on app.erasures to castledger_ingest using (true);
grant insert (tenant_no, erasure_id, kind, subject_hash, month, started_at) on app.erasures to castledger_api;
grant select, update (removed, finished_at, remaining, digest) on app.erasures to castledger_ingest;

-- Whom an erasure that is not done is about. The row goes when it is done: the record alone is kept, and names nobody.
create table app.erasure_requests (
    tenant_no integer not null,
    erasure_id uuid not null,
    listener_key uuid,
    month date check (extract(day from month) = 1),
    podcast_id uuid,
    podcast_no integer,
    primary key (tenant_no, erasure_id),
    foreign key (tenant_no, erasure_id) references app.erasures,
    check (num_nonnulls(listener_key, month) = 2 and num_nonnulls(podcast_id, podcast_no) = 0
        or num_nonnulls(listener_key, month) = 0 and num_nonnulls(podcast_id, podcast_no) = 2)
);
create unique index erasure_requests_listener on app.erasure_requests (tenant_no, listener_key, month);
create unique index erasure_requests_podcast on app.erasure_requests (tenant_no, podcast_no);
alter table app.erasure_requests enable row level security;
alter table app.erasure_requests force row level security;
create policy tenant on app.erasure_requests for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy request on app.erasure_requests for insert to castledger_api
    with check (tenant_no = (select app.tenant_no()));
create policy ingest on app.erasure_requests to castledger_ingest using (true);
create policy erasure on app.erasure_requests to castledger_owner using (tenant_no = app.tenant_no());
create policy dump on app.erasure_requests for select to castledger_dump using (true);
grant select, insert on app.erasure_requests to castledger_api;
grant select, delete on app.erasure_requests to castledger_ingest;

-- Nobody has to wait for the job's next turn.
create function ops.call_erasures() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    update ops.jobs set due_at = least(due_at, now()) where kind = 'erasures';
    return null;
end
$$;
revoke execute on function ops.call_erasures() from public;
create trigger call_erasures after insert on app.erasure_requests
    for each statement execute function ops.call_erasures();

-- Hits are only ever added by who lands them: those go, of one day, that an erasure which was asked for is about. A
-- click's row goes with its hit, and stays counted with its link. In a transaction of the tenant.
create function ops.erase_hits(erasure uuid, of_day date, out hits bigint, out clicks bigint) language plpgsql
    security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
    wanted app.erasure_requests;
    begins timestamptz := of_day::timestamp at time zone 'UTC';
    ends timestamptz := (of_day + 1)::timestamp at time zone 'UTC';
begin
    select r.* into strict wanted from app.erasure_requests r
    where r.tenant_no = app.tenant_no() and r.erasure_id = erasure;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    if wanted.podcast_no is not null then
        delete from ts.listener_events e
        where e.tenant_no = wanted.tenant_no and e.podcast_no = wanted.podcast_no and e.occurred_at >= begins
            and e.occurred_at < ends;
        get diagnostics hits = row_count;
        clicks := 0;
        return;
    end if;
    with gone as (
        delete from ts.listener_events e
        where e.tenant_no = wanted.tenant_no and e.listener_key = wanted.listener_key and e.occurred_at >= begins
            and e.occurred_at < ends
        returning e.segment_no, e.ordinal
    ), clicked as (
        delete from app.clicks c using gone g where c.segment_no = g.segment_no and c.ordinal = g.ordinal
        returning c.link_no, c.is_bot
    ), counted as (
        update app.links l set clicks_dropped = l.clicks_dropped + n.people, bots_dropped = l.bots_dropped + n.bots
        from (
            select link_no, count(*) filter (where not is_bot) as people, count(*) filter (where is_bot) as bots
            from clicked group by link_no
        ) n where l.link_no = n.link_no
    )
    select (select count(*) from gone), (select count(*) from clicked) into hits, clicks;
end
$$;
revoke execute on function ops.erase_hits(uuid, date) from public;
grant execute on function ops.erase_hits(uuid, date) to castledger_ingest;

-- All else of a podcast goes as ingest.
grant delete on app.podcasts, app.episodes, app.enclosures, app.podcast_claims, app.podcast_transfers, app.unknown_hosts
    to castledger_ingest;
grant select, delete on ops.figure_versions to castledger_ingest;
grant update (erasures) on ops.ownership to castledger_ingest;
alter table ops.dead_letters add column podcast_no integer;

-- Segments whose hits are long gone.
grant delete on ops.segments to castledger_ingest;

-- TimescaleDB has a policy on hits, which is to be no shorter than what is set; here a job drops them alone.
create function ops.set_hits_retention(months integer) returns boolean language sql security definer
    set search_path = pg_catalog, pg_temp
as $$ select false $$;
revoke execute on function ops.set_hits_retention(integer) from public;
grant execute on function ops.set_hits_retention(integer) to castledger_ingest;
