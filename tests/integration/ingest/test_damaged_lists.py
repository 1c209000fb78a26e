"""Damaged lists and databases while ingest runs: those before stay in force, and health says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from analytics_core.agent_lists import LIST_FILES
from analytics_core.clock import SystemClock
from analytics_core.settings import DatabaseSettings, Service, load_settings
from analytics_core.user_agents import AgentKind
from ingest.app import Ingest
from ingest.jobs import Health
from ingest.metrics import Metrics
from tests.address_databases import write_database
from tests.factories import MadePodcast, make_hit, write_segment
from tests.ledgers import Ledger, minute

pytestmark = pytest.mark.anyio


class Running:
    """An ingest with lists of its own, and what it says of its health."""

    def __init__(self, ledger: Ledger, database: DatabaseSettings, folder: Path) -> None:
        self.lists, self.agents, self.asns = folder / "lists", folder / "agents", folder / "asn.mmdb"
        self.lists.mkdir()
        self.agents.mkdir()
        (self.lists / "vpn.txt").write_text("192.0.2.0/24\n")
        write_database(self.asns, {"asn": "AS64496"}, {"asn": "AS64497"})
        for name in LIST_FILES:
            self.write_agents(name, "Earwig" if name.startswith("apps") else "Nobody")
        settings = load_settings(
            {
                "DATABASE_URL": str(database.url),
                "CASTLEDGER_DATA_DIR": str(folder / "data"),
                "CASTLEDGER_LISTS_DIR": str(self.lists),
                "CASTLEDGER_AGENT_LISTS": str(self.agents),
                "CASTLEDGER_ASN_DATABASE": str(self.asns),
            },
            service=Service.INGEST,
        )
        self.metrics = Metrics()
        self.ingest = Ingest(settings, ledger.pool, clock=SystemClock(), metrics=self.metrics)
        self.health = Health()

    def write_agents(self, name: str, program: str) -> None:
        entry = {"name": f"{program} of {name}", "pattern": f"^{program}/"}
        (self.agents / name).write_text(json.dumps({"entries": [entry]}))

    async def look(self) -> list[str]:
        """Look at everything twice: what is on its way is left alone the first time."""
        for _ in range(2):
            await self.ingest.watch_lists(self.health)
            await self.ingest.watch_agent_lists(self.health)
        return self.health.faults()

    @property
    def lists_damaged(self) -> float | None:
        return self.metrics.registry.get_sample_value("castledger_ingest_lists_damaged")


@pytest.fixture
def running(ledger: Ledger, database: DatabaseSettings, tmp_path: Path) -> Running:
    return Running(ledger, database, tmp_path)


def cut(path: Path) -> None:
    """Leave the first half of a file, as a copy that was broken off does."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda running: (running.lists / "vpn.txt").write_text("10.0.0.0/8\n\n198.51.100.\n"), "vpn.txt:3"),
        (lambda running: (running.lists / "datacenter.csv").write_text("Number\n64496\n"), "datacenter.csv:1"),
        (lambda running: cut(running.asns), "asn.mmdb"),
    ],
    ids=["a line", "a table", "half a database"],
)
async def test_places_stay_as_they_were_and_health_names_the_file(
    running: Running, damage: Callable[[Running], object], named: str
) -> None:
    assert await running.look() == []
    before = running.ingest.pipeline.places
    kept = {path: path.read_bytes() for path in (running.lists / "vpn.txt", running.asns)}
    damage(running)
    (fault,) = await running.look()
    assert named in fault
    assert "stays in force" in fault
    assert running.ingest.pipeline.places is before
    assert running.lists_damaged == 1
    (running.lists / "datacenter.csv").unlink(missing_ok=True)
    for path, data in kept.items():
        path.write_bytes(data)
    assert await running.look() == []
    assert running.lists_damaged == 0


async def test_agents_stay_as_they_were_and_health_names_file_and_line(running: Running) -> None:
    assert await running.look() == []
    damaged = running.agents / "apps.runtime.json"
    damaged.write_text(
        '{"entries": [\n{"name": "Earwig", "pattern": "^Earwig/"},\n{"name": "Other", "pattern": "("}\n]}'
    )
    (fault,) = await running.look()
    assert "apps.runtime.json:3" in fault
    assert running.ingest.agent_lists.table.classify("Earwig/1.0").kind is AgentKind.APP
    running.write_agents("apps.runtime.json", "Earwig")
    assert await running.look() == []


async def test_hits_go_on_landing_by_the_lists_of_before(
    ledger: Ledger, podcast: MadePodcast, running: Running
) -> None:
    (running.lists / "vpn.txt").write_text("nonsense\n")
    assert len(await running.look()) == 1
    ledger.pipeline.places = running.ingest.pipeline.places
    write_segment(ledger.folder, [make_hit(minute(1), address="192.0.2.9"), make_hit(minute(2), address="8.8.8.8")])
    assert await ledger.ship_all() == 2
    rows = await ledger.conn.fetch("select verdict, asn from ts.listener_events order by ordinal")
    assert [tuple(row) for row in rows] == [(11, 64497), (0, 64496)]


async def test_since_when_hits_are_looked_up_in_which_lists_is_noted_once(running: Running, ledger: Ledger) -> None:
    async def noted() -> list[str]:
        rows = await ledger.conn.fetch("select version from ops.list_versions where kind = 'networks' order by since")
        return [row["version"] for row in rows]

    assert await running.look() == []
    first = running.ingest.pipeline.places.networks.version
    assert await noted() == [first]
    (running.lists / "vpn.txt").write_text("192.0.2.0/24\n198.51.100.0/24\n")
    assert await running.look() == []
    second = running.ingest.pipeline.places.networks.version
    assert second != first
    assert await noted() == [first, second]
