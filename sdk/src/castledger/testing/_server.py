"""A Castledger in memory: its API and its collector, for tests of what uses the SDK."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import httpx

from castledger import AsyncCastledger, Castledger, Episode, Link, Podcast
from castledger._worker import PATH
from castledger.testing._api import Api, Downloads, Problem
from castledger.testing._events import Collector, RecordedEvent, Refusal, find_events

__all__ = ("ServedRequest", "Server")

# Good nowhere else.
_KEY: Final = "cl_live_" + "t" * 38
_API: Final = "/api/v1"
_CODES: Final = MappingProxyType(
    {401: "unauthenticated", 403: "forbidden", 413: "too_large", 429: "rate_limited", 503: "unavailable"}
)
_MAX_BODY_BYTES: Final = 8 * 1024 * 1024


class ServedRequest(NamedTuple):
    """A request that was answered, or, with a status of 0, cut off."""

    method: str
    path: str
    status: int


class _Failure(NamedTuple):
    kind: int | Exception
    code: str | None
    retry_after: float | None
    path: str


class Server:
    """An in-memory Castledger that speaks the API's and the collector's wire forms.

    Args:
        podcasts: What there is; :func:`make_podcast` makes one with little to say.
        episodes: Likewise, by :func:`make_episode`.
        downloads: What reports are summed up from.
        links: Likewise.
        api_key: The key that is good; any other is answered 401.
        clock: Gives an aware instant; what "now" is for defaults and for events that are too old.

    >>> from castledger.testing import make_podcast
    >>> server = Server(podcasts=[make_podcast("Castle Talk")])
    >>> with server.client() as client:
    ...     [podcast.title for podcast in client.podcasts.list()]
    ['Castle Talk']
    """

    url = "http://castledger.test"
    """Where clients over :attr:`transport` find it."""

    def __init__(
        self,
        *,
        podcasts: Iterable[Podcast] = (),
        episodes: Iterable[Episode] = (),
        downloads: Iterable[Downloads] = (),
        links: Iterable[Link] = (),
        api_key: str = _KEY,
        clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.api_key = api_key
        self._lock = threading.Lock()
        self._api = Api(podcasts=podcasts, episodes=episodes, downloads=downloads, links=links, clock=clock)
        self._collector = Collector(clock)
        self._failures: list[_Failure] = []
        self._requests: list[ServedRequest] = []
        self.transport = httpx.MockTransport(self._handle)

    def client(self, **options: Any) -> Castledger:
        """Make a client that talks to this server.

        Args:
            options: Of :class:`~castledger.Castledger`, to differ from the usual.
        """
        return Castledger(**self._options(options))

    def async_client(self, **options: Any) -> AsyncCastledger:
        """Make an asynchronous client that talks to this server, as :meth:`client` does."""
        return AsyncCastledger(**self._options(options))

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "api_key": self.api_key,
            "base_url": self.url,
            "collector_url": self.url,
            "transport": self.transport,
            "collector_transport": self.transport,
            **options,
        }

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        """The events that arrived, each id once, in the order in which they did."""
        with self._lock:
            return tuple(self._collector.events.values())

    def find(self, **fields: Any) -> list[RecordedEvent]:
        """Find the events that arrived with all of these fields.

        Raises:
            TypeError: An event has no such field.
        """
        return find_events(self.events, fields)

    @property
    def lost(self) -> dict[str, int]:
        """What clients said that they had lost, by reason."""
        with self._lock:
            return dict(self._collector.lost)

    @property
    def requests(self) -> tuple[ServedRequest, ...]:
        """What was asked, in its order."""
        with self._lock:
            return tuple(self._requests)

    def fail(
        self,
        failure: int | Exception,
        *,
        times: int = 1,
        code: str | None = None,
        retry_after: float | None = None,
        path: str = "",
    ) -> None:
        """Have the next requests fail, whatever they ask; failures that were asked for earlier come first.

        Args:
            failure: A status such as 429, or what the transport is to raise, such as ``httpx.ConnectError("down")``;
                over :meth:`listen` the connection is cut.
            times: How many requests.
            code: The answer's word for programs; by default the usual one of the status.
            retry_after: Seconds.
            path: Of requests alone whose path ends so, such as ``/events``.
        """
        with self._lock:
            self._failures += [_Failure(failure, code, retry_after, path)] * times

    def refuse(
        self,
        type: str | None = None,  # noqa: A002 - as the event's own field
        *,
        status: int = 422,
        code: str = "validation_failed",
        times: int = 1,
    ) -> None:
        """Have single events refused, in an answer that takes the others.

        Args:
            type: Of events of this type alone.
            status: The verdict's; 429 and 503 have the client send the event again.
            code: The verdict's.
            times: How many events.
        """
        with self._lock:
            self._collector.refusals += [Refusal(type, status, code)] * times

    @contextlib.contextmanager
    def listen(self) -> Iterator[str]:
        """Listen on a port of this machine, for programs that cannot be given a transport.

        Yields:
            The address, good for ``CASTLEDGER_API_URL`` and ``CASTLEDGER_COLLECTOR_URL``.
        """
        httpd = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self._handle))
        # With the default, which is half a second, every test would take as long to end.
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}"
        finally:
            httpd.shutdown()
            httpd.server_close()
            thread.join()

    def _handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        with self._lock:
            status = 0
            try:
                response = self._answer(request)
                status = response.status_code
            finally:
                self._requests.append(ServedRequest(request.method, request.url.path, status))
        return response

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        try:
            for failure in self._failures:
                if path.endswith(failure.path):
                    self._failures.remove(failure)
                    self._fail(failure)
            if request.headers.get("authorization") != f"Bearer {self.api_key}":
                raise Problem(401, "unauthenticated", "the API key is missing, wrong or revoked")
            if path == PATH and request.method == "POST":
                return self._collector.take(request)
            if not path.startswith(f"{_API}/"):
                raise Problem(404, "not_found", f"there is no {path}")
            return self._api.take(request, path.removeprefix(_API))
        except Problem as problem:
            return problem.answer()

    def _fail(self, failure: _Failure) -> None:
        if isinstance(failure.kind, Exception):
            raise failure.kind
        code = failure.code or _CODES.get(failure.kind, "internal" if failure.kind >= 500 else "bad_request")
        raise Problem(failure.kind, code, "A test asked for this failure.", retry_after=failure.retry_after)


def _handler_of(handle: Callable[[httpx.Request], httpx.Response]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            pass

        def _serve(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if not 0 <= size <= _MAX_BODY_BYTES:
                self.send_error(413)
                return
            url = f"http://{self.headers.get('Host', 'castledger.test')}{self.path}"
            content = self.rfile.read(size)
            try:
                response = handle(httpx.Request(self.command, url, headers=self.headers.items(), content=content))
            except Exception:
                # What a test asked to be raised: the visitor sees a connection that is cut.
                self.close_connection = True
                return
            body = response.content
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                self.send_header(name, value)
            if "content-length" not in response.headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the base class names them

    return Handler
