"""``castledger spikes``: seen and decided about by command, and what is told of it."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from uuid import UUID

import pytest

from analytics_core.db.pool import connect, open_pool
from analytics_core.ids import new_id
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.factories import make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import NOW, Ledger, minute


async def fill(database: DatabaseSettings, folder: Path) -> UUID:
    """Three downloads of AntennaPod and one of Overcast in an hour, and a spike of AntennaPod; returns its id."""
    podcast = await make_podcast(database, await make_tenant(database), make_episode("a"))
    await make_tenant(database, "two")
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    conn = await connect(database, Role.INGEST, application_name="test")
    ledger = Ledger(pool, conn, folder)
    antenna = [make_hit(minute(n), address=f"192.0.2.{n}", agent=b"AntennaPod/3.3.2") for n in range(3)]
    write_segment(folder, [*antenna, make_hit(minute(9))])
    await ledger.ship_all()
    spike_id = new_id()
    await conn.execute(
        "insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, app, usual, hits,"
        " downloads, episodes, found_at) values ($1, $2, $3, 'agent', $4, $5, 'AntennaPod', '{1}', 3, 3, 1, $6)",
        podcast.tenant.tenant_no,
        spike_id,
        podcast.podcast_no,
        minute(0),
        minute(0) + dt.timedelta(hours=1),
        NOW,
    )
    await conn.close()
    await pool.close()
    return spike_id


def test_a_spike_is_seen_accepted_and_reverted(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    spike = str(asyncio.run(fill(database, tmp_path)))

    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = main(["spikes", *arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.strip()

    def decide(what: str, *arguments: str) -> tuple[int, list[str], str]:
        return run(what, spike, "--reason", "a crawler", *arguments)

    head = "id                                    tenant          began (UTC)       state       downloads   usual  what"
    line = f"{spike}  one             2026-11-02 11:00  open                3       1  agent: AntennaPod"
    assert run("ls") == (0, [head, line], "")
    assert run("ls", "--state", "accepted") == run("ls", "--tenant", "two") == (0, ["there are no such spikes"], "")
    code, shown, _ = run("show", spike)
    assert (code, shown[:-1]) == (
        0,
        [
            "agent: AntennaPod",
            "2026-11-02 11:00 to 12:00 UTC: 3 hits of 1 episode, 3 downloads; 1 would have been usual",
            "open",
            "  11:00        3 " + "#" * 40,
            "       4 → 1        Episode a",
        ],
    )
    assert len(shown[-1].removeprefix("first hits: ").split()) == 3
    change = "3 hits, 2026-11-02: downloads 4 → 1, strict 4 → 1"
    assert decide("accept", "--dry-run") == (0, [f"AntennaPod: would be accepted; {change}"], "")
    assert decide("accept") == (0, [f"AntennaPod: accepted; {change}"], "")
    assert decide("accept") == (2, [], "castledger: this spike is accepted: it cannot be accepted now")
    assert decide("dismiss")[0] == 2
    back = "3 hits, 2026-11-02: downloads 1 → 4, strict 1 → 4"
    assert decide("revert", "--dry-run") == (0, [f"AntennaPod: would be reverted; {back}"], "")
    assert decide("revert") == (0, [f"AntennaPod: reverted; {back}"], "")
    assert decide("dismiss") == (0, ["AntennaPod: dismissed; no figure changes"], "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["show", "x"], "ID: 'x' is no id; `castledger spikes ls` shows them"),
        (["show", str(UUID(int=1))], "no such spike: `castledger spikes ls` shows those that there are"),
        (
            ["accept", str(UUID(int=1)), "--reason", "x"],
            "no such spike: `castledger spikes ls` shows those that there are",
        ),
        (["accept", str(UUID(int=1)), "--reason", " "], "--reason: is a line of 1 to 500 characters"),
        (["ls", "--tenant", "nobody"], "--tenant: there is no tenant 'nobody'; `castledger retention ls` names them"),
    ],
)
def test_what_cannot_be_is_said(
    database: DatabaseSettings,
    arguments: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    assert main(["spikes", *arguments]) == (1 if "no such" in complaint else 2)
    assert complaint in capsys.readouterr().err
