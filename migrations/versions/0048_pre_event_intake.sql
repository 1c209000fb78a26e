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
