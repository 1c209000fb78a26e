-- A transaction that began before midnight and counts after another one that began behind it counts on the new day: it
-- would otherwise put the day back, and the next one would begin to count anew.
create or replace function app.count_rows() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    of_metric text := tg_argv[0];
    columns text[] := tg_argv[1:];
    acting text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    is_bound boolean := acting in ('castledger_api', 'castledger_auth');
    before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
    after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
    of_tenant uuid := (coalesce(after, before) ->> 'tenant_id')::uuid;
    change integer := 0;
    today date := (now() at time zone 'UTC')::date;
    turn record;
begin
    if before is not null and not exists (select from unnest(columns) c where before ->> c is not null) then
        change := change - 1;
    end if;
    if after is not null and not exists (select from unnest(columns) c where after ->> c is not null) then
        change := change + 1;
    end if;
    if change < 0 then
        update app.usage_counters set used = greatest(used - 1, 0)
        where tenant_id = of_tenant and metric = of_metric and period = 'total';
    end if;
    if change <= 0 then
        return null;
    end if;
    -- In one order, so that two who count wait for each other in a line.
    for turn in
        select p.period, p.starts_on, p.starts_on + p.lasts as resets_on, q.limit_value
        from (values
            ('day', today, interval '1 day'),
            ('month', date_trunc('month', today::timestamp)::date, interval '1 month'),
            ('total', date '2000-01-01', null)
        ) p(period, starts_on, lasts)
        left join app.tenant_quotas q on q.tenant_id = of_tenant and q.metric = of_metric and q.period = p.period
        order by p.period
    loop
        insert into app.usage_counters as c (tenant_id, metric, period, starts_on, used)
        select of_tenant, of_metric, turn.period, turn.starts_on, 1
        where not is_bound or turn.limit_value is null or turn.limit_value > 0
        on conflict (tenant_id, metric, period) do update
            set used = case when c.starts_on < turn.starts_on then 1 else c.used + 1 end,
                starts_on = greatest(c.starts_on, turn.starts_on)
            where not is_bound or turn.limit_value is null or c.starts_on < turn.starts_on
                or c.used < turn.limit_value;
        if not found then
            raise exception 'quota_exceeded' using errcode = 'CLQTA', detail = json_build_object(
                'metric', of_metric, 'period', turn.period, 'limit', turn.limit_value,
                'resets_at', turn.resets_on at time zone 'UTC',
                'retry_after_s', ceil(extract(epoch from turn.resets_on at time zone 'UTC' - now()))::integer)::text;
        end if;
    end loop;
    return null;
end
$$;
