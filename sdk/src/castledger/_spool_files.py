"""Files of events on disk: frames with length and checksum, locked by the process that writes or sends them.

A file begins with eight fixed bytes. A frame is four bytes of length, four of CRC-32, both little-endian, and the
event. What a process that was killed leaves unfinished at the end of its file is recognised and left out.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from castledger._events import MAX_EVENT_BYTES

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows, where ``Spool`` refuses
    fcntl = None  # type: ignore[assignment]

__all__ = ("HEADER", "Frame", "SpoolFile", "can_lock", "encode_frames", "locked", "read_frames")

HEADER: Final = b"clevent\x01"
_FRAME: Final = struct.Struct("<II")
_MODE: Final = 0o600
_LOCK_TRIES: Final = 200
_LOCK_WAIT_S: Final = 0.005


class Frame(NamedTuple):
    """What stands at one place of a file.

    Attributes:
        payload: The event; ``None`` where the checksum does not fit.
        end: Where the next frame begins.
    """

    payload: bytes | None
    end: int


def encode_frames(payloads: Iterable[bytes]) -> bytes:
    """Write events one after the other."""
    return b"".join(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload for payload in payloads)


def read_frames(data: bytes | memoryview, *, at: int = 0) -> Iterator[Frame]:
    """Read frames up to the first that is not whole, or has a length that no event has.

    Args:
        data: Frames, without the file's header.
        at: Where *data* begins in its file, for the places that are returned.

    >>> [frame.payload for frame in read_frames(encode_frames([b"a", b"b"])[:-1])]
    [b'a']
    """
    begin = 0
    while begin + _FRAME.size <= len(data):
        size, checksum = _FRAME.unpack_from(data, begin)
        end = begin + _FRAME.size + size
        if not 0 < size <= MAX_EVENT_BYTES or end > len(data):
            return
        payload = bytes(data[begin + _FRAME.size : end])
        yield Frame(payload if zlib.crc32(payload) == checksum else None, at + end)
        begin = end


def can_lock() -> bool:
    """Say whether this system has the locks that tell whose files are whose."""
    return fcntl is not None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder's lock, for the moments in which files appear or change hands.

    Raises:
        OSError: The file cannot be opened, or another process keeps the lock for longer than such moments last.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        for left in reversed(range(_LOCK_TRIES)):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(_LOCK_WAIT_S)
        yield
    finally:
        _unlock(fd)


def _unlock(fd: int) -> None:
    # Said, not only closed: a process that was forked meanwhile has the same lock by a descriptor of its own.
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


class SpoolFile:
    """One file, locked as long as this object has it.

    The worker that spools appends; whoever sends reads what was appended, and counts off what is done.

    Attributes:
        path: Where it is.
        size: Bytes that are whole and may be read.
        events: How many events those are.
        done: Of how many of them it is known what became of them.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.size = len(HEADER)
        self.events = 0
        self.done = 0
        self._handed = 0
        self._read_to = len(HEADER)

    @classmethod
    def create(cls, path: Path) -> SpoolFile:
        """Make a file.

        Raises:
            OSError: It cannot be made or locked.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(fd, HEADER)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return cls(path, fd)

    @classmethod
    def adopt(cls, path: Path) -> SpoolFile | None:
        """Take over a file that nobody has any more.

        Returns:
            ``None`` when its process lives, or it has gone.

        Raises:
            OSError: It cannot be read.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        file = cls(path, fd)
        file._survey()
        return file

    def _survey(self) -> None:
        data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        if not data.startswith(HEADER):
            return
        for frame in read_frames(memoryview(data)[len(HEADER) :], at=len(HEADER)):
            self.size = frame.end
            self.events += 1

    @property
    def unread(self) -> int:
        """How many events were not handed out yet."""
        return self.events - self._handed

    @property
    def is_done(self) -> bool:
        """Whether it is known of every event what became of it."""
        return self.done == self.events

    def append(self, payloads: list[bytes]) -> None:
        """Write events, all or none.

        Raises:
            OSError: The disk is full, or fails.
        """
        data = encode_frames(payloads)
        try:
            _write(self._fd, data)
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        # In this order: whoever sends looks for events first.
        self.size += len(data)
        self.events += len(payloads)

    def read(self, most: int, most_bytes: int) -> tuple[list[bytes], int]:
        """Hand out events that were not handed out yet, in their order.

        Returns:
            The events, and how many turned out to be damaged, which counts them as done.
        """
        # The first frame is whole even when it alone is larger than what is asked for.
        room = max(most_bytes, MAX_EVENT_BYTES) + most * _FRAME.size
        data = os.pread(self._fd, min(room, self.size - self._read_to), self._read_to)
        frames = list(itertools.islice(read_frames(data, at=self._read_to), most))
        payloads = [frame.payload for frame in frames if frame.payload is not None]
        if frames:
            self._read_to = frames[-1].end
            damaged = len(frames) - len(payloads)
        else:
            # Nothing whole where something was: the rest of the file is of no use.
            self._read_to = self.size
            damaged = self.unread
        self._handed += len(payloads) + damaged
        self.done += damaged
        return payloads, damaged

    def empty(self) -> None:
        """Begin again, when all is done.

        Raises:
            OSError: The disk fails.
        """
        os.ftruncate(self._fd, len(HEADER))
        self.size = self._read_to = len(HEADER)
        self.events = self.done = self._handed = 0

    def remove(self) -> None:
        """Delete the file: all of it is done."""
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Leave the file to whoever comes next."""
        _unlock(self._fd)

    def close_copy(self) -> None:
        """Forget it in a forked process, without taking the lock from its parent."""
        os.close(self._fd)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
