-- Sums of the episodes' rollups: podcasts by quarter hour, and podcasts and episodes by day of a month. They say
-- nothing that app.metrics_daily does not say, and are never added to: what is marked as changed is summed up anew.

-- A running count instead of 96 single ones: any stretch of the day is one difference, without opening the array.
create table app.podcast_daily (
    tenant_no integer not null,
    podcast_no integer not null,
    day date not null,
    dimension text not null,
    key text not null,
    downloads integer not null check (downloads >= 0),
    downloads_strict integer not null check (downloads_strict between 0 and downloads),
    running integer[] not null check (array_length(running, 1) = 96 and running[96] = downloads),
    running_strict integer[] not null
        check (array_length(running_strict, 1) = 96 and running_strict[96] = downloads_strict),
    primary key (podcast_no, dimension, day, key)
);

-- Whole days by month: `running` counts from the month's first day to the end of each. The dimensions of the rollups,
-- and `episode`, whose key is the episode's number.
create table app.podcast_months (
    tenant_no integer not null,
    podcast_no integer not null,
    month date not null check (extract(day from month) = 1),
    dimension text not null,
    key text not null,
    running integer[] not null check (array_length(running, 1) = 31),
    running_strict integer[] not null check (array_length(running_strict, 1) = 31),
    primary key (podcast_no, dimension, month, key)
);

-- What has changed in app.metrics_daily since it was summed up. As dirty marks: append-only, and the refresher deletes
-- only those that it has seen before it sums up.
create table ops.sum_marks (
    mark_no bigint generated always as identity primary key,
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    day date not null
);
create index sum_marks_podcast on ops.sum_marks (podcast_no);

alter table app.podcast_daily enable row level security;
alter table app.podcast_daily force row level security;
alter table app.podcast_months enable row level security;
alter table app.podcast_months force row level security;
-- In a subquery, which is asked once a statement; a bare call is asked once a row.
create policy tenant on app.podcast_daily for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.podcast_daily to castledger_ingest using (true);
create policy tenant on app.podcast_months for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.podcast_months to castledger_ingest using (true);
-- As everywhere, for whoever erases a tenant.
create policy erasure on app.podcast_daily to castledger_owner using (tenant_no = app.tenant_no());
create policy erasure on app.podcast_months to castledger_owner using (tenant_no = app.tenant_no());
grant select on app.podcast_daily, app.podcast_months to castledger_api;
grant select, insert, update, delete on app.podcast_daily, app.podcast_months to castledger_ingest;
grant select, insert, delete on ops.sum_marks to castledger_ingest;

create or replace view api.dirty_marks with (security_barrier) as
    select podcast_no, episode_no, day from ops.dirty_marks where tenant_no = app.tenant_no()
    union all
    select podcast_no, episode_no, day from ops.sum_marks where tenant_no = app.tenant_no();

-- Whoever changes rollups (this version, the one before it while it still runs, a person at a prompt) leaves marks.
create function ops.mark_sums() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op <> 'INSERT' then
        insert into ops.sum_marks (tenant_no, podcast_no, episode_no, day)
        select distinct tenant_no, podcast_no, episode_no, day from removed;
    end if;
    if tg_op <> 'DELETE' then
        insert into ops.sum_marks (tenant_no, podcast_no, episode_no, day)
        select distinct tenant_no, podcast_no, episode_no, day from added;
    end if;
    return null;
end
$$;
revoke execute on function ops.mark_sums() from public;
create trigger mark_inserted after insert on app.metrics_daily
    referencing new table as added for each statement execute function ops.mark_sums();
create trigger mark_updated after update on app.metrics_daily
    referencing old table as removed new table as added for each statement execute function ops.mark_sums();
create trigger mark_deleted after delete on app.metrics_daily
    referencing old table as removed for each statement execute function ops.mark_sums();

-- Running counts: of counts in their order, or of counts at these places of an array of this size, all others 0. In a
-- loop: unnesting takes five times as long.
create function app.running_counts(counts bigint[], places integer[] default null, size integer default null)
    returns integer[] language plpgsql immutable parallel safe
as $$
declare
    running integer[] := counts;
    total integer := 0;
begin
    if places is not null then
        running := array_fill(0, array[size]);
        for i in 1..cardinality(places) loop
            running[places[i]] := counts[i];
        end loop;
    end if;
    for place in 1..cardinality(running) loop
        total := total + running[place];
        running[place] := total;
    end loop;
    return running;
