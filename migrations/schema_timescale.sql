-- The whole schema on the timescale branch, as it stands after all migrations: proven equal to them by tests/migrations.

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

-- Tenants and their API keys. Keys are kept as hashes; a key's text is shown once, when it is made.
create table app.tenants (
    tenant_id uuid primary key,
    tenant_no integer generated always as identity unique,
    slug text not null unique check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    name text not null check (length(name) between 1 and 200),
    is_installation boolean not null default false,
    status text not null default 'active' check (status in ('active', 'suspended', 'closing', 'closed')),
    created_at timestamptz not null default now(),
    -- A tenant may have its hits, and what says as much, go earlier than those of all; null for as all.
    retention_hits_days integer check (retention_hits_days between 30 and 7320)
);
-- The installation's own tenant is one: what it adds counts as verified.
create unique index tenants_installation on app.tenants (is_installation) where is_installation;

create table app.api_keys (
    tenant_id uuid not null references app.tenants,
    key_id uuid not null,
    name text not null check (length(name) between 1 and 200),
    hint text not null,
    key_hash bytea not null unique check (length(key_hash) = 32),
    created_at timestamptz not null default now(),
    last_used_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    -- Secret keys are for servers, publishable ones for pages of the sites (origins) that they name. A key may do what
    -- its scopes say; null is everything. A key that takes the place of another names it, and is the only one that does.
    kind text not null default 'secret' constraint api_keys_kind check (kind in ('secret', 'publishable')),
    scopes text[],
    origins text[] not null default '{}',
    replaces uuid,
    primary key (tenant_id, key_id),
    constraint api_keys_replaces foreign key (tenant_id, replaces) references app.api_keys (tenant_id, key_id),
    constraint api_keys_publishable check (
        case kind
            when 'publishable' then scopes is not null and scopes = '{events:write}' and cardinality(origins) between 1 and 50
            else cardinality(origins) = 0
        end
    )
);
create unique index api_keys_replaced on app.api_keys (tenant_id, replaces) where replaces is not null;

alter table app.tenants enable row level security;
alter table app.tenants force row level security;
alter table app.api_keys enable row level security;
alter table app.api_keys force row level security;

create policy tenant on app.tenants to castledger_api using (tenant_id = app.tenant_id());
create policy auth on app.tenants to castledger_auth using (true);
create policy ingest on app.tenants for select to castledger_ingest using (true);
create policy tenant on app.api_keys to castledger_api using (tenant_id = app.tenant_id());
create policy auth on app.api_keys to castledger_auth using (true);

grant select on app.tenants to castledger_api, castledger_ingest;
grant select, insert on app.tenants to castledger_auth;
grant select (tenant_id, key_id, name, hint, created_at, last_used_at, expires_at, revoked_at), insert on app.api_keys
    to castledger_api;
grant update (name, revoked_at) on app.api_keys to castledger_api;
grant select (kind, scopes, origins, replaces), update (expires_at, origins) on app.api_keys to castledger_api;
grant select, insert on app.api_keys to castledger_auth;
grant update (last_used_at, revoked_at) on app.api_keys to castledger_auth;

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

-- Podcasts, their episodes, and which episode a requested target belongs to.
create table app.podcasts (
    tenant_id uuid not null references app.tenants,
    podcast_id uuid not null,
    podcast_no integer generated always as identity unique,
    tenant_no integer not null,
    podcast_guid uuid not null,
    feed_key text,
    feed_url text,
    title text not null,
    link text,
    language text,
    guid_declared boolean not null,
    verified_at timestamptz,
    feed_etag text,
    feed_last_modified text,
    feed_checked_at timestamptz,
    feed_error text,
    feed_failures integer not null default 0,
    next_poll_at timestamptz,
    created_at timestamptz not null default now(),
    archived_at timestamptz,
    transferred_at timestamptz,
    primary key (tenant_id, podcast_id)
);
-- One owner a feed, over all tenants: unique indexes do not heed row security. A podcast that moved to another tenant
-- stays with its former owner, with its history and under its numbers; its guid and its feed belong to the new
-- owner's podcast, which has numbers of its own.
create unique index podcasts_guid on app.podcasts (podcast_guid) where transferred_at is null;
create unique index podcasts_feed on app.podcasts (feed_key) where transferred_at is null;
create index podcasts_due on app.podcasts (next_poll_at) where feed_url is not null and archived_at is null;

create table app.episodes (
    tenant_id uuid not null,
    episode_id uuid not null,
    episode_no integer generated always as identity unique,
    podcast_id uuid not null,
    podcast_no integer not null,
    tenant_no integer not null,
    guid text not null,
    guid_from_feed boolean not null,
    title text not null,
    published_at timestamptz,
    duration_s integer check (duration_s >= 0),
    live boolean not null default false,
    first_seen_at timestamptz not null default now(),
    removed_at timestamptz,
    primary key (tenant_id, episode_id),
    unique (tenant_id, podcast_id, guid),
    foreign key (tenant_id, podcast_id) references app.podcasts
);
create index episodes_newest on app.episodes (podcast_id, coalesce(published_at, first_seen_at), episode_id);

create table app.enclosures (
    tenant_id uuid not null,
    episode_id uuid not null,
    enclosure_key uuid not null,
    place smallint not null,
    kind text not null check (kind in ('enclosure', 'alternate')),
    url text not null,
    hosts text[] not null,
    media_type text,
    length_bytes bigint check (length_bytes >= 0),
    first_seen_at timestamptz not null default now(),
    gone_at timestamptz,
    primary key (tenant_id, episode_id, enclosure_key),
    foreign key (tenant_id, episode_id) references app.episodes
);

-- The one episode of the installation to which a target's hits belong. A key has one owner over all tenants,
-- whatever feeds name it; inside its podcast it moves on when an episode is published anew under another guid.
create table app.enclosure_owners (
    enclosure_key uuid primary key,
    bare_key uuid not null,
    file_name text not null,
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    length_bytes bigint,
    is_playlist boolean not null default false
);
create index enclosure_owners_bare on app.enclosure_owners (bare_key);
create index enclosure_owners_file on app.enclosure_owners (podcast_no, file_name);

alter table app.podcasts enable row level security;
alter table app.podcasts force row level security;
alter table app.episodes enable row level security;
alter table app.episodes force row level security;
alter table app.enclosures enable row level security;
alter table app.enclosures force row level security;
alter table app.enclosure_owners enable row level security;
alter table app.enclosure_owners force row level security;

create policy tenant on app.podcasts to castledger_api using (tenant_id = app.tenant_id() and tenant_no = app.tenant_no());
create policy ingest on app.podcasts to castledger_ingest using (true);
create policy tenant on app.episodes to castledger_api using (tenant_id = app.tenant_id() and tenant_no = app.tenant_no());
create policy ingest on app.episodes to castledger_ingest using (true);
create policy tenant on app.enclosures to castledger_api using (tenant_id = app.tenant_id());
create policy ingest on app.enclosures to castledger_ingest using (true);
-- Whether a key is taken has to be seen over all tenants; only one's own can be written.
create policy seen on app.enclosure_owners for select to castledger_api using (true);
create policy tenant on app.enclosure_owners to castledger_api using (tenant_no = app.tenant_no());
create policy ingest on app.enclosure_owners to castledger_ingest using (true);

grant select, insert, update on app.podcasts, app.episodes, app.enclosures to castledger_api, castledger_ingest;
grant select, insert, update, delete on app.enclosure_owners to castledger_api, castledger_ingest;

-- What ingest keeps beside the hits: checkpoints, secrets, dictionaries, hits that wait for their episode, marks.

-- One row a spool segment. `committed` is the fence: a batch lands only if it moves it from the offset that the
-- batch began at, so two shippers of one segment cannot both land it.
create table ops.segments (
    segment_no integer generated always as identity primary key,
    segment_id uuid not null unique,
    source text not null,
    created_at timestamptz not null,
    committed bigint not null,
    hits bigint not null default 0,
    first_hit_at timestamptz,
    last_hit_at timestamptz,
    totals jsonb not null default '{}',
    finished_at timestamptz,
    finished_why text
);

-- How far the ledger is complete: every hit answered before this instant has landed.
create table ops.ingest_status (
    source text primary key,
    cutoff_at timestamptz not null
);

-- tenant_no 0 is the installation's own secret of the month. A destroyed one keeps its row and loses its bytes.
create table ops.listener_secrets (
    month date not null check (extract(day from month) = 1),
    tenant_no integer not null,
    secret bytea check (length(secret) = 32),
    created_at timestamptz not null default now(),
    destroyed_at timestamptz,
    primary key (month, tenant_no),
    check ((secret is null) = (destroyed_at is not null))
);

create table ops.agents (
    agent_no integer generated always as identity primary key,
    agent_hash uuid not null unique,
    user_agent text not null,
    kind smallint not null,
    app text not null,
    device text not null,
    rule text not null,
    table_version text not null,
    first_seen_at timestamptz not null default now(),
    -- A row stands for an agent and a class, for ever. Where another table says something else of the agent, a new row
    -- takes over its hash, the key by which it is found, and the old one keeps it here.
    superseded_hash uuid,
    -- Null where nobody has told it yet: rows of before, until ingest has read their agents again.
    os text
);
create index agents_version on ops.agents (table_version) where superseded_hash is null;
create index agents_superseded on ops.agents (superseded_hash) where superseded_hash is not null;
create index agents_os on ops.agents (agent_no) where os is null;

create table ops.terms (
    term_no integer generated always as identity primary key,
    kind text not null check (kind in ('referrer', 'feed_app')),
    term text not null,
    unique (kind, term)
);

-- Hits whose episode is not known (yet), whole but for the address, of which only the first-stage key is kept.
create table ops.pending_hits (
    segment_no integer not null,
    ordinal integer not null,
    occurred_at timestamptz not null,
    tenant_no integer not null,
    podcast_no integer not null,
    enclosure_key uuid not null,
    bare_key uuid not null,
    file_name text not null,
    target text not null,
    k0 uuid not null,
    range_first bigint not null,
    range_last bigint not null,
    agent_no integer not null,
    referrer_no integer not null,
    feed_app_no integer not null,
    verdict_bits integer not null,
    country smallint not null,
    kind smallint not null,
    method smallint not null,
    range_kind smallint not null,
    flags smallint not null,
    source smallint not null,
    asn integer not null default 0,
    networks smallint not null default 0,
    place_no integer not null default 0,
    primary key (segment_no, ordinal)
);
create index pending_hits_key on ops.pending_hits (enclosure_key);
create index pending_hits_bare on ops.pending_hits (bare_key);
create index pending_hits_file on ops.pending_hits (podcast_no, file_name);
create index pending_hits_at on ops.pending_hits (occurred_at);

-- Days of episodes whose rollups are out of date. Append-only and without a unique key: a writer never waits for
-- another, and the refresher deletes only the marks that it has seen before it recomputes.
create table ops.dirty_marks (
    mark_no bigint generated always as identity primary key,
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    day date not null
);
create index dirty_marks_episode on ops.dirty_marks (episode_no);

-- What is known of a tenant's day. The generation is raised by whatever rewrites a day's downloads.
create table ops.days (
    tenant_no integer not null,
    day date not null,
    generation integer not null default 0,
    final_at timestamptz,
    rekeyed boolean not null default false,
    -- Since when there are no hits, or no downloads, any more. A day without downloads stays as it was counted: it cannot
    -- be opened again, and its rollups are not made anew.
    hits_dropped_at timestamptz,
    downloads_dropped_at timestamptz,
    primary key (tenant_no, day),
    constraint days_settled check (downloads_dropped_at is null or final_at is not null)
);

grant select, insert, update on ops.segments, ops.ingest_status, ops.days to castledger_ingest;
grant select, insert, update on ops.listener_secrets, ops.agents to castledger_ingest;
grant select, insert on ops.terms to castledger_ingest;
grant select, insert, delete on ops.pending_hits, ops.dirty_marks to castledger_ingest;

-- Every hit with its verdict, and one row a listener, episode and day. Fixed-width columns only, widest first:
-- rows are written by COPY from columns. No row security (TimescaleDB refuses it beside the columnstore): the API
-- has no grant here and sees its tenant's rows through views.
create table ts.listener_events (
    occurred_at timestamptz not null,
    range_first bigint not null,
    range_last bigint not null,
    listener_key uuid not null,
    segment_no integer not null,
    ordinal integer not null,
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    agent_no integer not null,
    referrer_no integer not null,
    feed_app_no integer not null,
    verdict_bits integer not null,
    verdict smallint not null,
    evidence smallint not null,
    country smallint not null,
    kind smallint not null,
    method smallint not null,
    range_kind smallint not null,
    flags smallint not null,
    source smallint not null,
    rules smallint not null,
    asn integer not null default 0,
    networks smallint not null default 0,
    place_no integer not null default 0
);

create table ts.downloads (
    day date not null,
    episode_no integer not null,
    listener_key uuid not null,
    occurred_at timestamptz not null,
    segment_no integer not null,
    ordinal integer not null,
    tenant_no integer not null,
    podcast_no integer not null,
    agent_no integer not null,
    referrer_no integer not null,
    feed_app_no integer not null,
    country smallint not null,
    evidence smallint not null,
    source smallint not null,
    -- Null is taken, never written by this version: the one before goes on staging downloads in temporary tables like this
    -- one, which have its columns without their defaults.
    place_no integer default 0,
    primary key (day, episode_no, listener_key)
);

select public.create_hypertable('ts.listener_events', public.by_range('occurred_at', interval '1 day'),
    create_default_indexes => false);
select public.create_hypertable('ts.downloads', public.by_range('day', interval '1 day'), create_default_indexes => false);
create index listener_events_at on ts.listener_events using brin (occurred_at) with (pages_per_range = 32);

alter table ts.listener_events set (timescaledb.compress, timescaledb.compress_segmentby = '',
    timescaledb.compress_orderby = 'podcast_no, episode_no, occurred_at');
alter table ts.downloads set (timescaledb.compress, timescaledb.compress_segmentby = '',
    timescaledb.compress_orderby = 'podcast_no, episode_no, listener_key');
select public.add_compression_policy('ts.listener_events', interval '2 days');
select public.add_compression_policy('ts.downloads', interval '14 days');
-- Hits by policy; downloads by our own job, which heeds what is final.
select public.add_retention_policy('ts.listener_events', interval '25 months');

grant select, insert on ts.listener_events to castledger_ingest;
grant select, insert, update, delete on ts.downloads to castledger_ingest;

-- TimescaleDB makes its chunks by itself; ingest need not know which branch it writes to.
create function ops.ensure_partitions(days date[]) returns void language sql security definer
    set search_path = pg_catalog, pg_temp
as $$ select null::void $$;
revoke execute on function ops.ensure_partitions(date[]) from public;
grant execute on function ops.ensure_partitions(date[]) to castledger_ingest;

-- Rollups, ordinary tables under row security on both branches, and what else the API may see.

-- A row carries the downloads of each of its day's 96 quarter hours, so that every time zone, interval and curve
-- is exact to the quarter hour after the downloads themselves are gone.
create table app.metrics_daily (
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    day date not null,
    dimension text not null,
    key text not null,
    downloads integer not null check (downloads >= 0),
    downloads_strict integer not null check (downloads_strict between 0 and downloads),
    quarters integer[] not null check (array_length(quarters, 1) = 96),
    quarters_strict integer[] not null check (array_length(quarters_strict, 1) = 96),
    refreshed_at timestamptz not null default now(),
    primary key (episode_no, day, dimension, key),
    constraint metrics_daily_dimension_check check (dimension in
        ('total', 'app', 'device', 'os', 'country', 'region', 'city', 'referrer', 'feed_app', 'source'))
);
create index metrics_daily_podcast on app.metrics_daily (podcast_no, dimension, day);

alter table app.metrics_daily enable row level security;
alter table app.metrics_daily force row level security;
create policy tenant on app.metrics_daily for select to castledger_api using (tenant_no = app.tenant_no());
create policy ingest on app.metrics_daily to castledger_ingest using (true);
grant select on app.metrics_daily to castledger_api;
grant select, insert, update, delete on app.metrics_daily to castledger_ingest;

create view api.listener_events with (security_barrier) as
    select e.occurred_at, e.segment_no, e.ordinal, e.podcast_no, e.episode_no, e.range_first, e.range_last, e.range_kind,
        e.verdict_bits, e.verdict, e.evidence, e.country, e.kind, e.method, e.flags, e.source, e.rules, e.listener_key,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, e.asn, e.networks
    from ts.listener_events e
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = e.referrer_no
    left join ops.terms f on f.term_no = e.feed_app_no
    where e.tenant_no = app.tenant_no();

create view api.pending_hits with (security_barrier) as
    select p.occurred_at, p.segment_no, p.ordinal, p.podcast_no, p.target, p.range_first, p.range_last, p.range_kind,
        p.verdict_bits, p.country, p.kind, p.method, p.flags, p.source,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, p.asn, p.networks
    from ops.pending_hits p
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = p.referrer_no
    left join ops.terms f on f.term_no = p.feed_app_no
    where p.tenant_no = app.tenant_no();

create view api.downloads with (security_barrier) as
    select day, podcast_no, episode_no, listener_key, occurred_at, segment_no, ordinal, evidence
    from ts.downloads where tenant_no = app.tenant_no();

create view api.segments with (security_barrier) as
    select segment_no, first_hit_at, last_hit_at from ops.segments;

-- What has changed in app.metrics_daily since it was summed up. As dirty marks: append-only, and the refresher deletes
-- only those that it has seen before it sums up.
create table ops.sum_marks (
    mark_no bigint generated always as identity primary key,
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    day date not null
);
create index sum_marks_podcast on ops.sum_marks (podcast_no);

create view api.dirty_marks with (security_barrier) as
    select podcast_no, episode_no, day from ops.dirty_marks where tenant_no = app.tenant_no()
    union all
    select podcast_no, episode_no, day from ops.sum_marks where tenant_no = app.tenant_no();

create view api.days with (security_barrier) as
    select day, final_at, rekeyed from ops.days where tenant_no = app.tenant_no();

create view api.cutoff with (security_barrier) as
    select min(cutoff_at) as cutoff_at from ops.ingest_status;

grant select on api.listener_events, api.pending_hits, api.downloads, api.segments, api.dirty_marks, api.days, api.cutoff
    to castledger_api;

