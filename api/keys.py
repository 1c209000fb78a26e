"""Making, changing and rotating keys: the rules that the API and the page share."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Callable, Collection
from typing import Final, TypeVar

import msgspec

from analytics_core.api_keys import PUBLISHABLE_SCOPES, KeyKind
from analytics_core.db.keys import ListedKey, add_key, change_key, lock_key, replace_key
from analytics_core.db.pool import Connection
from analytics_core.errors import Forbidden, InvalidInput
from analytics_core.ids import KeyId
from analytics_core.origins import parse_origins
from analytics_core.permissions import ALL_PERMISSIONS, Permission, parse_permissions
from api.callers import Caller
from api.errors import Fault, InvalidRequest
from api.schemas.keys import AddKey, ChangeKey, RotateKey

__all__ = ("KeyPlan", "alter", "make", "plan_key", "rotate")

T = TypeVar("T")

_LATEST: Final = dt.timedelta(days=3_660)


class KeyPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it will be made, after everything about it was found good."""

    kind: KeyKind
    name: str
    scopes: tuple[Permission, ...]
    origins: tuple[str, ...]
    expires_at: dt.datetime | None


def _collect(faults: list[Fault], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InvalidInput as error:
        faults.append(Fault(error.path, error.code, error.reason))
        return None


def _read_name(text: str) -> str:
    name = unicodedata.normalize("NFC", text.strip())
    if not name or not name.isprintable():
        raise InvalidInput("/name", "has to be a line of text, such as what the key is for")
    return name


def _read_scopes(wanted: AddKey, caller: Caller) -> frozenset[Permission]:
    if wanted.scopes is None:
        return PUBLISHABLE_SCOPES if wanted.kind is KeyKind.PUBLISHABLE else caller.permissions
    scopes = parse_permissions(wanted.scopes, path="/scopes")
    if wanted.kind is KeyKind.PUBLISHABLE and scopes != PUBLISHABLE_SCOPES:
        only = ", ".join(PUBLISHABLE_SCOPES)
        raise InvalidInput("/scopes", f"a publishable key may {only} and nothing else: anybody can read it")
    if not scopes:
        raise InvalidInput("/scopes", "names nothing that the key may do")
    return scopes


def _read_origins(wanted: AddKey) -> tuple[str, ...]:
    if wanted.kind is KeyKind.PUBLISHABLE:
        return parse_origins(wanted.origins, path="/origins")
    if wanted.origins:
        raise InvalidInput("/origins", "a secret key has none: it must not be in a page")
    return ()


def _read_end(at: dt.datetime | None, *, now: dt.datetime) -> dt.datetime | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise InvalidInput("/expires_at", "has no offset; write 2027-11-01T12:00:00Z or …+01:00")
    if not now < at <= now + _LATEST:
        raise InvalidInput("/expires_at", "has to lie ahead, by ten years at most")
    return at


def _refuse_escalation(caller: Caller, scopes: Collection[Permission]) -> None:
    """Refuse a key whose holder could do more than who asks for it.

    Raises:
        Forbidden: ``escalation``.
    """
    if caller.sponsor_ids is not None:
        raise Forbidden(
            "you see the rows of some sponsors only, and a key would see all: ask somebody who does", code="escalation"
        )
    beyond = sorted(set(scopes) - caller.permissions)
    if beyond:
        raise Forbidden(f"this key could do more than you may: {', '.join(beyond)}", code="escalation")


def plan_key(wanted: AddKey, *, caller: Caller, now: dt.datetime) -> KeyPlan:
    """Decide what a key will be.

    Args:
        wanted: What was asked for.
        caller: By whom; the key may do nothing that they may not.
        now: Before which nothing may expire.

    Raises:
        InvalidRequest: Something of it cannot be; all faults are listed.
        Forbidden: ``escalation``.
    """
    faults: list[Fault] = []
    name = _collect(faults, lambda: _read_name(wanted.name))
    scopes = _collect(faults, lambda: _read_scopes(wanted, caller))
    origins = _collect(faults, lambda: _read_origins(wanted))
    expires_at = _collect(faults, lambda: _read_end(wanted.expires_at, now=now))
    if faults or name is None or scopes is None or origins is None:
        raise InvalidRequest(faults)
    _refuse_escalation(caller, scopes)
    return KeyPlan(kind=wanted.kind, name=name, scopes=tuple(sorted(scopes)), origins=origins, expires_at=expires_at)


async def make(conn: Connection, plan: KeyPlan, *, caller: Caller) -> tuple[ListedKey, str]:
    """Make a key in a transaction of the caller's tenant.

    Returns:
        The key, and its text, which is stored nowhere.

    Raises:
        Conflict: ``too_many_keys``.
    """
    return await add_key(
        conn,
        caller.tenant,
        kind=plan.kind,
        name=plan.name,
        scopes=plan.scopes,
        origins=plan.origins,
        expires_at=plan.expires_at,
    )


async def alter(conn: Connection, key_id: KeyId, change: ChangeKey, *, caller: Caller) -> tuple[ListedKey, ListedKey]:
    """Change a key's name, or on whose pages a publishable one may be used.

    Returns:
        The key before and after.

    Raises:
        NotFound: The tenant has no such key, or it is revoked.
        InvalidRequest: Something of the change cannot be.
        Forbidden: ``escalation``.
    """
    old = await lock_key(conn, key_id)
    faults: list[Fault] = []
    name: str | None = old.name
    origins: tuple[str, ...] | None = old.origins
    if change.name is not msgspec.UNSET:
        text = change.name
        name = _collect(faults, lambda: _read_name(text))
    if change.origins is not msgspec.UNSET:
        wanted = AddKey(name=old.name, kind=old.kind, origins=change.origins)
        origins = _collect(faults, lambda: _read_origins(wanted))
        _refuse_escalation(caller, PUBLISHABLE_SCOPES if old.kind is KeyKind.PUBLISHABLE else ())
    if faults or name is None or origins is None:
        raise InvalidRequest(faults)
    return old, await change_key(conn, key_id, name=name, origins=origins)


async def rotate(conn: Connection, key_id: KeyId, wanted: RotateKey, *, caller: Caller) -> tuple[ListedKey, str]:
    """Make a key in the place of another, which ends after the overlap.

    Returns:
        The new key, and its text, which is stored nowhere.

    Raises:
        NotFound: The tenant has no such key, or it is revoked.
        Conflict: ``already_replaced``, ``key_expired`` or ``too_many_keys``.
        Forbidden: ``escalation``: who gets the new one's text could do more than they may.
    """
    old = await lock_key(conn, key_id)
    # A scope that this version does not know is one that nobody here has.
    unknown = set(old.scopes or ()) - set(ALL_PERMISSIONS)
    if unknown:
        raise Forbidden(f"this key could do what is not known here: {', '.join(sorted(unknown))}", code="escalation")
    _refuse_escalation(caller, ALL_PERMISSIONS if old.scopes is None else [Permission(scope) for scope in old.scopes])
    return await replace_key(conn, old, overlap_s=wanted.overlap_s)
