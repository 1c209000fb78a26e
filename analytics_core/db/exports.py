"""Reading a tenant's whole ledger, table by table, from one snapshot and in bounded memory.

As the owner, in a transaction of the tenant: row security then shows that tenant alone, and queries on tables without
it name the tenant themselves. Ids stand in for numbers, and the order of rows depends on nothing else, so that two
exports of one content are equal.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Collection, Mapping
from types import MappingProxyType
from typing import Final, LiteralString
from uuid import UUID

import asyncpg
import msgspec

from analytics_core.db.pool import Connection, Pool, Tenant, connection, set_tenant
from analytics_core.errors import Unavailable

__all__ = (
    "ExportScope",
    "export_transaction",
    "list_export_days",
    "read_export",
    "read_podcast_numbers",
    "read_tenant_settings",
)

_TIMEOUT_S: Final = 3600.0


class ExportScope(msgspec.Struct, frozen=True):
    """What is read.

    Attributes:
        podcast_nos: Of which podcasts; ``None`` for all, and for what is of no podcast.
        first: The first UTC day.
        until: The first UTC day behind it.
    """

    podcast_nos: list[int] | None = None
    first: dt.date = dt.date.min
    until: dt.date = dt.date.max


_LOCK_TIMEOUT: Final[LiteralString] = """/* exports.lock_timeout */ set local lock_timeout = '10s'"""

# Neither statement takes the snapshot, so that what it shows cannot be dropped any more.
_LOCK: Final[LiteralString] = (
    """/* exports.lock */ lock table ts.listener_events, ts.downloads, ts.attribution_events in access share mode"""
)

_TENANT: Final[LiteralString] = """/* exports.tenant */
select slug, name, retention_hits_days from app.tenants"""

_NUMBERS: Final[LiteralString] = """/* exports.podcast_numbers */
select podcast_id, podcast_no from app.podcasts where podcast_id = any($1::uuid[])"""

# Days for which there is room hold all hits and downloads, whatever is known of them otherwise.
_SERIES_DAYS: Final[LiteralString] = """/* exports.series_days */
select distinct day from ops.list_kept_days($1) as k(day) where day >= $2 and day < $3 order by day"""

_METRICS_DAYS: Final[LiteralString] = """/* exports.metrics_days */
select distinct day from app.metrics_daily where day >= $1 and day < $2 order by day"""

_SEGMENTS: Final[LiteralString] = """/* exports.segments */
select segment_id, created_at, first_hit_at, last_hit_at from ops.segments where segment_id = any($1::uuid[])
order by segment_no"""

_AGENTS: Final[LiteralString] = """/* exports.agents */
select agent_hash, user_agent, kind, app, device, rule, os, table_version, superseded_hash from ops.agents
where agent_hash = any($1::uuid[]) order by agent_hash"""

_PODCASTS: Final[LiteralString] = """/* exports.podcasts */
select podcast_id, podcast_guid, feed_key, feed_url, title, link, language, guid_declared, verified_at, feed_etag,
    feed_last_modified, feed_checked_at, feed_error, feed_failures, next_poll_at, created_at, archived_at,
    transferred_at
from app.podcasts where $1::integer[] is null or podcast_no = any($1) order by podcast_no"""

_EPISODES: Final[LiteralString] = """/* exports.episodes */
select episode_id, podcast_id, guid, guid_from_feed, title, published_at, duration_s, live, first_seen_at, removed_at
from app.episodes where $1::integer[] is null or podcast_no = any($1) order by episode_no"""

_ENCLOSURES: Final[LiteralString] = """/* exports.enclosures */
select c.episode_id, c.enclosure_key, c.place, c.kind, c.url, c.hosts, c.media_type, c.length_bytes, c.first_seen_at,
    c.gone_at
