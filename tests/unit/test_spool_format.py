"""The spool's format: what is written is read, torn tails are left, damage is told."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.hits import Hit, HitKind, Method
from analytics_core.spool import (
    EVENT_ROW,
    FrameKind,
    SegmentHeader,
    SpoolCorrupt,
    Totals,
    decode_hits,
    encode_event_row,
    encode_events_frame,
    encode_header,
    encode_hit,
    encode_hits_frame,
    encode_totals_frame,
    holds_its_texts,
    parse_header,
    read_frames,
)

texts = st.binary(max_size=40)
hits = st.builds(
    Hit,
    at_us=st.integers(0, 2**60),
    address=st.binary(min_size=16, max_size=16),
    target=texts,
    arguments=texts,
    agent=texts,
    referrer=texts,
    byte_range=texts,
    method=st.sampled_from(Method),
    kind=st.sampled_from(HitKind),
    flags=st.integers(0, 2**16 - 1),
    status=st.sampled_from([302, 404]),
)


def frame_of(batch: list[Hit], totals: Totals) -> bytes:
    parts = [encode_hit(hit) for hit in batch]
    return encode_hits_frame([row for row, _ in parts], [text for _, text in parts], totals)


@given(st.lists(st.lists(hits, max_size=5), max_size=5), st.integers(0, 30))
def test_hits_are_read_as_they_were_written_and_a_torn_tail_is_left(batches: list[list[Hit]], torn: int) -> None:
    totals = Totals(answered=3, recorded=2, refused={404: 1}, lost={"flood": 1})
    data = b"".join(frame_of(batch, totals) for batch in batches)
    tail = encode_totals_frame(FrameKind.SEAL, totals)[:torn]
    frames = list(read_frames(data + tail, offset=68))
    whole = [frame for frame in frames if frame.kind is FrameKind.HITS]
    assert [decode_hits(frame) for frame in whole] == batches
    assert all(frame.totals == totals for frame in frames)
    assert frames[-1].end <= 68 + len(data) + torn if frames else not batches
    assert [frame.start for frame in frames] == [68, *(frame.end for frame in frames[:-1])][: len(frames)]


@given(st.integers(0, 200), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place: int, change: int) -> None:
    good = frame_of([Hit(at_us=1, address=bytes(16), target=b"a/b.mp3")] * 3, Totals())
    bad = bytearray(good)
    bad[place % len(bad)] ^= change
    try:
        frames = list(read_frames(bytes(bad)))
    except SpoolCorrupt:
        return
    # A longer length reads as a torn tail: nothing is taken for a hit that is none.
    assert [decode_hits(frame) for frame in frames] in ([], [decode_hits(next(read_frames(good)))])


@given(st.lists(st.tuples(st.integers(0, 2**60), st.binary(min_size=16, max_size=16), st.binary(max_size=50))))
def test_events_are_read_as_they_were_written(events: list[tuple[int, bytes, bytes]]) -> None:
    rows = [encode_event_row(*event) for event in events]
    totals = Totals(answered=len(events), recorded=len(events))
    (frame,) = read_frames(encode_events_frame(rows, [text for _, _, text in events], totals))
    assert (frame.kind, frame.hits, frame.totals) == (FrameKind.EVENTS, len(events), totals)
    assert holds_its_texts(frame)
    read, at = [], 0
    for received_us, address, length in EVENT_ROW.iter_unpack(frame.rows):
        read.append((received_us, address, bytes(frame.texts[at : at + length])))
        at += length
    assert read == events
    (lying,) = read_frames(encode_events_frame(rows, [*(text for _, _, text in events), b"x"], totals))
    assert not holds_its_texts(lying)


def test_a_header_is_read_as_it_was_written_and_damage_is_told() -> None:
    header = SegmentHeader(UUID(int=7), 123, "tracker-0")
    data = encode_header(header)
    assert parse_header(data) == header
    with pytest.raises(SpoolCorrupt, match="shorter"):
        parse_header(data[:-1])
    with pytest.raises(SpoolCorrupt, match="damaged"):
        parse_header(data[:20] + b"\x55" + data[21:])
    with pytest.raises(SpoolCorrupt, match="not a spool"):
        parse_header(b"x" * len(data))
    with pytest.raises(ValueError, match="source"):
        encode_header(SegmentHeader(UUID(int=7), 123, "../x"))
