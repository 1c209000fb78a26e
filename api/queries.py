"""Query parameters: each declared once, for reading and for the documentation; every fault is told at once."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from litestar import Request

from analytics_core.reports import EARLIEST, LATEST, find_time_zone, is_quarter_hour
from api.errors import Fault, InvalidRequest

__all__ = (
    "Moment",
    "Parameter",
    "Query",
    "Refusal",
    "choice",
    "identifier",
    "moment",
    "quarter_moment",
    "time_zone",
    "utc_day",
    "whole_number",
)

T = TypeVar("T")
E = TypeVar("E", bound=enum.Enum)
Moment = dt.date | dt.datetime
"""A calendar day, or an aware instant (which is a kind of day to Python: ask for the instant first)."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class Refusal(Exception):
    """A parameter's text was refused: a stable word, and what it has to be."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


class Parameter(Generic[T]):
    """A query parameter.

    Args:
        name: As it stands in the address.
        parse: From text to value; refuses by raising.
        default: What an absent one means.
        description: For the documentation.
        schema: The text's form, as JSON Schema.
        required: Whether it has to be there.
    """

    def __init__(
        self,
        name: str,
        parse: Callable[[str], T],
        default: T,
        description: str,
        schema: Mapping[str, Any],
        *,
        required: bool = False,
    ) -> None:
        self.name = name
        self.parse = parse
        self.default = default
        self.description = description
        self.schema = schema
        self.required = required


class Query:
    """A request's query parameters, and all that is wrong with them.

    Args:
        pairs: Names and texts in the order of the address.
        allowed: The parameters that the route knows.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], allowed: Sequence[Parameter[Any]]) -> None:
        names = [parameter.name for parameter in allowed]
        self.faults: list[Fault] = []
        self._texts: dict[str, str] = {}
        self._failed: set[str] = set()
        self._assumed: dict[str, Any] = {}
        allowed_text = f"allowed: {', '.join(names)}" if names else "there are none here"
        for name, text in pairs:
            shown = name if len(name) <= 40 else name[:40] + "…"
            if name not in names:
                self.refuse(shown, "unknown_parameter", f"there is no such parameter; {allowed_text}")
            elif name in self._texts:
                self.refuse(name, "repeated", "is given more than once")
            else:
                self._texts[name] = text

    @classmethod
    def of(cls, request: Request[Any, Any, Any]) -> Query:
        """Read the query of a request by what its route declares in ``opt["query"]``."""
        return cls(request.query_params.multi_items(), request.route_handler.opt.get("query", ()))

    def refuse(self, name: str, code: str, message: str) -> None:
        """Note a fault of a parameter; each is told once."""
        self._failed.add(name)
        fault = Fault(name, code, message)
        if fault not in self.faults:
            self.faults.append(fault)

    def is_given(self, parameter: Parameter[Any]) -> bool:
        """Tell whether a parameter stands in the address."""
        return parameter.name in self._texts

    def assume(self, parameter: Parameter[T], value: T) -> None:
        """Have a parameter that is not given mean something else than its default."""
        self._assumed[parameter.name] = value

    def is_good(self, *parameters: Parameter[Any]) -> bool:
        """Tell whether nothing was wrong with some parameters so far, so that they can be compared."""
        return not any(parameter.name in self._failed for parameter in parameters)

    def get(self, parameter: Parameter[T]) -> T:
        """Read a parameter; a fault is noted and the default returned until :meth:`finish` is called."""
        text = self._texts.get(parameter.name)
        if text is None:
            if parameter.required:
                self.refuse(parameter.name, "missing", "is required")
            return self._default(parameter)
        try:
            return parameter.parse(text)
        except Refusal as refusal:
            self.refuse(parameter.name, refusal.code, str(refusal))
            return self._default(parameter)

    def _default(self, parameter: Parameter[T]) -> T:
        value: T = self._assumed.get(parameter.name, parameter.default)
        return value

    def finish(self) -> None:
        """End the reading.

        Raises:
            InvalidRequest: Something was wrong; everything is listed.
        """
        if self.faults:
            raise InvalidRequest(self.faults)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Read whole numbers from *low* to *high*."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise Refusal("invalid", f"has to be a whole number from {low} to {high}")
        return int(text)

    return parse


def identifier(text: str) -> UUID:
    """Read an id."""
    if not _UUID.fullmatch(text):
        raise Refusal("invalid", "has to be an id such as 019abc00-0000-7000-8000-000000000000")
    return UUID(text)


def choice(kind: type[E]) -> Callable[[str], E]:
    """Read one of a closed set of words."""

    def parse(text: str) -> E:
        try:
            return kind(text)
        except ValueError:
            allowed = ", ".join(str(member.value) for member in kind)
            raise Refusal("invalid", f"has to be one of {allowed}") from None

    return parse


def time_zone(text: str) -> ZoneInfo:
    """Read the name of a time zone."""
    found = find_time_zone(text)
    if found is None:
        raise Refusal("unknown_time_zone", "is no known time zone; use a name such as Europe/Berlin")
    return found


def moment(text: str) -> Moment:
    """Read a date, or an instant with an offset; a blank before the offset is a plus sign that was not encoded."""
    try:
        if _DAY.fullmatch(text):
            found: Moment = dt.date.fromisoformat(text)
        else:
            found = dt.datetime.fromisoformat(re.sub(r" (?=\d\d:?\d\d$)", "+", text))
            if len(text) < 11:
                raise ValueError
    except ValueError:
        raise Refusal(
            "invalid", "has to be a date such as 2026-11-01 or an instant such as 2026-11-01T12:00:00Z"
        ) from None
    if isinstance(found, dt.datetime):
        if found.tzinfo is None:
            raise Refusal("naive_time", "has no offset; write 2026-11-01T12:00:00Z or …+01:00")
        day = found.date()
    else:
        day = found
    if not EARLIEST < day < LATEST:
        raise Refusal("out_of_range", f"has to be later than {EARLIEST} and before {LATEST}")
    return found


def quarter_moment(text: str) -> Moment:
    """Read a :func:`moment` at which rollups can be cut."""
    found = moment(text)
    if isinstance(found, dt.datetime) and not is_quarter_hour(found.astimezone(dt.UTC)):
        raise Refusal("off_the_quarter_hour", "has to be on the quarter hour: figures are kept by it")
    return found


def utc_day(text: str) -> dt.date:
    """Read a date."""
    found = moment(text) if _DAY.fullmatch(text) else None
    if found is None or isinstance(found, dt.datetime):
        raise Refusal("invalid", "has to be a date such as 2026-11-01")
    return found
