-- Hits of days that are kept no longer go by whole partitions, as a policy does it on TimescaleDB.

-- Each of the two tables for itself: a day may have lost its hits and still have its downloads.
create or replace function ops.ensure_partitions(days date[]) returns void language plpgsql security definer
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
            end if;
        end if;
        name := to_char(wanted, '"downloads_"YYYYMMDD');
        if to_regclass('ts.' || name) is null then
            perform pg_advisory_xact_lock(hashtext('castledger.partitions'));
            if to_regclass('ts.' || name) is null then
                execute format('create table ts.%I (like ts.downloads including defaults including indexes)', name);
                execute format('alter table ts.downloads attach partition ts.%I for values from (%L) to (%L)',
                    name, wanted, wanted + 1);
            end if;
        end if;
    end loop;
end
$$;

-- At most a month of partitions at once; a day that is not final for some tenant keeps its hits. Dropping locks the
-- table: who waits for it is held up no longer than the timeout, and the job is tried again.
create function ops.drop_hits(before date) returns integer language plpgsql security definer
    set search_path = pg_catalog, pg_temp
    set lock_timeout = '2s'
as $$
declare
    name text;
    dropped integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('castledger.partitions'));
    for name in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'ts.listener_events'::regclass
            and to_date(right(c.relname, 8), 'YYYYMMDD') < before
            and not exists (
                select from ops.days d
                where d.day = to_date(right(c.relname, 8), 'YYYYMMDD') and d.final_at is null)
        order by c.relname limit 31
    loop
        execute format('drop table ts.%I', name);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;
revoke execute on function ops.drop_hits(date) from public;
grant execute on function ops.drop_hits(date) to castledger_ingest;
