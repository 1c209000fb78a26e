-- What was changed and by whom, written in the transaction of the change; the seals of these entries; and the keys under
-- which a request that is sent twice is done once.

-- Only ever added to: nobody but a tenant's erasure, as the owner, may change or take away an entry.
create table app.audit_log (
    tenant_id uuid not null references app.tenants,
    entry_id uuid not null,
    -- In the order of writing, over all tenants; with gaps, and never shown.
    entry_no bigint generated always as identity unique,
    at timestamptz not null default clock_timestamp(),
    actor text not null check (actor in ('key', 'user', 'command')),
    actor_id uuid,
    action text not null check (action ~ '^[a-z_]{1,40}\.[a-z_]{1,40}$'),
    resource_id text check (length(resource_id) between 1 and 200),
    request_id text check (length(request_id) between 1 and 64),
    before jsonb,
    after jsonb,
    primary key (tenant_id, entry_id),
    check ((actor = 'command') = (actor_id is null))
);
create index audit_log_at on app.audit_log (tenant_id, at, entry_id);

alter table app.audit_log enable row level security;
alter table app.audit_log force row level security;
create policy tenant on app.audit_log for select to castledger_api using (tenant_id = (select app.tenant_id()));
create policy entry on app.audit_log for insert to castledger_api, castledger_auth
    with check (tenant_id = (select app.tenant_id()));
create policy ingest on app.audit_log for select to castledger_ingest using (true);
create policy command on app.audit_log for insert to castledger_ingest with check (actor = 'command');
create policy erasure on app.audit_log to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.audit_log for select to castledger_dump using (true);
grant select on app.audit_log to castledger_api, castledger_ingest;
grant insert (tenant_id, entry_id, actor, actor_id, action, resource_id, request_id, before, after) on app.audit_log
    to castledger_api, castledger_auth, castledger_ingest;

-- The place of an entry in its tenant's sequence, without gaps, and the hash that ties it to all before it.
create table app.audit_seals (
    tenant_id uuid not null references app.tenants,
    seq bigint not null check (seq > 0),
    entry_id uuid not null,
    hash bytea not null check (length(hash) = 32),
    primary key (tenant_id, seq),
    unique (tenant_id, entry_id)
);
alter table app.audit_seals enable row level security;
alter table app.audit_seals force row level security;
create policy tenant on app.audit_seals for select to castledger_api using (tenant_id = (select app.tenant_id()));
create policy ingest on app.audit_seals for select to castledger_ingest using (true);
create policy seal on app.audit_seals for insert to castledger_ingest with check (true);
create policy erasure on app.audit_seals to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.audit_seals for select to castledger_dump using (true);
grant select on app.audit_seals to castledger_api, castledger_ingest;
grant insert on app.audit_seals to castledger_ingest;

-- Entries that wait for their seal: what commits is here, whenever that is, and so none can be passed over.
create table ops.audit_unsealed (
    entry_no bigint primary key references app.audit_log (entry_no) on delete cascade
);
grant select, delete on ops.audit_unsealed to castledger_ingest;

create function ops.await_seal() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ops.audit_unsealed (entry_no) values (new.entry_no);
    return null;
end
$$;
revoke execute on function ops.await_seal() from public;
create trigger await_seal after insert on app.audit_log for each row execute function ops.await_seal();

-- The answers of writes that named an `Idempotency-Key`, for a day. A key is its caller's own.
create table app.idempotency_keys (
    tenant_id uuid not null references app.tenants,
    caller_id uuid not null,
    key text not null check (length(key) between 1 and 255),
    request_hash bytea not null check (length(request_hash) = 32),
    created_at timestamptz not null,
    -- Of the answer, once there is one; without a body where it is too long or was to be seen only once.
    status_code smallint check (status_code between 200 and 399),
    resource_id text check (length(resource_id) between 1 and 200),
    answer bytea check (length(answer) <= 65536),
    etag text check (length(etag) between 1 and 100),
    primary key (tenant_id, caller_id, key)
);
create index idempotency_keys_created on app.idempotency_keys (created_at);
alter table app.idempotency_keys enable row level security;
alter table app.idempotency_keys force row level security;
create policy tenant on app.idempotency_keys to castledger_api, castledger_auth
    using (tenant_id = (select app.tenant_id()));
create policy ingest on app.idempotency_keys to castledger_ingest using (true);
create policy erasure on app.idempotency_keys to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.idempotency_keys for select to castledger_dump using (true);
grant select, insert, update on app.idempotency_keys to castledger_api, castledger_auth;
grant select, delete on app.idempotency_keys to castledger_ingest;
