"""Events on disk: what was written outlives the process, however it ends, and is sent by whoever comes next."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castledger import Castledger, ConfigurationError
from castledger._spool import HEADER, SpoolFile, encode_frames, read_frames
from sdk.tests.collectors import (
    AsynchronousTracker,
    BlockingTracker,
    Hang,
    Tracker,
    collecting,
    nobody,
    wait_for,
)
from sdk.tests.twin import KEY

_payloads = st.lists(st.binary(min_size=1, max_size=300), max_size=8)


@pytest.fixture(params=[BlockingTracker, AsynchronousTracker], ids=["blocking", "asynchronous"])
def tracker(request: pytest.FixtureRequest) -> type[Tracker]:
    """Each client in turn."""
    kind: type[Tracker] = request.param
    return kind


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.events"))


@given(payloads=_payloads, cut=st.integers(0, 3000))
def test_any_cut_leaves_the_events_before_it(payloads: list[bytes], cut: int) -> None:
    data = encode_frames(payloads)[:cut]
    read = [frame.payload for frame in read_frames(data)]
    assert read == payloads[: len(read)]
    assert len(encode_frames(payloads[: len(read)])) <= cut or read == payloads
    assert len(read) == len(payloads) or len(encode_frames(payloads[: len(read) + 1])) > len(data)


@given(payloads=_payloads.filter(bool), position=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_never_makes_another_event(payloads: list[bytes], position: int, bit: int) -> None:
    data = bytearray(encode_frames(payloads))
    data[position % len(data)] ^= 1 << bit
    read = [frame.payload for frame in read_frames(bytes(data)) if frame.payload is not None]
    assert len(read) < len(payloads)
    assert all(payload in payloads for payload in read)


@given(payloads=_payloads, batches=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 600)), max_size=20))
def test_a_file_hands_out_what_was_appended_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes], batches: list[tuple[int, int]]
) -> None:
    file = SpoolFile.create(tmp_path_factory.mktemp("spool") / "a.events")
    read: list[bytes] = []
    for number, payload in enumerate(payloads):
        file.append([payload])
        for most, most_bytes in batches[number::8]:
            taken, damaged = file.read(most, most_bytes)
            assert damaged == 0
            assert len(taken) <= most
            read += taken
    while file.unread:
        read += file.read(3, 100)[0]
    assert read == payloads
    assert not file.is_done or not payloads
    file.done = len(payloads)
    assert file.is_done
    file.remove()


def test_a_file_belongs_to_one_at_a_time(tmp_path: Path) -> None:
    file = SpoolFile.create(tmp_path / "a.events")
    file.append([b"1", b"2"])
    assert SpoolFile.adopt(file.path) is None
    file.release()
    again = SpoolFile.adopt(file.path)
    assert again is not None
    assert (again.events, again.read(9, 9)) == (2, ([b"1", b"2"], 0))
    again.remove()
    assert SpoolFile.adopt(file.path) is None


@pytest.mark.parametrize("content", [b"", HEADER[:5], b"hello world", HEADER, HEADER + b"\xff" * 100])
def test_a_file_without_events_is_cleared_away(tracker: type[Tracker], tmp_path: Path, content: bytes) -> None:
    with collecting() as collector:
        client = tracker(collector.url, spool_dir=tmp_path)
        client.track("first")
        assert client.flush()
        [own] = files(tmp_path)
        (tmp_path / f"{own.name.partition('-')[0]}-0-0-0.events").write_bytes(content)
        client.close()
        client = tracker(collector.url, spool_dir=tmp_path)
        assert client.flush()
        client.close()
    assert files(tmp_path) == []
    assert len(collector.ids) == 1


def test_events_pass_through_the_folder(tracker: type[Tracker], tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    with collecting() as collector:
        client = tracker(collector.url, spool_dir=folder, batch_size=10)
        ids = sorted(str(client.track("signup")) for _ in range(95))
        assert client.flush()
        stats = client.stats()
        assert collector.ids == ids
        assert (stats.tracked, stats.spooled, stats.sent, stats.on_disk, stats.queued) == (95, 95, 95, 0, 0)
        client.close()
    assert files(folder) == []
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_is_not_sent_is_left_to_the_next(tracker: type[Tracker], tmp_path: Path) -> None:
    client = tracker(nobody(), spool_dir=tmp_path)
    ids = sorted(str(client.track("signup")) for _ in range(250))
    client.close(0.0)
    stats = client.stats()
    assert (stats.spooled, stats.on_disk, stats.queued, dict(stats.lost)) == (250, 250, 0, {})
    [file] = files(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    with collecting() as collector:
        client = tracker(collector.url, spool_dir=tmp_path)
        assert client.flush()
        assert collector.ids == ids
        assert (client.stats().adopted, client.stats().sent) == (250, 250)
        client.close()
    assert files(tmp_path) == []


def test_a_flush_finds_all_that_many_have_left(tracker: type[Tracker], tmp_path: Path) -> None:
    down, left = nobody(), []
    for _ in range(25):
        client = tracker(down, spool_dir=tmp_path, flush_interval=3600)
        left.append(str(client.track("signup")))
        client.close(0.0)
    assert len(files(tmp_path)) == 25
    with collecting() as collector:
        client = tracker(collector.url, spool_dir=tmp_path)
        assert client.flush()
        client.close()
    assert collector.ids == sorted(left)
    assert files(tmp_path) == []


def test_another_keys_events_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = BlockingTracker(nobody(), spool_dir=tmp_path)
    tracked = str(first.track("signup"))
    first.close(0.0)
    with collecting() as collector:
        other = BlockingTracker(collector.url, spool_dir=tmp_path, api_key=KEY[:-1] + "b")
        assert other.flush()
        other.close()
        assert collector.ids == []
        assert "1 file(s) of another key" in caplog.text
        again = BlockingTracker(collector.url, spool_dir=tmp_path)
        assert again.flush()
        again.close()
        assert collector.ids == [tracked]


def test_a_full_folder_leaves_events_in_memory_and_loses_none(
    tracker: type[Tracker], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    padding = {f"p{number}": "x" * 500 for number in range(20)}
    with collecting(Hang()) as collector:
        client = tracker(collector.url, spool_dir=tmp_path, spool_mb=1, batch_size=20, timeout=1.0)
        ids = [str(client.track("signup", properties=padding)) for _ in range(300)]
        client.wait_for(lambda: "as much as spool_mb allows" in caplog.text)
        assert sum(file.stat().st_size for file in files(tmp_path)) <= 1024 * 1024
        assert client.flush()
        stats = client.stats()
        client.close()
    assert {*collector.ids} == {*ids}
    assert (stats.sent, dict(stats.lost)) == (300, {})
    assert files(tmp_path) == []


def test_a_folder_that_goes_away_loses_nothing(tracker: type[Tracker], tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    with collecting() as collector:
        client = tracker(collector.url, spool_dir=folder)
        folder.joinpath("lock").unlink()
        folder.rmdir()
        tracked = str(client.track("signup"))
        assert client.flush()
        client.close()
    assert collector.ids == [tracked]


def test_a_forgotten_client_leaves_its_folder_to_others(tmp_path: Path) -> None:
    with collecting() as collector:
        client = Castledger(KEY, collector_url=collector.url, spool_dir=tmp_path)
        client.track("signup")
        del client
        gc.collect()
        wait_for(lambda: not any(thread.name.startswith("castledger-") for thread in threading.enumerate()))
        assert len(collector.ids) == 1
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"^spool_dir: cannot be written to"):
        Castledger(KEY, spool_dir=tmp_path / "file")
    Castledger(KEY, spool_dir=tmp_path / "file", enabled=False)


_HOST = """
import os, sys, time
from castledger import Castledger
client = Castledger("{key}", collector_url=sys.argv[1], spool_dir=sys.argv[2], flush_interval=0.02)
number = 0
while True:
    ids = [str(client.track("signup", external_id=str(number + n))) for n in range(20)]
    number += 20
    print(client.stats().spooled, *ids, flush=True)
    time.sleep(0.01)
