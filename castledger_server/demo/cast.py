"""The cast: who listens to the sample podcast, from where, with which app; and the bots."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence
from random import Random
from typing import Final, NamedTuple

__all__ = (
    "APPS",
    "BOTS",
    "COUNTRIES",
    "WATCH_AGENT",
    "App",
    "Country",
    "Home",
    "Homes",
    "Listener",
    "Style",
    "make_listeners",
)

_MOVE_FROM: Final = "Google Podcasts"
_MOVE_TO: Final = "Pocket Casts"


class Style(enum.Enum):
    """How an app asks for an episode."""

    DOWNLOAD = "download"
    CAUTIOUS_DOWNLOAD = "cautious download"
    """With a HEAD in front."""
    APPLE_STREAM = "apple stream"
    """Two bytes first; what follows often goes straight to the host."""
    STREAM = "stream"
    BROWSER = "browser"


class App(NamedTuple):
    """An app.

    Attributes:
        name: As it has to appear in reports.
        weight: How common it is.
        agents: User agents of its versions, which have to be recognised as *name*.
        style: How it asks.
    """

    name: str
    weight: int
    agents: tuple[str, ...]
    style: Style


class Country(NamedTuple):
    """A country.

    Attributes:
        code: Two letters.
        weight: How many listeners live there.
        utc_offset_h: Its clocks, in whole hours.
        blocks: Networks of its providers, which the registries have to place there.
    """

    code: str
    weight: int
    utc_offset_h: int
    blocks: tuple[str, ...]


APPS: Final = (
    App(
        "Apple Podcasts",
        30,
        (
            "Podcasts/4023.410.2 CFNetwork/1492.0.1 Darwin/23.3.0",
            "Podcasts/4026.500.3 CFNetwork/1568.100.1 Darwin/24.0.0",
        ),
        Style.DOWNLOAD,
    ),
    App(
        "AppleCoreMedia",
        8,
        (
            "AppleCoreMedia/1.0.0.21E236 (iPhone; U; CPU OS 17_4_1 like Mac OS X; en_us)",
            "AppleCoreMedia/1.0.0.22A3370 (iPhone; U; CPU OS 18_0_1 like Mac OS X; en_gb)",
        ),
        Style.APPLE_STREAM,
    ),
    App(
        "Spotify",
        20,
        ("Spotify/8.9.18 Android/33 (SM-G998B)", "Spotify/8.9.8 iOS/17.2.1 (iPhone14,2)"),
        Style.STREAM,
    ),
    App(
        _MOVE_FROM,
        9,
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 "
            "Mobile Safari/537.36 GSA/14.51.28.28.arm64",
            "GooglePodcasts/1.0",
        ),
        Style.STREAM,
    ),
    App("Overcast", 8, ("Overcast/3.0 (+http://overcast.fm/; iOS podcast app)",), Style.DOWNLOAD),
    App(
        _MOVE_TO,
        5,
        ("Shifty Jelly Pocket Casts, Android v7.49", "Pocket Casts"),
        Style.DOWNLOAD,
    ),
    App("AntennaPod", 4, ("AntennaPod/3.3.2", "AntennaPod/3.4.0"), Style.DOWNLOAD),
    App("CastBox", 3, ("CastBox/11.10.0-240116515 (Linux;Android 14) ExoPlayerLib/2.10.4",), Style.DOWNLOAD),
    App(
        "Podcast Addict",
        3,
        ("PodcastAddict/v5 (+https://podcastaddict.com/; Android podcast app)",),
        Style.CAUTIOUS_DOWNLOAD,
    ),
    App("Amazon Music", 3, ("AmazonMusic/16.17.1 Mozilla/5.0 (Linux; Android 13)",), Style.STREAM),
    App(
        "Chrome",
        3,
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            "Chrome/126.0.0.0 Safari/537.36",
        ),
        Style.BROWSER,
    ),
    App("Castro", 2, ("Castro 2023.2/1388",), Style.DOWNLOAD),
    App("Firefox", 1, ("Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",), Style.BROWSER),
    App("Sonos", 1, ("Sonos/81.1-58074 (ZPS27)",), Style.STREAM),
)
"""A podcast's usual mix, the most common first."""

WATCH_AGENT: Final = "atc/1.0 watchOS/10.4 model/Watch6,2 hwp/t8301 build/21T216 (6; dt:226)"

BOTS: Final = (
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
    "Spotify-Podcast/1.0",
    "Overcast/1.0 Podcast Sync (123 subscribers; feed-id=456; +http://overcast.fm/)",
    "PodcastIndex.org/1.0",
    "python-requests/2.31.0",
)
_BOT_BLOCKS: Final = ("66.249.64.0/19", "3.208.0.0/12", "34.64.0.0/11")

