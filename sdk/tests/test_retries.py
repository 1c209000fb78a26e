"""Requests are repeated when that may help, never before the server's time; writes under one key."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from castledger import APITimeout, RateLimited, ServerError
from castledger._requests import Call, RetryPolicy, retry_after_s
from sdk.tests.twin import API, Caller, problem

DATE = "Tue, 24 Nov 2026 12:00:00 GMT"


def test_reads_are_repeated_and_wait_as_asked(caller: type[Caller]) -> None:
    api = API(httpx.ConnectError("no"), httpx.Response(429, headers={"Retry-After": "7"}))
    client = caller(api)
    assert len(client.titles()) == 5
    assert client.waits[1:] == [7.0]
    assert 0.125 <= client.waits[0] <= 0.25


def test_reads_are_given_up_in_the_end(caller: type[Caller]) -> None:
    api = API(*[httpx.ReadTimeout("slow") for _ in range(3)])
    client = caller(api)
    with pytest.raises(APITimeout):
        client.titles()
    assert (len(api.asked), len(client.waits)) == (3, 2)
    assert client.waits[1] <= 0.5


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_the_last_refusal_is_raised_when_it_does_not_pass(caller: type[Caller], status: int) -> None:
    api = API(*[problem(status, "busy", request_id=f"r-{number}") for number in range(3)])
    with pytest.raises(RateLimited if status == 429 else ServerError) as caught:
        caller(api).titles()
    assert (caught.value.request_id, len(api.asked)) == ("r-2", 3)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500, 501])
def test_what_will_not_pass_is_not_asked_again(caller: type[Caller], status: int) -> None:
    api = API(problem(status, "no"))
    client = caller(api)
    with pytest.raises(Exception, match="no: Because"):
        client.titles()
    assert (len(api.asked), client.waits) == (1, [])


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (429, {"Retry-After": "31"}, 31.0),
        (503, {"Retry-After": "3600"}, 3600.0),
        (503, {"Retry-After": "Tue, 24 Nov 2026 12:02:00 GMT", "Date": DATE}, 120.0),
    ],
)
def test_a_longer_wait_than_the_clients_is_the_callers_to_decide(
    caller: type[Caller], status: int, headers: dict[str, str], expected: float
) -> None:
    api = API(problem(status, "busy", headers=headers))
    client = caller(api)
    with pytest.raises(RateLimited if status == 429 else ServerError, match=f"after {expected:.0f} s") as caught:
        client.titles()
    assert caught.value.retry_after == expected
    assert (len(api.asked), client.waits) == (1, [])


def test_the_longest_wait_is_still_waited(caller: type[Caller]) -> None:
    client = caller(API(httpx.Response(503, headers={"Retry-After": "30"})))
    assert len(client.titles()) == 5
    assert client.waits == [30.0]


def test_writes_are_repeated_under_the_same_key(caller: type[Caller]) -> None:
    api = API(httpx.ReadError("cut"), problem(503, "unavailable", headers={"Retry-After": "5"}))
    client = caller(api)
    assert client.create().title == "Show 0"
    keys = {request.headers["idempotency-key"] for request in api.asked}
    assert (len(api.asked), len(keys), client.waits[1:]) == (3, 1, [5.0])
    assert len({request.content for request in api.asked}) == 1
    client.create()
    assert api.asked[-1].headers["idempotency-key"] not in keys


def test_a_write_without_a_key_is_not_repeated() -> None:
    call = Call[Any](dict, "POST", "/podcasts")
    assert RetryPolicy(2).wait_s(call, httpx.Response(503), retries=0) is not None
    del call.headers["Idempotency-Key"]
    assert RetryPolicy(2).wait_s(call, httpx.Response(503), retries=0) is None


def test_none_are_repeated_when_none_shall_be(caller: type[Caller]) -> None:
    api = API(problem(503, "unavailable"))
    with pytest.raises(ServerError):
        caller(api, max_retries=0).titles()
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": " 12 "}, 12.0),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "١٢"}, None),
        ({"Retry-After": "Tue, 24 Nov 2026 12:00:09 GMT", "Date": DATE}, 9.0),
        ({"Retry-After": "Tue, 24 Nov 2026 11:59:00 GMT", "Date": DATE}, 0.0),
        ({"Retry-After": "Tue, 24 Nov 2026 12:00:09 -0000", "Date": DATE}, 9.0),
        ({"Retry-After": "Tue, 24 Nov 2020 12:00:00 GMT"}, 0.0),
        ({"Retry-After": "Tue, 99 Nov 2026 12:00:00 GMT"}, None),
    ],
)
def test_the_servers_time_is_read_in_both_of_its_forms(headers: dict[str, str], expected: float | None) -> None:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert retry_after_s(httpx.Response(503, headers=encoded)) == expected


def test_a_date_counts_from_now_when_the_answer_has_none() -> None:
    wait_s = retry_after_s(httpx.Response(503, headers={"Retry-After": "Sat, 24 Nov 2299 12:00:00 GMT"}))
    assert wait_s is not None
    assert wait_s > 86_400


def test_waits_grow_to_the_longest_and_no_further() -> None:
    policy, call = RetryPolicy(5000), Call[Any](dict, "GET", "/podcasts")
    for retries in (0, 1, 5, 7, 1100, 4999):
        wait_s = policy.wait_s(call, httpx.Response(503), retries=retries)
        longest = min(0.25 * 2 ** min(retries, 20), 30.0)
        assert wait_s is not None
        assert longest / 2 <= wait_s <= longest
    assert policy.wait_s(call, httpx.Response(503), retries=5000) is None


def test_coming_back_at_once_is_not_hammering() -> None:
    wait_s = RetryPolicy(1).wait_s(
        Call[Any](dict, "GET", "/podcasts"), httpx.Response(503, headers={"Retry-After": "0"}), retries=0
    )
    assert wait_s is not None
    assert wait_s >= 0.125
