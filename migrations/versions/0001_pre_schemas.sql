-- The schemas, who may enter them, and who the current tenant is.
-- app: what tenants own, under row security. ts: the time series. ops: the machinery. api: what the API sees of ts and ops.
create schema app;
create schema ts;
create schema ops;
create schema api;

grant usage on schema app, api to castledger_api;
grant usage on schema app, ts, ops to castledger_ingest;
grant usage on schema app to castledger_auth;

-- A reset setting reads '' on a pooled connection, not null.
create function app.tenant_id() returns uuid language sql stable parallel safe
    return nullif(current_setting('app.tenant_id', true), '')::uuid;
create function app.tenant_no() returns integer language sql stable parallel safe
    return nullif(current_setting('app.tenant_no', true), '')::integer;
grant execute on function app.tenant_id(), app.tenant_no() to castledger_api, castledger_ingest, castledger_auth;