COUNTRIES: Final = (
    Country("US", 44, -6, ("73.0.0.0/9", "98.192.0.0/11", "68.32.0.0/11", "2601::/21")),
    Country("GB", 14, 0, ("86.128.0.0/10", "81.96.0.0/12", "2a00:23c0::/27")),
    Country("DE", 10, 1, ("87.128.0.0/11", "79.192.0.0/10", "2003::/19")),
    Country("CA", 7, -5, ("24.64.0.0/13", "99.224.0.0/11", "2607:fea8::/32")),
    Country("AU", 6, 10, ("1.120.0.0/13", "58.160.0.0/12", "2001:8000::/20")),
    Country("FR", 4, 1, ("90.0.0.0/10", "92.128.0.0/11", "2a01:cb00::/26")),
    Country("IN", 4, 5, ("117.192.0.0/10", "2409:4000::/22")),
    Country("SE", 3, 1, ("90.224.0.0/12", "81.224.0.0/12")),
    Country("NL", 3, 1, ("84.24.0.0/13", "77.160.0.0/12")),
    Country("JP", 2, 9, ("126.64.0.0/10", "219.96.0.0/11", "2400:2000::/20")),
    Country("BR", 2, -3, ("2804:14c::/31",)),
    Country("IE", 1, 0, ("86.40.0.0/13",)),
)
"""Where listeners live; the most common first."""

_IS_NEW: Final = 0.25
_SHARES_A_HOME: Final = 0.06
_HAS_A_WATCH: Final = 0.12
_MOVES: Final = 0.85


class Home(NamedTuple):
    """Where requests come from: an IPv4 address, or an IPv6 /64 whose devices change the rest as they like.

    Attributes:
        network: The address, or the first one of the /64.
        is_v6: Which of both.
        country: Two letters.
        utc_offset_h: Its clocks.
    """

    network: int
    is_v6: bool
    country: str
    utc_offset_h: int

    def address(self, rng: Random) -> str:
        """Write the address of one request."""
        if not self.is_v6:
            return str(ipaddress.IPv4Address(self.network))
        return str(ipaddress.IPv6Address(self.network + rng.getrandbits(62)))


class Homes:
    """Hands out homes, no two of which are the same."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._taken: set[int] = set()

    def draw(self) -> Home:
        """Take a listener's home in some country."""
        country = self._rng.choices(COUNTRIES, [country.weight for country in COUNTRIES])[0]
        return self._settle(country.blocks, country.code, country.utc_offset_h)

    def draw_machine(self) -> Home:
        """Take a bot's place in some data centre."""
        return self._settle(_BOT_BLOCKS, "US", 0)

    def _settle(self, blocks: Sequence[str], country: str, utc_offset_h: int) -> Home:
        while True:
            block = ipaddress.ip_network(self._rng.choice(blocks))
            number = int(block.network_address) + self._rng.randrange(block.num_addresses)
            is_v6 = block.version == 6
            if is_v6:
                number = number >> 64 << 64
            if number not in self._taken:
                self._taken.add(number)
                return Home(number, is_v6, country, utc_offset_h)


class Listener(NamedTuple):
    """A regular listener.

    Attributes:
        home: Where they are.
        app: With what they listen.
        agent: Their version of it.
        later: The app that they move to, and its version; ``None`` for those who stay.
        moves_at: When, as a part of the time that is played.
        joins_at: When they found the podcast, as a part of the time that is played; 0 is before it.
        appetite: The chance that they listen to an episode.
        is_prompt: Whether their app fetches new episodes by itself.
        has_watch: Whether a watch copies what the telephone has.
    """

    home: Home
    app: App
    agent: str
    later: tuple[App, str] | None
    moves_at: float
    joins_at: float
    appetite: float
    is_prompt: bool
    has_watch: bool

    def plays_with(self, part: float) -> tuple[App, str]:
        """Say which app they use, and its version, at a part of the time that is played."""
        return self.later if self.later is not None and part >= self.moves_at else (self.app, self.agent)


def make_listeners(rng: Random, homes: Homes, count: int) -> list[Listener]:
    """Make listeners: some share a home, some are new, and those of one app move to another over the time."""
    moving_to = next(app for app in APPS if app.name == _MOVE_TO)
    weights = [app.weight for app in APPS]
    listeners: list[Listener] = []
    for _ in range(count):
        home = listeners[-1].home if listeners and rng.random() < _SHARES_A_HOME else homes.draw()
        app = rng.choices(APPS, weights)[0]
        later = None
        if app.name == _MOVE_FROM and rng.random() < _MOVES:
            later = (moving_to, rng.choice(moving_to.agents))
        listeners.append(
            Listener(
                home=home,
                app=app,
                agent=rng.choice(app.agents),
                later=later,
                moves_at=rng.triangular(0.1, 0.95, 0.6),
                joins_at=rng.random() if rng.random() < _IS_NEW else 0.0,
                appetite=rng.betavariate(2.5, 1.5),
                is_prompt=rng.random() < 0.55,
                has_watch=app.name == "Apple Podcasts" and rng.random() < _HAS_A_WATCH,
            )
        )
    return listeners