-- Who owns a podcast: claims with their proof, and the record of what moved.

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

-- Tenants can be erased: by the owner, in a transaction that names the tenant and sees nobody else's rows.

-- Whoever lands hits compares the generation of ownership, which an erasure raises as a transfer does.
create table ops.ownership (
    only_row boolean primary key default true check (only_row),
    erasures bigint not null default 0
);
insert into ops.ownership default values;
grant select on ops.ownership to castledger_ingest;

-- Row security is forced, so that the owner sees nothing either where no policy lets it.
create policy erasure on app.tenants to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.api_keys to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.podcasts to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.episodes to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.enclosures to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.enclosure_owners to castledger_owner using (tenant_no = app.tenant_no());
create policy erasure on app.metrics_daily to castledger_owner using (tenant_no = app.tenant_no());
create policy erasure on app.podcast_claims to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.unknown_hosts to castledger_owner using (tenant_no = app.tenant_no());
create policy erasure on app.podcast_transfers for select to castledger_owner
    using (from_tenant_id = app.tenant_id() or to_tenant_id = app.tenant_id());
create policy erasure on app.sessions to castledger_owner using (tenant_id = app.tenant_id());

-- A running count instead of 96 single ones: any stretch of the day is one difference, without opening the array.
create table app.podcast_daily (
    tenant_no integer not null,
    podcast_no integer not null,
    day date not null,
    dimension text not null,
    key text not null,
    downloads integer not null check (downloads >= 0),
    downloads_strict integer not null check (downloads_strict between 0 and downloads),
    running integer[] not null check (array_length(running, 1) = 96 and running[96] = downloads),
    running_strict integer[] not null
        check (array_length(running_strict, 1) = 96 and running_strict[96] = downloads_strict),
    primary key (podcast_no, dimension, day, key)
);

-- Whole days by month: `running` counts from the month's first day to the end of each. The dimensions of the rollups,
-- and `episode`, whose key is the episode's number.
create table app.podcast_months (
    tenant_no integer not null,
    podcast_no integer not null,
    month date not null check (extract(day from month) = 1),
    dimension text not null,
    key text not null,
    running integer[] not null check (array_length(running, 1) = 31),
    running_strict integer[] not null check (array_length(running_strict, 1) = 31),
    primary key (podcast_no, dimension, month, key)
);

alter table app.podcast_daily enable row level security;
alter table app.podcast_daily force row level security;
alter table app.podcast_months enable row level security;
alter table app.podcast_months force row level security;
-- In a subquery, which is asked once a statement; a bare call is asked once a row.
create policy tenant on app.podcast_daily for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.podcast_daily to castledger_ingest using (true);
create policy tenant on app.podcast_months for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.podcast_months to castledger_ingest using (true);
-- As everywhere, for whoever erases a tenant.
create policy erasure on app.podcast_daily to castledger_owner using (tenant_no = app.tenant_no());
create policy erasure on app.podcast_months to castledger_owner using (tenant_no = app.tenant_no());
grant select on app.podcast_daily, app.podcast_months to castledger_api;
grant select, insert, update, delete on app.podcast_daily, app.podcast_months to castledger_ingest;
grant select, insert, delete on ops.sum_marks to castledger_ingest;

-- Whoever changes rollups (this version, the one before it while it still runs, a person at a prompt) leaves marks.
create function ops.mark_sums() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op <> 'INSERT' then
        insert into ops.sum_marks (tenant_no, podcast_no, episode_no, day)
        select distinct tenant_no, podcast_no, episode_no, day from removed;
    end if;
    if tg_op <> 'DELETE' then
        insert into ops.sum_marks (tenant_no, podcast_no, episode_no, day)
        select distinct tenant_no, podcast_no, episode_no, day from added;
    end if;
    return null;
end
$$;
revoke execute on function ops.mark_sums() from public;
create trigger mark_inserted after insert on app.metrics_daily
    referencing new table as added for each statement execute function ops.mark_sums();
create trigger mark_updated after update on app.metrics_daily
    referencing old table as removed new table as added for each statement execute function ops.mark_sums();
create trigger mark_deleted after delete on app.metrics_daily
    referencing old table as removed for each statement execute function ops.mark_sums();

-- Running counts: of counts in their order, or of counts at these places of an array of this size, all others 0. In a
-- loop: unnesting takes five times as long.
create function app.running_counts(counts bigint[], places integer[] default null, size integer default null)
    returns integer[] language plpgsql immutable parallel safe
as $$
declare
    running integer[] := counts;
    total integer := 0;
begin
    if places is not null then
        running := array_fill(0, array[size]);
        for i in 1..cardinality(places) loop
            running[places[i]] := counts[i];
        end loop;
    end if;
    for place in 1..cardinality(running) loop
        total := total + running[place];
        running[place] := total;
    end loop;
    return running;
end
$$;

-- Sum the marked days of episodes up, from what app.metrics_daily says now. One after the other a podcast: the caller
-- holds its lock. Each statement sees what the one before it wrote.
create function app.sum_up(podcast_nos integer[], episode_nos integer[], days date[]) returns void language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- Place by place: half the time of unnesting and grouping, and it is most of what this takes.
    with wanted as materialized (
        select distinct w.podcast_no, w.day, d.dimension
        from unnest(podcast_nos, days) as w(podcast_no, day)
        cross join unnest('{total,app,device,os,country,region,city,referrer,feed_app,source}'::text[]) as d(dimension)
    ), sums as (
        select max(m.tenant_no) as tenant_no, m.podcast_no, m.day, m.dimension, m.key,
            sum(m.downloads) as downloads, sum(m.downloads_strict) as downloads_strict,
            array[
                sum(m.quarters[1]), sum(m.quarters[2]), sum(m.quarters[3]), sum(m.quarters[4]), sum(m.quarters[5]),
                sum(m.quarters[6]), sum(m.quarters[7]), sum(m.quarters[8]), sum(m.quarters[9]), sum(m.quarters[10]),
                sum(m.quarters[11]), sum(m.quarters[12]), sum(m.quarters[13]), sum(m.quarters[14]),
                sum(m.quarters[15]), sum(m.quarters[16]), sum(m.quarters[17]), sum(m.quarters[18]),
                sum(m.quarters[19]), sum(m.quarters[20]), sum(m.quarters[21]), sum(m.quarters[22]),
                sum(m.quarters[23]), sum(m.quarters[24]), sum(m.quarters[25]), sum(m.quarters[26]),
                sum(m.quarters[27]), sum(m.quarters[28]), sum(m.quarters[29]), sum(m.quarters[30]),
                sum(m.quarters[31]), sum(m.quarters[32]), sum(m.quarters[33]), sum(m.quarters[34]),
                sum(m.quarters[35]), sum(m.quarters[36]), sum(m.quarters[37]), sum(m.quarters[38]),
                sum(m.quarters[39]), sum(m.quarters[40]), sum(m.quarters[41]), sum(m.quarters[42]),
                sum(m.quarters[43]), sum(m.quarters[44]), sum(m.quarters[45]), sum(m.quarters[46]),
                sum(m.quarters[47]), sum(m.quarters[48]), sum(m.quarters[49]), sum(m.quarters[50]),
                sum(m.quarters[51]), sum(m.quarters[52]), sum(m.quarters[53]), sum(m.quarters[54]),
                sum(m.quarters[55]), sum(m.quarters[56]), sum(m.quarters[57]), sum(m.quarters[58]),
                sum(m.quarters[59]), sum(m.quarters[60]), sum(m.quarters[61]), sum(m.quarters[62]),
                sum(m.quarters[63]), sum(m.quarters[64]), sum(m.quarters[65]), sum(m.quarters[66]),
                sum(m.quarters[67]), sum(m.quarters[68]), sum(m.quarters[69]), sum(m.quarters[70]),
                sum(m.quarters[71]), sum(m.quarters[72]), sum(m.quarters[73]), sum(m.quarters[74]),
                sum(m.quarters[75]), sum(m.quarters[76]), sum(m.quarters[77]), sum(m.quarters[78]),
                sum(m.quarters[79]), sum(m.quarters[80]), sum(m.quarters[81]), sum(m.quarters[82]),
                sum(m.quarters[83]), sum(m.quarters[84]), sum(m.quarters[85]), sum(m.quarters[86]),
                sum(m.quarters[87]), sum(m.quarters[88]), sum(m.quarters[89]), sum(m.quarters[90]),
                sum(m.quarters[91]), sum(m.quarters[92]), sum(m.quarters[93]), sum(m.quarters[94]),
                sum(m.quarters[95]), sum(m.quarters[96])
            ] as counts,
            array[
                sum(m.quarters_strict[1]), sum(m.quarters_strict[2]), sum(m.quarters_strict[3]),
                sum(m.quarters_strict[4]), sum(m.quarters_strict[5]), sum(m.quarters_strict[6]),
                sum(m.quarters_strict[7]), sum(m.quarters_strict[8]), sum(m.quarters_strict[9]),
                sum(m.quarters_strict[10]), sum(m.quarters_strict[11]), sum(m.quarters_strict[12]),
                sum(m.quarters_strict[13]), sum(m.quarters_strict[14]), sum(m.quarters_strict[15]),
                sum(m.quarters_strict[16]), sum(m.quarters_strict[17]), sum(m.quarters_strict[18]),
                sum(m.quarters_strict[19]), sum(m.quarters_strict[20]), sum(m.quarters_strict[21]),
                sum(m.quarters_strict[22]), sum(m.quarters_strict[23]), sum(m.quarters_strict[24]),
                sum(m.quarters_strict[25]), sum(m.quarters_strict[26]), sum(m.quarters_strict[27]),
                sum(m.quarters_strict[28]), sum(m.quarters_strict[29]), sum(m.quarters_strict[30]),
                sum(m.quarters_strict[31]), sum(m.quarters_strict[32]), sum(m.quarters_strict[33]),
                sum(m.quarters_strict[34]), sum(m.quarters_strict[35]), sum(m.quarters_strict[36]),
                sum(m.quarters_strict[37]), sum(m.quarters_strict[38]), sum(m.quarters_strict[39]),
                sum(m.quarters_strict[40]), sum(m.quarters_strict[41]), sum(m.quarters_strict[42]),
                sum(m.quarters_strict[43]), sum(m.quarters_strict[44]), sum(m.quarters_strict[45]),
                sum(m.quarters_strict[46]), sum(m.quarters_strict[47]), sum(m.quarters_strict[48]),
                sum(m.quarters_strict[49]), sum(m.quarters_strict[50]), sum(m.quarters_strict[51]),
                sum(m.quarters_strict[52]), sum(m.quarters_strict[53]), sum(m.quarters_strict[54]),
                sum(m.quarters_strict[55]), sum(m.quarters_strict[56]), sum(m.quarters_strict[57]),
                sum(m.quarters_strict[58]), sum(m.quarters_strict[59]), sum(m.quarters_strict[60]),
                sum(m.quarters_strict[61]), sum(m.quarters_strict[62]), sum(m.quarters_strict[63]),
                sum(m.quarters_strict[64]), sum(m.quarters_strict[65]), sum(m.quarters_strict[66]),
                sum(m.quarters_strict[67]), sum(m.quarters_strict[68]), sum(m.quarters_strict[69]),
                sum(m.quarters_strict[70]), sum(m.quarters_strict[71]), sum(m.quarters_strict[72]),
                sum(m.quarters_strict[73]), sum(m.quarters_strict[74]), sum(m.quarters_strict[75]),
                sum(m.quarters_strict[76]), sum(m.quarters_strict[77]), sum(m.quarters_strict[78]),
                sum(m.quarters_strict[79]), sum(m.quarters_strict[80]), sum(m.quarters_strict[81]),
                sum(m.quarters_strict[82]), sum(m.quarters_strict[83]), sum(m.quarters_strict[84]),
                sum(m.quarters_strict[85]), sum(m.quarters_strict[86]), sum(m.quarters_strict[87]),
                sum(m.quarters_strict[88]), sum(m.quarters_strict[89]), sum(m.quarters_strict[90]),
                sum(m.quarters_strict[91]), sum(m.quarters_strict[92]), sum(m.quarters_strict[93]),
                sum(m.quarters_strict[94]), sum(m.quarters_strict[95]), sum(m.quarters_strict[96])
            ] as counts_strict
        from wanted w
        join app.metrics_daily m
            on m.podcast_no = w.podcast_no and m.dimension = w.dimension and m.day = w.day
        group by m.podcast_no, m.day, m.dimension, m.key
    ), fresh as materialized (
        select s.tenant_no, s.podcast_no, s.day, s.dimension, s.key, s.downloads, s.downloads_strict,
            app.running_counts(s.counts) as running, app.running_counts(s.counts_strict) as running_strict
        from sums s
    ), gone as (
        delete from app.podcast_daily p using wanted w
        where p.podcast_no = w.podcast_no and p.dimension = w.dimension and p.day = w.day
            and (p.podcast_no, p.dimension, p.day, p.key) not in (select podcast_no, dimension, day, key from fresh)
    )
    insert into app.podcast_daily as old (tenant_no, podcast_no, day, dimension, key, downloads, downloads_strict,
        running, running_strict)
    select * from fresh
    on conflict (podcast_no, dimension, day, key) do update
        set tenant_no = excluded.tenant_no, downloads = excluded.downloads,
            downloads_strict = excluded.downloads_strict, running = excluded.running,
            running_strict = excluded.running_strict
        where (old.tenant_no, old.running, old.running_strict)
            is distinct from (excluded.tenant_no, excluded.running, excluded.running_strict);

    -- Looked up one by one, as a lateral query with an offset is not pulled up: the planner expects more than comes.
    with episodes as materialized (
        select podcast_no, episode_no, month, (month + interval '1 month')::date as until
        from (
            select distinct podcast_no, episode_no, date_trunc('month', day::timestamp)::date as month
            from unnest(podcast_nos, episode_nos, days) as w(podcast_no, episode_no, day)
        ) w
    ), wanted as materialized (
        select distinct w.podcast_no, w.month, w.until, d.dimension
        from episodes w
        cross join unnest('{total,app,device,os,country,region,city,referrer,feed_app,source}'::text[]) as d(dimension)
    ), counted as (
        select w.podcast_no, w.month, w.dimension, p.tenant_no, p.key, p.day, p.downloads, p.downloads_strict
        from wanted w
        cross join lateral (
            select tenant_no, key, day, downloads, downloads_strict from app.podcast_daily
            where podcast_no = w.podcast_no and dimension = w.dimension and day >= w.month and day < w.until
            offset 0
        ) p
        union all
        select w.podcast_no, w.month, 'episode', m.tenant_no, w.episode_no::text, m.day, m.downloads, m.downloads_strict
        from episodes w
        cross join lateral (
            select tenant_no, day, downloads, downloads_strict from app.metrics_daily
            where episode_no = w.episode_no and day >= w.month and day < w.until and dimension = 'total'
                and podcast_no = w.podcast_no
            offset 0
        ) m
    ), sums as (
        select max(tenant_no) as tenant_no, podcast_no, month, dimension, key,
            array_agg(extract(day from day)::integer) as places, array_agg(downloads::bigint) as counts,
            array_agg(downloads_strict::bigint) as counts_strict
        from counted group by podcast_no, month, dimension, key
    ), fresh as materialized (
        select tenant_no, podcast_no, month, dimension, key, app.running_counts(counts, places, 31) as running,
            app.running_counts(counts_strict, places, 31) as running_strict
        from sums
    ), gone as (
        delete from app.podcast_months p using (
            select w.podcast_no, w.dimension, w.month, k.key
            from wanted w
            cross join lateral (
                select key from app.podcast_months
                where podcast_no = w.podcast_no and dimension = w.dimension and month = w.month
                offset 0
            ) k
            union all
            select podcast_no, 'episode', month, episode_no::text from episodes
            except
            select podcast_no, dimension, month, key from fresh
        ) w
        where p.podcast_no = w.podcast_no and p.dimension = w.dimension and p.month = w.month and p.key = w.key
    )
    insert into app.podcast_months as old (tenant_no, podcast_no, month, dimension, key, running, running_strict)
    select * from fresh
    on conflict (podcast_no, dimension, month, key) do update
        set tenant_no = excluded.tenant_no, running = excluded.running, running_strict = excluded.running_strict
        where (old.tenant_no, old.running, old.running_strict)
            is distinct from (excluded.tenant_no, excluded.running, excluded.running_strict);
end
$$;
revoke execute on function app.running_counts(bigint[], integer[], integer) from public;
revoke execute on function app.sum_up(integer[], integer[], date[]) from public;
grant execute on function app.running_counts(bigint[], integer[], integer), app.sum_up(integer[], integer[], date[])
    to castledger_ingest;

-- Listeners of a UTC month by the days on which they came: `listeners[i]` of them came on `days[i]` and before that last
-- on `former[i]`, 0 for not before in this month. Who came on any of some days is then counted once: those of these days
-- whose former day lies before the first of them. Of a podcast with `episode_no` 0, and of each of its episodes.
create table app.listener_months (
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    month date not null check (extract(day from month) = 1),
    days smallint[] not null,
    former smallint[] not null,
    listeners integer[] not null,
    counted_at timestamptz not null,
    took interval not null,
    primary key (podcast_no, episode_no, month),
    check (cardinality(days) = cardinality(former) and cardinality(days) = cardinality(listeners))
);

-- Months to be counted anew. As dirty marks: append-only, and who counts deletes only those seen before.
create table ops.listener_marks (
    mark_no bigint generated always as identity primary key,
    tenant_no integer not null,
    podcast_no integer not null,
    month date not null
);
create index listener_marks_podcast on ops.listener_marks (podcast_no, month);

alter table app.listener_months enable row level security;
alter table app.listener_months force row level security;
create policy tenant on app.listener_months for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.listener_months to castledger_ingest using (true);
create policy erasure on app.listener_months to castledger_owner using (tenant_no = app.tenant_no());
grant select on app.listener_months to castledger_api;
grant select, insert, update, delete on app.listener_months to castledger_ingest;
grant select, insert, delete on ops.listener_marks to castledger_ingest;

-- Links: short addresses of ours that lead to a target and count who follows them.

