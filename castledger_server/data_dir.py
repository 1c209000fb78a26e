"""The data folder: whose it is, who holds it, and what a running ``up`` tells other commands through it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from analytics_core.errors import ConfigError, Conflict

__all__ = (
    "API_KEY_FILE",
    "FolderLock",
    "RunningUp",
    "claim_data_dir",
    "is_claimed",
    "read_running_up",
    "write_running_up",
    "write_secret",
)

_MARK: Final = ".castledger"
_RUNTIME_FILE: Final = "up.json"
API_KEY_FILE: Final = "api_key"
"""Name, in the data folder, of the file with the owner key."""


class RunningUp(msgspec.Struct, kw_only=True):
    """What ``castledger up`` says of itself while it runs.

    Attributes:
        pid: The supervisor's process id.
        database_url: The database in use.
        answers: The lines that ``up`` prints: ``tracker_url``, ``prefix``, ``collector_url``, ``api_url``, ``api_key``.
        admin_urls: Where each process serves its health and metrics.
        spool_dir: Folder of the spool; empty in what an older version wrote.
        children: Process ids with the mark of their start, so that a later start can end what was left over.
    """

    pid: int
    database_url: str
    answers: dict[str, str]
    admin_urls: dict[str, str]
    children: dict[int, str]
    spool_dir: str = ""


_running_decoder = msgspec.json.Decoder(RunningUp)


def is_claimed(data_dir: Path) -> bool:
    """Tell whether the folder is ours: made by us, or found empty and marked."""
    return (data_dir / _MARK).exists()


def claim_data_dir(data_dir: Path) -> None:
    """Make the data folder, or mark an empty one as ours.

    A folder with somebody's files in it is used as it is, but stays theirs: we never change its permissions.

    Raises:
        ConfigError: It cannot be made or written.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(data_dir.iterdir()):
            (data_dir / _MARK).write_text("This folder belongs to Castledger.\n")
        elif not os.access(data_dir, os.W_OK | os.X_OK):
            raise PermissionError(13, os.strerror(13), str(data_dir))
    except OSError as error:
        raise ConfigError(
            [f"the data folder {data_dir} cannot be used ({error.strerror}); choose another with --data-dir"]
        ) from error


def write_secret(path: Path, content: bytes) -> None:
    """Replace a file in one step with one that only we can read.

    Raises:
        OSError: The folder cannot be written; the old file stands.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_running_up(data_dir: Path, running: RunningUp | None) -> None:
    """Say how the running ``up`` is reached, or, with ``None``, that there is none any more.

    Raises:
        OSError: The folder cannot be written.
    """
    path = data_dir / _RUNTIME_FILE
    if running is None:
        path.unlink(missing_ok=True)
    else:
        write_secret(path, msgspec.json.encode(running))


def read_running_up(data_dir: Path) -> RunningUp | None:
    """Read what an ``up`` on this folder said; it may have been killed since.

    Returns:
        ``None`` when none runs, or the folder is closed to us.
    """
    try:
        return _running_decoder.decode((data_dir / _RUNTIME_FILE).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None


class FolderLock:
    """One holder at a time for a folder; the system lets go when the holder ends, however it ends.

    Args:
        path: The lock's file, made when it is not there.
        what: What is held, for the message to the one who comes second.
    """

    def __init__(self, path: Path, *, what: str) -> None:
        self._path = path
        self._what = what
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            Conflict: Another process has it; the message names that process.
            OSError: The file cannot be made.
        """
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode(errors="replace").strip()
            os.close(handle)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise Conflict(
                "in_use", f"{self._what} is in use by {who}; stop that one first, or choose another folder"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Let go; nothing happens without the lock."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None
