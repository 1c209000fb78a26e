"""``castledger recount``: history judged again by command, and what is told of it."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path

import pytest

from analytics_core.agent_table import AgentEntry, AgentTable
from analytics_core.db.list_versions import note_list_versions
from analytics_core.db.pool import connect, open_pool
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from ingest.dictionaries import AgentNumbers
from tests.factories import OVERCAST, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import NOW, Ledger

ONE_DAY = dt.timedelta(days=1)


def table(kind: str) -> AgentTable:
    entries = [
        AgentEntry(name="Earwig", kind=kind, pattern="^Earwig/"),
        AgentEntry(name="Mole", kind="app", pattern="^M"),
    ]
    return AgentTable(tuple(entries), (), version=kind)


async def fill(database: DatabaseSettings, folder: Path, *, limit: int) -> None:
    """Three days with a bot that is an app by now: one open, with other hits, and two of a month that lacks downloads.

    Of all agents, *limit* have been classified again by the table that says so.
    """
    await make_podcast(database, await make_tenant(database), make_episode("a"))
    await make_tenant(database, "two")
    pool = await open_pool(database, Role.INGEST, application_name="test", max_size=2)
    conn = await connect(database, Role.INGEST, application_name="test")
    ledger = Ledger(pool, conn, folder)
    ledger.pipeline.agents = AgentNumbers(ledger.clock, table=lambda: table("bot"))
    hits = [make_hit(NOW - days * ONE_DAY, agent=b"Earwig/1") for days in (3, 1, 0)]
    hits += [make_hit(NOW - 3 * ONE_DAY, agent=agent, address="192.0.2.7") for agent in (b"Mole/1", OVERCAST)]
    write_segment(folder, hits)
    await ledger.ship_all()
    await conn.execute("update ops.days set final_at = now() where day >= $1", (NOW - ONE_DAY).date())
    await conn.execute("update ops.days set downloads_dropped_at = now() where day = $1", (NOW - ONE_DAY).date())
    await AgentNumbers(ledger.clock, table=lambda: table("app")).bring_up_to_date(conn, limit=limit)
    for days, version in ((40, "old"), (9, "none"), (8, "none"), (3, "new"), (0, "newest")):
        await note_list_versions(conn, {"networks": version}, now=NOW - days * ONE_DAY)
    await conn.close()
    await pool.close()


def test_days_are_told_one_by_one_and_recounted_once(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    asyncio.run(fill(database, tmp_path, limit=100))

    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = main(["recount", "--from", "2026-10-01", "--to", "2026-11-03", *arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.strip()

    head = "tenant              day               hits  downloads               strict"
    changed = "one                 2026-10-30           1  2 → 3                   2 → 3"
    refused = [
        "one                 2026-11-01           –  not restated: its downloads are not kept any more",
        "one                 2026-11-02           –  not restated: downloads of its month are not kept any more,"
        " without which its listeners cannot be counted",
    ]
    moved = "                                         1  bot → eligible"
    code, dry, said = run("--dry-run")
    assert (code, dry[:6], said) == (1, [head, changed, *refused, moved, "1 hits would be judged otherwise"], "")
    assert dry[6].startswith("Lists of networks act on hits that land once they are installed")
    assert dry[9:] == [
        f"  networks           {version}, since {NOW - days * ONE_DAY:%Y-%m-%d %H:%M}Z"
        for days, version in ((40, "old"), (9, "none"), (3, "new"), (0, "newest"))
    ]
    assert run("--tenant", "two") == (0, ["there are no hits of these days"], "")
    assert run() == (1, [head, changed, *refused, moved, "1 hits were judged otherwise"], "")
    assert run("--tenant", "one") == (1, [head, *refused, "0 hits were judged otherwise"], "")
    # Without a probe no hit is judged otherwise, but what judges them is another profile.
    same = "one                 2026-10-30           0  3 → 3                   3 → 3"
    assert run("--profile", "ptmg-2.3") == (1, [head, same, *refused, "0 hits were judged otherwise"], "")
    assert run("--profile", "ptmg-2.3") == (1, [head, *refused, "0 hits were judged otherwise"], "")


def test_whoever_is_too_early_is_told(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    asyncio.run(fill(database, tmp_path, limit=1))
    main(["recount", "--from", "2026-10-30", "--to", "2026-10-31", "--dry-run"])
    assert "the job `agents` is not through with the newest table yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--from", "yesterday", "--to", "2026-11-03"], "--from: is a date such as 2026-11-01, not 'yesterday'"),
        (["--from", "2026-11-03", "--to", "2026-11-03"], "--to: lies 1 to 3,660 days behind --from"),
        (["--from", "2026-11-02", "--to", "2026-11-03", "--reason", " "], "--reason: is a line of 1 to 500 characters"),
        (
            ["--from", "2026-11-02", "--to", "2026-11-03", "--tenant", "nobody"],
            "--tenant: there is no tenant 'nobody'; `castledger retention ls` names them",
        ),
        (
            ["--from", "2026-11-02", "--to", "2026-11-03", "--profile", "ptmg-2"],
            "profile: there is no profile 'ptmg-2'; is ptmg-2.3 meant? There are castledger-1, ptmg-2.3, op3, odl,"
            " first-touch, last-touch",
        ),
        (
            ["--from", "2026-11-02", "--to", "2026-11-03", "--profile", "op3"],
            "profile: op3 is for comparing alone: it tells downloads apart by referrers, and what is stored is one a"
            " listener, episode and UTC day; `castledger compare` counts by it",
        ),
        (
            ["--from", "2026-11-02", "--to", "2026-11-03", "--profile", "first-touch"],
            "profile: first-touch is for comparing alone: its window, first_touch, depends on the order of requests and"
            " on the day before; `castledger compare` counts by it",
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
    assert main(["recount", *arguments]) == 2
    assert capsys.readouterr().err == f"castledger: {complaint}\n"
