"""Counting profiles: named, versioned sets of rules over the stored hits.

The guideline leaves choices open and asks that they be disclosed; a profile is that disclosure as data. Every hit
keeps all that speaks against it, so that another profile can judge the same hits again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from analytics_core.network_classes import NetworkClass
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Verdict
from analytics_core.windows import Window

__all__ = (
    "CASTLEDGER_1",
    "DEFAULT_PROFILE",
    "FIRST_TOUCH",
    "LAST_TOUCH",
    "ODL",
    "OP3",
    "PROFILES",
    "PTMG_2_3",
    "NetworkPolicy",
    "Profile",
)

_EVERY_VERDICT: Final = sum(verdict.bit for verdict in Verdict)
_EVERY_KIND: Final = tuple(AgentKind)


class NetworkPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which kinds of agents do not count from which class of network.

    A podcast app from a data centre may be somebody whose employer's traffic leaves there; a browser is a machine.

    Attributes:
        datacenter: Kinds that do not count from data centres' networks; the verdict is ``datacenter``.
        vpn: The same of VPNs; the verdict is ``vpn``.
        relay: The same of relays in front of people, such as Apple Private Relay; the verdict is ``vpn``.
        spares_shared: Whether none of this is held against addresses that the operator found to be shared by people.
    """

    datacenter: tuple[AgentKind, ...] = _EVERY_KIND
    vpn: tuple[AgentKind, ...] = _EVERY_KIND
    relay: tuple[AgentKind, ...] = ()
    spares_shared: bool = True

    def verdict_bits(self, networks: int, kind: int) -> int:
        """Say what speaks against an agent of a kind from an address in some lists.

        Args:
            networks: Union of :class:`NetworkClass`.
            kind: ``AgentKind``.

        Returns:
            Union of the bits of ``datacenter`` and ``vpn``.

        >>> OP3.networks.verdict_bits(NetworkClass.DATACENTER, AgentKind.APP)
        0
        >>> CASTLEDGER_1.networks.verdict_bits(NetworkClass.DATACENTER | NetworkClass.SHARED, AgentKind.BROWSER)
        0
        """
        if self.spares_shared and networks & NetworkClass.SHARED:
            return 0
        bits = 0
        if networks & NetworkClass.DATACENTER and kind in self.datacenter:
            bits |= Verdict.DATACENTER.bit
        if (networks & NetworkClass.VPN and kind in self.vpn) or (networks & NetworkClass.RELAY and kind in self.relay):
            bits |= Verdict.VPN.bit
        return bits


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as a download.

    Raise ``version`` whenever a figure could change under the same name; a test holds the two together.

    Attributes:
        name: Stable name, as answers carry it.
        version: From 1; raised with any change of what follows or of the rules that read it.
        summary: One sentence for people.
        counts_probes: Whether a lone request for exactly the first two bytes counts, or for a playlist. Players that
            probe a redirect, or ask for a playlist, often send all that follows straight to the host behind it, where a
            tracker cannot see it.
        counts_tails: Whether a request for the last bytes of a file counts when there are enough of them; without it
            only one for as many as the file has does.
        header_bytes: Allowance for tags and cover art in front of the sound.
        seconds: How much of the sound has to be asked for, in seconds.
        bytes_per_second: Assumed where a feed gives no believable size and duration: 128 kbit/s.
        believes_sizes: Whether what feeds say of sizes and durations is used at all.
        least_length_bytes: Enclosure lengths below are placeholders (feeds say 0, 1, 33, 12345), not sizes.
        least_bytes_per_second: Below this rate, length and duration contradict each other and the length is wrong.
        most_bytes_per_second: Above this rate, they do, and the duration is wrong.
        excluding: Union of the bits of the verdicts that keep a hit from counting.
        preload_referrers: Hosts of web players that load without being asked to; the verdict is ``preload``.
        networks: Whose agents do not count from which networks.
        window: How long a listener's requests for an episode are one download.
        by_referrer: Whether requests that other web sites refer are other downloads. A listener is address and agent
            in any case, and the enclosure is its episode: its address is not kept with a hit.
        differences: Of a profile that stands for somebody else's rules, where its figures may not be theirs.
    """

    name: str
    version: int
    summary: str
    counts_probes: bool
    counts_tails: bool = False
    header_bytes: int = 300_000
    seconds: int = 60
    bytes_per_second: int = 16_000
    believes_sizes: bool = True
    least_length_bytes: int = 16_000
    least_bytes_per_second: int = 500
    most_bytes_per_second: int = 5_000_000
    excluding: int = _EVERY_VERDICT
    preload_referrers: tuple[str, ...] = ()
    networks: NetworkPolicy = NetworkPolicy()
    window: Window = Window.CALENDAR_DAY
    by_referrer: bool = False
    differences: tuple[str, ...] = ()

    @property
    def rules_version(self) -> str:
        """The rules in one word: the profile's name and its version.

        >>> CASTLEDGER_1.rules_version
        'castledger-1.2'
        """
        return f"{self.name}.{self.version}"

    @property
    def is_for_comparing(self) -> bool:
        """Whether nothing but a comparison can use it.

        Stored downloads are one a listener, episode and UTC day, in whatever order hits come.
        """
        return self.window is not Window.CALENDAR_DAY or self.by_referrer

    @property
    def weighing(self) -> tuple[object, ...]:
        """All that decides whether a request that is no probe asked for enough."""
        return (
            self.counts_tails,
            self.header_bytes,
            self.seconds,
            self.bytes_per_second,
            self.believes_sizes,
            self.least_length_bytes,
            self.least_bytes_per_second,
            self.most_bytes_per_second,
        )


CASTLEDGER_1: Final = Profile(
    name="castledger-1",
    version=2,
    summary="Follows the PTMG v2.3 method with one disclosed adjustment: lone probes (two bytes, playlists) count.",
    counts_probes=True,
)
"""The default.

