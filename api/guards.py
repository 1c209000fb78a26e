"""What a request has to pass before its route is asked, as one guard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

__all__ = ("Guard", "Guards", "guards_of")

Guard: TypeAlias = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]


class Guards:
    """Asks guards one after the other.

    The framework copies a route for each guard, and runs one that is no coroutine in a thread: with four of them that
    costs more than reading a row does.

    Args:
        steps: In the order in which they are asked.
    """

    def __init__(self, *steps: Guard) -> None:
        self.steps: Final = steps

    async def __call__(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Let a request pass that all let pass."""
        for step in self.steps:
            await step(connection, handler)


def guards_of(handler: BaseRouteHandler) -> tuple[Guard, ...]:
    """List the guards of a route: those of one :class:`Guards` one by one, and what a guard is made of behind it."""
    found: list[Any] = []
    for guard in handler.resolve_guards():
        for step in guard.steps if isinstance(guard, Guards) else [guard]:
            found.append(step)
            if inner := getattr(step, "guard", None):
                found.append(inner)
    return tuple(found)
