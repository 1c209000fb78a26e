"""``castledger keys``: made, listed, rotated and revoked by command, over a running API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from analytics_core.api_keys import is_well_formed
from analytics_core.db.pool import connect
from analytics_core.db.tenants import ensure_owner_key
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.api_processes import start


async def owner_key(database: DatabaseSettings) -> str:
    conn = await connect(database, Role.AUTH, application_name="test")
    try:
        return await ensure_owner_key(conn, None)
    finally:
        await conn.close()


@pytest.fixture
def api(database: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A running API that the environment names, with the owner's key; its address."""
    monkeypatch.setenv("CASTLEDGER_API_KEY", asyncio.run(owner_key(database)))
    with start(tmp_path, DATABASE_URL=str(database.url)) as running:
        monkeypatch.setenv("CASTLEDGER_API_URL", running.url)
        yield running.url


def test_a_key_is_made_listed_rotated_and_revoked(api: str, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, list[str], str]:
        code = main(["keys", *arguments])
        said = capsys.readouterr()
        return code, said.out.splitlines(), said.err.strip()

    code, (text,), told = run("add", "dashboard", "--scopes", "podcasts:read, analytics:read", "--expires", "90d")
    assert (code, is_well_formed(text)) == (0, True)
    assert told.startswith(f"castledger: dashboard ({text[:12]}…, ")
    assert text not in told
    code, lines, _ = run("ls")
    assert code == 0
    assert lines[1].endswith("owner: everything")
    assert lines[2].endswith("dashboard: analytics:read, podcasts:read")
    assert " until 20" in lines[2]
    key_id = lines[2].split()[0]
    assert run("ls", "--api-key", text)[2].startswith("castledger: this needs the permission keys:read")

    assert run("rotate", key_id, "--overlap", "12h", "--dry-run") == (
        0,
        [f"dashboard ({text[:12]}…, {key_id}) would be replaced, and end after 12h"],
        "",
    )
    code, (new,), told = run("rotate", key_id, "--overlap", "0")
    assert (code, is_well_formed(new), new != text) == (0, True, True)
    assert f"the old key {key_id} ends at once" in told
    assert [line.split()[0] == key_id for line in run("ls")[1]] == [False, False, False]
    assert "expired" in next(line for line in run("ls", "--all")[1] if line.startswith(key_id))

    new_id = run("ls")[1][-1].split()[0]
    name = f"dashboard ({new[:12]}…, {new_id})"
    assert run("revoke", new_id, "--dry-run") == (0, [f"{name} would be revoked; never used"], "")
    assert run("revoke", new_id) == (0, [f"{name} is revoked"], "")
    assert run("revoke", new_id)[0] == 1
    assert len(run("ls")[1]) == 2


def test_a_publishable_key_names_its_origins(api: str, capsys: pytest.CaptureFixture[str]) -> None:
    origins = ["--origin", "https://shop.example", "--origin", "http://localhost:3000"]
    assert main(["keys", "add", "the shop", "--publishable", *origins]) == 0
    assert capsys.readouterr().out.startswith("cl_pub_")
    assert main(["keys", "ls"]) == 0
    assert "the shop: events:write on https://shop.example, http://localhost:3000" in capsys.readouterr().out
    assert main(["keys", "add", "x", "--publishable", "--origin", "https://*.example"]) == 1
    assert "/origins/0: has to be one exact origin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["revoke", "x"], "ID: 'x' is no id; `castledger keys ls` shows them"),
        (["rotate", "../podcasts"], "ID: '../podcasts' is no id"),
        (["rotate", str(UUID(int=1)), "--overlap", "1w"], "--overlap: '1w' is no time such as 90m, 12h or 30d"),
        (["rotate", str(UUID(int=1)), "--overlap", "5"], "--overlap: '5' is no time"),
        (["add", "x", "--expires", "soon"], "--expires: 'soon' is no day such as 2027-11-01"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_asked(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASTLEDGER_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CASTLEDGER_API_KEY", "x")
    assert main(["keys", *arguments]) == 2
    assert complaint in capsys.readouterr().err
