"""Clients that record: the surface and the rules of the real ones, and nothing sent."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import subprocess
import sys
import threading
from typing import Any
from uuid import UUID

import pytest

from castledger import AsyncCastledger, Castledger, CastledgerError, EventRefused
from castledger.testing import AsyncRecordingClient, RecordedEvent, RecordingClient


@pytest.mark.parametrize(
    ("kind", "real", "names"),
    [
        (RecordingClient, Castledger, ("track", "flush", "close", "stats")),
        (AsyncRecordingClient, AsyncCastledger, ("track", "flush", "aclose", "stats")),
    ],
)
def test_the_methods_are_called_as_those_of_the_real_client(kind: Any, real: Any, names: tuple[str, ...]) -> None:
    for name in names:
        mine, theirs = getattr(kind, name), getattr(real, name)
        assert inspect.signature(mine) == inspect.signature(theirs), name
        assert inspect.iscoroutinefunction(mine) == inspect.iscoroutinefunction(theirs), name
    options = inspect.signature(real).parameters
    assert inspect.signature(kind).parameters.keys() < options.keys()


def test_events_are_kept_in_their_order_as_they_would_be_sent() -> None:
    properties: dict[str, str | int] = {"plan": "pro", "seats": 3}
    occurred_at = dt.datetime.now(dt.timezone(dt.timedelta(hours=1)))
    with RecordingClient() as client:
        first = client.track("signup", click_id=UUID(int=1), properties=properties, occurred_at=occurred_at)
        properties["plan"] = "free"
        client.track("purchase", event_id=UUID(int=7), value_amount=4999, currency="EUR", new_customer=True)
        assert client.flush()
    signup, purchase = client.events
    assert signup == RecordedEvent(
        event_id=first or UUID(int=0),
        type="signup",
        occurred_at=occurred_at,
        click_id="0" * 31 + "1",
        properties={"plan": "pro", "seats": 3},
    )
    assert (purchase.event_id, purchase.value_amount, purchase.currency) == (UUID(int=7), 4999, "EUR")
    assert (purchase.new_customer, purchase.promo_code) == (True, None)
    assert client.find(type="signup") == [signup]
    assert client.find(type="purchase", currency="USD") == []
    assert (client.stats().tracked, client.stats().sent, client.stats().queued) == (2, 2, 0)
    client.clear()
    assert (client.events, client.stats().sent) == ((), 2)


def test_a_slip_in_what_is_looked_for_is_no_event_that_is_missing() -> None:
    with pytest.raises(TypeError, match="no field kind"):
        RecordingClient().find(kind="signup")


def test_what_is_out_of_bounds_is_raised_or_told_and_counted() -> None:
    with pytest.raises(EventRefused, match=r"^occurred_at: "):
        RecordingClient().track("signup", occurred_at=dt.datetime(2026, 11, 1))  # noqa: DTZ001 - that is what is wrong
    told: list[CastledgerError] = []
    client = RecordingClient(strict=False, on_error=told.append)
    assert client.track("sign up") is None
    assert [type(error) for error in told] == [EventRefused]
    assert (client.events, client.stats().refused) == ((), {"type.invalid": 1})


def test_after_its_end_and_when_it_is_not_enabled_nothing_is_kept() -> None:
    client = RecordingClient()
    client.close()
    assert client.track("signup") is None
    assert client.stats().lost == {"closed": 1}
    disabled = RecordingClient(enabled=False)
    assert disabled.track("signup") is None
    assert disabled.events == client.events == ()


def test_the_asynchronous_one_keeps_events_as_well() -> None:
    async def record() -> AsyncRecordingClient:
        async with AsyncRecordingClient() as client:
            client.track("signup")
            assert await client.flush()
        client_after: AsyncRecordingClient = client
        return client_after

    client = asyncio.run(record())
    assert [event.type for event in client.events] == ["signup"]
    assert client.track("signup") is None


def test_threads_lose_no_event() -> None:
    client = RecordingClient()
    threads = [threading.Thread(target=lambda: [client.track("signup") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({event.event_id for event in client.events}) == client.stats().tracked == 1600


def test_nothing_of_pytest_is_needed_and_no_thread_is_left() -> None:
    program = """
import sys, threading
import castledger.testing
with castledger.testing.RecordingClient() as client:
    client.track("signup")
assert len(client.events) == 1
assert threading.active_count() == 1
assert not {"pytest", "_pytest", "django", "flask", "fastapi", "litestar"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
