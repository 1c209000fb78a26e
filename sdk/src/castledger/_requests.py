"""How the API is reached, what is asked of it and when again, and how answers are read; nothing here waits or sends."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import random
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, cast
from uuid import UUID, uuid4

import msgspec

from castledger._errors import (
    UNREADABLE,
    APIConnectionError,
    APITimeout,
    ConfigurationError,
    UnexpectedAnswer,
    error_of,
)

# httpx takes longer to import than all else here: whoever makes a client waits for it, and an import does not.
if TYPE_CHECKING:
    import httpx
    import pandas as pd
    import polars as pl

__all__ = (
    "Answer",
    "AsyncItems",
    "Call",
    "Dimension",
    "EventOptions",
    "Interval",
    "Items",
    "Moment",
    "Options",
    "Page",
    "Paged",
    "RetryPolicy",
    "__version__",
    "given",
    "given_range",
    "path_id",
    "read_answer",
    "read_proxy",
    "read_url",
    "retry_after_s",
    "write_moment",
)

# The build reads it here, and so does the ``User-Agent``.
__version__ = "0.2.0"
_DEFAULT_URL: Final = "http://127.0.0.1:8000"
_DEFAULT_COLLECTOR_URL: Final = "http://127.0.0.1:8001"
_API: Final = "/api/v1"
# More than a day is a slip, and the clocks of some systems refuse much more.
_LONGEST_TIMEOUT_S: Final = 86_400.0
# `cl_live_` and four of 38 characters: what the API itself shows of a key.
_HINT_CHARS: Final = 12
_KEY_CHARS: Final = 46
_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_MAX_QUEUE: Final = 10_000_000
# What the collector takes in one request.
_MAX_BATCH: Final = 500
_LONGEST_INTERVAL_S: Final = 3600.0
_MAX_SPOOL_MB: Final = 1_000_000
T = TypeVar("T")
Moment: TypeAlias = dt.date | dt.datetime
"""A date, or an aware instant."""
Interval: TypeAlias = Literal["hour", "day", "week", "month"]
"""How long a row's time is."""
Dimension: TypeAlias = Literal[
    "episode", "app", "device", "os", "country", "region", "city", "referrer", "feed_app", "source"
]
"""What downloads can be broken down by."""
_PAGE: Final = 200
Answer: TypeAlias = "httpx.Response | httpx.HTTPError"
"""What became of one try."""
_STATUSES: Final = frozenset((429, 502, 503, 504))
_FIRST_WAIT_S: Final = 0.25
_DONE: Final = ("ready", "failed", "erased")
_FIRST_LOOK_S: Final = 0.1
_LONGEST_LOOK_S: Final = 5.0
# 0.25 s doubled seven times is past the longest wait; more would only run out of floating-point numbers.
_MOST_DOUBLINGS: Final = 7
_WHERE: Final = "base_url or CASTLEDGER_API_URL says where the API is"


def _read_key(given: str | None, environ: Mapping[str, str]) -> str:
    name = "api_key" if given is not None else "CASTLEDGER_API_KEY"
    key = environ.get("CASTLEDGER_API_KEY", "") if given is None else given
    if not key:
        raise ConfigurationError(
            "api_key: is missing; pass the key that `castledger up` printed, or set CASTLEDGER_API_KEY to it"
        )
    if not all("!" <= char <= "~" for char in key):
        raise ConfigurationError(
            f"{name}: holds a space, a line break or another character that no key has; was more copied than the key?"
        )
    return key


def _fault_of(url: str) -> str | None:
    """Say what is wrong with an address; never quotes it, since it may hold a password."""
    import httpx

    if not url.isprintable() or any(char.isspace() or char == "\\" for char in url):
        return "holds a space, a line break or a backslash"
    try:
        parts = httpx.URL(url)
        host = parts.raw_host.decode("ascii")
        # What the system's resolver is given later; it raises there for empty and for overlong labels.
        host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        return "is no address: its host or its port cannot be right"
    if parts.scheme not in ("http", "https") or not host:
        return "has to begin with http:// or https:// and a host"
    if "@" in url.split("/")[2]:
        return "has a user or a password in it; the key alone says who asks"
    if _HOST.fullmatch(host) is None:
        return "is no address: its host has characters that none has"
    if parts.port is not None and not 0 < parts.port < 65536:
        return "has a port that is not from 1 to 65535"
    if "?" in url or "#" in url:
        return "has a query or a fragment; leave out what follows ? or #"
    if parts.path.rstrip("/").endswith(_API):
        return f"ends in {_API}, which the client adds itself; leave it out"
    return None


