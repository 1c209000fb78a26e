"""Sponsors on the page: listed, added, renamed, put away and taken back."""

from __future__ import annotations

import io

import pytest
from litestar import Litestar

from api.app import create_app
from api.logs import RequestLog
from api.resources import Resources
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api

pytestmark = pytest.mark.anyio

NAME = "O'Brien; DROP <b>TABLE</b> app.links"


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


async def test_a_sponsor_is_added_renamed_put_away_and_taken_back(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.get("/sponsors")
        assert "There is none yet." in page.text
        page = await browser.send(page, "/sponsors", {"name": f" {NAME}  "})
        assert (page.status, page.path) == (200, "/sponsors")
        assert page.texts("//tbody/tr/th/bdi") == [NAME]
        sponsor = (await api.data("/sponsors"))["data"][0]
        assert sponsor["name"] == NAME
        path = f"/sponsors/{sponsor['sponsor_id']}"
        page = await browser.send(page, path, {"name": "O'Brien", "do": "rename"})
        assert page.texts("//tbody/tr/th/bdi") == ["O'Brien"]
        stale = page
        page = await browser.send(page, path, {"do": "archive"})
        assert "archived 24 Nov 2026" in page.text
        page = await browser.send(page, path, {"do": "restore"})
        assert page.texts("//tbody/tr/td[3]") == ["active"]
        late = await browser.send(stale, path, {"name": "Late", "do": "rename"})
        assert (late.status, "was changed since" in late.text) == (409, True)
        assert (await api.data(path))["name"] == "O'Brien"


async def test_what_is_wrong_with_a_name_is_said_and_the_name_stays_in_the_form(app: Litestar, api: Api) -> None:
    async with Browser.open(app) as browser:
        await browser.sign_in(api.key)
        page = await browser.send(await browser.get("/sponsors"), "/sponsors", {"name": "Acme"})
        page = await browser.send(page, "/sponsors", {"name": "ACME"})
        assert page.status == 409
        assert [str(typed) for typed in page.find("//form[@action='/sponsors']//input[@name='name']/@value")] == [
            "ACME"
        ]
        assert "There is a sponsor named 'ACME' already" in page.text
        page = await browser.send(page, "/sponsors", {"name": "a\u202eb"})
        assert (page.status, "The name must not hold line breaks" in page.text) == (422, True)
        assert [row["name"] for row in (await api.data("/sponsors"))["data"]] == ["Acme"]
        assert (await browser.get("/sponsors/nothing")).status == 405