from app.enclosures c join app.episodes e using (episode_id)
where $1::integer[] is null or e.podcast_no = any($1) order by e.episode_no, c.enclosure_key"""

_OWNERS: Final[LiteralString] = """/* exports.enclosure_owners */
select o.enclosure_key, o.bare_key, o.file_name, p.podcast_id, e.episode_id, o.length_bytes
from app.enclosure_owners o join app.podcasts p using (podcast_no) join app.episodes e using (episode_no)
where $1::integer[] is null or o.podcast_no = any($1) order by o.enclosure_key"""

_UNKNOWN_HOSTS: Final[LiteralString] = """/* exports.unknown_hosts */
select p.podcast_id, u.host, u.first_seen_at, u.last_seen_at, u.hits, u.accepted_at
from app.unknown_hosts u join app.podcasts p using (podcast_no)
where $1::integer[] is null or u.podcast_no = any($1) order by p.podcast_no, (u.host collate "C")"""

# Sponsors with what they ordered, links, and who was erased, are of no podcast.
_SPONSORS: Final[LiteralString] = """/* exports.sponsors */
select sponsor_id, name, name_key, domain, category, contacts, targeting, version, created_at, archived_at
from app.sponsors where $1::integer[] is null order by created_at, sponsor_id"""

_ORDERS: Final[LiteralString] = """/* exports.insertion_orders */
select insertion_order_id, sponsor_id, number, name, reference, currency, status, version, created_at
from app.insertion_orders where $1::integer[] is null order by number"""

_CAMPAIGNS: Final[LiteralString] = """/* exports.campaigns */
select campaign_id, sponsor_id, insertion_order_id, currency, name, status, starts_on, ends_on, pricing, budget_amount,
    model, window_days, excludes_prior_customers, utm, version, created_at, activated_at, ended_at
from app.campaigns where $1::integer[] is null order by created_at, campaign_id"""

_FLIGHTS: Final[LiteralString] = """/* exports.flights */
select flight_id, campaign_id, sponsor_id, currency, name, status, starts_at, ends_at, booked_impressions, price_amount,
    window_days, measurement_days, makegood_of, version, created_at
from app.flights where $1::integer[] is null order by created_at, flight_id"""

_AD_SLOTS: Final[LiteralString] = """/* exports.ad_slots */
select s.ad_slot_id, s.podcast_id, s.name, s.position, s.max_seconds, s.per_episode, s.version, s.created_at,
    s.archived_at
from app.ad_slots s join app.podcasts p using (podcast_id)
where $1::integer[] is null or p.podcast_no = any($1) order by s.ad_slot_no"""

_PLACEMENTS: Final[LiteralString] = """/* exports.placements */
select placement_id, flight_id, campaign_id, sponsor_id, podcast_id, episode_id, ad_slot_id, slot_no, position,
    offset_s, delivery, host_read, status, live_from, live_until, aircheck_url, version, created_at
from app.placements where $1::integer[] is null order by created_at, placement_id"""

_LINKS: Final[LiteralString] = """/* exports.links */
select link_id, slug, url, target, utm, click_id, created_at, archived_at, clicks_dropped, bots_dropped,
    sponsor_id, campaign_id, flight_id
from app.links where $1::integer[] is null order by link_no"""

_PROMO_CODES: Final[LiteralString] = """/* exports.promo_codes */
select promo_code_id, sponsor_id, campaign_id, flight_id, code, valid_from, valid_until, grace_days, max_redemptions,
    created_at, archived_at
from app.promo_codes where $1::integer[] is null order by created_at, promo_code_id"""

_VANITY_HOSTS: Final[LiteralString] = """/* exports.vanity_hosts */
select vanity_host_id, host, link_id, created_at, archived_at
from app.vanity_hosts where $1::integer[] is null order by created_at, vanity_host_id"""

_SURVEY_OPTIONS: Final[LiteralString] = """/* exports.survey_options */
select survey_option_id, sponsor_id, campaign_id, flight_id, answer, answer_key, created_at, archived_at
from app.survey_options where $1::integer[] is null order by created_at, survey_option_id"""

_CLICKS: Final[LiteralString] = """/* exports.clicks */
select c.occurred_at, l.link_id, s.segment_id, c.ordinal, c.is_bot, c.click_id
from app.clicks c join app.links l using (link_no) left join ops.segments s using (segment_no)
where $1::integer[] is null and c.occurred_at >= $2::date::timestamp at time zone 'UTC'
    and c.occurred_at < $3::date::timestamp at time zone 'UTC'
