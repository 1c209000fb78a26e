-- By which rules each tenant's day is judged: a profile as it was when it was chosen, null for the default.

alter table ops.days add column profile jsonb;
-- What days from a date on are judged by, and what days before it.
alter table app.tenants add column profile jsonb;
alter table app.tenants add column profile_from date;
alter table app.tenants add column profile_before jsonb;
grant update (profile, profile_from, profile_before) on app.tenants to castledger_ingest;
create policy profiles on app.tenants for update to castledger_ingest using (true);

-- The rules that days have had since, in one word: the profile's name and its version.
alter table app.restatements add column rules text;

create or replace view api.days with (security_barrier) as
    select day, final_at, rekeyed, downloads_dropped_at is not null as downloads_gone,
        hits_incomplete or hits_dropped_at is not null as hits_gone,
        (profile ->> 'name') || '.' || (profile ->> 'version') as rules
    from ops.days where tenant_no = app.tenant_no();

-- Hits are only ever added by who lands them: those of a tenant's day are taken away to be written anew, by whoever holds
-- its row; a day that is not final has nobody land on it meanwhile.
create function ops.take_hits(tenant integer, of_day date) returns bigint language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    taken bigint;
begin
    perform from ops.days d
    where d.tenant_no = tenant and d.day = of_day and d.downloads_dropped_at is null and d.hits_dropped_at is null
    for update;
    if not found then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    delete from ts.listener_events
    where tenant_no = tenant and occurred_at >= of_day::timestamp at time zone 'UTC'
        and occurred_at < (of_day + 1)::timestamp at time zone 'UTC';
    get diagnostics taken = row_count;
    return taken;
end
$$;
revoke execute on function ops.take_hits(integer, date) from public;
grant execute on function ops.take_hits(integer, date) to castledger_ingest;
