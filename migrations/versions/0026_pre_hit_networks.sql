-- What an address tells and is not kept for: in which lists it was, and whose network it is (0: not known). Hits of before
-- have neither; what their lists said against them is among their verdicts.
alter table ts.listener_events add column asn integer not null default 0;
alter table ts.listener_events add column networks smallint not null default 0;
alter table ops.pending_hits add column asn integer not null default 0;
alter table ops.pending_hits add column networks smallint not null default 0;

create or replace view api.listener_events with (security_barrier) as
    select e.occurred_at, e.segment_no, e.ordinal, e.podcast_no, e.episode_no, e.range_first, e.range_last, e.range_kind,
        e.verdict_bits, e.verdict, e.evidence, e.country, e.kind, e.method, e.flags, e.source, e.rules, e.listener_key,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, e.asn, e.networks
    from ts.listener_events e
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = e.referrer_no
    left join ops.terms f on f.term_no = e.feed_app_no
    where e.tenant_no = app.tenant_no();

create or replace view api.pending_hits with (security_barrier) as
    select p.occurred_at, p.segment_no, p.ordinal, p.podcast_no, p.target, p.range_first, p.range_last, p.range_kind,
        p.verdict_bits, p.country, p.kind, p.method, p.flags, p.source,
        coalesce(a.user_agent, '') as user_agent, coalesce(a.kind, 0)::smallint as agent_kind,
        coalesce(a.app, '') as app, coalesce(a.device, '') as device, coalesce(a.rule, '') as agent_rule,
        coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, p.asn, p.networks
    from ops.pending_hits p
    left join ops.agents a using (agent_no)
    left join ops.terms r on r.term_no = p.referrer_no
    left join ops.terms f on f.term_no = p.feed_app_no
    where p.tenant_no = app.tenant_no();
