-- Mail that waits to be sent, roles of a tenant's own making, and invitations.

-- Written in the transaction of whatever the mail tells of, so that neither is without the other. Once a mail is sent or
-- given up, who it went to and what it said is wiped, and the row tells only that there was one.
create table app.outbox (
    mail_id uuid primary key,
    tenant_id uuid references app.tenants,
    recipient text check (length(recipient) between 3 and 254),
    subject text check (length(subject) between 1 and 200),
    body text check (length(body) between 1 and 20000),
    queued_at timestamptz not null,
    attempts integer not null default 0,
    next_attempt_at timestamptz not null,
    sent_at timestamptz,
    failed_at timestamptz,
    last_error text check (length(last_error) between 1 and 200),
    check (num_nonnulls(sent_at, failed_at) <= 1),
    check (num_nonnulls(recipient, subject, body) = case when num_nonnulls(sent_at, failed_at) = 0 then 3 else 0 end)
);
create index outbox_due on app.outbox (next_attempt_at) where sent_at is null and failed_at is null;
create index outbox_failed on app.outbox (failed_at) where failed_at is not null;
create index outbox_queued on app.outbox (queued_at);
create index outbox_tenant on app.outbox (tenant_id);

alter table app.outbox enable row level security;
alter table app.outbox force row level security;
create policy auth on app.outbox for insert to castledger_auth with check (true);
create policy tenant on app.outbox for insert to castledger_api with check (tenant_id = app.tenant_id());
create policy ingest on app.outbox to castledger_ingest using (true);
create policy erasure on app.outbox to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.outbox for select to castledger_dump using (true);
grant insert on app.outbox to castledger_auth, castledger_api;
grant select, update, delete on app.outbox to castledger_ingest;

-- What a custom role may do is checked where it is used, against what the code knows: a name that is none gives nothing.
create table app.roles (
    tenant_id uuid not null references app.tenants,
    role_id uuid not null,
    name text not null check (length(name) between 1 and 60),
    permissions text[] not null check (cardinality(permissions) between 1 and 100),
    created_at timestamptz not null,
    changed_at timestamptz not null,
    primary key (tenant_id, role_id)
);
create unique index roles_name on app.roles (tenant_id, lower(name));

alter table app.roles enable row level security;
alter table app.roles force row level security;
create policy tenant on app.roles to castledger_api using (tenant_id = app.tenant_id());
create policy auth on app.roles for select to castledger_auth using (true);
create policy erasure on app.roles to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.roles for select to castledger_dump using (true);
grant select, insert, update (name, permissions, changed_at), delete on app.roles to castledger_api;
grant select on app.roles to castledger_auth;

-- A membership that ended does not hold its role; that one that has not does is seen to by who deletes a role.
alter table app.memberships add foreign key (tenant_id, custom_role_id) references app.roles
    on delete set null (custom_role_id);
create index memberships_role on app.memberships (tenant_id, custom_role_id) where custom_role_id is not null;

-- An invitation is open until it is accepted or revoked; its token is kept as a hash.
create table app.invitations (
    tenant_id uuid not null references app.tenants,
    invitation_id uuid not null,
    email text not null check (length(email) between 3 and 254),
    role text not null check (role in ('owner', 'admin', 'analyst', 'sales', 'viewer', 'sponsor')),
    custom_role_id uuid,
    sponsor_ids uuid[] not null default '{}' check (cardinality(sponsor_ids) <= 100),
    token_hash bytea not null unique check (length(token_hash) = 32),
    invited_by uuid,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    outcome text check (outcome in ('accepted', 'revoked', 'expired')),
    closed_at timestamptz,
    primary key (tenant_id, invitation_id),
    foreign key (tenant_id, custom_role_id) references app.roles on delete set null (custom_role_id),
    check ((outcome is null) = (closed_at is null)),
    check (custom_role_id is null or role <> 'owner')
);
create unique index invitations_open on app.invitations (tenant_id, lower(email collate "C")) where outcome is null;
create index invitations_made on app.invitations (tenant_id, created_at, invitation_id);
create index invitations_role on app.invitations (tenant_id, custom_role_id) where custom_role_id is not null;
create index invitations_expired on app.invitations (expires_at);

alter table app.invitations enable row level security;
alter table app.invitations force row level security;
create policy tenant on app.invitations to castledger_api using (tenant_id = app.tenant_id());
create policy auth on app.invitations to castledger_auth using (true);
create policy ingest on app.invitations to castledger_ingest using (true);
create policy erasure on app.invitations to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.invitations for select to castledger_dump using (true);
grant select (tenant_id, invitation_id, email, role, custom_role_id, sponsor_ids, invited_by, created_at, expires_at,
    outcome, closed_at), insert, update (outcome, closed_at) on app.invitations to castledger_api;
grant select, update (outcome, closed_at) on app.invitations to castledger_auth;
grant select (expires_at), delete on app.invitations to castledger_ingest;
