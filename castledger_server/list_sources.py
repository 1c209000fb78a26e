"""Where lists of networks, addresses and agents come from, and how they are fetched: whole, checked, or not at all."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from analytics_core.errors import ConfigError, InvalidInput, Unavailable
from analytics_core.guarded_http import split_url
from analytics_core.shared_addresses import FILE_NAME, RECORD_NAME

__all__ = (
    "RECORD",
    "Fetched",
    "Kind",
    "Source",
    "SourceFile",
    "fetch_source",
    "read_record",
    "read_sources",
)

RECORD: Final = "sources.json"
"""File in the folder of lists that says what was fetched from where."""

_NOT_FETCHED: Final = frozenset((RECORD, FILE_NAME, RECORD_NAME))
"""What we and the operator write there ourselves."""

_BUILT_IN: Final = Path(__file__).with_name("list_sources.toml")
_MOST_BYTES: Final = 512 * 1024 * 1024
_MOST_REDIRECTS: Final = 5
_TIMEOUT_S: Final = 30.0
_PIECE: Final = 256 * 1024

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Kind(enum.Enum):
    """What a source is made of, which decides how it is checked."""

    NETWORKS = "networks"
    COUNTRIES = "countries"
    ASNS = "asns"
    AGENTS = "agents"


class SourceFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a source.

    Attributes:
        url: Where it is; ``{month}`` stands for the month, as ``2026-11``. What ends in ``.gz`` is unpacked.
        name: Its path in the folder of lists.
        sha256: What its content, unpacked, has to hash to; ``None`` takes what comes.
    """

    url: _Text
    name: _Text
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody publishes."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,60}$")]
    kind: Kind
    gives: _Text
    licence: _Text
    homepage: _Text
    files: Annotated[tuple[SourceFile, ...], msgspec.Meta(min_length=1, max_length=50)]
    credit: str = ""


class _Sources(msgspec.Struct, forbid_unknown_fields=True):
    source: list[Source]


class Fetched(msgspec.Struct, frozen=True):
    """What was fetched last of a file, by its name in the folder of lists."""

    source: str
    url: str
    sha256: str
    bytes: int
    fetched_at: dt.datetime
    licence: str
    credit: str


def read_sources(path: Path | None = None) -> dict[str, Source]:
    """Read where lists come from.

    Args:
        path: An operator's own file of the same form, of a mirror for example; ``None`` takes the built-in one.

    Raises:
        ConfigError: It cannot be read, or says something that makes no sense; file and field are named.
    """
    path = path or _BUILT_IN
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=_Sources).source
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise ConfigError([f"{path}: {error}"]) from None
    for source in found:
        for file in source.files:
            _check_file(path, source, file)
    sources = {source.name: source for source in found}
    if len(sources) < len(found):
        raise ConfigError([f"{path}: two sources have one name"])
    return sources


def _check_file(path: Path, source: Source, file: SourceFile) -> None:
    name = PurePosixPath(file.name)
    if name.is_absolute() or ".." in name.parts or "\\" in file.name or str(name) in _NOT_FETCHED:
        raise ConfigError([f"{path}: {source.name}: {file.name!r} is no name inside the folder of lists"])
    try:
        scheme = split_url(file.url.replace("{month}", "2026-11")).scheme
    except InvalidInput as error:
        raise ConfigError([f"{path}: {source.name}: {file.url!r}: {error.reason}"]) from None
    if scheme == "http" and file.sha256 is None:
        raise ConfigError([f"{path}: {source.name}: {file.url} goes over plain http, which takes a sha256"])


