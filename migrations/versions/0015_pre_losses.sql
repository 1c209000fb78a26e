-- What could not land is named: hits that were refused, one row each.

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
