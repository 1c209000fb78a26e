"""Attribution over the API: runs, what they found, the path of a conversion, and codes that leaked."""

from __future__ import annotations

import datetime as dt
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.attribution.parameters import Model
from analytics_core.db.erasure_requests import ask_for_customer
from analytics_core.db.pool import open_pool, tenant_transaction
from analytics_core.ids import new_id
from analytics_core.permissions import RoleName
from analytics_core.roles import Role
from tests.attributions import START, MadeSponsor, customer
from tests.factories import make_episode, make_podcast
from tests.integration.api.attributing import ask_run, compute_runs
from tests.integration.api.conftest import NOW
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.people import make_person, sign_in
from tests.integration.api.test_sponsor_logins import hold
from tests.integration.ingest.erasing import Eraser

pytestmark = pytest.mark.anyio


def day(number: float) -> dt.datetime:
    """Count days from the first of November."""
    return START + dt.timedelta(days=number)


def shown(at: dt.datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


class World(NamedTuple):
    """A sponsor with two campaigns, and the action that counts."""

    acme: MadeSponsor
    launch: UUID
    autumn: UUID
    action: UUID


@pytest.fixture
async def world(api: Api, ledger: Ledger) -> World:
    acme = await MadeSponsor.make(ledger.operator, await ledger.tenant_of("home"))
    launch = await acme.flight(await acme.campaign("Launch", window_days=10), "Week 1")
    autumn = await acme.flight(await acme.campaign("Autumn"), "All")
    await acme.code(launch, "LAUNCH")
    await acme.code(autumn, "AUTUMN")
    return World(acme, launch, autumn, await acme.action())


async def computed(api: Api, sponsor_id: UUID, **given: Any) -> Any:
    """Ask for a run, have it computed, and read it."""
    asked = await ask_run(api, sponsor_id, **given)
    await compute_runs(api, NOW)
    return await api.data(f"/attribution/runs/{asked['run_id']}")


async def test_a_run_is_asked_for_computed_and_read(api: Api, world: World) -> None:
    acme = world.acme
    ann = customer("ann")
    await acme.signal(ann, day(3), promo_code="AUTUMN")
    await acme.conversion(world.action, day(5), 999, promo_code="LAUNCH", customer_key=ann, new_customer=True)
    await acme.conversion(world.action, day(6), 50, currency="USD", promo_code="launch")
    await acme.conversion(world.action, day(6))
    asked = await ask_run(api, acme.sponsor_id, models=["linear", "last", "markov"], params={"half_life_days": 3})
    assert asked == {
        "run_id": asked["run_id"],
        "sponsor_id": str(acme.sponsor_id),
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-12-01T00:00:00Z",
        "models": ["last", "linear", "markov"],
        "params": {"half_life_days": 3, "counting_days": 30},
        "params_hash": asked["params_hash"],
        "status": "queued",
        "done_ppm": 0,
        "error": None,
        "cutoff_at": shown(NOW),
        "code_version": asked["code_version"],
        "summary": None,
        "created_at": shown(NOW),
        "finished_at": None,
    }
    waiting = await api.data(f"/attribution/runs/{asked['run_id']}")
    assert waiting == {"run": asked, "deterministic": None, "models": None, "campaigns": None}
    assert await compute_runs(api, NOW) == {"ready": 1, "failed": 0, "left": 0}
    found = await api.data(f"/attribution/runs/{asked['run_id']}")
    assert (found["run"]["status"], found["run"]["done_ppm"]) == ("ready", 1_000_000)
    assert found["run"]["code_version"].startswith("attribution-2 (")
    summary = found["run"]["summary"]
    assert summary["conversions"] == 3
    assert summary["counted"] == [
        {"status": "attributed", "currency": "EUR", "conversions": 1, "value_amount": 999},
        {"status": "attributed", "currency": "USD", "conversions": 1, "value_amount": 50},
        {"status": "unattributed", "currency": None, "conversions": 1, "value_amount": 0},
    ]
    assert summary["reasons"] == {"no_signal": 1}
    assert set(summary["insufficient"]) == {"markov"}

    def credit(currency: str, conversions: int, new: int, value: int) -> dict[str, Any]:
        return {
            "currency": currency,
            "conversions_ppm": conversions,
            "new_customers_ppm": new,
            "value_amount": value,
        }

    assert found["deterministic"] == [credit("EUR", 1_000_000, 1_000_000, 999), credit("USD", 1_000_000, 0, 50)]
    # Markov has no answer, and so no row.
    assert [(one["model"], one["credited"]) for one in found["models"]] == [
        ("last", found["deterministic"]),
        ("linear", found["deterministic"]),
    ]
    assert all(one["method"] for one in found["models"])
    launch, autumn = found["campaigns"]
    assert (launch["name"], [one["name"] for one in launch["flights"]]) == ("Launch", ["Week 1"])
    assert launch["deterministic"] == found["deterministic"]
    assert [one["credited"] for one in launch["models"]] == [
        [credit("EUR", 1_000_000, 1_000_000, 999), credit("USD", 1_000_000, 0, 50)],
        # An odd cent goes to the earlier touch, which is Autumn's.
        [credit("EUR", 500_000, 500_000, 499), credit("USD", 1_000_000, 0, 50)],
    ]
    assert (autumn["name"], autumn["deterministic"]) == ("Autumn", [])
    assert [one["credited"] for one in autumn["models"]] == [[], [credit("EUR", 500_000, 500_000, 500)]]
    assert autumn["flights"][0]["models"] == autumn["models"]
    other = await ask_run(api, acme.sponsor_id)
    assert other["models"] == [model.value for model in Model]
    listed = await api.data("/attribution/runs", sponsor_id=str(acme.sponsor_id), limit=1)
    assert [one["run_id"] for one in listed["data"]] == [asked["run_id"]]
    rest = await api.data("/attribution/runs", cursor=listed["next_cursor"])
    assert [one["run_id"] for one in rest["data"]] == [other["run_id"]]
    entries = (await api.data("/audit"))["data"]
    assert [one["action"] for one in entries].count("attribution_run.create") == 2


async def test_what_cannot_be_asked_for_is_refused_with_all_faults(api: Api, world: World) -> None:
    async def ask(**given: Any) -> Any:
        body = {"sponsor_id": str(world.acme.sponsor_id), "from": "2026-11-01", "to": "2026-12-01", **given}
        return await api.request("POST", "/attribution/runs", json=body)

    assert codes(
        await ask(**{"from": "2026-11-01T00:00:00", "to": "soon", "models": ["luck"], "params": {"x": 1}})
    ) == {
        ("/from", "naive_time"),
        ("/to", "invalid"),
        ("/models/0", "unknown_model"),
        ("/params/x", "unknown"),
    }
    assert codes(await ask(to="2026-11-01")) == {("/to", "reversed_range")}
    assert codes(await ask(to="2027-12-07")) == {("/to", "range_too_long")}
    assert codes(await ask(cutoff_at=shown(NOW + dt.timedelta(microseconds=1)))) == {("/cutoff_at", "in_the_future")}
    assert codes(await ask(models=[])) == {("/models", "invalid")}
    assert codes(await ask(params={"half_life_days": 0})) == {("/params/half_life_days", "invalid")}
    assert codes(await ask(colour="red")) == {("/colour", "unknown_field")}
    problem(await ask(sponsor_id=str(new_id())), 404, "not_found")
    assert (await api.data("/attribution/runs"))["data"] == []
    for _ in range(20):
        assert (await ask(models=["last"])).status_code == 202
    problem(await ask(models=["last"]), 409, "too_many_runs")


async def test_the_path_of_a_conversion_tells_all_of_it(api: Api, ledger: Ledger, world: World) -> None:
    acme, ann = world.acme, customer("ann")
    clicked = await acme.click(await acme.link("autumn", world.autumn), day(2))
    await acme.signal(ann, day(2), click_id=clicked)
    await acme.signal(ann, day(4), promo_code="LAUNCH")
    await acme.signal(ann, day(22), promo_code="LAUNCH")
    bought = await acme.conversion(
        world.action, day(20), 1_000, customer_key=ann, promo_code="NOBODYS", link="autumn", new_customer=False
    )
    await acme.adjust(bought, 401, day(21))
    await acme.adjust(bought, None, day(22), received_at=NOW)
    problem(await api.get(f"/attribution/paths/{bought}"), 404, "not_found")
    found = await computed(api, acme.sponsor_id, models=["first", "linear", "markov"])
    path = await api.data(f"/attribution/paths/{bought}")
    assert path == await api.data(f"/attribution/paths/{bought}", run_id=found["run"]["run_id"])
    assert {name: path[name] for name in ("told_amount", "value_amount", "refunded_amount", "currency", "status")} == {
        "told_amount": 1_000,
        "value_amount": 401,
        "refunded_amount": 599,
        "currency": "EUR",
        "status": "attributed",
    }
    autumn = {
        "campaign_id": str(acme.campaign_of(world.autumn)),
        "campaign": "Autumn",
        "flight_id": str(world.autumn),
        "flight": "All",
    }
    launch = {
        "campaign_id": str(acme.campaign_of(world.launch)),
        "campaign": "Launch",
        "flight_id": str(world.launch),
        "flight": "Week 1",
    }
    assert path["touches"] == [
        {
            "signal": "click",
            "occurred_at": shown(day(2)),
            "is_day_only": False,
            **autumn,
            "credits": [
                {"model": "first", "credit_ppm": 1_000_000, "value_amount": 401},
                {"model": "linear", "credit_ppm": 500_000, "value_amount": 201},
            ],
        },
        {
            "signal": "vanity",
            "occurred_at": shown(day(20)),
            "is_day_only": False,
            **autumn,
            "credits": [{"model": "linear", "credit_ppm": 500_000, "value_amount": 200}],
        },
    ]
    assert path["deterministic"] == {"signal": "vanity", **autumn}
    nothing = {"campaign_id": None, "campaign": None, "flight_id": None, "flight": None}
    assert [{**one, "explanation": bool(one["explanation"])} for one in path["others"]] == [
        {
            "signal": "code",
            "occurred_at": shown(day(20)),
            **nothing,
            "reason": "unknown_code",
            "explanation": True,
        },
        {
            "signal": "code",
            "occurred_at": shown(day(4)),
            **launch,
            "reason": "outside_window",
            "explanation": True,
        },
        {"signal": "code", "occurred_at": shown(day(22)), **launch, "reason": "later", "explanation": True},
    ]
    assert [(one["model"], one["insufficient"] is None) for one in path["models"]] == [
        ("first", True),
        ("linear", True),
        ("markov", False),
    ]
    assert [(one["kind"], one["value_amount"], one["is_in_run"]) for one in path["adjustments"]] == [
        ("restate", 401, True),
        ("retract", None, False),
    ]
    problem(await api.get(f"/attribution/paths/{bought}", run_id=str(new_id())), 404, "not_found")
    problem(await api.get("/attribution/paths/none"), 404, "not_found")


async def test_a_path_tells_what_has_no_part_in_the_run_though_it_might(api: Api, world: World) -> None:
    acme = world.acme
    new_only = await acme.flight(await acme.campaign("New", excludes_prior_customers=True))
    await acme.code(new_only, "NEWONLY")
    late = await acme.flight(await acme.campaign("Late"))
    link = await acme.link("late", None)
    ann = customer("ann")
    await acme.signal(ann, day(1), click_id=await acme.click(link, day(1)))
    await acme.signal(ann, day(2), promo_code="AUTUMN")
    bought = await acme.conversion(
        world.action, day(5), 100, customer_key=ann, promo_code="NEWONLY", new_customer=False
    )
    gone = await acme.conversion(world.action, day(6), 100, promo_code="LAUNCH")
    await acme.adjust(gone, None, day(7))
    await computed(api, acme.sponsor_id, models=["last"])
    await acme.operator.execute(
        "update app.links set campaign_id = $2, flight_id = $3 where link_no = $1", link, acme.campaign_of(late), late
    )
    path = await api.data(f"/attribution/paths/{bought}")
    assert [one["flight_id"] for one in path["touches"]] == [str(world.autumn)]
    assert [(one["flight_id"], one["reason"]) for one in path["others"]] == [
        (str(late), "entered_since"),
        (str(new_only), "prior_customer"),
    ]
    path = await api.data(f"/attribution/paths/{gone}")
    assert (path["status"], path["value_amount"], path["refunded_amount"]) == ("retracted", None, 100)
    assert (path["touches"], path["deterministic"]) == ([], None)
    assert [(one["flight_id"], one["reason"]) for one in path["others"]] == [(str(world.launch), "retracted")]


async def test_a_path_of_an_erased_customer_tells_the_day_and_nothing_as_entered_since(api: Api, world: World) -> None:
    acme, ann = world.acme, customer("ann")
    await acme.signal(ann, day(1.25), promo_code="AUTUMN")
    bought = await acme.conversion(world.action, day(5.25), 100, customer_key=ann, promo_code="LAUNCH")
    await computed(api, acme.sponsor_id, models=["linear"])
    before = await api.data(f"/attribution/paths/{bought}")
    database = api.app.state["resources"].settings.require_database()
    pools = [await open_pool(database, role, application_name="test", max_size=3) for role in (Role.API, Role.INGEST)]
    async with tenant_transaction(pools[0], acme.tenant) as conn:
        stored = await ask_for_customer(conn, acme.tenant, ann, now=NOW)
    eraser = Eraser(*pools)
    await eraser.perform(await eraser.request(stored.record.erasure_id), now=NOW)
    for pool in pools:
        await pool.close()
    path = await api.data(f"/attribution/paths/{bought}")
    assert path == {
        **before,
        "touches": [
            {**touch, "occurred_at": shown(day(at)), "is_day_only": True}
            for touch, at in zip(before["touches"], (1, 5), strict=True)
        ],
    }
    assert path["others"] == []


async def test_whoever_is_held_to_a_sponsor_sees_its_runs_and_paths_and_nothing_of_customers(
    api: Api, ledger: Ledger, world: World
) -> None:
    acme = world.acme
    zenith = await MadeSponsor.make(ledger.operator, acme.tenant, "Zenith")
    await acme.signal(customer("ann"), day(4), promo_code="LAUNCH")
    await acme.signal(customer("ann"), day(19), promo_code="AUTUMN")
    bought = await acme.conversion(world.action, day(20), 9, customer_key=customer("ann"), promo_code="LAUNCH")
    theirs = await zenith.conversion(await zenith.action(), day(20), 7)
    mine, other = await computed(api, acme.sponsor_id), await computed(api, zenith.sponsor_id)
    user_id = await make_person(ledger, "sam@example.com", "home", role=RoleName.SPONSOR)
    await hold(api, ledger, user_id, str(acme.sponsor_id))
    access = (await sign_in(api, "sam@example.com")).access
    listed = (await api.get("/attribution/runs", key=access)).json()["data"]
    assert [one["run_id"] for one in listed] == [mine["run"]["run_id"]]
    assert (await api.get(f"/attribution/runs/{listed[0]['run_id']}", key=access)).json() == mine
    path = (await api.get(f"/attribution/paths/{bought}", key=access)).json()
    whole = await api.data(f"/attribution/paths/{bought}")
    # What its customer did elsewhere is told as far as it is credited.
    assert path["touches"] == whole["touches"]
    assert len(path["touches"]) == 2
    assert [one["reason"] for one in whole["others"]] == ["outside_window"]
    assert path["others"] == []
    assert "customer" not in str(path).replace("new_customer", "").replace("customers", "")
    leaks = (await api.get("/attribution/leakage", key=access, from_="2026-11-01", to="2026-12-01")).json()
    assert leaks["totals"]["redemptions"] == 1
    for refused in (
        f"/attribution/runs/{other['run']['run_id']}",
        f"/attribution/paths/{theirs}",
        f"/attribution/paths/{theirs}?run_id={other['run']['run_id']}",
        f"/attribution/paths/{bought}?run_id={other['run']['run_id']}",
        f"/attribution/runs?sponsor_id={zenith.sponsor_id}",
        f"/attribution/leakage?sponsor_id={zenith.sponsor_id}",
    ):
        problem(await api.request("GET", refused, key=access), 404, "not_found")
    body = {"sponsor_id": str(acme.sponsor_id), "from": "2026-11-01", "to": "2026-12-01"}
    problem(await api.request("POST", "/attribution/runs", key=access, json=body), 403, "forbidden")


async def test_leaked_codes_are_shown_beside_the_code(api: Api, ledger: Ledger, world: World) -> None:
    acme = world.acme
    database = api.app.state["resources"].settings.require_database()
    podcast = await make_podcast(database, acme.tenant, make_episode("a"))
    await acme.place(world.launch, podcast.episodes["a"], day(3).date())

    async def redeem(code: str, at: float, host: str | None = None) -> UUID:
        return await acme.conversion(world.action, day(at), 1, promo_code=code, referrer_host=host)

    await redeem("launch", 4, "news.example.com")
    await redeem("LAUNCH", 5, "deals.retailmenot.com")
    await redeem(" lau-nch", 20)
    await redeem("AUTUMN", 5)
    await redeem("TYPO", 5)
    await acme.adjust(await redeem("LAUNCH", 20), None, day(21))
    found = await api.data("/attribution/leakage", from_="2026-11-01", to="2026-12-01")
    launch, autumn, typo = found["data"]
    assert (launch["code"], launch["flight_id"]) == ("LAUNCH", str(world.launch))
    assert launch["redeemed"] == {
        "redemptions": 3,
        "late": 0,
        "leaked": {"over_limit": 0, "coupon_referrer": 1, "no_exposure": 1},
    }
    assert launch["referrers"] == [
        {"host": "deals.retailmenot.com", "redemptions": 1, "is_coupon_site": True},
        {"host": "news.example.com", "redemptions": 1, "is_coupon_site": False},
    ]
    assert autumn["redeemed"]["leaked"] == {"over_limit": 0, "coupon_referrer": 0, "no_exposure": 1}
    assert (typo["promo_code_id"], typo["redeemed"]["leaked"]) == (
        None,
        {"over_limit": 0, "coupon_referrer": 0, "no_exposure": 0},
    )
    assert found["totals"] == {
        "redemptions": 5,
        "late": 0,
        "leaked": {"over_limit": 0, "coupon_referrer": 1, "no_exposure": 2},
    }
    assert (found["unknown"], found["left_out"]) == (1, 0)
    short = await api.data("/attribution/leakage", from_="2026-11-01", to="2026-12-01", limit=1)
    assert (short["data"], short["left_out"], short["totals"]) == ([launch], 2, found["totals"])


_CODES = st.lists(
    st.tuples(
        st.sampled_from(["ONE", "TWO"]),
        st.integers(0, 3),
        st.integers(1, 4),
        st.integers(0, 2),
        st.sampled_from([None, 1, 2]),
    ),
    max_size=4,
)
_REDEEMED = st.lists(
    st.tuples(
        st.sampled_from(["one", "T w-o", "ONE", "three"]),
        st.floats(0, 12, allow_nan=False),
        st.sampled_from([None, "coupons.com", "a.example"]),
        st.booleans(),
    ),
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=_CODES, heard=st.sets(st.integers(0, 12)), redeemed=_REDEEMED)
async def test_runs_and_the_list_of_leaks_tell_the_same(
    api: Api,
    ledger: Ledger,
    world: World,
    made: list[tuple[str, int, int, int, int | None]],
    heard: set[int],
    redeemed: list[tuple[str, float, str | None, bool]],
) -> None:
    acme = await MadeSponsor.make(ledger.operator, world.acme.tenant, str(new_id()))
    flight = await acme.flight(await acme.campaign(window_days=2))
    database = api.app.state["resources"].settings.require_database()
    podcast = await make_podcast(
        database, acme.tenant, make_episode(f"e{new_id()}", f"https://{new_id()}.example.com/a.mp3")
    )
    await acme.place(flight, next(iter(podcast.episodes.values())), *(day(one).date() for one in sorted(heard)))
    ends: dict[str, float] = {}
    for code, gap, length, grace, limit in made:
        starts = ends.get(code, 0) + gap
        ends[code] = starts + length
        await acme.code(
            flight,
            code,
            valid_from=day(starts),
            valid_until=day(starts + length),
            grace_days=grace,
            max_redemptions=limit,
        )
    action = await acme.action()
    for code, at, host, is_gone in redeemed:
        bought = await acme.conversion(action, day(at), 1, promo_code=code, referrer_host=host)
        if is_gone:
            await acme.adjust(bought, None, day(at))
    run = await computed(api, acme.sponsor_id, models=["last"])
    listed = await api.data(
        "/attribution/leakage", sponsor_id=str(acme.sponsor_id), from_="2026-11-01", to="2026-12-01"
    )
    summary = run["run"]["summary"]
    assert listed["totals"]["redemptions"] == sum(not is_gone for *_, is_gone in redeemed)
    assert listed["totals"]["late"] == summary["late_codes"]
    assert {name: count for name, count in listed["totals"]["leaked"].items() if count} == summary["leaks"]
    assert listed["unknown"] == sum(one["conversions"] for one in summary["counted"] if one["status"] == "unattributed")
    shown = (await api.data("/promo-codes", sponsor_id=str(acme.sponsor_id)))["data"]
    assert listed["totals"]["leaked"]["over_limit"] == sum(one["over_limit_redemptions"] for one in shown)
