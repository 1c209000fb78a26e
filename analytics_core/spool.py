"""The spool's format: append-only segments of framed batches, written by the tracker, read by ingest.

``docs/spool-format.md`` describes it byte by byte. A batch keeps its hits in two parts, fixed-width rows first
and their texts behind, because the reader wants columns: one ``numpy.frombuffer`` gives all of a batch's times,
addresses and lengths at once, and only the texts are sliced hit by hit.
"""

from __future__ import annotations

import enum
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from analytics_core.hits import Hit, HitKind, Method

__all__ = (
    "EVENT_ROW",
    "EVENT_ROW_BYTES",
    "FRAME_HEADER_BYTES",
    "HEADER_BYTES",
    "MAX_FRAME_BYTES",
    "ROW",
    "ROW_BYTES",
    "ROW_REST",
    "Frame",
    "FrameKind",
    "SegmentHeader",
    "SpoolCorrupt",
    "SpoolVersion",
    "Totals",
    "decode_event_rows",
    "decode_hits",
    "encode_event_row",
    "encode_events_frame",
    "encode_header",
    "encode_hit",
    "encode_hits_frame",
    "encode_totals_frame",
    "holds_its_texts",
    "pack_time",
    "parse_header",
    "parse_segment_name",
    "read_frames",
    "segment_name",
)

MAGIC: Final = b"CLSPOOL1"
_HEADER: Final = struct.Struct("<8s16sqH30s")
HEADER_BYTES: Final = _HEADER.size + 4
"""A segment starts with this many bytes of header, its CRC included."""

_FRAME: Final = struct.Struct("<4sBxHII")
_COUNT: Final = struct.Struct("<I")
FRAME_HEADER_BYTES: Final = _FRAME.size
_FRAME_MAGIC: Final = b"CLbf"
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""No frame's payload is longer; a longer length is damage, not data."""

ROW: Final = struct.Struct("<q16sHHHHHHBBH")
"""at_us, address, the lengths of target, arguments, agent, referrer and range, flags, method, kind, status."""
ROW_BYTES: Final = ROW.size
_TIME: Final = struct.Struct("<q")
ROW_REST: Final = struct.Struct("<HHHHHHBBH")
"""A row behind its time and address: a writer that has seen the like before keeps it packed."""

EVENT_ROW: Final = struct.Struct("<q16sI")
"""received_us, address, the length of the event's text."""
EVENT_ROW_BYTES: Final = EVENT_ROW.size

_NAME: Final = re.compile(r"([0-9]{19})-([a-z0-9-]{1,30})-([0-9a-f]{32})")
_SAFE_SOURCE = re.compile(r"[a-z0-9-]{1,30}")


class SpoolCorrupt(Exception):
    """A segment's header or a frame is not what a tracker wrote."""


class SpoolVersion(SpoolCorrupt):
    """A segment is of a version of the format that is not known here."""


class FrameKind(enum.IntEnum):
    """What a frame carries behind the running totals."""

    HITS = 1
    TOTALS = 2
    SEAL = 3
    EVENTS = 4


class Totals(msgspec.Struct, kw_only=True, array_like=True):
    """What the writing process has done since it started: each batch carries it, so every gap shows.

    Attributes:
        answered: Requests answered with 302 (recorded, counted as lost, or at risk).
        recorded: Hits appended to the spool.
        refused: Requests refused, by status code.
        lost: Answered but not recorded, by reason (``disk_full``, ``write_error``, ``flood``).
        at_risk: Hits whose bytes a failed sync left unsure.
    """

    answered: int = 0
    recorded: int = 0
    refused: dict[int, int] = {}
    lost: dict[str, int] = {}
    at_risk: int = 0


class SegmentHeader(NamedTuple):
    """What a segment says of itself."""

    segment_id: UUID
    created_us: int
    source: str


class Frame(NamedTuple):
    """One whole frame of a segment.

    Attributes:
        start: Offset of its first byte in the segment.
        end: Offset behind its last byte: what a checkpoint commits.
        hits: Number of hits in it, or of events.
        totals: The writer's running totals, these hits included.
        rows: ``hits`` rows of ``ROW_BYTES``, or of ``EVENT_ROW_BYTES``.
        texts: The rows' texts, one behind the other: target, arguments, agent, referrer, range, hit by hit; or event by
            event what :mod:`analytics_core.events` writes.
    """

    start: int
    end: int
    kind: FrameKind
    hits: int
    totals: Totals
    rows: memoryview
    texts: memoryview


