"""Figures have versions: whatever changes them changes their tag, and what does not leaves it alone."""

from __future__ import annotations

import pytest

from analytics_core.db.erasure import erase_tenant
from analytics_core.db.listeners import count_month
from analytics_core.db.pool import open_pool, tenant_transaction
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Evidence
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.test_downloads import PATH, World, figures

pytestmark = pytest.mark.anyio

QUERY = {"from": "2026-11-01", "to": "2026-11-03"}


@pytest.fixture
async def world(api: Api, ledger: Ledger) -> World:
    return await World(api, ledger).fill()


async def tags(world: World) -> list[str]:
    """Read the tags of all kinds of figures of the podcast."""
    found = []
    for more in ({}, {"by": "app"}, {"by": "episode"}, {"tz": "Asia/Kolkata"}):
        params = {**QUERY, **more, "podcast_id": world.podcast}
        answer = await world.api.request("GET", PATH, params=params)
        assert answer.status_code == 200
        found.append(answer.headers["etag"])
    episode = {**QUERY, "episode_id": world.episodes[0]}
    found.append((await world.api.request("GET", PATH, params=episode)).headers["etag"])
    found.append((await world.api.request("GET", PATH, params=QUERY)).headers["etag"])
    return found


async def count_listeners(ledger: Ledger, podcast: str, month: str) -> None:
    """Count a month's listeners, as the refresher does."""
    await ledger.ingest.execute(
        """insert into ops.listener_marks (tenant_no, podcast_no, month)
        select tenant_no, podcast_no, $2::text::date from app.podcasts where podcast_id::text = $1""",
        podcast,
        month,
    )
    async with ledger.ingest.transaction():
        assert await count_month(ledger.ingest, at_most_every=None)


async def test_what_changes_figures_changes_their_tags(world: World) -> None:
    ledger, seen = world.ledger, [set[str]() for _ in range(6)]

    async def expect_news() -> None:
        for known, tag in zip(seen, await tags(world), strict=True):
            assert tag not in known
            known.add(tag)

    await expect_news()
    # A landing before it is summed up, another one meanwhile, and both once they are.
    await ledger.land("2026-11-01T19:00+00:00", world.episodes[0], listener=21)
    await ledger.mark_dirty(world.episodes[0], "2026-11-01")
    await ledger.roll_up()
    await ledger.ingest.execute("delete from ops.dirty_marks")
    await expect_news()
    # A restatement that moves a download from one app to another and leaves all totals as they are.
    agent_no = await ledger.agent("Antenna/1", app="Antenna")
    await ledger.ingest.execute("update ts.downloads set agent_no = $1 where ordinal = 0", agent_no)
    await ledger.roll_up()
    await expect_news()
    await ledger.ingest.execute("delete from ts.downloads where day = '2026-11-01' and evidence = 1")
    await ledger.roll_up()
    await expect_news()
    # State and profile are part of the answer.
    await ledger.finalise("home", ["2026-11-01"])
    await expect_news()
    await ledger.set_cutoff("2026-11-02T12:00+00:00")
    await expect_news()


async def test_listeners_that_are_counted_anew_change_the_tag(world: World) -> None:
    before = await tags(world)
    await count_listeners(world.ledger, world.podcast, "2026-11-01")
    assert (await tags(world))[0] != before[0]


async def test_landings_that_are_not_summed_up_yet_are_told_apart_by_content(world: World) -> None:
    await world.ledger.mark_dirty(world.episodes[0], "2026-11-01")
    query = {"podcast_id": world.podcast, **QUERY}
    first = (await world.api.request("GET", PATH, params=query)).headers["etag"]
    assert (await world.api.request("GET", PATH, params=query)).headers["etag"] == first
    await world.ledger.land("2026-11-02T19:00+00:00", world.episodes[0], listener=33, evidence=Evidence.PARTIAL)
    assert (await world.api.request("GET", PATH, params=query)).headers["etag"] != first


async def test_what_changes_nothing_leaves_tags_alone(world: World) -> None:
    before = await tags(world)
    await world.ledger.set_cutoff("2026-11-24T11:59:30+00:00")
    # Another podcast's landing is none of this one's, but of the tenant's.
    other = (await world.api.data(f"/podcasts/{world.other}/episodes"))["data"][0]["episode_id"]
    await world.ledger.ingest.execute(
        """insert into ops.sum_marks (tenant_no, podcast_no, episode_no, day)
        select tenant_no, podcast_no, episode_no, date '2026-11-01' from app.episodes where episode_id::text = $1""",
        other,
    )
    await world.ledger.ingest.execute("delete from ops.sum_marks")
    after = await tags(world)
    assert after[:5] == before[:5]
    assert after[5] != before[5]


