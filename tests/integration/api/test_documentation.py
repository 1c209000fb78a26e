"""The documentation is complete, and needs nobody else's server to be read."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from api.app import create_app
from api.docs_page import render_page
from api.openapi import build_document, list_operations
from api.resources import Resources
from tests.integration.api.ledger import Api

pytestmark = pytest.mark.anyio


class References(HTMLParser):
    """Collects what a page loads or links to, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[tuple[str, str]] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "action", "style", "onclick") or (tag == "link" and name == "href"):
                self.loaded.append((tag, value or ""))
            elif name == "href":
                self.links.append(value or "")
            elif name == "id":
                self.anchors.add(value or "")


def refs_in(document: Any) -> set[str]:
    """List every ``$ref`` of a document."""
    if isinstance(document, dict):
        own = {document["$ref"]} if "$ref" in document else set()
        return own.union(*(refs_in(value) for value in document.values()))
    if isinstance(document, list):
        return set().union(*(refs_in(value) for value in document))
    return set()


async def test_the_document_describes_every_route_and_leads_nowhere(api: Api) -> None:
    document = await api.data("/openapi.json")
    assert document["openapi"] == "3.1.0"
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert operations == {
        ("get", "/api/v1/campaign-standings"),
        ("get", "/api/v1/campaigns/{campaign_id}/delivery"),
        ("get", "/api/v1/campaigns/{campaign_id}/performance"),
        ("get", "/api/v1/campaigns/{campaign_id}/reach"),
        ("get", "/api/v1/flights/{flight_id}/delivery"),
        ("get", "/api/v1/health"),
        ("get", "/api/v1/insertion-orders/{insertion_order_id}/invoice"),
        ("post", "/api/v1/podcasts"),
        ("get", "/api/v1/podcasts"),
        ("get", "/api/v1/podcasts/{podcast_id}"),
        ("get", "/api/v1/podcasts/{podcast_id}/episodes"),
        ("post", "/api/v1/podcasts/{podcast_id}/claims"),
        ("get", "/api/v1/podcasts/{podcast_id}/unknown-hosts"),
        ("post", "/api/v1/podcasts/{podcast_id}/unknown-hosts/{host}/accept"),
        ("get", "/api/v1/podcasts/claims"),
        ("get", "/api/v1/podcasts/claims/{claim_id}"),
        ("post", "/api/v1/podcasts/claims/{claim_id}/check"),
        ("get", "/api/v1/attribution/conversions"),
        ("post", "/api/v1/attribution/conversions"),
        ("get", "/api/v1/attribution/conversions/{conversion_id}"),
        ("post", "/api/v1/attribution/conversions/{conversion_id}/adjust"),
        ("get", "/api/v1/attribution/events"),
        ("post", "/api/v1/attribution/redemptions"),
        ("post", "/api/v1/attribution/survey-answers"),
        ("get", "/api/v1/conversion-actions"),
        ("post", "/api/v1/conversion-actions"),
        ("get", "/api/v1/conversion-actions/{action_id}"),
        ("patch", "/api/v1/conversion-actions/{action_id}"),
        ("post", "/api/v1/conversion-actions/{action_id}/archive"),
        ("get", "/api/v1/flights/{flight_id}/survey-options"),
        ("post", "/api/v1/flights/{flight_id}/survey-options"),
        ("delete", "/api/v1/survey-options/{survey_option_id}"),
        ("get", "/api/v1/analytics/compare"),
        ("get", "/api/v1/analytics/curves"),
        ("get", "/api/v1/analytics/downloads"),
        ("get", "/api/v1/analytics/explain"),
        ("get", "/api/v1/analytics/hits"),
        ("get", "/api/v1/analytics/hits/{hit_id}"),
        ("get", "/api/v1/analytics/overview"),
        ("get", "/api/v1/api-keys"),
        ("get", "/api/v1/audit"),
        ("get", "/api/v1/audit/export"),
        ("post", "/api/v1/api-keys"),
        ("get", "/api/v1/api-keys/{key_id}"),
        ("patch", "/api/v1/api-keys/{key_id}"),
        ("delete", "/api/v1/api-keys/{key_id}"),
        ("post", "/api/v1/api-keys/{key_id}/rotate"),
        ("get", "/api/v1/erasures"),
        ("post", "/api/v1/erasures"),
        ("get", "/api/v1/erasures/{erasure_id}"),
        ("get", "/api/v1/ledger"),
        ("get", "/api/v1/reports"),
        ("post", "/api/v1/reports"),
        ("get", "/api/v1/reports/{report_id}"),
        ("delete", "/api/v1/reports/{report_id}"),
        ("get", "/api/v1/reports/{report_id}/file"),
        ("get", "/api/v1/reports/{report_id}/shares"),
        ("post", "/api/v1/reports/{report_id}/shares"),
        ("delete", "/api/v1/report-shares/{share_id}"),
        ("get", "/api/v1/shared/{token}"),
        ("post", "/api/v1/shared/{token}"),
        ("get", "/api/v1/restatements"),
        ("get", "/api/v1/restatements/{restatement_id}"),
        ("get", "/api/v1/spikes"),
        ("get", "/api/v1/spikes/{spike_id}"),
        ("post", "/api/v1/spikes/{spike_id}/accept"),
        ("post", "/api/v1/spikes/{spike_id}/dismiss"),
        ("post", "/api/v1/spikes/{spike_id}/revert"),
        ("get", "/api/v1/links"),
        ("post", "/api/v1/links"),
        ("get", "/api/v1/links/{link_id}"),
        ("patch", "/api/v1/links/{link_id}"),
        ("delete", "/api/v1/links/{link_id}"),
        ("post", "/api/v1/auth/invitations/accept"),
        ("get", "/api/v1/members"),
        ("patch", "/api/v1/members/{user_id}"),
        ("delete", "/api/v1/members/{user_id}"),
        ("get", "/api/v1/members/invitations"),
        ("post", "/api/v1/members/invitations"),
        ("delete", "/api/v1/members/invitations/{invitation_id}"),
        ("get", "/api/v1/roles"),
        ("post", "/api/v1/roles"),
        ("get", "/api/v1/roles/{role_id}"),
        ("patch", "/api/v1/roles/{role_id}"),
        ("delete", "/api/v1/roles/{role_id}"),
        ("get", "/api/v1/tenant"),
        ("patch", "/api/v1/tenant"),
        ("post", "/api/v1/tenant/close"),
        ("get", "/api/v1/tenant/quotas"),
        ("post", "/api/v1/tenant/reopen"),
        ("get", "/api/v1/tenant/settings"),
        ("patch", "/api/v1/tenant/settings"),
        ("get", "/api/v1/tenants"),
        ("post", "/api/v1/tenants"),
        ("get", "/api/v1/tenants/{tenant_id}"),
        ("patch", "/api/v1/tenants/{tenant_id}"),
        ("post", "/api/v1/tenants/{tenant_id}/close"),
        ("get", "/api/v1/tenants/{tenant_id}/quotas"),
        ("put", "/api/v1/tenants/{tenant_id}/quotas"),
        ("post", "/api/v1/auth/login"),
        ("post", "/api/v1/auth/logout"),
        ("post", "/api/v1/auth/password/forgot"),
        ("post", "/api/v1/auth/password/reset"),
        ("post", "/api/v1/auth/refresh"),
        ("post", "/api/v1/auth/register"),
        ("post", "/api/v1/auth/verify"),
        ("get", "/api/v1/clicks"),
        ("get", "/api/v1/links/{link_id}/clicks"),
        ("get", "/api/v1/sponsors"),
        ("post", "/api/v1/sponsors"),
        ("get", "/api/v1/sponsors/{sponsor_id}"),
        ("patch", "/api/v1/sponsors/{sponsor_id}"),
        ("post", "/api/v1/sponsors/{sponsor_id}/archive"),
        ("get", "/api/v1/sponsors/{sponsor_id}/clicks"),
        ("post", "/api/v1/sponsors/{sponsor_id}/contacts/erase"),
        ("post", "/api/v1/sponsors/{sponsor_id}/merge"),
        ("post", "/api/v1/sponsors/{sponsor_id}/restore"),
        ("post", "/api/v1/podcasts/{podcast_id}/ad-slots"),
        ("get", "/api/v1/podcasts/{podcast_id}/ad-slots"),
        ("patch", "/api/v1/ad-slots/{ad_slot_id}"),
        ("post", "/api/v1/ad-slots/{ad_slot_id}/archive"),
        ("get", "/api/v1/podcasts/{podcast_id}/inventory"),
        ("post", "/api/v1/campaigns"),
        ("get", "/api/v1/campaigns"),
        ("get", "/api/v1/campaigns/{campaign_id}"),
        ("patch", "/api/v1/campaigns/{campaign_id}"),
        ("post", "/api/v1/campaigns/{campaign_id}/schedule"),
        ("post", "/api/v1/campaigns/{campaign_id}/activate"),
        ("post", "/api/v1/campaigns/{campaign_id}/pause"),
        ("post", "/api/v1/campaigns/{campaign_id}/resume"),
        ("post", "/api/v1/campaigns/{campaign_id}/complete"),
        ("post", "/api/v1/campaigns/{campaign_id}/cancel"),
        ("post", "/api/v1/campaigns/{campaign_id}/duplicate"),
        ("post", "/api/v1/campaigns/{campaign_id}/flights"),
        ("get", "/api/v1/flights"),
        ("get", "/api/v1/flights/{flight_id}"),
        ("get", "/api/v1/campaigns/{campaign_id}/delivery"),
        ("get", "/api/v1/campaigns/{campaign_id}/performance"),
        ("get", "/api/v1/campaigns/{campaign_id}/reach"),
        ("get", "/api/v1/flights/{flight_id}/delivery"),
        ("get", "/api/v1/insertion-orders/{insertion_order_id}/invoice"),
        ("patch", "/api/v1/flights/{flight_id}"),
        ("post", "/api/v1/flights/{flight_id}/cancel"),
        ("post", "/api/v1/insertion-orders"),
        ("get", "/api/v1/insertion-orders"),
        ("get", "/api/v1/insertion-orders/{insertion_order_id}"),
        ("patch", "/api/v1/insertion-orders/{insertion_order_id}"),
        ("post", "/api/v1/insertion-orders/{insertion_order_id}/open"),
        ("post", "/api/v1/insertion-orders/{insertion_order_id}/close"),
        ("post", "/api/v1/insertion-orders/{insertion_order_id}/cancel"),
        ("post", "/api/v1/flights/{flight_id}/placements"),
        ("get", "/api/v1/placements"),
        ("get", "/api/v1/placements/{placement_id}"),
        ("patch", "/api/v1/placements/{placement_id}"),
        ("post", "/api/v1/placements/{placement_id}/go-live"),
        ("post", "/api/v1/placements/{placement_id}/verify"),
        ("post", "/api/v1/placements/{placement_id}/miss"),
        ("post", "/api/v1/placements/{placement_id}/pull"),
        ("delete", "/api/v1/vanity-hosts/{vanity_host_id}"),
        ("get", "/api/v1/attribution/leakage"),
        ("get", "/api/v1/attribution/paths/{conversion_id}"),
        ("get", "/api/v1/attribution/intake"),
        ("get", "/api/v1/attribution/runs"),
        ("get", "/api/v1/attribution/runs/{run_id}"),
        ("get", "/api/v1/links/{link_id}/qr"),
        ("get", "/api/v1/promo-codes"),
        ("get", "/api/v1/promo-codes/{promo_code_id}"),
        ("get", "/api/v1/vanity-hosts"),
        ("patch", "/api/v1/promo-codes/{promo_code_id}"),
        ("post", "/api/v1/attribution/runs"),
        ("post", "/api/v1/flights/{flight_id}/promo-codes"),
        ("post", "/api/v1/promo-codes/{promo_code_id}/archive"),
        ("post", "/api/v1/vanity-hosts"),
        ("delete", "/api/v1/users/me"),
        ("get", "/api/v1/users/me"),
        ("patch", "/api/v1/users/me"),
        ("get", "/api/v1/users/me/export"),
        ("post", "/api/v1/users/me/password"),
        ("post", "/api/v1/users/me/tenants"),
        ("patch", "/api/v1/users/me/tenants/{tenant_id}"),
        ("get", "/api/v1/users/me/sessions"),
        ("delete", "/api/v1/users/me/sessions/{session_id}"),
    }
    for method, path in operations:
        operation = document["paths"][path][method]
        assert operation["summary"]
        assert all(parameter.get("description") for parameter in operation["parameters"] if parameter["in"] == "query")
        is_of_figures = path.startswith("/api/v1/analytics/") or path.endswith(
            ("/delivery", "/invoice", "/performance", "/reach")
        )
        assert ("304" in operation["responses"]) is is_of_figures
    parts = document["components"]
    assert {ref.rsplit("/", 1)[-1] for ref in refs_in(document)} == {*parts["schemas"], *parts["headers"]}
    downloads = document["paths"]["/api/v1/analytics/downloads"]["get"]
    assert [parameter["name"] for parameter in downloads["parameters"]] == [
        "podcast_id",
        "episode_id",
        "from",
        "to",
        "interval",
        "by",
        "limit",
        "tz",
    ]
    assert {"401", "422", "503"} <= set(downloads["responses"])
    assert set(document["components"]["schemas"]["DownloadsAnswer"]["properties"]) >= {"from", "to", "data", "cutoff"}
    assert document["paths"]["/api/v1/health"]["get"]["security"] == []


