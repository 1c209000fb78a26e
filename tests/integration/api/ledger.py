"""A ledger written by hand, and a client of the application."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import httpx
from litestar import Litestar

from analytics_core.db.dictionaries import number_places
from analytics_core.db.pool import Tenant, connect
from analytics_core.db.tenants import create_key, create_tenant
from analytics_core.errors import Unavailable
from analytics_core.hits import HitKind
from analytics_core.places import Place
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import NO_VERDICT, Evidence, Verdict, first_verdict
from tests.postgres import operator_url

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

FEED = """<?xml version="1.0"?>
<rss version="2.0" xmlns:podcast="https://podcastindex.org/namespace/1.0"><channel>
<title>{title}</title><link>https://{host}/</link><language>en</language>
<podcast:guid>{guid}</podcast:guid>{items}</channel></rss>"""
ITEM = """<item><title>Episode {number}</title><guid>{host}-{number}</guid>
<pubDate>{number:02d} Nov 2026 06:00:00 GMT</pubDate>
<enclosure url="https://{host}/ep{number}.mp3?x=1" type="audio/mpeg" length="24000000"/></item>"""


def make_feed(number: int = 1, *, episodes: int = 2) -> bytes:
    """Write the feed of podcast *number* with its episodes."""
    host = f"cdn{number}.example.com"
    items = "".join(ITEM.format(host=host, number=episode) for episode in range(1, episodes + 1))
    guid = UUID(int=0x9B024349_CCF0_5F69_A609_000000000000 + number)
    return FEED.format(title=f"Podcast {number}", host=host, guid=guid, items=items).encode()


class Api:
    """A client that sends a key with every request."""

    def __init__(self, app: Litestar, http: httpx.AsyncClient, key: str) -> None:
        self.app = app
        self.http = http
        self.key = key

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, app: Litestar, key: str) -> AsyncIterator[Api]:
        # The application is called as a server would call it; only the socket is left out.
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # Litestar's scopes are narrower dicts
        async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as http:
            yield cls(app, http, key)

    async def request(
        self, method: str, path: str, *, key: str | None = None, headers: Mapping[str, str] | None = None, **given: Any
    ) -> httpx.Response:
        """Send a request, as another tenant with another *key*."""
        sent = {"Authorization": f"Bearer {key or self.key}", **(headers or {})}
        return await self.http.request(method, f"/api/v1{path}", headers=sent, **given)

    async def get(self, path: str, *, key: str | None = None, **query: Any) -> httpx.Response:
        """Send a GET; underscores behind a name are cut off, so that ``from_`` can be said."""
        params = {name.rstrip("_"): value for name, value in query.items()}
        return await self.request("GET", path, key=key, params=params)

    async def data(self, path: str, **query: Any) -> Any:
        """Read the body of an answer that has to be good."""
        answer = await self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refusal(self, path: str, *, key: str) -> httpx.Response:
        """Ask until a key that was changed behind the API's back is refused: word of it takes a moment."""
        async with asyncio.timeout(20):
            while (answer := await self.get(path, key=key)).status_code == 200:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        return answer

    async def until_refused(self, key: str) -> None:
        """Wait until the API has heard that the tenant of a key may not write any more."""
        async with asyncio.timeout(20):
            # A body with nothing in it writes nothing, whoever sends it.
            while (await self.request("POST", "/links", key=key, json={})).status_code == 422:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)

    async def add_podcast(self, number: int = 1, *, episodes: int = 2, key: str | None = None) -> dict[str, Any]:
        """Send the feed of podcast *number*."""
        answer = await self.request(
            "POST",
            "/podcasts",
            key=key,
            content=make_feed(number, episodes=episodes),
            headers={"Content-Type": "application/rss+xml"},
        )
        assert answer.status_code == 201, answer.text
        added: dict[str, Any] = answer.json()
        return added


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem of that status and code, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    claim = {"claim_id", "token", "expires_at"} if code == "podcast_taken" and "claim_id" in body else set()
    claim |= {"resets_at"} if code == "quota_exceeded" else set()
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id", "errors"} | claim
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def codes(answer: httpx.Response) -> set[tuple[str, str]]:
    """List what an answer finds fault with."""
    assert answer.status_code == 422, answer.text
    return {(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]}


async def unreachable() -> _Connection:
    """Stand for a database that nobody can listen to, so that every key is looked up."""
    raise Unavailable("nobody listens here")


