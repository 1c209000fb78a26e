"""From a collector's spool to the ledger: what lands of events, once, whatever happens."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from analytics_core.addresses import pack_address
from analytics_core.db.customer_erasure import find_customer_secret
from analytics_core.db.erasure import erase_tenant
from analytics_core.db.erasure_requests import ask_for_customer, list_erasures
from analytics_core.db.ledger import read_accounts
from analytics_core.db.pool import Connection, Tenant, connect, open_pool, tenant_transaction
from analytics_core.db.segments import read_cutoff
from analytics_core.erasures import is_about
from analytics_core.errors import Unavailable
from analytics_core.event_pages import customer_key
from analytics_core.events import EventSource
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.erasures import work_off
from ingest.retention import drop_old
from tests.event_factories import event_segment_bytes, make_event, write_event_segment
from tests.event_ledgers import Events
from tests.factories import (
    make_episode,
    make_header,
    make_hit,
    make_podcast,
    make_tenant,
    micros,
    write_segment,
)
from tests.integration.ingest.erasing import Eraser
from tests.ledgers import NOW, Ledger, minute
from tests.sponsorships import sell

pytestmark = pytest.mark.anyio

_DAY = dt.timedelta(days=1)
BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)


@pytest.fixture
def events(ledger: Ledger) -> Events:
    return Events(ledger)


@pytest.fixture
async def tenant(database: DatabaseSettings) -> Tenant:
    return await make_tenant(database)


@pytest.fixture
async def other_conn(database: DatabaseSettings) -> AsyncIterator[Connection]:
    conn = await connect(database, Role.INGEST, application_name="other")
    yield conn
    conn.terminate()


async def test_all_that_a_server_told_lands_but_for_who_it_was(events: Events, tenant: Tenant) -> None:
    click_id = uuid4()
    event = make_event(
        tenant.tenant_no,
        occurred_us=micros(NOW - _DAY),
        click_id=click_id,
        promo_code="SAVE20",
        link="offer",
        customer_id="u_123",
        external_id="order-77",
        value_amount=4999,
        currency="EUR",
        new_customer=True,
        url="https://www.Shop.example.com/thanks?utm_source=pod&utm_campaign=x&email=me@example.com",
        referrer="https://pay.example.net/done?card=1",
        properties={"plan": "pro", "seats": 3, "ratio": 0.5, "trial": False, "note": None},
    )
    # Where a server is says nothing about anybody.
    write_event_segment(events.folder, [(minute(1), event)], address=pack_address("81.2.69.142"))
    assert await events.ship_all() == 1
    (row,) = await events.rows()
    secret = await events.ledger.conn.fetchval("select secret from ops.event_secrets")
    assert row == {
        "received_at": minute(1),
        "occurred_at": NOW - _DAY,
        "event_id": event.event_id,
        "tenant_no": tenant.tenant_no,
        "source": EventSource.SERVER,
        "type": "purchase",
        "click_id": click_id,
        "promo_code": "SAVE20",
        "link": "offer",
        "customer_key": customer_key("u_123", secret),
        "external_id": "order-77",
        "value_amount": 4999,
        "currency": "EUR",
        "new_customer": True,
        "page_host": "shop.example.com",
        "page_path": "/thanks",
        "referrer_host": "pay.example.net",
        "utm": {"source": "pod", "campaign": "x"},
        "properties": {"plan": "pro", "seats": 3, "ratio": 0.5, "trial": False, "note": None},
        "agent_no": 0,
        "asn": 0,
        "country": 0,
        "networks": 0,
        "is_bot": False,
    }
    assert await events.accounts() == {"answered": 1, "event": 1}
    assert list(events.folder.iterdir()) == []


async def test_the_least_that_an_event_is_lands(events: Events, tenant: Tenant) -> None:
    write_event_segment(events.folder, [(minute(1), make_event(tenant.tenant_no, type="trial_started"))])
    await events.ship_all()
    (row,) = await events.rows()
    assert {name for name, value in row.items() if value is None} == {
        *("click_id", "promo_code", "link", "customer_key", "external_id", "value_amount", "currency", "new_customer"),
        *("page_host", "page_path", "referrer_host", "utm", "properties"),
    }


async def test_a_browser_is_told_by_its_kind(events: Events, tenant: Tenant) -> None:
    told = [
        (minute(1), make_event(tenant.tenant_no, source=EventSource.BROWSER, agent=BROWSER, type="page_view")),
        (minute(2), make_event(tenant.tenant_no, source=EventSource.PIXEL, agent="Googlebot/2.1", type="page_view")),
    ]
    write_event_segment(events.folder, told, address=pack_address("192.0.2.1"))
    await events.ship_all()
    rows = {row["source"]: row for row in await events.rows()}
    assert [rows[source]["is_bot"] for source in (EventSource.BROWSER, EventSource.PIXEL)] == [False, True]
    agents = await events.ledger.conn.fetch(
        "select user_agent from ops.agents where agent_no = any($1)", [row["agent_no"] for row in rows.values()]
    )
    assert {row["user_agent"] for row in agents} == {BROWSER, "Googlebot/2.1"}
    # No address, in whatever form, is in the row.
    assert all(b"192.0.2.1" not in str(row).encode() for row in rows.values())


async def test_an_event_that_is_sent_again_lands_once(
    events: Events, tenant: Tenant, database: DatabaseSettings
) -> None:
    two = await make_tenant(database, "two")
    event = make_event(tenant.tenant_no, occurred_us=micros(NOW - 80 * _DAY))
    theirs = make_event(two.tenant_no, event.event_id)
    write_event_segment(events.folder, [(minute(1), event), (minute(1), event), (minute(2), theirs)])
    await events.ship_all()
    # The same on another day, through another collector.
    write_event_segment(events.folder, [(minute(3) + 5 * _DAY, event)], source="collector-1")
    events.ledger.clock.advance(5 * _DAY)
    await events.ship_all()
    assert [(row["tenant_no"], row["received_at"]) for row in await events.rows()] == [
        (tenant.tenant_no, minute(1)),
        (two.tenant_no, minute(2)),
    ]
    accounts = await read_accounts(events.ledger.conn, start=NOW - _DAY, end=NOW + 9 * _DAY)
    assert accounts == {"answered": 4, "event": 2, "duplicate": 2}


async def test_two_shippers_of_one_spool_land_it_once(events: Events, tenant: Tenant, other_conn: Connection) -> None:
    told = [(minute(number), make_event(tenant.tenant_no)) for number in range(30)]
    write_event_segment(events.folder, told, frame_events=10)
    first, second = events.make_shipper(batch_events=10), events.make_shipper(batch_events=30)
    for shipper in (first, second):
        await shipper._walker.look(events.ledger.conn)
    assert (await first.ship(events.ledger.conn)).hits == 10
    assert await second.ship(other_conn) == (0, False, False)
    assert events.ledger.metrics.event_batches.labels("fenced")._value.get() == 1
    await events.ship_all(shipper=second, conn=other_conn)
    await events.ship_all(shipper=first)
    assert await events.ids() == {event.event_id for _, event in told}
    assert await events.accounts() == {"answered": 30, "event": 30}


async def test_two_collectors_of_one_event_at_once(events: Events, tenant: Tenant, other_conn: Connection) -> None:
    told = [(minute(number % 60), make_event(tenant.tenant_no)) for number in range(200)]
    others = events.make_shipper(batch_events=20)
    others._walker._spool.folder = events.folder.with_name("others")
    shuffled = random.Random(1).sample(told, len(told))
    write_event_segment(events.folder, told, frame_events=20)
    write_event_segment(events.folder.with_name("others"), shuffled, source="collector-1", frame_events=20)
    await asyncio.gather(
        events.ship_all(shipper=events.make_shipper(batch_events=20)),
        events.ship_all(shipper=others, conn=other_conn),
    )
    assert await events.ids() == {event.event_id for _, event in told}
    assert len(await events.rows()) == 200
    assert await events.accounts() == {"answered": 400, "event": 200, "duplicate": 200}


async def test_a_crash_before_the_commit_loses_nothing_and_doubles_nothing(
    events: Events, tenant: Tenant, database: DatabaseSettings
) -> None:
    told = [(minute(number), make_event(tenant.tenant_no, customer_id=f"u_{number}")) for number in range(50)]
    write_event_segment(events.folder, told, frame_events=10)
    # Whatever writes the ledger is shut out: the batch has rows and ids, and its transaction does not end.
    superuser = await asyncpg.connect(str(database.url))
    blocking = superuser.transaction()
    await blocking.start()
    await superuser.execute("lock table ops.ledger_minutes in access exclusive mode")
    doomed = await connect(database, Role.INGEST, application_name="doomed")
    pid = doomed.get_server_pid()
    task = asyncio.create_task(events.make_shipper().ship(doomed))
    watcher = await asyncpg.connect(str(database.url))
    while not await watcher.fetchval("select count(*) from pg_locks where pid = $1 and not granted", pid):
        await watcher.execute("select pg_sleep(0.01)")
    await watcher.execute("select pg_terminate_backend($1)", pid)
    with pytest.raises(Unavailable):
        await task
    await blocking.rollback()
    await superuser.close()
    await watcher.close()
    assert await events.rows() == []
    assert await events.ship_all() == 50
    assert await events.ids() == {event.event_id for _, event in told}
    assert await events.accounts() == {"answered": 50, "event": 50}


async def test_one_that_the_database_refuses_is_buried_and_the_others_land(events: Events, tenant: Tenant) -> None:
    good = [(minute(number), make_event(tenant.tenant_no)) for number in range(40)]
    nul = make_event(tenant.tenant_no, properties={"a": "\x00"}, customer_id="u_1", agent="x")
    huge = make_event(tenant.tenant_no, value_amount=10**19, currency="EUR")
    bare = make_event(tenant.tenant_no, value_amount=1)
    told = [*good, (minute(7), nul), (minute(8), huge), (minute(9), bare)]
    random.Random(3).shuffle(told)
    write_event_segment(events.folder, told)
    await events.ship_all()
    assert await events.ids() == {event.event_id for _, event in good}
    letters = await events.ledger.conn.fetch("select * from ops.dead_letters")
    assert {(row["tenant_no"], row["step"], row["target"]) for row in letters} == {
        (tenant.tenant_no, "land", f"purchase {event.event_id}") for event in (nul, huge, bare)
    }
    assert all("u_1" not in str(dict(row)) for row in letters)
    assert await events.accounts() == {"answered": 43, "event": 40, "dead": 3}


async def test_a_record_of_another_form_is_buried(events: Events, tenant: Tenant) -> None:
    write_event_segment(events.folder, [(minute(1), b"\xc1"), (minute(2), make_event(tenant.tenant_no))])
    await events.ship_all()
    letters = await events.ledger.conn.fetch("select step, ordinal, tenant_no from ops.dead_letters")
    assert [tuple(row) for row in letters] == [("judge", 0, None)]
    assert await events.accounts() == {"answered": 2, "event": 1, "dead": 1}


async def test_a_flipped_bit_costs_its_frame_and_is_told(events: Events, tenant: Tenant) -> None:
    told = [(minute(number), make_event(tenant.tenant_no)) for number in range(30)]
    path = write_event_segment(events.folder, told, frame_events=10)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    await events.ship_all()
    assert await events.ids() == {event.event_id for _, event in told[:10] + told[20:]}
    assert await events.accounts() == {"answered": 30, "event": 20, "lost:damaged": 10}
    # What is left of it is kept for people to look at.
    assert [kept.suffix for kept in events.folder.iterdir()] == [".damaged"]


async def test_hits_among_events_are_set_aside(events: Events, tenant: Tenant) -> None:
    write_segment(events.folder, [make_hit(minute(1))], source="tracker-0")
    write_event_segment(events.folder, [(minute(2), make_event(tenant.tenant_no))])
    await events.ship_all()
    assert len(await events.rows()) == 1
    assert [kept.suffix for kept in events.folder.iterdir()] == [".damaged"]


async def test_a_living_collectors_segment_is_followed(events: Events, tenant: Tenant) -> None:
    told = [(minute(number), make_event(tenant.tenant_no)) for number in range(6)]
    header = make_header("collector-0", created_us=micros(minute(0)))
    whole = event_segment_bytes(header, told, frame_events=3, sealed=False)
    path = write_event_segment(events.folder, told[:3], segment_id=header.segment_id, frame_events=3, sealed=False)
    assert whole.startswith(path.read_bytes())
    assert (await events.shipper.ship(events.ledger.conn)).hits == 3
    path.write_bytes(whole)
    assert (await events.shipper.ship(events.ledger.conn)).hits == 3
    await events.ship_all()
    assert len(await events.rows()) == 6


async def test_events_of_a_tenant_that_is_gone_do_not_land(
    events: Events, tenant: Tenant, database: DatabaseSettings
) -> None:
    doomed = await make_tenant(database, "doomed")
    told = [(minute(1), make_event(number, customer_id="u")) for number in (tenant.tenant_no, doomed.tenant_no)]
    write_event_segment(events.folder, told)
    await events.ship_all()
    owner = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    async with tenant_transaction(owner, doomed) as conn:
        removed = await erase_tenant(conn, doomed)
    await owner.close()
    assert (removed["events"], removed["event_ids"], removed["event_secrets"]) == (1, 1, 1)
    late = [(minute(2), make_event(number, customer_id="u")) for number in (tenant.tenant_no, doomed.tenant_no)]
    write_event_segment(events.folder, late)
    await events.ship_all()
    assert {row["tenant_no"] for row in await events.rows()} == {tenant.tenant_no}
    assert await events.ledger.conn.fetchval("select array_agg(tenant_no) from ops.event_secrets") == [tenant.tenant_no]
    assert await events.accounts() == {"answered": 4, "event": 3, "lost:no_tenant": 1}


async def test_how_far_hits_have_landed_does_not_wait_for_events(
    events: Events, tenant: Tenant, eraser: Eraser
) -> None:
    write_event_segment(events.folder, [(minute(2), make_event(tenant.tenant_no))])
    await events.ship_all()
    later = NOW + dt.timedelta(hours=1)
    events.ledger.clock.advance(later - NOW)
    write_segment(events.ledger.folder, [make_hit(minute(1))])
    await events.ledger.ship_all()
    rows = await events.ledger.conn.fetch("select source, cutoff_at from ops.ingest_status order by source")
    assert [tuple(row) for row in rows] == [("events", NOW), ("spool", later)]
    assert await read_cutoff(events.ledger.conn) == later
    async with tenant_transaction(eraser.api, tenant) as conn:
        assert await conn.fetchval("select cutoff_at from api.cutoff") == later


async def test_events_go_when_their_time_is_over_and_their_ids_when_nobody_sends_them_any_more(
    events: Events, tenant: Tenant, database: DatabaseSettings
) -> None:
    short = await make_tenant(database, "short")
    superuser = await asyncpg.connect(str(database.url))
    await superuser.execute("update app.tenants set retention_hits_days = 30 where tenant_no = $1", short.tenant_no)
    await superuser.close()
    told = [
        (NOW - age * _DAY, make_event(whose.tenant_no, type=f"aged_{age}", occurred_us=micros(NOW - age * _DAY)))
        for age in (0, 29, 31, 45, 200, 800)
        for whose in (tenant, short)
    ]
    write_event_segment(events.folder, told)
    await events.ship_all()

    async def run(now: dt.datetime) -> dict[str, int]:
        gone = await drop_old(events.ledger.conn, now=now, hits_months=25)
        return {what: count for what, count in gone.items() if count}

    assert await run(NOW) == {"days of events": 1, "events": 3, "ids of events": 4}
    assert [(row["tenant_no"], row["type"]) for row in await events.rows()] == [
        *((tenant.tenant_no, f"aged_{age}") for age in (200, 45, 31, 29, 0)),
        *((short.tenant_no, f"aged_{age}") for age in (29, 0)),
    ]
    assert await run(NOW) == {}
    assert await run(NOW + 180 * _DAY) == {"events": 2, "ids of events": 6}
    assert await run(NOW + 181 * _DAY) == {"ids of events": 2}


async def test_events_that_are_read_keep_the_job_waiting_for_a_moment_only(
    events: Events, tenant: Tenant, database: DatabaseSettings
) -> None:
    write_event_segment(events.folder, [(NOW - 800 * _DAY, make_event(tenant.tenant_no))])
    await events.ship_all()
    superuser = await asyncpg.connect(str(database.url))
    async with superuser.transaction():
        await superuser.execute("lock table ts.attribution_events in access share mode")
        gone = await drop_old(events.ledger.conn, now=NOW, hits_months=25)
    await superuser.close()
    assert gone["days of events"] == 0
    assert (await drop_old(events.ledger.conn, now=NOW, hits_months=25))["days of events"] == 1


async def test_a_customer_is_erased_with_proof_and_does_not_come_back(
    events: Events, tenant: Tenant, database: DatabaseSettings, eraser: Eraser
) -> None:
    two = await make_tenant(database, "two")
    told = [
        (NOW - age * _DAY, make_event(whose.tenant_no, customer_id=name))
        for age in (0, 40, 400)
        for whose in (tenant, two)
        for name in ("u_1", "u_2", None)
    ]
    write_event_segment(events.folder, told)
    await events.ship_all()
    secret = await find_customer_secret(events.ledger.conn, tenant.tenant_no)
    assert secret is not None
    key = customer_key("u_1", secret)
    podcast = await make_podcast(database, tenant, make_episode("a"))
    await sell(database, podcast, customer_key=key)
    await sell(database, podcast, name="Other", code="OTHER", in_slot=False)
    async with tenant_transaction(eraser.api, tenant) as conn:
        stored = await ask_for_customer(conn, tenant, key, now=NOW)
        assert await ask_for_customer(conn, tenant, key, now=NOW) == stored
    assert await work_off(events.ledger.conn, eraser.ingest, now=NOW) == {"done": 1, "left": 0}
    assert len(await events.rows()) == 15
    assert key not in {row["customer_key"] for row in await events.rows()}
    async with tenant_transaction(eraser.api, tenant) as conn:
        (proof,) = await list_erasures(conn, tenant)
        assert await conn.fetchval("select count(*) from app.erasure_requests") == 0
    assert proof.is_whole
    assert proof.record.kind == "customer"
    assert (proof.record.removed, proof.record.remaining) == (
        {"events": 3, "signals": 1, "conversions": 1, "touches": 1},
        {"events": 0, "signals": 0, "conversions": 0, "touches": 0},
    )
    assert is_about(proof.record, key.bytes)
    # The money stays, and the other customer.
    kept = await events.ledger.conn.fetch("select customer_key, click_id, value_amount from app.conversions order by 1")
    assert [(row["customer_key"] is None, row["click_id"] is None, row["value_amount"]) for row in kept] == [
        (False, False, 4900),
        (True, True, 4900),
    ]
    assert await events.ledger.count("app.customer_signals") == 1
    # Sent again, by a client that never heard of it, it stays away.
    write_event_segment(events.folder, told, source="collector-1")
    await events.ship_all()
    assert len(await events.rows()) == 15
    # What is new of the same customer is asked for anew.
    write_event_segment(events.folder, [(minute(9), make_event(tenant.tenant_no, customer_id="u_1"))])
    await events.ship_all()
    assert len(await events.rows()) == 16


async def test_any_order_and_any_repetition_makes_the_same_rows(events: Events, tenant: Tenant) -> None:
    rng = random.Random(7)
    told = [
        (minute(rng.randrange(60)) - rng.randrange(100) * _DAY, make_event(tenant.tenant_no, customer_id=f"u_{n % 9}"))
        for n in range(120)
    ]
    expected: list[dict[str, Any]] | None = None
    for seed in range(6):
        rng = random.Random(seed)
        for table in ("ts.attribution_events", "ops.event_ids", "ops.ledger_minutes"):
            await events.ledger.conn.execute(f"delete from {table}")
        batches = [told[at : at + 20] for at in range(0, len(told), 20)]
        batches += rng.sample(batches, rng.randrange(len(batches)))
        rng.shuffle(batches)
        for number, batch in enumerate(batches):
            write_event_segment(
                events.folder, batch, source=f"collector-{number % 3}", frame_events=rng.randrange(1, 9)
            )
            if rng.random() < 0.5:
                await events.ship_all(shipper=events.make_shipper(batch_events=rng.randrange(1, 40)))
        await events.ship_all(shipper=events.make_shipper(batch_events=rng.randrange(1, 40)))
        rows = await events.rows()
        expected = expected or rows
        assert rows == expected
        assert (await events.accounts())["event"] == 120
