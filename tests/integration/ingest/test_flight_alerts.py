"""Mail about flights that fall behind: to whom it goes, once, and in the transaction that remembers it."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.clock import FixedClock
from analytics_core.db.flight_alerts import count_flights_at_risk, list_alert_recipients, read_alerts
from analytics_core.db.pool import Pool, connect, open_pool, tenant_transaction
from analytics_core.db.segments import advance_cutoff
from analytics_core.db.sponsors import SponsorFields, add_sponsor
from analytics_core.mail import Sender
from analytics_core.mailers import SmtpMailer
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.smtp_url import SmtpServer, Tls
from ingest.flight_alerts import tell_of_flights
from ingest.jobs import Health
from ingest.metrics import Metrics
from ingest.outbox import MailSender
from tests.campaigns import MadeCampaign, deliver, make_campaign, make_flight, make_placement
from tests.factories import make_episode, make_podcast, make_tenant
from tests.mail_servers import running_mail_server
from tests.postgres import operator_url

pytestmark = pytest.mark.anyio

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

NOW = dt.datetime(2026, 11, 11, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)
PAGE = "https://ledger.example.com"


class World(NamedTuple):
    """An active campaign of Acme, and an owner who hears of it."""

    pool: Pool
    operator: _Connection
    ingest: _Connection
    campaign: MadeCampaign
    episode_id: str

    async def look(self, now: dt.datetime) -> Mapping[str, int]:
        return await tell_of_flights(self.ingest, self.pool, now=now, public_url=PAGE)

    async def fly(self, delivered: int, **given: Any) -> UUID:
        """Make a flight with 20 of its days, ten of which are over, in an episode that brings the same every day."""
        flight_id = await make_flight(self.operator, self.campaign, **({"measurement_days": 0} | given))
        placement = await make_placement(self.operator, self.campaign, flight_id, self.episode_id)
        for day in range(1, 11):
            if delivered:
                await deliver(self.operator, placement, f"2026-11-{day:02d}", delivered // 10)
        return flight_id

    async def deliver(self, flight_id: UUID, count: int) -> None:
        """Have a flight deliver so much on each of its days."""
        await self.operator.execute(
            "update app.placement_daily set downloads = $2, downloads_strict = 0 where flight_id = $1",
            flight_id,
            count,
        )

    async def texts(self) -> list[str]:
        rows = await self.operator.fetch("select body from app.outbox order by queued_at, mail_id")
        return [row["body"] for row in rows]

    async def recipients(self) -> list[str]:
        rows = await self.operator.fetch("select recipient from app.outbox order by recipient")
        return [row["recipient"] for row in rows]


async def make_member(conn: _Connection, tenant_id: UUID, email: str, **given: Any) -> UUID:
    """Store a member: an owner with an address that is proven, unless it is said otherwise."""
    user_id = uuid4()
    await conn.execute(
        """insert into app.users (user_id, email, name, status, email_verified_at, created_at, deleted_at)
        values ($1, $2, 'Somebody', $3, $4, $5, $6)""",
        user_id,
        email,
        given.get("status", "active"),
        given.get("verified_at", NOW),
        NOW,
        NOW if given.get("status") == "deleted" else None,
    )
    await conn.execute(
        """insert into app.memberships (tenant_id, user_id, role, custom_role_id, sponsor_ids, delivery_mail,
            removed_at, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)""",
        tenant_id,
        user_id,
        given.get("role", "owner"),
        given.get("custom_role_id"),
        given.get("sponsor_ids", []),
        given.get("delivery_mail", True),
        given.get("removed_at"),
        NOW,
    )
    return user_id


@pytest.fixture
async def world(database: DatabaseSettings) -> AsyncIterator[World]:
    tenant = await make_tenant(database)
    await make_podcast(database, tenant, make_episode("a"))
    api = await open_pool(database, Role.API, application_name="test", max_size=1)
    async with tenant_transaction(api, tenant) as conn:
        sponsor = await add_sponsor(conn, tenant, SponsorFields(name="Acme"), now=NOW)
    await api.close()
    operator = await asyncpg.connect(operator_url(database))
    ingest = await connect(database, Role.INGEST, application_name="test")
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=4)
    campaign = await make_campaign(operator, tenant, sponsor.sponsor_id, name="Autumn launch")
    await make_member(operator, tenant.tenant_id, "ana@example.com")
    episode_id = str(await operator.fetchval("select episode_id from app.episodes"))
    yield World(pool, operator, ingest, campaign, episode_id)
    await pool.close()
    await ingest.close()
    await operator.close()


async def test_who_sells_is_told_by_mail_with_all_that_they_ask_next(world: World) -> None:
    await world.fly(300, name="Mid-rolls")
    await world.fly(500, name="On pace")
    assert await world.look(NOW) == {"flights": 1, "behind": 1, "told": 1, "mails": 1}
    async with running_mail_server() as server:
        mailer = SmtpMailer(
            SmtpServer(host="127.0.0.1", port=server.port, tls=Tls.NONE), Sender("Castledger", "ledger@example.org")
        )
        sender = MailSender(world.pool, mailer, clock=FixedClock(NOW), metrics=Metrics(), health=Health())
        assert await sender.send_due() == 0
    [received] = server.received
    assert received.recipients == ["ana@example.com"]
    assert received.message["Subject"] == "Castledger: 1 flight behind"
    text = received.message.get_content().replace("\r\n", "\n")
    head, _, rest = text.partition("  in the end")
    assert head == (
        "In “One”, by the downloads until 11 November 2026, 00:00 UTC.\n"
        "\n"
        "BEHIND: fewer downloads than were due by now, and not enough to be expected until the end.\n"
        "\n"
        "“Autumn launch” of “Acme”\n"
        "  flight “Mid-rolls”, 01 November 2026 to 21 November 2026\n"
        "  booked              1,000\n"
        "  due by now          500\n"
        "  delivered           300, 60 % of what was due\n"
    )
    assert rest.split("\n", 1)[0].startswith("          about ")
    assert "\n  left                10 days; downloads count until 21 November 2026\n" in rest
    assert f"\n  {PAGE}/campaigns/{world.campaign.campaign_id}\n" in rest
    assert rest.endswith(f"To get it no more: {PAGE}/account\n")
    assert "On pace" not in text


async def test_it_is_told_once_and_again_only_after_it_had_recovered(world: World) -> None:
    flight_id = await world.fly(300)
    for hours in range(0, 72, 6):
        await world.look(NOW + hours * HOUR)
    assert len(await world.texts()) == 1
    await world.deliver(flight_id, 120)
    assert (await world.look(NOW + 3 * DAY))["behind"] == 0
    alerts = await read_alerts(world.ingest, world.campaign.tenant.tenant_id, [flight_id])
    assert (alerts[flight_id].behind_since, alerts[flight_id].told_at) == (None, NOW)
    await world.deliver(flight_id, 40)
    for hours in range(72, 120, 6):
        await world.look(NOW + hours * HOUR)
    assert len(await world.texts()) == 2


async def test_there_is_one_mail_a_day_with_all_that_there_is(world: World) -> None:
    await world.fly(300, name="First")
    await world.look(NOW)
    await world.fly(310, name="Second")
    await world.fly(320, name="Third")
    recovered = await world.fly(330, name="Fourth")
    assert [(await world.look(NOW + hours * HOUR))["mails"] for hours in (1, 12, 23)] == [0, 0, 0]
    assert await count_flights_at_risk(world.ingest) == 4
    await world.deliver(recovered, 200)
    assert await world.look(NOW + DAY) == {"flights": 4, "behind": 3, "told": 2, "mails": 1}
    assert await count_flights_at_risk(world.ingest) == 3
    _, text = await world.texts()
    assert [name for name in ("First", "Second", "Third", "Fourth") if f"“{name}”" in text] == ["Second", "Third"]


async def test_a_flight_that_ended_short_has_a_last_word(world: World) -> None:
    flight_id = await world.fly(950, status="completed", name="Short", measurement_days=30)
    to_come = {"starts_at": dt.datetime(2027, 1, 1, tzinfo=dt.UTC), "ends_at": dt.datetime(2027, 2, 1, tzinfo=dt.UTC)}
    await make_flight(
        world.operator, world.campaign, makegood_of=flight_id, booked_impressions=20, status="planned", **to_come
    )
    over = dt.datetime(2026, 12, 21, tzinfo=dt.UTC)
    assert (await world.look(over - HOUR))["mails"] == 0
    for hours in range(0, 100, 5):
        await world.look(over + hours * HOUR)
    [text] = await world.texts()
    assert "ENDED SHORT" in text
    assert "  make-good owed      50\n  booked instead      20\n" in text


async def test_what_ended_long_ago_is_no_news(world: World) -> None:
    await world.fly(100, status="completed")
    assert (await world.look(dt.datetime(2026, 11, 29, tzinfo=dt.UTC)))["flights"] == 0


async def test_owners_admins_and_sales_are_told_who_want_to_be(world: World) -> None:
    tenant_id, conn = world.campaign.tenant.tenant_id, world.operator
    role_id = uuid4()
    await conn.execute(
        """insert into app.roles (tenant_id, role_id, name, permissions, created_at, changed_at)
        values ($1, $2, 'Seller', '{campaigns:write}', now(), now())""",
        tenant_id,
        role_id,
    )
    await make_member(conn, tenant_id, "admin@example.com", role="admin")
    await make_member(conn, tenant_id, "sales@example.com", role="sales")
    for role in ("analyst", "viewer"):
        await make_member(conn, tenant_id, f"{role}@example.com", role=role)
    await make_member(conn, tenant_id, "sponsor@example.com", role="sponsor", sponsor_ids=[world.campaign.sponsor_id])
    await make_member(conn, tenant_id, "custom@example.com", role="sales", custom_role_id=role_id)
    await make_member(conn, tenant_id, "held@example.com", role="sales", sponsor_ids=[world.campaign.sponsor_id])
    await make_member(conn, tenant_id, "off@example.com", delivery_mail=False)
    await make_member(conn, tenant_id, "gone@example.com", removed_at=NOW)
    await make_member(conn, tenant_id, "unproven@example.com", verified_at=None)
    await make_member(conn, tenant_id, "disabled@example.com", status="disabled")
    await make_member(conn, tenant_id, "deleted@example.com", status="deleted")
    await make_member(conn, tenant_id, "a..b@example.com")
    await world.fly(300)
    assert (await world.look(NOW))["mails"] == 3
    assert await world.recipients() == ["admin@example.com", "ana@example.com", "sales@example.com"]


async def test_it_waits_until_there_is_somebody_to_tell(world: World) -> None:
    await world.operator.execute("update app.memberships set delivery_mail = false")
    await world.fly(300)
    assert await world.look(NOW) == {"flights": 1, "behind": 1, "told": 0, "mails": 0}
    await world.operator.execute("update app.memberships set delivery_mail = true")
    assert (await world.look(NOW + HOUR))["mails"] == 1


async def test_ingest_is_given_the_addresses_of_the_tenant_alone(world: World, database: DatabaseSettings) -> None:
    tenant_id = world.campaign.tenant.tenant_id
    await make_member(world.operator, tenant_id, "viewer@example.com", role="viewer")
    await make_member(world.operator, tenant_id, "off@example.com", delivery_mail=False)
    other = await make_tenant(database, "two")
    await make_member(world.operator, other.tenant_id, "bob@example.com")
    for tenant, emails in ((world.campaign.tenant, ["ana@example.com"]), (other, ["bob@example.com"])):
        async with tenant_transaction(world.pool, tenant) as conn:
            assert await list_alert_recipients(conn) == emails
    assert await list_alert_recipients(world.ingest) == []


async def test_a_tenant_that_is_not_at_work_is_told_nothing(world: World) -> None:
    await world.fly(300)
    await world.operator.execute("update app.tenants set status = 'suspended'")
    assert (await world.look(NOW))["flights"] == 0


async def test_what_waits_to_be_landed_is_not_missing(world: World) -> None:
    await world.fly(300)
    await advance_cutoff(world.operator, source="tracker", at=dt.datetime(2026, 11, 7, tzinfo=dt.UTC))
    # Until then 300 were due, and 300 are there.
    assert await world.look(NOW) == {"flights": 0, "behind": 0, "told": 0, "mails": 0}
    await advance_cutoff(world.operator, source="tracker", at=NOW)
    assert (await world.look(NOW))["mails"] == 1


async def test_what_is_not_remembered_is_not_told(world: World) -> None:
    """A tick that cannot end leaves neither mail nor memory, and the next one tells."""
    await world.fly(300)
    await world.operator.execute(
        """create function app.refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
        create trigger refuse before insert on app.flight_alerts for each row execute function app.refuse()"""
    )
    with pytest.raises(asyncpg.RaiseError):
        await world.look(NOW)
    assert await world.texts() == []
    await world.operator.execute("drop trigger refuse on app.flight_alerts")
    assert (await world.look(NOW))["mails"] == 1


async def test_those_who_look_at_the_same_time_tell_once(world: World, database: DatabaseSettings) -> None:
    for number in range(5):
        await world.fly(300, name=f"Flight {number}")
    others = [await connect(database, Role.INGEST, application_name="test") for _ in range(3)]
    done = await asyncio.gather(
        *(tell_of_flights(conn, world.pool, now=NOW, public_url="") for conn in (world.ingest, *others))
    )
    for conn in others:
        await conn.close()
    assert sum(one["mails"] for one in done) == len(await world.texts()) == 1


# Of what was due: behind, neither, and caught up.
_LEVELS = st.lists(st.sampled_from([60, 95, 120]), min_size=2, max_size=2)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ticks=st.lists(st.tuples(st.integers(1, 30), _LEVELS, st.booleans()), min_size=1, max_size=8))
async def test_whatever_the_order_of_ticks_each_time_behind_is_told_once(
    world: World, ticks: Sequence[tuple[int, list[int], bool]]
) -> None:
    await world.operator.execute(
        "truncate app.flight_alerts, app.outbox, app.placement_daily, app.placements, app.flights cascade"
    )
    flights = {name: await world.fly(500, name=name) for name in ("First", "Second")}
    now = NOW
    behind = dict.fromkeys(flights, False)
    periods = dict.fromkeys(flights, 0)
    # A day after the last tick, at which all stay as they are, there is nobody left to be told of.
    for hours, levels, twice in [*ticks, (24, ticks[-1][1], False)]:
        now += hours * HOUR
        due = 1_000 * ((now - NOW) / DAY + 10) / 20
        for name, level in zip(flights, levels, strict=True):
            await world.deliver(flights[name], round(due * level / 1_000))
            periods[name] += level == 60 and not behind[name]
            behind[name] = level == 60 or (behind[name] and level == 95)
        for _ in range(2 if twice else 1):
            await world.look(now)
    texts = await world.texts()
    for name in flights:
        assert int(behind[name]) <= sum(f"“{name}”" in text for text in texts) <= periods[name]
    queued = [row["queued_at"] for row in await world.operator.fetch("select queued_at from app.outbox order by 1")]
    assert all(later - earlier >= DAY for earlier, later in itertools.pairwise(queued))
