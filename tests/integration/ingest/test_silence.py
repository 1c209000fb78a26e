"""A tracker that falls silent is told of once, until it comes back; one that stopped is not silent."""

from __future__ import annotations

import datetime as dt
import logging
import os
from pathlib import Path

import pytest

from analytics_core.clock import FixedClock
from analytics_core.spool import FrameKind, Totals, encode_totals_frame
from ingest.silence import SILENT_AFTER, SilenceWatch
from tests.factories import MadePodcast, make_hit, open_segment, write_segment
from tests.ledgers import NOW, Ledger, minute

pytestmark = pytest.mark.anyio


async def at(ledger: Ledger, moment: dt.datetime) -> str | None:
    """Ship what is there at a moment, and say who is silent then."""
    ledger.clock = FixedClock(moment)
    ledger.pipeline = ledger.make_pipeline()
    ledger.shipper = ledger.make_shipper()
    await ledger.ship_all()
    return await SilenceWatch(ledger.metrics).look(ledger.conn)


def beat(path: Path) -> None:
    """Write what an idle tracker writes once a minute."""
    with path.open("ab") as file:
        file.write(encode_totals_frame(FrameKind.TOTALS, Totals(answered=1, recorded=1)))


async def test_a_living_tracker_without_heartbeats_is_silent_until_it_comes_back(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    path, descriptor = open_segment(ledger.folder, [make_hit(minute(0))])
    assert await at(ledger, NOW) is None
    beat(path)
    assert await at(ledger, NOW + SILENT_AFTER) is None
    assert await at(ledger, NOW + 2 * SILENT_AFTER) is None
    said = await at(ledger, NOW + 2 * SILENT_AFTER + dt.timedelta(seconds=1))
    assert said == "tracker-0 is silent since 2026-11-02 12:03:00 UTC"
    beat(path)
    assert await at(ledger, NOW + 3 * SILENT_AFTER) is None
    os.close(descriptor)


async def test_a_tracker_that_died_is_silent_until_another_life_of_it_writes(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    write_segment(ledger.folder, [make_hit(minute(0))], sealed=False)
    write_segment(ledger.folder, [make_hit(minute(0))], source="tracker-1")
    later = NOW + SILENT_AFTER + dt.timedelta(seconds=1)
    assert await at(ledger, NOW) is None
    assert await ledger.count("ops.segments where finished_why = 'abandoned'") == 1
    assert await at(ledger, later) == "tracker-0 is silent since 2026-11-02 12:00:00 UTC"
    _, descriptor = open_segment(ledger.folder, [make_hit(minute(1))])
    assert await at(ledger, later) is None
    os.close(descriptor)


async def test_while_ingest_is_behind_nobody_is_silent(ledger: Ledger, podcast: MadePodcast) -> None:
    path, descriptor = open_segment(ledger.folder, [make_hit(minute(0))])
    assert await at(ledger, NOW) is None
    beat(path)
    watch = SilenceWatch(ledger.metrics)
    assert await watch.look(ledger.conn) is None
    assert await at(ledger, NOW + dt.timedelta(hours=1)) is None
    os.close(descriptor)


async def test_each_silence_is_told_once(
    ledger: Ledger, podcast: MadePodcast, caplog: pytest.LogCaptureFixture
) -> None:
    path, descriptor = open_segment(ledger.folder, [make_hit(minute(0))])
    await at(ledger, NOW)
    await at(ledger, NOW + 2 * SILENT_AFTER)
    watch, gauge = SilenceWatch(ledger.metrics), ledger.metrics.silent.labels("tracker-0")
    caplog.clear()
    with caplog.at_level(logging.INFO, "castledger.ingest.silence"):
        for _ in range(3):
            assert await watch.look(ledger.conn) is not None
        assert gauge._value.get() == 1
        beat(path)
        await at(ledger, NOW + 2 * SILENT_AFTER)
        for _ in range(3):
            assert await watch.look(ledger.conn) is None
    assert gauge._value.get() == 0
    told = [record.message for record in caplog.records if record.name == "castledger.ingest.silence"]
    assert told == [
        "nothing is heard of tracker-0 since 2026-11-02 12:00:00 UTC, though it did not stop",
        "tracker-0 is no longer silent",
    ]
    os.close(descriptor)
