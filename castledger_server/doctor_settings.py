"""The doctor's look at the environment: what is missing, malformed, misspelt, contradictory or too easily guessed."""

from __future__ import annotations

import difflib
import ipaddress
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from analytics_core.api_keys import is_well_formed
from analytics_core.errors import ConfigError
from analytics_core.settings import Settings, load_settings, variables
from castledger_server.data_dir import API_KEY_FILE
from castledger_server.findings import Finding, Level

__all__ = ("look_at_environment", "look_at_secrets", "unknown_variables")

_PREFIXES: Final = ("CASTLEDGER_", "TRACKER_", "COLLECTOR_", "SPOOL_", "POSTGRES_", "REDIS_", "DATABASE_")
_OTHERS: Final = ("CASTLEDGER_TEST_", "CASTLEDGER_BENCH_")
_DEFAULT_PASSWORDS: Final = frozenset(
    ("admin", "castledger", "change-me", "changeme", "example", "password", "postgres", "redis", "root", "secret")
)
_LEAST_PASSWORD: Final = 12


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str | None]:
    """Find variables that look like ours but are not, each with the nearest name that is.

    >>> unknown_variables({"TRACKER_PUBLIC_ULR": "x", "TRACKER_PORT": "1", "HOME": "/", "SPOOL_ZZZ": "1"})
    {'SPOOL_ZZZ': None, 'TRACKER_PUBLIC_ULR': 'TRACKER_PUBLIC_URL'}
    """
    known = [variable.name for variable in variables()]
    unknown = sorted(
        name for name in environ if name.startswith(_PREFIXES) and not name.startswith(_OTHERS) and name not in known
    )
    nearest = {name: difflib.get_close_matches(name, known, n=1, cutoff=0.7) for name in unknown}
    return {name: near[0] if near else None for name, near in nearest.items()}


def look_at_environment(environ: Mapping[str, str], *, data_dir: Path | None) -> Iterator[Finding | Settings]:
    """Read the settings; what comes last is the settings, unless they cannot be read."""
    for name, nearest in unknown_variables(environ).items():
        meant = f"; is {nearest} meant?" if nearest else "; docs/configuration.md lists all that are"
        yield Finding(Level.WARN, "settings", f"{name} is set, but no setting of ours{meant}")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            settings = load_settings(environ, data_dir=data_dir)
        except ConfigError as error:
            for fault in error.faults:
                yield Finding(Level.FAIL, "settings", fault)
            return
    for warning in caught:
        yield Finding(Level.WARN, "settings", str(warning.message))
    yield Finding(Level.OK, "settings", "all can be read")
    yield from _look_at_name(settings)
    yield settings


def _look_at_name(settings: Settings) -> Iterator[Finding]:
    tracker = settings.tracker
    if not tracker.public_url:
        yield Finding(
            Level.WARN,
            "settings",
            "TRACKER_PUBLIC_URL is not set, so prefixes name this machine only; set it to the tracker's public address",
        )
        return
    parts = urlsplit(tracker.public_url)
    if _is_here(parts.hostname or ""):
        return
    if parts.scheme == "http":
        yield Finding(
            Level.WARN,
            "settings",
            "TRACKER_PUBLIC_URL begins with http://, which many players refuse; put a proxy with TLS in front",
        )
    elif not tracker.trusted_proxies and not tracker.proxy_protocol:
        yield Finding(
            Level.WARN,
            "settings",
            "TLS ends in a proxy, but none is believed, so that all listeners have the proxy's address and count as "
            "one; set TRACKER_TRUSTED_PROXIES to its address, such as 127.0.0.1/32",
        )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def look_at_secrets(environ: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """Look for passwords that anyone would try, and keys that others may read; no secret is shown."""
    if settings.database is not None:
        yield from _look_at_password("the database's password", str(settings.database.url))
    if settings.redis is not None:
        yield from _look_at_password("Redis' password", str(settings.redis.url))
    key = environ.get("CASTLEDGER_API_KEY", "").strip()
    if key and not is_well_formed(key):
        yield Finding(
            Level.FAIL, "secrets", "CASTLEDGER_API_KEY is no key of ours: it is cut, or mistyped; copy it whole"
        )
    path = settings.data_dir / API_KEY_FILE
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return
    if mode & 0o077:
        yield Finding(Level.FAIL, "secrets", f"{path} can be read by others (mode {mode:o}); `chmod 600` it")


def _look_at_password(what: str, url: str) -> Iterator[Finding]:
    try:
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError:
        return
    host = parts.hostname or ""
    # A socket's folder or loopback asks who the caller is in other ways.
    is_near = not host or host.startswith("/") or _is_here(host)
    if password and (password.lower() in _DEFAULT_PASSWORDS or password == user):
        yield Finding(Level.FAIL, "secrets", f"{what} is one that anyone tries first; choose a random one")
    elif password and len(password) < _LEAST_PASSWORD and not is_near:
        yield Finding(
            Level.WARN, "secrets", f"{what} has fewer than {_LEAST_PASSWORD} characters; choose a longer, random one"
        )
    elif not password and not is_near and not re.search(r"[?&](sslcert|passfile)=", url):
        yield Finding(Level.WARN, "secrets", f"{what} is empty, and its host is another machine; set one")
