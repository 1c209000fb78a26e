"""``GET /p.gif``: one event as an image, for where no script runs. It is answered whatever becomes of the event."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from litestar import Request

from analytics_core.errors import Forbidden, InvalidInput, Unauthenticated
from analytics_core.event_rules import Reception, judge_event
from analytics_core.events import EventRecord, EventSource
from ingest.collector.callers import Headers, check_place, header_of
from ingest.collector.problems import Refused
from ingest.collector.state import Collector

__all__ = ("GIF", "take_pixel")

GIF: Final = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
"""One transparent point."""

_MAX_QUERY_BYTES: Final = 8192
_MAX_URL_CHARS: Final = 2048
_FIELDS: Final = {"t": "type", "c": "click_id", "p": "promo_code", "u": "url", "e": "event_id"}
_PREFETCHES: Final = (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz")


def _wants_privacy(headers: Headers) -> bool:
    return header_of(headers, b"dnt") == b"1" or header_of(headers, b"sec-gpc") == b"1"


def _is_prefetch(headers: Headers) -> bool:
    words = b" ".join(header_of(headers, name) for name in _PREFETCHES).lower()
    return b"prefetch" in words or b"preview" in words


def _origin_of(referrer: str) -> str | None:
    """Name the origin of the page that shows an image; ``None`` when it does not say.

    >>> _origin_of("https://Shop.example.com:8443/a?b"), _origin_of("")
    ('https://shop.example.com:8443', None)
    """
    try:
        parts = urlsplit(referrer)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc.lower()}" if parts.netloc else None


def _fields_of(query: bytes, referrer: str) -> dict[str, Any]:
    """Read an event out of an image's address.

    Raises:
        InvalidInput: It is too long.
    """
    if len(query) > _MAX_QUERY_BYTES:
        raise InvalidInput("query", f"has at most {_MAX_QUERY_BYTES} bytes")
    given = dict(parse_qsl(query.decode("latin-1")))
    fields: dict[str, Any] = {_FIELDS[name]: value for name, value in given.items() if name in _FIELDS}
    fields.setdefault("type", "page_view")
    fields.setdefault("event_id", str(uuid4()))
    if len(referrer) <= _MAX_URL_CHARS and referrer:
        fields.setdefault("url", referrer)
    return fields


async def take_pixel(collector: Collector, request: Request[Any, Any, Any]) -> None:
    """Record the event of an image, or count why it is not."""
    headers = request.scope["headers"]
    if _wants_privacy(headers):
        collector.metrics.note_unrecorded("privacy")
    elif _is_prefetch(headers):
        collector.metrics.note_unrecorded("prefetch")
    else:
        try:
            await _record(collector, request)
        except (Unauthenticated, Forbidden):
            collector.metrics.note_unrecorded("key")
        except InvalidInput:
            collector.metrics.note_unrecorded("invalid")
        except Refused as refusal:
            collector.metrics.note_unrecorded("rate" if refusal.status == 429 else "spool")


async def _record(collector: Collector, request: Request[Any, Any, Any]) -> None:
    received_us = collector.received_us(request.scope["headers"])
    sender = collector.identify(request)
    referrer = header_of(request.scope["headers"], b"referer").decode("latin-1")
    origin = _origin_of(referrer)
    # Mails and apps say nothing of where their images are; pages of others would.
    if origin is not None:
        check_place(sender.caller, origin)
    reception = Reception(
        sender.caller.key.tenant_no,
        EventSource.PIXEL,
        received_us,
        sender.agent,
        is_replayed=collector.is_replay,
    )
    judged = judge_event(_fields_of(request.scope["query_string"], referrer), reception)
    if not isinstance(judged, EventRecord):
        raise InvalidInput(judged[0].pointer, judged[0].message, code=judged[0].code)
    await collector.record(sender, [judged], received_us=received_us)
