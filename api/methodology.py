"""How this installation counts, told from what it runs with: what the guideline asks to be disclosed.

Source:
    Podcast Technical Measurement Guidelines v2.3, section 5.5: the options chosen, and divergences.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final

from analytics_core.keeping import DOWNLOAD_DAYS, SECRET_DAYS, WAITING_DAYS
from analytics_core.profiles import DEFAULT_PROFILE, PROFILES, Profile
from analytics_core.settings import IngestSettings
from analytics_core.shared_addresses import VALID_DAYS, SharedEntry
from analytics_core.verdicts import Verdict, verdict_names
from api.pages.rules import VERDICT_WORDS
from api.schemas.analytics import Lists
from api.schemas.methodology import (
    Filter,
    KeptFor,
    ListFile,
    Methodology,
    NetworkDisclosure,
    ProfileDisclosure,
    SharedDisclosure,
    Threshold,
)

__all__ = ("describe",)

_METHOD: Final = (
    "Follows the method of the IAB Tech Lab's Podcast Technical Measurement Guidelines v2.3; not certified."
)
_GUIDELINE: Final = "https://iabtechlab.com/standards/podcast-measurement-guidelines/"
_DEVIATIONS: Final = (
    "A lone request for the first two bytes counts in the default profile: players often send all that follows "
    "straight to the host behind the prefix. Strict figures leave such requests out.",
    "A request for a playlist (HLS) shows that somebody pressed play, not that a minute was delivered: it is taken "
    "like a lone request for two bytes, and is not in strict figures either.",
    "Whether enough was delivered is told by what one request asked for; several ranges are not put together.",
    "Where a feed gives no believable size and duration, 128 kbit/s stand in for the rate.",
    "Requests without a user agent, and those of before the episode was published, do not count. The guideline has no "
    "rule about them that we know of.",
    "What no episode of a feed has as its file does not count until one has.",
    "Apple Private Relay is in front of people: it counts, where its list is installed, though public lists have it "
    "among data centres and VPNs.",
    "Addresses that the operator has found to be shared by people, such as a dormitory's, count even where lists have "
    "them among data centres and VPNs; each entry has to be validated again every 90 days to go on acting.",
)
_NO_LISTS: Final = (
    "No list of data centres or VPNs is installed: requests from there count, though the guideline asks that they be "
    "filtered."
)
# Verdicts that are told by lists, and how the names of their files begin.
_BY_LISTS: Final = {Verdict.BLOCKED: "blocked", Verdict.DATACENTER: "datacenter", Verdict.VPN: "vpn"}
_UNSEEN: Final = (
    "Delivery: a prefix sees what is asked for, not what the host behind it sends, nor whether it answers at all.",
    "Requests that go straight to the host: of a player that follows the redirect once and remembers where it led, and "
    "of apps that keep copies of files.",
    "The segments of HLS: a player finds them in the playlist and asks the host for them.",
    "Whether anybody listened, for how long, and which advertisements were in the file.",
    "People: a listener is an address and a user agent. Who changes networks is several, and those who share an "
    "address and an app are one.",
)


def _key(profile: Profile) -> list[str]:
    return ["episode", "address", "user agent", *(["referrer's host"] if profile.by_referrer else [])]


def _disclose(profile: Profile) -> ProfileDisclosure:
    networks = profile.networks
    return ProfileDisclosure(
        profile=profile.name,
        rules=profile.rules_version,
        summary=profile.summary,
        is_default=profile is DEFAULT_PROFILE,
        is_own=profile.name not in PROFILES,
        for_comparing=profile.is_for_comparing,
        window=profile.window.value,
        key=_key(profile),
        counts_probes=profile.counts_probes,
        counts_tails=profile.counts_tails,
        threshold=Threshold(
            profile.header_bytes,
            profile.seconds,
            profile.bytes_per_second,
            profile.believes_sizes,
            profile.least_length_bytes,
            profile.least_bytes_per_second,
            profile.most_bytes_per_second,
        ),
        excluding=verdict_names(profile.excluding),
        preload_referrers=profile.preload_referrers,
        networks=NetworkDisclosure(
            datacenter=[kind.label for kind in networks.datacenter],
            vpn=[kind.label for kind in networks.vpn],
            relay=[kind.label for kind in networks.relay],
            spares_shared=networks.spares_shared,
        ),
        differences=profile.differences,
    )


_PLACES: Final = {"regions": "The region of a request", "cities": "The region and the city of a request"}


def _kept(ingest: IngestSettings, lists: Lists) -> list[KeptFor]:
    places = [KeptFor(what, "as long as its hit, without the address")] if (what := _PLACES.get(lists.places)) else []
    return [
        KeptFor("Addresses", "in the spool until their hits have landed, seconds as a rule; nowhere else"),
        KeptFor(
            "Listeners' keys",
            "addresses, of IPv6 the first 64 bits, and user agents, hashed under secrets of the month: as long as hits "
            f"and downloads; the secrets are destroyed {SECRET_DAYS} days after the month",
        ),
        KeptFor("Hits", f"{ingest.hits_months} months, or less where a podcast's owner says so"),
        *places,
        KeptFor("Targets of hits whose episode is not known", f"{WAITING_DAYS} days"),
        KeptFor("Downloads", f"until {DOWNLOAD_DAYS} days after their day is final"),
        KeptFor("Figures", "for ever"),
    ]


def _is_in_force(verdict: Verdict, files: Sequence[ListFile]) -> bool:
    stem = _BY_LISTS.get(verdict)
    return stem is None or any(file.name.startswith(stem) for file in files)


def _shared(entries: Sequence[SharedEntry], today: dt.date) -> SharedDisclosure:
    return SharedDisclosure(
        entries=len(entries),
        acting=sum(today <= entry.last_day for entry in entries),
        oldest_validated=min((entry.validated for entry in entries), default=None),
        valid_days=VALID_DAYS,
    )


def describe(
    profiles: Mapping[str, Profile],
    ingest: IngestSettings,
    lists: Lists,
    files: Sequence[ListFile],
    shared: Sequence[SharedEntry],
    *,
    today: dt.date,
    software: str,
) -> Methodology:
    """Describe how an installation counts.

    Args:
        profiles: All of them by name.
        ingest: For how long it keeps what.
        lists: The versions of what hits are judged by now.
        files: Lists and databases that the operator installed.
        shared: The operator's list of shared addresses.
        today: UTC day.
        software: Its version.
    """
    filters = [
        Filter(verdict.label, VERDICT_WORDS[verdict.label], _is_in_force(verdict, files))
        for verdict in Verdict
        if verdict is not Verdict.ELIGIBLE
    ]
    has_lists = any(one.in_force for one in filters if one.verdict in ("datacenter", "vpn"))
    return Methodology(
        as_of=today,
        software=software,
        method=_METHOD,
        guideline=_GUIDELINE,
        profile=DEFAULT_PROFILE.name,
        rules=DEFAULT_PROFILE.rules_version,
        final_after_days=ingest.final_after_days,
        deviations=[*_DEVIATIONS, *(() if has_lists else (_NO_LISTS,))],
        unseen=list(_UNSEEN),
        profiles=[_disclose(profile) for profile in profiles.values()],
        filters=filters,
        lists=lists,
        list_files=list(files),
        shared=_shared(shared, today),
        kept=_kept(ingest, lists),
    )
