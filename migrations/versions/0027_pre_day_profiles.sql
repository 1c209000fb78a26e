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

-- Hits are only ever added by who lands them: some of a tenant's day, by their ids, are taken away to be written anew, by
-- whoever holds the day's row. They are looked for between two instants.
create function ops.take_hits(tenant integer, of_day date, begins timestamptz, ends timestamptz, segments integer[],
    ordinals integer[]) returns bigint language plpgsql
    security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
    taken bigint;
begin
    perform from ops.days d
    where d.tenant_no = tenant and d.day = of_day and d.downloads_dropped_at is null and d.hits_dropped_at is null
    for update;
    if not found or begins < of_day::timestamp at time zone 'UTC' or ends >= (of_day + 1)::timestamp at time zone 'UTC' then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    delete from ts.listener_events e using unnest(segments, ordinals) as n(segment_no, ordinal)
    where e.tenant_no = tenant and e.occurred_at between begins and ends and e.segment_no = n.segment_no
        and e.ordinal = n.ordinal;
    get diagnostics taken = row_count;
    return taken;
end
$$;
revoke execute on function ops.take_hits(integer, date, timestamptz, timestamptz, integer[], integer[]) from public;
grant execute on function ops.take_hits(integer, date, timestamptz, timestamptz, integer[], integer[])
    to castledger_ingest;
