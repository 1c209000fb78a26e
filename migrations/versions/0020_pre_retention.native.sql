-- Retention: hits, downloads and clicks go when their time is over; what was made of them stays. Erasures, with proof.

-- Days are dropped one by one, and noted, instead.
drop function ops.drop_hits(date);

-- Since when a tenant's day has no hits, or no downloads, any more. A day without downloads stays as it was counted: it
-- cannot be opened again, and its rollups are not made anew.
alter table ops.days add column hits_dropped_at timestamptz;
alter table ops.days add column downloads_dropped_at timestamptz;
alter table ops.days add constraint days_settled check (downloads_dropped_at is null or final_at is not null);
create index days_day on ops.days (day);
create index days_with_hits on ops.days (tenant_no, day) where hits_dropped_at is null;

-- A tenant may have its hits, and what says as much, go earlier than those of all; null for as all.
alter table app.tenants add column retention_hits_days integer check (retention_hits_days between 30 and 7320);
grant update (retention_hits_days) on app.tenants to castledger_auth;

-- Clicks that are gone stay counted.
alter table app.links add column clicks_dropped bigint not null default 0;
alter table app.links add column bots_dropped bigint not null default 0;
create index clicks_at on app.clicks (tenant_no, occurred_at);
create policy retention on app.links for update to castledger_ingest using (true);
grant update (clicks_dropped, bots_dropped) on app.links to castledger_ingest;
grant delete on app.clicks to castledger_ingest;

-- Hits are only ever added by who lands them: those of one tenant and day can be taken away, once the day is final.
create function ops.delete_hits(tenant integer, gone date) returns bigint language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    deleted bigint;
begin
    if not exists (select from ops.days d where d.tenant_no = tenant and d.day = gone and d.final_at is not null) then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    delete from ts.listener_events
    where tenant_no = tenant and occurred_at >= gone::timestamp at time zone 'UTC'
        and occurred_at < (gone + 1)::timestamp at time zone 'UTC';
    get diagnostics deleted = row_count;
    return deleted;
end
$$;

-- The UTC days that a table of the time series has room for.
create function ops.list_kept_days(series text) returns setof date language sql stable security definer
    set search_path = pg_catalog, pg_temp
as $$
    select to_date(right(c.relname, 8), 'YYYYMMDD')
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = case series when 'listener_events' then 'ts.listener_events'::regclass
        when 'downloads' then 'ts.downloads'::regclass end
$$;

-- Drop a whole day of hits or of downloads; false when it is not there, or not final for every tenant.
create function ops.drop_day(series text, gone date) returns boolean language plpgsql security definer
    set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
declare
    name text := series || to_char(gone, '"_"YYYYMMDD');
begin
    if series not in ('listener_events', 'downloads') or to_regclass('ts.' || name) is null
        or exists (select from ops.days d where d.day = gone and d.final_at is null) then
        return false;
    end if;
    execute format('drop table ts.%I', name);
    return true;
end
$$;

revoke execute on function ops.delete_hits(integer, date) from public;
revoke execute on function ops.list_kept_days(text) from public;
revoke execute on function ops.drop_day(text, date) from public;
grant execute on function ops.delete_hits(integer, date), ops.list_kept_days(text), ops.drop_day(text, date)
    to castledger_ingest;

-- Erasures of a listener: what was taken away, and that nothing was left. Whom it was about is kept as a hash under the
-- record's own id, so that it can be compared with a name that is given, and with nothing else.
create table app.erasures (
    tenant_no integer not null,
    erasure_id uuid not null,
    kind text not null check (kind in ('listener')),
    subject_hash bytea not null check (length(subject_hash) = 32),
    month date not null check (extract(day from month) = 1),
    started_at timestamptz not null,
    removed jsonb not null default '{}',
    finished_at timestamptz,
    remaining jsonb,
    digest bytea check (length(digest) = 32),
    primary key (tenant_no, erasure_id),
    check ((finished_at is null) = (digest is null) and (finished_at is null) = (remaining is null))
);
alter table app.erasures enable row level security;
alter table app.erasures force row level security;
create policy tenant on app.erasures for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy erasure on app.erasures to castledger_owner using (tenant_no = app.tenant_no());
grant select on app.erasures to castledger_api;
