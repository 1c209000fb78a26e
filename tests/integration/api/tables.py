"""Rows of one tenant in the tables that no request of the walks fills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from analytics_core.db.pool import Tenant
from analytics_core.hits import HitKind
from ingest.rollups import refresh_listeners, refresh_rollups
from tests.factories import MadePodcast
from tests.integration.api.ledger import Ledger
from tests.integration.api.nouns import Owner
from tests.sponsorships import make_results, make_sponsorship

__all__ = ("ROWS", "fill_tables")

ROWS: Final[Mapping[str, str]] = {
    "app.idempotency_keys": "insert into app.idempotency_keys (tenant_id, caller_id, key, request_hash, created_at)"
    " values ($1, gen_random_uuid(), 'k', sha256($3::bytea), now())",
    "app.audit_seals": "insert into app.audit_seals (tenant_id, seq, entry_id, hash)"
    " values ($1, 1, gen_random_uuid(), sha256($3::bytea))",
    "app.tenant_settings": "insert into app.tenant_settings (tenant_id, key, value, version, updated_at, updated_by)"
    " values ($1, 'range_days', '7', 1, now(), 'test')",
    "app.tenant_quotas": "insert into app.tenant_quotas (tenant_id, metric, period, updated_at, updated_by)"
    " values ($1, 'links', 'total', now(), 'test')",
    "app.clicks": "insert into app.clicks (tenant_no, link_no, occurred_at, segment_no, ordinal, is_bot)"
    " select $2, link_no, now(), 1, 1000 + $3::integer, false from app.links where tenant_id = $1 limit 1",
    "app.flight_alerts": "insert into app.flight_alerts (tenant_id, flight_id, behind_since)"
    " select $1, flight_id, now() from app.flights where tenant_id = $1 limit 1",
    "app.conversion_adjustments": "insert into app.conversion_adjustments (tenant_id, adjustment_id, conversion_id,"
    " kind, said_hash, adjusted_at, received_at) select $1, gen_random_uuid(), conversion_id, 'retract',"
    " sha256($3::bytea), now(), now() from app.conversions where tenant_id = $1 limit 1",
    "app.customer_signals": "insert into app.customer_signals (tenant_id, event_id, customer_key, occurred_at,"
    " received_at, link) values ($1, gen_random_uuid(), gen_random_uuid(), now(), now(), 'offer')",
    "app.unknown_hosts": "insert into app.unknown_hosts (tenant_no, podcast_no, host, hits)"
    " select $2, podcast_no, 'media' || $3 || '.example.net', 1 from app.podcasts where tenant_id = $1 limit 1",
    "ops.listener_marks": "insert into ops.listener_marks (tenant_no, podcast_no, month)"
    " select $2, podcast_no, '2026-11-01' from app.podcasts where tenant_id = $1 on conflict do nothing",
}
"""A row a table and tenant: ``$1`` is its id, ``$2`` its number, ``$3`` a text that tells it from others."""


async def _fill_sponsorship(ledger: Ledger, owner: Owner, tenant: Tenant) -> None:
    """Give the sponsor something of all that one may have."""
    podcast_id, sponsor_id = UUID(owner.made["podcast_id"]), UUID(owner.made["sponsor_id"])
    row = await ledger.operator.fetchrow(
        "select podcast_no, podcast_guid from app.podcasts where podcast_id = $1", podcast_id
    )
    assert row is not None
    podcast = MadePodcast(podcast_id, row["podcast_no"], row["podcast_guid"], tenant, {})
    await ledger.operator.execute(
        "update app.links set sponsor_id = $1 where link_id = $2", sponsor_id, UUID(owner.made["link_id"])
    )
    made = await make_sponsorship(ledger.operator, podcast, sponsor_id)
    await make_results(ledger.operator, podcast, sponsor_id, made)


async def fill_tables(ledger: Ledger, owner: Owner) -> None:
    """Have ingest make what it makes, and write the rest by hand."""
    podcast, tenant = owner.made["podcast_id"], await ledger.tenant_of(owner.slug)
    await _fill_sponsorship(ledger, owner, tenant)
    await ledger.mark_dirty(owner.made["episode_id"], "2026-11-02")
    while await refresh_rollups(ledger.ingest):
        continue
    while await refresh_listeners(ledger.ingest, at_most_every=None):
        continue
    await ledger.land("2026-11-02T13:00+00:00", owner.made["episode_id"], kind=HitKind.CLICK, listener=owner.number)
    await ledger.wait_for_episode("2026-11-02T14:00+00:00", podcast, "cdn.example.com/new.mp3")
    await ledger.mark_dirty(owner.made["episode_id"], "2026-11-03")
    values = (f"'{UUID(int=tenant.tenant_id.int)}'::uuid", str(tenant.tenant_no), f"'{owner.number}'")
    for statement in ROWS.values():
        # Put into the text, since no two statements use the same parameters; all of it is the test's own.
        for place, value in enumerate(values, start=1):
            statement = statement.replace(f"${place}", value)
        await ledger.operator.execute(statement)
