"""Signing in to the page and out, and what keeps others from doing it for somebody."""

from __future__ import annotations

import datetime as dt
import io

import pytest
from litestar import Litestar

from analytics_core.api_keys import new_key
from analytics_core.clock import FixedClock
from api.app import create_app
from api.logs import RequestLog
from api.pages.limits import MAX_ADDRESSES, SignInLimit, TooManySignIns
from api.resources import Resources
from tests.integration.api.browsers import ORIGIN, Browser, Page
from tests.integration.api.ledger import Api, Ledger

pytestmark = pytest.mark.anyio

WRONG = "This key is not valid."


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


async def test_whoever_is_not_signed_in_is_sent_to_the_form_and_back(app: Litestar, api: Api) -> None:
    podcast = await api.add_podcast()
    wanted = f"/podcasts/{podcast['podcast_id']}"
    async with Browser.open(app) as browser:
        form = await browser.get(f"{wanted}?range=7")
        assert (form.path, form.title) == ("/sign-in", "Sign in · Castledger")
        page = await browser.send(form, "/sign-in", {"key": f"  {api.key}\n"})
        assert (page.status, page.path, page.answer.url.query) == (200, wanted, b"range=7")
        # Who is signed in has no use for the form.
        assert (await browser.get("/sign-in")).path == wanted


async def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        form = await browser.get("/sign-in")
        answer = await browser.http.post(
            "/sign-in",
            data={**form.fields("/sign-in"), "key": api.key},
            headers={"Origin": ORIGIN},
            follow_redirects=False,
        )
    (cookie,) = [line for line in answer.headers.get_list("set-cookie") if line.startswith("castledger=")]
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("headers", [{"Origin": "https://page.test"}, {"X-Forwarded-Proto": "https"}])
async def test_over_https_the_cookie_is_secure_and_no_other_host_can_set_it(
    app: Litestar, api: Api, headers: dict[str, str]
) -> None:
    async with Browser.open(app) as browser:
        form = await browser.get("/sign-in")
        answer = await browser.http.post(
            "/sign-in", data={**form.fields("/sign-in"), "key": api.key}, headers={"Origin": ORIGIN, **headers}
        )
        # The form's own cookie came without https here, so over https it is none.
        assert answer.status_code == 403
        secret = browser.http.cookies["castledger-form"]
        browser.http.cookies.set("__Host-castledger-form", secret)
        answer = await browser.http.post(
            "/sign-in",
            data={**form.fields("/sign-in"), "key": api.key},
            headers={"Origin": ORIGIN, **headers},
            follow_redirects=False,
        )
    (cookie,) = [line for line in answer.headers.get_list("set-cookie") if line.startswith("__Host-castledger=")]
    assert {"Secure", "HttpOnly", "Path=/"} <= {part.strip() for part in cookie.split(";")}


@pytest.mark.parametrize("key", ["", "x", "cl_live_" + "A" * 38, "revoked", "unknown", "ü\x00"])
async def test_every_wrong_key_is_told_the_same(app: Litestar, api: Api, ledger: Ledger, key: str) -> None:
    if key == "unknown":
        key = new_key()
    if key == "revoked":
        key = await ledger.make_key("gone")
        await ledger.auth.execute(
            "update app.api_keys set revoked_at = now() where tenant_id = $1",
            (await ledger.tenant_of("gone")).tenant_id,
        )
    async with Browser.open(app) as browser:
        page = await browser.sign_in(key)
        assert (page.status, page.path) == (401, "/sign-in")
        assert page.texts("//*[@role='alert']") == [WRONG]
        assert key not in page.answer.text or len(key) < 3
        assert (await browser.get("/")).path == "/sign-in"


async def test_revoking_the_key_ends_the_session_at_once(app: Litestar, api: Api) -> None:
    made = (await api.request("POST", "/api-keys", json={"name": "page"})).json()
    async with Browser.open(app) as browser:
        assert (await browser.sign_in(made["key"])).path == "/podcasts/new"
        await api.request("DELETE", f"/api-keys/{made['key_id']}")
        assert (await browser.get("/podcasts")).path == "/sign-in"


async def test_signing_out_ends_the_session_on_the_server_too(app: Litestar, api: Api, ledger: Ledger) -> None:
    async with Browser.open(app) as browser:
        page = await browser.sign_in(api.key)
        token = browser.http.cookies["castledger"]
        assert token.encode() not in await ledger.operator.fetchval("select token_hash from app.sessions")
        assert (await browser.send(page, "/sign-out")).path == "/sign-in"
        browser.http.cookies.set("castledger", token)
        assert (await browser.get("/podcasts")).path == "/sign-in"
        assert await ledger.operator.fetchval("select count(*) from app.sessions") == 0