order by c.occurred_at, s.segment_id, c.ordinal"""

# Events are of no podcast either.
_EVENTS: Final[LiteralString] = """/* exports.events */
select e.received_at, e.occurred_at, e.event_id, e.source, e.type, e.click_id, e.promo_code, e.link, e.customer_key,
    e.external_id, e.value_amount, e.currency, e.new_customer, e.page_host, e.page_path, e.referrer_host, e.utm,
    e.properties, a.agent_hash, e.asn, e.country, e.networks, e.is_bot
from ts.attribution_events e left join ops.agents a using (agent_no)
where $1::integer[] is null and e.tenant_no = app.tenant_no()
    and e.received_at >= $2::date::timestamp at time zone 'UTC'
    and e.received_at < $3::date::timestamp at time zone 'UTC'
order by e.received_at, e.event_id"""

# Conversions neither, and what was said of one goes where it goes.
_ACTIONS: Final[LiteralString] = """/* exports.conversion_actions */
select action_id, sponsor_id, name, name_key, category, event_type, counting, default_value_amount, currency, version,
    created_at, archived_at
from app.conversion_actions where $1::integer[] is null order by created_at, action_id"""

_CONVERSIONS: Final[LiteralString] = """/* exports.conversions */
select conversion_id, action_id, sponsor_id, external_id, said_hash, source, occurred_at, received_at, value_amount,
    currency, click_id, link, promo_code, survey_answer, customer_key, new_customer, referrer_host
from app.conversions
where $1::integer[] is null and occurred_at >= $2::date::timestamp at time zone 'UTC'
    and occurred_at < $3::date::timestamp at time zone 'UTC'
order by occurred_at, conversion_id"""

_ADJUSTMENTS: Final[LiteralString] = """/* exports.conversion_adjustments */
select a.adjustment_id, a.conversion_id, a.kind, a.value_amount, a.external_id, a.said_hash, a.reason, a.adjusted_at,
    a.received_at
from app.conversion_adjustments a join app.conversions c using (tenant_id, conversion_id)
where $1::integer[] is null and c.occurred_at >= $2::date::timestamp at time zone 'UTC'
    and c.occurred_at < $3::date::timestamp at time zone 'UTC'
order by a.adjusted_at, a.adjustment_id"""

_SIGNALS: Final[LiteralString] = """/* exports.customer_signals */
select event_id, customer_key, occurred_at, received_at, click_id, link, promo_code, referrer_host
from app.customer_signals
where $1::integer[] is null and occurred_at >= $2::date::timestamp at time zone 'UTC'
    and occurred_at < $3::date::timestamp at time zone 'UTC'
