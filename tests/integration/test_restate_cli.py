"""``castledger restate``: late hits taken in by command, and what is told of it."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from analytics_core.db.pool import connect, open_pool
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.factories import make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import NOW, Ledger

ONE_DAY = dt.timedelta(days=1)


async def fill(database: DatabaseSettings, folder: Path) -> None:
    """Two final days with a download each, and late hits on both; the second day's downloads are gone."""
    await make_podcast(database, await make_tenant(database), make_episode("a"))
    await make_tenant(database, "two")
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    conn = await connect(database, Role.INGEST, application_name="test")
    ledger = Ledger(pool, conn, folder)

    async def land(listener: int) -> None:
        hits = [make_hit(NOW - days * ONE_DAY, address=f"192.0.2.{listener}") for days in (3, 0)]
        write_segment(folder, hits)
        await ledger.ship_all()

    await land(1)
    await conn.execute("update ops.days set final_at = now()")
    await land(2)
    await land(2)
    await conn.execute("update ops.days set downloads_dropped_at = now() where day = $1", NOW.date())
    await conn.close()
    await pool.close()


def test_days_are_told_one_by_one_and_taken_in_once(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    asyncio.run(fill(database, tmp_path))

    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = main(["restate", "--from", "2026-10-01", "--to", "2026-11-03", *arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.strip()

    table = [
        "tenant              day               hits  downloads               strict",
        "one                 2026-10-30           2  1 → 2                   1 → 2",
        "one                 2026-11-02           –  not restated: its downloads are not kept any more",
    ]
    assert run("--dry-run") == (1, [*table, "2 late hits would be taken in"], "")
    assert run("--tenant", "two") == (0, ["no hit came late for these days"], "")
    assert run("--reason", "tracker-2 was away") == (1, [*table, "2 late hits were taken in"], "")
    assert run("--tenant", "one") == (1, [table[0], table[2], "0 late hits were taken in"], "")
    # What changed something is on record, once; what was only looked at is not.
    assert main(["audit", "ls", "--tenant", "one"]) == 0
    (entry,) = capsys.readouterr().out.splitlines()
    assert entry.split()[3] == "restatement.create"
    assert entry.split()[-1] == "command"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--from", "yesterday", "--to", "2026-11-03"], "--from: is a date such as 2026-11-01, not 'yesterday'"),
        (["--from", "2026-11-03", "--to", "2026-11-03"], "--to: lies 1 to 3,660 days behind --from"),
        (["--from", "2006-11-03", "--to", "2026-11-03"], "--to: lies 1 to 3,660 days behind --from"),
        (["--from", "2026-11-02", "--to", "2026-11-03", "--reason", " "], "--reason: is a line of 1 to 500 characters"),
        (
            ["--from", "2026-11-02", "--to", "2026-11-03", "--reason", "x" * 501],
            "--reason: is a line of 1 to 500 characters",
        ),
        (
            ["--from", "2026-11-02", "--to", "2026-11-03", "--tenant", "nobody"],
            "--tenant: there is no tenant 'nobody'; `castledger retention ls` names them",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    database: DatabaseSettings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    assert main(["restate", *arguments]) == 2
    assert capsys.readouterr().err == f"castledger: {complaint}\n"
