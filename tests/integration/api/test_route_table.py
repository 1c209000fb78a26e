"""What every route has to have, read off the routes themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

import api
from analytics_core.permissions import Permission
from analytics_core.settings import load_settings
from api.app import create_app
from api.auth import require_permission
from api.guards import guards_of
from api.limits import cost_of
from api.resources import Resources
from api.writing import writing

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


async def test_every_route_has_a_cost_and_a_guard_that_takes_it(app: Litestar) -> None:
    free = set()
    for path, handler in handlers(app):
        assert type(cost_of(handler)) is int, path
        assert 0 <= cost_of(handler) <= load_settings({}).api.burst, path
        names = [getattr(guard, "__name__", "") for guard in guards_of(handler)]
        is_open = bool(handler.opt.get("is_open"))
        assert ("limit_network" if is_open else "limit_caller") == names[0], path
        if not cost_of(handler):
            free.add(path)
    # What reads nothing but memory, and what monitors ask all the time.
    assert free == {"/api/v1/health", "/favicon.ico", "/static/{name:str}"}


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
    unit = inspect.unwrap(writing)
    found = {
        (path, method): (handler, unit in functions_behind(handler.fn))
        for path, handler in handlers(app)
        for method in handler.http_methods - {"GET", "HEAD", "OPTIONS"}
    }
    assert len(found) > 15
    for (path, method), (handler, writes) in found.items():
        # What changes nothing says why it is no GET.
        assert writes is not bool(handler.opt.get("changes_nothing")), (method, path)


async def test_whatever_only_reads_does_not_go_through_it(app: Litestar) -> None:
    unit = inspect.unwrap(writing)
    for path, handler in handlers(app):
        if handler.http_methods <= {"GET", "HEAD"}:
            assert unit not in functions_behind(handler.fn), path


async def test_nobody_but_the_unit_of_work_asks_for_a_transaction_that_writes() -> None:
    root = Path(api.__file__).parent
    asking = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"database\.writing\(|readonly=False", path.read_text())
    }
    assert asking == {"writing.py"}
