"""What a request's user agent is: an app, a browser, a library, a bot or an Apple Watch, and on what device.

The rules are data: `agents.toml` beside this module, read and compiled on first use. The first entry whose pattern
is found in the normalised agent decides, so its order is part of the rules. Classification is meant to run once for
each distinct agent; callers keep what it returns.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote

import msgspec

from analytics_core.errors import InvalidInput

__all__ = (
    "DEVICES",
    "MAX_AGENT_CHARS",
    "AgentClass",
    "AgentEntry",
    "AgentKind",
    "AgentTable",
    "DeviceEntry",
    "classify",
    "load_table",
    "normalise_agent",
    "table_version",
)

MAX_AGENT_CHARS: Final = 512
"""What stands behind this many characters of an agent decides nothing."""

DEVICES: Final = ("phone", "tablet", "computer", "speaker", "watch", "tv", "car", "unknown")
"""The words for devices, a closed set."""


class AgentKind(enum.IntEnum):
    """What kind of program made a request."""

    UNKNOWN = 0
    APP = 1
    BROWSER = 2
    LIBRARY = 3
    BOT = 4
    WATCH = 5

    @property
    def label(self) -> str:
        """The name that is shown.

        >>> AgentKind.BOT.label
        'bot'
        """
        return self.name.lower()


class AgentClass(msgspec.Struct, frozen=True):
    """What one user agent was found to be.

    Attributes:
        kind: The kind of program; a library that only bots use is a bot.
        app: The program's name for people, empty when unknown.
        device: One of ``DEVICES``.
        rule: The name of the table entry that decided; ``empty`` without an agent, ``none`` without a match.
    """

    kind: AgentKind
    app: str
    device: str
    rule: str


class AgentEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a table as it is written.

    Attributes:
        name: Unique in its table: the rule that a classification names.
        kind: ``app``, ``browser``, ``library``, ``bot`` or ``watch``.
        pattern: A Python regular expression, searched for in the normalised agent.
        app: The program's name for people where it is not *name*.
        device: One of ``DEVICES`` where the entry alone tells it; it outranks the table's device patterns.
        category: ``bot`` makes a library a bot; other words are notes.
        examples: Real agents that this entry decides.
    """

    name: str
    kind: str
    pattern: str
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


_KINDS: Final = {kind.label: kind for kind in AgentKind if kind is not AgentKind.UNKNOWN}
_EMPTY: Final = AgentClass(AgentKind.UNKNOWN, "", "unknown", "empty")

_MAX_DECODINGS: Final = 5

# What tells the structure of a pattern: escapes (skipped), sets (their first "]" stands for itself), groups, bars.
_STRUCTURE: Final = re.compile(r"\\.|\[\^?\]?|[]()|]", re.DOTALL)
_ESCAPE: Final = re.compile(r"\\.", re.DOTALL)
_UPPER: Final = re.compile(r"[A-Z]|[^\W\d_a-z]")
_Rule: TypeAlias = tuple[Callable[[str], re.Match[str] | None], bool]

# Controls, lone surrogates, and the invisible marks that only ever hide or reorder what people read.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)


def normalise_agent(agent: str) -> str:
    """Correct a user agent that is merely malformed.

    Control characters and invisible marks go, percent-encoding is undone as often as it was done, white space
    becomes single spaces, and what is left of the first ``MAX_AGENT_CHARS`` characters stays. Normalising twice
    changes nothing more.

    Args:
        agent: Any text; undecodable bytes may stand in it as surrogates.

    Returns:
        The corrected agent, empty when nothing readable was there.

    Source:
        ``docs/methodology.md``, "User agents".

    >>> normalise_agent("%E6%92%AD%E5%AE%A2/1710.17\\r\\n CFNetwork/1399")
    '播客/1710.17 CFNetwork/1399'
    >>> normalise_agent("My%2520App")
    'My App'
    """
    text = agent[:MAX_AGENT_CHARS]
    for _ in range(_MAX_DECODINGS):
        plain = _INVISIBLE.sub("", text)
        if "%" in plain:
            plain = unquote(plain)
        if plain == text:
            break
        text = plain
    else:
        # No name was ever encoded so often: without its signs nothing is left to decode.
        text = _INVISIBLE.sub("", text.replace("%", ""))
    return " ".join(text.split())


