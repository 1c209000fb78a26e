"""Fetch a feed from wherever somebody says it is, without being led into the operator's own network."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

import httpx
import msgspec

from analytics_core.errors import InvalidInput
from analytics_core.guarded_http import (
    MayReach,
    Resolver,
    is_public_address,
    open_client,
    pin,
    pinned_request,
    resolve,
    split_url,
)
from analytics_core.settings import FeedSettings

__all__ = ("Fetched", "NotModified", "fetch_feed", "read_feed_file")

MAX_REDIRECTS: Final = 5
_AGENT: Final = "Castledger/0.1 (podcast feed poll)"
_ACCEPT: Final = "application/rss+xml, application/xml;q=0.9, text/xml;q=0.9, */*;q=0.5"


class Fetched(msgspec.Struct, frozen=True):
    """A feed's bytes with what the next poll sends back; ``url`` is where permanent redirects led."""

    data: bytes
    url: str
    etag: str | None
    last_modified: str | None


class NotModified(msgspec.Struct, frozen=True):
    """The feed is what it was."""


def _refuse(code: str, reason: str) -> InvalidInput:
    return InvalidInput("feed_url", reason, code=code)


async def _read_bounded(response: httpx.Response, *, max_mb: int) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes(65536):
        data += chunk
        if len(data) > max_mb * 1024 * 1024:
            raise _refuse("feed_too_large", f"the feed is larger than {max_mb} MiB")
    return bytes(data)


async def _follow(
    client: httpx.AsyncClient,
    url: str,
    headers: dict[str, str],
    *,
    settings: FeedSettings,
    resolver: Resolver,
    may_reach: MayReach,
) -> Fetched | NotModified:
    for _ in range(MAX_REDIRECTS + 1):
        try:
            where = split_url(url)
            address = await pin(where.host, where.port, resolver=resolver, may_reach=may_reach)
        except InvalidInput as error:
            raise _refuse(f"feed_{error.code}", error.reason) from error
        response = await client.send(pinned_request(client, "GET", url, address, headers), stream=True)
        try:
            if response.is_redirect and "location" in response.headers:
                url = urljoin(url, response.headers["location"])
                continue
            if response.status_code == 304:
                return NotModified()
            if response.status_code != 200:
                raise _refuse("feed_status", f"the feed's host answered {response.status_code}")
            data = await _read_bounded(response, max_mb=settings.max_mb)
            return Fetched(data, url, response.headers.get("etag"), response.headers.get("last-modified"))
        finally:
            await response.aclose()
    raise _refuse("feed_redirects", f"more than {MAX_REDIRECTS} redirects")


async def fetch_feed(
    url: str,
    *,
    settings: FeedSettings,
    etag: str | None = None,
    last_modified: str | None = None,
    resolver: Resolver = resolve,
    may_reach: MayReach | None = None,
) -> Fetched | NotModified:
    """Fetch a feed.

    Every address of every host on the way has to be public (unless the settings allow others), the connection goes
    to the address that was checked, and size (after decompression) and time (over all redirects) are bounded.

    Args:
        url: An http or https address.
        settings: Limits, and whether private addresses are allowed.
        etag: Of the last answer; with it the host may say that nothing changed.
        last_modified: Likewise.
        resolver: Turns a host into addresses.
        may_reach: Whether an address may be connected to; by default what the settings say.

    Raises:
        InvalidInput: On ``feed_url``, with one of the codes ``feed_url_invalid``, ``feed_unreachable``,
            ``feed_address_not_public``, ``feed_redirects``, ``feed_status``, ``feed_too_large``, ``feed_timeout``.
    """
    allowed = may_reach or ((lambda _: True) if settings.allow_private else is_public_address)
    headers = {"User-Agent": _AGENT, "Accept": _ACCEPT, "Accept-Encoding": "gzip"}
    if etag:
        headers["If-None-Match"] = etag
    if last_modified:
        headers["If-Modified-Since"] = last_modified
    try:
        async with asyncio.timeout(settings.timeout_s), open_client() as client:
            return await _follow(client, url.strip(), headers, settings=settings, resolver=resolver, may_reach=allowed)
    except TimeoutError:
        raise _refuse("feed_timeout", f"the feed did not arrive within {settings.timeout_s} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _refuse("feed_unreachable", f"the feed cannot be fetched: {type(error).__name__}") from error


def read_feed_file(path: Path, *, settings: FeedSettings) -> bytes:
    """Read a feed from a file, within the same bound.

    Raises:
        InvalidInput: There is no such file, or it is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(settings.max_mb * 1024 * 1024 + 1)
    except OSError as error:
        raise _refuse("feed_unreachable", f"{path}: {error.strerror}") from error
    if len(data) > settings.max_mb * 1024 * 1024:
        raise _refuse("feed_too_large", f"{path} is larger than {settings.max_mb} MiB")
    return data
