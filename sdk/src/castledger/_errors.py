"""What can go wrong.

* ``CastledgerError``
    * ``ConfigurationError``: the client cannot be used as it was made
    * ``APIConnectionError``: no answer came
        * ``APITimeout``: none came in time
    * ``APIError``: the API refused
        * ``BadRequest`` 400 and other 4xx · ``AuthenticationError`` 401 · ``PermissionDenied`` 403 · ``NotFound`` 404
        * ``Conflict`` 409 · ``ValidationError`` 422 · ``RateLimited`` 429 · ``ServerError`` 5xx
"""

from __future__ import annotations

import msgspec

__all__ = (
    "APIConnectionError",
    "APIError",
    "APITimeout",
    "AuthenticationError",
    "BadRequest",
    "CastledgerError",
    "ConfigurationError",
    "Conflict",
    "FieldError",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "ServerError",
    "ValidationError",
    "error_of",
)


class CastledgerError(Exception):
    """Anything that this SDK raises."""


class ConfigurationError(CastledgerError, ValueError):
    """The client was made with something that cannot work."""


class APIConnectionError(CastledgerError):
    """The API did not answer."""


class APITimeout(APIConnectionError):
    """The API did not answer in time."""


class FieldError(msgspec.Struct, frozen=True):
    """One fault of a request: where, which, and in words."""

    pointer: str = ""
    code: str = ""
    message: str = ""


class APIError(CastledgerError):
    """The API answered with an error.

    Attributes:
        status: HTTP status.
        code: Stable word for programs, such as ``podcast_taken``.
        detail: One sentence for people.
        request_id: To quote when asking the operator.
        errors: Every fault of the request that the API named.
    """

    def __init__(
        self, *, status: int, code: str, detail: str, request_id: str | None, errors: tuple[FieldError, ...]
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.errors = errors
        named = "".join(f"; {error.pointer}: {error.message}" for error in errors)
        super().__init__(f"{status} {code}: {detail}{named} (request {request_id or 'unknown'})")


class BadRequest(APIError):
    """The request was malformed."""


class AuthenticationError(APIError):
    """The key is missing, wrong or revoked."""


class PermissionDenied(APIError):
    """The key may not do that."""


class NotFound(APIError):
    """There is no such thing for this key."""


class Conflict(APIError):
    """It clashes with what is stored."""


class ValidationError(APIError):
    """A value was refused; ``errors`` says which."""


class RateLimited(APIError):
    """Too many requests."""


class ServerError(APIError):
    """The API failed, or what it depends on does not answer."""


class _Problem(msgspec.Struct):
    code: str = ""
    title: str = ""
    detail: str = ""
    request_id: str | None = None
    errors: tuple[FieldError, ...] = ()


_KINDS: dict[int, type[APIError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    422: ValidationError,
    429: RateLimited,
}


def error_of(status: int, body: bytes, request_id: str | None) -> APIError:
    """Make the error that an answer stands for; a body that is no problem document is no further trouble."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = _Problem()
    kind = _KINDS.get(status, ServerError if status >= 500 else BadRequest)
    return kind(
        status=status,
        code=problem.code or "unknown",
        detail=problem.detail or problem.title or "the API gave no reason",
        request_id=problem.request_id or request_id,
        errors=problem.errors,
    )
