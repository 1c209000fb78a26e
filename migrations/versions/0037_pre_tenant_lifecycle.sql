-- Tenants from their making to their going: settings, quotas and what is used of them, suspension, closing, erasure.

-- A closing tenant is read and exported until its time is over; then ingest erases it. Whoever closed it may take that
-- back: a tenant cannot undo what the installation did.
alter table app.tenants drop constraint tenants_status_check;
alter table app.tenants add constraint tenants_status_check
    check (status in ('active', 'suspended', 'closing', 'closed'));
alter table app.tenants add column closing_at timestamptz;
alter table app.tenants add column closes_at timestamptz;
alter table app.tenants add column closed_by text check (closed_by in ('tenant', 'installation'));
alter table app.tenants add column erasure_id uuid;
alter table app.tenants add constraint tenants_closing check (
    (status = 'closing') = (closing_at is not null)
    and (closing_at is null) = (closes_at is null) and (closing_at is null) = (closed_by is null)
    and (erasure_id is null or status = 'closing')
);
create index tenants_created on app.tenants (created_at, tenant_id);
create index tenants_closing_at on app.tenants (closes_at) where status = 'closing';

-- Whether the current tenant is the installation's own.
create function app.is_installation() returns boolean language sql stable security definer
    set search_path = pg_catalog, pg_temp
as $$ select exists (select from app.tenants where tenant_id = app.tenant_id() and is_installation) $$;
revoke execute on function app.is_installation() from public;
grant execute on function app.is_installation() to castledger_api, castledger_auth, castledger_ingest;

-- The installation sees all tenants, makes new ones and sets what becomes of them; never what they own.
create policy installation on app.tenants for select to castledger_api using ((select app.is_installation()));
create policy installation_adds on app.tenants for insert to castledger_api
    with check ((select app.is_installation()) and not is_installation and status = 'active');
create policy installation_sets on app.tenants for update to castledger_api using ((select app.is_installation()));
grant insert (tenant_id, slug, name), update (name, status, closing_at, closes_at, closed_by) on app.tenants
    to castledger_api;
grant update (erasure_id) on app.tenants to castledger_ingest;
create policy ingest_erases on app.tenants for update to castledger_ingest using (status = 'closing');

-- Which way a tenant's state may go, whoever asks: a row of its own is all that a tenant may change, and not freely.
create function app.guard_tenant_status() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if (new.status, new.closing_at, new.closes_at, new.closed_by)
        is not distinct from (old.status, old.closing_at, old.closes_at, old.closed_by) then
        return new;
    end if;
    if old.is_installation then
        raise exception 'the installation''s own tenant stays active' using errcode = 'insufficient_privilege';
    end if;
    if old.erasure_id is not null then
        raise exception 'the tenant is being erased' using errcode = 'object_not_in_prerequisite_state';
    end if;
    if current_user = 'castledger_api' and not app.is_installation() and not (
        old.status = 'active' and new.status = 'closing' and new.closed_by = 'tenant'
        or old.status = 'closing' and old.closed_by = 'tenant' and new.status = 'active'
    ) then
        raise exception 'only the installation does this' using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
create trigger guard_status before update of status, closing_at, closes_at, closed_by on app.tenants
    for each row execute function app.guard_tenant_status();

-- What a tenant has set; a null value is one that was taken back, whose version stays so that none comes twice.
create table app.tenant_settings (
    tenant_id uuid not null references app.tenants,
    key text not null check (length(key) between 1 and 60),
    value jsonb,
    version integer not null check (version > 0),
    updated_at timestamptz not null,
    updated_by text not null check (length(updated_by) between 1 and 100),
    primary key (tenant_id, key)
);

-- How many of a thing there may be, or may be made in a UTC day or month; null is no limit.
create table app.tenant_quotas (
    tenant_id uuid not null references app.tenants,
    metric text not null check (metric in ('api_keys', 'links', 'members', 'podcasts')),
    period text not null check (period in ('day', 'month', 'total')),
    limit_value bigint check (limit_value >= 0),
    updated_at timestamptz not null,
    updated_by text not null check (length(updated_by) between 1 and 100),
    primary key (tenant_id, metric, period)
);

-- How many there are (total), and were made since the period began.
create table app.usage_counters (
    tenant_id uuid not null references app.tenants,
    metric text not null,
    period text not null check (period in ('day', 'month', 'total')),
    starts_on date not null,
    used bigint not null check (used >= 0),
    primary key (tenant_id, metric, period)
);

