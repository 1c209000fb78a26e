"""The spool's writer on a real folder, with a disk that fails when it is told to."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from analytics_core.hits import Hit
from analytics_core.segments import Disk, OsDisk
from analytics_core.spool import (
    HEADER_BYTES,
    Frame,
    FrameKind,
    Totals,
    decode_hits,
    encode_hit,
    parse_header,
    read_frames,
)
from analytics_core.spool_writer import SpoolWriter


class FailingDisk(OsDisk):
    """The real disk, with as much room as it is given, which fails as often as it is told."""

    def __init__(self) -> None:
        self.room: int | None = None
        self.room_in_reserve: tuple[Path, int] | None = None
        self.short_writes = 0
        self.failing_writes = 0
        self.failing_syncs = 0

    def write(self, descriptor: int, data: bytes) -> int:
        if self.failing_writes:
            self.failing_writes -= 1
            raise OSError(errno.EIO, "Input/output error")
        if self.short_writes:
            self.short_writes -= 1
            return super().write(descriptor, data[: len(data) // 2])
        if self.room_in_reserve is not None and not self.room_in_reserve[0].exists():
            self.room, self.room_in_reserve = self.room_in_reserve[1], None
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            data = data[: self.room]
            self.room -= len(data)
        return super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        if self.failing_syncs:
            self.failing_syncs -= 1
            raise OSError(errno.EIO, "Input/output error")
        super().sync(descriptor)


class Hands:
    """A writer with a clock that is moved by hand."""

    def __init__(self, folder: Path, *, disk: Disk | None = None, reserve_bytes: int = 0, segment_bytes: int = 2**20):
        self.folder = folder
        self.now_s = 1000.0
        self.number = 0
        self.writer = SpoolWriter(
            folder,
            "tracker-0",
            segment_bytes=segment_bytes,
            segment_s=60,
            reserve_bytes=reserve_bytes,
            monotonic=lambda: self.now_s,
            disk=disk,
        )

    def is_losing(self) -> bool:
        return self.writer.fault is not None

    def record(self, count: int = 1, *, target: bytes = b"cdn.example.com/%d.mp3") -> None:
        """Record hits as one turn of the loop does."""
        for _ in range(count):
            self.number += 1
            text = target % self.number if b"%d" in target else target
            row, _ = encode_hit(Hit(at_us=self.number, address=bytes(16), target=text, agent=b"a"))
            self.writer.rows.append(row)
            self.writer.texts.append(text + b"a")
        self.writer.write_turn()

    def files(self, suffix: str) -> list[Path]:
        return sorted(self.folder.glob(f"*{suffix}"))


def frames_of(path: Path) -> list[Frame]:
    data = path.read_bytes()
    parse_header(data)
    frames = list(read_frames(data[HEADER_BYTES:], offset=HEADER_BYTES))
    end = frames[-1].end if frames else HEADER_BYTES
    assert end == len(data), "a torn tail"
    return frames


def hits_in(folder: Path) -> list[int]:
    paths = sorted([*folder.glob("*.open"), *folder.glob("*.sealed")])
    return [hit.at_us for path in paths for frame in frames_of(path) for hit in decode_hits(frame)]


def test_a_start_leaves_an_open_locked_segment_with_zero_totals(tmp_path: Path) -> None:
    hands = Hands(tmp_path / "data" / "spool")
    hands.writer.open()
    (path,) = hands.files("")
    assert path.suffix == ".open"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(hands.folder.stat().st_mode) == 0o700
    assert [(frame.kind, frame.totals) for frame in frames_of(path)] == [(FrameKind.TOTALS, Totals())]
    with path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    header = parse_header(path.read_bytes())
    assert header.source == "tracker-0"
    assert header.segment_id.hex in path.name


def test_a_folder_that_was_made_by_hand_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Hands(tmp_path).writer.open()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_turn_is_one_frame_and_carries_the_running_totals(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    hands.writer.open()
    hands.record(3)
    hands.writer.totals.refused[404] = 2
    hands.record(2)
    (path,) = hands.files(".open")
    frames = frames_of(path)[1:]
    assert [frame.hits for frame in frames] == [3, 2]
    assert frames[1].totals == Totals(answered=5, recorded=5, refused={404: 2})
    assert hits_in(tmp_path) == [1, 2, 3, 4, 5]


def test_a_turn_of_thousands_is_cut_into_frames_with_their_own_totals(tmp_path: Path) -> None:
    hands = Hands(tmp_path, segment_bytes=2**26)
    hands.writer.open()
    hands.record(1500, target=b"a" * 8000)
    frames = frames_of(hands.files(".open")[0])[1:]
    assert sum(frame.hits for frame in frames) == 1500
    assert [frame.totals.recorded for frame in frames] == [512, 1024, 1500]
    assert hits_in(tmp_path) == list(range(1, 1501))


def test_a_segment_is_sealed_at_its_size(tmp_path: Path) -> None:
    hands = Hands(tmp_path, segment_bytes=1000)
    hands.writer.open()
    for _ in range(30):
        hands.record()
    hands.writer.sync_now()
    sealed = hands.files(".sealed")
    assert len(sealed) > 1
    assert all(frames_of(path)[-1].kind is FrameKind.SEAL for path in sealed)
    assert all(path.stat().st_size < 1300 for path in sealed)
    assert hits_in(tmp_path) == list(range(1, 31))


def test_a_segment_with_a_hit_is_sealed_at_its_age_and_an_idle_one_is_not(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    hands.writer.open()
    hands.now_s += 1000
    hands.writer.tick()
    hands.record()
    hands.now_s += 59
    hands.writer.tick()
    hands.writer.sync_now()
    assert hands.files(".sealed") == []
    hands.now_s += 1
    hands.writer.tick()
    hands.writer.sync_now()
    (sealed,) = hands.files(".sealed")
    assert [frame.kind for frame in frames_of(sealed)] == [
        FrameKind.TOTALS,
        FrameKind.TOTALS,
        FrameKind.HITS,
        FrameKind.SEAL,
    ]


def test_an_idle_process_shows_its_totals_once_a_minute(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    hands.writer.open()
    for _ in range(180):
        hands.now_s += 1
        hands.writer.tick()
    (path,) = hands.files(".open")
    assert [frame.kind for frame in frames_of(path)] == [FrameKind.TOTALS] * 4


def test_an_orderly_end_seals_with_all_hits_and_totals(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    hands.writer.open()
    hands.record(2)
    hands.writer.close()
    (path,) = hands.files("")
    assert path.suffix == ".sealed"
    last = frames_of(path)[-1]
    assert (last.kind, last.totals) == (FrameKind.SEAL, Totals(answered=2, recorded=2))
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("fault", ["short_writes", "failing_writes"])
def test_a_write_that_fails_once_costs_no_hit_and_leaves_no_torn_batch(tmp_path: Path, fault: str) -> None:
    disk = FailingDisk()
    hands = Hands(tmp_path, disk=disk)
    hands.writer.open()
    hands.record(2)
    setattr(disk, fault, 1)
    hands.record(3)
    hands.record(1)
    hands.writer.sync_now()
    assert len(hands.files(".sealed")) == 1
    assert hits_in(tmp_path) == [1, 2, 3, 4, 5, 6]
    assert hands.writer.totals == Totals(answered=6, recorded=6)


def test_a_disk_that_fails_on_costs_hits_which_are_counted_until_it_heals(tmp_path: Path) -> None:
    disk = FailingDisk()
    hands = Hands(tmp_path, disk=disk)
    hands.writer.open()
    hands.record(2)
    disk.failing_writes = 100
    hands.record(3)
    hands.record(4)
    assert hands.writer.totals == Totals(answered=9, recorded=2, lost={"write_error": 7})
    assert hands.is_losing()
    disk.failing_writes = 0
    hands.record(1)
    assert hands.writer.totals.lost == {"write_error": 8}, "it is tried again once a second only"
    hands.now_s += 1
    hands.record(1)
    assert not hands.is_losing()
    hands.writer.close()
    assert hits_in(tmp_path) == [1, 2, 11]
    last = frames_of(hands.files(".sealed")[-1])[-1]
    assert last.totals == Totals(answered=11, recorded=3, lost={"write_error": 8})


def test_the_reserve_takes_its_space_and_is_not_taken_twice(tmp_path: Path) -> None:
    reserve = tmp_path / "reserve"
    for _ in range(2):
        Hands(tmp_path, reserve_bytes=65536).writer.open()
        assert reserve.stat().st_size == 65536
        assert reserve.stat().st_blocks * 512 >= 65536
        assert stat.S_IMODE(reserve.stat().st_mode) == 0o600


def test_a_full_disk_is_fed_from_the_reserve_first_and_costs_no_hit(tmp_path: Path) -> None:
    disk = FailingDisk()
    hands = Hands(tmp_path, disk=disk, reserve_bytes=65536)
    hands.writer.open()
    hands.record(1)
    disk.room = 0
    disk.room_in_reserve = (tmp_path / "reserve", 2000)
    hands.record(1)
    assert not hands.writer.reserve.is_held()
    assert hands.writer.totals == Totals(answered=2, recorded=2)
    assert hands.writer.reserve.hold()
    assert hands.writer.reserve.is_held()
    hands.writer.sync_now()
    assert hits_in(tmp_path) == [1, 2]


def test_a_full_disk_without_a_reserve_costs_hits_until_there_is_room(tmp_path: Path) -> None:
    disk = FailingDisk()
    hands = Hands(tmp_path, disk=disk)
    hands.writer.open()
    disk.room = 0
    hands.record(5)
    assert hands.writer.totals == Totals(answered=5, lost={"disk_full": 5})
    assert hands.is_losing()
    disk.room = None
    hands.now_s += 1
    hands.record(1)
    assert hands.writer.totals == Totals(answered=6, recorded=1, lost={"disk_full": 5})
    assert not hands.is_losing()


def test_a_full_disk_is_not_littered_with_empty_segments(tmp_path: Path) -> None:
    disk = FailingDisk()
    hands = Hands(tmp_path, disk=disk)
    hands.writer.open()
    hands.record(1)
    for _ in range(20):
        disk.room = HEADER_BYTES + 10
        hands.now_s += 1
        hands.record(1)
    hands.writer.sync_now()
    assert len(hands.files("")) == 1
    assert hits_in(tmp_path) == [1]
    assert hands.writer.totals.lost == {"disk_full": 20}


def test_a_failed_sync_seals_the_segment_and_counts_what_is_at_risk(tmp_path: Path) -> None:
    disk = FailingDisk()
    hands = Hands(tmp_path, disk=disk)
    hands.writer.open()
    hands.record(2)
    hands.writer.sync_now()
    hands.record(3)
    disk.failing_syncs = 1
    work = hands.writer.begin_sync()
    assert work is not None
    hands.record(1)
    work.run()
    hands.writer.end_sync(work)
    assert hands.writer.totals.at_risk == 3
    hands.record(1)
    hands.writer.sync_now()
    assert hands.writer.totals == Totals(answered=7, recorded=7, at_risk=3)
    assert [sum(frame.hits for frame in frames_of(path)) for path in hands.files(".sealed")] == [6]
    assert hits_in(tmp_path) == [1, 2, 3, 4, 5, 6, 7]


def test_a_failed_sync_of_a_full_segment_counts_what_is_at_risk(tmp_path: Path) -> None:
    disk = FailingDisk()
    hands = Hands(tmp_path, disk=disk, segment_bytes=500)
    hands.writer.open()
    hands.record(20)
    disk.failing_syncs = 1
    hands.writer.sync_now()
    assert hands.writer.totals.at_risk == 20
    assert len(hands.files(".sealed")) == 1


def test_nothing_is_synced_when_nothing_was_written(tmp_path: Path) -> None:
    hands = Hands(tmp_path)
    hands.writer.open()
    hands.writer.sync_now()
    assert hands.writer.begin_sync() is None
    hands.record()
    assert hands.writer.begin_sync() is not None


def test_an_unusable_folder_does_not_stop_the_tracker_and_heals(tmp_path: Path) -> None:
    place = tmp_path / "spool"
    place.write_text("a file where the folder belongs")
    hands = Hands(place)
    hands.writer.open()
    hands.record(2)
    assert hands.writer.totals == Totals(answered=2, lost={"write_error": 2})
    place.unlink()
    hands.now_s += 1
    hands.record(1)
    hands.writer.close()
    assert hits_in(place) == [3]


def test_segments_of_earlier_lives_are_left_alone(tmp_path: Path) -> None:
    first = Hands(tmp_path)
    first.writer.open()
    first.record(1)
    before = {path: path.read_bytes() for path in first.files("")}
    second = Hands(tmp_path)
    second.writer.open()
    second.record(1)
    second.writer.close()
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(tmp_path.iterdir())) == 2


def test_files_of_processes_killed_at_birth_are_removed_and_of_living_ones_kept(tmp_path: Path) -> None:
    old, held, young, hits = (tmp_path / name for name in ("1-old.new", "2-held.new", "3-young.new", "4.sealed"))
    for path in (old, held, young, hits):
        path.write_bytes(b"CLSPOOL1")
    for path in (old, held, hits):
        os.utime(path, (1000, 1000))
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Hands(tmp_path).writer.open()
    assert [path.exists() for path in (old, held, young, hits)] == [False, True, True, True]
