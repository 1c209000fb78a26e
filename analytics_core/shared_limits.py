"""Limits that several processes share: the rule of :mod:`analytics_core.rate_limits` as a script inside Redis.

Redis runs a script as one step, so that two processes never let the same unit pass twice, and its clock is the only
one. While it does not answer, each process judges by itself and lets half as much pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

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
local unit, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window = unit * burst
local tat = tonumber(redis.call('GET', KEYS[1]) or 0)
tat = math.min(math.max(tat, now), now + window)
local spent = tat + math.min(cost, burst) * unit
local over = spent - now - window
local kept = over > 0 and tat or spent
if cost > 0 and ARGV[4] == '1' then
    redis.call('SET', KEYS[1], string.format('%.0f', kept), 'PX', math.ceil((kept - now) / 1000) + 1)
end
return {over > 0 and 0 or 1, math.floor((now + window - kept) / unit), kept - now, math.max(over, 0)}
"""
"""The rule as :func:`analytics_core.rate_limits.judge` has it; TIME, GET and SET PX, which Redis 2.6 knows."""

_TIMEOUT_S: Final = 0.25
_MAX_CONNECTIONS: Final = 16
_ALONE_S: Final = 1.0


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


class RedisLimiter:
    """Remembers clients in Redis, until their bursts are whole again.

    Args:
        redis: Opened and closed by the caller.
    """

    def __init__(self, redis: Redis) -> None:
        self._script = redis.register_script(SCRIPT)

    async def _judge(self, client: bytes, cost: int, rate: Rate, *, spend: bool) -> Admission:
        answer = await self._script(keys=[PREFIX + client], args=[rate.unit_us, rate.burst, cost, int(spend)])
        is_allowed, remaining, reset_us, retry_us = map(int, answer)
        return Admission(bool(is_allowed), remaining, reset_us, retry_us)

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
