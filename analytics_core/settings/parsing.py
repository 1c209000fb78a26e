"""How the texts of environment variables are read, and what is said of each in the documentation."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from analytics_core.secret_strength import is_weak_secret

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]")
_ORIGIN: Final = re.compile(rf"https?://(?:{_HOST_NAME.pattern})(?::[0-9]{{1,5}})?")


class Secret(str):
    """A text that does not show itself where it is printed by accident.

    >>> print(repr(Secret("hunter2")))
    Secret('…')
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('…')"


class Variable(NamedTuple):
    """One environment variable, for the documentation."""

    name: str
    default: str
    help: str
    secret: bool


class Spec(NamedTuple):
    """One variable of a part: how its text is read, and what the documentation says of it."""

    name: str
    parse: Callable[[str], Any]
    default: str
    help: str
    secret: bool = False


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers within these bounds."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def boolean(text: str) -> bool:
    """Read ``true`` or ``false``, or another word for them."""
    value = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return value[text.lower()]
    except KeyError:
        raise ValueError("true or false") from None


def choice(kind: type[enum.Enum]) -> Callable[[str], Any]:
    """Return a reader of this enumeration's values, in any case."""

    def parse(text: str) -> enum.Enum:
        try:
            return kind(text.lower())
        except ValueError:
            raise ValueError("one of " + ", ".join(str(member.value) for member in kind)) from None

    return parse


def networks(text: str) -> tuple[Network, ...]:
    """Read networks, separated by commas."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"networks such as 10.0.0.0/8, separated by commas ({error})") from None


def secrets(text: str) -> tuple[Secret, ...]:
    """Read secrets, separated by commas, each strong enough."""
    found = tuple(Secret(part.strip()) for part in text.split(",") if part.strip())
    if any(is_weak_secret(secret) for secret in found):
        raise ValueError("random enough: take what `openssl rand -base64 48` writes")
    return found


def words(text: str) -> tuple[str, ...]:
    """Read words in lower case, separated by commas."""
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


def host_names(text: str) -> frozenset[str]:
    """Read host names without ports, separated by commas."""
    names = frozenset(words(text))
    if not all(_HOST_NAME.fullmatch(name) for name in names):
        raise ValueError("host names without ports, such as ledger.example.com, separated by commas")
    return names


def origins(text: str) -> frozenset[str]:
    """Read exact origins of web pages, separated by commas."""
    found = frozenset(words(text))
    # What is asked for carries a credential, so that any page whatsoever is nobody's wish.
    if not all(_ORIGIN.fullmatch(origin) for origin in found):
        raise ValueError("exact origins such as https://dash.example.com, separated by commas; * is none")
    return found


def parse_public_url(text: str) -> str:
    """Read our tracker's address as prefixes begin with it: no slash at the end.

    Raises:
        ValueError: It is no http or https address, or has a user name, query or fragment.

    >>> parse_public_url("https://pod.example.com/")
    'https://pod.example.com'
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("an address such as https://pod.example.com") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("an address such as https://pod.example.com")
    return text.rstrip("/")


def any_text(text: str) -> str:
    """Take a text as it is."""
    return text


def file_path(text: str) -> Path:
    """Read a path, with ``~`` for the home folder."""
    return Path(text).expanduser()


def read_part(specs: Mapping[str, Spec], environ: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    """Read a part's variables.

    Args:
        specs: The variables, by the fields of the part's struct.
        environ: The environment.
        faults: Where what is wrong is added, a line each.

    Returns:
        The fields' values; a path or address that is not given is ``None`` or empty, for the caller to fill.
    """
    values: dict[str, Any] = {}
    for field, spec in specs.items():
        text = environ.get(spec.name, "").strip()
        if not text:
            text = spec.default
            if not text and spec.parse in (file_path, parse_public_url):
                values[field] = None if spec.parse is file_path else ""
                continue
        try:
            values[field] = spec.parse(text)
        except ValueError as error:
            shown = "what it is set to" if spec.secret else repr(text)
            faults.append(f"{spec.name}: {shown} is not {error}")
            values[field] = None
    return values
