"""Writing an archive into an empty tenant, all of it in one transaction.

As the owner, in a transaction of the tenant. Row security refuses COPY, so rows of tables under it come as JSON and are
read by PostgreSQL as the table's own rows; the time series and what ingest keeps come by COPY.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final, LiteralString
from uuid import UUID

import msgspec

from analytics_core.db.ledger import IMPORT_SOURCE
from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.db.pool import Connection, Tenant

__all__ = (
    "COPIED",
    "TenantContent",
    "add_agents",
    "add_rows",
    "add_segments",
    "adopt_settings",
    "copy_rows",
    "finish_import",
    "lock_tenant",
    "number_rows",
)

_TIMEOUT_S: Final = 3600.0


class TenantContent(msgspec.Struct, frozen=True):
    """What a tenant has.

    Attributes:
        podcast_ids: Of its podcasts.
        is_empty: Whether it has neither podcasts nor links nor sponsors nor hits.
    """

    podcast_ids: frozenset[UUID]
    is_empty: bool


_LIMITS: Final[LiteralString] = """/* imports.limits */
select set_config('lock_timeout', '10s', true),
    set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"""

# Nobody can add rows that refer to a tenant whose row is locked, and another import waits.
_LOCK: Final[LiteralString] = """/* imports.lock_tenant */
select tenant_no from app.tenants where tenant_id = $1 for update"""

_CONTENT: Final[LiteralString] = """/* imports.content */
select (select coalesce(array_agg(podcast_id), '{}') from app.podcasts) as podcast_ids,
    exists (select from app.podcasts) or exists (select from app.links) or exists (select from app.metrics_daily)
        or exists (select from app.sponsors) or exists (select from ops.days where tenant_no = $1)
        or exists (select from ops.event_ids where tenant_no = $1) as is_used"""

_SETTINGS: Final[LiteralString] = """/* imports.settings */
update app.tenants set retention_hits_days = $2 where tenant_id = $1"""

# As sealed ones: nothing more is expected of them. One that is known here is left alone, as it may be landing.
_SEGMENTS: Final[LiteralString] = """/* imports.segments */
insert into ops.segments (segment_id, source, created_at, committed, first_hit_at, last_hit_at, finished_at,
    finished_why)
select n.segment_id, $2, n.created_at, 0, n.first_hit_at, n.last_hit_at, now(), 'sealed'
from jsonb_populate_recordset(null::ops.segments, $1) as n
on conflict (segment_id) do nothing"""

# Hits are looked for between a segment's first and last. Another tenant's archive may have known fewer of it.
_WIDEN_SEGMENTS: Final[LiteralString] = """/* imports.widen_segments */
update ops.segments s set first_hit_at = least(s.first_hit_at, n.first_hit_at),
    last_hit_at = greatest(s.last_hit_at, n.last_hit_at)
from jsonb_populate_recordset(null::ops.segments, $1) as n
where s.segment_id = n.segment_id and s.source = $2
    and (n.first_hit_at < s.first_hit_at or n.last_hit_at > s.last_hit_at)"""

# Met elsewhere and before: those of today are bounded.
_AGENTS: Final[LiteralString] = """/* imports.agents */
insert into ops.agents (agent_hash, user_agent, kind, app, device, rule, os, table_version, superseded_hash,
    first_seen_at)
select n.agent_hash, n.user_agent, n.kind, n.app, n.device, n.rule, n.os, n.table_version, n.superseded_hash,
    timestamptz 'epoch'
from jsonb_populate_recordset(null::ops.agents, $1) as n order by n.agent_hash
on conflict (agent_hash) do nothing"""

_PODCASTS: Final[LiteralString] = """/* imports.podcasts */
insert into app.podcasts (tenant_id, podcast_id, tenant_no, podcast_guid, feed_key, feed_url, title, link, language,
    guid_declared, verified_at, feed_etag, feed_last_modified, feed_checked_at, feed_error, feed_failures, next_poll_at,
    created_at, archived_at, transferred_at)
