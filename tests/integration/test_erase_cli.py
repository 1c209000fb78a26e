"""``castledger erase``: a listener or a podcast erased by command, and the records of it looked at."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import asyncpg
import pytest

from analytics_core.db.pool import connect, connection, open_pool, tenant_transaction
from analytics_core.db.tenant_states import close_tenant
from analytics_core.db.tenants import create_tenant
from analytics_core.event_pages import customer_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from ingest.closings import erase_closed
from tests.factories import MadePodcast, make_episode, make_podcast, make_tenant
from tests.postgres import operator_url

KEY = UUID(int=7)
NOBODY = "019abc00-0000-7000-8000-000000000000"
Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    database: DatabaseSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run an action; its exit code, and what it said on both streams."""
    monkeypatch.setenv("DATABASE_URL", str(database.url))

    def run_it(*arguments: str) -> tuple[int, str, str]:
        code = main(["erase", *arguments, "--data-dir", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out.strip(), said.err.strip()

    return run_it


async def _store(database: DatabaseSettings) -> None:
    """Two hits of a listener and one of another."""
    tenant = await make_tenant(database, "studio")
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("select ops.ensure_partitions(array['2026-11-02']::date[])")
    await conn.execute("insert into ops.days (tenant_no, day) values ($1, '2026-11-02')", int(tenant.tenant_no))
    await conn.execute(
        "insert into ops.segments (segment_id, source, created_at, committed, first_hit_at, last_hit_at)"
        " values (gen_random_uuid(), 't', now(), 0, '2026-11-02 10:00Z', '2026-11-02 12:00Z')"
    )
    await conn.execute(
        "insert into ts.listener_events select '2026-11-02 11:00Z', 0, 0, k, segment_no, o, $1, 1, 1, 0, 0, 0, 0, 1, 0,"
        " 0, 0, 0, 0, 0, 1, 1 from ops.segments, unnest($2::uuid[], array[0, 1, 2]) as n(k, o)",
        int(tenant.tenant_no),
        [KEY, KEY, UUID(int=8)],
    )
    await conn.close()


async def _on_record(database: DatabaseSettings) -> list[tuple[str, str, str]]:
    conn = await asyncpg.connect(operator_url(database))
    rows = await conn.fetch("select actor, action, resource_id, after::text as said from app.audit_log")
    await conn.close()
    assert not any(KEY.hex in row["said"] or "h_1-1" in row["said"] for row in rows)
    return [(row["actor"], row["action"], row["resource_id"]) for row in rows]


@pytest.mark.parametrize("named", [["h_1-1"], [KEY.hex, "--month", "2026-11"]], ids=["hit", "key"])
def test_a_listener_is_erased_by_command_and_the_record_can_be_checked(
    named: list[str], database: DatabaseSettings, run: Run
) -> None:
    asyncio.run(_store(database))
    of = ("--tenant", "studio")
    assert run("ls", *of) == (0, "", "there is no erasure of studio yet")
    code, said, _ = run("listener", *named, *of)
    assert code == 0
    record = json.loads(said)
    assert record["removed"] == {"hits": 2, "clicks": 0, "downloads": 0, "pending_hits": 0, "spikes": 0}
    assert record["whole"] is True
    assert KEY.hex not in said
    assert json.loads(run("ls", *of)[1]) == record
    assert run("verify", record["erasure_id"], *of)[:1] == (0,)
    assert run("verify", record["erasure_id"], "--key", KEY.hex, *of)[:1] == (0,)
    assert run("verify", record["erasure_id"], "--key", UUID(int=8).hex, *of)[:1] == (1,)
    assert asyncio.run(_on_record(database)) == [("command", "erasure.create", record["erasure_id"])]


async def _sell(database: DatabaseSettings) -> UUID:
    """Two purchases of a customer and one of another; return the first one's key."""
    tenant = await make_tenant(database, "studio")
    secret = bytes(range(32))
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("insert into ops.event_secrets (tenant_no, secret) values ($1, $2)", tenant.tenant_no, secret)
    await conn.execute("select ops.ensure_event_partitions(array['2026-11-02']::date[])")
    await conn.execute(
        "insert into ts.attribution_events (received_at, occurred_at, event_id, tenant_no, source, type, customer_key,"
        " agent_no, asn, country, networks, is_bot)"
        " select '2026-11-02 11:00Z', '2026-11-02 11:00Z', gen_random_uuid(), $1, 0, 'purchase', k, 0, 0, 0, 0, false"
        " from unnest($2::uuid[]) as k",
        tenant.tenant_no,
        [customer_key(name, secret) for name in ("u_1", "u_1", "u_2")],
    )
    await conn.close()
    return customer_key("u_1", secret)


def test_a_customer_is_erased_by_command_and_the_record_can_be_checked(database: DatabaseSettings, run: Run) -> None:
    key = asyncio.run(_sell(database))
    of = ("--tenant", "studio")
    for _ in range(2):
        assert json.loads(run("customer", "u_1", "--dry-run", *of)[1]) == {
            "customer_key": key.hex,
            "would_remove": {"events": 2, "signals": 0, "conversions": 0, "touches": 0},
        }
    code, said, _ = run("customer", "u_1", *of)
    record = json.loads(said)
    assert (code, record["kind"], record["whole"]) == (0, "customer", True)
    assert record["removed"] == {"events": 2, "signals": 0, "conversions": 0, "touches": 0}
    assert "u_1" not in said
    assert key.hex not in said
    assert run("verify", record["erasure_id"], "--customer", key.hex, *of)[0] == 0
    assert run("verify", record["erasure_id"], "--key", key.hex, *of)[0] == 1
    assert json.loads(run("customer", "u_2", "--dry-run", *of)[1])["would_remove"]["events"] == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["customer", "u_1", "--tenant", "nobody"], "there is no tenant 'nobody'"),
        (["customer", "u_1", "--tenant", "studio"], "no event of it has landed that named one"),
        (["customer", "", "--tenant", "studio"], "CUSTOMER_ID: has 1 to 128 characters"),
        (["listener", "h_1-1", "--tenant", "nobody"], "there is no tenant 'nobody'"),
        (["listener", "h_9-9", "--tenant", "studio"], "no such hit"),
        (["listener", "h_x", "--tenant", "studio"], "a hit id looks like"),
        (["listener", "xyz", "--month", "2026-11", "--tenant", "studio"], "32 hexadecimal digits"),
        (["listener", KEY.hex, "--tenant", "studio"], "--month"),
        (["listener", KEY.hex, "--month", "2026-13", "--tenant", "studio"], "--month"),
        (["verify", str(KEY), "--tenant", "studio"], "no such erasure"),
        (["verify", str(KEY), "--podcast", "7", "--tenant", "studio"], "--podcast: an id is such as"),
        (["podcast", "7", "--tenant", "studio"], "PODCAST_ID: an id is such as"),
        (["podcast", NOBODY, "--tenant", "studio"], "no such podcast of this tenant"),
        (["podcast", NOBODY, "--tenant", "nobody", "--yes"], "there is no tenant 'nobody'"),
    ],
)
def test_what_cannot_be_erased_is_named(
    arguments: list[str], complaint: str, database: DatabaseSettings, run: Run
) -> None:
    asyncio.run(make_tenant(database, "studio"))
    code, said, complained = run(*arguments)
    assert code in (1, 2)
    assert said == ""
    assert complaint in complained