create table app.links (
    tenant_id uuid not null references app.tenants,
    link_id uuid not null,
    link_no integer generated always as identity unique,
    tenant_no integer not null,
    -- One path space for all tenants; a link that was taken away keeps its slug, so that it never leads elsewhere.
    slug text not null unique,
    url text not null,
    target text not null,
    utm jsonb not null,
    click_id boolean not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, link_id)
);
create index links_created on app.links (tenant_id, created_at, link_id);

-- Clicks on known links; the hits themselves are in ts.listener_events, with kind 2 and no verdict.
create table app.clicks (
    tenant_no integer not null,
    link_no integer not null,
    occurred_at timestamptz not null,
    segment_no integer not null,
    ordinal integer not null,
    is_bot boolean not null,
    click_id uuid,
    primary key (segment_no, ordinal)
);
create index clicks_time on app.clicks (link_no, occurred_at, is_bot);
create unique index clicks_id on app.clicks (click_id) where click_id is not null;

alter table app.links enable row level security;
alter table app.links force row level security;
alter table app.clicks enable row level security;
alter table app.clicks force row level security;
create policy tenant on app.links to castledger_api using (tenant_id = app.tenant_id());
create policy ingest on app.links for select to castledger_ingest using (true);
create policy erasure on app.links to castledger_owner using (tenant_id = app.tenant_id());
create policy tenant on app.clicks for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.clicks to castledger_ingest using (true);
create policy erasure on app.clicks to castledger_owner using (tenant_no = app.tenant_no());
grant select, insert, update on app.links to castledger_api;
grant select on app.links to castledger_ingest;
grant select on app.clicks to castledger_api;
grant select, insert on app.clicks to castledger_ingest;

-- What could not land is named: hits that were refused, and damage in the spool.

-- Neither an address nor a listener's key. `tenant_no` is null where the hit was refused before it was found out.
create table ops.dead_letters (
    segment_no integer not null,
    ordinal integer not null,
    occurred_at timestamptz not null,
    tenant_no integer,
    step text not null check (step in ('judge', 'land')),
    reason text not null check (length(reason) <= 100),
    message text not null check (length(message) <= 500),
    target text not null check (length(target) <= 2048),
    agent text not null check (length(agent) <= 512),
    buried_at timestamptz not null default now(),
    primary key (segment_no, ordinal)
);
create index dead_letters_buried on ops.dead_letters (buried_at);
grant select, insert, delete on ops.dead_letters to castledger_ingest;

-- Bytes of segments that are no whole frame: where they stand, and how many hits are missing, as far as the totals in
-- the frames around them tell. `file` is the segment's name without its ending.
create table ops.spool_faults (
    file text not null check (length(file) <= 255),
    start_offset bigint not null,
    end_offset bigint not null check (end_offset > start_offset),
    segment_no integer,
    reason text not null check (length(reason) <= 500),
    lost_hits bigint check (lost_hits >= 0),
    found_at timestamptz not null default now(),
    primary key (file, start_offset)
);
create index spool_faults_segment on ops.spool_faults (segment_no);
grant select, insert on ops.spool_faults to castledger_ingest;

-- When ingest last read a frame of a segment: a tracker that lives writes one a minute. Null before the first since then.
alter table ops.segments add column last_frame_at timestamptz;
create index segments_finished on ops.segments (finished_at);

-- The ledger of answers: for every minute and source what was answered and what became of it, hit by hit. `what` is
-- `answered`; a verdict, `click`, `pending` or `dead`, of hits that were read; or `lost:` with a reason. Written with the
-- hits themselves; over any range of whole batches `answered` is the sum of all others.
create table ops.ledger_minutes (
    minute timestamptz not null,
    source text not null,
    what text not null,
    hits bigint not null,
    primary key (minute, source, what)
);
grant select, insert, update, delete on ops.ledger_minutes to castledger_ingest;

-- The writer's totals before the first frame, and whether what happened between this segment and the one before it, as
-- far as totals tell, is in the ledger.
alter table ops.segments add column opening jsonb;
alter table ops.segments add column is_linked boolean not null default false;
create index segments_unlinked on ops.segments (created_at) where opening is not null and not is_linked;
create index segments_source on ops.segments (source, created_at);

-- Both are of the whole installation, and shown to its own tenant alone.
create view api.ledger_minutes with (security_barrier) as
    select minute, source, what, hits from ops.ledger_minutes
    where exists (select from app.tenants t where t.tenant_no = app.tenant_no() and t.is_installation);

create view api.trackers with (security_barrier) as
    select distinct on (s.source) s.source, s.finished_why, coalesce(s.last_frame_at, s.created_at) as last_frame_at,
        (select min(cutoff_at) from ops.ingest_status) as cutoff_at
    from ops.segments s
    where (s.finished_at is null or s.finished_at > now() - interval '7 days')
        and exists (select from app.tenants t where t.tenant_no = app.tenant_no() and t.is_installation)
    order by s.source, s.created_at desc, s.segment_no desc;

grant select on api.ledger_minutes, api.trackers to castledger_api;

-- Jobs: what ingest does from time to time, once for all its processes, with a history.

-- One row a kind and key, so that no job runs twice at once. A lease that ran out is anybody's; whoever ends a job
-- names the lease that it holds, so that one who was too slow changes nothing.
create table ops.jobs (
    kind text not null check (length(kind) between 1 and 40),
    key text not null default '' check (length(key) <= 200),
    due_at timestamptz not null default now(),
    failures integer not null default 0,
    lease uuid,
    leased_at timestamptz,
    leased_until timestamptz,
    primary key (kind, key),
    check ((lease is null) = (leased_until is null) and (lease is null) = (leased_at is null))
);

create table ops.job_runs (
    run_no bigint generated always as identity primary key,
    kind text not null,
    key text not null,
    started_at timestamptz not null,
    ended_at timestamptz not null default now(),
    outcome text not null check (outcome in ('done', 'failed', 'lost')),
    counts jsonb not null default '{}',
    error text check (length(error) <= 500)
);
create index job_runs_job on ops.job_runs (kind, key, run_no);

grant select, insert, update on ops.jobs to castledger_ingest;
grant select, insert, delete on ops.job_runs to castledger_ingest;

-- Which version of a podcast's figures there is, so that who has seen it can be told that nothing is new.

-- A number that is raised whenever sums are brought up to date, in the same transaction. Changes that are not summed up
-- yet have a mark: api.dirty_marks.
create table ops.figure_versions (
    podcast_no integer primary key,
    tenant_no integer not null,
    version bigint not null
) with (fillfactor = 50);

create view api.figure_versions with (security_barrier) as
    select podcast_no, version from ops.figure_versions where tenant_no = app.tenant_no();
create view api.listener_marks with (security_barrier) as
    select podcast_no, month from ops.listener_marks where tenant_no = app.tenant_no();
grant select on api.figure_versions, api.listener_marks to castledger_api;

-- Whoever sums up takes the marks of what it sums up, this version and the one before it.
create function ops.raise_figure_versions() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ops.figure_versions as known (podcast_no, tenant_no, version)
    select podcast_no, max(tenant_no), 1 from removed group by podcast_no order by podcast_no
    on conflict (podcast_no) do update set tenant_no = excluded.tenant_no, version = known.version + 1;
    return null;
end
$$;
revoke execute on function ops.raise_figure_versions() from public;
create trigger raise_figure_versions after delete on ops.sum_marks
    referencing old table as removed for each statement execute function ops.raise_figure_versions();

-- Retention: hits, downloads and clicks go when their time is over; what was made of them stays. Erasures, with proof.

create index days_day on ops.days (day);
create index days_with_hits on ops.days (tenant_no, day) where hits_dropped_at is null;

grant update (retention_hits_days) on app.tenants to castledger_auth;

-- Clicks that are gone stay counted.
alter table app.links add column clicks_dropped bigint not null default 0;
alter table app.links add column bots_dropped bigint not null default 0;
create index clicks_at on app.clicks (tenant_no, occurred_at);
create policy retention on app.links for update to castledger_ingest using (true);
grant update (clicks_dropped, bots_dropped) on app.links to castledger_ingest;
grant delete on app.clicks to castledger_ingest;

-- Hits are only ever added by who lands them: those of one tenant and day can be taken away, once the day is final.
create function ops.delete_hits(tenant integer, gone date) returns bigint language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    deleted bigint;
begin
    if not exists (select from ops.days d where d.tenant_no = tenant and d.day = gone and d.final_at is not null) then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    delete from ts.listener_events
    where tenant_no = tenant and occurred_at >= gone::timestamp at time zone 'UTC'
        and occurred_at < (gone + 1)::timestamp at time zone 'UTC';
    get diagnostics deleted = row_count;
    return deleted;
end
$$;

-- The UTC days that a table of the time series has chunks for.
create function ops.list_kept_days(series text) returns setof date language sql stable security definer
    set search_path = pg_catalog, pg_temp
as $$
    select distinct (c.range_start at time zone 'UTC')::date from timescaledb_information.chunks c
    where c.hypertable_schema = 'ts' and c.hypertable_name = series
$$;

-- Drop a whole day of hits or of downloads; false when it is not there, or not final for every tenant.
create function ops.drop_day(series text, gone date) returns boolean language plpgsql security definer
    set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
declare
    dropped bigint := 0;
begin
    if exists (select from ops.days d where d.day = gone and d.final_at is null) then
        return false;
    end if;
    if series = 'listener_events' then
        select count(*) into dropped from public.drop_chunks('ts.listener_events',
            older_than => (gone + 1)::timestamp at time zone 'UTC', newer_than => gone::timestamp at time zone 'UTC');
    elsif series = 'downloads' then
        select count(*) into dropped from public.drop_chunks('ts.downloads', older_than => gone + 1, newer_than => gone);
    end if;
    return dropped > 0;
end
$$;
revoke execute on function ops.delete_hits(integer, date) from public;
revoke execute on function ops.list_kept_days(text) from public;
revoke execute on function ops.drop_day(text, date) from public;
grant execute on function ops.delete_hits(integer, date), ops.list_kept_days(text), ops.drop_day(text, date)
    to castledger_ingest;

-- Erasures of a listener: what was taken away, and that nothing was left. Whom it was about is kept as a hash under the
-- record's own id, so that it can be compared with a name that is given, and with nothing else.
create table app.erasures (
    tenant_no integer not null,
    erasure_id uuid not null,
    kind text not null check (kind in ('listener', 'podcast', 'tenant')),
    subject_hash bytea not null check (length(subject_hash) = 32),
    month date check (extract(day from month) = 1),
    started_at timestamptz not null,
    removed jsonb not null default '{}',
    finished_at timestamptz,
    remaining jsonb,
    digest bytea check (length(digest) = 32),
    primary key (tenant_no, erasure_id),
    check ((finished_at is null) = (digest is null) and (finished_at is null) = (remaining is null)),
    constraint erasures_month_of check ((kind = 'listener') = (month is not null))
);
alter table app.erasures enable row level security;
alter table app.erasures force row level security;
create policy tenant on app.erasures for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy erasure on app.erasures to castledger_owner using (tenant_no = app.tenant_no());
grant select on app.erasures to castledger_api;

-- The role that backups are read as. It sees every row and writes none, and no service ever takes it.

grant usage on schema app, ts, ops to castledger_dump;
grant select on all tables in schema app, ts, ops to castledger_dump;
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

-- Days whose downloads or hits are gone are explained by what is left.

-- Whether hits of the day have gone: some may have landed since then, and are not all that it had.
alter table ops.days add column hits_incomplete boolean not null default false;

create or replace view api.days with (security_barrier) as
    select day, final_at, rekeyed, downloads_dropped_at is not null as downloads_gone,
        hits_incomplete or hits_dropped_at is not null as hits_gone
    from ops.days where tenant_no = app.tenant_no();

-- Restatements: figures of final days that changed, and why. Records of them, and of the days that they changed.

create table app.restatements (
    tenant_no integer not null,
    restatement_id uuid not null,
    first_day date not null,
    last_day date not null check (last_day >= first_day),
    reason text not null check (length(reason) between 1 and 500),
    origin text not null check (origin in ('job', 'command', 'key')),
    key_id uuid,
    state text not null check (state in ('running', 'done', 'stopped')),
    started_at timestamptz not null,
    finished_at timestamptz,
    primary key (tenant_no, restatement_id),
    check ((origin = 'key') = (key_id is not null)),
    check ((state = 'running') = (finished_at is null))
);
create index restatements_started on app.restatements (tenant_no, started_at, restatement_id);

create table app.restatement_days (
    tenant_no integer not null,
    day date not null,
    restatement_id uuid not null,
    hits bigint not null check (hits >= 0),
    downloads_before bigint not null check (downloads_before >= 0),
    downloads_after bigint not null check (downloads_after >= 0),
    strict_before bigint not null check (strict_before between 0 and downloads_before),
    strict_after bigint not null check (strict_after between 0 and downloads_after),
    primary key (tenant_no, day, restatement_id),
    foreign key (tenant_no, restatement_id) references app.restatements on delete cascade
);

alter table app.restatements enable row level security;
alter table app.restatements force row level security;
alter table app.restatement_days enable row level security;
alter table app.restatement_days force row level security;
create policy tenant on app.restatements for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.restatements to castledger_ingest using (true);
create policy erasure on app.restatements to castledger_owner using (tenant_no = app.tenant_no());
create policy dump on app.restatements for select to castledger_dump using (true);
create policy tenant on app.restatement_days for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy ingest on app.restatement_days to castledger_ingest using (true);
create policy erasure on app.restatement_days to castledger_owner using (tenant_no = app.tenant_no());
create policy dump on app.restatement_days for select to castledger_dump using (true);
grant select on app.restatements, app.restatement_days to castledger_api;
grant select, insert, update on app.restatements to castledger_ingest;
grant select, insert on app.restatement_days to castledger_ingest;

-- Whether hits of a final day are to be counted without anybody asking for it.
alter table ops.days add column restatement_due boolean not null default false;
create index days_to_restate on ops.days (day, tenant_no) where restatement_due;

-- Have late hits of a tenant's final day count: all, or those that have certain flags besides. 16 says that a hit is
-- late, 512 that it was. Hits are only ever added by who lands them, so nobody else can change one.
create function ops.take_in_late_hits(tenant integer, restated date, flagged integer) returns bigint language plpgsql
    security definer set search_path = pg_catalog, pg_temp
as $$
declare
    taken bigint;
begin
    if not exists (
        select from ops.days d
        where d.tenant_no = tenant and d.day = restated and d.final_at is not null and d.downloads_dropped_at is null
    ) then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    update ts.listener_events set flags = (flags & ~16) | 512
    where tenant_no = tenant and occurred_at >= restated::timestamp at time zone 'UTC'
        and occurred_at < (restated + 1)::timestamp at time zone 'UTC' and flags & (16 | flagged) = (16 | flagged);
    get diagnostics taken = row_count;
    return taken;
end
$$;
revoke execute on function ops.take_in_late_hits(integer, date, integer) from public;
grant execute on function ops.take_in_late_hits(integer, date, integer) to castledger_ingest;

-- Erasures of a podcast; erasures that tenants ask for, which ingest does; what is kept no longer than it is needed.

create policy request on app.erasures for insert to castledger_api
    with check (tenant_no = (select app.tenant_no()) and finished_at is null);
create policy ingest on app.erasures to castledger_ingest using (true);
grant insert (tenant_no, erasure_id, kind, subject_hash, month, started_at) on app.erasures to castledger_api;
grant select, update (removed, finished_at, remaining, digest) on app.erasures to castledger_ingest;

-- Whom an erasure that is not done is about. The row goes when it is done: the record alone is kept, and names nobody.
create table app.erasure_requests (
    tenant_no integer not null,
    erasure_id uuid not null,
    listener_key uuid,
    month date check (extract(day from month) = 1),
    podcast_id uuid,
    podcast_no integer,
    primary key (tenant_no, erasure_id),
    foreign key (tenant_no, erasure_id) references app.erasures,
    check (num_nonnulls(listener_key, month) = 2 and num_nonnulls(podcast_id, podcast_no) = 0
        or num_nonnulls(listener_key, month) = 0 and num_nonnulls(podcast_id, podcast_no) = 2)
);
create unique index erasure_requests_listener on app.erasure_requests (tenant_no, listener_key, month);
create unique index erasure_requests_podcast on app.erasure_requests (tenant_no, podcast_no);
alter table app.erasure_requests enable row level security;
alter table app.erasure_requests force row level security;
create policy tenant on app.erasure_requests for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy request on app.erasure_requests for insert to castledger_api
    with check (tenant_no = (select app.tenant_no()));
create policy ingest on app.erasure_requests to castledger_ingest using (true);
create policy erasure on app.erasure_requests to castledger_owner using (tenant_no = app.tenant_no());
create policy dump on app.erasure_requests for select to castledger_dump using (true);
grant select, insert on app.erasure_requests to castledger_api;
grant select, delete on app.erasure_requests to castledger_ingest;

-- Nobody has to wait for the job's next turn.
create function ops.call_erasures() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    update ops.jobs set due_at = least(due_at, now()) where kind = 'erasures';
    return null;
end
$$;
revoke execute on function ops.call_erasures() from public;
create trigger call_erasures after insert on app.erasure_requests
    for each statement execute function ops.call_erasures();

-- Hits are only ever added by who lands them: those go, of one day, that an erasure which was asked for is about. A
-- click's row goes with its hit, and stays counted with its link. In a transaction of the tenant.
create function ops.erase_hits(erasure uuid, of_day date, out hits bigint, out clicks bigint) language plpgsql
    security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
    wanted app.erasure_requests;
    begins timestamptz := of_day::timestamp at time zone 'UTC';
    ends timestamptz := (of_day + 1)::timestamp at time zone 'UTC';
begin
    select r.* into strict wanted from app.erasure_requests r
    where r.tenant_no = app.tenant_no() and r.erasure_id = erasure;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    if wanted.podcast_no is not null then
        delete from ts.listener_events e
        where e.tenant_no = wanted.tenant_no and e.podcast_no = wanted.podcast_no and e.occurred_at >= begins
            and e.occurred_at < ends;
        get diagnostics hits = row_count;
        clicks := 0;
        return;
    end if;
    with gone as (
        delete from ts.listener_events e
        where e.tenant_no = wanted.tenant_no and e.listener_key = wanted.listener_key and e.occurred_at >= begins
            and e.occurred_at < ends
        returning e.segment_no, e.ordinal
    ), clicked as (
        delete from app.clicks c using gone g where c.segment_no = g.segment_no and c.ordinal = g.ordinal
        returning c.link_no, c.is_bot
    ), counted as (
        update app.links l set clicks_dropped = l.clicks_dropped + n.people, bots_dropped = l.bots_dropped + n.bots
        from (
            select link_no, count(*) filter (where not is_bot) as people, count(*) filter (where is_bot) as bots
            from clicked group by link_no
        ) n where l.link_no = n.link_no
    )
    select (select count(*) from gone), (select count(*) from clicked) into hits, clicks;
