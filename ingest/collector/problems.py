"""Requests that are refused as a whole, as problem+json.

Source:
    RFC 9457; ``code`` is for programs, ``detail`` for people.
"""

from __future__ import annotations

import http
import logging
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from analytics_core.errors import Forbidden, Unauthenticated
from analytics_core.event_batches import BatchRefused
from analytics_core.event_rules import EventFault

__all__ = ("ALLOWED_ORIGIN", "Refused", "answer_headers", "answer_problem")

ALLOWED_ORIGIN: Final = "allowed_origin"
"""Under which name a request's state says whose pages may read the answer."""

_CODES: Final = {404: "not_found", 405: "method_not_allowed"}
_log: Final = logging.getLogger("castledger.collector")


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request was refused; as the API tells it, but for the id of the request, of which nothing is kept here."""

    title: str
    status: int
    detail: str
    code: str
    errors: Sequence[EventFault] = ()


class Refused(Exception):
    """A request was refused.

    Args:
        status: Such as 415 or 429.
        code: Stable word for programs.
        message: One sentence for people.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.code = code
        self.headers = headers or {}
        super().__init__(message)


def answer_headers(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Name the headers of an answer that is somebody's own: a page may read it whose origin its key allows."""
    origin = request.scope["state"].get(ALLOWED_ORIGIN)
    headers = {"Vary": "Origin", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if origin is not None:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = "Retry-After"
    return headers


def answer_problem(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer a refusal; of what nobody foresaw nothing is told, and the log has it."""
    headers = answer_headers(request)
    faults: Sequence[EventFault] = ()
    code, detail = getattr(error, "code", ""), str(error)
    match error:
        case Refused():
            status = error.status
            headers |= error.headers
        case BatchRefused():
            status, faults = error.status, error.faults
        case Unauthenticated():
            status = 401
            sent = "authorization" in request.headers
            headers["WWW-Authenticate"] = 'Bearer realm="castledger"' + (', error="invalid_token"' if sent else "")
        case Forbidden():
            status = 403
        case HTTPException() if error.status_code < 500:
            status = error.status_code
            headers |= error.headers or {}
            code, detail = _CODES.get(status, "bad_request"), "see docs/events.md for what is served here"
        case _:
            _log.error("a request failed", exc_info=error)
            status, code, detail = 500, "internal", "something went wrong on our side: the log tells"
    problem = Problem(title=http.HTTPStatus(status).phrase, status=status, detail=detail, code=code, errors=faults)
    return Response(
        msgspec.json.encode(problem), status_code=status, media_type="application/problem+json", headers=headers
    )
