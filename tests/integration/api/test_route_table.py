"""What every route has to have, read off the routes themselves."""

from __future__ import annotations

import typing

import msgspec
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from analytics_core.permissions import Permission
from api.app import create_app
from api.auth import require_permission
from api.errors import Problem
from api.openapi import build_document, list_operations
from api.resources import Resources

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
        guarded = require_permission in handler.resolve_guards()
        assert guarded is not bool(handler.opt.get("is_open")), path
        if guarded:
            assert "permission" in handler.opt, path
            assert handler.opt["permission"] is None or handler.opt["permission"] in Permission, path


async def test_only_these_are_open_to_everyone(app: Litestar) -> None:
    assert {path for path, handler in handlers(app) if handler.opt.get("is_open")} == {
        "/api/v1/docs",
        "/api/v1/health",
        "/api/v1/openapi.json",
        "/favicon.ico",
        "/methodology",
        "/methodology.json",
        "/sign-in",
        "/static/{name:str}",
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
        if operation.answer is None:
            assert operation.handler.status_code == 204, name
        else:
            # Anything else would be no schema at all.
            kind = typing.get_origin(operation.answer) or operation.answer
            assert issubclass(kind, msgspec.Struct), name
            assert success["content"]["application/json"]["schema"]["$ref"], name
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
