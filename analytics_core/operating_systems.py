"""Operating systems of user agents: which one an agent names, in a closed set of names.

Rules rather than a part of the table of agents: an operating system is told by words that all programs on it send,
whoever wrote them. The first rule that is found decides, so that a system which borrows another's words comes first:
HarmonyOS and Fire OS call themselves Android as well, an iPhone is "like Mac OS X", and nearly all of them are a Linux.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from analytics_core.agent_patterns import PatternIndex, Piece, compile_pattern, pieces_of

__all__ = ("OPERATING_SYSTEMS", "find_system", "operating_system")

_RULES: Final = (
    # Programs that there are for one system alone, whatever they say.
    ("Android", r"\bdoggcatcher\b|^antennapod/|^gsa/"),
    ("iOS", r"^castro[ /]"),
    ("watchOS", r"watchos|apple ?watch|\bwatch\d,\d|^atc/"),
    ("tvOS", r"tvos|apple[ _]?tv"),
    ("visionOS", r"visionos|\bxros\b"),
    # A HomePod's frame is that of a telephone, and its system has no name that agents give.
    ("", r"homepod|audioaccessory\d|^airpodcasts/"),
    ("HarmonyOS", r"harmony ?os|\barkweb/"),
    ("KaiOS", r"\bkai ?os\b"),
    ("Tizen", r"\btizen"),
    ("webOS", r"\bweb[o0]s\b|\bnetcast\b"),
    ("Roku OS", r"\broku\b|^roku"),
    ("Windows", r"\bwindows\b|\bwin(?:32|64|10|11)(?![a-z0-9])|^nsplayer/|\biemobile\b|\bxbox"),
    ("ChromeOS", r"\bcros\b|\bchrome ?os\b"),
    ("Fire OS", r"\bfire ?os\b|\bfire ?tv\b|\bkindle fire\b|; ?(?:aft|kf)[a-z0-9]{1,8}(?: build|[);])|^amazon;aft"),
    ("iPadOS", r"\bipad(?:os)?(?![a-z])"),
    ("iOS", r"\biphone|\bipod\b|\bios(?![a-z])|like mac os x|\bcarplay\b"),
    # Frames of media that only Macs have: an iPhone's names its device.
    ("macOS", r"\bmacintosh\b|\bmac ?os\b|\bos ?x\b|\bmac_|\bmacbook|\bmac(?:mini)?\d+,\d|\bimac"),
    ("macOS", r"\bdarwin/[\d.]+ \((?:x86_64|i386|arm64|power)"),
    ("Android", r"android|\bdalvik\b|exoplayer|androidxmedia|stagefright"),
    # Macs send the same as telephones, which are by far the most: as with the device.
    ("iOS", r"\bcfnetwork/"),
    ("macOS", r"\bdarwin\b"),
    ("Linux", r"linux|\bx11\b|\bubuntu\b|\bdebian\b|\bfedora\b|\braspbian\b"),
)

_INDEX: Final = PatternIndex()
for _number, (_, _pattern) in enumerate(_RULES):
    _INDEX.add(_number, compile_pattern(f"(?i){_pattern}"))

OPERATING_SYSTEMS: Final = tuple(dict.fromkeys(name for name, _ in _RULES if name))
"""The names of operating systems, a closed set."""


def operating_system(agent: str) -> str:
    """Tell which operating system a user agent names.

    Args:
        agent: Normalised (:func:`analytics_core.user_agents.normalise_agent`).

    Returns:
        One of ``OPERATING_SYSTEMS``; empty where the agent does not tell.

    Source:
        ``docs/methodology.md``, "User agents".

    >>> operating_system("AppleCoreMedia/1.0.0.21C66 (iPad; U; CPU OS 17_2_1 like Mac OS X; en_us)")
    'iPadOS'
    >>> operating_system("CastBox/11.10.0 (Linux;Android 14) ExoPlayerLib/2.10.4"), operating_system("Pocket Casts")
    ('Android', '')
    """
    lower = agent.lower()
    return find_system(lower, pieces_of(lower))


def find_system(lower: str, pieces: Set[Piece]) -> str:
    """Tell the same of an agent in lower case whose pieces are known.

    Args:
        lower: The normalised agent in lower case.
        pieces: What :func:`analytics_core.agent_patterns.pieces_of` makes of it.
    """
    found = _INDEX.find(lower, lower, pieces)
    return _RULES[found[0]][0] if found else ""
