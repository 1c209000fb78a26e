"""The file of shared addresses edited: one line of it at a time, in one step, with a record of who did it and why."""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from analytics_core.addresses import IPNetwork
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.shared_addresses import (
    FILE_NAME,
    MAX_FILE_BYTES,
    RECORD_NAME,
    SharedEntry,
    parse_entry,
    parse_shared,
)

__all__ = ("Change", "SharedList")

_HEAD: Final = (
    "# Addresses that many people share: offices, dormitories, campuses. They count although lists of data centres\n"
    "# or VPNs name them. A line each: network, day on which somebody last found out that people are behind it, who\n"
    "# they are and how that is known. An entry acts for hits up to 90 days after that day.\n"
)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the record.

    Attributes:
        at: When it was done.
        by: Who did it, as they call themselves.
        action: ``add``, ``validate`` or ``rm``.
        validated: Of the entry as it is now; of one that was taken out, as it was.
    """

    at: dt.datetime
    by: str
    action: str
    network: str
    validated: dt.date
    note: str


class SharedList:
    """The file, and the record beside it.

    Every change is read, checked as a whole, recorded and put in the place of what was there, under a lock, so that
    two at once are two, and comments and the order of lines stay. What was recorded may not have been done, if the
    machine stopped in between; what was done has always been recorded.

    Args:
        folder: Of lists; made with the first change.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.path = folder / FILE_NAME
        self.record = folder / RECORD_NAME

    def entries(self, today: dt.date) -> list[SharedEntry]:
        """Read what is in the list on a UTC day; nothing where there is none.

        Raises:
            InvalidInput: A line is no entry; the path names file and line.
            OSError: The file cannot be read.
        """
        return parse_shared(self._lines(), today=today)

    def add(self, entry: SharedEntry, *, by: str, at: dt.datetime, dry_run: bool = False) -> None:
        """Add an entry at the end.

        Raises:
            InvalidInput: Its network is there already.
        """
        with self._changing(dry_run):
            lines = self._lines()
            if any(other.network == entry.network for other in parse_shared(lines)):
                raise InvalidInput(
                    "CIDR", f"{entry.network} is in the list; to validate it again: castledger lists shared validate"
                )
            self._write([*lines, _line(entry)], [_change("add", entry, by, at)], dry_run=dry_run)

    def validate(
        self, network: IPNetwork | None, *, by: str, at: dt.datetime, dry_run: bool = False
    ) -> list[SharedEntry]:
        """Note that an entry, or (``None``) every one, was validated on the UTC day of *at*.

        Returns:
            The entries as they are now.

        Raises:
            NotFound: There is none.
        """
        with self._changing(dry_run):
            lines = self._lines()
            parse_shared(lines)
            renewed, changes = [], []
            for place, line in enumerate(lines):
                entry = parse_entry(line)
                if entry is None or network not in (None, entry.network):
                    continue
                entry = entry._replace(validated=_day(at))
                lines[place] = _line(entry)
                renewed.append(entry)
                changes.append(_change("validate", entry, by, at))
            if not renewed:
                raise NotFound("entry: the list is empty" if network is None else f"entry of the list: {network}")
            self._write(lines, changes, dry_run=dry_run)
        return renewed

    def remove(self, network: IPNetwork, *, by: str, at: dt.datetime, dry_run: bool = False) -> SharedEntry:
        """Take an entry out, and return it.

        Raises:
            NotFound: It is not there.
        """
        with self._changing(dry_run):
            lines = self._lines()
            parse_shared(lines)
            for place, line in enumerate(lines):
                entry = parse_entry(line)
                if entry is not None and entry.network == network:
                    self._write([*lines[:place], *lines[place + 1 :]], [_change("rm", entry, by, at)], dry_run=dry_run)
                    return entry
        raise NotFound(f"entry of the list: {network}")

    def _lines(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return []
        if len(data) > MAX_FILE_BYTES:
            raise InvalidInput(FILE_NAME, f"has at most {MAX_FILE_BYTES:,} bytes")
        try:
            return data.decode("utf-8").splitlines()
        except UnicodeDecodeError:
            raise InvalidInput(FILE_NAME, "a list is UTF-8 text") from None

    @contextlib.contextmanager
    def _changing(self, dry_run: bool) -> Iterator[None]:
        """Let nobody else change the list meanwhile."""
        if dry_run:
            yield
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.record.open("ab") as record:
            fcntl.flock(record, fcntl.LOCK_EX)
            yield

    def _write(self, lines: list[str], changes: list[Change], *, dry_run: bool) -> None:
        # As whoever reads it next will: what is refused there takes no place.
        parse_shared(lines, today=_day(changes[0].at))
        text = "".join(f"{line}\n" for line in lines)
        if not self.path.exists():
            text = _HEAD + text
        if len(text.encode()) > MAX_FILE_BYTES:
            raise InvalidInput(FILE_NAME, f"has at most {MAX_FILE_BYTES:,} bytes")
        if dry_run:
            return
        with self.record.open("ab") as record:
            record.write(b"".join(msgspec.json.encode(change) + b"\n" for change in changes))
            _sync(record)
        new = self.path.with_name(f".{FILE_NAME}.new")
        with new.open("wb") as file:
            file.write(text.encode())
            _sync(file)
        if self.path.exists():
            new.chmod(self.path.stat().st_mode & 0o777)
        new.replace(self.path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _day(at: dt.datetime) -> dt.date:
    return at.astimezone(dt.UTC).date()


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _line(entry: SharedEntry) -> str:
    return f"{entry.network!s:<24} {entry.validated}  {entry.note}"


def _change(action: str, entry: SharedEntry, by: str, at: dt.datetime) -> Change:
    return Change(at=at, by=by, action=action, network=str(entry.network), validated=entry.validated, note=entry.note)