def read_url(
    name: str, given: str | None, variable: str, default: str, *, environ: Mapping[str, str] | None = None
) -> str:
    """Read an address: what was given, else what *environ* says, the process's own when ``None``, else the default.

    Raises:
        ConfigurationError: It cannot be one; never quotes it.
    """
    url = given
    if url is None:
        url = (os.environ if environ is None else environ).get(variable) or default
        name = f"{name} ({variable})"
    fault = _fault_of(url)
    if fault is not None:
        raise ConfigurationError(f"{name}: {fault}; it looks like https://api.example.com")
    return url.rstrip("/")


def read_proxy(proxy: str | None, *, has_transport: bool) -> str | None:
    """Refuse a proxy that cannot work, as where the host's own transport would never see it.

    Raises:
        ConfigurationError: Names the option; never quotes a password.
    """
    if proxy is None:
        return None
    import httpx

    if has_transport:
        raise ConfigurationError("proxy: does nothing beside a transport; give the proxy to the transport itself")
    try:
        parts: httpx.URL | None = httpx.URL(proxy)
    except httpx.InvalidURL:
        parts = None
    if parts is None or parts.scheme not in _PROXY_SCHEMES or not parts.raw_host:
        raise ConfigurationError(
            "proxy: is no address that begins with http://, https://, socks5:// or socks5h:// and a host; it looks "
            "like http://proxy.example.com:3128"
        )
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError("proxy: a SOCKS proxy needs what `pip install 'httpx[socks]'` installs")
    return proxy


@dataclass(frozen=True, repr=False)
class Options:
    """How to reach the API; a plain class rather than a struct, so that no pretty-printer shows the key."""

    api_key: str
    base_url: str
    timeout: float
    max_retries: int

    def __repr__(self) -> str:
        is_known_form = self.api_key.startswith("cl_") and len(self.api_key) >= _KEY_CHARS
        shown = self.api_key[:_HINT_CHARS] if is_known_form else ""
        return f"Options(base_url={self.base_url!r}, api_key='{shown}…')"

    @classmethod
    def read(
        cls,
        *,
        api_key: str | None,
        base_url: str | None,
        timeout: float,
        max_retries: int,
        environ: Mapping[str, str] | None = None,
    ) -> Options:
        """Fill what was not given from the environment, and refuse what cannot work.

        Any text is taken for a key that a header can carry: a token is one too. The rest stands with
        :class:`~castledger.Castledger`.

        Raises:
            ConfigurationError: Names the option; never quotes a key or a password.
        """
        environ = os.environ if environ is None else environ
        key = _read_key(api_key, environ)
        url = read_url("base_url", base_url, "CASTLEDGER_API_URL", _DEFAULT_URL, environ=environ)
        # Written so that it refuses NaN, which compares as false with everything.
        if not 0 < timeout <= _LONGEST_TIMEOUT_S:
            raise ConfigurationError(f"timeout: is a number of seconds above 0, at most {_LONGEST_TIMEOUT_S:.0f}")
        if not max_retries >= 0:
            raise ConfigurationError("max_retries: is a whole number, 0 or more")
        return cls(key, url, timeout, max_retries)

    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return {"Authorization": f"Bearer {self.api_key}", "User-Agent": f"castledger-python/{__version__}"}


