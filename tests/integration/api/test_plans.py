"""What the analytics routes cost the database: how many statements a request, and what these have to read.

Every route under ``/analytics`` has to be among the cases: one that is added without is an error. Each is asked over a
filled database; what it sends there is recorded by the driver and explained again with the very values it came with,
as planned for these values and as planned for any.
"""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import pytest

from analytics_core.db.comparisons import STREAM_HITS, stream_values
from analytics_core.db.episodes import get_episode
from analytics_core.db.pool import Connection, Tenant, open_pool, tenant_transaction
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from api.app import create_app
from api.known_keys import KnownKeys
from api.logs import RequestLog
from api.openapi import list_operations
from api.resources import Database, Resources
from tests.integration.api.ledger import Api, Ledger, unreachable

pytestmark = pytest.mark.anyio

DAYS: Final = 60
LAST: Final = dt.date(2026, 11, 23)
FIRST: Final = LAST - dt.timedelta(days=DAYS - 1)
MAX_STATEMENTS: Final = {"/analytics/overview": 17}
"""Of a request, those that look the key up, name the tenant, read its settings and begin and end transactions among
them; others 12."""
HITS: Final = frozenset({"listener_events"})
DOWNLOADS: Final = frozenset({"downloads"})


class Case(NamedTuple):
    """A request, and what it may read of hits and downloads.

    Attributes:
        path: With ``{podcast}``, ``{episode}`` and ``{hit}`` to be filled in.
        days: Of how many days it may read partitions.
        reads: Which of the partitioned tables it may read at all.
    """

    path: str
    query: Mapping[str, str] = {}
    days: int = 0
    reads: frozenset[str] = frozenset()


class Statement(NamedTuple):
    """A statement that a request sent, in which role, and its values."""

    role: Role
    text: str
    values: tuple[Any, ...]


class Filled(NamedTuple):
    """The application over the filled database, and the names in it."""

    api: Api
    routes: set[str]
    sent: list[Statement]
    names: Mapping[str, str]
    tenant: Tenant


_HITS = """
insert into ts.listener_events (occurred_at, range_kind, range_first, range_last, listener_key, segment_no, ordinal,
    tenant_no, podcast_no, episode_no, agent_no, referrer_no, feed_app_no, verdict_bits, verdict, evidence, country,
    kind, method, flags, source, rules)
select (d + interval '1 hour' * n) at time zone 'UTC', 0, -1, -1, md5(n::text)::uuid, $1, row_number() over (),
    e.tenant_no, e.podcast_no, e.episode_no, $2, 0, 0, 0, 0, 3, 21843 + n, 1, 0, 0, 1, 1
from app.episodes e, generate_series($3::timestamp, $4::timestamp, interval '1 day') as d, generate_series(0, 5) as n"""

_DOWNLOADS = """
insert into ts.downloads (day, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no, podcast_no,
    agent_no, referrer_no, feed_app_no, country, evidence, source)
select (occurred_at at time zone 'UTC')::date, episode_no, listener_key, occurred_at, segment_no, ordinal, tenant_no,
    podcast_no, agent_no, 0, 0, country, 3, 1 from ts.listener_events"""


_OLD_SEGMENT = """
with old as (
    insert into ops.segments (segment_id, source, created_at, committed, first_hit_at, last_hit_at)
    select gen_random_uuid(), 'test', now(), 0, d at time zone 'UTC', (d + interval '5 hours') at time zone 'UTC'
    from (select $1::date::timestamp) as n(d) returning segment_no, first_hit_at, last_hit_at
)
update ts.listener_events e set segment_no = o.segment_no from old o
where e.occurred_at between o.first_hit_at and o.last_hit_at"""