select n.tenant_id, n.podcast_id, n.tenant_no, n.podcast_guid, n.feed_key, n.feed_url, n.title, n.link, n.language,
    n.guid_declared, n.verified_at, n.feed_etag, n.feed_last_modified, n.feed_checked_at, n.feed_error,
    n.feed_failures, n.next_poll_at, n.created_at, n.archived_at, n.transferred_at
from jsonb_populate_recordset(null::app.podcasts, $1) as n
on conflict do nothing returning podcast_id as id"""

_EPISODES: Final[LiteralString] = """/* imports.episodes */
insert into app.episodes (tenant_id, episode_id, podcast_id, podcast_no, tenant_no, guid, guid_from_feed, title,
    published_at, duration_s, live, first_seen_at, removed_at)
select n.tenant_id, n.episode_id, n.podcast_id, n.podcast_no, n.tenant_no, n.guid, n.guid_from_feed, n.title,
    n.published_at, n.duration_s, n.live, n.first_seen_at, n.removed_at
from jsonb_populate_recordset(null::app.episodes, $1) as n
on conflict do nothing returning episode_id as id"""

_ENCLOSURES: Final[LiteralString] = """/* imports.enclosures */
insert into app.enclosures (tenant_id, episode_id, enclosure_key, place, kind, url, hosts, media_type, length_bytes,
    first_seen_at, gone_at)
select n.tenant_id, n.episode_id, n.enclosure_key, n.place, n.kind, n.url, n.hosts, n.media_type, n.length_bytes,
    n.first_seen_at, n.gone_at
from jsonb_populate_recordset(null::app.enclosures, $1) as n returning enclosure_key as id"""

_OWNERS: Final[LiteralString] = """/* imports.enclosure_owners */
insert into app.enclosure_owners (enclosure_key, bare_key, file_name, tenant_no, podcast_no, episode_no, length_bytes)
select n.enclosure_key, n.bare_key, n.file_name, n.tenant_no, n.podcast_no, n.episode_no, n.length_bytes
from jsonb_populate_recordset(null::app.enclosure_owners, $1) as n
on conflict do nothing returning enclosure_key as id"""

_UNKNOWN_HOSTS: Final[LiteralString] = """/* imports.unknown_hosts */
insert into app.unknown_hosts (tenant_no, podcast_no, host, first_seen_at, last_seen_at, hits, accepted_at)
select n.tenant_no, n.podcast_no, n.host, n.first_seen_at, n.last_seen_at, n.hits, n.accepted_at
from jsonb_populate_recordset(null::app.unknown_hosts, $1) as n returning host as id"""

_SPONSORS: Final[LiteralString] = """/* imports.sponsors */
insert into app.sponsors (tenant_id, sponsor_id, name, name_key, domain, category, contacts, targeting, version,
    created_at, archived_at)
select n.tenant_id, n.sponsor_id, n.name, n.name_key, n.domain, n.category, n.contacts, n.targeting, n.version,
    n.created_at, n.archived_at
from jsonb_populate_recordset(null::app.sponsors, $1) as n returning sponsor_id as id"""

_ORDERS: Final[LiteralString] = """/* imports.insertion_orders */
insert into app.insertion_orders (tenant_id, insertion_order_id, sponsor_id, number, name, reference, currency, status,
    version, created_at)
select n.tenant_id, n.insertion_order_id, n.sponsor_id, n.number, n.name, n.reference, n.currency, n.status, n.version,
    n.created_at
from jsonb_populate_recordset(null::app.insertion_orders, $1) as n returning insertion_order_id as id"""

_CAMPAIGNS: Final[LiteralString] = """/* imports.campaigns */
insert into app.campaigns (tenant_id, campaign_id, sponsor_id, insertion_order_id, currency, name, status, starts_on,
    ends_on, pricing, budget_amount, model, window_days, excludes_prior_customers, utm, version, created_at,
    activated_at, ended_at)
select n.tenant_id, n.campaign_id, n.sponsor_id, n.insertion_order_id, n.currency, n.name, n.status, n.starts_on,
    n.ends_on, n.pricing, n.budget_amount, n.model, n.window_days, n.excludes_prior_customers, n.utm, n.version,
    n.created_at, n.activated_at, n.ended_at
