"""Reading the spool a piece at a time finds what reading it at once finds, whatever is wrong with it."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_core.hits import Hit
from analytics_core.spool import HEADER_BYTES, Frame, SpoolCorrupt, read_frames
from ingest.spool_reader import SpoolFolder
from tests.factories import make_hit, write_segment

NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)

HITS = st.lists(
    st.builds(
        make_hit,
        st.integers(0, 86_400).map(lambda second: NOON + dt.timedelta(seconds=second)),
        st.integers(1, 300).map(lambda length: "cdn.example.com/" + "a" * length),
    ),
    min_size=1,
    max_size=40,
)


def whole_frames(data: bytes) -> tuple[list[Frame], bool]:
    """Read all that a segment holds, and say whether it is damaged behind that."""
    frames: list[Frame] = []
    try:
        frames.extend(read_frames(data[HEADER_BYTES:], offset=HEADER_BYTES))
    except SpoolCorrupt:
        return frames, True
    return frames, False


@settings(deadline=None)
@given(
    hits=HITS,
    frame_hits=st.integers(1, 15),
    piece_bytes=st.integers(1, 2_000),
    cut=st.integers(0, 600),
    flip=st.none() | st.integers(0, 10**6),
    max_hits=st.integers(1, 60),
)
def test_pieces_of_any_size_give_the_same_frames(
    hits: list[Hit], frame_hits: int, piece_bytes: int, cut: int, flip: int | None, max_hits: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = write_segment(Path(name), hits, frame_hits=frame_hits)
        data = bytearray(path.read_bytes())
        data = data[: max(len(data) - cut, HEADER_BYTES)]
        if flip is not None and len(data) > HEADER_BYTES:
            data[HEADER_BYTES + flip % (len(data) - HEADER_BYTES)] ^= 1
        path.write_bytes(data)
        spool = SpoolFolder(Path(name), piece_bytes=piece_bytes)
        (file,) = spool.scan()
        reading = spool.read(file, offset=HEADER_BYTES, max_hits=max_hits)
    frames, is_damaged = whole_frames(bytes(data))
    wanted: list[Frame] = []
    for frame in frames:
        if sum(one.hits for one in wanted) >= max_hits:
            break
        wanted.append(frame)
    is_all = len(wanted) == len(frames)
    assert reading.rows == b"".join(frame.rows for frame in wanted)
    assert reading.texts == b"".join(frame.texts for frame in wanted)
    assert reading.end == (wanted[-1].end if wanted else HEADER_BYTES)
    assert (reading.fault is not None) == (is_damaged and is_all)
    assert reading.is_partial == (not is_all)
