"""What each method of either client asks for, and that both ask alike."""

from __future__ import annotations

import datetime as dt
import inspect
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
import pytest

from castledger import AsyncCastledger, Castledger, NewApiKey, Utm
from sdk.tests.asking import Answers, Ask
from sdk.tests.twin import KEY, NOW

ID = UUID(int=7)
DAY = dt.date(2026, 11, 1)
AT = dt.datetime(2026, 11, 2, 8, tzinfo=dt.UTC)
RANGE = {"from": "2026-11-01", "to": "2026-11-02T08:00:00+00:00"}
LINK = {
    "link_id": str(ID),
    "slug": "offer",
    "short_url": None,
    "url": "https://shop.example.com/",
    "target": "https://shop.example.com/",
    "utm": {"source": "show"},
    "click_id": False,
    "sponsor_id": None,
    "clicks": 3,
    "bots": 1,
    "created_at": NOW,
    "archived_at": None,
}
API_KEY = {"key_id": str(ID), "kind": "secret", "name": "n", "hint": "cl_live_abcd…", "created_at": NOW}

READS: list[tuple[Ask, str, dict[str, str]]] = [
    (lambda c: c.podcasts.list(), "/podcasts", {"limit": "200"}),
    (lambda c: c.podcasts.episodes(ID), f"/podcasts/{ID}/episodes", {"limit": "200"}),
    (lambda c: c.podcasts.unknown_hosts(ID), f"/podcasts/{ID}/unknown-hosts", {}),
    (lambda c: c.episodes.list(str(ID)), f"/podcasts/{ID}/episodes", {"limit": "200"}),
    (
        lambda c: c.episodes.curves(podcast_id=ID, origin="first_hit"),
        "/analytics/curves",
        {"limit": "200", "podcast_id": str(ID), "origin": "first_hit"},
    ),
    (
        lambda c: c.analytics.hits(podcast_id=ID, start=DAY, end=AT, verdict="bot"),
        "/analytics/hits",
        {"limit": "200", "podcast_id": str(ID), "verdict": "bot", **RANGE},
    ),
    (lambda c: c.analytics.hits(), "/analytics/hits", {"limit": "200"}),
    (lambda c: c.links.list(sponsor_id=ID), "/links", {"limit": "200", "sponsor_id": str(ID)}),
    (lambda c: c.keys.list(), "/api-keys", {"limit": "200"}),
    (
        lambda c: c.attribution.events(start=DAY, end=AT, type="purchase"),
        "/attribution/events",
        {"limit": "200", "type": "purchase", **RANGE},
    ),
]
SINGLE: list[tuple[Ask, str, dict[str, str]]] = [
    (lambda c: c.podcasts.get(ID), f"/podcasts/{ID}", {}),
    (lambda c: c.analytics.downloads(), "/analytics/downloads", {"interval": "day"}),
    (
        lambda c: c.analytics.downloads(start=DAY, end=AT, interval=None, by="app", limit=3, episode_id=ID),
        "/analytics/downloads",
        {"by": "app", "limit": "3", "episode_id": str(ID), **RANGE},
    ),
    (
        lambda c: c.analytics.overview(podcast_id=ID, start=DAY, end=AT, limit=5, tz="Europe/Berlin"),
        "/analytics/overview",
        {"podcast_id": str(ID), "limit": "5", "tz": "Europe/Berlin", **RANGE},
    ),
    (
        lambda c: c.analytics.explain(day=DAY, episode_id=ID),
        "/analytics/explain",
        {"episode_id": str(ID), "day": "2026-11-01"},
    ),
    (
        lambda c: c.analytics.compare(episode_id=ID, start=DAY, profiles=["castledger-1", "op3"]),
        "/analytics/compare",
        {"episode_id": str(ID), "profiles": "castledger-1,op3", "from": "2026-11-01"},
    ),
    (lambda c: c.analytics.hit("h_1a-ff"), "/analytics/hits/h_1a-ff", {}),
    (lambda c: c.links.get(ID), f"/links/{ID}", {}),
    (lambda c: c.links.clicks(start=DAY, end=AT), "/clicks", {"interval": "day", **RANGE}),
    (
        lambda c: c.links.clicks(ID, interval="hour", tz="Asia/Kathmandu"),
        f"/links/{ID}/clicks",
        {"interval": "hour", "tz": "Asia/Kathmandu"},
    ),
    (lambda c: c.keys.get(ID), f"/api-keys/{ID}", {}),
]
WRITES: list[tuple[Ask, str, str, Any]] = [
    (lambda c: c.podcasts.create(feed_url="https://x"), "POST", "/podcasts", {"feed_url": "https://x"}),
    (lambda c: c.podcasts.create_from_feed(b"<rss/>"), "POST", "/podcasts", None),
    (lambda c: c.podcasts.accept_host(ID, "a/b"), "POST", f"/podcasts/{ID}/unknown-hosts/a%2Fb/accept", None),
    (
        lambda c: c.links.create(url="https://x", utm=Utm(source="show"), click_id=True, sponsor_id=ID),
        "POST",
        "/links",
        {"url": "https://x", "slug": None, "utm": {"source": "show"}, "click_id": True, "sponsor_id": str(ID)},
    ),
    (
        lambda c: c.links.create(url="https://x", flight_id=ID),
        "POST",
        "/links",
        {"url": "https://x", "slug": None, "utm": {}, "click_id": False, "sponsor_id": None, "flight_id": str(ID)},
    ),
    (lambda c: c.links.update(ID, sponsor_id=None), "PATCH", f"/links/{ID}", {"sponsor_id": None}),
    (lambda c: c.links.update(ID, flight_id=None), "PATCH", f"/links/{ID}", {"flight_id": None}),
    (
        lambda c: c.links.update(ID, url="https://y", utm=Utm()),
        "PATCH",
        f"/links/{ID}",
        {"url": "https://y", "utm": {}},
    ),
    (lambda c: c.links.delete(ID), "DELETE", f"/links/{ID}", None),
    (
        lambda c: c.keys.create(name="n", scopes=("links:read",), expires_at=AT),
        "POST",
        "/api-keys",
        {
            "name": "n",
            "kind": "secret",
            "scopes": ["links:read"],
            "origins": [],
            "expires_at": "2026-11-02T08:00:00Z",
        },
    ),
    (lambda c: c.keys.update(ID, origins=()), "PATCH", f"/api-keys/{ID}", {"origins": []}),
    (lambda c: c.keys.rotate(ID, overlap=dt.timedelta(hours=1)), "POST", f"/api-keys/{ID}/rotate", {"overlap_s": 3600}),
    (lambda c: c.keys.revoke(ID), "DELETE", f"/api-keys/{ID}", None),
]
MISUSES: list[tuple[Ask, type[Exception], str]] = [
    (lambda c: c.episodes.curves(), ValueError, "podcast_id or episode_id"),
    (lambda c: c.episodes.list("nonsense"), ValueError, "badly formed"),
    (lambda c: c.links.update("../x"), ValueError, "badly formed"),
    (lambda c: c.links.clicks(start=dt.datetime(2026, 11, 1)), ValueError, "start: an instant needs"),  # noqa: DTZ001
    (lambda c: c.keys.create(name="n", expires_at=dt.datetime(2027, 1, 1)), ValueError, "expires_at: an"),  # noqa: DTZ001
    (lambda c: c.keys.create(name="n", scopes="links:read"), TypeError, "scopes: is a list"),
    (lambda c: c.keys.update(ID, origins="https://x"), TypeError, "origins: is a list"),
    (lambda c: c.analytics.compare(episode_id=ID, profiles="op3"), TypeError, "profiles: is a list"),
    (lambda c: c.analytics.compare(episode_id=ID, end=AT), ValueError, "end: is a date"),
]


