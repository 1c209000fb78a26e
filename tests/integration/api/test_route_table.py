"""What every route has to have, read off the routes themselves."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import msgspec
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

import api
from analytics_core.api_keys import PUBLISHABLE_SCOPES
from analytics_core.permissions import Permission
from analytics_core.settings import load_settings
from api.app import create_app
from api.auth import require_permission, require_person
from api.errors import Problem
from api.guards import guards_of
from api.limits import Limited, cost_of, limit_network
from api.openapi import build_document, list_operations
from api.resources import Resources
from api.schemas.common import alternatives
from api.writing import writing, writing_own

pytestmark = pytest.mark.anyio


@pytest.fixture
def app(resources: Resources) -> Litestar:
    return create_app(resources)


def handlers(app: Litestar) -> list[tuple[str, HTTPRouteHandler]]:
    return [
        (route.path, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        # Litestar answers OPTIONS itself, with the methods that there are.
        if handler.http_methods != {"OPTIONS"}
    ]


async def test_every_route_is_open_or_names_its_permission(app: Litestar) -> None:
    found = handlers(app)
    assert len(found) > 50
    for path, handler in found:
        guarded = require_permission in guards_of(handler)
        assert guarded is not bool(handler.opt.get("is_open")), path
        if guarded:
            assert "permission" in handler.opt, path
            assert handler.opt["permission"] is None or handler.opt["permission"] in Permission, path


async def test_only_these_take_publishable_keys(app: Litestar) -> None:
    """Whoever adds one opens it to anybody who reads a page's source, and to pages of other sites."""
    assert {path for path, handler in handlers(app) if handler.opt.get("permission") in PUBLISHABLE_SCOPES} == set()


async def test_every_route_has_a_cost_and_a_guard_that_takes_it(app: Litestar) -> None:
    free = set()
    for path, handler in handlers(app):
        assert type(cost_of(handler)) is int, path
        assert 0 <= cost_of(handler) <= load_settings({}).api.burst, path
        first = guards_of(handler)[0]
        assert first is limit_network if handler.opt.get("is_open") else isinstance(first, Limited), path
        if not cost_of(handler):
            free.add(path)
    # What reads nothing but memory, and what monitors ask all the time.
    assert free == {"/api/v1/health", "/favicon.ico", "/static/{name:str}"}


async def test_only_these_are_open_to_everyone(app: Litestar) -> None:
    assert {path for path, handler in handlers(app) if handler.opt.get("is_open")} == {
        "/api/v1/auth/invitations/accept",
        "/api/v1/auth/login",
        "/api/v1/auth/password/forgot",
        "/api/v1/auth/password/reset",
        "/api/v1/auth/refresh",
        "/api/v1/auth/register",
        "/api/v1/auth/verify",
        "/api/v1/docs",
        "/api/v1/health",
        "/api/v1/openapi.json",
        "/api/v1/shared/{token:str}",
        "/favicon.ico",
        "/forgot-password",
        "/invitation",
        "/methodology",
        "/methodology.json",
        "/reset-password",
        "/shared/{token:str}",
        "/sign-in",
        "/static/{name:str}",
        "/verify-email",
    }


