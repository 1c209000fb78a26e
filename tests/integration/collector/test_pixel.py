"""``/p.gif`` and ``/c.js`` as they are served: always an image, and an event only where somebody may be counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID, uuid4

import httpx
import pytest

from analytics_core.addresses import pack_address
from analytics_core.events import EventSource
from analytics_core.links import format_click_id
from ingest.collector.app import MAX_SCRIPT_BYTES
from tests.collectors import ORIGIN, CollectorProcess, Keys, write_keys


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("collector")


@pytest.fixture(scope="module")
def keys(folder: Path) -> Keys:
    return write_keys(folder)


@pytest.fixture(scope="module")
def collector(folder: Path, keys: Keys) -> Iterator[CollectorProcess]:
    with CollectorProcess(folder, COLLECTOR_NETWORK_RATE="0") as process:
        yield process


def look(collector: CollectorProcess, query: dict[str, str], **headers: str) -> httpx.Response:
    answer = collector.client.get(f"/p.gif?{urlencode(query)}", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/gif"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "set-cookie" not in answer.headers
    assert len(answer.content) == 43
    assert answer.content.startswith(b"GIF89a\x01\x00\x01\x00")
    return answer


def test_an_image_carries_an_event(collector: CollectorProcess, keys: Keys) -> None:
    event_id, click_id = uuid4(), uuid4()
    query = {
        "k": keys.publishable,
        "t": "signup",
        "c": format_click_id(click_id),
        "p": "SAVE20",
        "u": "https://shop.example.com/thanks?utm_source=a&b=ü",
        "e": str(event_id),
        "z": "unknown",
    }
    look(collector, query, Referer=f"{ORIGIN}/", **{"User-Agent": "Mozilla/5.0 (X11)"})
    stored = collector.events()[-1]
    record = stored.record
    assert (record.tenant_no, record.event_id, record.type, record.click_id) == (7, event_id, "signup", click_id)
    assert (record.promo_code, record.url) == ("SAVE20", "https://shop.example.com/thanks?utm_source=a&b=ü")
    assert (record.source, record.agent) == (EventSource.PIXEL, "Mozilla/5.0 (X11)")
    assert stored.address == pack_address("127.0.0.1")


def test_without_more_than_a_key_it_is_a_view_of_the_page_that_shows_it(
    collector: CollectorProcess, keys: Keys
) -> None:
    seen: set[UUID] = set()
    for headers in ({"Referer": f"{ORIGIN}/a?b=c"}, {}):
        look(collector, {"k": keys.publishable}, **headers)
        record = collector.events()[-1].record
        assert (record.type, record.url) == ("page_view", headers.get("Referer"))
        seen.add(record.event_id)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("query", "headers", "reason"),
    [
        ({}, {"DNT": "1"}, "privacy"),
        ({}, {"Sec-GPC": "1"}, "privacy"),
        ({}, {"Sec-Purpose": "prefetch;prerender"}, "prefetch"),
        ({}, {"Purpose": "prefetch"}, "prefetch"),
        ({}, {"X-Moz": "prefetch"}, "prefetch"),
        ({}, {"X-Purpose": "preview"}, "prefetch"),
        ({"k": ""}, {}, "key"),
        ({"k": "cl_pub_nobody"}, {}, "key"),
        ({"k": "secret"}, {}, "key"),
        ({}, {"Referer": "https://evil.example/"}, "key"),
        ({"t": "Page View"}, {}, "invalid"),
        ({"c": "x"}, {}, "invalid"),
        ({"e": "5"}, {}, "invalid"),
        ({"u": "javascript:alert(1)"}, {}, "invalid"),
        ({"p": "x" * 65}, {}, "invalid"),
        ({"z": "x" * 9000}, {}, "invalid"),
    ],
)
def test_an_image_is_answered_and_left_out_and_why_is_counted(
    collector: CollectorProcess, keys: Keys, query: dict[str, str], headers: dict[str, str], reason: str
) -> None:
    series = "castledger_collector_unrecorded_pixels_total"
    before, recorded = collector.metric(series, reason=reason), len(collector.events())
    if query.get("k") == "secret":
        query = {"k": keys.secret}
    look(collector, {"k": keys.publishable, **query}, **headers)
    assert collector.metric(series, reason=reason) == before + 1
    assert len(collector.events()) == recorded


def test_asking_for_the_head_alone_shows_nobody_anything(collector: CollectorProcess, keys: Keys) -> None:
    recorded = len(collector.events())
    answer = collector.client.head(f"/p.gif?k={keys.publishable}")
    assert (answer.status_code, answer.headers["content-length"]) == (200, "43")
    assert len(collector.events()) == recorded


def test_the_script_is_small_and_may_be_kept_for_an_hour(collector: CollectorProcess) -> None:
    answer = collector.client.get("/c.js")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert 0 < len(answer.content) <= MAX_SCRIPT_BYTES
    assert b"cookie" not in answer.content.lower().replace(b"no cookies", b"")
    assert b"Storage" not in answer.content
