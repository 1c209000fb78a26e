"""Vanity hosts: registered, known to trackers at once, taken away; and QR codes of links and of them."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import httpx
import pytest
import zxingcpp

from analytics_core.clock import FixedClock
from analytics_core.db.podcasts import CATALOGUE_CHANNEL
from analytics_core.registry import read_registry
from analytics_core.settings import Settings, load_settings
from api.app import create_app
from api.resources import open_resources
from ingest.registry_writer import RegistryWriter
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.test_links import SHOP, make
from tests.unit.test_qr_codes import read_png, read_svg

pytestmark = pytest.mark.anyio


async def register(api: Api, link: dict[str, Any], host: str, *, key: str | None = None) -> dict[str, Any]:
    answer = await api.request("POST", "/vanity-hosts", json={"host": host, "link_id": link["link_id"]}, key=key)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def refuse(api: Api, link: dict[str, Any], host: str, status: int, code: str, *, key: str | None = None) -> None:
    answer = await api.request("POST", "/vanity-hosts", json={"host": host, "link_id": link["link_id"]}, key=key)
    problem(answer, status, code)


async def known(ledger: Ledger, settings: Settings, host: str) -> str | None:
    """Write the snapshot as ingest does, and look a host up as trackers do."""
    await RegistryWriter(settings.tracker).write(ledger.ingest)
    return read_registry(settings.tracker.registry_path).vanity_hosts.get(host)


async def test_a_host_is_registered_listed_and_taken_away(
    api: Api, ledger: Ledger, settings: Settings, clock: FixedClock
) -> None:
    heard = asyncio.Event()
    link, other = await make(api, slug="acme"), await make(api, slug="other")
    await ledger.ingest.add_listener(CATALOGUE_CHANNEL, lambda *_: heard.set())
    made = await register(api, link, "Acme.Show.example.net.")
    await asyncio.wait_for(heard.wait(), 10)
    host = "acme.show.example.net"
    assert made == {
        "vanity_host_id": made["vanity_host_id"],
        "host": host,
        "url": f"https://{host}/",
        "link_id": link["link_id"],
        "slug": "acme",
        "created_at": "2026-11-24T12:00:00Z",
        "archived_at": None,
    }
    assert await known(ledger, settings, host) == "acme"
    clock.advance(dt.timedelta(seconds=1))
    second = await register(api, other, "zenith.show.example.net")
    first = await api.data("/vanity-hosts", limit=1)
    assert first["data"] == [made]
    assert (await api.data("/vanity-hosts", cursor=first["next_cursor"]))["data"] == [second]
    assert (await api.data("/vanity-hosts", link_id=other["link_id"]))["data"] == [second]

    heard.clear()
    gone = await api.request("DELETE", f"/vanity-hosts/{made['vanity_host_id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    await asyncio.wait_for(heard.wait(), 10)
    assert await known(ledger, settings, host) is None
    problem(await api.request("DELETE", f"/vanity-hosts/{made['vanity_host_id']}"), 404, "not_found")
    # Unlike a slug, a name has an owner outside of here, who may have it lead elsewhere.
    await register(api, other, host)
    assert await known(ledger, settings, host) == "other"
    rows = (await api.data("/vanity-hosts"))["data"]
    assert [row["archived_at"] for row in rows] == ["2026-11-24T12:00:01Z", None, None]

    await api.request("DELETE", f"/links/{other['link_id']}")
    assert await known(ledger, settings, host) is None


async def test_a_host_has_one_owner_over_all_tenants(api: Api, ledger: Ledger) -> None:
    key = await ledger.make_key("other")
    link, theirs = await make(api), await make(api, key=key)
    made = await register(api, link, "acme.example.net")
    for one, whose in ((link, None), (theirs, key)):
        await refuse(api, one, "ACME.example.net", 409, "vanity_host_taken", key=whose)
    await refuse(api, link, "b.example.net", 404, "not_found", key=key)
    problem(await api.request("DELETE", f"/vanity-hosts/{made['vanity_host_id']}", key=key), 404, "not_found")
    assert (await api.get("/vanity-hosts", key=key)).json()["data"] == []


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("", "invalid"),
        ("a" * 255, "invalid"),
        ("https://acme.example.net/", "host_not_public"),
        ("acme.example.net:8443", "host_not_public"),
        ("acme.example.net/x", "host_invalid"),
        ("-acme.example.net", "host_invalid"),
        ("größe.example.net", "host_invalid"),
        ("*.example.net", "host_invalid"),
        ("acme", "host_not_public"),
        ("acme.local", "host_not_public"),
        ("acme.example", "host_not_public"),
        ("192.0.2.1", "host_not_public"),
        ("8.8.8.8", "host_not_public"),
        ("[::1]", "host_not_public"),
        ("pod.example.com", "host_own"),
        ("POD.example.com.", "host_own"),
        ("shop.example.com", "host_leads_round"),
        ("cdn1.example.com", "host_of_enclosures"),
    ],
)
async def test_a_host_that_may_not_lead_anywhere_is_refused(api: Api, ledger: Ledger, host: str, code: str) -> None:
    await api.add_podcast(key=await ledger.make_key("other"))
    link = await make(api)
    answer = await api.request("POST", "/vanity-hosts", json={"host": host, "link_id": link["link_id"]})
    assert answer.status_code == 422
    assert codes(answer) == {("/host", code)}
    assert (await api.data("/vanity-hosts"))["data"] == []


async def test_a_deleted_link_gets_no_host_and_no_link_leads_to_one(api: Api) -> None:
    link, other = await make(api), await make(api)
    await api.request("DELETE", f"/links/{link['link_id']}")
    await refuse(api, link, "acme.example.net", 404, "not_found")
    await register(api, other, "acme.example.net")
    answer = await api.request("POST", "/links", json={"url": "https://Acme.example.net/x"})
    assert codes(answer) == {("/url", "url_own_host")}
    path = f"/links/{other['link_id']}"
    assert codes(await api.request("PATCH", path, json={"url": "http://acme.example.net:81"})) == {
        ("/url", "url_own_host")
    }
    assert (await api.data(path))["url"] == SHOP


async def test_a_name_that_becomes_the_installations_own_is_nobodys(
    api: Api, ledger: Ledger, settings: Settings
) -> None:
    await register(api, await make(api), "acme.example.net")
    renamed = load_settings(
        {"TRACKER_PUBLIC_URL": "https://acme.example.net", "CASTLEDGER_DATA_DIR": str(settings.data_dir)}
    )
    assert await known(ledger, renamed, "acme.example.net") is None


async def test_a_tenant_has_a_thousand_hosts(api: Api, ledger: Ledger) -> None:
    link = await make(api)
    await ledger.operator.execute(
        """insert into app.vanity_hosts (tenant_id, vanity_host_id, tenant_no, host, link_id, created_at)
        select tenant_id, gen_random_uuid(), tenant_no, 'host' || n || '.example.net', link_id, now()
        from app.links, generate_series(1, 1000) n"""
    )
    await refuse(api, link, "acme.example.net", 409, "too_many_vanity_hosts")
    first = (await api.data("/vanity-hosts", limit=1))["data"][0]
    await api.request("DELETE", f"/vanity-hosts/{first['vanity_host_id']}")
    await register(api, link, "acme.example.net")


def decode(answer: httpx.Response) -> str:
    picture = read_svg(answer.content) if "svg" in answer.headers["content-type"] else read_png(answer.content)
    (found,) = zxingcpp.read_barcodes(picture)
    return str(found.text)


async def test_a_link_is_drawn_as_a_qr_code(api: Api) -> None:
    link = await make(api, slug="spring-sale")
    await register(api, link, "acme.example.net")
    path = f"/links/{link['link_id']}/qr"
    svg = await api.get(path)
    assert svg.headers["content-type"] == "image/svg+xml"
    assert (svg.status_code, decode(svg)) == (200, "https://pod.example.com/go/spring-sale")
    png = await api.get(path, format="png", size=300)
    assert png.headers["content-type"] == "image/png"
    assert decode(png) == link["short_url"]
    assert decode(await api.get(path, host="ACME.example.net", format="png")) == "https://acme.example.net/"
    problem(await api.get(path, host="other.example.net"), 404, "not_found")
    for query, code in (
        ({"format": "gif"}, "invalid"),
        ({"size": 127}, "invalid"),
        ({"size": 4097}, "invalid"),
        ({"host": "a b"}, "host_invalid"),
        ({"margin": 1}, "unknown_parameter"),
    ):
        problem(await api.get(path, **query), 422, code)
    await api.request("DELETE", f"/links/{link['link_id']}")
    problem(await api.get(path), 404, "not_found")


async def test_without_a_public_address_there_is_nothing_to_draw_but_a_vanity_host(
    api: Api, settings: Settings
) -> None:
    link = await make(api)
    await register(api, link, "acme.example.net")
    assert settings.database is not None
    nameless = load_settings(
        {"DATABASE_URL": str(settings.database.url), "CASTLEDGER_DATA_DIR": str(settings.data_dir)}
    )
    async with open_resources(nameless) as resources, Api.open(create_app(resources), api.key) as other:
        path = f"/links/{link['link_id']}/qr"
        problem(await other.get(path), 409, "no_public_url")
        assert decode(await other.get(path, host="acme.example.net")) == "https://acme.example.net/"
