"""Reports of what was sold: every figure beside a count by hand, and beside what the API says."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.pool import Connection, connect, open_pool
from analytics_core.db.reports import begin_report, finish_report, list_waiting
from analytics_core.permissions import RoleName
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.reports import make_reports
from tests.campaigns import MadeCampaign, deliver, make_campaign, make_flight, make_placement, make_run
from tests.factories import MadePodcast
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.people import make_person, sign_in
from tests.integration.api.test_sponsor_logins import hold
from tests.integration.api.test_sponsors import follow, make, make_link
from tests.integration.ingest.erasing import Eraser

pytestmark = pytest.mark.anyio

NOVEMBER = {"from": "2026-11-01", "to": "2026-12-01"}


class World(NamedTuple):
    """A campaign of a flight in two episodes, at 25.00 a thousand, 1,000 booked."""

    sponsor_id: str
    campaign: MadeCampaign
    flight_id: UUID


@pytest.fixture
async def worker(database: DatabaseSettings) -> AsyncIterator[Connection]:
    conn = await connect(database, Role.INGEST, application_name="test")
    yield conn
    await conn.close()


@pytest.fixture
async def world(api: Api, ledger: Ledger) -> World:
    sponsor = await make(api, "Acme")
    podcast = await api.add_podcast()
    episodes = (await api.data(f"/podcasts/{podcast['podcast_id']}/episodes"))["data"]
    campaign = await make_campaign(ledger.operator, await ledger.tenant_of("home"), sponsor["sponsor_id"])
    flight_id = await make_flight(ledger.operator, campaign)
    one, other = [
        await make_placement(ledger.operator, campaign, flight_id, episode["episode_id"]) for episode in episodes
    ]
    await deliver(ledger.operator, one, "2026-11-02", 300, strict=280)
    await deliver(ledger.operator, one, "2026-11-03", 100)
    await deliver(ledger.operator, other, "2026-11-10", 250, strict=200)
    await deliver(ledger.operator, other, "2026-11-20", 450)
    await ledger.set_cutoff("2026-11-24T11:00+00:00")
    return World(sponsor["sponsor_id"], campaign, flight_id)


async def report(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock, **wanted: Any
) -> dict[str, Any]:
    """Have a report made, and read it."""
    answer = await api.request("POST", "/reports", json={"format": "json", **NOVEMBER, **wanted})
    assert answer.status_code == 202, answer.text
    await make_reports(worker, database, clock=clock)
    file = await api.get(f"/reports/{answer.json()['report_id']}/file")
    assert file.status_code == 200, file.text
    made: dict[str, Any] = file.json()
    return made


async def redeem(ledger: Ledger, world: World, code: str, at: str, **given: Any) -> UUID:
    """Store a conversion that names a code."""
    tenant, conversion_id = world.campaign.tenant, uuid4()
    await ledger.operator.execute(
        """insert into app.conversion_actions (tenant_id, action_id, sponsor_id, name, name_key, category, created_at)
        values ($1, $2, $2, 'Order', gen_random_uuid(), 'purchase', now()) on conflict do nothing""",
        tenant.tenant_id,
        world.campaign.sponsor_id,
    )
    await ledger.operator.execute(
        """insert into app.conversions (tenant_id, conversion_id, action_id, sponsor_id, external_id, said_hash, source,
            occurred_at, received_at, promo_code)
        values ($1, $2::uuid, $3, $3, $2::uuid::text, sha256(''), 'api', $4, $5, $6)""",
        tenant.tenant_id,
        conversion_id,
        world.campaign.sponsor_id,
        dt.datetime.fromisoformat(at),
        dt.datetime.fromisoformat(given.get("received_at", at)),
        code,
    )
    return conversion_id


async def make_code(ledger: Ledger, world: World, code: str, valid_until: str | None = None) -> None:
    await ledger.operator.execute(
        """insert into app.promo_codes (tenant_id, promo_code_id, sponsor_id, campaign_id, flight_id, code, valid_from,
            valid_until, created_at)
        values ($1, gen_random_uuid(), $2, $3, $4, $5, '2026-11-01Z', $6, now())""",
        world.campaign.tenant.tenant_id,
        world.campaign.sponsor_id,
        world.campaign.campaign_id,
        world.flight_id,
        code,
        None if valid_until is None else dt.datetime.fromisoformat(valid_until),
    )


async def test_what_was_delivered_is_what_the_api_says(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock, world: World
) -> None:
    made = await report(api, database, worker, clock, kind="sponsor", sponsor_id=world.sponsor_id)
    told = await api.data(f"/campaigns/{world.campaign.campaign_id}/delivery")
    (flight,) = told["flights"]
    (row,) = made["tables"]["flights"]
    assert (row["booked"], row["delivered"]) == (flight["booked"], flight["delivered"]) == (1_000, 1_100)
    assert (row["expected"], row["pacing"], row["pace"]) == (flight["expected"], flight["index"], flight["state"])
    assert row["makegood_owed"] is None
    # 1,000 of them are paid for, at 25.00 a thousand.
    assert (row["cost_amount"], row["currency"]) == (2_500, "EUR")
    performance = await api.data(f"/campaigns/{world.campaign.campaign_id}/performance")
    assert performance["cost_amount"] == 2_500
    assert made["tables"]["totals"] == [
        {"booked": 1_000, "delivered": 1_100, "delivered_in_range": 1_100, "clicks": 0, "redemptions": 0}
    ]
    assert sorted(row["delivered"] for row in made["tables"]["placements"]) == [400, 700]
    days = {row["day"]: row["impressions"] for row in made["tables"]["days"]}
    assert (len(days), days["2026-11-03"], days["2026-11-04"], days["2026-11-24"]) == (30, 100, 0, 0)
    # What has not come yet is not nothing.
    assert days["2026-11-25"] is None
    assert sum(number for number in days.values() if number is not None) == 1_100
    assert made["about"]["sponsor"] == "Acme"
    assert made["title"] == "Acme: from 2026-11-01 to 2026-11-30"
    assert any("no attribution run" in note for note in made["notes"])
    assert made["tables"]["conversions"] == []


async def test_parts_of_a_flight_cost_what_the_whole_does(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock, world: World, ledger: Ledger
) -> None:
    flat = await make_campaign(
        ledger.operator, world.campaign.tenant, world.sponsor_id, pricing="flat", name="Flat", budget_amount=700
    )
    await make_flight(ledger.operator, flat, price_amount=700, booked_impressions=None)
    spans = [("2026-11-01", "2026-11-03"), ("2026-11-03", "2026-11-11"), ("2026-11-11", "2026-11-24")]
    parts = []
    for start, end in spans:
        days = {"from": start, "to": end}
        made = await report(api, database, worker, clock, kind="sponsor", sponsor_id=world.sponsor_id, **days)
        costs = {row["campaign"]: row["cost_amount"] for row in made["tables"]["campaigns"]}
        delivered = {row["campaign"]: row["delivered_in_range"] for row in made["tables"]["campaigns"]}
        parts.append((costs["Autumn"], costs["Flat"], delivered["Autumn"]))
    # The last 100 are beyond the booking, and the fee is owed once, when its flight begins.
    assert parts == [(750, 700, 300), (875, 0, 350), (875, 0, 450)]
    whole = await report(api, database, worker, clock, kind="sponsor", sponsor_id=world.sponsor_id)
    assert {row["campaign"]: row["cost_amount"] for row in whole["tables"]["campaigns"]} == {
        "Autumn": sum(part[0] for part in parts),
        "Flat": sum(part[1] for part in parts),
    }


async def test_conversions_are_told_by_model_and_never_added(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock, world: World, ledger: Ledger
) -> None:
    run_id = await make_run(
        ledger.operator,
        world.campaign,
        ("deterministic", world.flight_id, "EUR", 4_000_000, 1_000_000, 10_000),
        ("linear", world.flight_id, "EUR", 2_500_000, 500_000, 6_000),
        ("linear", world.flight_id, "USD", 500_000, 0, 900),
        models=("linear", "markov"),
        status="running",
    )
    await ledger.operator.execute(
        """update app.attribution_runs set status = 'ready', finished_at = now(),
            summary = '{"insufficient": {"markov": "needs 100 paths"}}'"""
    )
    made = await report(api, database, worker, clock, kind="sponsor", sponsor_id=world.sponsor_id)
    # Of exactly these days, so that it was found by itself.
    assert made["about"]["run_id"] == str(run_id)
    assert made["about"]["received_before"] == made["about"]["run_cutoff"] == "2026-11-24T11:00:00Z"
    rows = made["tables"]["conversions"]
    assert [(row["model"], row["currency"], row["conversions"], row["value_amount"]) for row in rows] == [
        ("deterministic", "EUR", 4.0, 10_000),
        ("linear", "EUR", 3.0, 6_000),
        ("linear", "USD", None, 900),
        ("markov", None, None, None),
    ]
    assert [(row["cost_amount"], row["cpa_amount"], row["roas"]) for row in rows] == [
        (2_500, 625, 4.0),
        (2_500, 833, None),
        (None, None, None),
        (None, None, None),
    ]
    assert [row["reason"] for row in rows] == [None, "other_currencies", "other_currencies", "insufficient_data"]
    told = await api.data(f"/campaigns/{world.campaign.campaign_id}/performance", run_id=str(run_id))
    assert [(one["model"], one["conversions"]) for one in told["models"][:2]] == [
        ("deterministic", 4.0),
        ("linear", 3.0),
    ]
    assert any("markov had too little" in note for note in made["notes"])
    other = await report(
        api, database, worker, clock, kind="sponsor", sponsor_id=world.sponsor_id, **{"from": "2026-11-02"}
    )
    assert other["about"]["run_id"] is None


async def test_codes_and_links_have_what_came_by_them(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock, world: World, ledger: Ledger
) -> None:
    await make_code(ledger, world, "SAVE20")
    await make_code(ledger, world, "EARLY", "2026-11-05T00:00+00:00")
    kept = await redeem(ledger, world, "save-20", "2026-11-07T10:00+00:00")
    more = await redeem(ledger, world, "SAVE20", "2026-11-07T11:00+00:00")
    leaked = await redeem(ledger, world, "SAVE20", "2026-11-08T10:00+00:00")
    gone = await redeem(ledger, world, "SAVE20", "2026-11-09T10:00+00:00")
    await redeem(ledger, world, "EARLY", "2026-11-06T10:00+00:00")
    await redeem(ledger, world, "EARLY", "2026-11-13T10:00+00:00")
    await redeem(ledger, world, "OTHER", "2026-11-07T10:00+00:00")
    # What nobody had heard of at the cutoff is in no report of that cutoff.
    await redeem(ledger, world, "SAVE20", "2026-11-10T10:00+00:00", received_at="2026-11-24T11:00+00:00")
    await ledger.operator.execute(
        """insert into app.conversion_adjustments (tenant_id, adjustment_id, conversion_id, kind, said_hash,
            adjusted_at, received_at)
        values ($1, gen_random_uuid(), $2, 'retract', sha256(''), $3, $3)""",
        world.campaign.tenant.tenant_id,
        gone,
        dt.datetime(2026, 11, 12, tzinfo=dt.UTC),
    )
    run_id = await make_run(ledger.operator, world.campaign)
    for conversion_id, leak in ((kept, None), (leaked, "coupon_referrer"), (more, "over_limit")):
        await ledger.operator.execute(
            """insert into app.attributed_conversions (tenant_id, run_id, conversion_id, sponsor_id, occurred_at,
                status, campaign_id, flight_id, signal, leak)
            values ($1, $2, $3, $4, now(), 'attributed', $5, $6, 'code', $7)""",
            world.campaign.tenant.tenant_id,
            run_id,
            conversion_id,
            world.campaign.sponsor_id,
            world.campaign.campaign_id,
            world.flight_id,
            leak,
        )
    link = await make_link(api, {"sponsor_id": world.sponsor_id}, slug="acme")
    await follow(ledger, link, ["2026-11-07T10:00:00+00:00", "2026-11-30T23:59:00+00:00", "2026-12-01T00:00:00+00:00"])
    await ledger.operator.execute(
        "update app.links set campaign_id = $1, flight_id = $2", world.campaign.campaign_id, world.flight_id
    )
    made = await report(api, database, worker, clock, kind="sponsor", sponsor_id=world.sponsor_id)
    assert [
        (row["code"], row["redemptions"], row["late"], row["coupon_referrer"], row["no_exposure"], row["over_limit"])
        for row in made["tables"]["codes"]
    ] == [("SAVE20", 3, 0, 1, 0, 1), ("EARLY", 1, 1, 0, 0, 0)]
    assert [(row["flight"], row["link"], row["clicks"]) for row in made["tables"]["links"]] == [
        ("Flight", "/go/acme", 2)
    ]
    totals = made["tables"]["totals"][0]
    assert (totals["clicks"], totals["redemptions"]) == (2, 4)
    again = await report(
        api,
        database,
        worker,
        clock,
        kind="sponsor",
        sponsor_id=world.sponsor_id,
        received_before="2026-11-24T11:00:00Z",
        run_id=str(run_id),
    )
    assert again == made


async def test_a_report_of_days_that_are_over_stays_the_same(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock, world: World, ledger: Ledger
) -> None:
    days = {"from": "2026-11-01", "to": "2026-11-15", "received_before": "2026-11-20T00:00:00Z"}
    first = await report(api, database, worker, clock, kind="sponsor", sponsor_id=world.sponsor_id, **days)
    assert first["tables"]["totals"][0]["delivered"] == 650
    clock.advance(dt.timedelta(days=1))
    await ledger.set_cutoff("2026-11-25T11:00+00:00")
    assert await report(api, database, worker, clock, kind="sponsor", sponsor_id=world.sponsor_id, **days) == first


async def test_deliveries_are_told_flight_by_flight_and_of_whom_one_asks(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock, world: World, ledger: Ledger
) -> None:
    other = await make(api, "Zenith")
    theirs = await make_campaign(ledger.operator, world.campaign.tenant, other["sponsor_id"], name="Theirs")
    await make_flight(ledger.operator, theirs)
    draft = await make_campaign(
        ledger.operator, world.campaign.tenant, other["sponsor_id"], name="Draft", status="draft"
    )
    await make_flight(ledger.operator, draft)
    everything = await report(api, database, worker, clock, kind="delivery")
    assert {row["campaign"] for row in everything["tables"]["flights"]} == {"Autumn", "Theirs"}
    mine = await report(api, database, worker, clock, kind="delivery", sponsor_id=world.sponsor_id)
    (row,) = mine["tables"]["flights"]
    assert row["campaign"] == "Autumn"
    assert row["projected_low"] <= row["projected"] <= row["projected_high"]
    named = await report(api, database, worker, clock, kind="delivery", campaign_id=str(draft.campaign_id))
    assert [row["campaign"] for row in named["tables"]["flights"]] == ["Draft"]
    december = {"from": "2027-02-01", "to": "2027-03-01"}
    assert (await report(api, database, worker, clock, kind="delivery", **december))["tables"]["flights"] == []


async def test_every_format_has_every_figure(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock, world: World
) -> None:
    digests = set()
    for wanted in ("json", "csv", "xlsx", "parquet"):
        body = {"kind": "sponsor", "format": wanted, "sponsor_id": world.sponsor_id, **NOVEMBER}
        asked = (await api.request("POST", "/reports", json=body)).json()
        assert await make_reports(worker, database, clock=clock) == {"made": 1, "failed": 0}
        assert (await api.data(f"/reports/{asked['report_id']}"))["status"] == "ready"
        file = await api.get(f"/reports/{asked['report_id']}/file")
        if wanted == "json":
            digests.add(file.json()["figures_sha256"])
        elif wanted == "csv":
            digests.add(file.text.partition("about,figures_sha256,")[2][:64])
    assert len(digests) == 1


async def test_what_is_another_sponsors_is_not_there(api: Api, world: World, ledger: Ledger) -> None:
    other = await make(api, "Zenith")
    run_id = await make_run(ledger.operator, world.campaign, status="running")
    body = {"kind": "sponsor", "format": "csv", "sponsor_id": other["sponsor_id"], **NOVEMBER}
    for field, value in (("campaign_id", world.campaign.campaign_id), ("run_id", run_id)):
        refused = await api.request("POST", "/reports", json={**body, field: str(value)})
        assert codes(refused) == {(f"/{field}", "not_found")}


async def test_a_sponsors_login_sees_the_reports_about_it(
    api: Api, database: DatabaseSettings, worker: Connection, clock: FixedClock, world: World, ledger: Ledger
) -> None:
    other = await make(api, "Zenith")
    asked = {}
    for sponsor_id in (world.sponsor_id, other["sponsor_id"], None):
        kind = "delivery" if sponsor_id is None else "sponsor"
        body = {"kind": kind, "format": "csv", "sponsor_id": sponsor_id, **NOVEMBER}
        asked[sponsor_id] = (await api.request("POST", "/reports", json=body)).json()["report_id"]
    await make_reports(worker, database, clock=clock)
    user_id = await make_person(ledger, "sam@example.com", "home", role=RoleName.SPONSOR)
    await hold(api, ledger, user_id, world.sponsor_id)
    access = (await sign_in(api, "sam@example.com")).access
    mine = asked[world.sponsor_id]
    listed = await api.get("/reports", key=access)
    assert [one["report_id"] for one in listed.json()["data"]] == [mine]
    assert (await api.get(f"/reports/{mine}/file", key=access)).text.startswith("table,name,value")
    for sponsor_id in (other["sponsor_id"], None):
        problem(await api.get(f"/reports/{asked[sponsor_id]}", key=access), 404, "not_found")
        problem(await api.get(f"/reports/{asked[sponsor_id]}/file", key=access), 404, "not_found")
    for method, path in (
        ("DELETE", f"/reports/{mine}"),
        ("POST", f"/reports/{mine}/shares"),
        ("GET", f"/reports/{mine}/shares"),
    ):
        problem(await api.request(method, path, key=access), 403, "forbidden")


async def test_files_that_name_a_podcast_go_with_it(
    api: Api, world: World, ledger: Ledger, database: DatabaseSettings, worker: Connection, clock: FixedClock
) -> None:
    other = await make(api, "Other")
    elsewhere = await make_campaign(ledger.operator, world.campaign.tenant, world.campaign.sponsor_id)
    of_other = {"kind": "sponsor", "sponsor_id": other["sponsor_id"]}
    asked = {
        "sponsor": {"kind": "sponsor", "sponsor_id": world.sponsor_id},
        "campaign": {"kind": "delivery", "campaign_id": str(world.campaign.campaign_id)},
        "all": {"kind": "delivery"},
        "other sponsor": of_other,
        "other campaign": {"kind": "delivery", "campaign_id": str(elsewhere.campaign_id)},
    }
    ids = {}
    for name, wanted in asked.items():
        answer = await api.request("POST", "/reports", json={"format": "csv", **NOVEMBER, **wanted})
        assert answer.status_code == 202, answer.text
        ids[name] = answer.json()["report_id"]
    assert (await make_reports(worker, database, clock=clock))["made"] == len(asked)
    shares = [
        await api.request("POST", f"/reports/{ids[name]}/shares", json={"expires_at": "2026-12-24T12:00:00Z"})
        for name in ("sponsor", "other sponsor")
    ]
    # One that is being made has read the podcast already.
    late = await api.request("POST", "/reports", json={"format": "csv", **NOVEMBER, **asked["sponsor"]})
    [waiting] = await list_waiting(worker)
    begun = await begin_report(worker, waiting)
    assert begun is not None

    row = await ledger.operator.fetchrow("select podcast_id, podcast_no from app.podcasts")
    assert row is not None
    podcast = MadePodcast(row["podcast_id"], row["podcast_no"], uuid4(), world.campaign.tenant, {})
    pools = [await open_pool(database, role, application_name="test", max_size=2) for role in (Role.API, Role.INGEST)]
    try:
        record = await Eraser(*pools).erase_podcast(podcast, now=clock.now())
    finally:
        for pool in pools:
            await pool.close()
    assert record.removed["report_files"] == 3
    rows = {name: await api.data(f"/reports/{report_id}") for name, report_id in ids.items()}
    assert {name: (row["status"], row["has_file"]) for name, row in rows.items()} == {
        "sponsor": ("erased", False),
        "campaign": ("erased", False),
        "all": ("erased", False),
        "other sponsor": ("ready", True),
        "other campaign": ("ready", True),
    }
    assert rows["sponsor"]["error"] == "it named a podcast that was erased"
    assert "made again" in problem(await api.get(f"/reports/{ids['sponsor']}/file"), 410, "report_erased")["detail"]
    gone, there = [await api.get(f"/shared/{answer.json()['token']}", download=1) for answer in shares]
    problem(gone, 410, "report_erased")
    assert there.status_code == 200
    # What was made meanwhile is not kept; made again, it does not name the podcast.
    assert not await finish_report(
        worker, begun, content=b"x", figures=None, sha256=bytes(32), cutoff_at=None, now=clock.now()
    )
    assert (await make_reports(worker, database, clock=clock))["made"] == 1
    file = await api.get(f"/reports/{late.json()['report_id']}/file")
    assert file.status_code == 200
    assert "Podcast 1" not in file.text
