"""What is decided about a request before any route is looked for: its host and its size.

Nothing here looks for words that attacks are made of: a sponsor may be called ``O'Brien; DROP TABLE``.

Source:
    RFC 9110 7.4 (421) and 15.5.15 (414); RFC 6585 5 (431); RFC 6797 (HSTS).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from analytics_core.settings import ApiSettings
from api.errors import PROBLEM_JSON, Refused, problem_of
from api.requests import request_id_of

__all__ = ("MAX_HEADER_BYTES", "MAX_URL_BYTES", "Gate")

MAX_URL_BYTES: Final = 8192
MAX_HEADER_BYTES: Final = 32_768

_HSTS: Final = "max-age=31536000"


def _headers_of(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def _is_text(data: bytes) -> bool:
    """Tell whether something percent-encoded is UTF-8 without NUL, which no column of text takes."""
    if b"%" not in data:
        return True
    try:
        return "\0" not in unquote_to_bytes(data).decode()
    except UnicodeDecodeError:
        return False


def _bad_part(path: bytes, query: bytes) -> str:
    """Name the part of an address that is no text; empty when all of it is."""
    if not _is_text(path):
        return "the path"
    if _is_text(query):
        return ""
    for pair in query.split(b"&"):
        if not _is_text(pair):
            name = unquote_to_bytes(pair.partition(b"=")[0])[:40].decode(errors="replace").replace("\0", "\ufffd")
            return f"the parameter {name}"
    return "the query"


def is_https(scope: Scope) -> bool:
    """Tell whether the client spoke https, to us or to a proxy in front.

    Nobody has to be trusted here: browsers ignore the header that follows from it where it is not true.
    """
    forwarded = _headers_of(scope, b"x-forwarded-proto")
    return scope.get("scheme") == "https" or (bool(forwarded) and forwarded[0].strip().lower() == b"https")


class Gate:
    """Wraps the application.

    Args:
        app: What answers.
        settings: With the names that are ours.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._hosts = frozenset(name.encode() for name in settings.hosts)

    def _check(self, scope: Scope) -> None:
        path, query = scope.get("raw_path") or b"", scope["query_string"]
        if len(path) + len(query) > MAX_URL_BYTES:
            raise Refused(414, "url_too_long", f"the address is longer than {MAX_URL_BYTES} bytes")
        if sum([len(name) + len(value) for name, value in scope["headers"]]) > MAX_HEADER_BYTES:
            raise Refused(431, "headers_too_large", f"the headers are larger than {MAX_HEADER_BYTES} bytes")
        if self._hosts:
            names = [value.lower().rpartition(b":") for value in _headers_of(scope, b"host")]
            # A name alone has no colon, and an address in brackets some within.
            hosts = {host if port.isdigit() and colon else host + colon + port for host, colon, port in names}
            if not hosts or not hosts <= self._hosts:
                raise Refused(421, "misdirected", "no such host is served here; the operator names ours")
        bad = _bad_part(path, query)
        if bad:
            raise Refused(400, "malformed_url", f"{bad} is not UTF-8, or holds a NUL")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refused as refusal:
            await _refuse(scope, send, refusal)
            return
        if not is_https(scope):
            await self._app(scope, receive, send)
            return

        async def with_hsts(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableScopeHeaders.from_message(message)["Strict-Transport-Security"] = _HSTS
            await send(message)

        await self._app(scope, receive, with_hsts)


async def _refuse(scope: Scope, send: Send, refusal: Refused) -> None:
    problem = problem_of(refusal, request_id=request_id_of(scope))
    body = msgspec.json.encode(problem)
    headers = [(b"content-type", PROBLEM_JSON.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
