"""The recorder over a disk that fails: what is not surely kept is not answered as if it were."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from analytics_core.addresses import UNSPECIFIED
from analytics_core.events import EventRecord
from analytics_core.spool_writer import SpoolWriter
from ingest.collector.recording import Recorder
from tests.collectors import read_events
from tests.integration.test_spool_writer import FailingDisk


def record_of(number: int) -> EventRecord:
    return EventRecord(tenant_no=1, event_id=UUID(int=number), type="signup", occurred_us=number)


def run(folder: Path, disk: FailingDisk, work: Callable[[Recorder], Awaitable[None]], *, holds_answers: bool) -> None:
    """Do something with a recorder, and end it as the process does."""

    async def live() -> None:
        writer = SpoolWriter(folder, "collector-0", holds_events=True, disk=disk)
        writer.open()
        recorder = Recorder(writer, holds_answers=holds_answers)
        running = asyncio.create_task(recorder.run())
        try:
            await work(recorder)
        finally:
            await recorder.close(running)

    asyncio.run(live())


async def record(recorder: Recorder, *numbers: int) -> bool:
    return await recorder.record([record_of(number) for number in numbers], received_us=1, address=UNSPECIFIED)


@pytest.mark.parametrize("holds_answers", [False, True])
def test_what_cannot_be_written_is_not_recorded_and_not_lost(tmp_path: Path, holds_answers: bool) -> None:
    disk = FailingDisk()

    async def work(recorder: Recorder) -> None:
        assert await record(recorder, 1)
        disk.failing_writes = 10
        assert not await record(recorder, 2, 3)
        assert recorder.writer.fault == "events are refused: Input/output error"
        disk.failing_writes = 0
        # It tries again once a second.
        await asyncio.sleep(1.1)
        assert await record(recorder, 4)

    run(tmp_path, disk, work, holds_answers=holds_answers)
    stored, totals = read_events(tmp_path)
    assert [event.record.event_id.int for event in stored] == [1, 4]
    assert (totals.answered, totals.recorded, totals.lost, totals.at_risk) == (2, 2, {}, 0)


def test_a_sync_that_fails_is_told_to_those_who_wait_for_it(tmp_path: Path) -> None:
    disk = FailingDisk()

    async def work(recorder: Recorder) -> None:
        assert await record(recorder, 1)
        disk.failing_syncs = 1
        # Both wait for the same sync, or for two of which the first fails; nobody is told what is not so.
        answers = await asyncio.gather(record(recorder, 2), record(recorder, 3))
        assert False in answers
        assert await record(recorder, 4)

    run(tmp_path, disk, work, holds_answers=True)
    stored, totals = read_events(tmp_path)
    # Sent again, they are there twice, and land once.
    assert [event.record.event_id.int for event in stored] == [1, 2, 3, 4]
    assert totals.at_risk > 0


def test_answers_that_wait_are_given_when_the_process_ends(tmp_path: Path) -> None:
    waiting: list[asyncio.Task[bool]] = []

    async def work(recorder: Recorder) -> None:
        waiting.extend(asyncio.create_task(record(recorder, number)) for number in range(1, 6))
        await asyncio.sleep(0)

    run(tmp_path, FailingDisk(), work, holds_answers=True)
    assert [one.result() for one in waiting] == [True] * 5
    assert len(read_events(tmp_path)[0]) == 5
