"""What type checkers have to make of the SDK; mypy and pyright read this, nobody runs it."""

from __future__ import annotations

import datetime as dt
from typing import Any, assert_type
from uuid import UUID

import pandas as pd
import polars as pl

from castledger import (
    ApiKey,
    AsyncCastledger,
    AsyncItems,
    Campaign,
    CampaignCredit,
    Castledger,
    ClickReport,
    Comparison,
    Conversion,
    ConversionVerdicts,
    Curve,
    DownloadReport,
    DownloadRow,
    Episode,
    Explanation,
    Flight,
    Hit,
    Items,
    LandedEvent,
    Link,
    NewApiKey,
    Overview,
    Placement,
    Podcast,
    PromoCode,
    Report,
    Sponsor,
    UnknownHost,
    Utm,
)
from castledger.frames import to_pandas, to_polars
from castledger.urls import find_click_id, link_url, prefix_url, with_utm


def blocking(client: Castledger, some_id: UUID, day: dt.date, at: dt.datetime) -> None:
    """Check what ``Castledger`` gives."""
    assert_type(client.podcasts.list(), Items[Podcast])
    assert_type(next(client.podcasts.list()), Podcast)
    assert_type(client.podcasts.get(str(some_id)).podcast_id, UUID)
    assert_type(client.podcasts.create(feed_url="https://x").feed_url, str | None)
    assert_type(list(client.podcasts.unknown_hosts(some_id)), list[UnknownHost])
    assert_type(client.episodes.list(some_id), Items[Episode])
    assert_type(client.episodes.curves(podcast_id=some_id), Items[Curve])
    assert_type(next(client.episodes.curves(episode_id=some_id)).after(7), int | None)
    report = client.analytics.downloads(start=day, end=at, interval="week", by="app")
    assert_type(report, DownloadReport)
    assert_type(report.data, tuple[DownloadRow, ...])
    assert_type(report.data[0].start, dt.datetime)
    assert_type(report.total, int)
    assert_type(report.to_polars(), pl.DataFrame)
    assert_type(report.to_pandas(), pd.DataFrame)
    assert_type(to_polars(client.podcasts.list(), kind=Podcast), pl.DataFrame)
    assert_type(to_pandas(report), pd.DataFrame)
    assert_type(client.analytics.overview(), Overview)
    assert_type(client.analytics.explain(day=day, podcast_id=some_id), Explanation)
    assert_type(client.analytics.compare(episode_id=some_id), Comparison)
    assert_type(client.analytics.hits(), Items[Hit])
    assert_type(client.links.create(url="https://x", utm=Utm(source="show")), Link)
    assert_type(client.links.update(some_id, sponsor_id=None), Link)
    assert_type(client.links.clicks(), ClickReport)
    assert_type(client.attribution.events(type="purchase"), Items[LandedEvent])
    assert_type(client.sponsors.create(name="Acme", domain="shop.example.com"), Sponsor)
    assert_type(client.sponsors.list(state="active"), Items[Sponsor])
    assert_type(client.campaigns.get(some_id).starts_on, dt.date)
    assert_type(client.campaigns.flights(some_id), Items[Flight])
    assert_type(client.campaigns.update_placement(some_id, version=3, host_read=False), Placement)
    assert_type(client.promo_codes.create(some_id, count=3).data, tuple[PromoCode, ...])
    conversion = client.conversions.create(action_id=some_id, external_id="o-1", value_amount=4999, currency="EUR")
    assert_type(conversion, Conversion)
    assert_type(client.conversions.create_many([{"action_id": some_id, "external_id": "o-2"}]), ConversionVerdicts)
    assert_type(client.attribution.wait(some_id).campaigns, tuple[CampaignCredit, ...] | None)
    assert_type(client.reports.download(some_id), bytes)
    assert_type(client.keys.list(), Items[ApiKey])
    assert_type(client.keys.rotate(some_id, overlap=dt.timedelta(hours=1)), NewApiKey)


async def asynchronous(client: AsyncCastledger, some_id: UUID) -> None:
    """Check what ``AsyncCastledger`` gives."""
    assert_type(client.podcasts.list(), AsyncItems[Podcast])
    assert_type([podcast async for podcast in client.podcasts.list()], list[Podcast])
    assert_type(await client.podcasts.get(some_id), Podcast)
    assert_type(await client.podcasts.list().to_polars(), pl.DataFrame)
    assert_type(await client.analytics.downloads(), DownloadReport)
    assert_type((await client.analytics.downloads()).to_pandas(), pd.DataFrame)
    assert_type(client.analytics.hits(), AsyncItems[Hit])
    assert_type(await client.links.get(some_id), Link)
    assert_type(await client.keys.create(name="n"), NewApiKey)
    assert_type(await client.sponsors.update(some_id, version=3, name="Acme"), Sponsor)
    assert_type(client.campaigns.list(), AsyncItems[Campaign])
    assert_type(await client.reports.wait(some_id, timeout=5), Report)
    assert_type(await client.attribution.path(some_id), dict[str, Any])


def misuse(client: Castledger, some_id: UUID) -> None:
    """Check what is refused: a checker that finds nothing here complains of the comments."""
    client.analytics.downloads(by="shoe_size")  # type: ignore[arg-type]
    client.analytics.downloads(interval="year")  # type: ignore[arg-type]
    client.analytics.downloads(start="2026-11-01")  # type: ignore[arg-type]
    client.links.create("https://x")  # type: ignore[call-arg]
    client.links.get(7)  # type: ignore[arg-type]
    client.keys.create(name="n", kind="live")  # type: ignore[arg-type]


def urls() -> None:
    """Check what the builders give."""
    assert_type(prefix_url("https://p.example.com/e/", "https://x"), str)
    assert_type(link_url("https://p.example.com", "offer", utm={"source": "show"}), str)
    assert_type(with_utm("https://x", {}), str)
    assert_type(find_click_id("https://x"), UUID | None)
