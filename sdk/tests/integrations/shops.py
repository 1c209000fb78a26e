"""One shop in each framework, asked in one way: pages that show what was captured, stream it, fail, and meet."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import fastapi
import flask
import httpx
import litestar
import litestar.response
from fastapi.responses import StreamingResponse

from castledger.integrations import Attribution, current
from castledger.integrations import fastapi as for_fastapi
from castledger.integrations import flask as for_flask
from castledger.integrations.litestar import attribution
from sdk.tests.integrations import django_shop

_WAIT_S = 30.0


class Shop(Protocol):
    """A shop; each request is answered before the next, but for :meth:`get_at_once`."""

    def __init__(self, **options: Any) -> None:
        """Open it, with options of the middleware."""

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page; nothing of it may be left behind in whoever served it."""

    def get_at_once(self, *paths: str) -> list[httpx.Response]:
        """Ask for pages, all of which are served at the same time."""


class _Threads:
    """A shop under WSGI."""

    def __init__(self, app: Any) -> None:
        self._transport = httpx.WSGITransport(app, raise_app_exceptions=False)

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page."""
        scheme = headers.pop("scheme", "https")
        with httpx.Client(transport=self._transport, base_url=f"{scheme}://shop.example.com") as client:
            answer = client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        assert current() == Attribution()
        return answer

    def get_at_once(self, *paths: str) -> list[httpx.Response]:
        """Ask for pages."""
        with ThreadPoolExecutor(len(paths)) as pool:
            return list(pool.map(self.get, paths))


class _Tasks:
    """A shop under ASGI."""

    def __init__(self, app: Any) -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False)

    async def _get(self, path: str, scheme: str, headers: dict[str, str]) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url=f"{scheme}://shop.example.com") as client:
            answer = await client.get(path, headers=headers)
        assert current() == Attribution()
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page."""
        scheme = headers.pop("scheme", "https")
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(self._get(path, scheme, sent))

    def get_at_once(self, *paths: str) -> list[httpx.Response]:
        """Ask for pages."""

        async def ask() -> list[httpx.Response]:
            return await asyncio.gather(*(self._get(path, "https", {}) for path in paths))

        return asyncio.run(ask())


class DjangoThreads(_Threads):
    """Django, served by threads."""

    def __init__(self, **options: Any) -> None:
        super().__init__(django_shop.make_wsgi(**options))


class DjangoTasks(_Tasks):
    """Django, served by tasks."""

    def __init__(self, **options: Any) -> None:
        super().__init__(django_shop.make_asgi(**options))

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask for a page; streams of Django's are asynchronous here."""
        return super().get(path.replace("/stream", "/stream-async"), **headers)

    def get_at_once(self, *paths: str) -> list[httpx.Response]:
        """Ask for pages; Django serves blocking views one by one."""
        return super().get_at_once(*(path.replace("/meet", "/meet-async") for path in paths))


class Flask(_Threads):
    """Flask."""

    def __init__(self, **options: Any) -> None:
        app = flask.Flask("shop")
        for_flask.init_app(app, **options)
        barrier = threading.Barrier(2)

        @app.get("/")
        @app.get("/p/<name>")
        def show(name: str = "") -> dict[str, str]:
            return current().fields()

        @app.get("/stream")
        def stream() -> flask.Response:
            def pieces() -> Iterator[str]:
                for _ in range(2):
                    assert flask.request.path == "/stream"
                    yield f"{current().promo_code};"

            return flask.Response(flask.stream_with_context(pieces()))

        @app.get("/fail")
        def fail() -> str:
            raise RuntimeError("sold out")

        @app.get("/meet")
        def meet() -> dict[str, str]:
            barrier.wait(_WAIT_S)
            return current().fields()

        super().__init__(app)


class FastAPI(_Tasks):
    """FastAPI; two requests meet in threads, where its blocking views are run."""

    def __init__(self, **options: Any) -> None:
        app = fastapi.FastAPI()
        for_fastapi.init_app(app, **options)
        barrier = threading.Barrier(2)

        @app.get("/")
        @app.get("/p/{name}")
        async def show(name: str = "") -> dict[str, str]:
            return current().fields()

        @app.get("/stream")
        async def stream() -> StreamingResponse:
            async def pieces() -> AsyncIterator[str]:
                for _ in range(2):
                    await asyncio.sleep(0)
                    yield f"{current().promo_code};"

            return StreamingResponse(pieces())

        @app.get("/fail")
        async def fail() -> None:
            raise RuntimeError("sold out")

        @app.get("/meet")
        def meet() -> dict[str, str]:
            barrier.wait(_WAIT_S)
            return current().fields()

        super().__init__(app)


class Litestar(_Tasks):
    """Litestar."""

    def __init__(self, **options: Any) -> None:
        barrier = asyncio.Barrier(2)

        @litestar.get(["/", "/p/2", "/p/3", "/p/tea pot"])
        async def show() -> dict[str, str]:
            return current().fields()

        @litestar.get("/stream")
        async def stream() -> litestar.response.Stream:
            async def pieces() -> AsyncIterator[str]:
                for _ in range(2):
                    await asyncio.sleep(0)
                    yield f"{current().promo_code};"

            return litestar.response.Stream(pieces())

        @litestar.get("/fail")
        async def fail() -> None:
            raise RuntimeError("sold out")

        @litestar.get("/meet")
        async def meet() -> dict[str, str]:
            await barrier.wait()
            return current().fields()

        super().__init__(litestar.Litestar([show, stream, fail, meet], middleware=[attribution(**options)]))


SHOPS: tuple[type[Shop], ...] = (DjangoThreads, DjangoTasks, Flask, FastAPI, Litestar)
