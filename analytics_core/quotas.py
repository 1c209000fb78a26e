"""What is counted of a tenant, and the quotas that it is held to."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Final

import msgspec

from analytics_core.errors import InvalidInput, QuotaExceeded

__all__ = ("MAX_LIMIT", "Metric", "Period", "Quota", "parse_quota", "quota_exceeded")

MAX_LIMIT: Final = 1_000_000_000


class Metric(enum.StrEnum):
    """What is counted."""

    API_KEYS = "api_keys"
    LINKS = "links"
    MEMBERS = "members"
    PODCASTS = "podcasts"


class Period(enum.StrEnum):
    """How many there are in all, or how many were made since a UTC day or month began."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class Quota(msgspec.Struct, frozen=True, order=True):
    """How many of a thing a tenant may have or make; with ``limit`` ``None`` as many as it likes."""

    metric: Metric
    period: Period
    limit: int | None


def parse_quota(text: str) -> Quota:
    """Read a quota as commands write it: metric, period unless it is the total, and limit.

    >>> parse_quota("links=100"), parse_quota("links/day=unlimited").limit
    (Quota(metric=<Metric.LINKS: 'links'>, period=<Period.TOTAL: 'total'>, limit=100), None)

    Raises:
        InvalidInput: It is no quota; the message says what is wrong, and what there is.
    """
    named, equals, limit = text.partition("=")
    metric, _, period = named.partition("/")
    if not equals:
        raise InvalidInput("QUOTA", f"is such as links=100 or links/day=20, not {text[:40]!r}")
    if metric not in [*Metric]:
        raise InvalidInput("QUOTA", f"there is no metric {metric[:40]!r}; there are {', '.join(Metric)}")
    if (period or Period.TOTAL) not in [*Period]:
        raise InvalidInput("QUOTA", f"there is no period {period[:40]!r}; there are {', '.join(Period)}")
    if limit != "unlimited" and not (
        limit.isascii() and limit.isdigit() and len(limit) <= 10 and int(limit) <= MAX_LIMIT
    ):
        raise InvalidInput("QUOTA", f"a limit is from 0 to {MAX_LIMIT}, or `unlimited`, not {limit[:40]!r}")
    return Quota(Metric(metric), Period(period or Period.TOTAL), None if limit == "unlimited" else int(limit))


class _Refusal(msgspec.Struct):
    metric: str
    period: str
    limit: int
    resets_at: dt.datetime | None
    retry_after_s: int | None


def quota_exceeded(detail: str) -> QuotaExceeded:
    """Read what the database says when a quota is used up."""
    said = msgspec.json.decode(detail, type=_Refusal)
    return QuotaExceeded(
        said.metric, said.period, said.limit, resets_at=said.resets_at, retry_after_s=said.retry_after_s
    )
