"""The registry snapshot: the one file that flows from the ledger back to the trackers.

It names what a tracker may redirect to, so that trackers work with everything else dead. Ingest replaces it in one step
whenever it changes; trackers look at it twice a second and keep the last one that could be read.

A header of one line of JSON, then sorted lines, which are searched as they are: what a tracker takes in is one block
of bytes. Making objects of 50,000 hosts and 100,000 links would stop it for 66 ms and take 55 MiB.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import zlib
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from analytics_core.api_keys import KeyKind

__all__ = (
    "CollectorKey",
    "HostTable",
    "KeyTable",
    "Known",
    "Link",
    "LinkTable",
    "Registry",
    "RegistryDamaged",
    "Snapshot",
    "encode_registry",
    "parse_registry",
    "read_registry",
    "replace_registry",
    "write_registry",
)

_FORMAT: Final = "castledger-registry-4"
_SECTIONS: Final = {_FORMAT: 5, "castledger-registry-3": 4, "castledger-registry-2": 3}
_CLICK: Final = "click"
_LONGEST_HEADER: Final = 1024 * 1024


class RegistryDamaged(Exception):
    """A snapshot is not what ingest wrote."""


class Link(NamedTuple):
    """A link: where it leads, and whether its target is told an id of each click."""

    target: str
    wants_click_id: bool = False


class LinkTable(Protocol):
    """Links by slug."""

    def get(self, slug: str, /) -> Link | None:
        """Return a link; ``None`` when there is none."""
        ...


class HostTable(Protocol):
    """Slugs of links by the host that leads to them, whatever path is asked for."""

    def get(self, host: str, /) -> str | None:
        """Return a link's slug; ``None`` when the host is nobody's."""
        ...


class CollectorKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a collector knows of an API key that may send events.

    Attributes:
        tenant_no: Whose events they are.
        kind: Secret or publishable.
        origins: From whose pages a publishable one may be used.
        expires_us: Microseconds since 1970-01-01 UTC from which on it is refused; ``None`` when it stays.
        status: The tenant's: ``active``, ``suspended`` or ``closing``.
    """

    tenant_no: int
    kind: KeyKind = KeyKind.SECRET
    origins: tuple[str, ...] = ()
    expires_us: int | None = None
    status: str = "active"


class KeyTable(Protocol):
    """Keys by their hash, see :func:`analytics_core.api_keys.hash_key`."""

    def get(self, key_hash: bytes, /) -> CollectorKey | None:
        """Return a key; ``None`` when there is none that may send events."""
        ...


class Known(Protocol):
    """What trackers know of the ledger, however it is held.

    Attributes:
        version: Grows with every change.
        hosts: Lower-case host names (no port, no trailing dot) in any registered enclosure's chain, ours excepted.
        click_keys: Enclosure keys of verified podcasts, as 32 hex digits: what browsers may be redirected to.
        deny_hosts: Hosts never redirected to, with their subdomains.
        own_hosts: Host names under which trackers of this installation answer.
        links: What ``/go/<slug>`` leads to, by slug.
        vanity_hosts: Slugs of links by the lower-case name of a host of their own.
        keys: Who may send events to collectors.
    """

    @property
    def version(self) -> int: ...
    @property
    def hosts(self) -> Container[str]: ...
    @property
    def click_keys(self) -> Container[str]: ...
    @property
    def deny_hosts(self) -> frozenset[str]: ...
    @property
    def own_hosts(self) -> frozenset[str]: ...
    @property
    def links(self) -> LinkTable: ...
    @property
    def vanity_hosts(self) -> HostTable: ...
    @property
    def keys(self) -> KeyTable: ...


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """:class:`Known` as whoever writes a snapshot has it."""

    version: int = 0
    hosts: frozenset[str] = frozenset()
    click_keys: frozenset[str] = frozenset()
    deny_hosts: frozenset[str] = frozenset()
    own_hosts: frozenset[str] = frozenset()
    links: dict[str, Link] = {}
    vanity_hosts: dict[str, str] = {}
    keys: dict[bytes, CollectorKey] = {}


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot's first line.

    Attributes:
        lines: How many there are of hosts, click keys, links, API keys and vanity hosts, in this order.
        sizes: How many bytes these are.
    """

    format: str
    version: int
    deny_hosts: list[str]
    own_hosts: list[str]
    lines: tuple[int, ...]
    sizes: tuple[int, ...]
    crc: int


class _Lines:
    """Sorted lines of a snapshot, each a key and perhaps a value behind a tab."""

    def __init__(self, data: bytes, start: int, size: int, count: int) -> None:
        self._data = data
        self._start = start
        self._end = start + size
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(key) is not None

    def __iter__(self) -> Iterator[str]:
        for line in self._data[self._start : self._end].splitlines():
            yield line.partition(b"\t")[0].decode()

    def _find(self, key: str) -> str | None:
        data, wanted = self._data, key.encode(errors="surrogatepass")
        low, high = self._start, self._end
        while low < high:
            begin = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
            end = data.index(b"\n", begin)
            name, _, value = data[begin:end].partition(b"\t")
            if name == wanted:
                return value.decode()
            if name < wanted:
                low = end + 1
            else:
                high = begin
        return None


class _Links(_Lines):
    """Lines of links: slug, target, and ``click`` where an id is wanted."""

    def get(self, slug: str, /) -> Link | None:
        """Return a link; ``None`` when there is none."""
        found = self._find(slug)
        if found is None:
            return None
        target, _, wish = found.partition("\t")
        return Link(target, wish == _CLICK)


class _Keys(_Lines):
    """Lines of API keys: the hash as 64 hex digits, and what is known of the key as JSON."""

    def get(self, key_hash: bytes, /) -> CollectorKey | None:
        """Return a key; ``None`` when there is none."""
        found = self._find(key_hash.hex())
        return None if found is None else _key_decoder.decode(found)


class _Hosts(_Lines):
    """Lines of hosts that lead to a link: the host and the link's slug."""

    def get(self, host: str, /) -> str | None:
        """Return a link's slug; ``None`` when the host is nobody's."""
        # Most installations have none: then whatever is asked for costs no search.
        return self._find(host) if self._count else None