@pytest.mark.parametrize(("question", "path", "params"), READS, ids=[path for _, path, _ in READS])
def test_lists_are_asked_for_and_paged(
    ask: Callable[[Ask, Answers], Any], question: Ask, path: str, params: dict[str, str]
) -> None:
    answers = Answers(
        httpx.Response(200, json={"data": [], "next_cursor": "c2"}), httpx.Response(200, json={"data": []})
    )
    assert ask(question, answers) == []
    assert [request.url.path for request in answers.asked] == [f"/api/v1{path}"] * 2
    assert [dict(request.url.params) for request in answers.asked] == [params, {**params, "cursor": "c2"}]


@pytest.mark.parametrize(("question", "path", "params"), SINGLE, ids=[path for _, path, _ in SINGLE])
def test_reads_are_asked_for(
    ask: Callable[[Ask, Answers], Any], question: Ask, path: str, params: dict[str, str]
) -> None:
    answers = Answers()
    with pytest.raises(Exception, match="asked"):
        ask(question, answers)
    [request] = answers.asked
    assert (request.method, request.url.path, dict(request.url.params)) == ("GET", f"/api/v1{path}", params)
    assert "idempotency-key" not in request.headers


@pytest.mark.parametrize(("question", "method", "path", "body"), WRITES, ids=[path for _, _, path, _ in WRITES])
def test_writes_carry_their_body_and_a_key(
    ask: Callable[[Ask, Answers], Any], question: Ask, method: str, path: str, body: Any
) -> None:
    answers = Answers()
    with pytest.raises(Exception, match="asked"):
        ask(question, answers)
    [request] = answers.asked
    assert (request.method, request.url.raw_path.decode()) == (method, f"/api/v1{path}")
    assert UUID(request.headers["idempotency-key"]).version == 4
    if body is not None:
        assert json.loads(request.content) == body
        assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(("question", "kind", "why"), MISUSES, ids=[why for _, _, why in MISUSES])