from jsonb_populate_recordset(null::app.campaigns, $1) as n returning campaign_id as id"""

_FLIGHTS: Final[LiteralString] = """/* imports.flights */
insert into app.flights (tenant_id, flight_id, campaign_id, sponsor_id, currency, name, status, starts_at, ends_at,
    booked_impressions, price_amount, window_days, measurement_days, makegood_of, version, created_at)
select n.tenant_id, n.flight_id, n.campaign_id, n.sponsor_id, n.currency, n.name, n.status, n.starts_at, n.ends_at,
    n.booked_impressions, n.price_amount, n.window_days, n.measurement_days, n.makegood_of, n.version, n.created_at
from jsonb_populate_recordset(null::app.flights, $1) as n returning flight_id as id"""

_AD_SLOTS: Final[LiteralString] = """/* imports.ad_slots */
insert into app.ad_slots (tenant_id, ad_slot_id, podcast_id, name, position, max_seconds, per_episode, version,
    created_at, archived_at)
select n.tenant_id, n.ad_slot_id, n.podcast_id, n.name, n.position, n.max_seconds, n.per_episode, n.version,
    n.created_at, n.archived_at
from jsonb_populate_recordset(null::app.ad_slots, $1) as n returning ad_slot_id as id"""

_PLACEMENTS: Final[LiteralString] = """/* imports.placements */
insert into app.placements (tenant_id, placement_id, flight_id, campaign_id, sponsor_id, podcast_id, episode_id,
    ad_slot_id, slot_no, position, offset_s, delivery, host_read, status, live_from, live_until, aircheck_url, version,
    created_at, tenant_no, podcast_no, episode_no, ad_slot_no)
select n.tenant_id, n.placement_id, n.flight_id, n.campaign_id, n.sponsor_id, n.podcast_id, n.episode_id, n.ad_slot_id,
    n.slot_no, n.position, n.offset_s, n.delivery, n.host_read, n.status, n.live_from, n.live_until, n.aircheck_url,
    n.version, n.created_at, n.tenant_no, n.podcast_no, n.episode_no, nullif(n.ad_slot_no, 0)
from jsonb_populate_recordset(null::app.placements, $1) as n returning placement_id as id"""

_LINKS: Final[LiteralString] = """/* imports.links */
insert into app.links (tenant_id, link_id, tenant_no, slug, url, target, utm, click_id, created_at, archived_at,
    clicks_dropped, bots_dropped, sponsor_id, campaign_id, flight_id)
select n.tenant_id, n.link_id, n.tenant_no, n.slug, n.url, n.target, n.utm, n.click_id, n.created_at, n.archived_at,
    n.clicks_dropped, n.bots_dropped, n.sponsor_id, n.campaign_id, n.flight_id
from jsonb_populate_recordset(null::app.links, $1) as n
on conflict do nothing returning link_id as id"""

_PROMO_CODES: Final[LiteralString] = """/* imports.promo_codes */
insert into app.promo_codes (tenant_id, promo_code_id, sponsor_id, campaign_id, flight_id, code, valid_from,
    valid_until, grace_days, max_redemptions, created_at, archived_at)
select n.tenant_id, n.promo_code_id, n.sponsor_id, n.campaign_id, n.flight_id, n.code, n.valid_from, n.valid_until,
    n.grace_days, n.max_redemptions, n.created_at, n.archived_at
from jsonb_populate_recordset(null::app.promo_codes, $1) as n returning promo_code_id as id"""

_VANITY_HOSTS: Final[LiteralString] = """/* imports.vanity_hosts */
insert into app.vanity_hosts (tenant_id, vanity_host_id, host, link_id, created_at, archived_at, tenant_no)
select n.tenant_id, n.vanity_host_id, n.host, n.link_id, n.created_at, n.archived_at, n.tenant_no
from jsonb_populate_recordset(null::app.vanity_hosts, $1) as n
on conflict do nothing returning vanity_host_id as id"""

_SURVEY_OPTIONS: Final[LiteralString] = """/* imports.survey_options */
insert into app.survey_options (tenant_id, survey_option_id, sponsor_id, campaign_id, flight_id, answer, answer_key,
    created_at, archived_at)
