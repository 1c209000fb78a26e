-- People: who somebody is stands once for the whole installation, and what they may do in a tenant is a membership.

create table app.users (
    user_id uuid primary key,
    email text check (length(email) <= 254 and email ~ '^[!-?A-~]{1,64}@[!-?A-~]+$'),
    name text not null check (length(name) <= 200),
    locale text not null default 'en' check (locale ~ '^[A-Za-z0-9-]{2,35}$'),
    status text not null default 'active' check (status in ('active', 'disabled', 'deleted', 'erased')),
    email_verified_at timestamptz,
    created_at timestamptz not null,
    deleted_at timestamptz,
    check ((email is null) = (status = 'erased')),
    check ((deleted_at is not null) = (status in ('deleted', 'erased')))
);
create unique index users_email on app.users (lower(email collate "C"));
create index users_deleted on app.users (deleted_at) where status = 'deleted';

-- Apart from who somebody is, so that only who signs people in can read it, and a backup can go without.
create table app.passwords (
    user_id uuid primary key references app.users on delete cascade,
    password_hash text not null check (length(password_hash) between 1 and 200),
    changed_at timestamptz not null
);

-- A custom role, where there is one, says what may be done instead of the built-in one. Sponsors are those whose rows
-- alone somebody with the role `sponsor` sees. A membership that ended is kept with its end, and may begin again.
create table app.memberships (
    tenant_id uuid not null references app.tenants,
    user_id uuid not null references app.users,
    role text not null check (role in ('owner', 'admin', 'analyst', 'sales', 'viewer', 'sponsor')),
    custom_role_id uuid,
    sponsor_ids uuid[] not null default '{}' check (cardinality(sponsor_ids) <= 100),
    created_at timestamptz not null,
    removed_at timestamptz,
    primary key (tenant_id, user_id),
    check (custom_role_id is null or role <> 'owner')
);
create index memberships_user on app.memberships (user_id) where removed_at is null;
create index memberships_owner on app.memberships (tenant_id) where role = 'owner' and removed_at is null;

-- A tenant keeps an owner, whoever removes or demotes whom at the same time: they take turns.
create function app.keep_an_owner() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('castledger.owners ' || old.tenant_id, 0));
    if not exists (
        select from app.memberships m
        where m.tenant_id = old.tenant_id and m.user_id <> old.user_id and m.role = 'owner' and m.removed_at is null
    ) then
        raise exception 'a tenant keeps an owner'
            using errcode = 'check_violation', constraint = 'memberships_keep_an_owner';
    end if;
    return new;
end
$$;
revoke execute on function app.keep_an_owner() from public;
create trigger keep_an_owner before update on app.memberships
    for each row when (old.role = 'owner' and old.removed_at is null
        and (new.role <> 'owner' or new.removed_at is not null))
    execute function app.keep_an_owner();

-- A sign-in, over the API or on the page, and what became of it. Without a tenant it is one of somebody who has none
-- (yet), and can do what is about themselves.
create table app.user_sessions (
    session_id uuid primary key,
    user_id uuid not null references app.users,
    tenant_id uuid,
    kind text not null check (kind in ('api', 'page')),
    user_agent text not null check (length(user_agent) <= 200),
    created_at timestamptz not null,
    seen_at timestamptz not null,
    expires_at timestamptz not null,
    foreign key (tenant_id, user_id) references app.memberships
);
create index user_sessions_user on app.user_sessions (user_id, seen_at);
create index user_sessions_tenant on app.user_sessions (tenant_id);
create index user_sessions_expired on app.user_sessions (expires_at);

-- Spent ones are kept until they would have ended: one that is shown again ends its session.
create table app.refresh_tokens (
    token_hash bytea primary key check (length(token_hash) = 32),
    session_id uuid not null references app.user_sessions on delete cascade,
    expires_at timestamptz not null,
    spent_at timestamptz
);
create index refresh_tokens_session on app.refresh_tokens (session_id, expires_at);

