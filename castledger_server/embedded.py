"""A PostgreSQL of our own in the data folder, for those who have none.

All of it stands in ``<data_dir>/postgres``: ``data`` is the database, ``socket`` the way in, ``programs`` a copy of
the programs when the database's account cannot reach the installed ones. There is no TCP port. When we are root, an
unprivileged account runs it (:mod:`castledger_server.accounts`) and owns ``data`` and ``socket`` only; the
configuration stays ours. No permission outside the data folder is ever changed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Final
from urllib.parse import quote

from analytics_core.errors import ConfigError, Unavailable
from castledger_server.accounts import Account, choose_account, first_unreachable, run_as
from castledger_server.data_dir import FolderLock, claim_data_dir, is_claimed, write_secret
from castledger_server.postgres_config import LOCAL_CONFIG_FILE, config_text, hba_text
from castledger_server.postgres_programs import Programs, choose_programs, copy_programs, find_programs, look_at
from castledger_server.processes import die_with_parent, is_running, kill_group, memory_bytes

__all__ = ("DATABASE", "LOGIN", "EmbeddedPostgres")

LOGIN: Final = "castledger"
"""The login of all our services; no superuser."""
DATABASE: Final = "castledger"
"""The database, owned by the login."""

_SUPERUSER: Final = "postgres"
_MAX_SOCKET_PATH_BYTES: Final = 107
_SOCKET_NAME: Final = ".s.PGSQL.5432"
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_POLL_S: Final = 0.05
_PROGRESS_S: Final = 5.0
_FAST_STOP_S: Final = 8.0
_ORPHANS_S: Final = 20.0


def _silent(_: str) -> None:
    return


class EmbeddedPostgres:
    """The embedded PostgreSQL of one data folder.

    ``prepare`` makes everything ready and ``command`` says how the server is run, for a supervisor; ``start`` and
    ``stop`` do both without one.

    Args:
        data_dir: Our data folder; made when it is not there.
        bin_dir: Folder of the programs to use; by default the wheel's, then the machine's newest.
        say: Receives a line for people when something takes its time.
    """

    def __init__(self, data_dir: Path, *, bin_dir: Path | None = None, say: Callable[[str], None] = _silent) -> None:
        self._data_dir = data_dir.absolute()
        self._home = self._data_dir / "postgres"
        self._data = self._home / "data"
        self._password_file = self._home / "password"
        # What an upgrade has made and not yet put in the place of the old.
        self._next = self._home / "next"
        self._bin_dir = bin_dir
        self._say = say
        self._lock = FolderLock(self._home / "lock", what=f"the database in {self._home}")
        self._account: Account | None = None
        self._programs: Programs | None = None
        self._socket_dir = self._home / "socket"
        self._password = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._tool: subprocess.Popen[bytes] | None = None
        self._interrupted = False

    @property
    def url(self) -> str:
        """The address of the database with the login's password; known once prepared."""
        host = quote(str(self._socket_dir), safe="/")
        # With the port, lest PGPORT in somebody's environment says another.
        return f"postgresql://{LOGIN}:{self._password}@/{DATABASE}?host={host}&port=5432"

    @property
    def made_with(self) -> int | None:
        """The major version that the database was made with; ``None`` when there is none yet.

        Raises:
            ConfigError: It belongs to another user, or is damaged.
        """
        return self._made_with()

    @property
    def version(self) -> str:
        """PostgreSQL's version, such as ``18.6``; empty before it is prepared."""
        return self._programs.version if self._programs else ""

    @property
    def account(self) -> Account | None:
        """The account that runs the server; ``None`` is ourselves."""
        return self._account

    def check(self) -> None:
        """Find out, quickly and without making a database, whether :meth:`prepare` can work.

        Raises:
            ConfigError: As :meth:`prepare`.
        """
        claim_data_dir(self._data_dir)
        self._account = choose_account(self._data)
        self._open_data_dir()
        self._programs = self._choose()

    def prepare(self) -> None:
        """Bring the folder to where the server can be run; a new database takes some seconds.

        What an interrupted start left is completed or made anew, and a server that outlived its supervisor is
        stopped. Idempotent.

        Raises:
            ConfigError: No usable PostgreSQL, one of the wrong version, or a folder that its account cannot reach;
                with the remedy.
            Conflict: Another process holds this database.
            Unavailable: PostgreSQL's own tools failed, or the old server does not end.
        """
        self.check()
        self._make_folder(self._home, mode=0o710 if self._account else 0o700, owned=False)
        self._lock.acquire()
        try:
            self._end_take_over()
            self._programs = self._reachable(self._choose())
            self._stop_leftover()
            self._take_over_files()
            self._socket_dir = self._make_socket_dir()
            for name in (_SOCKET_NAME, f"{_SOCKET_NAME}.lock"):
                # The folder is ours alone and no server of ours runs: a lock in it is a dead one's.
                (self._socket_dir / name).unlink(missing_ok=True)
            self._write_config()
            if not (self._data / "PG_VERSION").exists():
                self._create()
            elif not self._password_file.exists():
                self._set_password()
            self._password = self._password_file.read_text().strip()
        except BaseException:
            self._lock.release()
            raise

    def interrupt(self) -> None:
        """Make a :meth:`prepare` that runs in another thread give up soon; the next one begins where it was safe."""
        self._interrupted = True
        tool = self._tool
        if tool is not None:
            kill_group(tool.pid)

    def command(self) -> list[str]:
        """Say how to run the server, to be started as :attr:`account` with :meth:`environment`."""
        return self._server_command(self._data)

    @staticmethod
    def environment() -> dict[str, str]:
        """Give the environment for the server: nothing of the caller's can change what it does."""
        return dict(_ENVIRONMENT)

    def is_ready(self, pid: int) -> bool:
        """Tell whether the server with that process id takes connections."""
        lines = self._pid_file_lines()
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def start(self) -> str:
        """Prepare and run the server until :meth:`stop`, or until the calling thread's process ends.

        Recovery after a crash is waited for, however long it takes.

        Returns:
            The address, as :attr:`url`.

        Raises:
            ConfigError: As :meth:`prepare`.
            Conflict: As :meth:`prepare`.
            Unavailable: The server did not come up; with its last words.
        """
        self.prepare()
        begun = time.monotonic()
        try:
            while not self._run_once():
                # Processes of a killed server let go of its memory only when they notice; the next try finds out.
                if time.monotonic() - begun > _ORPHANS_S:
                    raise Unavailable(f"PostgreSQL does not start: {self._last_words()}")
                time.sleep(0.5)
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Stop the server within 10 s and let go of the folder; nothing happens when it does not run."""
        self._end_server()
        self.release()

    def _end_server(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            for by, wait_s in (
                (signal.SIGINT, _FAST_STOP_S),
                (signal.SIGQUIT, 1.0),
                (signal.SIGKILL, None),
            ):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.send_signal(by)
                    process.wait(wait_s)
                    break

    def release(self) -> None:
        """Let go of the folder once the server, run by somebody else, has ended."""
        if self._socket_dir.parent != self._home:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        self._lock.release()

    def take_over(self, other: EmbeddedPostgres, *, aside: Path) -> None:
        """End our server, put our database aside, and have that of another folder of this disk instead.

        Cut off at any time, the next :meth:`prepare` finds either the old database or the new one.

        Args:
            other: Is stopped; its folder is of no use afterwards.
            aside: Where the old database goes; must not be there.

        Raises:
            OSError: It could not be moved.
        """
        try:
            self._end_server()
            other._data.rename(self._next)
            # It is of the old database's login.
            self._password_file.unlink(missing_ok=True)
            self._data.rename(aside)
            self._end_take_over()
        finally:
            self.release()

    def _end_take_over(self) -> None:
        if (self._data / "PG_VERSION").exists():
            # The old one was not put aside, and may have gone on since.
            shutil.rmtree(self._next, ignore_errors=True)
        elif self._next.exists():
            self._next.rename(self._data)
            self._sync_home()

    def _sync_home(self) -> None:
        handle = os.open(self._home, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _run_once(self) -> bool:
        with (self._home / "log").open("wb") as log:
            self._process = process = subprocess.Popen(  # noqa: S603
                self.command(),
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=0o077,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT),
                **run_as(self._account),
            )
        begun = said = time.monotonic()
        while process.poll() is None:
            if self.is_ready(process.pid):
                return True
            now = time.monotonic()
            if now - said >= _PROGRESS_S:
                said = now
                self._say(f"PostgreSQL is recovering what a crash left ({now - begun:.0f} s so far)")
            time.sleep(_POLL_S)
        self._process = None
        if "is still in use" not in self._last_words():
            raise Unavailable(f"PostgreSQL does not start: {self._last_words()}")
        return False

    def _last_words(self) -> str:
        try:
            lines = (self._home / "log").read_text(errors="replace").strip().splitlines()
        except OSError:
            return "it said nothing"
        return " / ".join(line.strip() for line in lines[-4:]) or "it said nothing"

    def _choose(self) -> Programs:
        made_with = self._made_with()
        if self._bin_dir is None:
            found = find_programs(copied=self._home / "programs")
        else:
            programs = look_at(self._bin_dir)
            if programs is None:
                raise ConfigError([f"--postgres-bin: {self._bin_dir} holds no working postgres and initdb"])
            found = [programs]
        return choose_programs(found, made_with=made_with, database=self._data)

    def _made_with(self) -> int | None:
        try:
            return int((self._data / "PG_VERSION").read_text().strip().partition(".")[0])
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise ConfigError(
                [
                    f"the database in {self._data} belongs to another user; run castledger as the one who made it, "
                    "or hand it over as root with `chown -R`"
                ]
            ) from error
        except ValueError as error:
            raise ConfigError([f"{self._data}/PG_VERSION is damaged; bring the folder back from a backup"]) from error

    def _open_data_dir(self) -> None:
        closed = first_unreachable(self._account, self._data_dir)
        if closed is None or self._account is None:
            return
        if closed == self._data_dir and is_claimed(self._data_dir):
            # Ours, so we may: the account's group may pass through it, not look into it.
            os.chown(self._data_dir, -1, self._account.gid)
            self._data_dir.chmod(stat.S_IMODE(self._data_dir.stat().st_mode) | 0o010)
            closed = first_unreachable(self._account, self._data_dir)
            if closed is None:
                return
        raise ConfigError(
            [
                f"PostgreSQL does not run as root but as `{self._account.name}`, which cannot enter {closed}, "
                f"so the data folder {self._data_dir} is out of its reach; choose another with --data-dir "
                f"(such as /var/lib/castledger) or open the way with `chmod o+x {closed}`; no permission was changed"
            ]
        )

    def _make_folder(self, path: Path, *, mode: int, owned: bool) -> None:
        path.mkdir(mode=0o700, exist_ok=True)
        if self._account is not None:
            os.chown(path, self._account.uid if owned else -1, self._account.gid, follow_symlinks=False)
        path.chmod(mode)

    def _reachable(self, programs: Programs) -> Programs:
        if first_unreachable(self._account, programs.initdb) is None:
            return programs
        self._say(f"copying PostgreSQL {programs.version} into {self._home}, where its account can reach it")
        return copy_programs(programs, self._home / "programs")

    def _make_socket_dir(self) -> Path:
        inside = self._home / "socket"
        if len(os.fsencode(inside / _SOCKET_NAME)) <= _MAX_SOCKET_PATH_BYTES:
            self._make_folder(inside, mode=0o700, owned=True)
            return inside
        # A socket's name has a fixed length; /tmp is short, open to the account, and ours by the checks below.
        uid = self._account.uid if self._account else os.geteuid()
        short = Path("/tmp") / f"castledger-{blake2b(os.fsencode(self._home), digest_size=6).hexdigest()}"  # noqa: S108
        for candidate in (short, short.with_name(f"{short.name}-{secrets.token_hex(4)}")):
            try:
                candidate.mkdir(mode=0o700)
            except FileExistsError:
                seen = candidate.lstat()
                if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != uid or stat.S_IMODE(seen.st_mode) != 0o700:
                    continue
            else:
                if self._account is not None:
                    os.chown(candidate, self._account.uid, self._account.gid, follow_symlinks=False)
            return candidate
        raise Unavailable("no folder for PostgreSQL's socket can be made in /tmp")

    def _take_over_files(self) -> None:
        # A backup brought back by root, or a change of account: everything in here is ours to hand over.
        shutil.rmtree(self._home / "new", ignore_errors=True)
        if self._account is None or not self._data.exists() or self._data.stat().st_uid == self._account.uid:
            return
        for folder, _, files in os.walk(self._data):
            for path in (folder, *(os.path.join(folder, name) for name in files)):  # noqa: PTH118
                os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)

    def _write_config(self) -> None:
        assert self._programs is not None  # noqa: S101
        hba_file = self._home / "pg_hba.conf"
        config = config_text(
            major=self._programs.major,
            hba_file=hba_file,
            socket_dir=self._socket_dir,
            local_config=self._home / LOCAL_CONFIG_FILE,
            memory_bytes=memory_bytes(),
        )
        for path, text in ((hba_file, hba_text()), (self._home / "postgresql.conf", config)):
            write_secret(path, text.encode())
            if self._account is not None:
                os.chown(path, -1, self._account.gid)
                path.chmod(0o640)

    def _server_command(self, data: Path, *more: str) -> list[str]:
        assert self._programs is not None  # noqa: S101
        config = self._home / "postgresql.conf"
        return [str(self._programs.postgres), *more, "-D", str(data), "-c", f"config_file={config}"]

    def _create(self) -> None:
        assert self._programs is not None  # noqa: S101
        self._say(f"making a database with PostgreSQL {self._programs.version} in {self._home} (once, some seconds)")
        new = self._home / "new"
        self._make_folder(new, mode=0o700, owned=True)
        locale = ["--locale=C.UTF-8"]
        if self._programs.major >= 17:
            # PostgreSQL's own rules: nothing changes with the machine's C library.
            locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options = ["--encoding=UTF8", *locale, f"--username={_SUPERUSER}", "--auth=reject", "--data-checksums"]
        self._run_tool([str(self._programs.initdb), "-D", str(new), "--no-instructions", *options])
        password = secrets.token_urlsafe(32)
        self._run_alone(
            new,
            f"create role {LOGIN} login nosuperuser createrole createdb password '{password}'",
            f"create database {DATABASE} owner {LOGIN}",
        )
        write_secret(self._password_file, password.encode())
        new.rename(self._data)
        self._sync_home()

    def _set_password(self) -> None:
        self._say("giving the database's login a new password, since its file is gone")
        password = secrets.token_urlsafe(32)
        self._run_alone(self._data, f"alter role {LOGIN} createdb password '{password}'")
        write_secret(self._password_file, password.encode())

    def _run_alone(self, data: Path, *statements: str) -> None:
        # Single-user mode: the superuser never needs a way in. It reads a statement a line and stops at an error.
        command = self._server_command(data, "--single", "-c", "exit_on_error=true")
        self._run_tool([*command, _SUPERUSER], typed="".join(f"{statement}\n" for statement in statements))

    def _run_tool(self, command: list[str], *, typed: str = "") -> None:
        if self._interrupted:
            raise Unavailable("PostgreSQL's preparation was interrupted")
        with subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_ENVIRONMENT,
            umask=0o077,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
            **run_as(self._account),
        ) as tool:
            self._tool = tool
            try:
                _, errors = tool.communicate(typed.encode())
            finally:
                self._tool = None
                kill_group(tool.pid)
        if tool.returncode:
            said = " / ".join(errors.decode(errors="replace").strip().splitlines()[-4:])
            raise Unavailable(f"{Path(command[0]).name} failed: {said or f'exit status {tool.returncode}'}")

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text(errors="replace").splitlines()
        except OSError:
            return []

    def _stop_leftover(self) -> None:
        lines = self._pid_file_lines()
        if not lines or not lines[0].strip().isdigit():
            return
        pid = int(lines[0])
        if not Path(f"/proc/{pid}").exists():
            # PostgreSQL itself clears away what a dead one left.
            return
        if not is_running(pid) or not self._is_our_server(pid):
            # It is dead but nobody has collected it, or its id belongs to somebody else by now, as happens in
            # containers. PostgreSQL would not dare to start; that no process of the old one is left, it still checks.
            (self._data / "postmaster.pid").unlink(missing_ok=True)
            return
        self._say(f"stopping the PostgreSQL (process {pid}) that outlived its supervisor")
        for by, wait_s in ((signal.SIGINT, _FAST_STOP_S), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, by)
            deadline = time.monotonic() + wait_s
            while time.monotonic() < deadline:
                if not is_running(pid):
                    return
                time.sleep(_POLL_S)
        raise Unavailable(f"the old PostgreSQL (process {pid}) on {self._data} does not end")

    def _is_our_server(self, pid: int) -> bool:
        # The server works in its data folder; nothing but it and its own processes has a reason to.
        try:
            return Path(f"/proc/{pid}/cwd").resolve(strict=True) == self._data.resolve()
        except OSError:
            return False