end
$$;
revoke execute on function ops.erase_hits(uuid, date) from public;
grant execute on function ops.erase_hits(uuid, date) to castledger_ingest;

-- All else of a podcast goes as ingest.
grant delete on app.podcasts, app.episodes, app.enclosures, app.podcast_claims, app.podcast_transfers, app.unknown_hosts
    to castledger_ingest;
grant select, delete on ops.figure_versions to castledger_ingest;
grant update (erasures) on ops.ownership to castledger_ingest;
alter table ops.dead_letters add column podcast_no integer;

-- Segments whose hits are long gone.
grant delete on ops.segments to castledger_ingest;

-- The policy on hits follows what is set, a week behind: until then the job drops a day, which heeds what is final and
-- notes it. True when it was changed.
create function ops.set_hits_retention(months integer) returns boolean language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    wanted interval := make_interval(months => months, days => 7);
begin
    perform pg_advisory_xact_lock(hashtext('castledger.hits_retention'));
    if exists (
        select from timescaledb_information.jobs j
        where j.proc_name = 'policy_retention' and j.hypertable_schema = 'ts' and j.hypertable_name = 'listener_events'
            and (j.config ->> 'drop_after')::interval = wanted
    ) then
        return false;
    end if;
    perform public.remove_retention_policy('ts.listener_events', if_exists => true);
    perform public.add_retention_policy('ts.listener_events', wanted);
    return true;
end
$$;
revoke execute on function ops.set_hits_retention(integer) from public;
grant execute on function ops.set_hits_retention(integer) to castledger_ingest;

-- By which rules each tenant's day is judged: a profile as it was when it was chosen, null for the default.

alter table ops.days add column profile jsonb;
-- What days from a date on are judged by, and what days before it.
alter table app.tenants add column profile jsonb;
alter table app.tenants add column profile_from date;
alter table app.tenants add column profile_before jsonb;
grant update (profile, profile_from, profile_before) on app.tenants to castledger_ingest;
create policy profiles on app.tenants for update to castledger_ingest using (true);

-- The rules that days have had since, in one word: the profile's name and its version.
alter table app.restatements add column rules text;

create or replace view api.days with (security_barrier) as
    select day, final_at, rekeyed, downloads_dropped_at is not null as downloads_gone,
        hits_incomplete or hits_dropped_at is not null as hits_gone,
        (profile ->> 'name') || '.' || (profile ->> 'version') as rules
    from ops.days where tenant_no = app.tenant_no();

-- Hits are only ever added by who lands them: some of a tenant's day, by their ids, are taken away to be written anew, by
-- whoever holds the day's row. They are looked for between two instants.
create function ops.take_hits(tenant integer, of_day date, begins timestamptz, ends timestamptz, segments integer[],
    ordinals integer[]) returns bigint language plpgsql
    security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
    taken bigint;
begin
    perform from ops.days d
    where d.tenant_no = tenant and d.day = of_day and d.downloads_dropped_at is null and d.hits_dropped_at is null
    for update;
    if not found or begins < of_day::timestamp at time zone 'UTC' or ends >= (of_day + 1)::timestamp at time zone 'UTC' then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    delete from ts.listener_events e using unnest(segments, ordinals) as n(segment_no, ordinal)
    where e.tenant_no = tenant and e.occurred_at between begins and ends and e.segment_no = n.segment_no
        and e.ordinal = n.ordinal;
    get diagnostics taken = row_count;
    return taken;
end
$$;
revoke execute on function ops.take_hits(integer, date, timestamptz, timestamptz, integer[], integer[]) from public;
grant execute on function ops.take_hits(integer, date, timestamptz, timestamptz, integer[], integer[])
    to castledger_ingest;

-- Spikes: floods of requests that ingest finds beside the hits. They change nothing by themselves: the owner of the
-- podcast accepts them, which leaves their hits out of downloads, or dismisses them; what was accepted can be reverted.

-- What is null does not matter; `user_agent` says more than `app` where both are given. `usual` is what was likely of
-- each of its hours.
create table app.spikes (
    tenant_no integer not null,
    spike_id uuid not null,
    podcast_no integer not null,
    kind text not null check (kind in ('source', 'agent', 'network', 'country')),
    begins_at timestamptz not null,
    ends_at timestamptz not null,
    listener_key uuid,
    app text,
    user_agent text,
    asn integer,
    country smallint,
    usual integer[] not null check (cardinality(usual) between 1 and 24),
    hits bigint not null check (hits >= 0),
    downloads bigint not null check (downloads >= 0),
    episodes integer not null check (episodes >= 0),
    found_at timestamptz not null,
    state text not null default 'open' check (state in ('open', 'accepted', 'dismissed', 'reverted')),
    reason text check (length(reason) between 1 and 500),
    origin text check (origin in ('command', 'key')),
    key_id uuid,
    decided_at timestamptz,
    is_due boolean not null default false,
    applied_at timestamptz,
    refusal text check (length(refusal) between 1 and 500),
    primary key (tenant_no, spike_id),
    check ((begins_at at time zone 'UTC')::date = ((ends_at - interval '1 microsecond') at time zone 'UTC')::date),
    check (begins_at < ends_at),
    check (num_nonnulls(listener_key, app, user_agent, asn, country) > 0),
    check (num_nonnulls(reason, origin, decided_at) in (0, 3)),
    check ((state = 'open') or decided_at is not null),
    check (key_id is null or origin = 'key')
);
create unique index spikes_subject on app.spikes (tenant_no, podcast_no, begins_at, kind, listener_key, app, user_agent,
    asn, country) nulls not distinct;
create index spikes_begun on app.spikes (tenant_no, begins_at, spike_id);
create index spikes_due on app.spikes (decided_at) where is_due;

alter table app.spikes enable row level security;
alter table app.spikes force row level security;
create policy tenant on app.spikes for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy decision on app.spikes for update to castledger_api using (tenant_no = (select app.tenant_no()))
    with check (tenant_no = (select app.tenant_no()));
create policy ingest on app.spikes to castledger_ingest using (true);
create policy erasure on app.spikes to castledger_owner using (tenant_no = app.tenant_no());
create policy dump on app.spikes for select to castledger_dump using (true);
grant select, update (state, reason, origin, key_id, decided_at, is_due, refusal) on app.spikes to castledger_api;
grant select, insert, update, delete on app.spikes to castledger_ingest;

-- How far all hours have been looked at: once when they are closed, and once more a day later.
create table ops.spike_looks (
    pass smallint primary key check (pass in (1, 2)),
    until_at timestamptz not null
);
grant select, insert, update on ops.spike_looks to castledger_ingest;

-- Nobody has to wait for the job's next turn.
create function ops.call_spikes() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    update ops.jobs set due_at = least(due_at, now()) where kind = 'spikes';
    return null;
end
$$;
revoke execute on function ops.call_spikes() from public;
create trigger call_spikes after update of is_due on app.spikes
    for each statement execute function ops.call_spikes();

-- Hits are only ever added by who lands them: those of one spike are flagged (1024) once it is accepted, and the flag
-- goes once that is reverted, but for hits of another one that is accepted. In a transaction of the tenant.
create function ops.flag_spike(spike uuid) returns bigint language plpgsql security definer
    set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
    wanted app.spikes;
    agents integer[];
    changed bigint;
begin
    select s.* into strict wanted from app.spikes s where s.tenant_no = app.tenant_no() and s.spike_id = spike;
    if not exists (
        select from ops.days d
        where d.tenant_no = wanted.tenant_no and d.day = (wanted.begins_at at time zone 'UTC')::date
            and d.downloads_dropped_at is null
    ) then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    if wanted.state = 'accepted' then
        if wanted.app is not null or wanted.user_agent is not null then
            agents := array(
                select a.agent_no from ops.agents a
                where case when wanted.user_agent is null then a.app = wanted.app else a.user_agent = wanted.user_agent end
            );
        end if;
        update ts.listener_events e set flags = e.flags | 1024
        where e.tenant_no = wanted.tenant_no and e.podcast_no = wanted.podcast_no and e.occurred_at >= wanted.begins_at
            and e.occurred_at < wanted.ends_at and e.kind = 1 and e.flags & 1024 = 0
            and (wanted.listener_key is null or e.listener_key = wanted.listener_key)
            and (wanted.asn is null or e.asn = wanted.asn) and (wanted.country is null or e.country = wanted.country)
            and (agents is null or e.agent_no = any(agents));
    else
        update ts.listener_events e set flags = e.flags & ~1024
        where e.tenant_no = wanted.tenant_no and e.podcast_no = wanted.podcast_no and e.occurred_at >= wanted.begins_at
            and e.occurred_at < wanted.ends_at and e.kind = 1 and e.flags & 1024 <> 0
            and not exists (
                select from app.spikes o
                where o.tenant_no = wanted.tenant_no and o.podcast_no = wanted.podcast_no and o.state = 'accepted'
                    and o.spike_id <> wanted.spike_id and o.begins_at <= e.occurred_at and o.ends_at > e.occurred_at
                    and (o.listener_key is null or o.listener_key = e.listener_key)
                    and (o.asn is null or o.asn = e.asn) and (o.country is null or o.country = e.country)
                    and (o.app is null and o.user_agent is null or exists (
                        select from ops.agents a
                        where a.agent_no = e.agent_no
                            and case when o.user_agent is null then a.app = o.app else a.user_agent = o.user_agent end
                    ))
            );
    end if;
    get diagnostics changed = row_count;
    return changed;
end
$$;
revoke execute on function ops.flag_spike(uuid) from public;
grant execute on function ops.flag_spike(uuid) to castledger_ingest;

-- Places by number. `place` is country, region and city as databases name them, apart by slashes; `region` and `city` are
-- the keys that figures have, empty where unknown. 0 is no place, and has no row.
create table ops.places (
    place_no integer generated always as identity primary key,
    place text not null unique,
    region text not null,
    city text not null
);
grant select, insert on ops.places to castledger_ingest;

create or replace view api.listener_events with (security_barrier) as
    select e.occurred_at, e.segment_no, e.ordinal, e.podcast_no, e.episode_no, e.range_first, e.range_last, e.range_kind,
        e.verdict_bits, e.verdict, e.evidence, e.country, e.kind, e.method, e.flags, e.source, e.rules, e.listener_key,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, e.asn, e.networks,
        coalesce(a.os, '') as os, coalesce(l.region, '') as region, coalesce(l.city, '') as city
    from ts.listener_events e
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = e.referrer_no
    left join ops.terms f on f.term_no = e.feed_app_no
    left join ops.places l on l.place_no = e.place_no
    where e.tenant_no = app.tenant_no();

create or replace view api.pending_hits with (security_barrier) as
    select p.occurred_at, p.segment_no, p.ordinal, p.podcast_no, p.target, p.range_first, p.range_last, p.range_kind,
        p.verdict_bits, p.country, p.kind, p.method, p.flags, p.source,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, p.asn, p.networks,
        coalesce(a.os, '') as os, coalesce(l.region, '') as region, coalesce(l.city, '') as city
    from ops.pending_hits p
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = p.referrer_no
    left join ops.terms f on f.term_no = p.feed_app_no
    left join ops.places l on l.place_no = p.place_no
    where p.tenant_no = app.tenant_no();

-- Which of two sources counts where trackers and an imported log both tell of a podcast's day: 1 trackers, 2 the log
-- (HitSource). A day that only one of them tells of has no row. Hits of the other are kept, with the flag 2048.
create table ops.day_sources (
    tenant_no integer not null,
    day date not null,
    podcast_no integer not null,
    source smallint not null check (source in (1, 2)),
    primary key (tenant_no, day, podcast_no)
);
grant select, insert, update, delete on ops.day_sources to castledger_ingest;

-- Flag the hits of a podcast's day as its counted source says; a log's that came late are taken in when the log counts.
-- Hits are only ever added by who lands them, so nobody else can change one. Returns how many changed.
create function ops.flag_replaced_hits(tenant integer, of_day date, podcasts integer[]) returns bigint
    language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
    flagged bigint;
begin
    if not exists (
        select from ops.days d where d.tenant_no = tenant and d.day = of_day and d.downloads_dropped_at is null
    ) then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    update ts.listener_events e
    set flags = case when e.source <> s.source then e.flags | 2048
        when s.source = 2 and e.flags & 16 <> 0 then e.flags & ~(16 | 2048) | 512
        else e.flags & ~2048 end
    from ops.day_sources s
    where s.tenant_no = tenant and s.day = of_day and s.podcast_no = any(podcasts)
        and e.tenant_no = tenant and e.podcast_no = s.podcast_no
        and e.occurred_at >= of_day::timestamp at time zone 'UTC'
        and e.occurred_at < (of_day + 1)::timestamp at time zone 'UTC'
        and ((e.flags & 2048 <> 0) = (e.source = s.source) or s.source = 2 and e.source = 2 and e.flags & 16 <> 0);
    get diagnostics flagged = row_count;
    return flagged;
end
$$;
revoke execute on function ops.flag_replaced_hits(integer, date, integer[]) from public;
grant execute on function ops.flag_replaced_hits(integer, date, integer[]) to castledger_ingest;

-- Since when hits are looked up in which lists and databases: addresses are not kept, so that what one says of a hit is
-- what it said when the hit landed, and a recount has to be able to tell from when on it was there.
create table ops.list_versions (
    kind text not null check (kind in ('networks', 'asns', 'countries')),
    since timestamptz not null,
    version text not null check (length(version) between 1 and 200),
    primary key (kind, since)
);
grant select, insert on ops.list_versions to castledger_ingest;
-- What was changed and by whom, written in the transaction of the change; the seals of these entries; and the keys under
-- which a request that is sent twice is done once.

-- Only ever added to: nobody but a tenant's erasure, as the owner, may change or take away an entry.
create table app.audit_log (
    tenant_id uuid not null references app.tenants,
    entry_id uuid not null,
    -- In the order of writing, over all tenants; with gaps, and never shown.
    entry_no bigint generated always as identity unique,
    at timestamptz not null default clock_timestamp(),
    actor text not null check (actor in ('key', 'user', 'command')),
    actor_id uuid,
    action text not null check (action ~ '^[a-z_]{1,40}\.[a-z_]{1,40}$'),
    resource_id text check (length(resource_id) between 1 and 200),
    request_id text check (length(request_id) between 1 and 64),
    before jsonb,
    after jsonb,
    primary key (tenant_id, entry_id),
    check ((actor = 'command') = (actor_id is null))
);
create index audit_log_at on app.audit_log (tenant_id, at, entry_id);

alter table app.audit_log enable row level security;
alter table app.audit_log force row level security;
create policy tenant on app.audit_log for select to castledger_api using (tenant_id = (select app.tenant_id()));
create policy entry on app.audit_log for insert to castledger_api, castledger_auth
    with check (tenant_id = (select app.tenant_id()));
create policy ingest on app.audit_log for select to castledger_ingest using (true);
create policy command on app.audit_log for insert to castledger_ingest with check (actor = 'command');
create policy erasure on app.audit_log to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.audit_log for select to castledger_dump using (true);
grant select on app.audit_log to castledger_api, castledger_ingest;
grant insert (tenant_id, entry_id, actor, actor_id, action, resource_id, request_id, before, after) on app.audit_log
    to castledger_api, castledger_auth, castledger_ingest;

-- The place of an entry in its tenant's sequence, without gaps, and the hash that ties it to all before it.
create table app.audit_seals (
    tenant_id uuid not null references app.tenants,
    seq bigint not null check (seq > 0),
    entry_id uuid not null,
    hash bytea not null check (length(hash) = 32),
    primary key (tenant_id, seq),
    unique (tenant_id, entry_id)
);
alter table app.audit_seals enable row level security;
alter table app.audit_seals force row level security;
create policy tenant on app.audit_seals for select to castledger_api using (tenant_id = (select app.tenant_id()));
create policy ingest on app.audit_seals for select to castledger_ingest using (true);
create policy seal on app.audit_seals for insert to castledger_ingest with check (true);
create policy erasure on app.audit_seals to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.audit_seals for select to castledger_dump using (true);
grant select on app.audit_seals to castledger_api, castledger_ingest;
grant insert on app.audit_seals to castledger_ingest;

-- Entries that wait for their seal: what commits is here, whenever that is, and so none can be passed over.
create table ops.audit_unsealed (
    entry_no bigint primary key references app.audit_log (entry_no) on delete cascade
);
grant select, delete on ops.audit_unsealed to castledger_ingest;

create function ops.await_seal() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ops.audit_unsealed (entry_no) values (new.entry_no);
    return null;
end
$$;
revoke execute on function ops.await_seal() from public;
create trigger await_seal after insert on app.audit_log for each row execute function ops.await_seal();

-- The answers of writes that named an `Idempotency-Key`, for a day. A key is its caller's own.
create table app.idempotency_keys (
    tenant_id uuid not null references app.tenants,
    caller_id uuid not null,
    key text not null check (length(key) between 1 and 255),
    request_hash bytea not null check (length(request_hash) = 32),
    created_at timestamptz not null,
    -- Of the answer, once there is one; without a body where it is too long or was to be seen only once.
    status_code smallint check (status_code between 200 and 399),
    resource_id text check (length(resource_id) between 1 and 200),
    answer bytea check (length(answer) <= 65536),
    etag text check (length(etag) between 1 and 100),
    primary key (tenant_id, caller_id, key)
);
create index idempotency_keys_created on app.idempotency_keys (created_at);
alter table app.idempotency_keys enable row level security;
alter table app.idempotency_keys force row level security;
create policy tenant on app.idempotency_keys to castledger_api, castledger_auth
    using (tenant_id = (select app.tenant_id()));
create policy ingest on app.idempotency_keys to castledger_ingest using (true);
create policy erasure on app.idempotency_keys to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.idempotency_keys for select to castledger_dump using (true);
grant select, insert, update on app.idempotency_keys to castledger_api, castledger_auth;
grant select, delete on app.idempotency_keys to castledger_ingest;

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

