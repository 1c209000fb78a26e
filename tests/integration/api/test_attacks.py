"""What others may try with requests: each attack is a test, and so is what only looks like one."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from analytics_core.clock import FixedClock
from analytics_core.settings import Settings, load_settings
from api.app import create_app
from api.bodies import MAX_DEPTH, MAX_JSON_BYTES
from api.gate import MAX_HEADER_BYTES, MAX_URL_BYTES
from api.logs import RequestLog
from api.openapi import list_operations
from api.resources import Resources, open_resources
from tests.integration.api.browsers import ORIGIN, Browser
from tests.integration.api.ledger import Api, Ledger, codes, problem

pytestmark = pytest.mark.anyio

NAME = "O'Brien; DROP TABLE app.api_keys;-- <script>alert(1)</script> ${7*7} {{7*7}} ../../etc/passwd"
ID = "00000000-0000-7000-8000-000000000000"
JSON = {"Content-Type": "application/json"}
DASHBOARD = "https://dash.example.com"


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


@pytest.fixture
async def key(ledger: Ledger) -> str:
    return await ledger.make_key("home", is_installation=True)


def with_api(settings: Settings, **environ: str) -> Settings:
    """Change the API's settings as the environment would."""
    given = load_settings({f"CASTLEDGER_API_{name.upper()}": text for name, text in environ.items()}).api
    changes = {name: getattr(given, name) for name in environ}
    return msgspec.structs.replace(settings, api=msgspec.structs.replace(settings.api, **changes))


# What only looks like an attack.


async def test_a_name_that_looks_like_an_attack_is_a_name(api: Api) -> None:
    made = await api.request("POST", "/api-keys", json={"name": NAME})
    assert (made.status_code, made.json()["name"]) == (201, NAME)
    assert NAME in [row["name"] for row in (await api.data("/api-keys"))["data"]]


async def test_a_campaign_that_looks_like_an_attack_reaches_its_target_whole(api: Api) -> None:
    made = await api.request(
        "POST", "/links", json={"url": "https://shop.example.com/", "utm": {"campaign": NAME, "source": "' or 1=1 --"}}
    )
    assert made.status_code == 201, made.text
    shown = await api.data(f"/links/{made.json()['link_id']}")
    assert shown["utm"] == {"campaign": NAME, "source": "' or 1=1 --"}
    assert httpx.URL(shown["target"]).params["utm_campaign"] == NAME


# Bodies.


def nested(depth: int) -> bytes:
    return b'{"name": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


async def test_json_is_refused_beyond_32_levels_by_its_place(api: Api) -> None:
    fine = await api.request("POST", "/api-keys", content=nested(MAX_DEPTH), headers=JSON)
    assert codes(fine) == {("/name", "invalid")}
    answer = await api.request("POST", "/api-keys", content=nested(MAX_DEPTH + 1), headers=JSON)
    assert codes(answer) == {("/name" + "/0" * (MAX_DEPTH - 1), "too_deep")}
    for body in (nested(900), b"[" * 100_000, b'{"a":' * 100_000):
        answer = await api.request("POST", "/api-keys", content=body, headers=JSON)
        assert {code for _, code in codes(answer)} == {"too_deep"}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "a\0b"}, "/name"),
        ({"na\0me": "x"}, ""),
        ({"name": ["x", {"a/b": {"~": "\0"}}]}, "/name/1/a~1b/~0"),
        ("\0", ""),
        (["\0"], "/0"),
    ],
)
async def test_nul_is_refused_by_its_place(api: Api, body: object, pointer: str) -> None:
    answer = await api.request("POST", "/api-keys", content=json.dumps(body).encode(), headers=JSON)
    assert codes(answer) == {(pointer, "invalid")}
    assert "NUL" in answer.json()["detail"]


async def test_what_is_no_utf8_is_refused_by_its_place(api: Api) -> None:
    answer = await api.request("POST", "/api-keys", content=b'{"name": "caf\xe9"}', headers=JSON)
    assert problem(answer, 400, "malformed_json")["detail"] == "the body is not JSON: byte 13 is not UTF-8"
    answer = await api.request("POST", "/api-keys", content=b'{"name": x}', headers=JSON)
    assert problem(answer, 400, "malformed_json")["detail"] == "the body is not JSON: see byte 9"


