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
