"""Whether the API is up, for everyone."""

from __future__ import annotations

from typing import Any

from litestar import Request, get

from api.resources import resources_of
from api.schemas.common import HealthAnswer

__all__ = ("get_health",)


@get("/health", tags=["health"], opt={"is_open": True, "cost": 0})
async def get_health(request: Request[Any, Any, Any]) -> HealthAnswer:
    """Say whether the API can answer."""
    await resources_of(request).database.ping()
    return HealthAnswer()