@pytest.fixture
def podcast(database: DatabaseSettings) -> MadePodcast:
    """A podcast of the tenant `studio`, with two episodes."""

    async def store() -> MadePodcast:
        tenant = await make_tenant(database, "studio")
        return await make_podcast(database, tenant, make_episode("a"), make_episode("b"))

    return asyncio.run(store())


def test_a_podcast_is_erased_by_command_and_the_record_can_be_checked(podcast: MadePodcast, run: Run) -> None:
    of, named = ("--tenant", "studio"), str(podcast.podcast_id)
    code, said, _ = run("podcast", named, "--dry-run", *of)
    looked = json.loads(said)
    assert (code, looked["title"]) == (0, "Podcast")
    assert {what: count for what, count in looked["would_remove"].items() if count} == {
        "podcasts": 1,
        "episodes": 2,
        "enclosures": 2,
        "enclosure_owners": 2,
    }
    assert run("ls", *of)[1] == ""
    code, said, _ = run("podcast", named, "--yes", *of)
    record = json.loads(said)
    assert (code, record["whole"], record["kind"], record["month"]) == (0, True, "podcast", None)
    assert (record["removed"]["podcasts"], record["removed"]["episodes"]) == (1, 2)
    assert named not in said
    # Once more it is the same, and there is nothing to confirm.
    assert json.loads(run("podcast", named, *of)[1]) == record
    assert json.loads(run("podcast", named, "--dry-run", *of)[1]) == {"title": None, "would_remove": {}}
    assert json.loads(run("ls", *of)[1]) == record
    assert run("verify", record["erasure_id"], "--podcast", named, *of)[:1] == (0,)
    assert run("verify", record["erasure_id"], "--podcast", NOBODY, *of)[:1] == (1,)


