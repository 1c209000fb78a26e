"""``castledger users``: the first person, and who is let in, by command."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analytics_core.db.pool import connect
from analytics_core.db.users import create_user, delete_user, erase_deleted, find_credentials
from analytics_core.passwords import PasswordHasher
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.factories import make_tenant
from tests.integration.test_people_storage import NOW

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    monkeypatch.setenv("CASTLEDGER_BCRYPT_COST", "4")
    asyncio.run(make_tenant(database, "home"))
    asyncio.run(make_tenant(database, "studio"))

    def run(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        code = main(["users", *arguments, "--data-dir", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out.strip(), said.err.strip()

    return run


def ask(database: DatabaseSettings, query: str, *values: Any, role: Role = Role.AUTH) -> list[tuple[Any, ...]]:
    async def rows() -> list[tuple[Any, ...]]:
        conn = await connect(database, role, application_name="test")
        try:
            return [tuple(row) for row in await conn.fetch(query, *values)]
        finally:
            await conn.close()

    return asyncio.run(rows())


def fits(database: DatabaseSettings, email: str, password: str) -> bool:
    async def compare() -> bool:
        conn = await connect(database, Role.AUTH, application_name="test")
        try:
            found = await find_credentials(conn, email)
        finally:
            await conn.close()
        assert found is not None
        return await PasswordHasher(4).verify(password, found.password_hash)

    return asyncio.run(compare())


def test_the_first_person_is_added_without_mail(run: Run, database: DatabaseSettings) -> None:
    assert run("ls")[1] == "nobody yet; `castledger users add` adds the first one"
    add = ("add", "--email", "Ann@Example.com")
    assert run(*add, "--dry-run") == (0, "would be done: Ann@example.com is owner of home, with a new account", "")
    assert ask(database, "select count(*) from app.users") == [(0,)]
    assert run(*add, typed="seven wise llamas\n") == (0, "Ann@example.com is owner of home", "")
    assert fits(database, "ann@example.com", "seven wise llamas")
    more = ("--tenant", "studio", "--role", "analyst")
    assert run(*add, *more, "--dry-run")[1].endswith("as who they are")
    assert run(*add, *more) == (0, "Ann@example.com is analyst of studio", "")
    assert run("ls")[1].split(maxsplit=2) == ["Ann@example.com", "active", "home (owner), studio (analyst)"]
    assert run("ls", "--tenant", "studio")[1].startswith("Ann@example.com")
    entries = ask(database, "select actor, actor_id, action from app.audit_log order by entry_no", role=Role.INGEST)
    assert entries == [("command", None, "member.add")] * 2


def test_what_cannot_be_done_says_what_to_do_and_leaves_nothing(run: Run, database: DatabaseSettings) -> None:
    add = ("add", "--email", "ann@example.com")
    for arguments, typed, complaint in (
        ((*add, "--tenant", "nowhere"), "", "there is no tenant 'nowhere'"),
        (add, "", "password: is missing"),
        (add, "short\n", "fewer than 10 characters"),
        (add, "ann@example.com\n", "little more than your mail address"),
        (("add", "--email", "ann"), "", "--email: a mail address looks like"),
        ((*add, "--locale", "???"), "", "--locale"),
        (("password", "bob@example.com"), "", "nobody has bob@example.com"),
        (("ls", "--tenant", "nowhere"), "", "there is no tenant 'nowhere'"),
        (("disable", "bob@example.com"), "", "nobody has"),
        (("restore", "bob@example.com"), "", "nobody has"),
    ):
        code, _, said = run(*arguments, typed=typed)
        assert code == 2
        assert complaint in said
    assert ask(database, "select count(*) from app.users") == [(0,)]
    assert run(*add, typed="seven wise llamas\n")[0] == 0
    assert "belongs to the tenant already" in run(*add)[2]


def test_somebody_who_only_registered_joins_no_tenant_with_their_password(run: Run, database: DatabaseSettings) -> None:
    async def register() -> None:
        conn = await connect(database, Role.AUTH, application_name="test")
        await create_user(conn, email="ann@example.com", name="", password_hash="x", now=NOW)
        await conn.close()

    asyncio.run(register())
    assert run("ls")[1].split() == ["ann@example.com", "unconfirmed", "no", "tenant"]
    assert "is not confirmed" in run("add", "--email", "ann@example.com")[2]
    assert run("password", "ann@example.com", typed="seven wise llamas\n")[0] == 0
    assert run("add", "--email", "ann@example.com")[0] == 0
    assert fits(database, "ann@example.com", "seven wise llamas")


def test_people_are_kept_out_let_in_and_brought_back(run: Run, database: DatabaseSettings) -> None:
    run("add", "--email", "ann@example.com", typed="seven wise llamas\n")
    run("add", "--email", "bob@example.com", typed="seven wise llamas\n")
    (user_id,) = ask(database, "select user_id from app.users where email = 'ann@example.com'")[0]
    assert run("disable", "ann@example.com") == (0, "ann@example.com is disabled", "")
    assert "disabled" in run("ls")[1]
    assert "is disabled" in run("add", "--email", "ann@example.com", "--tenant", "studio")[2]
    assert run("enable", "ann@example.com") == (0, "ann@example.com is active", "")
    assert "is not deleted" in run("restore", "ann@example.com")[2]

    async def delete() -> None:
        conn = await connect(database, Role.AUTH, application_name="test")
        await delete_user(conn, user_id, now=NOW)
        await conn.close()

    asyncio.run(delete())
    assert "has deleted themselves" in run("enable", "ann@example.com")[2]
    assert "has deleted themselves" in run("password", "ann@example.com", typed="x\n")[2]
    assert run("restore", "ann@example.com")[0] == 0
    assert run("password", "ann@example.com", typed="other wise llamas\n")[0] == 0
    assert fits(database, "ann@example.com", "other wise llamas")

    async def erase() -> int:
        conn = await connect(database, Role.INGEST, application_name="test")
        try:
            return await erase_deleted(conn, before=NOW)
        finally:
            await conn.close()

    assert asyncio.run(erase()) == 0
