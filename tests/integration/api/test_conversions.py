"""Conversions: sent by servers, each once, adjusted, answered for; each tenant's own, each sponsor's own."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from uuid import UUID, uuid4

import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.pool import open_pool, tenant_transaction
from analytics_core.db.sponsors import merge_sponsors
from analytics_core.event_pages import customer_key
from analytics_core.links import format_click_id
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from tests.campaigns import make_campaign, make_flight
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

ORDER = {"external_id": "order-77", "occurred_at": "2026-11-24T10:00:00Z", "value_amount": 4999, "currency": "EUR"}


async def post(api: Api, path: str, status: int = 201, *, key: str | None = None, **body: Any) -> Any:
    answer = await api.request("POST", path, json=body, key=key)
    assert answer.status_code == status, answer.text
    return answer.json()


async def make_sponsor(api: Api, name: str = "Acme", **more: Any) -> str:
    return str((await post(api, "/sponsors", name=name, **more))["sponsor_id"])


async def make_action(api: Api, sponsor_id: str, name: str = "Purchase", **more: Any) -> Any:
    given = {"sponsor_id": sponsor_id, "name": name, "category": "purchase", **more}
    return await post(api, "/conversion-actions", **given)


@pytest.fixture
async def action(api: Api) -> Any:
    return await make_action(api, await make_sponsor(api), event_type="purchase")


async def send(api: Api, action: Any, **said: Any) -> Any:
    body = {"action_id": action["action_id"], **ORDER, **said}
    return await api.request("POST", "/attribution/conversions", json=body)


async def test_an_action_is_added_listed_changed_and_put_away(api: Api) -> None:
    sponsor_id = await make_sponsor(api)
    made = await make_action(api, sponsor_id, " Big  order ", counting="one", default_value_amount=500, currency="EUR")
    assert made == {
        "action_id": made["action_id"],
        "sponsor_id": sponsor_id,
        "name": "Big order",
        "category": "purchase",
        "event_type": None,
        "counting": "one",
        "default_value_amount": 500,
        "currency": "EUR",
        "version": 1,
        "created_at": "2026-11-24T12:00:00Z",
        "archived_at": None,
    }
    path = f"/conversion-actions/{made['action_id']}"
    assert await api.data(path) == made
    assert (await api.data("/conversion-actions", sponsor_id=sponsor_id))["data"] == [made]
    changed = await api.request("PATCH", path, json={"counting": "every"}, headers={"If-Match": '"1"'})
    assert (changed.json()["counting"], changed.headers["etag"]) == ("every", '"2"')
    problem(await api.request("PATCH", path, json={"name": "x"}, headers={"If-Match": '"1"'}), 412, "outdated")
    away = await post(api, f"{path}/archive", 200)
    assert (away["archived_at"], away["version"]) == ("2026-11-24T12:00:00Z", 3)
    assert await post(api, f"{path}/archive", 200) == away
    problem(await api.request("PATCH", path, json={"name": "x"}), 409, "action_archived")
    problem(await send(api, made), 409, "action_archived")


async def test_a_sponsor_has_one_action_of_a_name_and_one_of_a_type_of_events(api: Api, action: Any) -> None:
    async def refused(**more: Any) -> Any:
        given = {"sponsor_id": action["sponsor_id"], "name": "Other", "category": "lead", **more}
        return await api.request("POST", "/conversion-actions", json=given)

    problem(await refused(name="PURCHASE"), 409, "action_name_taken")
    problem(await refused(event_type="purchase"), 409, "event_type_taken")
    other = await make_action(api, await make_sponsor(api, "Globex"), event_type="purchase")
    path = f"/conversion-actions/{action['action_id']}"
    await post(api, f"{path}/archive", 200)
    assert (await refused(event_type="purchase")).status_code == 201
    problem(
        await api.request("PATCH", f"/conversion-actions/{other['action_id']}", json={"event_type": "refund"}),
        422,
        "reserved",
    )


async def test_what_is_wrong_with_an_action_is_told_at_once(api: Api, action: Any) -> None:
    given = {"sponsor_id": action["sponsor_id"], "name": "x\n", "category": "lead"}
    answer = await api.request(
        "POST", "/conversion-actions", json={**given, "event_type": "page_view", "default_value_amount": 1}
    )
    assert codes(answer) == {("/name", "invalid"), ("/event_type", "reserved"), ("/currency", "missing")}
    answer = await api.request(
        "POST", "/conversion-actions", json={**given, "counting": "twice", "currency": "eur", "colour": 1}
    )
    assert {pointer for pointer, _ in codes(answer)} == {"/counting", "/currency", "/colour"}
    problem(
        await api.request("POST", "/conversion-actions", json={**given, "name": "x", "sponsor_id": str(uuid4())}),
        404,
        "not_found",
    )


async def test_a_conversion_is_stored_as_it_was_said(api: Api, ledger: Ledger, action: Any, clock: FixedClock) -> None:
    click_id = uuid4()
    answer = await send(
        api,
        action,
        click_id=format_click_id(click_id),
        link="Offer",
        promo_code="save 20",
        survey_answer="The Daily",
        customer_id="u_1",
        new_customer=True,
        referrer="https://www.coupons.example.com/acme?x=1",
        occurred_at="2026-11-24T11:00:00+01:00",
    )
    assert answer.status_code == 201
    made = answer.json()
    secret = await ledger.ingest.fetchval("select secret from ops.event_secrets")
    assert made == {
        "conversion_id": made["conversion_id"],
        "action_id": action["action_id"],
        "sponsor_id": action["sponsor_id"],
        "external_id": "order-77",
        "source": "api",
        "occurred_at": "2026-11-24T10:00:00Z",
        "received_at": "2026-11-24T12:00:00Z",
        "value_amount": 4999,
        "currency": "EUR",
        "click_id": str(click_id),
        "link": "offer",
        "promo_code": "save 20",
        "survey_answer": "The Daily",
        "customer_key": str(customer_key("u_1", secret)),
        "new_customer": True,
        "referrer_host": "coupons.example.com",
        "is_retracted": False,
        "effective_value_amount": 4999,
        "adjustments": [],
    }
    assert await api.data(f"/attribution/conversions/{made['conversion_id']}") == made
    # A name is in no row, and in no record of changes.
    told = await ledger.operator.fetchval("select coalesce(string_agg(l::text, ''), '') from app.audit_log l")
    assert "u_1" not in told
    assert "order-77" not in told


async def test_the_same_conversion_again_is_the_first_and_another_under_its_name_is_refused(
    api: Api, action: Any, clock: FixedClock
) -> None:
    first = await send(api, action, customer_id="u_1")
    clock.advance(dt.timedelta(hours=1))
    again = await send(api, action, customer_id="u_1", occurred_at="2026-11-24T11:00:00+01:00")
    assert (again.status_code, again.json()) == (200, first.json())
    for other in ({"value_amount": 5000}, {"customer_id": "u_2"}, {"customer_id": "u_1", "promo_code": "X"}):
        problem(await send(api, action, **{"customer_id": "u_1", **other}), 409, "conversion_differs")
    assert len((await api.data("/attribution/conversions"))["data"]) == 1
    # Of another action it is another one.
    signup = await make_action(api, action["sponsor_id"], "Signup")
    assert (await send(api, signup)).status_code == 201


async def test_of_twins_that_are_sent_at_once_one_is_made(api: Api, action: Any) -> None:
    answers = await asyncio.gather(*(send(api, action) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [*[200] * 5, 201]
    assert len({answer.json()["conversion_id"] for answer in answers}) == 1


async def test_a_key_answers_with_the_status_of_its_first_answer(api: Api, action: Any) -> None:
    await send(api, action)
    body = {"action_id": action["action_id"], **ORDER}
    answers = [
        await api.request("POST", "/attribution/conversions", json=body, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].headers["idempotent-replayed"] == "true"


async def test_what_says_nothing_of_value_and_time_gets_those_of_its_action_and_receipt(api: Api) -> None:
    action = await make_action(api, await make_sponsor(api), default_value_amount=700, currency="USD")
    body = {"action_id": action["action_id"], "external_id": "lead-1"}
    first = await post(api, "/attribution/conversions", **body)
    assert (first["value_amount"], first["currency"], first["occurred_at"]) == (700, "USD", "2026-11-24T12:00:00Z")
    # Another default is for what comes after it.
    await api.request("PATCH", f"/conversion-actions/{action['action_id']}", json={"default_value_amount": 900})
    assert (await post(api, "/attribution/conversions", 200, **body))["value_amount"] == 700
    assert (await post(api, "/attribution/conversions", **{**body, "external_id": "lead-2"}))["value_amount"] == 900


async def test_all_that_is_wrong_with_a_conversion_is_told_at_once(api: Api, action: Any) -> None:
    answer = await send(
        api,
        action,
        value_amount=49.99,
        currency="euro",
        external_id="",
        occurred_at="2026-11-24T10:00:00",
        link="-x",
        click_id="nope",
        promo_code="\x07",
        colour="red",
    )
    assert codes(answer) == {
        ("/value_amount", "invalid"),
        ("/currency", "invalid"),
        ("/external_id", "invalid"),
        ("/occurred_at", "naive_time"),
        ("/link", "invalid"),
        ("/click_id", "invalid"),
        ("/promo_code", "invalid"),
        ("/colour", "unknown_field"),
    }
    assert codes(await send(api, action, value_amount=-1)) == {("/value_amount", "invalid")}
    assert codes(await send(api, action, currency=None)) == {("/currency", "missing")}
    assert codes(await send(api, action, occurred_at="2026-11-25T12:00:01Z")) == {("/occurred_at", "too_new")}
    assert codes(await send(api, action, occurred_at="2026-08-26T11:59:59Z")) == {("/occurred_at", "too_old")}
    assert (await send(api, action, occurred_at="2026-08-26T12:00:00Z")).status_code == 201
    problem(await send(api, {"action_id": str(uuid4())}), 404, "not_found")


async def test_many_get_a_verdict_each(api: Api, action: Any) -> None:
    old = (await send(api, action)).json()
    archived = await make_action(api, action["sponsor_id"], "Old")
    await post(api, f"/conversion-actions/{archived['action_id']}/archive", 200)
    one = {"action_id": action["action_id"], **ORDER}
    sent = [
        {**one, "external_id": "new"},
        one,
        {**one, "value_amount": 1},
        {**one, "external_id": "new"},
        {**one, "external_id": "new", "value_amount": 1},
        {**one, "action_id": str(uuid4())},
        {**one, "action_id": archived["action_id"]},
        {**one, "value_amount": -1, "external_id": "bad"},
        {"external_id": 5},
        7,
    ]
    verdicts = await post(api, "/attribution/conversions", 200, conversions=sent)
    assert (verdicts["created"], verdicts["repeated"], verdicts["refused"]) == (1, 2, 7)
    results = verdicts["results"]
    assert [(row["external_id"], row["status"], row.get("code")) for row in results] == [
        ("new", 201, None),
        ("order-77", 200, None),
        ("order-77", 409, "conversion_differs"),
        ("new", 200, None),
        ("new", 409, "conversion_differs"),
        ("order-77", 404, "not_found"),
        ("order-77", 409, "action_archived"),
        ("bad", 422, "validation_failed"),
        (None, 422, "validation_failed"),
        (None, 422, "validation_failed"),
    ]
    assert results[1]["conversion_id"] == results[2]["conversion_id"] == old["conversion_id"]
    assert results[0]["conversion_id"] == results[3]["conversion_id"]
    assert [fault["pointer"] for fault in results[7]["errors"]] == ["/conversions/7/value_amount"]
    assert {fault["pointer"] for fault in results[8]["errors"]} == {
        "/conversions/8/action_id",
        "/conversions/8/external_id",
    }
    assert len((await api.data("/attribution/conversions"))["data"]) == 2


async def test_more_than_500_are_too_many(api: Api, action: Any) -> None:
    sent = [{"action_id": action["action_id"], "external_id": f"o-{number}"} for number in range(501)]
    answer = await api.request("POST", "/attribution/conversions", json={"conversions": sent})
    problem(answer, 413, "too_many_conversions")
    verdicts = await post(api, "/attribution/conversions", 200, conversions=sent[:500])
    assert verdicts["created"] == 500
    answer = await api.request("POST", "/attribution/conversions", json={"conversions": [], "external_id": "x"})
    assert codes(answer) == {("/external_id", "unknown_field")}
    assert codes(await api.request("POST", "/attribution/conversions", json={"conversions": {}})) == {
        ("/conversions", "invalid")
    }


async def test_the_list_goes_by_when_they_occurred(api: Api, action: Any) -> None:
    signup = await make_action(api, await make_sponsor(api, "Globex"), "Signup")
    for number, (which, hour) in enumerate([(action, 11), (signup, 9), (action, 8), (action, 10)]):
        said = {"external_id": f"o-{number}", "occurred_at": f"2026-11-24T{hour:02}:00:00Z"}
        assert (await send(api, which, **said)).status_code == 201

    async def names(**query: Any) -> list[str]:
        return [row["external_id"] for row in (await api.data("/attribution/conversions", **query))["data"]]

    assert await names() == ["o-2", "o-1", "o-3", "o-0"]
    assert await names(sponsor_id=action["sponsor_id"]) == ["o-2", "o-3", "o-0"]
    assert await names(action_id=signup["action_id"]) == ["o-1"]
    assert await names(from_="2026-11-24T09:00:00Z", to="2026-11-24T11:00:00Z") == ["o-1", "o-3"]
    page = await api.data("/attribution/conversions", limit=3)
    assert await names(cursor=page["next_cursor"]) == ["o-0"]
    answer = await api.get("/attribution/conversions", from_="2026-11-24", to="2026-11-23")
    assert codes(answer) == {("to", "reversed_range")}
    for unknown in ("sponsor_id", "action_id"):
        problem(await api.get("/attribution/conversions", **{unknown: str(uuid4())}), 404, "not_found")


async def adjust(api: Api, made: Any, **said: Any) -> Any:
    return await api.request("POST", f"/attribution/conversions/{made['conversion_id']}/adjust", json=said)


async def test_the_last_word_on_a_conversion_counts_and_the_first_stays(
    api: Api, action: Any, clock: FixedClock
) -> None:
    made = (await send(api, action)).json()
    restated = (await adjust(api, made, kind="restate", value_amount=2000, external_id="r-1", reason=" part ")).json()
    assert (restated["value_amount"], restated["effective_value_amount"]) == (4999, 2000)
    (one,) = restated["adjustments"]
    assert one == {
        "adjustment_id": one["adjustment_id"],
        "kind": "restate",
        "value_amount": 2000,
        "external_id": "r-1",
        "reason": "part",
        "adjusted_at": "2026-11-24T12:00:00Z",
        "received_at": "2026-11-24T12:00:00Z",
    }
    again = await adjust(api, made, kind="restate", value_amount=2000, external_id="r-1")
    assert (again.status_code, again.json()) == (200, restated)
    problem(await adjust(api, made, kind="restate", value_amount=1, external_id="r-1"), 409, "adjustment_differs")
    # Said later, of an earlier time: it is kept, and does not count.
    early = await adjust(api, made, kind="restate", value_amount=9000, adjusted_at="2026-11-24T11:00:00Z")
    assert (early.json()["effective_value_amount"], len(early.json()["adjustments"])) == (2000, 2)
    clock.advance(dt.timedelta(minutes=1))
    more = (await adjust(api, made, kind="restate", value_amount=8000)).json()
    assert more["effective_value_amount"] == 8000
    clock.advance(dt.timedelta(minutes=1))
    gone = (await adjust(api, made, kind="retract")).json()
    assert (gone["is_retracted"], gone["effective_value_amount"], gone["value_amount"]) == (True, None, 4999)
    clock.advance(dt.timedelta(minutes=1))
    twice = await adjust(api, made, kind="retract", external_id="r-9")
    assert (twice.status_code, twice.json()) == (200, gone)
    assert (await send(api, action)).json() == gone


async def test_an_adjustment_that_makes_no_sense_is_refused(api: Api, action: Any) -> None:
    made = (await send(api, action)).json()
    assert codes(await adjust(api, made, kind="restate")) == {("/value_amount", "missing")}
    assert codes(await adjust(api, made, kind="retract", value_amount=1)) == {("/value_amount", "unexpected")}
    assert codes(await adjust(api, made, kind="restate", value_amount=-1)) == {("/value_amount", "invalid")}
    early = {"kind": "retract", "adjusted_at": "2026-11-24T09:59:59Z"}
    assert codes(await adjust(api, made, **early)) == {("/adjusted_at", "before_conversion")}
    late = {"kind": "retract", "adjusted_at": "2026-11-25T12:00:01Z"}
    assert codes(await adjust(api, made, **late)) == {("/adjusted_at", "too_new")}
    free = (await send(api, action, external_id="free", value_amount=None, currency=None)).json()
    assert codes(await adjust(api, free, kind="restate", value_amount=1)) == {("/value_amount", "no_currency")}
    problem(await adjust(api, {"conversion_id": str(uuid4())}, kind="retract"), 404, "not_found")


async def test_a_customer_answers_once(api: Api, action: Any) -> None:
    made = (await send(api, action)).json()

    async def answer(text: str, external_id: str = "order-77") -> Any:
        body = {"action_id": action["action_id"], "external_id": external_id, "answer": text}
        return await api.request("POST", "/attribution/survey-answers", json=body)

    first = await answer(" The  Daily ")
    assert (first.status_code, first.json()) == (200, {**made, "survey_answer": "The Daily"})
    assert (await answer("The Daily")).json() == first.json()
    problem(await answer("Another"), 409, "survey_answered")
    problem(await answer("x", "order-78"), 404, "not_found")
    # What was said first is what it was.
    assert (await send(api, action)).status_code == 200


async def test_an_answer_stands_for_one_flight_of_a_sponsor(api: Api, ledger: Ledger) -> None:
    sponsor_id = await make_sponsor(api)
    tenant = await ledger.tenant_of("home")
    campaign = await make_campaign(ledger.operator, tenant, sponsor_id)
    flight, other = [str(await make_flight(ledger.operator, campaign)) for _ in range(2)]
    globex = await make_campaign(ledger.operator, tenant, await make_sponsor(api, "Globex"))
    theirs = await make_flight(ledger.operator, globex)
    path = f"/flights/{flight}/survey-options"
    made = await post(api, path, answer=" The  Daily ")
    assert (made["answer"], made["flight_id"], made["sponsor_id"]) == ("The Daily", flight, sponsor_id)
    for again in (flight, other):
        refused = await api.request("POST", f"/flights/{again}/survey-options", json={"answer": "THE DAILY"})
        problem(refused, 409, "answer_taken")
    await post(api, f"/flights/{theirs}/survey-options", answer="The Daily")
    assert (await api.data(path))["data"] == [made]
    for _ in range(2):
        assert (await api.request("DELETE", f"/survey-options/{made['survey_option_id']}")).status_code == 204
    (gone,) = (await api.data(path))["data"]
    assert gone == {**made, "archived_at": "2026-11-24T12:00:00Z"}
    await post(api, f"/flights/{other}/survey-options", answer="the daily")
    problem(await api.request("POST", f"/flights/{uuid4()}/survey-options", json={"answer": "x"}), 404, "not_found")
    problem(await api.get(f"/flights/{uuid4()}/survey-options"), 404, "not_found")
    problem(await api.request("DELETE", f"/survey-options/{uuid4()}"), 404, "not_found")


@pytest.mark.parametrize("kind", ["one", "many", "csv"])
async def test_what_comes_while_its_sponsor_is_merged_is_the_others(
    api: Api, action: Any, ledger: Ledger, database: DatabaseSettings, clock: FixedClock, kind: str
) -> None:
    into = await make_sponsor(api, "Globex")
    body = {"action_id": action["action_id"], **ORDER}
    conversions, csv = "/attribution/conversions", f"/attribution/redemptions?action_id={action['action_id']}"
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "one": (conversions, {"json": body}),
        "many": (conversions, {"json": {"conversions": [body]}}),
        "csv": (
            csv,
            {
                "content": b"order,occurred_at,code\norder-77,2026-11-24T10:00:00Z,SAVE20",
                "headers": {"Content-Type": "text/csv"},
            },
        ),
    }
    path, given = requests[kind]
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, await ledger.tenant_of("home")) as conn:
            await merge_sponsors(conn, UUID(action["sponsor_id"]), into=UUID(into), now=clock.now())
            waiting = asyncio.create_task(api.request("POST", path, **given))
            await ledger.somebody_waits()
    finally:
        await pool.close()
    answer = await waiting
    assert answer.status_code in (200, 201), answer.text
    [stored] = (await api.data("/attribution/conversions"))["data"]
    assert stored["sponsor_id"] == into
