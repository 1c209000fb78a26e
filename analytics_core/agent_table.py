"""A table of user agents: its form, and how an agent finds the first entry that matches without trying them all.

The rules are data: `agents.toml` beside this module, read and compiled on first use. The first entry whose pattern is
found in the normalised agent decides, so its order is part of the rules. Classification is meant to run once for each
distinct agent; callers keep what it returns.
"""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from collections.abc import Set
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from analytics_core.agent_fallbacks import BROWSERS, CRAWLERS, guess_browser, installed_versions, is_crawler
from analytics_core.agent_patterns import Pattern, PatternIndex, Piece, compile_pattern, pieces_of
from analytics_core.errors import InvalidInput
from analytics_core.operating_systems import find_system
from analytics_core.user_agents import DEVICES, AgentClass, AgentKind, normalise_agent

__all__ = ("AgentEntry", "AgentTable", "DeviceEntry", "classify", "load_table", "our_table", "table_version")

_KINDS: Final = {kind.label: kind for kind in AgentKind if kind is not AgentKind.UNKNOWN}
_EMPTY: Final = AgentClass(AgentKind.UNKNOWN, "", "unknown", "empty")

# What people read of an agent that only a list of crawlers knows.
_CRAWLER: Final = "Other crawlers"

# Counts changes of our code that let the same table say something else.
_RULES: Final = 3

# What a program calls itself: all up to its version, its platform, or what stands in brackets.
_PRODUCT: Final = re.compile(r"[^/(;,|\[]{1,80}?(?= ?[/(;,|\[]|[ _-][vr]?\d|$)")
_PLATFORM: Final = re.compile(
    r"(?:android|ios|iphone|ipad|osx|macos|windows|mobile|app|player|client|free|pro|premium|plus|lite|beta|dev"
    r"|alpha|staging|preprod|test|\d+)$"
)
_MAX_APP_CHARS: Final = 60


class AgentEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a table as it is written.

    Attributes:
        name: Unique in its table: the rule that a classification names.
        kind: ``app``, ``browser``, ``library``, ``bot`` or ``watch``.
        pattern: A Python regular expression, searched for in the normalised agent. What a group ``(?P<app>…)`` of it
            matches is the program's name for people: it names itself.
        names: In place of a pattern: programs whose agent begins with their name; case, spaces, and a version or
            platform behind it make no difference. Each is the program's name for people, too; ``sent = shown`` where
            they differ.
        app: The program's name for people where it is not *name*.
        device: One of ``DEVICES`` where the entry alone tells it; it outranks the table's device patterns.
        category: ``bot`` makes a library a bot; other words are notes.
        examples: Real agents that this entry decides.
    """

    name: str
    kind: str
    pattern: str = ""
    names: tuple[str, ...] = ()
    app: str = ""
    device: str = ""
    category: str = ""
    examples: tuple[str, ...] = ()


class DeviceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One device pattern of a table: *pattern*, found in the normalised agent, means *device*."""

    device: str
    pattern: str
    examples: tuple[str, ...] = ()


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    agent: tuple[dict[str, object], ...] = ()
    device: tuple[dict[str, object], ...] = ()


def _squash(name: str) -> str:
    """Bring a name to what it is looked up by.

    >>> _squash("The Podcast-App")
    'thepodcastapp'
    """
    return "".join(filter(str.isalnum, name.lower()))


def _own_name(match: re.Match[str], text: str) -> str:
    start, end = match.span("app")
    return text[start:end].strip(" -_.:\"'")[:_MAX_APP_CHARS].rstrip()


class _Rule(NamedTuple):
    found: AgentClass
    is_device_open: bool
    names_itself: bool


