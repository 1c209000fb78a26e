-- What a sponsor ordered and what it was promised: insertion orders with their campaigns, campaigns with their flights,
-- placements of flights in episodes, and the slots that podcasts have for them.

-- Whose an order is, and in which currency, is said by every row below it and held to by its key: nobody has to ask
-- another table who may see a row, money of two currencies never meets, and a merge of sponsors moves all of it at once.
create table app.insertion_orders (
    tenant_id uuid not null references app.tenants,
    insertion_order_id uuid not null,
    sponsor_id uuid not null,
    number integer not null check (number > 0),
    name text not null check (length(name) between 1 and 200),
    -- The sponsor's own number for it.
    reference text check (length(reference) between 1 and 100),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    status text not null default 'draft' check (status in ('draft', 'open', 'closed', 'cancelled')),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    primary key (tenant_id, insertion_order_id),
    unique (tenant_id, number),
    unique (tenant_id, sponsor_id, insertion_order_id, currency),
    foreign key (tenant_id, sponsor_id) references app.sponsors
);
create index insertion_orders_created on app.insertion_orders (tenant_id, created_at, insertion_order_id);

create table app.campaigns (
    tenant_id uuid not null,
    campaign_id uuid not null,
    sponsor_id uuid not null,
    insertion_order_id uuid not null,
    currency text not null,
    name text not null check (length(name) between 1 and 200),
    status text not null default 'draft'
        check (status in ('draft', 'scheduled', 'active', 'paused', 'completed', 'cancelled')),
    -- Days of UTC, both of them in it.
    starts_on date not null,
    ends_on date not null,
    pricing text not null check (pricing in ('cpm', 'flat', 'cpa')),
    budget_amount bigint not null check (budget_amount between 0 and 1000000000000000),
    model text not null
        check (model in ('first', 'last', 'linear', 'position', 'time_decay', 'shapley', 'markov')),
    window_days integer not null check (window_days between 1 and 90),
    excludes_prior_customers boolean not null default false,
    -- Campaign parameters that its links get, with places for names: {campaign}, {podcast}.
    utm jsonb not null default '{}' check (jsonb_typeof(utm) = 'object'),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    activated_at timestamptz,
    ended_at timestamptz,
    primary key (tenant_id, campaign_id),
    unique (tenant_id, sponsor_id, campaign_id, currency),
    foreign key (tenant_id, sponsor_id, insertion_order_id, currency)
        references app.insertion_orders (tenant_id, sponsor_id, insertion_order_id, currency) on update cascade,
    constraint campaigns_dates check (ends_on >= starts_on)
);
create index campaigns_created on app.campaigns (tenant_id, created_at, campaign_id);
create index campaigns_order on app.campaigns (tenant_id, insertion_order_id);

create table app.flights (
    tenant_id uuid not null,
    flight_id uuid not null,
    campaign_id uuid not null,
    sponsor_id uuid not null,
    currency text not null,
    name text not null check (length(name) between 1 and 200),
    status text not null default 'planned' check (status in ('planned', 'active', 'paused', 'completed', 'cancelled')),
    -- To the quarter hour, as downloads are counted.
    starts_at timestamptz not null check (extract(epoch from starts_at)::bigint % 900 = 0),
    ends_at timestamptz not null check (extract(epoch from ends_at)::bigint % 900 = 0),
    booked_impressions bigint check (booked_impressions between 1 and 1000000000000),
    -- For a thousand impressions, for the whole flight, or for a conversion, as the campaign is priced.
    price_amount bigint not null check (price_amount between 0 and 1000000000000000),
    -- Null is the campaign's.
    window_days integer check (window_days between 1 and 90),
    -- How long after its end downloads of its placements still count for it.
    measurement_days integer not null default 30 check (measurement_days between 0 and 365),
    makegood_of uuid,
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    primary key (tenant_id, flight_id),
    unique (tenant_id, sponsor_id, campaign_id, flight_id),
    foreign key (tenant_id, sponsor_id, campaign_id, currency)
        references app.campaigns (tenant_id, sponsor_id, campaign_id, currency) on update cascade,
    foreign key (tenant_id, makegood_of) references app.flights (tenant_id, flight_id),
    constraint flights_dates check (ends_at > starts_at)
);
create index flights_campaign on app.flights (tenant_id, campaign_id, created_at, flight_id);
create index flights_makegood on app.flights (tenant_id, makegood_of) where makegood_of is not null;

