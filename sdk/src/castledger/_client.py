"""The two clients: one blocks, the other is for asyncio."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from castledger._delivery import ThreadDelivery, track
from castledger._requests import (
    Answer,
    AsyncItems,
    Call,
    EventOptions,
    Items,
    Options,
    Paged,
    RetryPolicy,
    read_answer,
    read_proxy,
)
from castledger._worker import Listener, Stats
from castledger.analytics import Analytics, AsyncAnalytics
from castledger.attribution import AsyncAttribution, AsyncConversions, Attribution, Conversions
from castledger.episodes import AsyncEpisodes, Episodes
from castledger.keys import AsyncKeys, Keys
from castledger.links import AsyncLinks, Links
from castledger.podcasts import AsyncPodcasts, Podcasts
from castledger.reports import AsyncReports, Reports
from castledger.sponsorship import (
    AdSlots,
    AsyncAdSlots,
    AsyncCampaigns,
    AsyncInsertionOrders,
    AsyncPromoCodes,
    AsyncSponsors,
    Campaigns,
    InsertionOrders,
    PromoCodes,
    Sponsors,
)

# Imported where a client is made: see _requests.
if TYPE_CHECKING:
    import httpx

__all__ = ("AsyncCastledger", "Castledger")

T = TypeVar("T")


class Castledger:
    """The API of one Castledger installation, for one API key.

    Args:
        api_key: ``cl_live_…`` or a token; by default the environment's ``CASTLEDGER_API_KEY``.
        base_url: The API's address; by default ``CASTLEDGER_API_URL``, else this machine's port 8000.
        collector_url: Where events go; by default ``CASTLEDGER_COLLECTOR_URL``, else this machine's port 8001.
        timeout: Seconds for each step of a request: to connect, and for every wait for data.
        max_retries: How often a request is repeated after a failure that may pass; a write carries an
            ``Idempotency-Key``, so that it is done once all the same. None is repeated before the time that the API
            asks for; where that is more than 30 s away, the error is raised with it as ``retry_after``.
        proxy: The address of a proxy, such as ``http://proxy.example.com:3128``; by default what ``HTTPS_PROXY``,
            ``HTTP_PROXY`` and ``NO_PROXY`` say.
        transport: How requests are made, for tests and what a proxy's address cannot say.
        sleep: How to wait between tries.
        queue_size: Events that wait in memory at most; what comes on top is dropped and counted. 32 MiB at most.
        batch_size: Events of a request at most, up to 500.
        flush_interval: Seconds that an event waits at most for others.
        spool_dir: A folder in which events outlive the process until they are sent; several processes may share it.
        spool_mb: What its files hold at most.
        on_error: Given an :class:`EventRefused`, :class:`EventsLost` or :class:`EventsHeldUp`; what it raises is
            swallowed and counted.
        strict: Whether ``track`` raises what it refuses, for tests.
        enabled: Whether events are taken at all; otherwise ``track`` does nothing.
        collector_transport: How events are sent, for proxies and tests.

    Raises:
        ConfigurationError: Something of this cannot work.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        collector_url: str | None = None,
        timeout: float = 10.0,
        max_retries: int = 2,
        proxy: str | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], object] = time.sleep,
        queue_size: int = 10_000,
        batch_size: int = 100,
        flush_interval: float = 2.0,
        spool_dir: str | os.PathLike[str] | None = None,
        spool_mb: int = 64,
        on_error: Listener | None = None,
        strict: bool = False,
        enabled: bool = True,
        collector_transport: httpx.BaseTransport | None = None,
    ) -> None:
        import httpx

        self._options = Options.read(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=max_retries)
        events = EventOptions(
            self._options,
            collector_url=collector_url,
            queue_size=queue_size,
            batch_size=batch_size,
            flush_interval=flush_interval,
            spool_dir=spool_dir,
            spool_mb=spool_mb,
            is_strict=strict,
            is_enabled=enabled,
        )
        tls = httpx.create_ssl_context()
        self._delivery = ThreadDelivery(events, on_error, tls=tls, transport=collector_transport)
        weakref.finalize(self, self._delivery.retire).atexit = False
        self._retries = RetryPolicy(self._options.max_retries)
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=self._options.base_url,
            headers=self._options.headers(),
            timeout=timeout,
            proxy=read_proxy(proxy, has_transport=transport is not None),
            verify=tls,
            transport=transport,
        )
        self.podcasts = Podcasts(self)
        self.sponsors = Sponsors(self)
        self.insertion_orders = InsertionOrders(self)
        self.campaigns = Campaigns(self)
        self.ad_slots = AdSlots(self)
        self.promo_codes = PromoCodes(self)
        self.conversions = Conversions(self)
        self.reports = Reports(self)
        self.episodes = Episodes(self)
        self.analytics = Analytics(self)
        self.attribution = Attribution(self)
        self.links = Links(self)
        self.keys = Keys(self)

    def __repr__(self) -> str:
        return f"Castledger({self._options!r})"

    def __enter__(self) -> Castledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    track = track

    def flush(self, timeout: float = 10.0) -> bool:
        """Send all events that wait, for *timeout* seconds at most.

        Returns:
            Whether none waits any more; ``False`` at once when the collector asked for a longer pause.
        """
        return self._delivery.flush(timeout)

    def stats(self) -> Stats:
        """Say what became of the events of this process."""
        return self._delivery.stats()

    def close(self, timeout: float = 5.0) -> None:
        """Send what waits, for *timeout* seconds at most, take no more events, and close the connections."""
        self._delivery.close(timeout)
        self._http.close()

    def _try(self, call: Call[Any]) -> Answer:
        import httpx

        try:
            return self._http.request(
                call.method, call.path, params=call.params, content=call.content, headers=call.headers
            )
        except httpx.HTTPError as error:
            return error

    def send(self, call: Call[T]) -> T:
        """Make a request and read its answer; for routes that have no method here yet.

        Raises:
            APIError: The API refused.
            APIConnectionError: No answer came.
            UnexpectedAnswer: What answered is not the API, or not in its form.
        """
        retries = 0
        while True:
            answer = self._try(call)
            wait_s = self._retries.wait_s(call, answer, retries=retries)
            retries += 1
            if wait_s is None:
                read = read_answer(call, answer, base_url=self._options.base_url)
                wait_s = call.pause_s(read)
                if wait_s is None:
                    return read
                # What is waited for was read, and is not done.
                retries = 0
            self._sleep(wait_s)

    def pages(self, paged: Paged[T]) -> Items[T]:
        """Go through a list, page by page; for routes that have no method here yet."""
        return Items(self.send, paged)