order by occurred_at, event_id"""

_REACH: Final[LiteralString] = """/* exports.reach_months */
select sponsor_id, level, subject_id, month, reach, impressions, is_final, computed_at
from app.reach_months
where $1::integer[] is null and month >= $2::date and month + interval '1 month' <= $3::date
order by month, level, subject_id"""

_ERASURES: Final[LiteralString] = """/* exports.erasures */
select erasure_id, kind, subject_hash, month, started_at, removed, finished_at, remaining, digest from app.erasures
where $1::integer[] is null and finished_at is not null order by started_at, erasure_id"""

_RESTATEMENTS: Final[LiteralString] = """/* exports.restatements */
select restatement_id, first_day, last_day, reason, origin, key_id, state, started_at, finished_at, rules
from app.restatements
where $1::integer[] is null and finished_at is not null order by started_at, restatement_id"""

_RESTATEMENT_DAYS: Final[LiteralString] = """/* exports.restatement_days */
select d.restatement_id, d.day, d.hits, d.downloads_before, d.downloads_after, d.strict_before, d.strict_after
from app.restatement_days d join app.restatements r using (tenant_no, restatement_id)
where $1::integer[] is null and r.finished_at is not null order by r.started_at, d.restatement_id, d.day"""

_SPIKES: Final[LiteralString] = """/* exports.spikes */
select s.spike_id, p.podcast_id, s.kind, s.begins_at, s.ends_at, s.listener_key, s.app, s.user_agent, s.asn, s.country,
    s.usual, s.hits, s.downloads, s.episodes, s.found_at, s.state, s.reason, s.origin, s.key_id, s.decided_at, s.is_due,
    s.applied_at, s.refusal
from app.spikes s join app.podcasts p using (podcast_no)
where $1::integer[] is null or s.podcast_no = any($1) order by s.begins_at, s.spike_id"""

_DAYS: Final[LiteralString] = """/* exports.days */
select day, final_at, rekeyed, hits_dropped_at, downloads_dropped_at, hits_incomplete, restatement_due,
    profile from ops.days
where tenant_no = app.tenant_no() and day >= $1 and day < $2 order by day"""

_HITS: Final[LiteralString] = """/* exports.hits */
select h.occurred_at, s.segment_id, h.ordinal, p.podcast_id, e.episode_id, h.listener_key, a.agent_hash,
    coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, h.country,
    coalesce(l.place, '') as place, h.source, h.range_first, h.range_last, h.range_kind, h.verdict_bits, h.kind,
    h.method, h.flags, h.asn, h.networks, h.verdict, h.evidence, h.rules
from ts.listener_events h
left join ops.segments s using (segment_no)
left join ops.agents a using (agent_no)
left join ops.terms r on r.term_no = h.referrer_no
left join ops.terms f on f.term_no = h.feed_app_no
left join ops.places l on l.place_no = h.place_no
left join app.podcasts p on p.podcast_no = h.podcast_no
left join app.episodes e on e.episode_no = h.episode_no
where h.tenant_no = app.tenant_no() and h.occurred_at >= $2::date::timestamp at time zone 'UTC'
    and h.occurred_at < ($2::date + 1)::timestamp at time zone 'UTC'
    and ($1::integer[] is null or h.podcast_no = any($1))
order by h.occurred_at, s.segment_id, h.ordinal"""

# The first-stage key is the same at all tenants; what is handed to one of them must not be comparable with another's.
_PENDING: Final[LiteralString] = """/* exports.pending_hits */
select h.occurred_at, s.segment_id, h.ordinal, p.podcast_id, h.enclosure_key, h.bare_key, h.file_name, h.target,
    encode(substring(sha256(uuid_send(app.tenant_id()) || uuid_send(h.k0)) for 16), 'hex')::uuid as k0, a.agent_hash,
    coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, h.country,
    coalesce(l.place, '') as place, h.source, h.range_first, h.range_last, h.range_kind, h.verdict_bits, h.kind,
    h.method, h.flags, h.asn, h.networks
from ops.pending_hits h
join app.podcasts p using (podcast_no)
left join ops.segments s using (segment_no)
left join ops.agents a using (agent_no)
left join ops.terms r on r.term_no = h.referrer_no
left join ops.terms f on f.term_no = h.feed_app_no
left join ops.places l on l.place_no = h.place_no
where h.tenant_no = app.tenant_no() and h.occurred_at >= $2::date::timestamp at time zone 'UTC'
    and h.occurred_at < $3::date::timestamp at time zone 'UTC' and ($1::integer[] is null or h.podcast_no = any($1))
