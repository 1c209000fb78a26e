"""Commands that have the API make or change something: asked for, or only shown, and told of."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from analytics_core.errors import InvalidInput
from castledger_server.api_access import Api, ApiRefusal
from castledger_server.commands import write_lines

__all__ = ("Wanted", "carry_out", "midnight", "read_day")


class Wanted(NamedTuple):
    """Something to ask the API for.

    Attributes:
        path: Below ``/api/v1``; ``{name}`` in it stands for the field of what was made before.
        body: ``None`` for a step that needs none.
        tell: Tells people of the answer.
        options: What people wrote the fields of the body by, as far as the API may refuse them.
        settle: Waits for what was only asked for, and gives the API's last answer.
        advice: What to do about a refusal, by the API's word for it.
    """

    path: str
    body: Mapping[str, Any] | None
    tell: Callable[[bytes], Iterable[str]]
    options: Mapping[str, str] = MappingProxyType({})
    settle: Callable[[bytes], bytes] | None = None
    advice: Mapping[str, str] = MappingProxyType({})


def carry_out(api: Api, wanted: Iterable[Wanted], options: argparse.Namespace) -> int:
    """Ask for one thing after another, each once the one before is there, and tell of each as it is made.

    Raises:
        ApiRefusal: The API refused; what was told of before is made.
    """
    if options.dry_run:
        write_lines(_would(wanted))
        return 0
    known: dict[str, Any] = {}
    for one in wanted:
        try:
            answer = api.send("POST", one.path.format_map(known), one.body)
        except ApiRefusal as error:
            advice = one.advice.get(error.problem)
            told = _in_our_words(str(error), one.options) + (f"; {advice}" if advice else "")
            raise ApiRefusal(told, problem=error.problem) from error
        if one.settle is not None:
            answer = one.settle(answer)
        known |= msgspec.json.decode(answer, type=dict[str, Any])
        if options.json:
            sys.stdout.buffer.write(answer + b"\n")
            sys.stdout.buffer.flush()
        else:
            write_lines(one.tell(answer))
    return 0


def _in_our_words(refusal: str, options: Mapping[str, str]) -> str:
    """Name options instead of the places in a body.

    >>> _in_our_words("/ends_at: is after the campaign ends (outside_campaign)", {"ends_at": "--until"})
    '--until: is after the campaign ends (outside_campaign)'
    """
    for field, option in options.items():
        refusal = refusal.replace(f"/{field}: ", f"{option}: ")
    return refusal


def _would(wanted: Iterable[Wanted]) -> Iterator[str]:
    for one in wanted:
        body = "" if one.body is None else f" {msgspec.json.encode(one.body).decode()}"
        yield f"would ask: POST /api/v1{one.path}{body}"
    yield "nothing was changed"


def read_day(text: str, option: str) -> dt.date:
    """Read a day.

    Raises:
        InvalidInput: It is none.
    """
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise InvalidInput(option, f"is a date such as 2026-11-01, not {text!r}") from None


def midnight(day: dt.date) -> dt.datetime:
    """Give the instant at which a UTC day begins."""
    return dt.datetime.combine(day, dt.time(), dt.UTC)
