"""What goes wrong is typed, says what to do, and travels between processes."""

from __future__ import annotations

import copy
import pickle
import socket

import httpx
import pytest

import castledger
from castledger import (
    APIConnectionError,
    APIError,
    APITimeout,
    AuthenticationError,
    BadRequest,
    CastledgerError,
    ConfigurationError,
    Conflict,
    EventRefused,
    EventsHeldUp,
    EventsLost,
    FieldError,
    MissingExtra,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    UnexpectedAnswer,
    ValidationError,
)
from sdk.tests.twin import API, KEY, Caller, problem

KINDS: list[tuple[int, type[APIError]]] = [
    (400, BadRequest),
    (401, AuthenticationError),
    (403, PermissionDenied),
    (404, NotFound),
    (405, BadRequest),
    (409, Conflict),
    (422, ValidationError),
    (429, RateLimited),
    (500, ServerError),
    (503, ServerError),
]


@pytest.mark.parametrize(("status", "kind"), KINDS)
def test_refusals_are_typed_and_carry_what_to_quote(caller: type[Caller], status: int, kind: type[APIError]) -> None:
    fault = {"pointer": "/feed_url", "code": "not_a_feed", "message": "No RSS."}
    with pytest.raises(APIError) as caught:
        caller(API(problem(status, "some_code", errors=[fault])), max_retries=0).create()
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.request_id, error.retry_after) == (status, "some_code", "r-1", None)
    assert error.errors == (FieldError("/feed_url", "not_a_feed", "No RSS."),)
    assert str(error) == f"{status} some_code: Because.; /feed_url: No RSS. (request r-1)"


@pytest.mark.parametrize(
    ("detail", "more"),
    [
        ("/position: is needed; too wide", "; /name: too long"),
        ("/position: is needed; /name: too long; too wide", ""),
        ("/name: too long", "; /position: is needed; too wide"),
        ("position: is needed", "; /position: is needed; /name: too long; too wide"),
    ],
)
def test_a_fault_that_the_sentence_tells_is_not_told_again(detail: str, more: str) -> None:
    faults = (("/position", "is needed"), ("/name", "too long"), ("", "too wide"))
    errors = tuple(FieldError(pointer, "invalid", message) for pointer, message in faults)
    error = ValidationError(status=422, code="invalid", detail=detail, request_id="r-1", errors=errors)
    assert str(error) == f"422 invalid: {detail}{more} (request r-1)"
    assert error.errors == errors


@pytest.mark.parametrize("body", ["<html>oops", "[]", '{"code": 7}', '{"x":' + "[" * 100_000, "\udcff"])
@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (500, ServerError)])
def test_a_refusal_that_is_no_problem_document_is_still_one(
    caller: type[Caller], body: str, status: int, kind: type[APIError]
) -> None:
    answer = httpx.Response(status, content=body.encode("utf-8", "surrogateescape"), headers={"X-Request-Id": "r-2"})
    with pytest.raises(kind, match=r"is it Castledger's API that answers at http://x\.example\?") as caught:
        caller(API(answer), base_url="http://x.example").titles()
    assert (caught.value.code, caught.value.request_id) == ("unknown", "r-2")


@pytest.mark.parametrize("body", ["hello", "{}", '{"data": 1}', "[" * 100_000, ""])
def test_something_else_than_castledger_is_told(caller: type[Caller], body: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=r"http://x\.example/api/v1/podcasts answered with something else"):
        caller(API(httpx.Response(200, text=body)), base_url="http://x.example").titles()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_that_the_address_is_another_ones(caller: type[Caller], status: int) -> None:
    headers = {"Location": "https://login.example:8443/in?ticket=hunter2", "X-Request-Id": "r-4"}
    api = API(httpx.Response(status, headers=headers))
    with pytest.raises(UnexpectedAnswer, match="base_url points to something else") as caught:
        caller(api).titles()
    assert (caught.value.status, caught.value.request_id) == (status, "r-4")
    assert f"to https://login.example:8443 ({status})" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("location", "target"), [(None, ""), ("/here", " to http://127.0.0.1:8000"), ("//u:hunter2@x/", " to http://x")]
)
def test_a_redirect_names_only_the_host(caller: type[Caller], location: str | None, target: str) -> None:
    answer = httpx.Response(302, headers={} if location is None else {"Location": location})
    with pytest.raises(UnexpectedAnswer, match=rf"is redirected{target} \(302\)"):
        caller(API(answer)).titles()


def test_nobody_there_is_said_with_the_address_and_what_to_do(caller: type[Caller]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    client = caller(API(), base_url=url, transport=None)
    with pytest.raises(APIConnectionError, match=f"{url} cannot be reached.*castledger up.*CASTLEDGER_API_URL"):
        client.titles()
    assert len(client.waits) == 2


def test_silence_is_said_with_the_address(caller: type[Caller]) -> None:
    # It takes connections (the backlog does) and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(APITimeout, match=rf"{url} did not answer in time \(ReadTimeout\)"):
            caller(API(), base_url=url, transport=None, timeout=0.5, max_retries=0).titles()


@pytest.mark.parametrize(
    ("failure", "kind", "tries"),
    [
        (httpx.ConnectError("refused"), APIConnectionError, 3),
        (httpx.ConnectTimeout("slow"), APITimeout, 3),
        (httpx.ReadTimeout("slow"), APITimeout, 3),
        (httpx.ReadError("reset"), APIConnectionError, 3),
        (httpx.RemoteProtocolError("cut off"), APIConnectionError, 3),
        (httpx.ProxyError("403"), APIConnectionError, 3),
        (httpx.UnsupportedProtocol("what"), APIConnectionError, 1),
        (httpx.DecodingError("bad gzip"), UnexpectedAnswer, 1),
    ],
)
def test_failures_of_the_transport_are_named_in_our_terms(
    caller: type[Caller], failure: httpx.HTTPError, kind: type[CastledgerError], tries: int
) -> None:
    api = API(failure, failure, failure)
    with pytest.raises(kind) as caught:
        caller(api).titles()
    assert type(caught.value) is kind
    assert caught.value.__cause__ is failure
    assert KEY not in str(caught.value)
    assert len(api.asked) == tries


def _errors() -> list[CastledgerError]:
    refusals = [
        kind(status=status, code="c", detail="d", request_id="r", errors=(FieldError("/a", "b", "c"),), retry_after=7.0)
        for status, kind in KINDS
    ]
    others = [ConfigurationError("x"), MissingExtra("polars"), APIConnectionError("x"), APITimeout("x")]
    events = [EventRefused("f", "c", "f: d"), EventsLost("queue_full", 7), EventsHeldUp("x")]
    return [*refusals, *others, *events, UnexpectedAnswer("x", status=302, request_id="r")]


@pytest.mark.parametrize("error", _errors(), ids=lambda error: type(error).__name__)
def test_every_error_can_be_pickled_and_copied(error: CastledgerError) -> None:
    error.add_note("while reporting")
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for again in (*copies, copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_every_exported_error_was_copied() -> None:
    exported = {kind for name in castledger.__all__ if isinstance(kind := getattr(castledger, name), type)}
    errors = {kind for kind in exported if issubclass(kind, CastledgerError)}
    assert errors - {type(error) for error in _errors()} == {CastledgerError, APIError}
