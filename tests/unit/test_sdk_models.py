"""The SDK reads all that the API answers, and takes nothing for granted that may be missing."""

from __future__ import annotations

import types
import typing
from typing import Any

import msgspec
import pytest

import castledger
from analytics_core import campaigns as campaign_rules
from analytics_core import sponsors as rules
from analytics_core.conversions import ActionCategory
from api.schemas import (
    analytics,
    attribution_runs,
    campaigns,
    clicks,
    comparisons,
    conversion_actions,
    conversions,
    curves,
    events,
    keys,
    links,
    overviews,
    placements,
    podcasts,
    promo_codes,
    redemptions,
    reports,
    sponsors,
    standings,
    survey_options,
    unknown_hosts,
    vanity_hosts,
)
from castledger.attribution import Category

PAIRS: list[tuple[type[msgspec.Struct], type[msgspec.Struct]]] = [
    (castledger.AdSlot, placements.AdSlot),
    (castledger.ApiKey, keys.ApiKey),
    (castledger.AttributionResult, attribution_runs.AttributionResult),
    (castledger.AttributionRun, attribution_runs.AttributionRun),
    (castledger.ByteRange, analytics.ByteRangeAnswer),
    (castledger.Campaign, campaigns.Campaign),
    (castledger.CampaignCredit, attribution_runs.CampaignCredit),
    (castledger.CampaignStanding, standings.CampaignStanding),
    (castledger.ClickReport, clicks.ClicksAnswer),
    (castledger.ClickRow, clicks.ClickFigure),
    (castledger.ClickTotals, clicks.ClickTotals),
    (castledger.ComparedDay, comparisons.ComparedDay),
    (castledger.ComparedPair, comparisons.ComparedPair),
    (castledger.ComparedProfile, comparisons.ComparedProfile),
    (castledger.Comparison, comparisons.ComparisonAnswer),
    (castledger.Contact, rules.Contact),
    (castledger.Conversion, conversions.Conversion),
    (castledger.ConversionAction, conversion_actions.ConversionAction),
    (castledger.ConversionAdjustment, conversions.ConversionAdjustment),
    (castledger.ConversionVerdict, conversions.ConversionVerdict),
    (castledger.ConversionVerdicts, conversions.ConversionVerdicts),
    (castledger.Credited, attribution_runs.Credited),
    (castledger.Curve, curves.Curve),
    (castledger.CurvePoint, curves.CurvePoint),
    (castledger.Difference, comparisons.Difference),
    (castledger.DownloadReport, analytics.DownloadsAnswer),
    (castledger.DownloadRow, analytics.Figure),
    (castledger.Enclosure, podcasts.Enclosure),
    (castledger.Episode, podcasts.Episode),
    (castledger.EventBrowser, events.Browser),
    (castledger.Explanation, analytics.DayExplanation),
    (castledger.Flight, campaigns.Flight),
    (castledger.FlightCredit, attribution_runs.FlightCredit),
    (castledger.FormerRange, overviews.Former),
    (castledger.Hit, analytics.HitAnswer),
    (castledger.InsertionOrder, campaigns.InsertionOrder),
    (castledger.LandedEvent, events.Event),
    (castledger.Link, links.Link),
    (castledger.Lists, analytics.Lists),
    (castledger.MadePromoCodes, promo_codes.MadePromoCodes),
    (castledger.MergedSponsors, sponsors.MergedSponsors),
    (castledger.ModelCredit, attribution_runs.ModelCredit),
    (castledger.NewApiKey, keys.NewApiKey),
    (castledger.NewShare, reports.NewShare),
    (castledger.Overview, overviews.OverviewAnswer),
    (castledger.Placement, placements.Placement),
    (castledger.Podcast, podcasts.AddedPodcast),
    (castledger.PromoCode, promo_codes.PromoCode),
    (castledger.Report, reports.Report),
    (castledger.Share, reports.Share),
    (castledger.SlotPlaces, placements.SlotPlaces),
    (castledger.Ranked, overviews.TopValue),
    (castledger.Ranking, overviews.Top),
    (castledger.Sponsor, sponsors.Sponsor),
    (castledger.SurveyOption, survey_options.SurveyOption),
    (castledger.TakenRedemptions, redemptions.TakenRedemptions),
    (castledger.Targeting, rules.Targeting),
    (castledger.UnknownHost, unknown_hosts.UnknownHost),
    (castledger.Utm, links.Utm),
    (castledger.VanityHost, vanity_hosts.VanityHost),
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


def test_every_word_of_sponsorship_is_typed() -> None:
    for typed, words in (
        (castledger.Model, campaign_rules.Model),
        (castledger.Pricing, campaign_rules.Pricing),
        (Category, ActionCategory),
    ):
        assert set(typing.get_args(typed)) == {word.value for word in words}


def test_every_dimension_and_interval_is_typed() -> None:
    assert set(typing.get_args(castledger.Dimension)) == {dimension.value for dimension in analytics.Dimension}
