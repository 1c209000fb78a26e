"""A bounded cache that forgets what was not asked for in a while, at the price of one dictionary look-up."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ("GenerationCache",)

K = TypeVar("K")
V = TypeVar("V")


class GenerationCache(Generic[K, V]):
    """Keeps the young half and the old half of its entries; what is used moves to the young one.

    When the young half is full the old one is dropped whole, so that nothing is ever sorted or linked.

    Args:
        limit: Entries a half; there are never more than twice as many.

    >>> cache = GenerationCache[str, int](2)
    >>> for number, name in enumerate("abcd"):
    ...     cache.put(name, number)
    >>> cache.get("a"), cache.get("b")
    (0, None)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Look an entry up; ``None`` when it is not there (any more)."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Enter or replace an entry."""
        if len(self._young) >= self._limit and key not in self._young:
            self._old = self._young
            self._young = {}
        self._young[key] = value

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
