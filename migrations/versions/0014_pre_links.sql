-- Links: short addresses of ours that lead to a target and count who follows them.

create table app.links (
    tenant_id uuid not null references app.tenants,
    link_id uuid not null,
    link_no integer generated always as identity unique,
    tenant_no integer not null,
    -- One path space for all tenants; a link that was taken away keeps its slug, so that it never leads elsewhere.
    slug text not null unique,
    url text not null,
    target text not null,
    utm jsonb not null,
    click_id boolean not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, link_id)
);
create index links_created on app.links (tenant_id, created_at, link_id);

-- Clicks on known links; the hits themselves are in ts.listener_events, with kind 2 and no verdict.
create table app.clicks (
    tenant_no integer not null,
    link_no integer not null,
    occurred_at timestamptz not null,
    segment_no integer not null,
    ordinal integer not null,
    is_bot boolean not null,
    click_id uuid,
    primary key (segment_no, ordinal)
);
create index clicks_link on app.clicks (link_no, is_bot);
create unique index clicks_id on app.clicks (click_id) where click_id is not null;

alter table app.links enable row level security;
alter table app.links force row level security;
alter table app.clicks enable row level security;
alter table app.clicks force row level security;
create policy tenant on app.links to castledger_api using (tenant_id = app.tenant_id());
create policy ingest on app.links for select to castledger_ingest using (true);
create policy erasure on app.links to castledger_owner using (tenant_id = app.tenant_id());
create policy tenant on app.clicks for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.clicks to castledger_ingest using (true);
create policy erasure on app.clicks to castledger_owner using (tenant_no = app.tenant_no());
grant select, insert, update on app.links to castledger_api;
grant select on app.links to castledger_ingest;
grant select on app.clicks to castledger_api;
grant select, insert on app.clicks to castledger_ingest;
