"""The doctor's look at this machine: folders, disk, ports, the spool and the lists."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from analytics_core.agent_lists import LIST_FILES, AgentLists
from analytics_core.agent_table import our_table
from analytics_core.errors import ConfigError
from analytics_core.geo import Precision
from analytics_core.own_profiles import load_profiles
from analytics_core.profiles import PROFILES
from analytics_core.settings import IngestSettings, Settings
from analytics_core.shared_addresses import FILE_NAME, WARN_DAYS, SharedEntry, describe_due
from analytics_core.spool import HEADER_BYTES, SpoolCorrupt, parse_header, read_frames
from castledger_server.data_dir import RunningUp
from castledger_server.findings import Finding, Level
from castledger_server.listeners import choose_port, local_url
from ingest.place_sources import open_places

__all__ = ("look_at_folder", "look_at_lists", "look_at_ports", "look_at_profiles", "look_at_spool")

_GIB: Final = 1024**3
_OLD_LISTS_DAYS: Final = 90
_OLD_SPOOL_S: Final = 15 * 60
_MOST_READ_BYTES: Final = 512 * 1024 * 1024
_PROBE_S: Final = 3.0
_LIST_KINDS: Final = ("datacenter", "vpn")


def look_at_folder(settings: Settings) -> Iterator[Finding]:
    """Look at the data folder and at the disks on which we write."""
    data_dir = settings.data_dir.absolute()
    existing = _existing(data_dir)
    if existing != data_dir:
        yield Finding(Level.WARN, "data folder", f"{data_dir} is not there yet; `castledger up` makes it")
    elif not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(Level.FAIL, "data folder", f"{data_dir} is closed to us; run as its owner, or `chown` it")
        return
    else:
        yield Finding(Level.OK, "data folder", str(data_dir))
    seen = set()
    spools = (settings.tracker.spool_dir, settings.collector.spool_dir)
    for folder in (existing, *(_existing(spool.absolute()) for spool in spools)):
        device = folder.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield _look_at_disk(folder)


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _look_at_disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    level = Level.FAIL if free < _GIB // 4 else Level.WARN if free < 2 * _GIB else Level.OK
    remedy = "" if level is Level.OK else "; free some, or the spool falls back on its reserve and then loses hits"
    return Finding(level, "disk", f"{free / _GIB:.1f} GiB are free at {folder}{remedy}")


def look_at_ports(settings: Settings, running: RunningUp | None) -> Iterator[Finding]:
    """Tell whether each port is free, or taken by what should answer there."""
    tracker, collector, api, admin = settings.tracker, settings.collector, settings.api, settings.admin
    hosts = [part.strip() for part in tracker.host.split(",") if part.strip()]
    ours = {urlsplit(url).port for url in running.answers.values() if url.startswith("http")} if running else set()
    ours |= {urlsplit(url).port for url in running.admin_urls.values()} if running else set()
    yield from _look_at_port("tracker", "TRACKER_PORT", hosts, tracker.port, "/robots.txt", ours)
    yield from _look_at_port("collector", "COLLECTOR_PORT", [collector.host], collector.port, "/c.js", ours)
    yield from _look_at_port("API", "CASTLEDGER_API_PORT", [api.host], api.port, "/api/v1/health", ours)
    for name, port in admin.ports.items():
        what = f"{name}'s health and metrics"
        yield from _look_at_port(what, "CASTLEDGER_ADMIN_PORTS", [admin.host], port, "/health/live", ours)


def _look_at_port(
    what: str, variable: str, hosts: Sequence[str], port: int, path: str, ours: set[int | None]
) -> Iterator[Finding]:
    if port == 0:
        return
    if port in ours:
        yield Finding(Level.OK, "ports", f"{port} is ours, for the {what}")
        return
    try:
        choose_port(hosts, port, option=variable)
    except ConfigError as error:
        if _answers(local_url(hosts, port) + path):
            yield Finding(Level.OK, "ports", f"{port} answers as the {what} does")
        else:
            # `up` takes another admin port by itself.
            level = Level.WARN if variable == "CASTLEDGER_ADMIN_PORTS" else Level.FAIL
            yield Finding(level, "ports", f"{'; '.join(error.faults)}, for the {what}")
    else:
        yield Finding(Level.OK, "ports", f"{port} is free for the {what}")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=_PROBE_S, trust_env=False).status_code == 200
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def look_at_spool(folder: Path, *, name: str = "spool", noun: str = "hits") -> Iterator[Finding]:
    """Tell how much waits to land, since when, and whether it can be read.

    Args:
        folder: A tracker's or a collector's.
        name: Of what was looked at.
        noun: What is recorded in it.
    """
    try:
        files = sorted((path, path.stat()) for path in folder.iterdir() if path.is_file())
    except FileNotFoundError:
        yield Finding(Level.OK, name, f"no {noun} were recorded yet")
        return
    except OSError as error:
        yield Finding(Level.FAIL, name, f"{folder} cannot be read ({error.strerror}); run as its owner")
        return
    damaged = [path for path, _ in files if path.suffix == ".damaged"]
    if damaged:
        yield Finding(
            Level.WARN,
            name,
            f"{len(damaged)} damaged segments are kept; what is whole in them has landed, so they may be removed "
            "(docs/spool.md, Damage)",
        )
    sealed = [(path, seen) for path, seen in files if path.suffix == ".sealed"]
    hits, left = 0, _MOST_READ_BYTES
    for path, seen in sealed:
        left -= seen.st_size
        if left < 0:
            break
        try:
            hits += _count_hits(path)
        except FileNotFoundError:
            # It has landed in between.
            continue
        except (OSError, SpoolCorrupt) as error:
            yield Finding(
                Level.FAIL,
                name,
                f"{path.name}: {error}; ingest lands what can be read of it and keeps it as .damaged; look at the disk",
            )
    waiting_s = time.time() - min((seen.st_mtime for _, seen in sealed), default=time.time())
    size = sum(seen.st_size for _, seen in sealed) / 1024**2
    text = f"{len(sealed)} sealed segments wait, {size:.1f} MiB, {'at least ' if left < 0 else ''}{hits:,} {noun}"
    if waiting_s > _OLD_SPOOL_S:
        yield Finding(Level.WARN, name, f"{text}, the oldest for {waiting_s / 60:.0f} min; see whether ingest runs")
    else:
        yield Finding(Level.OK, name, text)


def _count_hits(path: Path) -> int:
    data = path.read_bytes()
    parse_header(data)
    return sum(frame.hits for frame in read_frames(memoryview(data)[HEADER_BYTES:], offset=HEADER_BYTES))


def look_at_lists(settings: IngestSettings) -> Iterator[Finding]:
    """Tell how old the lists of networks are, and the databases of addresses if there are any."""
    folder = settings.lists_dir
    found = sorted(path for path in folder.glob("*.*") if path.suffix in (".txt", ".csv")) if folder.is_dir() else []
    # How old the list of shared addresses is its entries say.
    files = [path for path in found if path.name != FILE_NAME]
    if not files:
        yield Finding(
            Level.WARN,
            "lists",
            f"there are none in {folder}, so hits of data centres and VPNs count; fetch some "
            "(`castledger lists update x4b-networks`), or put datacenter.txt and vpn.txt there, a network a line",
        )
    else:
        for kind in _LIST_KINDS:
            if not any(path.name.startswith(kind) for path in files):
                yield Finding(
                    Level.WARN, "lists", f"there is no {kind}*.txt in {folder}, so hits of such networks count"
                )
        oldest = min(files, key=lambda path: path.stat().st_mtime)
        yield _look_at_age(f"{len(files)} lists of networks, the oldest, {oldest.name},", oldest)
    try:
        places = open_places(settings)
    except ConfigError as error:
        yield Finding(
            Level.FAIL, "lists", f"{'; '.join(error.faults)}; ingest uses what it had read before, if anything"
        )
    else:
        yield from _look_at_shared(places.networks.shared_entries)
        if settings.cities and places.countries.precision is not Precision.CITIES:
            yield Finding(
                Level.WARN,
                "lists",
                f"CASTLEDGER_CITIES=true, but {places.countries.version} names no cities; fetch a database that does "
                "(`castledger lists update dbip-cities`)",
            )
    if settings.agent_lists is not None:
        yield _look_at_agent_lists(settings, settings.agent_lists)
    for what, path in (
        ("the country database", settings.countries_path),
        ("the database of autonomous systems", settings.asns_path),
    ):
        if path is not None:
            yield _look_at_age(f"{what} {path.name}", path)


def _look_at_shared(entries: Sequence[SharedEntry]) -> Iterator[Finding]:
    if not entries:
        return
    due = describe_due(entries, dt.datetime.now(dt.UTC).date())
    if due is None:
        yield Finding(Level.OK, "shared addresses", f"{len(entries)}, each validated within {WARN_DAYS} days")
    else:
        yield Finding(
            Level.WARN,
            "shared addresses",
            f"{due}; ask whoever runs the network, then `castledger lists shared validate CIDR`, or `rm CIDR`",
        )


def _look_at_agent_lists(settings: IngestSettings, folder: Path) -> Finding:
    lists = AgentLists(folder, settings.agent_lists_mode, keep=settings.agent_lists_kept)
    if lists.fault is not None:
        before = "our own table" if lists.table is our_table() else "the lists before"
        text = f"{folder / lists.fault}; {before} stays in force; fetch the lists again"
        return Finding(Level.FAIL, "lists", text)
    oldest = min((folder / name for name in LIST_FILES), key=lambda path: path.stat().st_mtime)
    return _look_at_age(f"{len(LIST_FILES)} lists of user agents, version {lists.table.version},", oldest)


def look_at_profiles(path: Path | None) -> Iterator[Finding]:
    """Tell whether the installation's own profiles can be used, when there are any."""
    if path is None:
        return
    try:
        own = len(load_profiles(path)) - len(PROFILES)
    except ConfigError as error:
        yield from (Finding(Level.FAIL, "profiles", fault) for fault in error.faults)
    else:
        yield Finding(Level.OK, "profiles", f"{own} of your own in {path}")


def _look_at_age(what: str, path: Path) -> Finding:
    age_days = (time.time() - path.stat().st_mtime) / 86_400
    text = f"{what} is {age_days:.0f} days old"
    if age_days > _OLD_LISTS_DAYS:
        return Finding(Level.WARN, "lists", f"{text}; fetch a newer one (`castledger lists update`)")
    return Finding(Level.OK, "lists", text)