_key_decoder: Final = msgspec.json.Decoder(CollectorKey)


class Snapshot:
    """:class:`Known` as a file says it.

    Attributes:
        digest: Equal where everything but the version is.
    """

    def __init__(self, data: bytes, header: _Header, start: int) -> None:
        starts = list(itertools.accumulate(header.sizes, initial=start))
        self.hosts = _Lines(data, starts[0], header.sizes[0], header.lines[0])
        self.click_keys = _Lines(data, starts[1], header.sizes[1], header.lines[1])
        self.links = _Links(data, starts[2], header.sizes[2], header.lines[2])
        # A snapshot of before there were collectors has no fourth section, one of before vanity hosts no fifth.
        missing = (0,) * (5 - len(header.sizes))
        sizes, lines = (*header.sizes, *missing), (*header.lines, *missing)
        self.keys = _Keys(data, starts[3], sizes[3], lines[3])
        self.vanity_hosts = _Hosts(data, starts[min(4, len(starts) - 1)], sizes[4], lines[4])
        self.version = header.version
        self.deny_hosts = frozenset(header.deny_hosts)
        self.own_hosts = frozenset(header.own_hosts)
        self.digest = (header.crc, header.lines, header.sizes, self.deny_hosts, self.own_hosts)


def _section(lines: Iterable[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in sorted(lines))


def encode_registry(registry: Registry) -> bytes:
    """Write a snapshot.

    Raises:
        ValueError: A host, a key, a slug or a target holds a tab or a line end.
    """
    keyed = [[text.encode() for text in registry.hosts], [text.encode() for text in registry.click_keys]]
    links = {slug.encode(): link for slug, link in registry.links.items()}
    targets = [link.target.encode() for link in links.values()]
    vanity = {host.encode(): slug.encode() for host, slug in registry.vanity_hosts.items()}
    for text in (*keyed[0], *keyed[1], *links, *targets, *vanity, *vanity.values()):
        if b"\n" in text or b"\t" in text:
            raise ValueError(f"{text!r} does not fit into a line")
    # Sorted by key alone: with the tab behind it, `a-b` would come before `a`.
    of_links = "".join(
        f"{slug.decode()}\t{links[slug].target}" + (f"\t{_CLICK}\n" if links[slug].wants_click_id else "\n")
        for slug in sorted(links)
    ).encode()
    of_keys = _section(key.hex().encode() + b"\t" + msgspec.json.encode(registry.keys[key]) for key in registry.keys)
    of_vanity = b"".join(b"%b\t%b\n" % (host, vanity[host]) for host in sorted(vanity))
    sections = (_section(keyed[0]), _section(keyed[1]), of_links, of_keys, of_vanity)
    body = b"".join(sections)
    header = _Header(
        format=_FORMAT,
        version=registry.version,
        deny_hosts=sorted(registry.deny_hosts),
        own_hosts=sorted(registry.own_hosts),
        lines=(len(registry.hosts), len(registry.click_keys), len(links), len(registry.keys), len(vanity)),
        sizes=tuple(len(section) for section in sections),
        crc=zlib.crc32(body),
    )
    return msgspec.json.encode(header) + b"\n" + body


def parse_registry(data: bytes) -> Snapshot:
    """Read a snapshot.

    Raises:
        RegistryDamaged: It is something else, or not whole.
    """
    end = data.find(b"\n", 0, _LONGEST_HEADER)
    try:
        header = msgspec.json.decode(data[: max(end, 0)], type=_Header)
    except msgspec.MsgspecError as error:
        raise RegistryDamaged("its first line is no header") from error
    sections = _SECTIONS.get(header.format)
    if sections is None:
        raise RegistryDamaged(f"it is written as {header.format!r}, not as {_FORMAT!r}")
    if not len(header.lines) == len(header.sizes) == sections:
        raise RegistryDamaged(f"its first line does not tell of {sections} sections")
    start = end + 1
    if len(data) - start != sum(header.sizes):
        raise RegistryDamaged("it is not as long as it says")
    # Of a view, which costs no second copy; the interpreter lets others work meanwhile.
    if zlib.crc32(memoryview(data)[start:]) != header.crc:
        raise RegistryDamaged("its checksum is another")
    return Snapshot(data, header, start)


def read_registry(path: Path) -> Snapshot:
    """Read a snapshot from its file.

    Raises:
        OSError: The file is not there or cannot be read.
        RegistryDamaged: It holds something else.
    """
    return parse_registry(path.read_bytes())


def write_registry(path: Path, registry: Registry) -> None:
    """Replace the snapshot in one step: a reader sees the old file or the new one, never half of it.

    Raises:
        OSError: The folder cannot be written; the old file stands.
        ValueError: The registry holds what a snapshot cannot.
    """
    replace_registry(path, encode_registry(registry))


def replace_registry(path: Path, data: bytes) -> None:
    """Replace the snapshot by another that is written already.

    Raises:
        OSError: The folder cannot be written; the old file stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
