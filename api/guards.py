"""What a request has to pass before its route is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

__all__ = ("Guard", "Guards", "guards_of")

Guard: TypeAlias = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]


class Guards:
    """Asks guards one after the other, ahead of a route (``before_request`` of the framework).

    As ``guards`` the framework would copy the route for each request, and run one that is no coroutine in a thread: a
    fifteenth of what reading a row costs, and more than it with four of them.

    Args:
        steps: In the order in which they are asked.
    """

    def __init__(self, *steps: Guard) -> None:
        self.steps: Final = steps

    async def __call__(self, request: Request[Any, Any, Any]) -> None:
        """Let a request pass that all let pass."""
        handler = request.scope["route_handler"]
        for step in self.steps:
            await step(request, handler)


def guards_of(handler: BaseRouteHandler) -> tuple[Guard, ...]:
    """List the guards of a route, and behind each what it is made of."""
    asked = handler.resolve_before_request() if isinstance(handler, HTTPRouteHandler) else None
    found: list[Any] = []
    for step in asked.steps if isinstance(asked, Guards) else ():
        found.append(step)
        if inner := getattr(step, "guard", None):
            found.append(inner)
    return tuple(found)