async def test_every_route_of_the_api_tells_what_it_is_and_what_it_answers(app: Litestar) -> None:
    operations = list_operations(app)
    assert len(operations) > 30
    document = build_document(app, version="0")
    problem = {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    for operation in operations:
        name, told = operation.function.__name__, document["paths"][operation.path][operation.method]
        assert operation.handler.tags, name
        first = (operation.function.__doc__ or "").strip().partition("\n")[0]
        assert first.endswith("."), f"{name}: its docstring begins with one sentence"
        success = told["responses"][str(operation.handler.status_code)]
        if operation.answer is None and "content" not in success:
            # Accepted, or done: there is nothing to tell.
            assert operation.handler.status_code in (202, 204), name
        else:
            assert all(content["schema"] for content in success["content"].values()), name
        if operation.answer is not None:
            # Anything else would be no schema at all.
            kinds = [typing.get_origin(kind) or kind for kind in alternatives(operation.answer)]
            assert all(issubclass(kind, msgspec.Struct) for kind in kinds), name
            media_type = "application/x-ndjson" if operation.handler.opt.get("lines") else "application/json"
            schema = success["content"][media_type]["schema"]
            assert all(form["$ref"] for form in schema.get("anyOf", [schema])), name
        refusals = {status for status in told["responses"] if int(status) >= 400}
        wanted = {"422", "503"} if operation.handler.opt.get("is_open") else {"401", "403", "422", "503"}
        if "{" in operation.path:
            wanted.add("404")
        if operation.bodies:
            wanted |= {"400", "413", "415"}
        assert wanted <= refusals, name
        assert all(told["responses"][status]["content"] == problem for status in refusals), name


async def test_every_field_of_every_answer_and_body_has_a_type_and_every_struct_a_description(app: Litestar) -> None:
    schemas = build_document(app, version="0")["components"]["schemas"]
    assert len(schemas) > 30
    for name, schema in schemas.items():
        assert schema.get("description"), name
        for field, type_ in schema.get("properties", {}).items():
            assert type_, f"{name}.{field} may be anything"


def functions_behind(function: Callable[..., Any]) -> set[Callable[..., Any]]:
    """Find all functions of the API that one may call, itself and those that it calls by name, however far away."""
    found: set[Callable[..., Any]] = set()
    open_ones: list[Any] = [function]
    while open_ones:
        one = inspect.unwrap(open_ones.pop())
        if not isinstance(one, FunctionType) or one in found or not one.__module__.startswith("api."):
            continue
        found.add(one)
        codes = [one.__code__]
        while codes:
            code = codes.pop()
            codes += [const for const in code.co_consts if isinstance(const, CodeType)]
            open_ones += [one.__globals__[name] for name in code.co_names if name in one.__globals__]
    return found


async def test_whatever_a_route_writes_goes_through_the_unit_of_work(app: Litestar) -> None:
    units = {inspect.unwrap(writing), inspect.unwrap(writing_own)}
    found = {
        (path, method): (handler, not units.isdisjoint(functions_behind(handler.fn)))
        for path, handler in handlers(app)
        for method in handler.http_methods - {"GET", "HEAD", "OPTIONS"}
    }
    assert len(found) > 15
    for (path, method), (handler, writes) in found.items():
        # What changes nothing says why it is no GET.
        assert writes is not bool(handler.opt.get("changes_nothing")), (method, path)


async def test_whatever_only_reads_does_not_go_through_it(app: Litestar) -> None:
    units = {inspect.unwrap(writing), inspect.unwrap(writing_own)}
    for path, handler in handlers(app):
        if handler.http_methods <= {"GET", "HEAD"}:
            assert units.isdisjoint(functions_behind(handler.fn)), path


async def test_nobody_but_the_unit_of_work_asks_for_a_transaction_that_writes() -> None:
    root = Path(api.__file__).parent
    asking = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"database\.writing\(|readonly=False", path.read_text())
    }
    assert asking == {"writing.py"}


async def test_who_asks_about_themselves_needs_no_permission_but_to_be_somebody(app: Litestar) -> None:
    personal = {path for path, handler in handlers(app) if require_person in guards_of(handler)}
    assert {path for path in personal if not path.startswith("/api/v1/users/me")} == {"/api/v1/auth/logout"}
    for path, handler in handlers(app):
        if path in personal:
            assert handler.opt["permission"] is None, path
        elif path.startswith(("/api/v1/users", "/api/v1/auth")):
            assert handler.opt.get("is_open"), path


async def test_the_sdk_asks_for_all_that_there_is_of_sponsorship(app: Litestar) -> None:
    package = Path(__file__).parents[3] / "sdk" / "src" / "castledger"
    written = "".join(path.read_text() for path in package.glob("*.py"))
    asked = {re.sub(r"\{[^}]*\}", "[^/]+", path) for path in re.findall(r'"(/[^"\n]*)"', written)}
    sponsorship = {"attribution", "campaigns", "conversions", "delivery", "links", "reports", "sponsors"}
    missing = {
        operation.path
        for operation in list_operations(app)
        if sponsorship & set(operation.handler.tags or ())
        and not any(re.fullmatch(f"/api/v1{path}", operation.path) for path in asked)
    }
    # A sponsor without a login opens what a report's link leads to.
    assert missing == {"/api/v1/shared/{token}"}
