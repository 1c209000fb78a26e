"""Power goes at any moment: of what was answered only the last instants are gone, and with `always` nothing."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from pathlib import Path

import pytest

from analytics_core.segments import OsDisk
from analytics_core.settings import SyncMode
from analytics_core.spool import HEADER_BYTES
from ingest.spool_reader import SpoolFolder
from tests.integration.test_tracker_protocol import run, serving, until
from tests.trackers import read_spool


class ForgetfulDisk(OsDisk):
    """A disk that keeps for sure only what was there when a sync began that has ended; syncs take as long as wished."""

    def __init__(self, answered: list[str]) -> None:
        self.synced: dict[str, int] = {}
        self.syncs = 0
        self.covered = 0
        """How many of the answers had been sent when the last sync that has ended began."""
        self._answered = answered
        self._may_end = threading.Event()
        self._may_end.set()

    def hold(self) -> None:
        """Let no sync end from now on."""
        self._may_end.clear()

    def release(self) -> None:
        """Let syncs end again."""
        self._may_end.set()

    def sync(self, descriptor: int) -> None:
        covered = len(self._answered)
        size = os.fstat(descriptor).st_size
        name = Path(f"/proc/self/fd/{descriptor}").readlink().stem
        self._may_end.wait(20)
        super().sync(descriptor)
        self.synced[name] = size
        self.covered = covered
        self.syncs += 1

    def after_power_loss(self, spool: Path, into: Path, chance: random.Random) -> None:
        """Copy a spool as it may be found: of what no sync covers any part may be there, damaged at its end."""
        into.mkdir()
        for path in spool.iterdir():
            kept = self.synced.get(path.stem)
            if kept is None:
                # Not even its name was ever synced.
                continue
            data = path.read_bytes()
            more = chance.randint(0, len(data) - kept)
            rubbish = chance.choice((b"", b"\0" * 40, b"CLbf" + bytes(30)))
            (into / path.name).write_bytes(data[: kept + more] + rubbish)


def targets_after(folder: Path) -> set[str]:
    """Read a spool as ingest does; what stands behind the last sound frame is not there."""
    spool = SpoolFolder(folder)
    found: set[str] = set()
    for file in spool.scan():
        reading = spool.read(file, offset=HEADER_BYTES, max_hits=10**9)
        sound = folder / "sound"
        sound.mkdir(exist_ok=True)
        cut = sound / file.path.name
        cut.write_bytes(file.path.read_bytes()[: reading.end])
    if (folder / "sound").exists():
        found = {hit.target.decode() for hit in read_spool(folder / "sound")[0]}
    return found


async def ask(port: int, names: list[str], answered: list[str]) -> None:
    """Ask for some files, one after the other over one connection, and note each that is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for name in names:
            writer.write(f"GET /e/{name} HTTP/1.1\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            answered.append(name)
            await asyncio.sleep(0.002)
    finally:
        writer.close()


def names_of(client: int, count: int) -> list[str]:
    return [f"cdn.example.com/{client}-{number}.mp3" for number in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_with_sync_always_no_answered_hit_is_gone(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    answered: list[str] = []
    disk = ForgetfulDisk(answered)

    async def main() -> None:
        async with serving(tmp_path, disk=disk, sync=SyncMode.ALWAYS) as (_, port):
            async with asyncio.TaskGroup() as clients:
                asking = [clients.create_task(ask(port, names_of(client, 60), answered)) for client in range(4)]
                for moment in range(6):
                    await asyncio.sleep(chance.random() * 0.05)
                    # Answers are counted first: one that is sent while we copy proves nothing.
                    before = list(answered)
                    disk.after_power_loss(tmp_path / "spool", tmp_path / f"after-{moment}", chance)
                    assert set(before) <= targets_after(tmp_path / f"after-{moment}")
                await asyncio.gather(*asking)
            assert len(answered) == 240

    run(main())


def test_otherwise_what_was_answered_before_the_last_sync_began_is_there(tmp_path: Path) -> None:
    chance = random.Random(5)
    answered: list[str] = []
    disk = ForgetfulDisk(answered)

    async def main() -> None:
        async with serving(tmp_path, disk=disk) as (tracker, port):
            async with asyncio.TaskGroup() as clients:
                for client in range(4):
                    clients.create_task(ask(port, names_of(client, 200), answered))
                for moment in range(4):
                    await until(lambda seen=disk.syncs: disk.syncs > seen)  # type: ignore[misc]
                    await asyncio.sleep(chance.random() * 0.05)
                    covered = answered[: disk.covered]
                    disk.after_power_loss(tmp_path / "spool", tmp_path / f"after-{moment}", chance)
                    assert set(covered) <= targets_after(tmp_path / f"after-{moment}")
            # Left alone, all is synced: what comes after that alone can be gone.
            await until(lambda: not tracker.writer.is_dirty and not tracker.turns.is_syncing)
            sure = set(answered)
            disk.hold()
            await ask(port, names_of(9, 20), answered)
            disk.after_power_loss(tmp_path / "spool", tmp_path / "after", chance)
            disk.release()
            assert sure <= targets_after(tmp_path / "after") <= set(answered)

    run(main())