-- Tenants from their making to their going: settings, quotas and what is used of them, suspension, closing, erasure.

-- A closing tenant is read and exported until its time is over; then ingest erases it. Whoever closed it may take that
-- back: a tenant cannot undo what the installation did.
alter table app.tenants add column closing_at timestamptz;
alter table app.tenants add column closes_at timestamptz;
alter table app.tenants add column closed_by text check (closed_by in ('tenant', 'installation'));
alter table app.tenants add column erasure_id uuid;
alter table app.tenants add constraint tenants_closing check (
    (status = 'closing') = (closing_at is not null)
    and (closing_at is null) = (closes_at is null) and (closing_at is null) = (closed_by is null)
    and (erasure_id is null or status = 'closing')
);
create index tenants_created on app.tenants (created_at, tenant_id);
create index tenants_closing_at on app.tenants (closes_at) where status = 'closing';

-- Whether the current tenant is the installation's own.
create function app.is_installation() returns boolean language sql stable security definer
    set search_path = pg_catalog, pg_temp
as $$ select exists (select from app.tenants where tenant_id = app.tenant_id() and is_installation) $$;
revoke execute on function app.is_installation() from public;
grant execute on function app.is_installation() to castledger_api, castledger_auth, castledger_ingest;

-- The installation sees all tenants, makes new ones and sets what becomes of them; never what they own.
create policy installation on app.tenants for select to castledger_api using ((select app.is_installation()));
create policy installation_adds on app.tenants for insert to castledger_api
    with check ((select app.is_installation()) and not is_installation and status = 'active');
create policy installation_sets on app.tenants for update to castledger_api using ((select app.is_installation()));
grant insert (tenant_id, slug, name), update (name, status, closing_at, closes_at, closed_by) on app.tenants
    to castledger_api;
grant update (erasure_id) on app.tenants to castledger_ingest;
create policy ingest_erases on app.tenants for update to castledger_ingest using (status = 'closing');

-- Which way a tenant's state may go, whoever asks: a row of its own is all that a tenant may change, and not freely.
create function app.guard_tenant_status() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if (new.status, new.closing_at, new.closes_at, new.closed_by)
        is not distinct from (old.status, old.closing_at, old.closes_at, old.closed_by) then
        return new;
    end if;
    if old.is_installation then
        raise exception 'the installation''s own tenant stays active' using errcode = 'insufficient_privilege';
    end if;
    if old.erasure_id is not null then
        raise exception 'the tenant is being erased' using errcode = 'object_not_in_prerequisite_state';
    end if;
    if current_user = 'castledger_api' and not app.is_installation() and not (
        old.status = 'active' and new.status = 'closing' and new.closed_by = 'tenant'
        or old.status = 'closing' and old.closed_by = 'tenant' and new.status = 'active'
    ) then
        raise exception 'only the installation does this' using errcode = 'insufficient_privilege';
    end if;
    return new;
end
$$;
create trigger guard_status before update of status, closing_at, closes_at, closed_by on app.tenants
    for each row execute function app.guard_tenant_status();

-- What a tenant has set; a null value is one that was taken back, whose version stays so that none comes twice.
create table app.tenant_settings (
    tenant_id uuid not null references app.tenants,
    key text not null check (length(key) between 1 and 60),
    value jsonb,
    version integer not null check (version > 0),
    updated_at timestamptz not null,
    updated_by text not null check (length(updated_by) between 1 and 100),
    primary key (tenant_id, key)
);

-- How many of a thing there may be, or may be made in a UTC day or month; null is no limit.
create table app.tenant_quotas (
    tenant_id uuid not null references app.tenants,
    metric text not null check (metric in ('api_keys', 'links', 'members', 'podcasts')),
    period text not null check (period in ('day', 'month', 'total')),
    limit_value bigint check (limit_value >= 0),
    updated_at timestamptz not null,
    updated_by text not null check (length(updated_by) between 1 and 100),
    primary key (tenant_id, metric, period)
);

-- How many there are (total), and were made since the period began.
create table app.usage_counters (
    tenant_id uuid not null references app.tenants,
    metric text not null,
    period text not null check (period in ('day', 'month', 'total')),
    starts_on date not null,
    used bigint not null check (used >= 0),
    primary key (tenant_id, metric, period)
);

alter table app.tenant_settings enable row level security;
alter table app.tenant_settings force row level security;
alter table app.tenant_quotas enable row level security;
alter table app.tenant_quotas force row level security;
alter table app.usage_counters enable row level security;
alter table app.usage_counters force row level security;

create policy tenant on app.tenant_settings to castledger_api using (tenant_id = app.tenant_id());
create policy erasure on app.tenant_settings to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.tenant_settings for select to castledger_dump using (true);
grant select, insert, update (value, version, updated_at, updated_by) on app.tenant_settings to castledger_api;

create policy tenant on app.tenant_quotas for select to castledger_api using (tenant_id = app.tenant_id());
create policy installation on app.tenant_quotas to castledger_api using ((select app.is_installation()));
create policy dump on app.tenant_quotas for select to castledger_dump using (true);
grant select, insert, delete on app.tenant_quotas to castledger_api;

create policy tenant on app.usage_counters for select to castledger_api using (tenant_id = app.tenant_id());
create policy installation on app.usage_counters for select to castledger_api using ((select app.is_installation()));
create policy dump on app.usage_counters for select to castledger_dump using (true);
grant select on app.usage_counters to castledger_api;

-- Whatever makes or takes away what is counted counts, in the same transaction, as the owner.
create policy counting on app.tenant_quotas to castledger_owner using (true);
create policy counting on app.usage_counters to castledger_owner using (true);

-- Arguments: the metric, then the columns by which a row has ended once one is set. People and keys are held to quotas;
-- ingest, which moves what was proven, and the owner, who imports, are only counted.
create function app.count_rows() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    of_metric text := tg_argv[0];
    columns text[] := tg_argv[1:];
    acting text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    is_bound boolean := acting in ('castledger_api', 'castledger_auth');
    before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
    after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
    of_tenant uuid := (coalesce(after, before) ->> 'tenant_id')::uuid;
    change integer := 0;
    today date := (now() at time zone 'UTC')::date;
    turn record;
begin
    if before is not null and not exists (select from unnest(columns) c where before ->> c is not null) then
        change := change - 1;
    end if;
    if after is not null and not exists (select from unnest(columns) c where after ->> c is not null) then
        change := change + 1;
    end if;
    if change < 0 then
        update app.usage_counters set used = greatest(used - 1, 0)
        where tenant_id = of_tenant and metric = of_metric and period = 'total';
    end if;
    if change <= 0 then
        return null;
    end if;
    -- In one order, so that two who count wait for each other in a line.
    for turn in
        select p.period, p.starts_on, p.starts_on + p.lasts as resets_on, q.limit_value
        from (values
            ('day', today, interval '1 day'),
            ('month', date_trunc('month', today::timestamp)::date, interval '1 month'),
            ('total', date '2000-01-01', null)
        ) p(period, starts_on, lasts)
        left join app.tenant_quotas q on q.tenant_id = of_tenant and q.metric = of_metric and q.period = p.period
        order by p.period
    loop
        insert into app.usage_counters as c (tenant_id, metric, period, starts_on, used)
        select of_tenant, of_metric, turn.period, turn.starts_on, 1
        where not is_bound or turn.limit_value is null or turn.limit_value > 0
        on conflict (tenant_id, metric, period) do update
            set used = case when c.starts_on < turn.starts_on then 1 else c.used + 1 end, starts_on = turn.starts_on
            where not is_bound or turn.limit_value is null or c.starts_on < turn.starts_on
                or c.used < turn.limit_value;
        if not found then
            raise exception 'quota_exceeded' using errcode = 'CLQTA', detail = json_build_object(
                'metric', of_metric, 'period', turn.period, 'limit', turn.limit_value,
                'resets_at', turn.resets_on at time zone 'UTC',
                'retry_after_s', ceil(extract(epoch from turn.resets_on at time zone 'UTC' - now()))::integer)::text;
        end if;
    end loop;
    return null;
end
$$;
revoke execute on function app.count_rows() from public;

create trigger count_rows after insert or delete or update of revoked_at on app.api_keys
    for each row execute function app.count_rows('api_keys', 'revoked_at');
create trigger count_rows after insert or delete or update of archived_at on app.links
    for each row execute function app.count_rows('links', 'archived_at');
create trigger count_rows after insert or delete or update of removed_at on app.memberships
    for each row execute function app.count_rows('members', 'removed_at');
create trigger count_rows after insert or delete or update of archived_at, transferred_at on app.podcasts
    for each row execute function app.count_rows('podcasts', 'archived_at', 'transferred_at');

-- The record of a tenant's erasure is the installation's: it says what went, and names nobody.
grant insert (tenant_no, erasure_id, kind, subject_hash, month, started_at) on app.erasures to castledger_ingest;
grant insert on app.erasure_requests to castledger_ingest;
-- Of a tenant that is being erased alone: nothing else goes that nobody has asked for.
create policy closing on app.erasure_requests as restrictive for insert to castledger_ingest
    with check (exists (
        select from app.tenants t where t.tenant_no = erasure_requests.tenant_no and t.status = 'closing'));

-- Hosts of audio that nobody has any more: players who ask for it by an old prefix are sent on for as long as after it
-- has gone from a feed.
create table ops.released_hosts (
    host text primary key check (length(host) <= 255),
    released_at timestamptz not null
);
grant select, insert, update, delete on ops.released_hosts to castledger_ingest;

-- Sponsors, the links that belong to one, and logins that see the rows of some sponsors alone.

-- Which sponsors a transaction is held to: an empty list shows nothing, null is everything of its tenant.
create function app.sponsor_ids() returns uuid[] language sql stable parallel safe
    return nullif(current_setting('app.sponsor_ids', true), '')::uuid[];

-- Whoever is held to sponsors has no tenant: every policy and every view of one shows nothing, those of tables to come
-- as well. The few that sponsors have rows in name the tenant by app.sponsors_tenant_id, and the sponsor beside it.
create or replace function app.tenant_id() returns uuid language sql stable parallel safe
    return case when nullif(current_setting('app.sponsor_ids', true), '') is null
        then nullif(current_setting('app.tenant_id', true), '')::uuid end;
create or replace function app.tenant_no() returns integer language sql stable parallel safe
    return case when nullif(current_setting('app.sponsor_ids', true), '') is null
        then nullif(current_setting('app.tenant_no', true), '')::integer end;
create function app.sponsors_tenant_id() returns uuid language sql stable parallel safe
    return case when app.sponsor_ids() is not null then nullif(current_setting('app.tenant_id', true), '')::uuid end;
grant execute on function app.sponsor_ids(), app.sponsors_tenant_id() to castledger_api;

-- Names are told apart by `name_key`, a hash of the name as the API folds it: what a database takes for the same letter
-- in capitals depends on its locale.
create table app.sponsors (
    tenant_id uuid not null references app.tenants,
    sponsor_id uuid not null,
    name text not null check (length(name) between 1 and 200),
    name_key uuid not null,
    domain text check (length(domain) between 1 and 253),
    category text check (length(category) between 1 and 40),
    contacts jsonb not null default '[]' check (jsonb_typeof(contacts) = 'array' and jsonb_array_length(contacts) <= 20),
    targeting jsonb not null default '{}' check (jsonb_typeof(targeting) = 'object'),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, sponsor_id),
    constraint sponsors_name unique (tenant_id, name_key)
);
create index sponsors_created on app.sponsors (tenant_id, created_at, sponsor_id);

alter table app.links add column sponsor_id uuid;
alter table app.links add constraint links_sponsor foreign key (tenant_id, sponsor_id) references app.sponsors;
create index links_sponsor on app.links (tenant_id, sponsor_id, created_at, link_id) where sponsor_id is not null;

alter table app.sponsors enable row level security;
alter table app.sponsors force row level security;
create policy tenant on app.sponsors to castledger_api using (tenant_id = (select app.tenant_id()));
create policy erasure on app.sponsors to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.sponsors for select to castledger_dump using (true);
grant select, insert, update on app.sponsors to castledger_api;

-- In a subquery, which is asked once a statement; a bare call is asked once a row.
alter policy tenant on app.links using (tenant_id = (select app.tenant_id()));

-- To read alone: whoever is held to sponsors writes nothing.
create policy sponsor on app.sponsors for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.links for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
-- Clicks of those links that can be seen, so that lists and totals cannot tell different stories.
create policy sponsor on app.clicks for select to castledger_api
    using ((select app.sponsor_ids()) is not null and link_no in (select l.link_no from app.links l));

-- What can be seen without a tenant: whose an enclosure is, and when segments had hits.
create policy sponsors_without on app.enclosure_owners as restrictive for select to castledger_api
    using ((select app.sponsor_ids()) is null);
create or replace view api.segments with (security_barrier) as
    select segment_no, first_hit_at, last_hit_at from ops.segments where app.sponsor_ids() is null;

-- A link carries its tenant's number beside its id, by which clicks are counted: both have to be the writer's own.
alter policy tenant on app.links
    with check (tenant_id = (select app.tenant_id()) and tenant_no = (select app.tenant_no()));

-- Attribution events: what shops and apps told of, as collectors took it.

-- By the day on which an event was received: late ones, of up to 90 days before, would else be written into days that
-- are compressed already, and whole days could not go. What happened between two instants was received from a day before
-- the first one to 91 days behind the second. No row security, as beside the hits: the API sees its tenant's rows through
-- a view.
create table ts.attribution_events (
    received_at timestamptz not null,
    occurred_at timestamptz not null,
    event_id uuid not null,
    tenant_no integer not null,
    source smallint not null,
    type text not null,
    click_id uuid,
    promo_code text,
    link text,
    -- Keyed hashes of the sender's own names for customers, under the tenant's secret; the names are not kept.
    customer_key uuid,
    external_id text,
    value_amount bigint,
    currency text,
    new_customer boolean,
    page_host text,
    page_path text,
    referrer_host text,
    utm jsonb,
    properties jsonb,
    -- Of browsers alone: 0 is unknown, or none.
    agent_no integer not null,
    asn integer not null,
    country smallint not null,
    networks smallint not null,
    is_bot boolean not null,
    check ((value_amount is null) = (currency is null))
);
select public.create_hypertable('ts.attribution_events', public.by_range('received_at', interval '1 day'),
    create_default_indexes => false);
-- Lists of a tenant's events read on from where they stopped.
create index attribution_events_tenant on ts.attribution_events (tenant_no, received_at, event_id);
alter table ts.attribution_events set (timescaledb.compress, timescaledb.compress_segmentby = '',
    timescaledb.compress_orderby = 'tenant_no, received_at, event_id');
select public.add_compression_policy('ts.attribution_events', interval '7 days');
grant select, insert, delete on ts.attribution_events to castledger_ingest;

-- Which events there are: an event that is sent again, on whatever day, lands once. Kept for longer than a collector
-- takes an event after it occurred.
create table ops.event_ids (
    tenant_no integer not null,
    event_id uuid not null,
    received_on date not null,
    primary key (tenant_no, event_id)
);
create index event_ids_received on ops.event_ids (received_on);
grant select, insert, delete on ops.event_ids to castledger_ingest;

-- A lasting secret a tenant, under which its customers are keyed: gone with the tenant.
create table ops.event_secrets (
    tenant_no integer primary key,
    secret bytea not null check (length(secret) = 32),
    created_at timestamptz not null default now()
);
grant select, insert on ops.event_secrets to castledger_ingest;

create view api.attribution_events with (security_barrier) as
    select e.received_at, e.occurred_at, e.event_id, e.source, e.type, e.click_id, e.promo_code, e.link, e.customer_key,
        e.external_id, e.value_amount, e.currency, e.new_customer, e.page_host, e.page_path, e.referrer_host, e.utm,
        e.properties, e.country, e.networks, e.is_bot,
        -- Not by a join, which would go through all events before the first is shown.
        (select a.app from ops.agents a where a.agent_no = e.agent_no) as app,
        (select a.device from ops.agents a where a.agent_no = e.agent_no) as device
    from ts.attribution_events e where e.tenant_no = (select app.tenant_no())
    -- In the order of the index: from outside of a security barrier nothing else asks for it, and a page would sort all.
    order by e.received_at, e.event_id;
grant select on api.attribution_events to castledger_api;

-- How far hits have landed does not wait for events.
create or replace view api.cutoff with (security_barrier) as
    select min(cutoff_at) as cutoff_at from ops.ingest_status where source <> 'events';

-- TimescaleDB makes its chunks by itself; ingest need not know which branch it writes to.
create function ops.ensure_event_partitions(days date[]) returns void language sql security definer
    set search_path = pg_catalog, pg_temp
as $$ select null::void $$;

-- Whole days of events that are kept no longer. Dropping locks the table: who waits for it is held up no longer than the
-- timeout, and the job is tried again.
create function ops.drop_event_days(before date) returns integer language sql security definer
    set search_path = pg_catalog, pg_temp set lock_timeout = '2s'
as $$
    select count(*)::integer from public.drop_chunks('ts.attribution_events',
        older_than => before::timestamp at time zone 'UTC')
$$;
revoke execute on function ops.ensure_event_partitions(date[]) from public;
revoke execute on function ops.drop_event_days(date) from public;
grant execute on function ops.ensure_event_partitions(date[]), ops.drop_event_days(date) to castledger_ingest;

-- Ingest tells collectors which keys may send events, and nothing else of them.
create policy ingest on app.api_keys for select to castledger_ingest using (true);
grant select (tenant_id, key_hash, kind, scopes, origins, expires_at, revoked_at) on app.api_keys to castledger_ingest;

create function app.tell_keys() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_notify('castledger_keys', '');
    return null;
end
$$;
revoke execute on function app.tell_keys() from public;
create trigger tell_keys after insert or delete or update of revoked_at, expires_at, origins, scopes on app.api_keys
    for each statement execute function app.tell_keys();
create trigger tell_keys after update of status on app.tenants
    for each statement execute function app.tell_keys();