def read_record(folder: Path) -> dict[str, Fetched]:
    """Read what was fetched, by file; nothing where there is no record, or none that can be read."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=dict[str, Fetched])
    except (OSError, msgspec.DecodeError):
        return {}


def fetch_source(
    source: Source,
    folder: Path,
    *,
    check: Callable[[Path], None],
    now: dt.datetime,
    progress: Callable[[str, int], None] = lambda name, size: None,
    transport: httpx.BaseTransport | None = None,
) -> dict[str, Fetched]:
    """Fetch all files of a source, check them together, and only then put them in the place of those before.

    Args:
        source: Which.
        folder: Of lists; made when it is not there.
        check: Called with a folder that holds the new files alone; raises ``ConfigError`` or ``InvalidInput`` when they
            cannot be used.
        now: For the month, and for the record.
        progress: Called with a file's name and the bytes that have come.
        transport: Of the client, for tests and proxies.

    Returns:
        What was fetched, by file.

    Raises:
        ConfigError: A file cannot be used, or is not what its checksum says. Nothing has changed.
        Unavailable: One cannot be had. Nothing has changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Beside them, so that each takes its place by a rename.
    staging = Path(tempfile.mkdtemp(prefix=".update-", dir=folder))
    try:
        with httpx.Client(timeout=_TIMEOUT_S, transport=transport, max_redirects=_MOST_REDIRECTS) as client:
            found = {file.name: _fetch(client, source, file, staging, now, progress) for file in source.files}
        try:
            check(staging)
        except InvalidInput as error:
            raise ConfigError([f"{source.name}: {error}; what was there before stays"]) from None
        for name in found:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(target)
        _write_record(folder, {**read_record(folder), **found})
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return found


def _months(now: dt.datetime) -> tuple[str, str]:
    """Name the month and the one before: what a month brings is not there on its first day."""
    first = now.astimezone(dt.UTC).date().replace(day=1)
    return first.strftime("%Y-%m"), (first - dt.timedelta(days=1)).strftime("%Y-%m")


def _fetch(
    client: httpx.Client,
    source: Source,
    file: SourceFile,
    staging: Path,
    now: dt.datetime,
    progress: Callable[[str, int], None],
) -> Fetched:
    months = _months(now) if "{month}" in file.url else ("",)
    url = ""
    for month in months:
        url = file.url.replace("{month}", month)
        try:
            with client.stream("GET", url, follow_redirects=True) as answer:
                if answer.status_code == 404 and month != months[-1]:
                    continue
                if answer.status_code != 200:
                    raise Unavailable(f"{url} answers {answer.status_code}; what was there before stays")
                if urlsplit(url).scheme == "https" and answer.url.scheme != "https":
                    raise ConfigError([f"{url} leads away from https"])
                return _keep(answer, source, file, url, staging, now, progress)
        except httpx.HTTPError as error:
            raise Unavailable(f"{url} cannot be had: {str(error) or type(error).__name__}") from error
    raise Unavailable(f"{url} is not there")


def _keep(
    answer: httpx.Response,
    source: Source,
    file: SourceFile,
    url: str,
    staging: Path,
    now: dt.datetime,
    progress: Callable[[str, int], None],
) -> Fetched:
    path = staging / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as target:
        for piece in _unpacked(answer, url) if url.endswith(".gz") else answer.iter_bytes(_PIECE):
            size += len(piece)
            if size > _MOST_BYTES:
                raise ConfigError([f"{url} is longer than {_MOST_BYTES} bytes"])
            digest.update(piece)
            target.write(piece)
            progress(file.name, size)
        target.flush()
        os.fsync(target.fileno())
    sha256 = digest.hexdigest()
    if file.sha256 not in (None, sha256):
        raise ConfigError([f"{url} has the sha256 {sha256}, not {file.sha256}; what was there before stays"])
    return Fetched(source.name, url, sha256, size, now, source.licence, source.credit)


def _unpacked(answer: httpx.Response, url: str) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        for piece in answer.iter_bytes(_PIECE):
            data = piece
            while data:
                # A piece at a time, so that a bomb is noticed before it has gone off.
                yield unpacker.decompress(data, 4 * _PIECE)
                data = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise ConfigError([f"{url} is no gzip file: {error}"]) from None
    if not unpacker.eof:
        raise ConfigError([f"{url} was cut off"])


def _write_record(folder: Path, record: Mapping[str, Fetched]) -> None:
    new = folder / f".{RECORD}.new"
    new.write_bytes(msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=2) + b"\n")
    new.replace(folder / RECORD)
