"""What ``castledger spool`` does: look at segments, print their hits or events, and find damage."""

from __future__ import annotations

import datetime as dt
import enum
import fcntl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from analytics_core.addresses import V4_MAPPED, format_address
from analytics_core.errors import ConfigError
from analytics_core.events import decode_record
from analytics_core.hits import Hit, HitFlag
from analytics_core.spool import (
    HEADER_BYTES,
    Frame,
    FrameKind,
    SegmentHeader,
    SpoolCorrupt,
    Totals,
    decode_event_rows,
    decode_hits,
    parse_header,
)
from analytics_core.spool_recovery import Gap, find_frames
from ingest.batches import hit_times

__all__ = ("Look", "SegmentState", "as_json", "look", "look_at", "record_lines", "tell_faults", "tell_list")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SHOWN_FAULTS: Final = 20
_HIDDEN: Final = "(hidden)"


class SegmentState(enum.Enum):
    """What has become of a segment."""

    WRITING = "writing"
    LEFT = "left"
    SEALED = "sealed"
    DAMAGED = "damaged"
    REPAIRED = "repaired"


_SUFFIXES: Final = {
    ".open": SegmentState.LEFT,
    ".sealed": SegmentState.SEALED,
    ".damaged": SegmentState.DAMAGED,
    ".repaired": SegmentState.REPAIRED,
}


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a segment found.

    Attributes:
        file: The file's name.
        source: Who wrote it; ``None`` when its header cannot be read.
        bytes: The file's length when it was looked at.
        frames: Whole frames.
        hits: Those in whole frames.
        events: The same of a collector's.
        first_at: Time of the earliest hit or event; ``None`` without any.
        last_at: Time of the latest one.
        faults: What is damaged, in order.
        torn_bytes: Length of a half-written end.
    """

    file: str
    segment_id: UUID | None
    source: str | None
    state: SegmentState
    bytes: int
    frames: int
    hits: int
    events: int
    first_at: dt.datetime | None
    last_at: dt.datetime | None
    faults: list[str]
    torn_bytes: int


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _recorded(looks: Sequence[Look]) -> str:
    """Tell how many hits there are, and how many events where there are any."""
    hits, events = sum(one.hits for one in looks), sum(one.events for one in looks)
    if not events:
        return _count(hits, "hit")
    return _count(events, "event") if not hits else f"{_count(hits, 'hit')} and {_count(events, 'event')}"


def _instant(at_us: int) -> dt.datetime | None:
    try:
        return _EPOCH + dt.timedelta(microseconds=at_us)
    except OverflowError:
        # A clock that was far off; calendars have no such year.
        return None


def _read(path: Path) -> tuple[bytes, SegmentState]:
    """Read a segment; whether somebody writes to it is asked first, so that what is read of others is final.

    Raises:
        ConfigError: It is no segment's file, or cannot be read.
    """
    state = _SUFFIXES.get(path.suffix)
    if state is None:
        raise ConfigError([f"{path}: is no segment; segments end in {', '.join(_SUFFIXES)}"])
    try:
        with path.open("rb") as file:
            if state is SegmentState.LEFT and _is_locked(file.fileno()):
                state = SegmentState.WRITING
            return file.read(), state
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from error


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _header_of(data: bytes) -> SegmentHeader | str:
    try:
        return parse_header(data)
    except SpoolCorrupt as error:
        return str(error)


def _fault_of_totals(before: Totals, frame: Frame) -> str | None:
    now = frame.totals
    if now.recorded != before.recorded + frame.hits:
        return (
            f"the frame at offset {frame.start} holds {frame.hits} hits, but its totals grew by "
            f"{now.recorded - before.recorded}"
        )
    shrunk = (
        now.answered < before.answered
        or now.at_risk < before.at_risk
        or any(now.refused.get(status, 0) < count for status, count in before.refused.items())
        or any(now.lost.get(reason, 0) < count for reason, count in before.lost.items())
    )
    return f"the totals of the frame at offset {frame.start} are less than those before" if shrunk else None


def look_at(path: Path) -> Look:
    """Look at all of a segment.

    Raises:
        ConfigError: It is no segment's file, or cannot be read.
    """
    data, state = _read(path)
    header = _header_of(data)
    faults: list[str] = []
    torn = frames = hits = events = 0
    earliest: list[int] = []
    latest: list[int] = []
    before: Totals | None = None
    sealed_at: int | None = None
    if isinstance(header, str):
        # A file that ends before its header does was being made when its tracker died.
        if len(data) >= HEADER_BYTES:
            faults.append(header)
        else:
            torn = len(data)
    for found in find_frames(data[HEADER_BYTES:]):
        if isinstance(found, Gap):
            before = None
            if found.is_torn:
                torn = found.end - found.start
            else:
                faults.append(f"{found.reason} ({found.end - found.start} bytes are lost)")
            continue
        fault = None if before is None else _fault_of_totals(before, found)
        if fault is not None:
            faults.append(fault)
        if sealed_at is not None:
            faults.append(f"the frame at offset {found.start} stands behind the seal at {sealed_at}")
        if found.kind is FrameKind.SEAL:
            sealed_at = found.start
        before = found.totals
        frames += 1
        if found.kind is FrameKind.EVENTS:
            events += found.hits
        else:
            hits += found.hits
        if found.hits:
            times = hit_times(found.rows, found.kind)
            earliest.append(int(times.min()))
            latest.append(int(times.max()))
    return Look(
        file=path.name,
        segment_id=None if isinstance(header, str) else header.segment_id,
        source=None if isinstance(header, str) else header.source,
        state=state,
        bytes=len(data),
        frames=frames,
        hits=hits,
        events=events,
        first_at=_instant(min(earliest)) if earliest else None,
        last_at=_instant(max(latest)) if latest else None,
        faults=faults,
        torn_bytes=torn,
    )


def look(folder: Path) -> list[Look]:
    """Look at every segment of a spool, oldest first.

    Raises:
        ConfigError: The folder or a file in it cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    except OSError as error:
        raise ConfigError([f"{folder}: cannot be read ({error.strerror})"]) from error
    looks = []
    for path in paths:
        try:
            looks.append(look_at(path))
        except ConfigError:
            # Landed, or sealed under its new name, since we looked at the folder.
            if path.exists():
                raise
    return looks