-- Erasures of a customer.
alter table app.erasures drop constraint erasures_kind_check;
alter table app.erasures add constraint erasures_kind_check check (kind in ('listener', 'podcast', 'tenant', 'customer'));
alter table app.erasure_requests add column customer_key uuid;
alter table app.erasure_requests drop constraint erasure_requests_check;
alter table app.erasure_requests add constraint erasure_requests_check check (
    num_nonnulls(listener_key, month) = 2 and num_nonnulls(podcast_id, podcast_no, customer_key) = 0
    or num_nonnulls(podcast_id, podcast_no) = 2 and num_nonnulls(listener_key, month, customer_key) = 0
    or customer_key is not null and num_nonnulls(listener_key, month, podcast_id, podcast_no) = 0
);
create unique index erasure_requests_customer on app.erasure_requests (tenant_no, customer_key);

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

-- What a sponsor ordered and what it was promised: insertion orders with their campaigns, campaigns with their flights,
-- placements of flights in episodes, and the slots that podcasts have for them.

-- Whose an order is, and in which currency, is said by every row below it and held to by its key: nobody has to ask
-- another table who may see a row, money of two currencies never meets, and a merge of sponsors moves all of it at once.
create table app.insertion_orders (
    tenant_id uuid not null references app.tenants,
    insertion_order_id uuid not null,
    sponsor_id uuid not null,
    number integer not null check (number > 0),
    name text not null check (length(name) between 1 and 200),
    -- The sponsor's own number for it.
    reference text check (length(reference) between 1 and 100),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    status text not null default 'draft' check (status in ('draft', 'open', 'closed', 'cancelled')),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    primary key (tenant_id, insertion_order_id),
    unique (tenant_id, number),
    unique (tenant_id, sponsor_id, insertion_order_id, currency),
    foreign key (tenant_id, sponsor_id) references app.sponsors
);
create index insertion_orders_created on app.insertion_orders (tenant_id, created_at, insertion_order_id);

create table app.campaigns (
    tenant_id uuid not null,
    campaign_id uuid not null,
    sponsor_id uuid not null,
    insertion_order_id uuid not null,
    currency text not null,
    name text not null check (length(name) between 1 and 200),
    status text not null default 'draft'
        check (status in ('draft', 'scheduled', 'active', 'paused', 'completed', 'cancelled')),
    -- Days of UTC, both of them in it.
    starts_on date not null,
    ends_on date not null,
    pricing text not null check (pricing in ('cpm', 'flat', 'cpa')),
    budget_amount bigint not null check (budget_amount between 0 and 1000000000000000),
    model text not null
        check (model in ('first', 'last', 'linear', 'position', 'time_decay', 'shapley', 'markov')),
    window_days integer not null check (window_days between 1 and 90),
    excludes_prior_customers boolean not null default false,
    -- Campaign parameters that its links get, with places for names: {campaign}, {podcast}.
    utm jsonb not null default '{}' check (jsonb_typeof(utm) = 'object'),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    activated_at timestamptz,
    ended_at timestamptz,
    primary key (tenant_id, campaign_id),
    unique (tenant_id, sponsor_id, campaign_id, currency),
    foreign key (tenant_id, sponsor_id, insertion_order_id, currency)
        references app.insertion_orders (tenant_id, sponsor_id, insertion_order_id, currency) on update cascade,
    constraint campaigns_dates check (ends_on >= starts_on)
);
create index campaigns_created on app.campaigns (tenant_id, created_at, campaign_id);
create index campaigns_order on app.campaigns (tenant_id, insertion_order_id);

create table app.flights (
    tenant_id uuid not null,
    flight_id uuid not null,
    campaign_id uuid not null,
    sponsor_id uuid not null,
    currency text not null,
    name text not null check (length(name) between 1 and 200),
    status text not null default 'planned' check (status in ('planned', 'active', 'paused', 'completed', 'cancelled')),
    -- To the quarter hour, as downloads are counted.
    starts_at timestamptz not null check (extract(epoch from starts_at)::bigint % 900 = 0),
    ends_at timestamptz not null check (extract(epoch from ends_at)::bigint % 900 = 0),
    booked_impressions bigint check (booked_impressions between 1 and 1000000000000),
    -- For a thousand impressions, for the whole flight, or for a conversion, as the campaign is priced.
    price_amount bigint not null check (price_amount between 0 and 1000000000000000),
    -- Null is the campaign's.
    window_days integer check (window_days between 1 and 90),
    -- How long after its end downloads of its placements still count for it.
    measurement_days integer not null default 30 check (measurement_days between 0 and 365),
    makegood_of uuid,
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    primary key (tenant_id, flight_id),
    unique (tenant_id, sponsor_id, campaign_id, flight_id),
    foreign key (tenant_id, sponsor_id, campaign_id, currency)
        references app.campaigns (tenant_id, sponsor_id, campaign_id, currency) on update cascade,
    foreign key (tenant_id, makegood_of) references app.flights (tenant_id, flight_id),
    constraint flights_dates check (ends_at > starts_at)
);
create index flights_campaign on app.flights (tenant_id, campaign_id, created_at, flight_id);
create index flights_makegood on app.flights (tenant_id, makegood_of) where makegood_of is not null;

create table app.ad_slots (
    tenant_id uuid not null,
    ad_slot_id uuid not null,
    ad_slot_no integer generated always as identity unique,
    podcast_id uuid not null,
    name text not null check (length(name) between 1 and 200),
    position text not null check (position in ('pre', 'mid', 'post')),
    max_seconds integer check (max_seconds between 1 and 3600),
    per_episode integer not null default 1 check (per_episode between 1 and 20),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, ad_slot_id),
    foreign key (tenant_id, podcast_id) references app.podcasts
);
create index ad_slots_podcast on app.ad_slots (tenant_id, podcast_id, created_at, ad_slot_id);

create table app.placements (
    tenant_id uuid not null,
    placement_id uuid not null,
    flight_id uuid not null,
    campaign_id uuid not null,
    sponsor_id uuid not null,
    podcast_id uuid not null,
    episode_id uuid not null,
    -- As figures are kept.
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    ad_slot_id uuid,
    ad_slot_no integer,
    slot_no integer not null default 1 check (slot_no between 1 and 20),
    position text not null check (position in ('pre', 'mid', 'post')),
    offset_s integer check (offset_s between 0 and 86400),
    delivery text not null check (delivery in ('baked_in', 'dynamic')),
    host_read boolean not null default true,
    status text not null default 'planned' check (status in ('planned', 'live', 'verified', 'missed', 'pulled')),
    -- Downloads of the episode from the one instant to before the other are exposures.
    live_from timestamptz not null check (extract(epoch from live_from)::bigint % 900 = 0),
    live_until timestamptz not null check (extract(epoch from live_until)::bigint % 900 = 0),
    aircheck_url text check (length(aircheck_url) between 1 and 2048),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    primary key (tenant_id, placement_id),
    unique (tenant_id, sponsor_id, campaign_id, flight_id, placement_id),
    foreign key (tenant_id, sponsor_id, campaign_id, flight_id)
        references app.flights (tenant_id, sponsor_id, campaign_id, flight_id) on update cascade,
    foreign key (tenant_id, episode_id) references app.episodes,
    foreign key (tenant_id, podcast_id) references app.podcasts,
    foreign key (tenant_id, ad_slot_id) references app.ad_slots,
    constraint placements_live check (live_until > live_from),
    constraint placements_slot_whole check ((ad_slot_id is null) = (ad_slot_no is null)),
    -- A place in a slot is one placement's at a time. Numbers as ranges of one: plain ones need an extension here.
    constraint placements_slot exclude using gist (
        int4range(ad_slot_no, ad_slot_no, '[]') with &&,
        int4range(episode_no, episode_no, '[]') with &&,
        int4range(slot_no, slot_no, '[]') with &&,
        tstzrange(live_from, live_until) with &&
    ) where (ad_slot_no is not null and status not in ('missed', 'pulled'))
);
create index placements_flight on app.placements (tenant_id, flight_id, created_at, placement_id);
create index placements_campaign on app.placements (tenant_id, campaign_id);
create index placements_episode on app.placements (episode_no);
create index placements_podcast on app.placements (tenant_id, podcast_id);

-- What each placement delivered, day by day: the counted downloads of its episode inside its live range, made of
-- metrics_daily whenever that or the placement changes.
create table app.placement_daily (
    tenant_id uuid not null,
    sponsor_id uuid not null,
    campaign_id uuid not null,
    flight_id uuid not null,
    placement_id uuid not null,
    day date not null,
    downloads integer not null check (downloads > 0),
    downloads_strict integer not null check (downloads_strict between 0 and downloads),
    primary key (tenant_id, placement_id, day),
    foreign key (tenant_id, sponsor_id, campaign_id, flight_id, placement_id)
        references app.placements (tenant_id, sponsor_id, campaign_id, flight_id, placement_id)
        on update cascade on delete cascade
);
create index placement_daily_campaign on app.placement_daily (tenant_id, campaign_id, day);
create index placement_daily_sponsor on app.placement_daily (tenant_id, sponsor_id, day);

-- How many listeners a flight, a campaign or a sponsor reached in a month, and how often: listener keys are comparable
-- inside a month alone, and go with the downloads. Never a sum of others: one listener may have heard two flights.
create table app.reach_months (
    tenant_id uuid not null,
    sponsor_id uuid not null,
    level text not null check (level in ('flight', 'campaign', 'sponsor')),
    subject_id uuid not null,
    month date not null check (extract(day from month) = 1),
    reach bigint not null check (reach >= 0),
    impressions bigint not null check (impressions >= reach),
    is_final boolean not null default false,
    computed_at timestamptz not null,
    primary key (tenant_id, level, subject_id, month),
    foreign key (tenant_id, sponsor_id) references app.sponsors on update cascade
);
create index reach_months_sponsor on app.reach_months (tenant_id, sponsor_id, month);

alter table app.insertion_orders enable row level security;
alter table app.insertion_orders force row level security;
alter table app.campaigns enable row level security;
alter table app.campaigns force row level security;
alter table app.flights enable row level security;
alter table app.flights force row level security;
alter table app.ad_slots enable row level security;
alter table app.ad_slots force row level security;
alter table app.placements enable row level security;
alter table app.placements force row level security;
alter table app.placement_daily enable row level security;
alter table app.placement_daily force row level security;
alter table app.reach_months enable row level security;
alter table app.reach_months force row level security;

create policy tenant on app.insertion_orders to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.campaigns to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.flights to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.ad_slots to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.placements to castledger_api using (tenant_id = (select app.tenant_id()))
    with check (tenant_id = (select app.tenant_id()) and tenant_no = (select app.tenant_no()));
create policy tenant on app.placement_daily to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.reach_months to castledger_api using (tenant_id = (select app.tenant_id()));

create policy sponsor on app.insertion_orders for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.campaigns for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.flights for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.placements for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.placement_daily for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.reach_months for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));

-- What it is heard in has a name, and nothing else of a podcast is a sponsor's: no permission of theirs leads there.
create policy sponsor on app.podcasts for select to castledger_api
    using ((select app.sponsor_ids()) is not null and tenant_id = (select app.sponsors_tenant_id())
        and podcast_id in (select p.podcast_id from app.placements p));
create policy sponsor on app.episodes for select to castledger_api
    using ((select app.sponsor_ids()) is not null and tenant_id = (select app.sponsors_tenant_id())
        and episode_id in (select p.episode_id from app.placements p));

create policy ingest on app.insertion_orders for select to castledger_ingest using (true);
create policy ingest on app.campaigns to castledger_ingest using (true);
create policy ingest on app.flights to castledger_ingest using (true);
create policy ingest on app.ad_slots to castledger_ingest using (true);
create policy ingest on app.placements to castledger_ingest using (true);
create policy ingest on app.placement_daily to castledger_ingest using (true);
create policy ingest on app.reach_months to castledger_ingest using (true);
create policy ingest on app.sponsors for select to castledger_ingest using (true);

create policy erasure on app.insertion_orders to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.campaigns to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.flights to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.ad_slots to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.placements to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.placement_daily to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.reach_months to castledger_owner using (tenant_id = app.tenant_id());

create policy dump on app.insertion_orders for select to castledger_dump using (true);
create policy dump on app.campaigns for select to castledger_dump using (true);
create policy dump on app.flights for select to castledger_dump using (true);
create policy dump on app.ad_slots for select to castledger_dump using (true);
create policy dump on app.placements for select to castledger_dump using (true);
create policy dump on app.placement_daily for select to castledger_dump using (true);
create policy dump on app.reach_months for select to castledger_dump using (true);

grant select, insert, update on app.insertion_orders, app.campaigns, app.flights, app.ad_slots, app.placements
    to castledger_api;
grant select, insert, update, delete on app.placement_daily to castledger_api, castledger_ingest;
-- A merge of sponsors moves what is a flight's or a campaign's, and takes away what was the reach of either.
grant select, update (sponsor_id), delete on app.reach_months to castledger_api;
grant select on app.sponsors, app.insertion_orders, app.campaigns, app.flights, app.ad_slots, app.placements
    to castledger_ingest;
-- As the calendar passes.
grant update (status, version, activated_at, ended_at) on app.campaigns to castledger_ingest;
grant update (status, version) on app.flights to castledger_ingest;
-- With their podcast.
grant delete on app.ad_slots, app.placements to castledger_ingest;
grant select, insert, update, delete on app.reach_months to castledger_ingest;

-- Placements that are to be delivered anew, as sum marks: append-only, and the refresher takes those of a podcast
-- while it holds the podcast's lock. Marks of days would not do: what lands at the same time cannot be seen yet.
create table ops.placement_marks (
    mark_no bigint generated always as identity,
    tenant_no integer not null,
    podcast_no integer not null,
    placement_id uuid not null
);
create index placement_marks_podcast on ops.placement_marks (podcast_no);
grant select, insert, delete on ops.placement_marks to castledger_ingest;

create function app.mark_placement() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ops.placement_marks (tenant_no, podcast_no, placement_id)
    values (new.tenant_no, new.podcast_no, new.placement_id);
    if tg_op = 'UPDATE' and old.podcast_no <> new.podcast_no then
        insert into ops.placement_marks (tenant_no, podcast_no, placement_id)
        values (old.tenant_no, old.podcast_no, old.placement_id);
    end if;
    return null;
end
$$;
revoke execute on function app.mark_placement() from public;
create trigger mark_placement after insert or update of podcast_no, episode_no, status, live_from, live_until
    on app.placements for each row execute function app.mark_placement();

-- Days of episodes: what each of their placements delivered on them. The caller holds the podcasts' locks.
create function app.deliver_days(episode_nos integer[], days date[]) returns void language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    with wanted as materialized (
        select distinct p.tenant_id, p.sponsor_id, p.campaign_id, p.flight_id, p.placement_id, p.tenant_no,
            p.episode_no, w.day, p.status <> 'missed' as is_heard,
            -- The first and last quarter hour of the day in which it is live.
            greatest(1, (extract(epoch from p.live_from)::bigint - (w.day - date '1970-01-01') * bigint '86400') / 900 + 1)
                as first,
            least(96, (extract(epoch from p.live_until)::bigint - (w.day - date '1970-01-01') * bigint '86400') / 900)
                as last
        from unnest(episode_nos, days) as w(episode_no, day)
        join app.placements p on p.episode_no = w.episode_no
    ), fresh as materialized (
        select w.tenant_id, w.sponsor_id, w.campaign_id, w.flight_id, w.placement_id, w.day,
            coalesce(d.downloads, 0) as downloads, coalesce(d.strict, 0) as strict
        from wanted w
        join app.metrics_daily m on m.episode_no = w.episode_no and m.day = w.day and m.dimension = 'total'
            and m.key = '' and m.tenant_no = w.tenant_no
        cross join lateral (
            select sum(q.downloads)::integer as downloads, sum(q.strict)::integer as strict
            from unnest(m.quarters[w.first:w.last], m.quarters_strict[w.first:w.last]) as q(downloads, strict)
        ) d
        where w.is_heard and w.first <= w.last and d.downloads > 0
    ), gone as (
        delete from app.placement_daily d using wanted w
        where d.tenant_id = w.tenant_id and d.placement_id = w.placement_id and d.day = w.day
            and (d.placement_id, d.day) not in (select placement_id, day from fresh)
    )
    insert into app.placement_daily as old (tenant_id, sponsor_id, campaign_id, flight_id, placement_id, day, downloads,
        downloads_strict)
    select * from fresh
    on conflict (tenant_id, placement_id, day) do update
        set downloads = excluded.downloads, downloads_strict = excluded.downloads_strict
        where (old.downloads, old.downloads_strict) is distinct from (excluded.downloads, excluded.downloads_strict);
end
$$;

-- Placements: what they delivered on any day. Days that are in neither table have delivered nothing.
create function app.deliver_placements(placement_ids uuid[]) returns void language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform app.deliver_days(array_agg(d.episode_no), array_agg(d.day)) from (
        select p.episode_no, m.day from app.placements p
        join app.metrics_daily m on m.episode_no = p.episode_no and m.dimension = 'total'
            and m.day between (p.live_from at time zone 'UTC')::date and (p.live_until at time zone 'UTC')::date
        where p.placement_id = any(placement_ids)
        union
        select p.episode_no, d.day from app.placements p join app.placement_daily d using (tenant_id, placement_id)
        where p.placement_id = any(placement_ids)
    ) d;
end
$$;

-- Whoever sums up, this version and the one before it, delivers the days that changed.
alter function app.sum_up(integer[], integer[], date[]) rename to sum_up_figures;
create function app.sum_up(podcast_nos integer[], episode_nos integer[], days date[]) returns void language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform app.sum_up_figures(podcast_nos, episode_nos, days);
    perform app.deliver_days(episode_nos, days);
end
$$;
revoke execute on function app.deliver_days(integer[], date[]), app.deliver_placements(uuid[]),
    app.sum_up(integer[], integer[], date[]) from public;
grant execute on function app.deliver_days(integer[], date[]), app.deliver_placements(uuid[]),
    app.sum_up(integer[], integer[], date[]) to castledger_ingest;

-- By what a flight is recognised: promo codes, links of flights, hosts of their own for links, and answers to the
-- question where somebody heard of it.

-- Ranges of texts, so that one text can be told from another beside a range of time without an extension.
create type app.text_range as range (subtype = text, collation = "C");

