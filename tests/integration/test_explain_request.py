"""``castledger explain --url`` with a ledger: it finds the episode that ingest would find, and leaves no trace."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from analytics_core.db.pool import connect
from analytics_core.registry import Registry, write_registry
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from castledger_server.cli import main
from tests.factories import MadePodcast, make_episode, make_podcast, make_tenant

OVERCAST = "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"
TABLES = ("ts.listener_events", "ops.pending_hits", "ops.agents", "app.unknown_hosts", "ops.listener_secrets")


async def _make(database: DatabaseSettings) -> MadePodcast:
    podcast = await make_podcast(
        database, await make_tenant(database), make_episode("a"), make_episode("live", live=True)
    )
    # Of two podcasts with a file of one name only the prefix tells which is meant.
    other = make_episode("b", "https://media.example.net/a.mp3", length_bytes=None, duration_s=None)
    await make_podcast(database, podcast.tenant, other)
    return podcast


async def _count(database: DatabaseSettings) -> list[int]:
    conn = await connect(database, Role.INGEST, application_name="test")
    try:
        return [await conn.fetchval(f"select count(*) from {table}") for table in TABLES]
    finally:
        await conn.close()


def test_a_request_is_explained_from_the_ledger_which_stays_as_it_is(
    database: DatabaseSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", str(database.url))
    monkeypatch.setenv("CASTLEDGER_DATA_DIR", str(tmp_path))
    podcast = asyncio.run(_make(database))
    before = asyncio.run(_count(database))

    def explain(url: str, *arguments: str) -> dict[str, Any]:
        given = ["--user-agent", OVERCAST, "--at", "2026-11-23T10:00:00Z", "--json", *arguments]
        assert main(["explain", "--url", url, *given]) == 0
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    prefix = "https://pod.example.org/e"
    said = explain(f"{prefix}/cdn.example.com/a.mp3?utm_source=x", "--range", "bytes=0-1259998")
    assert (said["episode"]["title"], said["hit"]["verdict"], said["is_assumed"]) == ("Episode a", "tiny_range", False)
    assert (said["hit"]["needed_bytes"], said["hit"]["is_default"]) == (1_260_000, False)
    assert explain("https://cdn.example.com/a.mp3")["hit"]["counts"] is True
    assert explain(f"{prefix}/cdn.example.com/live.mp3")["hit"]["verdict"] == "live"
    assert explain(f"{prefix}/cdn.example.com/a.mp3", "--at", "2026-09-01T00:00:00Z")["hit"]["verdict"] == "unpublished"
    assert explain(f"{prefix}/cdn.example.com/nobody.mp3")["hit"]["verdict"] == "unknown_episode"
    # By its file's name, within the podcast that the prefix names, or that is named instead.
    moved = "new.example.com/a.mp3"
    assert explain(f"{prefix}/{moved}")["episode"] is None
    assert explain(f"{prefix},pg={podcast.guid}/{moved}")["episode"]["title"] == "Episode a"
    assert explain(f"{prefix}/{moved}", "--podcast", str(podcast.guid))["episode"]["title"] == "Episode a"
    assert explain(f"{prefix}/{moved}", "--offline")["is_assumed"] is True
    # What trackers know of hosts is read where there is a snapshot.
    page = f"{prefix}/known.example.com/page"
    assert explain(page)["answer"]["status"] == 404
    write_registry(tmp_path / "registry.snapshot", Registry(version=1, hosts=frozenset({"known.example.com"})))
    assert explain(page)["answer"]["why"] == "The host known.example.com is known."
    assert asyncio.run(_count(database)) == before
