"""The forms of the methodology: how this installation counts, from what it runs with."""

from __future__ import annotations

import datetime as dt

import msgspec

from api.schemas.analytics import Lists

__all__ = (
    "Filter",
    "KeptFor",
    "ListFile",
    "Methodology",
    "NetworkDisclosure",
    "ProfileDisclosure",
    "SharedDisclosure",
    "Threshold",
)


class Threshold(msgspec.Struct, frozen=True):
    """How much has to be asked for: `header_bytes`, and `seconds` of sound at the enclosure's own rate.

    Where feeds give no believable rate it is `assumed_bytes_per_second`; lengths below `least_length_bytes` and rates
    outside the other two are not believed, nor is anything unless `believes_sizes`.
    """

    header_bytes: int
    seconds: int
    assumed_bytes_per_second: int
    believes_sizes: bool
    least_length_bytes: int
    least_bytes_per_second: int
    most_bytes_per_second: int


class NetworkDisclosure(msgspec.Struct, frozen=True):
    """Which kinds of agents do not count from which class of network.

    With `spares_shared` all count from addresses that the operator has found to be shared by people.
    """

    datacenter: list[str]
    vpn: list[str]
    relay: list[str]
    spares_shared: bool


class ProfileDisclosure(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, whole.

    `key` is what requests have to share to be one download in a `window`. `for_comparing` says that no report can be
    counted by it, `is_own` that it is the installation's own.
    """

    profile: str
    rules: str
    summary: str
    is_default: bool
    is_own: bool
    for_comparing: bool
    window: str
    key: list[str]
    counts_probes: bool
    counts_tails: bool
    threshold: Threshold
    excluding: list[str]
    preload_referrers: tuple[str, ...]
    networks: NetworkDisclosure
    differences: tuple[str, ...]


class Filter(msgspec.Struct, frozen=True):
    """A verdict, and what it means; the first that applies decides.

    `in_force` is false while no list is installed that it could go by: then it leaves nothing out.
    """

    verdict: str
    meaning: str
    in_force: bool


class ListFile(msgspec.Struct, frozen=True):
    """A list or database that the operator installed, and the day on which it was last changed."""

    name: str
    changed: dt.date


class SharedDisclosure(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's list of addresses that many people share.

    `acting` of its `entries` were validated within `valid_days`, which is how long each acts; `oldest_validated` is the
    oldest validation among all, null where there is no entry.
    """

    entries: int
    acting: int
    oldest_validated: dt.date | None
    valid_days: int


class KeptFor(msgspec.Struct, frozen=True):
    """How long something is kept."""

    what: str
    how_long: str


class Methodology(msgspec.Struct, frozen=True, kw_only=True):
    """How downloads are counted: the method and where it departs from the guideline, profiles, filters and lists.

    All of it is so `as_of` a UTC day, by a version of the `software`. A day is final `final_after_days` after its end.
    """

    as_of: dt.date
    software: str
    method: str
    guideline: str
    profile: str
    rules: str
    final_after_days: int
    deviations: list[str]
    unseen: list[str]
    profiles: list[ProfileDisclosure]
    filters: list[Filter]
    lists: Lists
    list_files: list[ListFile]
    shared: SharedDisclosure
    kept: list[KeptFor]
