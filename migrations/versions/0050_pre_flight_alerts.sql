-- Whom a tenant's flights are told of once they fall behind, and what they were told.

-- Rows are of flights that are behind, or that somebody was told of; sponsors see none of them.
create table app.flight_alerts (
    tenant_id uuid not null,
    flight_id uuid not null,
    -- Null once it has caught up, or is over.
    behind_since timestamptz,
    -- When the last mail that names it was queued: of this time behind if that is not before behind_since.
    told_at timestamptz,
    -- When that it ended short was told, after which there is nothing more to tell.
    last_word_at timestamptz,
    primary key (tenant_id, flight_id),
    foreign key (tenant_id, flight_id) references app.flights (tenant_id, flight_id) on delete cascade,
    check (last_word_at is null or told_at >= last_word_at)
);

alter table app.flight_alerts enable row level security;
alter table app.flight_alerts force row level security;
create policy tenant on app.flight_alerts for select to castledger_api using (tenant_id = (select app.tenant_id()));
create policy ingest on app.flight_alerts to castledger_ingest using (true);
create policy erasure on app.flight_alerts to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.flight_alerts for select to castledger_dump using (true);
grant select on app.flight_alerts to castledger_api;
grant select, insert, update on app.flight_alerts to castledger_ingest;

-- Whether somebody hears of a tenant's flights by mail, which they say for themselves.
alter table app.memberships add column delivery_mail boolean not null default true;
grant update (delivery_mail) on app.memberships to castledger_auth;

-- Ingest writes to who sells in the transaction's tenant, and reads nobody: it is given these addresses and no more.
create policy told on app.users for select to castledger_owner using (exists (
    select from app.memberships m
    where m.user_id = users.user_id and m.tenant_id = app.tenant_id() and m.removed_at is null));
create function app.list_delivery_recipients(most integer) returns setof text
    language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select u.email from app.memberships m join app.users u on u.user_id = m.user_id
    where m.tenant_id = app.tenant_id() and m.role in ('owner', 'admin', 'sales') and m.custom_role_id is null
        and cardinality(m.sponsor_ids) = 0 and m.delivery_mail and m.removed_at is null
        and u.status = 'active' and u.email_verified_at is not null
    order by u.email limit most
$$;
revoke execute on function app.list_delivery_recipients from public;
grant execute on function app.list_delivery_recipients to castledger_ingest;
grant insert on app.outbox to castledger_ingest;