async def _close(database: DatabaseSettings) -> UUID:
    """Let a tenant be closed, and its time be over."""
    tenant = await make_tenant(database, "studio")
    auth = await connect(database, Role.AUTH, application_name="test")
    await create_tenant(auth, slug="home", name="Home", is_installation=True)
    await auth.close()
    now = dt.datetime(2026, 11, 2, tzinfo=dt.UTC)
    api = await open_pool(database, Role.API, application_name="test", max_size=1)
    async with tenant_transaction(api, tenant) as conn:
        await close_tenant(conn, tenant.tenant_id, by="tenant", now=now, grace=dt.timedelta())
    api.terminate()
    ingest = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    async with connection(ingest) as conn:
        assert await erase_closed(conn, ingest, database, now=now) == {"done": 1, "left": 0}
    ingest.terminate()
    return UUID(int=tenant.tenant_id.int)


def test_the_record_of_a_closed_tenant_is_the_installations_and_can_be_checked(
    database: DatabaseSettings, run: Run
) -> None:
    tenant_id = asyncio.run(_close(database))
    record = json.loads(run("ls", "--tenant", "home")[1])
    assert (record["kind"], record["whole"], record["removed"]["tenant"]) == ("tenant", True, 1)
    assert str(tenant_id) not in json.dumps(record)
    verify = ("verify", record["erasure_id"], "--tenant", "home")
    assert run(*verify, "--closed-tenant", str(tenant_id))[0] == 0
    assert run(*verify, "--closed-tenant", NOBODY)[0] == 1
    assert run(*verify, "--podcast", str(tenant_id))[0] == 1


@pytest.mark.parametrize(("typed", "code"), [("Podcast", 0), ("Podcasts", 2)])
def test_at_a_terminal_the_title_is_typed(
    typed: str, code: int, podcast: MadePodcast, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        os.write(ours, f"{typed}\n".encode())
        done, said, asked = run("podcast", str(podcast.podcast_id), "--tenant", "studio")
    os.close(ours)
    assert done == code
    assert "Type its title to erase it" in asked
    assert (said != "") == (code == 0)
    if code:
        assert "title: is not the podcast's: nothing was erased" in asked
        assert run("ls", "--tenant", "studio")[1] == ""


def test_where_nobody_is_at_a_terminal_nothing_is_erased_without_being_told_to(
    podcast: MadePodcast, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        code, said, complained = run("podcast", str(podcast.podcast_id), "--tenant", "studio")
    assert (code, said) == (2, "")
    assert complained.partition(": ")[2].startswith("--yes: is needed")
