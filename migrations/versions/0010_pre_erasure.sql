-- Tenants can be erased: by the owner, in a transaction that names the tenant and sees nobody else's rows.

-- Whoever lands hits compares the generation of ownership, which an erasure raises as a transfer does.
create table ops.ownership (
    only_row boolean primary key default true check (only_row),
    erasures bigint not null default 0
);
insert into ops.ownership default values;
grant select on ops.ownership to castledger_ingest;

-- Row security is forced, so that the owner sees nothing either where no policy lets it.
create policy erasure on app.tenants to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.api_keys to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.podcasts to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.episodes to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.enclosures to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.enclosure_owners to castledger_owner using (tenant_no = app.tenant_no());
create policy erasure on app.metrics_daily to castledger_owner using (tenant_no = app.tenant_no());
create policy erasure on app.podcast_claims to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.unknown_hosts to castledger_owner using (tenant_no = app.tenant_no());
create policy erasure on app.podcast_transfers for select to castledger_owner
    using (from_tenant_id = app.tenant_id() or to_tenant_id = app.tenant_id());
create policy erasure on app.sessions to castledger_owner using (tenant_id = app.tenant_id());
