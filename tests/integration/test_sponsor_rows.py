"""What a transaction that is held to sponsors sees: their rows, to read, and nothing else of the tenant's."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.clicks import ClickCounts, count_clicks
from analytics_core.db.links import Click, add_clicks, add_link, list_links
from analytics_core.db.pool import Pool, Tenant, connect, open_pool, tenant_transaction
from analytics_core.db.sponsors import SponsorFields, add_sponsor, list_sponsors
from analytics_core.reports import Bucket
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.archives import fill
from tests.factories import make_tenant
from tests.postgres import operator_url

pytestmark = pytest.mark.anyio

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)

SPONSORS = {
    *("app.sponsors", "app.links", "app.clicks", "app.insertion_orders", "app.campaigns", "app.flights"),
    *(
        "app.placements",
        "app.placement_daily",
        "app.reach_months",
        "app.promo_codes",
        "app.vanity_hosts",
        "app.survey_options",
    ),
    *("app.conversion_actions", "app.conversions", "app.conversion_adjustments", "app.attribution_runs"),
    *("app.attributed_conversions", "app.attribution_touches", "app.attribution_credits", "app.attribution_totals"),
    *("app.reports", "app.report_files", "app.event_intake"),
    # Of what is placed, for its titles.
    *("app.podcasts", "app.episodes"),
}
"""What is a sponsor's."""

_READABLE = """
select format('%I.%I', n.nspname, c.relname) as name
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('app', 'ts', 'ops', 'api') and c.relkind in ('r', 'p', 'v')
    and has_any_column_privilege('castledger_api', c.oid, 'select') order by 1"""

_WRITABLE = """
select format('%I.%I', n.nspname, c.relname) as name, min(a.attname::text) as column
from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
where n.nspname in ('app', 'ts', 'ops', 'api') and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
    and a.attidentity = '' and has_column_privilege('castledger_api', c.oid, a.attnum, 'update')
group by 1 order by 1"""


@contextlib.asynccontextmanager
async def session(database: DatabaseSettings, tenant: Tenant | None, sponsors: str) -> AsyncIterator[_Connection]:
    """Open a session as somebody at a prompt would, in the API's role, with nothing between it and the tables."""
    conn = await asyncpg.connect(str(database.url))
    try:
        await conn.execute("set role castledger_api")
        if tenant is not None:
            await conn.execute(f"set app.tenant_id = '{tenant.tenant_id}'; set app.tenant_no = '{tenant.tenant_no}'")
        await conn.execute("select set_config('app.sponsor_ids', $1, false)", sponsors)
        yield conn
    finally:
        await conn.close()


async def with_rows(conn: _Connection) -> set[str]:
    """Name the tables and views in which a session sees something."""
    names = [row["name"] for row in await conn.fetch(_READABLE)]
    return {name for name in names if await conn.fetchval(f"select exists (select from {name})")}


async def the_sponsor(database: DatabaseSettings) -> UUID:
    conn = await asyncpg.connect(operator_url(database))
    sponsor_id: UUID = await conn.fetchval("select sponsor_id from app.sponsors")
    await conn.close()
    return sponsor_id


@pytest.mark.usefixtures("native")
async def test_all_that_sponsors_have_no_business_with_is_empty_to_them(
    database: DatabaseSettings, tmp_path: Path
) -> None:
    podcast = await fill(database, tmp_path / "spool")
    other = await make_tenant(database, "other")
    sponsor_id = await the_sponsor(database)
    async with session(database, podcast.tenant, "") as conn:
        whole = await with_rows(conn)
    # What is empty here would be so to a sponsor whatever the policies say.
    assert len(whole) > 20
    assert {"app.sponsors", "app.podcasts", "app.enclosure_owners", "api.segments", "api.listener_events"} <= whole
    known = {"api.cutoff"}
    async with session(database, podcast.tenant, f"{{{sponsor_id}}}") as conn:
        assert await with_rows(conn) == known | SPONSORS
        assert await conn.fetchval("select count(*) from app.links") == 1
    for tenant, sponsors in (
        (podcast.tenant, "{}"),
        (podcast.tenant, f"{{{UUID(int=7)}}}"),
        (other, f"{{{sponsor_id}}}"),
        (None, f"{{{sponsor_id}}}"),
    ):
        async with session(database, tenant, sponsors) as conn:
            assert await with_rows(conn) == known
    async with session(database, podcast.tenant, "all") as conn:
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await conn.fetch("select from app.links")


@pytest.mark.usefixtures("native")
async def test_whoever_is_held_to_sponsors_writes_nothing(database: DatabaseSettings, tmp_path: Path) -> None:
    podcast = await fill(database, tmp_path / "spool")
    async with session(database, podcast.tenant, f"{{{await the_sponsor(database)}}}") as conn:
        tables = await conn.fetch(_WRITABLE)
        assert len(tables) > 5
        for row in tables:
            done = await conn.execute(f"update {row['name']} set {row['column']} = {row['column']}")
            assert done == "UPDATE 0", row["name"]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await conn.execute(
                "insert into app.sponsors (tenant_id, sponsor_id, name, name_key, created_at)"
                " values ($1, gen_random_uuid(), 'x', gen_random_uuid(), now())",
                podcast.tenant.tenant_id,
            )


class World(NamedTuple):
    """A tenant and a stranger, as the API and as ingest."""

    api: Pool
    ingest: _Connection
    tenants: tuple[Tenant, Tenant]
    operator: _Connection


@pytest.fixture
async def world(database: DatabaseSettings) -> AsyncIterator[World]:
    tenants = (await make_tenant(database, "one"), await make_tenant(database, "two"))
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    ingest = await connect(database, Role.INGEST, application_name="test")
    operator = await asyncpg.connect(operator_url(database))
    yield World(pool, ingest, tenants, operator)
    await operator.close()
    await ingest.close()
    await pool.close()