async def fill(ledger: Ledger, days: list[dt.date]) -> None:
    """Give every episode six hits a day, each a download, and sum them up."""
    conn = ledger.ingest
    agent_no = await ledger.agent("Castaway/1.0")
    await conn.execute("select ops.ensure_partitions($1::date[])", days)
    await conn.execute(_HITS, ledger.segment_no, agent_no, days[0], days[-1])
    await conn.execute(
        "update ops.segments set first_hit_at = $2, last_hit_at = $3 where segment_no = $1",
        ledger.segment_no,
        dt.datetime.combine(days[-1], dt.time(), dt.UTC),
        dt.datetime.combine(days[-1], dt.time(23), dt.UTC),
    )
    await conn.execute(_DOWNLOADS)
    await ledger.roll_up()
    await ledger.set_cutoff("2026-11-24T11:59+00:00")
    await ledger.finalise("home", [str(day) for day in days[:-7]])
    # The first day, in a segment of its own, as retention leaves it.
    await ledger.operator.execute(_OLD_SEGMENT, days[0])
    await conn.execute("select ops.drop_day('downloads', $1)", days[0])
    await conn.execute("update ops.days set downloads_dropped_at = now() where day = $1", days[0])


@pytest.fixture
async def filled(resources: Resources, ledger: Ledger, database: DatabaseSettings) -> AsyncIterator[Filled]:
    sent: list[Statement] = []

    def note(role: Role) -> Callable[[Any], None]:
        return lambda record: sent.append(Statement(role, record.query, tuple(record.args or ())))

    pools = {}
    for name, role in (("api", Role.API), ("auth", Role.AUTH), ("reading", Role.API)):
        pools[name] = await open_pool(
            database, role, application_name="castledger-api", max_size=1, only_reads=name == "reading"
        )
        async with pools[name].acquire() as conn:
            conn.add_query_logger(note(role))
    ours = Database(**pools)
    known_keys = KnownKeys(unreachable, ours.auth, clock=resources.clock)
    watched = msgspec.structs.replace(resources, database=ours, known_keys=known_keys)
    app = create_app(watched, log=RequestLog(io.StringIO()))
    try:
        async with Api.open(app, await ledger.make_key("home", is_installation=True)) as api:
            podcast = (await api.add_podcast(1, episodes=28))["podcast_id"]
            await api.add_podcast(2, episodes=28)
            await fill(ledger, [FIRST + dt.timedelta(days=place) for place in range(DAYS)])
            await ledger.operator.execute("analyze")
            episode = (await api.data(f"/podcasts/{podcast}/episodes"))["data"][0]["episode_id"]
            hit = (await api.data("/analytics/hits", from_=str(LAST), limit=1))["data"][0]["hit_id"]
            old_hit = (await api.data("/analytics/hits", from_=str(FIRST), limit=1))["data"][0]["hit_id"]
            routes = {
                operation.path.removeprefix("/api/v1")
                for operation in list_operations(app)
                if operation.path.startswith("/api/v1/analytics/") and operation.method == "get"
            }
            names = {"podcast": podcast, "episode": episode, "hit": hit, "old_hit": old_hit}
            sent.clear()
            yield Filled(api, routes, sent, names, await ledger.tenant_of("home"))
    finally:
        for pool in pools.values():
            await pool.close()


