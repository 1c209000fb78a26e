"""Bodies of requests: bounded, in time as well, and uncompressed without believing how large they will be."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from litestar.types import Receive

from analytics_core.event_batches import MAX_BODY_BYTES
from ingest.collector.callers import Headers, header_of
from ingest.collector.problems import Refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ("read_body",)

_BODY_S: Final = 20.0
_GZIP: Final = 16 + zlib.MAX_WBITS
# Every decoder has 8 MiB of memory for a frame's window (RFC 8878, 3.1.1.1.2); a frame may ask for 2 GiB.
_ZSTD: Final[Mapping[int, int]] = {zstd.DecompressionParameter.window_log_max: 23}


def _too_large() -> Refused:
    return Refused(413, "too_large", f"a body has at most {MAX_BODY_BYTES} bytes, uncompressed: send more of them")


def _malformed(encoding: str) -> Refused:
    return Refused(400, "malformed_encoding", f"the body is not {encoding}, or not whole")


def _gunzip(data: bytes) -> bytes:
    decoder = zlib.decompressobj(_GZIP)
    try:
        plain = decoder.decompress(data, MAX_BODY_BYTES + 1)
    except zlib.error:
        raise _malformed("gzip") from None
    if len(plain) > MAX_BODY_BYTES:
        raise _too_large()
    if not decoder.eof or decoder.unused_data:
        raise _malformed("gzip")
    return plain


def _unzstd(data: bytes) -> bytes:
    decoder = zstd.ZstdDecompressor(options=_ZSTD)
    try:
        plain = decoder.decompress(data, MAX_BODY_BYTES + 1)
    except zstd.ZstdError:
        raise _malformed("zstd") from None
    if len(plain) > MAX_BODY_BYTES:
        raise _too_large()
    if not decoder.eof or decoder.unused_data:
        raise _malformed("zstd")
    return plain


_DECODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {"gzip": _gunzip, "zstd": _unzstd}


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """Read a body and uncompress it.

    Args:
        headers: Of the request.
        receive: Gives the body as it comes in.

    Raises:
        Refused: It is too large (413), takes too long (408), is compressed in a way that we do not know (415), or is
            not what it says, or not whole (400).
    """
    encoding = header_of(headers, b"content-encoding").strip().lower().decode("latin-1")
    decode = _DECODERS.get(encoding)
    if decode is None and encoding not in ("", "identity"):
        raise Refused(
            415,
            "unsupported_encoding",
            "a body may be sent as it is, or as gzip or zstd",
            headers={"Accept-Encoding": ", ".join(_DECODERS)},
        )
    length = header_of(headers, b"content-length")
    if length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_S):
            is_more = True
            while is_more:
                message: Any = await receive()
                if message["type"] == "http.disconnect":
                    # Nobody is there to read this; a client that goes away is no fault of ours.
                    raise Refused(400, "incomplete", "the client went away before the body was whole")
                size += len(message["body"])
                if size > MAX_BODY_BYTES:
                    raise _too_large()
                parts.append(message["body"])
                is_more = message["more_body"]
    except TimeoutError:
        raise Refused(408, "too_slow", f"the body did not come within {_BODY_S:.0f} s") from None
    data = b"".join(parts)
    return data if decode is None else decode(data)