async def test_json_that_is_too_large_is_413_whatever_a_feed_may_have(
    settings: Settings, clock: FixedClock, key: str
) -> None:
    roomy = with_api(settings, max_body_mb="20")
    async with (
        open_resources(roomy, clock=clock) as resources,
        Api.open(create_app(resources, log=RequestLog(io.StringIO())), key) as api,
    ):
        body = b'{"name": "' + b"x" * MAX_JSON_BYTES + b'"}'
        problem(await api.request("POST", "/api-keys", content=body, headers=JSON), 413, "too_large")


async def test_every_route_with_a_body_refuses_other_types(api: Api, app: Litestar) -> None:
    # A key is nobody, and is told so before.
    operations = [
        operation for operation in list_operations(app) if operation.bodies and "/users/me" not in operation.path
    ]
    assert len(operations) >= 4
    for operation in operations:
        path = re.sub(r"{\w+}", ID, operation.path.removeprefix("/api/v1"))
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json"):
            answer = await api.request(
                operation.method.upper(), path, content=b"{}", headers={"Content-Type": media_type}
            )
            assert problem(answer, 415, "unsupported_media_type"), (operation.path, media_type)


# Addresses and headers.


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/links/%00", "the path"),
        ("/links/%ff", "the path"),
        ("/links?cursor=%00", "the parameter cursor"),
        ("/links?limit=5&cursor=%C3%28", "the parameter cursor"),
        ("/links?%00=1", "the parameter \ufffd"),
        ("/analytics/downloads?tz=Europe%2FBerlin%00", "the parameter tz"),
    ],
)
async def test_an_address_that_no_text_can_hold_is_refused_by_its_part(api: Api, path: str, part: str) -> None:
    body = problem(await api.request("GET", path), 400, "malformed_url")
    assert body["detail"] == f"{part} is not UTF-8, or holds a NUL"


async def test_addresses_and_headers_are_bounded(api: Api) -> None:
    problem(await api.request("GET", "/links?cursor=" + "a" * MAX_URL_BYTES), 414, "url_too_long")
    answer = await api.request("GET", "/links", headers={"X-Padding": "a" * MAX_HEADER_BYTES})
    problem(answer, 431, "headers_too_large")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:443", "api.test:x", "api.test.evil.example", "", "[::1]"]
)
async def test_a_host_that_is_not_ours_is_misdirected(
    settings: Settings, clock: FixedClock, key: str, host: str
) -> None:
    named = with_api(settings, hosts="api.test, ledger.example.com, [2001:db8::1]")
    async with (
        open_resources(named, clock=clock) as resources,
        Api.open(create_app(resources, log=RequestLog(io.StringIO())), key) as api,
    ):
        for good in ("api.test", "API.test:8000", "ledger.example.com", "[2001:db8::1]:8000", "[2001:db8::1]"):
            assert (await api.request("GET", "/links", headers={"Host": good})).status_code == 200, good
        problem(await api.request("GET", "/links", headers={"Host": host}), 421, "misdirected")
        assert (await api.http.get("/sign-in", headers={"Host": host})).status_code == 421


async def test_a_forged_host_is_repeated_nowhere(app: Litestar, api: Api) -> None:
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    for path in ("/", "/sign-in", "/podcasts/new", "/methodology", "/nothing", "/api/v1/docs", "/api/v1/openapi.json"):
        answer = await api.http.get(path, headers=forged)
        assert "evil.example" not in answer.text, path
        assert "evil.example" not in str(answer.headers), path


# Other sites, and browsers.


