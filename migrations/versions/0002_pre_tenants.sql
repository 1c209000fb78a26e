-- Tenants and their API keys. Keys are kept as hashes; a key's text is shown once, when it is made.
create table app.tenants (
    tenant_id uuid primary key,
    tenant_no integer generated always as identity unique,
    slug text not null unique check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    name text not null check (length(name) between 1 and 200),
    is_installation boolean not null default false,
    status text not null default 'active' check (status in ('active', 'suspended', 'closed')),
    created_at timestamptz not null default now()
);
-- The installation's own tenant is one: what it adds counts as verified.
create unique index tenants_installation on app.tenants (is_installation) where is_installation;

create table app.api_keys (
    tenant_id uuid not null references app.tenants,
    key_id uuid not null,
    name text not null check (length(name) between 1 and 200),
    hint text not null,
    key_hash bytea not null unique check (length(key_hash) = 32),
    created_at timestamptz not null default now(),
    last_used_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    primary key (tenant_id, key_id)
);

alter table app.tenants enable row level security;
alter table app.tenants force row level security;
alter table app.api_keys enable row level security;
alter table app.api_keys force row level security;

create policy tenant on app.tenants to castledger_api using (tenant_id = app.tenant_id());
create policy auth on app.tenants to castledger_auth using (true);
create policy ingest on app.tenants for select to castledger_ingest using (true);
create policy tenant on app.api_keys to castledger_api using (tenant_id = app.tenant_id());
create policy auth on app.api_keys to castledger_auth using (true);

grant select on app.tenants to castledger_api, castledger_ingest;
grant select, insert on app.tenants to castledger_auth;
grant select (tenant_id, key_id, name, hint, created_at, last_used_at, expires_at, revoked_at), insert on app.api_keys
    to castledger_api;
grant update (name, revoked_at) on app.api_keys to castledger_api;
grant select, insert on app.api_keys to castledger_auth;
grant update (last_used_at, revoked_at) on app.api_keys to castledger_auth;
