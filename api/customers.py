"""From senders' names for customers to the keys by which they are kept, the same that events give them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from litestar import Request

from analytics_core.db.events import ensure_customer_secret
from analytics_core.event_pages import customer_key
from analytics_core.listeners import new_secret
from api.auth import caller_of
from api.resources import resources_of

__all__ = ("customer_secret", "key_customers")


async def customer_secret(request: Request[Any, Any, Any]) -> bytes:
    """Return the secret under which the customers of whoever asks are keyed.

    As the role that authenticates: no query about a tenant's rows can read it.
    """
    async with resources_of(request).database.auth() as conn:
        return await ensure_customer_secret(conn, int(caller_of(request).tenant.tenant_no), new_secret())


async def key_customers(request: Request[Any, Any, Any], names: Collection[str]) -> dict[str, UUID]:
    """Key some customers; no secret is asked for, or made, where there are none."""
    if not names:
        return {}
    secret = await customer_secret(request)
    return {name: customer_key(name, secret) for name in names}