class AgentTable:
    """A compiled table of user agents.

    Args:
        agents: Entries by precedence.
        devices: Device patterns by precedence, asked when the deciding entry names no device.
        version: What tells this table's content from another's.
        asks_others: Whether packages that are installed are asked for what it leaves open.

    Raises:
        InvalidInput: An entry cannot be used; its path names it.
    """

    def __init__(
        self,
        agents: tuple[AgentEntry, ...],
        devices: tuple[DeviceEntry, ...],
        *,
        version: str,
        asks_others: bool = False,
    ) -> None:
        self.agents = agents
        self.asks_others = asks_others
        self.devices = devices
        self.version = version
        self._rules: list[_Rule] = []
        # By squashed name, the entry that has it and how it spells it.
        self._names: dict[str, tuple[int, str]] = {}
        self._index = PatternIndex()
        seen: set[str] = set()
        for entry in agents:
            path = f"agent {entry.name!r}"
            if not entry.name or entry.name in seen:
                raise InvalidInput(path, "a name is needed, and only once in a table")
            seen.add(entry.name)
            self._add(entry, path)
        self._device_index = PatternIndex()
        for number, entry_device in enumerate(devices):
            path = f"device {number + 1} ({entry_device.device!r})"
            if entry_device.device not in DEVICES:
                raise InvalidInput(path, f"device is one of {', '.join(DEVICES)}")
            self._device_index.add(number, _compile(entry_device.pattern, path))

    def _add(self, entry: AgentEntry, path: str) -> None:
        if entry.kind not in _KINDS:
            raise InvalidInput(path, f"kind is one of {', '.join(_KINDS)}, not {entry.kind!r}")
        if entry.device and entry.device not in DEVICES:
            raise InvalidInput(path, f"device is one of {', '.join(DEVICES)}, not {entry.device!r}")
        if bool(entry.pattern) == bool(entry.names):
            raise InvalidInput(path, "either a pattern or names are needed, not both")
        kind = _KINDS[entry.kind]
        if kind is AgentKind.LIBRARY and entry.category == "bot":
            kind = AgentKind.BOT
        device = "watch" if kind is AgentKind.WATCH else entry.device
        found = AgentClass(kind, entry.app or entry.name, device or "unknown", entry.name)
        number = len(self._rules)
        if entry.pattern:
            self._index.add(number, _compile(entry.pattern, path))
        for name in entry.names:
            sent, _, shown = name.partition(" = ")
            if not (key := _squash(sent)) or key in self._names:
                raise InvalidInput(path, f"{sent!r} has no letters, or is among the names already")
            self._names[key] = number, shown or sent
        # A bot that claims a telephone has none.
        is_device_open = not device and kind is not AgentKind.BOT
        self._rules.append(_Rule(found, is_device_open, "(?P<app>" in entry.pattern))

    def classify(self, agent: str) -> AgentClass:
        """Find out what a user agent is; any text will do.

        Args:
            agent: The agent as it was sent.

        Returns:
            The class of the first entry that matches; kind unknown with rule ``empty`` or ``none`` otherwise.
        """
        text = normalise_agent(agent)
        if not text:
            return _EMPTY
        lower = text.lower()
        pieces = pieces_of(lower)
        number, name = self._find_name(text)
        match = None
        if found := self._index.find(text, lower, pieces, below=number if name else None):
            number, match = found
        elif not name:
            return self._classify_unknown(text, lower, pieces)
        rule = self._rules[number]
        own, app = "", name
        if match is not None:
            # As it was sent, unless lower case has moved its places.
            sent = text if len(text) == len(lower) else match.string
            own = _own_name(match, sent) if rule.names_itself else ""
            app = own or rule.found.app
        device = self._device_of(text, lower, pieces) if rule.is_device_open else rule.found.device
        # A bot that claims a telephone has none.
        system = "" if rule.found.kind is AgentKind.BOT else self._system_of(text, lower, pieces)
        return AgentClass(rule.found.kind, app, device, rule.found.rule, bool(own), system)

    def _classify_unknown(self, text: str, lower: str, pieces: Set[Piece]) -> AgentClass:
        if self.asks_others:
            if is_crawler(text):
                return AgentClass(AgentKind.BOT, _CRAWLER, "unknown", CRAWLERS)
            if browser := guess_browser(text).browser:
                device, system = self._device_of(text, lower, pieces), self._system_of(text, lower, pieces)
                return AgentClass(AgentKind.BROWSER, browser, device, BROWSERS, os=system)
        device, system = self._device_of(text, lower, pieces), self._system_of(text, lower, pieces)
        return AgentClass(AgentKind.UNKNOWN, "", device, "none", os=system)

    def lists_name_of(self, agent: str) -> bool:
        """Tell whether an entry lists the name that a normalised agent begins with."""
        return bool(self._find_name(agent)[1])

    def _find_name(self, text: str) -> tuple[int, str]:
        """Find the entry that lists what an agent begins with, and how it spells it; without one, no name."""
        match = _PRODUCT.match(text)
        key = _squash(match[0]) if match is not None else ""
        while key:
            if key in self._names:
                return self._names[key]
            shorter = _PLATFORM.sub("", key)
            key = shorter if shorter != key else ""
        return 0, ""

    def _device_of(self, text: str, lower: str, pieces: Set[Piece]) -> str:
        if found := self._device_index.find(text, lower, pieces):
            return self.devices[found[0]].device
        return (self.asks_others and guess_browser(text).device) or "unknown"

    def _system_of(self, text: str, lower: str, pieces: Set[Piece]) -> str:
        return find_system(lower, pieces) or (guess_browser(text).system if self.asks_others else "")


