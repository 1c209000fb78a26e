"""Damaged segments: what is whole lands once, what is not is set aside and named by file and offset."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.spool import HEADER_BYTES, Frame, read_frames
from tests.factories import MadePodcast, make_hit, write_segment
from tests.ledgers import Ledger, minute

pytestmark = pytest.mark.anyio

FRAME_HITS = 4
LENGTH_AT = 8
"""Where in a frame its length stands, of four bytes."""


def frames_of(path: Path) -> list[Frame]:
    return list(read_frames(path.read_bytes()[HEADER_BYTES:], offset=HEADER_BYTES))


def make_segment(ledger: Ledger, frames: int = 5, *, number: int = 0) -> Path:
    """Hits of which each has a minute of its own, so that one that landed is known by its time."""
    hits = [make_hit(minute(place), address=f"192.0.2.{place}") for place in range(frames * FRAME_HITS)]
    return write_segment(ledger.folder, hits, frame_hits=FRAME_HITS, source=f"tracker-{number}")


def flip(path: Path, place: int, mask: int = 0xFF) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= mask
    path.write_bytes(data)


async def landed(ledger: Ledger, segment_id: UUID | None = None) -> list[int]:
    """Which hits have landed, by their minutes, in the order of their ids."""
    rows = await ledger.conn.fetch(
        "select e.occurred_at from ts.listener_events e join ops.segments s using (segment_no)"
        " where $1::uuid is null or s.segment_id = $1 order by e.segment_no, e.ordinal",
        segment_id,
    )
    return [int((row["occurred_at"] - minute(0)).total_seconds()) // 60 for row in rows]


async def faults(ledger: Ledger) -> list[tuple[object, ...]]:
    rows = await ledger.conn.fetch(
        "select file, start_offset, end_offset, lost_hits from ops.spool_faults order by file, start_offset"
    )
    return [tuple(row) for row in rows]


async def test_what_stands_behind_damage_lands_and_what_is_missing_is_counted(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    path = make_segment(ledger)
    frames = frames_of(path)
    flip(path, frames[1].start + 40)
    flip(path, frames[3].start + 1)
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    assert await ledger.ship_all() == 12
    assert await landed(ledger) == [*range(4), *range(8, 12), *range(16, 20)]
    assert await faults(ledger) == [(path.stem, frames[n].start, frames[n].end, FRAME_HITS) for n in (1, 3)]
    assert await ledger.ending() == "damaged"
    kept = path.with_suffix(".damaged")
    assert [entry.name for entry in ledger.folder.iterdir()] == [kept.name]
    assert kept.read_bytes() == copy.read_bytes()
    assert ledger.metrics.damaged_hits._value.get() == 2 * FRAME_HITS

    # Once more, from a copy: the ledger knows the segment.
    shutil.copy(copy, path)
    ledger.shipper = ledger.make_shipper()
    assert await ledger.ship_all() == 0
    assert len(await landed(ledger)) == 12


@pytest.mark.parametrize("number", [0, 2, 4])
async def test_a_length_that_reaches_beyond_the_end_hides_no_frame(
    ledger: Ledger, podcast: MadePodcast, number: int
) -> None:
    path = make_segment(ledger)
    frame = frames_of(path)[number]
    # By a megabyte: no longer than a frame may be, and longer than the file.
    flip(path, frame.start + LENGTH_AT + 2, mask=0x10)
    assert await ledger.ship_all() == 16
    assert await landed(ledger) == [*range(4 * number), *range(4 * number + 4, 20)]
    # Totals of the batch before tell how many are missing.
    lost = FRAME_HITS if number else None
    assert await faults(ledger) == [(path.stem, frame.start, frame.end, lost)]
    assert await ledger.ending() == "damaged"
    assert path.with_suffix(".damaged").exists()


async def test_a_restart_between_damages_forgets_nothing(ledger: Ledger, podcast: MadePodcast) -> None:
    path = make_segment(ledger)
    flip(path, frames_of(path)[1].start + 40)
    for _ in range(20):
        ledger.shipper = ledger.make_shipper(batch_hits=FRAME_HITS)
        await ledger.shipper.ship(ledger.conn)
    assert await landed(ledger) == [*range(4), *range(8, 20)]
    assert await ledger.ending() == "damaged"
    assert len(await faults(ledger)) == 1


@pytest.mark.parametrize("place", [0, 7, 10, 30, 50, 66])
async def test_a_damaged_header_costs_no_hit(ledger: Ledger, podcast: MadePodcast, place: int) -> None:
    path = make_segment(ledger, 2)
    flip(path, place, mask=2)
    assert await ledger.ship_all() == 8
    assert await landed(ledger) == list(range(8))
    assert await faults(ledger) == [(path.stem, 0, HEADER_BYTES, None)]
    assert await ledger.ending() == "damaged"


async def test_another_version_is_kept_whole(ledger: Ledger, podcast: MadePodcast) -> None:
    path = make_segment(ledger, 2)
    data = path.read_bytes()
    header = b"CLSPOOL2" + data[8 : HEADER_BYTES - 4]
    path.write_bytes(header + crc32(header).to_bytes(4, "little") + data[HEADER_BYTES:])
    written = path.read_bytes()
    assert await ledger.ship_all() == 0
    assert await faults(ledger) == [(path.stem, 0, len(written), None)]
    assert path.with_suffix(".damaged").read_bytes() == written


async def test_zero_bytes_at_the_end_are_damage_and_not_a_torn_end(ledger: Ledger, podcast: MadePodcast) -> None:
    path = make_segment(ledger, 2)
    end = len(path.read_bytes())
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert await ledger.ship_all() == 8
    assert await faults(ledger) == [(path.stem, end, end + 4096, None)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.integers(1, 300), st.one_of(st.binary(max_size=60), st.none(), st.just(b"CLbf" * 5)))
async def test_every_whole_frame_lands_once_whatever_else_is_damaged(
    ledger: Ledger, podcast: MadePodcast, place: int, length: int, junk: bytes | None
) -> None:
    path = make_segment(ledger)
    written = path.read_bytes()
    frames = frames_of(path)
    begin = place % len(written)
    end = min(len(written), begin + length)
    instead = bytes(end - begin) if junk is None else junk
    path.write_bytes(written[:begin] + instead + written[end:])
    segment_id = UUID(path.stem[-32:])
    before = [frame for frame in frames if frame.end <= begin]
    behind = [frame for frame in frames if frame.start >= end]
    if end <= HEADER_BYTES and len(instead) != end - begin:
        # Frames are looked for behind the header; what was moved into it is lost with its first frame.
        behind = behind[1:]
    wanted = {place for frame in (*before, *behind) for place in _hits(frames, frame)}
    await ledger.ship_all()
    found = await landed(ledger, segment_id)
    assert len(found) == len(set(found))
    assert wanted <= set(found)
    unchanged = path.with_suffix(".damaged")
    if set(found) != set(range(20)) and not unchanged.exists():
        # All that is missing then stood behind an end that was never finished.
        assert await ledger.ending(segment_id) in ("torn", "shorter", "empty", None)
    for entry in ledger.folder.iterdir():
        entry.unlink()


def _hits(frames: list[Frame], frame: Frame) -> range:
    at = sum(one.hits for one in frames if one.start < frame.start)
    return range(at, at + frame.hits)