order by h.occurred_at, s.segment_id, h.ordinal"""

_DOWNLOADS: Final[LiteralString] = """/* exports.downloads */
select d.day, p.podcast_id, e.episode_id, d.listener_key, d.occurred_at, s.segment_id, d.ordinal, a.agent_hash,
    coalesce(r.term, '') as referrer, coalesce(f.term, '') as feed_app, d.country,
    coalesce(l.place, '') as place, d.source, d.evidence
from ts.downloads d
left join ops.segments s using (segment_no)
left join ops.agents a using (agent_no)
left join ops.terms r on r.term_no = d.referrer_no
left join ops.terms f on f.term_no = d.feed_app_no
left join ops.places l on l.place_no = d.place_no
left join app.podcasts p on p.podcast_no = d.podcast_no
left join app.episodes e on e.episode_no = d.episode_no
where d.tenant_no = app.tenant_no() and d.day = $2::date and ($1::integer[] is null or d.podcast_no = any($1))
order by d.episode_no, d.listener_key"""

_METRICS: Final[LiteralString] = """/* exports.metrics_daily */
select m.day, p.podcast_id, e.episode_id, m.dimension, m.key, m.downloads, m.downloads_strict, m.quarters,
    m.quarters_strict, m.refreshed_at
from app.metrics_daily m
left join app.podcasts p on p.podcast_no = m.podcast_no
left join app.episodes e on e.episode_no = m.episode_no
where m.day = $2::date and ($1::integer[] is null or m.podcast_no = any($1))
order by m.episode_no, m.dimension collate "C", (m.key collate "C")"""

# A month of which only some days are asked for cannot be cut.
_LISTENERS: Final[LiteralString] = """/* exports.listener_months */
select m.month, p.podcast_id, e.episode_id, m.days, m.former, m.listeners, m.counted_at
from app.listener_months m join app.podcasts p using (podcast_no)
left join app.episodes e on e.episode_no = m.episode_no
where m.month >= $2::date and m.month + interval '1 month' <= $3::date
    and ($1::integer[] is null or m.podcast_no = any($1))
order by m.month, m.podcast_no, m.episode_no"""

_MARKS: Final[LiteralString] = """/* exports.dirty_marks */
select m.day, p.podcast_id, e.episode_id from (
    select distinct day, podcast_no, episode_no from ops.dirty_marks
    where tenant_no = app.tenant_no() and day >= $2::date and day < $3::date
        and ($1::integer[] is null or podcast_no = any($1))
) m join app.podcasts p using (podcast_no) join app.episodes e using (episode_no)
order by m.day, m.episode_no"""

_DAY_SOURCES: Final[LiteralString] = """/* exports.day_sources */
select s.day, p.podcast_id, s.source from ops.day_sources s join app.podcasts p using (podcast_no)
where s.tenant_no = app.tenant_no() and s.day >= $2::date and s.day < $3::date
    and ($1::integer[] is null or s.podcast_no = any($1))
