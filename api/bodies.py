"""Request bodies: their type, their size, and all that is wrong with them at once."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from litestar import Request

from api.errors import Fault, InvalidRequest, Refused

__all__ = (
    "MAX_DEPTH",
    "MAX_JSON_BYTES",
    "convert_object",
    "media_type_of",
    "read_json",
    "read_object",
    "refuse_media_type",
)

T = TypeVar("T", bound=msgspec.Struct)

_Place: TypeAlias = "tuple[_Place, str | int] | None"
"""Where a value stands: inside of what, and under which name or number."""

MAX_DEPTH: Final = 32
MAX_JSON_BYTES: Final = 1024 * 1024
"""Feeds may be larger; objects of ours never are."""


def media_type_of(request: Request[Any, Any, Any]) -> str:
    """Return the body's media type in lower case, without parameters; empty when none is given."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def refuse_media_type(*allowed: str) -> Refused:
    """Make the refusal of a body of another type."""
    return Refused(415, "unsupported_media_type", f"the body has to be {' or '.join(allowed)}, and say so")


async def read_json(request: Request[Any, Any, Any], kind: type[T]) -> T:
    """Read a JSON object.

    Args:
        request: With a body of any type.
        kind: The struct it has to be; unknown fields are refused.

    Raises:
        Refused: It is not JSON (400), not said to be (415) or too large (413).
        InvalidRequest: It is nested too deeply, holds a NUL, or fields are missing, unknown or of another form; all are
            listed.
    """
    return convert_object(await read_object(request), kind)


async def read_object(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Read a JSON object whose fields are judged elsewhere.

    Raises:
        Refused: It is not JSON (400), not said to be (415) or too large (413).
        InvalidRequest: It is nested too deeply, holds a NUL, or is no object.
    """
    if media_type_of(request) != "application/json":
        raise refuse_media_type("application/json")
    data = await request.body()
    if len(data) > MAX_JSON_BYTES:
        raise Refused(413, "too_large", f"a JSON body has at most {MAX_JSON_BYTES} bytes")
    try:
        document = msgspec.json.decode(data)
    except RecursionError:
        raise InvalidRequest([_too_deep("")]) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "malformed_json", f"the body is not JSON{_place_of(data, error)}") from None
    _check_values(document)
    if not isinstance(document, dict):
        raise InvalidRequest([Fault("", "invalid", "has to be a JSON object")])
    return document


def _place_of(data: bytes, error: Exception) -> str:
    """Say where something is no JSON, as far as it is known."""
    try:
        data.decode()
    except UnicodeDecodeError as fault:
        return f": byte {fault.start} is not UTF-8"
    found = re.search(r"byte \d+", str(error))
    return f": see {found[0]}" if found else ""


def _too_deep(pointer: str) -> Fault:
    return Fault(pointer, "too_deep", f"is nested more deeply than {MAX_DEPTH} levels")


def _check_values(document: Any) -> None:
    """Refuse what no field takes, however it is made: depth that only costs time, and NUL, which no text can store."""
    root: _Place = None
    waiting: list[tuple[Any, _Place, int]] = [([document], root, 0)]
    while waiting:
        container, place, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise InvalidRequest([_too_deep(_pointer_to(place))])
        if isinstance(container, dict) and any("\0" in name for name in container):
            raise InvalidRequest([Fault(_pointer_to(place), "invalid", "must not have a name with the character NUL")])
        for key, value in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(value, str):
                if "\0" in value:
                    pointer = _pointer_to((place, key) if depth else root)
                    raise InvalidRequest([Fault(pointer, "invalid", "must not hold the character NUL")])
            elif isinstance(value, dict | list):
                waiting.append((value, (place, key) if depth else root, depth + 1))


def _pointer_to(place: _Place) -> str:
    """Write a place as RFC 6901 has it; names are cut where nobody would read on."""
    steps: list[str] = []
    while place is not None:
        place, key = place
        steps.append("/" + str(key)[:40].replace("~", "~0").replace("/", "~1"))
    return "".join(reversed(steps))


def convert_object(document: dict[str, Any], kind: type[T]) -> T:
    """Make a struct of an object whose values are of JSON.

    Raises:
        InvalidRequest: Fields are missing, unknown or of another form; all are listed.
    """
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    faults = [
        Fault(f"/{name[:40]}", "unknown_field", f"there is no such field; allowed: {', '.join(fields)}")
        for name in document
        if name not in fields
    ]
    for name, field in fields.items():
        if name in document:
            try:
                msgspec.convert(document[name], field.type)
            except msgspec.ValidationError as error:
                faults.append(Fault(f"/{name}", "invalid", str(error)))
        elif field.required:
            faults.append(Fault(f"/{name}", "missing", "is required"))
    if faults:
        raise InvalidRequest(faults)
    return msgspec.convert(document, kind)
