"""How a batch is sent: once, with an answer of bounded size, and without ever raising what the host would see."""

from __future__ import annotations

import datetime as dt
from typing import Final

import httpx

from castledger._retries import retry_after_s
from castledger._stats import Counts
from castledger._wire import PATH, encode_body
from castledger._worker import Post, Reply

__all__ = ("post", "post_async")

# 500 verdicts with some faults each come to a tenth of this.
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
# Unpacked answers are bounded more easily.
_HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity"}


class _TooLong(Exception):
    """Something answers without end."""


def _request(http: httpx.Client | httpx.AsyncClient, step: Post, lost: dict[str, int]) -> httpx.Request:
    content = encode_body(step.payloads, sent_at=dt.datetime.now(dt.UTC), lost=lost)
    return http.build_request("POST", PATH, content=content, headers=_HEADERS)


def _bounded(body: bytearray, chunk: bytes) -> None:
    body += chunk
    if len(body) > _MAX_ANSWER_BYTES:
        raise _TooLong


def _reply(response: httpx.Response, body: bytearray, counts: Counts, lost: dict[str, int]) -> Reply:
    if response.is_success:
        counts.collector_knows(lost)
    return Reply(response.status_code, bytes(body), retry_after_s(response))


def post(http: httpx.Client, step: Post, counts: Counts) -> Reply | str:
    """Send a batch.

    Returns:
        The answer, or the kind of error when none came: a transport of the host's may raise anything.
    """
    lost = counts.for_collector()
    body = bytearray()
    try:
        response = http.send(_request(http, step, lost), stream=True)
        try:
            for chunk in response.iter_bytes():
                _bounded(body, chunk)
        finally:
            response.close()
        return _reply(response, body, counts, lost)
    except Exception as error:
        return type(error).__name__


async def post_async(http: httpx.AsyncClient, step: Post, counts: Counts) -> Reply | str:
    """Send a batch, as :func:`post` does."""
    lost = counts.for_collector()
    body = bytearray()
    try:
        response = await http.send(_request(http, step, lost), stream=True)
        try:
            async for chunk in response.aiter_bytes():
                _bounded(body, chunk)
        finally:
            await response.aclose()
        return _reply(response, body, counts, lost)
    except Exception as error:
        return type(error).__name__
