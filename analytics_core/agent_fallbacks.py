"""What two packages, where they are installed, know of agents that a table leaves open.

Both know the web rather than podcasts, and are wrong about podcast apps: `crawler-user-agents` calls Overcast's player
a crawler. So the first is asked only when no entry of a table matches, and the second only of what begins like a
browser.
"""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Final, NamedTuple

from analytics_core.operating_systems import OPERATING_SYSTEMS

__all__ = ("BROWSERS", "CRAWLERS", "Guess", "guess_browser", "installed_versions", "is_crawler")

CRAWLERS: Final = "crawler-user-agents"
BROWSERS: Final = "user-agents"
_PACKAGES: Final = (CRAWLERS, BROWSERS, "ua-parser", "ua-parser-builtins")
_SYSTEMS: Final = {"Mac OS X": "macOS", "Chrome OS": "ChromeOS", "Ubuntu": "Linux", "Windows Phone": "Windows"}
"""What the package calls otherwise than we do."""
_BROWSERLIKE: Final = ("Mozilla/", "Opera/")


class Guess(NamedTuple):
    """A browser's name, its device and its operating system, each empty when it is not known."""

    browser: str
    device: str
    system: str


@functools.cache
def installed_versions() -> dict[str, str]:
    """Name the packages that are installed with their versions, without loading them."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def is_crawler(agent: str) -> bool:
    """Tell whether the list of crawlers has an agent; ``False`` without the package."""
    if CRAWLERS not in installed_versions():
        return False
    # Imported where an agent is left open, which is seldom: it takes some 80 ms and 3 MB.
    import crawleruseragents

    return bool(crawleruseragents.is_crawler(agent))


def guess_browser(agent: str) -> Guess:
    """Guess which browser on which device an agent is; nothing without the package, or of what is like no browser."""
    if BROWSERS not in installed_versions() or not agent.startswith(_BROWSERLIKE):
        return Guess("", "", "")
    # Imported where an agent is left open, as above: 360 ms and 5 MB, then half a millisecond for each.
    import user_agents

    found = user_agents.parse(agent)
    device = "tablet" if found.is_tablet else "phone" if found.is_mobile else "computer" if found.is_pc else ""
    family, system = str(found.browser.family), str(found.os.family)
    system = _SYSTEMS.get(system, system)
    return Guess("" if family == "Other" else family, device, system if system in OPERATING_SYSTEMS else "")