create table app.promo_codes (
    tenant_id uuid not null,
    promo_code_id uuid not null,
    sponsor_id uuid not null,
    campaign_id uuid not null,
    flight_id uuid not null,
    -- Without blanks and hyphens, in capitals.
    code text not null check (code ~ '^[A-Z0-9]{3,32}$'),
    valid_from timestamptz not null,
    -- Null is without an end.
    valid_until timestamptz,
    -- How long after its end a redemption still counts, as a late one.
    grace_days integer not null default 7 check (grace_days between 0 and 90),
    max_redemptions integer check (max_redemptions > 0),
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, promo_code_id),
    foreign key (tenant_id, sponsor_id, campaign_id, flight_id)
        references app.flights (tenant_id, sponsor_id, campaign_id, flight_id) on update cascade,
    -- One that was put away before its time was never valid.
    constraint promo_codes_valid check (
        valid_until > valid_from or (archived_at is not null and valid_until = valid_from)
    ),
    constraint promo_codes_once exclude using gist (
        app.text_range(sponsor_id::text || '/' || code, sponsor_id::text || '/' || code, '[]') with &&,
        tstzrange(valid_from, valid_until) with &&
    )
);
create index promo_codes_code on app.promo_codes (tenant_id, code);
create index promo_codes_flight on app.promo_codes (tenant_id, flight_id, created_at, promo_code_id);
create index promo_codes_sponsor on app.promo_codes (tenant_id, sponsor_id, created_at, promo_code_id);

alter table app.links add column campaign_id uuid;
alter table app.links add column flight_id uuid;
alter table app.links add constraint links_flight foreign key (tenant_id, sponsor_id, campaign_id, flight_id)
    references app.flights (tenant_id, sponsor_id, campaign_id, flight_id) on update cascade;
alter table app.links add constraint links_flight_whole check (
    num_nonnulls(campaign_id, flight_id) = 0 or num_nonnulls(sponsor_id, campaign_id, flight_id) = 3
);
create index links_flight on app.links (tenant_id, flight_id) where flight_id is not null;

-- Hosts that lead to one link, whatever path is asked for: `acme.show.example`. One owner a host over all tenants.
create table app.vanity_hosts (
    tenant_id uuid not null,
    vanity_host_id uuid not null,
    tenant_no integer not null,
    host text not null check (length(host) between 4 and 253),
    link_id uuid not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, vanity_host_id),
    foreign key (tenant_id, link_id) references app.links
);
create unique index vanity_hosts_host on app.vanity_hosts (host) where archived_at is null;
create index vanity_hosts_link on app.vanity_hosts (tenant_id, link_id);

create table app.survey_options (
    tenant_id uuid not null,
    survey_option_id uuid not null,
    sponsor_id uuid not null,
    campaign_id uuid not null,
    flight_id uuid not null,
    answer text not null check (length(answer) between 1 and 200),
    -- A hash of the answer as it is compared.
    answer_key uuid not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, survey_option_id),
    foreign key (tenant_id, sponsor_id, campaign_id, flight_id)
        references app.flights (tenant_id, sponsor_id, campaign_id, flight_id) on update cascade
);
create unique index survey_options_answer on app.survey_options (tenant_id, sponsor_id, answer_key)
    where archived_at is null;
create index survey_options_flight on app.survey_options (tenant_id, flight_id);

alter table app.promo_codes enable row level security;
alter table app.promo_codes force row level security;
alter table app.vanity_hosts enable row level security;
alter table app.vanity_hosts force row level security;
alter table app.survey_options enable row level security;
alter table app.survey_options force row level security;

create policy tenant on app.promo_codes to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.vanity_hosts to castledger_api using (tenant_id = (select app.tenant_id()))
    with check (tenant_id = (select app.tenant_id()) and tenant_no = (select app.tenant_no()));
create policy tenant on app.survey_options to castledger_api using (tenant_id = (select app.tenant_id()));

create policy sponsor on app.promo_codes for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.vanity_hosts for select to castledger_api
    using ((select app.sponsor_ids()) is not null and tenant_id = (select app.sponsors_tenant_id())
        and link_id in (select l.link_id from app.links l));
create policy sponsor on app.survey_options for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));

create policy ingest on app.promo_codes for select to castledger_ingest using (true);
create policy ingest on app.vanity_hosts for select to castledger_ingest using (true);
create policy ingest on app.survey_options for select to castledger_ingest using (true);
create policy erasure on app.promo_codes to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.vanity_hosts to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.survey_options to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.promo_codes for select to castledger_dump using (true);
create policy dump on app.vanity_hosts for select to castledger_dump using (true);
create policy dump on app.survey_options for select to castledger_dump using (true);

grant select, insert, update on app.promo_codes, app.vanity_hosts, app.survey_options to castledger_api;
grant select on app.promo_codes, app.vanity_hosts, app.survey_options to castledger_ingest;

-- Where somebody's episodes are is no vanity host, whoever asks: the role that authenticates sees over all tenants.
create policy auth on app.enclosures for select to castledger_auth using (true);
grant select (hosts, gone_at) on app.enclosures to castledger_auth;

-- Conversions: what a sponsor wants to happen, that it happened, what was said of it later, and what customers did before.

create table app.conversion_actions (
    tenant_id uuid not null,
    action_id uuid not null,
    sponsor_id uuid not null,
    name text not null check (length(name) between 1 and 200),
    name_key uuid not null,
    category text not null check (category in ('lead', 'signup', 'trial', 'purchase', 'install', 'custom')),
    -- The type of the events that are conversions of it; null where none are, and they come by themselves.
    event_type text check (event_type ~ '^[a-z][a-z0-9_]{0,63}$'),
    -- One a customer and window, or each.
    counting text not null default 'every' check (counting in ('every', 'one')),
    default_value_amount bigint check (default_value_amount between 0 and 1000000000000000),
    currency text check (currency ~ '^[A-Z]{3}$'),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, action_id),
    unique (tenant_id, sponsor_id, action_id),
    constraint conversion_actions_name unique (tenant_id, sponsor_id, name_key),
    foreign key (tenant_id, sponsor_id) references app.sponsors,
    check ((default_value_amount is null) = (currency is null))
);
create index conversion_actions_created on app.conversion_actions (tenant_id, created_at, action_id);
create unique index conversion_actions_event on app.conversion_actions (tenant_id, sponsor_id, event_type)
    where event_type is not null and archived_at is null;

create table app.conversions (
    tenant_id uuid not null,
    conversion_id uuid not null,
    action_id uuid not null,
    sponsor_id uuid not null,
    -- The sender's own name for it, such as an order's number: a conversion is there once.
    external_id text not null check (length(external_id) between 1 and 128),
    -- Of all that was said of it first: what says something else under the same name is refused.
    said_hash bytea not null check (length(said_hash) = 32),
    source text not null check (source in ('api', 'event', 'csv')),
    occurred_at timestamptz not null,
    received_at timestamptz not null,
    value_amount bigint check (value_amount between 0 and 1000000000000000),
    currency text check (currency ~ '^[A-Z]{3}$'),
    click_id uuid,
    link text check (length(link) between 1 and 64),
    -- As it was entered; compared as promo_codes are written.
    promo_code text check (length(promo_code) between 1 and 64),
    survey_answer text check (length(survey_answer) between 1 and 200),
    customer_key uuid,
    new_customer boolean,
    referrer_host text check (length(referrer_host) between 1 and 253),
    primary key (tenant_id, conversion_id),
    unique (tenant_id, action_id, external_id),
    foreign key (tenant_id, sponsor_id, action_id)
        references app.conversion_actions (tenant_id, sponsor_id, action_id) on update cascade,
    check ((value_amount is null) = (currency is null))
);
create index conversions_sponsor on app.conversions (tenant_id, sponsor_id, occurred_at, conversion_id);
create index conversions_occurred on app.conversions (tenant_id, occurred_at, conversion_id);
create index conversions_external on app.conversions (tenant_id, external_id);
create index conversions_customer on app.conversions (tenant_id, customer_key, occurred_at) where customer_key is not null;
-- Of an event it is asked whose the page is on which it happened.
create index sponsors_domain on app.sponsors (tenant_id, domain) where domain is not null;

-- What was said of a conversion later: that it was none after all, or what it was worth. Never changed; the last word counts.
create table app.conversion_adjustments (
    tenant_id uuid not null,
    adjustment_id uuid not null,
    conversion_id uuid not null,
    kind text not null check (kind in ('retract', 'restate')),
    value_amount bigint check (value_amount between 0 and 1000000000000000),
    -- The sender's own name for it, such as a refund's number: an adjustment is there once.
    external_id text check (length(external_id) between 1 and 128),
    said_hash bytea not null check (length(said_hash) = 32),
    reason text check (length(reason) between 1 and 200),
    adjusted_at timestamptz not null,
    received_at timestamptz not null,
    primary key (tenant_id, adjustment_id),
    foreign key (tenant_id, conversion_id) references app.conversions,
    check ((kind = 'restate') = (value_amount is not null))
);
create index conversion_adjustments_of on app.conversion_adjustments (tenant_id, conversion_id, adjusted_at, adjustment_id);
create unique index conversion_adjustments_once on app.conversion_adjustments (tenant_id, conversion_id, external_id)
    where external_id is not null;

-- What a customer did that names a flight, as events tell it: a click that led in, a link, a code. Whose it is is read from
-- these when conversions are attributed, so that a code that is entered here late is known then.
create table app.customer_signals (
    tenant_id uuid not null references app.tenants,
    event_id uuid not null,
    customer_key uuid not null,
    occurred_at timestamptz not null,
    received_at timestamptz not null,
    click_id uuid,
    link text check (length(link) between 1 and 64),
    promo_code text check (length(promo_code) between 1 and 64),
    referrer_host text check (length(referrer_host) between 1 and 253),
    primary key (tenant_id, event_id),
    check (num_nonnulls(click_id, link, promo_code) > 0)
);
create index customer_signals_customer on app.customer_signals (tenant_id, customer_key, occurred_at);
create index customer_signals_occurred on app.customer_signals (occurred_at);

-- Events that may be conversions, or tell of a customer: landing leaves the mark, and what takes it reads the event.
create table ops.event_marks (
    mark_no bigint generated always as identity primary key,
    tenant_no integer not null,
    event_id uuid not null,
    received_at timestamptz not null,
    -- When it was left, and when it is looked at next: a refund waits for its purchase.
    marked_at timestamptz not null default now(),
    due_at timestamptz not null default '-infinity'
);
create index event_marks_due on ops.event_marks (due_at);
grant select, insert, update (due_at), delete on ops.event_marks to castledger_ingest;

-- The secret under which a tenant's customers are keyed, made of a fresh one where there is none: for the role that
-- authenticates, so that the API may key a customer as events do, and no query of a tenant's can read it.
create function app.customer_secret(tenant integer, fresh bytea) returns bytea language sql volatile security definer
    set search_path = pg_catalog, pg_temp
as $$
    insert into ops.event_secrets (tenant_no, secret) values (tenant, fresh) on conflict do nothing;
    select secret from ops.event_secrets where tenant_no = tenant;
$$;
revoke execute on function app.customer_secret(integer, bytea) from public;
grant execute on function app.customer_secret(integer, bytea) to castledger_auth;

alter table app.conversion_actions enable row level security;
alter table app.conversion_actions force row level security;
alter table app.conversions enable row level security;
alter table app.conversions force row level security;
alter table app.conversion_adjustments enable row level security;
alter table app.conversion_adjustments force row level security;
alter table app.customer_signals enable row level security;
alter table app.customer_signals force row level security;

create policy tenant on app.conversion_actions to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.conversions to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.conversion_adjustments to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.customer_signals to castledger_api using (tenant_id = (select app.tenant_id()));

create policy sponsor on app.conversion_actions for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.conversions for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.conversion_adjustments for select to castledger_api
    using ((select app.sponsor_ids()) is not null and tenant_id = (select app.sponsors_tenant_id())
        and conversion_id in (select c.conversion_id from app.conversions c));

create policy ingest on app.conversion_actions for select to castledger_ingest using (true);
create policy ingest on app.conversions to castledger_ingest using (true);
create policy ingest on app.conversion_adjustments to castledger_ingest using (true);
create policy ingest on app.customer_signals to castledger_ingest using (true);
create policy erasure on app.conversion_actions to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.conversions to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.conversion_adjustments to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.customer_signals to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.conversion_actions for select to castledger_dump using (true);
create policy dump on app.conversions for select to castledger_dump using (true);
create policy dump on app.conversion_adjustments for select to castledger_dump using (true);
create policy dump on app.customer_signals for select to castledger_dump using (true);

grant select, insert, update on app.conversion_actions to castledger_api;
grant select, insert, update (survey_answer) on app.conversions to castledger_api;
grant select, insert on app.conversion_adjustments to castledger_api;
grant select on app.customer_signals to castledger_api;
grant select on app.conversion_actions to castledger_ingest;
grant select, insert, update on app.conversions to castledger_ingest;
grant select, insert on app.conversion_adjustments to castledger_ingest;
grant select, insert, delete on app.customer_signals to castledger_ingest;

-- Attribution runs: which flight was given how much of each conversion, by which rules, from what was known when. A run that
-- is ready never changes.

create table app.attribution_runs (
    tenant_id uuid not null,
    run_id uuid not null,
    sponsor_id uuid not null,
    -- Conversions that occurred from the one instant to before the other.
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    models text[] not null check (cardinality(models) between 1 and 7),
    params jsonb not null check (jsonb_typeof(params) = 'object'),
    params_hash bytea not null check (length(params_hash) = 32),
    status text not null default 'queued' check (status in ('queued', 'running', 'ready', 'failed')),
    done_ppm integer not null default 0 check (done_ppm between 0 and 1000000),
    error text check (length(error) between 1 and 500),
    -- How often it was begun: one that stops whoever computes it does not do so for ever.
    attempts smallint not null default 0 check (attempts >= 0),
    -- What was received before this instant is in it.
    cutoff_at timestamptz not null,
    code_version text not null check (length(code_version) between 1 and 100),
    summary jsonb check (jsonb_typeof(summary) = 'object'),
    created_at timestamptz not null,
    finished_at timestamptz,
    primary key (tenant_id, run_id),
    unique (tenant_id, sponsor_id, run_id),
    foreign key (tenant_id, sponsor_id) references app.sponsors on update cascade,
    check (ends_at > starts_at),
    check ((status in ('ready', 'failed')) = (finished_at is not null))
);
create index attribution_runs_created on app.attribution_runs (tenant_id, created_at, run_id);
create index attribution_runs_sponsor on app.attribution_runs (tenant_id, sponsor_id, created_at);
create index attribution_runs_waiting on app.attribution_runs (created_at) where status in ('queued', 'running');

-- Each conversion of a run as it was then.
create table app.attributed_conversions (
    tenant_id uuid not null,
    run_id uuid not null,
    conversion_id uuid not null,
    sponsor_id uuid not null,
    occurred_at timestamptz not null,
    value_amount bigint check (value_amount >= 0),
    currency text,
    new_customer boolean,
    status text not null check (status in ('attributed', 'unattributed', 'not_counted', 'excluded', 'retracted')),
    -- Why it is not attributed; null where it is.
    reason text check (length(reason) between 1 and 40),
    -- By the surest signal of the conversion itself, and which that was.
    campaign_id uuid,
    flight_id uuid,
    signal text check (signal in ('click', 'vanity', 'code', 'survey')),
    is_late_code boolean not null default false,
    -- Why its code may have leaked; null where nothing says so.
    leak text check (length(leak) between 1 and 40),
    primary key (tenant_id, run_id, conversion_id),
    foreign key (tenant_id, sponsor_id, run_id) references app.attribution_runs (tenant_id, sponsor_id, run_id)
        on update cascade on delete cascade,
    check (num_nonnulls(campaign_id, flight_id, signal) in (0, 3))
);

-- The touches that competed for a conversion, in order of time.
create table app.attribution_touches (
    tenant_id uuid not null,
    run_id uuid not null,
    conversion_id uuid not null,
    touch_no smallint not null check (touch_no >= 0),
    sponsor_id uuid not null,
    campaign_id uuid not null,
    flight_id uuid not null,
    kind text not null check (kind in ('click', 'vanity', 'code', 'survey')),
    occurred_at timestamptz not null,
    primary key (tenant_id, run_id, conversion_id, touch_no),
    foreign key (tenant_id, sponsor_id, run_id) references app.attribution_runs (tenant_id, sponsor_id, run_id)
        on update cascade on delete cascade
);

-- What each model gave to each touch: of one conversion and model a million in sum, and its value to the cent.
create table app.attribution_credits (
    tenant_id uuid not null,
    run_id uuid not null,
    conversion_id uuid not null,
    model text not null check (model in ('first', 'last', 'linear', 'position', 'time_decay', 'shapley', 'markov')),
    touch_no smallint not null,
    sponsor_id uuid not null,
    credit_ppm integer not null check (credit_ppm between 0 and 1000000),
    value_amount bigint check (value_amount >= 0),
    primary key (tenant_id, run_id, conversion_id, model, touch_no),
    foreign key (tenant_id, run_id, conversion_id, touch_no) references app.attribution_touches
        on delete cascade,
    foreign key (tenant_id, sponsor_id, run_id) references app.attribution_runs (tenant_id, sponsor_id, run_id)
        on update cascade on delete cascade
);

-- Sums of a run by flight; `deterministic` gives each conversion whole to its surest signal, and is never added to a model.
create table app.attribution_totals (
    tenant_id uuid not null,
    run_id uuid not null,
    sponsor_id uuid not null,
    model text not null check (model in
        ('deterministic', 'first', 'last', 'linear', 'position', 'time_decay', 'shapley', 'markov')),
    campaign_id uuid not null,
    flight_id uuid not null,
    -- Empty for conversions without a value.
    currency text not null,
    conversions_ppm bigint not null check (conversions_ppm >= 0),
    new_customers_ppm bigint not null check (new_customers_ppm >= 0),
    value_amount bigint not null check (value_amount >= 0),
    primary key (tenant_id, run_id, model, flight_id, currency),
    foreign key (tenant_id, sponsor_id, run_id) references app.attribution_runs (tenant_id, sponsor_id, run_id)
        on update cascade on delete cascade
);
create index attribution_totals_campaign on app.attribution_totals (tenant_id, campaign_id);

