"""The supervisor over real processes: readiness, restarts, an end in order, and nothing that outlives it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from analytics_core.errors import ConfigError
from castledger_server.listeners import bind_slots, choose_port
from castledger_server.processes import is_running
from castledger_server.supervisor import ChildSpec, CommandFailed, StartFailed, Supervisor

_DEADLINE_S = 30.0

_READY = """
import json, os, signal, socket, subprocess, sys, time
def ready(**said):
    fd = int(sys.argv[sys.argv.index("--ready-fd") + 1])
    os.write(fd, json.dumps(said).encode() + b"\\n")
    os.close(fd)
def note(line):
    with open(sys.argv[1], "a") as file:
        file.write(line + "\\n")
"""


def _spec(name: str, body: str, notes: Path, *arguments: str, **more: Any) -> ChildSpec:
    values: dict[str, Any] = {
        "argv": [sys.executable, "-c", _READY + body, str(notes), *arguments],
        "env": {"PATH": os.environ["PATH"]},
        "stop_order": 1,
        "stop_after_s": 20.0,
    }
    return ChildSpec(name=name, **(values | more))


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not what():  # noqa: ASYNC110 - other processes bring it about
            await asyncio.sleep(0.02)


def _lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def _last_pid(notes: Path, life: int) -> int:
    """The process that noted itself as the given life; -1 as long as it has not."""
    pids = _lines(notes)
    return int(pids[-1]) if len(pids) == life else -1


def _run(work: Callable[[Supervisor], Awaitable[None]], said: list[str] | None = None) -> list[str]:
    lines: list[str] = [] if said is None else said

    async def main() -> None:
        supervisor = Supervisor(say=lines.append, first_delay_s=0.01)
        try:
            await work(supervisor)
        finally:
            await supervisor.stop()

    asyncio.run(main())
    return lines


def test_a_start_waits_for_the_ready_line_and_returns_it(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def work(supervisor: Supervisor) -> None:
        body = "time.sleep(0.2); note('up'); ready(port=7); signal.pause()"
        assert await supervisor.start(_spec("one", body, notes)) == {"port": 7}
        assert _lines(notes) == ["up"]
        assert list(supervisor.pids()) == ["one"]

    _run(work)


def test_what_a_service_writes_is_passed_on_under_its_name(tmp_path: Path) -> None:
    async def work(supervisor: Supervisor) -> None:
        body = "print('hello', flush=True); sys.stderr.write('x' * 40_000 + '\\nend'); sys.stderr.flush(); ready()"
        await supervisor.start(_spec("talker", body + "; signal.pause()", tmp_path / "notes"))

    said = _run(work)
    own = [line for line in said if line.startswith("talker: ")]
    assert own[0] == "talker: hello"
    assert own[-1] == "talker: end"
    assert sum(line.count("x") for line in own) == 40_000


def test_a_service_that_dies_is_started_again_until_the_stop(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def work(supervisor: Supervisor) -> None:
        def lives(life: int) -> bool:
            return supervisor.pids().get("mortal") == _last_pid(notes, life)

        await supervisor.start(_spec("mortal", "note(str(os.getpid())); ready(); signal.pause()", notes))
        for life in (1, 2, 3):
            await _until(partial(lives, life))
            os.kill(_last_pid(notes, life), signal.SIGKILL)
        await _until(lambda: len(_lines(notes)) == 4)

    said = _run(work)
    assert any("mortal ended (SIGKILL)" in line for line in said)
    assert not any(is_running(int(pid)) for pid in _lines(notes))


def test_refused_settings_fail_the_start_at_once(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def work(supervisor: Supervisor) -> None:
        with pytest.raises(StartFailed, match="picky does not start") as caught:
            await supervisor.start(_spec("picky", "note('tried'); print('PORT: is no port'); sys.exit(2)", notes))
        assert caught.value.is_config

    assert "picky: PORT: is no port" in _run(work)
    assert _lines(notes) == ["tried"]


def test_a_service_that_never_comes_up_fails_the_start_after_some_tries(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def work(supervisor: Supervisor) -> None:
        with pytest.raises(StartFailed, match="exit status 3") as caught:
            await supervisor.start(_spec("weak", "note('tried'); sys.exit(3)", notes))
        assert not caught.value.is_config

    _run(work)
    assert _lines(notes) == ["tried"] * 5


def test_a_program_that_is_not_there_fails_the_start(tmp_path: Path) -> None:
    async def work(supervisor: Supervisor) -> None:
        with pytest.raises(StartFailed):
            await supervisor.start(_spec("ghost", "", tmp_path, argv=[str(tmp_path / "absent")]))

    assert any("ghost cannot be run" in line for line in _run(work))


def test_a_probe_stands_in_for_the_ready_line(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def work(supervisor: Supervisor) -> None:
        body = "assert '--ready-fd' not in sys.argv; note(str(os.getpid())); signal.pause()"
        spec = _spec("probed", body, notes, probe=lambda pid: _lines(notes) == [str(pid)])
        assert await supervisor.start(spec) == {}

    _run(work)


def test_services_end_in_their_order(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    body = """
def end(*_):
    time.sleep(0.1)
    note(sys.argv[2])
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
ready()
while True:
    signal.pause()
