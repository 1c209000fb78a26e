"""Which PostgreSQL and which Redis."""

from __future__ import annotations

import enum
import re
import warnings
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

from analytics_core.settings.parsing import Secret, Variable


class Storage(enum.Enum):
    """Which branch of the schema is used; ``AUTO`` chooses at the first migration."""

    AUTO = "auto"
    NATIVE = "native"
    TIMESCALE = "timescale"


DATABASE: Final = (
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


REDIS: Final = (
    Variable("REDIS_URL", "", "Redis 6.2 or newer that several hosts share: redis://:password@host:6379/0.", True),
    Variable("REDIS_HOST", "", "Its host, when there is no REDIS_URL.", False),
    Variable("REDIS_PORT", "6379", "Its port.", False),
    Variable("REDIS_PASSWORD", "", "Its password.", True),
)


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which PostgreSQL, and which branch of the schema."""

    url: Secret
    storage: Storage = Storage.AUTO


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which Redis; one box needs none."""

    url: Secret


def database_url(environ: Mapping[str, str], faults: list[str]) -> Secret | None:
    """Read the address of PostgreSQL, if there is one; what is wrong is added to the faults."""
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


def redis_url(environ: Mapping[str, str], faults: list[str]) -> Secret | None:
    """Read the address of Redis, if there is one; what is wrong is added to the faults."""
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
