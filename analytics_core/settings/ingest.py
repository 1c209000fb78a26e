"""Settings of ingest, and of how feeds are fetched."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Final

import msgspec

from analytics_core.settings.parsing import Spec, boolean, choice, file_path, integer


class ListMode(enum.Enum):
    """What an operator's lists of user agents are to our table."""

    EXTEND = "extend"
    """They are asked first, and our table for what they do not know."""
    REPLACE = "replace"
    """They are asked alone."""


INGEST: Final = {
    "batch_hits": Spec("CASTLEDGER_INGEST_BATCH", integer(1, 1_000_000), "50000", "Most hits landed at once."),
    "geo_database": Spec(
        "CASTLEDGER_GEO_DATABASE",
        file_path,
        "",
        "A city or country database (.mmdb); by default cities.mmdb or countries.mmdb of the lists, or registry data.",
    ),
    "cities": Spec(
        "CASTLEDGER_CITIES",
        boolean,
        "false",
        "Keep with each hit the city that a city database names: of a small place, it can point at a person.",
    ),
    "asn_database": Spec(
        "CASTLEDGER_ASN_DATABASE",
        file_path,
        "",
        "A database of autonomous systems (.mmdb); by default asns.mmdb among the lists, if it is there.",
    ),
    "lists_dir": Spec(
        "CASTLEDGER_LISTS_DIR", file_path, "", "Folder of network lists; by default `lists` in the data folder."
    ),
    "agent_lists": Spec(
        "CASTLEDGER_AGENT_LISTS",
        file_path,
        "",
        "Folder of lists of user agents in the OPAWG v2 format; without one, our own table decides alone.",
    ),
    "agent_lists_mode": Spec(
        "CASTLEDGER_AGENT_LISTS_MODE",
        choice(ListMode),
        "extend",
        "`extend` asks these lists first and our own table for what they do not know; `replace` asks them alone.",
    ),
    "final_after_days": Spec(
        "CASTLEDGER_FINAL_AFTER_DAYS", integer(1, 365), "7", "Days after which a day's figures become final."
    ),
    "hits_months": Spec("CASTLEDGER_HITS_MONTHS", integer(1, 240), "25", "Months for which hits are kept."),
}


FEED: Final = {
    "allow_private": Spec(
        "CASTLEDGER_FEED_ALLOW_PRIVATE",
        boolean,
        "false",
        "Whether feeds may be fetched from private and loopback addresses.",
    ),
    "max_mb": Spec("CASTLEDGER_FEED_MAX_MB", integer(1, 200), "20", "Largest feed that is read, in MiB."),
    "timeout_s": Spec("CASTLEDGER_FEED_TIMEOUT", integer(1, 300), "20", "Seconds after which a fetch is given up."),
    "poll_s": Spec("CASTLEDGER_FEED_POLL", integer(5, 86_400), "900", "Seconds between two polls of a feed."),
}


class IngestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Landing, judging, and what is kept for how long."""

    batch_hits: int
    geo_database: Path | None
    cities: bool
    asn_database: Path | None
    lists_dir: Path
    agent_lists: Path | None
    agent_lists_mode: ListMode
    agent_lists_kept: Path
    final_after_days: int
    hits_months: int

    @property
    def countries_path(self) -> Path | None:
        """The database of countries: the one that is named, else one that was fetched, if any: of cities first."""
        cities = _named_or_there(self.geo_database, self.lists_dir / "cities.mmdb")
        return _named_or_there(cities, self.lists_dir / "countries.mmdb")

    @property
    def asns_path(self) -> Path | None:
        """The same of autonomous systems."""
        return _named_or_there(self.asn_database, self.lists_dir / "asns.mmdb")


def _named_or_there(named: Path | None, fetched: Path) -> Path | None:
    return named or (fetched if fetched.is_file() else None)


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How feeds are fetched."""

    allow_private: bool
    max_mb: int
    timeout_s: int
    poll_s: int
