"""The worked example of the documentation: its requests land, and come out as the page says."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path
from typing import Final

import pytest

from analytics_core.comparing import Comparison
from analytics_core.db.comparisons import stream_hits
from analytics_core.db.pool import open_pool, tenant_transaction
from analytics_core.hits import Method
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.network_tables import NetworkTable
from analytics_core.networks import NetworkLists
from analytics_core.profiles import PROFILES
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Evidence, Verdict
from tests.factories import make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import Ledger

pytestmark = pytest.mark.anyio

PAGE: Final = (Path(__file__).parents[3] / "docs" / "methodology" / "example.md").read_text()
DAY: Final = dt.date(2026, 11, 2)
LENGTH: Final = 28_800_000
DURATION: Final = 1800
NUMBERS: Final = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def table(head: str) -> list[list[str]]:
    """Read the rows of the table whose head begins with some text, marks of code taken away."""
    lines = PAGE[PAGE.index(f"| {head} |") :].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines]


async def test_the_example_comes_out_as_the_page_says(ledger: Ledger, database: DatabaseSettings) -> None:
    requests = table("# | time, 2 November")
    assert [int(number) for number, *_ in requests] == list(range(1, len(requests) + 1))
    episode = make_episode("tide", length_bytes=LENGTH, duration_s=DURATION)
    podcast = await make_podcast(database, await make_tenant(database), episode)
    ledger.pipeline = ledger.make_pipeline(
        NetworkLists(datacenter=NetworkTable.from_lines(["203.0.113.0/24"]), version="example")
    )
    ledger.shipper = ledger.make_shipper()
    hits = [
        make_hit(
            dt.datetime.combine(DAY, dt.time.fromisoformat(time), dt.UTC),
            "cdn.example.com/tide.mp3",
            address=address,
            agent=agent.encode(),
            byte_range=asked,
            method=Method[method],
        )
        for _, time, address, agent, asked, method in requests
    ]
    write_segment(ledger.folder, hits)
    assert await ledger.ship_all() == len(hits)

    landed = [(Verdict(verdict).label, Evidence(evidence)) for *_, verdict, evidence in await ledger.hits()]
    alone = [(verdict, evidence) for _, verdict, evidence, _ in table("# | verdict")]
    assert [(verdict, evidence.label if evidence else "") for verdict, evidence in landed] == alone

    eligible = [number for number, (verdict, _) in enumerate(alone, 1) if verdict == "eligible"]
    downloads = table("download | requests")
    of_downloads = [[int(number) for number in numbers.split(", ")] for _, numbers, *_ in downloads]
    assert sorted(itertools.chain(*of_downloads)) == eligible
    rows = await ledger.conn.fetch("select ordinal, evidence from ts.downloads")
    stored = sorted((row["ordinal"] + 1, Evidence(row["evidence"]).label) for row in rows)
    assert stored == sorted((int(winner), evidence) for _, _, winner, evidence in downloads)
    strict = NUMBERS[sum(evidence != "probe" for _, evidence in stored)]
    summary = (
        f"{NUMBERS[len(stored)].capitalize()} downloads. C is a lone probe, so that strict figures have {strict}. "
        f"It adds up: {len(hits)} requests, of which {len(hits) - len(eligible)} do not count, "
        f"{len(eligible) - len(stored)} repeat a download and {len(stored)} are one."
    )
    assert summary in " ".join(PAGE.split())

    profiles = table("profile | downloads")
    assert [name for name, *_ in profiles] == list(PROFILES)
    comparison = Comparison(list(PROFILES.values()), length_bytes=LENGTH, duration_s=DURATION, start=DAY, days=1)
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    try:
        async with tenant_transaction(pool, podcast.tenant, readonly=True) as conn:
            async for some in stream_hits(
                conn,
                PodcastNo(podcast.podcast_no),
                EpisodeNo(podcast.episodes["tide"]),
                first=DAY,
                end=DAY + dt.timedelta(days=1),
            ):
                comparison.add(some)
    finally:
        await pool.close()
    comparison.finish()
    assert [sum(days) for days in comparison.downloads] == [int(number) for _, number, _ in profiles]
