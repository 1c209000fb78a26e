-- Keys that have expired give back their place in the quota when another is made, and the answers of writes by which
-- people change what is theirs alone are kept for their Idempotency-Key.

-- When its place was given back because it had expired; of a key that was revoked before, never.
alter table app.api_keys add column lapsed_at timestamptz;
drop trigger count_rows on app.api_keys;
create trigger count_rows after insert or delete or update of revoked_at, lapsed_at on app.api_keys
    for each row execute function app.count_rows('api_keys', 'revoked_at', 'lapsed_at');

create policy lapsing on app.api_keys for select to castledger_owner using (true);
create policy lapsing_now on app.api_keys for update to castledger_owner using (expires_at <= now());

-- Nothing happens at the moment in which a key expires: whoever makes the next one counts off those that have.
create function app.lapse_keys() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select from app.api_keys k where k.tenant_id = new.tenant_id and k.expires_at <= now()
            and k.revoked_at is null and k.lapsed_at is null) then
        -- In the order in which the new key is counted, so that two at once wait for each other in a line.
        perform from app.usage_counters c where c.tenant_id = new.tenant_id and c.metric = 'api_keys'
        order by c.period for update;
        update app.api_keys k set lapsed_at = now() where k.tenant_id = new.tenant_id and k.expires_at <= now()
            and k.revoked_at is null and k.lapsed_at is null;
    end if;
    return new;
end
$$;
revoke execute on function app.lapse_keys() from public;
create trigger lapse_keys before insert on app.api_keys for each row execute function app.lapse_keys();

-- The answers of writes by which people change what is theirs alone, for a day. The request's hash is a keyed one: a
-- password may be in it.
create table app.own_idempotency_keys (
    user_id uuid not null references app.users on delete cascade,
    key text not null check (length(key) between 1 and 255),
    request_hash bytea not null check (length(request_hash) = 32),
    created_at timestamptz not null,
    -- Of the answer, once there is one; without a body where it is too long.
    status_code smallint check (status_code between 200 and 399),
    answer bytea check (length(answer) <= 65536),
    primary key (user_id, key)
);
create index own_idempotency_keys_created on app.own_idempotency_keys (created_at);
alter table app.own_idempotency_keys enable row level security;
alter table app.own_idempotency_keys force row level security;
create policy auth on app.own_idempotency_keys to castledger_auth using (true);
create policy ingest on app.own_idempotency_keys to castledger_ingest using (true);
create policy dump on app.own_idempotency_keys for select to castledger_dump using (true);
grant select, insert, update on app.own_idempotency_keys to castledger_auth;
grant select, delete on app.own_idempotency_keys to castledger_ingest;
