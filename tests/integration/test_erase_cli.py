"""``castledger erase``: a listener erased by command, and the record of it looked at."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.factories import make_tenant

KEY = UUID(int=7)


async def _store(database: DatabaseSettings) -> None:
    """Two hits of a listener and one of another."""
    tenant = await make_tenant(database, "studio")
    conn = await asyncpg.connect(str(database.url))
    await conn.execute("select ops.ensure_partitions(array['2026-11-02']::date[])")
    await conn.execute("insert into ops.days (tenant_no, day) values ($1, '2026-11-02')", int(tenant.tenant_no))
    await conn.execute(
        "insert into ops.segments (segment_id, source, created_at, committed, first_hit_at, last_hit_at)"
        " values (gen_random_uuid(), 't', now(), 0, '2026-11-02 10:00Z', '2026-11-02 12:00Z')"
    )
    await conn.execute(
        "insert into ts.listener_events select '2026-11-02 11:00Z', 0, 0, k, segment_no, o, $1, 1, 1, 0, 0, 0, 0, 1, 0,"
        " 0, 0, 0, 0, 0, 1, 1 from ops.segments, unnest($2::uuid[], array[0, 1, 2]) as n(k, o)",
        int(tenant.tenant_no),
        [KEY, KEY, UUID(int=8)],
    )
    await conn.close()


@pytest.mark.parametrize("named", [["h_1-1"], [KEY.hex, "--month", "2026-11"]], ids=["hit", "key"])
def test_a_listener_is_erased_by_command_and_the_record_can_be_checked(
    named: list[str],
    database: DatabaseSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    asyncio.run(_store(database))

    def run(action: str, *arguments: str) -> tuple[int, str, str]:
        code = main(["erase", action, *arguments, "--data-dir", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out.strip(), said.err.strip()

    of = ("--tenant", "studio")
    code, said, _ = run("listener", *named, *of)
    assert code == 0
    record = json.loads(said)
    assert record["removed"] == {"hits": 2, "clicks": 0, "downloads": 0, "pending_hits": 0}
    assert record["whole"] is True
    assert KEY.hex not in said
    assert json.loads(run("ls", *of)[1]) == record
    assert run("verify", record["erasure_id"], *of)[:1] == (0,)
    assert run("verify", record["erasure_id"], "--key", KEY.hex, *of)[:1] == (0,)
    assert run("verify", record["erasure_id"], "--key", UUID(int=8).hex, *of)[:1] == (1,)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["listener", "h_1-1", "--tenant", "nobody"], "there is no tenant 'nobody'"),
        (["listener", "h_9-9", "--tenant", "studio"], "no such hit"),
        (["listener", "h_x", "--tenant", "studio"], "a hit id looks like"),
        (["listener", "xyz", "--month", "2026-11", "--tenant", "studio"], "32 hexadecimal digits"),
        (["listener", KEY.hex, "--tenant", "studio"], "--month"),
        (["listener", KEY.hex, "--month", "2026-13", "--tenant", "studio"], "--month"),
        (["verify", str(KEY), "--tenant", "studio"], "no such erasure"),
    ],
)
def test_what_cannot_be_erased_is_named(
    arguments: list[str],
    complaint: str,
    database: DatabaseSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    asyncio.run(make_tenant(database, "studio"))
    assert main(["erase", *arguments, "--data-dir", str(tmp_path)]) in (1, 2)
    assert complaint in capsys.readouterr().err
