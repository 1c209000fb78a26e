"""What the nouns of sponsorship ask for, alike with both clients, and what they read."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castledger import (
    APIError,
    AttributionResult,
    Castledger,
    Conflict,
    Contact,
    NewShare,
    NotFound,
    Podcast,
    Report,
    Sponsor,
    Targeting,
    Utm,
    ValidationError,
)
from castledger._requests import Call
from sdk.tests.asking import Answers, Ask, Asking
from sdk.tests.servers import Installation
from sdk.tests.twin import KEY, NOW

ID, OTHER = UUID(int=7), UUID(int=8)
DAY, END = dt.date(2026, 11, 1), dt.date(2026, 12, 1)
AT = dt.datetime(2026, 11, 2, 8, tzinfo=dt.UTC)
PAGE = {"limit": "200"}
SPONSOR = {
    "sponsor_id": str(ID),
    "name": "Acme",
    "domain": None,
    "category": None,
    "contacts": [{"name": "Ana", "email": "ana@shop.example.com", "phone": None, "role": None}],
    "targeting": {"countries": ["DE"], "categories": [], "exclusions": []},
    "links": 2,
    "version": 3,
    "created_at": NOW,
    "archived_at": None,
}
REPORT: dict[str, Any] = {
    "report_id": str(ID),
    "kind": "sponsor",
    "format": "csv",
    "params": {},
    "status": "queued",
    "done_ppm": 0,
    "has_file": False,
    "created_at": NOW,
    "expires_at": NOW,
}
RUN: dict[str, Any] = {
    "run_id": str(ID),
    "sponsor_id": str(ID),
    "from": NOW,
    "to": NOW,
    "models": ["last"],
    "params": {},
    "params_hash": "00",
    "status": "queued",
    "done_ppm": 0,
    "cutoff_at": NOW,
    "code_version": "1",
    "created_at": NOW,
}
SHARE = {
    "share_id": str(ID),
    "report_id": str(ID),
    "state": "open",
    "has_password": False,
    "expires_at": NOW,
    "views": 0,
    "created_at": NOW,
}

LISTS: list[tuple[Ask, str, dict[str, str]]] = [
    (lambda c: c.sponsors.list(state="archived"), "/sponsors", {"state": "archived"}),
    (lambda c: c.insertion_orders.list(sponsor_id=ID), "/insertion-orders", {"sponsor_id": str(ID)}),
    (
        lambda c: c.campaigns.list(sponsor_id=ID, insertion_order_id=OTHER),
        "/campaigns",
        {"sponsor_id": str(ID), "insertion_order_id": str(OTHER)},
    ),
    (lambda c: c.campaigns.flights(str(ID)), "/flights", {"campaign_id": str(ID)}),
    (
        lambda c: c.campaigns.placements(episode_id=ID, podcast_id=OTHER),
        "/placements",
        {"episode_id": str(ID), "podcast_id": str(OTHER)},
    ),
    (
        lambda c: c.promo_codes.list(flight_id=ID, code="SAVE20"),
        "/promo-codes",
        {"flight_id": str(ID), "code": "SAVE20"},
    ),
    (lambda c: c.conversions.actions(sponsor_id=ID), "/conversion-actions", {"sponsor_id": str(ID)}),
    (
        lambda c: c.conversions.list(action_id=ID, start=DAY, end=AT),
        "/attribution/conversions",
        {"action_id": str(ID), "from": "2026-11-01", "to": "2026-11-02T08:00:00+00:00"},
    ),
    (lambda c: c.campaigns.standings(sponsor_id=ID), "/campaign-standings", {"sponsor_id": str(ID)}),
    (lambda c: c.ad_slots.list(ID), f"/podcasts/{ID}/ad-slots", {}),
    (lambda c: c.conversions.survey_options(str(ID)), f"/flights/{ID}/survey-options", {}),
    (lambda c: c.links.vanity_hosts(link_id=ID), "/vanity-hosts", {"link_id": str(ID)}),
    (lambda c: c.links.list(flight_id=ID), "/links", {"flight_id": str(ID)}),
    (lambda c: c.attribution.runs(), "/attribution/runs", {}),
    (lambda c: c.reports.list(), "/reports", {}),
    (lambda c: c.reports.shares(ID), f"/reports/{ID}/shares", {}),
]
READS: list[tuple[Ask, str, dict[str, str]]] = [
    (lambda c: c.sponsors.get(ID), f"/sponsors/{ID}", {}),
    (
        lambda c: c.sponsors.clicks(ID, start=DAY, interval="week", tz="Europe/Berlin"),
        f"/sponsors/{ID}/clicks",
        {"from": "2026-11-01", "interval": "week", "tz": "Europe/Berlin"},
    ),
    (lambda c: c.insertion_orders.get(ID), f"/insertion-orders/{ID}", {}),
    (lambda c: c.campaigns.get(ID), f"/campaigns/{ID}", {}),
    (
        lambda c: c.campaigns.performance(ID, run_id=OTHER),
        f"/campaigns/{ID}/performance",
        {"run_id": str(OTHER)},
    ),
    (lambda c: c.campaigns.delivery(ID), f"/campaigns/{ID}/delivery", {}),
    (lambda c: c.campaigns.reach(ID), f"/campaigns/{ID}/reach", {}),
    (lambda c: c.campaigns.flight_delivery(ID), f"/flights/{ID}/delivery", {}),
    (lambda c: c.insertion_orders.invoice(ID), f"/insertion-orders/{ID}/invoice", {}),
    (
        lambda c: c.insertion_orders.invoice(ID, run_id=OTHER),
        f"/insertion-orders/{ID}/invoice",
        {"run_id": str(OTHER)},
    ),
    (lambda c: c.links.qr(ID), f"/links/{ID}/qr", {"format": "svg"}),
    (
        lambda c: c.links.qr(str(ID), format="png", size=256, host="acme.show.example.net"),
        f"/links/{ID}/qr",
        {"format": "png", "size": "256", "host": "acme.show.example.net"},
    ),
    (lambda c: c.campaigns.get_flight(ID), f"/flights/{ID}", {}),
    (lambda c: c.campaigns.get_placement(ID), f"/placements/{ID}", {}),
    (lambda c: c.promo_codes.get(ID), f"/promo-codes/{ID}", {}),
    (lambda c: c.conversions.get_action(ID), f"/conversion-actions/{ID}", {}),
    (lambda c: c.conversions.get(ID), f"/attribution/conversions/{ID}", {}),
    (lambda c: c.attribution.get_run(ID), f"/attribution/runs/{ID}", {}),
    (lambda c: c.attribution.wait(ID), f"/attribution/runs/{ID}", {}),
    (lambda c: c.attribution.path(ID, run_id=OTHER), f"/attribution/paths/{ID}", {"run_id": str(OTHER)}),
    (
        lambda c: c.attribution.leakage(ID, start=DAY, end=END),
        "/attribution/leakage",
        {"sponsor_id": str(ID), "from": "2026-11-01", "to": "2026-12-01"},
    ),
    (
        lambda c: c.attribution.intake(sponsor_id=ID, start=DAY, end=END),
        "/attribution/intake",
        {"sponsor_id": str(ID), "from": "2026-11-01", "to": "2026-12-01"},
    ),
    (lambda c: c.attribution.intake(), "/attribution/intake", {}),
    (lambda c: c.reports.get(ID), f"/reports/{ID}", {}),
    (lambda c: c.reports.wait(ID), f"/reports/{ID}", {}),
    (lambda c: c.reports.download(ID), f"/reports/{ID}/file", {}),
]
FLIGHT = {
    "name": "Spring",
    "starts_at": "2026-11-02T08:00:00Z",
    "ends_at": "2026-11-02T08:00:00Z",
    "price_amount": 2500,
}
WRITES: list[tuple[Ask, str, str, Any]] = [
    (
        lambda c: c.sponsors.create(
            name="Acme", contacts=[Contact(name="Ana")], targeting=Targeting(countries=("DE",))
        ),
        "POST",
        "/sponsors",
        {
            "name": "Acme",
            "contacts": [{"name": "Ana"}],
            "targeting": {"countries": ["DE"], "categories": [], "exclusions": []},
        },
    ),
    (lambda c: c.sponsors.update(ID, domain=None), "PATCH", f"/sponsors/{ID}", {"domain": None}),
    (lambda c: c.sponsors.archive(ID), "POST", f"/sponsors/{ID}/archive", None),
    (lambda c: c.sponsors.restore(ID), "POST", f"/sponsors/{ID}/restore", None),
    (lambda c: c.sponsors.merge(ID, into=OTHER), "POST", f"/sponsors/{ID}/merge", {"into": str(OTHER)}),
    (lambda c: c.sponsors.erase_contacts(ID), "POST", f"/sponsors/{ID}/contacts/erase", None),
    (
        lambda c: c.insertion_orders.create(sponsor_id=ID, name="Spring", currency="EUR"),
        "POST",
        "/insertion-orders",
        {"sponsor_id": str(ID), "name": "Spring", "currency": "EUR", "reference": None},
    ),
    (lambda c: c.insertion_orders.update(ID, reference=None), "PATCH", f"/insertion-orders/{ID}", {"reference": None}),
    (lambda c: c.insertion_orders.open(ID), "POST", f"/insertion-orders/{ID}/open", None),
    (lambda c: c.insertion_orders.close(ID), "POST", f"/insertion-orders/{ID}/close", None),
    (lambda c: c.insertion_orders.cancel(ID), "POST", f"/insertion-orders/{ID}/cancel", None),
    (
        lambda c: c.campaigns.create(
            sponsor_id=ID,
            name="Spring",
            starts_on=DAY,
            ends_on=END,
            pricing="cpm",
            budget_amount=500_000,
            currency="EUR",
            model="linear",
            window_days=30,
        ),
        "POST",
        "/campaigns",
        {
            "sponsor_id": str(ID),
            "name": "Spring",
            "starts_on": "2026-11-01",
            "ends_on": "2026-12-01",
            "pricing": "cpm",
            "budget_amount": 500_000,
            "currency": "EUR",
            "insertion_order_id": None,
            "model": "linear",
            "window_days": 30,
        },
    ),
    (
        lambda c: c.campaigns.update(ID, name="Summer", window_days=14),
        "PATCH",
        f"/campaigns/{ID}",
        {"name": "Summer", "window_days": 14},
    ),
    *(
        (lambda c, step=step: getattr(c.campaigns, step)(ID), "POST", f"/campaigns/{ID}/{step}", None)
        for step in ("schedule", "activate", "pause", "resume", "complete", "cancel")
    ),
    (
        lambda c: c.campaigns.create_flight(
            ID, name="Spring", starts_at=AT, ends_at=AT, price_amount=2500, booked_impressions=10_000
        ),
        "POST",
        f"/campaigns/{ID}/flights",
        {**FLIGHT, "makegood_of": None, "booked_impressions": 10_000},
    ),
    (lambda c: c.campaigns.update_flight(ID, window_days=None), "PATCH", f"/flights/{ID}", {"window_days": None}),
    (lambda c: c.campaigns.duplicate(ID), "POST", f"/campaigns/{ID}/duplicate", {"name": None}),
    (lambda c: c.campaigns.cancel_flight(ID), "POST", f"/flights/{ID}/cancel", None),
    (
        lambda c: c.campaigns.create_placement(
            ID, episode_id=OTHER, position="mid", delivery="baked_in", live_from=AT, live_until=AT, offset_s=600
        ),
        "POST",
        f"/flights/{ID}/placements",
        {
            "episode_id": str(OTHER),
            "position": "mid",
            "delivery": "baked_in",
            "live_from": NOW,
            "live_until": NOW,
            "offset_s": 600,
        },
    ),
    (lambda c: c.campaigns.update_placement(ID, live_until=AT), "PATCH", f"/placements/{ID}", {"live_until": NOW}),
    (lambda c: c.campaigns.move_placement(ID, "go-live"), "POST", f"/placements/{ID}/go-live", None),
    (
        lambda c: c.ad_slots.create(ID, name="Middle", position="mid", per_episode=2),
        "POST",
        f"/podcasts/{ID}/ad-slots",
        {"name": "Middle", "position": "mid", "per_episode": 2},
    ),
    (lambda c: c.ad_slots.update(ID, max_seconds=None), "PATCH", f"/ad-slots/{ID}", {"max_seconds": None}),
    (lambda c: c.ad_slots.archive(ID), "POST", f"/ad-slots/{ID}/archive", None),
    (
        lambda c: c.links.create_vanity_host(ID, host="acme.show.example.net"),
        "POST",
        "/vanity-hosts",
        {"link_id": str(ID), "host": "acme.show.example.net"},
    ),
    (lambda c: c.links.delete_vanity_host(ID), "DELETE", f"/vanity-hosts/{ID}", None),
    (
        lambda c: c.conversions.create_survey_option(ID, answer="Castle Talk"),
        "POST",
        f"/flights/{ID}/survey-options",
        {"answer": "Castle Talk"},
    ),
    (lambda c: c.conversions.delete_survey_option(ID), "DELETE", f"/survey-options/{ID}", None),
    (
        lambda c: c.promo_codes.create(ID, count=3, prefix="CASTLE", max_redemptions=100),
        "POST",
        f"/flights/{ID}/promo-codes",
        {"code": None, "count": 3, "prefix": "CASTLE", "length": None, "max_redemptions": 100},
    ),
    (lambda c: c.promo_codes.update(ID, valid_until=None), "PATCH", f"/promo-codes/{ID}", {"valid_until": None}),
    (lambda c: c.promo_codes.archive(ID), "POST", f"/promo-codes/{ID}/archive", None),
    (
        lambda c: c.conversions.create_action(sponsor_id=ID, name="Order", category="purchase", event_type="purchase"),
        "POST",
        "/conversion-actions",
        {"sponsor_id": str(ID), "name": "Order", "category": "purchase", "event_type": "purchase"},
    ),
    (
        lambda c: c.conversions.update_action(ID, counting="one"),
        "PATCH",
        f"/conversion-actions/{ID}",
        {"counting": "one"},
    ),
    (lambda c: c.conversions.archive_action(ID), "POST", f"/conversion-actions/{ID}/archive", None),
    (
        lambda c: c.conversions.create(
            action_id=ID, external_id="o-1", value_amount=4999, currency="EUR", occurred_at=AT
        ),
        "POST",
        "/attribution/conversions",
        {"action_id": str(ID), "external_id": "o-1", "value_amount": 4999, "currency": "EUR", "occurred_at": NOW},
    ),
    (
        lambda c: c.conversions.create_many([{"action_id": ID, "external_id": "o-1", "promo_code": "SAVE20"}]),
        "POST",
        "/attribution/conversions",
        {"conversions": [{"action_id": str(ID), "external_id": "o-1", "promo_code": "SAVE20"}]},
    ),
    (
        lambda c: c.conversions.adjust(ID, kind="restate", value_amount=1000, external_id="r-1"),
        "POST",
        f"/attribution/conversions/{ID}/adjust",
        {"kind": "restate", "value_amount": 1000, "external_id": "r-1", "reason": None, "adjusted_at": None},
    ),
    (
        lambda c: c.conversions.answer_survey(action_id=ID, external_id="o-1", answer="Castle Talk"),
        "POST",
        "/attribution/survey-answers",
        {"action_id": str(ID), "external_id": "o-1", "answer": "Castle Talk"},
    ),
    (
        lambda c: c.attribution.create_run(sponsor_id=ID, start=DAY, end=END, models=["last", "shapley"]),
        "POST",
        "/attribution/runs",
        {"sponsor_id": str(ID), "from": "2026-11-01", "to": "2026-12-01", "models": ["last", "shapley"]},
    ),
    (
        lambda c: c.reports.create(kind="sponsor", format="csv", start=DAY, end=END, sponsor_id=ID),
        "POST",
        "/reports",
        {"kind": "sponsor", "format": "csv", "from": "2026-11-01", "to": "2026-12-01", "sponsor_id": str(ID)},
    ),
    (
        lambda c: c.reports.share(ID, expires_at=AT, max_views=3),
        "POST",
        f"/reports/{ID}/shares",
        {"expires_at": NOW, "password": None, "max_views": 3},
    ),
    (lambda c: c.reports.delete(ID), "DELETE", f"/reports/{ID}", None),
    (lambda c: c.reports.revoke_share(ID), "DELETE", f"/report-shares/{ID}", None),
]
VERSIONED: list[Ask] = [
    lambda c: c.sponsors.update(ID, name="Acme", version=7),
    lambda c: c.sponsors.merge(ID, into=OTHER, version=7),
    lambda c: c.insertion_orders.open(ID, version=7),
    lambda c: c.campaigns.update(ID, name="Summer", version=7),
    lambda c: c.campaigns.pause(ID, version=7),
    lambda c: c.campaigns.update_flight(ID, name="Summer", version=7),
    lambda c: c.campaigns.move_placement(ID, "pull", version=7),
    lambda c: c.conversions.update_action(ID, name="Order", version=7),
    lambda c: c.ad_slots.update(ID, name="Middle", version=7),
    lambda c: c.ad_slots.archive(ID, version=7),
]


@pytest.mark.parametrize(("question", "path", "params"), LISTS, ids=[path for _, path, _ in LISTS])
def test_lists_are_paged(ask: Asking, question: Ask, path: str, params: dict[str, str]) -> None:
    answers = Answers(
        httpx.Response(200, json={"data": [], "next_cursor": "c2"}), httpx.Response(200, json={"data": []})
    )
    assert ask(question, answers) == []
    assert [request.url.path for request in answers.asked] == [f"/api/v1{path}"] * 2
    assert [dict(request.url.params) for request in answers.asked] == [PAGE | params, PAGE | params | {"cursor": "c2"}]


@pytest.mark.parametrize(("question", "path", "params"), READS, ids=[path for _, path, _ in READS])
def test_reads_are_asked_for(ask: Asking, question: Ask, path: str, params: dict[str, str]) -> None:
    answers = Answers()
    with pytest.raises(Exception, match="asked"):
        ask(question, answers)
    [request] = answers.asked
    assert (request.method, request.url.path, dict(request.url.params)) == ("GET", f"/api/v1{path}", params)


@pytest.mark.parametrize(("question", "method", "path", "body"), WRITES, ids=[path for _, _, path, _ in WRITES])
def test_writes_carry_their_body_and_a_key(ask: Asking, question: Ask, method: str, path: str, body: Any) -> None:
    answers = Answers()
    with pytest.raises(Exception, match="asked"):
        ask(question, answers)
    [request] = answers.asked
    assert (request.method, request.url.path) == (method, f"/api/v1{path}")
    assert UUID(request.headers["idempotency-key"]).version == 4
    assert "if-match" not in request.headers
    assert (json.loads(request.content) if request.content else None) == body


def test_a_shops_list_is_sent_as_it_is(ask: Asking) -> None:
    answers = Answers()
    with pytest.raises(Exception, match="asked"):
        ask(lambda c: c.conversions.take_redemptions(b"order;code\n", action_id=ID, tz="UTC", dry_run=True), answers)
    [request] = answers.asked
    assert (request.method, request.url.path, request.content) == (
        "POST",
        "/api/v1/attribution/redemptions",
        b"order;code\n",
    )
    assert dict(request.url.params) == {"action_id": str(ID), "tz": "UTC", "dry_run": "true"}
    assert request.headers["content-type"] == "text/csv"
    assert UUID(request.headers["idempotency-key"]).version == 4


@pytest.mark.parametrize("question", VERSIONED)
def test_a_version_is_what_is_changed_and_no_other(ask: Asking, question: Ask) -> None:
    answers = Answers()
    with pytest.raises(Exception, match="asked"):
        ask(question, answers)
    assert [request.headers["if-match"] for request in answers.asked] == ['"7"']


def test_an_instant_without_a_time_zone_is_refused_before_anything_is_asked(ask: Asking) -> None:
    answers = Answers()
    naive = dt.datetime(2026, 11, 1)  # noqa: DTZ001
    with pytest.raises(ValueError, match="starts_at: an instant needs"):
        ask(lambda c: c.campaigns.create_flight(ID, name="x", starts_at=naive, ends_at=AT, price_amount=1), answers)
    with pytest.raises(ValueError, match="cutoff_at: an instant needs"):
        ask(lambda c: c.attribution.create_run(sponsor_id=ID, start=DAY, end=END, cutoff_at=naive), answers)
    assert answers.asked == []


def test_a_sponsor_is_read(ask: Asking) -> None:
    sponsor = ask(lambda c: c.sponsors.get(ID), Answers(httpx.Response(200, json=SPONSOR)))
    assert isinstance(sponsor, Sponsor)
    assert (sponsor.version, sponsor.contacts[0].email, sponsor.targeting.countries) == (
        3,
        "ana@shop.example.com",
        ("DE",),
    )


def test_an_inventory_is_one_page_of_some_days(ask: Asking) -> None:
    places = {"ad_slot_id": str(ID), "name": "Middle", "position": "mid", "total": 4, "taken": 1, "free": 3}
    answers = Answers(httpx.Response(200, json={"data": [places]}))
    [found] = ask(lambda c: c.ad_slots.inventory(ID, start=DAY, end=END), answers)
    assert (found.ad_slot_id, found.taken + found.free) == (ID, found.total)
    [request] = answers.asked
    assert request.url.path == f"/api/v1/podcasts/{ID}/inventory"
    assert dict(request.url.params) == {"from": "2026-11-01", "to": "2026-12-01"}


def test_a_file_is_fetched_as_it_is(ask: Asking) -> None:
    assert ask(lambda c: c.reports.download(ID), Answers(httpx.Response(200, content=b"\xff{}"))) == b"\xff{}"
    assert ask(lambda c: c.reports.download(ID), Answers(httpx.Response(200))) == b""


def test_a_new_shares_token_is_told_and_not_shown(ask: Asking) -> None:
    made = {"share": SHARE, "token": "secret-token", "url": "https://x/secret-token"}
    share = ask(lambda c: c.reports.share(ID, expires_at=AT), Answers(httpx.Response(201, json=made)))
    assert isinstance(share, NewShare)
    assert share.token == "secret-token"
    assert "secret" not in f"{share} {share!r} {share.__rich_repr__()}"


class Making:
    """Says of a report that it is being made, so often, and then that it is over; busy in between."""

    def __init__(self, looks: int, status: str) -> None:
        self.left = looks
        self.status = status

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        if self.left == 0:
            return httpx.Response(503)
        status = self.status if self.left < 0 else "running"
        run = {"run": {**RUN, "status": status}}
        return httpx.Response(200, json=run if "/runs/" in request.url.path else {**REPORT, "status": status})


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_whoever_waits_looks_until_it_is_over(status: str) -> None:
    waits: list[float] = []
    with Castledger(KEY, transport=httpx.MockTransport(Making(5, status)), sleep=waits.append) as client:
        report = client.reports.wait(ID)
    assert (report.report_id, report.status) == (ID, status)
    assert waits[:4] == [pytest.approx(wait_s) for wait_s in (0.1, 0.1, 0.1, 0.15)]
    with Castledger(KEY, transport=httpx.MockTransport(Making(3, status)), sleep=waits.append) as client:
        assert client.attribution.wait(ID) == AttributionResult(run=client.attribution.get_run(ID).run)


def test_patience_ends() -> None:
    waits: list[float] = []
    with Castledger(KEY, transport=httpx.MockTransport(Making(1000, "ready")), sleep=waits.append) as client:
        with pytest.raises(TimeoutError, match=r"/reports/.* is not ready after 2 s"):
            client.reports.wait(ID, timeout=2)
        with pytest.raises(TimeoutError, match="after 0 s"):
            client.reports.wait(ID, timeout=0)
    assert sum(waits) == pytest.approx(2)


def test_a_sponsors_life_in_the_real_api(installation: Installation) -> None:
    with Castledger(installation.api_key, base_url=installation.api_url) as client:
        made = client.sponsors.create(name="Castle Shop", contacts=[Contact(name="Ana", phone="+49 30 1")])
        assert client.sponsors.get(made.sponsor_id) == made
        changed = client.sponsors.update(made.sponsor_id, domain="shop.example.com", version=made.version)
        assert (changed.domain, changed.contacts) == ("shop.example.com", made.contacts)
        with pytest.raises(APIError, match="outdated"):
            client.sponsors.update(made.sponsor_id, name="Too late", version=made.version)
        with pytest.raises(Conflict, match="sponsor_name_taken"):
            client.sponsors.create(name="CASTLE shop")
        with pytest.raises(ValidationError) as refused:
            client.sponsors.update(made.sponsor_id, category="castles")
        assert [fault.pointer for fault in refused.value.errors] == ["/category"]
        other = client.sponsors.create(name="Moat Ltd")
        client.links.create(url="https://shop.example.com/", sponsor_id=made.sponsor_id)
        merged = client.sponsors.merge(made.sponsor_id, into=other.sponsor_id)
        assert (merged.sponsor.sponsor_id, merged.sponsor.links, merged.links_moved) == (other.sponsor_id, 1, 1)
        assert {one.sponsor_id for one in client.sponsors.list(state="archived")} == {made.sponsor_id}
        assert client.sponsors.erase_contacts(made.sponsor_id).contacts == ()
        assert client.sponsors.archive(other.sponsor_id).archived_at is not None
        assert client.sponsors.restore(other.sponsor_id).archived_at is None
        assert client.sponsors.clicks(other.sponsor_id).totals.clicks == 0


def test_a_campaigns_life_in_the_real_api(installation: Installation, show: Podcast) -> None:
    today = dt.datetime.now(dt.UTC).date()
    midnight, month = dt.datetime.combine(today, dt.time(), dt.UTC), dt.timedelta(days=30)
    with Castledger(installation.api_key, base_url=installation.api_url) as client:
        sponsor = client.sponsors.create(name="Drawbridge Inc")
        order = client.insertion_orders.create(sponsor_id=sponsor.sponsor_id, name="Winter", currency="EUR")
        campaign = client.campaigns.create(
            insertion_order_id=order.insertion_order_id,
            name="Winter",
            starts_on=today,
            ends_on=today + dt.timedelta(days=29),
            pricing="cpm",
            budget_amount=250_000,
            model="linear",
            window_days=30,
            utm=Utm(source="castle"),
        )
        assert (campaign.currency, campaign.status, campaign.utm) == ("EUR", "draft", {"source": "castle"})
        campaign = client.campaigns.update(campaign.campaign_id, name="Late winter", version=campaign.version)
        flight = client.campaigns.create_flight(
            campaign.campaign_id,
            name="First",
            starts_at=midnight,
            ends_at=midnight + month,
            price_amount=2500,
            booked_impressions=100_000,
        )
        flight = client.campaigns.update_flight(flight.flight_id, window_days=14, version=flight.version)
        assert list(client.campaigns.flights(campaign.campaign_id)) == [client.campaigns.get_flight(flight.flight_id)]
        episode = next(client.episodes.list(show.podcast_id))
        placement = client.campaigns.create_placement(
            flight.flight_id, episode_id=episode.episode_id, delivery="baked_in", position="mid", offset_s=600
        )
        placement = client.campaigns.update_placement(placement.placement_id, offset_s=30, version=placement.version)
        assert list(client.campaigns.placements(flight_id=flight.flight_id)) == [placement]
        with pytest.raises(Conflict, match="not_trackable"):
            client.campaigns.activate(campaign.campaign_id)
        [code] = client.promo_codes.create(flight.flight_id, code="moat 20").data
        assert len(client.promo_codes.create(flight.flight_id, count=3, prefix="MOAT").data) == 3
        assert [one.code for one in client.promo_codes.list(sponsor_id=sponsor.sponsor_id, code="Moat-20")] == [
            "MOAT20"
        ]
        assert client.promo_codes.update(code.promo_code_id, grace_days=3).grace_days == 3
        assert client.campaigns.activate(campaign.campaign_id).status == "active"
        assert client.campaigns.pause(campaign.campaign_id).status == "paused"
        assert client.campaigns.resume(campaign.campaign_id).status == "active"
        assert client.campaigns.move_placement(placement.placement_id, "go-live").status == "live"
        assert client.campaigns.duplicate(campaign.campaign_id).flights == 1
        delivery = client.campaigns.delivery(campaign.campaign_id)
        assert (delivery["booked"], delivery["makegood_owed"]) == (100_000, None)
        assert client.campaigns.reach(campaign.campaign_id)["campaign_id"] == str(campaign.campaign_id)
        assert client.insertion_orders.invoice(order.insertion_order_id)["currency"] == "EUR"
        assert client.campaigns.complete(campaign.campaign_id).status == "completed"
        with pytest.raises(Conflict, match="illegal_transition"):
            client.campaigns.resume(campaign.campaign_id)


def test_what_came_of_it_is_told_shared_and_reported_by_the_real_api(installation: Installation) -> None:
    today = dt.datetime.now(dt.UTC).date()
    midnight, morrow = dt.datetime.combine(today, dt.time(), dt.UTC), today + dt.timedelta(days=1)
    with Castledger(installation.api_key, base_url=installation.api_url) as client:
        sponsor = client.sponsors.create(name="Portcullis Ltd")
        campaign = client.campaigns.create(
            sponsor_id=sponsor.sponsor_id,
            currency="EUR",
            name="Spring",
            starts_on=today,
            ends_on=today,
            pricing="flat",
            budget_amount=1_000,
            model="last",
            window_days=30,
        )
        flight = client.campaigns.create_flight(
            campaign.campaign_id,
            name="Only",
            starts_at=midnight,
            ends_at=midnight + dt.timedelta(days=1),
            price_amount=1_000,
        )
        client.promo_codes.create(flight.flight_id, code="GATE10")
        action = client.conversions.create_action(sponsor_id=sponsor.sponsor_id, name="Order", category="purchase")
        action = client.conversions.update_action(action.action_id, name="Sale", version=action.version)
        assert list(client.conversions.actions(sponsor_id=sponsor.sponsor_id)) == [action]
        sold: dict[str, Any] = {"action_id": action.action_id, "currency": "EUR", "promo_code": "gate 10"}
        first = client.conversions.create(**sold, external_id="o-1", value_amount=4999, customer_id="u-1")
        assert client.conversions.get(first.conversion_id) == first
        with pytest.raises(Conflict, match="conversion_differs"):
            client.conversions.create(**sold, external_id="o-1", value_amount=5000)
        told = client.conversions.create_many(
            [
                {"action_id": action.action_id, "external_id": "o-2", "promo_code": "GATE10"},
                {"action_id": action.action_id, "external_id": ""},
            ]
        )
        assert [(one.status, one.code) for one in told.results] == [(201, None), (422, "validation_failed")]
        refunded = client.conversions.adjust(first.conversion_id, kind="restate", value_amount=2999, reason="Returned")
        assert (refunded.value_amount, refunded.effective_value_amount) == (4999, 2999)
        orders = f"order,occurred_at,code,value\no-3,{midnight.isoformat()},GATE10,10.00\n".encode()
        taken = client.conversions.take_redemptions(orders, action_id=action.action_id, currency="EUR", dry_run=True)
        assert (taken.created, taken.is_dry_run) == (1, True)
        assert [one.external_id for one in client.conversions.list(sponsor_id=sponsor.sponsor_id)] == ["o-1", "o-2"]
        run = client.attribution.create_run(
            sponsor_id=sponsor.sponsor_id, start=today, end=morrow, models=["last", "linear"]
        )
        found = client.attribution.wait(run.run_id, timeout=60)
        assert (found.status, found.run.models) == ("ready", ("last", "linear"))
        assert found.campaigns is not None
        [given_to] = found.campaigns
        assert given_to.campaign_id == campaign.campaign_id
        assert sum(one.conversions_ppm for one in given_to.deterministic) == 2_000_000
        assert [one.value_amount for model in given_to.models for one in model.credited if one.currency] == [2999, 2999]
        assert client.attribution.path(first.conversion_id, run_id=run.run_id)["value_amount"] == 2999
        assert client.attribution.leakage(sponsor.sponsor_id)["totals"]["redemptions"] == 2
        assert client.campaigns.performance(campaign.campaign_id, run_id=run.run_id)["run"]["run_id"] == str(run.run_id)
        report = client.reports.create(
            kind="sponsor", format="json", start=today, end=morrow, sponsor_id=sponsor.sponsor_id
        )
        report = client.reports.wait(report.report_id, timeout=60)
        assert (report.status, report.has_file) == ("ready", True)
        assert hashlib.sha256(client.reports.download(report.report_id)).hexdigest() == report.sha256
        made = client.reports.share(report.report_id, expires_at=midnight + dt.timedelta(days=3), max_views=2)
        assert list(client.reports.shares(report.report_id)) == [made.share]
        client.reports.revoke_share(made.share.share_id)
        client.reports.delete(report.report_id)
        with pytest.raises(NotFound):
            client.reports.get(report.report_id)


@given(patience_s=st.floats(0, 100_000))
def test_all_pauses_are_as_long_as_patience_is(patience_s: float) -> None:
    call = Call(Report, "GET", "/reports/x", patience_s=patience_s)
    report = Report(
        report_id=ID,
        kind="podcast",
        format="csv",
        params={},
        status="queued",
        done_ppm=0,
        has_file=False,
        created_at=AT,
        expires_at=AT,
    )
    pauses: list[float] = []
    with pytest.raises(TimeoutError):
        pauses.extend(iter(lambda: call.pause_s(report), None))
    assert sum(pauses) == pytest.approx(patience_s)
    assert all(0 < pause_s <= 5 for pause_s in pauses)