create table app.ad_slots (
    tenant_id uuid not null,
    ad_slot_id uuid not null,
    ad_slot_no integer generated always as identity unique,
    podcast_id uuid not null,
    name text not null check (length(name) between 1 and 200),
    position text not null check (position in ('pre', 'mid', 'post')),
    max_seconds integer check (max_seconds between 1 and 3600),
    per_episode integer not null default 1 check (per_episode between 1 and 20),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, ad_slot_id),
    foreign key (tenant_id, podcast_id) references app.podcasts
);
create index ad_slots_podcast on app.ad_slots (tenant_id, podcast_id, created_at, ad_slot_id);

create table app.placements (
    tenant_id uuid not null,
    placement_id uuid not null,
    flight_id uuid not null,
    campaign_id uuid not null,
    sponsor_id uuid not null,
    podcast_id uuid not null,
    episode_id uuid not null,
    -- As figures are kept.
    tenant_no integer not null,
    podcast_no integer not null,
    episode_no integer not null,
    ad_slot_id uuid,
    ad_slot_no integer,
    slot_no integer not null default 1 check (slot_no between 1 and 20),
    position text not null check (position in ('pre', 'mid', 'post')),
    offset_s integer check (offset_s between 0 and 86400),
    delivery text not null check (delivery in ('baked_in', 'dynamic')),
    host_read boolean not null default true,
    status text not null default 'planned' check (status in ('planned', 'live', 'verified', 'missed', 'pulled')),
    -- Downloads of the episode from the one instant to before the other are exposures.
    live_from timestamptz not null check (extract(epoch from live_from)::bigint % 900 = 0),
    live_until timestamptz not null check (extract(epoch from live_until)::bigint % 900 = 0),
    aircheck_url text check (length(aircheck_url) between 1 and 2048),
    version integer not null default 1 check (version > 0),
    created_at timestamptz not null,
    primary key (tenant_id, placement_id),
    unique (tenant_id, sponsor_id, campaign_id, flight_id, placement_id),
    foreign key (tenant_id, sponsor_id, campaign_id, flight_id)
        references app.flights (tenant_id, sponsor_id, campaign_id, flight_id) on update cascade,
    foreign key (tenant_id, episode_id) references app.episodes,
    foreign key (tenant_id, podcast_id) references app.podcasts,
    foreign key (tenant_id, ad_slot_id) references app.ad_slots,
    constraint placements_live check (live_until > live_from),
    constraint placements_slot_whole check ((ad_slot_id is null) = (ad_slot_no is null)),
    -- A place in a slot is one placement's at a time. Numbers as ranges of one: plain ones need an extension here.
    constraint placements_slot exclude using gist (
        int4range(ad_slot_no, ad_slot_no, '[]') with &&,
        int4range(episode_no, episode_no, '[]') with &&,
        int4range(slot_no, slot_no, '[]') with &&,
        tstzrange(live_from, live_until) with &&
    ) where (ad_slot_no is not null and status not in ('missed', 'pulled'))
);
create index placements_flight on app.placements (tenant_id, flight_id, created_at, placement_id);
create index placements_campaign on app.placements (tenant_id, campaign_id);
create index placements_episode on app.placements (episode_no);
create index placements_podcast on app.placements (tenant_id, podcast_id);

-- What each placement delivered, day by day: the counted downloads of its episode inside its live range, made of
-- metrics_daily whenever that or the placement changes.
create table app.placement_daily (
    tenant_id uuid not null,
    sponsor_id uuid not null,
    campaign_id uuid not null,
    flight_id uuid not null,
    placement_id uuid not null,
    day date not null,
    downloads integer not null check (downloads > 0),
    downloads_strict integer not null check (downloads_strict between 0 and downloads),
    primary key (tenant_id, placement_id, day),
    foreign key (tenant_id, sponsor_id, campaign_id, flight_id, placement_id)
        references app.placements (tenant_id, sponsor_id, campaign_id, flight_id, placement_id)
        on update cascade on delete cascade
);
create index placement_daily_campaign on app.placement_daily (tenant_id, campaign_id, day);
create index placement_daily_sponsor on app.placement_daily (tenant_id, sponsor_id, day);

