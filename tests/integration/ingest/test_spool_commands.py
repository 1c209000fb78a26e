"""``castledger spool``: what people see of the spool, and that what it saves lands exactly once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analytics_core.addresses import pack_address
from analytics_core.events import EventSource
from analytics_core.hits import HitFlag
from analytics_core.spool import HEADER_BYTES, FrameKind, Totals, encode_totals_frame, read_frames
from castledger_server.cli import main
from tests.event_factories import make_event, write_event_segment
from tests.factories import MadePodcast, make_header, make_hit, open_segment, segment_bytes, write_segment
from tests.ledgers import Ledger, minute

pytestmark = pytest.mark.anyio


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["spool", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def damage(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(bytes(data))


def frames_of(path: Path) -> list[tuple[int, int]]:
    data = path.read_bytes()
    return [(frame.start, frame.end) for frame in read_frames(data[HEADER_BYTES:], offset=HEADER_BYTES)]


async def test_segments_are_listed_with_what_has_become_of_them(
    ledger: Ledger, podcast: MadePodcast, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(ledger.folder)
    ledger.folder.mkdir()
    assert "all has landed" in run(capsys, "ls", "--spool-dir", folder)[1]
    write_segment(ledger.folder, [make_hit(minute(1)), make_hit(minute(3))])
    path, descriptor = open_segment(ledger.folder, [make_hit(minute(5))])
    status, text, _ = run(capsys, "ls", "--json", "--spool-dir", folder)
    listed: list[dict[str, Any]] = json.loads(text)
    assert status == 0
    assert sorted((one["state"], one["hits"], one["faults"]) for one in listed) == [
        ("sealed", 2, []),
        ("writing", 1, []),
    ]
    assert {one["source"] for one in listed} == {"tracker-0"}
    text = run(capsys, "ls", "--spool-dir", folder)[1]
    assert "3 hits in 2 segments" in text
    os.close(descriptor)
    assert any(" left " in f" {line} " for line in run(capsys, "ls", "--spool-dir", folder)[1].splitlines())
    assert path.exists()


def test_hits_are_printed_without_whole_addresses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hits = [
        make_hit(minute(1), address="198.51.100.77", byte_range="bytes=0-1", flags=int(HitFlag.PREFETCH)),
        make_hit(minute(2), address="2001:db8:1:2:3::4", agent=b"bad \xff bytes"),
    ]
    path = write_segment(tmp_path, hits)
    status, text, _ = run(capsys, "cat", str(path))
    first, second = map(json.loads, text.splitlines())
    assert status == 0
    assert first == {
        "segment": path.stem,
        "ordinal": 0,
        "at": minute(1).isoformat().replace("+00:00", "Z"),
        "address": "198.51.100.0/24",
        "method": "GET",
        "kind": "request",
        "status": 302,
        "target": "cdn.example.com/a.mp3",
        "arguments": "",
        "agent": hits[0].agent.decode(),
        "referrer": "",
        "range": "bytes=0-1",
        "flags": ["prefetch"],
    }
    assert (second["address"], second["agent"]) == ("2001:db8:1::/48", "bad \\xff bytes")
    assert "198.51.100.77" not in text
    whole = run(capsys, "cat", "--addresses", str(path))[1]
    assert [json.loads(line)["address"] for line in whole.splitlines()] == ["198.51.100.77", "2001:db8:1:2:3::4"]


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    path = write_segment(tmp_path, [make_hit(minute(1))] * 20_000, frame_hits=1000)
    command = f"{sys.executable} -m castledger_server spool cat {path} | head -1"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert len(ended.stdout.splitlines()) == 1
    assert ended.stderr == ""


def test_what_is_sound_is_said_to_be_and_damage_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_segment(tmp_path, [make_hit(minute(number)) for number in range(8)], frame_hits=4)
    status, said, _ = run(capsys, "verify", "--spool-dir", str(tmp_path))
    assert (status, said) == (0, f"{path.name}: sealed, sound: 8 hits in 3 whole frames\n")
    whole = path.read_bytes()
    start = frames_of(path)[0][0]

    path.write_bytes(whole[: frames_of(path)[1][1] - 5])
    status, said, _ = run(capsys, "verify", str(path))
    assert (status, "never answered" in said) == (0, True)

    path.write_bytes(whole)
    damage(path, start + 30)
    status, said, _ = run(capsys, "verify", str(path))
    assert status == 1
    assert f"the frame at offset {start} is damaged" in said

    path.write_bytes(whole)
    damage(path, 3)
    assert "not a spool segment" in run(capsys, "verify", str(path))[1]

    path.write_bytes(whole + encode_totals_frame(FrameKind.TOTALS, Totals()))
    status, said, _ = run(capsys, "verify", str(path))
    assert status == 1
    assert "behind the seal" in said
    assert "totals" in said

    # A frame that is lost whole leaves no trace but in the running totals.
    (_, one), (_, two), _ = frames_of(write_segment(tmp_path / "b", [make_hit(minute(1))] * 8, frame_hits=4))
    (other,) = (tmp_path / "b").iterdir()
    data = other.read_bytes()
    other.write_bytes(data[:HEADER_BYTES] + data[one:])
    assert run(capsys, "verify", str(other))[0] == 0
    other.write_bytes(data[:one] + data[two:])
    status, said, _ = run(capsys, "verify", str(other))
    assert (status, "totals grew by 4" in said) == (1, True)


async def test_a_segment_that_nothing_tells_of_is_saved_when_asked_to_and_lands_once(
    ledger: Ledger, podcast: MadePodcast, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write_segment(ledger.folder, [make_hit(minute(number)) for number in range(12)], frame_hits=4)
    damage(path, 10)
    damage(path, frames_of(path)[1][0] + 40)
    # As a disk check leaves it: without a name.
    stray = path.rename(path.with_name("stray.sealed"))
    assert await ledger.ship_all() == 0
    (aside,) = ledger.folder.iterdir()
    assert aside == stray.with_suffix(".damaged")
    kept = shutil.copy(aside, tmp_path / aside.name)
    status, said, _ = run(capsys, "repair", "--dry-run", str(aside))
    assert (status, said.split(": ", 1)[1][:31]) == (0, "would save 8 hits of 2 frames; ")
    assert [entry.name for entry in ledger.folder.iterdir()] == [aside.name]

    assert "saved 8 hits of 2 frames" in run(capsys, "repair", str(aside))[1]
    assert sorted(entry.suffix for entry in ledger.folder.iterdir()) == [".repaired", ".sealed"]
    assert await ledger.ship_all() == 8
    landed = await ledger.conn.fetch("select occurred_at from ts.listener_events order by 1")
    assert [row["occurred_at"] for row in landed] == [minute(number) for number in (*range(4), *range(8, 12))]

    # Once more, from a copy: the ledger knows the segment.
    shutil.copy(kept, aside)
    assert run(capsys, "repair", str(aside))[0] == 0
    assert await ledger.ship_all() == 0
    assert await ledger.count("ts.listener_events") == 8


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("ls", "--spool-dir", "nowhere"), "there is no folder nowhere"),
        (("cat", "notes.txt"), "is no segment"),
        (("cat", "gone.sealed"), "cannot be read"),
        (("verify", "gone.open"), "cannot be read"),
        (("repair", "sound.sealed"), "set aside"),
        (("repair", "gone.damaged"), "cannot be read"),
        (("repair", "sound.damaged"), "has landed all of it"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("sound.sealed", "sound.damaged"):
        Path(name).write_bytes(segment_bytes(make_header(), [make_hit(minute(1))]))
    status, _, said = run(capsys, *arguments)
    assert status == 2
    assert complaint in said
    assert len(said.splitlines()) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["sound.damaged", "sound.sealed"]


async def test_events_are_listed_printed_without_people_and_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [
        (minute(1), make_event(3, customer_id="u_123", url="https://shop.example.com/thanks?email=me@example.com#x")),
        (minute(2), make_event(3, source=EventSource.BROWSER, type="page_view", agent="Example/1.0")),
    ]
    folder = tmp_path / "events"
    path = write_event_segment(folder, told, address=pack_address("198.51.100.77"))
    assert run(capsys, "verify", "--events", "--data-dir", str(tmp_path))[0] == 0
    listed = json.loads(run(capsys, "ls", "--json", "--events", "--data-dir", str(tmp_path))[1])
    assert [(one["hits"], one["events"], one["faults"]) for one in listed] == [(0, 2, [])]
    assert "2 events in 1 segment" in run(capsys, "ls", "--spool-dir", str(folder))[1]
    text = run(capsys, "cat", str(path))[1]
    first, second = (json.loads(line) for line in text.splitlines())
    assert (first["type"], first["customer_id"], first["url"]) == (
        *("purchase", "(hidden)", "https://shop.example.com/thanks"),
    )
    assert (second["type"], second["source"], second["address"]) == ("page_view", "browser", "198.51.100.0/24")
    assert all(word not in text for word in ("u_123", "198.51.100.77", "me@example.com"))
    shown = json.loads(run(capsys, "cat", "--customers", "--addresses", str(path))[1].splitlines()[0])
    assert (shown["customer_id"], shown["address"]) == ("u_123", "198.51.100.77")
    nameless = folder / "segment.damaged"
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    nameless.write_bytes(bytes(data))
    path.unlink()
    status, text, _ = run(capsys, "repair", str(nameless))
    assert (status, "saved 2 events of 1 frames" in text) == (0, True)
    (saved,) = folder.glob("*.sealed")
    assert run(capsys, "cat", str(saved))[1].count("\n") == 2
