-- Conversions: what a sponsor wants to happen, that it happened, what was said of it later, and what customers did before.

create table app.conversion_actions (
    tenant_id uuid not null,
    action_id uuid not null,
    sponsor_id uuid not null,
    name text not null check (length(name) between 1 and 200),
    name_key uuid not null,
    category text not null check (category in ('lead', 'signup', 'trial', 'purchase', 'install', 'custom')),
    -- The type of the events that are conversions of it; null where none are, and they come by themselves.
    event_type text check (event_type ~ '^[a-z][a-z0-9_]{0,63}$'),
    -- One a customer and window, or each.
    counting text not null default 'every' check (counting in ('every', 'one')),
    default_value_amount bigint check (default_value_amount between 0 and 1000000000000000),
    currency text check (currency ~ '^[A-Z]{3}$'),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, action_id),
    unique (tenant_id, sponsor_id, action_id),
    constraint conversion_actions_name unique (tenant_id, sponsor_id, name_key),
    foreign key (tenant_id, sponsor_id) references app.sponsors,
    check ((default_value_amount is null) = (currency is null))
);
create index conversion_actions_created on app.conversion_actions (tenant_id, created_at, action_id);
create unique index conversion_actions_event on app.conversion_actions (tenant_id, sponsor_id, event_type)
    where event_type is not null and archived_at is null;

create table app.conversions (
    tenant_id uuid not null,
    conversion_id uuid not null,
    action_id uuid not null,
    sponsor_id uuid not null,
    -- The sender's own name for it, such as an order's number: a conversion is there once.
    external_id text not null check (length(external_id) between 1 and 128),
    -- Of all that was said of it first: what says something else under the same name is refused.
    said_hash bytea not null check (length(said_hash) = 32),
    source text not null check (source in ('api', 'event', 'csv')),
    occurred_at timestamptz not null,
    received_at timestamptz not null,
    value_amount bigint check (value_amount between 0 and 1000000000000000),
    currency text check (currency ~ '^[A-Z]{3}$'),
    click_id uuid,
    link text check (length(link) between 1 and 64),
    -- As it was entered; compared as promo_codes are written.
    promo_code text check (length(promo_code) between 1 and 64),
    survey_answer text check (length(survey_answer) between 1 and 200),
    customer_key uuid,
    new_customer boolean,
    referrer_host text check (length(referrer_host) between 1 and 253),
    primary key (tenant_id, conversion_id),
    unique (tenant_id, action_id, external_id),
    foreign key (tenant_id, sponsor_id, action_id)
        references app.conversion_actions (tenant_id, sponsor_id, action_id) on update cascade,
    check ((value_amount is null) = (currency is null))
);
create index conversions_sponsor on app.conversions (tenant_id, sponsor_id, occurred_at, conversion_id);
create index conversions_occurred on app.conversions (tenant_id, occurred_at, conversion_id);
create index conversions_external on app.conversions (tenant_id, external_id);
create index conversions_customer on app.conversions (tenant_id, customer_key, occurred_at) where customer_key is not null;
-- Of an event it is asked whose the page is on which it happened.
create index sponsors_domain on app.sponsors (tenant_id, domain) where domain is not null;

-- What was said of a conversion later: that it was none after all, or what it was worth. Never changed; the last word counts.
create table app.conversion_adjustments (
    tenant_id uuid not null,
    adjustment_id uuid not null,
    conversion_id uuid not null,
    kind text not null check (kind in ('retract', 'restate')),
    value_amount bigint check (value_amount between 0 and 1000000000000000),
    -- The sender's own name for it, such as a refund's number: an adjustment is there once.
    external_id text check (length(external_id) between 1 and 128),
    said_hash bytea not null check (length(said_hash) = 32),
    reason text check (length(reason) between 1 and 200),
    adjusted_at timestamptz not null,
    received_at timestamptz not null,
    primary key (tenant_id, adjustment_id),
    foreign key (tenant_id, conversion_id) references app.conversions,
    check ((kind = 'restate') = (value_amount is not null))
);
create index conversion_adjustments_of on app.conversion_adjustments (tenant_id, conversion_id, adjusted_at, adjustment_id);
create unique index conversion_adjustments_once on app.conversion_adjustments (tenant_id, conversion_id, external_id)
    where external_id is not null;

