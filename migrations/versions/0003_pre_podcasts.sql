-- Podcasts, their episodes, and which episode a requested target belongs to.
create table app.podcasts (
    tenant_id uuid not null references app.tenants,
    podcast_id uuid not null,
    podcast_no integer generated always as identity unique,
    tenant_no integer not null,
    -- One owner a feed, over all tenants: unique constraints do not heed row security.
    podcast_guid uuid not null unique,
    feed_key text unique,
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
    primary key (tenant_id, podcast_id)
);
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
    length_bytes bigint
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
