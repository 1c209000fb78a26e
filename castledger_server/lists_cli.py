"""``castledger lists``: lists of networks, of user agents, and databases of addresses: seen, and fetched when asked."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from analytics_core.errors import ConfigError, InvalidInput
from analytics_core.settings import ListMode, load_settings
from castledger_server.command_records import record_of_installation
from castledger_server.list_sources import Fetched, Kind, Source, fetch_source, read_record, read_sources
from castledger_server.retention_cli import find_settings
from castledger_server.shared_cli import add_shared

__all__ = ("add_lists", "list_lines", "update_lists")

_PROGRESS_BYTES: Final = 4 * 1024 * 1024


def add_lists(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``lists`` with its actions to the command line."""
    lists = commands.add_parser("lists", help="see and fetch lists of networks and agents, and databases of addresses")
    actions = lists.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser(
        "ls",
        help="list what can be fetched, under which licence, and what was",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="List the sources of lists, the licence of each, and what was fetched of them and when.",
    )
    _add_folder(ls)
    _add_sources(ls)
    ls.set_defaults(run=_list)
    update = actions.add_parser(
        "update",
        help="fetch sources by their names",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Fetch lists into the folder of lists. All files of a source are fetched and checked before any takes its\n"
            "place; where one cannot be had or used, those before stay. An ingest that is up reads them in a minute.\n"
            "Nothing is ever fetched by itself. What is fetched has a licence of its own, which is shown."
        ),
        epilog=(
            "examples:\n"
            "  castledger lists update x4b-networks\n"
            "  castledger lists update dbip-countries dbip-asns\n"
            "  castledger lists update x4b-networks --sources mirror.toml\n"
        ),
    )
    update.add_argument("names", nargs="+", metavar="SOURCE", help="as `castledger lists ls` names it, or `all`")
    _add_folder(update)
    _add_sources(update)
    update.set_defaults(run=_update)
    add_shared(actions, add_folder=_add_folder, folder=_folder)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="with `lists` in it (CASTLEDGER_DATA_DIR, CASTLEDGER_LISTS_DIR)",
    )


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sources",
        type=Path,
        metavar="FILE",
        help="your own list of sources, such as a mirror's, in the form of castledger_server/list_sources.toml",
    )


def _folder(options: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    data_dir: Path | None = options.data_dir
    return load_settings(environ, data_dir=data_dir.absolute() if data_dir else None).ingest.lists_dir


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    for line in list_lines(read_sources(options.sources), _folder(options, environ), now=dt.datetime.now(dt.UTC)):
        sys.stdout.write(f"{line}\n")
    return 0


def _update(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    sources, settings = read_sources(options.sources), find_settings(options, environ)

    def note(source: Source, found: Mapping[str, Fetched]) -> None:
        files = {name: fetched.sha256 for name, fetched in found.items()}
        record_of_installation(settings, action="lists.update", resource_id=source.name, after={"sha256": files})

    for line in update_lists(sources, options.names, settings.ingest.lists_dir, now=dt.datetime.now(dt.UTC), note=note):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0


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
