"""A Castledger in memory: its API and its collector, for tests of what uses the SDK."""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType, TracebackType
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import httpx
import msgspec

from castledger import AsyncCastledger, Castledger, Episode, Link, Podcast
from castledger._delivery import Delivery, Intake, track
from castledger._errors import UNREADABLE, EventRefused
from castledger._events import MAX_EVENT_BYTES, Event, EventIds, encode_event
from castledger._models import Instant
from castledger._worker import PATH, Counts, Listener, Stats
from castledger.testing._api import Api, Downloads, Problem, answer

__all__ = (
    "AsyncRecordingClient",
    "Collector",
    "RecordedEvent",
    "RecordingClient",
    "Refusal",
    "ServedRequest",
    "Server",
    "find_events",
)
_MAX_BATCH_BYTES: Final = 2 * 1024 * 1024
_MAX_EVENTS: Final = 500
_ENVELOPE: Final = frozenset(("sent_at", "library", "lost", "events"))
# The client's words for what is wrong, and the collector's where it has any but "invalid".
_RULE_CODES: Final = {
    "in_future": "too_new",
    "missing": "missing",
    "naive": "naive_time",
    "too_many": "too_many",
    "too_old": "too_old",
}
_FIELDS: Final = Event.__struct_fields__
# A clock that is off by less is let be.
_OFFSET_S: Final = 5.0
# Good nowhere else.
_KEY: Final = "cl_live_" + "t" * 38
_API: Final = "/api/v1"
_CODES: Final = MappingProxyType(
    {401: "unauthenticated", 403: "forbidden", 413: "too_large", 429: "rate_limited", 503: "unavailable"}
)
_MAX_BODY_BYTES: Final = 8 * 1024 * 1024


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it goes over the wire; what was not given is ``None``."""

    event_id: UUID
    type: str
    occurred_at: dt.datetime | None = None
    click_id: str | None = None
    promo_code: str | None = None
    link: str | None = None
    customer_id: str | None = None
    external_id: str | None = None
    value_amount: int | None = None
    currency: str | None = None
    new_customer: bool | None = None
    url: str | None = None
    referrer: str | None = None
    properties: dict[str, str | int | float | bool | None] | None = None


def find_events(events: Iterable[RecordedEvent], fields: dict[str, Any]) -> list[RecordedEvent]:
    """Find the events whose fields are all as given."""
    unknown = sorted(fields.keys() - set(RecordedEvent.__struct_fields__))
    if unknown:
        raise TypeError(f"find: an event has no field {', '.join(unknown)}")
    return [event for event in events if all(getattr(event, name) == value for name, value in fields.items())]


class _Recorder(Intake):
    """Stands where ``track`` finds a client's delivery, and has what it uses of one; nothing ever waits here."""

    def __init__(self, *, is_strict: bool, is_enabled: bool, on_error: Listener | None) -> None:
        self._lock = threading.RLock()
        self.events: list[RecordedEvent] = []
        self.tracked = 0
        self.ids = EventIds()
        self.counts = Counts(on_error)
        super().__init__(is_enabled=is_enabled, is_strict=is_strict)

    @property
    def queue(self) -> _Recorder:
        """Where events are left."""
        return self

    def put(self, payload: bytes) -> bool:
        """Keep an event; nobody is to be woken."""
        event = msgspec.json.decode(payload, type=RecordedEvent)
        with self._lock:
            self.events.append(event)
            self.tracked += 1
        return False


class _Recording:
    """What both recording clients have."""

    def __init__(self, *, strict: bool = True, on_error: Listener | None = None, enabled: bool = True) -> None:
        self._recorder = _Recorder(is_strict=strict, is_enabled=enabled, on_error=on_error)

    @property
    def _delivery(self) -> Delivery:
        return cast(Delivery, self._recorder)

    track = track

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        """All events, in the order in which they were tracked."""
        return tuple(self._recorder.events)

    def find(self, **fields: Any) -> list[RecordedEvent]:
        """Find the events with all of these fields.

        Raises:
            TypeError: An event has no such field.
        """
        return find_events(self.events, fields)

    def clear(self) -> None:
        """Forget all events; ``stats()`` goes on counting them."""
        self._recorder.events.clear()

    def stats(self) -> Stats:
        """Say what became of events: those that are kept count as sent."""
        recorder = self._recorder
        return Stats(
            tracked=recorder.tracked,
            sent=recorder.tracked,
            refused=recorder.counts.refusals(),
            lost=recorder.counts.losses(),
            listener_faults=recorder.counts.listener_faults,
        )


class RecordingClient(_Recording):
    """Stands in for :class:`~castledger.Castledger` where nothing but events is wanted of it, and keeps them.

    Args:
        strict: Whether ``track`` raises what it refuses.
        on_error: As of the client.
        enabled: As of the client.
    """

    def __enter__(self) -> RecordingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def flush(self, timeout: float = 10.0) -> bool:
        """Nothing waits: always ``True``."""
        return True

    def close(self, timeout: float = 5.0) -> None:
        """Take no more events; those that there are stay."""
        self._recorder.is_taking = False


