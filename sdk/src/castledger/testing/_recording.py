"""Events as tests see them, and clients that keep them instead of sending them."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final
from uuid import UUID

import msgspec

from castledger._delivery import Delivery
from castledger._event_options import EventOptions
from castledger._options import Options
from castledger._stats import Listener, Stats
from castledger._tracking import track

__all__ = ("AsyncRecordingClient", "RecordedEvent", "RecordingClient", "find_events")

# Nothing is ever sent there.
_NOWHERE: Final = "http://castledger.test"
_KEY: Final = "cl_live_" + "r" * 38


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


class _Recorder(Delivery):
    """Keeps what other deliveries send; each event as soon as it is tracked."""

    def __init__(self, options: EventOptions, on_error: Listener | None) -> None:
        self._lock = threading.RLock()
        self.events: list[RecordedEvent] = []
        super().__init__(options, on_error)

    def wake(self) -> None:
        """Keep what waits."""
        # Whoever has woken this sees its event afterwards, also when another thread took it.
        with self._lock:
            while taken := self.queue.take(1):
                self.events.append(msgspec.json.decode(taken[0], type=RecordedEvent))

    def stats(self) -> Stats:
        """What is kept counts as sent."""
        stats = super().stats()
        return msgspec.structs.replace(stats, queued=0, sent=stats.tracked)

    def close(self, timeout: float) -> None:
        """Take no more events."""
        self.is_taking = False


class _Recording:
    """What both recording clients have."""

    def __init__(self, *, strict: bool = True, on_error: Listener | None = None, enabled: bool = True) -> None:
        options = Options.read(api_key=_KEY, base_url=_NOWHERE, timeout=1.0, max_retries=0)
        events = EventOptions(options, collector_url=_NOWHERE, is_strict=strict, is_enabled=enabled)
        self._delivery = _Recorder(events, on_error)

    track = track

    @property
    def events(self) -> tuple[RecordedEvent, ...]:
        """All events, in the order in which they were tracked."""
        return tuple(self._delivery.events)

    def find(self, **fields: Any) -> list[RecordedEvent]:
        """Find the events with all of these fields.

        Raises:
            TypeError: An event has no such field.
        """
        return find_events(self.events, fields)

    def clear(self) -> None:
        """Forget all events; ``stats()`` goes on counting them."""
        self._delivery.events.clear()

    def stats(self) -> Stats:
        """Say what became of events: those that are kept count as sent."""
        return self._delivery.stats()


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
        self._delivery.close(timeout)


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
        self._delivery.close(timeout)
