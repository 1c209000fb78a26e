"""Signing in over the API: who is let in, for how long, and what becomes of tokens."""

from __future__ import annotations

import asyncio
import datetime as dt
import io
from uuid import UUID

import msgspec
import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.memberships import end_membership
from analytics_core.db.users import set_status
from analytics_core.passwords import PasswordHasher
from analytics_core.permissions import RoleName
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.people import PASSWORD, make_person, post, sign_in

pytestmark = pytest.mark.anyio


async def test_a_member_signs_in_and_asks_as_what_they_are(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home", role=RoleName.VIEWER)
    signed = await sign_in(api, "Ann@EXAMPLE.com")
    assert signed.body["token_type"] == "Bearer"
    assert signed.body["expires_in"] == 900
    assert signed.body["tenant"]["slug"] == "home"
    assert [(row["slug"], row["role"]) for row in signed.body["tenants"]] == [("home", "viewer")]
    assert (await api.get("/podcasts", key=signed.access)).status_code == 200
    body = problem(await api.request("POST", "/api-keys", key=signed.access, json={"name": "x"}), 403, "forbidden")
    assert "keys:write" in body["detail"]


async def test_a_tenant_is_chosen_by_its_slug_else_the_one_joined_first(api: Api, ledger: Ledger) -> None:
    for slug in ("first", "second", "third"):
        await ledger.make_key(slug)
    await make_person(ledger, "ann@example.com", "second", "first")
    assert (await sign_in(api)).body["tenant"]["slug"] == "second"
    chosen = await sign_in(api, tenant="first")
    assert chosen.body["tenant"]["slug"] == "first"
    assert [row["slug"] for row in chosen.body["tenants"]] == ["second", "first"]
    for slug in ("third", "nowhere"):
        body = {"email": "ann@example.com", "password": PASSWORD, "tenant": slug}
        problem(await post(api, "/auth/login", body), 404, "not_found")


async def test_somebody_without_a_tenant_can_see_to_themselves_alone(api: Api, ledger: Ledger) -> None:
    await make_person(ledger)
    signed = await sign_in(api)
    assert (signed.body["tenant"], signed.body["tenants"]) == (None, [])
    assert (await api.get("/users/me", key=signed.access)).status_code == 200
    problem(await api.get("/podcasts", key=signed.access), 403, "forbidden")


async def test_wrong_mail_and_wrong_password_get_the_same_answer(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    await make_person(ledger, "off@example.com", "home")
    off = await ledger.auth.fetchval("select user_id from app.users where email = 'off@example.com'")
    assert await set_status(ledger.auth, off, "disabled")
    answers = []
    for email, password in (
        ("ann@example.com", "wrong password"),
        ("bob@example.com", PASSWORD),
        ("off@example.com", PASSWORD),
        ("no address", PASSWORD),
    ):
        body = problem(await post(api, "/auth/login", {"email": email, "password": password}), 401, "wrong_credentials")
        answers.append({name: value for name, value in body.items() if name != "request_id"})
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("email", ["ann@example.com", "nobody@example.com"])
async def test_failures_make_wait_longer_each_time_known_or_not(
    api: Api, ledger: Ledger, clock: FixedClock, email: str
) -> None:
    await make_person(ledger, "ann@example.com", "home")
    wrong = {"email": email, "password": "wrong password"}
    for _ in range(5):
        problem(await post(api, "/auth/login", wrong), 401, "wrong_credentials")
    for seconds in (15, 30, 60):
        answer = await post(api, "/auth/login", wrong)
        problem(answer, 429, "too_soon")
        assert answer.headers["retry-after"] == str(seconds)
        clock.advance(dt.timedelta(seconds=seconds - 1))
        problem(await post(api, "/auth/login", {"email": email, "password": PASSWORD}), 429, "too_soon")
        clock.advance(dt.timedelta(seconds=1))
        problem(await post(api, "/auth/login", wrong), 401, "wrong_credentials")


async def test_waiting_is_for_an_account_and_a_network(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    await make_person(ledger, "ann@example.com", "home")
    await make_person(ledger, "bob@example.com", "home")
    for _ in range(5):
        await post(api, "/auth/login", {"email": "ann@example.com", "password": "wrong password"})
    problem(await post(api, "/auth/login", {"email": "ANN@example.com", "password": PASSWORD}), 429, "too_soon")
    await sign_in(api, "bob@example.com")
    clock.advance(dt.timedelta(seconds=15))
    await sign_in(api)
    # A right one made them forgotten.
    for _ in range(5):
        problem(
            await post(api, "/auth/login", {"email": "ann@example.com", "password": "wrong password"}),
            401,
            "wrong_credentials",
        )
    stored = await ledger.auth.fetch("select * from app.login_failures")
    assert "127.0.0.1" not in str(stored)
    assert "ann@example.com" not in str(stored)


async def test_many_guesses_at_once_are_no_more_than_one_after_another(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    body = {"email": "ann@example.com", "password": "wrong password"}
    answers = await asyncio.gather(*(post(api, "/auth/login", body) for _ in range(40)))
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 35


async def test_an_address_that_was_not_confirmed_signs_nobody_in(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home", verified=False)
    right = {"email": "ann@example.com", "password": PASSWORD}
    problem(await post(api, "/auth/login", right), 403, "email_not_verified")
    wrong = {"email": "ann@example.com", "password": "wrong password"}
    problem(await post(api, "/auth/login", wrong), 401, "wrong_credentials")


async def test_a_hash_of_a_lower_cost_is_renewed_at_sign_in(api: Api, ledger: Ledger, resources: Resources) -> None:
    user_id = await make_person(ledger, "ann@example.com", "home")
    read = "select password_hash from app.passwords where user_id = $1"
    before = await ledger.auth.fetchval(read, user_id)
    await sign_in(api)
    assert await ledger.auth.fetchval(read, user_id) == before
    dearer = create_app(msgspec.structs.replace(resources, passwords=PasswordHasher(5)), log=RequestLog(io.StringIO()))
    async with Api.open(dearer, api.key) as other:
        await sign_in(other)
        renewed = await ledger.auth.fetchval(read, user_id)
        assert (before[:7], renewed[:7]) == ("$2b$04$", "$2b$05$")
        await sign_in(other)
    assert await ledger.auth.fetchval(read, user_id) == renewed


async def test_a_refresh_token_is_good_once_and_its_reuse_ends_the_session(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    first = await sign_in(api)
    second = (await post(api, "/auth/refresh", {"refresh_token": first.refresh})).json()
    assert second["refresh_token"] != first.refresh
    assert (await api.get("/podcasts", key=second["access_token"])).status_code == 200
    other = await sign_in(api)

    problem(await post(api, "/auth/refresh", {"refresh_token": first.refresh}), 401, "bad_refresh_token")
    problem(await post(api, "/auth/refresh", {"refresh_token": second["refresh_token"]}), 401, "bad_refresh_token")
    for access in (first.access, second["access_token"]):
        problem(await api.get("/podcasts", key=access), 401, "unauthenticated")
    assert (await api.get("/podcasts", key=other.access)).status_code == 200


async def test_of_two_refreshes_at_once_exactly_one_wins(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    for _ in range(5):
        signed = await sign_in(api)
        answers = await asyncio.gather(*(post(api, "/auth/refresh", {"refresh_token": signed.refresh}) for _ in "ab"))
        assert sorted(answer.status_code for answer in answers) == [200, 401]
        # Nobody can tell which of the two was the thief.
        (won,) = [answer.json() for answer in answers if answer.status_code == 200]
        problem(await post(api, "/auth/refresh", {"refresh_token": won["refresh_token"]}), 401, "bad_refresh_token")


async def test_sessions_end_after_a_week_unused_and_after_a_month(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    await make_person(ledger, "ann@example.com", "home")
    idle = await sign_in(api)
    clock.advance(dt.timedelta(days=7))
    problem(await post(api, "/auth/refresh", {"refresh_token": idle.refresh}), 401, "bad_refresh_token")
    token = (await sign_in(api)).refresh
    for _ in range(4):
        clock.advance(dt.timedelta(days=6))
        answer = await post(api, "/auth/refresh", {"refresh_token": token})
        assert answer.status_code == 200
        token = answer.json()["refresh_token"]
    clock.advance(dt.timedelta(days=6))
    problem(await post(api, "/auth/refresh", {"refresh_token": token}), 401, "bad_refresh_token")


async def test_signing_out_ends_the_session_at_once(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    signed = await sign_in(api)
    assert (await api.request("POST", "/auth/logout", key=signed.access)).status_code == 204
    problem(await api.get("/podcasts", key=signed.access), 401, "unauthenticated")
    problem(await api.get("/users/me", key=signed.access), 401, "unauthenticated")
    problem(await post(api, "/auth/refresh", {"refresh_token": signed.refresh}), 401, "bad_refresh_token")


async def test_a_removed_member_is_refused_at_once(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "owner@example.com", "home")
    ann = await make_person(ledger, "ann@example.com", "home")
    signed = await sign_in(api)
    home = await ledger.tenant_of("home")
    assert await end_membership(ledger.auth, home.tenant_id, ann, now=dt.datetime.now(dt.UTC))
    problem(await api.get("/podcasts", key=signed.access), 401, "unauthenticated")
    problem(await post(api, "/auth/refresh", {"refresh_token": signed.refresh}), 401, "bad_refresh_token")
    assert (await sign_in(api)).body["tenants"] == []


async def test_members_of_a_suspended_tenant_read_and_of_a_closed_one_do_nothing(api: Api, ledger: Ledger) -> None:
    await ledger.make_key("late-payer")
    await make_person(ledger, "ann@example.com", "late-payer")
    signed = await sign_in(api)
    await ledger.suspend("late-payer")
    assert (await api.get("/podcasts", key=signed.access)).status_code == 200
    problem(await api.request("POST", "/api-keys", key=signed.access, json={"name": "x"}), 403, "tenant_suspended")
    assert (await api.request("PATCH", "/users/me", key=signed.access, json={"name": "Anna"})).status_code == 200
    await ledger.operator.execute("update app.tenants set status = 'closed' where slug = 'late-payer'")
    problem(await api.get("/podcasts", key=signed.access), 401, "unauthenticated")
    problem(await post(api, "/auth/refresh", {"refresh_token": signed.refresh}), 401, "bad_refresh_token")


async def test_a_disabled_person_is_refused_at_once(api: Api, ledger: Ledger) -> None:
    ann = await make_person(ledger, "ann@example.com", "home")
    signed = await sign_in(api)
    assert await set_status(ledger.auth, ann, "disabled")
    problem(await api.get("/podcasts", key=signed.access), 401, "unauthenticated")
    problem(await api.get("/users/me", key=signed.access), 401, "unauthenticated")


async def test_a_custom_role_says_what_may_be_done_and_a_lost_one_nothing(api: Api, ledger: Ledger) -> None:
    ann = await make_person(ledger, "ann@example.com", "home", role=RoleName.VIEWER)
    home = await ledger.tenant_of("home")
    role_id = UUID(int=7)
    await ledger.operator.execute(
        """insert into app.roles (tenant_id, role_id, name, permissions, created_at, changed_at)
        values ($1, $2, 'keys', '{keys:read,of:yesterday}', now(), now())""",
        home.tenant_id,
        role_id,
    )
    signed = await sign_in(api)
    assert (await api.get("/podcasts", key=signed.access)).status_code == 200
    await ledger.auth.execute("update app.memberships set custom_role_id = $2 where user_id = $1", ann, role_id)
    problem(await api.get("/podcasts", key=signed.access), 403, "forbidden")
    assert (await api.get("/api-keys", key=signed.access)).status_code == 200
    await ledger.operator.execute("delete from app.roles")
    problem(await api.get("/api-keys", key=signed.access), 403, "forbidden")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({}, {("/email", "missing"), ("/password", "missing")}),
        ({"email": "a@b.co", "password": "x" * 1025}, {("/password", "invalid")}),
        ({"email": "a" * 255, "password": "x"}, {("/email", "invalid")}),
        ({"email": "a@b.co", "password": "x", "otp": 1}, {("/otp", "unknown_field")}),
    ],
)
async def test_a_body_of_another_form_is_refused_by_field(api: Api, body: object, found: set[tuple[str, str]]) -> None:
    assert codes(await post(api, "/auth/login", body)) == found


async def test_a_cookie_alone_is_nobody(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    signed = await sign_in(api)
    for name in ("castledger", "access_token", "Authorization"):
        answer = await api.http.get("/api/v1/podcasts", headers={"Cookie": f"{name}={signed.access}"})
        problem(answer, 401, "unauthenticated")
