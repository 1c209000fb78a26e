"""Rollups: equal to the downloads they are made of, whatever is committed while they are made."""

from __future__ import annotations

import datetime as dt
from collections import Counter

import pytest

from analytics_core.db.pool import connect
from analytics_core.db.rollups import claim_episodes, recompute_days, take_marks
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.rollups import refresh_rollups
from tests.factories import OVERCAST, MadePodcast, make_hit, write_segment
from tests.ledgers import DAY, Ledger, minute

pytestmark = pytest.mark.anyio

CHROME = (
    b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36"
)


async def rollups(ledger: Ledger) -> dict[tuple[int, str, str], tuple[int, int]]:
    rows = await ledger.conn.fetch(
        "select episode_no, dimension, key, downloads, downloads_strict from app.metrics_daily where day = $1", DAY
    )
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows}


async def totals(ledger: Ledger) -> dict[int, int]:
    return {key[0]: value[0] for key, value in (await rollups(ledger)).items() if key[1] == "total"}


async def test_rollups_count_downloads_by_every_dimension(ledger: Ledger, podcast: MadePodcast) -> None:
    a, b = podcast.episodes["a"], podcast.episodes["b"]
    write_segment(
        ledger.folder,
        [
            make_hit(minute(0), byte_range="bytes=0-1"),
            make_hit(minute(16), "cdn.example.com/a.mp3?_from=overcast", address="192.0.2.2"),
            make_hit(minute(31), address="192.0.2.3", agent=CHROME, referrer="https://www.example.org/page"),
            make_hit(minute(32), address="192.0.2.3", agent=CHROME),
            make_hit(minute(33), "cdn.example.com/b.mp3"),
        ],
    )
    await ledger.ship_all()
    assert await ledger.refresh() == 2
    assert await ledger.count("ops.dirty_marks") == 0
    found = await rollups(ledger)
    assert {key[1:]: value for key, value in found.items() if key[0] == a} == {
        ("total", ""): (3, 2),
        ("app", "Overcast"): (2, 1),
        ("app", "Chrome"): (1, 1),
        ("device", "phone"): (2, 1),
        ("device", "computer"): (1, 1),
        ("os", "iOS"): (2, 1),
        ("os", "Windows"): (1, 1),
        ("country", ""): (3, 2),
        ("region", ""): (3, 2),
        ("city", ""): (3, 2),
        ("referrer", "example.org"): (1, 1),
        ("referrer", ""): (2, 1),
        ("feed_app", "overcast"): (1, 1),
        ("feed_app", ""): (2, 1),
        ("source", "prefix"): (3, 2),
    }
    assert found[b, "total", ""] == (1, 1)
    row = await ledger.conn.fetchrow(
        "select quarters, quarters_strict, tenant_no, podcast_no from app.metrics_daily"
        " where episode_no = $1 and dimension = 'total'",
        a,
    )
    assert row is not None
    assert {place: count for place, count in enumerate(row["quarters"]) if count} == {44: 1, 45: 1, 46: 1}
    assert {place: count for place, count in enumerate(row["quarters_strict"]) if count} == {45: 1, 46: 1}
    assert (row["tenant_no"], row["podcast_no"]) == (podcast.tenant.tenant_no, podcast.podcast_no)


async def test_every_rollup_adds_up_to_its_day_and_its_quarters(ledger: Ledger, podcast: MadePodcast) -> None:
    agents = [OVERCAST, CHROME, b"unknown-thing/1", b"AppleCoreMedia/1.0.0.21A329 (iPhone; U; CPU OS 17_0)"]
    hits = [
        make_hit(
            minute(0) + dt.timedelta(minutes=17 * number),
            f"cdn.example.com/{'ab'[number % 2]}.mp3",
            address=f"192.0.2.{number % 11}",
            agent=agents[number % 4],
            byte_range=("", "bytes=0-1")[number % 3 == 0],
        )
        for number in range(120)
    ]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    await ledger.refresh()
    sums = await ledger.conn.fetch(
        "select episode_no, day, dimension, sum(downloads) as downloads, sum(downloads_strict) as strict,"
        " sum((select sum(q) from unnest(quarters) q)) as quarters,"
        " sum((select sum(q) from unnest(quarters_strict) q)) as quarters_strict"
        " from app.metrics_daily group by 1, 2, 3"
    )
    counted = Counter((row[0], row[1]) for row in await ledger.downloads())
    assert len(counted) > 2
    assert len(sums) == 10 * len(counted)
    for row in sums:
        assert row["downloads"] == row["quarters"] == counted[row["day"], row["episode_no"]]
        assert row["strict"] == row["quarters_strict"]