"""


def run_and_kill(url: str, folder: Path, after: int) -> tuple[list[str], int]:
    """Run a host until it has said that so many events are on disk, and kill it without a warning."""
    host = subprocess.Popen(
        [sys.executable, "-c", _HOST.format(key=KEY), url, str(folder)], stdout=subprocess.PIPE, text=True
    )
    tracked: list[str] = []
    spooled = 0
    assert host.stdout is not None
    while spooled < after:
        said, *ids = host.stdout.readline().split()
        spooled = int(said)
        tracked += ids
    host.send_signal(signal.SIGKILL)
    # What it said last is known to be on disk too.
    for line in host.stdout.read().splitlines():
        said, *ids = line.split()
        if len(ids) == 20:
            spooled = int(said)
            tracked += ids
    host.stdout.close()
    host.wait()
    return tracked, spooled


def test_what_was_spooled_outlives_a_kill(tmp_path: Path) -> None:
    with collecting() as collector:
        for url in (nobody(), collector.url, nobody()):
            tracked, spooled = run_and_kill(url, tmp_path, after=300)
            with Castledger(KEY, collector_url=collector.url, spool_dir=tmp_path) as client:
                assert client.flush(60.0)
            assert {*tracked[:spooled]} <= {*collector.ids}
            assert files(tmp_path) == []


def test_processes_share_a_folder_and_take_over_from_the_dead(tmp_path: Path) -> None:
    down = nobody()
    found = [run_and_kill(down, tmp_path, after=100) for _ in range(3)]
    live = BlockingTracker(down, spool_dir=tmp_path)
    kept = str(live.track("signup"))
    wait_for(lambda: live.stats().spooled == 1)
    # It has taken over what the dead left, and holds it.
    assert live.stats().adopted >= 300
    with collecting() as collector:
        other = BlockingTracker(collector.url, spool_dir=tmp_path)
        other.track("mine")
        assert other.flush()
        assert len(collector.ids) == 1
        live.close(0.0)
        other.close()
        last = BlockingTracker(collector.url, spool_dir=tmp_path)
        assert last.flush()
        last.close()
    everything = {tracked for ids, spooled in found for tracked in ids[:spooled]} | {kept}
    assert everything <= {*collector.ids}
    assert files(tmp_path) == []


def test_what_is_damaged_is_counted_and_the_rest_is_sent(tmp_path: Path) -> None:
    client = BlockingTracker(nobody(), spool_dir=tmp_path)
    ids = [str(client.track("signup")) for _ in range(5)]
    client.close(0.0)
    [file] = files(tmp_path)
    data = bytearray(file.read_bytes())
    data[data.index(ids[2].encode())] ^= 1
    file.write_bytes(bytes(data))
    with collecting() as collector:
        client = BlockingTracker(collector.url, spool_dir=tmp_path)
        assert client.flush()
        assert dict(client.stats().lost) == {"spool_corrupt": 1}
        client.close()
    assert collector.ids == sorted(ids[:2] + ids[3:])
    assert files(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_closed_client_leaves_no_descriptor(tmp_path: Path) -> None:
    with collecting() as collector:
        client = BlockingTracker(collector.url, spool_dir=tmp_path)
        client.track("signup")
        assert client.flush()
        client.close()
    targets = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert not [target for target in targets if tmp_path in target.parents]
