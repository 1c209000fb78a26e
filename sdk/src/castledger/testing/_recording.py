"""Events as tests see them, and clients that keep them instead of sending them."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, cast
from uuid import UUID

import msgspec

from castledger._delivery import Delivery
from castledger._errors import EventRefused
from castledger._events import EventIds
from castledger._stats import Counts, Listener, Stats
from castledger._tracking import track

__all__ = ("AsyncRecordingClient", "RecordedEvent", "RecordingClient", "find_events")


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