alter table app.tenant_settings enable row level security;
alter table app.tenant_settings force row level security;
alter table app.tenant_quotas enable row level security;
alter table app.tenant_quotas force row level security;
alter table app.usage_counters enable row level security;
alter table app.usage_counters force row level security;

create policy tenant on app.tenant_settings to castledger_api using (tenant_id = app.tenant_id());
create policy erasure on app.tenant_settings to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.tenant_settings for select to castledger_dump using (true);
grant select, insert, update (value, version, updated_at, updated_by) on app.tenant_settings to castledger_api;

create policy tenant on app.tenant_quotas for select to castledger_api using (tenant_id = app.tenant_id());
create policy installation on app.tenant_quotas to castledger_api using ((select app.is_installation()));
create policy dump on app.tenant_quotas for select to castledger_dump using (true);
grant select, insert, delete on app.tenant_quotas to castledger_api;

create policy tenant on app.usage_counters for select to castledger_api using (tenant_id = app.tenant_id());
create policy installation on app.usage_counters for select to castledger_api using ((select app.is_installation()));
create policy dump on app.usage_counters for select to castledger_dump using (true);
grant select on app.usage_counters to castledger_api;

-- Whatever makes or takes away what is counted counts, in the same transaction, as the owner.
create policy counting on app.tenant_quotas to castledger_owner using (true);
create policy counting on app.usage_counters to castledger_owner using (true);

-- Arguments: the metric, then the columns by which a row has ended once one is set. People and keys are held to quotas;
-- ingest, which moves what was proven, and the owner, who imports, are only counted.
create function app.count_rows() returns trigger language plpgsql security definer
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
            set used = case when c.starts_on < turn.starts_on then 1 else c.used + 1 end, starts_on = turn.starts_on
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
revoke execute on function app.count_rows() from public;

create trigger count_rows after insert or delete or update of revoked_at on app.api_keys
    for each row execute function app.count_rows('api_keys', 'revoked_at');
create trigger count_rows after insert or delete or update of archived_at on app.links
    for each row execute function app.count_rows('links', 'archived_at');
create trigger count_rows after insert or delete or update of removed_at on app.memberships
    for each row execute function app.count_rows('members', 'removed_at');
create trigger count_rows after insert or delete or update of archived_at, transferred_at on app.podcasts
    for each row execute function app.count_rows('podcasts', 'archived_at', 'transferred_at');

-- What there is already. Row security binds the owner too.
alter table app.api_keys no force row level security;
alter table app.links no force row level security;
alter table app.memberships no force row level security;
alter table app.podcasts no force row level security;
insert into app.usage_counters (tenant_id, metric, period, starts_on, used)
select tenant_id, metric, 'total', date '2000-01-01', count(*) from (
    select tenant_id, 'api_keys' as metric from app.api_keys where revoked_at is null
    union all select tenant_id, 'links' from app.links where archived_at is null
    union all select tenant_id, 'members' from app.memberships where removed_at is null
    union all select tenant_id, 'podcasts' from app.podcasts where archived_at is null and transferred_at is null
) there group by tenant_id, metric;
alter table app.api_keys force row level security;
alter table app.links force row level security;
alter table app.memberships force row level security;
alter table app.podcasts force row level security;

-- The record of a tenant's erasure is the installation's: it says what went, and names nobody.
alter table app.erasures drop constraint erasures_kind_check;
alter table app.erasures add constraint erasures_kind_check check (kind in ('listener', 'podcast', 'tenant'));
grant insert (tenant_no, erasure_id, kind, subject_hash, month, started_at) on app.erasures to castledger_ingest;
grant insert on app.erasure_requests to castledger_ingest;
-- Of a tenant that is being erased alone: nothing else goes that nobody has asked for.
create policy closing on app.erasure_requests as restrictive for insert to castledger_ingest
    with check (exists (
        select from app.tenants t where t.tenant_no = erasure_requests.tenant_no and t.status = 'closing'));

-- Hosts of audio that nobody has any more: players who ask for it by an old prefix are sent on for as long as after it
-- has gone from a feed.
create table ops.released_hosts (
    host text primary key check (length(host) <= 255),
    released_at timestamptz not null
);
grant select, insert, update, delete on ops.released_hosts to castledger_ingest;
