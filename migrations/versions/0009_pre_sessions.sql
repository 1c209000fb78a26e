-- Sessions of people who signed in to the page with an API key. Of a session's token only the hash is kept; whatever
-- ends its key (revoked, expired, a closed tenant) ends the session, since the look-up goes through the key.
create table app.sessions (
    token_hash bytea primary key check (length(token_hash) = 32),
    tenant_id uuid not null,
    key_id uuid not null,
    created_at timestamptz not null,
    seen_at timestamptz not null,
    foreign key (tenant_id, key_id) references app.api_keys
);
create index sessions_key on app.sessions (tenant_id, key_id, seen_at);
create index sessions_seen on app.sessions (seen_at);

alter table app.sessions enable row level security;
alter table app.sessions force row level security;
create policy auth on app.sessions to castledger_auth using (true);
grant select, insert, update (seen_at), delete on app.sessions to castledger_auth;
