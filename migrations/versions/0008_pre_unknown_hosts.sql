-- Hosts that players asked for under a podcast's prefix though no feed of the installation has registered them, and
-- which of them the podcast's owner has accepted. Bounded a podcast; what goes beyond is counted under `other`.
create table app.unknown_hosts (
    tenant_no integer not null,
    -- No foreign key: it would have landing wait for a podcast's row, which a move of the podcast holds while it waits
    -- for landing.
    podcast_no integer not null,
    host text not null check (length(host) between 1 and 255),
    first_seen_at timestamptz,
    last_seen_at timestamptz,
    hits bigint not null default 0 check (hits >= 0),
    accepted_at timestamptz,
    primary key (podcast_no, host)
);
create index unknown_hosts_accepted on app.unknown_hosts (host) where accepted_at is not null;

alter table app.unknown_hosts enable row level security;
alter table app.unknown_hosts force row level security;
create policy tenant on app.unknown_hosts to castledger_api using (tenant_no = app.tenant_no());
create policy ingest on app.unknown_hosts to castledger_ingest using (true);
grant select, insert, update on app.unknown_hosts to castledger_api, castledger_ingest;
