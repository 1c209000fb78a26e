"""API keys."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, delete, get, patch, post

from analytics_core.db.keys import get_key, list_keys
from analytics_core.db.tenants import revoke_key
from analytics_core.errors import NotFound
from analytics_core.ids import KeyId
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.keys import alter, make, plan_key, rotate
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Query
from api.resources import resources_of
from api.schemas.common import Page
from api.schemas.keys import AddKey, ApiKey, ChangeKey, NewApiKey, RotateKey
from api.scopes import path_id
from api.writing import writing

__all__ = ("create_api_key", "get_api_key", "list_api_keys", "revoke_api_key", "rotate_api_key", "update_api_key")

_LIST: Final = "api-keys"
_CURSOR: Final = id_cursor(_LIST)
_TAGS: Final = ["api keys"]


def _wanted(request: Request[Any, Any, Any]) -> KeyId:
    return KeyId(path_id(request, "key_id", what="API key"))


@post(
    "/api-keys",
    tags=_TAGS,
    opt={"permission": Permission.KEYS_WRITE, "bodies": {"application/json": AddKey}, "refusals": (409, 429)},
)
async def create_api_key(request: Request[Any, Any, Any]) -> NewApiKey:
    """Make an API key.

    A secret one may do what you name in `scopes`, or all that you may; never more (`escalation`). A publishable one
    belongs into pages of the `origins` that you name. Its text is in this answer and nowhere else.
    """
    wanted = await read_json(request, AddKey)
    caller = caller_of(request)
    plan = plan_key(wanted, caller=caller, now=resources_of(request).clock.now())
    async with writing(request, "key.create") as work:
        row, text = await make(work.conn, plan, caller=caller)
        answer = NewApiKey.with_text(ApiKey.of(row), text)
        return work.done(answer, resource=row.key_id, after=ApiKey.of(row), is_secret=True)


@get("/api-keys", tags=_TAGS, opt={"permission": Permission.KEYS_READ, "query": (LIMIT, _CURSOR)})
async def list_api_keys(request: Request[Any, Any, Any]) -> Page[ApiKey]:
    """List API keys in the order in which they were made, revoked ones too."""
    query = Query.of(request)
    limit, after = query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        rows = await list_keys(conn, after=after, limit=limit + 1)
    return page_of(rows, limit, ApiKey.of, _LIST, lambda row: (row.created_at, row.key_id))


@get("/api-keys/{key_id:str}", tags=_TAGS, opt={"permission": Permission.KEYS_READ})
async def get_api_key(request: Request[Any, Any, Any]) -> ApiKey:
    """Read one API key, a revoked one too."""
    wanted = _wanted(request)
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        row = await get_key(conn, wanted)
    if row is None:
        raise NotFound("API key")
    return ApiKey.of(row)


@patch(
    "/api-keys/{key_id:str}",
    tags=_TAGS,
    opt={"permission": Permission.KEYS_WRITE, "bodies": {"application/json": ChangeKey}},
)
async def update_api_key(request: Request[Any, Any, Any]) -> ApiKey:
    """Change an API key's name, or on whose pages a publishable one may be used, from the next request on."""
    wanted = _wanted(request)
    change = await read_json(request, ChangeKey)
    async with writing(request, "key.update") as work:
        old, row = await alter(work.conn, wanted, change, caller=work.caller)
        return work.done(ApiKey.of(row), resource=wanted, before=ApiKey.of(old))


@post(
    "/api-keys/{key_id:str}/rotate",
    tags=_TAGS,
    opt={"permission": Permission.KEYS_WRITE, "bodies": {"application/json": RotateKey}, "refusals": (409, 429)},
)
async def rotate_api_key(request: Request[Any, Any, Any]) -> NewApiKey:
    """Make a new API key in the place of one, with its name, scopes and origins.

    Both are good for `overlap_s` seconds, so that programs can change over. The new one lasts as long as the old one
    was made to. Its text is in this answer and nowhere else.
    """
    wanted = _wanted(request)
    how = await read_json(request, RotateKey)
    async with writing(request, "key.rotate") as work:
        row, text = await rotate(work.conn, wanted, how, caller=work.caller)
        answer = NewApiKey.with_text(ApiKey.of(row), text)
        return work.done(answer, resource=wanted, after=ApiKey.of(row), is_secret=True)


@delete("/api-keys/{key_id:str}", tags=_TAGS, opt={"permission": Permission.KEYS_WRITE})
async def revoke_api_key(request: Request[Any, Any, Any]) -> None:
    """Revoke an API key at once; it may be the one that asks."""
    wanted = _wanted(request)
    async with writing(request, "key.revoke") as work:
        if not await revoke_key(work.conn, work.tenant, wanted):
            raise NotFound("API key")
        work.done(None, resource=wanted)
