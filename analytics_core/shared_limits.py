"""Limits that several processes share: the rule of :mod:`analytics_core.rate_limits` as a script inside Redis.

Redis runs a script as one step, so that two processes never let the same unit pass twice, and its clock is the only
one. While it does not answer, each process judges by itself and lets half as much pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from analytics_core.rate_limits import Admission, MemoryLimiter, Rate
from analytics_core.settings import RedisSettings

__all__ = ("PREFIX", "SCRIPT", "RedisLimiter", "SharedLimiter", "open_redis")

PREFIX: Final = b"castledger:limit:"
"""With which every key of ours begins."""

SCRIPT: Final = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local answers = {}
for place, key in ipairs(KEYS) do
    local at = 4 * place - 3
    local unit, burst, cost = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local window = unit * burst
    local tat = tonumber(redis.call('GET', key) or 0)
    tat = math.min(math.max(tat, now), now + window)
    local spent = tat + math.min(cost, burst) * unit
    local over = spent - now - window
    local kept = over > 0 and tat or spent
    if cost > 0 and ARGV[at + 3] == '1' then
        redis.call('SET', key, string.format('%.0f', kept), 'PX', math.ceil((kept - now) / 1000) + 1)
    end
    answers[place] = string.format('%d %.0f %.0f %.0f', over > 0 and 0 or 1, math.floor((now + window - kept) / unit),
        kept - now, math.max(over, 0))
end
return table.concat(answers, ' ')
"""
"""The rule as :func:`analytics_core.rate_limits.judge` has it, for one request after the other.

A key and four arguments each: microseconds of a unit, burst, cost, and ``1`` to spend it. The answer is one text of
four numbers each, which a client reads faster than a list. TIME, GET and SET PX are what Redis 2.6 knows.
"""

_TIMEOUT_S: Final = 0.25
_MAX_CONNECTIONS: Final = 16
_ALONE_S: Final = 1.0
_MAX_BATCH: Final = 256


def open_redis(settings: RedisSettings, *, timeout_s: float = _TIMEOUT_S) -> Redis:
    """Make a client that connects on first use, waits so long at most, and never tries twice."""
    pool = BlockingConnectionPool.from_url(
        str(settings.url),
        max_connections=_MAX_CONNECTIONS,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


class _Asked(NamedTuple):
    """A request that waits for Redis."""

    key: bytes
    arguments: tuple[int, int, int, int]
    answer: asyncio.Future[Admission]


class RedisLimiter:
    """Remembers clients in Redis, until their bursts are whole again.

    Whoever asks while Redis is being asked goes with the next question: under load one exchange judges many, which
    costs little more than judging one.

    Args:
        redis: Opened and closed by the caller.
    """

    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(SCRIPT)
        self._waiting: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None

    async def _judge(self, client: bytes, cost: int, rate: Rate, *, spend: bool) -> Admission:
        loop = asyncio.get_running_loop()
        asked = _Asked(PREFIX + client, (rate.unit_us, rate.burst, cost, int(spend)), loop.create_future())
        self._waiting.append(asked)
        if self._asking is None:
            self._asking = loop.create_task(self._ask())
        return await asked.answer

    async def _ask(self) -> None:
        """Ask until nobody waits."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
                try:
                    admissions = await self._exchange(batch)
                except Exception as error:
                    # Whatever it is, it is theirs who wait: nobody is left waiting.
                    for asked in batch:
                        if not asked.answer.done():
                            asked.answer.set_exception(error)
                    continue
                for asked, admission in zip(batch, admissions, strict=True):
                    # Whose request was given up meanwhile has spent all the same.
                    if not asked.answer.done():
                        asked.answer.set_result(admission)
        finally:
            self._asking = None

    async def _exchange(self, batch: Sequence[_Asked]) -> list[Admission]:
        arguments = [argument for asked in batch for argument in asked.arguments]
        text = await self._script(keys=[asked.key for asked in batch], args=arguments)
        numbers = [int(part) for part in text.split()]
        if len(numbers) != 4 * len(batch):
            raise ValueError("this is no answer to the script")
        return [
            Admission(numbers[at] == 1, numbers[at + 1], numbers[at + 2], numbers[at + 3])
            for at in range(0, 4 * len(batch), 4)
        ]

    async def take(self, client: bytes, cost: int, rate: Rate) -> Admission:
        """Judge a request, and spend its cost when it may pass.

        Raises:
            RedisError: Redis does not answer, or not to this.
            OSError: The same.
        """
        return await self._judge(client, cost, rate, spend=True)

    async def look(self, client: bytes, cost: int, rate: Rate) -> Admission:
        """Judge a request and spend nothing.

        Raises:
            RedisError: Redis does not answer, or not to this.
            OSError: The same.
        """
        return await self._judge(client, cost, rate, spend=False)


class SharedLimiter:
    """Asks Redis, and judges alone, by half the rate, while Redis does not answer; it is asked again each second.

    Args:
        redis: What is asked first.
        alone: What is asked else.
        monotonic_s: A clock that is never set.
    """

    def __init__(
        self, redis: RedisLimiter, alone: MemoryLimiter, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = redis
        self._alone = alone
        self._monotonic_s = monotonic_s
        self._ask_again_s = 0.0

    async def _judge(self, client: bytes, cost: int, rate: Rate, *, spend: bool) -> Admission:
        if self._monotonic_s() >= self._ask_again_s:
            try:
                judge = self._redis.take if spend else self._redis.look
                return await judge(client, cost, rate)
            except (RedisError, OSError, ValueError):
                self._ask_again_s = self._monotonic_s() + _ALONE_S
        return self._alone.judge(client, cost, rate.halved(), spend=spend)._replace(is_alone=True)

    async def take(self, client: bytes, cost: int, rate: Rate) -> Admission:
        """Judge a request, and spend its cost when it may pass."""
        return await self._judge(client, cost, rate, spend=True)

    async def look(self, client: bytes, cost: int, rate: Rate) -> Admission:
        """Judge a request and spend nothing."""
        return await self._judge(client, cost, rate, spend=False)
