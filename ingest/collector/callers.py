"""Who sends events: the key of a request, looked up in the registry, and from where it may be used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from analytics_core.api_keys import KeyKind, hash_key, is_well_formed
from analytics_core.errors import Forbidden, Unauthenticated
from analytics_core.origins import check_origin
from analytics_core.registry import CollectorKey, KeyTable

__all__ = ("Caller", "Headers", "check_place", "find_caller", "header_of", "headers_of", "key_of")

Headers = Iterable[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case."""

_BEARER: Final = b"bearer "
_CLOSED: Final = {
    "suspended": ("tenant_suspended", "this tenant is suspended: it takes no events"),
    "closing": ("tenant_closing", "this tenant is closing: it takes no events, unless it is opened again"),
}


class Caller(NamedTuple):
    """Whoever showed a valid key.

    Attributes:
        key_hash: What rates are kept by.
        key: What the registry knows of it.
    """

    key_hash: bytes
    key: CollectorKey

    @property
    def is_browser(self) -> bool:
        """Whether the key is one that anybody may have read out of a page."""
        return self.key.kind is KeyKind.PUBLISHABLE


def headers_of(headers: Headers, name: bytes) -> list[bytes]:
    """List the values of a header."""
    return [value for key, value in headers if key == name]


def header_of(headers: Headers, name: bytes) -> bytes:
    """Return the first value of a header; empty when it is not there."""
    for key, value in headers:
        if key == name:
            return value
    return b""


def key_of(headers: Headers, query: bytes) -> str:
    """Find the key that a request shows: in ``Authorization``, or a publishable one as ``k`` of the query.

    Raises:
        Unauthenticated: It shows none, or a secret one where logs and histories keep it.
    """
    given = header_of(headers, b"authorization")
    if given:
        if not given.lower().startswith(_BEARER):
            raise Unauthenticated("the key is sent as `Authorization: Bearer <key>`")
        return given[len(_BEARER) :].strip().decode("latin-1")
    for name, value in parse_qsl(query.decode("latin-1"), max_num_fields=None):
        if name == "k":
            if value.startswith("cl_live_"):
                raise Unauthenticated(
                    "a secret key must not be in an address, which logs keep: send it as `Authorization: Bearer`, and "
                    "revoke this one"
                )
            return value
    raise Unauthenticated("a key is required, as `Authorization: Bearer <key>`")


def find_caller(keys: KeyTable, text: str, *, now_us: int) -> Caller:
    """Look a key up.

    Raises:
        Unauthenticated: It is none, or is valid no more.
        Forbidden: ``tenant_suspended`` or ``tenant_closing``.
    """
    key_hash = hash_key(text) if is_well_formed(text) else b""
    key = keys.get(key_hash) if key_hash else None
    if key is None or (key.expires_us is not None and key.expires_us <= now_us):
        raise Unauthenticated(
            "this key is not known here: it is cut or mistyped, was revoked, has expired, or lacks `events:write`; "
            "a new one is known within two seconds"
        )
    if key.status in _CLOSED:
        code, message = _CLOSED[key.status]
        raise Forbidden(message, code=code)
    return Caller(key_hash, key)


def check_place(caller: Caller, origin: str | None) -> None:
    """Decide whether a key may be used from the page that a request says that it comes from.

    Raises:
        Forbidden: ``origin_not_allowed``, or ``secret_key_in_browser``.
    """
    # No page of ours sends events.
    check_origin(caller.key.kind, caller.key.origins, origin, is_ours=False)
