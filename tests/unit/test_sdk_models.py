"""The SDK reads all that the API answers, and takes nothing for granted that may be missing."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec
import pytest

import castledger
from analytics_core import sponsors as rules
from api.schemas import (
    analytics,
    clicks,
    comparisons,
    curves,
    events,
    keys,
    links,
    overviews,
    podcasts,
    sponsors,
    unknown_hosts,
)

PAIRS: list[tuple[type[msgspec.Struct], type[msgspec.Struct]]] = [
    (castledger.ApiKey, keys.ApiKey),
    (castledger.ByteRange, analytics.ByteRangeAnswer),
    (castledger.ClickReport, clicks.ClicksAnswer),
    (castledger.ClickRow, clicks.ClickFigure),
    (castledger.ClickTotals, clicks.ClickTotals),
    (castledger.ComparedDay, comparisons.ComparedDay),
    (castledger.ComparedPair, comparisons.ComparedPair),
    (castledger.ComparedProfile, comparisons.ComparedProfile),
    (castledger.Comparison, comparisons.ComparisonAnswer),
    (castledger.Contact, rules.Contact),
    (castledger.Curve, curves.Curve),
    (castledger.CurvePoint, curves.CurvePoint),
    (castledger.Difference, comparisons.Difference),
    (castledger.DownloadReport, analytics.DownloadsAnswer),
    (castledger.DownloadRow, analytics.Figure),
    (castledger.Enclosure, podcasts.Enclosure),
    (castledger.Episode, podcasts.Episode),
    (castledger.EventBrowser, events.Browser),
    (castledger.Explanation, analytics.DayExplanation),
    (castledger.FormerRange, overviews.Former),
    (castledger.Hit, analytics.HitAnswer),
    (castledger.LandedEvent, events.Event),
    (castledger.Link, links.Link),
    (castledger.Lists, analytics.Lists),
    (castledger.MergedSponsors, sponsors.MergedSponsors),
    (castledger.NewApiKey, keys.NewApiKey),
    (castledger.Overview, overviews.OverviewAnswer),
    (castledger.Podcast, podcasts.AddedPodcast),
    (castledger.Ranked, overviews.TopValue),
    (castledger.Ranking, overviews.Top),
    (castledger.Sponsor, sponsors.Sponsor),
    (castledger.Targeting, rules.Targeting),
    (castledger.UnknownHost, unknown_hosts.UnknownHost),
    (castledger.Utm, links.Utm),
    (castledger.VerdictCount, analytics.VerdictFigure),
]


def _may_be_null(kind: type[msgspec.Struct], field: str) -> bool:
    annotation: Any = typing.get_type_hints(kind, include_extras=True)[field]
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return is_union and type(None) in typing.get_args(annotation)


@pytest.mark.parametrize(("ours", "answered"), PAIRS, ids=[ours.__name__ for ours, _ in PAIRS])
def test_an_answers_fields_are_the_sdks(ours: type[msgspec.Struct], answered: type[msgspec.Struct]) -> None:
    read = {field.encode_name: field for field in msgspec.structs.fields(ours)}
    sent = {field.encode_name: field for field in msgspec.structs.fields(answered)}
    assert read.keys() == sent.keys()
    for name, field in sent.items():
        if _may_be_null(answered, field.name):
            assert _may_be_null(ours, read[name].name), name


def test_every_dimension_and_interval_is_typed() -> None:
    assert set(typing.get_args(castledger.Dimension)) == {dimension.value for dimension in analytics.Dimension}