order by s.day, s.podcast_no"""

_LISTENER_MARKS: Final[LiteralString] = """/* exports.listener_marks */
select m.month, p.podcast_id from (
    select distinct month, podcast_no from ops.listener_marks
    where tenant_no = app.tenant_no() and month >= date_trunc('month', $2::date::timestamp) and month < $3::date
        and ($1::integer[] is null or podcast_no = any($1))
) m join app.podcasts p using (podcast_no)
order by m.month, m.podcast_no"""

_WHOLE: Final[Mapping[str, LiteralString]] = MappingProxyType(
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
        "conversion_actions": _ACTIONS,
        "erasures": _ERASURES,
        "restatements": _RESTATEMENTS,
        "restatement_days": _RESTATEMENT_DAYS,
        "spikes": _SPIKES,
    }
)
_RANGED: Final[Mapping[str, LiteralString]] = MappingProxyType(
    {
        "clicks": _CLICKS,
        "events": _EVENTS,
        "conversions": _CONVERSIONS,
        "conversion_adjustments": _ADJUSTMENTS,
        "customer_signals": _SIGNALS,
        "reach_months": _REACH,
        "pending_hits": _PENDING,
        "listener_months": _LISTENERS,
        "day_sources": _DAY_SOURCES,
        "dirty_marks": _MARKS,
        "listener_marks": _LISTENER_MARKS,
    }
)
_DAILY: Final[Mapping[str, LiteralString]] = MappingProxyType(
    {"hits": _HITS, "downloads": _DOWNLOADS, "metrics_daily": _METRICS}
)
_NAMED: Final[Mapping[str, LiteralString]] = MappingProxyType({"segments": _SEGMENTS, "agents": _AGENTS})


@contextlib.asynccontextmanager
async def export_transaction(pool: Pool, tenant: Tenant) -> AsyncIterator[Connection]:
    """Lend a connection inside a transaction that sees one tenant's rows as of one instant, and no day of it go.

    Args:
        pool: As the owner.
        tenant: Whose rows.

    Raises:
        Unavailable: The database does not answer, or somebody has had the tables locked for ten seconds.
    """
    async with connection(pool) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        await conn.execute(_LOCK_TIMEOUT)
        try:
            await conn.execute(_LOCK)
        except asyncpg.LockNotAvailableError as error:
            raise Unavailable("hits and downloads are locked by somebody; try again") from error
        await set_tenant(conn, tenant)
        yield conn


async def read_tenant_settings(conn: Connection) -> tuple[str, str, int | None]:
    """Read the slug, the name and the days of retention of the transaction's tenant."""
    row = await conn.fetchrow(_TENANT)
    if row is None:
        raise AssertionError("a transaction of a tenant sees it")
    return row["slug"], row["name"], row["retention_hits_days"]


async def read_podcast_numbers(conn: Connection, podcast_ids: Collection[UUID]) -> dict[UUID, int]:
    """Find podcasts of the transaction's tenant by their ids; unknown ones are left out."""
    rows = await conn.fetch(_NUMBERS, list(podcast_ids))
    return {UUID(int=row["podcast_id"].int): row["podcast_no"] for row in rows}


async def list_export_days(conn: Connection, table: str, scope: ExportScope) -> list[dt.date]:
    """List the UTC days for which a table that is read by day may have rows: hits, downloads or metrics_daily."""
    if table == "metrics_daily":
        rows = await conn.fetch(_METRICS_DAYS, scope.first, scope.until)
    else:
        series = "listener_events" if table == "hits" else table
        rows = await conn.fetch(_SERIES_DAYS, series, scope.first, scope.until)
    return [row["day"] for row in rows]


async def read_export(
    conn: Connection,
    table: str,
    scope: ExportScope,
    *,
    day: dt.date | None = None,
    named: Collection[UUID] = (),
    chunk: int,
) -> AsyncIterator[list[tuple[object, ...]]]:
    """Read a table of an archive, some rows at a time.

    Args:
        conn: As the owner, in a transaction of the tenant that sees one snapshot.
        table: Its name in the archive.
        scope: What is read of it.
        day: The UTC day, of a table that is read by day.
        named: The ids that are read, of segments and agents.
        chunk: Rows at a time.

    Yields:
        Rows with the archive's columns in their order.
    """
    query: LiteralString
    arguments: tuple[object, ...]
    if table in _NAMED:
        query, arguments = _NAMED[table], (list(named),)
    elif table == "days":
        query, arguments = _DAYS, (scope.first, scope.until)
    elif table in _DAILY:
        query, arguments = _DAILY[table], (scope.podcast_nos, day)
    elif table in _RANGED:
        query, arguments = _RANGED[table], (scope.podcast_nos, scope.first, scope.until)
    else:
        query, arguments = _WHOLE[table], (scope.podcast_nos,)
    cursor = await conn.cursor(query, *arguments, timeout=_TIMEOUT_S)
    while rows := await cursor.fetch(chunk, timeout=_TIMEOUT_S):
        yield [tuple(row) for row in rows]
