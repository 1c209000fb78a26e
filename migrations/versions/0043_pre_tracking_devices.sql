-- By what a flight is recognised: promo codes, links of flights, hosts of their own for links, and answers to the
-- question where somebody heard of it.

-- Ranges of texts, so that one text can be told from another beside a range of time without an extension.
create type app.text_range as range (subtype = text, collation = "C");

create table app.promo_codes (
    tenant_id uuid not null,
    promo_code_id uuid not null,
    sponsor_id uuid not null,
    campaign_id uuid not null,
    flight_id uuid not null,
    -- Without blanks and hyphens, in capitals.
    code text not null check (code ~ '^[A-Z0-9]{3,32}$'),
    valid_from timestamptz not null,
    -- Null is without an end.
    valid_until timestamptz,
    -- How long after its end a redemption still counts, as a late one.
    grace_days integer not null default 7 check (grace_days between 0 and 90),
    max_redemptions integer check (max_redemptions > 0),
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, promo_code_id),
    foreign key (tenant_id, sponsor_id, campaign_id, flight_id)
        references app.flights (tenant_id, sponsor_id, campaign_id, flight_id) on update cascade,
    -- One that was put away before its time was never valid.
    constraint promo_codes_valid check (
        valid_until > valid_from or (archived_at is not null and valid_until = valid_from)
    ),
    constraint promo_codes_once exclude using gist (
        app.text_range(sponsor_id::text || '/' || code, sponsor_id::text || '/' || code, '[]') with &&,
        tstzrange(valid_from, valid_until) with &&
    )
);
create index promo_codes_code on app.promo_codes (tenant_id, code);
create index promo_codes_flight on app.promo_codes (tenant_id, flight_id, created_at, promo_code_id);
create index promo_codes_sponsor on app.promo_codes (tenant_id, sponsor_id, created_at, promo_code_id);

alter table app.links add column campaign_id uuid;
alter table app.links add column flight_id uuid;
alter table app.links add constraint links_flight foreign key (tenant_id, sponsor_id, campaign_id, flight_id)
    references app.flights (tenant_id, sponsor_id, campaign_id, flight_id) on update cascade;
alter table app.links add constraint links_flight_whole check (
    num_nonnulls(campaign_id, flight_id) = 0 or num_nonnulls(sponsor_id, campaign_id, flight_id) = 3
);
create index links_flight on app.links (tenant_id, flight_id) where flight_id is not null;

-- Hosts that lead to one link, whatever path is asked for: `acme.show.example`. One owner a host over all tenants.
create table app.vanity_hosts (
    tenant_id uuid not null,
    vanity_host_id uuid not null,
    tenant_no integer not null,
    host text not null check (length(host) between 4 and 253),
    link_id uuid not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, vanity_host_id),
    foreign key (tenant_id, link_id) references app.links
);
create unique index vanity_hosts_host on app.vanity_hosts (host) where archived_at is null;
create index vanity_hosts_link on app.vanity_hosts (tenant_id, link_id);

create table app.survey_options (
    tenant_id uuid not null,
    survey_option_id uuid not null,
    sponsor_id uuid not null,
    campaign_id uuid not null,
    flight_id uuid not null,
    answer text not null check (length(answer) between 1 and 200),
    -- A hash of the answer as it is compared.
    answer_key uuid not null,
    created_at timestamptz not null,
    archived_at timestamptz,
    primary key (tenant_id, survey_option_id),
    foreign key (tenant_id, sponsor_id, campaign_id, flight_id)
        references app.flights (tenant_id, sponsor_id, campaign_id, flight_id) on update cascade
);
create unique index survey_options_answer on app.survey_options (tenant_id, sponsor_id, answer_key)
    where archived_at is null;
create index survey_options_flight on app.survey_options (tenant_id, flight_id);

alter table app.promo_codes enable row level security;
alter table app.promo_codes force row level security;
alter table app.vanity_hosts enable row level security;
alter table app.vanity_hosts force row level security;
alter table app.survey_options enable row level security;
alter table app.survey_options force row level security;

create policy tenant on app.promo_codes to castledger_api using (tenant_id = (select app.tenant_id()));
create policy tenant on app.vanity_hosts to castledger_api using (tenant_id = (select app.tenant_id()))
    with check (tenant_id = (select app.tenant_id()) and tenant_no = (select app.tenant_no()));
create policy tenant on app.survey_options to castledger_api using (tenant_id = (select app.tenant_id()));

create policy sponsor on app.promo_codes for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));
create policy sponsor on app.vanity_hosts for select to castledger_api
    using ((select app.sponsor_ids()) is not null and tenant_id = (select app.sponsors_tenant_id())
        and link_id in (select l.link_id from app.links l));
create policy sponsor on app.survey_options for select to castledger_api
    using (tenant_id = (select app.sponsors_tenant_id()) and sponsor_id = any ((select app.sponsor_ids())::uuid[]));

create policy ingest on app.promo_codes for select to castledger_ingest using (true);
create policy ingest on app.vanity_hosts for select to castledger_ingest using (true);
create policy ingest on app.survey_options for select to castledger_ingest using (true);
create policy erasure on app.promo_codes to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.vanity_hosts to castledger_owner using (tenant_id = app.tenant_id());
create policy erasure on app.survey_options to castledger_owner using (tenant_id = app.tenant_id());
create policy dump on app.promo_codes for select to castledger_dump using (true);
create policy dump on app.vanity_hosts for select to castledger_dump using (true);
create policy dump on app.survey_options for select to castledger_dump using (true);

grant select, insert, update on app.promo_codes, app.vanity_hosts, app.survey_options to castledger_api;
grant select on app.promo_codes, app.vanity_hosts, app.survey_options to castledger_ingest;

-- Where somebody's episodes are is no vanity host, whoever asks: the role that authenticates sees over all tenants.
create policy auth on app.enclosures for select to castledger_auth using (true);
grant select (hosts, gone_at) on app.enclosures to castledger_auth;