select n.tenant_id, n.survey_option_id, n.sponsor_id, n.campaign_id, n.flight_id, n.answer, n.answer_key, n.created_at,
    n.archived_at
from jsonb_populate_recordset(null::app.survey_options, $1) as n returning survey_option_id as id"""

_CLICKS: Final[LiteralString] = """/* imports.clicks */
insert into app.clicks (tenant_no, link_no, occurred_at, segment_no, ordinal, is_bot, click_id)
select n.tenant_no, n.link_no, n.occurred_at, n.segment_no, n.ordinal, n.is_bot, n.click_id
from jsonb_populate_recordset(null::app.clicks, $1) as n
on conflict do nothing returning ordinal as id"""

# What is sent again here, because it was sent while the ledger moved, is known by its id.
_EVENTS: Final[LiteralString] = """/* imports.events */
with known as (
    insert into ops.event_ids (tenant_no, event_id, received_on)
    select n.tenant_no, n.event_id, (n.received_at at time zone 'UTC')::date
    from jsonb_populate_recordset(null::ts.attribution_events, $1) as n
    on conflict do nothing returning tenant_no, event_id
)
insert into ts.attribution_events (received_at, occurred_at, event_id, tenant_no, source, type, click_id, promo_code,
    link, customer_key, external_id, value_amount, currency, new_customer, page_host, page_path, referrer_host, utm,
    properties, agent_no, asn, country, networks, is_bot)
select n.received_at, n.occurred_at, n.event_id, n.tenant_no, n.source, n.type, n.click_id, n.promo_code, n.link,
    n.customer_key, n.external_id, n.value_amount, n.currency, n.new_customer, n.page_host, n.page_path,
    n.referrer_host, n.utm, n.properties, n.agent_no, n.asn, n.country, n.networks, n.is_bot
from jsonb_populate_recordset(null::ts.attribution_events, $1) as n join known k using (tenant_no, event_id)
returning event_id as id"""

_ACTIONS: Final[LiteralString] = """/* imports.conversion_actions */
insert into app.conversion_actions (tenant_id, action_id, sponsor_id, name, name_key, category, event_type, counting,
    default_value_amount, currency, version, created_at, archived_at)
select n.tenant_id, n.action_id, n.sponsor_id, n.name, n.name_key, n.category, n.event_type, n.counting,
    n.default_value_amount, n.currency, n.version, n.created_at, n.archived_at
from jsonb_populate_recordset(null::app.conversion_actions, $1) as n returning action_id as id"""

_CONVERSIONS: Final[LiteralString] = """/* imports.conversions */
insert into app.conversions (tenant_id, conversion_id, action_id, sponsor_id, external_id, said_hash, source,
    occurred_at, received_at, value_amount, currency, click_id, link, promo_code, survey_answer, customer_key,
    new_customer, referrer_host)
select n.tenant_id, n.conversion_id, n.action_id, n.sponsor_id, n.external_id, n.said_hash, n.source, n.occurred_at,
    n.received_at, n.value_amount, n.currency, n.click_id, n.link, n.promo_code, n.survey_answer, n.customer_key,
    n.new_customer, n.referrer_host
from jsonb_populate_recordset(null::app.conversions, $1) as n returning conversion_id as id"""

_ADJUSTMENTS: Final[LiteralString] = """/* imports.conversion_adjustments */
insert into app.conversion_adjustments (tenant_id, adjustment_id, conversion_id, kind, value_amount, external_id,
    said_hash, reason, adjusted_at, received_at)
select n.tenant_id, n.adjustment_id, n.conversion_id, n.kind, n.value_amount, n.external_id, n.said_hash, n.reason,
    n.adjusted_at, n.received_at
from jsonb_populate_recordset(null::app.conversion_adjustments, $1) as n returning adjustment_id as id"""

_SIGNALS: Final[LiteralString] = """/* imports.customer_signals */
insert into app.customer_signals (tenant_id, event_id, customer_key, occurred_at, received_at, click_id, link,
    promo_code, referrer_host)
