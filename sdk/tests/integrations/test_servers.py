"""What the middlewares leave alone: web sockets, and files that a server sends by itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

import django.http
import fastapi
import flask
import litestar
import pytest
from django.test import RequestFactory, override_settings
from werkzeug.test import create_environ

from castledger.integrations import current
from castledger.integrations.asgi import AttributionMiddleware
from castledger.integrations.django import AttributionMiddleware as ForDjango
from castledger.integrations.fastapi import init_app
from castledger.integrations.flask import init_app as init_flask
from castledger.integrations.litestar import attribution
from sdk.tests.integrations import django_shop  # noqa: F401 - gives Django its settings


async def _echo(app: Any) -> list[dict[str, Any]]:
    """Open a web socket, say hello, and note what the application sends."""
    said: list[dict[str, Any]] = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}]
    heard: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return said.pop(0)

    async def send(message: dict[str, Any]) -> None:
        heard.append(message)

    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "scheme": "wss",
        "path": "/talk",
        "raw_path": b"/talk",
        "root_path": "",
        "query_string": b"promo=SAVE20",
        "headers": [(b"host", b"shop.example.com")],
        "subprotocols": [],
        "extensions": {},
    }
    await app(scope, receive, send)
    return heard


def _fastapi() -> Any:
    app = fastapi.FastAPI()
    init_app(app, remember=True)

    @app.websocket("/talk")
    async def talk(socket: fastapi.WebSocket) -> None:
        await socket.accept()
        await socket.send_text(f"{await socket.receive_text()} {current().fields()}")
        await socket.close()

    return app


def _litestar() -> Any:
    @litestar.websocket("/talk")
    async def talk(socket: litestar.WebSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_text(f"{await socket.receive_text()} {current().fields()}")
        await socket.close()

    return litestar.Litestar([talk], middleware=[attribution(remember=True)])


@pytest.mark.anyio
@pytest.mark.parametrize("make", [_fastapi, _litestar])
async def test_a_web_socket_works_and_brings_nothing(make: Callable[[], Any]) -> None:
    accepted, answered, closed = await _echo(make())
    assert (accepted["type"], list(accepted.get("headers", ()))) == ("websocket.accept", [])
    assert (answered["text"], closed["type"]) == ("hello {}", "websocket.close")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_other_connections_reach_the_application_as_they_came(kind: str) -> None:
    given = ({"type": kind}, object(), object())
    seen: list[tuple[Any, ...]] = []

    async def app(*arguments: Any) -> None:
        seen.append(arguments)

    await AttributionMiddleware(app, remember=True)(*given)
    assert [id(one) for one in seen[0]] == [id(one) for one in given]


def test_a_file_of_flasks_is_given_to_the_server_as_the_servers_own() -> None:
    app = flask.Flask("shop")

    @app.get("/file")
    def file() -> flask.Response:
        return flask.Response(FileWrapper(io.BytesIO(b"tea")), direct_passthrough=True)

    plain = app.wsgi_app
    init_flask(app)
    environ = create_environ("/file") | {"wsgi.file_wrapper": FileWrapper}

    def answer(served: Any) -> type[Iterable[bytes]]:
        pieces = served(dict(environ), lambda *_: None)
        assert b"".join(pieces) == b"tea"
        pieces.close()
        return type(pieces)

    assert answer(app.wsgi_app) is answer(plain) is FileWrapper


def test_a_file_of_djangos_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "tea.txt"
    path.write_text("tea")
    with override_settings(CASTLEDGER_ATTRIBUTION={"remember": True}):
        middleware = ForDjango(lambda _: django.http.FileResponse(path.open("rb")))
    response = middleware(RequestFactory().get("/?promo=SAVE20"))
    assert isinstance(response, django.http.FileResponse)
    assert response.file_to_stream is not None
    assert response.cookies["cl_attribution"]["httponly"]
    response.close()
