-- Listeners are counted by month beforehand: over the downloads that takes longer than a page may.

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

-- What is there already is counted by ingest when it comes to it. Row security binds the owner too, who has no rows of
-- its own: it is lifted for this transaction.
alter table app.podcast_months no force row level security;
insert into ops.listener_marks (tenant_no, podcast_no, month)
select tenant_no, podcast_no, month from app.podcast_months where dimension = 'total';
alter table app.podcast_months force row level security;