_RANGE: Final = {"from": str(FIRST), "to": str(LAST + dt.timedelta(days=1))}
_FIRST_DAYS: Final = {"from": str(FIRST), "to": str(FIRST + dt.timedelta(days=2))}
_CUT: Final = {**_RANGE, "tz": "Asia/Kathmandu"}
CASES: Final[dict[str, list[Case]]] = {
    "/analytics/downloads": [
        Case("/analytics/downloads", {**_RANGE, "podcast_id": "{podcast}"}, DAYS, DOWNLOADS),
        Case("/analytics/downloads", {**_RANGE, "episode_id": "{episode}"}, DAYS, DOWNLOADS),
        Case("/analytics/downloads", {"from": "2026-11-20", "to": "2026-11-22"}, 2, DOWNLOADS),
        *(
            Case("/analytics/downloads", {**_CUT, "podcast_id": "{podcast}", "by": dimension})
            for dimension in ("episode", "app", "country")
        ),
        *(
            Case("/analytics/downloads", {**_RANGE, "podcast_id": "{podcast}", "by": dimension})
            for dimension in ("episode", "app", "country")
        ),
        Case("/analytics/downloads", {**_CUT, "episode_id": "{episode}", "by": "app", "interval": "hour"}),
        Case("/analytics/downloads", {**_RANGE, "by": "app", "interval": "month"}),
    ],
    "/analytics/compare": [
        Case("/analytics/compare", {"episode_id": "{episode}", "from": "2026-11-18", "to": "2026-11-20"}, 2, HITS),
        Case(
            "/analytics/compare",
            {"episode_id": "{episode}", "from": "2026-11-18", "to": "2026-11-20", "profiles": "first-touch"},
            3,
            HITS,
        ),
    ],
    "/analytics/curves": [
        Case("/analytics/curves", {"podcast_id": "{podcast}"}),
        Case("/analytics/curves", {"episode_id": "{episode}", "origin": "first_hit"}),
    ],
    "/analytics/explain": [
        Case("/analytics/explain", {"podcast_id": "{podcast}", "day": "2026-11-20"}, 1, HITS | DOWNLOADS),
        Case("/analytics/explain", {"episode_id": "{episode}", "day": "2026-11-20"}, 1, HITS | DOWNLOADS),
        Case("/analytics/explain", {"podcast_id": "{podcast}", "day": str(FIRST)}, 1, HITS),
        Case("/analytics/explain", {"episode_id": "{episode}", "day": str(FIRST)}, 1, HITS),
    ],
    "/analytics/hits": [
        Case(
            "/analytics/hits",
            {"podcast_id": "{podcast}", "from": "2026-11-18", "to": "2026-11-20"},
            2,
            HITS | DOWNLOADS,
        ),
        Case("/analytics/hits", {"from": "2026-11-20", "to": "2026-11-21", "limit": "5"}, 1, HITS | DOWNLOADS),
        Case("/analytics/hits", {"podcast_id": "{podcast}", **_FIRST_DAYS}, 2, HITS | DOWNLOADS),
    ],
    "/analytics/overview": [
        Case(
            "/analytics/overview", {"podcast_id": "{podcast}", "from": "2026-11-10", "to": "2026-11-15"}, 5, DOWNLOADS
        ),
        Case("/analytics/overview", {**_CUT, "podcast_id": "{podcast}"}),
        Case("/analytics/overview", {"from": "2026-11-10", "to": "2026-11-15"}, 5, DOWNLOADS),
    ],
    "/analytics/hits/{hit_id}": [
        Case("/analytics/hits/{hit}", {}, 1, HITS | DOWNLOADS),
        Case("/analytics/hits/{old_hit}", {}, 1, HITS),
    ],
}