select n.tenant_id, n.event_id, n.customer_key, n.occurred_at, n.received_at, n.click_id, n.link, n.promo_code,
    n.referrer_host
from jsonb_populate_recordset(null::app.customer_signals, $1) as n returning event_id as id"""

_REACH: Final[LiteralString] = """/* imports.reach_months */
insert into app.reach_months (tenant_id, sponsor_id, level, subject_id, month, reach, impressions, is_final,
    computed_at)
select n.tenant_id, n.sponsor_id, n.level, n.subject_id, n.month, n.reach, n.impressions, n.is_final, n.computed_at
from jsonb_populate_recordset(null::app.reach_months, $1) as n returning subject_id as id"""

_ERASURES: Final[LiteralString] = """/* imports.erasures */
insert into app.erasures (tenant_no, erasure_id, kind, subject_hash, month, started_at, removed, finished_at, remaining,
    digest)
select n.tenant_no, n.erasure_id, n.kind, n.subject_hash, n.month, n.started_at, n.removed, n.finished_at, n.remaining,
    n.digest
from jsonb_populate_recordset(null::app.erasures, $1) as n returning erasure_id as id"""

_RESTATEMENTS: Final[LiteralString] = """/* imports.restatements */
insert into app.restatements (tenant_no, restatement_id, first_day, last_day, reason, origin, key_id, state, started_at,
    finished_at, rules)
select n.tenant_no, n.restatement_id, n.first_day, n.last_day, n.reason, n.origin, n.key_id, n.state, n.started_at,
    n.finished_at, n.rules
from jsonb_populate_recordset(null::app.restatements, $1) as n returning restatement_id as id"""

_RESTATEMENT_DAYS: Final[LiteralString] = """/* imports.restatement_days */
insert into app.restatement_days (tenant_no, restatement_id, day, hits, downloads_before, downloads_after,
    strict_before, strict_after)
select n.tenant_no, n.restatement_id, n.day, n.hits, n.downloads_before, n.downloads_after, n.strict_before,
    n.strict_after
from jsonb_populate_recordset(null::app.restatement_days, $1) as n returning restatement_id as id"""

_SPIKES: Final[LiteralString] = """/* imports.spikes */
insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, listener_key, app, user_agent, asn,
    country, usual, hits, downloads, episodes, found_at, state, reason, origin, key_id, decided_at, is_due, applied_at,
    refusal)
select n.tenant_no, n.spike_id, n.podcast_no, n.kind, n.begins_at, n.ends_at, n.listener_key, n.app, n.user_agent,
    n.asn, n.country, n.usual, n.hits, n.downloads, n.episodes, n.found_at, n.state, n.reason, n.origin, n.key_id,
    n.decided_at, n.is_due, n.applied_at, n.refusal
from jsonb_populate_recordset(null::app.spikes, $1) as n returning spike_id as id"""

# Whatever lands on a day that is still open has keys of this installation's secrets.
_DAYS: Final[LiteralString] = """/* imports.days */
insert into ops.days (tenant_no, day, final_at, rekeyed, hits_dropped_at, downloads_dropped_at, hits_incomplete,
    restatement_due, profile)
select n.tenant_no, n.day, n.final_at, n.rekeyed or n.final_at is null, n.hits_dropped_at, n.downloads_dropped_at,
    n.hits_incomplete, n.restatement_due, n.profile
from jsonb_populate_recordset(null::ops.days, $1) as n returning day as id"""

_METRICS: Final[LiteralString] = """/* imports.metrics_daily */
insert into app.metrics_daily (tenant_no, podcast_no, episode_no, day, dimension, key, downloads, downloads_strict,
    quarters, quarters_strict, refreshed_at)
select n.tenant_no, n.podcast_no, n.episode_no, n.day, n.dimension, n.key, n.downloads, n.downloads_strict, n.quarters,
    n.quarters_strict, n.refreshed_at