Source:
    Podcast Technical Measurement Guidelines v2.3, sections 5.5 and 6; the adjustment by section 5.5.3's note, which
    allows a disclosed correction where byte data are missing.
"""

PTMG_2_3: Final = Profile(
    name="ptmg-2.3",
    version=2,
    summary="Follows the PTMG v2.3 method: probes (two bytes, playlists) are disregarded.",
    counts_probes=False,
)
"""The strict twin, shown beside the default as ``downloads_strict``.

Source:
    Podcast Technical Measurement Guidelines v2.3, section 5.5.2: requests for the first two bytes are disregarded;
    section 1.3: of HLS only what delivered a minute counts.
"""

_ROLLING: Final = (
    "Windows begin up to 24 hours before the range that is compared; what opened one earlier is not looked for.",
    "Listeners have other keys in another UTC month, so that no window reaches over the first of a month.",
)

FIRST_TOUCH: Final = Profile(
    name="first-touch",
    version=2,
    summary="As castledger-1, but a download is followed by none of its listener for 24 hours.",
    counts_probes=True,
    window=Window.FIRST_TOUCH,
    differences=_ROLLING,
)
"""The guideline's rolling window that begins with a download.

Source:
    Podcast Technical Measurement Guidelines v2.3, section 5.5.1.
"""

LAST_TOUCH: Final = Profile(
    name="last-touch",
    version=2,
    summary="As castledger-1, but a download has to be preceded by 24 hours without a request of its listener.",
    counts_probes=True,
    window=Window.LAST_TOUCH,
    differences=_ROLLING[1:],
)
"""The guideline's rolling window that each request keeps open.

Source:
    Podcast Technical Measurement Guidelines v2.3, section 5.5.1.
"""


def _union(*verdicts: Verdict) -> int:
    return sum(verdict.bit for verdict in verdicts)


OP3: Final = Profile(
    name="op3",
    version=2,
    summary="An approximation of the Open Podcast Prefix Project: any request for more than two bytes counts.",
    counts_probes=True,
    counts_tails=True,
    header_bytes=3,
    seconds=0,
    believes_sizes=False,
    excluding=_union(
        Verdict.HEAD,
        Verdict.UNKNOWN_EPISODE,
        Verdict.LIVE,
        Verdict.NO_USER_AGENT,
        Verdict.BOT,
        Verdict.WATCH,
        Verdict.PRELOAD,
        Verdict.DATACENTER,
        Verdict.TINY_RANGE,
    ),
    preload_referrers=("podverse.fm", "widget.podfriend.com"),
    networks=NetworkPolicy(datacenter=(AgentKind.BROWSER,), vpn=(), spares_shared=False),
    by_referrer=True,
    differences=(
        "OP3 tells downloads apart by the URL behind its prefix; here the episode stands for all of its URLs, and what "
        "belongs to no episode does not count.",
        "OP3 compares whole Referer headers; here their hosts are compared, since nothing else of them is kept.",
        "OP3 knows bots by the OPAWG tables and a list of its own; here our table of agents decides.",
        "OP3 leaves out browsers of some forty autonomous systems, and a list of single addresses; here browsers "
        "in the installed lists of data centres are left out.",
        "OP3 compares whole IPv6 addresses; here their first 64 bits.",
        "Live items and requests that call themselves a prefetch do not count here; OP3 has no rule about them that we "
        "know of.",
        "OP3's rules about desktop Opera without a referrer, and those that held for some time only, are left out; "
        "what it says of players that load unasked is about browsers alone there.",
        "Of several ranges in one request OP3 weighs each; here what they ask for together is weighed.",
        "OP3 weighs the range that is asked for of a playlist (HLS) as of any file; here any request for one is a lone "
        "probe, which counts.",
    ),
)
"""What OP3 would say, about.

Source:
    OP3's published code (``downloads.ts``, ``bots.ts``), as of 2026; Podcast Technical Measurement Guidelines v2.3,
    section 5.2, on why lone probes count.
"""

ODL: Final = Profile(
    name="odl",
    version=2,
    summary="An approximation of open-downloads (oDL): any request counts but one for the first two bytes.",
    counts_probes=False,
    counts_tails=True,
    header_bytes=1,
    seconds=0,
    believes_sizes=False,
    excluding=_union(
        Verdict.HEAD,
        Verdict.UNKNOWN_EPISODE,
        Verdict.LIVE,
        Verdict.BOT,
        Verdict.WATCH,
        Verdict.DATACENTER,
        Verdict.TINY_RANGE,
    ),
    networks=NetworkPolicy(vpn=(), spares_shared=False),
    differences=(
        "oDL adds up what all requests of a download ask for, those for the first two bytes excepted; here one request "
        "has to ask for something else.",
        "oDL knows bots by the first version of the OPAWG list; here our table of agents decides.",
        "oDL knows data centres by ipcat, which has not been kept up since 2023; here the installed lists decide.",
        "oDL has no rule about live items and about what belongs to no episode; here neither counts.",
        "oDL compares addresses as a host's log has them; here of IPv6 the first 64 bits.",
        "oDL has no rule about playlists (HLS) that we know of; here a request for one does not count.",
    ),
)
"""What oDL would say, about.

Source:
    The README of open-downloads ("Spec") and ``odl/pipeline/transforms.py``, as of 2026.
"""

DEFAULT_PROFILE: Final = CASTLEDGER_1
"""What counts where nothing else is asked for."""

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {profile.name: profile for profile in (CASTLEDGER_1, PTMG_2_3, OP3, ODL, FIRST_TOUCH, LAST_TOUCH)}
)
"""Every profile by its name, those of an installation's own excepted."""
