"""Forms of many fields: read into what the API takes, and shown again with what was typed and what is wrong with it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec
from litestar import Request
from litestar.datastructures import UploadFile

from analytics_core.errors import Conflict, InvalidInput, Outdated, QuotaExceeded
from analytics_core.money import parse_amount
from api.bodies import convert_object
from api.errors import Fault, InvalidRequest
from api.idempotency import do_once
from api.pages.forms import read_form
from api.pages.sessions import session_of
from api.pages.words import sentence

__all__ = ("REFUSED", "Filled", "Refusal", "Told", "plain_words")

T = TypeVar("T", bound=msgspec.Struct)
V = TypeVar("V")
Refusal: TypeAlias = InvalidRequest | InvalidInput | Conflict | QuotaExceeded | Outdated

REFUSED: Final = (InvalidRequest, InvalidInput, Conflict, QuotaExceeded, Outdated)
"""What a form can be refused for, and is shown again with."""

_LENGTH: Final = re.compile(r"Expected `str` of length (>=|<=) (\d+)")
_RANGE: Final = re.compile(r"Expected `(?:int|float)` (>=|<=) (\d+)")
_GROUPED: Final = re.compile(r"\d{1,3}(?:[ ,\u00a0\u202f]\d{3})+|\d{1,18}", re.ASCII)
_MAX_MESSAGE: Final = 400


def plain_words(message: str) -> str:
    """Say what a field's type refuses in words for people.

    >>> plain_words("Expected `int` <= 90"), plain_words("Expected `str` of length <= 200")
    ('has to be at most 90', 'has to have at most 200 characters')
    >>> plain_words("Expected `str` of length >= 1"), plain_words("is required"), plain_words("has to lie ahead")
    ('is missing', 'is missing', 'has to lie ahead')
    """
    if found := _LENGTH.match(message):
        few = "is missing" if found[2] == "1" else f"has to have at least {found[2]} characters"
        return few if found[1] == ">=" else f"has to have at most {found[2]} characters"
    if found := _RANGE.match(message):
        return f"has to be at {'least' if found[1] == '>=' else 'most'} {found[2]}"
    if message.startswith(("Expected", "Invalid")):
        return "is none of what can be chosen here"
    return "is missing" if message == "is required" else message


class Told(NamedTuple):
    """One thing that is wrong with a form.

    Attributes:
        name: The field's, empty for what is wrong with all of it.
        label: As the field is called.
    """

    name: str
    label: str
    message: str


class Filled:
    """A form: what was typed into it, what was made of it, and what is wrong with it.

    Args:
        labels: How its fields are called, by their names, which are those of the API.
        fields: As typed; a form that is not sent yet may have what is proposed.
        places: The field that is to be changed, by the code of a conflict.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        fields: Mapping[str, str] | None = None,
        *,
        places: Mapping[str, str] | None = None,
    ) -> None:
        self.labels = labels
        self.fields: dict[str, str] = dict(fields or {})
        self.files: dict[str, UploadFile] = {}
        self.document: dict[str, Any] = {}
        self.told: list[Told] = []
        self.status_code = 200
        self._places = places or {}
        self._faults: list[Fault] = []
        names = [name for name in labels if "_" in name]
        self._names = re.compile(rf"`?\b({'|'.join(names)})\b`?") if names else None

    @classmethod
    async def read(
        cls,
        request: Request[Any, Any, Any],
        labels: Mapping[str, str],
        *,
        places: Mapping[str, str] | None = None,
        once: bool = True,
    ) -> Filled:
        """Read a form that was sent.

        Args:
            request: With a body.
            labels: As for the class.
            places: As for the class.
            once: Whether sending it again as it is does nothing; not where that is so anyway.

        Raises:
            Forbidden, Refused: As :func:`api.pages.forms.read_form`.
        """
        given = await read_form(request, session_of(request))
        texts = {name: value.replace("\0", "") for name, value in given.items() if isinstance(value, str)}
        if once:
            do_once(request, texts)
        form = cls(labels, texts, places=places)
        form.files = {name: value for name, value in given.items() if isinstance(value, UploadFile)}
        return form

    def typed(self, name: str) -> str:
        """Return what a field holds, without blanks around it."""
        return self.fields.get(name, "").strip()

    def version(self) -> int | None:
        """Return the version that the form was about; ``None`` where it names none."""
        text = self.typed("version")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None

    def blame(self, name: str, message: str) -> None:
        """Note that a field cannot be used."""
        self._faults.append(Fault(f"/{name}", "invalid", message))

    def _put(self, name: str, read: Callable[[str], V]) -> V | None:
        text = self.typed(name)
        if not text:
            return None
        try:
            value = read(text)
        except InvalidInput as error:
            self.blame(name, error.reason)
            return None
        self.document[name] = value
        return value

    def texts(self, *names: str) -> None:
        """Read fields as they are; empty ones are left out."""
        for name in names:
            self._put(name, str)

    def ticks(self, *names: str) -> None:
        """Read boxes that are ticked or not."""
        self.document.update({name: name in self.fields for name in names})

    def numbers(self, *names: str) -> None:
        """Read whole numbers, with or without marks between thousands."""

        def read(text: str) -> int:
            if not _GROUPED.fullmatch(text):
                raise InvalidInput("", "has to be a whole number")
            return int(re.sub(r"\D", "", text))

        for name in names:
            self._put(name, read)

    def amount(self, name: str, currency: str) -> None:
        """Read an amount of a known currency into its minor units."""
        self._put(name, lambda text: parse_amount(text, currency))

    def days(self, *names: str) -> list[dt.date]:
        """Read days, as they stay; those that can be read are returned."""
        found = []
        for name in names:
            day = self._put(name, _day)
            if day is not None:
                self.document[name] = day.isoformat()
                found.append(day)
        return found

    def day_behind(self, name: str) -> None:
        """Read a last day as the day behind it."""
        self._put(name, lambda text: _next(_day(text)).isoformat())

    def begin_of(self, name: str) -> None:
        """Read a day as its first instant of UTC."""
        self._put(name, lambda text: f"{_day(text)}T00:00:00Z")

    def end_of(self, name: str) -> None:
        """Read a day as the instant behind it, of UTC."""
        self._put(name, lambda text: f"{_next(_day(text))}T00:00:00Z")

    def instants(self, *names: str) -> None:
        """Read times of day of UTC."""

        def read(text: str) -> str:
            try:
                found = dt.datetime.fromisoformat(text)
            except ValueError:
                raise InvalidInput("", "has to be a day and a time, such as 2026-11-01T12:00") from None
            return found.replace(tzinfo=found.tzinfo or dt.UTC).isoformat()

        for name in names:
            self._put(name, read)

    def judge(self, rule: Callable[[], object]) -> None:
        """Apply a rule about several fields, once each of them can be read, so that all is told at once."""
        try:
            rule()
        except InvalidInput as error:
            self.blame(error.path.removeprefix("/"), error.reason)

    def convert(self, kind: type[T]) -> T:
        """Make what the API takes of what was read.

        Raises:
            InvalidRequest: Something is wrong; all is listed.
        """
        unread = {fault.pointer for fault in self._faults}
        try:
            found = convert_object(self.document, kind)
        except InvalidRequest as error:
            raise InvalidRequest(
                [*self._faults, *(fault for fault in error.faults if fault.pointer not in unread)]
            ) from None
        if self._faults:
            raise InvalidRequest(self._faults)
        return found

    def refuse(self, error: Refusal, *, renamed: Mapping[str, str] | None = None) -> Filled:
        """Note what a form was refused for.

        Args:
            error: Which.
            renamed: Fields that have another name here, by that in the error.
        """
        match error:
            case InvalidRequest():
                self.status_code = 422
                found = [(fault.pointer, fault.message) for fault in error.faults]
            case InvalidInput():
                self.status_code = 422
                found = [(error.path, error.reason)]
            case Conflict():
                self.status_code = 409
                found = [(self._places.get(error.code, ""), str(error))]
            case QuotaExceeded():
                self.status_code = 429
                found = [("", str(error))]
            case _:
                self.status_code = 409
                found = [("", f"the {error.what} was changed since you read it: look at it again")]
        for pointer, message in found:
            name = pointer.removeprefix("/").partition("/")[0]
            name = (renamed or {}).get(name, name)
            self.tell(name if name in self.labels else "", message)
        order = ["", *self.labels]
        self.told.sort(key=lambda told: order.index(told.name))
        return self

    def tell(self, name: str, message: str) -> None:
        """Note what is wrong with a field, or with an empty *name* with all of it, for whoever filled it in."""
        words = plain_words(message[:_MAX_MESSAGE])
        if self._names is not None:
            words = self._names.sub(lambda found: f"“{self.labels[found[1]]}”", words)
        self.told.append(Told(name, self.labels.get(name, ""), words if name else sentence(words)))

    def faults(self, name: str) -> list[str]:
        """List what is wrong with a field."""
        return [told.message for told in self.told if told.name == name]


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise InvalidInput("", "has to be a day, such as 2026-11-01") from None


def _next(day: dt.date) -> dt.date:
    if day == dt.date.max:
        raise InvalidInput("", "is too late")
    return day + dt.timedelta(days=1)
