"""What routes of orders, campaigns and placements do alike: read what is given, refuse all that is wrong at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from analytics_core.errors import InvalidInput
from analytics_core.links import parse_target_url
from analytics_core.money import parse_currency
from analytics_core.sponsors import clean_text
from api.errors import Fault, InvalidRequest

__all__ = ("changed_fields", "check", "given_fields")


def changed_fields(was: msgspec.Struct, wished: msgspec.Struct) -> list[str]:
    """List the fields that would say something else than before."""
    return [name for name in was.__struct_fields__ if getattr(was, name) != getattr(wished, name)]


def check(*rules: Callable[[], object]) -> None:
    """Apply rules, and tell all that they refuse.

    Raises:
        InvalidRequest: One of them refuses; the fault of each is listed.
    """
    faults: list[Fault] = []
    for rule in rules:
        try:
            rule()
        except InvalidInput as error:
            faults.append(Fault(error.path, error.code, error.reason))
    if faults:
        raise InvalidRequest(faults)


def _read_url(text: str, *, path: str) -> str:
    try:
        return parse_target_url(text)
    except InvalidInput as error:
        raise InvalidInput(path, error.reason, code=error.code) from error


_TEXTS: Final[dict[str, Callable[..., str]]] = {
    "name": clean_text,
    "reference": clean_text,
    "currency": parse_currency,
    "aircheck_url": _read_url,
}


def given_fields(given: msgspec.Struct, *, leave: tuple[str, ...] = ()) -> dict[str, Any]:
    """List what is given, with texts as they are kept.

    Args:
        given: As the request says it.
        leave: What the caller reads itself.

    Raises:
        InvalidRequest: A text cannot be shown, or is no address or currency; all are listed.
    """
    found = {
        name: value
        for name, value in msgspec.structs.asdict(given).items()
        if value is not msgspec.UNSET and name not in leave
    }

    def read(name: str) -> None:
        found[name] = _TEXTS[name](found[name], path=f"/{name}")

    check(*(lambda name=name: read(name) for name in _TEXTS if found.get(name) is not None))
    return found
