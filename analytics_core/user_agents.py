"""What a request's user agent is: an app, a browser, a library, a bot or an Apple Watch, and on what device.

Here are the words for it, and what an agent is brought to before anything is looked for in it; the table that decides
is in `analytics_core.agent_table`.
"""

from __future__ import annotations

import enum
import re
from typing import Final
from urllib.parse import unquote

import msgspec

__all__ = ("DEVICES", "MAX_AGENT_CHARS", "AgentClass", "AgentKind", "normalise_agent")

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
        names_itself: Whether *app* is what the agent calls itself, so that there can be any number of such names.
        os: The operating system, one of ``OPERATING_SYSTEMS``; empty where the agent does not tell it, and of bots.
    """

    kind: AgentKind
    app: str
    device: str
    rule: str
    names_itself: bool = False
    os: str = ""


_MAX_DECODINGS: Final = 5

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
