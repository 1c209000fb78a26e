"""Waiting for what the API makes in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from analytics_core.errors import CastledgerError

__all__ = ("NotMade", "wait_until_made")

_LOOK_EVERY_S: Final = 1.0
_A_WHOLE: Final = 1_000_000


class NotMade(CastledgerError):
    """Something failed, or was not ready in time."""

    code = "not_made"


class _Made(Protocol):
    """How far something is, which ends as ``ready`` or ``failed``."""

    @property
    def status(self) -> str: ...

    @property
    def done_ppm(self) -> int: ...

    @property
    def error(self) -> str | None: ...


T = TypeVar("T", bound=_Made)


def wait_until_made(
    made: T, look: Callable[[], T], *, wait_s: float, say: Callable[[str], None], what: str, later: str
) -> T:
    """Look until something is ready, and tell how far it is.

    Args:
        made: As it was seen last.
        look: Looks again.
        wait_s: How long to wait.
        say: Is told.
        what: What it is.
        later: What to do where it was not ready in time.

    Raises:
        ApiRefusal: The API refused.
        NotMade: It failed, was erased, or was not ready in time.
    """
    deadline = time.monotonic() + wait_s
    told = 0
    while made.status not in ("ready", "failed", "erased"):
        if made.done_ppm > told:
            told = made.done_ppm
            say(f"{100 * told // _A_WHOLE} % is made")
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise NotMade(f"{what} is {made.status} after {wait_s:,} s; {later}")
        time.sleep(min(_LOOK_EVERY_S, left_s))
        made = look()
    if made.status == "failed":
        raise NotMade(f"{what} could not be made: {made.error}")
    if made.status == "erased":
        raise NotMade(f"the file of {what} was erased: {made.error}; have it made again")
    return made
