"""What people change of themselves under an `Idempotency-Key`, and who signs in with one."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import pytest

from analytics_core.clock import FixedClock
from analytics_core.db.idempotency import KEPT, drop_answers
from analytics_core.permissions import RoleName
from tests.integration.api.ledger import Api, Ledger, problem
from tests.integration.api.people import PASSWORD, make_person, post, sign_in, take_token

pytestmark = pytest.mark.anyio

ME = "/users/me"
ANOTHER = "a wholly other llama"


async def send(api: Api, by: str, key: str, method: str, path: str, **given: object) -> httpx.Response:
    return await api.request(method, path, key=by, headers={"Idempotency-Key": key}, **given)


async def count(ledger: Ledger, table: str) -> int:
    return int(await ledger.operator.fetchval(f"select count(*) from {table}"))


async def test_a_name_is_changed_once_and_answered_the_same(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    await make_person(ledger, "bob@example.com", "home", role=RoleName.VIEWER)
    ann, bob = (await sign_in(api)).access, (await sign_in(api, "bob@example.com")).access
    noted = await count(ledger, "app.audit_log")
    first = await send(api, ann, "k", "PATCH", ME, json={"name": "Ann O'Hara"})
    assert first.status_code == 200
    assert "idempotent-replayed" not in first.headers
    await api.request("PATCH", ME, key=ann, json={"name": "Later"})
    again = await send(api, ann, "k", "PATCH", ME, json={"name": "Ann O'Hara"})
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await api.request("GET", ME, key=ann)).json()["name"] == "Later"
    assert await count(ledger, "app.audit_log") == noted + 2
    problem(await send(api, ann, "k", "PATCH", ME, json={"name": "Eve"}), 409, "idempotency_key_reused")
    # Another person's same text is another key.
    assert (await send(api, bob, "k", "PATCH", ME, json={"name": "Bob"})).json()["name"] == "Bob"
    # What was refused is not kept.
    assert (await send(api, bob, "r", "PATCH", ME, json={"locale": "?"})).status_code == 422
    assert (await send(api, bob, "r", "PATCH", ME, json={"locale": "de"})).status_code == 200


async def test_a_password_is_changed_once_though_the_old_one_is_no_longer_right(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    ann = (await sign_in(api)).access
    body = {"current_password": PASSWORD, "password": ANOTHER}
    first = await send(api, ann, "k", "POST", f"{ME}/password", json=body)
    again = await send(api, ann, "k", "POST", f"{ME}/password", json=body)
    assert (first.status_code, again.status_code) == (204, 204)
    assert again.headers["idempotent-replayed"] == "true"
    other = await send(api, ann, "k", "POST", f"{ME}/password", json={**body, "password": "third wise llamas"})
    problem(other, 409, "idempotency_key_reused")
    assert await count(ledger, "app.outbox") == 1
    await sign_in(api, password=ANOTHER)
    # Whoever reads the table can try no password on it.
    row = await ledger.operator.fetchrow("select * from app.own_idempotency_keys")
    assert row is not None
    sent = first.request.content
    parts = (b"POST", b"/api/v1/users/me/password", b"", sent)
    plain = hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()
    assert row["request_hash"] != plain
    assert not any(word in repr(dict(row)) for word in (PASSWORD, ANOTHER))


async def test_twins_change_a_password_once(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    ann = (await sign_in(api)).access
    body = {"current_password": PASSWORD, "password": ANOTHER}
    answers = await asyncio.gather(*(send(api, ann, "k", "POST", f"{ME}/password", json=body) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [204] * 3
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 2
    assert await count(ledger, "app.outbox") == 1


async def test_leaving_twice_at_once_is_leaving_once(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home", role=RoleName.VIEWER)
    ann = (await sign_in(api)).access
    noted = await count(ledger, "app.audit_log")
    answers = await asyncio.gather(*(send(api, ann, "k", "DELETE", ME) for _ in range(3)))
    # One that comes when all is over is nobody's any more.
    assert {answer.status_code for answer in answers} <= {204, 401}
    assert sum(answer.status_code == 204 and "idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert await count(ledger, "app.audit_log") == noted + 1


async def test_signing_in_takes_no_key_and_keeps_nothing(api: Api, ledger: Ledger) -> None:
    await make_person(ledger, "ann@example.com", "home")
    credentials = {"email": "ann@example.com", "password": PASSWORD}
    headers = {"Idempotency-Key": "k"}
    answers = [await post(api, "/auth/login", credentials, **headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.json()["refresh_token"] for answer in answers}) == 2
    refresh = {"refresh_token": answers[0].json()["refresh_token"]}
    assert (await post(api, "/auth/refresh", refresh, **headers)).status_code == 200
    problem(await post(api, "/auth/refresh", refresh, **headers), 401, "bad_refresh_token")
    invited = {"email": "eve@example.com", "role": "viewer"}
    assert (await api.request("POST", "/members/invitations", json=invited)).status_code == 201
    accepted = {"token": await take_token(ledger, "inv", to="eve@example.com"), "password": ANOTHER}
    assert (await post(api, "/auth/invitations/accept", accepted, **headers)).status_code == 201
    assert await count(ledger, "app.own_idempotency_keys") + await count(ledger, "app.idempotency_keys") == 0


async def test_what_was_kept_of_people_goes_after_a_day(api: Api, ledger: Ledger, clock: FixedClock) -> None:
    await make_person(ledger, "ann@example.com", "home")
    ann = (await sign_in(api)).access
    assert (await send(api, ann, "k", "PATCH", ME, json={"name": "Ann"})).status_code == 200
    assert await drop_answers(ledger.ingest, now=clock.now()) == 0
    clock.advance(KEPT)
    assert await drop_answers(ledger.ingest, now=clock.now()) == 1
    assert await count(ledger, "app.own_idempotency_keys") == 0
