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