-- What a customer did that names a flight, as events tell it: a click that led in, a link, a code. Whose it is is read from
-- these when conversions are attributed, so that a code that is entered here late is known then.
create table app.customer_signals (
    tenant_id uuid not null references app.tenants,
    event_id uuid not null,
    customer_key uuid not null,
    occurred_at timestamptz not null,
    received_at timestamptz not null,
    click_id uuid,
    link text check (length(link) between 1 and 64),
    promo_code text check (length(promo_code) between 1 and 64),
    referrer_host text check (length(referrer_host) between 1 and 253),
    primary key (tenant_id, event_id),
    check (num_nonnulls(click_id, link, promo_code) > 0)
);
create index customer_signals_customer on app.customer_signals (tenant_id, customer_key, occurred_at);
create index customer_signals_occurred on app.customer_signals (occurred_at);

-- Events that may be conversions, or tell of a customer: landing leaves the mark, and what takes it reads the event.
create table ops.event_marks (
    mark_no bigint generated always as identity primary key,
    tenant_no integer not null,
    event_id uuid not null,
    received_at timestamptz not null,
    -- When it was left, and when it is looked at next: a refund waits for its purchase.
    marked_at timestamptz not null default now(),
    due_at timestamptz not null default '-infinity'
);
create index event_marks_due on ops.event_marks (due_at);
grant select, insert, update (due_at), delete on ops.event_marks to castledger_ingest;

-- The secret under which a tenant's customers are keyed, made of a fresh one where there is none: for the role that
-- authenticates, so that the API may key a customer as events do, and no query of a tenant's can read it.
create function app.customer_secret(tenant integer, fresh bytea) returns bytea language sql volatile security definer
    set search_path = pg_catalog, pg_temp
as $$
    insert into ops.event_secrets (tenant_no, secret) values (tenant, fresh) on conflict do nothing;
    select secret from ops.event_secrets where tenant_no = tenant;
$$;
revoke execute on function app.customer_secret(integer, bytea) from public;
grant execute on function app.customer_secret(integer, bytea) to castledger_auth;

alter table app.conversion_actions enable row level security;
alter table app.conversion_actions force row level security;
alter table app.conversions enable row level security;
alter table app.conversions force row level security;
alter table app.conversion_adjustments enable row level security;
alter table app.conversion_adjustments force row level security;
alter table app.customer_signals enable row level security;
alter table app.customer_signals force row level security;

create policy tenant on app.conversion_actions to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.conversions to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.conversion_adjustments to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.customer_signals to castledger_api using (tenant_id = (select app.tenant_id()));

create policy sponsor on app.conversion_actions for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.conversions for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.conversion_adjustments for select to castledger_api
    using ((select app.sponsor_ids()) is not null and tenant_id = (select app.sponsors_tenant_id())
        and conversion_id in (select c.conversion_id from app.conversions c));

create policy ingest on app.conversion_actions for select to castledger_ingest using (true);
create policy ingest on app.conversions to castledger_ingest using (true);
create policy ingest on app.conversion_adjustments to castledger_ingest using (true);
create policy ingest on app.customer_signals to castledger_ingest using (true);
create policy erasure on app.conversion_actions to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.conversions to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.conversion_adjustments to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.customer_signals to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.conversion_actions for select to castledger_dump using (true);
create policy dump on app.conversions for select to castledger_dump using (true);
create policy dump on app.conversion_adjustments for select to castledger_dump using (true);
create policy dump on app.customer_signals for select to castledger_dump using (true);

grant select, insert, update on app.conversion_actions to castledger_api;
grant select, insert, update (survey_answer) on app.conversions to castledger_api;
grant select, insert on app.conversion_adjustments to castledger_api;
grant select on app.customer_signals to castledger_api;
grant select on app.conversion_actions to castledger_ingest;
grant select, insert, update on app.conversions to castledger_ingest;
grant select, insert on app.conversion_adjustments to castledger_ingest;
grant select, insert, delete on app.customer_signals to castledger_ingest;
