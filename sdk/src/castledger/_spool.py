"""A folder in which events outlive the process: written by a thread of its own, shared by processes.

Every process has a file of its own and holds its lock. What an ended process left is taken over by whoever looks next
with the same key. A file goes once it is known of each of its events what became of it, so that the events of a process
that is killed in between are sent a second time; the collector takes an id once.

A file begins with eight fixed bytes. A frame is four bytes of length, four of CRC-32, both little-endian, and the
event. What a process that was killed leaves unfinished at the end of its file is recognised and left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from castledger._errors import ConfigurationError
from castledger._events import MAX_EVENT_BYTES
from castledger._worker import Counts, EventQueue, Item, Wake, take_batch

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows, where ``Spool`` refuses
    fcntl = None  # type: ignore[assignment]

__all__ = ("HEADER", "Frame", "Spool", "SpoolFile", "can_lock", "encode_frames", "locked", "open_folder", "read_frames")

HEADER: Final = b"clevent\x01"
_FRAME: Final = struct.Struct("<II")
_MODE: Final = 0o600
_LOCK_TRIES: Final = 200
_LOCK_WAIT_S: Final = 0.005
TICK_S: Final = 0.05
"""How long an event waits for others before all are written to disk."""
_RETRY_S: Final = 1.0
_ADOPT_EVERY_S: Final = 60.0
_MOST_ADOPTED: Final = 8
_CHUNK: Final = 5000
_CHUNK_BYTES: Final = 4 * 1024 * 1024
# Small enough that room is given back soon, large enough that it is seldom done.
_SEAL_BYTES: Final = 1024 * 1024
_SUFFIX: Final = ".events"


class Frame(NamedTuple):
    """An event of a file, ``None`` where its checksum does not fit; and where the next one begins."""

    payload: bytes | None
    end: int


def encode_frames(payloads: Iterable[bytes]) -> bytes:
    """Write events one after the other."""
    return b"".join(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload for payload in payloads)


def read_frames(data: bytes | memoryview, *, at: int = 0) -> Iterator[Frame]:
    """Read frames up to the first that is not whole, or has a length that no event has.

    Their ends are places in the file in which *data* begins *at*, its header left out.

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

    The worker that spools appends; whoever sends reads that, and counts off what is done. Disks fail with OSError.

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
        """Make a file."""
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
        """Write events, all or none."""
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
        """Begin again, when all is done."""
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


def open_folder(path: Path) -> Path:
    """Make the folder when it is not there, for this user alone.

    Raises:
        ConfigurationError: It cannot be used.
    """
    if not can_lock():
        raise ConfigurationError("spool_dir: needs locks (flock) that this system does not have; leave it out")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(path / "lock"):
            pass
    except OSError as error:
        raise ConfigurationError(f"spool_dir: cannot be written to ({error.strerror or error})") from error
    return path


