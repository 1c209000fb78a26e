"""Everything that is refused or goes wrong, as problem+json: the one place that knows status codes.

Source:
    RFC 9457; ``code`` is for programs, ``detail`` for people, ``errors`` names every fault of a request at once.
"""

from __future__ import annotations

import datetime as dt
import http
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from analytics_core.db.claims import ClaimRow
from analytics_core.errors import (
    CastledgerError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    NotKept,
    Outdated,
    QuotaExceeded,
    Unauthenticated,
    Unavailable,
)
from api.logs import RequestLog
from api.requests import request_id_of

__all__ = (
    "PROBLEM_JSON",
    "Fault",
    "InvalidRequest",
    "PodcastTaken",
    "Problem",
    "RateLimited",
    "Refused",
    "TooSoon",
    "WrongCredentials",
    "answer_problem",
    "problem_of",
)

PROBLEM_JSON: Final = "application/problem+json"

_CODES: Final = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request.

    Attributes:
        pointer: A parameter's name, or a JSON pointer into the body.
    """

    pointer: str
    code: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not answered.

    With `podcast_taken` there may be `claim_id`, `token` and `expires_at`: of the claim by which its owner proves that
    the feed is theirs. With `quota_exceeded` there is `resets_at`, null where only deleting something helps.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[Fault] = []
    claim_id: UUID | msgspec.UnsetType = msgspec.UNSET
    token: str | msgspec.UnsetType = msgspec.UNSET
    expires_at: dt.datetime | msgspec.UnsetType = msgspec.UNSET
    resets_at: dt.datetime | msgspec.UnsetType | None = msgspec.UNSET


class InvalidRequest(CastledgerError, ValueError):
    """Values of a request were refused, all of them listed; 422."""

    code = "invalid"

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        if len({fault.code for fault in self.faults}) == 1:
            self.code = self.faults[0].code
        # What concerns the whole body has no place to name.
        super().__init__(
            "; ".join(f"{fault.pointer}: {fault.message}" if fault.pointer else fault.message for fault in self.faults)
        )


class Refused(CastledgerError):
    """A request was refused for its form: its size, its type, or JSON that is none.

    Args:
        status: Such as 400, 413 or 415.
        code: Stable word for programs.
        message: One sentence for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


class PodcastTaken(Conflict):
    """A feed belongs to a podcast that is there already.

    Args:
        message: One sentence for people, saying what to do.
        claim: By which the feed can be proven to be the caller's; ``None`` where nothing can be.
    """

    def __init__(self, message: str, claim: ClaimRow | None = None) -> None:
        self.claim = claim
        super().__init__("podcast_taken", message)


class WrongCredentials(Unauthenticated):
    """A mail address and a password that do not belong together, or to nobody: which, is not told; 401."""

    code = "wrong_credentials"


class TooSoon(CastledgerError):
    """Something was asked for again before its time; 429.

    Args:
        message: One sentence for people.
        retry_after_s: Whole seconds after which it is time.
    """

    code = "too_soon"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class RateLimited(TooSoon):
    """A client asks more often than it may; 429."""

    code = "rate_limited"


def _status_of(error: Exception) -> int:
    match error:
        case Refused():
            return error.status
        case InvalidRequest() | InvalidInput():
            return 422
        case NotFound():
            return 404
        case NotKept():
            return 410
        case Conflict():
            return 409
        case Outdated():
            return 412
        case Unauthenticated():
            return 401
        case Forbidden():
            return 403
        case TooSoon() | QuotaExceeded():
            return 429
        case Unavailable():
            return 503
        case HTTPException():
            return error.status_code
        case _:
            return 500


def problem_of(error: Exception, *, request_id: str) -> Problem:
    """Describe an error; of what nobody foresaw only the request's id is told."""
    status = _status_of(error)
    title = http.HTTPStatus(status).phrase
    faults: list[Fault] = []
    match error:
        case InvalidRequest():
            faults = list(error.faults)
            code, detail = error.code, str(error)
        case InvalidInput():
            faults = [Fault(error.path, error.code, error.reason)]
            code, detail = error.code, str(error)
        case CastledgerError() if status != 500:
            code, detail = error.code, str(error)
        case HTTPException() if status < 500:
            # The framework's own words may quote what was sent; the status says enough.
            code, detail = _CODES.get(status, "bad_request"), f"{title.lower()}: see /api/v1/docs"
        case _:
            status, title = 500, http.HTTPStatus(500).phrase
            code, detail = "internal", "something went wrong on our side; the request id finds it in the log"
    problem = Problem(title=title, status=status, detail=detail, code=code, request_id=request_id, errors=faults)
    if isinstance(error, QuotaExceeded):
        return msgspec.structs.replace(problem, resets_at=error.resets_at)
    if isinstance(error, PodcastTaken) and error.claim is not None:
        claim = error.claim
        return msgspec.structs.replace(problem, claim_id=claim.claim_id, token=claim.token, expires_at=claim.expires_at)
    return problem


def answer_problem(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an error, and log it when it is ours."""
    problem = problem_of(error, request_id=request_id_of(request.scope))
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException) and error.headers:
        headers.update(error.headers)
    if problem.status == 401:
        sent = "authorization" in request.headers
        headers["WWW-Authenticate"] = 'Bearer realm="castledger"' + (', error="invalid_token"' if sent else "")
    if isinstance(error, Unavailable | TooSoon | QuotaExceeded) and error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if problem.status >= 500:
        log: RequestLog = request.app.state.log
        log.error(error, request_id=problem.request_id)
    return Response(msgspec.json.encode(problem), status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)
