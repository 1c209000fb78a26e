"""A sponsor's login: a person who sees the rows of some sponsors alone, whatever they ask for."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest

from analytics_core.db.memberships import change_membership
from analytics_core.db.pool import Tenant
from analytics_core.ids import TenantId, TenantNo, new_id
from analytics_core.permissions import ALL_PERMISSIONS, ROLES, Permission, RoleName
from api.app import create_app
from api.callers import Caller
from api.openapi import list_operations
from api.resources import Resources
from tests.integration.api.attributing import attribute_one
from tests.integration.api.conftest import NOW
from tests.integration.api.kept_reports import keep_report
from tests.integration.api.ledger import Api, Ledger, problem
from tests.integration.api.nouns import QUERIES
from tests.integration.api.people import make_person, sign_in
from tests.integration.api.test_campaigns import an_episode, make_campaign, make_flight, make_placement
from tests.integration.api.test_sponsors import call, follow, make, make_link

pytestmark = pytest.mark.anyio

SEEN: Final = ROLES[RoleName.SPONSOR]
RANGE: Final = {"from": "2026-11-01", "to": "2026-12-01"}

_TABLES = """
select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('app', 'ops', 'ts') and c.relkind in ('r', 'p') and not c.relispartition order by 1"""

BODIES: Final[dict[str, dict[str, Any]]] = {
    "update_link": {"url": "https://elsewhere.example.com/"},
    "update_sponsor": {"name": "Mine"},
}


class World(NamedTuple):
    """A tenant with two sponsors, and somebody who is held to the first."""

    mine: dict[str, str]
    other: dict[str, str]
    user_id: UUID
    access: str


async def things_of(api: Api, ledger: Ledger, name: str, clicks: int, podcast: int) -> dict[str, str]:
    sponsor = await make(api, name)
    link = await make_link(api, sponsor, slug=name.lower())
    await follow(ledger, link, ["2026-11-20T10:00:00+00:00"] * clicks)
    campaign = await make_campaign(api, sponsor, name=f"{name} campaign")
    flight = await make_flight(api, campaign)
    episode = await an_episode(api, podcast)
    placement = await make_placement(api, flight, episode)
    given = {"sponsor_id": sponsor["sponsor_id"], "name": f"Purchase at {name}", "category": "purchase"}
    action = (await api.request("POST", "/conversion-actions", json=given)).json()
    said = {"action_id": action["action_id"], "external_id": f"order-{name}"}
    conversion = (await api.request("POST", "/attribution/conversions", json=said)).json()
    run_id = await attribute_one(api, ledger, sponsor["sponsor_id"], conversion["conversion_id"], NOW)
    codes = (
        await api.request("POST", f"/flights/{flight['flight_id']}/promo-codes", json={"code": f"{name}20"})
    ).json()
    code = codes["data"][0]
    wanted = {"host": f"{name}.example.net", "link_id": link["link_id"]}
    host = (await api.request("POST", "/vanity-hosts", json=wanted)).json()
    ids = {**sponsor, **link, **campaign, **flight, **episode, **placement, **action, **conversion, "run_id": run_id}
    report_id = await keep_report(api, ledger, kind="sponsor", sponsor_id=sponsor["sponsor_id"])
    ids |= {"promo_code_id": code["promo_code_id"], "vanity_host_id": host["vanity_host_id"], "report_id": report_id}
    return {
        noun: ids[noun]
        for noun in (
            *("sponsor_id", "link_id", "insertion_order_id", "campaign_id", "flight_id", "placement_id"),
            *("podcast_id", "episode_id", "action_id", "conversion_id", "run_id"),
            *("promo_code_id", "vanity_host_id", "report_id"),
        )
    }


async def hold(api: Api, ledger: Ledger, user_id: UUID, *sponsors: str) -> None:
    """Hold somebody to sponsors, by what their membership says."""
    tenant = await ledger.tenant_of("home")
    async with ledger.auth.transaction():
        assert await change_membership(
            ledger.auth,
            tenant.tenant_id,
            user_id,
            role=RoleName.SPONSOR,
            sponsor_ids=[UUID(one) for one in sponsors],
        )


@pytest.fixture
async def world(api: Api, ledger: Ledger) -> World:
    mine = await things_of(api, ledger, "Acme", 2, 1)
    other = await things_of(api, ledger, "Zenith", 5, 2)
    await make_link(api, slug="nobodys")
    user_id = await make_person(ledger, "sam@example.com", "home", role=RoleName.SPONSOR)
    await hold(api, ledger, user_id, mine["sponsor_id"])
    return World(mine, other, user_id, (await sign_in(api, "sam@example.com")).access)


async def contents(ledger: Ledger) -> dict[str, str]:
    """Digest the rows of every table."""
    names = [row["name"] for row in await ledger.operator.fetch(_TABLES)]
    union = " union all ".join(
        f"select '{name}' as name, md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as rows from {name} t"
        for name in names
    )
    return {row["name"]: row["rows"] for row in await ledger.operator.fetch(union)}


async def test_own_links_clicks_and_totals_are_seen_and_no_others(api: Api, world: World) -> None:
    sponsors = (await api.get("/sponsors", key=world.access)).json()["data"]
    assert [(row["sponsor_id"], row["links"]) for row in sponsors] == [(world.mine["sponsor_id"], 1)]
    links = (await api.get("/links", key=world.access)).json()["data"]
    assert [(row["link_id"], row["clicks"]) for row in links] == [(world.mine["link_id"], 2)]
    for path in ("/clicks", f"/links/{links[0]['link_id']}/clicks", f"/sponsors/{world.mine['sponsor_id']}/clicks"):
        assert (await api.get(path, key=world.access, **RANGE)).json()["totals"] == {"clicks": 2, "bots": 0}
    assert (await api.get("/clicks", **RANGE)).json()["totals"] == {"clicks": 7, "bots": 0}


async def test_every_route_refuses_what_is_another_sponsors_and_changes_nothing(
    api: Api, ledger: Ledger, world: World, resources: Resources
) -> None:
    await resources.key_uses.flush()
    before = await contents(ledger)
    asked = answered = 0
    for operation in list_operations(create_app(resources)):
        opt = operation.handler.opt
        if opt.get("is_open") or "permission" not in opt:
            continue
        needed: Permission | None = opt["permission"]
        path = re.sub(
            r"{(\w+)}", lambda found: world.other.get(found[1], str(new_id())), operation.path.removeprefix("/api/v1")
        )
        if needed is None:
            continue
        body = BODIES.get(operation.function.__name__, {}) if operation.bodies else None
        method = operation.method.upper()
        given: dict[str, Any] = {} if body is None else {"json": body}
        query = {one.name: QUERIES[one.name] for one in operation.query if one.required and one.name in QUERIES}
        given["params"] = query
        answer = await api.request(method, path, key=world.access, **given)
        asked += 1
        if needed not in SEEN:
            problem(answer, 403, "forbidden")
            continue
        assert method == "GET", "who is held to sponsors only reads"
        if "{" in operation.path:
            problem(answer, 404, "not_found")
            own = operation.path.removeprefix("/api/v1").format(**world.mine)
            found = await api.request("GET", own, key=world.access, params=query)
            assert found.status_code == 200, found.text
        else:
            assert answer.status_code == 200
        for parameter in operation.query:
            if parameter.schema.get("format") == "uuid":
                foreign = {**query, parameter.name: world.other[parameter.name]}
                problem(await api.request("GET", path, key=world.access, params=foreign), 404, "not_found")
        assert not any(made in answer.text for made in (*world.other.values(), "Zenith", "zenith", "nobodys"))
        answered += 1
    assert asked > 40
    assert answered >= 7
    after = await contents(ledger)
    assert {name for name in after if after[name] != before[name]} == set()


async def test_what_is_placed_has_its_titles_and_nothing_else_of_a_podcast_is_seen(
    api: Api, ledger: Ledger, world: World
) -> None:
    (placed,) = (await api.get("/placements", key=world.access)).json()["data"]
    assert placed == await api.data(f"/placements/{world.mine['placement_id']}")
    assert placed["podcast_title"]
    assert placed["episode_title"]
    await api.request(
        "POST", f"/podcasts/{world.mine['podcast_id']}/ad-slots", json={"name": "Hers", "position": "mid"}
    )
    slots = await api.get(f"/podcasts/{world.mine['podcast_id']}/ad-slots", key=world.access)
    assert slots.json()["data"] == []
    for path in (f"/podcasts/{world.mine['podcast_id']}", f"/podcasts/{world.mine['podcast_id']}/episodes"):
        problem(await api.get(path, key=world.access), 403, "forbidden")
    orders = (await api.get("/insertion-orders", key=world.access)).json()["data"]
    assert [one["insertion_order_id"] for one in orders] == [world.mine["insertion_order_id"]]
    assert [one["number"] for one in (await api.data("/insertion-orders"))["data"]] == [1, 2]


async def test_what_somebody_sees_follows_their_membership_at_once(api: Api, ledger: Ledger, world: World) -> None:
    async def seen() -> tuple[int, int, int]:
        rows = [(await api.get(path, key=world.access)).json()["data"] for path in ("/sponsors", "/links")]
        return (
            len(rows[0]),
            len(rows[1]),
            (await api.get("/clicks", key=world.access, **RANGE)).json()["totals"]["clicks"],
        )

    assert await seen() == (1, 1, 2)
    await hold(api, ledger, world.user_id, world.mine["sponsor_id"], world.other["sponsor_id"])
    assert await seen() == (2, 2, 7)
    # Held to nobody is not free.
    await hold(api, ledger, world.user_id)
    assert await seen() == (0, 0, 0)
    # Of another tenant, or of none at all.
    await hold(api, ledger, world.user_id, str(new_id()))
    assert await seen() == (0, 0, 0)


async def test_a_merge_shows_nobody_more_than_they_were_to_see(api: Api, world: World) -> None:
    merged = await call(api, world.mine, "merge", json={"into": world.other["sponsor_id"]})
    assert merged.json()["links_moved"] == 1
    assert (await api.get("/links", key=world.access)).json()["data"] == []
    assert (await api.get("/clicks", key=world.access, **RANGE)).json()["totals"] == {"clicks": 0, "bots": 0}
    sponsors = (await api.get("/sponsors", key=world.access)).json()["data"]
    assert [row["name"] for row in sponsors] == ["Acme"]


async def test_what_is_about_oneself_is_done_as_by_everybody(api: Api, world: World) -> None:
    """Sessions and passwords are written by the role that authenticates, which no sponsor holds."""
    me = await api.get("/users/me", key=world.access)
    assert (me.status_code, me.json()["email"]) == (200, "sam@example.com")
    answer = await api.request("PATCH", "/users/me", key=world.access, json={"name": "Sam"})
    assert answer.status_code == 200, answer.text
    out = await api.request("POST", "/auth/logout", key=world.access)
    assert out.status_code < 300, out.text
    problem(await api.get("/links", key=world.access), 401, "unauthenticated")


def test_a_caller_that_is_held_to_sponsors_carries_them_everywhere_and_may_only_read() -> None:
    tenant, one = Tenant(TenantId(new_id()), TenantNo(1)), new_id()
    for sponsors in (frozenset[UUID](), frozenset((one,))):
        held = Caller(
            tenant=tenant, is_installation=True, status="active", permissions=ALL_PERMISSIONS, sponsor_ids=sponsors
        )
        assert held.tenant == Tenant(tenant.tenant_id, tenant.tenant_no, sponsors)
        assert held.permissions == SEEN
        assert all(permission.endswith(":read") for permission in held.permissions)
    free = Caller(tenant=tenant, is_installation=True, status="active", permissions=ALL_PERMISSIONS)
    assert (free.tenant, free.permissions) == (tenant, ALL_PERMISSIONS)
