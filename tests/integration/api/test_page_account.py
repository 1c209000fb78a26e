"""The pages that links of mail lead to, in a browser."""

from __future__ import annotations

import pytest
from litestar import Litestar

from api.app import create_app
from api.resources import Resources
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.people import PASSWORD, make_person, post, sign_in, take_token

pytestmark = pytest.mark.anyio

ANN = "ann@example.com"
NEW_PASSWORD = "eight brisk alpacas"


@pytest.fixture
def app(resources: Resources) -> Litestar:
    return create_app(resources)


async def forget(api: Api, ledger: Ledger) -> str:
    assert (await post(api, "/auth/password/forgot", {"email": ANN})).status_code == 202
    return await take_token(ledger, "reset", to=ANN)


async def test_a_password_is_set_anew_where_the_mail_leads(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, ANN)
    token = await forget(api, ledger)
    async with Browser.open(app) as browser:
        form = await browser.get(f"/reset-password?token={token}")
        # Who only looks uses nothing up.
        form = await browser.get(f"/reset-password?token={token}")
        assert form.answer.headers["cache-control"] == "no-store"
        weak = await browser.send(form, "/reset-password", {"password": "Passw0rd2026!"})
        assert (weak.status, weak.texts("//*[@role='alert']")[0][:35]) == (422, "Your password is among the first th")
        assert "Passw0rd2026!" not in weak.answer.text
        done = await browser.send(weak, "/reset-password", {"password": NEW_PASSWORD})
        assert (done.status, done.texts("//h1")) == (200, ["Your new password is set"])
        again = await browser.get(f"/reset-password?token={token}")
        spent = await browser.send(again, "/reset-password", {"password": PASSWORD})
        assert spent.status == 422
        assert spent.texts("//*[@role='alert']")[0].startswith("This link is unknown, was used")
    await sign_in(api, password=NEW_PASSWORD)


async def test_an_address_is_confirmed_where_the_mail_leads(app: Litestar, api: Api, ledger: Ledger) -> None:
    ann = await make_person(ledger, ANN, verified=False)
    await ledger.auth.execute(
        """insert into app.auth_tokens (token_hash, user_id, purpose, created_at, expires_at)
        values (sha256($2::bytea), $1, 'verify', now(), now() + interval '1 year')""",
        ann,
        b"cl_verify_" + b"A" * 43,
    )
    async with Browser.open(app) as browser:
        form = await browser.get("/verify-email?token=cl_verify_" + "A" * 43)
        done = await browser.send(form, "/verify-email")
        assert (done.status, done.texts("//h1")) == (200, ["Your mail address is confirmed"])
        other = await browser.send(await browser.get("/verify-email?token=<script>"), "/verify-email")
        assert other.status == 422
    await sign_in(api)


async def test_other_sites_cannot_send_the_form(app: Litestar, api: Api, ledger: Ledger) -> None:
    await make_person(ledger, ANN)
    token = await forget(api, ledger)
    async with Browser.open(app) as browser:
        form = await browser.get(f"/reset-password?token={token}")
        body = {"password": NEW_PASSWORD}
        page = await browser.send(form, "/reset-password", body, headers={"Origin": "https://evil.example"})
        assert page.status == 403
        forged = {**form.fields("/reset-password"), **body, "form_token": "x"}
        assert (await browser.http.post("/reset-password", data=forged)).status_code == 403
    await sign_in(api)