def as_json(looks: Sequence[Look]) -> str:
    """Write looks for programs."""
    return msgspec.json.format(msgspec.json.encode(looks)).decode() + "\n"


def tell_list(looks: Sequence[Look]) -> str:
    """Write looks as a table, with its sums below."""
    if not looks:
        return "there is no segment in the spool: all has landed\n"
    rows = [("STATE", "RECORDED", "MIB", "FIRST", "LAST", "SEGMENT")]
    rows += [
        (
            one.state.value + (" (!)" if one.faults else ""),
            f"{one.hits + one.events:,}",
            f"{one.bytes / 2**20:.1f}",
            "-" if one.first_at is None else f"{one.first_at:%Y-%m-%d %H:%M:%S}",
            "-" if one.last_at is None else f"{one.last_at:%Y-%m-%d %H:%M:%S}",
            one.file,
        )
        for one in looks
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:<{widths[3]}}  "
        f"{row[4]:<{widths[4]}}  {row[5]}"
        for row in rows
    ]
    waiting = [one for one in looks if one.state not in (SegmentState.DAMAGED, SegmentState.REPAIRED)]
    lines.append(
        f"{_recorded(waiting)} in {_count(len(waiting), 'segment')}; what has landed "
        "stays until its segment is complete, for a minute as a rule; times are UTC"
    )
    if any(one.state is SegmentState.DAMAGED for one in looks):
        lines.append("damaged segments: what is whole in them has landed; remove them once their disk was looked at")
    return "\n".join(lines) + "\n"


def tell_faults(one: Look) -> str:
    """Write what is wrong with a segment, or that nothing is."""
    rest = f"{_recorded([one])} in {_count(one.frames, 'whole frame')}"
    torn = f"; {one.torn_bytes} bytes at its end were never finished, and never answered" if one.torn_bytes else ""
    if not one.faults:
        return f"{one.file}: {one.state.value}, sound: {rest}{torn}\n"
    shown = "".join(f"  {fault}\n" for fault in one.faults[:_SHOWN_FAULTS])
    more = len(one.faults) - _SHOWN_FAULTS
    return f"{one.file}: {one.state.value}, DAMAGED; {rest}{torn}\n{shown}" + (
        f"  and {more} more\n" if more > 0 else ""
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _network(address: bytes) -> str:
    """Cut an address to its network: a household is not told by it."""
    if address.startswith(V4_MAPPED):
        return f"{format_address(address[:15] + bytes(1))}/24"
    return f"{format_address(address[:6] + bytes(10))}/48"


def _fields(hit: Hit, *, addresses: bool) -> dict[str, Any]:
    return {
        "at": _instant(hit.at_us),
        "address": format_address(hit.address) if addresses else _network(hit.address),
        "method": hit.method.name,
        "kind": hit.kind.name.lower(),
        "status": hit.status,
        "target": _text(hit.target),
        "arguments": _text(hit.arguments),
        "agent": _text(hit.agent),
        "referrer": _text(hit.referrer),
        "range": _text(hit.byte_range),
        "flags": [flag.name.lower() for flag in HitFlag if flag & hit.flags and flag.name],
    }


def _event_fields(received_us: int, address: bytes, text: bytes, *, addresses: bool, customers: bool) -> dict[str, Any]:
    """Show an event; of pages what stands before their query, which may say more about people."""
    shown: dict[str, Any] = {"at": _instant(received_us), "address": None}
    if any(address):
        shown["address"] = format_address(address) if addresses else _network(address)
    try:
        record = decode_record(text)
    except msgspec.MsgspecError:
        # Of a version that is not known here.
        return {**shown, "fault": "its text cannot be read"}
    told = {name: getattr(record, name) for name in record.__struct_fields__}
    for name in ("url", "referrer"):
        told[name] = told[name] and told[name].partition("?")[0].partition("#")[0]
    if record.customer_id is not None and not customers:
        told["customer_id"] = _HIDDEN
    source, occurred_us = record.source.name.lower(), told.pop("occurred_us")
    return {**shown, **told, "source": source, "occurred_at": _instant(occurred_us)}


def record_lines(path: Path, *, addresses: bool, customers: bool = False) -> Iterator[bytes]:
    """Write a segment's hits or events, a line of JSON each; what is damaged is left out.

    Args:
        path: The segment.
        addresses: Whether to show whole addresses.
        customers: Whether to show senders' names for customers.

    Raises:
        ConfigError: It is no segment's file, or cannot be read.
    """
    data, _ = _read(path)
    ordinal = 0
    for found in find_frames(data[HEADER_BYTES:]):
        if isinstance(found, Gap):
            continue
        if found.kind is FrameKind.EVENTS:
            shown = [_event_fields(*row, addresses=addresses, customers=customers) for row in decode_event_rows(found)]
        else:
            shown = [_fields(hit, addresses=addresses) for hit in decode_hits(found)]
        for of_one in shown:
            fields = {"segment": path.stem, "ordinal": ordinal, **of_one}
            yield msgspec.json.encode(fields) + b"\n"
            ordinal += 1
