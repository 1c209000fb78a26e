"""docs/spool-format.md is enough to read a spool: a reader written from that page alone agrees with ours."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from analytics_core.events import EventRecord, EventSource, encode_record
from analytics_core.hits import Hit
from analytics_core.spool import (
    FrameKind,
    SegmentHeader,
    Totals,
    encode_event_row,
    encode_events_frame,
    encode_header,
    encode_totals_frame,
)
from tests.unit.test_spool_format import frame_of, hits

counts = st.integers(0, 2**63)
totals = st.builds(
    Totals,
    answered=counts,
    recorded=counts,
    refused=st.dictionaries(st.integers(400, 499), counts, max_size=20),
    lost=st.dictionaries(st.text(max_size=40), counts, max_size=20),
    at_risk=counts,
)


def unpack_msgpack(data: bytes, at: int = 0) -> tuple[Any, int]:
    """Read one value of MessagePack, of the kinds that the page names."""
    first = data[at]
    at += 1
    for code, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        if first == code:
            return int.from_bytes(data[at : at + size]), at + size
    for code, size in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)):
        if first == code:
            return int.from_bytes(data[at : at + size], signed=True), at + size
    if first < 0x80:
        return first, at
    if first >= 0xE0:
        return first - 0x100, at
    if first in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[first], at
    if first == 0xCB:
        return struct.unpack_from(">d", data, at)[0], at + 8
    if first == 0xC4:
        return data[at + 1 : at + 1 + data[at]], at + 1 + data[at]
    for low, high, kind in ((0x80, 0x8F, "map"), (0x90, 0x9F, "array"), (0xA0, 0xBF, "text")):
        if low <= first <= high:
            return unpack_many(kind, first - low, data, at)
    for code, size, kind in ((0xD9, 1, "text"), (0xDA, 2, "text"), (0xDC, 2, "array"), (0xDE, 2, "map")):
        if first == code:
            return unpack_many(kind, int.from_bytes(data[at : at + size]), data, at + size)
    raise AssertionError(f"the page names no kind {first:#x}")


def unpack_many(kind: str, count: int, data: bytes, at: int) -> tuple[Any, int]:
    if kind == "text":
        return data[at : at + count].decode(), at + count
    values = []
    for _ in range(count * (2 if kind == "map" else 1)):
        value, at = unpack_msgpack(data, at)
        values.append(value)
    return (dict(zip(values[::2], values[1::2], strict=True)) if kind == "map" else values), at


def read_segment(data: bytes) -> Iterator[tuple[Any, ...]]:
    """Read a segment: its id, creation and source first, then each whole frame's kind, totals and hits."""
    assert data[:8] == b"CLSPOOL1"
    assert zlib.crc32(data[:64]) == struct.unpack_from("<I", data, 64)[0]
    created, length = struct.unpack_from("<qH", data, 24)
    yield data[8:24].hex(), created, data[34 : 34 + length].decode("ascii")
    at = 68
    while at + 16 <= len(data):
        magic, kind, totals_size, size, crc = struct.unpack_from("<4sBxHII", data, at)
        assert magic == b"CLbf"
        payload = data[at + 16 : at + 16 + size]
        if len(payload) < size:
            return
        assert zlib.crc32(payload) == crc
        count = struct.unpack_from("<I", payload)[0]
        rows = 4 + totals_size
        text = rows + (28 if kind == 4 else 40) * count
        found: list[Any] = []
        for number in range(count if kind == 4 else 0):
            received, address, one = struct.unpack_from("<q16sI", payload, rows + 28 * number)
            value, end = unpack_msgpack(payload[text : text + one])
            assert end == one
            found.append((received, address, value))
            text += one
        for number in range(0 if kind == 4 else count):
            row = payload[rows + 40 * number : rows + 40 * number + 40]
            lengths = struct.unpack_from("<5H", row, 24)
            texts = []
            for one in lengths:
                texts.append(payload[text : text + one])
                text += one
            found.append((struct.unpack_from("<q", row)[0], row[8:24], *texts, *struct.unpack_from("<HBBH", row, 34)))
        assert text == size
        yield kind, unpack_msgpack(payload, 4)[0], found
        at += 16 + size


@given(st.uuids(), st.integers(0, 2**60), st.lists(st.tuples(st.lists(hits, max_size=4), totals), max_size=4), totals)
def test_a_reader_written_from_the_page_reads_what_trackers_write(
    segment_id: Any, created: int, batches: list[tuple[list[Hit], Totals]], last: Totals
) -> None:
    data = encode_header(SegmentHeader(segment_id, created, "tracker-7"))
    data += b"".join(frame_of(batch, running) for batch, running in batches)
    data += encode_totals_frame(FrameKind.SEAL, last)
    header, *frames = read_segment(data + b"CLbf torn")
    assert header == (segment_id.hex, created, "tracker-7")

    def plain(running: Totals) -> list[Any]:
        return [running.answered, running.recorded, running.refused, running.lost, running.at_risk]

    wanted: list[tuple[Any, ...]] = [
        (
            1,
            plain(running),
            [
                (
                    hit.at_us,
                    hit.address,
                    hit.target,
                    hit.arguments,
                    hit.agent,
                    hit.referrer,
                    hit.byte_range,
                    hit.flags,
                    int(hit.method),
                    int(hit.kind),
                    hit.status,
                )
                for hit in batch
            ],
        )
        for batch, running in batches
    ]
    assert frames == [*wanted, (3, plain(last), [])]


texts = st.none() | st.text(max_size=20)
values = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=20)
events = st.builds(
    EventRecord,
    tenant_no=st.integers(0, 2**31 - 1),
    event_id=st.uuids(),
    type=st.text(max_size=20),
    occurred_us=st.integers(-(2**62), 2**62),
    source=st.sampled_from(EventSource),
    click_id=st.none() | st.uuids(),
    promo_code=texts,
    link=texts,
    customer_id=texts,
    external_id=texts,
    value_amount=st.none() | st.integers(0, 10**12),
    currency=texts,
    new_customer=st.none() | st.booleans(),
    url=texts,
    referrer=texts,
    properties=st.dictionaries(st.text(max_size=20), values, max_size=20),
    agent=st.text(max_size=20),
)


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.binary(min_size=16, max_size=16), events), max_size=5))
def test_the_same_reader_reads_what_collectors_write(batch: list[tuple[int, bytes, EventRecord]]) -> None:
    encoded = [encode_record(event) for _, _, event in batch]
    rows = [encode_event_row(at, address, text) for (at, address, _), text in zip(batch, encoded, strict=True)]
    data = encode_header(SegmentHeader(UUID(int=1), 1, "collector-0")) + encode_events_frame(rows, encoded, Totals())
    _, (kind, _, found) = read_segment(data)
    assert (kind, len(found)) == (4, len(batch))
    absent: list[Any] = [0, *[None] * 10, {}, ""]
    for (received, address, told), (at, sent, event) in zip(found, batch, strict=True):
        assert (received, address) == (at, sent)
        assert [*told, *absent[len(told) - 4 :]] == [
            *(event.tenant_no, event.event_id.bytes, event.type, event.occurred_us, int(event.source)),
            *(event.click_id and event.click_id.bytes, event.promo_code, event.link, event.customer_id),
            *(event.external_id, event.value_amount, event.currency, event.new_customer, event.url, event.referrer),
            *(event.properties, event.agent),
        ]