-- How many listeners a flight, a campaign or a sponsor reached in a month, and how often: listener keys are comparable
-- inside a month alone, and go with the downloads. Never a sum of others: one listener may have heard two flights.
create table app.reach_months (
    tenant_id uuid not null,
    sponsor_id uuid not null,
    level text not null check (level in ('flight', 'campaign', 'sponsor')),
    subject_id uuid not null,
    month date not null check (extract(day from month) = 1),
    reach bigint not null check (reach >= 0),
    impressions bigint not null check (impressions >= reach),
    is_final boolean not null default false,
    computed_at timestamptz not null,
    primary key (tenant_id, level, subject_id, month),
    foreign key (tenant_id, sponsor_id) references app.sponsors on update cascade
);
create index reach_months_sponsor on app.reach_months (tenant_id, sponsor_id, month);

alter table app.insertion_orders enable row level security;
alter table app.insertion_orders force row level security;
alter table app.campaigns enable row level security;
alter table app.campaigns force row level security;
alter table app.flights enable row level security;
alter table app.flights force row level security;
alter table app.ad_slots enable row level security;
alter table app.ad_slots force row level security;
alter table app.placements enable row level security;
alter table app.placements force row level security;
alter table app.placement_daily enable row level security;
alter table app.placement_daily force row level security;
alter table app.reach_months enable row level security;
alter table app.reach_months force row level security;

create policy tenant on app.insertion_orders to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.campaigns to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.flights to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.ad_slots to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.placements to castledger_api using (tenant_id = (select app.tenant_id()))
    with check (tenant_id = (select app.tenant_id()) and tenant_no = (select app.tenant_no()));
create policy tenant on app.placement_daily to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.reach_months to castledger_api using (tenant_id = (select app.tenant_id()));

create policy sponsor on app.insertion_orders for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.campaigns for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.flights for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.placements for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.placement_daily for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.reach_months for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));

-- What it is heard in has a name, and nothing else of a podcast is a sponsor's: no permission of theirs leads there.
create policy sponsor on app.podcasts for select to castledger_api
    using ((select app.sponsor_ids()) is not null and tenant_id = (select app.sponsors_tenant_id())
        and podcast_id in (select p.podcast_id from app.placements p));
create policy sponsor on app.episodes for select to castledger_api
    using ((select app.sponsor_ids()) is not null and tenant_id = (select app.sponsors_tenant_id())
        and episode_id in (select p.episode_id from app.placements p));

create policy ingest on app.insertion_orders for select to castledger_ingest using (true);
create policy ingest on app.campaigns to castledger_ingest using (true);
create policy ingest on app.flights to castledger_ingest using (true);
create policy ingest on app.ad_slots to castledger_ingest using (true);
create policy ingest on app.placements to castledger_ingest using (true);
create policy ingest on app.placement_daily to castledger_ingest using (true);
create policy ingest on app.reach_months to castledger_ingest using (true);
create policy ingest on app.sponsors for select to castledger_ingest using (true);

create policy erasure on app.insertion_orders to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.campaigns to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.flights to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.ad_slots to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.placements to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.placement_daily to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.reach_months to castledger_owner using (tenant_id = app.tenant_id());

create policy dump on app.insertion_orders for select to castledger_dump using (true);
create policy dump on app.campaigns for select to castledger_dump using (true);
create policy dump on app.flights for select to castledger_dump using (true);
create policy dump on app.ad_slots for select to castledger_dump using (true);
create policy dump on app.placements for select to castledger_dump using (true);
create policy dump on app.placement_daily for select to castledger_dump using (true);
create policy dump on app.reach_months for select to castledger_dump using (true);

grant select, insert, update on app.insertion_orders, app.campaigns, app.flights, app.ad_slots, app.placements
    to castledger_api;
grant select, insert, update, delete on app.placement_daily to castledger_api, castledger_ingest;
-- A merge of sponsors moves what is a flight's or a campaign's, and takes away what was the reach of either.
grant select, update (sponsor_id), delete on app.reach_months to castledger_api;
grant select on app.sponsors, app.insertion_orders, app.campaigns, app.flights, app.ad_slots, app.placements
    to castledger_ingest;
-- As the calendar passes.
grant update (status, version, activated_at, ended_at) on app.campaigns to castledger_ingest;
grant update (status, version) on app.flights to castledger_ingest;
-- With their podcast.
grant delete on app.ad_slots, app.placements to castledger_ingest;
grant select, insert, update, delete on app.reach_months to castledger_ingest;

-- Placements that are to be delivered anew, as sum marks: append-only, and the refresher takes those of a podcast
-- while it holds the podcast's lock. Marks of days would not do: what lands at the same time cannot be seen yet.
create table ops.placement_marks (
    mark_no bigint generated always as identity,
    tenant_no integer not null,
    podcast_no integer not null,
    placement_id uuid not null
);
create index placement_marks_podcast on ops.placement_marks (podcast_no);
grant select, insert, delete on ops.placement_marks to castledger_ingest;