from jsonb_populate_recordset(null::app.metrics_daily, $1) as n returning episode_no as id"""

_LISTENERS: Final[LiteralString] = """/* imports.listener_months */
insert into app.listener_months (tenant_no, podcast_no, episode_no, month, days, former, listeners, counted_at, took)
select n.tenant_no, n.podcast_no, n.episode_no, n.month, n.days, n.former, n.listeners, n.counted_at, interval '0'
from jsonb_populate_recordset(null::app.listener_months, $1) as n returning month as id"""

_ROWS: Final[Mapping[str, LiteralString]] = MappingProxyType(
    {
        "podcasts": _PODCASTS,
        "episodes": _EPISODES,
        "enclosures": _ENCLOSURES,
        "enclosure_owners": _OWNERS,
        "unknown_hosts": _UNKNOWN_HOSTS,
        "sponsors": _SPONSORS,
        "insertion_orders": _ORDERS,
        "campaigns": _CAMPAIGNS,
        "flights": _FLIGHTS,
        "ad_slots": _AD_SLOTS,
        "placements": _PLACEMENTS,
        "links": _LINKS,
        "promo_codes": _PROMO_CODES,
        "vanity_hosts": _VANITY_HOSTS,
        "survey_options": _SURVEY_OPTIONS,
        "clicks": _CLICKS,
        "events": _EVENTS,
        "conversion_actions": _ACTIONS,
        "conversions": _CONVERSIONS,
        "conversion_adjustments": _ADJUSTMENTS,
        "customer_signals": _SIGNALS,
        "reach_months": _REACH,
        "erasures": _ERASURES,
        "restatements": _RESTATEMENTS,
        "restatement_days": _RESTATEMENT_DAYS,
        "spikes": _SPIKES,
        "days": _DAYS,
        "metrics_daily": _METRICS,
        "listener_months": _LISTENERS,
    }
)

COPIED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "hits": ("ts", "listener_events"),
        "pending_hits": ("ops", "pending_hits"),
        "downloads": ("ts", "downloads"),
        "day_sources": ("ops", "day_sources"),
        "dirty_marks": ("ops", "dirty_marks"),
        "listener_marks": ("ops", "listener_marks"),
    }
)
"""Tables of an archive that come by COPY, with the schema and the name of their own."""

_SEGMENT_NUMBERS: Final[LiteralString] = """/* imports.segment_numbers */
select segment_id as id, segment_no as number from ops.segments where segment_id = any($1::uuid[])"""

_PODCAST_NUMBERS: Final[LiteralString] = """/* imports.podcast_numbers */
select podcast_id as id, podcast_no as number from app.podcasts where podcast_id = any($1::uuid[])"""

_EPISODE_NUMBERS: Final[LiteralString] = """/* imports.episode_numbers */
select episode_id as id, episode_no as number from app.episodes where episode_id = any($1::uuid[])"""

_AD_SLOT_NUMBERS: Final[LiteralString] = """/* imports.ad_slot_numbers */
select ad_slot_id as id, ad_slot_no as number from app.ad_slots where ad_slot_id = any($1::uuid[])"""

_LINK_NUMBERS: Final[LiteralString] = """/* imports.link_numbers */
select link_id as id, link_no as number from app.links where link_id = any($1::uuid[])"""

_NUMBERS: Final[Mapping[str, LiteralString]] = MappingProxyType(
    {
        "segments": _SEGMENT_NUMBERS,
        "podcasts": _PODCAST_NUMBERS,
        "episodes": _EPISODE_NUMBERS,
        "ad_slots": _AD_SLOT_NUMBERS,
        "links": _LINK_NUMBERS,
    }
)

_SUM_MONTHS: Final[LiteralString] = """/* imports.sum_months */
select distinct podcast_no, date_trunc('month', day::timestamp)::date as month from ops.sum_marks where tenant_no = $1
order by podcast_no, month"""

_SUM_UP: Final[LiteralString] = """/* imports.sum_up */
select app.sum_up(array_agg(m.podcast_no), array_agg(m.episode_no), array_agg(m.day)) from (
    select distinct podcast_no, episode_no, day from ops.sum_marks
    where podcast_no = $1 and day >= $2::date and day < $2::date + interval '1 month'
) m"""

_TAKE_SUM_MARKS: Final[LiteralString] = """/* imports.take_sum_marks */
delete from ops.sum_marks where tenant_no = $1"""

# Listeners of a month that the archive holds a part of can only be counted from its downloads.
_COUNT_LISTENERS: Final[LiteralString] = """/* imports.count_listeners */
insert into ops.listener_marks (tenant_no, podcast_no, month)
select m.tenant_no, m.podcast_no, m.month from app.podcast_months m
where m.dimension = 'total' and m.key = '' and not exists (
    select from app.listener_months l where l.podcast_no = m.podcast_no and l.episode_no = 0 and l.month = m.month)"""

_NOTIFY: Final[LiteralString] = """/* imports.notify */ select pg_notify($1, '')"""


async def lock_tenant(conn: Connection, tenant: Tenant) -> TenantContent:
    """Keep everybody else from giving a tenant podcasts until the transaction ends, and tell what it has.

    Raises:
        asyncpg.LockNotAvailableError: Somebody kept its row locked for ten seconds.
    """
    await conn.execute(_LIMITS)
    await conn.execute(_LOCK, tenant.tenant_id)
    row = await conn.fetchrow(_CONTENT, tenant.tenant_no)
    if row is None:
        raise AssertionError("a select without a table has a row")
    return TenantContent(frozenset(UUID(int=one.int) for one in row["podcast_ids"]), not row["is_used"])


async def adopt_settings(conn: Connection, tenant: Tenant, *, retention_hits_days: int | None) -> None:
    """Give a tenant the settings of the archive."""
    await conn.execute(_SETTINGS, tenant.tenant_id, retention_hits_days)


async def add_agents(conn: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Store user agents with what they were taken for; those that are known here stay as they are.

    On a connection of its own, so that ingest does not wait for their hashes until the import has ended: a number that
    no hit comes to use does no harm.
    """
    await conn.execute(_AGENTS, list(rows))