_totals_encoder = msgspec.msgpack.Encoder()
_totals_decoder = msgspec.msgpack.Decoder(Totals)


def segment_name(header: SegmentHeader) -> str:
    """Name a segment's file so that names sort by creation time.

    >>> segment_name(SegmentHeader(UUID(int=1), 1_700_000_000_000_000, "tracker-0"))
    '0001700000000000000-tracker-0-00000000000000000000000000000001'
    """
    return f"{header.created_us:019d}-{header.source}-{header.segment_id.hex}"


def parse_segment_name(name: str) -> SegmentHeader | None:
    """Read from a segment's name what its header says: the same, for where that cannot be read.

    Args:
        name: With or without an ending.

    >>> header = SegmentHeader(UUID(int=1), 1_700_000_000_000_000, "tracker-0")
    >>> parse_segment_name(segment_name(header) + ".sealed") == header
    True
    >>> parse_segment_name("reserve") is None
    True
    """
    match = _NAME.fullmatch(name.partition(".")[0])
    return SegmentHeader(UUID(match[3]), int(match[1]), match[2]) if match else None


def encode_header(header: SegmentHeader) -> bytes:
    """Write a segment's first ``HEADER_BYTES`` bytes.

    Raises:
        ValueError: The source is not 1 to 30 lower-case letters, digits and hyphens.
    """
    if not _SAFE_SOURCE.fullmatch(header.source):
        raise ValueError("a spool's source is 1 to 30 lower-case letters, digits and hyphens")
    source = header.source.encode()
    body = _HEADER.pack(MAGIC, header.segment_id.bytes, header.created_us, len(source), source)
    return body + struct.pack("<I", zlib.crc32(body))


def parse_header(data: bytes) -> SegmentHeader:
    """Read a segment's header.

    Raises:
        SpoolCorrupt: The bytes are too few, not ours, or damaged.
        SpoolVersion: They are of another version of the format; nothing behind them may be taken for frames.
    """
    if len(data) < HEADER_BYTES:
        raise SpoolCorrupt("the segment is shorter than its header")
    body = data[: _HEADER.size]
    magic, segment_id, created_us, length, source = _HEADER.unpack(body)
    crc = struct.unpack_from("<I", data, _HEADER.size)[0]
    if magic != MAGIC:
        # One of ours, but for its first bytes, has the checksum of one of ours.
        if magic[:-1] == MAGIC[:-1] and zlib.crc32(MAGIC + body[len(MAGIC) :]) != crc:
            raise SpoolVersion(
                f"a segment of version {magic[-1:].decode('ascii', 'backslashreplace')}, which is not known"
            )
        raise SpoolCorrupt("not a spool segment")
    if zlib.crc32(body) != crc:
        raise SpoolCorrupt("the segment's header is damaged")
    return SegmentHeader(UUID(bytes=segment_id), created_us, source[:length].decode())


def pack_time(at_us: int) -> bytes:
    """Write a time as the first bytes of a row.

    Args:
        at_us: Microseconds since 1970-01-01 UTC.
    """
    return _TIME.pack(at_us)


def encode_hit(hit: Hit) -> tuple[bytes, bytes]:
    """Write one hit as its fixed-width row and its texts."""
    row = ROW.pack(
        hit.at_us,
        hit.address,
        len(hit.target),
        len(hit.arguments),
        len(hit.agent),
        len(hit.referrer),
        len(hit.byte_range),
        hit.flags,
        hit.method,
        hit.kind,
        hit.status,
    )
    return row, b"".join((hit.target, hit.arguments, hit.agent, hit.referrer, hit.byte_range))


def _encode_frame(kind: FrameKind, count: int, totals: Totals, parts: Iterable[bytes]) -> bytes:
    head = _totals_encoder.encode(totals)
    payload = b"".join((_COUNT.pack(count), head, *parts))
    return _FRAME.pack(_FRAME_MAGIC, kind, len(head), len(payload), zlib.crc32(payload)) + payload


def encode_hits_frame(rows: Sequence[bytes], texts: Sequence[bytes], totals: Totals) -> bytes:
    """Frame a batch of hits as :func:`encode_hit` gave them; *totals* includes them."""
    return _encode_frame(FrameKind.HITS, len(rows), totals, (*rows, *texts))


def encode_event_row(received_us: int, address: bytes, text: bytes) -> bytes:
    """Write the fixed-width row of an event.

    Args:
        received_us: Microseconds since 1970-01-01 UTC.
        address: The sender's, 16 bytes; zeros where nobody's address is told.
        text: What follows among the frame's texts.
    """
    return EVENT_ROW.pack(received_us, address, len(text))


