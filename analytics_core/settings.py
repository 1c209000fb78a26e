"""The only reader of the environment: every setting with its variable, its default and its meaning.

Each part is a frozen struct whose fields name their variable; ``docs/configuration.md`` is generated from them.
:func:`load_settings` reports every fault at once, so that a service is mended in one go.
"""

from __future__ import annotations

import enum
import ipaddress
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import msgspec

from analytics_core.errors import ConfigError, InvalidInput
from analytics_core.mail import Sender, parse_sender
from analytics_core.secret_strength import is_weak_secret
from analytics_core.smtp_url import CONSOLE, parse_smtp_url

__all__ = (
    "AdminSettings",
    "ApiSettings",
    "CollectorSettings",
    "DatabaseSettings",
    "FeedSettings",
    "HostPolicyMode",
    "IngestSettings",
    "ListMode",
    "MailSettings",
    "Network",
    "PeopleSettings",
    "RedisSettings",
    "Registration",
    "Secret",
    "Service",
    "Settings",
    "Storage",
    "SyncMode",
    "TrackerSettings",
    "Variable",
    "default_data_dir",
    "load_settings",
    "parse_public_url",
    "variables",
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]")
_ORIGIN: Final = re.compile(rf"https?://(?:{_HOST_NAME.pattern})(?::[0-9]{{1,5}})?")


class Secret(str):
    """A text that does not show itself where it is printed by accident.

    >>> print(repr(Secret("hunter2")))
    Secret('…')
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('…')"


class Service(enum.Enum):
    """Who asks for settings; decides which are required."""

    TRACKER = "tracker"
    INGEST = "ingest"
    API = "api"
    COLLECTOR = "collector"
    MIGRATE = "migrate"


class HostPolicyMode(enum.Enum):
    """Which hosts a player's request may be redirected to, beyond the known ones."""

    MEDIA = "media"
    KNOWN = "known"
    ANY = "any"


class ListMode(enum.Enum):
    """What an operator's lists of user agents are to our table."""

    EXTEND = "extend"
    """They are asked first, and our table for what they do not know."""
    REPLACE = "replace"
    """They are asked alone."""


class Registration(enum.Enum):
    """Who may become somebody here."""

    CLOSED = "closed"
    OPEN = "open"


class SyncMode(enum.Enum):
    """When recorded hits are forced to the disk."""

    INTERVAL = "interval"
    ALWAYS = "always"


class Storage(enum.Enum):
    """Which branch of the schema is used; ``AUTO`` chooses at the first migration."""

    AUTO = "auto"
    NATIVE = "native"
    TIMESCALE = "timescale"


class Variable(NamedTuple):
    """One environment variable, for the documentation."""

    name: str
    default: str
    help: str
    secret: bool


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _boolean(text: str) -> bool:
    value = {
        "1": True,
        "true": True,
        "yes": True,
        "on": True,
        "0": False,
        "false": False,
        "no": False,
        "off": False,
    }
    try:
        return value[text.lower()]
    except KeyError:
        raise ValueError("true or false") from None


def _choice(kind: type[enum.Enum]) -> Callable[[str], Any]:
    def parse(text: str) -> enum.Enum:
        try:
            return kind(text.lower())
        except ValueError:
            raise ValueError("one of " + ", ".join(str(member.value) for member in kind)) from None

    return parse


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"networks such as 10.0.0.0/8, separated by commas ({error})") from None


def _secrets(text: str) -> tuple[Secret, ...]:
    found = tuple(Secret(part.strip()) for part in text.split(",") if part.strip())
    if any(is_weak_secret(secret) for secret in found):
        raise ValueError("random enough: take what `openssl rand -base64 48` writes")
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip().lower() for part in text.split(",") if part.strip())


def _host_names(text: str) -> frozenset[str]:
    names = frozenset(_words(text))
    if not all(_HOST_NAME.fullmatch(name) for name in names):
        raise ValueError("host names without ports, such as ledger.example.com, separated by commas")
    return names


def _origins(text: str) -> frozenset[str]:
    origins = frozenset(_words(text))
    # What is asked for carries a credential, so that any page whatsoever is nobody's wish.
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("exact origins such as https://dash.example.com, separated by commas; * is none")
    return origins


