"""Keys on the page: made with ticked scopes, shown once, rotated and revoked; no more than one may oneself."""

from __future__ import annotations

import datetime as dt
import io
from uuid import UUID

import pytest
from litestar import Litestar

from analytics_core.api_keys import is_well_formed
from analytics_core.clock import FixedClock
from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.browsers import Browser, Page
from tests.integration.api.ledger import Api, Ledger

pytestmark = pytest.mark.anyio

PATH = "/settings/keys"


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


def shown(page: Page) -> str:
    """The key that a page shows."""
    (text,) = page.texts("//main//div[@class='copy']/code")
    assert is_well_formed(text)
    return text


async def test_a_secret_key_is_made_with_ticked_scopes_and_shown_once(
    app: Litestar, api: Api, clock: FixedClock, ledger: Ledger
) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(PATH)
        assert page.links("//header//nav/a")[-1] == PATH
        assert "you are signed in with it" in page.text
        ticked = {"links:read": "on", "links:write": "on", "kind": "secret"}
        made = await browser.send(page, PATH, {"name": "Léa <b>", "lasts": "90", **ticked})
        assert (made.status, made.texts("//section[@role='status']//h2")) == (200, ["Léa <b>"])
        key = shown(made)
        assert key not in (await browser.get(PATH)).text
        listed = (await api.data("/api-keys"))["data"][1]
        assert (listed["name"], listed["scopes"], listed["hint"]) == (
            "Léa <b>",
            ["links:read", "links:write"],
            key[:12] + "…",
        )
        assert dt.datetime.fromisoformat(listed["expires_at"]) == clock.now() + dt.timedelta(days=90)
        assert (await api.get("/links", key=key)).status_code == 200
        assert (await api.get("/podcasts", key=key)).status_code == 403
    record = str(await ledger.operator.fetch("select * from app.audit_log"))
    assert "key.create" in record
    assert key not in record


async def test_everything_is_what_one_may_oneself(app: Litestar, api: Api) -> None:
    mine = {"name": "mine", "scopes": ["keys:read", "keys:write", "links:read"]}
    key = (await api.request("POST", "/api-keys", json=mine)).json()["key"]
    async with Browser.open(app) as browser:
        await browser.sign_in(key)
        page = await browser.get(PATH)
        assert [str(name) for name in page.find("//input[@type='checkbox']/@name")] == [
            "everything",
            "keys:read",
            "keys:write",
            "links:read",
        ]
        # Nothing of this may be handed on by whoever may not send events.
        assert "publishable key" not in page.text
        # A permission that is not one's own is not taken from a form either.
        refused = await browser.send(page, PATH, {"name": "x", "lasts": "", "podcasts:read": "on"})
        assert (refused.status, refused.texts("//div[@role='alert']")) == (
            422,
            ["Scopes: names nothing that the key may do."],
        )
        made = await browser.send(page, PATH, {"name": "x", "lasts": "", "everything": "on"})
        assert (made.status, shown(made) != key) == (200, True)
        owners = (await api.data("/api-keys"))["data"][0]["key_id"]
        stolen = await browser.send(page, f"{PATH}/{owners}/rotate", {"overlap_s": "0"})
        assert stolen.status == 403
    assert [row["scopes"] for row in (await api.data("/api-keys"))["data"]][1:] == [mine["scopes"]] * 2


