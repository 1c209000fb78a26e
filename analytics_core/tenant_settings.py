"""What a tenant may set: a closed list of keys, each with its type, its bounds and where it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from analytics_core.errors import InvalidInput
from analytics_core.reports import Interval, find_time_zone

__all__ = ("SETTINGS", "Setting", "Value", "effective", "parse_setting")

Value = str | int
_MAX_RANGE_DAYS: Final = 366


class Setting(NamedTuple):
    """One thing that a tenant may set.

    Attributes:
        key: Its name.
        schema: The form of its values, as JSON Schema.
        default: What holds while the tenant has set nothing.
        description: What it does, for people.
        accepts: Tells whether a value of the right type is one that it takes.
    """

    key: str
    schema: Mapping[str, Any]
    default: Value
    description: str
    accepts: Callable[[Value], bool]

    @property
    def form(self) -> str:
        """Its values in words.

        >>> SETTINGS["range_days"].form
        'a whole number from 1 to 366'
        """
        if self.schema["type"] == "integer":
            return f"a whole number from {self.schema['minimum']} to {self.schema['maximum']}"
        if "enum" in self.schema:
            return f"one of {', '.join(self.schema['enum'])}"
        return str(self.schema["description"])


_ALL: Final = (
    Setting(
        "timezone",
        {"type": "string", "maxLength": 60, "description": "the name of a time zone, such as Europe/Berlin"},
        "UTC",
        "Whose days and clocks decide in reports: `tz` where a request gives none.",
        lambda value: isinstance(value, str) and find_time_zone(value) is not None,
    ),
    Setting(
        "interval",
        {"type": "string", "enum": [interval.value for interval in Interval]},
        Interval.DAY.value,
        "How long a bucket of a report is: `interval` where a request gives none.",
        lambda value: value in [interval.value for interval in Interval],
    ),
    Setting(
        "range_days",
        {"type": "integer", "minimum": 1, "maximum": _MAX_RANGE_DAYS},
        30,
        "How many days a report goes back where a request gives no `from`.",
        lambda value: isinstance(value, int) and 1 <= value <= _MAX_RANGE_DAYS,
    ),
)

SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType({setting.key: setting for setting in _ALL})
"""By key, in the order in which they are shown."""


def parse_setting(key: str, value: object) -> Value:
    """Read a value that is to be set.

    >>> parse_setting("timezone", "Europe/Berlin")
    'Europe/Berlin'

    Args:
        key: Of the setting.
        value: As JSON has it.

    Raises:
        InvalidInput: ``unknown_setting``: there is no such key, the message names those that there are; or the value is
            none that it takes. The path is ``/settings/…``.
    """
    setting = SETTINGS.get(key)
    if setting is None:
        reason = f"there is no such setting; there are {', '.join(SETTINGS)}"
        raise InvalidInput(f"/settings/{key[:40]}", reason, code="unknown_setting")
    kind = int if setting.schema["type"] == "integer" else str
    # A bool is an int to Python, and none to anybody else.
    if isinstance(value, bool) or not isinstance(value, kind) or not setting.accepts(value):
        raise InvalidInput(f"/settings/{key}", f"has to be {setting.form}")
    return value


def effective(stored: Mapping[str, Value | None]) -> dict[str, Value]:
    """Work out what holds: what is stored and still taken, else the default.

    >>> effective({"range_days": 7})["range_days"], effective({"range_days": 10_000})["range_days"]
    (7, 30)
    """
    found: dict[str, Value] = {}
    for key, setting in SETTINGS.items():
        value = stored.get(key)
        try:
            found[key] = setting.default if value is None else parse_setting(key, value)
        except InvalidInput:
            # It was set when other bounds held.
            found[key] = setting.default
    return found
