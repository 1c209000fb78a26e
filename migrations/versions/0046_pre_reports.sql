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
