"""An invitation accepted in a browser, and what the page says when it cannot be."""

from __future__ import annotations

import pytest
from litestar import Litestar

from analytics_core.invitations import new_token
from api.app import create_app
from api.resources import Resources
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.people import PASSWORD, make_person, take_token
from tests.integration.api.people import sign_in as sign_in_over_api

pytestmark = pytest.mark.anyio

BOB = "bob@example.com"
NEW_PASSWORD = "eight brisk alpacas"  # of nobody


@pytest.fixture
def app(resources: Resources) -> Litestar:
    return create_app(resources)


async def invite(api: Api, ledger: Ledger) -> str:
    answer = await api.request("POST", "/members/invitations", json={"email": BOB, "role": "viewer"})
    assert answer.status_code == 201
    return await take_token(ledger, "inv", to=BOB)


async def test_somebody_new_follows_the_link_and_joins(app: Litestar, api: Api, ledger: Ledger) -> None:
    token = await invite(api, ledger)
    async with Browser.open(app) as browser:
        form = await browser.get(f"/invitation?token={token}")
        assert form.texts("//h1") == ["Join home"]
        assert BOB in form.text
        assert form.answer.headers["cache-control"] == "no-store"
        weak = await browser.send(form, "/invitation", {"name": "Bob <b>", "password": "Passw0rd2026!"})
        assert weak.status == 422
        assert weak.texts("//*[@role='alert']")[0].startswith("Your password is among the first that are tried")
        assert str(weak.find("//input[@id='name']/@value")[0]) == "Bob <b>"
        done = await browser.send(weak, "/invitation", {"name": "Bob <b>", "password": NEW_PASSWORD})
        assert (done.status, done.texts("//h1")) == (200, ["You have joined home"])
        spent = await browser.get(f"/invitation?token={token}")
        assert spent.status == 410
    await sign_in_over_api(api, BOB, NEW_PASSWORD)
    [member] = (await api.data("/members"))["data"]
    assert (member["name"], member["role"]) == ("Bob <b>", "viewer")


async def test_somebody_known_gives_the_password_that_they_have(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, BOB)
    token = await invite(api, ledger)
    async with Browser.open(app) as browser:
        form = await browser.get(f"/invitation?token={token}")
        wrong = await browser.send(form, "/invitation", {"password": NEW_PASSWORD})
        assert wrong.status == 401
        assert "not its password" in wrong.texts("//*[@role='alert']")[0]
        assert (await browser.send(wrong, "/invitation", {"password": PASSWORD})).texts("//h1") == [
            "You have joined home"
        ]


async def test_other_sites_cannot_send_the_form(app: Litestar, api: Api, ledger: Ledger) -> None:
    token = await invite(api, ledger)
    async with Browser.open(app) as browser:
        form = await browser.get(f"/invitation?token={token}")
        body = {"password": NEW_PASSWORD}
        page = await browser.send(form, "/invitation", body, headers={"Origin": "https://evil.example"})
        assert page.status == 403
        forged = {**form.fields("/invitation"), **body, "form_token": "x"}
        assert (await browser.http.post("/invitation", data=forged)).status_code == 403
    assert (await api.data("/members"))["data"] == []


@pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=unknown"])
async def test_what_is_no_invitation_is_not_there(app: Litestar, ledger: Ledger, query: str) -> None:
    async with Browser.open(app) as browser:
        page = await browser.get("/invitation" + query.replace("unknown", new_token()))
    assert page.status == 404