def test_misuse_is_said_before_anything_is_asked(
    ask: Callable[[Ask, Answers], Any], question: Ask, kind: type[Exception], why: str
) -> None:
    answers = Answers()
    with pytest.raises(kind, match=why):
        ask(question, answers)
    assert answers.asked == []


def test_what_is_taken_away_answers_nothing(ask: Callable[[Ask, Answers], Any]) -> None:
    assert ask(lambda c: c.links.delete(ID), Answers(httpx.Response(204))) is None
    assert ask(lambda c: c.keys.revoke(ID), Answers(httpx.Response(204))) is None


def test_links_are_read(ask: Callable[[Ask, Answers], Any]) -> None:
    link = ask(lambda c: c.links.get(ID), Answers(httpx.Response(200, json=LINK)))
    assert (link.link_id, link.slug, link.utm) == (ID, "offer", Utm(source="show"))
    assert link.created_at == AT


def test_a_new_keys_text_is_told_and_not_shown(ask: Callable[[Ask, Answers], Any]) -> None:
    new = {**API_KEY, "key": KEY}
    made = ask(lambda c: c.keys.create(name="n"), Answers(httpx.Response(201, json=new)))
    assert isinstance(made, NewApiKey)
    assert made.key == KEY
    assert KEY not in f"{made} {made!r} {[made]} {made.__rich_repr__()}"


def test_both_clients_have_the_same_surface() -> None:
    with Castledger(KEY, transport=httpx.MockTransport(Answers())) as one:
        other = AsyncCastledger(KEY, transport=httpx.MockTransport(Answers()))
        nouns = {name for name in vars(one) if not name.startswith("_")}
        assert nouns == {name for name in vars(other) if not name.startswith("_")}
        assert nouns >= {"podcasts", "episodes", "analytics", "links", "keys", "attribution"}
        for noun in nouns:
            ours, theirs = getattr(one, noun), getattr(other, noun)
            methods = {name for name in dir(ours) if not name.startswith("_")}
            assert methods == {name for name in dir(theirs) if not name.startswith("_")}
            for name in methods:
                method, twin = getattr(ours, name), getattr(theirs, name)
                assert inspect.signature(method) == inspect.signature(twin)
                assert inspect.getdoc(method) == inspect.getdoc(twin)
                assert (method.__name__, twin.__name__) == (name, name)
                assert not inspect.iscoroutinefunction(method)
                assert inspect.iscoroutinefunction(twin) is not inspect.signature(twin).return_annotation.startswith(
                    "Items["
                )


def test_a_method_shows_what_it_takes_and_what_it_answers() -> None:
    with Castledger(KEY, transport=httpx.MockTransport(Answers())) as client:
        assert str(inspect.signature(client.links.get)) == "(link_id: 'UUID | str') -> 'Link'"
        assert str(inspect.signature(client.keys.revoke)) == "(key_id: 'UUID | str') -> 'None'"
        assert str(inspect.signature(client.keys.list)) == "() -> 'Items[ApiKey]'"
        assert client.links.get.__doc__ == "Read one link."
