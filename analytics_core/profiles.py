"""Counting profiles: named, versioned sets of rules over the stored hits.

The guideline leaves choices open and asks that they be disclosed; a profile is that disclosure as data. Every hit
keeps all that speaks against it, so that another profile can judge the same hits again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from analytics_core.verdicts import Verdict

__all__ = ("CASTLEDGER_1", "DEFAULT_PROFILE", "PROFILES", "PTMG_2_3", "Profile")

_EVERY_VERDICT: Final = sum(verdict.bit for verdict in Verdict)


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as a download.

    Raise ``version`` whenever a figure could change under the same name; a test holds the two together.

    Attributes:
        name: Stable name, as answers carry it.
        version: From 1; raised with any change of what follows or of the rules that read it.
        summary: One sentence for people.
        counts_probes: Whether a lone request for exactly the first two bytes counts. Players that probe a redirect
            often send all that follows straight to the host behind it, where a tracker cannot see it.
        header_bytes: Allowance for tags and cover art in front of the sound.
        seconds: How much of the sound has to be asked for, in seconds.
        bytes_per_second: Assumed where a feed gives no believable size and duration: 128 kbit/s.
        least_length_bytes: Enclosure lengths below are placeholders (feeds say 0, 1, 33, 12345), not sizes.
        least_bytes_per_second: Below this rate, length and duration contradict each other and the length is wrong.
        most_bytes_per_second: Above this rate, they do, and the duration is wrong.
        excluding: Union of the bits of the verdicts that keep a hit from counting.
    """

    name: str
    version: int
    summary: str
    counts_probes: bool
    header_bytes: int = 300_000
    seconds: int = 60
    bytes_per_second: int = 16_000
    least_length_bytes: int = 16_000
    least_bytes_per_second: int = 500
    most_bytes_per_second: int = 5_000_000
    excluding: int = _EVERY_VERDICT

    @property
    def rules_version(self) -> str:
        """The rules in one word: the profile's name and its version.

        >>> CASTLEDGER_1.rules_version
        'castledger-1.1'
        """
        return f"{self.name}.{self.version}"


CASTLEDGER_1: Final = Profile(
    name="castledger-1",
    version=1,
    summary="Follows the PTMG v2.3 method with one disclosed adjustment: lone two-byte probes count.",
    counts_probes=True,
)
"""The default.

Source:
    Podcast Technical Measurement Guidelines v2.3, sections 5.5 and 6; the adjustment by section 5.5.3's note, which
    allows a disclosed correction where byte data are missing.
"""

PTMG_2_3: Final = Profile(
    name="ptmg-2.3",
    version=1,
    summary="Follows the PTMG v2.3 method: two-byte probes are disregarded.",
    counts_probes=False,
)
"""The strict twin, shown beside the default as ``downloads_strict``.

Source:
    Podcast Technical Measurement Guidelines v2.3, section 5.5.2: requests for the first two bytes are disregarded.
"""

DEFAULT_PROFILE: Final = CASTLEDGER_1
"""What counts where nothing else is asked for."""

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {profile.name: profile for profile in (CASTLEDGER_1, PTMG_2_3)}
)
"""Every profile by its name."""
