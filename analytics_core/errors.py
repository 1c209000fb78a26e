"""The errors of the domain, none of which knows about HTTP.

* ``CastledgerError``
    * ``ConfigError``: settings are missing, malformed or contradict one another
    * ``NotFound``: no such thing for this tenant
    * ``NotKept``: what is asked for is kept no longer
    * ``Conflict``: it clashes with what is stored
    * ``Outdated``: it was changed since the version that the request is about
    * ``InvalidInput``: a value was refused, with the path to it and the reason
    * ``Unauthenticated``: no credential, or one that is not valid
    * ``Forbidden``: a valid credential without the permission
    * ``QuotaExceeded``: there may be no more of it, or not before some time
    * ``Unavailable``: something that we depend on does not answer
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

__all__ = (
    "CastledgerError",
    "ConfigError",
    "Conflict",
    "Forbidden",
    "InvalidInput",
    "NotFound",
    "NotKept",
    "Outdated",
    "QuotaExceeded",
    "Unauthenticated",
    "Unavailable",
)


class CastledgerError(Exception):
    """Something that Castledger refuses or cannot do."""

    code: str = "error"
    """Stable word for programs; the message is for people."""


class ConfigError(CastledgerError, ValueError):
    """The settings cannot be used; every fault is listed."""

    code = "config"

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class NotFound(CastledgerError):
    """There is no such thing, or it is another tenant's."""

    code = "not_found"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"no such {what}")


class NotKept(CastledgerError):
    """What is asked for was there, and its time is over."""

    code = "not_kept"


class Conflict(CastledgerError):
    """The request clashes with what is stored.

    Args:
        code: Stable word, such as ``podcast_taken``.
        message: One sentence for people, saying what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Outdated(CastledgerError):
    """The request is about another version than the one that is stored.

    Args:
        what: Such as ``sponsor``.
        version: The one that is stored.
    """

    code = "outdated"

    def __init__(self, what: str, *, version: int) -> None:
        self.what = what
        self.version = version
        super().__init__(f"the {what} was changed since: it is at version {version}; read it again")


class InvalidInput(CastledgerError, ValueError):
    """A value was refused.

    Args:
        path: Where the value stands: a field, a parameter, a pointer such as ``/feed_url``.
        reason: One sentence for people.
        code: Stable word for programs.
    """

    def __init__(self, path: str, reason: str, *, code: str = "invalid") -> None:
        self.path = path
        self.reason = reason
        self.code = code
        super().__init__(f"{path}: {reason}")


class Unauthenticated(CastledgerError):
    """The credential is missing, unknown, expired or revoked."""

    code = "unauthenticated"


class Forbidden(CastledgerError):
    """The credential is valid but lacks the permission.

    Args:
        message: One sentence for people.
        code: Stable word for programs; that of the class when it is not given.
    """

    code = "forbidden"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        if code is not None:
            self.code = code
        super().__init__(message)


class QuotaExceeded(CastledgerError):
    """A tenant has as many of a thing as it may have, or has made as many as it may for now.

    Args:
        metric: Of what, such as ``links``.
        period: ``day``, ``month`` or ``total``.
        limit: How many it may.
        resets_at: When there may be more of it again; ``None`` when only taking some away helps.
        retry_after_s: Whole seconds until then.
    """

    code = "quota_exceeded"

    def __init__(
        self, metric: str, period: str, limit: int, *, resets_at: dt.datetime | None, retry_after_s: int | None
    ) -> None:
        self.metric = metric
        self.period = period
        self.limit = limit
        self.resets_at = resets_at
        self.retry_after_s = retry_after_s
        what = metric.replace("_", " ")
        super().__init__(
            f"the quota of {what} is {limit}: delete some, or ask the installation's owner for more"
            if resets_at is None
            else f"the quota of {what} made in a UTC {period} is {limit}; it begins anew at {resets_at:%Y-%m-%d %H:%M}Z"
        )


class Unavailable(CastledgerError):
    """A dependency does not answer.

    Args:
        message: What does not answer.
        retry_after_s: Seconds after which a retry may succeed.
    """

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)
