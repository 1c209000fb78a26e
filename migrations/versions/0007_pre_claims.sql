-- Who owns a podcast: claims with their proof, and the record of what moved.

-- A podcast that moved to another tenant stays with its former owner, with its history and under its numbers; its
-- guid and its feed belong to the new owner's podcast, which has numbers of its own.
alter table app.podcasts add column transferred_at timestamptz;
alter table app.podcasts drop constraint podcasts_podcast_guid_key;
alter table app.podcasts drop constraint podcasts_feed_key_key;
create unique index podcasts_guid on app.podcasts (podcast_guid) where transferred_at is null;
create unique index podcasts_feed on app.podcasts (feed_key) where transferred_at is null;

-- A token is no secret: it is published in a feed, and proves something for the tenant of its claim only.
create table app.podcast_claims (
    tenant_id uuid not null references app.tenants,
    claim_id uuid not null,
    tenant_no integer not null,
    podcast_no integer not null references app.podcasts (podcast_no),
    title text not null,
    feed_url text,
    token text not null unique,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    checks integer not null default 0,
    checked_at timestamptz,
    check_fault text,
    proof text check (proof in ('podcast_txt', 'channel_text')),
    proven_at timestamptz,
    feed_digest bytea check (length(feed_digest) = 32),
    outcome text check (outcome in ('moved', 'verified', 'superseded', 'expired')),
    closed_at timestamptz,
    podcast_id uuid,
    primary key (tenant_id, claim_id),
    check ((proof is null) = (proven_at is null)),
    check ((outcome is null) = (closed_at is null))
);
create unique index podcast_claims_open on app.podcast_claims (tenant_id, podcast_no) where closed_at is null;
create index podcast_claims_podcast on app.podcast_claims (podcast_no) where closed_at is null;

-- What moved, for good. The highest number is the generation of ownership that batches of ingest are judged under.
create table app.podcast_transfers (
    transfer_no integer generated always as identity primary key,
    transferred_at timestamptz not null,
    claim_id uuid not null unique,
    podcast_guid uuid not null,
    from_tenant_id uuid not null references app.tenants,
    from_podcast_no integer not null,
    to_tenant_id uuid not null references app.tenants,
    to_podcast_no integer not null,
    proof text not null,
    feed_url text not null,
    feed_digest bytea not null check (length(feed_digest) = 32)
);

alter table app.podcast_claims enable row level security;
alter table app.podcast_claims force row level security;
alter table app.podcast_transfers enable row level security;
alter table app.podcast_transfers force row level security;

create policy tenant on app.podcast_claims for select to castledger_api
    using (tenant_id = app.tenant_id() and tenant_no = app.tenant_no());
create policy auth on app.podcast_claims to castledger_auth using (true);
create policy ingest on app.podcast_claims to castledger_ingest using (true);
create policy ingest on app.podcast_transfers to castledger_ingest using (true);
-- Whose a feed is has to be found over all tenants: as the role that says who somebody is, and no more than that.
create policy auth on app.podcasts for select to castledger_auth using (true);
create policy auth on app.enclosure_owners for select to castledger_auth using (true);

grant select (tenant_id, claim_id, tenant_no, title, feed_url, token, created_at, expires_at, checks, checked_at,
    check_fault, proof, proven_at, outcome, closed_at, podcast_id) on app.podcast_claims to castledger_api;
grant select, insert, update on app.podcast_claims to castledger_auth;
grant select, update on app.podcast_claims to castledger_ingest;
grant select, insert on app.podcast_transfers to castledger_ingest;
grant select (tenant_id, podcast_id, podcast_no, podcast_guid, feed_key, feed_url, verified_at, transferred_at)
    on app.podcasts to castledger_auth;
grant select (enclosure_key, podcast_no) on app.enclosure_owners to castledger_auth;
grant update on ops.pending_hits to castledger_ingest;
