"""The demo, played on a whole ledger: what it prints is what is true, and nothing of it stays."""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_core.attribution.parameters import Model
from castledger_server.data_dir import read_running_up
from tests.acceptance.whole import Up, castledger, until

_FIGURES = re.compile(r"(.+?) +([\d,]+) +([\d,]+)( +≠)?")


@pytest.fixture(scope="module")
def ledger() -> Iterator[Path]:
    """The data folder of a running `up`."""
    # Not pytest's own folder, which the account of the database cannot enter.
    folder = Path(tempfile.mkdtemp(prefix="castledger-test-"))
    folder.chmod(0o755)
    up = Up(folder)
    try:
        up.wait()
        yield folder / "ledger"
    finally:
        up.kill_all()
        shutil.rmtree(folder)


def _figures(report: str) -> list[tuple[str, int, int]]:
    """Read the lines of the report that end in what was counted and what is true."""
    found = [_FIGURES.fullmatch(line) for line in report.splitlines()]
    return [(one[1], int(one[2].replace(",", "")), int(one[3].replace(",", ""))) for one in found if one is not None]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31 - 1), users=st.integers(1, 40), days=st.integers(1, 9))
def test_what_is_printed_is_what_is_true_for_every_seed(ledger: Path, seed: int, users: int, days: int) -> None:
    played = castledger("demo", f"--data-dir={ledger}", f"--seed={seed}", f"--users={users}", f"--days={days}")
    assert played.returncode == 0, played.stdout + played.stderr
    figures = _figures(played.stdout)
    assert len(figures) > days
    assert [row for row in figures if row[1] != row[2]] == []
    totals = {name.strip(): counted for name, counted, _ in figures}
    verdicts = played.stdout.partition("hits by verdict")[2].partition("\n\n")[0]
    assert sum(counted for _, counted, _ in _figures(verdicts)) == totals["hits"] > 0
    assert totals["all, strictly (ptmg-2.3)"] <= totals["all"] <= totals["hits"]
    assert "every figure is what it should be" in played.stdout


_TABLES = """select c.oid::regclass::text as name, r.rolname as role
from pg_class c cross join pg_roles r
where c.relnamespace in ('app'::regnamespace, 'ops'::regnamespace, 'ts'::regnamespace) and c.relkind in ('r', 'p')
    and not c.relispartition and r.rolname in ('castledger_owner', 'castledger_ingest', 'castledger_auth')
    and has_table_privilege(r.rolname, c.oid, 'select')
order by 1, 2"""

# What tells of ingest itself, and a generation that only ever grows.
_OF_NO_TENANT = ("ops.ingest_status", "ops.ownership")
# What stands in them moves while nobody asks for anything: a tracker shows once a minute that it lives, jobs run.
_WHICH = {
    "ops.segments": "(t.segment_no, t.segment_id, t.source)",
    "ops.jobs": "(t.kind, t.key)",
    "ops.job_runs": "(t.kind, t.key)",
}


async def _everything(database_url: str) -> dict[tuple[str, str], list[str]]:
    """Read all rows of all tables, each with every role that may."""
    conn = await asyncpg.connect(database_url)
    try:
        found = {}
        for table in await conn.fetch(_TABLES):
            if table["name"] not in _OF_NO_TENANT:
                await conn.execute(f"set role {table['role']}")
                told = _WHICH.get(table["name"], "t")
                rows = await conn.fetch(f"select {told}::text as row from {table['name']} t")
                texts = [row["row"] for row in rows]
                found[table["name"], table["role"]] = sorted(set(texts) if table["name"] in _WHICH else texts)
        return found
    finally:
        await conn.close()


def _files(ledger: Path) -> set[str]:
    return {path.name for path in (*ledger.iterdir(), *(ledger / "spool").glob("*-9999-*"))}


_PLAYS = {
    "a month": (
        ("--days=5", "--users=20"),
        ("app.podcasts", "app.metrics_daily", "ts.listener_events", "ts.downloads", "ops.agents"),
    ),
    "sponsors": (
        ("--sponsorship", "--scale=small"),
        ("app.campaigns", "app.placement_daily", "app.conversions", "app.attribution_credits", "app.clicks"),
    ),
}


