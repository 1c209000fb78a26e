"""From events that have landed to conversions: whose, once, whoever dies; refunds in whatever order they come."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from analytics_core.attribution.counting import Adjustment, last_word
from analytics_core.conversions import ActionCategory
from analytics_core.db.conversion_actions import ActionFields, ActionRow, add_action, archive_action, hold_action
from analytics_core.db.links import Click, add_clicks, add_link, get_link
from analytics_core.db.pool import CONNECTION_LOST, Connection, Pool, Tenant, connect, open_pool, tenant_transaction
from analytics_core.db.sponsors import SponsorFields, add_sponsor, merge_sponsors
from analytics_core.event_conversions import Outcome
from analytics_core.events import EventSource
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.event_conversions import convert_events
from ingest.retention import INTAKE_DAYS, SIGNAL_DAYS, drop_old
from tests.event_factories import make_event, write_event_segment
from tests.event_ledgers import Events
from tests.factories import make_tenant, micros
from tests.ledgers import NOW, Ledger, minute

pytestmark = pytest.mark.anyio

_DAY = dt.timedelta(days=1)


class World:
    """A tenant with sponsors, and what its events become."""

    def __init__(self, events: Events, tenant: Tenant, pool: Pool) -> None:
        self.events = events
        self.tenant = tenant
        self.pool = pool
        self.conn = events.ledger.conn

    async def sponsor(self, name: str, *, domain: str | None = None, **action: Any) -> ActionRow:
        """Make a sponsor with one action, by default of purchases."""
        given = {"name": "Purchase", "category": ActionCategory.PURCHASE, "event_type": "purchase", **action}
        async with tenant_transaction(self.pool, self.tenant) as conn:
            row = await add_sponsor(conn, self.tenant, SponsorFields(name=name, domain=domain), now=NOW)
            return await add_action(conn, self.tenant, row.sponsor_id, ActionFields(**given), now=NOW)

    async def link(self, slug: str, sponsor_id: UUID | None) -> UUID:
        """Make a link, and a click on it."""
        async with tenant_transaction(self.pool, self.tenant) as conn:
            link_id = await add_link(
                conn,
                self.tenant,
                slug=slug,
                url="https://shop.example.com/",
                utm={},
                click_id=True,
                sponsor_id=sponsor_id,
                now=NOW,
            )
            assert link_id is not None
            assert await get_link(conn, link_id) is not None
        click_id = uuid4()
        link_no = await self.conn.fetchval("select link_no from app.links where link_id = $1", link_id)
        clicks = await self.conn.fetchval("select count(*) from app.clicks")
        await self.conn.execute(
            """insert into ops.segments (segment_id, source, created_at, committed)
            values ($1, 'test', now(), 0)""",
            uuid4(),
        )
        segment_no = await self.conn.fetchval("select max(segment_no) from ops.segments")
        click = Click(self.tenant.tenant_no, link_no, NOW - _DAY, segment_no, clicks, False, click_id)
        await add_clicks(self.conn, [click])
        return click_id

    async def land(self, *told: dict[str, Any]) -> list[UUID]:
        """Land events; return their ids."""
        made = [make_event(self.tenant.tenant_no, **one) for one in told]
        write_event_segment(self.events.folder, [(minute(1), one) for one in made], source=f"c-{uuid4().hex[:8]}")
        await self.events.ship_all()
        return [one.event_id for one in made]

    async def convert(self, **more: Any) -> dict[str, int]:
        """Decide about all that is due."""
        total: Counter[Outcome] = Counter()
        while outcomes := await convert_events(self.conn, clock=self.events.ledger.clock, **more):
            total += outcomes
        return {outcome.value: count for outcome, count in total.items()}

    async def rows(self, table: str = "conversions") -> list[dict[str, Any]]:
        return [dict(row) for row in await self.conn.fetch(f"select * from app.{table} order by 1, 2")]

    async def marks(self) -> int:
        return int(await self.conn.fetchval("select count(*) from ops.event_marks"))

    async def intake(self) -> dict[tuple[str, str, UUID | None], int]:
        """What was counted, by type, outcome and sponsor; all of it was received on one day."""
        rows = await self.rows("event_intake")
        assert len({row["day"] for row in rows}) <= 1
        return {(row["type"], row["outcome"], row["sponsor_id"]): row["events"] for row in rows}

    async def worth(self) -> dict[str, int | None]:
        """What each conversion is worth, by its name."""
        adjustments = await self.rows("conversion_adjustments")
        return {
            row["external_id"]: last_word(
                row["value_amount"],
                [
                    Adjustment(one["adjusted_at"], one["adjustment_id"], one["value_amount"])
                    for one in adjustments
                    if one["conversion_id"] == row["conversion_id"]
                ],
            ).value_amount
            for row in await self.rows()
        }


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    opened = await open_pool(database, Role.API, application_name="test", max_size=4)
    yield opened
    opened.terminate()


@pytest.fixture
async def world(ledger: Ledger, database: DatabaseSettings, pool: Pool) -> World:
    return World(Events(ledger), await make_tenant(database), pool)


async def test_an_event_becomes_a_conversion_with_all_that_it_told(world: World) -> None:
    action = await world.sponsor("Acme")
    click_id = await world.link("offer", action.sponsor_id)
    await world.land(
        {
            "click_id": click_id,
            "link": "offer",
            "promo_code": "save 20",
            "customer_id": "u_1",
            "external_id": "order-77",
            "value_amount": 4999,
            "currency": "EUR",
            "new_customer": True,
            "referrer": "https://coupons.example.com/x",
            "properties": {"survey_answer": "The Daily"},
        }
    )
    assert await world.marks() == 1
    assert await world.convert() == {"conversion": 1}
    (row,) = await world.rows()
    (event,) = await world.events.rows()
    assert (row["tenant_id"], row["action_id"], row["sponsor_id"]) == (
        world.tenant.tenant_id,
        action.action_id,
        action.sponsor_id,
    )
    copied = ("click_id", "link", "promo_code", "customer_key", "external_id", "value_amount", "currency")
    assert {name: row[name] for name in copied} == {name: event[name] for name in copied}
    assert (row["new_customer"], row["referrer_host"], row["survey_answer"]) == (
        True,
        "coupons.example.com",
        "The Daily",
    )
    assert (row["occurred_at"], row["received_at"], row["source"]) == (event["occurred_at"], NOW, "event")
    assert await world.marks() == 0
    # A conversion has its own signals.
    assert await world.rows("customer_signals") == []


async def test_whose_an_event_is(world: World) -> None:
    acme = await world.sponsor("Acme", domain="www.acme.example")
    globex = await world.sponsor("Globex & Söhne", domain="shop.acme.example")
    click = await world.link("offer", acme.sponsor_id)
    nobodys = await world.link("plain", None)
    told: dict[str, dict[str, Any]] = {
        "by id": {"properties": {"sponsor": str(globex.sponsor_id)}, "link": "offer"},
        "by name": {"properties": {"sponsor": "GLOBEX & SÖHNE"}},
        "no such name": {"properties": {"sponsor": "Initech"}, "link": "offer"},
        "no such id": {"properties": {"sponsor": str(uuid4())}, "link": "offer"},
        "no text": {"properties": {"sponsor": 5}, "link": "offer"},
        "click": {"click_id": click, "url": "https://shop.acme.example/"},
        "link": {"link": "offer"},
        "link of nobody": {"link": "plain", "click_id": nobodys, "url": "https://acme.example/"},
        "domain": {"url": "https://www.acme.example/thanks"},
        "nearest domain": {"url": "https://de.shop.acme.example/"},
        "no domain": {"url": "https://notacme.example/"},
        "nothing": {},
    }
    await world.land(*({"external_id": name, **one} for name, one in told.items()))
    assert await world.convert() == {"conversion": 8, "unknown_sponsor": 2, "no_sponsor": 2}
    owners = {acme.sponsor_id: "Acme", globex.sponsor_id: "Globex"}
    assert {row["external_id"]: owners[UUID(int=row["sponsor_id"].int)] for row in await world.rows()} == {
        "by id": "Globex",
        "by name": "Globex",
        "no text": "Acme",
        "click": "Acme",
        "link": "Acme",
        "link of nobody": "Acme",
        "domain": "Acme",
        "nearest domain": "Globex",
    }
    assert await world.intake() == {
        ("purchase", "conversion", acme.sponsor_id): 5,
        ("purchase", "conversion", globex.sponsor_id): 3,
        ("purchase", "unknown_sponsor", None): 2,
        ("purchase", "no_sponsor", None): 2,
    }


async def test_who_names_a_sponsor_that_was_merged_means_the_one_that_has_all_of_it(world: World) -> None:
    acme = await world.sponsor("Acme")
    told = {"properties": {"sponsor": "Acme"}}
    await world.land({**ORDER, "url": None, **told})
    assert await world.convert() == {"conversion": 1}
    async with tenant_transaction(world.pool, world.tenant) as conn:
        between, heir = [
            await add_sponsor(conn, world.tenant, SponsorFields(name=name), now=NOW)
            for name in ("Acme Inc", "Acme Group")
        ]
        await merge_sponsors(conn, acme.sponsor_id, into=between.sponsor_id, now=NOW)
        await merge_sponsors(conn, between.sponsor_id, into=heir.sponsor_id, now=NOW)
    by_id = {"properties": {"sponsor": str(acme.sponsor_id)}}
    await world.land(
        {**told, "external_id": "order-2"},
        {**by_id, "external_id": "order-3"},
        {**refund(1000), "properties": {**told["properties"], "refund_id": "r-1"}},
    )
    assert await world.convert() == {"conversion": 2, "refund": 1}
    assert {row["sponsor_id"] for row in await world.rows()} == {heir.sponsor_id}
    assert (await world.worth())["order-1"] == 4000
    assert {sponsor_id for _, _, sponsor_id in await world.intake()} == {heir.sponsor_id}


async def test_another_tenants_links_sponsors_and_codes_mean_nothing(
    world: World, database: DatabaseSettings, pool: Pool
) -> None:
    other = World(world.events, await make_tenant(database, "two"), pool)
    theirs = await other.sponsor("Acme", domain="acme.example")
    click = await other.link("offer", theirs.sponsor_id)
    await world.land(
        {"click_id": click},
        {"link": "offer"},
        {"url": "https://acme.example/"},
        {"properties": {"sponsor": "Acme"}},
        {"properties": {"sponsor": str(theirs.sponsor_id)}},
    )
    assert await world.convert() == {"unknown_click": 1, "unknown_link": 1, "no_sponsor": 1, "unknown_sponsor": 2}
    assert await world.rows() == []


async def test_what_is_no_conversion_leaves_what_led_a_customer_in(world: World) -> None:
    acme = await world.sponsor("Acme")
    click = await world.link("offer", acme.sponsor_id)
    ids = await world.land(
        {"type": "page_view", "click_id": click, "customer_id": "u_1"},
        {"type": "promo_redeemed", "promo_code": "SAVE", "customer_id": "u_1"},
        {"type": "quiz_taken", "link": "offer", "customer_id": "u_1"},
        {"type": "click", "link": "offer"},
        {"type": "quiz_taken"},
        {"type": "page_view", "link": "offer"},
        {"type": "page_view", "customer_id": "u_1"},
        {
            "type": "purchase",
            "link": "offer",
            "customer_id": "u_1",
            "source": EventSource.PIXEL,
            "agent": "Googlebot/2.1",
        },
    )
    # Pages of nobody, or of nowhere, are not even looked at.
    assert await world.marks() == 6
    assert await world.convert() == {"signal": 2, "no_action": 2, "no_sponsor": 1, "bot": 1}
    signals = {row["event_id"]: row for row in await world.rows("customer_signals")}
    assert set(signals) == set(ids[:3])
    assert signals[ids[0]]["click_id"] == click
    assert (signals[ids[1]]["promo_code"], signals[ids[2]]["link"]) == ("SAVE", "offer")
    assert len({row["customer_key"] for row in signals.values()}) == 1
    assert await world.rows() == []


async def test_an_archived_action_gets_nothing(world: World) -> None:
    acme = await world.sponsor("Acme", domain="acme.example")
    async with tenant_transaction(world.pool, world.tenant) as conn:
        await archive_action(conn, await hold_action(conn, acme.action_id), now=NOW)
    await world.land({"url": "https://acme.example/"})
    assert await world.convert() == {"no_action": 1}


async def test_the_same_order_is_one_conversion_and_another_story_of_it_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.sponsor("Acme", domain="acme.example")
    order = {"url": "https://acme.example/", "external_id": "order-1", "value_amount": 100, "currency": "EUR"}
    # Of one request, so received at one instant: the first one told counts, whatever its id is.
    await world.land(
        {**order, "event_id": UUID(int=3)},
        {**order, "event_id": UUID(int=2)},
        {**order, "event_id": UUID(int=1), "value_amount": 200},
    )
    assert await world.convert() == {"conversion": 1, "repeated": 1, "differs": 1}
    (row,) = await world.rows()
    assert row["value_amount"] == 100
    assert "say something else" in caplog.text
    # Without a name it is told by the event's id.
    (event_id,) = await world.land({"url": "https://acme.example/"})
    assert await world.convert() == {"conversion": 1}
    assert str(event_id) in {row["external_id"] for row in await world.rows()}


ORDER: dict[str, Any] = {
    "url": "https://acme.example/",
    "external_id": "order-1",
    "value_amount": 5000,
    "currency": "EUR",
    "occurred_us": micros(NOW - dt.timedelta(hours=3)),
}


def refund(amount: int | None, *, refund_id: str | None = None, minutes: int = 0, **more: Any) -> dict[str, Any]:
    """Tell of money given back, some minutes after the order."""
    return {
        "type": "refund",
        "external_id": "order-1",
        "value_amount": amount,
        "currency": None if amount is None else "EUR",
        "properties": {} if refund_id is None else {"refund_id": refund_id},
        "occurred_us": ORDER["occurred_us"] + minutes * 60_000_000,
        **more,
    }


async def test_refunds_of_a_purchase_add_up_in_whatever_order_they_come(world: World) -> None:
    await world.sponsor("Acme", domain="acme.example")
    await world.land(ORDER)
    await world.convert()
    await world.land(refund(1000, refund_id="r-2", minutes=20))
    await world.convert()
    assert await world.worth() == {"order-1": 4000}
    # Given back before, told later; and two at once.
    await world.land(refund(500, refund_id="r-1", minutes=10))
    assert await world.convert() == {"refund": 1}
    assert await world.worth() == {"order-1": 3500}
    await world.land(refund(100, minutes=30), refund(100, minutes=30), refund(100, minutes=5))
    assert await world.convert() == {"refund": 3}
    assert await world.worth() == {"order-1": 3200}
    await world.land(refund(500, refund_id="r-1", minutes=10), refund(501, refund_id="r-1", minutes=10))
    assert await world.convert() == {"repeated": 1, "differs": 1}
    assert await world.worth() == {"order-1": 3200}
    await world.land(refund(3200, minutes=60), refund(9999, minutes=70))
    assert await world.convert() == {"refund": 2}
    assert await world.worth() == {"order-1": None}
    assert [row["kind"] for row in await world.rows("conversion_adjustments")].count("retract") == 1


async def test_a_refund_without_an_amount_takes_all(world: World) -> None:
    await world.sponsor("Acme", domain="acme.example")
    await world.land(refund(None, minutes=1), ORDER)
    # In one batch the purchase comes first, wherever it stands.
    assert await world.convert() == {"conversion": 1, "refund": 1}
    assert await world.worth() == {"order-1": None}


async def test_a_refund_waits_for_its_purchase_and_not_for_ever(world: World) -> None:
    clock = world.events.ledger.clock
    acme = (await world.sponsor("Acme", domain="acme.example")).sponsor_id
    await world.land(refund(1000), refund(1000, external_id="order-2"), refund(1000, external_id=None))
    assert await world.convert() == {"waiting": 2, "no_purchase": 1}
    assert await world.marks() == 2
    assert await world.intake() == {("refund", "no_purchase", None): 1}
    await world.land(ORDER)
    assert await world.convert() == {"conversion": 1}
    clock.advance(dt.timedelta(seconds=10))
    assert await world.convert() == {"refund": 1, "waiting": 1}
    assert await world.worth() == {"order-1": 4000}
    looks = 0
    for _ in range(90 * 24):
        clock.advance(dt.timedelta(hours=1))
        found = await world.convert()
        looks += found.get("waiting", 0)
        if "no_purchase" in found:
            break
    assert await world.marks() == 0
    # Once an hour, and not once a second.
    assert 80 * 24 < looks <= 90 * 24
    # However often they were looked at, they are counted once, on the day of their receipt.
    assert await world.intake() == {
        ("purchase", "conversion", acme): 1,
        ("refund", "refund", acme): 1,
        ("refund", "no_purchase", None): 2,
    }


async def test_a_refund_in_another_currency_changes_nothing(world: World) -> None:
    await world.sponsor("Acme", domain="acme.example")
    await world.land(ORDER, refund(1000, currency="USD"))
    assert await world.convert() == {"conversion": 1, "other_currency": 1}
    assert await world.worth() == {"order-1": 5000}


async def test_a_refund_is_of_the_purchase_and_of_the_sponsor_that_it_names(world: World) -> None:
    acme = await world.sponsor("Acme", domain="acme.example")
    await world.sponsor("Globex", domain="globex.example")
    async with tenant_transaction(world.pool, world.tenant) as conn:
        signup = ActionFields(name="Signup", category=ActionCategory.SIGNUP, event_type="signup")
        await add_action(conn, world.tenant, acme.sponsor_id, signup, now=NOW)
    valueless = {"type": "signup", "value_amount": None, "currency": None}
    await world.land(ORDER, {**ORDER, **valueless}, {**ORDER, "url": "https://globex.example/"})
    assert await world.convert() == {"conversion": 3}
    await world.land(refund(1000))
    # Two sponsors have such an order.
    assert await world.convert() == {"waiting": 1}
    await world.land(refund(2000, url="https://acme.example/back"))
    assert await world.convert() == {"refund": 1}
    (adjustment,) = await world.rows("conversion_adjustments")
    (meant,) = [row for row in await world.rows() if row["conversion_id"] == adjustment["conversion_id"]]
    assert (meant["action_id"], adjustment["value_amount"]) == (acme.action_id, 3000)
    assert (await world.intake())["refund", "refund", acme.sponsor_id] == 1


async def test_several_processes_take_each_event_once(world: World, database: DatabaseSettings) -> None:
    await world.sponsor("Acme", domain="acme.example")
    orders = [{"url": "https://acme.example/", "external_id": f"o-{n % 150}"} for n in range(300)]
    await world.land(*orders, ORDER, *(refund(10, minutes=n) for n in range(100)))
    conns = [await connect(database, Role.INGEST, application_name="other") for _ in range(3)]
    clock = world.events.ledger.clock

    async def work(conn: Connection) -> Counter[Outcome]:
        total: Counter[Outcome] = Counter()
        while found := await convert_events(conn, clock=clock, limit=20):
            total += found
        return total

    try:
        total = sum(await asyncio.gather(*map(work, conns)), Counter())
    finally:
        for conn in conns:
            conn.terminate()
    clock.advance(dt.timedelta(minutes=1))
    total += Counter({Outcome(name): count for name, count in (await world.convert()).items()})
    # Refunds that met no purchase yet were looked at twice.
    assert total[Outcome.CONVERSION] == 151
    assert total[Outcome.REPEATED] + total[Outcome.DIFFERS] == 150
    assert total[Outcome.REFUND] == 100
    counted: Counter[str] = Counter()
    for (_, outcome, _), events in (await world.intake()).items():
        counted[outcome] += events
    assert counted == {outcome.value: count for outcome, count in total.items() if outcome is not Outcome.WAITING}
    assert counted.total() == 401
    assert (await world.worth())["order-1"] == 4000
    assert await world.marks() == 0


async def test_whoever_is_killed_leaves_all_or_nothing(world: World, database: DatabaseSettings) -> None:
    await world.sponsor("Acme", domain="acme.example")
    await world.land(ORDER, refund(1000, minutes=1), {"type": "click", "link": "x", "customer_id": "u_1"})
    killed = 0
    # Cut off at each statement of the work in turn, the end of the transaction included.
    while await world.marks():
        killed += 1
        conn = await connect(database, Role.INGEST, application_name="victim")
        pid, left = conn.get_server_pid(), killed

        def cut(_: Any, victim: Any = conn) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                victim.terminate()

        conn.add_query_logger(cut)
        with contextlib.suppress(*CONNECTION_LOST):
            await convert_events(conn, clock=world.events.ledger.clock)
        conn.terminate()
        async with asyncio.timeout(20):
            while await world.conn.fetchval("select count(*) from pg_stat_activity where pid = $1", pid):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        counts = [
            len(await world.rows(table)) for table in ("conversions", "conversion_adjustments", "customer_signals")
        ]
        counted = sum((await world.intake()).values())
        assert [*counts, await world.marks(), counted] in ([0, 0, 0, 3, 0], [1, 1, 1, 0, 3])
    assert killed > 8
    assert await world.worth() == {"order-1": 4000}


async def test_what_the_database_refuses_keeps_nothing_else_waiting(
    world: World, database: DatabaseSettings, caplog: pytest.LogCaptureFixture
) -> None:
    await world.sponsor("Acme", domain="acme.example")
    operator = await asyncpg.connect(str(database.url))
    await operator.execute("alter table app.conversions add check (external_id not like 'bad%')")
    await operator.close()
    names = [f"bad-{number}" if number in (0, 17, 18) else f"o-{number}" for number in range(40)]
    ids = await world.land(*({"url": "https://acme.example/", "external_id": name} for name in names))
    assert await world.convert() == {"conversion": 37, "refused": 3}
    assert await world.marks() == 0
    assert {row["external_id"] for row in await world.rows()} == {name for name in names if name.startswith("o-")}
    assert str(ids[17]) in caplog.text
    found = {outcome: events for (_, outcome, _), events in (await world.intake()).items()}
    assert found == {"conversion": 37, "refused": 3}


async def test_what_led_a_customer_in_goes_when_no_window_reaches_it(world: World) -> None:
    await world.land({"type": "click", "link": "offer", "customer_id": "u_1"})
    await world.convert()
    (row,) = await world.rows("customer_signals")
    last = dt.datetime.combine(row["occurred_at"].date(), dt.time(), dt.UTC) + SIGNAL_DAYS * _DAY
    await drop_old(world.conn, now=last + _DAY - dt.timedelta(seconds=1), hits_months=25)
    assert len(await world.rows("customer_signals")) == 1
    dropped = await drop_old(world.conn, now=last + _DAY, hits_months=25)
    assert dropped["signals of customers"] == 1
    assert await world.rows("customer_signals") == []


async def test_counts_of_events_go_when_their_time_is_over(world: World) -> None:
    await world.land({}, {"type": "lead"})
    await world.convert()
    (day,) = {row["day"] for row in await world.rows("event_intake")}
    last = dt.datetime.combine(day, dt.time(), dt.UTC) + INTAKE_DAYS * _DAY
    assert (await drop_old(world.conn, now=last, hits_months=25))["counts of events"] == 0
    assert (await drop_old(world.conn, now=last + _DAY, hits_months=25))["counts of events"] == 2
    assert await world.rows("event_intake") == []


async def test_marks_land_with_their_events_or_not_at_all(world: World) -> None:
    event = make_event(world.tenant.tenant_no)
    write_event_segment(world.events.folder, [(minute(1), event), (minute(1), event)])
    await world.events.ship_all()
    write_event_segment(world.events.folder, [(minute(2), event)], source="again")
    await world.events.ship_all()
    assert await world.marks() == 1
    assert await world.convert() == {"no_sponsor": 1}
    assert await world.marks() == 0
