"""``castledger audit``: listed, and proven; whatever a superuser does to the record is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

import asyncpg
import pytest

from analytics_core.audit import Actor
from analytics_core.db.audit import add_entry
from analytics_core.db.audit_seals import seal_entries
from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.factories import make_tenant
from tests.postgres import operator_url

Run: TypeAlias = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def run(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run an action; its exit code, the lines that it printed, and what it complained of."""
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    asyncio.run(_fill(database))

    def run_it(*arguments: str) -> tuple[int, list[str], str]:
        code = main(["audit", *arguments, "--data-dir", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.strip()

    return run_it


async def _fill(database: DatabaseSettings) -> None:
    """Five entries of one tenant, sealed, and two of another."""
    pool = await open_pool(database, Role.API, application_name="test", max_size=1)
    for slug, count in (("studio", 5), ("other", 2)):
        tenant = await make_tenant(database, slug)
        for number in range(count):
            async with tenant_transaction(pool, tenant) as conn:
                await add_entry(
                    conn,
                    tenant,
                    actor=Actor.KEY,
                    actor_id=uuid4(),
                    action="link.create" if number else "key.create",
                    resource_id=f"thing {number}",
                    after={"number": number},
                )
    await pool.close()
    await _seal(database)


async def _seal(database: DatabaseSettings) -> None:
    conn = await connect(database, Role.INGEST, application_name="test")
    while await seal_entries(conn):
        continue
    await conn.close()


def tamper(database: DatabaseSettings, *statements: str) -> None:
    """Do what no service may: as the superuser, whom row security does not bind."""

    async def do() -> None:
        conn = await asyncpg.connect(operator_url(database))
        for statement in statements:
            await conn.execute(statement)
        await conn.close()

    asyncio.run(do())


_OF = "(select entry_id from app.audit_seals s join app.tenants t using (tenant_id) where slug = 'studio' and seq = {})"


def test_a_record_that_nobody_touched_is_whole(run: Run) -> None:
    code, lines, complained = run("verify")
    assert (code, complained) == (0, "")
    assert [line.split(", head")[0].split() for line in lines] == [
        ["other", "whole,", "2", "entries"],
        ["studio", "whole,", "5", "entries"],
    ]


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("update app.audit_log set after = '{{\"number\": 9}}' where entry_id = {3}", "sequence 3: the entry, or one"),
        ("update app.audit_log set actor_id = gen_random_uuid() where entry_id = {1}", "sequence 1: the entry, or one"),
        ("update app.audit_log set at = at + interval '1 ms' where entry_id = {5}", "sequence 5: the entry, or one"),
        ("delete from app.audit_log where entry_id = {2}", "sequence 2: the entry is gone"),
        ("delete from app.audit_seals where entry_id = {4}", "sequence 4: there is none, the next one is 5"),
        ("delete from app.audit_seals where entry_id = {5}", "there are entries that have no seal and do not wait"),
        (
            "update app.audit_log a set before = b.before, after = b.after, resource_id = b.resource_id"
            " from app.audit_log b where (a.entry_id, b.entry_id) in (({2}, {4}), ({4}, {2}))",
            "sequence 2: the entry, or one",
        ),
        (
            "update app.audit_seals a set entry_id = b.entry_id from app.audit_seals b where"
            " (a.entry_id, b.entry_id) in (({2}, {4}), ({4}, {2}))",
            "sequence 2: the entry, or one",
        ),
    ],
)
def test_whatever_is_done_to_it_is_found_where_it_was_done(
    run: Run, database: DatabaseSettings, statement: str, place: str
) -> None:
    # PostgreSQL looks at a key row by row, in the middle of a swap as well.
    free = "alter table app.audit_seals drop constraint audit_seals_tenant_id_entry_id_key"
    tamper(database, free, statement.format(None, *(_OF.format(seq) for seq in range(1, 6))))
    code, lines, _ = run("verify")
    assert code == 1
    other, studio = lines
    assert other.split()[1] == "whole,"
    assert f"broken: {place}" in studio
    assert run("verify", "--tenant", "other")[0] == 0


def test_an_end_that_was_cut_off_is_found_by_who_knows_the_head(run: Run, database: DatabaseSettings) -> None:
    head = run("verify", "--tenant", "studio")[1][0].rsplit(" ", 1)[1]
    assert run("verify", "--tenant", "studio", "--known", head)[0] == 0
    tamper(
        database,
        f"delete from app.audit_log where entry_id = {_OF.format(5)}",
        f"delete from app.audit_seals where entry_id = {_OF.format(5)}",
    )
    assert run("verify", "--tenant", "studio")[0] == 0
    code, lines, _ = run("verify", "--tenant", "studio", "--known", head)
    assert code == 1
    assert "broken: sequence 5: there is none, though it is known; the last one is 4" in lines[0]
    code, lines, _ = run("verify", "--tenant", "studio", "--known", f"4:{'0' * 64}")
    assert code == 1
    assert "sequence 4: its hash is not the one that is known" in lines[0]


def test_what_waits_for_its_seal_is_told_and_no_fault(run: Run, database: DatabaseSettings) -> None:
    tamper(
        database,
        "insert into app.audit_log (tenant_id, entry_id, actor, action) select tenant_id, gen_random_uuid(), 'command',"
        " 'erasure.create' from app.tenants where slug = 'other'",
    )
    code, lines, _ = run("verify", "--tenant", "other")
    assert code == 0
    assert lines[1].strip() == "1 without a seal yet; an ingest that is up gives it"
    asyncio.run(_seal(database))
    assert run("verify", "--tenant", "other")[1][0].split()[2] == "3"


def test_entries_are_listed_newest_first(run: Run) -> None:
    code, lines, _ = run("ls", "--tenant", "studio")
    assert code == 0
    assert [line.split()[0] for line in lines] == ["5", "4", "3", "2", "1"]
    assert [line.split()[3] for line in lines] == ["link.create"] * 4 + ["key.create"]
    assert len(run("ls", "--tenant", "studio", "--action", "link")[1]) == 4
    assert len(run("ls", "--tenant", "studio", "--action", "link.create", "--limit", "2")[1]) == 2
    assert run("ls", "--tenant", "studio", "--action", "spike")[1:] == ([], "nothing that is on record")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("ls", "--tenant", "nobody"), "--tenant: there is no tenant 'nobody'"),
        (("verify", "--tenant", "nobody"), "--tenant: there is no tenant 'nobody'"),
        (("verify", "--known", "1:00"), "--known: is a head that"),
        (("verify", "--known", f"1:{'0' * 64}"), "--known: needs --tenant"),
    ],
)
def test_what_cannot_be_used_is_said(run: Run, arguments: tuple[str, ...], complaint: str) -> None:
    code, lines, complained = run(*arguments)
    assert (code, lines) == (2, [])
    assert complaint in complained
