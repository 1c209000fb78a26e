"""How to reach the API and how to deliver events: read once, checked at once, and never shown with its key."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from castledger._errors import ConfigurationError

__all__ = ("EventOptions", "Options", "__version__", "read_proxy", "read_url")

# The build reads it here, and so does the ``User-Agent``.
__version__ = "0.2.0"
_DEFAULT_URL: Final = "http://127.0.0.1:8000"
_DEFAULT_COLLECTOR_URL: Final = "http://127.0.0.1:8001"
_API: Final = "/api/v1"
# More than a day is a slip, and the clocks of some systems refuse much more.
_LONGEST_TIMEOUT_S: Final = 86_400.0
# `cl_live_` and four of 38 characters: what the API itself shows of a key.
_HINT_CHARS: Final = 12
_KEY_CHARS: Final = 46
_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_HOST: Final = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_MAX_QUEUE: Final = 10_000_000
# What the collector takes in one request.
_MAX_BATCH: Final = 500
_LONGEST_INTERVAL_S: Final = 3600.0
_MAX_SPOOL_MB: Final = 1_000_000


def _read_key(given: str | None, environ: Mapping[str, str]) -> str:
    name = "api_key" if given is not None else "CASTLEDGER_API_KEY"
    key = environ.get("CASTLEDGER_API_KEY", "") if given is None else given
    if not key:
        raise ConfigurationError(
            "api_key: is missing; pass the key that `castledger up` printed, or set CASTLEDGER_API_KEY to it"
        )
    if not all("!" <= char <= "~" for char in key):
        raise ConfigurationError(
            f"{name}: holds a space, a line break or another character that no key has; was more copied than the key?"
        )
    return key


def _fault_of(url: str) -> str | None:
    """Say what is wrong with an address; never quotes it, since it may hold a password."""
    if not url.isprintable() or any(char.isspace() or char == "\\" for char in url):
        return "holds a space, a line break or a backslash"
    try:
        parts = httpx.URL(url)
        host = parts.raw_host.decode("ascii")
        # What the system's resolver is given later; it raises there for empty and for overlong labels.
        host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        return "is no address: its host or its port cannot be right"
    if parts.scheme not in ("http", "https") or not host:
        return "has to begin with http:// or https:// and a host"
    if "@" in url.split("/")[2]:
        return "has a user or a password in it; the key alone says who asks"
    if _HOST.fullmatch(host) is None:
        return "is no address: its host has characters that none has"
    if parts.port is not None and not 0 < parts.port < 65536:
        return "has a port that is not from 1 to 65535"
    if "?" in url or "#" in url:
        return "has a query or a fragment; leave out what follows ? or #"
    if parts.path.rstrip("/").endswith(_API):
        return f"ends in {_API}, which the client adds itself; leave it out"
    return None


def read_url(
    name: str, given: str | None, variable: str, default: str, *, environ: Mapping[str, str] | None = None
) -> str:
    """Read an address: what was given, else what *environ* says, the process's own when ``None``, else the default.

    Raises:
        ConfigurationError: It cannot be one; never quotes it.
    """
    url = given
    if url is None:
        url = (os.environ if environ is None else environ).get(variable) or default
        name = f"{name} ({variable})"
    fault = _fault_of(url)
    if fault is not None:
        raise ConfigurationError(f"{name}: {fault}; it looks like https://api.example.com")
    return url.rstrip("/")


def read_proxy(proxy: str | None, *, has_transport: bool) -> str | None:
    """Refuse a proxy that cannot work, as where the host's own transport would never see it.

    Raises:
        ConfigurationError: Names the option; never quotes a password.
    """
    if proxy is None:
        return None
    if has_transport:
        raise ConfigurationError("proxy: does nothing beside a transport; give the proxy to the transport itself")
    try:
        parts: httpx.URL | None = httpx.URL(proxy)
    except httpx.InvalidURL:
        parts = None
    if parts is None or parts.scheme not in _PROXY_SCHEMES or not parts.raw_host:
        raise ConfigurationError(
            "proxy: is no address that begins with http://, https://, socks5:// or socks5h:// and a host; it looks "
            "like http://proxy.example.com:3128"
        )
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigurationError("proxy: a SOCKS proxy needs what `pip install 'httpx[socks]'` installs")
    return proxy


@dataclass(frozen=True, repr=False)
class Options:
    """How to reach the API; a plain class rather than a struct, so that no pretty-printer shows the key."""

    api_key: str
    base_url: str
    timeout: float
    max_retries: int

    def __repr__(self) -> str:
        is_known_form = self.api_key.startswith("cl_") and len(self.api_key) >= _KEY_CHARS
        shown = self.api_key[:_HINT_CHARS] if is_known_form else ""
        return f"Options(base_url={self.base_url!r}, api_key='{shown}…')"

    @classmethod
    def read(
        cls,
        *,
        api_key: str | None,
        base_url: str | None,
        timeout: float,
        max_retries: int,
        environ: Mapping[str, str] | None = None,
    ) -> Options:
        """Fill what was not given from the environment, and refuse what cannot work.

        Any text is taken for a key that a header can carry: a token is one too. The rest stands with
        :class:`~castledger.Castledger`.

        Raises:
            ConfigurationError: Names the option; never quotes a key or a password.
        """
        environ = os.environ if environ is None else environ
        key = _read_key(api_key, environ)
        url = read_url("base_url", base_url, "CASTLEDGER_API_URL", _DEFAULT_URL, environ=environ)
        # Written so that it refuses NaN, which compares as false with everything.
        if not 0 < timeout <= _LONGEST_TIMEOUT_S:
            raise ConfigurationError(f"timeout: is a number of seconds above 0, at most {_LONGEST_TIMEOUT_S:.0f}")
        if not max_retries >= 0:
            raise ConfigurationError("max_retries: is a whole number, 0 or more")
        return cls(key, url, timeout, max_retries)

    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return {"Authorization": f"Bearer {self.api_key}", "User-Agent": f"castledger-python/{__version__}"}


def _whole_number(name: str, value: object, *, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ConfigurationError(f"{name}: is a whole number from 1 to {most}")
    return value


class EventOptions:
    """How events are delivered; a plain class, so that no pretty-printer shows the key in the headers.

    What each option is stands with :class:`~castledger.Castledger`.

    Raises:
        ConfigurationError: Names the option.
    """

    def __init__(
        self,
        options: Options,
        *,
        collector_url: str | None = None,
        queue_size: int = 10_000,
        batch_size: int = 100,
        flush_interval: float = 2.0,
        spool_dir: str | os.PathLike[str] | None = None,
        spool_mb: int = 64,
        is_strict: bool = False,
        is_enabled: bool = True,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.collector_url = read_url(
            "collector_url", collector_url, "CASTLEDGER_COLLECTOR_URL", _DEFAULT_COLLECTOR_URL, environ=environ
        )
        self.api_key = options.api_key
        self.headers = options.headers()
        self.timeout = options.timeout
        self.queue_size = _whole_number("queue_size", queue_size, most=_MAX_QUEUE)
        self.batch_size = min(_whole_number("batch_size", batch_size, most=_MAX_BATCH), self.queue_size)
        # Written so that it refuses NaN.
        if not 0 < flush_interval <= _LONGEST_INTERVAL_S:
            raise ConfigurationError(
                f"flush_interval: is a number of seconds above 0, at most {_LONGEST_INTERVAL_S:.0f}"
            )
        self.flush_interval = flush_interval
        self.spool_dir = None if spool_dir is None else Path(spool_dir)
        self.spool_bytes = _whole_number("spool_mb", spool_mb, most=_MAX_SPOOL_MB) * 1024 * 1024
        self.is_strict = is_strict
        self.is_enabled = is_enabled

    def __repr__(self) -> str:
        return f"EventOptions(collector_url={self.collector_url!r})"
