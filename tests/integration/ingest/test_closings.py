"""The erasure of a tenant that was closed: after its time nothing of it is left, but the proof."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from analytics_core.db.erasure_requests import StoredErasure
from analytics_core.db.links import add_link
from analytics_core.db.podcasts import RegistryParts, read_registry_parts
from analytics_core.db.pool import Connection, Tenant, connect, connection, tenant_transaction
from analytics_core.db.quotas import set_quotas
from analytics_core.db.tenant_settings import change_settings
from analytics_core.db.tenant_states import close_tenant, reopen_tenant, suspend_tenant
from analytics_core.db.tenants import create_key, create_tenant
from analytics_core.erasures import is_about
from analytics_core.errors import Conflict
from analytics_core.quotas import Metric, Period, Quota
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.closings import erase_closed
from ingest.rollups import refresh_listeners
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, write_segment
from tests.integration.ingest.erasing import Eraser
from tests.ledgers import NOW, Ledger, minute
from tests.postgres import operator_url
from tests.sponsorships import sell

pytestmark = pytest.mark.anyio

SOLD = {
    *("app.insertion_orders", "app.campaigns", "app.flights", "app.ad_slots", "app.placements", "app.reach_months"),
    *(
        "app.promo_codes",
        "app.vanity_hosts",
        "app.survey_options",
        "app.customer_signals",
        "ops.event_marks",
        "app.event_intake",
    ),
    *("app.conversion_actions", "app.conversions", "app.conversion_adjustments", "app.attribution_runs"),
    *("app.attributed_conversions", "app.attribution_touches", "app.attribution_credits", "app.attribution_totals"),
    *("app.reports", "app.report_files", "app.report_shares"),
}

GRACE = dt.timedelta(days=30)
LATER = NOW + GRACE


@pytest.fixture
async def auth(database: DatabaseSettings) -> AsyncIterator[Connection]:
    conn = await connect(database, Role.AUTH, application_name="test")
    yield conn
    conn.terminate()


@pytest.fixture
async def home(auth: Connection) -> Tenant:
    return (await create_tenant(auth, slug="home", name="Home", is_installation=True)).tenant


async def close(eraser: Eraser, tenant: Tenant, *, now: dt.datetime = NOW) -> None:
    async with tenant_transaction(eraser.api, tenant) as conn:
        await close_tenant(conn, tenant.tenant_id, by="tenant", now=now, grace=GRACE)


async def erase(ledger: Ledger, database: DatabaseSettings, *, now: dt.datetime = LATER) -> dict[str, int]:
    return dict(await erase_closed(ledger.conn, ledger.pool, database, now=now))


async def rows_of(database: DatabaseSettings, tenant: Tenant) -> dict[str, int]:
    """Look through every table of ours, as the superuser, for the tenant's id or number in any column of that name."""
    conn = await asyncpg.connect(operator_url(database))
    try:
        columns = await conn.fetch(
            """select format('%I.%I', n.nspname, c.relname) as name, a.attname, a.atttypid = 'uuid'::regtype as is_id
            from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
            where n.nspname not like 'pg\\_%' and n.nspname not like '\\_%' and n.nspname <> 'information_schema'
                and c.relkind in ('r', 'p') and not c.relispartition and a.attnum > 0
                and a.attname ~ 'tenant_(id|no)$'"""
        )
        assert len(columns) > 40
        found = {}
        for row in columns:
            value = tenant.tenant_id if row["is_id"] else tenant.tenant_no
            count = await conn.fetchval(
                f"select count(*) from {row['name']} where {row['attname']} = $1",
                value,
            )
            if count:
                found[row["name"]] = count
        return found
    finally:
        await conn.close()


