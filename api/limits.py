"""How often a client may ask: by its key or person, and by its network where it shows no valid credential.

A route names what a request costs as ``cost`` in its ``opt``; without one it costs 1. Whoever shows a valid credential
spends of that credential's rate alone, so that nobody is locked out by a neighbour. What shows none spends of its
network's, and one that is not valid costs five times as much. A network that has spent everything is refused before
the database is asked, but for credentials that this process has seen to be valid.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from typing import Any, Final, TypeAlias
from uuid import UUID

from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler

from analytics_core.addresses import TrustedNetworks, client_address, household_of
from analytics_core.errors import Forbidden, Unauthenticated
from analytics_core.rate_limits import Admission, Limiter, Rate
from analytics_core.settings import ApiSettings
from api.errors import RateLimited
from api.guards import Guard
from api.metrics import RequestMetrics
from api.rates import Judged, note_rate, whole_seconds

__all__ = ("HEAVY_COST", "REPORT_COST", "WRONG_COST", "Limited", "Limits", "cost_of", "limit_network", "limits_of")

REPORT_COST: Final = 2
"""What adds figures up, reads hits, or hashes a password."""

HEAVY_COST: Final = 10
"""What judges stored hits anew or fetches a feed."""

WRONG_COST: Final = 5
"""A credential that is not valid: each has to be looked up."""

_MAX_PROVEN: Final = 10_000

_Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]


def cost_of(handler: BaseRouteHandler) -> int:
    """Say what a request to a route costs."""
    cost: int = handler.opt.get("cost", 1)
    return cost


class Limits:
    """Judges requests for the whole application.

    Args:
        limiter: Knows what clients have asked for before.
        settings: With the rates and the trusted proxies.
        metrics: Where refusals are counted.
    """

    def __init__(self, limiter: Limiter, settings: ApiSettings, metrics: RequestMetrics) -> None:
        self._limiter = limiter
        self._metrics = metrics
        self._key_rate = Rate(settings.rate, settings.burst) if settings.rate else None
        self._network_rate = Rate(settings.network_rate, settings.network_rate) if settings.network_rate else None
        self._trusted = TrustedNetworks(settings.trusted_proxies)
        self._secret = secrets.token_bytes(16)
        self._proven: OrderedDict[bytes, None] = OrderedDict()

    def address_of(self, connection: _Connection) -> bytes:
        """Find out where a request comes from: 16 bytes. Only trusted proxies are believed."""
        client = connection.scope.get("client")
        return client_address(
            client[0] if client else "", connection.headers.getall("x-forwarded-for", []), self._trusted
        )

    def _network_of(self, connection: _Connection) -> bytes:
        # Of the network only a digest is remembered, which in Redis is soon gone.
        return b"n" + hashlib.blake2b(household_of(self.address_of(connection)), digest_size=16).digest()

    def _digest_of(self, connection: _Connection) -> bytes:
        """Stand for the credential that a request shows; empty when it shows none."""
        shown = b""
        for name, value in connection.scope["headers"]:
            if name == b"authorization" or (name == b"cookie" and not shown):
                shown = value
        return hashlib.blake2b(shown, digest_size=16, key=self._secret).digest() if shown else b""

    def _judge(self, connection: _Connection, policy: str, rate: Rate, admission: Admission) -> None:
        note_rate(connection.scope, Judged(policy, rate, admission))
        if admission.is_alone:
            self._metrics.note_alone()
        if not admission.is_allowed:
            self._metrics.note_limited(policy)
            wait_s = whole_seconds(admission.retry_us)
            raise RateLimited(f"too many requests of this {policy}; try again in {wait_s} s", retry_after_s=wait_s)

    async def charge_network(self, connection: _Connection, cost: int) -> None:
        """Have a request's network pay.

        Raises:
            RateLimited: It has spent everything.
        """
        if self._network_rate is not None and cost:
            admission = await self._limiter.take(self._network_of(connection), cost, self._network_rate)
            self._judge(connection, "network", self._network_rate, admission)

    async def charge_caller(self, connection: _Connection, who: UUID, cost: int) -> None:
        """Have whoever sent a request pay: a key, or a person, whatever they ask with.

        Raises:
            RateLimited: It has spent everything.
        """
        if self._key_rate is not None and cost:
            admission = await self._limiter.take(b"k" + who.bytes, cost, self._key_rate)
            self._judge(connection, "key", self._key_rate, admission)

    async def authenticate(self, connection: _Connection, handler: BaseRouteHandler, guard: Guard) -> None:
        """Let a guard find out who asks, and charge whoever it is.

        Raises:
            RateLimited: The caller, or the network of a request without a valid credential, has spent everything.
        """
        digest = self._digest_of(connection)
        if digest and digest not in self._proven and self._network_rate is not None:
            admission = await self._limiter.look(self._network_of(connection), WRONG_COST, self._network_rate)
            if not admission.is_allowed:
                self._judge(connection, "network", self._network_rate, admission)
        try:
            await guard(connection, handler)
        except Unauthenticated:
            self._proven.pop(digest, None)
            await self.charge_network(connection, WRONG_COST if digest else 1)
            raise
        except Forbidden:
            # Who it was is not known here, and it was looked up all the same.
            await self.charge_network(connection, 1)
            raise
        self._proven[digest] = None
        self._proven.move_to_end(digest)
        if len(self._proven) > _MAX_PROVEN:
            self._proven.popitem(last=False)
        caller = connection.scope["auth"]
        await self.charge_caller(connection, getattr(caller, "key_id", None) or caller.user_id, cost_of(handler))


class Limited:
    """A guard made of one that authenticates: it charges who was found, or the network of who was not.

    Args:
        guard: Sets the request's ``auth``, or raises :class:`Unauthenticated`.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard: Final = guard

    async def __call__(self, connection: _Connection, handler: BaseRouteHandler) -> None:
        """Let a request pass whose caller is known and has something left."""
        limits: Limits = connection.app.state.limits
        await limits.authenticate(connection, handler, self.guard)


async def limit_network(connection: _Connection, handler: BaseRouteHandler) -> None:
    """Charge the network of a request to a route that is open to everyone.

    Raises:
        RateLimited: It has spent everything.
    """
    limits: Limits = connection.app.state.limits
    await limits.charge_network(connection, cost_of(handler))


def limits_of(request: Request[Any, Any, Any]) -> Limits:
    """Return what judges the requests of an application."""
    limits: Limits = request.app.state.limits
    return limits