class Ledger:
    """Writes as ingest does, by hand and in small."""

    def __init__(self, ingest: _Connection, auth: _Connection, operator: _Connection) -> None:
        self.ingest = ingest
        self.auth = auth
        self.operator = operator
        self.segment_no = 0
        self._ordinal = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, database: DatabaseSettings) -> AsyncIterator[Ledger]:
        ingest = await connect(database, Role.INGEST, application_name="test")
        auth = await connect(database, Role.AUTH, application_name="test")
        # What no service may do: the operator's own login.
        operator = await asyncpg.connect(operator_url(database))
        try:
            ledger = cls(ingest, auth, operator)
            ledger.segment_no = await ingest.fetchval(
                """insert into ops.segments (segment_id, source, created_at, committed)
                values (gen_random_uuid(), 'test', now(), 0) returning segment_no"""
            )
            yield ledger
        finally:
            await operator.close()
            await auth.close()
            await ingest.close()

    async def make_key(self, slug: str, *, is_installation: bool = False) -> str:
        """Make a tenant and a key of it."""
        row = await create_tenant(self.auth, slug=slug, name=slug, is_installation=is_installation)
        return await create_key(self.auth, row.tenant, name="test")

    async def suspend(self, slug: str) -> None:
        """Suspend a tenant, as the operator does."""
        await self.operator.execute("update app.tenants set status = 'suspended' where slug = $1", slug)

    async def end_others(self) -> None:
        """End every other connection to the database, as a restart of the server would."""
        await self.operator.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'castledger-api'"
        )

    async def somebody_waits(self) -> None:
        """Return once somebody waits for a lock."""
        for _ in range(2_000):
            if await self.operator.fetchval(
                "select count(*) from pg_locks l join pg_stat_activity a using (pid)"
                " where not l.granted and a.datname = current_database()"
            ):
                return
            await self.operator.execute("select pg_sleep(0.01)")
        raise AssertionError("nobody waits")

    async def tenant_of(self, slug: str) -> Tenant:
        """Find a tenant that was made."""
        row = await self.ingest.fetchrow("select tenant_id, tenant_no from app.tenants where slug = $1", slug)
        assert row is not None
        return Tenant(row["tenant_id"], row["tenant_no"])

    async def agent(self, user_agent: str, *, kind: int = 1, app: str = "Castaway", rule: str = "castaway") -> int:
        """Store a user agent."""
        number: int = await self.ingest.fetchval(
            """insert into ops.agents (agent_hash, user_agent, kind, app, device, rule, os, table_version)
            values (md5($1)::uuid, $1, $2, $3, 'phone', $4, 'iOS', 't') on conflict (agent_hash) do update set kind = $2
            returning agent_no""",
            user_agent,
            kind,
            app,
            rule,
        )
        return number

    async def place(self, place: Place) -> int:
        """Store a place."""
        return (await number_places(self.ingest, [place]))[place]

    async def land(
        self,
        at: str,
        episode_id: str | None,
        *,
        listener: int = 1,
        bits: int = 0,
        evidence: Evidence = Evidence.FULL,
        agent_no: int | None = None,
        podcast_id: str | None = None,
        byte_range: tuple[int, int, int] = (0, -1, -1),
        country: int = 0,
        place_no: int = 0,
        flags: int = 0,
        kind: HitKind = HitKind.REQUEST,
    ) -> str:
        """Land one hit, as the winner of its download when it is the first of its kind; returns its id."""
        moment = dt.datetime.fromisoformat(at)
        day = moment.astimezone(dt.UTC).date()
        if episode_id is not None:
            names = await self.ingest.fetchrow(
                "select tenant_no, podcast_no, episode_no from app.episodes where episode_id = $1", UUID(episode_id)
            )
        else:
            names = await self.ingest.fetchrow(
                "select tenant_no, podcast_no, 0 as episode_no from app.podcasts where podcast_id = $1",
                UUID(podcast_id or ""),
            )
        assert names is not None
        ordinal = self._ordinal
        self._ordinal += 1
        await self.ingest.execute("select ops.ensure_partitions(array[$1::date])", day)
        key = UUID(int=listener)
        is_click = kind is HitKind.CLICK
        verdict = NO_VERDICT if is_click else first_verdict(bits)
        agent_no = agent_no if agent_no is not None else await self.agent("Castaway/1.0")
        await self.ingest.execute(
            """insert into ts.listener_events (occurred_at, range_kind, range_first, range_last, listener_key,
                segment_no, ordinal, tenant_no, podcast_no, episode_no, agent_no, referrer_no, feed_app_no,
                verdict_bits, verdict, evidence, country, kind, method, flags, source, rules, place_no)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, $12, $13, $14, $15, $18, $16, $17, 1, 1,
                $19)""",
            moment,
            *byte_range,
            key,
            self.segment_no,
            ordinal,
            names["tenant_no"],
            0 if is_click else names["podcast_no"],
            names["episode_no"],
            agent_no,
            bits,
            int(verdict),
            int(evidence),
            country,
            1 if bits & Verdict.HEAD.bit else 0,
            flags,
            int(kind),
            place_no,
        )
        await self.ingest.execute(
            """update ops.segments set first_hit_at = least(first_hit_at, $2), last_hit_at = greatest(last_hit_at, $2)
            where segment_no = $1""",
            self.segment_no,
            moment,
        )
        if bits == 0 and not is_click:
            await self.ingest.execute(
                """insert into ts.downloads as d (day, episode_no, listener_key, occurred_at, segment_no, ordinal,
                    tenant_no, podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source,
                    place_no)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, $10, $11, 1, $12)
                on conflict (day, episode_no, listener_key) do update set occurred_at = excluded.occurred_at,
                    segment_no = excluded.segment_no, ordinal = excluded.ordinal, evidence = excluded.evidence
                    where excluded.evidence > d.evidence""",
                day,
                names["episode_no"],
                key,
                moment,
                self.segment_no,
                ordinal,
                names["tenant_no"],
                names["podcast_no"],
                agent_no,
                country,
                int(evidence),
                place_no,
            )
        return f"h_{self.segment_no:x}-{ordinal:x}"

    async def wait_for_episode(self, at: str, podcast_id: str, target: str, *, bits: int = 0) -> str:
        """Keep a hit whose episode is not known."""
        ordinal = self._ordinal
        self._ordinal += 1
        podcast = await self.ingest.fetchrow(
            "select tenant_no, podcast_no from app.podcasts where podcast_id = $1", UUID(podcast_id)
        )
        assert podcast is not None
        await self.ingest.execute(
            """insert into ops.pending_hits (segment_no, ordinal, occurred_at, tenant_no, podcast_no, enclosure_key,
                bare_key, file_name, target, k0, range_first, range_last, agent_no, referrer_no, feed_app_no,
                verdict_bits, country, kind, method, range_kind, flags, source)
            values ($1, $2, $3, $4, $5, gen_random_uuid(), gen_random_uuid(), 'x.mp3', $6, gen_random_uuid(), -1, -1, 0,
                0, 0, $7, 0, 1, 0, 0, 0, 1)""",
            self.segment_no,
            ordinal,
            dt.datetime.fromisoformat(at),
            podcast["tenant_no"],
            podcast["podcast_no"],
            target,
            bits | Verdict.UNKNOWN_EPISODE.bit,
        )
        return f"h_{self.segment_no:x}-{ordinal:x}"

    async def roll_up(self) -> None:
        """Sum all downloads up, as the refresher does."""
        await self.ingest.execute("delete from app.metrics_daily")
        await self.ingest.execute(
            """insert into app.metrics_daily (tenant_no, podcast_no, episode_no, day, dimension, key, downloads,
                downloads_strict, quarters, quarters_strict)
            select d.tenant_no, d.podcast_no, d.episode_no, d.day, x.dimension, x.key, count(*),
                count(*) filter (where d.evidence > 1),
                (select array_agg((select count(*) from unnest(array_agg(d.occurred_at)) o
                    where extract(hour from o)::int * 4 + extract(minute from o)::int / 15 = q)::int order by q)
                    from generate_series(0, 95) q),
                (select array_agg((select count(*) from unnest(
                        array_agg(d.occurred_at) filter (where d.evidence > 1)) o
                    where extract(hour from o)::int * 4 + extract(minute from o)::int / 15 = q)::int order by q)
                    from generate_series(0, 95) q)
            from ts.downloads d join ops.agents a using (agent_no) left join ops.places l using (place_no),
                lateral (values ('total', ''), ('app', a.app), ('os', a.os), ('region', coalesce(l.region, '')),
                ('city', coalesce(l.city, '')),
                ('country', case d.country when 0 then '' else chr(d.country / 256) || chr(d.country % 256) end))
                as x(dimension, key)
            group by d.tenant_no, d.podcast_no, d.episode_no, d.day, x.dimension, x.key"""
        )
        await self.ingest.execute(
            "select app.sum_up(array_agg(podcast_no), array_agg(episode_no), array_agg(day)) from ops.sum_marks"
        )
        await self.ingest.execute("delete from ops.sum_marks")

    async def set_cutoff(self, at: str) -> None:
        """Say that all hits before have landed."""
        await self.ingest.execute(
            """insert into ops.ingest_status (source, cutoff_at) values ('test', $1)
            on conflict (source) do update set cutoff_at = $1""",
            dt.datetime.fromisoformat(at),
        )

    async def finalise(self, slug: str, days: Sequence[str]) -> None:
        """Mark a tenant's days as final."""
        tenant = await self.tenant_of(slug)
        await self.ingest.executemany(
            "insert into ops.days (tenant_no, day, final_at) values ($1, $2, now())",
            [(tenant.tenant_no, dt.date.fromisoformat(day)) for day in days],
        )

    async def mark_dirty(self, episode_id: str, day: str) -> None:
        """Mark an episode's day as not summed up yet."""
        await self.ingest.execute(
            """insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)
            select tenant_no, podcast_no, episode_no, $2 from app.episodes where episode_id = $1""",
            UUID(episode_id),
            dt.date.fromisoformat(day),
        )


def lines_of(stream: io.StringIO) -> list[str]:
    """List what was logged."""
    return stream.getvalue().splitlines()
