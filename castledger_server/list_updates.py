"""Lists fetched from their sources, each checked before it takes its place, and what was fetched of them."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from analytics_core.errors import ConfigError, InvalidInput
from analytics_core.settings import ListMode
from castledger_server.list_sources import Fetched, Kind, Source, fetch_source, read_record

__all__ = ("list_lines", "update_lists")

_PROGRESS_BYTES: Final = 4 * 1024 * 1024


def list_lines(sources: Mapping[str, Source], folder: Path, *, now: dt.datetime) -> Iterator[str]:
    """Tell what can be fetched and what was, some lines a source."""
    record = read_record(folder)
    yield f"in {folder}:"
    for source in sources.values():
        yield f"{source.name:<18}{source.licence:<11}{source.gives}"
        yield f"{'':<18}{source.homepage}" + (f"; to be shown: {source.credit}" if source.credit else "")
        for file in source.files:
            fetched = record.get(file.name)
            if fetched is None or not (folder / file.name).exists():
                yield f"{'':<18}{file.name}: not fetched"
            else:
                yield f"{'':<18}{file.name}: {_describe(fetched, now)}"


def _describe(fetched: Fetched, now: dt.datetime) -> str:
    days = (now - fetched.fetched_at).days
    age = "today" if days < 1 else "yesterday" if days == 1 else f"{days} days ago"
    return f"{fetched.bytes:,} bytes, fetched {age}, sha256 {fetched.sha256[:16]}…"


def update_lists(
    sources: Mapping[str, Source],
    names: list[str],
    folder: Path,
    *,
    now: dt.datetime,
    fetch: Callable[..., dict[str, Fetched]] = fetch_source,
    note: Callable[[Source, Mapping[str, Fetched]], None] | None = None,
) -> Iterator[str]:
    """Fetch sources one after the other, and say what came of it.

    Args:
        sources: Those that there are.
        names: Those that are wanted, or ``all``.
        folder: Of lists.
        now: Aware instant.
        fetch: Fetches the files of one.
        note: Puts on record what was fetched of one, once it has taken its place.

    Raises:
        ConfigError: A file cannot be used; sources before it have been taken.
        InvalidInput: There is no such source.
        Unavailable: One cannot be had; sources before it have been taken.
    """
    if names == ["all"]:
        names = list(sources)
    for name in names:
        if name not in sources:
            raise InvalidInput("SOURCE", f"there is no source {name!r}; there are: {', '.join(sources)}")
    for name in dict.fromkeys(names):
        source = sources[name]
        yield f"{source.name}: {source.gives}; licence {source.licence}, {source.homepage}"
        record = read_record(folder)
        found = fetch(source, folder, check=_CHECKS[source.kind], now=now, progress=_show_progress())
        if note is not None:
            note(source, found)
        for file, fetched in found.items():
            before = record.get(file)
            is_new = before is None or before.sha256 != fetched.sha256
            yield f"  {file}: {'new' if is_new else 'unchanged'}, {fetched.bytes:,} bytes, sha256 {fetched.sha256}"
        if source.kind is Kind.AGENTS:
            yield f"  to have them asked, set CASTLEDGER_AGENT_LISTS={folder / 'agents'}"
        if source.credit:
            yield f"  where figures are shown, show this: {source.credit}"


def _show_progress() -> Callable[[str, int], None]:
    shown: dict[str, int] = {}

    def show(name: str, size: int) -> None:
        if sys.stderr.isatty() and size - shown.get(name, 0) >= _PROGRESS_BYTES:
            shown[name] = size
            sys.stderr.write(f"\r  {name}: {size / 1e6:,.0f} MB\033[K\r")

    return show


def _check_networks(folder: Path) -> None:
    from analytics_core.networks import load_network_lists

    lists = load_network_lists(folder)
    if lists.version == "none":
        raise ConfigError(["the lists hold no network; what was there before stays"])


def _check_countries(folder: Path) -> None:
    from analytics_core.geo import open_countries

    for path in sorted(folder.rglob("*.mmdb")):
        open_countries(path)


def _check_asns(folder: Path) -> None:
    from analytics_core.asns import open_asns

    for path in sorted(folder.rglob("*.mmdb")):
        open_asns(path)


def _check_agents(folder: Path) -> None:
    from analytics_core.agent_lists import build_table, read_list_files

    build_table(read_list_files(folder / "agents"), ListMode.REPLACE)


_CHECKS: Final[Mapping[Kind, Callable[[Path], None]]] = {
    Kind.NETWORKS: _check_networks,
    Kind.COUNTRIES: _check_countries,
    Kind.ASNS: _check_asns,
    Kind.AGENTS: _check_agents,
}
