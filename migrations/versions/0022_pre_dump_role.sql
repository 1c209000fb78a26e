-- The role that backups are read as. It sees every row and writes none, and no service ever takes it.

grant usage on schema app, ts, ops, migrations to castledger_dump;
grant select on all tables in schema app, ts, ops, migrations to castledger_dump;
grant select on all sequences in schema app, ts, ops to castledger_dump;
-- Partitions, and tables to come. A table under row security needs the policy below as well.
alter default privileges in schema app, ts, ops grant select on tables to castledger_dump;
alter default privileges in schema app, ts, ops grant select on sequences to castledger_dump;

-- pg_dump leaves out what row security hides from it, and says nothing.
create policy dump on app.tenants for select to castledger_dump using (true);
create policy dump on app.api_keys for select to castledger_dump using (true);
create policy dump on app.sessions for select to castledger_dump using (true);
create policy dump on app.podcasts for select to castledger_dump using (true);
create policy dump on app.episodes for select to castledger_dump using (true);
create policy dump on app.enclosures for select to castledger_dump using (true);
create policy dump on app.enclosure_owners for select to castledger_dump using (true);
create policy dump on app.metrics_daily for select to castledger_dump using (true);
create policy dump on app.podcast_claims for select to castledger_dump using (true);
create policy dump on app.podcast_transfers for select to castledger_dump using (true);
create policy dump on app.unknown_hosts for select to castledger_dump using (true);
create policy dump on app.podcast_daily for select to castledger_dump using (true);
create policy dump on app.podcast_months for select to castledger_dump using (true);
create policy dump on app.listener_months for select to castledger_dump using (true);
create policy dump on app.links for select to castledger_dump using (true);
create policy dump on app.clicks for select to castledger_dump using (true);
create policy dump on app.erasures for select to castledger_dump using (true);
