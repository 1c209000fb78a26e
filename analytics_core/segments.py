"""One segment of the spool on the disk, the disk itself as a seam for tests, and the reserve kept for a full one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final, Protocol

from analytics_core.spool import (
    HEADER_BYTES,
    FrameKind,
    SegmentHeader,
    SpoolCorrupt,
    Totals,
    encode_header,
    encode_totals_frame,
    read_frames,
    segment_name,
)

__all__ = (
    "OPEN_SUFFIX",
    "SEALED_SUFFIX",
    "Disk",
    "OsDisk",
    "Reserve",
    "Segment",
    "find_oldest_hit",
    "is_disk_full",
    "remove_stillborn",
)

OPEN_SUFFIX: Final = ".open"
SEALED_SUFFIX: Final = ".sealed"
_NEW_SUFFIX: Final = ".new"
_BIRTH_S: Final = 60.0
_LOOK_BYTES: Final = 1024 * 1024


class Disk(Protocol):
    """What can fail: tests pass one that does."""

    def write(self, descriptor: int, data: bytes) -> int:
        """Append *data*; return how many bytes were taken."""
        ...

    def sync(self, descriptor: int) -> None:
        """Force the file's data to the disk."""
        ...

    def allocate(self, descriptor: int, size: int) -> None:
        """Take *size* bytes of the disk for the file."""
        ...


class OsDisk:
    """The operating system's."""

    def write(self, descriptor: int, data: bytes) -> int:
        """Append *data*; return how many bytes were taken."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Force the file's data to the disk."""
        os.fdatasync(descriptor)

    def allocate(self, descriptor: int, size: int) -> None:
        """Take *size* bytes of the disk for the file."""
        os.posix_fallocate(descriptor, 0, size)


def is_disk_full(error: OSError) -> bool:
    """Say whether an error means that there is no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def remove_stillborn(folder: Path, *, now_s: float) -> None:
    """Remove what processes left that were killed while they made a file: it holds no hit and never will.

    A file that is a minute old and that nobody has locked is no longer being made.

    Args:
        folder: The spool's.
        now_s: Seconds since 1970-01-01 UTC.

    Raises:
        OSError: The folder cannot be read.
    """
    for path in folder.glob(f"*{_NEW_SUFFIX}"):
        try:
            if now_s - path.stat().st_mtime < _BIRTH_S:
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            # Another process was quicker.
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def find_oldest_hit(folder: Path) -> int | None:
    """Find the time of the oldest hit in a spool, in microseconds since 1970-01-01 UTC; ``None`` without any.

    Segments are named by when they began: the first that holds a hit holds the oldest, but for a moment.

    Raises:
        OSError: The folder cannot be read.
    """
    for path in sorted(path for path in folder.iterdir() if path.suffix in (OPEN_SUFFIX, SEALED_SUFFIX)):
        with contextlib.suppress(FileNotFoundError, SpoolCorrupt), path.open("rb") as file:
            file.seek(HEADER_BYTES)
            for frame in read_frames(file.read(_LOOK_BYTES), offset=HEADER_BYTES):
                if frame.hits:
                    return int.from_bytes(frame.rows[:8], "little", signed=True)
    return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Segment:
    """A segment that this process writes; locked for as long as it does, so that readers can tell.

    Appending and sealing belong to the event loop, syncing and finishing to the sync thread.
    """

    def __init__(self, folder: Path, header: SegmentHeader, disk: Disk) -> None:
        """Create the segment with its header.

        The file takes its name only once it is locked: a reader that meets an ``.open`` file without a lock knows
        that its writer is dead.

        Raises:
            OSError: It could not be made; nothing is left behind.
        """
        self._disk = disk
        self._folder = folder
        name = segment_name(header)
        self.path = folder / (name + OPEN_SUFFIX)
        self.size = 0
        self.hits = 0
        self.synced_hits = 0
        self._is_folder_synced = False
        new = folder / (name + _NEW_SUFFIX)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(new, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.append(encode_header(header))
            new.rename(self.path)
        except OSError:
            new.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise

    def append(self, data: bytes, *, hits: int = 0) -> None:
        """Append whole frames in one write.

        Raises:
            OSError: Not all was taken; a short write says ``ENOSPC``. The caller has to :meth:`cut`.
        """
        taken = self._disk.write(self._descriptor, data)
        if taken != len(data):
            raise OSError(errno.ENOSPC, f"only {taken} of {len(data)} bytes were written")
        self.size += taken
        self.hits += hits

    def cut(self) -> None:
        """Drop what stands behind the last whole frame; when even that fails, readers stop there all the same."""
        try:
            os.ftruncate(self._descriptor, self.size)
        except OSError:
            return

    def seal(self, totals: Totals) -> None:
        """Write the last frame; without room for it the segment ends without one."""
        try:
            self.append(encode_totals_frame(FrameKind.SEAL, totals))
        except OSError:
            self.cut()

    def sync(self) -> None:
        """Force what was appended to the disk, and first the segment's name.

        Raises:
            OSError: What was not yet synced may or may not be there.
        """
        if not self._is_folder_synced:
            _sync_folder(self._folder)
            self._is_folder_synced = True
        self._disk.sync(self._descriptor)

    def discard(self) -> None:
        """Remove a segment that holds nothing."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def finish(self) -> None:
        """Give the segment its sealed name and let go of it.

        When the name cannot be given, readers find an ``.open`` file without a lock, as after a crash.
        """
        try:
            self.path = self.path.rename(self.path.with_suffix(SEALED_SUFFIX))
            _sync_folder(self._folder)
        except OSError:
            return
        finally:
            os.close(self._descriptor)


class Reserve:
    """Disk space held back for the day on which the disk is full; all worker slots share one file.

    Args:
        folder: The spool's folder.
        size: Bytes; 0 keeps no reserve.
        disk: Where from.
    """

    def __init__(self, folder: Path, size: int, disk: Disk) -> None:
        self._path = folder / "reserve"
        self._size = size
        self._disk = disk

    @property
    def is_wanted(self) -> bool:
        """Whether a reserve is to be kept at all."""
        return self._size > 0

    def is_held(self) -> bool:
        """Say whether the reserve is there in full."""
        try:
            return self._path.stat().st_size == self._size
        except OSError:
            return False

    def free_bytes(self) -> int:
        """Say how much room the disk has left beside the reserve; 0 where the folder cannot be reached."""
        try:
            space = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return space.f_bavail * space.f_frsize

    def hold(self) -> bool:
        """Take the reserve if the disk has twice its size to spare; return whether it is held."""
        if not self.is_wanted or self.is_held():
            return self.is_wanted
        new = self._path.with_name(f"reserve-{os.getpid()}{_NEW_SUFFIX}")
        try:
            if self.free_bytes() < 2 * self._size:
                return False
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                self._disk.allocate(descriptor, self._size)
            finally:
                os.close(descriptor)
            new.rename(self._path)
        except OSError:
            new.unlink(missing_ok=True)
            return False
        return True

    def release(self) -> bool:
        """Give the reserve back to the disk; return whether there was one."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