class AsyncRecordingClient(_Recording):
    """Stands in for :class:`~castledger.AsyncCastledger` likewise."""

    async def __aenter__(self) -> AsyncRecordingClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def flush(self, timeout: float = 10.0) -> bool:  # noqa: ASYNC109 - as the client has it
        """Nothing waits: always ``True``."""
        return True

    async def aclose(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - as the client has it
        """Take no more events; those that there are stay."""
        self._recorder.is_taking = False


class Refusal(NamedTuple):
    """What a test wants to become of the next events of a type."""

    type: str | None
    status: int
    code: str


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]
    sent_at: Instant | None = None
    library: str | None = None
    lost: dict[str, int] = {}


class Collector:
    """Events that arrived, each id once."""

    def __init__(self, clock: Callable[[], dt.datetime]) -> None:
        self._clock = clock
        self._ids = EventIds()
        self.events: dict[UUID, RecordedEvent] = {}
        self.lost: Counter[str] = Counter()
        self.refusals: list[Refusal] = []

    def take(self, request: httpx.Request) -> httpx.Response:
        """Answer ``POST /api/v1/attribution/events``.

        Raises:
            Problem: The request as a whole is refused.
        """
        body = _read_body(request)
        try:
            envelope = msgspec.json.decode(body, type=_Envelope)
            known = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except UNREADABLE as error:
            code = "invalid" if isinstance(error, msgspec.ValidationError) else "malformed_json"
            raise Problem(400, code, f"the body is no batch of events: {error}") from error
        if len(envelope.events) > _MAX_EVENTS:
            raise Problem(413, "too_many_events", f"a request holds at most {_MAX_EVENTS} events")
        ignored = known.keys() - _ENVELOPE
        received_at = self._clock()
        offset = dt.timedelta() if envelope.sent_at is None else received_at - envelope.sent_at
        if abs(offset.total_seconds()) <= _OFFSET_S:
            offset = dt.timedelta()
        results = [
            self._judge(number, bytes(raw), received_at, offset, ignored) for number, raw in enumerate(envelope.events)
        ]
        self.lost.update(envelope.lost)
        accepted = sum(result["status"] == 202 for result in results)
        refused = len(results) - accepted
        return answer(
            202, {"results": results, "accepted": accepted, "refused": refused, "ignored": sorted(ignored)[:20]}
        )

    def _judge(
        self, number: int, raw: bytes, received_at: dt.datetime, offset: dt.timedelta, ignored: set[str]
    ) -> dict[str, Any]:
        if len(raw) > MAX_EVENT_BYTES:
            return {"event_id": None, "status": 413, "code": "event_too_large"}
        event_id: str | None = None
        try:
            try:
                given = msgspec.json.decode(raw, type=dict[str, Any])
            except UNREADABLE as error:
                raise EventRefused("", "invalid", f"an event is an object: {error}") from error
            ignored |= given.keys() - set(_FIELDS)
            if given.get("event_id") is None:
                raise EventRefused("event_id", "missing", "event_id: is required")
            try:
                event_id = str(msgspec.convert(given["event_id"], UUID))
            except msgspec.ValidationError:
                raise EventRefused("event_id", "invalid", "event_id: has to be a UUID") from None
            event = self._read(given, received_at, offset)
        except EventRefused as error:
            pointer = "/".join((f"/events/{number}", *error.field.split(".", 1))).rstrip("/")
            fault = {"pointer": pointer, "code": _RULE_CODES.get(error.code, "invalid"), "message": str(error)}
            return {"event_id": event_id, "status": 422, "code": "validation_failed", "errors": [fault]}
        for refusal in self.refusals:
            if refusal.type in (None, event.type):
                self.refusals.remove(refusal)
                return {"event_id": event_id, "status": refusal.status, "code": refusal.code}
        self.events.setdefault(event.event_id, event)
        return {"event_id": event_id, "status": 202}

    def _read(self, given: Mapping[str, Any], received_at: dt.datetime, offset: dt.timedelta) -> RecordedEvent:
        fields = {name: given.get(name) for name in _FIELDS}
        if fields["occurred_at"] is not None:
            try:
                at = msgspec.convert(fields["occurred_at"], dt.datetime)
                # One without a time zone is refused below.
                fields["occurred_at"] = at if at.utcoffset() is None else at + offset
            except (msgspec.ValidationError, OverflowError):
                raise EventRefused("occurred_at", "invalid", "occurred_at: is no instant of RFC 3339") from None
        payload = encode_event(Event(**fields), ids=self._ids, now=received_at)
        return msgspec.json.decode(payload, type=RecordedEvent)


def _read_body(request: httpx.Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Problem(415, "unsupported_media_type", "events are sent as application/json")
    body = request.read()
    encoding = request.headers.get("content-encoding", "identity")
    if encoding == "gzip":
        try:
            body = zlib.decompressobj(wbits=31).decompress(body, _MAX_BATCH_BYTES + 1)
        except zlib.error as error:
            raise Problem(400, "malformed_encoding", f"the body is not gzip: {error}") from error
    elif encoding != "identity":
        raise Problem(415, "unsupported_encoding", "this server of tests reads gzip and plain bodies alone")
    if len(body) > _MAX_BATCH_BYTES:
        raise Problem(413, "too_large", f"a body has at most {_MAX_BATCH_BYTES} bytes")
    return body


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