@pytest.mark.parametrize("play", _PLAYS)
def test_removing_it_leaves_no_trace(ledger: Path, play: str) -> None:
    options, tables = _PLAYS[play]
    running = read_running_up(ledger)
    assert running is not None
    castledger("demo", "--remove", f"--data-dir={ledger}")
    before, files = asyncio.run(_everything(running.database_url)), _files(ledger)
    played = castledger("demo", f"--data-dir={ledger}", *options)
    assert played.returncode == 0, played.stdout + played.stderr
    between = asyncio.run(_everything(running.database_url))
    for table in tables:
        assert len(between[table, "castledger_ingest"]) > len(before[table, "castledger_ingest"]), table
    assert (ledger / "demo_api_key").stat().st_mode & 0o777 == 0o600

    removed = castledger("demo", "--remove", f"--data-dir={ledger}")
    assert (removed.returncode, removed.stderr) == (0, "castledger: the demo is gone\n")
    after = asyncio.run(_everything(running.database_url))
    assert {name: rows for name, rows in after.items() if rows != before[name]} == {}
    assert _files(ledger) == files
    again = castledger("demo", "--remove", f"--data-dir={ledger}")
    assert (again.returncode, again.stderr) == (0, "castledger: there is no demo here\n")


def test_sponsors_conversions_are_attributed_to_what_they_name(ledger: Path) -> None:
    seed = random.randrange(2**31)
    played = castledger("demo", f"--data-dir={ledger}", "--sponsorship", "--scale=small", f"--seed={seed}")
    assert played.returncode == 0, f"seed {seed}: {played.stdout}{played.stderr}"
    figures, _, models = played.stdout.partition("models beside")
    rows = _figures(figures)
    assert [row for row in rows if row[1] != row[2]] == []
    totals = {name.strip(): counted for name, counted, _ in rows}
    # Impressions, conversions and money of four campaigns.
    assert totals["figures of single campaigns"] == 12
    assert all(totals[f"named by {signal}"] > 0 for signal in ("click", "vanity", "code", "survey"))
    assert totals["conversions"] == totals["counted"] + totals["not counted"] + totals["retracted"]
    assert [line.split()[0] for line in models.splitlines() if " points " in line] == [
        "deterministic",
        *(model.value for model in Model),
    ]
    last = played.stdout.splitlines()[-1]
    assert re.fullmatch(
        rf"all {totals['conversions']} conversions are attributed to what they name, to the cent, \d+ s", last
    )


def test_up_plays_it_and_a_rule_of_the_operators_own_makes_a_difference(folder: Path) -> None:
    lists = folder / "ledger" / "lists"
    lists.mkdir(parents=True)
    # Whoever blocks half of the world counts less than the demo knows to be true.
    (lists / "blocked.txt").write_text("0.0.0.0/1\n")
    up = Up(folder, "--demo")
    try:
        api_url = up.wait()["api_url"]
        key_file = folder / "ledger" / "demo_api_key"
        until(key_file.exists, "`up --demo` did not play")
        key = {"Authorization": f"Bearer {key_file.read_text().strip()}"}

        def counted() -> int:
            rows = httpx.get(f"{api_url}/api/v1/analytics/downloads", headers=key, timeout=60).json()["data"]
            return sum(row["downloads"] for row in rows)

        until(lambda: counted() > 50, "what `up --demo` played was not counted")

        def removed() -> bool:
            return castledger("demo", "--remove", f"--data-dir={folder / 'ledger'}").returncode == 0

        until(removed, "the demo of `up --demo` did not end")
        played = castledger("demo", f"--data-dir={folder / 'ledger'}", "--days=3", "--users=20")
        assert played.returncode == 1, played.stdout + played.stderr
        differing = [row for row in _figures(played.stdout) if row[1] != row[2]]
        assert any(name.strip() == "blocked" for name, _, _ in differing)
        assert "≠" in played.stdout
        assert "every figure" not in played.stdout
        # Who is blocked is not counted, and so has delivered nothing.
        played = castledger("demo", f"--data-dir={folder / 'ledger'}", "--sponsorship", "--scale=small")
        assert played.returncode == 1, played.stdout + played.stderr
        differing = [row for row in _figures(played.stdout) if row[1] != row[2]]
        assert any(name == "impressions" for name, _, _ in differing)
        assert "differ from what is true" in played.stdout.splitlines()[-1]
    finally:
        up.kill_all()


def test_without_up_it_says_how_to_start_one(tmp_path: Path) -> None:
    refused = castledger("demo", f"--data-dir={tmp_path}")
    assert refused.returncode == 2
    assert f"castledger up --data-dir {tmp_path}" in refused.stderr
    assert castledger("demo", "--days=46").returncode == 2
    assert castledger("demo", "--users=0").returncode == 2
    assert castledger("demo", "--sponsorship", "--days=3").returncode == 2
    assert castledger("demo", "--scale=small").returncode == 2
