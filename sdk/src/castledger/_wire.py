"""What goes to the collector, and what its answer says of each event."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from castledger._version import __version__

__all__ = ("PATH", "Verdict", "encode_body", "read_problem_code", "read_verdicts")

PATH: Final = "/api/v1/attribution/events"

_LIBRARY: Final = f"castledger-python/{__version__}"


class _Fault(msgspec.Struct):
    pointer: str = ""
    code: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """What became of one event; fields that a newer collector adds are ignored."""

    status: int
    code: str = ""
    errors: tuple[_Fault, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """Whether the collector has it."""
        return 200 <= self.status < 300

    @property
    def may_pass(self) -> bool:
        """Whether the event deserves to be sent again."""
        return self.status in (408, 429) or self.status >= 500

    @property
    def reason(self) -> str:
        """Why it was refused: the first fault's field and code, else the verdict's own code."""
        if not self.errors:
            return self.code or str(self.status)
        # /events/3/properties/plan: neither the position nor a property's name is wanted.
        field = [*self.errors[0].pointer.split("/"), "", "", "", ""][3]
        return f"{field or 'event'}.{self.errors[0].code or self.code}"


class _Answer(msgspec.Struct):
    results: tuple[Verdict, ...]


class _Problem(msgspec.Struct):
    code: str


def encode_body(events: Sequence[bytes], *, sent_at: dt.datetime, lost: Mapping[str, int]) -> bytes:
    """Write a request; the events are JSON already.

    Args:
        events: At least one.
        sent_at: Now, by the clock that stamped the events; the collector corrects it.
        lost: Losses since the collector last heard of any, by reason.

    >>> encode_body([b"{}"], sent_at=dt.datetime(2026, 11, 30, tzinfo=dt.UTC), lost={})[-16:]
    b'","events":[{}]}'
    """
    head: dict[str, object] = {"sent_at": sent_at, "library": _LIBRARY}
    if lost:
        head["lost"] = lost
    return b'%s,"events":[%s]}' % (msgspec.json.encode(head)[:-1], b",".join(events))


def read_verdicts(body: bytes, count: int) -> tuple[Verdict, ...] | None:
    """Read an answer's verdicts.

    Returns:
        One for each event, in their order; ``None`` when the answer is not the collector's.

    >>> read_verdicts(b"hello", 1) is None
    True
    """
    try:
        results = msgspec.json.decode(body, type=_Answer).results
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return results if len(results) == count else None


def read_problem_code(body: bytes) -> str | None:
    """Read the code of a refusal; ``None`` when something else than the collector answered."""
    try:
        return msgspec.json.decode(body, type=_Problem).code
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
