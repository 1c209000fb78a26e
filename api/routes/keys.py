"""API keys."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, delete, get, post

from analytics_core.db.keys import add_key, list_keys
from analytics_core.db.tenants import revoke_key
from analytics_core.errors import NotFound
from analytics_core.ids import KeyId
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.pagination import LIMIT, id_cursor, write_cursor
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.keys import AddKey, ApiKey, NewApiKey
from api.scopes import path_id
from api.writing import writing

__all__ = ("create_api_key", "list_api_keys", "revoke_api_key")

_LIST: Final = "api-keys"
_CURSOR: Final = id_cursor(_LIST)


@post(
    "/api-keys",
    tags=["api keys"],
    opt={"permission": Permission.KEYS_WRITE, "bodies": {"application/json": AddKey}, "refusals": (429,)},
)
async def create_api_key(request: Request[Any, Any, Any]) -> NewApiKey:
    """Make an API key.

    It may do all that the key may with which it was made. Its text is in this answer and nowhere else.
    """
    wanted = await read_json(request, AddKey)
    async with writing(request, "key.create") as work:
        row, text = await add_key(work.conn, work.tenant, name=wanted.name)
        answer = NewApiKey.with_text(ApiKey.of(row), text)
        return work.done(answer, resource=row.key_id, after=ApiKey.of(row), is_secret=True)


@get("/api-keys", tags=["api keys"], opt={"permission": Permission.KEYS_READ, "query": (LIMIT, _CURSOR)})
async def list_api_keys(request: Request[Any, Any, Any]) -> Page[ApiKey]:
    """List API keys in the order in which they were made, revoked ones too."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        rows = await list_keys(conn, after=after, limit=limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else write_cursor(_LIST, last.created_at, last.key_id)
    return Page([ApiKey.of(row) for row in rows[:limit]], cursor)


@delete("/api-keys/{key_id:str}", tags=["api keys"], opt={"permission": Permission.KEYS_WRITE})
async def revoke_api_key(request: Request[Any, Any, Any]) -> None:
    """Revoke an API key at once; it may be the one that asks."""
    wanted = KeyId(path_id(request, "key_id", what="API key"))
    async with writing(request, "key.revoke") as work:
        if not await revoke_key(work.conn, work.tenant, wanted):
            raise NotFound("API key")
        work.done(None, resource=wanted)
