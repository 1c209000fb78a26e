"""Range headers: the grammar, its leniency, and what they add up to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.byte_ranges import (
    MAX_OFFSET,
    MAX_PARTS,
    ByteRange,
    RangeKind,
    format_range,
    parse_range,
    union_bytes,
)

offsets = st.integers(0, MAX_OFFSET)


@st.composite
def byte_ranges(draw: st.DrawFn) -> ByteRange:
    kind = draw(st.sampled_from(RangeKind))
    one, other = sorted((draw(offsets), draw(offsets)))
    match kind:
        case RangeKind.NONE | RangeKind.INVALID:
            return ByteRange(kind, -1, -1)
        case RangeKind.OPEN:
            return ByteRange(kind, one, -1)
        case RangeKind.SUFFIX:
            return ByteRange(kind, -1, one)
        case _:
            return ByteRange(kind, one, other)


small_intervals = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=8
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (RangeKind.NONE, -1, -1)),
        (" \t", (RangeKind.NONE, -1, -1)),
        ("bytes=0-", (RangeKind.OPEN, 0, -1)),
        ("bytes=0-1", (RangeKind.CLOSED, 0, 1)),
        ("BYTES=00-01", (RangeKind.CLOSED, 0, 1)),
        (" bytes\t=\t 5 - 9 ", (RangeKind.CLOSED, 5, 9)),
        ("bytes=,0-1,,", (RangeKind.CLOSED, 0, 1)),
        ("bytes=-500", (RangeKind.SUFFIX, -1, 500)),
        ("bytes=-0", (RangeKind.SUFFIX, -1, 0)),
        ("bytes=-500,-9", (RangeKind.SUFFIX, -1, 500)),
        ("bytes=0-0,1-1", (RangeKind.MULTIPLE, 0, 1)),
        ("bytes=50-59, 0-9", (RangeKind.MULTIPLE, 0, 19)),
        ("bytes=0-9,-5", (RangeKind.MULTIPLE, 0, 9)),
        ("bytes=0-9,10-", (RangeKind.OPEN, 0, -1)),
        ("bytes=0-1,900-", (RangeKind.OPEN, 900, -1)),
        ("bytes=0-18446744073709551615", (RangeKind.CLOSED, 0, MAX_OFFSET)),
        ("bytes=0-" + "9" * 6000, (RangeKind.CLOSED, 0, MAX_OFFSET)),
    ],
)
def test_a_range_is_read_as_players_mean_it(text: str, expected: tuple[RangeKind, int, int]) -> None:
    assert parse_range(text) == expected
    assert parse_range(text.encode()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=9-0",
        "bytes=0-1-2",
        "bytes=+0-1",
        "bytes=0-1,9-8",
        "bytes=0-1,junk",
        "bytes=0 1-5",
        "bytes=0x0-0x9",
        "bytes=٠-١",
        "bytes==0-1",
        "items=0-1",
        "0-1",
        "=0-1",
        "bytes=0-1\x00",
    ],
)
def test_what_is_no_byte_range_is_invalid(text: str) -> None:
    assert parse_range(text) == (RangeKind.INVALID, -1, -1)


def test_more_parts_than_the_bound_are_invalid() -> None:
    parts = [f"{10 * part}-{10 * part + 1}" for part in range(MAX_PARTS + 1)]
    assert parse_range("bytes=" + ",".join(parts[:-1])) == (RangeKind.MULTIPLE, 0, 2 * MAX_PARTS - 1)
    assert parse_range("bytes=" + ",".join(parts)).kind is RangeKind.INVALID
    assert parse_range("bytes=0-1" + "," * MAX_PARTS).kind is RangeKind.INVALID


@given(st.binary(max_size=80) | st.text(max_size=80) | st.from_regex(r"bytes=[0-9 ,\t-]{0,60}"))
def test_no_header_raises_and_what_is_stored_fits_a_bigint(text: str | bytes) -> None:
    byte_range = parse_range(text)
    assert -1 <= byte_range.first <= MAX_OFFSET
    assert -1 <= byte_range.last <= MAX_OFFSET
    assert parse_range(format_range(byte_range)) == byte_range


@given(st.from_regex(r"[0-9]{0,20}", fullmatch=True), st.from_regex(r"[0-9]{0,20}", fullmatch=True))
def test_blanks_and_case_change_nothing(first: str, last: str) -> None:
    assert parse_range(f"bytes={first}-{last}") == parse_range(f"Bytes = {first} - {last}")
    assert parse_range(f"bytes={first}-{last}".encode()) == parse_range(f" bytes ={first}-{last},")


@given(byte_ranges())
def test_formatting_is_the_inverse_of_parsing(byte_range: ByteRange) -> None:
    assert parse_range(format_range(byte_range)) == byte_range


@given(small_intervals)
def test_the_union_equals_the_set_of_bytes(intervals: list[tuple[int, int]]) -> None:
    assert union_bytes(intervals) == len({byte for first, last in intervals for byte in range(first, last + 1)})


@given(small_intervals.filter(lambda intervals: len(intervals) > 1))
def test_parts_count_by_their_union_in_any_order(intervals: list[tuple[int, int]]) -> None:
    text = "bytes=" + ",".join(f"{first}-{last}" for first, last in intervals)
    byte_range = parse_range(text)
    assert byte_range.kind is RangeKind.MULTIPLE
    assert byte_range.first == min(first for first, _ in intervals)
    assert byte_range.requested_bytes == union_bytes(intervals)
    backwards = "bytes=" + ",".join(f"{first}-{last}" for first, last in reversed(intervals))
    assert parse_range(backwards) == byte_range


@given(small_intervals.filter(bool), st.integers(0, 90))
def test_an_open_part_starts_where_the_bytes_before_it_leave_no_gap(
    intervals: list[tuple[int, int]], start: int
) -> None:
    text = "bytes=" + ",".join([*(f"{first}-{last}" for first, last in intervals), f"{start}-"])
    asked = {byte for first, last in intervals for byte in range(first, last + 1)} | set(range(start, 100))
    expected = max(byte for byte in range(100) if byte in asked and (byte == 0 or byte - 1 not in asked))
    assert parse_range(text) == (RangeKind.OPEN, expected, -1)


def test_requested_bytes_are_known_only_where_the_header_says_them() -> None:
    assert parse_range("bytes=5-9").requested_bytes == 5
    assert parse_range("bytes=-7").requested_bytes == 7
    assert [parse_range(text).requested_bytes for text in ("", "bytes=5-", "junk")] == [None, None, None]