def encode_events_frame(rows: Sequence[bytes], texts: Sequence[bytes], totals: Totals) -> bytes:
    """Frame a batch of events; *totals* includes them."""
    return _encode_frame(FrameKind.EVENTS, len(rows), totals, (*rows, *texts))


def encode_totals_frame(kind: FrameKind, totals: Totals) -> bytes:
    """Frame running totals without hits: a heartbeat (``TOTALS``) or a segment's end (``SEAL``)."""
    return _encode_frame(kind, 0, totals, ())


def read_frames(data: bytes | memoryview, *, offset: int = 0) -> Iterator[Frame]:
    """Read whole frames; stop quietly where the data end in the middle of one.

    Args:
        data: Bytes of a segment from *offset* on.
        offset: Where in the segment *data* begins, at a frame's first byte; added to ``start`` and ``end``.

    Yields:
        Each whole frame, in order.

    Raises:
        SpoolCorrupt: A whole frame's CRC or form is wrong; all frames before it were yielded.
    """
    view = memoryview(data)
    at = 0
    while len(view) - at >= FRAME_HEADER_BYTES:
        magic, kind, head_bytes, size, crc = _FRAME.unpack_from(view, at)
        if magic != _FRAME_MAGIC or size > MAX_FRAME_BYTES:
            raise SpoolCorrupt(f"no frame at offset {offset + at}")
        end = at + FRAME_HEADER_BYTES + size
        if end > len(view):
            return
        payload = view[at + FRAME_HEADER_BYTES : end]
        if zlib.crc32(payload) != crc:
            raise SpoolCorrupt(f"the frame at offset {offset + at} is damaged")
        try:
            count = _COUNT.unpack_from(payload)[0]
            totals = _totals_decoder.decode(payload[4 : 4 + head_bytes])
            body = payload[4 + head_bytes :]
            frame_kind = FrameKind(kind)
        except (struct.error, msgspec.MsgspecError, ValueError) as error:
            raise SpoolCorrupt(f"the frame at offset {offset + at} cannot be read") from error
        split = count * (EVENT_ROW_BYTES if frame_kind is FrameKind.EVENTS else ROW_BYTES)
        if split > len(body):
            raise SpoolCorrupt(f"the frame at offset {offset + at} says more hits than it holds")
        yield Frame(offset + at, offset + end, frame_kind, count, totals, body[:split], body[split:])
        at = end


def holds_its_texts(frame: Frame) -> bool:
    """Say whether a frame's texts are as long as its rows say: a frame whose checksum is right may still lie."""
    lengths: int
    if frame.kind is FrameKind.EVENTS:
        lengths = sum(row[2] for row in EVENT_ROW.iter_unpack(frame.rows))
    else:
        lengths = sum(sum(row[2:7]) for row in ROW.iter_unpack(frame.rows))
    return lengths == len(frame.texts)


def decode_hits(frame: Frame) -> list[Hit]:
    """Read a frame's hits one by one: for people and tests; ingest reads columns.

    Raises:
        SpoolCorrupt: The texts are shorter than the rows say.
    """
    hits = []
    texts = bytes(frame.texts)
    at = 0
    for row in ROW.iter_unpack(frame.rows):
        at_us, address, *lengths, flags, method, kind, status = row
        parts = []
        for length in lengths:
            parts.append(texts[at : at + length])
            at += length
        if at > len(texts):
            raise SpoolCorrupt(f"the frame at offset {frame.start} holds less text than its rows say")
        target, arguments, agent, referrer, byte_range = parts
        hits.append(
            Hit(
                at_us=at_us,
                address=address,
                target=target,
                arguments=arguments,
                agent=agent,
                referrer=referrer,
                byte_range=byte_range,
                method=Method(method),
                kind=HitKind(kind),
                flags=flags,
                status=status,
            )
        )
    return hits


def decode_event_rows(frame: Frame) -> list[tuple[int, bytes, bytes]]:
    """Read a frame's events one by one, each as when it was received, the sender's address, and its text.

    Raises:
        SpoolCorrupt: The texts are shorter than the rows say.
    """
    events = []
    texts = bytes(frame.texts)
    at = 0
    for received_us, address, length in EVENT_ROW.iter_unpack(frame.rows):
        events.append((received_us, address, texts[at : at + length]))
        at += length
    if at > len(texts):
        raise SpoolCorrupt(f"the frame at offset {frame.start} holds less text than its rows say")
    return events
