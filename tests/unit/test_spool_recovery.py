"""What is found in a damaged segment: every frame that the damage does not touch, and nothing that is none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from analytics_core.hits import Hit
from analytics_core.spool import (
    HEADER_BYTES,
    Frame,
    SegmentHeader,
    Totals,
    encode_header,
)
from analytics_core.spool_recovery import Gap, find_frames
from tests.unit.test_spool_format import frame_of, hits

batches = st.lists(st.lists(hits, min_size=1, max_size=4), min_size=1, max_size=6)


def segment_of(header: SegmentHeader, parts: list[bytes]) -> tuple[bytes, list[tuple[int, int]]]:
    """A segment, and where each frame stands in it."""
    data = encode_header(header)
    places = []
    for part in parts:
        places.append((len(data), len(data) + len(part)))
        data += part
    return data, places


headers = st.builds(SegmentHeader, st.uuids(), st.integers(0, 2**60), st.just("tracker-0"))


@given(headers, batches, st.data())
def test_every_frame_that_is_not_touched_is_found(
    header: SegmentHeader, batch: list[list[Hit]], data: st.DataObject
) -> None:
    written, places = segment_of(header, [frame_of(some, Totals()) for some in batch])
    begin = data.draw(st.integers(HEADER_BYTES, len(written)))
    end = data.draw(st.integers(begin, min(len(written), begin + 200)))
    instead = data.draw(st.binary(max_size=60) | st.just(b"CLbf" * 5))
    damaged = written[:begin] + instead + written[end:]
    shift = len(instead) - (end - begin)
    wanted = {written[start:stop] for start, stop in places if stop <= begin}
    wanted |= {written[start:stop] for start, stop in places if start >= end}
    found = list(find_frames(damaged[HEADER_BYTES:]))
    frames = [one for one in found if isinstance(one, Frame)]
    assert wanted <= {damaged[frame.start : frame.end] for frame in frames}
    assert {damaged[frame.start : frame.end] for frame in frames} <= {written[start:stop] for start, stop in places}
    at = HEADER_BYTES
    for one in found:
        assert one.start == at
        at = one.end
    assert at == len(damaged) == len(written) + shift


@given(headers, batches, st.integers(0, 10_000))
def test_an_end_that_is_cut_off_is_torn_and_no_damage(header: SegmentHeader, batch: list[list[Hit]], cut: int) -> None:
    written, places = segment_of(header, [frame_of(some, Totals()) for some in batch])
    cut = HEADER_BYTES + cut % (len(written) - HEADER_BYTES)
    found = list(find_frames(written[HEADER_BYTES:cut]))
    gaps = [one for one in found if isinstance(one, Gap)]
    assert len(found) - len(gaps) == sum(stop <= cut for _, stop in places)
    assert all(gap.is_torn and gap.end == cut for gap in gaps)
    assert bool(gaps) is (cut not in {HEADER_BYTES, *(stop for _, stop in places)})


@given(st.binary(max_size=300))
def test_no_bytes_whatever_raise(data: bytes) -> None:
    assert all(isinstance(one, Gap) for one in find_frames(data))