end
$$;

-- Sum the marked days of episodes up, from what app.metrics_daily says now. One after the other a podcast: the caller
-- holds its lock. Each statement sees what the one before it wrote.
create function app.sum_up(podcast_nos integer[], episode_nos integer[], days date[]) returns void language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- Place by place: half the time of unnesting and grouping, and it is most of what this takes.
    with wanted as materialized (
        select distinct w.podcast_no, w.day, d.dimension
        from unnest(podcast_nos, days) as w(podcast_no, day)
        cross join unnest('{total,app,device,country,referrer,feed_app,source}'::text[]) as d(dimension)
    ), sums as (
        select max(m.tenant_no) as tenant_no, m.podcast_no, m.day, m.dimension, m.key,
            sum(m.downloads) as downloads, sum(m.downloads_strict) as downloads_strict,
            array[
                sum(m.quarters[1]), sum(m.quarters[2]), sum(m.quarters[3]), sum(m.quarters[4]), sum(m.quarters[5]),
                sum(m.quarters[6]), sum(m.quarters[7]), sum(m.quarters[8]), sum(m.quarters[9]), sum(m.quarters[10]),
                sum(m.quarters[11]), sum(m.quarters[12]), sum(m.quarters[13]), sum(m.quarters[14]),
                sum(m.quarters[15]), sum(m.quarters[16]), sum(m.quarters[17]), sum(m.quarters[18]),
                sum(m.quarters[19]), sum(m.quarters[20]), sum(m.quarters[21]), sum(m.quarters[22]),
                sum(m.quarters[23]), sum(m.quarters[24]), sum(m.quarters[25]), sum(m.quarters[26]),
                sum(m.quarters[27]), sum(m.quarters[28]), sum(m.quarters[29]), sum(m.quarters[30]),
                sum(m.quarters[31]), sum(m.quarters[32]), sum(m.quarters[33]), sum(m.quarters[34]),
                sum(m.quarters[35]), sum(m.quarters[36]), sum(m.quarters[37]), sum(m.quarters[38]),
                sum(m.quarters[39]), sum(m.quarters[40]), sum(m.quarters[41]), sum(m.quarters[42]),
                sum(m.quarters[43]), sum(m.quarters[44]), sum(m.quarters[45]), sum(m.quarters[46]),
                sum(m.quarters[47]), sum(m.quarters[48]), sum(m.quarters[49]), sum(m.quarters[50]),
                sum(m.quarters[51]), sum(m.quarters[52]), sum(m.quarters[53]), sum(m.quarters[54]),
                sum(m.quarters[55]), sum(m.quarters[56]), sum(m.quarters[57]), sum(m.quarters[58]),
                sum(m.quarters[59]), sum(m.quarters[60]), sum(m.quarters[61]), sum(m.quarters[62]),
                sum(m.quarters[63]), sum(m.quarters[64]), sum(m.quarters[65]), sum(m.quarters[66]),
                sum(m.quarters[67]), sum(m.quarters[68]), sum(m.quarters[69]), sum(m.quarters[70]),
                sum(m.quarters[71]), sum(m.quarters[72]), sum(m.quarters[73]), sum(m.quarters[74]),
                sum(m.quarters[75]), sum(m.quarters[76]), sum(m.quarters[77]), sum(m.quarters[78]),
                sum(m.quarters[79]), sum(m.quarters[80]), sum(m.quarters[81]), sum(m.quarters[82]),
                sum(m.quarters[83]), sum(m.quarters[84]), sum(m.quarters[85]), sum(m.quarters[86]),
                sum(m.quarters[87]), sum(m.quarters[88]), sum(m.quarters[89]), sum(m.quarters[90]),
                sum(m.quarters[91]), sum(m.quarters[92]), sum(m.quarters[93]), sum(m.quarters[94]),
                sum(m.quarters[95]), sum(m.quarters[96])
            ] as counts,
            array[
                sum(m.quarters_strict[1]), sum(m.quarters_strict[2]), sum(m.quarters_strict[3]),
                sum(m.quarters_strict[4]), sum(m.quarters_strict[5]), sum(m.quarters_strict[6]),
                sum(m.quarters_strict[7]), sum(m.quarters_strict[8]), sum(m.quarters_strict[9]),
                sum(m.quarters_strict[10]), sum(m.quarters_strict[11]), sum(m.quarters_strict[12]),
                sum(m.quarters_strict[13]), sum(m.quarters_strict[14]), sum(m.quarters_strict[15]),
                sum(m.quarters_strict[16]), sum(m.quarters_strict[17]), sum(m.quarters_strict[18]),
                sum(m.quarters_strict[19]), sum(m.quarters_strict[20]), sum(m.quarters_strict[21]),
                sum(m.quarters_strict[22]), sum(m.quarters_strict[23]), sum(m.quarters_strict[24]),
                sum(m.quarters_strict[25]), sum(m.quarters_strict[26]), sum(m.quarters_strict[27]),
                sum(m.quarters_strict[28]), sum(m.quarters_strict[29]), sum(m.quarters_strict[30]),
                sum(m.quarters_strict[31]), sum(m.quarters_strict[32]), sum(m.quarters_strict[33]),
                sum(m.quarters_strict[34]), sum(m.quarters_strict[35]), sum(m.quarters_strict[36]),
                sum(m.quarters_strict[37]), sum(m.quarters_strict[38]), sum(m.quarters_strict[39]),
                sum(m.quarters_strict[40]), sum(m.quarters_strict[41]), sum(m.quarters_strict[42]),
                sum(m.quarters_strict[43]), sum(m.quarters_strict[44]), sum(m.quarters_strict[45]),
                sum(m.quarters_strict[46]), sum(m.quarters_strict[47]), sum(m.quarters_strict[48]),
                sum(m.quarters_strict[49]), sum(m.quarters_strict[50]), sum(m.quarters_strict[51]),
                sum(m.quarters_strict[52]), sum(m.quarters_strict[53]), sum(m.quarters_strict[54]),
                sum(m.quarters_strict[55]), sum(m.quarters_strict[56]), sum(m.quarters_strict[57]),
                sum(m.quarters_strict[58]), sum(m.quarters_strict[59]), sum(m.quarters_strict[60]),
                sum(m.quarters_strict[61]), sum(m.quarters_strict[62]), sum(m.quarters_strict[63]),
                sum(m.quarters_strict[64]), sum(m.quarters_strict[65]), sum(m.quarters_strict[66]),
                sum(m.quarters_strict[67]), sum(m.quarters_strict[68]), sum(m.quarters_strict[69]),
                sum(m.quarters_strict[70]), sum(m.quarters_strict[71]), sum(m.quarters_strict[72]),
                sum(m.quarters_strict[73]), sum(m.quarters_strict[74]), sum(m.quarters_strict[75]),
                sum(m.quarters_strict[76]), sum(m.quarters_strict[77]), sum(m.quarters_strict[78]),
                sum(m.quarters_strict[79]), sum(m.quarters_strict[80]), sum(m.quarters_strict[81]),
                sum(m.quarters_strict[82]), sum(m.quarters_strict[83]), sum(m.quarters_strict[84]),
                sum(m.quarters_strict[85]), sum(m.quarters_strict[86]), sum(m.quarters_strict[87]),
                sum(m.quarters_strict[88]), sum(m.quarters_strict[89]), sum(m.quarters_strict[90]),
                sum(m.quarters_strict[91]), sum(m.quarters_strict[92]), sum(m.quarters_strict[93]),
                sum(m.quarters_strict[94]), sum(m.quarters_strict[95]), sum(m.quarters_strict[96])
            ] as counts_strict
        from wanted w
        join app.metrics_daily m
            on m.podcast_no = w.podcast_no and m.dimension = w.dimension and m.day = w.day
        group by m.podcast_no, m.day, m.dimension, m.key
    ), fresh as materialized (
        select s.tenant_no, s.podcast_no, s.day, s.dimension, s.key, s.downloads, s.downloads_strict,
            app.running_counts(s.counts) as running, app.running_counts(s.counts_strict) as running_strict
        from sums s
    ), gone as (
        delete from app.podcast_daily p using wanted w
        where p.podcast_no = w.podcast_no and p.dimension = w.dimension and p.day = w.day
            and (p.podcast_no, p.dimension, p.day, p.key) not in (select podcast_no, dimension, day, key from fresh)
    )
    insert into app.podcast_daily as old (tenant_no, podcast_no, day, dimension, key, downloads, downloads_strict,
        running, running_strict)
    select * from fresh
    on conflict (podcast_no, dimension, day, key) do update
        set tenant_no = excluded.tenant_no, downloads = excluded.downloads,
            downloads_strict = excluded.downloads_strict, running = excluded.running,
            running_strict = excluded.running_strict
        where (old.tenant_no, old.running, old.running_strict)
            is distinct from (excluded.tenant_no, excluded.running, excluded.running_strict);

    -- Looked up one by one, as a lateral query with an offset is not pulled up: the planner expects more than comes.
    with episodes as materialized (
        select podcast_no, episode_no, month, (month + interval '1 month')::date as until
        from (
            select distinct podcast_no, episode_no, date_trunc('month', day::timestamp)::date as month
            from unnest(podcast_nos, episode_nos, days) as w(podcast_no, episode_no, day)
        ) w
    ), wanted as materialized (
        select distinct w.podcast_no, w.month, w.until, d.dimension
        from episodes w
        cross join unnest('{total,app,device,country,referrer,feed_app,source}'::text[]) as d(dimension)
    ), counted as (
        select w.podcast_no, w.month, w.dimension, p.tenant_no, p.key, p.day, p.downloads, p.downloads_strict
        from wanted w
        cross join lateral (
            select tenant_no, key, day, downloads, downloads_strict from app.podcast_daily
            where podcast_no = w.podcast_no and dimension = w.dimension and day >= w.month and day < w.until
            offset 0
        ) p
        union all
        select w.podcast_no, w.month, 'episode', m.tenant_no, w.episode_no::text, m.day, m.downloads, m.downloads_strict
        from episodes w
        cross join lateral (
            select tenant_no, day, downloads, downloads_strict from app.metrics_daily
            where episode_no = w.episode_no and day >= w.month and day < w.until and dimension = 'total'
                and podcast_no = w.podcast_no
            offset 0
        ) m
    ), sums as (
        select max(tenant_no) as tenant_no, podcast_no, month, dimension, key,
            array_agg(extract(day from day)::integer) as places, array_agg(downloads::bigint) as counts,
            array_agg(downloads_strict::bigint) as counts_strict
        from counted group by podcast_no, month, dimension, key
    ), fresh as materialized (
        select tenant_no, podcast_no, month, dimension, key, app.running_counts(counts, places, 31) as running,
            app.running_counts(counts_strict, places, 31) as running_strict
        from sums
    ), gone as (
        delete from app.podcast_months p using (
            select w.podcast_no, w.dimension, w.month, k.key
            from wanted w
            cross join lateral (
                select key from app.podcast_months
                where podcast_no = w.podcast_no and dimension = w.dimension and month = w.month
                offset 0
            ) k
            union all
            select podcast_no, 'episode', month, episode_no::text from episodes
            except
            select podcast_no, dimension, month, key from fresh
        ) w
        where p.podcast_no = w.podcast_no and p.dimension = w.dimension and p.month = w.month and p.key = w.key
    )
    insert into app.podcast_months as old (tenant_no, podcast_no, month, dimension, key, running, running_strict)
    select * from fresh
    on conflict (podcast_no, dimension, month, key) do update
        set tenant_no = excluded.tenant_no, running = excluded.running, running_strict = excluded.running_strict
        where (old.tenant_no, old.running, old.running_strict)
            is distinct from (excluded.tenant_no, excluded.running, excluded.running_strict);
end
$$;
revoke execute on function app.running_counts(bigint[], integer[], integer) from public;
revoke execute on function app.sum_up(integer[], integer[], date[]) from public;
grant execute on function app.running_counts(bigint[], integer[], integer), app.sum_up(integer[], integer[], date[])
    to castledger_ingest;

-- What is there already is summed up here, however long it takes, a podcast at a time. Row security binds the owner
-- too, who has no rows of its own: it is lifted for this transaction.
set local statement_timeout = 0;
alter table app.metrics_daily no force row level security;
alter table app.podcast_daily no force row level security;
alter table app.podcast_months no force row level security;
do $$
declare
    podcast integer;
begin
    for podcast in select distinct podcast_no from app.metrics_daily order by 1 loop
        perform app.sum_up(array_agg(podcast_no), array_agg(episode_no), array_agg(day))
        from app.metrics_daily where podcast_no = podcast and dimension = 'total';
    end loop;
end
$$;
alter table app.metrics_daily force row level security;
alter table app.podcast_daily force row level security;
alter table app.podcast_months force row level security;