create function app.mark_placement() returns trigger language plpgsql security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    insert into ops.placement_marks (tenant_no, podcast_no, placement_id)
    values (new.tenant_no, new.podcast_no, new.placement_id);
    if tg_op = 'UPDATE' and old.podcast_no <> new.podcast_no then
        insert into ops.placement_marks (tenant_no, podcast_no, placement_id)
        values (old.tenant_no, old.podcast_no, old.placement_id);
    end if;
    return null;
end
$$;
revoke execute on function app.mark_placement() from public;
create trigger mark_placement after insert or update of podcast_no, episode_no, status, live_from, live_until
    on app.placements for each row execute function app.mark_placement();

-- Days of episodes: what each of their placements delivered on them. The caller holds the podcasts' locks.
create function app.deliver_days(episode_nos integer[], days date[]) returns void language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    with wanted as materialized (
        select distinct p.tenant_id, p.sponsor_id, p.campaign_id, p.flight_id, p.placement_id, p.tenant_no,
            p.episode_no, w.day, p.status <> 'missed' as is_heard,
            -- The first and last quarter hour of the day in which it is live.
            greatest(1, (extract(epoch from p.live_from)::bigint - (w.day - date '1970-01-01') * bigint '86400') / 900 + 1)
                as first,
            least(96, (extract(epoch from p.live_until)::bigint - (w.day - date '1970-01-01') * bigint '86400') / 900)
                as last
        from unnest(episode_nos, days) as w(episode_no, day)
        join app.placements p on p.episode_no = w.episode_no
    ), fresh as materialized (
        select w.tenant_id, w.sponsor_id, w.campaign_id, w.flight_id, w.placement_id, w.day,
            coalesce(d.downloads, 0) as downloads, coalesce(d.strict, 0) as strict
        from wanted w
        join app.metrics_daily m on m.episode_no = w.episode_no and m.day = w.day and m.dimension = 'total'
            and m.key = '' and m.tenant_no = w.tenant_no
        cross join lateral (
            select sum(q.downloads)::integer as downloads, sum(q.strict)::integer as strict
            from unnest(m.quarters[w.first:w.last], m.quarters_strict[w.first:w.last]) as q(downloads, strict)
        ) d
        where w.is_heard and w.first <= w.last and d.downloads > 0
    ), gone as (
        delete from app.placement_daily d using wanted w
        where d.tenant_id = w.tenant_id and d.placement_id = w.placement_id and d.day = w.day
            and (d.placement_id, d.day) not in (select placement_id, day from fresh)
    )
    insert into app.placement_daily as old (tenant_id, sponsor_id, campaign_id, flight_id, placement_id, day, downloads,
        downloads_strict)
    select * from fresh
    on conflict (tenant_id, placement_id, day) do update
        set downloads = excluded.downloads, downloads_strict = excluded.downloads_strict
        where (old.downloads, old.downloads_strict) is distinct from (excluded.downloads, excluded.downloads_strict);
end
$$;

-- Placements: what they delivered on any day. Days that are in neither table have delivered nothing.
create function app.deliver_placements(placement_ids uuid[]) returns void language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform app.deliver_days(array_agg(d.episode_no), array_agg(d.day)) from (
        select p.episode_no, m.day from app.placements p
        join app.metrics_daily m on m.episode_no = p.episode_no and m.dimension = 'total'
            and m.day between (p.live_from at time zone 'UTC')::date and (p.live_until at time zone 'UTC')::date
        where p.placement_id = any(placement_ids)
        union
        select p.episode_no, d.day from app.placements p join app.placement_daily d using (tenant_id, placement_id)
        where p.placement_id = any(placement_ids)
    ) d;
end
$$;

-- Whoever sums up, this version and the one before it, delivers the days that changed.
alter function app.sum_up(integer[], integer[], date[]) rename to sum_up_figures;
create function app.sum_up(podcast_nos integer[], episode_nos integer[], days date[]) returns void language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform app.sum_up_figures(podcast_nos, episode_nos, days);
    perform app.deliver_days(episode_nos, days);
end
$$;
revoke execute on function app.deliver_days(integer[], date[]), app.deliver_placements(uuid[]),
    app.sum_up(integer[], integer[], date[]) from public;
grant execute on function app.deliver_days(integer[], date[]), app.deliver_placements(uuid[]),
    app.sum_up(integer[], integer[], date[]) to castledger_ingest;