async def test_a_cookie_alone_is_no_credential_of_the_api(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        assert (await browser.get("/podcasts")).status == 200
        for operation in list_operations(app):
            if operation.handler.opt.get("is_open"):
                continue
            answer = await browser.http.request(
                operation.method.upper(), operation.path.replace("{", "").replace("}", "")
            )
            problem(answer, 401, "unauthenticated")


def forms(app: Litestar) -> list[tuple[str, HTTPRouteHandler]]:
    """List what a signed-in person may send from the page."""
    return [
        (route.path_format, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if "POST" in handler.http_methods and not route.path.startswith("/api/")
    ]


async def test_every_form_wants_a_token_of_this_very_session_and_our_own_page(app: Litestar, api: Api) -> None:
    podcast = await api.add_podcast()
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        token = (await browser.get("/podcasts/new")).fields("/sign-out")["form_token"]
        found = forms(app)
        assert len(found) >= 5
        for template, _ in found:
            path = re.sub(r"{\w+}", ID, template.replace("{podcast_id}", podcast["podcast_id"]))
            for headers, fields in (
                ({"Origin": ORIGIN}, {"key": api.key}),
                ({"Origin": ORIGIN}, {"form_token": "A" * 43}),
                ({"Origin": "https://evil.example"}, {"form_token": token}),
                ({"Origin": "https://evil.example", "X-Forwarded-Host": "page.test"}, {"form_token": token}),
                ({"Sec-Fetch-Site": "cross-site"}, {"form_token": token}),
                ({"Sec-Fetch-Site": "same-site", "Origin": ORIGIN}, {"form_token": token}),
            ):
                answer = await browser.http.post(path, data=fields, headers=headers)
                assert answer.status_code == 403, (path, headers, fields)
        assert (await browser.get("/podcasts")).status == 200


def allowed(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}


@pytest.mark.parametrize("origin", [DASHBOARD, "null", "https://evil.example", "*"])
async def test_without_origins_no_other_site_may_ask(api: Api, origin: str) -> None:
    for answer in (
        await api.http.options("/api/v1/links", headers={"Origin": origin, **PREFLIGHT}),
        await api.request("GET", "/links", headers={"Origin": origin}),
    ):
        assert allowed(answer) == {}


async def test_only_exact_origins_may_ask_and_never_with_cookies(
    settings: Settings, clock: FixedClock, key: str
) -> None:
    named = with_api(settings, origins=f"{DASHBOARD}, http://localhost:5173")
    async with (
        open_resources(named, clock=clock) as resources,
        Api.open(create_app(resources, log=RequestLog(io.StringIO())), key) as api,
    ):

        async def preflight(origin: str, path: str = "/api/v1/links") -> httpx.Response:
            return await api.http.options(path, headers={"Origin": origin, **PREFLIGHT})

        for origin in (DASHBOARD, "http://localhost:5173"):
            answer = await preflight(origin)
            assert answer.status_code == 204
            assert answer.headers["access-control-allow-origin"] == origin
            sendable = answer.headers["access-control-allow-headers"].split(", ")
            # All that the document knows: a write is conditional, and done once.
            assert {"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match"} <= set(sendable)
            answer = await api.request("GET", "/links", headers={"Origin": origin})
            assert answer.headers["access-control-allow-origin"] == origin
            assert "RateLimit" in answer.headers["access-control-expose-headers"]
            assert "Origin" in answer.headers["vary"]
            assert "access-control-allow-credentials" not in answer.headers
        refused = problem(await api.http.get("/api/v1/links", headers={"Origin": DASHBOARD}), 401, "unauthenticated")
        assert refused["request_id"]
        for origin in (
            "https://evil.example",
            f"{DASHBOARD}.evil.example",
            "http://dash.example.com",
            f"{DASHBOARD}:444",
            "null",
            "https://DASH.example.com",
        ):
            assert allowed(await preflight(origin)) == {}, origin
            answer = await api.request("GET", "/links", headers={"Origin": origin})
            assert allowed(answer) == {}, origin
            # A cache must not hand one site's answer to another.
            assert "Origin" in answer.headers["vary"]
        # The page is nobody else's, whoever may ask the API.
        assert allowed(await preflight(DASHBOARD, "/sign-in")) == {}
        assert allowed(await api.http.get("/sign-in", headers={"Origin": DASHBOARD})) == {}


HEADERS: dict[str, str] = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
}


async def test_every_answer_carries_what_keeps_browsers_careful(app: Litestar, api: Api) -> None:
    answers: dict[str, Any] = {
        path: await api.http.get(path, headers={"Authorization": f"Bearer {api.key}"})
        for path in ("/", "/sign-in", "/nothing", "/api/v1/links", "/api/v1/docs", "/api/v1/links/%00", "/favicon.ico")
    }
    for path, answer in answers.items():
        assert HEADERS.items() <= dict(answer.headers).items(), path
        assert "unsafe" not in answer.headers["content-security-policy"], path
        assert answer.headers["content-security-policy"].startswith("default-src 'none'"), path
        assert "strict-transport-security" not in answer.headers, path
    assert answers["/api/v1/links"].headers["referrer-policy"] == "no-referrer"
    assert answers["/api/v1/links"].headers["cache-control"] == "no-store"


async def test_over_https_browsers_are_told_to_stay_with_it(api: Api) -> None:
    for path in ("/sign-in", "/api/v1/links", "/nothing"):
        answer = await api.http.get(path, headers={"X-Forwarded-Proto": "https"})
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
