"""Where hits come from: the place is kept with the hit and its download, and counted by region and city."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path

import pytest

from analytics_core.addresses import pack_address
from analytics_core.db.restating import rebuild_day
from analytics_core.db.rollups import claim_episodes, recompute_days, take_marks
from analytics_core.geo import open_countries
from analytics_core.settings import DatabaseSettings
from ingest.pending import rejudge_pending
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, write_segment
from tests.ledgers import DAY, Ledger, minute

pytestmark = pytest.mark.anyio

LONDON, MILTON, BOXFORD, CHANGCHUN, NOWHERE = (
    "81.2.69.142",
    "216.160.83.56",
    "2.125.160.216",
    "175.16.199.1",
    "10.0.0.1",
)
PLACES = {
    LONDON: ("GB", "GB-ENG", "GB-ENG/London"),
    MILTON: ("US", "US-WA", "US-WA/Milton"),
    BOXFORD: ("GB", "GB-ENG", "GB-ENG/Boxford"),
    CHANGCHUN: ("CN", "CN-22", "CN-22/Changchun"),
    NOWHERE: ("", "", ""),
}


def look_up(ledger: Ledger, data_dir: Path, *, cities: bool = True) -> None:
    """Have the ledger ask a real city database."""
    countries = open_countries(data_dir / "geo" / "GeoLite2-City-Test.mmdb", cities=cities)
    ledger.pipeline = ledger.make_pipeline(countries=countries)
    ledger.shipper = ledger.make_shipper()


async def counted(ledger: Ledger, dimension: str, table: str = "app.metrics_daily") -> dict[str, int]:
    rows = await ledger.conn.fetch(
        f"select key, sum(downloads) from {table} where dimension = $1 group by 1", dimension
    )
    return {row[0]: row[1] for row in rows}


async def cities_of(ledger: Ledger, table: str) -> Counter[str]:
    rows = await ledger.conn.fetch(
        f"select coalesce(city, ''), count(*) from {table} left join ops.places using (place_no) group by 1"
    )
    return Counter({row[0]: row[1] for row in rows})


async def test_downloads_are_counted_by_region_and_city(ledger: Ledger, podcast: MadePodcast, data_dir: Path) -> None:
    look_up(ledger, data_dir)
    asked = [
        (address, number) for address, count in zip(PLACES, (3, 2, 1, 2, 4), strict=True) for number in range(count)
    ]
    # Listeners of one address are told apart by their agents.
    hits = [
        make_hit(minute(number), address=address, agent=b"Overcast/3.%d (iPhone; iOS 17)" % number)
        for address, number in asked
        for _ in range(2)
    ]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    await ledger.refresh()
    truth = [Counter(PLACES[address][part] for address, _ in asked) for part in range(3)]
    for table in ("app.metrics_daily", "app.podcast_daily"):
        assert [await counted(ledger, by, table) for by in ("country", "region", "city")] == truth
    assert await cities_of(ledger, "ts.downloads") == truth[2]
    assert await cities_of(ledger, "ts.listener_events") == Counter({key: 2 * n for key, n in truth[2].items()})


async def test_without_being_asked_for_no_city_is_kept_anywhere(
    ledger: Ledger, podcast: MadePodcast, data_dir: Path
) -> None:
    look_up(ledger, data_dir, cities=False)
    write_segment(ledger.folder, [make_hit(minute(0), address=LONDON), make_hit(minute(1), address=MILTON)])
    await ledger.ship_all()
    await ledger.refresh()
    assert await counted(ledger, "region") == {"GB-ENG": 1, "US-WA": 1}
    assert await counted(ledger, "city") == {"": 2}
    places = await ledger.conn.fetch("select place from ops.places order by place")
    assert [row["place"] for row in places] == ["GB/ENG/", "US/WA/"]


async def test_without_a_city_database_there_are_no_places(ledger: Ledger, podcast: MadePodcast) -> None:
    write_segment(ledger.folder, [make_hit(minute(0), address=LONDON)])
    await ledger.ship_all()
    assert await ledger.count("ops.places") == 0
    assert await ledger.count("ts.downloads where place_no = 0") == 1


async def test_a_download_has_the_place_of_its_best_hit_whatever_comes_first(
    ledger: Ledger, podcast: MadePodcast, data_dir: Path
) -> None:
    look_up(ledger, data_dir)
    # One listener by the key, who moves on: an IPv6 /64 in two places.
    one, other = "2001:480:10::1", "2001:480:10::2"
    assert pack_address(one)[:8] == pack_address(other)[:8]
    for at, byte_range in ((5, "bytes=0-1"), (9, ""), (3, "bytes=0-1")):
        write_segment(ledger.folder, [make_hit(minute(at), address=one, byte_range=byte_range)])
        await ledger.ship_all()
    [row] = await ledger.conn.fetch("select d.place_no, d.occurred_at from ts.downloads d")
    best = await ledger.conn.fetchval("select place_no from ts.listener_events where occurred_at = $1", minute(9))
    assert (row["place_no"], row["occurred_at"]) == (best, minute(9))
    assert best > 0


async def test_a_hit_that_waits_and_one_that_came_late_keep_their_place(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, data_dir: Path
) -> None:
    look_up(ledger, data_dir)
    write_segment(
        ledger.folder,
        [make_hit(minute(0), address=LONDON), make_hit(minute(1), "cdn.example.com/unheard-of.mp3", address=BOXFORD)],
    )
    await ledger.ship_all()
    assert await cities_of(ledger, "ops.pending_hits") == {"GB-ENG/Boxford": 1}
    ledger.clock.advance(dt.timedelta(days=9))
    await ledger.conn.execute("update ops.days set final_at = $1", ledger.clock.now())
    write_segment(ledger.folder, [make_hit(minute(2), address=MILTON)])
    await ledger.ship_all()
    assert await cities_of(ledger, "ts.downloads") == {"GB-ENG/London": 1}
    async with ledger.conn.transaction():
        assert await rebuild_day(ledger.conn, podcast.tenant.tenant_no, DAY) is not None
    assert await cities_of(ledger, "ts.downloads") == {"GB-ENG/London": 1, "US-WA/Milton": 1}
    await make_podcast(database, podcast.tenant, make_episode("new", "https://cdn.example.com/unheard-of.mp3"))
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 1
    assert (await cities_of(ledger, "ts.listener_events"))["GB-ENG/Boxford"] == 1


async def test_cities_beyond_the_largest_of_a_day_are_one_row(
    ledger: Ledger, podcast: MadePodcast, data_dir: Path
) -> None:
    look_up(ledger, data_dir)
    hits = [
        make_hit(minute(number), address=address, agent=b"Overcast/3.%d (iPhone; iOS 17)" % number)
        for address, count in zip(PLACES, (3, 2, 1, 1, 4), strict=True)
        for number in range(count)
    ]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    async with ledger.conn.transaction():
        claim = await claim_episodes(ledger.conn, limit=10)
        await recompute_days(ledger.conn, await take_marks(ledger.conn, claim), cities=2)
    assert await counted(ledger, "city") == {"": 4, "GB-ENG/London": 3, "US-WA/Milton": 2, "other": 2}
    assert await counted(ledger, "region") == {"": 4, "GB-ENG": 4, "US-WA": 2, "CN-22": 1}
    quarters = await ledger.conn.fetchval(
        "select (select sum(q) from unnest(quarters) q) from app.metrics_daily where key = 'other'"
    )
    assert quarters == 2
