-- A policy drops the chunks of hits that are kept no longer; ingest may ask for it on either branch.
create function ops.drop_hits(before date) returns integer language sql security definer
    set search_path = pg_catalog, pg_temp
as $$ select 0 $$;
revoke execute on function ops.drop_hits(date) from public;
grant execute on function ops.drop_hits(date) to castledger_ingest;