async def fill(ledger: Ledger, eraser: Eraser, podcast: MadePodcast, home: Tenant, auth: Connection) -> None:
    """Let the tenant of a podcast have something of everything."""
    tenant = podcast.tenant
    targets = ("cdn.example.com/a.mp3", "cdn.example.com/b.mp3")
    hits = [
        make_hit(minute(place), target, address=f"192.0.2.{place}", arguments=f"pg={podcast.guid}")
        for place, target in enumerate(targets)
    ]
    write_segment(ledger.folder, [*hits, make_hit(minute(5), "new.example.org/x.mp3", arguments=f"pg={podcast.guid}")])
    await ledger.ship_all()
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue
    await create_key(auth, tenant, name="x")
    user = uuid4()
    await auth.execute("insert into app.users (user_id, email, name, created_at) values ($1, 'a@b.c', '', now())", user)
    await auth.execute(
        "insert into app.memberships (tenant_id, user_id, role, created_at) values ($1, $2, 'owner', now())",
        tenant.tenant_id,
        user,
    )
    async with tenant_transaction(eraser.api, tenant) as conn:
        await add_link(conn, tenant, slug="x", url="https://a.example/", utm={}, click_id=False, now=NOW)
        await change_settings(conn, tenant, {"range_days": 7}, expected=None, now=NOW, by="test")
        await conn.execute(
            "insert into app.audit_log (tenant_id, entry_id, actor, actor_id, action)"
            " values ($1, $2, 'key', $2, 'link.create')",
            tenant.tenant_id,
            uuid4(),
        )
    async with tenant_transaction(eraser.api, home) as conn:
        await set_quotas(conn, tenant.tenant_id, [Quota(Metric.LINKS, Period.TOTAL, 5)], now=NOW, by="test")


async def record_of(eraser: Eraser, home: Tenant) -> StoredErasure:
    [stored] = await eraser.all_of(home)
    return stored


async def test_nothing_of_a_closed_tenant_is_left_but_the_proof(
    ledger: Ledger, eraser: Eraser, podcast: MadePodcast, home: Tenant, auth: Connection, database: DatabaseSettings
) -> None:
    tenant = podcast.tenant
    await fill(ledger, eraser, podcast, home, auth)
    others = await make_podcast(database, home, make_episode("n", "https://n.example.net/n.mp3"))
    await sell(database, podcast)
    before = await rows_of(database, tenant)
    assert {
        *SOLD,
        "app.podcasts",
        "app.links",
        "app.api_keys",
        "app.memberships",
        "app.tenant_settings",
        "app.tenant_quotas",
        "app.usage_counters",
        "app.audit_log",
        "ts.listener_events",
        "ts.downloads",
        "ops.listener_secrets",
    } <= before.keys()
    untouched = await rows_of(database, home)
    await close(eraser, tenant)
    assert await erase(ledger, database, now=LATER - dt.timedelta(seconds=1)) == {"done": 0, "left": 0}
    assert (await rows_of(database, tenant))["ts.listener_events"] == before["ts.listener_events"]

    assert await erase(ledger, database) == {"done": 1, "left": 0}
    assert await rows_of(database, tenant) == {}
    stored = await record_of(eraser, home)
    assert stored.is_whole
    assert is_about(stored.record, tenant.tenant_id.bytes)
    assert stored.record.kind == "tenant"
    assert stored.record.finished_at == LATER
    removed = stored.record.removed
    assert (removed["podcasts"], removed["links"], removed["keys"], removed["tenant"]) == (1, 2, 1, 1)
    assert removed["hits"] == before["ts.listener_events"]
    assert removed["downloads"] == before["ts.downloads"]
    assert stored.record.remaining is not None
    assert before.keys() <= stored.record.remaining.keys()
    assert await rows_of(database, home) == {
        **untouched,
        "app.erasures": 1,
    }
    assert await auth.fetchval("select count(*) from app.users") == 1
    assert await erase(ledger, database) == {"done": 0, "left": 0}
    assert others.podcast_no