def _compile(pattern: str, path: str) -> Pattern:
    try:
        return compile_pattern(pattern)
    except ValueError as error:
        raise InvalidInput(path, str(error)) from error


def load_table(text: str, *, asks_others: bool = False) -> AgentTable:
    """Read and compile a table in the form of `agents.toml`.

    Args:
        text: TOML with ``[[agent]]`` and, if wanted, ``[[device]]`` entries.
        asks_others: Whether packages that are installed are asked for what it leaves open.

    Raises:
        InvalidInput: It is no TOML, or an entry cannot be used; the path names the entry.

    >>> table = load_table("[[agent]]\\nname = 'Castaway'\\nkind = 'app'\\npattern = '^Castaway/'")
    >>> table.classify("Castaway/1.0").app
    'Castaway'
    """
    try:
        document = msgspec.convert(tomllib.loads(text), _Document)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput("agents", f"not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise InvalidInput("agents", str(error)) from error
    others = installed_versions() if asks_others else {}
    version = hashlib.blake2b(f"{_RULES}{sorted(others.items())}{text}".encode(), digest_size=6).hexdigest()
    agents = []
    for number, raw in enumerate(document.agent, 1):
        try:
            agents.append(msgspec.convert(raw, AgentEntry))
        except msgspec.ValidationError as error:
            raise InvalidInput(f"agent {raw.get('name', number)!r}", str(error)) from error
    devices = []
    for number, raw in enumerate(document.device, 1):
        try:
            devices.append(msgspec.convert(raw, DeviceEntry))
        except msgspec.ValidationError as error:
            raise InvalidInput(f"device {number}", str(error)) from error
    return AgentTable(tuple(agents), tuple(devices), version=version, asks_others=asks_others)


@functools.cache
def our_table() -> AgentTable:
    """Return our own table; read and compiled by the first who asks."""
    text = Path(__file__).with_name("agents.toml").read_text(encoding="utf-8")
    return load_table(text, asks_others=True)


def table_version() -> str:
    """Name the content of our own table: twelve hexadecimal digits that change with it."""
    return our_table().version


def classify(agent: str) -> AgentClass:
    """Find out what a user agent is by our own table.

    Args:
        agent: The agent as it was sent; any text, decoded with ``errors="replace"`` or ``surrogateescape``.

    Returns:
        What it is; kind unknown with rule ``empty`` for an agent without readable text.

    Source:
        ``docs/methodology.md``, "User agents".

    >>> found = classify("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)")
    >>> found.kind.label, found.app, found.device, found.os
    ('app', 'Overcast', 'phone', 'iOS')
    >>> classify("").rule
    'empty'
    """
    return our_table().classify(agent)