"""

    async def work(supervisor: Supervisor) -> None:
        for order in (3, 1, 2):
            await supervisor.start(_spec(f"s{order}", body, notes, str(order), stop_order=order))

    _run(work)
    assert _lines(notes) == ["1", "2", "3"]


_DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN); note(str(os.getpid())); ready()\nwhile True: signal.pause()"


def test_a_service_that_does_not_end_is_killed(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def work(supervisor: Supervisor) -> None:
        await supervisor.start(_spec("deaf", _DEAF, notes, stop_after_s=0.3))

    assert "castledger: deaf does not end, so it is killed" in _run(work)
    assert not is_running(int(_lines(notes)[0]))


def test_a_second_signal_does_not_wait_for_those_that_do_not_end(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def work(supervisor: Supervisor) -> None:
        await supervisor.start(_spec("deaf", _DEAF, notes, stop_after_s=100_000.0))
        supervisor.hurry()

    _run(work)
    assert not is_running(int(_lines(notes)[0]))


def test_a_stop_before_the_first_readiness_ends_the_start(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async def work(supervisor: Supervisor) -> None:
        start = asyncio.create_task(supervisor.start(_spec("slow", "note(str(os.getpid())); signal.pause()", notes)))
        await _until(lambda: len(_lines(notes)) == 1)
        await supervisor.stop()
        with pytest.raises(asyncio.CancelledError):
            await start

    _run(work)
    assert not is_running(int(_lines(notes)[0]))


def test_what_a_service_started_ends_with_it_and_delays_no_restart(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    body = "note(str(subprocess.Popen(['sleep', '1000']).pid)); ready(); signal.pause()"

    async def work(supervisor: Supervisor) -> None:
        await supervisor.start(_spec("parent", body, notes))
        os.kill(supervisor.pids()["parent"], signal.SIGKILL)
        await _until(lambda: len(_lines(notes)) == 2)

    _run(work)
    asyncio.run(_until(lambda: not any(is_running(int(pid)) for pid in _lines(notes))))


def test_services_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    program = f"""
import asyncio, sys
from castledger_server.supervisor import ChildSpec, Supervisor
async def main():
    spec = ChildSpec(
        name="orphan",
        argv=[sys.executable, "-c", {_READY + "note(str(os.getpid())); ready(); signal.pause()"!r}, {str(notes)!r}],
        env={{}}, stop_order=1, stop_after_s=1.0,
    )
    await Supervisor().start(spec)
    await asyncio.sleep(1000)
asyncio.run(main())
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program], env=env) as supervisor:
        try:
            asyncio.run(_until(lambda: len(_lines(notes)) == 1))
            assert is_running(int(_lines(notes)[0]))
        finally:
            supervisor.kill()
    asyncio.run(_until(lambda: not is_running(int(_lines(notes)[0]))))


def test_connections_wait_in_the_socket_while_its_worker_restarts(tmp_path: Path) -> None:
    port = choose_port(["127.0.0.1"], 0, option="--port")
    [[listener]] = bind_slots(["127.0.0.1"], port, slots=1)
    body = """
listener = socket.socket(fileno=int(sys.argv[2]))
ready()
connection, _ = listener.accept()
connection.sendall(str(os.getpid()).encode())
connection.close()
os._exit(1)
"""

    async def work(supervisor: Supervisor) -> None:
        fd = listener.fileno()
        await supervisor.start(_spec("worker", body, tmp_path / "notes", str(fd), pass_fds=(fd,)))
        answers = set()
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            answers.add(await asyncio.wait_for(reader.read(), _DEADLINE_S))
            writer.close()
            await writer.wait_closed()
        assert len(answers) == 4
        assert b"" not in answers

    try:
        _run(work)
    finally:
        listener.close()


def test_a_command_runs_to_its_end_and_its_failure_is_told() -> None:
    async def work(supervisor: Supervisor) -> None:
        env = {"WORD": "told"}
        argv = [sys.executable, "-c", "import os, sys; print(os.environ['WORD']); print('aside', file=sys.stderr)"]
        assert await supervisor.run("once", argv, env=env, capture_output=True) == b"told\n"
        assert await supervisor.run("twice", argv, env=env) == b""
        with pytest.raises(CommandFailed, match="bad failed with exit status 5") as caught:
            await supervisor.run("bad", [sys.executable, "-c", "import sys; sys.exit(5)"], env=env)
        assert caught.value.status == 5

    said = _run(work)
    assert said.count("once: aside") == 1
    assert "once: told" not in said
    assert "twice: told" in said


def test_workers_of_one_port_have_a_socket_each() -> None:
    port = choose_port(["127.0.0.1"], 0, option="--port")
    slots = bind_slots(["127.0.0.1"], port, slots=3)
    try:
        assert [[handle.getsockname()[1] for handle in slot] for slot in slots] == [[port]] * 3
    finally:
        for slot in slots:
            for handle in slot:
                handle.close()


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_a_taken_port_is_refused_with_the_option_that_names_another(option: int) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, option, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is taken.*--tracker-port"):
            choose_port(["127.0.0.1"], port, option="--tracker-port")


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1 cannot be listened on"):
        choose_port(["192.0.2.1"], 0, option="--tracker-port")


def test_ipv6_may_be_absent_beside_ipv4() -> None:
    port = choose_port(["127.0.0.1", "::"], 0, option="--tracker-port")
    assert 0 < port < 65536


def test_a_supervisor_tells_who_runs_so_that_a_later_life_knows_them(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    seen: list[dict[int, str]] = []

    async def work(supervisor: Supervisor) -> None:
        await supervisor.start(_spec("one", "note(json.dumps(os.getpid())); ready(); signal.pause()", notes))
        seen.append(supervisor.marks())

    _run(work)
    assert list(seen[0]) == [json.loads(_lines(notes)[0])]
