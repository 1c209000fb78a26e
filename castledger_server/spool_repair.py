"""``castledger spool repair``: save the hits of a segment that neither its header nor its name tell of.

Of every other damaged segment ingest lands all that is whole by itself, under the segment's own id.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final
from uuid import UUID

from analytics_core.errors import ConfigError
from analytics_core.spool import (
    HEADER_BYTES,
    Frame,
    FrameKind,
    SegmentHeader,
    SpoolCorrupt,
    SpoolVersion,
    encode_header,
    encode_totals_frame,
    parse_header,
    parse_segment_name,
    segment_name,
)
from analytics_core.spool_recovery import Gap, find_frames
from ingest.batches import hit_times

__all__ = ("repair",)

_SOURCE: Final = "repaired"


def repair(path: Path, *, is_dry: bool = False) -> str:
    """Save the whole frames of a nameless segment in a new one, and rename the old one.

    The new segment's id follows from what is in it: repairing a copy lands nothing twice.

    Args:
        path: A segment that ingest has set aside (``.damaged``).
        is_dry: Whether only to say what would be done.

    Returns:
        What was done, in words.

    Raises:
        ConfigError: It was not set aside, ingest has landed it, or nothing can be saved; nothing was changed.
    """
    if path.suffix != ".damaged":
        raise ConfigError([f"{path}: only segments that ingest has set aside (*.damaged) are repaired"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from error
    if _is_known(path, data):
        raise ConfigError([f"{path}: ingest has landed all of it that is whole; there is nothing left to save"])
    found = list(find_frames(data[HEADER_BYTES:]))
    frames = [one for one in found if isinstance(one, Frame) and one.hits]
    lost = sum(gap.end - gap.start for gap in found if isinstance(gap, Gap) and not gap.is_torn)
    hits = sum(frame.hits for frame in frames)
    if not frames:
        raise ConfigError([f"{path}: no whole frame with hits or events is in it; delete the file"])
    noun = "event" if frames[0].kind is FrameKind.EVENTS else "hit"
    what = f"{hits:,} {noun}{'' if hits == 1 else 's'} of {len(frames):,} frames; {lost:,} bytes are lost"
    if is_dry:
        return f"would save {what}"
    segment = _segment_of(frames, data)
    new = path.with_name(segment_name(parse_header(segment)) + ".sealed")
    try:
        _write(new, segment, like=path)
        path.rename(path.with_suffix(".repaired"))
        _sync_folder(path.parent)
    except OSError as error:
        raise ConfigError([f"{path}: could not be repaired ({error.strerror}); it is as it was"]) from error
    return f"saved {what}; ingest lands them from {new.name}"


def _is_known(path: Path, data: bytes) -> bool:
    """Say whether ingest knew which segment it was."""
    try:
        parse_header(data)
    except SpoolVersion as error:
        raise ConfigError([f"{path}: {error}; the release that wrote it can land it"]) from error
    except SpoolCorrupt:
        return parse_segment_name(path.name) is not None
    return True


def _segment_of(frames: list[Frame], data: bytes) -> bytes:
    """Make a segment of frames, byte for byte as they were."""
    body = b"".join(data[frame.start : frame.end] for frame in frames)
    segment_id = UUID(bytes=hashlib.blake2b(body, digest_size=16).digest())
    created_us = min(int(hit_times(frame.rows, frame.kind).min()) for frame in frames)
    header = SegmentHeader(segment_id, created_us, _SOURCE)
    return encode_header(header) + body + encode_totals_frame(FrameKind.SEAL, frames[-1].totals)


def _write(path: Path, data: bytes, *, like: Path) -> None:
    """Write a segment whole or not at all, owned as another file is."""
    part = path.with_suffix(".new")
    owner = like.stat()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