def _whole_number(name: str, value: object, *, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ConfigurationError(f"{name}: is a whole number from 1 to {most}")
    return value


class EventOptions:
    """How events are delivered; a plain class, so that no pretty-printer shows the key in the headers.

    What each option is stands with :class:`~castledger.Castledger`.

    Raises:
        ConfigurationError: Names the option.
    """

    def __init__(
        self,
        options: Options,
        *,
        collector_url: str | None = None,
        queue_size: int = 10_000,
        batch_size: int = 100,
        flush_interval: float = 2.0,
        spool_dir: str | os.PathLike[str] | None = None,
        spool_mb: int = 64,
        is_strict: bool = False,
        is_enabled: bool = True,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.collector_url = read_url(
            "collector_url", collector_url, "CASTLEDGER_COLLECTOR_URL", _DEFAULT_COLLECTOR_URL, environ=environ
        )
        self.api_key = options.api_key
        self.headers = options.headers()
        self.timeout = options.timeout
        self.queue_size = _whole_number("queue_size", queue_size, most=_MAX_QUEUE)
        self.batch_size = min(_whole_number("batch_size", batch_size, most=_MAX_BATCH), self.queue_size)
        # Written so that it refuses NaN.
        if not 0 < flush_interval <= _LONGEST_INTERVAL_S:
            raise ConfigurationError(
                f"flush_interval: is a number of seconds above 0, at most {_LONGEST_INTERVAL_S:.0f}"
            )
        self.flush_interval = flush_interval
        self.spool_dir = None if spool_dir is None else Path(spool_dir)
        self.spool_bytes = _whole_number("spool_mb", spool_mb, most=_MAX_SPOOL_MB) * 1024 * 1024
        self.is_strict = is_strict
        self.is_enabled = is_enabled

    def __repr__(self) -> str:
        return f"EventOptions(collector_url={self.collector_url!r})"


class Call(Generic[T]):
    """One request, and the type that its answer is read as.

    A write gets an ``Idempotency-Key`` here, once: however often the call is sent, it is done once. Of
    *json*, fields that are :data:`msgspec.UNSET` are left out. With a *version*, it is done to no other one. A kind of
    ``bytes`` is what was answered as it is. With *patience_s*, it is made again until what it reads is done.
    """

    def __init__(
        self,
        kind: type[T],
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
        version: int | None = None,
        patience_s: float | None = None,
    ) -> None:
        self.kind = kind
        self.method = method
        self.path = f"/api/v1{path}"
        self.params = dict(params or {})
        self.content = content
        self.headers: dict[str, str] = {}
        if json is not None:
            self.content = _write_json({name: value for name, value in json.items() if value is not msgspec.UNSET})
            content_type = "application/json"
        if content_type is not None:
            self.headers["Content-Type"] = content_type
        if version is not None:
            self.headers["If-Match"] = f'"{version}"'
        if method != "GET":
            self.headers["Idempotency-Key"] = str(uuid4())
        self._patience_s = patience_s
        self._waited_s = 0.0

    def pause_s(self, answer: T) -> float | None:
        """Tell when to ask again: after ever longer pauses, ``None`` when what was read is ready or has failed.

        Raises:
            TimeoutError: It is neither, and patience is over.
        """
        if self._patience_s is None or getattr(answer, "status", "") in _DONE:
            return None
        if self._waited_s >= self._patience_s:
            raise TimeoutError(f"{self.path} is not ready after {self._patience_s:g} s; it goes on being made")
        pause_s = min(max(self._waited_s / 2, _FIRST_LOOK_S), _LONGEST_LOOK_S, self._patience_s - self._waited_s)
        self._waited_s += pause_s
        return pause_s


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list."""

    data: tuple[T, ...]
    next_cursor: str | None = None


class Paged(Generic[T]):
    """A list, page by page; its *limit* is ``None`` where the API says itself how many a page has."""

    def __init__(
        self, item: type[T], path: str, params: Mapping[str, str] | None = None, *, limit: int | None = _PAGE
    ) -> None:
        self.item = item
        self._path = path
        self._params = dict(params or {}) if limit is None else {"limit": str(limit), **(params or {})}

    def _ask(self, params: Mapping[str, str]) -> Call[Page[T]]:
        kind: type[Page[T]] = Page[self.item]  # type: ignore[name-defined]  # a type that is known at run time only
        return Call(kind, "GET", self._path, params=params)

    def first(self) -> Call[Page[T]]:
        """Ask for the first page."""
        return self._ask(self._params)

    def following(self, page: Page[T], seen: set[str]) -> Call[Page[T]] | None:
        """Ask for the page behind *page*; its cursor is added to those *seen* until now.

        Returns:
            ``None`` behind the last page.

        Raises:
            UnexpectedAnswer: The cursor was there before: the list would never end.
        """
        cursor = page.next_cursor
        if cursor is None:
            return None
        if cursor in seen:
            raise UnexpectedAnswer(
                f"/api/v1{self._path} gave the same cursor twice: the list would never end, so it is broken off here; "
                "the API or something in front of it answers wrongly.",
                status=200,
            )
        seen.add(cursor)
        return self._ask({**self._params, "cursor": cursor})


def _write_json(fields: Mapping[str, object]) -> bytes:
    for name, value in fields.items():
        if isinstance(value, dt.datetime):
            write_moment(name, value)
    return msgspec.json.encode(fields)


def write_moment(name: str, value: object) -> str:
    """Write a date or an instant; takes anything, since many callers run without a type checker."""
    if not isinstance(value, dt.date):
        raise TypeError(f"{name}: is a date or an aware datetime, not {type(value).__name__}")
    if isinstance(value, dt.datetime) and value.utcoffset() is None:
        raise ValueError(f"{name}: an instant needs a time zone, such as datetime.now(timezone.utc)")
    return value.isoformat()


def given(**values: str | int | UUID | None) -> dict[str, str]:
    """Write the parameters that are given."""
    return {name: str(value) for name, value in values.items() if value is not None}


def given_range(start: Moment | None, end: Moment | None) -> dict[str, str]:
    """Write the ends of a range that are given, as the API calls them.

    Raises:
        ValueError: An instant has no time zone.
        TypeError: One is neither a date nor an instant.
    """
    ends = (("from", "start", start), ("to", "end", end))
    return {name: write_moment(ours, at) for name, ours, at in ends if at is not None}


def path_id(what: UUID | str) -> str:
    """Write an id as it stands in a path."""
    return str(UUID(str(what)))


class _Progress(Generic[T]):
    """Where somebody is in a list: what was read and not yet handed out, and what to ask for behind it."""

    def __init__(self, paged: Paged[T]) -> None:
        self.rows: deque[T] = deque()
        self._paged = paged
        self._last: Page[T] | None = None
        self._seen: set[str] = set()

    def next_call(self) -> Call[Page[T]] | None:
        """Tell what to ask for; ``None`` behind the last page."""
        if self._last is None:
            return self._paged.first()
        return self._paged.following(self._last, self._seen)

    def take(self, page: Page[T]) -> None:
        """Take in what was answered."""
        self._last = page
        self.rows.extend(page.data)


class Items(Iterator[T]):
    """A list, gone through once; a page is read when its first item is wanted.

    Attributes:
        kind: What it is of.

    Raises:
        UnexpectedAnswer: A cursor was given twice; what was read until then has been handed out.
    """

    def __init__(self, send: Callable[[Call[Page[T]]], Page[T]], paged: Paged[T]) -> None:
        self._send = send
        self._progress = _Progress(paged)
        self.kind = paged.item

    def __iter__(self) -> Items[T]:
        return self

    def __next__(self) -> T:
        while not self._progress.rows:
            call = self._progress.next_call()
            if call is None:
                raise StopIteration
            self._progress.take(self._send(call))
        return self._progress.rows.popleft()

    def to_polars(self) -> pl.DataFrame:
        """Read what is left of the list into a frame, a row an item; see :mod:`castledger.frames`."""
        from castledger.frames import to_polars

        return to_polars(self)

    def to_pandas(self) -> pd.DataFrame:
        """Read what is left of the list into a frame, a row an item; see :mod:`castledger.frames`."""
        from castledger.frames import to_pandas

        return to_pandas(self)


class AsyncItems(AsyncIterator[T]):
    """A list, gone through once with ``async for``; a page is read when its first item is wanted.

    Attributes:
        kind: What it is of.

    Raises:
        UnexpectedAnswer: A cursor was given twice; what was read until then has been handed out.
    """

    def __init__(self, send: Callable[[Call[Page[T]]], Awaitable[Page[T]]], paged: Paged[T]) -> None:
        self._send = send
        self._progress = _Progress(paged)
        self.kind = paged.item

    def __aiter__(self) -> AsyncItems[T]:
        return self

    async def __anext__(self) -> T:
        while not self._progress.rows:
            call = self._progress.next_call()
            if call is None:
                raise StopAsyncIteration
            self._progress.take(await self._send(call))
        return self._progress.rows.popleft()

    async def to_polars(self) -> pl.DataFrame:
        """Read what is left of the list into a frame, a row an item; see :mod:`castledger.frames`."""
        from castledger.frames import to_polars

        return to_polars([item async for item in self], kind=self.kind)

    async def to_pandas(self) -> pd.DataFrame:
        """Read what is left of the list into a frame, a row an item; see :mod:`castledger.frames`."""
        from castledger.frames import to_pandas

        return to_pandas([item async for item in self], kind=self.kind)


def _http_date(text: str) -> dt.datetime | None:
    from email.utils import parsedate_to_datetime

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

    >>> import httpx
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
    import httpx

    if isinstance(answer, httpx.Response):
        return answer.status_code in _STATUSES
    failures = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError)
    return isinstance(answer, failures)


def _is_repeatable(call: Call[Any]) -> bool:
    return call.method == "GET" or "Idempotency-Key" in call.headers


class RetryPolicy(msgspec.Struct, frozen=True):
    """When a call is repeated."""

    max_retries: int
    longest_wait_s: float = 30.0

    def wait_s(self, call: Call[Any], answer: Answer, *, retries: int) -> float | None:
        """Decide what follows a try.

        Never earlier than the server asks for. Where it asks for more than the longest wait, the call is given up:
        the caller learns the time from the error and can do something else in between.

        Returns:
            Seconds to wait before the next try; ``None`` to give up and take the answer as it is.

        >>> import httpx
        >>> busy = httpx.Response(429, headers={"Retry-After": "31"})
        >>> RetryPolicy(2).wait_s(Call(dict, "GET", "/podcasts"), busy, retries=0) is None
        True
        """
        import httpx

        if retries >= self.max_retries or not _is_repeatable(call) or not _may_pass(answer):
            return None
        asked_s = retry_after_s(answer) if isinstance(answer, httpx.Response) else None
        if asked_s is not None and asked_s > self.longest_wait_s:
            return None
        backoff_s = min(_FIRST_WAIT_S * 2.0 ** min(retries, _MOST_DOUBLINGS), self.longest_wait_s)
        return max(asked_s or 0.0, backoff_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load


def _translate(error: httpx.HTTPError, base_url: str) -> APIConnectionError | UnexpectedAnswer:
    import httpx

    reason = str(error) or type(error).__name__
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            kind = APITimeout if isinstance(error, httpx.ConnectTimeout) else APIConnectionError
            hint = f"Is the API running there? `castledger up` starts one; {_WHERE}."
            return kind(f"{base_url} cannot be reached ({reason}). {hint}")
        case httpx.TimeoutException():
            kind_of = type(error).__name__
            return APITimeout(f"{base_url} did not answer in time ({kind_of}); timeout says how long is waited.")
        case httpx.DecodingError():
            return UnexpectedAnswer(f"{base_url} sent an answer that cannot be unpacked ({reason}).")
        case _:
            return APIConnectionError(f"{base_url} did not answer ({reason}).")


def _target_of(response: httpx.Response) -> str:
    """Name a redirect's target without its path and query, which may carry what nobody else should read."""
    if response.next_request is None:
        return ""
    url = response.next_request.url
    return f" to {url.scheme}://{url.netloc.decode('ascii')}"


def _redirected(call: Call[T], response: httpx.Response, base_url: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"{base_url}{call.path} is redirected{_target_of(response)} ({response.status_code}). The API never does that, "
        f"and the client does not follow: base_url points to something else; {_WHERE}.",
        status=response.status_code,
        request_id=response.headers.get("x-request-id"),
    )


def read_answer(call: Call[T], answer: Answer, *, base_url: str) -> T:
    """Read what became of a call.

    Raises:
        APIError: The API refused.
        APIConnectionError: No answer came.
        UnexpectedAnswer: It is none of the API's answers.
    """
    import httpx

    if isinstance(answer, httpx.HTTPError):
        raise _translate(answer, base_url) from answer
    request_id = answer.headers.get("x-request-id")
    if answer.is_redirect:
        raise _redirected(call, answer, base_url)
    if not answer.is_success:
        raise error_of(
            answer.status_code,
            answer.content,
            base_url=base_url,
            request_id=request_id,
            retry_after=retry_after_s(answer),
        )
    if call.kind is bytes:
        return cast(T, answer.content)
    # An answer without a body, as 204 is, is read as null.
    try:
        return msgspec.json.decode(answer.content or b"null", type=call.kind)
    except UNREADABLE as error:
        raise UnexpectedAnswer(
            f"{base_url}{call.path} answered with something else than Castledger does ({error}): base_url points to "
            "something else, or its version and this SDK's are too far apart.",
            status=answer.status_code,
            request_id=request_id,
        ) from error