async def test_its_feed_is_free_and_its_hosts_stay_known(
    ledger: Ledger, eraser: Eraser, podcast: MadePodcast, home: Tenant, database: DatabaseSettings
) -> None:
    before = await read_registry_parts(ledger.conn)
    await close(eraser, podcast.tenant)
    await erase(ledger, database)
    # How long a host stays known is the database's clock's.
    await ledger.conn.execute("update ops.released_hosts set released_at = now()")
    assert await read_registry_parts(ledger.conn) == RegistryParts(before.hosts, frozenset())
    again = await make_podcast(database, home, make_episode("a"), make_episode("b"), guid=podcast.guid)
    write_segment(ledger.folder, [make_hit(minute(1), "cdn.example.com/a.mp3", arguments=f"pg={podcast.guid}")])
    await ledger.ship_all()
    rows = await ledger.conn.fetch("select tenant_no, podcast_no from ts.downloads")
    assert [tuple(row) for row in rows] == [(home.tenant_no, again.podcast_no)]


async def test_one_that_is_opened_again_stays(
    ledger: Ledger, eraser: Eraser, podcast: MadePodcast, home: Tenant, database: DatabaseSettings
) -> None:
    tenant = podcast.tenant
    await close(eraser, tenant)
    async with tenant_transaction(eraser.api, tenant) as conn:
        await reopen_tenant(conn, tenant.tenant_id, by="tenant", now=LATER - dt.timedelta(seconds=1))
    assert await erase(ledger, database) == {"done": 0, "left": 0}
    assert (await rows_of(database, tenant))["app.podcasts"] == 1


async def test_a_table_that_nobody_erases_stops_it_and_the_rest_goes_once_it_is_empty(
    ledger: Ledger, eraser: Eraser, podcast: MadePodcast, home: Tenant, database: DatabaseSettings
) -> None:
    tenant = podcast.tenant
    conn = await connect(database, Role.OWNER, application_name="test")
    await conn.execute("create table ops.forgotten (tenant_no integer)")
    await conn.execute("insert into ops.forgotten values ($1)", tenant.tenant_no)
    await close(eraser, tenant)
    with pytest.raises(Conflict, match=r"ops\.forgotten \(1\)") as refused:
        await erase(ledger, database)
    assert refused.value.code == "rows_left"
    assert (await rows_of(database, tenant))["app.tenants"] == 1
    # Its podcasts went, and nobody opens it any more.
    async with tenant_transaction(eraser.api, tenant) as api:
        with pytest.raises(Conflict, match="being erased"):
            await reopen_tenant(api, tenant.tenant_id, by="tenant", now=NOW)
    await conn.execute("drop table ops.forgotten")
    conn.terminate()
    assert await erase(ledger, database) == {"done": 1, "left": 0}
    assert (await record_of(eraser, home)).record.removed["podcasts"] == 1


async def test_it_waits_where_nobody_keeps_the_record(
    ledger: Ledger, eraser: Eraser, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await close(eraser, podcast.tenant)
    with pytest.raises(Conflict, match="owner-key"):
        await erase(ledger, database)
    assert (await rows_of(database, podcast.tenant))["app.podcasts"] == 1


@pytest.mark.parametrize("is_closing", [True, False])
async def test_hits_of_a_tenant_that_is_closing_or_suspended_are_counted(
    ledger: Ledger, eraser: Eraser, podcast: MadePodcast, home: Tenant, is_closing: bool
) -> None:
    tenant = podcast.tenant
    before = await read_registry_parts(ledger.conn)
    if is_closing:
        await close(eraser, tenant)
    else:
        async with tenant_transaction(eraser.api, home) as conn:
            await suspend_tenant(conn, tenant.tenant_id)
    write_segment(ledger.folder, [make_hit(minute(1), "cdn.example.com/a.mp3", arguments=f"pg={podcast.guid}")])
    await ledger.ship_all()
    async with connection(eraser.ingest) as conn:
        assert await conn.fetchval("select tenant_no from ts.downloads") == tenant.tenant_no
    # What trackers know, and so what they answer, is the same.
    assert await read_registry_parts(ledger.conn) == before
