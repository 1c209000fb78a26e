-- Since when hits are looked up in which lists and databases: addresses are not kept, so that what one says of a hit is
-- what it said when the hit landed, and a recount has to be able to tell from when on it was there.
create table ops.list_versions (
    kind text not null check (kind in ('networks', 'asns', 'countries')),
    since timestamptz not null,
    version text not null check (length(version) between 1 and 200),
    primary key (kind, since)
);
grant select, insert on ops.list_versions to castledger_ingest;