-- A session of the page is opened with a key, as before, or by a person.
alter table app.sessions alter column key_id drop not null;
alter table app.sessions add column session_id uuid unique references app.user_sessions on delete cascade;
alter table app.sessions add check (num_nonnulls(key_id, session_id) = 1);

-- What is mailed to prove that an address is somebody's, or to set a password anew.
create table app.auth_tokens (
    token_hash bytea primary key check (length(token_hash) = 32),
    user_id uuid not null references app.users on delete cascade,
    purpose text not null check (purpose in ('verify', 'reset')),
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz
);
create index auth_tokens_user on app.auth_tokens (user_id, purpose, created_at);
create index auth_tokens_expired on app.auth_tokens (expires_at);

-- Sign-ins that failed, by a keyed hash of account and network: no address, and also of accounts that do not exist.
create table app.login_failures (
    subject_key uuid primary key,
    failures integer not null check (failures > 0),
    last_at timestamptz not null,
    wait_until timestamptz not null
);
create index login_failures_last on app.login_failures (last_at);

alter table app.users enable row level security;
alter table app.users force row level security;
alter table app.passwords enable row level security;
alter table app.passwords force row level security;
alter table app.memberships enable row level security;
alter table app.memberships force row level security;
alter table app.user_sessions enable row level security;
alter table app.user_sessions force row level security;
alter table app.refresh_tokens enable row level security;
alter table app.refresh_tokens force row level security;
alter table app.auth_tokens enable row level security;
alter table app.auth_tokens force row level security;
alter table app.login_failures enable row level security;
alter table app.login_failures force row level security;

create policy auth on app.users to castledger_auth using (true);
-- Members of a tenant see one another: who is no member (any longer) is nobody to them.
create policy member on app.users for select to castledger_api using (exists (
    select from app.memberships m where m.user_id = users.user_id and m.removed_at is null));
-- A job takes away who asked for it.
create policy erasing on app.users to castledger_ingest using (deleted_at is not null);
create policy dump on app.users for select to castledger_dump using (true);
create policy auth on app.passwords to castledger_auth using (true);
create policy dump on app.passwords for select to castledger_dump using (true);
create policy tenant on app.memberships to castledger_api using (tenant_id = (select app.tenant_id()));
create policy auth on app.memberships to castledger_auth using (true);
create policy erasure on app.memberships to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.memberships for select to castledger_dump using (true);
create policy auth on app.user_sessions to castledger_auth using (true);
create policy erasure on app.user_sessions to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.user_sessions for select to castledger_dump using (true);
create policy auth on app.refresh_tokens to castledger_auth using (true);
create policy dump on app.refresh_tokens for select to castledger_dump using (true);
create policy auth on app.auth_tokens to castledger_auth using (true);
create policy dump on app.auth_tokens for select to castledger_dump using (true);
create policy auth on app.login_failures to castledger_auth using (true);
create policy dump on app.login_failures for select to castledger_dump using (true);

grant select, insert, update (name, locale, status, email_verified_at, deleted_at) on app.users to castledger_auth;
grant select on app.users to castledger_api;
grant select (user_id, status, deleted_at), update (email, name, locale, status, email_verified_at) on app.users
    to castledger_ingest;
grant select, insert, update (password_hash, changed_at), delete on app.passwords to castledger_auth;
grant select, insert, update (role, custom_role_id, sponsor_ids, created_at, removed_at) on app.memberships
    to castledger_api, castledger_auth;
grant select, insert, update (seen_at, expires_at), delete on app.user_sessions to castledger_auth;
grant select, insert, update (spent_at), delete on app.refresh_tokens to castledger_auth;
grant select, insert, update (used_at), delete on app.auth_tokens to castledger_auth;
grant select, insert, update (failures, last_at, wait_until), delete on app.login_failures to castledger_auth;
