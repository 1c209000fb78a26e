"""All settings together: read from the environment at once, with every fault named."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from analytics_core.errors import ConfigError
from analytics_core.settings.admin import ADMIN, AdminSettings
from analytics_core.settings.api import API, PEOPLE, ApiSettings, PeopleSettings
from analytics_core.settings.collector import COLLECTOR, CollectorSettings
from analytics_core.settings.ingest import FEED, INGEST, FeedSettings, IngestSettings
from analytics_core.settings.mail import MAIL, MailSettings, mail_settings
from analytics_core.settings.parsing import Variable, choice, file_path, read_part
from analytics_core.settings.stores import (
    DATABASE,
    REDIS,
    DatabaseSettings,
    RedisSettings,
    Storage,
    database_url,
    redis_url,
)
from analytics_core.settings.tracker import TRACKER, TrackerSettings


class Service(enum.Enum):
    """Who asks for settings; decides which are required."""

    TRACKER = "tracker"
    INGEST = "ingest"
    API = "api"
    COLLECTOR = "collector"
    MIGRATE = "migrate"


_COMMANDS: Final = (
    Variable("CASTLEDGER_API_URL", "", "The API that commands talk to; by default that of the running `up`.", False),
    Variable("CASTLEDGER_API_KEY", "", "The key with which they do.", True),
    Variable(
        "CASTLEDGER_COLLECTOR_URL",
        "",
        "Where programs with the SDK send events; by default http://127.0.0.1:8001. The server does not read it.",
        False,
    ),
)
_COMMON: Final = (
    Variable(
        "CASTLEDGER_DATA_DIR",
        "",
        "Folder of everything we keep; by default /var/lib/castledger for root, else ~/.local/share/castledger.",
        False,
    ),
    Variable("CASTLEDGER_LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`.", False),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a service may be told. ``database`` is ``None`` only for trackers and collectors, which need none."""

    data_dir: Path
    log_level: str
    database: DatabaseSettings | None
    redis: RedisSettings | None
    mail: MailSettings | None
    tracker: TrackerSettings
    ingest: IngestSettings
    feed: FeedSettings
    api: ApiSettings
    collector: CollectorSettings
    people: PeopleSettings
    admin: AdminSettings

    def require_database(self) -> DatabaseSettings:
        """Return the database's settings.

        Raises:
            ConfigError: There are none.
        """
        if self.database is None:
            raise ConfigError(
                ["DATABASE_URL: is required here, such as postgresql://user:password@host:5432/castledger"]
            )
        return self.database


def default_data_dir(environ: Mapping[str, str], *, is_root: bool) -> Path:
    """Name the folder that is used when none is given.

    >>> default_data_dir({}, is_root=True)
    PosixPath('/var/lib/castledger')
    >>> default_data_dir({"XDG_DATA_HOME": "/x"}, is_root=False)
    PosixPath('/x/castledger')
    """
    if is_root:
        return Path("/var/lib/castledger")
    base = environ.get("XDG_DATA_HOME")
    if base:
        return Path(base) / "castledger"
    return Path(environ.get("HOME") or "~").expanduser() / ".local" / "share" / "castledger"


def variables() -> Iterator[Variable]:
    """List every variable that we read, in the order of the documentation."""
    yield from _COMMON
    yield from DATABASE
    yield from REDIS
    yield from MAIL
    for part in (TRACKER, INGEST, FEED, API, COLLECTOR, PEOPLE, ADMIN):
        for spec in part.values():
            yield Variable(spec.name, spec.default, spec.help, spec.secret)
    yield from _COMMANDS


def load_settings(
    environ: Mapping[str, str], *, service: Service | None = None, data_dir: Path | None = None
) -> Settings:
    """Read all settings and check them.

    Args:
        environ: The environment, such as ``os.environ``.
        service: Who asks: everyone but the tracker and the collector needs a database.
        data_dir: Wins over ``CASTLEDGER_DATA_DIR``.

    Returns:
        The settings, complete.

    Raises:
        ConfigError: Something is missing, malformed or contradictory; all faults at once.
    """
    faults: list[str] = []
    given = environ.get("CASTLEDGER_DATA_DIR", "").strip()
    folder = data_dir or (file_path(given) if given else default_data_dir(environ, is_root=os.geteuid() == 0))
    log_level = environ.get("CASTLEDGER_LOG_LEVEL", "").strip().lower() or "info"
    if log_level not in ("debug", "info", "warning", "error"):
        faults.append(f"CASTLEDGER_LOG_LEVEL: {log_level!r} is not one of debug, info, warning, error")
    url = database_url(environ, faults)
    redis = redis_url(environ, faults)
    mail = mail_settings(environ, faults)
    storage = Storage.AUTO
    try:
        storage = choice(Storage)(environ.get("CASTLEDGER_STORAGE", "").strip() or "auto")
    except ValueError as error:
        faults.append(f"CASTLEDGER_STORAGE: is not {error}")
    is_needed = service not in (None, Service.TRACKER, Service.COLLECTOR)
    if url is None and is_needed and not any("POSTGRES_" in fault for fault in faults):
        faults.append("DATABASE_URL: is required, such as postgresql://user:password@host:5432/castledger")
    tracker = read_part(TRACKER, environ, faults)
    ingest = read_part(INGEST, environ, faults)
    feed = read_part(FEED, environ, faults)
    api = read_part(API, environ, faults)
    collector = read_part(COLLECTOR, environ, faults)
    people = read_part(PEOPLE, environ, faults)
    admin = read_part(ADMIN, environ, faults)
    tracker["spool_dir"] = tracker["spool_dir"] or folder / "spool"
    tracker["registry_path"] = tracker["registry_path"] or folder / "registry.snapshot"
    api["trusted_proxies"] = api["trusted_proxies"] or tracker["trusted_proxies"]
    collector["trusted_proxies"] = collector["trusted_proxies"] or tracker["trusted_proxies"]
    collector["spool_dir"] = collector["spool_dir"] or folder / "events"
    if collector["spool_dir"] == tracker["spool_dir"]:
        faults.append("COLLECTOR_SPOOL_DIR: is the folder of SPOOL_DIR; hits and events need one each")
    ingest["agent_lists_kept"] = folder / "agent-lists.json"
    ingest["lists_dir"] = ingest["lists_dir"] or folder / "lists"
    if tracker["proxy_protocol"] and tracker["trusted_proxies"]:
        faults.append("TRACKER_TRUSTED_PROXIES: contradicts TRACKER_PROXY_PROTOCOL; say which one names the client")
    faults += [
        f"{INGEST[name].name}: there is no file {ingest[name]}"
        for name in ("geo_database", "asn_database")
        if ingest[name] is not None and not ingest[name].is_file()
    ]
    if api["profiles"] is not None and not api["profiles"].is_file():
        faults.append(f"{API['profiles'].name}: there is no file {api['profiles']}")
    if faults:
        raise ConfigError(faults)
    return Settings(
        data_dir=folder,
        log_level=log_level,
        database=DatabaseSettings(url=url, storage=storage) if url is not None else None,
        redis=RedisSettings(url=redis) if redis is not None else None,
        mail=mail,
        tracker=TrackerSettings(**tracker),
        ingest=IngestSettings(**ingest),
        feed=FeedSettings(**feed),
        api=ApiSettings(**api),
        collector=CollectorSettings(**collector),
        people=PeopleSettings(**people),
        admin=AdminSettings(**admin),
    )
