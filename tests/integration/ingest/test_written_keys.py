"""Downloads are the same whichever way they are written, whoever else writes, and whatever is rolled back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt
import pytest

from analytics_core.db.copying import pack_keys, unpack_key
from analytics_core.db.hits import (
    _STAGE,
    _UPSERT,
    HitColumns,
    copy_downloads,
    copy_hits,
    encode_downloads,
    encode_hits,
    ensure_partitions,
    find_partitions,
)
from analytics_core.downloads import Download, merge
from analytics_core.verdicts import Evidence
from ingest.winners import pick_winners
from ingest.writer import write_hits
from ingest.written_keys import WrittenKeys
from tests.ledgers import DAY, Ledger

_DAY_US = 86_400_000_000
_EPOCH = dt.date(1970, 1, 1)
_FIRST_DAY = (DAY - _EPOCH).days

# What a download takes from the hit that it keeps, and from no other.
_DIMENSIONS = ("agent_no", "referrer_no", "feed_app_no", "country", "source")

Rows = dict[tuple[int, int, bytes], Download]


def _batches(random: np.random.Generator) -> Iterator[HitColumns]:
    """Make batches of eligible hits of a few listeners, episodes and days, so that they meet again and again."""
    for segment_no in range(1, 13):
        count = int(random.integers(1, 40))
        columns: dict[str, npt.NDArray[Any]] = {field.name: np.zeros(count, np.int64) for field in fields(HitColumns)}
        columns |= {
            "occurred_at": (_FIRST_DAY + random.integers(0, 2, count)) * _DAY_US + random.integers(0, 50, count),
            "listener_key": pack_keys([bytes([int(one)]) * 16 for one in random.integers(0, 40, count)]),
            "episode_no": random.integers(1, 3, count),
            "segment_no": np.full(count, segment_no, np.int64),
            "ordinal": np.arange(count),
            "evidence": random.integers(1, 4, count),
            "tenant_no": np.ones(count, np.int64),
            "podcast_no": np.ones(count, np.int64),
        }
        columns |= {name: random.integers(0, 1000, count) for name in _DIMENSIONS}
        yield HitColumns(**columns)


def _count(rows: Rows, hits: HitColumns) -> None:
    """Merge hits one by one, as the rule says it of two."""
    for place in range(len(hits)):
        key = (int(hits.day[place]), int(hits.episode_no[place]), unpack_key(hits.listener_key[place]))
        hit = Download(
            Evidence(int(hits.evidence[place])),
            int(hits.occurred_at[place]),
            int(hits.segment_no[place]),
            int(hits.ordinal[place]),
        )
        rows[key] = merge(rows[key], hit) if key in rows else hit


@pytest.mark.anyio
@pytest.mark.parametrize("seed", range(6))
async def test_downloads_are_the_same_whichever_way_they_are_written(ledger: Ledger, seed: int) -> None:
    random = np.random.default_rng(seed)
    # Two processes that know of each other nothing, and one that remembers nothing at all.
    writers = [WrittenKeys(few=1), WrittenKeys(few=30), None]
    expected: Rows = {}
    dimensions: dict[tuple[int, int], tuple[int, ...]] = {}
    for hits in _batches(random):
        written = writers[int(random.integers(0, len(writers)))]
        transaction = ledger.conn.transaction()
        await transaction.start()
        await write_hits(ledger.conn, hits, winners=pick_winners(hits), written=written)
        if random.random() < 0.2:
            # What is remembered of them now is too much.
            await transaction.rollback()
            continue
        await transaction.commit()
        _count(expected, hits)
        ids = zip(hits.segment_no.tolist(), hits.ordinal.tolist(), strict=True)
        values = zip(*(getattr(hits, name).tolist() for name in _DIMENSIONS), strict=True)
        dimensions |= dict(zip(ids, values, strict=True))
    rows = await ledger.conn.fetch(
        "select day, episode_no, listener_key, evidence, segment_no, ordinal,"
        " (extract(epoch from occurred_at) * 1000000)::bigint as at_us,"
        " agent_no, referrer_no, feed_app_no, country, source from ts.downloads"
    )
    found = {
        ((row["day"] - _EPOCH).days, row["episode_no"], row["listener_key"].bytes): Download(
            Evidence(row["evidence"]), row["at_us"], row["segment_no"], row["ordinal"]
        )
        for row in rows
    }
    assert found == expected
    assert {(row["segment_no"], row["ordinal"]): tuple(row[name] for name in _DIMENSIONS) for row in rows} == {
        (won.segment_no, won.ordinal): dimensions[won.segment_no, won.ordinal] for won in expected.values()
    }


@pytest.mark.anyio
@pytest.mark.usefixtures("native")
async def test_a_day_has_partitions_that_take_its_rows_and_no_others(ledger: Ledger) -> None:
    hits = next(_batches(np.random.default_rng(0)))
    hits = hits.select(hits.day == _FIRST_DAY)
    async with ledger.conn.transaction():
        await ensure_partitions(ledger.conn, [DAY, DAY + dt.timedelta(days=1)])
        own = await find_partitions(ledger.conn, DAY)
        other = await find_partitions(ledger.conn, DAY + dt.timedelta(days=1))
        await copy_hits(ledger.conn, encode_hits(hits), partition=own.hits)
        assert await copy_downloads(ledger.conn, encode_downloads(pick_winners(hits)), partition=own.downloads)
    assert await ledger.conn.fetchval("select count(*) from ts.listener_events") == len(hits)
    assert await ledger.conn.fetchval("select count(*) from ts.downloads") == len(pick_winners(hits))
    with pytest.raises(asyncpg.CheckViolationError):
        await copy_hits(ledger.conn, encode_hits(hits), partition=other.hits)
    with pytest.raises(asyncpg.CheckViolationError):
        await copy_downloads(ledger.conn, encode_downloads(pick_winners(hits)), partition=other.downloads)


@pytest.mark.anyio
async def test_what_another_process_wrote_sends_a_day_the_slower_way_and_is_learnt(ledger: Ledger) -> None:
    one, other = WrittenKeys(few=1), WrittenKeys(few=1)
    random = np.random.default_rng(1)
    first, second, third = (batch for batch, _ in zip(_batches(random), range(3), strict=False))
    for hits, written in ((first, one), (second, other)):
        async with ledger.conn.transaction():
            await write_hits(ledger.conn, hits, written=written)
    day = int(third.day.min())
    assert one.of_day(day) is not None
    # The second's downloads are there, which the first has never heard of.
    again = second.select(np.flatnonzero(second.day == day))
    async with ledger.conn.transaction():
        await write_hits(ledger.conn, again, written=one)
    assert one.of_day(day) is None
    async with ledger.conn.transaction():
        await write_hits(ledger.conn, first.select(np.flatnonzero(first.day == day)), written=one)
        await write_hits(ledger.conn, again, written=one)
    keys = one.of_day(day)
    assert keys is not None
    assert keys.holds(again.episode_no, again.listener_key).all()


@pytest.mark.anyio
async def test_what_changes_nothing_is_not_even_locked(ledger: Ledger) -> None:
    hits = next(_batches(np.random.default_rng(2)))
    later = replace(
        hits,
        segment_no=hits.segment_no + 1,
        # Half of them come with more evidence than there is.
        evidence=np.where(hits.listener_key[:, 0] & np.uint64(1) == 1, 4, hits.evidence),
    )
    for batch in (hits, later):
        async with ledger.conn.transaction():
            await write_hits(ledger.conn, batch)
    rows = await ledger.conn.fetch("select segment_no, xmax::text::bigint as locked_by from ts.downloads")
    assert {row["segment_no"] for row in rows} == {int(hits.segment_no[0]), int(later.segment_no[0])}
    assert {row["locked_by"] for row in rows if row["segment_no"] == hits.segment_no[0]} == {0}


@pytest.mark.anyio
@pytest.mark.usefixtures("native")
async def test_downloads_are_looked_for_by_key_among_their_own_days_alone(ledger: Ledger) -> None:
    days = [DAY + dt.timedelta(days=more) for more in range(3)]
    await ledger.conn.execute("set plan_cache_mode = force_generic_plan")
    async with ledger.conn.transaction():
        await ensure_partitions(ledger.conn, days)
        await write_hits(ledger.conn, next(_batches(np.random.default_rng(3))))
    async with ledger.conn.transaction():
        await ledger.conn.execute(_STAGE)
        await ledger.conn.execute(f"prepare merge(date, date) as {_UPSERT}")
        lines = await ledger.conn.fetch(f"explain (costs off) execute merge(date '{days[0]}', date '{days[1]}')")
    plan = "\n".join(line[0] for line in lines)
    assert "Subplans Removed" in plan
    for day in days:
        assert (f"using downloads_{day:%Y%m%d}_pkey on" in plan) == (day != days[2]), plan
    assert "Seq Scan on downloads_" not in plan
