"""What every route has to have, read off the routes themselves."""

from __future__ import annotations

import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from analytics_core.permissions import Permission
from analytics_core.settings import load_settings
from api.app import create_app
from api.auth import require_permission
from api.limits import cost_of
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


async def test_every_route_has_a_cost_and_a_guard_that_takes_it(app: Litestar) -> None:
    free = set()
    for path, handler in handlers(app):
        assert type(cost_of(handler)) is int, path
        assert 0 <= cost_of(handler) <= load_settings({}).api.burst, path
        names = [getattr(guard, "__name__", "") for guard in handler.resolve_guards()]
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
