"""Events in tests: kept by clients that send none, and taken by the in-memory server's collector."""

from __future__ import annotations

import datetime as dt
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Annotated, Any, Final, NamedTuple, cast
from uuid import UUID

import httpx
import msgspec

from castledger._delivery import Delivery, track
from castledger._errors import EventRefused
from castledger._events import MAX_EVENT_BYTES, Event, EventIds, encode_event
from castledger._queue import Counts, Listener, Stats
from castledger.testing._api import Problem, answer

__all__ = ("AsyncRecordingClient", "Collector", "RecordedEvent", "RecordingClient", "Refusal", "find_events")


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
    """Find the events whose fields are all as given.

    Raises:
        TypeError: A name is no field of an event; a slip must not look like an event that is missing.
    """
    unknown = sorted(fields.keys() - set(RecordedEvent.__struct_fields__))
    if unknown:
        raise TypeError(f"find: an event has no field {', '.join(unknown)}")
    return [event for event in events if all(getattr(event, name) == value for name, value in fields.items())]


class _Recorder:
    """Stands where ``track`` finds a client's delivery, and has what it uses of one; nothing ever waits here."""

    def __init__(self, *, is_strict: bool, is_enabled: bool, on_error: Listener | None) -> None:
        self._lock = threading.RLock()
        self.events: list[RecordedEvent] = []
        self.tracked = 0
        self.is_taking = is_enabled
        self.ids = EventIds()
        self.counts = Counts(on_error)
        self._is_strict = is_strict
        self._is_enabled = is_enabled

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

    def turn_away(self) -> None:
        """Count an event that came after the end."""
        if self._is_enabled:
            self.counts.lose("closed")
            self.counts.tell_of_losses()

    def refuse(self, error: Exception) -> None:
        """Count an event that is out of bounds.

        Raises:
            EventRefused: The client is strict.
        """
        if not isinstance(error, EventRefused):
            error = EventRefused("event", "invalid", f"event: cannot be read ({type(error).__name__})")
        self.counts.refuse(error)
        if self._is_strict:
            raise error


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


_MAX_BODY_BYTES: Final = 2 * 1024 * 1024
_MAX_EVENTS: Final = 500
_ENVELOPE: Final = frozenset(("sent_at", "library", "lost", "events"))
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# The client's words for what is wrong, and the collector's where it has any but "invalid".
_CODES: Final = {
    "in_future": "too_new",
    "missing": "missing",
    "naive": "naive_time",
    "too_many": "too_many",
    "too_old": "too_old",
}
_FIELDS: Final = Event.__struct_fields__
# A clock that is off by less is let be.
_OFFSET_S: Final = 5.0


class Refusal(NamedTuple):
    """What a test wants to become of the next events of a type."""

    type: str | None
    status: int
    code: str


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]
    sent_at: Annotated[dt.datetime, msgspec.Meta(tz=True)] | None = None
    library: str | None = None
    lost: dict[str, int] = {}


class Collector:
    """Events that arrived, each id once.

    Attributes:
        events: By id, in the order in which they arrived.
        lost: What clients said that they had lost, by reason.
        refusals: What is to be refused before anything is looked at.
    """

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
        except _UNREADABLE as error:
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
            except _UNREADABLE as error:
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
            fault = {"pointer": pointer, "code": _CODES.get(error.code, "invalid"), "message": str(error)}
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
            body = zlib.decompressobj(wbits=31).decompress(body, _MAX_BODY_BYTES + 1)
        except zlib.error as error:
            raise Problem(400, "malformed_encoding", f"the body is not gzip: {error}") from error
    elif encoding != "identity":
        raise Problem(415, "unsupported_encoding", "this server of tests reads gzip and plain bodies alone")
    if len(body) > _MAX_BODY_BYTES:
        raise Problem(413, "too_large", f"a body has at most {_MAX_BODY_BYTES} bytes")
    return body