class Spool:
    """Events on disk, as a source for the worker.

    Three threads meet here: those that track leave events in the queue, one of this class's own writes them down, and
    whoever sends reads them. Only the lists are guarded; nobody waits for the disk but the writer.
    What comes on top of *most_bytes*, of all files of the folder, stays in memory; files of another key are left alone.

    Attributes:
        has_looked: Whether all that ended processes left has been taken over, as far as it could be.
    """

    def __init__(
        self,
        folder: Path,
        *,
        queue: EventQueue,
        counts: Counts,
        batch_size: int,
        most_bytes: int,
        api_key: str,
        notify: Callable[[], object],
    ) -> None:
        self._folder = folder
        self._queue = queue
        self._counts = counts
        self._batch_size = batch_size
        self._most_bytes = most_bytes
        # Of the key, so that events never reach another tenant; not of the address, which may move.
        self._owner = hashlib.blake2b(api_key.encode(), digest_size=6, person=b"castledger-spool").hexdigest()
        self._notify = notify
        self._lock = threading.Lock()
        self._ticking = threading.Lock()
        self._starting = threading.Lock()
        self._signal = Wake()
        self._thread: threading.Thread | None = None
        self._files: list[SpoolFile] = []
        self._active: SpoolFile | None = None
        # Taken from the queue and not written, because the disk was full or failed.
        self._unwritten: deque[bytes] = deque()
        self._is_stopping = False
        self._is_blocked = False
        self._adopt_at = 0.0
        self._used_bytes = 0
        self._measure_at = 0.0
        self._damaged = 0
        self._left = 0
        self.has_looked = False

    def __len__(self) -> int:
        with self._lock:
            on_disk = sum(file.unread for file in self._files)
            return on_disk + len(self._unwritten) + (len(self._queue) if self._is_blocked else 0)

    @property
    def total(self) -> int:
        """How many events there ever were."""
        return self._queue.tracked + self._counts.adopted - self._damaged

    @property
    def on_disk(self) -> int:
        """How many wait in files."""
        with self._lock:
            return self._left + sum(file.events - file.done for file in self._files)

    @property
    def is_full_batch(self) -> bool:
        """Whether a batch need not wait for more."""
        return len(self) >= self._batch_size

    def take(self, most: int, most_bytes: int) -> list[Item]:
        """Take a batch away: from the oldest file that has any, else from memory where the disk is of no use."""
        with self._lock:
            files = [file for file in self._files if file.unread]
        for file in files:
            payloads, damaged = file.read(most, most_bytes)
            self._damaged += damaged
            self._counts.lose("spool_corrupt", damaged)
            if payloads:
                return [Item(payload, file) for payload in payloads]
        with self._lock:
            unwritten = take_batch(self._unwritten, most=most, most_bytes=most_bytes)
        if not unwritten and self._is_blocked:
            unwritten = self._queue.take(most, most_bytes)
        return [Item(payload) for payload in unwritten]

    def settle(self, items: list[Item]) -> None:
        """Count off events of which it is known what became of them."""
        is_file_done = False
        for item in items:
            if isinstance(item.origin, SpoolFile):
                item.origin.done += 1
                is_file_done |= item.origin.is_done
        if is_file_done:
            self._signal.set()

    def give_up(self, items: list[Item]) -> int:
        """Count what is lost: all that is not on disk."""
        lost = sum(not isinstance(item.origin, SpoolFile) for item in items)
        with self._lock:
            lost += len(self._unwritten)
            self._unwritten.clear()
        while taken := self._queue.take(_CHUNK):
            lost += len(taken)
        return lost

    def wake(self) -> None:
        """Have events written down soon."""
        self._queue.asleep = False
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="castledger-spool", daemon=True)
                    thread.start()
                    self._thread = thread
            except RuntimeError:
                self._queue.asleep = True
            finally:
                self._starting.release()
        self._signal.set()

    def _run(self) -> None:
        while not self._is_stopping:
            self.tick()
            if not len(self._queue) and not self._unwritten:
                self._queue.asleep = True
                if not len(self._queue):
                    self._signal.wait(_ADOPT_EVERY_S)
                self._queue.asleep = False
            self._signal.wait(_RETRY_S if self._is_blocked else TICK_S)

    def tick(self) -> None:
        """Tidy up, take over what ended processes left, and write down what waits."""
        # A disk that stands still holds up its own thread for ever, and whoever closes the client a moment.
        if not self._ticking.acquire(timeout=_RETRY_S):
            return
        try:
            self._tidy()
            now = time.monotonic()
            if now >= self._adopt_at and not self._is_stopping:
                self._adopt_at = now + _ADOPT_EVERY_S
                self.has_looked = True
                self._try(self._adopt)
            self._is_blocked = not self._try(self._write)
        finally:
            self._ticking.release()
        if len(self):
            self._notify()

    def _try(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self._counts.complain("spool", f"spool_dir cannot be used now ({reason}); events wait in memory meanwhile")
            return False
        return True

    def _tidy(self) -> None:
        with self._lock:
            done = [file for file in self._files if file.is_done and file is not self._active]
            self._files = [file for file in self._files if file not in done]
        for file in done:
            with contextlib.suppress(OSError):
                file.remove()
        active = self._active
        if active is not None and active.events and active.is_done:
            self._try(active.empty)

    def _adopt(self) -> None:
        known = {file.path for file in self._files}
        found = sorted(path for path in self._folder.iterdir() if path.suffix == _SUFFIX and path not in known)
        strangers = [path for path in found if not path.name.startswith(self._owner)]
        if strangers:
            self._counts.complain(
                "spool strangers",
                f"spool_dir holds {len(strangers)} file(s) of another key; a client with that key sends them",
            )
        with locked(self._folder / "lock"):
            for path in found:
                if len(self._files) > _MOST_ADOPTED:
                    # The rest as soon as these are done.
                    self._adopt_at = 0.0
                    self.has_looked = False
                    return
                try:
                    file = None if path in strangers else SpoolFile.adopt(path)
                except OSError:
                    # Another user's, as a rule: it is theirs to send.
                    continue
                if file is not None:
                    self._counts.adopted += file.events
                    with self._lock:
                        self._files.append(file)

    def _write(self) -> None:
        while True:
            with self._lock:
                chunk = take_batch(self._unwritten, most=_CHUNK, most_bytes=_CHUNK_BYTES)
            chunk = chunk or self._queue.take(_CHUNK, _CHUNK_BYTES)
            if not chunk:
                return
            try:
                self._room_for(chunk).append(chunk)
            except OSError:
                with self._lock:
                    self._unwritten.extendleft(reversed(chunk))
                raise
            self._counts.spooled += len(chunk)

    def _room_for(self, chunk: list[bytes]) -> SpoolFile:
        """Give the file to append to."""
        now = time.monotonic()
        if now >= self._measure_at:
            self._measure_at = now + _RETRY_S
            self._used_bytes = sum(path.stat().st_size for path in self._folder.iterdir() if path.suffix == _SUFFIX)
        self._used_bytes += sum(map(len, chunk))
        if self._used_bytes > self._most_bytes:
            self._measure_at = 0.0
            raise OSError(0, "it holds as much as spool_mb allows")
        if self._active is not None and self._active.size >= min(_SEAL_BYTES, self._most_bytes // 4):
            self._active = None
        if self._active is None:
            name = f"{self._owner}-{time.time_ns():x}-{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
            with locked(self._folder / "lock"):
                file = SpoolFile.create(self._folder / name)
            with self._lock:
                self._files.append(file)
            self._active = file
        return self._active

    def close(self) -> None:
        """Write down what waits, and leave to others what is not sent; more than once does nothing."""
        if self._is_stopping:
            return
        self._is_stopping = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._signal.set()
            thread.join(_RETRY_S)
        self.tick()
        if not self._ticking.acquire(timeout=_RETRY_S):
            return
        self._active = None
        self._tidy()
        with self._lock:
            files, self._files = self._files, []
        for file in files:
            self._left += file.events - file.done
            with contextlib.suppress(OSError):
                file.release()
        self._ticking.release()

    def close_copies(self) -> None:
        """Forget all files in a forked process; they stay its parent's."""
        for file in self._files:
            with contextlib.suppress(OSError):
                file.close_copy()
