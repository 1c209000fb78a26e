"""Erasure: a tenant goes, and leaves nothing behind.

Whoever lands hits is kept out meanwhile, and finds a new generation of ownership afterwards: numbers and secrets that
it remembered may be gone, so it forgets them and judges again what it had in hand.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, LiteralString

import asyncpg
import msgspec

from analytics_core.db.ownership import lock_ownership, raise_ownership
from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.db.pool import Connection, Tenant
from analytics_core.db.secrets import INSTALLATION
from analytics_core.errors import Conflict, Unavailable

__all__ = ("erase_marked_agents", "erase_segments", "erase_tenant")


class _Span(msgspec.Struct, frozen=True):
    """When a tenant began, and between which UTC days it has hits; ``None`` without any."""

    created_at: dt.datetime
    first_day: dt.date | None
    last_day: dt.date | None


_LIMITS: Final[LiteralString] = """/* erasure.limits */
select set_config('lock_timeout', '10s', true),
    set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"""

# Nobody can add rows that refer to a tenant whose row is locked.
_LOCK_TENANT: Final[LiteralString] = """/* erasure.lock_tenant */
select t.created_at, d.first_day, d.last_day
from app.tenants t, (select min(day) as first_day, max(day) as last_day from ops.days where tenant_no = $2) d
where t.tenant_id = $1 for update of t"""

# The refresher only ever tries these locks: whoever waits for them cannot be waited for in a circle.
_LOCK_SUMS: Final[LiteralString] = """/* erasure.lock_sums */
select pg_advisory_xact_lock(hashtext('castledger.sums'), podcast_no) from app.podcasts where tenant_no = $1"""
_LOCK_ROLLUPS: Final[LiteralString] = """/* erasure.lock_rollups */
select pg_advisory_xact_lock(hashtext('castledger.rollups'), episode_no) from app.episodes where tenant_no = $1"""

_HITS: Final[LiteralString] = """/* erasure.hits */
delete from ts.listener_events where tenant_no = $1 and occurred_at >= $2 and occurred_at < $3"""

_DOWNLOADS: Final[LiteralString] = """/* erasure.downloads */
delete from ts.downloads where tenant_no = $1 and day between $2 and $3"""

_PENDING: Final[LiteralString] = """/* erasure.pending */ delete from ops.pending_hits where tenant_no = $1"""
_DEAD_LETTERS: Final[LiteralString] = """/* erasure.dead_letters */ delete from ops.dead_letters where tenant_no = $1"""
_MARKS: Final[LiteralString] = """/* erasure.marks */ delete from ops.dirty_marks where tenant_no = $1"""
_METRICS: Final[LiteralString] = """/* erasure.metrics */ delete from app.metrics_daily where tenant_no = $1"""
_DAILY: Final[LiteralString] = """/* erasure.daily */ delete from app.podcast_daily where tenant_no = $1"""
_MONTHS: Final[LiteralString] = """/* erasure.months */ delete from app.podcast_months where tenant_no = $1"""
# Those too that taking the rollups away has left.
_SUM_MARKS: Final[LiteralString] = """/* erasure.sum_marks */ delete from ops.sum_marks where tenant_no = $1"""
_PLACEMENT_MARKS: Final[LiteralString] = (
    """/* erasure.placement_marks */ delete from ops.placement_marks where tenant_no = $1"""
)
# Marks first: whoever counts has taken some, and is waited for.
_LISTENER_MARKS: Final[LiteralString] = (
    """/* erasure.listener_marks */ delete from ops.listener_marks where tenant_no = $1"""
)
# Last of what is summed up: taking marks away raises versions.
_VERSIONS: Final[LiteralString] = """/* erasure.versions */ delete from ops.figure_versions where tenant_no = $1"""
_LISTENERS: Final[LiteralString] = """/* erasure.listeners */ delete from app.listener_months where tenant_no = $1"""
_DAY_SOURCES: Final[LiteralString] = """/* erasure.day_sources */ delete from ops.day_sources where tenant_no = $1"""
_UNKNOWN_HOSTS: Final[LiteralString] = (
    """/* erasure.unknown_hosts */ delete from app.unknown_hosts where tenant_no = $1"""
)
_CLICKS: Final[LiteralString] = """/* erasure.clicks */ delete from app.clicks where tenant_no = $1"""
_EVENTS: Final[LiteralString] = """/* erasure.events */ delete from ts.attribution_events where tenant_no = $1"""
_EVENT_IDS: Final[LiteralString] = """/* erasure.event_ids */ delete from ops.event_ids where tenant_no = $1"""
_EVENT_MARKS: Final[LiteralString] = """/* erasure.event_marks */ delete from ops.event_marks where tenant_no = $1"""
_EVENT_SECRETS: Final[LiteralString] = (
    """/* erasure.event_secrets */ delete from ops.event_secrets where tenant_no = $1"""
)
_REQUESTS: Final[LiteralString] = """/* erasure.requests */ delete from app.erasure_requests where tenant_no = $1"""
# With their days.
_RESTATEMENTS: Final[LiteralString] = """/* erasure.restatements */ delete from app.restatements where tenant_no = $1"""
_SPIKES: Final[LiteralString] = """/* erasure.spikes */ delete from app.spikes where tenant_no = $1"""
_ERASURES: Final[LiteralString] = """/* erasure.erasures */ delete from app.erasures where tenant_no = $1"""
_OWNERS: Final[LiteralString] = """/* erasure.owners */ delete from app.enclosure_owners where tenant_no = $1"""
# Of what is sold: what names something before what is named.
_REPORT_SHARES: Final[LiteralString] = (
    """/* erasure.report_shares */ delete from app.report_shares where tenant_id = $1"""
)
_REPORT_FILES: Final[LiteralString] = """/* erasure.report_files */ delete from app.report_files where tenant_id = $1"""
_REPORTS: Final[LiteralString] = """/* erasure.reports */ delete from app.reports where tenant_id = $1"""
_CREDITS: Final[LiteralString] = (
    """/* erasure.attribution_credits */ delete from app.attribution_credits where tenant_id = $1"""
)
_TOUCHES: Final[LiteralString] = (
    """/* erasure.attribution_touches */ delete from app.attribution_touches where tenant_id = $1"""
)
_TOTALS: Final[LiteralString] = (
    """/* erasure.attribution_totals */ delete from app.attribution_totals where tenant_id = $1"""
)
_ATTRIBUTED: Final[LiteralString] = (
    """/* erasure.attributed_conversions */ delete from app.attributed_conversions where tenant_id = $1"""
)
_RUNS: Final[LiteralString] = """/* erasure.attribution_runs */ delete from app.attribution_runs where tenant_id = $1"""
_ADJUSTMENTS: Final[LiteralString] = (
    """/* erasure.conversion_adjustments */ delete from app.conversion_adjustments where tenant_id = $1"""
)
_CONVERSIONS: Final[LiteralString] = """/* erasure.conversions */ delete from app.conversions where tenant_id = $1"""
_INTAKE: Final[LiteralString] = """/* erasure.event_intake */ delete from app.event_intake where tenant_id = $1"""
_SIGNALS: Final[LiteralString] = (
    """/* erasure.customer_signals */ delete from app.customer_signals where tenant_id = $1"""
)
_ACTIONS: Final[LiteralString] = (
    """/* erasure.conversion_actions */ delete from app.conversion_actions where tenant_id = $1"""
)
_SURVEY_OPTIONS: Final[LiteralString] = (
    """/* erasure.survey_options */ delete from app.survey_options where tenant_id = $1"""
)
_PROMO_CODES: Final[LiteralString] = """/* erasure.promo_codes */ delete from app.promo_codes where tenant_id = $1"""
_VANITY_HOSTS: Final[LiteralString] = """/* erasure.vanity_hosts */ delete from app.vanity_hosts where tenant_id = $1"""
_REACH: Final[LiteralString] = """/* erasure.reach_months */ delete from app.reach_months where tenant_id = $1"""
_PLACEMENT_DAILY: Final[LiteralString] = (
    """/* erasure.placement_daily */ delete from app.placement_daily where tenant_id = $1"""
)
_PLACEMENTS: Final[LiteralString] = """/* erasure.placements */ delete from app.placements where tenant_id = $1"""
_AD_SLOTS: Final[LiteralString] = """/* erasure.ad_slots */ delete from app.ad_slots where tenant_id = $1"""
_ENCLOSURES: Final[LiteralString] = """/* erasure.enclosures */ delete from app.enclosures where tenant_id = $1"""
_EPISODES: Final[LiteralString] = """/* erasure.episodes */ delete from app.episodes where tenant_id = $1"""
_CLAIMS: Final[LiteralString] = """/* erasure.claims */ delete from app.podcast_claims where tenant_id = $1"""
_PODCASTS: Final[LiteralString] = """/* erasure.podcasts */ delete from app.podcasts where tenant_id = $1"""
_LINKS: Final[LiteralString] = """/* erasure.links */ delete from app.links where tenant_id = $1"""
_FLIGHTS: Final[LiteralString] = """/* erasure.flights */ delete from app.flights where tenant_id = $1"""
_CAMPAIGNS: Final[LiteralString] = """/* erasure.campaigns */ delete from app.campaigns where tenant_id = $1"""
_ORDERS: Final[LiteralString] = (
    """/* erasure.insertion_orders */ delete from app.insertion_orders where tenant_id = $1"""
)
_OUTBOX: Final[LiteralString] = """/* erasure.outbox */ delete from app.outbox where tenant_id = $1"""
_INVITATIONS: Final[LiteralString] = """/* erasure.invitations */ delete from app.invitations where tenant_id = $1"""
_ROLES: Final[LiteralString] = """/* erasure.roles */ delete from app.roles where tenant_id = $1"""
_SPONSORS: Final[LiteralString] = """/* erasure.sponsors */ delete from app.sponsors where tenant_id = $1"""
_SESSIONS: Final[LiteralString] = """/* erasure.sessions */ delete from app.sessions where tenant_id = $1"""
_SEALS: Final[LiteralString] = """/* erasure.seals */ delete from app.audit_seals where tenant_id = $1"""
# With what waits for a seal.
_AUDIT: Final[LiteralString] = """/* erasure.audit */ delete from app.audit_log where tenant_id = $1"""
_IDEMPOTENCY: Final[LiteralString] = (
    """/* erasure.idempotency_keys */ delete from app.idempotency_keys where tenant_id = $1"""
)
_USER_SESSIONS: Final[LiteralString] = (
    """/* erasure.user_sessions */ delete from app.user_sessions where tenant_id = $1"""
)
_MEMBERSHIPS: Final[LiteralString] = """/* erasure.memberships */ delete from app.memberships where tenant_id = $1"""
_KEYS: Final[LiteralString] = """/* erasure.keys */ delete from app.api_keys where tenant_id = $1"""
_SETTINGS: Final[LiteralString] = """/* erasure.settings */ delete from app.tenant_settings where tenant_id = $1"""
_QUOTAS: Final[LiteralString] = """/* erasure.quotas */ delete from app.tenant_quotas where tenant_id = $1"""
# Behind all that is counted: taking it away counts.
_COUNTERS: Final[LiteralString] = """/* erasure.counters */ delete from app.usage_counters where tenant_id = $1"""
_DAYS: Final[LiteralString] = """/* erasure.days */ delete from ops.days where tenant_no = $1"""
_TENANT: Final[LiteralString] = """/* erasure.tenant */ delete from app.tenants where tenant_id = $1"""

_SECRETS: Final[LiteralString] = """/* erasure.secrets */
delete from ops.listener_secrets where tenant_no = $1 returning month"""

# A month's secret of the installation that was made while the tenant was there, under which nobody else has a key.
_IDLE_SECRETS: Final[LiteralString] = """/* erasure.idle_secrets */
delete from ops.listener_secrets s
where s.tenant_no = $1 and s.month = any($2::date[]) and s.created_at >= $3
    and not exists (select from ops.listener_secrets o where o.month = s.month and o.tenant_no <> $1)
    and not exists (
        select from ops.pending_hits p
        where p.occurred_at >= s.month::timestamp at time zone 'UTC'
            and p.occurred_at < (s.month + interval '1 month') at time zone 'UTC'
    ) and not exists (
        select from ts.listener_events e
        where e.occurred_at >= s.month::timestamp at time zone 'UTC'
            and e.occurred_at < (s.month + interval '1 month') at time zone 'UTC'
    )"""

_NOTIFY: Final[LiteralString] = """/* erasure.notify */ select pg_notify($1, '')"""

_AGENTS: Final[LiteralString] = """/* agents.erase_marked */
delete from ops.agents where right(user_agent, length($1)) = $1"""

_SEGMENTS: Final[LiteralString] = """/* segments.erase */
delete from ops.segments where source = $1 and finished_at is not null"""
_MINUTES: Final[LiteralString] = """/* segments.erase_minutes */ delete from ops.ledger_minutes where source = $1"""


async def erase_tenant(conn: Connection, tenant: Tenant) -> dict[str, int]:
    """Erase a tenant with all that is its: podcasts, hits, downloads, rollups, keys, secrets.

    Secrets of the installation that were made for this tenant's months alone go as well. Hits that are still in a
    spool would land as those of an unknown podcast: have them landed first.

    Args:
        conn: As the owner, in a transaction of the tenant.
        tenant: Which.

    Returns:
        How many rows went, by what they were.

    Raises:
        Conflict: ``tenant_in_use``: a podcast moved to or from it, which is recorded for good, or is claimed.
        Unavailable: Somebody kept its rows locked for too long; nothing was erased.
    """
    try:
        return await _erase(conn, tenant)
    except asyncpg.ForeignKeyViolationError as error:
        raise Conflict(
            "tenant_in_use", "this tenant cannot be erased: one of its podcasts was transferred or is claimed"
        ) from error
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable("the tenant could not be erased: its rows are locked") from error


async def _erase(conn: Connection, tenant: Tenant) -> dict[str, int]:
    tenant_id, tenant_no = tenant.tenant_id, tenant.tenant_no
    removed: dict[str, int] = {}

    async def take(statement: LiteralString, *arguments: object) -> None:
        what = statement[len("/* erasure.") : statement.index(" */")]
        removed[what] = int(str(await conn.execute(statement, *arguments)).split()[-1])

    await conn.execute(_LIMITS)
    row = await conn.fetchrow(_LOCK_TENANT, tenant_id, tenant_no)
    if row is None:
        return removed
    await lock_ownership(conn, exclusive=True)
    await conn.execute(_LOCK_SUMS, tenant_no)
    await conn.execute(_LOCK_ROLLUPS, tenant_no)
    # Once more, now that nobody lands: with the days that were landed meanwhile.
    span = msgspec.convert(await conn.fetchrow(_LOCK_TENANT, tenant_id, tenant_no), _Span)
    if span.first_day is not None and span.last_day is not None:
        begin = dt.datetime.combine(span.first_day, dt.time(), dt.UTC)
        end = dt.datetime.combine(span.last_day, dt.time(), dt.UTC) + dt.timedelta(days=1)
        await take(_HITS, tenant_no, begin, end)
        await take(_DOWNLOADS, tenant_no, span.first_day, span.last_day)
    # Before figures: placements have to do with each that goes.
    for statement in (
        _REPORT_SHARES,
        _REPORT_FILES,
        _REPORTS,
        _CREDITS,
        _TOUCHES,
        _TOTALS,
        _ATTRIBUTED,
        _RUNS,
        _ADJUSTMENTS,
        _CONVERSIONS,
        _INTAKE,
        _SIGNALS,
        _ACTIONS,
        _SURVEY_OPTIONS,
        _PROMO_CODES,
        _VANITY_HOSTS,
        _REACH,
        _PLACEMENT_DAILY,
        _PLACEMENTS,
        _AD_SLOTS,
    ):
        await take(statement, tenant_id)
    for statement in (
        _PENDING,
        _DEAD_LETTERS,
        _MARKS,
        _METRICS,
        _SUM_MARKS,
        _PLACEMENT_MARKS,
        _DAILY,
        _MONTHS,
        _LISTENER_MARKS,
        _LISTENERS,
        _VERSIONS,
        _DAY_SOURCES,
        _UNKNOWN_HOSTS,
        _CLICKS,
        _EVENTS,
        _EVENT_IDS,
        _EVENT_MARKS,
        _EVENT_SECRETS,
        _REQUESTS,
        _RESTATEMENTS,
        _SPIKES,
        _ERASURES,
        _OWNERS,
        _DAYS,
    ):
        await take(statement, tenant_no)
    months = [row["month"] for row in await conn.fetch(_SECRETS, tenant_no)]
    removed["secrets"] = len(months)
    await conn.execute(_IDLE_SECRETS, INSTALLATION, months, span.created_at)
    for statement in (
        _ENCLOSURES,
        _EPISODES,
        _CLAIMS,
        _PODCASTS,
        _LINKS,
        _FLIGHTS,
        _CAMPAIGNS,
        _ORDERS,
        _SPONSORS,
        _SEALS,
        _AUDIT,
        _IDEMPOTENCY,
        _OUTBOX,
        _INVITATIONS,
        _SESSIONS,
        _USER_SESSIONS,
        _MEMBERSHIPS,
        _ROLES,
        _KEYS,
        _SETTINGS,
        _QUOTAS,
        _COUNTERS,
        _TENANT,
    ):
        await take(statement, tenant_id)
    await raise_ownership(conn)
    await conn.execute(_NOTIFY, CATALOGUE_CHANNEL)
    return removed


async def erase_marked_agents(conn: Connection, mark: str) -> None:
    """Erase the user agents that end in *mark*, in the transaction that erases the tenant whose hits alone had them."""
    await conn.execute(_AGENTS, mark)


async def erase_segments(conn: Connection, source: str) -> None:
    """Erase what is known of a source's segments, as far as all of them has landed, and its part of the ledger."""
    await conn.execute(_SEGMENTS, source)
    await conn.execute(_MINUTES, source)
