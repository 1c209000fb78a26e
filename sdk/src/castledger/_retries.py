"""Whether to try again, and when: decided here for both clients, without waiting and without asking."""

from __future__ import annotations

import datetime as dt
import random
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeAlias

import httpx
import msgspec

from castledger._requests import Call

__all__ = ("Answer", "RetryPolicy", "retry_after_s")

Answer: TypeAlias = httpx.Response | httpx.HTTPError
"""What became of one try."""

_STATUSES: Final = frozenset((429, 502, 503, 504))
_FAILURES: Final = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError)
_FIRST_WAIT_S: Final = 0.25
# 0.25 s doubled seven times is past the longest wait; more would only run out of floating-point numbers.
_MOST_DOUBLINGS: Final = 7


def _http_date(text: str) -> dt.datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at


def retry_after_s(response: httpx.Response) -> float | None:
    """Read after how many seconds the server wants to be asked again.

    A date counts from the answer's own ``Date``, so that this machine's clock may be wrong.

    Returns:
        Seconds, 0 for a date that has passed; ``None`` when nothing readable is said.

    Source:
        RFC 9110, 10.2.3.

    >>> retry_after_s(httpx.Response(503, headers={"Retry-After": "120"}))
    120.0
    """
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    at = _http_date(text)
    if at is None:
        return None
    now = _http_date(response.headers.get("date", "")) or dt.datetime.now(dt.UTC)
    return max((at - now).total_seconds(), 0.0)


def _may_pass(answer: Answer) -> bool:
    if isinstance(answer, httpx.Response):
        return answer.status_code in _STATUSES
    return isinstance(answer, _FAILURES)


def _is_repeatable(call: Call[Any]) -> bool:
    return call.method == "GET" or "Idempotency-Key" in call.headers


class RetryPolicy(msgspec.Struct, frozen=True):
    """When a call is repeated.

    Attributes:
        max_retries: Tries after the first one.
        longest_wait_s: What a caller is kept waiting at most between two tries.
    """

    max_retries: int
    longest_wait_s: float = 30.0

    def wait_s(self, call: Call[Any], answer: Answer, *, retries: int) -> float | None:
        """Decide what follows a try.

        Never earlier than the server asks for. Where it asks for more than the longest wait, the call is given up:
        the caller learns the time from the error and can do something else in between.

        Args:
            call: A read, or a write with an ``Idempotency-Key``: both may be sent twice. Others are not repeated.
            answer: What became of the try.
            retries: How often the call was repeated until now.

        Returns:
            Seconds to wait before the next try; ``None`` to give up and take the answer as it is.

        >>> busy = httpx.Response(429, headers={"Retry-After": "31"})
        >>> RetryPolicy(2).wait_s(Call(dict, "GET", "/podcasts"), busy, retries=0) is None
        True
        """
        if retries >= self.max_retries or not _is_repeatable(call) or not _may_pass(answer):
            return None
        asked_s = retry_after_s(answer) if isinstance(answer, httpx.Response) else None
        if asked_s is not None and asked_s > self.longest_wait_s:
            return None
        backoff_s = min(_FIRST_WAIT_S * 2.0 ** min(retries, _MOST_DOUBLINGS), self.longest_wait_s)
        return max(asked_s or 0.0, backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
