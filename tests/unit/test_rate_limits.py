"""The rule of rates: its laws, and its twin inside a real Redis."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis as BlockingRedis

from analytics_core.rate_limits import Admission, Limiter, MemoryLimiter, Rate, judge
from analytics_core.settings import RedisSettings, Secret
from analytics_core.shared_limits import PREFIX, SCRIPT, RedisLimiter, SharedLimiter, open_redis
from tests.redis_server import PASSWORD, run_redis

NOW = 1_800_000_000_000_000

rates = st.builds(Rate, st.integers(1, 600_000), st.integers(1, 10_000))
costs = st.integers(0, 200)
instants = st.integers(NOW, NOW + 10**12)


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at_us = NOW

    def __call__(self) -> int:
        return self.at_us


def burst_of(limiter: MemoryLimiter, rate: Rate, *, cost: int = 1) -> int:
    """Take until nothing is left, and count how often it went well."""
    taken = 0
    while limiter.judge(b"a", cost, rate).is_allowed:
        taken += 1
    return taken


def test_a_burst_may_come_at_once_and_then_one_by_one() -> None:
    clock, rate = Hand(), Rate(per_minute=600, burst=120)
    limiter = MemoryLimiter(clock)
    assert burst_of(limiter, rate) == 120
    for _ in range(50):
        clock.at_us += rate.unit_us
        assert burst_of(limiter, rate) == 1
    clock.at_us += 10 * rate.window_us
    assert burst_of(limiter, rate, cost=50) == 2


@given(rate=rates, steps=st.lists(st.tuples(st.integers(0, 10**8), costs), max_size=60))
def test_no_stretch_of_time_lets_more_pass_than_the_burst_and_what_came_back(
    rate: Rate, steps: list[tuple[int, int]]
) -> None:
    clock = Hand()
    limiter = MemoryLimiter(clock)
    passed: list[tuple[int, int]] = []
    for wait_us, cost in steps:
        clock.at_us += wait_us
        if limiter.judge(b"a", cost, rate).is_allowed:
            passed.append((clock.at_us, min(cost, rate.burst)))
    for first, (since_us, _) in enumerate(passed):
        total = 0
        for at_us, cost in passed[first:]:
            total += cost
            assert total * rate.unit_us <= rate.window_us + at_us - since_us


@given(rate=rates, tat_us=st.integers(0, NOW + 10**12), now_us=instants, cost=costs)
def test_what_is_said_of_later_is_true_then(rate: Rate, tat_us: int, now_us: int, cost: int) -> None:
    admission, after_us = judge(tat_us, now_us, cost, rate)
    assert 0 <= admission.remaining <= rate.burst
    assert judge(after_us, now_us + admission.reset_us, 0, rate)[0].remaining == rate.burst
    if admission.is_allowed:
        assert admission.retry_us == 0
    else:
        assert judge(after_us, now_us + admission.retry_us, cost, rate)[0].is_allowed
        assert not judge(after_us, now_us + admission.retry_us - 1, cost, rate)[0].is_allowed


@given(rate=rates, tat_us=st.integers(0, NOW + 10**12), now_us=instants, cost=costs)
def test_what_is_left_is_what_passes(rate: Rate, tat_us: int, now_us: int, cost: int) -> None:
    admission, after_us = judge(tat_us, now_us, cost, rate)
    assert judge(after_us, now_us, admission.remaining, rate)[0].is_allowed
    if admission.remaining < rate.burst:
        assert not judge(after_us, now_us, admission.remaining + 1, rate)[0].is_allowed


@given(rate=rates, now_us=instants, extra=st.integers(0, 50))
def test_whoever_keeps_to_the_rate_is_never_refused(rate: Rate, now_us: int, extra: int) -> None:
    tat_us = 0
    for number in range(100):
        admission, tat_us = judge(tat_us, now_us + number * (rate.unit_us + extra), 1, rate)
        assert admission.is_allowed


def test_a_clock_that_is_set_back_locks_nobody_out_for_longer_than_a_burst() -> None:
    clock, rate = Hand(), Rate(per_minute=60, burst=10)
    limiter = MemoryLimiter(clock)
    assert burst_of(limiter, rate) == 10
    clock.at_us -= 3_600_000_000
    assert not limiter.judge(b"a", 1, rate).is_allowed
    clock.at_us += rate.unit_us
    assert limiter.judge(b"a", 1, rate).is_allowed


def test_memory_is_bounded_and_a_flood_is_not_forgotten_for_newcomers() -> None:
    rate = Rate(per_minute=1, burst=1)
    limiter = MemoryLimiter(Hand(), max_clients=10)
    for number in range(100):
        limiter.judge(b"%d" % number, 1, rate)
        assert limiter.judge(b"flood", 1, rate).is_allowed is (number == 0)
        assert len(limiter) <= 10


@pytest.fixture(scope="module")
def socket_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="castledger-test-") as folder, run_redis(Path(folder)) as (path, _):
        yield path


def url_of(path: Path) -> str:
    return f"unix://:{PASSWORD}@{path}"


@pytest.fixture(scope="module")
def blocking(socket_path: Path) -> Iterator[BlockingRedis]:
    with BlockingRedis.from_url(url_of(socket_path)) as client:
        yield client


@pytest.fixture(scope="module", params=["memory", "redis", "shared"])
def run(request: pytest.FixtureRequest, socket_path: Path) -> Callable[[Callable[[Limiter], Awaitable[Any]]], Any]:
    """Run something with a limiter of each kind."""

    def run(use: Callable[[Limiter], Awaitable[Any]]) -> Any:
        async def with_limiter() -> Any:
            memory = MemoryLimiter(Hand())
            if request.param == "memory":
                return await use(memory)
            async with open_redis(RedisSettings(url=Secret(url_of(socket_path))), timeout_s=60) as redis:
                shared = RedisLimiter(redis)
                return await use(shared if request.param == "redis" else SharedLimiter(shared, memory))

        return asyncio.run(with_limiter())

    return run


# So slow that nothing comes back while a test runs.
slow_bursts = st.integers(1, 500)


@given(burst=slow_bursts, asked=st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=40))
def test_every_kind_spends_a_burst_to_its_end_and_not_beyond(
    run: Callable[[Callable[[Limiter], Awaitable[Any]]], Any], burst: int, asked: list[tuple[bool, int]]
) -> None:
    async def use(limiter: Limiter) -> None:
        left, client, rate = burst, uuid4().bytes, Rate(per_minute=1, burst=burst)
        for is_taken, cost in asked:
            counted = min(cost, burst)
            admission = await (limiter.take if is_taken else limiter.look)(client, cost, rate)
            assert admission.is_allowed is (counted <= left)
            assert not admission.is_alone
            if admission.is_allowed and is_taken:
                left -= counted
            expected = left if is_taken or not admission.is_allowed else left - counted
            # Redis' clock goes on: at most a unit has come back.
            assert expected <= admission.remaining <= expected + 1

    run(use)


def test_every_kind_lets_exactly_the_burst_pass_of_many_at_once(
    run: Callable[[Callable[[Limiter], Awaitable[Any]]], Any],
) -> None:
    async def use(limiter: Limiter) -> int:
        client, rate = uuid4().bytes, Rate(per_minute=1, burst=100)
        answers = await asyncio.gather(*(limiter.take(client, 1, rate) for _ in range(200)))
        return sum(answer.is_allowed for answer in answers)

    assert run(use) == 100


def test_many_clients_at_once_get_each_their_own_answer(socket_path: Path) -> None:
    async def use() -> list[Admission]:
        async with open_redis(RedisSettings(url=Secret(url_of(socket_path))), timeout_s=60) as redis:
            limiter = RedisLimiter(redis)
            # More than go with one question, and one of them is given up while it waits.
            names = [uuid4().bytes for _ in range(600)]
            given_up = asyncio.ensure_future(limiter.take(names[0], 1, Rate(1, 1000)))
            tasks = [limiter.take(name, burst, Rate(1, 1000)) for burst, name in enumerate(names)]
            answering = asyncio.gather(*tasks)
            await asyncio.sleep(0)
            given_up.cancel()
            found = await answering
            assert given_up.cancelled()
            return found

    answers = asyncio.run(use())
    assert [answer.remaining for answer in answers[1:]] == [1000 - cost for cost in range(1, 600)]
    assert all(answer.is_allowed for answer in answers)


@given(
    rate=rates,
    ahead_us=st.one_of(st.integers(-(10**7), 10**12), st.just(-NOW)),
    now_us=instants,
    cost=costs,
    spends=st.booleans(),
)
def test_the_script_judges_as_the_rule_does(
    blocking: BlockingRedis, rate: Rate, ahead_us: int, now_us: int, cost: int, spends: bool
) -> None:
    # The script of production, but for whose clock it reads.
    script = SCRIPT.replace("redis.call('TIME')", "{ARGV[5], ARGV[6]}")
    assert script != SCRIPT
    key, tat_us = PREFIX + uuid4().bytes, now_us + ahead_us
    if tat_us:
        blocking.set(key, str(tat_us))
    arguments = [rate.unit_us, rate.burst, cost, int(spends), now_us // 10**6, now_us % 10**6]
    text: Any = blocking.eval(script, 1, key, *arguments)
    answer = [int(part) for part in text.split()]
    admission, after_us = judge(tat_us, now_us, cost, rate)
    assert Admission(answer[0] == 1, answer[1], answer[2], answer[3]) == admission
    stored: Any = blocking.get(key)
    if spends and cost:
        left_ms: Any = blocking.pttl(key)
        assert left_ms <= admission.reset_us // 1000 + 2
        # What is soon whole again may be gone by now.
        assert stored == str(after_us).encode() or (stored is None and admission.reset_us < 60_000_000)
    else:
        assert stored == (str(tat_us).encode() if tat_us else None)
    blocking.delete(key)


def test_without_redis_each_process_lets_half_pass_and_asks_redis_again_later(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="castledger-test-") as name:
        folder, at_s = Path(name), [100.0]
        rate = Rate(per_minute=1, burst=10)

        async def use() -> None:
            async with open_redis(RedisSettings(url=Secret(url_of(folder / "redis.sock"))), timeout_s=60) as redis:
                limiter = SharedLimiter(RedisLimiter(redis), MemoryLimiter(Hand()), monotonic_s=lambda: at_s[0])
                answers = [await limiter.take(b"a", 1, rate) for _ in range(8)]
                assert [answer.is_allowed for answer in answers] == [True] * 5 + [False] * 3
                assert all(answer.is_alone for answer in answers)
                with run_redis(folder):
                    assert (await limiter.look(b"a", 1, rate)).is_alone
                    at_s[0] += 1
                    assert await limiter.take(b"a", 1, rate) == Admission(True, 9, 60_000_000, 0)
                at_s[0] += 1
                # What it had let pass before is what it remembers.
                assert await limiter.look(b"a", 1, rate) == (await limiter.look(b"a", 1, rate))
                assert (await limiter.look(b"a", 1, rate)).is_alone

        asyncio.run(use())


def test_a_redis_that_refuses_us_is_none(socket_path: Path) -> None:
    async def use() -> Admission:
        url = url_of(socket_path).replace(PASSWORD, "wrong")
        async with open_redis(RedisSettings(url=Secret(url))) as redis:
            limiter = SharedLimiter(RedisLimiter(redis), MemoryLimiter(Hand()))
            return await limiter.take(b"a", 1, Rate(per_minute=60, burst=4))

    assert asyncio.run(use()) == Admission(True, 1, 60_000_000 // 30, 0, is_alone=True)