async def test_the_page_refers_to_nothing_outside_itself(api: Api) -> None:
    answer = await api.http.get("/api/v1/docs")
    assert answer.headers["content-type"].startswith("text/html")
    page = References()
    page.feed(answer.text)
    assert page.loaded == []
    assert not page.tags & {"script", "link", "img", "iframe", "object", "form"}
    assert {link for link in page.links if not link.startswith("#")} == {"openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.anchors
    assert "//" not in re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL).replace("<!--", "")


async def test_the_page_may_load_its_own_style_and_nothing_else(api: Api) -> None:
    policy = (await api.http.get("/api/v1/docs")).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_what_a_document_says_cannot_become_markup() -> None:
    document = {
        "info": {"title": "<b>", "version": "1", "description": "`<i>`"},
        "paths": {
            "/<x>": {
                "get": {
                    "operationId": "x",
                    "tags": ["a"],
                    "summary": "<script>alert(1)</script>",
                    "parameters": [],
                    "responses": {"200": {"description": "<u>"}},
                }
            }
        },
        "components": {"schemas": {}},
    }
    page = render_page(document)
    assert not re.search(r"<(script|i|u|b|x)>", page)
    assert "&lt;script&gt;" in page


async def test_every_operation_names_the_permission_that_it_needs(resources: Resources) -> None:
    app = create_app(resources)
    document = build_document(app, version="1")
    named = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            found = re.findall(r"Needs the permission `([a-z:]+)`\.$", operation.get("description", ""))
            named[method, path] = found
            assert "403" in operation["responses"] or operation.get("security") == [], path
    assert named["post", "/api/v1/links"] == ["links:write"]
    assert named["get", "/api/v1/health"] == []
    assert {(o.method, o.path): [] if o.permission is None else [o.permission] for o in list_operations(app)} == named
