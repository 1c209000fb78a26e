-- Days whose downloads or hits are gone are explained by what is left.

-- Whether hits of the day have gone: some may have landed since then, and are not all that it had.
alter table ops.days add column hits_incomplete boolean not null default false;

create or replace view api.days with (security_barrier) as
    select day, final_at, rekeyed, downloads_dropped_at is not null as downloads_gone,
        hits_incomplete or hits_dropped_at is not null as hits_gone
    from ops.days where tenant_no = app.tenant_no();

-- Restatements: figures of final days that changed, and why. Records of them, and of the days that they changed.

create table app.restatements (
    tenant_no integer not null,
    restatement_id uuid not null,
    first_day date not null,
    last_day date not null check (last_day >= first_day),
    reason text not null check (length(reason) between 1 and 500),
    origin text not null check (origin in ('job', 'command', 'key')),
    key_id uuid,
    state text not null check (state in ('running', 'done', 'stopped')),
    started_at timestamptz not null,
    finished_at timestamptz,
    primary key (tenant_no, restatement_id),
    check ((origin = 'key') = (key_id is not null)),
    check ((state = 'running') = (finished_at is null))
);
create index restatements_started on app.restatements (tenant_no, started_at, restatement_id);

create table app.restatement_days (
    tenant_no integer not null,
    day date not null,
    restatement_id uuid not null,
    hits bigint not null check (hits >= 0),
    downloads_before bigint not null check (downloads_before >= 0),
    downloads_after bigint not null check (downloads_after >= 0),
    strict_before bigint not null check (strict_before between 0 and downloads_before),
    strict_after bigint not null check (strict_after between 0 and downloads_after),
    primary key (tenant_no, day, restatement_id),
    foreign key (tenant_no, restatement_id) references app.restatements on delete cascade
);

alter table app.restatements enable row level security;
alter table app.restatements force row level security;
alter table app.restatement_days enable row level security;
alter table app.restatement_days force row level security;
create policy tenant on app.restatements for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.restatements to castledger_ingest using (true);
create policy erasure on app.restatements to castledger_owner using (tenant_no = app.tenant_no());
create policy dump on app.restatements for select to castledger_dump using (true);
create policy tenant on app.restatement_days for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.restatement_days to castledger_ingest using (true);
create policy erasure on app.restatement_days to castledger_owner using (tenant_no = app.tenant_no());
create policy dump on app.restatement_days for select to castledger_dump using (true);
grant select on app.restatements, app.restatement_days to castledger_api;
grant select, insert, update on app.restatements to castledger_ingest;
grant select, insert on app.restatement_days to castledger_ingest;

-- Whether hits of a final day are to be counted without anybody asking for it.
alter table ops.days add column restatement_due boolean not null default false;
create index days_to_restate on ops.days (day, tenant_no) where restatement_due;

-- Have late hits of a tenant's final day count: all, or those that have certain flags besides. 16 says that a hit is
-- late, 512 that it was. Hits are only ever added by who lands them, so nobody else can change one.
create function ops.take_in_late_hits(tenant integer, restated date, flagged integer) returns bigint language plpgsql
    security definer set search_path = pg_catalog, pg_temp
as $$
declare
    taken bigint;
begin
    if not exists (
        select from ops.days d
        where d.tenant_no = tenant and d.day = restated and d.final_at is not null and d.downloads_dropped_at is null
    ) then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    update ts.listener_events set flags = (flags & ~16) | 512
    where tenant_no = tenant and occurred_at >= restated::timestamp at time zone 'UTC'
        and occurred_at < (restated + 1)::timestamp at time zone 'UTC' and flags & (16 | flagged) = (16 | flagged);
    get diagnostics taken = row_count;
    return taken;
end
$$;
revoke execute on function ops.take_in_late_hits(integer, date, integer) from public;
grant execute on function ops.take_in_late_hits(integer, date, integer) to castledger_ingest;