async def test_a_key_that_lost_its_last_download_loses_its_row(ledger: Ledger, podcast: MadePodcast) -> None:
    write_segment(ledger.folder, [make_hit(minute(5), referrer="https://late.example.org/", byte_range="bytes=0-1")])
    await ledger.ship_all()
    await ledger.refresh()
    assert (podcast.episodes["a"], "referrer", "late.example.org") in await rollups(ledger)
    write_segment(ledger.folder, [make_hit(minute(6))])
    await ledger.ship_all()
    await ledger.refresh()
    found = await rollups(ledger)
    assert (podcast.episodes["a"], "referrer", "late.example.org") not in found
    assert found[podcast.episodes["a"], "total", ""] == (1, 1)


@pytest.mark.parametrize("moment", ["after the claim", "after the marks", "after the recomputation"])
async def test_no_update_is_lost_whenever_a_writer_commits(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, moment: str
) -> None:
    a = podcast.episodes["a"]
    write_segment(ledger.folder, [make_hit(minute(0))])
    await ledger.ship_all()

    async def write(at: str) -> None:
        if at == moment:
            write_segment(ledger.folder, [make_hit(minute(1), address="192.0.2.2")])
            assert await ledger.ship_all() == 1

    refresher = await connect(database, Role.INGEST, application_name="refresher")
    async with refresher.transaction():
        episodes = await claim_episodes(refresher, limit=10)
        await write("after the claim")
        days = await take_marks(refresher, episodes)
        await write("after the marks")
        await recompute_days(refresher, days)
        await write("after the recomputation")
    await refresher.close()
    # Either it was counted, or a mark is left; and then one more run counts it.
    assert await totals(ledger) == {a: 2} or await ledger.count("ops.dirty_marks") == 1
    await ledger.refresh()
    assert await totals(ledger) == {a: 2}
    assert await ledger.count("ops.dirty_marks") == 0


async def test_a_mark_whose_writer_has_not_committed_is_left_alone(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    a = podcast.episodes["a"]
    write_segment(ledger.folder, [make_hit(minute(0))])
    await ledger.ship_all()
    writer = await connect(database, Role.INGEST, application_name="writer")
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute(
        "insert into ops.dirty_marks (tenant_no, podcast_no, episode_no, day)"
        " select tenant_no, podcast_no, episode_no, day from ts.downloads"
    )
    await writer.execute(
        "insert into ts.downloads select day, episode_no, $1, occurred_at, segment_no, ordinal + 1, tenant_no,"
        " podcast_no, agent_no, referrer_no, feed_app_no, country, evidence, source from ts.downloads",
        "00000000-0000-0000-0000-000000000001",
    )
    assert await ledger.refresh() == 1
    assert await totals(ledger) == {a: 1}
    await transaction.commit()
    await writer.close()
    assert await ledger.refresh() == 1
    assert await totals(ledger) == {a: 2}


async def test_an_episode_in_other_hands_is_left_to_them(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    a, b = podcast.episodes["a"], podcast.episodes["b"]
    write_segment(ledger.folder, [make_hit(minute(0)), make_hit(minute(1), "cdn.example.com/b.mp3")])
    await ledger.ship_all()
    other = await connect(database, Role.INGEST, application_name="other")
    async with other.transaction():
        await other.execute("select pg_advisory_xact_lock(hashtext('castledger.rollups'), $1)", a)
        assert await refresh_rollups(ledger.conn) == 1
        assert await totals(ledger) == {b: 1}
    await other.close()
    assert await refresh_rollups(ledger.conn) == 1
    assert await totals(ledger) == {a: 1, b: 1}
