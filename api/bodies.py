"""Request bodies: their type, their size, and all that is wrong with them at once."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from litestar import Request

from api.errors import Fault, InvalidRequest, Refused

__all__ = ("media_type_of", "read_json", "refuse_media_type")

T = TypeVar("T", bound=msgspec.Struct)


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
        InvalidRequest: Fields are missing, unknown or of another form; all are listed.
    """
    if media_type_of(request) != "application/json":
        raise refuse_media_type("application/json")
    try:
        document = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(400, "malformed_json", "the body is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidRequest([Fault("", "invalid", "has to be a JSON object")])
    return _convert(document, kind)


def _convert(document: dict[str, Any], kind: type[T]) -> T:
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
