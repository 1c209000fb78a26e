"""An installation's own profiles: a TOML file of changes to ours, checked strictly before anything is counted by it."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from analytics_core.errors import ConfigError
from analytics_core.profiles import PROFILES, NetworkPolicy, Profile
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Verdict
from analytics_core.windows import Window

__all__ = ("KEYS", "MAX_OWN_PROFILES", "VARIABLE", "load_profiles")

VARIABLE: Final = "CASTLEDGER_PROFILES"
"""Names the file."""

MAX_OWN_PROFILES: Final = 20
"""No file defines more."""

_MAX_BYTES: Final = 64 * 1024
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,38}[a-z0-9])?")
_HOST: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)+")
_KINDS: Final = {kind.label: kind for kind in AgentKind}
_VERDICTS: Final = {verdict.label: verdict for verdict in Verdict if verdict is not Verdict.ELIGIBLE}
_WINDOWS: Final = {window.value: window for window in Window}


class _Refused(ValueError):
    """A value was refused; says what it has to be."""


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Refused("has to be true or false")
    return value


def _number(low: int, high: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _Refused(f"has to be a whole number from {low:,} to {high:,}")
        return value

    return read


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value.strip()) <= 300 or not value.isprintable():
        raise _Refused("has to be a line of 1 to 300 characters")
    return value.strip()


def _words(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value) or len(value) > 100:
        raise _Refused("has to be a list of at most 100 texts")
    if len(set(value)) < len(value):
        raise _Refused("names something twice")
    return value


def _known(known: Mapping[str, Any], value: object) -> list[Any]:
    words = _words(value)
    for word in words:
        if word not in known:
            raise _Refused(f"holds {word[:40]!r}, which is none of {', '.join(known)}")
    return [known[word] for word in words]


def _excluding(value: object) -> int:
    bits: int = sum(verdict.bit for verdict in _known(_VERDICTS, value))
    if not bits & Verdict.UNKNOWN_EPISODE.bit:
        raise _Refused("has to hold unknown_episode: only an episode has downloads")
    return bits


def _kinds(value: object) -> tuple[AgentKind, ...]:
    return tuple(sorted(_known(_KINDS, value)))


def _hosts(value: object) -> tuple[str, ...]:
    words = _words(value)
    for word in words:
        if _HOST.fullmatch(word) is None or word.startswith("www."):
            raise _Refused(f"holds {word[:40]!r}, which is no host in lower case, without www., such as example.com")
    return tuple(words)


def _differences(value: object) -> tuple[str, ...]:
    return tuple(_text(word) for word in _words(value))


def _window(value: object) -> Window:
    if not isinstance(value, str) or value not in _WINDOWS:
        raise _Refused(f"has to be one of {', '.join(_WINDOWS)}")
    return _WINDOWS[value]


_CHANGES: Final[Mapping[str, Callable[[object], object]]] = {
    "version": _number(1, 10_000),
    "summary": _text,
    "counts_probes": _flag,
    "counts_tails": _flag,
    "header_bytes": _number(1, 100_000_000),
    "seconds": _number(0, 3_600),
    "bytes_per_second": _number(500, 5_000_000),
    "believes_sizes": _flag,
    "excluding": _excluding,
    "preload_referrers": _hosts,
    "window": _window,
    "by_referrer": _flag,
    "differences": _differences,
}
_POLICIES: Final[Mapping[str, Callable[[object], object]]] = {
    "datacenter": _kinds,
    "vpn": _kinds,
    "relay": _kinds,
    "spares_shared": _flag,
}
KEYS: Final = ("base", *_CHANGES, "networks")
"""What a profile may hold."""


def _unknown(key: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"there is no such key; {f'is {close[0]} meant?' if close else 'known: ' + ', '.join(known)}"


def _read_networks(where: str, table: object, base: NetworkPolicy, faults: list[str]) -> NetworkPolicy:
    if not isinstance(table, dict):
        faults.append(f"{where}: has to be a table with {', '.join(_POLICIES)}")
        return base
    changes: dict[str, object] = {}
    for key, value in table.items():
        if key not in _POLICIES:
            faults.append(f"{where}.{key[:40]}: {_unknown(key, tuple(_POLICIES))}")
            continue
        try:
            changes[key] = _POLICIES[key](value)
        except _Refused as refused:
            faults.append(f"{where}.{key}: {refused}")
    return msgspec.structs.replace(base, **changes)


def _read_profile(name: str, table: object, faults: list[str]) -> Profile | None:
    """Read one profile; what is wrong with it is added to *faults*."""
    where = f"profiles.{name[:40]}"
    if _NAME.fullmatch(name) is None:
        faults.append(f"{where}: a name has 1 to 40 lower-case letters, digits, dots and hyphens")
    elif name in PROFILES:
        faults.append(f"{where}: is the name of one of ours; choose another")
    if not isinstance(table, dict):
        faults.append(f"{where}: has to be a table")
        return None
    base = table.get("base")
    if not isinstance(base, str) or base not in PROFILES:
        reason = "is missing" if base is None else "is none of ours"
        faults.append(f"{where}.base: {reason}; has to be one of {', '.join(PROFILES)}")
        base = next(iter(PROFILES))
    started = PROFILES[base]
    changes: dict[str, object] = {"version": 1, "summary": f"{base} with changes."}
    for key, value in table.items():
        if key == "networks":
            changes[key] = _read_networks(f"{where}.networks", value, started.networks, faults)
        elif key in _CHANGES:
            try:
                changes[key] = _CHANGES[key](value)
            except _Refused as refused:
                faults.append(f"{where}.{key}: {refused}")
        elif key != "base":
            faults.append(f"{where}.{key[:40]}: {_unknown(key, KEYS)}")
    return msgspec.structs.replace(started, name=name, **changes)


def load_profiles(path: Path | None) -> Mapping[str, Profile]:
    """Read an installation's own profiles.

    The file holds a table ``[profiles.NAME]`` for each, with ``base``, the name of one of ours, and what is different.

    Args:
        path: The file; ``None`` for none.

    Returns:
        All profiles by name: ours, then those of the file in its order.

    Raises:
        ConfigError: The file cannot be read, or something in it is not as it has to be; everything is listed, with
            file and key.

    >>> list(load_profiles(None)) == list(PROFILES)
    True
    """
    if path is None:
        return PROFILES
    try:
        content = path.read_bytes()
        if len(content) > _MAX_BYTES:
            raise ValueError(f"has more than {_MAX_BYTES:,} bytes")
        read = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigError([f"{VARIABLE}: {path} cannot be read ({error.strerror})"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{VARIABLE}: {path} is not UTF-8 text"]) from None
    except ValueError as error:
        raise ConfigError([f"{VARIABLE}: {path}: {error}"]) from None
    faults = [f"{key[:40]}: {_unknown(key, ('profiles',))}" for key in read if key != "profiles"]
    tables = read.get("profiles", {})
    found: dict[str, Profile] = {}
    if not isinstance(tables, dict) or not tables:
        faults.append("profiles: there are none; a profile is a table such as [profiles.house]")
    elif len(tables) > MAX_OWN_PROFILES:
        faults.append(f"profiles: there are {len(tables)}, at most {MAX_OWN_PROFILES} are taken")
    else:
        for name, table in tables.items():
            profile = _read_profile(name, table, faults)
            if profile is not None:
                found[name] = profile
    if faults:
        raise ConfigError([f"{VARIABLE}: {path}: {fault}" for fault in faults])
    return MappingProxyType({**PROFILES, **found})
