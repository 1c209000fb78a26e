-- Sponsors, the links that belong to one, and logins that see the rows of some sponsors alone.

-- Which sponsors a transaction is held to: an empty list shows nothing, null is everything of its tenant.
create function app.sponsor_ids() returns uuid[] language sql stable parallel safe
    return nullif(current_setting('app.sponsor_ids', true), '')::uuid[];

-- Whoever is held to sponsors has no tenant: every policy and every view of one shows nothing, those of tables to come
-- as well. The few that sponsors have rows in name the tenant by app.sponsors_tenant_id, and the sponsor beside it.
create or replace function app.tenant_id() returns uuid language sql stable parallel safe
    return case when nullif(current_setting('app.sponsor_ids', true), '') is null
        then nullif(current_setting('app.tenant_id', true), '')::uuid end;
create or replace function app.tenant_no() returns integer language sql stable parallel safe
    return case when nullif(current_setting('app.sponsor_ids', true), '') is null
        then nullif(current_setting('app.tenant_no', true), '')::integer end;
create function app.sponsors_tenant_id() returns uuid language sql stable parallel safe
    return case when app.sponsor_ids() is not null then nullif(current_setting('app.tenant_id', true), '')::uuid end;
grant execute on function app.sponsor_ids(), app.sponsors_tenant_id() to castledger_api;

-- Names are told apart by `name_key`, a hash of the name as the API folds it: what a database takes for the same letter
-- in capitals depends on its locale.
create table app.sponsors (
    tenant_id uuid not null references app.tenants,
    sponsor_id uuid not null,
    name text not null check (length(name) between 1 and 200),
    name_key uuid not null,
    domain text check (length(domain) between 1 and 253),
    category text check (length(category) between 1 and 40),
    contacts jsonb not null default '[]' check (jsonb_typeof(contacts) = 'array' and jsonb_array_length(contacts) <= 20),
    targeting jsonb not null default '{}' check (jsonb_typeof(targeting) = 'object'),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, sponsor_id),
    constraint sponsors_name unique (tenant_id, name_key)
);
create index sponsors_created on app.sponsors (tenant_id, created_at, sponsor_id);

alter table app.links add column sponsor_id uuid;
alter table app.links add constraint links_sponsor foreign key (tenant_id, sponsor_id) references app.sponsors;
create index links_sponsor on app.links (tenant_id, sponsor_id, created_at, link_id) where sponsor_id is not null;

-- Clicks of a link by time, which the index that goes could not tell; it counts as the other did.
set local statement_timeout = 0;
create index clicks_time on app.clicks (link_no, occurred_at, is_bot);
drop index app.clicks_link;

alter table app.sponsors enable row level security;
alter table app.sponsors force row level security;
create policy tenant on app.sponsors to castledger_api using (tenant_id = (select app.tenant_id()));
create policy erasure on app.sponsors to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.sponsors for select to castledger_dump using (true);
grant select, insert, update on app.sponsors to castledger_api;

-- In a subquery, which is asked once a statement; a bare call is asked once a row.
alter policy tenant on app.links using (tenant_id = (select app.tenant_id()));

-- To read alone: whoever is held to sponsors writes nothing.
create policy sponsor on app.sponsors for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.links for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
-- Clicks of those links that can be seen, so that lists and totals cannot tell different stories.
create policy sponsor on app.clicks for select to castledger_api
    using ((select app.sponsor_ids()) is not null and link_no in (select l.link_no from app.links l));

-- What can be seen without a tenant: whose an enclosure is, and when segments had hits.
create policy sponsors_without on app.enclosure_owners as restrictive for select to castledger_api
    using ((select app.sponsor_ids()) is null);
create or replace view api.segments with (security_barrier) as
    select segment_no, first_hit_at, last_hit_at from ops.segments where app.sponsor_ids() is null;
