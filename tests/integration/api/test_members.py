"""Members: invited, joined, changed and removed, and nobody becomes more than who made them so."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.invitations import drop_invitations
from analytics_core.invitations import LIFETIME, new_token
from analytics_core.permissions import ROLES, Permission, RoleName
from analytics_core.settings import Settings
from api.app import create_app
from api.resources import open_resources
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.people import PASSWORD, make_person, post, sign_in, take_token

pytestmark = pytest.mark.anyio

BOB = "bob@example.com"
NEW_PASSWORD = "eight brisk alpacas"
SPONSOR = str(UUID(int=7))


async def invite(api: Api, email: str = BOB, *, key: str | None = None, **more: Any) -> dict[str, Any]:
    answer = await api.request(
        "POST", "/members/invitations", key=key, json={"email": email, **(more or {"role": "viewer"})}
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def accept(api: Api, ledger: Ledger, email: str = BOB, **more: str) -> dict[str, Any]:
    token = await take_token(ledger, "inv", to=email)
    body = {"token": token, "password": NEW_PASSWORD, "name": "Bob", **more}
    answer = await post(api, "/auth/invitations/accept", body)
    assert answer.status_code == 201, answer.text
    joined: dict[str, Any] = answer.json()
    return joined


async def mail_of(ledger: Ledger) -> tuple[str, str]:
    """Read the one mail that waits: its subject and its text."""
    [row] = await ledger.ingest.fetch("select subject, body from app.outbox")
    return row["subject"], row["body"]


async def member_of(api: Api, user_id: UUID | str) -> dict[str, Any]:
    [member] = [row for row in (await api.data("/members"))["data"] if row["user_id"] == str(user_id)]
    found: dict[str, Any] = member
    return found


async def test_somebody_new_is_invited_joins_and_signs_in(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    made = await invite(api, " Bob@Example.COM ", role="sales")
    assert made == {
        "invitation_id": made["invitation_id"],
        "email": "Bob@example.com",
        "role": "sales",
        "role_id": None,
        "sponsor_ids": [],
        "state": "open",
        "invited_by": None,
        "created_at": "2026-11-24T12:00:00Z",
        "expires_at": "2026-12-01T12:00:00Z",
        "closed_at": None,
    }
    subject, text = await mail_of(ledger)
    assert subject == "Invitation to “home”"
    assert "as “sales”" in text
    joined = await accept(api, ledger, "Bob@example.com")
    assert (joined["tenant_name"], joined["role"], joined["role_id"]) == ("home", "sales", None)
    signed = await sign_in(api, BOB, NEW_PASSWORD)
    assert (await api.get("/podcasts", key=signed.access)).status_code == 200
    problem(await api.get("/members", key=signed.access), 403, "forbidden")
    member = await member_of(api, joined["user_id"])
    assert (member["email"], member["name"], member["role"]) == ("Bob@example.com", "Bob", "sales")
    [listed] = (await api.data("/members/invitations"))["data"]
    assert (listed["state"], listed["closed_at"]) == ("accepted", "2026-11-24T12:00:00Z")


async def test_somebody_known_joins_with_the_password_that_they_have(api: Api, ledger: Ledger) -> None:
    await ledger.make_key("other")
    bob = await make_person(ledger, BOB, "other")
    await invite(api, role="analyst")
    token = await take_token(ledger, "inv", to=BOB)
    wrong = {"token": token, "password": NEW_PASSWORD, "name": "Mallory"}
    problem(await post(api, "/auth/invitations/accept", wrong), 401, "wrong_credentials")
    joined = await accept(api, ledger, password=PASSWORD)
    assert joined["user_id"] == str(bob)
    assert (await member_of(api, bob))["name"] == "Ann"
    signed = await sign_in(api, BOB, tenant="home")
    assert [row["slug"] for row in signed.body["tenants"]] == ["other", "home"]


async def test_who_registered_without_proof_gets_the_password_of_who_has_the_mail(api: Api, ledger: Ledger) -> None:
    squatter = await make_person(ledger, BOB, verified=False)
    await invite(api)
    joined = await accept(api, ledger)
    assert joined["user_id"] == str(squatter)
    await sign_in(api, BOB, NEW_PASSWORD)
    body = {"email": BOB, "password": PASSWORD}
    problem(await post(api, "/auth/login", body), 401, "wrong_credentials")


async def test_a_weak_password_is_refused_and_the_invitation_stays(api: Api, ledger: Ledger) -> None:
    await invite(api)
    body = {"token": await take_token(ledger, "inv", to=BOB), "password": "Passw0rd2026!", "name": "Bob"}
    assert codes(await post(api, "/auth/invitations/accept", body)) == {("/password", "weak_password")}
    await accept(api, ledger)


async def test_an_invitation_is_good_once_and_for_a_week(api: Api, ledger: Ledger, settings: Settings) -> None:
    await invite(api)
    token = await take_token(ledger, "inv", to=BOB)
    body = {"token": token, "password": NEW_PASSWORD}
    later = FixedClock(dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC) + LIFETIME)
    async with open_resources(settings, clock=later) as resources, Api.open(create_app(resources), api.key) as then:
        problem(await post(then, "/auth/invitations/accept", body), 410, "invitation_ended")
        [listed] = (await then.data("/members/invitations"))["data"]
        assert listed["state"] == "expired"
        # It stands in nobody's way.
        await invite(then)
    await accept(api, ledger)
    body["token"] = await take_token(ledger, "inv", to=BOB)
    problem(await post(api, "/auth/invitations/accept", body), 410, "invitation_ended")
    for unknown in ("x", new_token()):
        problem(await post(api, "/auth/invitations/accept", {**body, "token": unknown}), 404, "not_found")
    states = [row["state"] for row in (await api.data("/members/invitations"))["data"]]
    assert states == ["expired", "accepted"]
    async with ledger.ingest.transaction():
        assert await drop_invitations(ledger.ingest, before=later.now() + dt.timedelta(seconds=1)) == 1


async def test_an_invitation_can_be_taken_back(api: Api, ledger: Ledger) -> None:
    made = await invite(api)
    body = {"token": await take_token(ledger, "inv", to=BOB), "password": NEW_PASSWORD}
    path = f"/members/invitations/{made['invitation_id']}"
    other = await ledger.make_key("other")
    problem(await api.request("DELETE", path, key=other), 404, "not_found")
    assert (await api.request("DELETE", path)).status_code == 204
    problem(await api.request("DELETE", path), 404, "not_found")
    problem(await post(api, "/auth/invitations/accept", body), 404, "not_found")
    assert (await api.data("/members/invitations"))["data"][0]["state"] == "revoked"
    await invite(api)


async def test_nobody_is_invited_twice_or_who_is_there_already(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    await invite(api)
    for email, code in (("BOB@example.com", "already_invited"), ("Ann@Example.com", "already_member")):
        answer = await api.request("POST", "/members/invitations", json={"email": email, "role": "viewer"})
        problem(answer, 409, code)
    assert await ledger.ingest.fetchval("select count(*) from app.outbox") == 1
    other = await ledger.make_key("other")
    await invite(api, key=other)
    await invite(api, "ann@example.com", key=other)


async def test_twenty_invite_the_same_person_at_once_and_one_does(api: Api, ledger: Ledger) -> None:
    body = {"email": BOB, "role": "viewer"}
    answers = await asyncio.gather(*(api.request("POST", "/members/invitations", json=body) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert await ledger.ingest.fetchval("select count(*) from app.outbox") == 1


async def test_ten_accept_at_once_and_one_joins(api: Api, ledger: Ledger) -> None:
    await invite(api)
    body = {"token": await take_token(ledger, "inv", to=BOB), "password": NEW_PASSWORD, "name": "Bob"}
    answers = await asyncio.gather(*(post(api, "/auth/invitations/accept", body) for _ in range(10)))
    assert [answer.status_code for answer in answers].count(201) == 1
    assert {answer.status_code for answer in answers} <= {201, 401, 409, 410, 429}
    assert len((await api.data("/members"))["data"]) == 1


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"email": "bob", "role": "viewer"}, {("/email", "invalid")}),
        ({"email": BOB}, {("/role", "invalid")}),
        ({"email": "bob\r\nBcc: x@example.com", "role": "chief"}, {("/role", "invalid")}),
        ({"email": BOB, "role": "viewer", "role_id": SPONSOR}, {("/role", "invalid")}),
        ({"email": "b", "role": "sponsor"}, {("/email", "invalid")}),
        ({"email": "b@x", "role": "sponsor"}, {("/email", "invalid"), ("/sponsor_ids", "missing")}),
        ({"email": BOB, "role": "viewer", "sponsor_ids": [SPONSOR]}, {("/sponsor_ids", "invalid")}),
        ({"email": BOB, "role": "sponsor", "sponsor_ids": ["x"]}, {("/sponsor_ids", "invalid")}),
        ({"email": BOB, "role": "viewer", "is_owner": True}, {("/is_owner", "unknown_field")}),
    ],
)
async def test_all_that_is_wrong_with_an_invitation_is_said(
    api: Api, body: dict[str, Any], wrong: set[tuple[str, str]]
) -> None:
    assert codes(await api.request("POST", "/members/invitations", json=body)) == wrong


async def test_a_tenants_name_cannot_pass_for_our_words(api: Api, ledger: Ledger) -> None:
    name = "Pay now\n\nhttps://evil.example\r\n\u202e" + "x" * 100
    await ledger.operator.execute("update app.tenants set name = $1", name)
    await invite(api)
    subject, text = await mail_of(ledger)
    title = "“Pay now https://evil.example " + "x" * 51 + "”"
    assert subject == f"Invitation to {title}"
    assert text.startswith(f"You are invited to {title} on Castledger, as “viewer”.\n")


async def test_nobody_makes_anybody_what_they_are_not(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home", role=RoleName.OWNER)
    admin_id = await make_person(ledger, "adam@example.com", "home", role=RoleName.ADMIN)
    owner_id = await ledger.auth.fetchval("select user_id from app.users where email = 'ann@example.com'")
    admin = (await sign_in(api, "adam@example.com")).access
    answer = await api.request(
        "POST", "/members/invitations", key=admin, json={"email": "eve@example.com", "role": "owner"}
    )
    assert "tenant:close" in problem(answer, 403, "escalation")["detail"]
    for user_id, role in ((admin_id, "owner"), (owner_id, "viewer")):
        answer = await api.request("PATCH", f"/members/{user_id}", key=admin, json={"role": role})
        problem(answer, 403, "escalation")
    problem(await api.request("DELETE", f"/members/{owner_id}", key=admin), 403, "escalation")
    await invite(api, "eve@example.com", key=admin, role="admin")
    assert (await member_of(api, owner_id))["role"] == "owner"
    assert (await member_of(api, admin_id))["role"] == "admin"


async def test_members_are_changed_from_their_next_request_on_and_removed_at_once(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    bob = await make_person(ledger, BOB, "home", role=RoleName.ADMIN)
    owner, admin = (await sign_in(api)).access, (await sign_in(api, BOB)).access
    assert (await api.get("/members", key=admin)).status_code == 200
    answer = await api.request("PATCH", f"/members/{bob}", key=owner, json={"role": "viewer"})
    assert (answer.status_code, answer.json()["role"]) == (200, "viewer")
    problem(await api.get("/members", key=admin), 403, "forbidden")
    assert (await api.get("/podcasts", key=admin)).status_code == 200
    assert (await api.request("DELETE", f"/members/{bob}", key=owner)).status_code == 204
    problem(await api.get("/podcasts", key=admin), 401, "unauthenticated")
    problem(await api.request("DELETE", f"/members/{bob}", key=owner), 404, "not_found")
    problem(await api.request("PATCH", f"/members/{bob}", key=owner, json={"role": "viewer"}), 404, "not_found")
    # Who comes back comes anew: what they had open before stays shut.
    await invite(api, role="admin")
    await accept(api, ledger, password=PASSWORD)
    problem(await api.get("/podcasts", key=admin), 401, "unauthenticated")


async def test_the_last_owner_stays_one(api: Api, ledger: Ledger) -> None:
    ann = await make_person(ledger, "ann@example.com", "home")
    owner = (await sign_in(api)).access
    problem(await api.request("DELETE", f"/members/{ann}", key=owner), 409, "last_owner")
    problem(await api.request("PATCH", f"/members/{ann}", key=owner, json={"role": "admin"}), 409, "last_owner")
    assert (await member_of(api, ann))["role"] == "owner"
    bob = await make_person(ledger, BOB, "home")
    answer = await api.request("PATCH", f"/members/{ann}", key=owner, json={"role": "admin"})
    assert answer.status_code == 200
    problem(await api.request("DELETE", f"/members/{bob}"), 409, "last_owner")


async def test_an_owner_is_left_when_all_owners_remove_and_lower_one_another_at_once(api: Api, ledger: Ledger) -> None:
    people = [await make_person(ledger, f"owner{number}@example.com", "home") for number in range(8)]
    requests = [api.request("DELETE", f"/members/{person}") for person in people[:4] * 3]
    requests += [api.request("PATCH", f"/members/{person}", json={"role": "viewer"}) for person in people[4:] * 3]
    answers = await asyncio.gather(*requests)
    assert {answer.status_code for answer in answers} <= {200, 204, 404, 409}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"last_owner"}
    left = [row for row in (await api.data("/members"))["data"] if row["role"] == "owner"]
    assert len(left) == 1


async def test_members_of_another_tenant_are_not_there(api: Api, ledger: Ledger) -> None:
    ann = await make_person(ledger, "ann@example.com", "home")
    other = await ledger.make_key("other")
    assert (await api.get("/members", key=other)).json()["data"] == []
    problem(await api.request("DELETE", f"/members/{ann}", key=other), 404, "not_found")
    problem(await api.request("PATCH", f"/members/{ann}", key=other, json={"role": "viewer"}), 404, "not_found")
    problem(await api.request("PATCH", "/members/x", json={"role": "viewer"}), 404, "not_found")
    assert (await member_of(api, ann))["role"] == "owner"


async def test_lists_are_paged(api: Api, ledger: Ledger) -> None:
    people = {str(await make_person(ledger, f"p{number}@example.com", "home")) for number in range(5)}
    for number in range(5):
        await invite(api, f"i{number}@example.com")
    for path, ids in (("/members", "user_id"), ("/members/invitations", "invitation_id")):
        seen: list[str] = []
        page = await api.data(path, limit=2)
        while True:
            seen += [row[ids] for row in page["data"]]
            if page["next_cursor"] is None:
                break
            page = await api.data(path, limit=2, cursor=page["next_cursor"])
        assert len(seen) == len(set(seen)) == 5
        assert ids != "user_id" or set(seen) == people


async def test_what_is_done_to_members_is_on_record_without_addresses(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    await invite(api)
    joined = await accept(api, ledger)
    await api.request("PATCH", f"/members/{joined['user_id']}", json={"role": "admin"})
    await api.request("DELETE", f"/members/{joined['user_id']}")
    rows = await ledger.operator.fetch("select action, actor, before, after from app.audit_log order by entry_id")
    assert [(row["action"], row["actor"]) for row in rows] == [
        ("invitation.create", "key"),
        ("invitation.accept", "user"),
        ("member.update", "key"),
        ("member.remove", "key"),
    ]
    assert not [row for row in rows if "bob@" in str(dict(row)).lower() or "cl_inv_" in str(dict(row))]
    assert '"name": ""' in rows[-1]["before"], "the record of who is gone names nobody"


async def test_nobody_joins_a_suspended_tenant(api: Api, ledger: Ledger) -> None:
    await invite(api, key=await ledger.make_key("other"))
    body = {"token": await take_token(ledger, "inv", to=BOB), "password": NEW_PASSWORD}
    await ledger.suspend("other")
    problem(await post(api, "/auth/invitations/accept", body), 403, "tenant_suspended")


# Custom roles.


async def make_role(api: Api, name: str = "Editor", *permissions: str, key: str | None = None) -> dict[str, Any]:
    body = {"name": name, "permissions": permissions or ["links:read", "links:write"]}
    answer = await api.request("POST", "/roles", key=key, json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_a_role_of_ones_own_works_and_its_changes_do_at_the_next_request(api: Api, ledger: Ledger) -> None:
    made = await make_role(api, "  Link editor ")
    assert (made["name"], made["permissions"], made["members"]) == ("Link editor", ["links:read", "links:write"], 0)
    await invite(api, role_id=made["role_id"])
    assert "as “Link editor”" in await ledger.ingest.fetchval("select body from app.outbox")
    joined = await accept(api, ledger)
    assert (joined["role"], joined["role_id"]) == ("viewer", made["role_id"])
    editor = (await sign_in(api, BOB, NEW_PASSWORD)).access
    assert (await api.get("/links", key=editor)).status_code == 200
    problem(await api.get("/podcasts", key=editor), 403, "forbidden")
    change = {"permissions": ["podcasts:read"]}
    answer = await api.request("PATCH", f"/roles/{made['role_id']}", json=change)
    assert (answer.status_code, answer.json()["members"]) == (200, 1)
    problem(await api.get("/links", key=editor), 403, "forbidden")
    assert (await api.get("/podcasts", key=editor)).status_code == 200


async def test_roles_are_made_read_changed_and_deleted(api: Api, ledger: Ledger) -> None:
    made = await make_role(api)
    path = f"/roles/{made['role_id']}"
    assert await api.data(path) == made
    assert (await api.data("/roles"))["data"] == [made]
    changed = (await api.request("PATCH", path, json={"name": "Zoe\u0308"})).json()
    assert (changed["name"], changed["permissions"]) == ("Zoë", made["permissions"])
    other = await ledger.make_key("other")
    problem(await api.get(path, key=other), 404, "not_found")
    problem(await api.request("PATCH", path, key=other, json={"name": "x"}), 404, "not_found")
    problem(await api.request("DELETE", path, key=other), 404, "not_found")
    problem(
        await api.request("POST", "/members/invitations", key=other, json={"email": BOB, "role_id": made["role_id"]}),
        404,
        "not_found",
    )
    assert (await api.request("DELETE", path)).status_code == 204
    problem(await api.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"name": "x", "permissions": ["moon:read"]}, {("/permissions", "invalid")}),
        ({"name": "x", "permissions": []}, {("/permissions", "invalid")}),
        ({"name": " ", "permissions": ["links:read"]}, {("/name", "invalid")}),
        ({"name": "x" * 61, "permissions": ["links:read"]}, {("/name", "invalid")}),
        ({"name": "a\nb", "permissions": ["links:read"]}, {("/name", "invalid")}),
        ({"name": "OWNER", "permissions": ["links:read"]}, {("/name", "invalid")}),
        ({}, {("/name", "missing"), ("/permissions", "missing")}),
    ],
)
async def test_what_is_wrong_with_a_role_is_said(api: Api, body: dict[str, Any], wrong: set[tuple[str, str]]) -> None:
    assert codes(await api.request("POST", "/roles", json=body)) == wrong


async def test_a_roles_name_is_its_own_whatever_its_case(api: Api, ledger: Ledger) -> None:
    await make_role(api)
    other = await make_role(api, "Other")
    body = {"name": "EDITOR", "permissions": ["links:read"]}
    problem(await api.request("POST", "/roles", json=body), 409, "role_name_taken")
    answer = await api.request("PATCH", f"/roles/{other['role_id']}", json={"name": "editor"})
    problem(answer, 409, "role_name_taken")
    await make_role(api, "Editor", key=await ledger.make_key("other"))


async def test_a_role_in_use_stays_until_nobody_has_it(api: Api, ledger: Ledger) -> None:
    made = await make_role(api)
    path = f"/roles/{made['role_id']}"
    invitation = await invite(api, role_id=made["role_id"])
    problem(await api.request("DELETE", path), 409, "role_in_use")
    joined = await accept(api, ledger)
    problem(await api.request("DELETE", path), 409, "role_in_use")
    answer = await api.request("PATCH", f"/members/{joined['user_id']}", json={"role": "viewer"})
    assert (answer.json()["role"], answer.json()["role_id"]) == ("viewer", None)
    # Of somebody who has gone it is none any more.
    gone = await make_person(ledger, "gone@example.com", "home", role=RoleName.VIEWER)
    answer = await api.request("PATCH", f"/members/{gone}", json={"role_id": made["role_id"]})
    assert answer.status_code == 200
    assert (await api.request("DELETE", f"/members/{gone}")).status_code == 204
    assert (await api.request("DELETE", path)).status_code == 204
    [listed] = (await api.data("/members/invitations"))["data"]
    assert (listed["invitation_id"], listed["role_id"]) == (invitation["invitation_id"], None)


async def test_a_role_is_given_or_deleted_never_both(api: Api, ledger: Ledger) -> None:
    people = [await make_person(ledger, f"p{number}@example.com", "home", role=RoleName.VIEWER) for number in range(6)]
    made = await make_role(api)
    path, body = f"/roles/{made['role_id']}", {"role_id": made["role_id"]}
    gifts = [api.request("PATCH", f"/members/{person}", json=body) for person in people]
    given = await asyncio.gather(*gifts[:3], api.request("DELETE", path), *gifts[3:])
    deleted = given.pop(3).status_code
    assert deleted in (204, 409)
    has = [row for row in (await api.data("/members"))["data"] if row["role_id"] is not None]
    if deleted == 204:
        assert {answer.status_code for answer in given} == {404}
        assert has == []
    else:
        assert len(has) == 6
        assert {answer.status_code for answer in given} == {200}


async def test_nobody_puts_into_a_role_what_they_have_not(api: Api, ledger: Ledger) -> None:
    lesser = await make_role(api, "Lesser", *(ROLES[RoleName.VIEWER] | {Permission.ROLES_WRITE, Permission.ROLES_READ}))
    greater = await make_role(api, "Greater", "keys:write")
    eve = await make_person(ledger, "eve@example.com", "home", role=RoleName.VIEWER)
    await api.request("PATCH", f"/members/{eve}", json={"role_id": lesser["role_id"]})
    key = (await sign_in(api, "eve@example.com")).access
    body = {"name": "Mine", "permissions": ["keys:write", "links:read"]}
    assert "keys:write" in problem(await api.request("POST", "/roles", key=key, json=body), 403, "escalation")["detail"]
    for role, change in ((lesser, {"permissions": ["keys:write"]}), (greater, {"permissions": ["links:read"]})):
        answer = await api.request("PATCH", f"/roles/{role['role_id']}", key=key, json=change)
        problem(answer, 403, "escalation")
    problem(await api.request("DELETE", f"/roles/{greater['role_id']}", key=key), 403, "escalation")
    await make_role(api, "Mine", "links:read", key=key)


async def test_who_sees_the_rows_of_sponsors_alone_makes_nobody_anything(api: Api, ledger: Ledger) -> None:
    sponsor = (await api.request("POST", "/sponsors", json={"name": "Acme"})).json()["sponsor_id"]
    role = await make_role(api, "Sponsor's admin", "members:write", "members:read", "sponsors:read")
    eve = await make_person(ledger, "eve@example.com", "home", role=RoleName.VIEWER)
    assigned = {"role_id": role["role_id"], "sponsor_ids": [sponsor]}
    unknown = {"role_id": role["role_id"], "sponsor_ids": [sponsor, SPONSOR]}
    problem(await api.request("PATCH", f"/members/{eve}", json=unknown), 404, "not_found")
    answer = await api.request("PATCH", f"/members/{eve}", json=assigned)
    assert (answer.json()["role"], answer.json()["sponsor_ids"]) == ("sponsor", [sponsor])
    key = (await sign_in(api, "eve@example.com")).access
    # Whatever a role says, who is held to sponsors reads, and nothing else.
    problem(
        await api.request("POST", "/members/invitations", key=key, json={"email": BOB, **assigned}), 403, "forbidden"
    )
    problem(await api.get("/members", key=key), 403, "forbidden")
    assert [row["sponsor_id"] for row in (await api.get("/sponsors", key=key)).json()["data"]] == [sponsor]
    problem(await api.request("POST", "/members/invitations", json={"email": BOB, **unknown}), 404, "not_found")
    await invite(api, **assigned)
