"""The asynchronous client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

import httpx

from castledger._answers import read_answer
from castledger._options import Options, read_proxy
from castledger._paging import AsyncItems
from castledger._requests import Call, Paged
from castledger._retries import Answer, RetryPolicy
from castledger.analytics import AsyncAnalytics
from castledger.episodes import AsyncEpisodes
from castledger.keys import AsyncKeys
from castledger.links import AsyncLinks
from castledger.podcasts import AsyncPodcasts

__all__ = ("AsyncCastledger",)

T = TypeVar("T")


class AsyncCastledger:
    """The API of one Castledger installation, for one API key.

    Args:
        api_key: ``cl_live_…`` or a token; by default the environment's ``CASTLEDGER_API_KEY``.
        base_url: The API's address; by default ``CASTLEDGER_API_URL``, else this machine's port 8000.
        timeout: Seconds for each step of a request: to connect, and for every wait for data.
        max_retries: How often a request is repeated after a failure that may pass; a write carries an
            ``Idempotency-Key``, so that it is done once all the same. None is repeated before the time that the API
            asks for; where that is more than 30 s away, the error is raised with it as ``retry_after``.
        proxy: The address of a proxy, such as ``http://proxy.example.com:3128``; by default what ``HTTPS_PROXY``,
            ``HTTP_PROXY`` and ``NO_PROXY`` say.
        transport: How requests are made, for tests and what a proxy's address cannot say.
        sleep: How to wait between tries.

    Raises:
        ConfigurationError: Something of this cannot work.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float = 10.0,
        max_retries: int = 2,
        proxy: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._options = Options.read(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=max_retries)
        self._retries = RetryPolicy(self._options.max_retries)
        self._sleep = sleep
        self._http = httpx.AsyncClient(
            base_url=self._options.base_url,
            headers=self._options.headers(),
            timeout=timeout,
            proxy=read_proxy(proxy, has_transport=transport is not None),
            transport=transport,
        )
        self.podcasts = AsyncPodcasts(self)
        self.episodes = AsyncEpisodes(self)
        self.analytics = AsyncAnalytics(self)
        self.links = AsyncLinks(self)
        self.keys = AsyncKeys(self)

    def __repr__(self) -> str:
        return f"AsyncCastledger({self._options!r})"

    async def __aenter__(self) -> AsyncCastledger:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _try(self, call: Call[Any]) -> Answer:
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
            if wait_s is None:
                return read_answer(call, answer, base_url=self._options.base_url)
            await self._sleep(wait_s)
            retries += 1

    def pages(self, paged: Paged[T]) -> AsyncItems[T]:
        """Go through a list, page by page; for routes that have no method here yet."""
        return AsyncItems(self.send, paged)
