"""Days explained after their downloads have gone: as they were before, by the rule that made the downloads."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from itertools import count
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.db.analytics import Scope
from analytics_core.db.explain import DayCounts, HitFilter, HitRow, count_day, find_hit, list_hits
from analytics_core.db.hits import HitColumns, copy_hits, encode_hits, ensure_partitions
from analytics_core.db.pool import Pool, open_pool, tenant_transaction
from analytics_core.downloads import JudgedHit, count_downloads, utc_day
from analytics_core.hits import HitFlag, HitKind
from analytics_core.ids import EpisodeNo, PodcastNo
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Evidence, Verdict, first_verdict
from ingest.retention import KEEP_DOWNLOADS, drop_old
from ingest.rollups import refresh_listeners
from tests.factories import OVERCAST, MadePodcast, make_hit, write_segment
from tests.ledgers import DAY, Ledger, minute

pytestmark = pytest.mark.anyio

ONE_DAY: Final = dt.timedelta(days=1)
FINAL_AT: Final = dt.datetime(2026, 12, 10, tzinfo=dt.UTC)
BOT: Final = b"Googlebot/2.1 (+http://www.google.com/bot.html)"


@pytest.fixture
async def api(database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    yield pool
    await pool.close()


class Explained(NamedTuple):
    """All that is said of a day: of the podcast and of each episode, hit by hit, from lists and one at a time."""

    counts: list[DayCounts]
    listed: list[HitRow]
    found: list[HitRow | None]


def numbers_of(podcast: MadePodcast) -> list[int]:
    return [number for _, number in sorted(podcast.episodes.items())]


async def explain(api: Pool, podcast: MadePodcast, *, day: dt.date = DAY) -> Explained:
    """Ask everything that can be asked of a day."""
    scopes = [Scope((PodcastNo(podcast.podcast_no),))]
    scopes += [Scope((PodcastNo(podcast.podcast_no),), EpisodeNo(number)) for number in numbers_of(podcast)]
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    async with tenant_transaction(api, podcast.tenant, readonly=True) as conn:
        counts = [await count_day(conn, scope, day=day) for scope in scopes]
        listed: list[HitRow] = []
        while page := await list_hits(
            conn,
            HitFilter(start=start, end=start + ONE_DAY),
            after=listed[-1].place if listed else None,
            limit=3,
        ):
            listed += page
        found = [await find_hit(conn, hit.segment_no, hit.ordinal) for hit in listed]
    return Explained(counts, listed, found)


def settled(hits: list[HitRow]) -> list[HitRow]:
    return [msgspec.structs.replace(hit, is_settled=True) for hit in hits]


async def test_a_day_is_explained_alike_before_and_after_its_downloads_go(
    ledger: Ledger, podcast: MadePodcast, api: Pool
) -> None:
    write_segment(
        ledger.folder,
        [
            make_hit(minute(number), f"cdn.example.com/{name}.mp3", address=address, byte_range=wanted, agent=agent)
            for number, (name, address, wanted, agent) in enumerate(
                [
                    ("a", "192.0.2.1", "bytes=0-1", OVERCAST),
                    ("a", "192.0.2.1", "", OVERCAST),
                    ("a", "192.0.2.1", "", OVERCAST),
                    ("a", "192.0.2.2", "bytes=0-1", OVERCAST),
                    ("a", "192.0.2.2", "bytes=0-1", OVERCAST),
                    ("b", "192.0.2.1", "bytes=0-2000000", OVERCAST),
                    ("b", "192.0.2.3", "bytes=0-2000000", OVERCAST),
                    ("b", "192.0.2.3", "", BOT),
                ]
            )
        ],
    )
    await ledger.ship_all()
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue
    await ledger.conn.execute("update ops.days set final_at = $1", FINAL_AT)
    # Late: a better hit of a listener who has one, and a new listener; neither counts.
    late = [make_hit(minute(50), "cdn.example.com/a.mp3", address=f"192.0.2.{number}") for number in (2, 9)]
    write_segment(ledger.folder, late)
    await ledger.ship_all()

    before = await explain(api, podcast)
    assert [sum(row.downloads for row in counts.downloads) for counts in before.counts] == [4, 2, 2]
    assert sum(hit.is_counted for hit in before.listed) == 4
    assert before.found == before.listed
    await drop_old(ledger.conn, now=FINAL_AT + KEEP_DOWNLOADS + ONE_DAY, hits_months=25)
    assert await ledger.count("ts.downloads") == 0
    after = await explain(api, podcast)
    assert after.counts == before.counts
    assert after.listed == settled(before.listed)
    assert after.found == after.listed


class Row(NamedTuple):
    """A hit: day, second, episode, listener, evidence, what speaks against it, and whether it came late."""

    day: int
    second: int
    episode: int
    listener: int
    evidence: Evidence
    bits: int
    is_late: bool


_ROW = st.builds(
    Row,
    st.integers(0, 1),
    st.integers(0, 3),
    st.integers(0, 2),
    st.integers(1, 3),
    st.sampled_from([Evidence.PROBE, Evidence.PARTIAL, Evidence.FULL]),
    st.sampled_from([0, 0, 0, Verdict.BOT.bit | Verdict.TINY_RANGE.bit]),
    st.sampled_from([False, False, False, True]),
)
_examples = count()


async def write(ledger: Ledger, podcast: MadePodcast, rows: list[Row], first: dt.date) -> list[JudgedHit]:
    """Write hits as they are, without downloads, on two days whose downloads are gone; in this order of ids."""
    episodes = [*numbers_of(podcast), 0]
    segment_no = await ledger.conn.fetchval(
        "insert into ops.segments (segment_id, source, created_at, committed, first_hit_at, last_hit_at)"
        " values (gen_random_uuid(), 'test', now(), 0, $1, $2) returning segment_no",
        dt.datetime.combine(first, dt.time(), dt.UTC),
        dt.datetime.combine(first + ONE_DAY, dt.time(1), dt.UTC),
    )
    midnight_us = int(dt.datetime.combine(first, dt.time(), dt.UTC).timestamp()) * 1_000_000
    judged = [
        JudgedHit(
            at_us=midnight_us + (row.day * 86_400 + row.second) * 1_000_000,
            episode_no=episodes[row.episode] or None,
            listener_key=row.listener.to_bytes(16),
            verdict_bits=row.bits | (0 if episodes[row.episode] else Verdict.UNKNOWN_EPISODE.bit),
            evidence=row.evidence,
            segment_no=segment_no,
            ordinal=ordinal,
        )
        for ordinal, row in enumerate(rows)
    ]
    zeros = np.zeros(len(rows), np.int64)

    def column(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(values, np.int64)

    await ensure_partitions(ledger.conn, [first, first + ONE_DAY])
    empty = HitColumns.empty().as_mapping()
    columns = HitColumns(
        **{
            **dict.fromkeys(empty, zeros),
            "occurred_at": column([hit.at_us for hit in judged]),
            "listener_key": np.array([[0, row.listener] for row in rows], np.uint64),
            "segment_no": zeros + segment_no,
            "ordinal": np.arange(len(rows)),
            "tenant_no": zeros + int(podcast.tenant.tenant_no),
            "podcast_no": zeros + podcast.podcast_no,
            "episode_no": column([hit.episode_no or 0 for hit in judged]),
            "verdict_bits": column([hit.verdict_bits for hit in judged]),
            "verdict": column([int(first_verdict(hit.verdict_bits)) for hit in judged]),
            "evidence": column([0 if hit.verdict_bits else int(hit.evidence) for hit in judged]),
            "kind": zeros + int(HitKind.REQUEST),
            "flags": column([int(HitFlag.LATE) * row.is_late for row in rows]),
        }
    )
    await copy_hits(ledger.conn, encode_hits(columns))
    await ledger.conn.execute(
        "insert into ops.days (tenant_no, day, final_at, downloads_dropped_at)"
        " select $1, d, now(), now() from unnest($2::date[]) as d",
        int(podcast.tenant.tenant_no),
        [first, first + ONE_DAY],
    )
    return judged


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_ROW, min_size=1, max_size=16))
async def test_winners_of_hits_are_those_of_the_reference(
    ledger: Ledger, podcast: MadePodcast, api: Pool, rows: list[Row]
) -> None:
    # Days of its own for each example.
    first = DAY + 2 * next(_examples) * ONE_DAY
    judged = await write(ledger, podcast, rows, first)
    counted = count_downloads(hit for hit, row in zip(judged, rows, strict=True) if not row.is_late)
    for day in (first, first + ONE_DAY):
        said = await explain(api, podcast, day=day)
        expected = {key: won.winner for key, won in counted.items() if key.day == day}
        for scope, numbers in enumerate([numbers_of(podcast), *([number] for number in numbers_of(podcast))]):
            evidence = Counter(int(winner.evidence) for key, winner in expected.items() if key.episode_no in numbers)
            assert {row.evidence: row.downloads for row in said.counts[scope].downloads} == evidence
        for hit in said.listed:
            one = judged[hit.ordinal]
            assert utc_day(one.at_us) == day
            key = (day, one.episode_no, one.listener_key)
            winner = next((won for known, won in expected.items() if tuple(known) == key), None)
            known = None if winner is None or one.verdict_bits else (winner.segment_no, winner.ordinal)
            assert (hit.winner_segment_no, hit.winner_ordinal) == (known or (None, None))
        assert said.found == said.listed


async def test_a_day_whose_hits_are_gone_too_keeps_what_was_counted(
    ledger: Ledger, podcast: MadePodcast, api: Pool
) -> None:
    rows = [("a", 1, ""), ("a", 1, ""), ("a", 2, "bytes=0-1"), ("b", 1, "")]
    write_segment(
        ledger.folder,
        [
            make_hit(minute(0), f"cdn.example.com/{name}.mp3", address=f"192.0.2.{listener}", byte_range=wanted)
            for name, listener, wanted in rows
        ],
    )
    await ledger.ship_all()
    await ledger.refresh()
    while await refresh_listeners(ledger.conn, at_most_every=None):
        continue
    await ledger.conn.execute("update ops.days set final_at = $1", FINAL_AT)
    await drop_old(ledger.conn, now=dt.datetime(2029, 1, 1, tzinfo=dt.UTC), hits_months=25)
    said = await explain(api, podcast)
    assert said == ([DayCounts([], [], (3, 2)), DayCounts([], [], (2, 1)), DayCounts([], [], (1, 1))], [], [])
    # A hit that lands now is one that the day has, and not all that it had.
    write_segment(ledger.folder, [make_hit(minute(1), "cdn.example.com/a.mp3", address="192.0.2.8")])
    await ledger.ship_all()
    assert await ledger.conn.fetchval("select hits_dropped_at from ops.days") is None
    said = await explain(api, podcast)
    assert [counts.counted for counts in said.counts] == [(3, 2), (2, 1), (1, 1)]
    assert [(hit.winner_ordinal, hit.is_settled) for hit in said.listed] == [(None, True)]
