"""``pg_dump`` and ``pg_restore``: found, chosen by version, and run so that no password shows and none outlives us."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from analytics_core.errors import CastledgerError, ConfigError
from castledger_server.postgres_programs import list_bin_dirs
from castledger_server.processes import die_with_parent, kill_group

__all__ = ("Clients", "ToolError", "choose_clients", "find_clients", "run_tool", "without_password")

_SINCE_TIMEOUT: Final = 17
"""From this version on ``pg_restore`` sets a parameter that older servers do not know."""

_LAST_LINES: Final = 6


class ToolError(CastledgerError):
    """A program of PostgreSQL failed; with its last words."""

    code = "tool"


class Clients(NamedTuple):
    """One folder with ``pg_dump`` and ``pg_restore``.

    Attributes:
        bin_dir: The folder.
        version: Such as ``18.1``.
        major: Such as 18.
    """

    bin_dir: Path
    version: str
    major: int

    @property
    def pg_dump(self) -> Path:
        """What writes dumps."""
        return self.bin_dir / "pg_dump"

    @property
    def pg_restore(self) -> Path:
        """What reads them."""
        return self.bin_dir / "pg_restore"


def _look_at(bin_dir: Path) -> Clients | None:
    pg_dump = bin_dir / "pg_dump"
    if not (pg_dump.is_file() and (bin_dir / "pg_restore").is_file()):
        return None
    try:
        done = subprocess.run([pg_dump, "--version"], capture_output=True, check=False, timeout=30)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) ((\d+)[.\w]*)", done.stdout.decode(errors="replace"))
    return Clients(bin_dir, match[1], int(match[2])) if match and not done.returncode else None


def find_clients(bin_dir: Path | None = None) -> list[Clients]:
    """List the installations that are here: the one that is named, else the wheel's and the machine's.

    Raises:
        ConfigError: The folder that is named has none.
    """
    if bin_dir is None:
        return list(filter(None, map(_look_at, list_bin_dirs("pg_dump"))))
    found = _look_at(bin_dir)
    if found is None:
        raise ConfigError([f"--postgres-bin: {bin_dir} holds no working pg_dump and pg_restore"])
    return [found]


def choose_clients(found: Sequence[Clients], *, server_major: int, dump_major: int = 0) -> Clients:
    """Choose the oldest programs that know the server and the dump.

    Args:
        found: As :func:`find_clients` lists them.
        server_major: Of the server that is read or written.
        dump_major: Of the ``pg_dump`` whose file is read.

    Raises:
        ConfigError: There are none; with the versions that would do.

    >>> both = [Clients(Path("/a"), "18.1", 18), Clients(Path("/b"), "15.4", 15)]
    >>> choose_clients(both, server_major=15).version, choose_clients(both, server_major=17, dump_major=15).version
    ('15.4', '18.1')
    """
    least = max(server_major, dump_major)
    most = _SINCE_TIMEOUT - 1 if server_major < _SINCE_TIMEOUT else None
    usable = [clients for clients in found if least <= clients.major and (most is None or clients.major <= most)]
    if usable:
        return min(usable, key=lambda clients: clients.major)
    if most is None:
        wanted = f"version {least} or newer"
    else:
        wanted = f"version {least}" if least >= most else f"version {least} to {most}"
    here = ", ".join(f"{clients.version} in {clients.bin_dir}" for clients in found) or "none"
    raise ConfigError(
        [
            f"the server is PostgreSQL {server_major} and needs pg_dump and pg_restore of {wanted}; here are {here}; "
            f"install them (`apt-get install postgresql-client-{least}`) or name their folder with --postgres-bin"
        ]
    )


def without_password(url: str) -> tuple[str, str]:
    """Take the password out of a database's address: what programs are called with, everybody on a machine can see.

    >>> without_password("postgresql://me:s%40y@db/ledger?sslmode=require&password=x")
    ('postgresql://me@db/ledger?sslmode=require', 'x')
    >>> without_password("postgresql://me:s%40y@/ledger?host=%2Frun")
    ('postgresql://me@/ledger?host=%2Frun', 's@y')
    """
    parts = urlsplit(url)
    who, at, place = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    password = next((value for name, value in query if name == "password"), unquote(password))
    kept = urlencode([(name, value) for name, value in query if name != "password"])
    return parts._replace(netloc=f"{user}{at}{place}", query=kept).geturl(), password


async def run_tool(
    program: Path, *options: str, url: str, wait_s: float = 5.0, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """Run a program on a database until it ends; when we are cancelled it is killed.

    Args:
        program: ``pg_dump`` or ``pg_restore``.
        options: Its arguments, the database excepted.
        url: The database's address.
        wait_s: Seconds between calls of *meanwhile*.
        meanwhile: Is called while it runs.

    Raises:
        ToolError: It failed, or cannot be run.
    """
    address, password = without_password(url)
    environ = {**os.environ, "LC_ALL": "C"}
    if password:
        environ["PGPASSWORD"] = password
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *options,
            f"--dbname={address}",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environ,
            # A terminal's Ctrl-C is ours to answer.
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
    except OSError as error:
        raise ToolError(f"{program} cannot be run: {error.strerror}") from error
    ending = asyncio.ensure_future(process.communicate())
    try:
        while not (await asyncio.wait([ending], timeout=wait_s))[0]:
            meanwhile()
        _, errors = ending.result()
    finally:
        if process.returncode is None:
            kill_group(process.pid)
            await process.wait()
        ending.cancel()
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines()
        said = " / ".join(line.strip() for line in lines[-_LAST_LINES:])
        raise ToolError(f"{program.name} failed: {said or f'exit status {process.returncode}'}")
