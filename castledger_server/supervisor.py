"""Run the services as processes: start them in order, restart what dies, stop all of them cleanly and in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from analytics_core.errors import CastledgerError
from castledger_server.accounts import Account, run_as
from castledger_server.processes import die_with_parent, kill_group, start_mark

__all__ = ("ChildSpec", "CommandFailed", "StartFailed", "Supervisor", "say_to_stderr")

_FIRST_DELAY_S: Final = 0.05
# Who served that many times as long as it would wait now is no hopeless case: it starts again at once.
_HEALTHY_TIMES: Final = 10
_FIRST_TRIES: Final = 5
_PROGRESS_S: Final = 5.0
_PROBE_S: Final = 0.05
_KILL_S: Final = 0.5
_LAST_WORDS_S: Final = 1.0
_USAGE_EXIT: Final = 2
_LONGEST_LINE_BYTES: Final = 16 * 1024


class StartFailed(CastledgerError):
    """A service did not come up at the first start."""

    code = "start_failed"

    def __init__(self, message: str, *, is_config: bool) -> None:
        self.is_config = is_config
        super().__init__(message)


class CommandFailed(CastledgerError):
    """A command that has to succeed before the services start did not."""

    code = "command_failed"

    def __init__(self, name: str, status: int) -> None:
        self.status = status
        super().__init__(f"{name} failed with exit status {status}")


@dataclass(frozen=True, kw_only=True)
class ChildSpec:
    """How one service is run.

    Attributes:
        name: Stands before each line of its output.
        argv: The command; ``--ready-fd N`` is added unless there is a probe.
        env: Its whole environment.
        stop_order: Lower ones are stopped first, equal ones together.
        stop_after_s: Seconds after the begin of a stop at which it is killed if it still runs.
        pass_fds: Descriptors that it inherits under the same numbers.
        probe: Tells for a process id whether it is ready, instead of a line on a descriptor.
        account: As whom it runs; ``None`` is ourselves.
        stop_by: The signal that asks it to end.
        kill_by: The signal that follows; SIGKILL half a second later.
        orphan_by: The signal that it gets when we end without stopping it.
        longest_delay_s: Most seconds before a restart, however often it ends.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    stop_order: int
    stop_after_s: float
    pass_fds: tuple[int, ...] = ()
    probe: Callable[[int], bool] | None = None
    account: Account | None = None
    stop_by: signal.Signals = signal.SIGTERM
    kill_by: signal.Signals = signal.SIGKILL
    orphan_by: signal.Signals = signal.SIGTERM
    longest_delay_s: float = 10.0


@dataclass(eq=False)
class _Child:
    spec: ChildSpec
    first_ready: asyncio.Future[Mapping[str, Any]]
    process: asyncio.subprocess.Process | None = None
    task: asyncio.Task[None] | None = None
    restarts: int = 0
    ready_at: float | None = None


