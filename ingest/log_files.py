"""Files of access logs: who they are, and their lines in portions, as hits laid out like those of the spool."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast
from uuid import UUID

from analytics_core.errors import ConfigError, InvalidInput
from analytics_core.log_formats import MAX_LINE_BYTES, LineParser, LogFormat, Skip, line_parser
from analytics_core.skew import MAX_AHEAD_US, MAX_BEHIND_US
from analytics_core.spool import encode_hit

__all__ = ("PORTION_LINES", "TIME", "LogDamage", "LogFile", "Portion")

PORTION_LINES: Final = 50_000
"""Lines that are held at once."""

_PORTION_BYTES: Final = 16 * 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
_ID: Final = b"castledger.import-log"

TIME: Final = "time"
"""Lines whose time is in the future, or more than ten years ago, are counted under this reason."""


class LogDamage(NamedTuple):
    """A line that is not what it should be.

    Attributes:
        line: Its number, from 1.
        reason: As lines are counted.
    """

    line: int
    reason: str


class Portion(NamedTuple):
    """Some consecutive whole lines of a file.

    Attributes:
        start: Offset of the first, in the unpacked file.
        end: Offset behind the last.
        lines: How many.
        hits: How many of them are hits.
        rows: The hits' rows, as in the spool.
        texts: The hits' texts.
        skipped: Lines that are no hits, by reason; those that say nothing of a request are not among them.
        damage: The first of those that are damaged; ``None`` without any.
        tail_bytes: Bytes behind the last whole line, where the file ends; 0 where it goes on.
        fault: Why the file cannot be read on behind this portion; ``None`` while it can.
        span_us: Times of the earliest and the latest hit; ``None`` without any.
    """

    start: int
    end: int
    lines: int
    hits: int
    rows: bytes
    texts: bytes
    skipped: Counter[str]
    damage: LogDamage | None
    tail_bytes: int = 0
    fault: str | None = None
    span_us: tuple[int, int] | None = None


class LogFile:
    """One file, plain or gzip.

    Args:
        path: Where it is.
        form: Its format.
        host: Which host its paths are of, as :func:`analytics_core.log_formats.line_parser` takes it.

    Raises:
        ConfigError: The file cannot be read.
        InvalidInput: The format needs a host, or has no room for one.
    """

    def __init__(self, path: Path, form: LogFormat, *, host: str | None) -> None:
        self.path = path
        self._form = form
        self._host = host
        self._make_parser()
        try:
            with path.open("rb") as file:
                self._is_packed = file.read(len(_GZIP)) == _GZIP
        except OSError as error:
            raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from error

    def _make_parser(self) -> LineParser:
        return line_parser(self._form, host=self._host)

    def _open(self) -> BinaryIO:
        return cast(BinaryIO, gzip.open(self.path, "rb")) if self._is_packed else self.path.open("rb")

    def segment_id(self, tenant_no: int) -> UUID | None:
        """Name the file, whatever it is called and however it grows: by its first line that is no comment.

        Args:
            tenant_no: Whose import it is: each has checkpoints of its own.

        Returns:
            The same for every file that begins alike; ``None`` while it has no such line.

        Raises:
            ConfigError: The file cannot be read.
        """
        try:
            with self._open() as file:
                while line := file.readline(MAX_LINE_BYTES):
                    if line.strip() and not line.startswith(b"#") and line.endswith(b"\n"):
                        break
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError([f"{self.path}: cannot be read ({error})"]) from error
        if not line:
            return None
        text = line.rstrip(b"\r\n")
        return UUID(bytes=hashlib.blake2b(b"%s\0%d\0%s" % (_ID, tenant_no, text), digest_size=16).digest())

    def read(self, start: int, *, now_us: int, max_lines: int = PORTION_LINES) -> Iterator[Portion]:
        """Read the file's whole lines from an offset on. Blocks.

        Args:
            start: Offset in the unpacked file, where a line begins.
            now_us: The time of the reading, microseconds since 1970-01-01 UTC.
            max_lines: So many lines a portion, or fewer.

        Raises:
            InvalidInput: The file does not reach to *start*, or no line begins there: it is another file than before.
        """
        parse = self._make_parser()
        try:
            with self._open() as file:
                line_no = self._pass_over(file, start, parse)
                at = start
                while True:
                    portion = _read_portion(file, parse, at, line_no, now_us=now_us, max_lines=max_lines)
                    yield portion
                    at, line_no = portion.end, line_no + portion.lines
                    if portion.fault is not None or not portion.lines or portion.tail_bytes:
                        return
        except (OSError, EOFError, zlib.error) as error:
            raise ConfigError([f"{self.path}: cannot be read ({error})"]) from error

    def _pass_over(self, file: BinaryIO, start: int, parse: LineParser) -> int:
        """Read up to *start*; return how many lines that were."""
        lines = passed = 0
        line = b"\n"
        while passed < start and (line := file.readline(MAX_LINE_BYTES)):
            passed += len(line)
            lines += line.endswith(b"\n")
            if line.startswith(b"#"):
                # Says what the columns of the lines behind it are.
                parse(line.rstrip(b"\r\n"))
        if passed != start or not line.endswith(b"\n"):
            raise InvalidInput(str(self.path), "is not the file any more that was imported before under its first line")
        return lines


def _read_portion(
    file: BinaryIO, parse: LineParser, start: int, line_no: int, *, now_us: int, max_lines: int
) -> Portion:
    rows: list[bytes] = []
    texts: list[bytes] = []
    skipped: Counter[str] = Counter()
    damage: LogDamage | None = None
    times: list[int] = []
    at, lines, tail, fault = start, 0, 0, None
    while lines < max_lines and at - start < _PORTION_BYTES:
        try:
            line, size = _read_line(file)
        except (OSError, EOFError, zlib.error) as error:
            # What stands before the damage is sound.
            fault = str(error)
            break
        if not size:
            break
        if line is not None and not line.endswith(b"\n"):
            tail = size
            break
        at += size
        lines += 1
        found = Skip.TOO_LONG if line is None else parse(line.rstrip(b"\r\n"))
        if found is None:
            continue
        if isinstance(found, Skip):
            skipped[found.value] += 1
            if found.is_damage and damage is None:
                damage = LogDamage(line_no + lines, found.value)
        elif not now_us - MAX_BEHIND_US <= found.at_us <= now_us + MAX_AHEAD_US:
            skipped[TIME] += 1
            damage = damage or LogDamage(line_no + lines, TIME)
        else:
            times.append(found.at_us)
            row, text = encode_hit(found)
            rows.append(row)
            texts.append(text)
    span = (min(times), max(times)) if times else None
    return Portion(start, at, lines, len(rows), b"".join(rows), b"".join(texts), skipped, damage, tail, fault, span)


def _read_line(file: BinaryIO) -> tuple[bytes | None, int]:
    """Read a line with its end, and its length; ``None`` for one that is too long, of which nothing is kept.

    The end of the file is an empty line; a line without its end stands before it.
    """
    line = file.readline(MAX_LINE_BYTES)
    if len(line) < MAX_LINE_BYTES or line.endswith(b"\n"):
        return line, len(line)
    size = len(line)
    while piece := file.readline(MAX_LINE_BYTES):
        size += len(piece)
        if piece.endswith(b"\n"):
            return None, size
    return b"?", size