def walk(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """List a plan's nodes that ran."""
    if plan.get("Actual Loops"):
        yield plan
        for child in plan.get("Plans", ()):
            yield from walk(child)


def literal(value: Any) -> str:
    """Write a value as it may stand in a statement, whose parameters have their types already."""
    if value is None:
        return "null"
    if isinstance(value, list):
        value = "{" + ",".join("null" if item is None else f'"{item}"' for item in value) + "}"
    return "'" + str(value).replace("'", "''") + "'"


async def explain(conn: Connection, statement: Statement, *, mode: str) -> list[Mapping[str, Any]]:
    """Run a statement again, and list what it did."""
    await conn.execute(f"set local plan_cache_mode = {mode}")
    # A few thousand rows are read as they lie, whatever there is to look them up by: a table that is read so although
    # that is as dear as can be has nothing.
    await conn.execute("set local enable_seqscan = off")
    await conn.execute(f"prepare explained as {statement.text}")
    given = f"({', '.join(map(literal, statement.values))})" if statement.values else ""
    text = await conn.fetchval(f"explain (analyze, format json) execute explained{given}")
    await conn.execute("deallocate explained")
    return list(walk(json.loads(text)[0]["Plan"]))


async def families(conn: Connection) -> dict[str, str]:
    """Say of each partition or chunk which table it is of."""
    rows = await conn.fetch(
        """select c.relname::text as name, p.relname::text as parent from pg_inherits i
        join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
        where p.relname in ('listener_events', 'downloads')"""
    )
    return {row["name"]: row["parent"] for row in rows}


async def ask(filled: Filled, case: Case) -> list[Statement]:
    """Send a case's request and return what it sent to the database."""
    filled.sent.clear()
    query = {name: value.format(**filled.names) for name, value in case.query.items()}
    answer = await filled.api.request("GET", case.path.format(**filled.names), params=query)
    assert answer.status_code == 200, (case, answer.text)
    return list(filled.sent)


async def test_every_route_is_bound_in_statements_and_in_what_they_read(
    filled: Filled, database: DatabaseSettings
) -> None:
    assert filled.routes == set(CASES), "every analytics route needs cases here"
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    faults = []
    try:
        for case in (case for cases in CASES.values() for case in cases):
            statements = await ask(filled, case)
            if len(statements) > MAX_STATEMENTS.get(case.path, 12):
                faults.append(f"{case}: {len(statements)} statements")
            for statement in statements:
                if (
                    statement.role is not Role.API
                    or not statement.text.startswith("/* ")
                    or "/* pool." in statement.text
                ):
                    continue
                for mode in ("force_custom_plan", "force_generic_plan"):
                    async with tenant_transaction(pool, filled.tenant) as conn:
                        known = await families(conn)
                        nodes = await explain(conn, statement, mode=mode)
                    name = statement.text.split("*/")[0]
                    read = {node["Relation Name"] for node in nodes if "Relation Name" in node}
                    for family in HITS | DOWNLOADS:
                        parts = [part for part in read if known.get(part) == family]
                        if len(parts) > (case.days if family in case.reads else 0):
                            faults.append(f"{case}, {name} {mode}: reads {len(parts)} partitions of {family}")
                    faults += [
                        f"{case}, {name} {mode}: {node['Relation Name']} is read from end to end"
                        for node in nodes
                        if node["Node Type"] == "Seq Scan" and is_rollup(node["Relation Name"])
                    ]
    finally:
        await pool.close()
    assert faults == []


async def test_a_comparison_reads_the_hits_of_its_days_alone(filled: Filled, database: DatabaseSettings) -> None:
    """What is read through a cursor is not among the statements that the driver records."""
    first, days = dt.date(2026, 11, 18), 2
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        for mode in ("force_custom_plan", "force_generic_plan"):
            async with tenant_transaction(pool, filled.tenant) as conn:
                known = await families(conn)
                episode = await get_episode(conn, UUID(filled.names["episode"]))
                assert episode is not None
                values = stream_values(
                    episode.podcast_no, episode.episode_no, first=first, end=first + dt.timedelta(days=days)
                )
                nodes = await explain(conn, Statement(Role.API, STREAM_HITS, values), mode=mode)
            read = {node["Relation Name"] for node in nodes if "Relation Name" in node}
            assert len([part for part in read if known.get(part) == "listener_events"]) == days
            assert not [part for part in read if known.get(part) == "downloads"]
            assert nodes[0]["Actual Rows"] == 6 * days
    finally:
        await pool.close()


async def test_every_route_tags_its_answers_and_knows_the_tag_again(filled: Filled) -> None:
    for case in (case for cases in CASES.values() for case in cases):
        path = case.path.format(**filled.names)
        params = {name: value.format(**filled.names) for name, value in case.query.items()}
        answer = await filled.api.request("GET", path, params=params)
        tag = answer.headers["etag"]
        assert tag.startswith('W/"')
        assert answer.headers["cache-control"] == "private, no-cache"
        filled.sent.clear()
        again = await filled.api.request("GET", path, params=params, headers={"If-None-Match": f'"x", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), case
        if case.path == "/analytics/downloads":
            # What the tag says is known without adding anything up.
            assert not [sent for sent in filled.sent if "analytics.sum" in sent.text or "rankings." in sent.text]
        other = await filled.api.request("GET", path, params=params, headers={"If-None-Match": '"x"'})
        assert other.status_code == 200


def is_rollup(name: str) -> bool:
    """Tell whether a table grows with what is counted, so that it must never be read as a whole."""
    return name in {"metrics_daily", "podcast_daily", "podcast_months", "listener_months", "episodes", "pending_hits"}
