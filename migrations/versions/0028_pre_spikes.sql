-- Spikes: floods of requests that ingest finds beside the hits. They change nothing by themselves: the owner of the
-- podcast accepts them, which leaves their hits out of downloads, or dismisses them; what was accepted can be reverted.

-- What is null does not matter; `user_agent` says more than `app` where both are given. `usual` is what was likely of
-- each of its hours.
create table app.spikes (
    tenant_no integer not null,
    spike_id uuid not null,
    podcast_no integer not null,
    kind text not null check (kind in ('source', 'agent', 'network', 'country')),
    begins_at timestamptz not null,
    ends_at timestamptz not null,
    listener_key uuid,
    app text,
    user_agent text,
    asn integer,
    country smallint,
    usual integer[] not null check (cardinality(usual) between 1 and 24),
    hits bigint not null check (hits >= 0),
    downloads bigint not null check (downloads >= 0),
    episodes integer not null check (episodes >= 0),
    found_at timestamptz not null,
    state text not null default 'open' check (state in ('open', 'accepted', 'dismissed', 'reverted')),
    reason text check (length(reason) between 1 and 500),
    origin text check (origin in ('command', 'key')),
    key_id uuid,
    decided_at timestamptz,
    is_due boolean not null default false,
    applied_at timestamptz,
    refusal text check (length(refusal) between 1 and 500),
    primary key (tenant_no, spike_id),
    check ((begins_at at time zone 'UTC')::date = ((ends_at - interval '1 microsecond') at time zone 'UTC')::date),
    check (begins_at < ends_at),
    check (num_nonnulls(listener_key, app, user_agent, asn, country) > 0),
    check (num_nonnulls(reason, origin, decided_at) in (0, 3)),
    check ((state = 'open') or decided_at is not null),
    check (key_id is null or origin = 'key')
);
create unique index spikes_subject on app.spikes (tenant_no, podcast_no, begins_at, kind, listener_key, app, user_agent,
    asn, country) nulls not distinct;
create index spikes_begun on app.spikes (tenant_no, begins_at, spike_id);
create index spikes_due on app.spikes (decided_at) where is_due;

alter table app.spikes enable row level security;
alter table app.spikes force row level security;
create policy tenant on app.spikes for select to castledger_api using (tenant_no = (select app.tenant_no()));
create policy decision on app.spikes for update to castledger_api using (tenant_no = (select app.tenant_no()))
    with check (tenant_no = (select app.tenant_no()));
create policy ingest on app.spikes to castledger_ingest using (true);
create policy erasure on app.spikes to castledger_owner using (tenant_no = app.tenant_no());
create policy dump on app.spikes for select to castledger_dump using (true);
grant select, update (state, reason, origin, key_id, decided_at, is_due, refusal) on app.spikes to castledger_api;
grant select, insert, update, delete on app.spikes to castledger_ingest;

-- How far all hours have been looked at: once when they are closed, and once more a day later.
create table ops.spike_looks (
    pass smallint primary key check (pass in (1, 2)),
    until_at timestamptz not null
);
grant select, insert, update on ops.spike_looks to castledger_ingest;

-- Nobody has to wait for the job's next turn.
create function ops.call_spikes() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    update ops.jobs set due_at = least(due_at, now()) where kind = 'spikes';
    return null;
end
$$;
revoke execute on function ops.call_spikes() from public;
create trigger call_spikes after update of is_due on app.spikes
    for each statement execute function ops.call_spikes();

-- Hits are only ever added by who lands them: those of one spike are flagged (1024) once it is accepted, and the flag
-- goes once that is reverted, but for hits of another one that is accepted. In a transaction of the tenant.
create function ops.flag_spike(spike uuid) returns bigint language plpgsql security definer
    set search_path = pg_catalog, pg_temp set plan_cache_mode = force_custom_plan
as $$
declare
    wanted app.spikes;
    agents integer[];
    changed bigint;
begin
    select s.* into strict wanted from app.spikes s where s.tenant_no = app.tenant_no() and s.spike_id = spike;
    if not exists (
        select from ops.days d
        where d.tenant_no = wanted.tenant_no and d.day = (wanted.begins_at at time zone 'UTC')::date
            and d.downloads_dropped_at is null
    ) then
        return 0;
    end if;
    perform set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true);
    if wanted.state = 'accepted' then
        if wanted.app is not null or wanted.user_agent is not null then
            agents := array(
                select a.agent_no from ops.agents a
                where case when wanted.user_agent is null then a.app = wanted.app else a.user_agent = wanted.user_agent end
            );
        end if;
        update ts.listener_events e set flags = e.flags | 1024
        where e.tenant_no = wanted.tenant_no and e.podcast_no = wanted.podcast_no and e.occurred_at >= wanted.begins_at
            and e.occurred_at < wanted.ends_at and e.kind = 1 and e.flags & 1024 = 0
            and (wanted.listener_key is null or e.listener_key = wanted.listener_key)
            and (wanted.asn is null or e.asn = wanted.asn) and (wanted.country is null or e.country = wanted.country)
            and (agents is null or e.agent_no = any(agents));
    else
        update ts.listener_events e set flags = e.flags & ~1024
        where e.tenant_no = wanted.tenant_no and e.podcast_no = wanted.podcast_no and e.occurred_at >= wanted.begins_at
            and e.occurred_at < wanted.ends_at and e.kind = 1 and e.flags & 1024 <> 0
            and not exists (
                select from app.spikes o
                where o.tenant_no = wanted.tenant_no and o.podcast_no = wanted.podcast_no and o.state = 'accepted'
                    and o.spike_id <> wanted.spike_id and o.begins_at <= e.occurred_at and o.ends_at > e.occurred_at
                    and (o.listener_key is null or o.listener_key = e.listener_key)
                    and (o.asn is null or o.asn = e.asn) and (o.country is null or o.country = e.country)
                    and (o.app is null and o.user_agent is null or exists (
                        select from ops.agents a
                        where a.agent_no = e.agent_no
                            and case when o.user_agent is null then a.app = o.app else a.user_agent = o.user_agent end
                    ))
            );
    end if;
    get diagnostics changed = row_count;
    return changed;
end
$$;
revoke execute on function ops.flag_spike(uuid) from public;
grant execute on function ops.flag_spike(uuid) to castledger_ingest;