class MadeLink(NamedTuple):
    """A link of the model: of which tenant, of which of its sponsors, and when it was followed, by bots or not."""

    tenant: int
    sponsor: int | None
    clicks: list[tuple[int, bool]]


_LINKS = st.lists(
    st.builds(
        MadeLink,
        st.integers(0, 1),
        st.none() | st.integers(0, 2),
        st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=4),
    ),
    max_size=8,
)
_BUCKETS = [Bucket(NOW + dt.timedelta(days=day), NOW + dt.timedelta(days=day + 1)) for day in range(4)]


async def build(world: World, links: list[MadeLink]) -> tuple[list[list[UUID]], list[UUID]]:
    """Make what the model has; returns the sponsors of both tenants, and the links."""
    await world.operator.execute("truncate app.clicks, app.links, app.sponsors cascade")
    sponsors: list[list[UUID]] = []
    for tenant in world.tenants:
        async with tenant_transaction(world.api, tenant) as conn:
            rows = [await add_sponsor(conn, tenant, SponsorFields(name=f"S{n}"), now=NOW) for n in range(3)]
        sponsors.append([row.sponsor_id for row in rows])
    made: list[UUID] = []
    clicks: list[Click] = []
    for number, link in enumerate(links):
        tenant = world.tenants[link.tenant]
        async with tenant_transaction(world.api, tenant) as conn:
            link_id = await add_link(
                conn,
                tenant,
                slug=f"link-{number}",
                url="https://shop.example.com/",
                utm={},
                click_id=False,
                now=NOW,
                sponsor_id=None if link.sponsor is None else sponsors[link.tenant][link.sponsor],
            )
        made.append(link_id)
        link_no = await world.ingest.fetchval("select link_no from app.links where link_id = $1", link_id)
        clicks += [
            Click(
                int(tenant.tenant_no),
                link_no,
                NOW + dt.timedelta(days=day, hours=1),
                1,
                len(clicks) + place,
                is_bot,
                None,
            )
            for place, (day, is_bot) in enumerate(link.clicks)
        ]
    await add_clicks(world.ingest, clicks)
    return sponsors, made


def counted(clicks: Collection[tuple[int, bool]]) -> list[ClickCounts]:
    found = Counter(clicks)
    return [ClickCounts(found[day, False], found[day, True]) for day in range(4)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(links=_LINKS, held=st.none() | st.sets(st.tuples(st.integers(0, 1), st.integers(0, 2))))
async def test_lists_and_totals_are_what_a_filter_by_hand_leaves(
    world: World, links: list[MadeLink], held: set[tuple[int, int]] | None
) -> None:
    sponsors, made = await build(world, links)
    # Ids of the other tenant's sponsors among them: they are nobody here.
    sponsor_ids = None if held is None else frozenset(sponsors[tenant][one] for tenant, one in held)
    mine = world.tenants[0]
    caller = Tenant(mine.tenant_id, mine.tenant_no, sponsor_ids)
    wanted = [
        (link_id, link)
        for link_id, link in zip(made, links, strict=True)
        if link.tenant == 0 and (held is None or (link.sponsor is not None and (0, link.sponsor) in held))
    ]
    async with tenant_transaction(world.api, caller, readonly=True) as conn:
        listed = await list_links(conn, after=None, limit=100)
        total = await count_clicks(conn, _BUCKETS)
        seen = await list_sponsors(conn, after=None, limit=100)
        # As a query would see them that forgets about links.
        clicks = await conn.fetchval("select count(*) from app.clicks")
        by_link = {link_id: await count_clicks(conn, _BUCKETS, link_id=link_id) for link_id in made}
        by_sponsor = {one: await count_clicks(conn, _BUCKETS, sponsor_id=one) for both in sponsors for one in both}
    assert [(row.link_id, row.clicks, row.bots) for row in listed] == [
        (link_id, sum(not is_bot for _, is_bot in link.clicks), sum(is_bot for _, is_bot in link.clicks))
        for link_id, link in wanted
    ]
    assert clicks == sum(len(link.clicks) for _, link in wanted)
    assert total.buckets == counted([click for _, link in wanted for click in link.clicks])
    assert {row.sponsor_id for row in seen} == {
        one for number, one in enumerate(sponsors[0]) if held is None or (0, number) in held
    }
    assert {row.sponsor_id: row.links for row in seen} == {
        row.sponsor_id: sum(
            link.sponsor is not None and sponsors[0][link.sponsor] == row.sponsor_id for _, link in wanted
        )
        for row in seen
    }
    visible = dict(wanted)
    for link_id, found in by_link.items():
        assert found.buckets == counted(visible[link_id].clicks if link_id in visible else [])
    for sponsor_id, found in by_sponsor.items():
        assert found.buckets == counted(
            [
                click
                for _, link in wanted
                if link.sponsor is not None and sponsors[0][link.sponsor] == sponsor_id
                for click in link.clicks
            ]
        )


async def test_a_connection_that_was_held_to_sponsors_is_free_again(world: World) -> None:
    """The pool has one connection, which nobody resets: what a transaction sets ends with it."""
    await build(world, [MadeLink(0, None, []), MadeLink(0, 1, [])])
    mine = world.tenants[0]
    held = Tenant(mine.tenant_id, mine.tenant_no, frozenset())
    for tenant, number in ((mine, 2), (held, 0), (mine, 2)):
        async with tenant_transaction(world.api, tenant) as conn:
            assert len(await list_links(conn, after=None, limit=9)) == number
