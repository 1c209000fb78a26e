"""Both clients against a twin of the API that remembers what it was asked."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

import castledger
from castledger import (
    APIConnectionError,
    APITimeout,
    AsyncCastledger,
    AuthenticationError,
    Castledger,
    ConfigurationError,
    Conflict,
    NotFound,
    ServerError,
    ValidationError,
)

KEY = "cl_live_" + "a" * 38
NOW = "2026-11-02T08:00:00Z"
PODCASTS = [
    {
        "podcast_id": str(UUID(int=number)),
        "title": f"Show {number}",
        "podcast_guid": str(UUID(int=100 + number)),
        "verified": True,
        "episodes": 3,
        "created_at": NOW,
        "something_new": 1,
    }
    for number in range(5)
]
REPORT = {
    "data": [{"start": NOW, "key": None, "downloads": 7, "downloads_strict": 6, "listeners": 5}] * 2,
    "profile": "castledger-1",
    "state": "provisional",
    "partial": False,
    "cutoff": NOW,
}


class API:
    """A twin of the API: five podcasts in pages of two, and a report."""

    def __init__(self, *first: httpx.Response | Exception) -> None:
        self.first = list(first)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.first:
            answer = self.first.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if request.url.path == "/api/v1/podcasts" and request.method == "GET":
            at = int(request.url.params.get("cursor", "0"))
            following = str(at + 2) if at + 2 < len(PODCASTS) else None
            return httpx.Response(200, json={"data": PODCASTS[at : at + 2], "next_cursor": following})
        if request.url.path == "/api/v1/podcasts":
            return httpx.Response(201, json=PODCASTS[0])
        return httpx.Response(200, json=REPORT)


def problem(status: int, code: str, **more: Any) -> httpx.Response:
    body = {"code": code, "title": "T", "detail": "Because.", "request_id": "r-1", **more}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json"})


def client(api: API, **options: Any) -> Castledger:
    return Castledger(KEY, transport=httpx.MockTransport(api), **options)


def test_lists_page_by_themselves() -> None:
    api = API()
    with client(api) as ledger:
        assert [podcast.title for podcast in ledger.podcasts.list()] == [f"Show {number}" for number in range(5)]
    assert [request.url.params.get("cursor") for request in api.asked] == [None, "2", "4"]
    assert {request.headers["authorization"] for request in api.asked} == {f"Bearer {KEY}"}


@pytest.mark.anyio
async def test_the_asynchronous_client_does_the_same() -> None:
    api = API()
    async with AsyncCastledger(KEY, transport=httpx.MockTransport(api)) as ledger:
        assert [podcast.title async for podcast in ledger.podcasts.list()] == [f"Show {n}" for n in range(5)]
        report = await ledger.analytics.downloads(start=dt.date(2026, 11, 1), end=dt.date(2026, 12, 1))
        assert report.total == 14


def test_a_report_is_asked_for_and_read() -> None:
    api = API()
    start = dt.datetime(2026, 11, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    with client(api) as ledger:
        report = ledger.analytics.downloads(podcast_id=UUID(int=1), start=start, end=dt.date(2026, 12, 1), by="app")
    assert dict(api.asked[0].url.params) == {
        "podcast_id": str(UUID(int=1)),
        "interval": "day",
        "by": "app",
        "from": "2026-11-01T00:00:00+01:00",
        "to": "2026-12-01",
    }
    assert report.data[0].start == dt.datetime(2026, 11, 2, 8, tzinfo=dt.UTC)
    assert report.total == 14


def test_naive_instants_and_odd_questions_are_refused_before_asking() -> None:
    api = API()
    naive = dt.datetime(2026, 11, 1)  # noqa: DTZ001 - that is the point
    with client(api) as ledger:
        with pytest.raises(ValueError, match="time zone"):
            ledger.analytics.downloads(start=naive, end=dt.date(2026, 12, 1))
        with pytest.raises(ValueError, match="either"):
            ledger.analytics.explain(day=dt.date(2026, 11, 1))
        with pytest.raises(ValueError, match="badly formed"):
            ledger.podcasts.get("../secrets")
        with pytest.raises(ValueError, match="h_1a-ff"):
            ledger.analytics.hit("h_/../x")
    assert api.asked == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationError), (404, NotFound), (409, Conflict), (422, ValidationError), (500, ServerError)],
)
def test_errors_are_typed_and_carry_what_to_quote(status: int, kind: type[castledger.APIError]) -> None:
    fault = {"pointer": "/feed_url", "code": "not_a_feed", "message": "No RSS."}
    with client(API(problem(status, "some_code", errors=[fault]))) as ledger, pytest.raises(kind) as caught:
        ledger.podcasts.create(feed_url="https://x.example.org/feed")
    error = caught.value
    assert (error.status, error.code, error.request_id) == (status, "some_code", "r-1")
    assert "r-1" in str(error)
    assert error.errors[0].pointer == "/feed_url"


def test_an_error_that_is_no_problem_document_is_still_an_error() -> None:
    api = API(httpx.Response(500, text="<html>oops", headers={"X-Request-Id": "r-2"}))
    with client(api) as ledger, pytest.raises(ServerError, match="r-2"):
        list(ledger.podcasts.list())


def test_something_else_than_castledger_is_told() -> None:
    with client(API(httpx.Response(200, text="hello"))) as ledger, pytest.raises(APIConnectionError):
        list(ledger.podcasts.list())


def test_reads_are_repeated_and_wait_as_asked() -> None:
    waits: list[float] = []
    api = API(httpx.ConnectError("no"), httpx.Response(429, headers={"Retry-After": "7"}))
    with client(api, sleep=waits.append) as ledger:
        assert len(list(ledger.podcasts.list())) == 5
    assert waits[1] == 7
    assert 0 < waits[0] <= 0.25


def test_reads_are_given_up_in_the_end() -> None:
    api = API(*[httpx.ReadTimeout("slow") for _ in range(3)])
    with client(api, sleep=lambda _: None) as ledger, pytest.raises(APITimeout):
        list(ledger.podcasts.list())
    assert len(api.asked) == 3


def test_writes_are_not_repeated_and_have_a_key_of_their_own() -> None:
    api = API(problem(503, "unavailable"))
    with client(api) as ledger:
        with pytest.raises(ServerError):
            ledger.podcasts.create(feed_url="https://x.example.org/feed")
        ledger.podcasts.create_from_feed(b"<rss/>")
    assert len(api.asked) == 2
    assert api.asked[0].headers["idempotency-key"] != api.asked[1].headers["idempotency-key"]
    assert json.loads(api.asked[0].content) == {"feed_url": "https://x.example.org/feed"}
    assert api.asked[1].headers["content-type"] == "application/rss+xml"


@pytest.mark.parametrize(
    "options",
    [{"api_key": "hunter2"}, {"base_url": "ftp://x"}, {"timeout": 0}, {"max_retries": -1}],
)
def test_misuse_raises_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        Castledger(**{"api_key": KEY, **options})


def test_the_key_is_not_shown() -> None:
    with client(API()) as ledger:
        assert KEY not in repr(ledger)


def test_what_is_exported_is_there_and_sorted() -> None:
    assert sorted(castledger.__all__, key=str.lower) == list(castledger.__all__)
    assert all(hasattr(castledger, name) for name in castledger.__all__)


@pytest.fixture
def server() -> Iterator[str]:
    api = API()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
            """Say nothing."""

        def do_GET(self) -> None:
            """Answer as the twin does."""
            answer = api(httpx.Request("GET", f"http://twin{self.path}", headers=dict(self.headers)))
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def _fresh(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
    )


def test_the_readmes_first_example_runs(server: str) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    example = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    done = _fresh(example[1], CASTLEDGER_API_KEY=KEY, CASTLEDGER_API_URL=server)
    assert done.stdout.splitlines() == [f"Show {number} 14 provisional" for number in range(5)]


def test_it_imports_alone_in_a_fresh_interpreter() -> None:
    ours = "{'analytics_core', 'api', 'ingest', 'prefix_redirect'}"
    code = f"import sys, castledger; print([n for n in sys.modules if n.split('.')[0] in {ours}])"
    assert _fresh(code).stdout.strip() == "[]"
