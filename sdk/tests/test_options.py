"""What a client is made with: what cannot work is refused at once, and no key is ever shown."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

import castledger
from castledger import AsyncCastledger, Castledger, ConfigurationError
from castledger._requests import Options
from sdk.tests.twin import API, KEY, Caller


def read(**given: Any) -> Options:
    return Options.read(**{"api_key": KEY, "base_url": None, "timeout": 10.0, "max_retries": 2, "environ": {}, **given})


@pytest.mark.parametrize("key", [KEY, "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln", "x"])
def test_any_token_that_a_header_carries_is_a_key(caller: type[Caller], key: str) -> None:
    api = API()
    caller(api, api_key=key).titles()
    assert api.asked[0].headers["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", "hunter 2", "hunter\u00a02", "hünter2", "hunter\x7f2", "   "])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^api_key: holds") as given:
        read(api_key=key)
    with pytest.raises(ConfigurationError, match=r"^CASTLEDGER_API_KEY: holds") as found:
        read(api_key=None, environ={"CASTLEDGER_API_KEY": key})
    for caught in (given, found):
        assert "nter" not in str(caught.value)
        assert "aaaa" not in str(caught.value)


def test_a_missing_key_is_said_with_where_to_get_one() -> None:
    for given in ({"api_key": None}, {"api_key": ""}, {"api_key": None, "environ": {"CASTLEDGER_API_KEY": ""}}):
        with pytest.raises(ConfigurationError, match=r"api_key: is missing.*castledger up.*CASTLEDGER_API_KEY"):
            read(**given)
    with pytest.raises(ConfigurationError, match="missing"):
        # An empty key that was passed on purpose is a slip; another one from the environment would hide it.
        read(api_key="", environ={"CASTLEDGER_API_KEY": KEY})


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "http://"),
        ("ftp://x.example", "http://"),
        ("127.0.0.1:8000", "http://"),
        ("http:///path", "http://"),
        ("http://user:hunter2@x.example", "user or a password"),
        ("http://@x.example", "user or a password"),
        ("http://x.example?key=hunter2", "query or a fragment"),
        ("http://x.example/?", "query or a fragment"),
        ("http://x.example/#hunter2", "query or a fragment"),
        ("http://x.example:0", "port"),
        ("http://x.example:65536", "port"),
        ("http://x.example:-1", "port"),
        ("http://x.example:http", "port"),
        ("http://[::1", "no address"),
        ("http://a..example", "no address"),
        (f"http://{'a' * 64}.example", "no address"),
        ("http://%zz", "no address"),
        ("http://x.example\n", "line break"),
        (" http://x.example", "space"),
        ("http://x.example\\@y.example", "backslash"),
        ("http://x.example/api/v1/", "/api/v1"),
    ],
)
def test_an_address_that_cannot_be_the_apis_is_refused(url: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^base_url: .*{re.escape(why)}") as caught:
        read(base_url=url)
    assert isinstance(caught.value, ValueError)
    assert "hunter2" not in str(caught.value)
    if url:
        with pytest.raises(ConfigurationError, match=r"^base_url \(CASTLEDGER_API_URL\): "):
            read(environ={"CASTLEDGER_API_URL": url})


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("HTTPS://API.example.com", "HTTPS://API.example.com"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://bücher.example/ledger/", "https://bücher.example/ledger"),
        ("http://pod_cast", "http://pod_cast"),
        (None, "http://127.0.0.1:8000"),
    ],
)
def test_an_address_that_may_be_the_apis_is_taken(url: str | None, kept: str) -> None:
    assert read(base_url=url).base_url == kept
    assert read(environ={"CASTLEDGER_API_URL": url or ""}).base_url == kept


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan"), float("inf"), 1e300])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^timeout: "):
        read(timeout=timeout)


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        ("proxy.example:3128", "no address that begins with"),
        ("ftp://u:hunter2@proxy.example", "no address that begins with"),
        ("http://", "no address that begins with"),
        ("http://proxy.example:hunter2", "no address that begins with"),
        ("", "no address that begins with"),
    ],
)
def test_a_proxy_that_is_none_is_refused(proxy: str, why: str) -> None:
    for kind in (Castledger, AsyncCastledger):
        with pytest.raises(ConfigurationError, match=f"^proxy: is {why}") as caught:
            kind(KEY, proxy=proxy)
        assert "hunter2" not in str(caught.value)


def test_a_proxy_beside_a_transport_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^proxy: does nothing beside a transport"):
        Castledger(KEY, proxy="http://proxy.example:3128", transport=httpx.MockTransport(API()))


def test_a_proxy_is_asked_for_everything(twin: str) -> None:
    # To a proxy, a request names the whole address; the twin answers whatever host it names.
    with Castledger(KEY, base_url="http://api.example", proxy=twin) as client:
        assert client.podcasts.create(feed_url="https://x.example.org/feed").title == "Show 0"
        assert len(list(client.podcasts.list())) == 5


def test_misuse_raises_when_a_client_is_made() -> None:
    for kind in (Castledger, AsyncCastledger):
        for options in ({"api_key": "hunter 2"}, {"base_url": "x"}, {"timeout": float("nan")}, {"max_retries": -1}):
            given: dict[str, Any] = {"api_key": KEY, **options}
            with pytest.raises(ConfigurationError, match=f"^{next(iter(options))}: "):
                kind(**given)


@pytest.mark.parametrize("key", [KEY, "hunter2", "cl_short", "eyJhbGciOiJFZERTQSJ9." + "x" * 60])
def test_the_key_is_not_shown(key: str) -> None:
    for shown in (repr(Castledger(key)), repr(AsyncCastledger(key)), f"{read(api_key=key)}"):
        assert "api_key='" in shown
        assert key[:13] not in shown if key == KEY else key[:5] not in shown


def test_every_request_tells_the_version(caller: type[Caller]) -> None:
    api = API()
    caller(api).titles()
    assert api.asked[0].headers["user-agent"] == f"castledger-python/{castledger.__version__}"


def test_what_is_exported_is_there() -> None:
    assert all(hasattr(castledger, name) for name in castledger.__all__)
