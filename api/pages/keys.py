"""Keys: what programs and pages of other sites show us, made, rotated and revoked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.response import Redirect

from analytics_core.api_keys import PUBLISHABLE_SCOPES, KeyKind
from analytics_core.db.keys import ListedKey, list_keys
from analytics_core.db.tenants import revoke_key
from analytics_core.errors import Conflict, NotFound
from analytics_core.ids import KeyId
from analytics_core.origins import MAX_ORIGINS
from analytics_core.permissions import INSTALLATION_PERMISSIONS, Permission
from api.auth import caller_of
from api.callers import Caller
from api.errors import InvalidRequest
from api.keys import make, plan_key, rotate
from api.pages.forms import read_form
from api.pages.sessions import session_of
from api.pages.views import show
from api.pagination import id_cursor, write_cursor
from api.queries import Refusal
from api.resources import resources_of
from api.schemas.keys import AddKey, ApiKey, RotateKey
from api.scopes import path_id
from api.writing import writing

__all__ = ("make_key", "revoke_one_key", "rotate_key", "show_keys")

_PAGE: Final = 50
_LIST: Final = "keys"
_CURSOR: Final = id_cursor(_LIST)
_MAX_BYTES: Final = 65_536
_EVERYTHING: Final = "everything"
_LASTING: Final = {"": "until it is revoked", "30": "30 days", "90": "90 days", "365": "a year"}
_OVERLAPS: Final = {86_400: "1 day", 604_800: "7 days", 2_592_000: "30 days", 0: "no time: it ends at once"}

Fields = Mapping[str, str | UploadFile]


class ShownKey(msgspec.Struct, frozen=True):
    """A key in words."""

    row: ListedKey
    state: str
    is_good: bool
    scopes: str

    @classmethod
    def of(cls, row: ListedKey, *, now: dt.datetime) -> ShownKey:
        """Say what a key may do, and until when."""
        is_good = row.revoked_at is None and (row.expires_at is None or row.expires_at > now)
        state = "good" if is_good else "expired" if row.revoked_at is None else "revoked"
        return cls(row, state, is_good, "everything" if row.scopes is None else ", ".join(row.scopes))


def _choices(caller: Caller) -> dict[str, list[tuple[str, str]]]:
    """Group what a caller may pass on by the kind of thing: permissions, each with its action."""
    found: dict[str, list[tuple[str, str]]] = {}
    useless = frozenset() if caller.is_installation else INSTALLATION_PERMISSIONS
    for permission in sorted(caller.permissions - useless):
        noun, _, action = permission.partition(":")
        found.setdefault(noun, []).append((permission, action))
    return found


async def _show(
    request: Request[Any, Any, Any],
    *,
    made: ListedKey | None = None,
    text: str = "",
    faults: tuple[str, ...] = (),
    given: Fields | None = None,
    status_code: int = 200,
) -> Response[Any]:
    try:
        after = _CURSOR.parse(request.query_params.get("cursor", "")) if "cursor" in request.query_params else None
    except Refusal:
        after = None
    resources, caller = resources_of(request), caller_of(request)
    async with resources.database.tenant(caller.tenant) as conn:
        rows = await list_keys(conn, after=after, limit=_PAGE + 1)
    last = rows[_PAGE - 1] if len(rows) > _PAGE else None
    now = resources.clock.now()
    return show(
        request,
        "keys.html",
        status_code=status_code,
        tab="keys",
        podcast=None,
        keys=[ShownKey.of(row, now=now) for row in rows[:_PAGE]],
        is_first_page=after is None,
        cursor=None if last is None else write_cursor(_LIST, last.created_at, last.key_id),
        made=made,
        text=text,
        faults=faults,
        given=given or {},
        choices=_choices(caller),
        may_write=Permission.KEYS_WRITE in caller.permissions,
        may_publish=caller.permissions >= PUBLISHABLE_SCOPES,
        lasting=_LASTING,
        overlaps=_OVERLAPS,
        max_origins=MAX_ORIGINS,
    )


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name, "")
    return value if isinstance(value, str) else ""


def _wanted(fields: Fields, caller: Caller, *, now: dt.datetime) -> AddKey:
    lasts = _text(fields, "lasts")
    if lasts not in _LASTING:
        raise NotFound("time for a key to last")
    kind = KeyKind.PUBLISHABLE if _text(fields, "kind") == KeyKind.PUBLISHABLE else KeyKind.SECRET
    scopes = None
    if kind is KeyKind.SECRET and _EVERYTHING not in fields:
        scopes = [str(permission) for permission in sorted(caller.permissions) if permission in fields]
    return AddKey(
        name=_text(fields, "name")[:201],
        kind=kind,
        scopes=scopes,
        origins=_text(fields, "origins").split() if kind is KeyKind.PUBLISHABLE else [],
        expires_at=now + dt.timedelta(days=int(lasts)) if lasts else None,
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _told(error: InvalidRequest) -> tuple[str, ...]:
    """Put faults into sentences; of an origin, which of them it is."""
    said = []
    for fault in error.faults:
        _, field, *place = fault.pointer.split("/")
        nth = f" {int(place[0]) + 1}" if place else ""
        said.append(_sentence(f"{field.replace('_', ' ')}{nth}: {fault.message}"))
    return tuple(said)


@get("/settings/keys", opt={"permission": Permission.KEYS_READ})
async def show_keys(request: Request[Any, Any, Any]) -> Response[Any]:
    """List keys in the order in which they were made, with what can be done about them."""
    return await _show(request)


@post("/settings/keys", request_max_body_size=_MAX_BYTES, status_code=200, opt={"permission": Permission.KEYS_WRITE})
async def make_key(request: Request[Any, Any, Any]) -> Response[Any]:
    """Make a key and show its text, this once."""
    fields = await read_form(request, session_of(request))
    caller, now = caller_of(request), resources_of(request).clock.now()
    try:
        plan = plan_key(_wanted(fields, caller, now=now), caller=caller, now=now)
        async with writing(request, "key.create") as work:
            made, text = await make(work.conn, plan, caller=caller)
            work.done(None, resource=made.key_id, after=ApiKey.of(made))
    except InvalidRequest as error:
        return await _show(request, faults=_told(error), given=fields, status_code=422)
    except Conflict as error:
        return await _show(request, faults=(_sentence(str(error)),), given=fields, status_code=409)
    return await _show(request, made=made, text=text)


@post(
    "/settings/keys/{key_id:str}/rotate",
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.KEYS_WRITE},
)
async def rotate_key(request: Request[Any, Any, Any]) -> Response[Any]:
    """Make a key in the place of another and show its text, this once."""
    wanted = KeyId(path_id(request, "key_id", what="API key"))
    fields = await read_form(request, session_of(request))
    overlap_s = {str(seconds): seconds for seconds in _OVERLAPS}.get(_text(fields, "overlap_s"))
    if overlap_s is None:
        raise NotFound("time for two keys to overlap")
    try:
        async with writing(request, "key.rotate") as work:
            made, text = await rotate(work.conn, wanted, RotateKey(overlap_s=overlap_s), caller=work.caller)
            work.done(None, resource=wanted, after=ApiKey.of(made))
    except Conflict as error:
        return await _show(request, faults=(_sentence(str(error)),), status_code=409)
    return await _show(request, made=made, text=text)


@post(
    "/settings/keys/{key_id:str}/revoke",
    request_max_body_size=_MAX_BYTES,
    status_code=200,
    opt={"permission": Permission.KEYS_WRITE},
)
async def revoke_one_key(request: Request[Any, Any, Any]) -> Response[Any]:
    """Revoke a key at once; who signed in with it is signed out by that."""
    wanted = KeyId(path_id(request, "key_id", what="API key"))
    await read_form(request, session_of(request))
    async with writing(request, "key.revoke") as work:
        if not await revoke_key(work.conn, work.tenant, wanted):
            raise NotFound("API key")
        work.done(None, resource=wanted)
    return Redirect("/settings/keys", status_code=303)