async def test_listeners_of_whole_days_are_known_after_their_downloads_are_gone(world: World) -> None:
    query = {"podcast_id": world.podcast, "from_": "2026-11-01", "to": "2026-11-08"}
    by_week = {**query, "from_": "2026-10-26", "interval": "week"}
    kept = await world.api.data(PATH, **query)
    for month in ("2026-10-01", "2026-11-01"):
        await count_listeners(world.ledger, world.podcast, month)
    await world.ledger.ingest.execute("delete from ts.downloads")
    gone = await world.api.data(PATH, **query)
    assert figures(gone) == figures(kept)
    assert (gone["listeners_reason"], gone["partial"]) == (None, False)
    of_month = await world.api.data(
        PATH, podcast_id=world.podcast, from_="2026-11-01", to="2026-12-01", interval="month"
    )
    assert [row[3] for row in figures(of_month)] == [4]
    weeks = await world.api.data(PATH, **by_week)
    assert ([row[3] for row in figures(weeks)], weeks["listeners_reason"]) == ([None, 1], "across_months")
    (one, *_) = (await world.api.data(PATH, episode_id=world.episodes[1], from_="2026-11-01", to="2026-11-02"))["data"]
    assert one["listeners"] == 2
    shifted = await world.api.data(PATH, tz="Asia/Kolkata", **query)
    assert shifted["listeners_reason"] in ("downloads_not_kept", "across_months")
    # Several podcasts' listeners do not add up.
    everything = await world.api.data(PATH, from_="2026-11-01", to="2026-11-02")
    assert (everything["data"][0]["listeners"], everything["listeners_reason"]) == (None, "downloads_not_kept")


async def test_listeners_that_wait_to_be_counted_are_counted_anew_or_make_an_answer_partial(world: World) -> None:
    query = {"podcast_id": world.podcast, "from_": "2026-11-01", "to": "2026-11-02"}
    await count_listeners(world.ledger, world.podcast, "2026-11-01")
    await world.ledger.land("2026-11-01T20:00+00:00", world.episodes[0], listener=50)
    await world.ledger.roll_up()
    await world.ledger.ingest.execute(
        """insert into ops.listener_marks (tenant_no, podcast_no, month)
        select tenant_no, podcast_no, date '2026-11-01' from app.podcasts where podcast_id::text = $1""",
        world.podcast,
    )
    answer = await world.api.data(PATH, **query)
    assert (answer["data"][0]["listeners"], answer["partial"]) == (4, False)
    await world.ledger.ingest.execute("delete from ts.downloads")
    answer = await world.api.data(PATH, **query)
    assert (answer["data"][0]["listeners"], answer["partial"], answer["listeners_reason"]) == (3, True, None)
    assert (await world.api.data(PATH, by="app", **query))["partial"] is False


async def test_versions_go_with_their_tenant(world: World, database: DatabaseSettings) -> None:
    tenant = await world.ledger.tenant_of("home")
    assert await world.ledger.operator.fetchval("select count(*) from ops.figure_versions") == 2
    pool = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, tenant) as conn:
            await erase_tenant(conn, tenant)
    finally:
        await pool.close()
    assert await world.ledger.operator.fetchval("select count(*) from ops.figure_versions") == 0


async def test_listeners_of_very_many_downloads_are_not_counted_anew(world: World) -> None:
    await world.ledger.ingest.execute(
        "update app.metrics_daily set quarters[1] = 600000, downloads = 600000 + downloads - quarters[1]"
        " where day = '2026-11-02' and dimension = 'total'"
    )
    await world.ledger.ingest.execute(
        "select app.sum_up(array_agg(podcast_no), array_agg(episode_no), array_agg(day)) from ops.sum_marks"
    )
    await world.ledger.ingest.execute("delete from ops.sum_marks")
    answer = await world.api.data(PATH, podcast_id=world.podcast, from_="2026-11-02", to="2026-11-03")
    assert (answer["data"][0]["listeners"], answer["listeners_reason"]) == (None, "too_many_downloads")