class AgentTable:
    """A compiled table of user agents.

    Args:
        agents: Entries by precedence.
        devices: Device patterns by precedence, asked when the deciding entry names no device.
        version: What tells this table's content from another's.

    Raises:
        InvalidInput: An entry cannot be used; its path names it.
    """

    def __init__(self, agents: tuple[AgentEntry, ...], devices: tuple[DeviceEntry, ...], *, version: str) -> None:
        self.agents = agents
        self.devices = devices
        self.version = version
        seen: set[str] = set()
        rules = []
        for entry in agents:
            path = f"agent {entry.name!r}"
            if not entry.name or entry.name in seen:
                raise InvalidInput(path, "a name is needed, and only once in a table")
            seen.add(entry.name)
            if entry.kind not in _KINDS:
                raise InvalidInput(path, f"kind is one of {', '.join(_KINDS)}, not {entry.kind!r}")
            if entry.device and entry.device not in DEVICES:
                raise InvalidInput(path, f"device is one of {', '.join(DEVICES)}, not {entry.device!r}")
            kind = _KINDS[entry.kind]
            if kind is AgentKind.LIBRARY and entry.category == "bot":
                kind = AgentKind.BOT
            device = "watch" if kind is AgentKind.WATCH else entry.device
            found = AgentClass(kind, entry.app or entry.name, device or "unknown", entry.name)
            # A bot that claims a telephone has none.
            rules.append((*_compile(entry.pattern, path), found, not device and kind is not AgentKind.BOT))
        self._rules = tuple(rules)
        device_rules = []
        for number, entry_device in enumerate(devices, 1):
            path = f"device {number} ({entry_device.device!r})"
            if entry_device.device not in DEVICES:
                raise InvalidInput(path, f"device is one of {', '.join(DEVICES)}")
            device_rules.append((*_compile(entry_device.pattern, path), entry_device.device))
        self._devices = tuple(device_rules)

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
        for find, folded, found, device_open in self._rules:
            if find(lower if folded else text) is not None:
                if not device_open:
                    return found
                return AgentClass(found.kind, found.app, self._device_of(text, lower), found.rule)
        return AgentClass(AgentKind.UNKNOWN, "", self._device_of(text, lower), "none")

    def _device_of(self, text: str, lower: str) -> str:
        for find, folded, device in self._devices:
            if find(lower if folded else text) is not None:
                return device
        return "unknown"


def _alternatives(pattern: str) -> list[str]:
    """Split a pattern at the bars outside of groups and character sets."""
    parts, start, depth, in_set = [], 0, 0, False
    for match in _STRUCTURE.finditer(pattern):
        sign = match[0]
        if in_set:
            in_set = sign != "]"
        elif sign.startswith("["):
            in_set = True
        elif sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
        elif sign == "|" and not depth:
            parts.append(pattern[start : match.start()])
            start = match.end()
    return [*parts, pattern[start:]]


def _compile(pattern: str, path: str) -> _Rule:
    try:
        compiled = re.compile(pattern)
        if compiled.search("") is not None:
            raise InvalidInput(path, "the pattern matches everything")
        # Two rewrites with the same meaning make a miss several times cheaper: ignoring case goes over to text that
        # is in lower case already, and what can only match at the beginning is not tried anywhere else.
        body = pattern.removeprefix("(?i)")
        folded = body != pattern and not _UPPER.search(_ESCAPE.sub("", body))
        if folded:
            compiled = re.compile(body)
        anchored = all(part.startswith("^") for part in _alternatives(body))
    except (re.error, OverflowError, RecursionError) as error:
        raise InvalidInput(path, f"the pattern is no regular expression: {error}") from error
    return (compiled.match if anchored else compiled.search), folded


def load_table(text: str) -> AgentTable:
    """Read and compile a table in the form of `agents.toml`.

    Args:
        text: TOML with ``[[agent]]`` and, if wanted, ``[[device]]`` entries.

    Raises:
        InvalidInput: It is no TOML, or an entry cannot be used; the path names the entry.

    >>> table = load_table("[[agent]]\\nname = 'Castaway'\\nkind = 'app'\\npattern = '^Castaway/'")
    >>> table.classify("Castaway/1.0").app
    'Castaway'
    """
    # Imported here: most processes that import this module never read a table.
    import tomllib

    try:
        document = msgspec.convert(tomllib.loads(text), _Document)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput("agents", f"not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise InvalidInput("agents", str(error)) from error
    version = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
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
    return AgentTable(tuple(agents), tuple(devices), version=version)


@functools.cache
def _our_table() -> AgentTable:
    return load_table(Path(__file__).with_name("agents.toml").read_text(encoding="utf-8"))


def table_version() -> str:
    """Name the content of our own table: twelve hexadecimal digits that change with it."""
    return _our_table().version


def classify(agent: str) -> AgentClass:
    """Find out what a user agent is by our own table.

    Args:
        agent: The agent as it was sent; any text, decoded with ``errors="replace"`` or ``surrogateescape``.

    Returns:
        What it is; kind unknown with rule ``empty`` for an agent without readable text.

    Source:
        ``docs/methodology.md``, "User agents".

    >>> found = classify("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)")
    >>> found.kind.label, found.app, found.device
    ('app', 'Overcast', 'phone')
    >>> classify("").rule
    'empty'
    """
    return _our_table().classify(agent)
