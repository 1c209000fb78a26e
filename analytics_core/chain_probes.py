"""Go the way from an enclosure's address to its file, hop by hop, as a player goes it, and take one byte at the end.

Redirects are asked with HEAD, which no counting rule takes for a download, and the end with GET for one byte, which is
too little for one; our user agent says that we are a robot.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urljoin

import httpx

from analytics_core.errors import InvalidInput
from analytics_core.feed_checks import Chain, Hop
from analytics_core.guarded_http import MayReach, Resolver, open_client, pin, pinned_request, resolve, split_url

__all__ = ("MAX_REDIRECTS", "follow_chain", "follow_chains")

MAX_REDIRECTS: Final = 20
"""No player that we know of follows more."""

_AGENT: Final = "Castledger/0.1 (podcast feed check; bot)"
_HEADERS: Final = {"User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
_ONE_BYTE: Final = {**_HEADERS, "Range": "bytes=0-0"}
_TOTAL: Final = re.compile(r"bytes 0-0/(\d{1,15})")


class _Ended(Exception):
    """The way ended early."""

    def __init__(self, code: str, detail: str, hop: Hop | None = None, *, is_late: bool = False) -> None:
        self.code = code
        self.detail = detail
        self.hop = hop
        self.is_late = is_late
        super().__init__(detail)


class _Asker:
    def __init__(self, client: httpx.AsyncClient, timeout_s: float, resolver: Resolver, may_reach: MayReach) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._resolver = resolver
        self._may_reach = may_reach

    async def ask(self, url: str) -> tuple[httpx.Response, Hop]:
        """Find out where an address leads; what redirects is asked with HEAD alone."""
        try:
            response, hop = await self._ask("HEAD", url)
        except _Ended as ended:
            if ended.code != "hop_failed" or ended.is_late:
                raise
            # There are hosts that hang up on HEAD.
            return await self._ask("GET", url)
        if response.has_redirect_location:
            return response, hop
        # Players never send HEAD, and hosts answer it as they like: what GET is told decides.
        return await self._ask("GET", url)

    async def _ask(self, method: str, url: str) -> tuple[httpx.Response, Hop]:
        """Ask and read no more than the answer's head."""
        headers = _ONE_BYTE if method == "GET" else _HEADERS
        start = time.perf_counter()

        def hop(status: int | None) -> Hop:
            return Hop(url=url, status=status, ms=int((time.perf_counter() - start) * 1000))

        try:
            async with asyncio.timeout(self._timeout_s):
                where = split_url(url)
                address = await pin(where.host, where.port, resolver=self._resolver, may_reach=self._may_reach)
                response = await self._client.send(
                    pinned_request(self._client, method, url, address, headers), stream=True
                )
                await response.aclose()
        except InvalidInput as error:
            code = error.code if error.code == "address_not_public" else "hop_failed"
            raise _Ended(code, error.reason, hop(None)) from error
        except TimeoutError as error:
            raise _Ended("hop_failed", f"no answer within {self._timeout_s:g} s", hop(None), is_late=True) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            raise _Ended(
                "hop_failed", f"it cannot be asked ({str(error) or type(error).__name__})", hop(None)
            ) from error
        return response, hop(response.status_code)


async def follow_chain(
    url: str,
    *,
    timeout_s: float,
    may_reach: MayReach,
    resolver: Resolver = resolve,
    context: ssl.SSLContext | None = None,
) -> Chain:
    """Follow redirects from an enclosure's address to its file.

    Every address of every hop has to be allowed, and the connection goes to the address that was checked.

    Args:
        url: An http or https address.
        timeout_s: How long one hop may take.
        may_reach: Whether an address may be connected to.
        resolver: Turns a host into addresses.
        context: Shared by several chains, since making one reads all certificates.

    Returns:
        The way; what ended it early is in its ``fault``.
    """
    hops: list[Hop] = []
    seen: set[str] = set()
    async with open_client(context) as client:
        asker = _Asker(client, timeout_s, resolver, may_reach)
        try:
            while True:
                if url in seen:
                    raise _Ended("too_many_redirects", f"it leads back to {url}")
                if len(hops) > MAX_REDIRECTS:
                    raise _Ended("too_many_redirects", f"more than {MAX_REDIRECTS} redirects")
                seen.add(url)
                response, hop = await asker.ask(url)
                hops.append(hop)
                if not response.has_redirect_location:
                    return _end(hops, response)
                try:
                    url = urljoin(url, response.headers["location"])
                except ValueError:
                    raise _Ended("hop_failed", "it redirects to what is no web address") from None
        except _Ended as ended:
            if ended.hop is not None:
                hops.append(ended.hop)
            return Chain(hops=tuple(hops), fault=ended.code, detail=ended.detail)


def _end(hops: list[Hop], response: httpx.Response) -> Chain:
    if response.status_code not in (200, 206, 416):
        return Chain(hops=tuple(hops), fault="hop_failed", detail=f"the host answered {response.status_code}")
    total = _TOTAL.fullmatch(response.headers.get("content-range", ""))
    if total is not None:
        length: int | None = int(total[1])
    else:
        stated = response.headers.get("content-length", "")
        length = int(stated) if response.status_code == 200 and re.fullmatch(r"\d{1,15}", stated) else None
    return Chain(
        hops=tuple(hops),
        range_status=response.status_code,
        length_bytes=length,
        media_type=response.headers.get("content-type", "").partition(";")[0].strip().lower() or None,
    )


async def follow_chains(
    urls: Iterable[str],
    *,
    timeout_s: float,
    may_reach: MayReach,
    concurrency: int = 4,
    resolver: Resolver = resolve,
    on_done: Callable[[str, Chain], None] | None = None,
) -> dict[str, Chain]:
    """Follow several chains, a few at a time.

    Args:
        urls: Addresses; each is followed once.
        timeout_s: How long one hop may take.
        may_reach: Whether an address may be connected to.
        concurrency: How many at a time, 1 or more.
        resolver: Turns a host into addresses.
        on_done: Told each chain as it ends.
    """
    context = httpx.create_ssl_context(trust_env=False)
    places = asyncio.Semaphore(concurrency)
    chains: dict[str, Chain] = {}

    async def follow(url: str) -> None:
        async with places:
            chain = await follow_chain(
                url, timeout_s=timeout_s, may_reach=may_reach, resolver=resolver, context=context
            )
        chains[url] = chain
        if on_done is not None:
            on_done(url, chain)

    async with asyncio.TaskGroup() as group:
        for url in dict.fromkeys(urls):
            group.create_task(follow(url))
    return chains