async def add_segments(conn: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Store the segments that hits came in; in the transaction."""
    for statement in (_SEGMENTS, _WIDEN_SEGMENTS):
        await conn.execute(statement, list(rows), IMPORT_SOURCE)


async def add_rows(conn: Connection, table: str, rows: Sequence[Mapping[str, object]]) -> list[object]:
    """Add rows of a table that does not come by COPY.

    Args:
        conn: In the transaction.
        table: Its name in the archive.
        rows: Columns of the table of its own by name; bytes as ``\\x`` and hexadecimal digits.

    Returns:
        Ids of those that were added: one is missing where it, or something that has to be unique, is taken.
    """
    return [row["id"] for row in await conn.fetch(_ROWS[table], list(rows), timeout=_TIMEOUT_S)]


async def copy_rows(conn: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Add rows of a table that comes by COPY."""
    schema, name = COPIED[table]
    await conn.copy_records_to_table(name, schema_name=schema, columns=list(columns), records=rows, timeout=_TIMEOUT_S)


async def number_rows(conn: Connection, table: str, ids: Collection[UUID]) -> dict[UUID, int]:
    """Tell which numbers rows have got: of segments, podcasts, episodes, slots or links."""
    return {UUID(int=row["id"].int): row["number"] for row in await conn.fetch(_NUMBERS[table], list(ids))}


async def finish_import(conn: Connection, tenant: Tenant, *, is_cut: bool) -> None:
    """Sum everything up, and have ingest hear of the podcasts once the transaction is committed.

    Args:
        conn: In the transaction that has added all rows.
        tenant: Whose.
        is_cut: Whether months may be there in part.
    """
    for row in await conn.fetch(_SUM_MONTHS, tenant.tenant_no):
        await conn.execute(_SUM_UP, row["podcast_no"], row["month"], timeout=_TIMEOUT_S)
    await conn.execute(_TAKE_SUM_MARKS, tenant.tenant_no)
    if is_cut:
        await conn.execute(_COUNT_LISTENERS)
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
