-- Attribution events: what shops and apps told of, as collectors took it.

-- By the day on which an event was received: late ones, of up to 90 days before, would else be written into days that
-- are compressed already, and whole days could not go. What happened between two instants was received from a day before
-- the first one to 91 days behind the second. No row security, as beside the hits: the API sees its tenant's rows through
-- a view.
create table ts.attribution_events (
    received_at timestamptz not null,
    occurred_at timestamptz not null,
    event_id uuid not null,
    tenant_no integer not null,
    source smallint not null,
    type text not null,
    click_id uuid,
    promo_code text,
    link text,
    -- Keyed hashes of the sender's own names for customers, under the tenant's secret; the names are not kept.
    customer_key uuid,
    external_id text,
    value_amount bigint,
    currency text,
    new_customer boolean,
    page_host text,
    page_path text,
    referrer_host text,
    utm jsonb,
    properties jsonb,
    -- Of browsers alone: 0 is unknown, or none.
    agent_no integer not null,
    asn integer not null,
    country smallint not null,
    networks smallint not null,
    is_bot boolean not null,
    check ((value_amount is null) = (currency is null))
) partition by range (received_at);
-- Lists of a tenant's events read on from where they stopped.
create index attribution_events_tenant on ts.attribution_events (tenant_no, received_at, event_id);
grant select, insert, delete on ts.attribution_events to castledger_ingest;

-- Which events there are: an event that is sent again, on whatever day, lands once. Kept for longer than a collector
-- takes an event after it occurred.
create table ops.event_ids (
    tenant_no integer not null,
    event_id uuid not null,
    received_on date not null,
    primary key (tenant_no, event_id)
);
create index event_ids_received on ops.event_ids (received_on);
grant select, insert, delete on ops.event_ids to castledger_ingest;

-- A lasting secret a tenant, under which its customers are keyed: gone with the tenant.
create table ops.event_secrets (
    tenant_no integer primary key,
    secret bytea not null check (length(secret) = 32),
    created_at timestamptz not null default now()
);
grant select, insert on ops.event_secrets to castledger_ingest;

create view api.attribution_events with (security_barrier) as
    select e.received_at, e.occurred_at, e.event_id, e.source, e.type, e.click_id, e.promo_code, e.link, e.customer_key,
        e.external_id, e.value_amount, e.currency, e.new_customer, e.page_host, e.page_path, e.referrer_host, e.utm,
        e.properties, e.country, e.networks, e.is_bot,
        -- Not by a join, which would go through all events before the first is shown.
        (select a.app from ops.agents a where a.agent_no = e.agent_no) as app,
        (select a.device from ops.agents a where a.agent_no = e.agent_no) as device
    from ts.attribution_events e where e.tenant_no = (select app.tenant_no())
    -- In the order of the index: from outside of a security barrier nothing else asks for it, and a page would sort all.
    order by e.received_at, e.event_id;
grant select on api.attribution_events to castledger_api;

-- How far hits have landed does not wait for events.
create or replace view api.cutoff with (security_barrier) as
    select min(cutoff_at) as cutoff_at from ops.ingest_status where source <> 'events';

-- Partitions of events by the day on which they were received; made and attached as those of hits are.
create function ops.ensure_event_partitions(days date[]) returns void language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    wanted date;
    name text;
begin
    for wanted in select distinct d from unnest(days) as d order by d loop
        name := to_char(wanted, '"attribution_events_"YYYYMMDD');
        if to_regclass('ts.' || name) is null then
            perform pg_advisory_xact_lock(hashtext('castledger.partitions'));
            if to_regclass('ts.' || name) is null then
                execute format('create table ts.%I (like ts.attribution_events including defaults including constraints '
                    'including indexes)', name);
                execute format('alter table ts.attribution_events attach partition ts.%I for values from (%L) to (%L)',
                    name, wanted::timestamp at time zone 'UTC', (wanted + 1)::timestamp at time zone 'UTC');
            end if;
        end if;
    end loop;
end
$$;

-- Whole days of events that are kept no longer, a month of them at most. Dropping locks the table: who waits for it is
-- held up no longer than the timeout, and the job is tried again.
create function ops.drop_event_days(before date) returns integer language plpgsql security definer
    set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
declare
    name text;
    dropped integer := 0;
begin
    for name in
        select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'ts.attribution_events'::regclass and to_date(right(c.relname, 8), 'YYYYMMDD') < before
        order by c.relname limit 31
    loop
        execute format('drop table ts.%I', name);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;
revoke execute on function ops.ensure_event_partitions(date[]) from public;
revoke execute on function ops.drop_event_days(date) from public;
grant execute on function ops.ensure_event_partitions(date[]), ops.drop_event_days(date) to castledger_ingest;

-- Ingest tells collectors which keys may send events, and nothing else of them.
create policy ingest on app.api_keys for select to castledger_ingest using (true);
grant select (tenant_id, key_hash, kind, scopes, origins, expires_at, revoked_at) on app.api_keys to castledger_ingest;

create function app.tell_keys() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_notify('castledger_keys', '');
    return null;
end
$$;
revoke execute on function app.tell_keys() from public;
create trigger tell_keys after insert or delete or update of revoked_at, expires_at, origins, scopes on app.api_keys
    for each statement execute function app.tell_keys();
create trigger tell_keys after update of status on app.tenants
    for each statement execute function app.tell_keys();

-- Erasures of a customer.
alter table app.erasures drop constraint erasures_kind_check;
alter table app.erasures add constraint erasures_kind_check check (kind in ('listener', 'podcast', 'tenant', 'customer'));
alter table app.erasure_requests add column customer_key uuid;
alter table app.erasure_requests drop constraint erasure_requests_check;
alter table app.erasure_requests add constraint erasure_requests_check check (
    num_nonnulls(listener_key, month) = 2 and num_nonnulls(podcast_id, podcast_no, customer_key) = 0
    or num_nonnulls(podcast_id, podcast_no) = 2 and num_nonnulls(listener_key, month, customer_key) = 0
    or customer_key is not null and num_nonnulls(listener_key, month, podcast_id, podcast_no) = 0
);
create unique index erasure_requests_customer on app.erasure_requests (tenant_no, customer_key);
