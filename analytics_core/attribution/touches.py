"""Touches: what somebody did that names a flight, and which of it competes for a conversion."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, NamedTuple
from uuid import UUID

__all__ = (
    "MAX_TOUCHES",
    "Candidate",
    "Setback",
    "Signal",
    "Touch",
    "competing",
    "consider",
)

MAX_TOUCHES: Final = 1_000
"""Touches that compete for a conversion; of more, the latest. Nobody has as many, but a key that many share may."""


class Signal(enum.IntEnum):
    """By what a flight was recognised; the lower, the surer.

    Source:
        ``docs/methodology/attribution.md``, "Signals".
    """

    CLICK = 0
    VANITY = 1
    CODE = 2
    SURVEY = 3

    @property
    def label(self) -> str:
        """As it is written in tables and answers.

        >>> Signal.CLICK.label
        'click'
        """
        return self.name.lower()


class Touch(NamedTuple):
    """Something that names a flight: a click, a visit by a link, a code, an answer.

    Attributes:
        at_us: Microseconds since 1970-01-01 UTC: of a click its own time; of the code and the answer that came with a
            conversion the conversion's.
        signal: By what the flight was recognised.
        flight_id: Which flight.
        campaign_id: The flight's campaign.
        window_us: For how long after it a conversion is still credited to the flight, in microseconds.
        is_own: Whether the conversion itself brought it, and not something that its customer did before.
    """

    at_us: int
    signal: Signal
    flight_id: UUID
    campaign_id: UUID
    window_us: int
    is_own: bool = False


class Setback(enum.StrEnum):
    """Why a touch does not compete."""

    LATER = "later"
    """It came after the conversion."""
    OUTSIDE_WINDOW = "outside_window"
    """It came longer before the conversion than the window of its flight."""
    REPEATED = "repeated"
    """Another of the same flight at the same instant is surer, or says the same."""
    TOO_MANY = "too_many"
    """There are :data:`MAX_TOUCHES` later ones."""


class Candidate(NamedTuple):
    """A touch, and why it does not compete; ``None`` where it does."""

    touch: Touch
    setback: Setback | None


def _place(touch: Touch) -> tuple[int, int, int, UUID, bool, int]:
    """Say where a touch stands: by time, and at the same instant the surer later, so that it is the last touch of both.

    The order is total on all that decides, so that the order in which touches are read makes no difference.
    """
    return (touch.at_us, -touch.signal, touch.flight_id.int, touch.campaign_id, touch.is_own, touch.window_us)


def consider(converted_at_us: int, touches: Iterable[Touch]) -> list[Candidate]:
    """Decide which touches compete for a conversion.

    A touch competes when ``0 <= converted_at - at <= window``: both ends are inside.

    Args:
        converted_at_us: When it converted, microseconds since 1970-01-01 UTC.
        touches: All that are known of its customer and it, in any order, with any repetition; of all campaigns of its
            sponsor.

    Returns:
        Each of them, in the order in which they stand; none for none.

    Source:
        ``docs/methodology/attribution.md``, "Windows".

    >>> from uuid import UUID
    >>> click = Touch(5, Signal.CLICK, UUID(int=1), UUID(int=7), window_us=10)
    >>> told = [click, click, click._replace(at_us=16), click._replace(at_us=4)]
    >>> [(found.touch.at_us, found.setback and found.setback.value) for found in consider(15, told)]
    [(4, 'outside_window'), (5, 'repeated'), (5, None), (16, 'later')]
    """
    ordered = sorted(touches, key=_place)
    found: list[Candidate] = []
    taken: set[tuple[int, UUID]] = set()
    # From the end, where the surest of an instant stands.
    for touch in reversed(ordered):
        setback: Setback | None = None
        if touch.at_us > converted_at_us:
            setback = Setback.LATER
        elif converted_at_us - touch.at_us > touch.window_us:
            setback = Setback.OUTSIDE_WINDOW
        elif (touch.at_us, touch.flight_id) in taken:
            setback = Setback.REPEATED
        elif len(taken) == MAX_TOUCHES:
            setback = Setback.TOO_MANY
        else:
            taken.add((touch.at_us, touch.flight_id))
        found.append(Candidate(touch, setback))
    return found[::-1]


def competing(converted_at_us: int, touches: Iterable[Touch]) -> list[Touch]:
    """Choose the touches that compete for a conversion, the earliest first.

    Args:
        converted_at_us: When it converted, microseconds since 1970-01-01 UTC.
        touches: As :func:`consider` takes them.

    Returns:
        At most :data:`MAX_TOUCHES`; none where nothing competes, and the conversion is unattributed.
    """
    return [touch for touch, setback in consider(converted_at_us, touches) if setback is None]
