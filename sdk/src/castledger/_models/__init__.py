"""What the API answers, typed; fields that a newer API adds are ignored."""

from __future__ import annotations

from castledger._models.attribution import EventBrowser, LandedEvent
from castledger._models.comparisons import (
    ComparedDay,
    ComparedDownloads,
    ComparedPair,
    ComparedProfile,
    Comparison,
    Difference,
)
from castledger._models.curves import Curve, CurvePoint
from castledger._models.hits import ByteRange, Explanation, Hit, VerdictCount
from castledger._models.keys import ApiKey, NewApiKey
from castledger._models.links import ClickReport, ClickRow, ClickTotals, Link, Utm
from castledger._models.podcasts import Enclosure, Episode, Podcast, UnknownHost
from castledger._models.reports import DownloadReport, DownloadRow, FormerRange, Lists, Overview, Ranked, Ranking

__all__ = (
    "ApiKey",
    "ByteRange",
    "ClickReport",
    "ClickRow",
    "ClickTotals",
    "ComparedDay",
    "ComparedDownloads",
    "ComparedPair",
    "ComparedProfile",
    "Comparison",
    "Curve",
    "CurvePoint",
    "Difference",
    "DownloadReport",
    "DownloadRow",
    "Enclosure",
    "Episode",
    "EventBrowser",
    "Explanation",
    "FormerRange",
    "Hit",
    "LandedEvent",
    "Link",
    "Lists",
    "NewApiKey",
    "Overview",
    "Podcast",
    "Ranked",
    "Ranking",
    "UnknownHost",
    "Utm",
    "VerdictCount",
)