async def sleep(seconds: float) -> None:
    """Wait; imports asyncio as late as all that needs it here."""
    import asyncio

    await asyncio.sleep(seconds)


class AsyncCastledger:
    """The API of one Castledger installation, for one API key.

    Args:
        api_key: ``cl_live_…`` or a token; by default the environment's ``CASTLEDGER_API_KEY``.
        base_url: The API's address; by default ``CASTLEDGER_API_URL``, else this machine's port 8000.
        collector_url: Where events go; by default ``CASTLEDGER_COLLECTOR_URL``, else this machine's port 8001.
        timeout: Seconds for each step of a request: to connect, and for every wait for data.
        max_retries: How often a request is repeated after a failure that may pass; a write carries an
            ``Idempotency-Key``, so that it is done once all the same. None is repeated before the time that the API
            asks for; where that is more than 30 s away, the error is raised with it as ``retry_after``.
        proxy: The address of a proxy, such as ``http://proxy.example.com:3128``; by default what ``HTTPS_PROXY``,
            ``HTTP_PROXY`` and ``NO_PROXY`` say.
        transport: How requests are made, for tests and what a proxy's address cannot say.
        sleep: How to wait between tries.
        queue_size: Events that wait in memory at most; what comes on top is dropped and counted. 32 MiB at most.
        batch_size: Events of a request at most, up to 500.
        flush_interval: Seconds that an event waits at most for others.
        spool_dir: A folder in which events outlive the process until they are sent; several processes may share it.
        spool_mb: What its files hold at most.
        on_error: Given an :class:`EventRefused`, :class:`EventsLost` or :class:`EventsHeldUp`; what it raises is
            swallowed and counted.
        strict: Whether ``track`` raises what it refuses, for tests.
        enabled: Whether events are taken at all; otherwise ``track`` does nothing.
        collector_transport: How events are sent, for proxies and tests.

    Raises:
        ConfigurationError: Something of this cannot work.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        collector_url: str | None = None,
        timeout: float = 10.0,
        max_retries: int = 2,
        proxy: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = sleep,
        queue_size: int = 10_000,
        batch_size: int = 100,
        flush_interval: float = 2.0,
        spool_dir: str | os.PathLike[str] | None = None,
        spool_mb: int = 64,
        on_error: Listener | None = None,
        strict: bool = False,
        enabled: bool = True,
        collector_transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        import httpx

        from castledger._task import TaskDelivery

        self._options = Options.read(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=max_retries)
        events = EventOptions(
            self._options,
            collector_url=collector_url,
            queue_size=queue_size,
            batch_size=batch_size,
            flush_interval=flush_interval,
            spool_dir=spool_dir,
            spool_mb=spool_mb,
            is_strict=strict,
            is_enabled=enabled,
        )
        tls = httpx.create_ssl_context()
        self._delivery = TaskDelivery(events, on_error, tls=tls, transport=collector_transport)
        self._retries = RetryPolicy(self._options.max_retries)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            base_url=self._options.base_url,
            headers=self._options.headers(),
            timeout=timeout,
            proxy=read_proxy(proxy, has_transport=transport is not None),
            verify=tls,
            transport=transport,
        )
        self.podcasts = AsyncPodcasts(self)
        self.sponsors = AsyncSponsors(self)
        self.insertion_orders = AsyncInsertionOrders(self)
        self.campaigns = AsyncCampaigns(self)
        self.ad_slots = AsyncAdSlots(self)
        self.promo_codes = AsyncPromoCodes(self)
        self.conversions = AsyncConversions(self)
        self.reports = AsyncReports(self)
        self.episodes = AsyncEpisodes(self)
        self.analytics = AsyncAnalytics(self)
        self.attribution = AsyncAttribution(self)
        self.links = AsyncLinks(self)
        self.keys = AsyncKeys(self)

    def __repr__(self) -> str:
        return f"AsyncCastledger({self._options!r})"

    async def __aenter__(self) -> AsyncCastledger:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    track = track

    async def flush(self, timeout: float = 10.0) -> bool:  # noqa: ASYNC109 - the blocking client's surface
        """Send all events that wait, for *timeout* seconds at most.

        Returns:
            Whether none waits any more; ``False`` at once when the collector asked for a longer pause.
        """
        return await self._delivery.flush_async(timeout)

    def stats(self) -> Stats:
        """Say what became of the events of this process."""
        return self._delivery.stats()

    async def aclose(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109 - the blocking client's surface
        """Send what waits, for *timeout* seconds at most, take no more events, and close the connections."""
        await self._delivery.close_async(timeout)
        await self._http.aclose()

    async def _try(self, call: Call[Any]) -> Answer:
        import httpx

        try:
            return await self._http.request(
                call.method, call.path, params=call.params, content=call.content, headers=call.headers
            )
        except httpx.HTTPError as error:
            return error

    async def send(self, call: Call[T]) -> T:
        """Make a request and read its answer; for routes that have no method here yet.

        Raises:
            APIError: The API refused.
            APIConnectionError: No answer came.
            UnexpectedAnswer: What answered is not the API, or not in its form.
        """
        retries = 0
        while True:
            answer = await self._try(call)
            wait_s = self._retries.wait_s(call, answer, retries=retries)
            retries += 1
            if wait_s is None:
                read = read_answer(call, answer, base_url=self._options.base_url)
                wait_s = call.pause_s(read)
                if wait_s is None:
                    return read
                # What is waited for was read, and is not done.
                retries = 0
            await self._sleep(wait_s)

    def pages(self, paged: Paged[T]) -> AsyncItems[T]:
        """Go through a list, page by page; for routes that have no method here yet."""
        return AsyncItems(self.send, paged)
