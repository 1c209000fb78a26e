"""Deterministic attribution: the whole conversion to the flight that its own surest signal names."""

from __future__ import annotations

from collections.abc import Iterable

from analytics_core.attribution.touches import Touch, competing

__all__ = ("surest",)


def surest(converted_at_us: int, touches: Iterable[Touch]) -> Touch | None:
    """Choose the surest of the signals that a conversion brought itself.

    What its customer did before is not looked at, nor is a touch outside the window of its flight. Of two that are as
    sure the later decides.

    Args:
        converted_at_us: When it was, microseconds since 1970-01-01 UTC.
        touches: All that are known, in any order.

    Returns:
        ``None`` where it brought none that counts; models may still credit it.

    Source:
        ``docs/methodology/attribution.md``, "Signals".

    >>> from uuid import UUID
    >>> from analytics_core.attribution.touches import Signal
    >>> code = Touch(9, Signal.CODE, UUID(int=1), UUID(int=5), 10, is_own=True)
    >>> click = Touch(2, Signal.CLICK, UUID(int=2), UUID(int=6), 10, is_own=True)
    >>> surest(9, [code, click]).signal.label, surest(13, [code, click]).signal.label
    ('click', 'code')
    """
    own = competing(converted_at_us, (touch for touch in touches if touch.is_own))
    # The last of the smallest: they stand in order of time.
    return min(reversed(own), key=lambda touch: touch.signal, default=None)
