"""Tenants that people make for themselves."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from analytics_core.permissions import RoleName
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.people import make_person, sign_in

pytestmark = pytest.mark.anyio

PATH = "/users/me/tenants"
STUDIO = {"slug": "studio", "name": "O'Brien; DROP TABLE"}


@pytest.fixture
async def service(resources: Resources, api: Api) -> AsyncIterator[Api]:
    """A client of an installation where people make tenants for themselves."""
    people = msgspec.structs.replace(resources.settings.people, self_service=True)
    settings = msgspec.structs.replace(resources.settings, people=people)
    opened = msgspec.structs.replace(resources, settings=settings)
    async with Api.open(create_app(opened, log=RequestLog(io.StringIO())), api.key) as client:
        yield client


async def count(ledger: Ledger) -> int:
    return int(await ledger.operator.fetchval("select count(*) from app.tenants where not is_installation"))


async def test_who_belongs_to_none_makes_one_and_owns_it(service: Api, ledger: Ledger) -> None:
    ann = await make_person(ledger)
    token = (await sign_in(service)).access
    made = await service.request("POST", PATH, key=token, json=STUDIO)
    assert made.status_code == 201
    assert (made.json()["slug"], made.json()["name"], made.json()["is_installation"]) == (*STUDIO.values(), False)
    signed_in = await sign_in(service)
    assert [(one["slug"], one["role"]) for one in signed_in.body["tenants"]] == [("studio", "owner")]
    assert (
        await service.request("POST", "/links", key=signed_in.access, json={"url": "https://shop.example.com/"})
    ).status_code == 201
    entries: Any = (await service.request("GET", "/audit", key=signed_in.access)).json()["data"]
    (entry,) = [entry for entry in entries if entry["action"] == "tenant.create"]
    assert (entry["actor_id"], entry["resource_id"]) == (str(ann), made.json()["tenant_id"])
    problem(await service.request("POST", PATH, key=token, json={**STUDIO, "slug": "second"}), 409, "has_tenant")


async def test_many_at_once_make_one(service: Api, ledger: Ledger) -> None:
    await make_person(ledger)
    token = (await sign_in(service)).access
    wanted = [{**STUDIO, "slug": f"studio-{number}"} for number in range(8)]
    answers = await asyncio.gather(*(service.request("POST", PATH, key=token, json=body) for body in wanted))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    assert await count(ledger) == 1


async def test_twins_are_one_and_answered_the_same(service: Api, ledger: Ledger) -> None:
    await make_person(ledger)
    token = (await sign_in(service)).access
    headers = {"Idempotency-Key": "k"}
    answers = await asyncio.gather(
        *(service.request("POST", PATH, key=token, json=STUDIO, headers=headers) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert await count(ledger) == 1


async def test_what_cannot_be_used_makes_nothing(service: Api, ledger: Ledger) -> None:
    await make_person(ledger)
    await make_person(ledger, "bob@example.com", "home", role=RoleName.VIEWER)
    ann, bob = (await sign_in(service)).access, (await sign_in(service, "bob@example.com")).access
    wrong = await service.request("POST", PATH, key=ann, json={"slug": "-", "name": " "})
    assert {path for path, _ in codes(wrong)} == {"/slug", "/name"}
    problem(await service.request("POST", PATH, key=ann, json={**STUDIO, "slug": "home"}), 409, "slug_taken")
    problem(await service.request("POST", PATH, key=bob, json=STUDIO), 409, "has_tenant")
    problem(await service.request("POST", PATH, json=STUDIO), 403, "forbidden")
    assert await count(ledger) == 0


async def test_where_the_operator_makes_tenants_nobody_else_does(api: Api, ledger: Ledger) -> None:
    await make_person(ledger)
    token = (await sign_in(api)).access
    problem(await api.request("POST", PATH, key=token, json=STUDIO), 403, "self_service_closed")
    assert await count(ledger) == 0
