"""The queries of all storage modules, collected so that a new one cannot be forgotten."""

from __future__ import annotations

import importlib
import pkgutil

import asyncpg

import analytics_core.db
from analytics_core.db.pool import Connection

__all__ = ("prepare_all", "queries")


def queries() -> list[tuple[str, str]]:
    """List the queries by module and constant, those first that make a temporary table."""
    found = []
    for module in pkgutil.iter_modules(analytics_core.db.__path__, "analytics_core.db."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, str) and value.startswith("/* "):
                found.append((f"{module.name}.{name}", value))
    return sorted(found, key=lambda query: "create temporary" not in query[1])


async def prepare_all(conn: Connection) -> dict[str, str]:
    """Have a migrated database parse every query; return what it says of those that it does not understand."""
    faults = {}
    for name, query in queries():
        try:
            if "create temporary" in query:
                await conn.execute(query)
            else:
                await conn.prepare(query)
        except asyncpg.PostgresError as error:
            faults[name] = str(error)
    return faults
