"""The collector's routes: events as JSON, events as an image, and the script that sends them from a page."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import Litestar, Request, Response, post, route
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from analytics_core.event_batches import JudgedBatch, Verdict, judge_batch
from analytics_core.event_rules import Reception
from analytics_core.events import EventSource
from ingest.collector.bodies import read_body
from ingest.collector.callers import Headers, check_place, header_of
from ingest.collector.metrics import CollectorMetrics
from ingest.collector.pixel import GIF, take_pixel
from ingest.collector.problems import ALLOWED_ORIGIN, Refused, answer_headers, answer_problem
from ingest.collector.state import Collector

__all__ = ("EVENTS_PATH", "MAX_SCRIPT_BYTES", "create_app")

EVENTS_PATH: Final = "/api/v1/attribution/events"
MAX_SCRIPT_BYTES: Final = 2048

_SCRIPT: Final = Path(__file__).with_name("script.js")
_JSON: Final = "application/json"
# What pages may send to other sites without asking first, as `sendBeacon` has to.
_BEACON: Final = "text/plain"
_EMBEDDED: Final = {"Cross-Origin-Resource-Policy": "cross-origin", "X-Content-Type-Options": "nosniff"}
_PREFLIGHT: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Content-Encoding"),
    # Browsers ask again after at most two hours, whatever they are told.
    (b"access-control-max-age", b"7200"),
    (b"allow", b"OPTIONS, POST"),
)


class Answer(msgspec.Struct, frozen=True):
    """What became of a batch."""

    results: list[Verdict]
    accepted: int
    refused: int
    ignored: list[str]


def _check_media_type(headers: Headers, *, is_browser: bool) -> None:
    media_type = header_of(headers, b"content-type").partition(b";")[0].strip().lower().decode("latin-1")
    if media_type != _JSON and not (is_browser and media_type == _BEACON):
        raise Refused(415, "unsupported_media_type", f"the body has to be {_JSON}, and say so")


def _note(metrics: CollectorMetrics, batch: JudgedBatch) -> None:
    metrics.note_batch(batch.library, batch.lost, batch.ignored_fields)
    if len(batch.records) < len(batch.verdicts):
        reasons = Counter(verdict.errors[0].code for verdict in batch.verdicts if verdict.errors)
        for reason, events in reasons.items():
            metrics.note_refused(reason, events)


@post(EVENTS_PATH, status_code=202)
async def receive_events(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Take a batch: each event is judged alone, and what is accepted is recorded before it is answered."""
    collector: Collector = request.app.state.collector
    headers = request.scope["headers"]
    received_us = collector.received_us(headers)
    sender = collector.identify(request)
    origin = header_of(headers, b"origin").decode("latin-1") or None
    check_place(sender.caller, origin)
    if origin is not None:
        request.scope["state"][ALLOWED_ORIGIN] = origin
    is_browser = sender.caller.is_browser
    _check_media_type(headers, is_browser=is_browser)
    body = await read_body(headers, request.receive)
    source = EventSource.BROWSER if is_browser else EventSource.SERVER
    reception = Reception(
        sender.caller.key.tenant_no, source, received_us, sender.agent, is_replayed=collector.is_replay
    )
    batch = judge_batch(body, reception)
    await collector.record(sender, batch.records, received_us=received_us)
    _note(collector.metrics, batch)
    accepted = len(batch.records)
    answer = Answer(batch.verdicts, accepted, len(batch.verdicts) - accepted, batch.ignored)
    return Response(msgspec.json.encode(answer), status_code=202, media_type=_JSON, headers=answer_headers(request))


@route("/p.gif", http_method=["GET", "HEAD"], status_code=200)
async def get_pixel(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Take one event, and answer with an image in any case; HEAD shows nothing to anybody, and is no event."""
    if request.method == "GET":
        await take_pixel(request.app.state.collector, request)
    return Response(GIF, media_type="image/gif", headers={**_EMBEDDED, "Cache-Control": "no-store"})


@route("/c.js", http_method=["GET", "HEAD"], status_code=200)
async def get_script(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Serve the script as it is written."""
    return Response(
        request.app.state.script,
        media_type="text/javascript",
        headers={**_EMBEDDED, "Cache-Control": "public, max-age=3600"},
    )


class _Surroundings:
    """Wraps the application: answers preflights, and counts. A line a request would be more than what it records."""

    def __init__(self, app: ASGIApp, metrics: CollectorMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if scope["method"] == "OPTIONS" and scope["path"] == EVENTS_PATH:
                # Any page may ask: a preflight carries no key, so that the request itself is decided on.
                await observed({"type": "http.response.start", "status": 204, "headers": _PREFLIGHT})
                await observed({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                await self._app(scope, receive, observed)
        finally:
            self._metrics.observe(scope.get("path_template") or None, status, time.perf_counter() - began_s)


def create_app(collector: Collector) -> Litestar:
    """Make the application.

    Args:
        collector: What the routes work with; opened and closed by the caller.
    """
    app = Litestar(
        [receive_events, get_pixel, get_script],
        exception_handlers={Exception: answer_problem},
        logging_config=None,
        openapi_config=None,
        # Bodies are read and bounded by us: what they hold once they are uncompressed counts.
        request_max_body_size=None,
        state=State({"collector": collector, "script": _SCRIPT.read_bytes()}),
    )
    app.asgi_handler = _Surroundings(app.asgi_handler, collector.metrics)
    return app
