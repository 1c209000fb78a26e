-- Who keeps valid keys in mind is told, as the change is committed, that something about keys or tenants is different.
-- When a key was used last is no such thing.

create function app.notify_access() returns trigger language plpgsql as $$
begin
    perform pg_notify('castledger_access', '');
    return null;
end $$;

create trigger access after update of kind, key_hash, scopes, origins, expires_at, revoked_at on app.api_keys
    for each statement execute function app.notify_access();
create trigger access_gone after delete on app.api_keys for each statement execute function app.notify_access();
create trigger access after update of status on app.tenants for each statement execute function app.notify_access();
create trigger access_gone after delete on app.tenants for each statement execute function app.notify_access();