def parse_public_url(text: str) -> str:
    """Read our tracker's address as prefixes begin with it: no slash at the end.

    Raises:
        ValueError: It is no http or https address, or has a user name, query or fragment.

    >>> parse_public_url("https://pod.example.com/")
    'https://pod.example.com'
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("an address such as https://pod.example.com") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise ValueError("an address such as https://pod.example.com")
    return text.rstrip("/")


_ADMIN_DEFAULTS: Final = {"tracker": 8081, "api": 8082, "ingest": 8083, "collector": 8084}


def _admin_ports(text: str) -> dict[str, int]:
    ports = dict(_ADMIN_DEFAULTS)
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, port = part.partition("=")
        if name not in ports or not re.fullmatch(r"\d{1,5}", port) or int(port) > 65535:
            raise ValueError("pairs such as tracker=8081,api=8082,ingest=8083,collector=8084")
        ports[name] = int(port)
    return ports


def _text(text: str) -> str:
    return text


def _path(text: str) -> Path:
    return Path(text).expanduser()


class _Spec(NamedTuple):
    name: str
    parse: Callable[[str], Any]
    default: str
    help: str


_TRACKER: Final = {
    "host": _Spec("TRACKER_HOST", _text, "0.0.0.0,::", "Addresses to listen on, separated by commas."),
    "port": _Spec("TRACKER_PORT", _integer(0, 65535), "8080", "Port to listen on; 0 takes a free one."),
    "workers": _Spec("TRACKER_WORKERS", _integer(1, 64), "1", "Tracker processes; one serves a core."),
    "public_url": _Spec(
        "TRACKER_PUBLIC_URL",
        parse_public_url,
        "",
        "Our name in every prefix we hand out, such as https://pod.example.com.",
    ),
    "hosts": _Spec(
        "TRACKER_HOSTS",
        _choice(HostPolicyMode),
        "media",
        "Where players may be sent beyond known hosts: `media` (paths ending like audio or video), `known`, `any`.",
    ),
    "deny_hosts": _Spec("TRACKER_DENY_HOSTS", _words, "", "Hosts never redirected to, with their subdomains."),
    "trusted_proxies": _Spec(
        "TRACKER_TRUSTED_PROXIES",
        _networks,
        "",
        "Networks whose X-Forwarded-For is believed, such as 10.0.0.0/8.",
    ),
    "proxy_protocol": _Spec(
        "TRACKER_PROXY_PROTOCOL",
        _boolean,
        "false",
        "Whether connections begin with a PROXY protocol v2 header.",
    ),
    "sync": _Spec(
        "TRACKER_SYNC",
        _choice(SyncMode),
        "interval",
        "`interval` syncs the spool every 100 ms; `always` holds answers until their hits are on the disk.",
    ),
    "flood_rate": _Spec(
        "TRACKER_FLOOD_RATE",
        _integer(0, 10_000_000),
        "1000",
        "Hits a second from one /24 or /64, over 10 s, above which they are redirected but only counted; 0 is off.",
    ),
    "max_connections": _Spec(
        "TRACKER_MAX_CONNECTIONS",
        _integer(16, 1_000_000),
        "10000",
        "Open connections a process; then idle ones close.",
    ),
    "spool_dir": _Spec("SPOOL_DIR", _path, "", "Folder of the spool; by default `spool` in the data folder."),
    "reserve_mb": _Spec(
        "SPOOL_RESERVE_MB",
        _integer(0, 65536),
        "256",
        "Disk space kept for the spool when the disk is full, in MiB.",
    ),
    "segment_mb": _Spec("SPOOL_SEGMENT_MB", _integer(1, 1024), "64", "Size at which a segment is sealed, in MiB."),
    "segment_s": _Spec("SPOOL_SEGMENT_SECONDS", _integer(1, 3600), "60", "Age at which a segment with hits is sealed."),
    "registry_path": _Spec(
        "CASTLEDGER_REGISTRY",
        _path,
        "",
        "File of known hosts; by default `registry.snapshot` in the data folder.",
    ),
}
_INGEST: Final = {
    "batch_hits": _Spec("CASTLEDGER_INGEST_BATCH", _integer(1, 1_000_000), "50000", "Most hits landed at once."),
    "geo_database": _Spec(
        "CASTLEDGER_GEO_DATABASE",
        _path,
        "",
        "A city or country database (.mmdb); by default cities.mmdb or countries.mmdb of the lists, or registry data.",
    ),
    "cities": _Spec(
        "CASTLEDGER_CITIES",
        _boolean,
        "false",
        "Keep with each hit the city that a city database names: of a small place, it can point at a person.",
    ),
    "asn_database": _Spec(
        "CASTLEDGER_ASN_DATABASE",
        _path,
        "",
        "A database of autonomous systems (.mmdb); by default asns.mmdb among the lists, if it is there.",
    ),
    "lists_dir": _Spec(
        "CASTLEDGER_LISTS_DIR", _path, "", "Folder of network lists; by default `lists` in the data folder."
    ),
    "agent_lists": _Spec(
        "CASTLEDGER_AGENT_LISTS",
        _path,
        "",
        "Folder of lists of user agents in the OPAWG v2 format; without one, our own table decides alone.",
    ),
    "agent_lists_mode": _Spec(
        "CASTLEDGER_AGENT_LISTS_MODE",
        _choice(ListMode),
        "extend",
        "`extend` asks these lists first and our own table for what they do not know; `replace` asks them alone.",
    ),
    "final_after_days": _Spec(
        "CASTLEDGER_FINAL_AFTER_DAYS", _integer(1, 365), "7", "Days after which a day's figures become final."
    ),
    "hits_months": _Spec("CASTLEDGER_HITS_MONTHS", _integer(1, 240), "25", "Months for which hits are kept."),
}
_FEED: Final = {
    "allow_private": _Spec(
        "CASTLEDGER_FEED_ALLOW_PRIVATE",
        _boolean,
        "false",
        "Whether feeds may be fetched from private and loopback addresses.",
    ),
    "max_mb": _Spec("CASTLEDGER_FEED_MAX_MB", _integer(1, 200), "20", "Largest feed that is read, in MiB."),
    "timeout_s": _Spec("CASTLEDGER_FEED_TIMEOUT", _integer(1, 300), "20", "Seconds after which a fetch is given up."),
    "poll_s": _Spec("CASTLEDGER_FEED_POLL", _integer(5, 86_400), "900", "Seconds between two polls of a feed."),
}
_API: Final = {
    "host": _Spec("CASTLEDGER_API_HOST", _text, "0.0.0.0", "Address that the API listens on."),  # noqa: S104
    "port": _Spec("CASTLEDGER_API_PORT", _integer(0, 65535), "8000", "Port of the API; 0 takes a free one."),
    "max_body_mb": _Spec("CASTLEDGER_API_MAX_BODY_MB", _integer(1, 200), "20", "Largest request body, in MiB."),
    "rate": _Spec(
        "CASTLEDGER_API_RATE",
        _integer(0, 600_000),
        "600",
        "Units a minute for each key or person; most requests cost one (docs/limits.md). 0 sets no limit.",
    ),
    "burst": _Spec(
        "CASTLEDGER_API_BURST", _integer(1, 10_000), "120", "Units that each of them may spend at once after a rest."
    ),
    "network_rate": _Spec(
        "CASTLEDGER_API_NETWORK_RATE",
        _integer(0, 10_000),
        "60",
        "Units a minute for each IPv4 address or IPv6 /64 whose requests show no valid key. 0 sets no limit.",
    ),
    "trusted_proxies": _Spec(
        "CASTLEDGER_API_TRUSTED_PROXIES",
        _networks,
        "",
        "Networks whose X-Forwarded-For the API believes; by default those of TRACKER_TRUSTED_PROXIES.",
    ),
    "hosts": _Spec(
        "CASTLEDGER_API_HOSTS",
        _host_names,
        "",
        "Names under which the API answers, separated by commas; others get 421. By default it answers under any.",
    ),
    "origins": _Spec(
        "CASTLEDGER_API_ORIGINS",
        _origins,
        "",
        "Web pages of others that may ask the API, such as https://dash.example.com, separated by commas.",
    ),
    "profiles": _Spec(
        "CASTLEDGER_PROFILES",
        _path,
        "",
        "A file (.toml) of counting profiles of your own, to compare with and to judge days by; docs/methodology.md "
        "says what it holds.",
    ),
}
_PEOPLE: Final = {
    "jwt_secrets": _Spec(
        "JWT_SECRET",
        _secrets,
        "",
        "What access tokens are signed with: 32 random bytes or more; several separated by commas, of which the first "
        "signs. By default one that is made and kept in the data folder.",
    ),
    "registration": _Spec(
        "CASTLEDGER_REGISTRATION",
        _choice(Registration),
        "closed",
        "`closed`: people come by invitation, or are added by the operator; `open`: anybody may register.",
    ),
    "bcrypt_cost": _Spec(
        "CASTLEDGER_BCRYPT_COST",
        _integer(4, 16),
        "12",
        "Work that a password's hash takes; one more doubles it. Hashes made with less are renewed at sign-in.",
    ),
    "public_url": _Spec(
        "CASTLEDGER_PUBLIC_URL",
        parse_public_url,
        "",
        "The address of the API and the page, such as https://ledger.example.com: links in mail begin with it.",
    ),
}
_COLLECTOR: Final = {
    "host": _Spec("COLLECTOR_HOST", _text, "0.0.0.0", "Address that the collector listens on."),  # noqa: S104
    "port": _Spec("COLLECTOR_PORT", _integer(0, 65535), "8001", "Port of the collector; 0 takes a free one."),
    "spool_dir": _Spec(
        "COLLECTOR_SPOOL_DIR",
        _path,
        "",
        "Folder of events that have not landed; by default `events` in the data folder.",
    ),
    "reserve_mb": _Spec(
        "COLLECTOR_RESERVE_MB",
        _integer(0, 65536),
        "64",
        "Disk space kept for events when the disk is full, in MiB; after it they are refused, and senders keep them.",
    ),
    "sync": _Spec(
        "COLLECTOR_SYNC",
        _choice(SyncMode),
        "interval",
        "`interval` syncs the spool every 100 ms; `always` holds answers until their events are on the disk.",
    ),
    "rate": _Spec(
        "COLLECTOR_RATE",
        _integer(0, 60_000_000),
        "600000",
        "Events a minute for each key, of which it may send a tenth at once after a rest. 0 sets no limit.",
    ),
    "network_rate": _Spec(
        "COLLECTOR_NETWORK_RATE",
        _integer(0, 1_000_000),
        "600",
        "Requests a minute for each IPv4 address or IPv6 /64 that shows no valid secret key. 0 sets no limit.",
    ),
    "max_connections": _Spec(
        "COLLECTOR_MAX_CONNECTIONS",
        _integer(16, 1_000_000),
        "4096",
        "Open connections; further clients wait until one closes.",
    ),
    "trusted_proxies": _Spec(
        "COLLECTOR_TRUSTED_PROXIES",
        _networks,
        "",
        "Networks whose X-Forwarded-For the collector believes; by default those of TRACKER_TRUSTED_PROXIES.",
    ),
}
_SECRETS: Final = ("JWT_SECRET",)
_ADMIN: Final = {
    "host": _Spec("CASTLEDGER_ADMIN_HOST", _text, "127.0.0.1", "Address of every service's health and metrics."),
    "ports": _Spec(
        "CASTLEDGER_ADMIN_PORTS",
        _admin_ports,
        ",".join(f"{name}={port}" for name, port in _ADMIN_DEFAULTS.items()),
        "Ports of health and metrics, a service each.",
    ),
}
_DATABASE: Final = (
    Variable("DATABASE_URL", "", "PostgreSQL to use: postgresql://user:password@host:5432/castledger.", True),
    Variable("POSTGRES_HOST", "", "Its host, when there is no DATABASE_URL.", False),
    Variable("POSTGRES_PORT", "5432", "Its port.", False),
    Variable("POSTGRES_DATABASE", "castledger", "Its database.", False),
    Variable("POSTGRES_USER", "castledger", "The login.", False),
    Variable("POSTGRES_PASSWORD", "", "Its password.", True),
    Variable(
        "CASTLEDGER_STORAGE",
        "auto",
        "`timescale` or `native`; `auto` takes TimescaleDB where it is available, once, at the first migration.",
        False,
    ),
)
_REDIS: Final = (
    Variable("REDIS_URL", "", "Redis 6.2 or newer that several hosts share: redis://:password@host:6379/0.", True),
    Variable("REDIS_HOST", "", "Its host, when there is no REDIS_URL.", False),
    Variable("REDIS_PORT", "6379", "Its port.", False),
    Variable("REDIS_PASSWORD", "", "Its password.", True),
)
_MAIL: Final = (
    Variable(
        "CASTLEDGER_SMTP_URL",
        "",
        "Server that takes our mail: smtp://user:password@mail.example.org:587, or smtps://. Without one mail waits, "
        "and `castledger mail` shows it. `console:` writes it to the log, for development.",
        True,
    ),
    Variable("CASTLEDGER_MAIL_FROM", "", "Who our mail is from, such as Castledger <ledger@example.org>.", False),
)
_COMMANDS: Final = (
    Variable("CASTLEDGER_API_URL", "", "The API that commands talk to; by default that of the running `up`.", False),
    Variable("CASTLEDGER_API_KEY", "", "The key with which they do.", True),
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


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which PostgreSQL, and which branch of the schema."""

    url: Secret
    storage: Storage = Storage.AUTO


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which Redis; one box needs none."""

    url: Secret


class MailSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which server takes our mail, or ``console:``, and who it is from."""

    url: Secret
    sender: Sender


class TrackerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The tracker and its spool."""

    host: str
    port: int
    workers: int
    public_url: str
    hosts: HostPolicyMode
    deny_hosts: tuple[str, ...]
    trusted_proxies: tuple[Network, ...]
    proxy_protocol: bool
    sync: SyncMode
    flood_rate: int
    max_connections: int
    spool_dir: Path
    reserve_mb: int
    segment_mb: int
    segment_s: int
    registry_path: Path


class IngestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Landing, judging, and what is kept for how long."""

    batch_hits: int
    geo_database: Path | None
    cities: bool
    asn_database: Path | None
    lists_dir: Path
    agent_lists: Path | None
    agent_lists_mode: ListMode
    agent_lists_kept: Path
    final_after_days: int
    hits_months: int

    @property
    def countries_path(self) -> Path | None:
        """The database of countries: the one that is named, else one that was fetched, if any: of cities first."""
        cities = _named_or_there(self.geo_database, self.lists_dir / "cities.mmdb")
        return _named_or_there(cities, self.lists_dir / "countries.mmdb")

    @property
    def asns_path(self) -> Path | None:
        """The same of autonomous systems."""
        return _named_or_there(self.asn_database, self.lists_dir / "asns.mmdb")


def _named_or_there(named: Path | None, fetched: Path) -> Path | None:
    return named or (fetched if fetched.is_file() else None)


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How feeds are fetched."""

    allow_private: bool
    max_mb: int
    timeout_s: int
    poll_s: int


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The API's listener and bounds."""

    host: str
    port: int
    max_body_mb: int
    rate: int
    burst: int
    network_rate: int
    trusted_proxies: tuple[Network, ...]
    hosts: frozenset[str]
    origins: frozenset[str]
    profiles: Path | None


class CollectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The collector's listener, bounds and spool."""

    host: str
    port: int
    spool_dir: Path
    reserve_mb: int
    sync: SyncMode
    rate: int
    network_rate: int
    max_connections: int
    trusted_proxies: tuple[Network, ...]


class PeopleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How people come in."""

    jwt_secrets: tuple[Secret, ...]
    registration: Registration
    bcrypt_cost: int
    public_url: str


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where health and metrics are served."""

    host: str
    ports: dict[str, int]


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
    yield from _DATABASE
    yield from _REDIS
    yield from _MAIL
    for part in (_TRACKER, _INGEST, _FEED, _API, _COLLECTOR, _PEOPLE, _ADMIN):
        for spec in part.values():
            yield Variable(spec.name, spec.default, spec.help, spec.name in _SECRETS)
    yield from _COMMANDS


def _read_part(specs: Mapping[str, _Spec], environ: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, spec in specs.items():
        text = environ.get(spec.name, "").strip()
        if not text:
            text = spec.default
            if not text and spec.parse in (_path, parse_public_url):
                values[field] = None if spec.parse is _path else ""
                continue
        try:
            values[field] = spec.parse(text)
        except ValueError as error:
            shown = "what it is set to" if spec.name in _SECRETS else repr(text)
            faults.append(f"{spec.name}: {shown} is not {error}")
            values[field] = None
    return values


def _database_url(environ: Mapping[str, str], faults: list[str]) -> Secret | None:
    url = environ.get("DATABASE_URL", "").strip()
    parts = {
        name: environ.get(f"POSTGRES_{name}", "").strip() for name in ("HOST", "PORT", "DATABASE", "USER", "PASSWORD")
    }
    if not url:
        if not parts["HOST"]:
            stray = [f"POSTGRES_{name}" for name, value in parts.items() if value]
            if stray:
                faults.append(f"POSTGRES_HOST: is missing although {', '.join(stray)} is set")
            return None
        port = parts["PORT"] or "5432"
        if not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
            faults.append(f"POSTGRES_PORT: {port!r} is not a whole number from 1 to 65535")
        user = quote(parts["USER"] or "castledger", safe="")
        password = ":" + quote(parts["PASSWORD"], safe="") if parts["PASSWORD"] else ""
        database = quote(parts["DATABASE"] or "castledger", safe="")
        host = parts["HOST"]
        if host.startswith("/"):
            return Secret(f"postgresql://{user}{password}@/{database}?host={quote(host, safe='')}&port={port}")
        return Secret(f"postgresql://{user}{password}@{f'[{host}]' if ':' in host else host}:{port}/{database}")
    try:
        split = urlsplit(url)
        said = {
            "HOST": split.hostname or "",
            "PORT": str(split.port or "5432"),
            "DATABASE": unquote(split.path.lstrip("/")),
            "USER": unquote(split.username or ""),
            "PASSWORD": unquote(split.password or ""),
        }
    except ValueError:
        faults.append("DATABASE_URL: is no address such as postgresql://user:password@host:5432/castledger")
        return None
    if split.scheme not in ("postgresql", "postgres"):
        faults.append("DATABASE_URL: has to begin with postgresql://")
        return None
    differing = [f"POSTGRES_{name}" for name, value in parts.items() if value and value != said[name]]
    if differing:
        warnings.warn(f"DATABASE_URL wins over {', '.join(differing)}, which say otherwise", stacklevel=3)
    return Secret(url)


def _redis_url(environ: Mapping[str, str], faults: list[str]) -> Secret | None:
    url = environ.get("REDIS_URL", "").strip()
    parts = {name: environ.get(f"REDIS_{name}", "").strip() for name in ("HOST", "PORT", "PASSWORD")}
    if not url:
        if not parts["HOST"]:
            stray = [f"REDIS_{name}" for name, value in parts.items() if value]
            if stray:
                faults.append(f"REDIS_HOST: is missing although {', '.join(stray)} is set")
            return None
        port = parts["PORT"] or "6379"
        if not re.fullmatch(r"\d{1,5}", port) or not 0 < int(port) < 65536:
            faults.append(f"REDIS_PORT: {port!r} is not a whole number from 1 to 65535")
        password = f":{quote(parts['PASSWORD'], safe='')}@" if parts["PASSWORD"] else ""
        host = parts["HOST"]
        return Secret(f"redis://{password}{f'[{host}]' if ':' in host else host}:{port}/0")
    try:
        split = urlsplit(url)
        said = {
            "HOST": split.hostname or "",
            "PORT": str(split.port or "6379"),
            "PASSWORD": unquote(split.password or ""),
        }
    except ValueError:
        faults.append("REDIS_URL: is no address such as redis://:password@host:6379/0")
        return None
    if split.scheme not in ("redis", "rediss", "unix"):
        faults.append("REDIS_URL: has to begin with redis://, rediss:// or unix://")
        return None
    differing = [f"REDIS_{name}" for name, value in parts.items() if value and value != said[name]]
    if differing:
        warnings.warn(f"REDIS_URL wins over {', '.join(differing)}, which say otherwise", stacklevel=3)
    return Secret(url)


def _mail(environ: Mapping[str, str], faults: list[str]) -> MailSettings | None:
    url = environ.get("CASTLEDGER_SMTP_URL", "").strip()
    text = environ.get("CASTLEDGER_MAIL_FROM", "").strip()
    sender: Sender | None = Sender("Castledger", "castledger@localhost") if url == CONSOLE else None
    if text:
        try:
            sender = parse_sender(text)
        except InvalidInput:
            faults.append(f"CASTLEDGER_MAIL_FROM: {text!r} is not an address such as Castledger <ledger@example.org>")
            return None
    if not url:
        return None
    if url != CONSOLE:
        try:
            parse_smtp_url(url)
        except ValueError as error:
            faults.append(f"CASTLEDGER_SMTP_URL: is not {error}")
    if sender is None:
        faults.append("CASTLEDGER_MAIL_FROM: is required with CASTLEDGER_SMTP_URL, such as ledger@example.org")
        return None
    return MailSettings(url=Secret(url), sender=sender)


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
    folder = data_dir or (_path(given) if given else default_data_dir(environ, is_root=os.geteuid() == 0))
    log_level = environ.get("CASTLEDGER_LOG_LEVEL", "").strip().lower() or "info"
    if log_level not in ("debug", "info", "warning", "error"):
        faults.append(f"CASTLEDGER_LOG_LEVEL: {log_level!r} is not one of debug, info, warning, error")
    url = _database_url(environ, faults)
    redis_url = _redis_url(environ, faults)
    mail = _mail(environ, faults)
    storage = Storage.AUTO
    try:
        storage = _choice(Storage)(environ.get("CASTLEDGER_STORAGE", "").strip() or "auto")
    except ValueError as error:
        faults.append(f"CASTLEDGER_STORAGE: is not {error}")
    is_needed = service not in (None, Service.TRACKER, Service.COLLECTOR)
    if url is None and is_needed and not any("POSTGRES_" in fault for fault in faults):
        faults.append("DATABASE_URL: is required, such as postgresql://user:password@host:5432/castledger")
    tracker = _read_part(_TRACKER, environ, faults)
    ingest = _read_part(_INGEST, environ, faults)
    feed = _read_part(_FEED, environ, faults)
    api = _read_part(_API, environ, faults)
    collector = _read_part(_COLLECTOR, environ, faults)
    people = _read_part(_PEOPLE, environ, faults)
    admin = _read_part(_ADMIN, environ, faults)
    tracker["spool_dir"] = tracker["spool_dir"] or folder / "spool"
    tracker["registry_path"] = tracker["registry_path"] or folder / "registry.snapshot"
    api["trusted_proxies"] = api["trusted_proxies"] or tracker["trusted_proxies"]
    collector["trusted_proxies"] = collector["trusted_proxies"] or tracker["trusted_proxies"]
    collector["spool_dir"] = collector["spool_dir"] or folder / "events"
    ingest["agent_lists_kept"] = folder / "agent-lists.json"
    ingest["lists_dir"] = ingest["lists_dir"] or folder / "lists"
    if tracker["proxy_protocol"] and tracker["trusted_proxies"]:
        faults.append("TRACKER_TRUSTED_PROXIES: contradicts TRACKER_PROXY_PROTOCOL; say which one names the client")
    faults += [
        f"{_INGEST[name].name}: there is no file {ingest[name]}"
        for name in ("geo_database", "asn_database")
        if ingest[name] is not None and not ingest[name].is_file()
    ]
    if api["profiles"] is not None and not api["profiles"].is_file():
        faults.append(f"{_API['profiles'].name}: there is no file {api['profiles']}")
    if faults:
        raise ConfigError(faults)
    return Settings(
        data_dir=folder,
        log_level=log_level,
        database=DatabaseSettings(url=url, storage=storage) if url is not None else None,
        redis=RedisSettings(url=redis_url) if redis_url is not None else None,
        mail=mail,
        tracker=TrackerSettings(**tracker),
        ingest=IngestSettings(**ingest),
        feed=FeedSettings(**feed),
        api=ApiSettings(**api),
        collector=CollectorSettings(**collector),
        people=PeopleSettings(**people),
        admin=AdminSettings(**admin),
    )