async def test_a_publishable_key_wants_origins_and_keeps_what_was_typed(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(PATH)
        wanted = {"kind": "publishable", "name": "the shop", "lasts": ""}
        origins = "https://shop.example.com\r\nhttps://*.example.com"
        refused = await browser.send(page, PATH, {**wanted, "origins": origins})
        assert refused.status == 422
        assert refused.texts("//div[@role='alert']") == [
            "Origins 2: has to be one exact origin: there are no wildcards, name each host."
        ]
        assert "https://*.example.com" in str(refused.find("//textarea")[0].text)
        made = await browser.send(page, PATH, {**wanted, "origins": "https://shop.example.com http://localhost:3000"})
        assert shown(made).startswith("cl_pub_")
        assert "It may stand in pages of https://shop.example.com, http://localhost:3000." in made.text


async def test_a_key_is_rotated_and_revoked(app: Litestar, api: Api) -> None:
    old = (await api.request("POST", "/api-keys", json={"name": "report"})).json()
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get(PATH)
        rotated = await browser.send(page, f"{PATH}/{old['key_id']}/rotate", {"overlap_s": "604800"})
        new = shown(rotated)
        assert "The key before is good until" in rotated.text
        assert [(await api.get("/podcasts", key=key)).status_code for key in (old["key"], new)] == [200, 200]
        again = await browser.send(page, f"{PATH}/{old['key_id']}/rotate", {"overlap_s": "0"})
        assert (again.status, "has taken its place already" in again.text) == (409, True)
        assert (await browser.send(page, f"{PATH}/{old['key_id']}/rotate", {"overlap_s": "1"})).status == 404
        revoked = await browser.send(page, f"{PATH}/{old['key_id']}/revoke")
        assert (revoked.status, revoked.path, "revoked" in revoked.text) == (200, PATH, True)
        assert [(await api.get("/podcasts", key=key)).status_code for key in (old["key"], new)] == [401, 200]
        assert (await browser.send(page, f"{PATH}/{old['key_id']}/revoke")).status == 404


async def test_revoking_the_key_one_signed_in_with_signs_out(app: Litestar, api: Api) -> None:
    own = (await api.data("/api-keys"))["data"][0]["key_id"]
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        gone = await browser.send(await browser.get(PATH), f"{PATH}/{own}/revoke")
        assert gone.path == "/sign-in"


async def test_who_may_only_read_sees_no_forms_and_who_may_not_sees_no_keys(app: Litestar, api: Api) -> None:
    for scopes, status in ((["keys:read", "podcasts:read"], 200), (["podcasts:read"], 403)):
        wanted = {"name": "x", "scopes": scopes}
        key = (await api.request("POST", "/api-keys", json=wanted)).json()["key"]
        async with Browser.open(app) as browser:
            front = await browser.sign_in(key)
            assert (PATH in front.links("//header//nav/a")) is (status == 200)
            page = await browser.get(PATH)
            assert page.status == status
            assert page.find("//main//form") == []


async def test_another_tenants_keys_are_not_there(app: Litestar, api: Api, ledger: Ledger) -> None:
    mine = (await api.data("/api-keys"))["data"][0]["key_id"]
    async with Browser.open(app) as browser:
        await browser.sign_in(await ledger.make_key("other"))
        page = await browser.get(PATH)
        assert mine not in page.answer.text
        token = next(iter(page.fields(PATH).items()))
        for action in ("rotate", "revoke"):
            answer = await browser.http.post(f"{PATH}/{mine}/{action}", data=dict([token, ("overlap_s", "0")]))
            assert answer.status_code == 404
    assert await ledger.operator.fetchval(
        "select revoked_at is null and expires_at is null from app.api_keys where key_id = $1", UUID(mine)
    )


async def test_many_keys_stand_on_several_pages(app: Litestar, api: Api, ledger: Ledger) -> None:
    await ledger.operator.execute(
        """insert into app.api_keys (tenant_id, key_id, name, hint, key_hash, revoked_at, created_at)
        select tenant_id, gen_random_uuid(), 'key ' || n, 'h', sha256(n::text::bytea), now(), now() + n * interval '1 s'
        from app.tenants, generate_series(1, 60) n where slug = 'home'"""
    )
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        first = await browser.get(PATH)
        assert len(first.find("//ul[@class='keys']/li")) == 50
        second = await browser.get(first.links("//p[@class='pager']/a")[0])
        assert second.texts("//ul[@class='keys']/li//strong")[-1] == "key 60"
        assert second.links("//p[@class='pager']/a") == [PATH]
