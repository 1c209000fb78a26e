"""An operator's own lists of user agents, in the format of the open podcast tables (OPAWG v2), beside our table.

A folder with ``bots``, ``apps``, ``libraries`` and ``browsers``, each a ``.runtime.json`` file, replaces our table or
is asked before it. Nothing of it is taken unless all of it can be used: what was in force before stays so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import msgspec

from analytics_core.agent_patterns import compile_pattern
from analytics_core.agent_table import AgentEntry, AgentTable, our_table
from analytics_core.errors import InvalidInput
from analytics_core.settings import ListMode

__all__ = (
    "LIST_FILES",
    "MAX_ENTRIES",
    "MAX_FILE_BYTES",
    "AgentLists",
    "build_table",
    "read_list_files",
)

LIST_FILES: Final = {
    "bots.runtime.json": "bot",
    "apps.runtime.json": "app",
    "libraries.runtime.json": "library",
    "browsers.runtime.json": "browser",
}
"""The files of a folder in the order in which they are asked, and the kind that each tells."""

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
"""No file is longer; the open tables have some 100 kB."""

MAX_ENTRIES: Final = 20_000
"""No file has more entries; the open tables have some 600."""

_ENTRIES: Final = re.compile(r'"entries"\s*:\s*\[')
_GAP: Final = re.compile(r"[\s,]*")
_ENCODED: Final = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


class _Entry(msgspec.Struct, frozen=True):
    name: str
    pattern: str
    category: str = ""


def read_list_files(folder: Path) -> dict[str, str]:
    """Read the files of a folder.

    Raises:
        InvalidInput: One is too long or no text; the path names it.
        OSError: One is not there or cannot be read.
    """
    texts = {}
    for name in LIST_FILES:
        with (folder / name).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise InvalidInput(name, f"a list has at most {MAX_FILE_BYTES} bytes")
        try:
            texts[name] = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InvalidInput(name, "a list is UTF-8 text") from None
    return texts


def _positions(text: str) -> Iterator[int]:
    """Tell the line of each entry of a file that is known to be well-formed."""
    start = _ENTRIES.search(text)
    decoder = json.JSONDecoder()
    at = start.end() if start is not None else len(text)
    line = text.count("\n", 0, at) + 1
    while (gap := _GAP.match(text, at)) is not None and text[gap.end() : gap.end() + 1] not in {"]", ""}:
        line += text.count("\n", at, gap.end())
        yield line
        _, end = decoder.raw_decode(text, gap.end())
        line += text.count("\n", gap.end(), end)
        at = end


def _plain(pattern: str) -> str:
    """Undo percent-encoding in a pattern, as it is undone in agents."""
    return _ENCODED.sub(lambda match: re.escape(unquote(match[0])), pattern)


def _parse(name: str, text: str) -> Iterator[AgentEntry]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{name}:{error.lineno}", f"it is no JSON: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise InvalidInput(name, f"it is no JSON that we read: {error}") from None
    entries = document.get("entries") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InvalidInput(f"{name}:1", "an object with a list of `entries` is needed, and at least one in it")
    if len(entries) > MAX_ENTRIES:
        raise InvalidInput(name, f"a list has at most {MAX_ENTRIES} entries")
    kind = LIST_FILES[name]
    seen: set[str] = set()
    for raw, line in zip(entries, _positions(text), strict=True):
        path = f"{name}:{line}"
        try:
            entry = msgspec.convert(raw, _Entry)
            if not entry.name or entry.name in seen:
                raise ValueError(f"the name {entry.name!r} is empty, or there twice")
            compile_pattern(pattern := _plain(entry.pattern))
        except (msgspec.ValidationError, ValueError) as error:
            raise InvalidInput(path, str(error)) from None
        seen.add(entry.name)
        yield AgentEntry(
            name=f"{name.partition('.')[0]}: {entry.name}",
            kind=kind,
            pattern=pattern,
            app=entry.name,
            category=entry.category if kind == "library" else "",
        )


def build_table(texts: Mapping[str, str], mode: ListMode) -> AgentTable:
    """Make a table of the texts of an operator's lists.

    An Apple Watch that copies what its phone has asked for is no listener by the guideline, whatever a list calls it:
    our entries for it stay in front. Devices are told by our own patterns, which know more kinds.

    Args:
        texts: By the names in ``LIST_FILES``, all of them.
        mode: What they are to our table.

    Raises:
        InvalidInput: One cannot be used; the path names file and line.
    """
    ours = our_table()
    entries = [entry for entry in ours.agents if entry.kind == "watch"]
    for name in LIST_FILES:
        entries += _parse(name, texts[name])
    if mode is ListMode.EXTEND:
        entries += [entry for entry in ours.agents if entry.kind != "watch"]
    digest = hashlib.blake2b(digest_size=6)
    for part in (ours.version, mode.value, *(texts[name] for name in LIST_FILES)):
        digest.update(len(part).to_bytes(8) + part.encode())
    return AgentTable(tuple(entries), ours.devices, version=digest.hexdigest(), asks_others=mode is ListMode.EXTEND)


class AgentLists:
    """The table in force: of an operator's lists as they were last whole, else our own.

    Args:
        folder: Where the lists are; ``None`` for our own table alone.
        mode: What they are to our table.
        keep: File with the lists as they were last whole, so that a restart finds them when the folder is damaged.
        writes: Whether to bring that file up to date: ingest alone does.
    """

    def __init__(self, folder: Path | None, mode: ListMode, *, keep: Path, writes: bool = False) -> None:
        self._folder = folder
        self._mode = mode
        self._keep = keep
        self._writes = writes
        self._state: tuple[tuple[str, int, int], ...] | None = None
        self.fault: str | None = None
        self.table = our_table()
        self._start()

    def _start(self) -> None:
        self.refresh()
        if self.fault is not None:
            self._take_kept()

    def refresh(self) -> bool:
        """Read the folder again where it has changed; what cannot be used changes nothing but the fault.

        Blocks for as long as the lists take to be read and compiled, some tenths of a second.

        Returns:
            Whether another table is in force now.
        """
        if self._folder is None:
            return False
        state = self._look(self._folder)
        if state == self._state:
            return False
        self._state = state
        try:
            texts = read_list_files(self._folder)
            table = build_table(texts, self._mode)
        except (InvalidInput, OSError) as error:
            self.fault = _reason(error)
            return False
        self.fault = None
        if self._writes:
            self._write_kept(texts)
        before, self.table = self.table.version, table
        return table.version != before

    @staticmethod
    def _look(folder: Path) -> tuple[tuple[str, int, int], ...]:
        found = []
        for name in LIST_FILES:
            with contextlib.suppress(OSError):
                status = (folder / name).stat()
                found.append((name, status.st_size, status.st_mtime_ns))
        return tuple(found)

    def _take_kept(self) -> None:
        try:
            texts = msgspec.json.decode(self._keep.read_bytes(), type=dict[str, str])
            self.table = build_table(texts, self._mode)
        except (InvalidInput, OSError, KeyError, msgspec.MsgspecError):
            # There never were whole ones, or what was kept is of another version of ours: our own table stays.
            return

    def _write_kept(self, texts: Mapping[str, str]) -> None:
        """Replace the kept file as a whole; a disk without room costs only what a restart could have found there."""
        data = msgspec.json.encode(dict(texts))
        with contextlib.suppress(OSError):
            if self._keep.is_file() and self._keep.read_bytes() == data:
                return
            self._keep.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._keep.parent, prefix=self._keep.name)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._keep)


def _reason(error: InvalidInput | OSError) -> str:
    if isinstance(error, OSError):
        return f"{Path(str(error.filename)).name}: {error.strerror}"
    return f"{error.path}: {error.reason}"
