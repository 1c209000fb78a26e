"""People over the API: coming in, passwords that were forgotten, what is theirs, and leaving."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.users import erase_deleted
from analytics_core.permissions import RoleName
from analytics_core.settings import Registration
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.people import PASSWORD, make_person, post, sign_in, take_token

pytestmark = pytest.mark.anyio

ANN = {"email": "Ann@Example.com", "password": PASSWORD, "name": "Zoe\u0308", "locale": "de"}


@pytest.fixture
async def open_api(resources: Resources, api: Api) -> AsyncIterator[Api]:
    """A client of an installation where anybody may register."""
    settings = resources.settings
    people = msgspec.structs.replace(
        settings.people, registration=Registration.OPEN, public_url="https://ledger.example.com"
    )
    opened = msgspec.structs.replace(resources, settings=msgspec.structs.replace(settings, people=people))
    async with Api.open(create_app(opened, log=RequestLog(io.StringIO())), api.key) as client:
        yield client


async def audited(ledger: Ledger) -> list[tuple[str, str | None]]:
    rows = await ledger.ingest.fetch("select actor, action from app.audit_log order by entry_no")
    return [(row["actor"], row["action"]) for row in rows]


async def test_nobody_registers_where_people_come_by_invitation(api: Api, ledger: Ledger) -> None:
    problem(await post(api, "/auth/register", ANN), 403, "registration_closed")
    assert await ledger.auth.fetchval("select count(*) from app.users") == 0


async def test_who_registers_confirms_their_address_and_signs_in(open_api: Api, ledger: Ledger) -> None:
    assert (await post(open_api, "/auth/register", ANN)).status_code == 202
    problem(
        await post(open_api, "/auth/login", {"email": ANN["email"], "password": PASSWORD}), 403, "email_not_verified"
    )
    token = await take_token(ledger, "verify", to="Ann@example.com")
    assert (await post(open_api, "/auth/verify", {"token": token})).status_code == 204
    me = (await open_api.get("/users/me", key=(await sign_in(open_api)).access)).json()
    assert (me["email"], me["name"], me["locale"], me["tenants"]) == ("Ann@example.com", "Zoë", "de", [])
    assert codes(await post(open_api, "/auth/verify", {"token": token})) == {("/token", "bad_token")}
    text = await ledger.ingest.fetchval("select body from app.outbox")
    assert f"https://ledger.example.com/verify-email?token={token}\n" in text


async def test_registering_a_taken_address_is_answered_the_same_and_changes_nothing(
    open_api: Api, ledger: Ledger
) -> None:
    await make_person(ledger, "ann@example.com", "home")
    first, second = [
        await post(open_api, "/auth/register", {**ANN, "email": email}) for email in (ANN["email"], "b@c.de")
    ]
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.status_code == 202
    subjects = await ledger.ingest.fetch("select recipient, subject from app.outbox order by mail_id")
    assert [row["recipient"] for row in subjects] == ["ann@example.com", "b@c.de"]
    assert "already" in subjects[0]["subject"]
    assert (await sign_in(open_api)).body["tenant"]["slug"] == "home"


async def test_the_password_is_that_of_whoever_registered_last_before_the_mail_is_followed(
    open_api: Api, ledger: Ledger
) -> None:
    await post(open_api, "/auth/register", {**ANN, "password": "of a squatter 1"})
    stale = await take_token(ledger, "verify", to="Ann@example.com")
    await post(open_api, "/auth/register", ANN)
    assert codes(await post(open_api, "/auth/verify", {"token": stale})) == {("/token", "bad_token")}
    fresh = await take_token(ledger, "verify", to="Ann@example.com")
    assert (await post(open_api, "/auth/verify", {"token": fresh})).status_code == 204
    squatted = {"email": "ann@example.com", "password": "of a squatter 1"}
    problem(await post(open_api, "/auth/login", squatted), 401, "wrong_credentials")
    await sign_in(open_api)


async def test_all_faults_of_a_registration_are_told_at_once(open_api: Api, ledger: Ledger) -> None:
    body = {"email": "no address", "password": "password123", "name": "a\u2028b", "locale": "??"}
    assert codes(await post(open_api, "/auth/register", body)) == {
        ("/email", "invalid"),
        ("/password", "weak_password"),
        ("/name", "invalid"),
        ("/locale", "invalid"),
    }
    assert await ledger.auth.fetchval("select count(*) from app.users") == 0


async def test_mail_is_sent_to_nobody_again_and_again(open_api: Api, ledger: Ledger, clock: FixedClock) -> None:
    for _ in range(5):
        await post(open_api, "/auth/register", ANN)
    problem(await post(open_api, "/auth/register", ANN), 429, "too_soon")
    assert await ledger.ingest.fetchval("select count(*) from app.outbox") == 3
    clock.advance(dt.timedelta(hours=1))
    await post(open_api, "/auth/register", ANN)
    assert await ledger.ingest.fetchval("select count(*) from app.outbox") == 4


async def test_a_token_is_good_for_its_time_and_its_purpose(open_api: Api, ledger: Ledger, clock: FixedClock) -> None:
    await post(open_api, "/auth/register", ANN)
    token = await take_token(ledger, "verify", to="Ann@example.com")
    bad = {("/token", "bad_token")}
    reset = {"token": token, "password": "another good one"}
    assert codes(await post(open_api, "/auth/password/reset", reset)) == bad
    clock.advance(dt.timedelta(hours=24))
    assert codes(await post(open_api, "/auth/verify", {"token": token})) == bad
    for other in ("x", "cl_verify_" + "A" * 43, token + "x"):
        assert codes(await post(open_api, "/auth/verify", {"token": other})) == bad


async def test_a_forgotten_password_is_set_anew_once_and_ends_all_sessions(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home", verified=False)
    await ledger.auth.execute("update app.users set email_verified_at = now()")
    signed = await sign_in(api)
    assert (await post(api, "/auth/password/forgot", {"email": "ANN@example.com"})).status_code == 202
    token = await take_token(ledger, "reset", to="ann@example.com")
    body = {"token": token, "password": "another good one"}
    weak = await post(api, "/auth/password/reset", {**body, "password": "ann@example.com"})
    assert codes(weak) == {("/password", "weak_password")}
    answers = await asyncio.gather(*(post(api, "/auth/password/reset", body) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [204, 422, 422, 422]
    problem(await api.get("/podcasts", key=signed.access), 401, "unauthenticated")
    problem(await post(api, "/auth/refresh", {"refresh_token": signed.refresh}), 401, "bad_refresh_token")
    problem(
        await post(api, "/auth/login", {"email": "ann@example.com", "password": PASSWORD}), 401, "wrong_credentials"
    )
    await sign_in(api, password="another good one")
    assert ("user", "password.reset") in await audited(ledger)
    last = await ledger.ingest.fetchval("select body from app.outbox order by mail_id desc limit 1")
    assert "was changed" in last


async def test_forgetting_is_answered_the_same_for_everybody_and_mailed_to_who_is_there(
    api: Api, ledger: Ledger
) -> None:
    await make_person(ledger, "ann@example.com", "home")
    answers = [
        await post(api, "/auth/password/forgot", {"email": email})
        for email in ("ann@example.com", "bob@example.com", "no address")
        for _ in range(7)
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {(202, answers[0].content)}
    recipients = await ledger.ingest.fetch("select recipient from app.outbox")
    assert [row["recipient"] for row in recipients] == ["ann@example.com"] * 3


async def test_oneself_is_read_and_changed(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home", role=RoleName.SALES)
    key = (await sign_in(api)).access
    me = (await api.get("/users/me", key=key)).json()
    assert (me["email"], me["name"]) == ("ann@example.com", "Ann")
    assert [(row["slug"], row["role"]) for row in me["tenants"]] == [("home", "sales")]
    changed = await api.request("PATCH", "/users/me", key=key, json={"name": " O'Brien; DROP TABLE "})
    assert (changed.json()["name"], changed.json()["locale"]) == ("O'Brien; DROP TABLE", "en")
    wrong = await api.request("PATCH", "/users/me", key=key, json={"email": "x@y.zz"})
    assert codes(wrong) == {("/email", "unknown_field")}
    entry = await ledger.ingest.fetchrow("select * from app.audit_log where action = 'user.change'")
    assert entry is not None
    assert entry["after"] == {"changed": ["name"]}
    assert "Brien" not in str(dict(entry))


async def test_who_wants_no_mail_of_flights_says_so_for_each_tenant(api: Api, ledger: Ledger) -> None:
    await ledger.make_key("other")
    await make_person(ledger, "ann@example.com", "home", "other")
    await make_person(ledger, "bob@example.com", "home")
    key = (await sign_in(api)).access
    home, other = (await api.get("/users/me", key=key)).json()["tenants"]
    assert (home["delivery_mail"], other["delivery_mail"]) == (True, True)
    path = f"/users/me/tenants/{home['tenant_id']}"
    changed = await api.request("PATCH", path, key=key, json={"delivery_mail": False})
    assert (changed.status_code, changed.json()) == (200, home | {"delivery_mail": False})
    assert [row["delivery_mail"] for row in (await api.get("/users/me", key=key)).json()["tenants"]] == [False, True]
    bob = (await sign_in(api, "bob@example.com")).access
    assert [row["delivery_mail"] for row in (await api.get("/users/me", key=bob)).json()["tenants"]] == [True]
    # Of a tenant that one does not belong to, and of none, there is nothing to say.
    for tenant_id in (other["tenant_id"], "01900000-0000-7000-8000-000000000009"):
        path = f"/users/me/tenants/{tenant_id}"
        problem(await api.request("PATCH", path, key=bob, json={"delivery_mail": False}), 404, "not_found")
    for wrong in ({}, {"delivery_mail": None}, {"delivery_mail": True, "role": "owner"}):
        assert (await api.request("PATCH", path, key=bob, json=wrong)).status_code == 422
    entries = await ledger.ingest.fetch("select after from app.audit_log where action = 'membership.change'")
    assert [row["after"] for row in entries] == [{"delivery_mail": False}]


async def test_an_api_key_is_nobody(api: Api) -> None:
    for method, path in (("GET", "/users/me"), ("DELETE", "/users/me"), ("POST", "/auth/logout")):
        problem(await api.request(method, path), 403, "forbidden")
    problem(await api.get("/users/me", key="cl_live_" + "0" * 38), 401, "unauthenticated")


async def test_a_password_is_changed_by_who_knows_it(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    await make_person(ledger, "ann@example.com", "home")
    here, there = await sign_in(api), await sign_in(api)

    async def change(current: str, password: str) -> Any:
        body = {"current_password": current, "password": password}
        return await api.request("POST", "/users/me/password", key=here.access, json=body)

    assert codes(await change("wrong password", "another good one")) == {("/current_password", "wrong_password")}
    assert codes(await change(PASSWORD, "castledger")) == {("/password", "weak_password")}
    assert (await change(PASSWORD, "another good one")).status_code == 204
    assert (await api.get("/users/me", key=here.access)).status_code == 200
    problem(await api.get("/users/me", key=there.access), 401, "unauthenticated")
    await sign_in(api, password="another good one")
    for _ in range(5):
        assert codes(await change(PASSWORD, "another good one")) == {("/current_password", "wrong_password")}
    problem(await change("another good one", "and yet another"), 429, "too_soon")


async def test_sessions_are_listed_page_by_page_and_ended(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    await make_person(ledger, "ann@example.com", "home")
    await make_person(ledger, "bob@example.com", "home")
    signed = []
    for number in range(3):
        answer = await post(
            api, "/auth/login", {"email": "ann@example.com", "password": PASSWORD}, **{"User-Agent": f"phone {number}"}
        )
        signed.append(answer.json()["access_token"])
        clock.advance(dt.timedelta(seconds=1))
    bob = (await sign_in(api, "bob@example.com")).access
    page = (await api.get("/users/me/sessions", key=signed[1], limit=2)).json()
    rest = (await api.get("/users/me/sessions", key=signed[1], limit=2, cursor=page["next_cursor"])).json()
    rows = page["data"] + rest["data"]
    assert [(row["user_agent"], row["is_current"]) for row in rows] == [
        ("phone 0", False),
        ("phone 1", True),
        ("phone 2", False),
    ]
    assert {(row["kind"], row["tenant"]) for row in rows} == {("api", "home")}
    assert rest["next_cursor"] is None
    path = f"/users/me/sessions/{rows[0]['session_id']}"
    problem(await api.request("DELETE", path, key=bob), 404, "not_found")
    assert (await api.request("DELETE", path, key=signed[1])).status_code == 204
    problem(await api.get("/users/me", key=signed[0]), 401, "unauthenticated")
    problem(await api.request("DELETE", path, key=signed[1]), 404, "not_found")
    problem(await api.request("DELETE", "/users/me/sessions/x", key=signed[1]), 404, "not_found")


async def test_of_very_many_sessions_the_longest_unused_ends(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    await make_person(ledger, "ann@example.com", "home")
    first = await sign_in(api)
    clock.advance(dt.timedelta(seconds=1))
    await asyncio.gather(*(sign_in(api) for _ in range(4)))
    await ledger.auth.execute(
        """insert into app.user_sessions select gen_random_uuid(), user_id, tenant_id, kind, user_agent, created_at,
            seen_at + interval '1 second', expires_at from app.user_sessions, generate_series(1, 11)"""
    )
    await sign_in(api)
    assert await ledger.auth.fetchval("select count(*) from app.user_sessions") == 50
    problem(await api.get("/users/me", key=first.access), 401, "unauthenticated")


async def test_ones_own_data_are_exported_and_nobody_elses(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    await make_person(ledger, "bob@example.com", "home")
    await sign_in(api, "bob@example.com")
    answer = await api.get("/users/me/export", key=(await sign_in(api)).access)
    data = answer.json()
    assert (data["user"]["email"], len(data["sessions"])) == ("ann@example.com", 1)
    assert "bob@example.com" not in answer.text
    assert "$2b$" not in answer.text


async def test_who_leaves_is_out_at_once_and_erased_after_thirty_days(
    api: Api, ledger: Ledger, clock: FixedClock
) -> None:
    await make_person(ledger, "owner@example.com", "home")
    ann = await make_person(ledger, "ann@example.com", "home", role=RoleName.VIEWER)
    signed = await sign_in(api)
    assert (await api.request("DELETE", "/users/me", key=signed.access)).status_code == 204
    problem(await api.get("/users/me", key=signed.access), 401, "unauthenticated")
    problem(
        await post(api, "/auth/login", {"email": "ann@example.com", "password": PASSWORD}), 401, "wrong_credentials"
    )
    assert (await post(api, "/auth/password/forgot", {"email": "ann@example.com"})).status_code == 202
    assert await ledger.ingest.fetchval("select count(*) from app.outbox") == 0
    members = await ledger.auth.fetchval("select count(*) from app.memberships where removed_at is null")
    assert members == 1

    almost, over = clock.now() - dt.timedelta(seconds=1), clock.now() + dt.timedelta(seconds=1)
    assert await erase_deleted(ledger.ingest, before=almost) == 0
    assert await erase_deleted(ledger.ingest, before=over) == 1
    assert await erase_deleted(ledger.ingest, before=over) == 0
    row = await ledger.auth.fetchrow("select * from app.users where user_id = $1", ann)
    assert row is not None
    assert (row["email"], row["name"], row["status"]) == (None, "", "erased")
    assert ("user", "user.delete") in await audited(ledger)
    assert (await ledger.auth.fetchval("select count(*) from app.passwords where user_id = $1", ann)) == 0
    # The address is free again.
    await make_person(ledger, "ann@example.com", "home")


async def test_the_last_owner_stays(api: Api, ledger: Ledger) -> None:
    await ledger.make_key("other")
    await make_person(ledger, "ann@example.com", "home", "other")
    bob = await make_person(ledger, "bob@example.com", "home")
    signed = await sign_in(api)
    problem(await api.request("DELETE", "/users/me", key=signed.access), 409, "last_owner")
    assert len((await api.get("/users/me", key=signed.access)).json()["tenants"]) == 2
    assert await ledger.auth.fetchval("select status from app.users where user_id = $1", bob) == "active"
    assert ("user", "user.delete") not in await audited(ledger)


async def test_tokens_passwords_and_addresses_are_in_no_log_and_no_record(
    api: Api, ledger: Ledger, log_stream: io.StringIO
) -> None:
    await make_person(ledger, "ann@example.com", "home")
    signed = await sign_in(api)
    await api.get("/podcasts", key=signed.access + "x")
    await post(api, "/auth/refresh", {"refresh_token": signed.refresh})
    rows = await ledger.ingest.fetch("select * from app.audit_log")
    assert [row["action"] for row in rows] == ["session.open"]
    for text in (log_stream.getvalue(), str([dict(row) for row in rows])):
        for secret in (signed.access, signed.refresh, PASSWORD, "ann@example.com", "127.0.0.1"):
            assert secret not in text
    refused = [msgspec.json.decode(line) for line in log_stream.getvalue().splitlines() if "token_refused" in line]
    assert [line["reason"] for line in refused] == ["InvalidSignatureError"]
