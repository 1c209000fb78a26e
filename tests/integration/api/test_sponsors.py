"""Sponsors: added, changed, archived, merged, each tenant's own; their links, and clicks on these."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from analytics_core.clock import FixedClock
from analytics_core.db import sponsors as storage
from analytics_core.db.links import Click, add_clicks
from analytics_core.sponsors import CATEGORIES
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

NAME = "O'Brien; DROP TABLE app.links"
SHOP = "https://shop.example.com/"


async def make(api: Api, name: str = NAME, *, status: int = 201, key: str | None = None, **wanted: Any) -> Any:
    answer = await api.request("POST", "/sponsors", json={"name": name, **wanted}, key=key)
    assert answer.status_code == status, answer.text
    return answer.json()


async def make_link(api: Api, sponsor: Any = None, **wanted: Any) -> Any:
    sponsor_id = None if sponsor is None else sponsor["sponsor_id"]
    answer = await api.request("POST", "/links", json={"url": SHOP, "sponsor_id": sponsor_id, **wanted})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def change(api: Api, sponsor: Any, *, version: int | str | None = None, **wanted: Any) -> Any:
    headers = {} if version is None else {"If-Match": f'"{version}"' if isinstance(version, int) else version}
    return await api.request("PATCH", f"/sponsors/{sponsor['sponsor_id']}", json=wanted, headers=headers)


async def call(api: Api, sponsor: Any, what: str, **given: Any) -> Any:
    return await api.request("POST", f"/sponsors/{sponsor['sponsor_id']}/{what}", **given)


async def follow(ledger: Ledger, link: Any, times: list[str], *, is_bot: bool = False) -> None:
    """Land clicks on a link."""
    row = await ledger.ingest.fetchrow(
        "select tenant_no, link_no, (select count(*) from app.clicks) as clicks from app.links where link_id = $1",
        UUID(link["link_id"]),
    )
    assert row is not None
    await add_clicks(
        ledger.ingest,
        [
            Click(
                row["tenant_no"],
                row["link_no"],
                dt.datetime.fromisoformat(at),
                1,
                row["clicks"] + place,
                is_bot,
                None,
            )
            for place, at in enumerate(times)
        ],
    )


async def test_a_sponsor_is_added_listed_changed_put_away_and_taken_back(api: Api, clock: FixedClock) -> None:
    contact = {"name": "Ana", "email": "ana@shop.example.com", "phone": None, "role": "buyer"}
    made = await make(
        api,
        domain="Shop.Example.com.",
        category="Food",
        contacts=[{"name": "Ana", "email": "ana@shop.example.com", "role": "buyer"}],
        targeting={"countries": ["de", "AT", "DE"], "exclusions": ["alcohol"]},
    )
    assert made == {
        "sponsor_id": made["sponsor_id"],
        "name": NAME,
        "domain": "shop.example.com",
        "category": "food",
        "contacts": [contact],
        "targeting": {"countries": ["AT", "DE"], "categories": [], "exclusions": ["alcohol"]},
        "links": 0,
        "version": 1,
        "created_at": "2026-11-24T12:00:00Z",
        "archived_at": None,
    }
    path = f"/sponsors/{made['sponsor_id']}"
    read = await api.get(path)
    assert (read.json(), read.headers["etag"]) == (made, '"1"')

    clock.advance(dt.timedelta(seconds=1))
    other = await make(api, "Acme")
    first = await api.data("/sponsors", limit=1)
    assert first["data"] == [made]
    assert (await api.data("/sponsors", cursor=first["next_cursor"]))["data"] == [other]

    changed = await change(api, made, name="O’Brien", category=None, targeting={})
    assert changed.headers["etag"] == '"2"'
    assert changed.json() == {
        **made,
        "name": "O’Brien",
        "category": None,
        "targeting": {"countries": [], "categories": [], "exclusions": []},
        "version": 2,
    }
    away = (await call(api, made, "archive")).json()
    assert (away["archived_at"], away["version"]) == ("2026-11-24T12:00:01Z", 3)
    assert (await call(api, made, "archive")).json() == away
    assert [row["name"] for row in (await api.data("/sponsors", state="active"))["data"]] == ["Acme"]
    assert (await api.data("/sponsors", state="archived"))["data"] == [away]
    problem(await change(api, made, name="x"), 409, "sponsor_archived")
    back = (await call(api, made, "restore")).json()
    assert (back["archived_at"], back["version"]) == (None, 4)
    assert (await call(api, made, "restore")).json() == back


async def test_a_name_is_taken_without_regard_to_case_by_archived_ones_too(api: Api, ledger: Ledger) -> None:
    made = await make(api, "Straße")
    acme = await make(api, "Acme")
    await call(api, made, "archive")
    for name in ("STRASSE", " straße ", "ＳＴＲＡＳＳＥ"):
        refused = await api.request("POST", "/sponsors", json={"name": name})
        assert "merge the two" in problem(refused, 409, "sponsor_name_taken")["detail"]
        problem(await change(api, acme, name=name), 409, "sponsor_name_taken")
    assert (await change(api, acme, name="ACME")).json()["name"] == "ACME"
    other = await ledger.make_key("other")
    assert (await make(api, "Straße", key=other))["name"] == "Straße"


async def test_of_twins_that_are_added_at_once_one_is(api: Api) -> None:
    answers = await asyncio.gather(*(api.request("POST", "/sponsors", json={"name": NAME}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]
    assert len((await api.data("/sponsors"))["data"]) == 1


async def test_what_is_sent_twice_under_one_key_is_done_once_and_answered_the_same(api: Api) -> None:
    async def send(path: str, key: str, body: object) -> Any:
        return await api.request("POST", path, json=body, headers={"Idempotency-Key": key})

    first, again = [await send("/sponsors", "k1", {"name": NAME}) for _ in range(2)]
    assert (again.status_code, again.json(), again.headers["etag"]) == (201, first.json(), '"1"')
    assert again.headers["idempotent-replayed"] == "true"
    into = await make(api, "Acme")
    await make_link(api, first.json())
    path = f"/sponsors/{first.json()['sponsor_id']}/merge"
    merged, again = [await send(path, "k2", {"into": into["sponsor_id"]}) for _ in range(2)]
    assert merged.json()["links_moved"] == 1
    assert (again.status_code, again.json(), again.headers["etag"]) == (200, merged.json(), '"2"')
    assert len((await api.data("/sponsors"))["data"]) == 2


async def test_who_has_not_seen_the_last_change_does_not_undo_it(api: Api) -> None:
    made = await make(api)
    assert (await change(api, made, version=1, category="food")).status_code == 200
    late = await change(api, made, version=1, name="Late")
    assert "version 2" in problem(late, 412, "outdated")["detail"]
    for what in ("archive", "restore", "contacts/erase"):
        problem(await call(api, made, what, headers={"If-Match": '"1"'}), 412, "outdated")
    into = await make(api, "Acme")
    merged = await call(api, made, "merge", json={"into": into["sponsor_id"]}, headers={"If-Match": '"1"'})
    problem(merged, 412, "outdated")
    for odd in ("1", 'W/"2"', '"0"', '"2", "3"', '"x"'):
        problem(await change(api, made, version=odd, name="Odd"), 400, "bad_if_match")
    assert (await api.data(f"/sponsors/{made['sponsor_id']}"))["category"] == "food"
    assert (await change(api, made, version="*", name="Any")).json()["version"] == 3

    answers = await asyncio.gather(*(change(api, made, version=3, name=f"N{n}") for n in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, *[412] * 4]


@pytest.mark.parametrize(
    ("wanted", "faults"),
    [
        ({"name": ""}, {("/name", "invalid")}),
        ({"name": "a\u0000b"}, {("/name", "invalid")}),
        ({"name": "\u202eevil"}, {("/name", "invalid")}),
        ({"name": "x" * 201}, {("/name", "invalid")}),
        ({"domain": "localhost"}, {("/domain", "host_not_public")}),
        ({"domain": "a b"}, {("/domain", "host_invalid")}),
        (
            {"category": "golf", "domain": "10.0.0.1"},
            {("/category", "unknown_category"), ("/domain", "host_not_public")},
        ),
        ({"targeting": {"countries": ["XX"]}}, {("/targeting/countries/0", "unknown_country")}),
        ({"targeting": {"countries": ["DEU"]}}, {("/targeting", "invalid")}),
        ({"targeting": {"categories": ["golf"]}}, {("/targeting/categories/0", "unknown_category")}),
        (
            {"targeting": {"categories": ["food"], "exclusions": ["food"]}},
            {("/targeting/exclusions", "contradictory")},
        ),
        ({"targeting": {"cities": []}}, {("/targeting", "invalid")}),
        ({"contacts": [{"name": "Ana", "email": "x"}]}, {("/contacts", "invalid")}),
        ({"contacts": [{"name": "Ana", "email": "nobody"}]}, {("/contacts/0/email", "invalid")}),
        ({"contacts": [{"email": "a@b.example"}]}, {("/contacts", "invalid")}),
        ({"contacts": [{"name": "Ana"}] * 21}, {("/contacts", "invalid")}),
        ({"sponsor_id": "x"}, {("/sponsor_id", "unknown_field")}),
    ],
)
async def test_bad_input_is_named_and_nothing_is_stored(api: Api, wanted: dict[str, Any], faults: set[Any]) -> None:
    answer = await api.request("POST", "/sponsors", json={"name": NAME, **wanted})
    assert codes(answer) == faults
    assert (await api.data("/sponsors"))["data"] == []
    made = await make(api)
    assert codes(await api.request("PATCH", f"/sponsors/{made['sponsor_id']}", json=wanted)) == faults
    assert await api.data(f"/sponsors/{made['sponsor_id']}") == made


async def test_what_is_unknown_is_told_with_what_is_known(api: Api) -> None:
    answer = await api.request("POST", "/sponsors", json={"name": NAME, "category": "golf"})
    assert ", ".join(CATEGORIES) in answer.json()["detail"]
    answer = await api.request("POST", "/sponsors", json={"name": NAME, "targeting": {"countries": ["ZZ"]}})
    assert "DE, DJ, DK" in answer.json()["detail"]


async def test_links_belong_to_sponsors(api: Api) -> None:
    one, two = await make(api), await make(api, "Acme")
    link = await make_link(api, one, slug="offer")
    assert link["sponsor_id"] == one["sponsor_id"]
    nobodys = await make_link(api)
    assert nobodys["sponsor_id"] is None
    assert (await api.data("/links", sponsor_id=one["sponsor_id"]))["data"] == [link]
    assert (await api.data("/links", sponsor_id=two["sponsor_id"]))["data"] == []
    assert (await api.data(f"/sponsors/{one['sponsor_id']}"))["links"] == 1
    problem(await api.get("/links", sponsor_id=str(UUID(int=1))), 404, "not_found")

    path = f"/links/{link['link_id']}"
    assert (await api.request("PATCH", path, json={"utm": {"source": "x"}})).json()["sponsor_id"] == one["sponsor_id"]
    assert (await api.request("PATCH", path, json={"sponsor_id": two["sponsor_id"]})).json()["sponsor_id"] == two[
        "sponsor_id"
    ]
    assert (await api.request("PATCH", path, json={"sponsor_id": None})).json()["sponsor_id"] is None
    problem(await api.request("PATCH", path, json={"sponsor_id": str(UUID(int=1))}), 404, "not_found")
    problem(await api.request("POST", "/links", json={"url": SHOP, "sponsor_id": str(UUID(int=1))}), 404, "not_found")

    await api.request("PATCH", path, json={"sponsor_id": two["sponsor_id"]})
    await call(api, two, "archive")
    problem(
        await api.request("POST", "/links", json={"url": SHOP, "sponsor_id": two["sponsor_id"]}),
        409,
        "sponsor_archived",
    )
    other = f"/links/{nobodys['link_id']}"
    problem(await api.request("PATCH", other, json={"sponsor_id": two["sponsor_id"]}), 409, "sponsor_archived")
    # What it has it keeps, and can be changed.
    assert (await api.request("PATCH", path, json={"click_id": True})).json()["sponsor_id"] == two["sponsor_id"]
    assert (await api.request("DELETE", path)).status_code == 204
    assert (await api.data(f"/sponsors/{two['sponsor_id']}"))["links"] == 0


async def test_two_that_are_the_same_become_one_with_all_links(api: Api, ledger: Ledger) -> None:
    one, two = await make(api), await make(api, "Acme")
    links = [await make_link(api, one), await make_link(api, one), await make_link(api, two)]
    await api.request("DELETE", f"/links/{links[0]['link_id']}")
    await follow(ledger, links[0], ["2026-11-23T10:00:00+00:00"])
    merged = await call(api, one, "merge", json={"into": two["sponsor_id"]})
    body = merged.json()
    assert (merged.status_code, merged.headers["etag"]) == (200, '"2"')
    assert body == {"sponsor": {**two, "links": 2, "version": 2}, "links_moved": 2}
    # Deleted ones as well: their clicks are the sponsor's.
    assert len((await api.data("/links", sponsor_id=two["sponsor_id"]))["data"]) == 3
    assert (await api.data(f"/sponsors/{two['sponsor_id']}/clicks"))["totals"] == {"clicks": 1, "bots": 0}
    left = await api.data(f"/sponsors/{one['sponsor_id']}")
    assert (left["links"], left["archived_at"]) == (0, "2026-11-24T12:00:00Z")

    problem(await call(api, two, "merge", json={"into": two["sponsor_id"]}), 422, "same_sponsor")
    problem(await call(api, two, "merge", json={"into": one["sponsor_id"]}), 409, "sponsor_archived")
    problem(await call(api, two, "merge", json={"into": str(UUID(int=1))}), 404, "not_found")
    assert codes(await call(api, two, "merge", json={"into": "x"})) == {("/into", "invalid")}


async def test_merging_in_circles_and_links_written_meanwhile_lose_nothing(api: Api) -> None:
    one, two = await make(api), await make(api, "Acme")
    there = [await make_link(api, sponsor) for sponsor in (one, two)]
    ids = [one["sponsor_id"], two["sponsor_id"]]

    async def add(place: int) -> Any:
        body = {"url": SHOP, "sponsor_id": ids[place % 2]}
        return await api.request("POST", "/links", json=body)

    async def touch(link: Any) -> Any:
        # Whoever changes something else of a link does not take it back to where it was.
        return await api.request("PATCH", f"/links/{link['link_id']}", json={"click_id": True})

    answers = await asyncio.gather(
        *(add(place) for place in range(6)),
        call(api, one, "merge", json={"into": ids[1]}),
        call(api, two, "merge", json={"into": ids[0]}),
        *(touch(link) for link in there),
        *(add(place) for place in range(6)),
    )
    merges = answers[6:8]
    # Whoever comes second wants to give to one that is archived by then.
    assert sorted(answer.status_code for answer in merges) == [200, 409]
    kept = ids[1] if merges[0].status_code == 200 else ids[0]
    links = (await api.data("/links"))["data"]
    assert len(links) == 2 + sum(answer.status_code == 201 for answer in answers)
    assert {link["sponsor_id"] for link in links} == {kept}


async def test_people_to_ask_are_shown_to_be_taken_along_and_erased(api: Api, ledger: Ledger) -> None:
    people = [{"name": "Ana", "email": "ana@shop.example.com"}, {"name": "Bo", "phone": "+49 30 901820"}]
    made = await make(api, contacts=people)
    assert [person["name"] for person in made["contacts"]] == ["Ana", "Bo"]
    one = (await change(api, made, contacts=people[1:])).json()
    assert [person["name"] for person in one["contacts"]] == ["Bo"]
    await call(api, made, "archive")
    gone = await call(api, made, "contacts/erase")
    assert (gone.status_code, gone.json()["contacts"], gone.json()["version"]) == (200, [], 4)
    # The record of changes, which nobody takes anything out of, tells how many there were and nothing of them.
    entries = await ledger.operator.fetch("select action, before, after from app.audit_log order by entry_no")
    assert [(row["action"], row["before"] and "contacts" in row["before"]) for row in entries] == [
        ("sponsor.create", None),
        ("sponsor.update", True),
        ("sponsor.archive", False),
        ("sponsor.erase_contacts", True),
    ]
    assert not any(name in str(list(row.values())) for row in entries for name in ("Ana", "Bo", "901820"))


async def test_clicks_are_counted_by_time(api: Api, ledger: Ledger) -> None:
    sponsor = await make(api)
    link, other, nobodys = await make_link(api, sponsor), await make_link(api, sponsor), await make_link(api)
    await follow(ledger, link, ["2026-11-20T23:30:00+00:00", "2026-11-21T00:00:00+00:00", "2026-11-21T23:59:59+00:00"])
    await follow(ledger, link, ["2026-11-22T12:00:00+00:00"], is_bot=True)
    await follow(ledger, other, ["2026-11-21T08:00:00+00:00", "2026-11-23T00:00:00+00:00"])
    await follow(ledger, nobodys, ["2026-11-21T09:00:00+00:00"])
    await ledger.set_cutoff("2026-11-24T11:59+00:00")
    days = {"from_": "2026-11-20", "to": "2026-11-23"}
    found = await api.data(f"/links/{link['link_id']}/clicks", **days)
    assert found == {
        "data": [
            {"start": "2026-11-20T00:00:00Z", "clicks": 1, "bots": 0},
            {"start": "2026-11-21T00:00:00Z", "clicks": 2, "bots": 0},
            {"start": "2026-11-22T00:00:00Z", "clicks": 0, "bots": 1},
        ],
        "totals": {"clicks": 3, "bots": 1},
        "undated": {"clicks": 0, "bots": 0},
        "cutoff": "2026-11-24T11:59:00Z",
        "tz": "UTC",
        "interval": "day",
        "from": "2026-11-20T00:00:00Z",
        "to": "2026-11-23T00:00:00Z",
    }
    of_sponsor = await api.data(f"/sponsors/{sponsor['sponsor_id']}/clicks", **days)
    assert [row["clicks"] for row in of_sponsor["data"]] == [1, 3, 0]
    assert [row["clicks"] for row in (await api.data("/clicks", **days))["data"]] == [1, 4, 0]
    in_berlin = await api.data(f"/links/{link['link_id']}/clicks", **days, tz="Europe/Berlin")
    assert [row["clicks"] for row in in_berlin["data"]] == [0, 2, 1]
    hourly = await api.data("/clicks", from_="2026-11-21T08:00:00Z", to="2026-11-21T10:00:00Z", interval="hour")
    assert [row["clicks"] for row in hourly["data"]] == [1, 1]
    monthly = await api.data("/clicks", from_="2026-11-01", to="2026-12-01", interval="month")
    assert (len(monthly["data"]), monthly["totals"]) == (1, {"clicks": 6, "bots": 1})
    problem(await api.get("/clicks", from_="2026-11-23", to="2026-11-20"), 422, "reversed_range")
    problem(await api.get("/clicks", interval="year"), 422, "invalid")


async def test_clicks_whose_time_is_not_kept_are_told_apart(api: Api, ledger: Ledger) -> None:
    sponsor = await make(api)
    link = await make_link(api, sponsor)
    await ledger.ingest.execute("update app.links set clicks_dropped = 7, bots_dropped = 2")
    await follow(ledger, link, ["2026-11-24T08:00:00+00:00"])
    for path in (f"/links/{link['link_id']}/clicks", f"/sponsors/{sponsor['sponsor_id']}/clicks", "/clicks"):
        found = await api.data(path)
        assert (found["totals"], found["undated"]) == ({"clicks": 1, "bots": 0}, {"clicks": 7, "bots": 2})
    assert (await api.data(f"/links/{link['link_id']}"))["clicks"] == 8


async def test_another_tenant_neither_sees_nor_touches_any_of_it(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    sponsor, theirs = await make(api), await make(api, key=other)
    link = await make_link(api, sponsor)
    path = f"/sponsors/{sponsor['sponsor_id']}"
    for method, tail, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("POST", "/archive", None),
        ("POST", "/restore", None),
        ("POST", "/contacts/erase", None),
        ("POST", "/merge", {"into": theirs["sponsor_id"]}),
        ("GET", "/clicks", None),
    ):
        problem(await api.request(method, path + tail, key=other, json=body), 404, "not_found")
    problem(await call(api, theirs, "merge", json={"into": sponsor["sponsor_id"]}, key=other), 404, "not_found")
    body = {"url": SHOP, "sponsor_id": sponsor["sponsor_id"]}
    problem(await api.request("POST", "/links", json=body, key=other), 404, "not_found")
    problem(await api.get(f"/links/{link['link_id']}/clicks", key=other), 404, "not_found")
    problem(await api.get("/links", sponsor_id=sponsor["sponsor_id"], key=other), 404, "not_found")
    assert [row["sponsor_id"] for row in (await api.get("/sponsors", key=other)).json()["data"]] == [
        theirs["sponsor_id"]
    ]
    assert await api.data(path) == {**sponsor, "links": 1}
    problem(await api.get("/sponsors/nothing"), 404, "not_found")


async def test_there_is_room_for_some_thousand_sponsors(api: Api, ledger: Ledger) -> None:
    made = await make(api)
    await ledger.operator.execute(
        """insert into app.sponsors (tenant_id, sponsor_id, name, name_key, created_at)
        select s.tenant_id, gen_random_uuid(), 'n', gen_random_uuid(), now()
        from app.sponsors s, generate_series(2, $1)""",
        storage.MAX_SPONSORS,
    )
    problem(await api.request("POST", "/sponsors", json={"name": "One more"}), 409, "too_many_sponsors")
    assert (await change(api, made, name="Renamed")).status_code == 200
