"""Promo codes: given in bulk or one by one, once a sponsor and time, ended but never deleted, and counted."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from analytics_core.clock import FixedClock
from analytics_core.permissions import RoleName
from analytics_core.promo_codes import ALPHABET
from tests.integration.api.conftest import NOW
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.people import make_person, sign_in
from tests.integration.api.sold_flights import BEGINS, ENDS, SoldFlight, add_conversion, sell_flight
from tests.integration.api.test_links import make as make_link
from tests.integration.api.test_sponsor_logins import hold
from tests.integration.api.test_sponsors import make as make_sponsor

pytestmark = pytest.mark.anyio

DAY = dt.timedelta(days=1)


async def give(api: Api, flight: SoldFlight, **wanted: Any) -> list[dict[str, Any]]:
    answer = await api.request("POST", f"/flights/{flight.flight_id}/promo-codes", json=wanted)
    assert answer.status_code == 201, answer.text
    made: list[dict[str, Any]] = answer.json()["data"]
    return made


async def refuse(api: Api, flight: SoldFlight, status: int, why: str, /, **wanted: Any) -> str:
    answer = await api.request("POST", f"/flights/{flight.flight_id}/promo-codes", json=wanted)
    problem(answer, status, why)
    return str(answer.json()["detail"])


@pytest.fixture
async def flight(api: Api, ledger: Ledger) -> SoldFlight:
    return await sell_flight(ledger, (await make_sponsor(api, "Acme"))["sponsor_id"])


async def test_a_chosen_code_is_given_read_changed_and_archived(
    api: Api, flight: SoldFlight, clock: FixedClock
) -> None:
    (made,) = await give(api, flight, code=" save-20 ", max_redemptions=100)
    assert made == {
        "promo_code_id": made["promo_code_id"],
        "sponsor_id": flight.sponsor_id,
        "campaign_id": flight.campaign_id,
        "flight_id": flight.flight_id,
        "code": "SAVE20",
        "valid_from": "2026-11-01T00:00:00Z",
        "valid_until": None,
        "grace_days": 7,
        "max_redemptions": 100,
        "redemptions": 0,
        "late_redemptions": 0,
        "over_limit_redemptions": 0,
        "created_at": "2026-11-24T12:00:00Z",
        "archived_at": None,
    }
    path = f"/promo-codes/{made['promo_code_id']}"
    assert await api.data(path) == made
    changed = await api.request("PATCH", path, json={"valid_until": "2026-12-24T00:00:00+01:00", "grace_days": 3})
    expected = {**made, "valid_until": "2026-12-23T23:00:00Z", "grace_days": 3}
    assert changed.json() == expected
    assert (await api.request("PATCH", path, json={"max_redemptions": None})).json()["max_redemptions"] is None

    clock.advance(DAY)
    archived = (await api.request("POST", f"{path}/archive")).json()
    at = "2026-11-25T12:00:00Z"
    assert archived == {**expected, "max_redemptions": None, "valid_until": at, "archived_at": at}
    clock.advance(DAY)
    assert (await api.request("POST", f"{path}/archive")).json() == archived
    problem(await api.request("PATCH", path, json={"grace_days": 1}), 409, "promo_code_archived")
    # The name is free from then on, and the other stays what it was.
    (again,) = await give(api, flight, code="save20", valid_from=at)
    assert [row["promo_code_id"] for row in (await api.data("/promo-codes", code="Save 20"))["data"]] == [
        made["promo_code_id"],
        again["promo_code_id"],
    ]


async def test_a_code_that_had_not_begun_was_never_valid_and_leaves_its_time_free(api: Api, flight: SoldFlight) -> None:
    begins = (NOW + 7 * DAY).isoformat()
    (made,) = await give(api, flight, code="ADVENT", valid_from=begins)
    archived = (await api.request("POST", f"/promo-codes/{made['promo_code_id']}/archive")).json()
    assert archived["valid_from"] == archived["valid_until"]
    await give(api, flight, code="ADVENT", valid_from=begins)


async def test_an_ended_code_keeps_its_end_when_it_is_archived(api: Api, flight: SoldFlight) -> None:
    (made,) = await give(api, flight, code="EARLY", valid_until="2026-11-10T00:00:00Z")
    archived = (await api.request("POST", f"/promo-codes/{made['promo_code_id']}/archive")).json()
    assert (archived["valid_until"], archived["archived_at"]) == ("2026-11-10T00:00:00Z", "2026-11-24T12:00:00Z")


async def test_a_thousand_codes_are_made_at_once_and_listed_in_pages(api: Api, flight: SoldFlight) -> None:
    made = await give(api, flight, count=1000, prefix="pod-", length=5)
    texts = [row["code"] for row in made]
    assert len(set(texts)) == 1000
    assert all(text.startswith("POD") and len(text) == 8 and set(text[3:]) <= set(ALPHABET) for text in texts)
    seen, cursor = [], None
    while True:
        query = {"limit": 200, "flight_id": flight.flight_id} | ({"cursor": cursor} if cursor else {})
        page = await api.data("/promo-codes", **query)
        seen += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made
    entry = (await api.data("/audit", action="promo_code.create"))["data"][0]
    assert (entry["resource_id"], entry["after"]["codes"]) == (flight.flight_id, 1000)


async def test_one_code_is_made_where_nothing_is_said(api: Api, flight: SoldFlight) -> None:
    (made,) = await give(api, flight)
    assert len(made["code"]) == 8
    entry = (await api.data("/audit", action="promo_code"))["data"][0]
    assert (entry["action"], entry["after"]["code"]) == ("promo_code.create", made["code"])


async def test_a_sponsor_has_a_code_once_at_a_time(api: Api, ledger: Ledger, flight: SoldFlight) -> None:
    await give(api, flight, code="SAVE20", valid_until=ENDS.isoformat())
    other = await sell_flight(ledger, flight.sponsor_id, name="December")
    detail = await refuse(api, other, 409, "promo_code_taken", code="save 20", valid_from="2026-11-30T23:59:59Z")
    assert "SAVE20" in detail
    assert "'November'" in detail
    assert flight.flight_id in detail
    (later,) = await give(api, other, code="SAVE20", valid_from=ENDS.isoformat())
    path = f"/promo-codes/{later['promo_code_id']}"
    answer = await api.request("PATCH", path, json={"valid_from": "2026-11-15T00:00:00Z"})
    problem(answer, 409, "promo_code_taken")
    assert "'November'" in answer.json()["detail"]
    assert await api.data(path) == later
    # Another sponsor's listeners enter it somewhere else.
    rival = await sell_flight(ledger, (await make_sponsor(api, "Zenith"))["sponsor_id"])
    await give(api, rival, code="SAVE20")


async def test_two_who_want_the_same_code_at_once_do_not_both_get_it(api: Api, flight: SoldFlight) -> None:
    path = f"/flights/{flight.flight_id}/promo-codes"
    answers = await asyncio.gather(*(api.request("POST", path, json={"code": "SAVE20"}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    assert len((await api.data("/promo-codes"))["data"]) == 1


@pytest.mark.parametrize(
    ("wanted", "faults"),
    [
        ({"code": "AB"}, {("/code", "code_invalid")}),
        ({"code": "sh1t-20"}, {("/code", "code_blocked")}),
        ({"code": "A" * 65}, {("/code", "invalid")}),
        ({"code": "SAVE20", "count": 2, "prefix": "X"}, {("/count", "not_with_code"), ("/prefix", "not_with_code")}),
        ({"count": 0}, {("/count", "invalid")}),
        ({"count": 1001}, {("/count", "invalid")}),
        ({"length": 4}, {("/length", "invalid")}),
        ({"prefix": "A" * 21}, {("/prefix", "code_invalid")}),
        ({"valid_from": "0001-01-01T00:00:00Z"}, {("/valid_from", "out_of_range")}),
        ({"valid_from": "2026-11-01T00:00:00"}, {("/valid_from", "invalid")}),
        ({"valid_until": "2026-11-01T00:00:00Z"}, {("/valid_until", "empty_range")}),
        ({"valid_from": "2026-11-02T00:00Z"}, {("/valid_from", "invalid")}),
        ({"valid_until": "2026-10-01T00:00:00Z"}, {("/valid_until", "empty_range")}),
        ({"grace_days": 91}, {("/grace_days", "invalid")}),
        ({"grace_days": -1}, {("/grace_days", "invalid")}),
        ({"max_redemptions": 0}, {("/max_redemptions", "invalid")}),
        ({"codes": ["SAVE20"]}, {("/codes", "unknown_field")}),
    ],
)  # fmt: skip
async def test_bad_input_is_named_and_nothing_is_made(
    api: Api, flight: SoldFlight, wanted: dict[str, Any], faults: set[tuple[str, str]]
) -> None:
    answer = await api.request("POST", f"/flights/{flight.flight_id}/promo-codes", json=wanted)
    assert answer.status_code == 422
    assert codes(answer) == faults
    assert (await api.data("/promo-codes"))["data"] == []


async def test_a_change_that_leaves_no_time_is_refused(api: Api, flight: SoldFlight) -> None:
    (made,) = await give(api, flight, code="SAVE20", valid_until=ENDS.isoformat())
    path = f"/promo-codes/{made['promo_code_id']}"
    answer = await api.request("PATCH", path, json={"valid_from": ENDS.isoformat()})
    assert codes(answer) == {("/valid_from", "empty_range")}
    answer = await api.request("PATCH", path, json={"valid_until": BEGINS.isoformat()})
    assert codes(answer) == {("/valid_until", "empty_range")}
    assert codes(await api.request("PATCH", path, json={"code": "OTHER"})) == {("/code", "unknown_field")}
    assert await api.data(path) == made


async def test_no_codes_are_given_where_nothing_new_may_be(api: Api, ledger: Ledger, flight: SoldFlight) -> None:
    gone = await sell_flight(ledger, flight.sponsor_id, status="cancelled")
    await refuse(api, gone, 409, "flight_cancelled", code="SAVE20")
    await api.request("POST", f"/sponsors/{flight.sponsor_id}/archive")
    await refuse(api, flight, 409, "sponsor_archived", code="SAVE20")
    await refuse(api, flight._replace(flight_id=str(UUID(int=1))), 404, "not_found", code="SAVE20")


async def test_lists_are_of_a_sponsor_a_campaign_a_flight_or_a_code(
    api: Api, ledger: Ledger, flight: SoldFlight
) -> None:
    other = await sell_flight(ledger, (await make_sponsor(api, "Zenith"))["sponsor_id"])
    (ours,) = await give(api, flight, code="SAVE20")
    (theirs,) = await give(api, other, code="SAVE30")
    for name in ("sponsor_id", "campaign_id", "flight_id"):
        assert (await api.data("/promo-codes", **{name: getattr(flight, name)}))["data"] == [ours]
        problem(await api.get("/promo-codes", **{name: str(UUID(int=1))}), 404, "not_found")
    assert (await api.data("/promo-codes", code="s a v e - 3 0"))["data"] == [theirs]
    assert (await api.data("/promo-codes", code="SAVE30", flight_id=flight.flight_id))["data"] == []
    problem(await api.get("/promo-codes", code="§§§"), 422, "code_invalid")


async def test_redemptions_are_conversions_with_the_code_while_it_is_valid_or_late(
    api: Api, ledger: Ledger, flight: SoldFlight
) -> None:
    other = await sell_flight(ledger, flight.sponsor_id, name="December")
    rival = (await make_sponsor(api, "Zenith"))["sponsor_id"]
    (first,) = await give(api, flight, code="SAVE20", valid_until="2026-11-10T00:00:00Z", grace_days=7)
    (second,) = await give(
        api, other, code="SAVE20", valid_from="2026-11-12T00:00:00Z", valid_until="2026-11-20T00:00:00Z", grace_days=2
    )
    (idle,) = await give(api, flight, code="SAVE30")

    async def redeem(day: str, code: str | None = "SAVE20", *adjusted: str, sponsor: str = flight.sponsor_id) -> None:
        at = dt.datetime.fromisoformat(f"2026-{day}+00:00")
        await add_conversion(ledger, sponsor, code, at, adjusted=adjusted)

    await redeem("10-31T23:59:59")  # before it began
    await redeem("11-01T00:00:00", "save-20")
    await redeem("11-05T00:00:00", " ＳＡＶＥ\u201320 ")
    await redeem("11-05T00:00:00", "SÄVE20")  # another code
    await redeem("11-05T00:00:00", None)
    await redeem("11-05T00:00:00", sponsor=rival)
    await redeem("11-06T00:00:00", "SAVE20", "retract")
    await redeem("11-06T00:00:00", "SAVE20", "retract", "restate")
    await redeem("11-11T00:00:00")  # late for the first
    await redeem("11-13T00:00:00")  # the second's, though within the first's grace
    await redeem("11-19T23:59:59")
    await redeem("11-21T23:59:59")  # late for the second
    await redeem("11-22T00:00:00")  # nobody's

    listed = {row["promo_code_id"]: row for row in (await api.data("/promo-codes"))["data"]}
    counted = {
        one["promo_code_id"]: (one["redemptions"], one["late_redemptions"])
        for one in [await api.data(f"/promo-codes/{made['promo_code_id']}") for made in (first, second, idle)]
    }
    assert counted == {
        first["promo_code_id"]: (4, 1),
        second["promo_code_id"]: (3, 1),
        idle["promo_code_id"]: (0, 0),
    }
    assert {key: (row["redemptions"], row["late_redemptions"]) for key, row in listed.items()} == counted
    path = f"/promo-codes/{first['promo_code_id']}"
    over = [
        (await api.request("PATCH", path, json={"max_redemptions": limit})).json()["over_limit_redemptions"]
        for limit in (1, 3, 4, 5, None)
    ]
    assert over == [3, 1, 0, 0, 0]


async def test_the_bound_of_a_tenants_codes_is_told(api: Api, ledger: Ledger, flight: SoldFlight) -> None:
    # So many at once that what tells them apart would take its time.
    await ledger.operator.execute("alter table app.promo_codes drop constraint promo_codes_once")
    await ledger.operator.execute(
        """insert into app.promo_codes (tenant_id, promo_code_id, sponsor_id, campaign_id, flight_id, code, valid_from,
            created_at)
        select tenant_id, gen_random_uuid(), sponsor_id, campaign_id, flight_id, 'POD' || n, starts_at, $1
        from app.flights, generate_series(1, 99999) n""",
        NOW,
    )
    (last,) = await give(api, flight)
    await refuse(api, flight, 409, "too_many_promo_codes")
    await api.request("POST", f"/promo-codes/{last['promo_code_id']}/archive")
    await give(api, flight)


async def test_a_sponsors_login_sees_its_own_codes_hosts_and_pictures_alone(
    api: Api, ledger: Ledger, flight: SoldFlight
) -> None:
    rival = await sell_flight(ledger, (await make_sponsor(api, "Zenith"))["sponsor_id"])
    seen = []
    for one, word in ((flight, "ours"), (rival, "theirs")):
        (code,) = await give(api, one, code=word)
        link = await make_link(api, slug=word, flight_id=one.flight_id)
        host = await api.request(
            "POST", "/vanity-hosts", json={"host": f"{word}.example.net", "link_id": link["link_id"]}
        )
        await add_conversion(ledger, one.sponsor_id, word, NOW)
        seen.append((code["promo_code_id"], link["link_id"], host.json()["vanity_host_id"]))
    user_id = await make_person(ledger, "sam@example.com", "home", role=RoleName.SPONSOR)
    await hold(api, ledger, user_id, flight.sponsor_id)
    access = (await sign_in(api, "sam@example.com")).access
    (code_id, link_id, host_id), (other_code, other_link, _) = seen
    (shown,) = (await api.get("/promo-codes", key=access)).json()["data"]
    assert (shown["promo_code_id"], shown["redemptions"]) == (code_id, 1)
    assert [row["vanity_host_id"] for row in (await api.get("/vanity-hosts", key=access)).json()["data"]] == [host_id]
    assert (await api.get(f"/promo-codes/{code_id}", key=access)).json() == shown
    assert (await api.get(f"/links/{link_id}/qr", key=access)).status_code == 200
    for path in (f"/promo-codes/{other_code}", f"/links/{other_link}/qr"):
        problem(await api.get(path, key=access), 404, "not_found")
    for name, value in (*rival._asdict().items(), ("link_id", other_link)):
        path = "/vanity-hosts" if name == "link_id" else "/promo-codes"
        problem(await api.get(path, key=access, **{name: value}), 404, "not_found")
    for method, path in (
        ("POST", f"/flights/{flight.flight_id}/promo-codes"),
        ("PATCH", f"/promo-codes/{code_id}"),
        ("POST", f"/promo-codes/{code_id}/archive"),
        ("DELETE", f"/vanity-hosts/{host_id}"),
    ):
        given: dict[str, Any] = {} if "archive" in path or method == "DELETE" else {"json": {}}
        problem(await api.request(method, path, key=access, **given), 403, "forbidden")
