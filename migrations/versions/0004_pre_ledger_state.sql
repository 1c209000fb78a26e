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
    first_seen_at timestamptz not null default now()
);

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
    primary key (tenant_no, day)
);

grant select, insert, update on ops.segments, ops.ingest_status, ops.days to castledger_ingest;
grant select, insert, update on ops.listener_secrets, ops.agents to castledger_ingest;
grant select, insert on ops.terms to castledger_ingest;
grant select, insert, delete on ops.pending_hits, ops.dirty_marks to castledger_ingest;