async def test_a_session_ends_with_disuse_and_after_a_month_in_any_case(
    app: Litestar, api: Api, clock: FixedClock
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        for _ in range(4):
            clock.advance(dt.timedelta(days=6))
            assert (await browser.get("/podcasts")).path == "/podcasts"
        clock.advance(dt.timedelta(days=6, minutes=1))
        assert (await browser.get("/podcasts")).path == "/sign-in"
        await browser.sign_in(api.key)
        clock.advance(dt.timedelta(days=7, minutes=1))
        assert (await browser.get("/podcasts")).path == "/sign-in"


async def test_a_key_has_a_bounded_number_of_sessions(app: Litestar, api: Api, ledger: Ledger) -> None:
    async with Browser.open(app) as browser:
        for _ in range(23):
            browser.http.cookies.clear()
            await browser.sign_in(api.key)
        assert await ledger.operator.fetchval("select count(*) from app.sessions") == 20


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_form_from_another_site_is_refused(app: Litestar, api: Api, headers: dict[str, str]) -> None:
    async with Browser.open(app) as browser:
        page = await browser.send(await browser.get("/sign-in"), "/sign-in", {"key": api.key}, headers=headers)
        assert (page.status, page.title) == (403, "Not allowed · Castledger")
        front = await browser.sign_in(api.key)
        assert (await browser.send(front, "/sign-out", headers=headers)).status == 403
        assert (await browser.get("/podcasts")).path == "/podcasts"


@pytest.mark.parametrize("token", ["", "x", "AAAA" * 10, "ü", None])
async def test_a_form_without_its_token_is_refused(app: Litestar, api: Api, token: str | None) -> None:
    async with Browser.open(app) as browser:
        await browser.get("/sign-in")
        fields = {"key": api.key} if token is None else {"key": api.key, "form_token": token}
        answer = await browser.http.post("/sign-in", data=fields, headers={"Origin": ORIGIN})
        assert answer.status_code == 403
        await browser.sign_in(api.key)
        answer = await browser.http.post("/sign-out", data=fields, headers={"Origin": ORIGIN})
        assert answer.status_code == 403


async def test_one_browsers_token_is_no_good_in_another(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as one, Browser.open(app) as other:
        form = await one.get("/sign-in")
        await other.get("/sign-in")
        assert (await other.send(form, "/sign-in", {"key": api.key})).status == 403


async def test_a_token_looks_different_on_every_page(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        pages = [await browser.sign_in(api.key), await browser.get("/podcasts/new")]
        assert len({page.fields("/sign-out")["form_token"] for page in pages}) == 2


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_signing_in_leads_nowhere_else(app: Litestar, api: Api, wanted: str) -> None:
    async with Browser.open(app) as browser:
        form = await browser.http.get("/sign-in", params={"next": wanted})
        page = await browser.send(Page(form), "/sign-in", {"key": api.key, "next": wanted})
        assert page.answer.url.host == "page.test"
        assert page.path == "/podcasts/new"


async def test_wrong_keys_are_limited_by_address_for_a_while(app: Litestar, api: Api, clock: FixedClock) -> None:
    async with Browser.open(app) as browser:
        for _ in range(10):
            assert (await browser.sign_in("wrong")).status == 401
        page = await browser.sign_in(api.key)
        assert (page.status, page.title) == (429, "Slow down · Castledger")
        assert page.answer.headers["retry-after"] == "900"
        clock.advance(dt.timedelta(minutes=15))
        assert (await browser.sign_in(api.key)).path == "/podcasts/new"


def test_the_limit_remembers_a_bounded_number_of_addresses_and_tells_them_apart(clock: FixedClock) -> None:
    limit = SignInLimit(clock)
    v4 = [b"\0" * 10 + b"\xff\xff" + number.to_bytes(4) for number in range(MAX_ADDRESSES + 50)]
    for address in v4:
        limit.note_failure(address)
    assert len(limit) == MAX_ADDRESSES
    network = bytes.fromhex("20010db800000001")
    for host in range(10):
        limit.note_failure(network + host.to_bytes(8))
    with pytest.raises(TooManySignIns):
        limit.check(network + bytes(8))
    limit.check(bytes.fromhex("20010db800000002") + bytes(8))
    limit.check(v4[-1])
    limit.note_success(network + bytes(8))
    limit.check(network + bytes(8))


async def test_a_suspended_tenant_looks_and_signs_out_and_changes_nothing(
    app: Litestar, api: Api, ledger: Ledger
) -> None:
    key = await ledger.make_key("late-payer")
    async with Browser.open(app) as browser:
        page = await browser.sign_in(key)
        await ledger.suspend("late-payer")
        assert (await browser.get("/podcasts/new")).status == 200
        new = await browser.get("/podcasts/new")
        assert (await browser.send(new, "/podcasts/new", {"feed_url": "https://a.example.com/"})).status == 403
        assert (await browser.send(page, "/sign-out")).path == "/sign-in"


async def test_the_log_tells_of_sign_ins_without_keys_and_tokens(
    app: Litestar, api: Api, log_stream: io.StringIO
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        token = browser.http.cookies["castledger"]
    assert "/sign-in" in log_stream.getvalue()
    assert api.key not in log_stream.getvalue()
    assert token not in log_stream.getvalue()
