"""What can go wrong."""

from __future__ import annotations

import functools
from typing import Any, Final

import msgspec

__all__ = (
    "UNREADABLE",
    "APIConnectionError",
    "APIError",
    "APITimeout",
    "AuthenticationError",
    "BadRequest",
    "CastledgerError",
    "ConfigurationError",
    "Conflict",
    "EventRefused",
    "EventsHeldUp",
    "EventsLost",
    "FieldError",
    "MissingExtra",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "ServerError",
    "UnexpectedAnswer",
    "ValidationError",
    "error_of",
)


UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What is raised by an answer that is no JSON, or of another form."""


class CastledgerError(Exception):
    """Anything that this SDK raises."""


class ConfigurationError(CastledgerError, ValueError):
    """The client was made with something that cannot work."""


class MissingExtra(CastledgerError, ImportError):
    """A library is needed that an extra installs; the text says how."""

    def __init__(self, extra: str) -> None:
        super().__init__(f"{extra} is not installed: pip install 'castledger[{extra}]'", name=extra)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name,), self.__dict__


class APIConnectionError(CastledgerError):
    """No answer came; the text names the address that was asked, and what to do."""


class APITimeout(APIConnectionError):
    """The API did not answer in time."""


class UnexpectedAnswer(CastledgerError):
    """Something answered, but not as the API does: ``base_url`` leads elsewhere, or the versions are too far apart.

    Attributes:
        status: HTTP status, where there is one.
        request_id: To quote when asking the operator.
    """

    def __init__(self, message: str, *, status: int | None = None, request_id: str | None = None) -> None:
        self.status = status
        self.request_id = request_id
        super().__init__(message)


class EventRefused(CastledgerError, ValueError):
    """An event is out of bounds; the text names the field and the rule, never the value.

    Attributes:
        field: Such as ``occurred_at`` or ``properties.plan``; ``event`` for the whole.
        code: Stable word for programs, such as ``naive``.
    """

    def __init__(self, field: str, code: str, message: str) -> None:
        self.field = field
        self.code = code
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.field, self.code, str(self)), self.__dict__


class EventsLost(CastledgerError):
    """Events will not arrive.

    Attributes:
        reason: Stable word for programs, such as ``queue_full``.
        count: How many, since this reason was last told of.
    """

    def __init__(self, reason: str, count: int) -> None:
        self.reason = reason
        self.count = count
        super().__init__(f"{count} event(s) lost: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.count), self.__dict__


class EventsHeldUp(CastledgerError):
    """Events are kept and tried again, but will not arrive before somebody acts; the text says what to do."""


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
        retry_after: Seconds after which the API wants to be asked again, where it said so.
    """

    def __init__(
        self,
        *,
        status: int,
        code: str,
        detail: str,
        request_id: str | None,
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.errors = errors
        self.retry_after = retry_after
        said = (f"{error.pointer}: {error.message}".removeprefix(": ") for error in errors)
        named = "".join(f"; {one}" for one in said if one not in detail)
        when = "" if retry_after is None else f"; to be asked again after {retry_after:.0f} s"
        super().__init__(f"{status} {code}: {detail}{named}{when} (request {request_id or 'unknown'})")

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is copied and pickled by calling its class with its text, which this one's does not take.
        again = functools.partial(
            type(self),
            status=self.status,
            code=self.code,
            detail=self.detail,
            request_id=self.request_id,
            errors=self.errors,
            retry_after=self.retry_after,
        )
        return again, (), self.__dict__


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


def error_of(status: int, body: bytes, *, base_url: str, request_id: str | None, retry_after: float | None) -> APIError:
    """Make the error that an answer stands for; a body that is no problem document is no further trouble."""
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except UNREADABLE:
        problem = _Problem()
    kind = _KINDS.get(status, ServerError if status >= 500 else BadRequest)
    silence = f"no reason was given; is it Castledger's API that answers at {base_url}?"
    return kind(
        status=status,
        code=problem.code or "unknown",
        detail=problem.detail or problem.title or silence,
        request_id=problem.request_id or request_id,
        errors=problem.errors,
        retry_after=retry_after,
    )