alter table app.attribution_runs enable row level security;
alter table app.attribution_runs force row level security;
alter table app.attributed_conversions enable row level security;
alter table app.attributed_conversions force row level security;
alter table app.attribution_touches enable row level security;
alter table app.attribution_touches force row level security;
alter table app.attribution_credits enable row level security;
alter table app.attribution_credits force row level security;
alter table app.attribution_totals enable row level security;
alter table app.attribution_totals force row level security;

create policy tenant on app.attribution_runs to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.attributed_conversions for select to castledger_api
    using (tenant_id = (select app.tenant_id()));
create policy tenant on app.attribution_touches for select to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.attribution_credits for select to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.attribution_totals for select to castledger_api using (tenant_id = (select app.tenant_id()));

create policy sponsor on app.attribution_runs for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.attributed_conversions for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.attribution_touches for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.attribution_credits for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.attribution_totals for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));

create policy ingest on app.attribution_runs to castledger_ingest using (true);
create policy ingest on app.attributed_conversions to castledger_ingest using (true);
create policy ingest on app.attribution_touches to castledger_ingest using (true);
create policy ingest on app.attribution_credits to castledger_ingest using (true);
create policy ingest on app.attribution_totals to castledger_ingest using (true);
create policy erasure on app.attribution_runs to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.attributed_conversions to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.attribution_touches to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.attribution_credits to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.attribution_totals to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.attribution_runs for select to castledger_dump using (true);
create policy dump on app.attributed_conversions for select to castledger_dump using (true);
create policy dump on app.attribution_touches for select to castledger_dump using (true);
create policy dump on app.attribution_credits for select to castledger_dump using (true);
create policy dump on app.attribution_totals for select to castledger_dump using (true);

grant select, insert on app.attribution_runs to castledger_api;
-- In a merge of sponsors.
grant update (sponsor_id) on app.attribution_runs to castledger_api;
grant select on app.attributed_conversions, app.attribution_touches, app.attribution_credits, app.attribution_totals
    to castledger_api;
grant select, update on app.attribution_runs to castledger_ingest;
grant select, insert, delete on app.attributed_conversions, app.attribution_touches, app.attribution_credits,
    app.attribution_totals to castledger_ingest;
-- A click by its id, to tell when it was and on which link; read over all tenants, by ingest alone.
grant select on app.clicks to castledger_ingest;

-- Nobody has to wait for the job's next turn.
create function ops.call_attribution() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    update ops.jobs set due_at = least(due_at, now()) where kind = 'attribution';
    return null;
end
$$;
revoke execute on function ops.call_attribution() from public;
create trigger call_attribution after insert on app.attribution_runs
    for each statement execute function ops.call_attribution();

-- A run that is over stays what it is; a merge of sponsors alone says whose it is now.
create function app.keep_attribution_run() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if to_jsonb(new) - 'sponsor_id' is distinct from to_jsonb(old) - 'sponsor_id' then
        raise exception 'an attribution run that is over does not change'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return new;
end
$$;
create trigger keep_attribution_run before update on app.attribution_runs
    for each row when (old.status in ('ready', 'failed')) execute function app.keep_attribution_run();

-- And so do its rows, for ingest, which alone may write any: what the owner of the tables takes away goes with the run.
create function app.keep_attribution_rows() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (
        select from changed c join app.attribution_runs r using (tenant_id, run_id) where r.status <> 'running'
    ) then
        raise exception 'the rows of an attribution run change while it is computed, not before or after'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return null;
end
$$;
create trigger keep_added after insert on app.attributed_conversions referencing new table as changed
    for each statement when (current_user = 'castledger_ingest') execute function app.keep_attribution_rows();
create trigger keep_deleted after delete on app.attributed_conversions referencing old table as changed
    for each statement when (current_user = 'castledger_ingest') execute function app.keep_attribution_rows();
create trigger keep_added after insert on app.attribution_touches referencing new table as changed
    for each statement when (current_user = 'castledger_ingest') execute function app.keep_attribution_rows();
create trigger keep_deleted after delete on app.attribution_touches referencing old table as changed
    for each statement when (current_user = 'castledger_ingest') execute function app.keep_attribution_rows();
create trigger keep_added after insert on app.attribution_credits referencing new table as changed
    for each statement when (current_user = 'castledger_ingest') execute function app.keep_attribution_rows();
create trigger keep_deleted after delete on app.attribution_credits referencing old table as changed
    for each statement when (current_user = 'castledger_ingest') execute function app.keep_attribution_rows();
create trigger keep_added after insert on app.attribution_totals referencing new table as changed
    for each statement when (current_user = 'castledger_ingest') execute function app.keep_attribution_rows();
create trigger keep_deleted after delete on app.attribution_totals referencing old table as changed
    for each statement when (current_user = 'castledger_ingest') execute function app.keep_attribution_rows();

-- Reports that are made once and kept, and what lets somebody without a login read one.

create table app.reports (
    tenant_id uuid not null references app.tenants,
    report_id uuid not null,
    -- Whose it is: a sponsor's login sees it then; null for a report about podcasts.
    sponsor_id uuid,
    kind text not null check (kind in ('sponsor', 'podcast', 'delivery')),
    format text not null check (format in ('json', 'csv', 'xlsx', 'parquet')),
    params jsonb not null check (jsonb_typeof(params) = 'object'),
    status text not null default 'queued' check (status in ('queued', 'running', 'ready', 'failed')),
    done_ppm integer not null default 0 check (done_ppm between 0 and 1000000),
    -- How often it was begun: what fails is tried once more.
    attempts smallint not null default 0 check (attempts between 0 and 2),
    error text check (length(error) between 1 and 500),
    cutoff_at timestamptz,
    sha256 bytea check (length(sha256) = 32),
    bytes bigint check (bytes between 0 and 67108864),
    created_by uuid,
    created_at timestamptz not null,
    finished_at timestamptz,
    -- When its file goes.
    expires_at timestamptz not null,
    primary key (tenant_id, report_id),
    foreign key (tenant_id, sponsor_id) references app.sponsors on update cascade,
    check ((status in ('ready', 'failed')) = (finished_at is not null)),
    check ((status = 'ready') = (sha256 is not null))
);
create index reports_created on app.reports (tenant_id, created_at, report_id);
create index reports_waiting on app.reports (created_at) where status in ('queued', 'running');
create index reports_expiry on app.reports (expires_at);

create table app.report_files (
    tenant_id uuid not null,
    report_id uuid not null,
    content bytea not null,
    -- The same report as JSON, of which the page is made; null where the file is that already, or it is too large.
    figures bytea,
    primary key (tenant_id, report_id),
    foreign key (tenant_id, report_id) references app.reports on delete cascade
);
-- Handed out a piece at a time, which what is compressed cannot be.
alter table app.report_files alter column content set storage external;

create table app.report_shares (
    tenant_id uuid not null,
    share_id uuid not null,
    report_id uuid not null,
    -- Of a token of 256 bits, which is shown once.
    token_hash bytea not null unique check (length(token_hash) = 32),
    password_hash text,
    has_password boolean not null default false check (has_password = (password_hash is not null)),
    expires_at timestamptz not null,
    max_views integer check (max_views > 0),
    views integer not null default 0 check (views >= 0),
    -- Wrong passwords since the last right one.
    failures integer not null default 0 check (failures >= 0),
    failed_at timestamptz,
    created_by uuid,
    created_at timestamptz not null,
    revoked_at timestamptz,
    primary key (tenant_id, share_id),
    foreign key (tenant_id, report_id) references app.reports on delete cascade
);
create index report_shares_report on app.report_shares (tenant_id, report_id);

alter table app.reports enable row level security;
alter table app.reports force row level security;
alter table app.report_files enable row level security;
alter table app.report_files force row level security;
alter table app.report_shares enable row level security;
alter table app.report_shares force row level security;

create policy tenant on app.reports to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.report_files for select to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.report_shares to castledger_api using (tenant_id = (select app.tenant_id()));
create policy sponsor on app.reports for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.report_files for select to castledger_api
    using ((select app.sponsor_ids()) is not null and tenant_id = (select app.sponsors_tenant_id())
        and report_id in (select r.report_id from app.reports r));
-- Whoever has a link has no tenant: the role that authenticates finds what it is for.
create policy auth on app.report_shares to castledger_auth using (true);
create policy auth on app.reports for select to castledger_auth using (true);
create policy auth on app.report_files for select to castledger_auth using (true);
create policy ingest on app.reports to castledger_ingest using (true);
create policy ingest on app.report_files to castledger_ingest using (true);
create policy ingest on app.report_shares to castledger_ingest using (true);
create policy erasure on app.reports to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.report_files to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.report_shares to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.reports for select to castledger_dump using (true);
create policy dump on app.report_files for select to castledger_dump using (true);
create policy dump on app.report_shares for select to castledger_dump using (true);

-- A report is kept for as long as it is shared, and goes with its sponsor in a merge.
grant select, insert, delete, update (expires_at, sponsor_id) on app.reports to castledger_api;
grant select on app.report_files to castledger_api;
grant select (tenant_id, share_id, report_id, has_password, expires_at, max_views, views, created_by, created_at,
    revoked_at), insert, update (revoked_at) on app.report_shares to castledger_api;
grant select, update (views, failures, failed_at) on app.report_shares to castledger_auth;
grant select on app.reports, app.report_files to castledger_auth;
grant select, update, delete on app.reports to castledger_ingest;
grant select, insert, delete on app.report_files to castledger_ingest;
grant select, delete on app.report_shares to castledger_ingest;

-- Nobody has to wait for the job's next turn.
create function ops.call_reports() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    update ops.jobs set due_at = least(due_at, now()) where kind = 'reports';
    return null;
end
$$;
revoke execute on function ops.call_reports() from public;
create trigger call_reports after insert on app.reports
    for each statement execute function ops.call_reports();

-- Touches of a customer that was erased are known to the day, no more.

alter table app.attribution_touches add column is_day_only boolean not null default false;
-- The one thing that changes in a run that is over: when a touch was, to its UTC day.
grant update (occurred_at, is_day_only) on app.attribution_touches to castledger_ingest;

create function app.keep_attribution_touch() returns trigger language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
    if not new.is_day_only or new.occurred_at <> date_trunc('day', old.occurred_at, 'UTC') then
        raise exception 'a touch of an attribution run changes only from its time to its day'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    return new;
end
$$;
create trigger keep_changed before update on app.attribution_touches
    for each row when (current_user = 'castledger_ingest') execute function app.keep_attribution_touch();

-- What was entered with a conversion, as codes are compared: those of a code are found by it. Letters and digits, which
-- most codes are, need no table of characters.
create function app.fold_code(entered text) returns text language sql immutable strict parallel safe
return case when entered collate "C" ~ '^[A-Za-z0-9]+$' then upper(entered collate "C")
    else translate(entered,
        E'abcdefghijklmnopqrstuvwxyz'
        '\uff21\uff22\uff23\uff24\uff25\uff26\uff27\uff28\uff29\uff2a\uff2b\uff2c\uff2d'
        '\uff2e\uff2f\uff30\uff31\uff32\uff33\uff34\uff35\uff36\uff37\uff38\uff39\uff3a'
        '\uff41\uff42\uff43\uff44\uff45\uff46\uff47\uff48\uff49\uff4a\uff4b\uff4c\uff4d'
        '\uff4e\uff4f\uff50\uff51\uff52\uff53\uff54\uff55\uff56\uff57\uff58\uff59\uff5a'
        '\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18\uff19'
        ' \u0009\u000d\u000a\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000'
        '-\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u200b\u200c\u200d\u2060\ufeff',
        'ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789') end;
alter table app.conversions add column promo_key text generated always as (app.fold_code(promo_code)) stored;
create index conversions_code on app.conversions (tenant_id, sponsor_id, promo_key, occurred_at, conversion_id)
    where promo_key is not null;

-- What came in as events, and what became of it: counted where events are decided about, in the same transaction.

create table app.event_intake (
    tenant_id uuid not null references app.tenants,
    -- The UTC day of their receipt.
    day date not null,
    type text not null,
    outcome text not null check (length(outcome) between 1 and 40),
    -- Whose they were found to be; null for nobody's.
    found_id uuid,
    -- Whose they are since sponsors were merged.
    sponsor_id uuid,
    events bigint not null check (events > 0),
    unique nulls not distinct (tenant_id, day, type, outcome, found_id),
    foreign key (tenant_id, sponsor_id) references app.sponsors,
    check ((found_id is null) = (sponsor_id is null))
);
create index event_intake_sponsor on app.event_intake (tenant_id, sponsor_id, day) where sponsor_id is not null;
create index event_intake_day on app.event_intake (day);

alter table app.event_intake enable row level security;
alter table app.event_intake force row level security;
create policy tenant on app.event_intake to castledger_api using (tenant_id = (select app.tenant_id()));
create policy sponsor on app.event_intake for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy ingest on app.event_intake to castledger_ingest using (true);
create policy erasure on app.event_intake to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.event_intake for select to castledger_dump using (true);

-- In a merge of sponsors, which alone changes whose they are.
grant select, update (sponsor_id) on app.event_intake to castledger_api;
grant select, insert, update (events), delete on app.event_intake to castledger_ingest;

-- Events of a tenant that are still to be decided about.
create view api.event_marks with (security_barrier) as
    select received_at, marked_at from ops.event_marks where tenant_no = app.tenant_no();
grant select on api.event_marks to castledger_api;

-- Into which sponsor an archived one was merged: whoever still asks for something of the one is told of the other.
alter table app.sponsors add column merged_into uuid;
alter table app.sponsors add constraint sponsors_merged
    foreign key (tenant_id, merged_into) references app.sponsors;
create index sponsors_merged on app.sponsors (tenant_id, merged_into) where merged_into is not null;

-- Whom a tenant's flights are told of once they fall behind, and what they were told.

-- Rows are of flights that are behind, or that somebody was told of; sponsors see none of them.
create table app.flight_alerts (
    tenant_id uuid not null,
    flight_id uuid not null,
    -- Null once it has caught up, or is over.
    behind_since timestamptz,
    -- When the last mail that names it was queued: of this time behind if that is not before behind_since.
    told_at timestamptz,
    -- When that it ended short was told, after which there is nothing more to tell.
    last_word_at timestamptz,
    primary key (tenant_id, flight_id),
    foreign key (tenant_id, flight_id) references app.flights (tenant_id, flight_id) on delete cascade,
    check (last_word_at is null or told_at >= last_word_at)
);

alter table app.flight_alerts enable row level security;
alter table app.flight_alerts force row level security;
create policy tenant on app.flight_alerts for select to castledger_api using (tenant_id = (select app.tenant_id()));
create policy ingest on app.flight_alerts to castledger_ingest using (true);
create policy erasure on app.flight_alerts to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.flight_alerts for select to castledger_dump using (true);
grant select on app.flight_alerts to castledger_api;
grant select, insert, update on app.flight_alerts to castledger_ingest;

-- Whether somebody hears of a tenant's flights by mail, which they say for themselves.
alter table app.memberships add column delivery_mail boolean not null default true;
grant update (delivery_mail) on app.memberships to castledger_auth;

-- Ingest writes to who sells in the transaction's tenant, and reads nobody: it is given these addresses and no more.
create policy told on app.users for select to castledger_owner using (exists (
    select from app.memberships m
    where m.user_id = users.user_id and m.tenant_id = app.tenant_id() and m.removed_at is null));
create function app.list_delivery_recipients(most integer) returns setof text
    language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
    select u.email from app.memberships m join app.users u on u.user_id = m.user_id
    where m.tenant_id = app.tenant_id() and m.role in ('owner', 'admin', 'sales') and m.custom_role_id is null
        and cardinality(m.sponsor_ids) = 0 and m.delivery_mail and m.removed_at is null
        and u.status = 'active' and u.email_verified_at is not null
    order by u.email limit most
$$;
revoke execute on function app.list_delivery_recipients from public;
grant execute on function app.list_delivery_recipients to castledger_ingest;
grant insert on app.outbox to castledger_ingest;
-- A transaction that began before midnight and counts after another one that began behind it counts on the new day: it
-- would otherwise put the day back, and the next one would begin to count anew.
create or replace function app.count_rows() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
declare
    of_metric text := tg_argv[0];
    columns text[] := tg_argv[1:];
    acting text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    is_bound boolean := acting in ('castledger_api', 'castledger_auth');
    before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
    after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
    of_tenant uuid := (coalesce(after, before) ->> 'tenant_id')::uuid;
    change integer := 0;
    today date := (now() at time zone 'UTC')::date;
    turn record;
begin
    if before is not null and not exists (select from unnest(columns) c where before ->> c is not null) then
        change := change - 1;
    end if;
    if after is not null and not exists (select from unnest(columns) c where after ->> c is not null) then
        change := change + 1;
    end if;
    if change < 0 then
        update app.usage_counters set used = greatest(used - 1, 0)
        where tenant_id = of_tenant and metric = of_metric and period = 'total';
    end if;
    if change <= 0 then
        return null;
    end if;
    -- In one order, so that two who count wait for each other in a line.
    for turn in
        select p.period, p.starts_on, p.starts_on + p.lasts as resets_on, q.limit_value
        from (values
            ('day', today, interval '1 day'),
            ('month', date_trunc('month', today::timestamp)::date, interval '1 month'),
            ('total', date '2000-01-01', null)
        ) p(period, starts_on, lasts)
        left join app.tenant_quotas q on q.tenant_id = of_tenant and q.metric = of_metric and q.period = p.period
        order by p.period
    loop
        insert into app.usage_counters as c (tenant_id, metric, period, starts_on, used)
        select of_tenant, of_metric, turn.period, turn.starts_on, 1
        where not is_bound or turn.limit_value is null or turn.limit_value > 0
        on conflict (tenant_id, metric, period) do update
            set used = case when c.starts_on < turn.starts_on then 1 else c.used + 1 end,
                starts_on = greatest(c.starts_on, turn.starts_on)
            where not is_bound or turn.limit_value is null or c.starts_on < turn.starts_on
                or c.used < turn.limit_value;
        if not found then
            raise exception 'quota_exceeded' using errcode = 'CLQTA', detail = json_build_object(
                'metric', of_metric, 'period', turn.period, 'limit', turn.limit_value,
                'resets_at', turn.resets_on at time zone 'UTC',
                'retry_after_s', ceil(extract(epoch from turn.resets_on at time zone 'UTC' - now()))::integer)::text;
        end if;
    end loop;
    return null;
end
$$;
