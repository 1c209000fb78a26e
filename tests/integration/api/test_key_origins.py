"""Keys and browsers: which pages may use a publishable key, which answers they may read, and secret keys in pages."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, Router, post
from litestar.datastructures import State

from analytics_core.permissions import Permission
from api.app import create_app
from api.auth import caller_of, require_key, require_permission
from api.logs import RequestLog
from api.openapi import list_operations
from api.origins import CrossOrigin
from api.pages.errors import answer_error
from api.resources import Resources
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api, Ledger, problem

pytestmark = pytest.mark.anyio

SHOP = "https://shop.example"


@post("/events/{kind:str}", opt={"permission": Permission.EVENTS_WRITE})
async def take_event(request: Request[Any, Any, Any]) -> dict[str, str]:
    return {"kind": str(request.path_params["kind"]), "key_id": str(caller_of(request).key_id)}


@post("/anybody", opt={"permission": None})
async def take_anybody() -> None:
    return None


@pytest.fixture
async def events(resources: Resources, api: Api, log_stream: io.StringIO) -> AsyncIterator[Api]:
    """An application with a route that publishable keys may call, put together as the real one is."""
    app = Litestar(
        [Router("/api/v1", route_handlers=[take_event, take_anybody], guards=[require_key, require_permission])],
        exception_handlers={Exception: answer_error},
        logging_config=None,
        openapi_config=None,
        state=State({"resources": resources, "log": RequestLog(log_stream)}),
    )
    app.asgi_handler = CrossOrigin(app, app.asgi_handler)
    async with Api.open(app, api.key) as opened:
        yield opened


@pytest.fixture
async def publishable(api: Api) -> str:
    wanted = {"name": "shop", "kind": "publishable", "origins": [SHOP, "http://localhost:3000"]}
    key: str = (await api.request("POST", "/api-keys", json=wanted)).json()["key"]
    return key


def cors(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def send(api: Api, key: str, origin: str | None, **headers: str) -> httpx.Response:
    given = {**({} if origin is None else {"Origin": origin}), **headers}
    return await api.request("POST", "/events/play", key=key, headers=given)


@pytest.mark.parametrize("origin", [SHOP, "http://localhost:3000"])
async def test_a_page_of_the_list_sends_and_reads_its_answer(events: Api, publishable: str, origin: str) -> None:
    answer = await send(events, publishable, origin)
    assert (answer.status_code, answer.json()["kind"]) == (201, "play")
    assert cors(answer) == {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "Retry-After, X-Request-Id",
    }
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "",
        "*",
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "https://evilshop.example",
        "https://shop.example/",
        "https://SHOP.example",
        f"{SHOP}, https://evil.example",
        "http://api.test",
    ],
)
async def test_every_other_page_is_refused_and_reads_nothing(events: Api, publishable: str, origin: str | None) -> None:
    answer = await send(events, publishable, origin)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert cors(answer) == {}
    assert "Origin" in answer.headers["vary"]


async def test_what_a_browser_says_of_the_site_does_not_open_the_list(events: Api, publishable: str) -> None:
    answer = await send(events, publishable, "https://evil.example", **{"Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 403


async def test_origins_are_those_of_the_moment(events: Api, api: Api, publishable: str) -> None:
    key_id = (await send(events, publishable, SHOP)).json()["key_id"]
    await api.request("PATCH", f"/api-keys/{key_id}", json={"origins": ["https://store.example"]})
    assert (await send(events, publishable, SHOP)).status_code == 403
    assert (await send(events, publishable, "https://store.example")).status_code == 201
    await api.request("DELETE", f"/api-keys/{key_id}")
    gone = await send(events, publishable, "https://store.example")
    assert gone.status_code == 401
    assert cors(gone) == {}


async def test_a_preflight_is_answered_to_anybody_for_these_routes_alone_and_never_with_cookies(
    events: Api, api: Api
) -> None:
    asks = {"Origin": "https://anybody.example", "Access-Control-Request-Method": "POST"}
    answer = await events.http.options("/api/v1/events/play", headers=asks)
    assert (answer.status_code, answer.content) == (204, b"")
    assert cors(answer) == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "Authorization, Content-Type, Idempotency-Key",
        "access-control-max-age": "7200",
    }
    for client, path in ((events, "/anybody"), (events, "/events/play/x"), (api, "/podcasts"), (api, "/api-keys")):
        assert cors(await client.http.options(f"/api/v1{path}", headers=asks)) == {}
    # Without the headers of a preflight it is a request like others, which wants a key.
    plain = await events.http.options("/api/v1/events/play", headers={"Origin": "https://anybody.example"})
    assert (plain.status_code, cors(plain)) == (401, {})


async def test_a_secret_key_in_a_page_is_refused_in_plain_words(events: Api, api: Api) -> None:
    for client, path in ((events, "/events/play"), (api, "/api-keys")):
        answer = await client.request("POST", path, headers={"Origin": "https://shop.example"}, json={"name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (403, "secret_key_in_browser")
        assert "must not be in a page" in answer.json()["detail"]
        assert cors(answer) == {}
    for origin in ("null", "chrome-extension://abc", "http://api.test.evil.example", "https://api.test@evil.example"):
        answer = await api.request("GET", "/podcasts", headers={"Origin": origin})
        problem(answer, 403, "secret_key_in_browser")
    assert len((await api.data("/api-keys"))["data"]) == 1


async def test_a_secret_key_works_without_a_browser_and_from_our_own_page(events: Api, api: Api) -> None:
    assert (await send(events, api.key, None)).status_code == 201
    ours = await send(events, api.key, "http://api.test")
    assert (ours.status_code, cors(ours)) == (201, {})
    behind_a_proxy = {"Origin": "https://ledger.example", "X-Forwarded-Host": "ledger.example"}
    assert (await api.request("GET", "/podcasts", headers=behind_a_proxy)).status_code == 200
    said = {"Origin": "https://ledger.example", "Sec-Fetch-Site": "same-origin"}
    assert (await api.request("GET", "/podcasts", headers=said)).status_code == 200


async def test_a_publishable_key_gets_nowhere_else(
    api: Api, events: Api, resources: Resources, publishable: str, ledger: Ledger
) -> None:
    """Neither to what it has no scope for, nor to what every caller may do, nor into the page."""
    before = await ledger.operator.fetch("select * from app.api_keys order by key_id")
    app = create_app(resources, log=RequestLog(io.StringIO()))
    tried = 0
    for operation in list_operations(app):
        if not operation.handler.opt.get("is_open"):
            path = re.sub(r"{\w+}", "x", operation.path).removeprefix("/api/v1")
            answer = await api.request(operation.method, path, key=publishable, headers={"Origin": SHOP})
            problem(answer, 403, "forbidden")
            tried += 1
    assert tried > 30
    answer = await events.request("POST", "/anybody", key=publishable, headers={"Origin": SHOP})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    async with Browser.open(app) as browser:
        refused = await browser.sign_in(publishable)
        assert (refused.status, "This key is not valid." in refused.text) == (401, True)
    assert await ledger.operator.fetch("select * from app.api_keys order by key_id") == before