def say_to_stderr(line: str) -> None:
    """Write a line to standard error; a reader that went away stops nothing."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class Supervisor:
    """Keeps services running. To be used in the main thread: services end with the thread that started them.

    Args:
        say: Receives each line that a service writes, its name in front, and our own.
        changed: Called after a process was started, to note :meth:`pids`.
        first_delay_s: Seconds before the first restart; each further one waits twice as long, until the service has
            served ten times as long as it would wait.
    """

    def __init__(
        self,
        *,
        say: Callable[[str], None] = say_to_stderr,
        changed: Callable[[], None] = lambda: None,
        first_delay_s: float = _FIRST_DELAY_S,
    ) -> None:
        self._say = say
        self._changed = changed
        self._first_delay_s = first_delay_s
        self._children: list[_Child] = []
        self._commands: set[asyncio.subprocess.Process] = set()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    def pids(self) -> dict[str, int]:
        """Name the running processes."""
        return {
            child.spec.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.returncode is None
        }

    def marks(self) -> dict[int, str]:
        """Name the running processes so that another life of ours can tell them from later ones of the same id."""
        found = {pid: start_mark(pid) for pid in self.pids().values()}
        return {pid: mark for pid, mark in found.items() if mark is not None}

    async def start(self, spec: ChildSpec) -> Mapping[str, Any]:
        """Start a service, wait until it is ready, and keep it running from then on.

        Returns:
            What its line on the descriptor says (empty with a probe).

        Raises:
            StartFailed: It ended with the status of a wrong configuration, or again and again.
        """
        child = _Child(spec, asyncio.get_running_loop().create_future())
        self._children.append(child)
        child.task = asyncio.create_task(self._keep_running(child), name=spec.name)
        begun = time.monotonic()
        while not child.first_ready.done():
            await asyncio.wait([child.first_ready], timeout=_PROGRESS_S)
            if not child.first_ready.done():
                self._say(f"castledger: waiting for {spec.name} ({time.monotonic() - begun:.0f} s so far)")
        return child.first_ready.result()

    async def run(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str], capture_output: bool = False
    ) -> bytes:
        """Run a command to its end.

        Returns:
            What it wrote to standard output when *capture_output* is set; else that goes where errors go.

        Raises:
            CommandFailed: Its exit status is not 0.
        """
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        self._commands.add(process)
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        captured = b""
        try:
            errors = asyncio.create_task(self._relay(name, process.stderr))
            if capture_output:
                captured = await process.stdout.read()
            else:
                await self._relay(name, process.stdout)
            await errors
            status = await process.wait()
        finally:
            self._commands.discard(process)
            if process.returncode is None:
                kill_group(process.pid)
                await process.wait()
        if status:
            raise CommandFailed(name, status)
        return captured

    async def stop(self) -> None:
        """Stop everything in its order; what does not end by its time is killed."""
        self._stopping.set()
        begun = time.monotonic()
        for process in self._commands:
            kill_group(process.pid)
        for order in sorted({child.spec.stop_order for child in self._children}):
            together = [child for child in self._children if child.spec.stop_order == order]
            await asyncio.gather(*(self._stop_one(child, begun) for child in together))
        self._children.clear()

    def hurry(self) -> None:
        """Kill at once what a running :meth:`stop` still waits for."""
        self._hurry.set()

    async def _stop_one(self, child: _Child, begun: float) -> None:
        assert child.task is not None  # noqa: S101
        if child.process is None or child.process.returncode is not None:
            # It waits for its next start, which must not come.
            child.task.cancel()
        else:
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(child.spec.stop_by)
            left_s = max(0.0, begun + child.spec.stop_after_s - time.monotonic())
            hurry = asyncio.create_task(self._hurry.wait())
            await asyncio.wait([child.task, hurry], timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            hurry.cancel()
            if not child.task.done():
                self._say(f"castledger: {child.spec.name} does not end, so it is killed")
                kill_group(child.process.pid, child.spec.kill_by)
                await asyncio.wait([child.task], timeout=_KILL_S)
                kill_group(child.process.pid)
        await asyncio.gather(child.task, return_exceptions=True)

    async def _keep_running(self, child: _Child) -> None:
        delay_s = self._first_delay_s
        tries = 0
        while not self._stopping.is_set():
            tries += 1
            status = await self._run_once(child)
            if self._stopping.is_set():
                break
            if not child.first_ready.done() and (status == _USAGE_EXIT or tries >= _FIRST_TRIES):
                reason = "its settings are refused" if status == _USAGE_EXIT else "see its messages"
                child.first_ready.set_exception(
                    StartFailed(
                        f"{child.spec.name} does not start ({_how(status)}): {reason}",
                        is_config=status == _USAGE_EXIT,
                    )
                )
                return
            if child.ready_at is not None and time.monotonic() - child.ready_at >= _HEALTHY_TIMES * delay_s:
                delay_s = self._first_delay_s
            self._say(f"castledger: {child.spec.name} ended ({_how(status)}); it starts again in {delay_s:.2f} s")
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, child.spec.longest_delay_s)
            child.restarts += 1
        if not child.first_ready.done():
            child.first_ready.cancel()

    async def _run_once(self, child: _Child) -> int:
        spec = child.spec
        child.ready_at = None
        argv, pass_fds = list(spec.argv), list(spec.pass_fds)
        # Pipes of our own: asyncio's would have us wait for whoever else holds them, after the process has ended.
        ready_fd, say_ready_fd = os.pipe()
        output_fd, write_fd = os.pipe()
        try:
            if spec.probe is None:
                argv += ["--ready-fd", str(say_ready_fd)]
                pass_fds.append(say_ready_fd)
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=spec.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_fd,
                stderr=write_fd,
                pass_fds=pass_fds,
                umask=0o077,
                # Signals of the terminal are for us: the order of stopping is ours to keep.
                start_new_session=True,
                preexec_fn=die_with_parent(spec.orphan_by),
                **(run_as(spec.account) if spec.account is not None else {}),
            )
        except BaseException as error:
            os.close(ready_fd)
            os.close(output_fd)
            if not isinstance(error, OSError):
                raise
            self._say(f"castledger: {spec.name} cannot be run: {error}")
            return _USAGE_EXIT
        finally:
            os.close(say_ready_fd)
            os.close(write_fd)
        child.process = process
        if self._stopping.is_set():
            # The stop came while the process was being made, and found none to signal.
            kill_group(process.pid)
        self._changed()
        relay = asyncio.create_task(self._relay_pipe(spec.name, output_fd))
        ready = asyncio.create_task(self._wait_ready(child, process, ready_fd))
        try:
            status = await process.wait()
        finally:
            if spec.account is None:
                # Its own children must not outlive it.
                kill_group(process.pid)
            await asyncio.wait([relay], timeout=_LAST_WORDS_S)
            ready.cancel()
            relay.cancel()
            await asyncio.gather(ready, relay, return_exceptions=True)
        return status

    async def _wait_ready(self, child: _Child, process: asyncio.subprocess.Process, read_fd: int) -> None:
        said: Mapping[str, Any] = {}
        if child.spec.probe is not None:
            os.close(read_fd)
            while not child.spec.probe(process.pid):  # noqa: ASYNC110 - it looks at a file of another program
                await asyncio.sleep(_PROBE_S)
        else:
            async with _open_pipe(read_fd) as stream:
                line = await stream.readline()
            try:
                said = json.loads(line)
            except ValueError:
                return
        child.ready_at = time.monotonic()
        if not child.first_ready.done():
            child.first_ready.set_result(said)
        elif child.restarts:
            self._say(f"castledger: {child.spec.name} is back")

    async def _relay_pipe(self, name: str, read_fd: int) -> None:
        async with _open_pipe(read_fd) as stream:
            await self._relay(name, stream)

    async def _relay(self, name: str, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(65536):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE_BYTES:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._say(f"{name}: {line.decode(errors='replace')}")
        if rest:
            self._say(f"{name}: {rest.decode(errors='replace')}")


@contextlib.asynccontextmanager
async def _open_pipe(read_fd: int) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_fd, "rb", buffering=0)
    )
    try:
        yield reader
    finally:
        transport.close()


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
