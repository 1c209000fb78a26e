"""What all requests of one collector share, and what becomes of the events of one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from litestar import Request

from analytics_core.addresses import UNSPECIFIED, TrustedNetworks, client_address
from analytics_core.clock import Clock, SystemClock
from analytics_core.errors import Unauthenticated
from analytics_core.events import EventRecord
from analytics_core.hits import MAX_AGENT_BYTES
from analytics_core.registry_reader import RegistryReader
from analytics_core.replay import REPLAY_TIME_HEADER, replay_time_us
from analytics_core.settings import CollectorSettings, SyncMode
from analytics_core.spool_writer import SpoolWriter
from ingest.collector.callers import Caller, Headers, find_caller, header_of, headers_of, key_of
from ingest.collector.limits import WRONG_COST, Limits
from ingest.collector.metrics import CollectorMetrics
from ingest.collector.problems import Refused
from ingest.collector.recording import Recorder

__all__ = ("Collector", "Sender")

_RETRY_S = 5


class Sender(NamedTuple):
    """Who sent a request, and from where.

    Attributes:
        address: Of a browser; ``UNSPECIFIED`` for a server, whose address says nothing about anybody.
        agent: Of a browser.
    """

    caller: Caller
    address: bytes
    agent: str


class Collector:
    """One collector process.

    Args:
        settings: The collector's.
        writer: Its spool, opened.
        reader: Its registry.
        clock: When events are received.
        is_replay: Whether requests may say when they were made; no event is too old then.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        writer: SpoolWriter,
        reader: RegistryReader,
        *,
        clock: Clock | None = None,
        is_replay: bool = False,
    ) -> None:
        self.clock = clock or SystemClock()
        self.is_replay = is_replay
        self.writer = writer
        self.reader = reader
        self.recorder = Recorder(writer, holds_answers=settings.sync is SyncMode.ALWAYS)
        self.metrics = CollectorMetrics(writer, reader)
        self.limits = Limits(settings, now_us=lambda: time.monotonic_ns() // 1000, on_limited=self.metrics.note_limited)
        self._trusted = TrustedNetworks(settings.trusted_proxies)

    def not_ready(self) -> list[str]:
        """List what keeps events from being taken; safe to be asked in another thread."""
        faults = []
        if self.writer.fault is not None:
            faults.append(f"spool: {self.writer.fault}")
        elif self.writer.reserve.is_wanted and not self.writer.reserve.is_held():
            faults.append("spool: the disk is nearly full, the reserve is used up or could not be taken")
        if self.reader.fault is not None:
            faults.append(f"registry: {self.reader.fault}")
        return faults

    def received_us(self, headers: Headers) -> int:
        """Say when a request was received: now, or in a replay when it says so itself.

        Raises:
            Refused: The time that it says is none (400).
        """
        said = header_of(headers, REPLAY_TIME_HEADER) if self.is_replay else b""
        if not said:
            return self.clock.now_us()
        replayed_us = replay_time_us(said)
        if replayed_us is None:
            raise Refused(
                400, "replay_time_invalid", "Castledger-Replay-Time has to be microseconds since 1970-01-01 UTC"
            )
        return replayed_us

    def identify(self, request: Request[Any, Any, Any]) -> Sender:
        """Find out who sent a request, and have it pay where no secret key vouches for it.

        Raises:
            Unauthenticated: It shows no valid key.
            Forbidden: The key's tenant takes no events.
            Refused: Its network sends too much (429), or no registry was read yet (503).
        """
        headers = request.scope["headers"]
        if self.reader.is_absent:
            # Any key may be a good one; who waits loses nothing.
            raise self.unavailable("no key is known here yet: the registry is missing")
        address = self._address_of(request)
        try:
            key = key_of(headers, request.scope["query_string"])
            caller = find_caller(self.reader.registry.keys, key, now_us=self.clock.now_us())
        except Unauthenticated:
            self.limits.charge_network(address, WRONG_COST)
            raise
        if not caller.is_browser:
            return Sender(caller, UNSPECIFIED, "")
        self.limits.charge_network(address)
        agent = header_of(headers, b"user-agent")[:MAX_AGENT_BYTES].decode(errors="replace")
        return Sender(caller, address, agent)

    async def record(self, sender: Sender, records: Sequence[EventRecord], *, received_us: int) -> None:
        """Charge a key for its events, and write them.

        Raises:
            Refused: The key sends too much (429), or nothing can be recorded (503).
        """
        if not records:
            return
        self.limits.charge_key(sender.caller.key_hash, len(records))
        if not await self.recorder.record(records, received_us=received_us, address=sender.address):
            raise self.unavailable("events cannot be recorded at the moment")
        self.metrics.note_events(records[0].source, len(records))

    def unavailable(self, message: str) -> Refused:
        """Make the refusal of what may be taken in a while."""
        return Refused(503, "unavailable", message, headers={"Retry-After": str(_RETRY_S)})

    def _address_of(self, request: Request[Any, Any, Any]) -> bytes:
        client = request.scope.get("client")
        forwarded = headers_of(request.scope["headers"], b"x-forwarded-for")
        return client_address(client[0] if client else "", forwarded, self._trusted)
