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
