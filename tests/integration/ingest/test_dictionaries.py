"""Numbers for agents and terms: each text once, and no more new ones a day than there is room for."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path

import pytest

from analytics_core.agent_lists import LIST_FILES
from analytics_core.agent_table import AgentEntry, AgentTable
from analytics_core.places import Place
from analytics_core.settings import DatabaseSettings, load_settings
from analytics_core.user_agents import AgentKind
from ingest.app import Ingest
from ingest.dictionaries import AgentNumbers, PlaceNumbers, TermNumbers
from ingest.jobs import Health
from tests.factories import OVERCAST, MadePodcast, make_hit, write_segment
from tests.ledgers import Ledger, minute

pytestmark = pytest.mark.anyio


async def test_an_agent_has_one_number_wherever_it_is_asked_for(ledger: Ledger) -> None:
    agents = [OVERCAST, b"", b"Googlebot/2.1", b"\xff\x00odd"]
    first = await AgentNumbers(ledger.clock).number(ledger.conn, agents)
    assert [agent.kind for agent in first] == [AgentKind.APP, AgentKind.UNKNOWN, AgentKind.BOT, AgentKind.UNKNOWN]
    assert len({agent.agent_no for agent in first}) == 4
    numbers = AgentNumbers(ledger.clock)
    for _ in range(2):
        assert await numbers.number(ledger.conn, agents[::-1]) == first[::-1]
    rows = await ledger.conn.fetch("select user_agent, rule from ops.agents order by agent_no")
    assert sorted(row["user_agent"] for row in rows) == ["", "Googlebot/2.1", OVERCAST.decode(), "\ufffd\ufffdodd"]


async def test_new_agents_beyond_a_days_bound_keep_their_class_but_not_their_text(ledger: Ledger) -> None:
    numbers = AgentNumbers(ledger.clock, limit=3)
    await ledger.conn.execute("update ops.agents set first_seen_at = $1", ledger.clock.now())
    many = [b"Thing number %d of many" % number for number in range(10)]
    found = await numbers.number(ledger.conn, [*many, b"Overcast/9 (extra)"])
    assert len({agent.agent_no for agent in found}) == 3 + 2
    assert found[10].kind == AgentKind.APP
    apps = await ledger.conn.fetch("select user_agent, app from ops.agents where user_agent = '(other)' order by app")
    assert [row["app"] for row in apps] == ["", "Overcast"]
    again = AgentNumbers(ledger.clock, limit=3)
    await ledger.conn.execute("update ops.agents set first_seen_at = $1", ledger.clock.now())
    assert (await again.number(ledger.conn, [b"One more of many"]))[0] == found[9]
    ledger.clock.advance(dt.timedelta(days=1))
    tomorrow = await again.number(ledger.conn, [b"Next day of many"])
    assert tomorrow[0].agent_no not in {agent.agent_no for agent in found}


async def test_names_that_programs_give_themselves_are_bounded_a_day(ledger: Ledger) -> None:
    numbers = AgentNumbers(ledger.clock, own_names=2)
    agents = [b"Thing%d/2 CFNetwork/1490.0.4 Darwin/23.2.0" % (number // 2) for number in range(8)]
    await numbers.number(ledger.conn, [agent + b" %d" % place for place, agent in enumerate(agents)])
    assert await apps_by_count(ledger) == {"Thing0": 2, "Thing1": 2, "Other Apple apps": 4}
    ledger.clock.advance(dt.timedelta(days=1))
    await numbers.number(ledger.conn, [b"Thing9/2 CFNetwork/1490.0.4 Darwin/23.2.0"])
    assert "Thing9" in await apps_by_count(ledger)


async def test_agents_beyond_a_days_bound_do_not_name_themselves(ledger: Ledger) -> None:
    numbers = AgentNumbers(ledger.clock, limit=0)
    agents = [b"Thing%d/2 CFNetwork/1490.0.4 Darwin/23.2.0" % number for number in range(8)]
    found = await numbers.number(ledger.conn, agents)
    assert len({agent.agent_no for agent in found}) == 1
    assert await apps_by_count(ledger) == {"Other Apple apps": 1}


async def apps_by_count(ledger: Ledger) -> dict[str, int]:
    rows = await ledger.conn.fetch("select app, count(*) from ops.agents group by app order by count(*), app")
    return {row[0]: row[1] for row in rows}


def table(*names: tuple[str, str]) -> AgentTable:
    """Make a table of apps that are called by the second name where the first one is found."""
    entries = [AgentEntry(name=app, kind="app", pattern=f"^{word}/") for word, app in names]
    return AgentTable(tuple(entries), (), version=str(names))


ONE = table(("Earwig", "Earwig"), ("Mole", "Mole"))
TWO = table(("Earwig", "Earwig Pro"), ("Mole", "Mole"))


async def test_another_table_gives_other_numbers_only_to_what_it_calls_otherwise(ledger: Ledger) -> None:
    tables = [ONE]
    numbers = AgentNumbers(ledger.clock, table=lambda: tables[-1])
    agents = [b"Earwig/1", b"Mole/1"]
    first = await numbers.number(ledger.conn, agents)
    tables.append(TWO)
    second = await numbers.number(ledger.conn, agents)
    assert second[1] == first[1]
    assert second[0] != first[0]
    assert await AgentNumbers(ledger.clock, table=lambda: TWO).number(ledger.conn, agents) == second
    rows = await ledger.conn.fetch(
        "select a.app, a.table_version, c.app as now from ops.agents a"
        " left join ops.agents c on c.agent_hash = a.superseded_hash order by a.agent_no"
    )
    assert [tuple(row) for row in rows] == [
        ("Earwig", ONE.version, "Earwig Pro"),
        ("Mole", TWO.version, None),
        ("Earwig Pro", TWO.version, None),
    ]


async def test_going_back_to_a_table_gives_its_numbers_again(ledger: Ledger) -> None:
    tables = [ONE]
    numbers = AgentNumbers(ledger.clock, table=lambda: tables[-1])
    agents = [b"Earwig/1", b"Earwig/2", b"Mole/1"]
    first = await numbers.number(ledger.conn, agents)
    tables.append(TWO)
    second = await numbers.number(ledger.conn, agents)
    for again, wanted in ((ONE, first), (TWO, second)) * 2:
        tables.append(again)
        assert await numbers.number(ledger.conn, agents) == wanted
    assert await ledger.count("ops.agents") == 5


async def test_stored_agents_are_brought_up_to_date_in_bounded_steps(ledger: Ledger) -> None:
    old = AgentNumbers(ledger.clock, table=lambda: ONE)
    await old.number(ledger.conn, [*(b"Earwig/%d" % number for number in range(5)), b"Mole/1", b"\xff\x00odd", b""])
    await AgentNumbers(ledger.clock, limit=0, table=lambda: ONE).number(ledger.conn, [b"Earwig/99"])
    new = AgentNumbers(ledger.clock, table=lambda: TWO)
    steps = []
    while (step := await new.bring_up_to_date(ledger.conn, limit=4))[0]:
        steps.append(step)
    assert [looked_at for looked_at, _ in steps] == [4, 4, 1]
    assert sum(changed for _, changed in steps) == 5
    assert await apps_by_count(ledger) == {"": 2, "Mole": 1, "Earwig Pro": 5, "Earwig": 6}
    assert await new.bring_up_to_date(ledger.conn, limit=4) == (0, 0)
    # The one that stands in for many has no text to read, and keeps what it was.
    assert await ledger.count("ops.agents where user_agent = '(other)' and app = 'Earwig'") == 1


async def test_two_that_bring_agents_up_to_date_at_once_do_it_once(ledger: Ledger) -> None:
    await AgentNumbers(ledger.clock, table=lambda: ONE).number(ledger.conn, [b"Earwig/1"])
    async with ledger.pool.acquire() as other:
        both = [AgentNumbers(ledger.clock, table=lambda: TWO) for _ in range(2)]
        found = await asyncio.gather(both[0].number(ledger.conn, [b"Earwig/1"]), both[1].number(other, [b"Earwig/1"]))
    assert found[0] == found[1]
    assert await ledger.count("ops.agents") == 2


async def test_another_table_leaves_what_was_counted_as_it_was(ledger: Ledger, podcast: MadePodcast) -> None:
    tables = [ONE]
    ledger.pipeline.agents = AgentNumbers(ledger.clock, table=lambda: tables[-1])
    write_segment(ledger.folder, [make_hit(minute(0), agent=b"Earwig/1")])
    await ledger.ship_all()
    await ledger.refresh()
    tables.append(TWO)
    await ledger.pipeline.agents.bring_up_to_date(ledger.conn, limit=100)
    # The same listener again, which is no download, and another one; the day is computed anew for it.
    write_segment(
        ledger.folder,
        [make_hit(minute(1), agent=b"Earwig/1"), make_hit(minute(2), agent=b"Earwig/1", address="192.0.2.9")],
    )
    await ledger.ship_all()
    assert await ledger.refresh() == 1
    rows = await ledger.conn.fetch(
        "select key, downloads from app.metrics_daily where episode_no = $1 and dimension = 'app' order by key",
        podcast.episodes["a"],
    )
    assert [tuple(row) for row in rows] == [("Earwig", 1), ("Earwig Pro", 1)]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_operating_systems_are_told_to_agents_of_before_without_moving_what_was_counted(
    ledger: Ledger, podcast: MadePodcast, limit: int
) -> None:
    tables = [ONE]
    ledger.pipeline.agents = AgentNumbers(ledger.clock, table=lambda: tables[-1])
    agents = [b"Earwig/1 (iPhone)", b"Mole/1 (Android 14)"]
    write_segment(ledger.folder, [make_hit(minute(0), agent=agent) for agent in agents])
    await ledger.ship_all()
    tables.append(TWO)
    await ledger.pipeline.agents.bring_up_to_date(ledger.conn, limit=100)
    # As an installation is found whose agents were stored before any system was told.
    await ledger.conn.execute("update ops.agents set os = null")
    await ledger.refresh()
    assert await systems(ledger, podcast) == [("", 2)]
    numbers = AgentNumbers(ledger.clock, table=lambda: TWO)
    # Met again before the job has come: known as what it is.
    assert (await numbers.number(ledger.conn, [b"Earwig/1 (iPhone)"]))[0].kind == AgentKind.APP
    steps = []
    while (step := await numbers.bring_up_to_date(ledger.conn, limit=limit))[0]:
        steps.append(step)
    assert sum(looked_at for looked_at, _ in steps) == 3
    assert await ledger.refresh() == 1
    assert await systems(ledger, podcast) == [("Android", 1), ("iOS", 1)]
    rows = await ledger.conn.fetch("select app, os, superseded_hash is null from ops.agents order by agent_no")
    assert [tuple(row) for row in rows] == [
        ("Earwig", "iOS", False),
        ("Mole", "Android", True),
        ("Earwig Pro", "iOS", True),
    ]


async def systems(ledger: Ledger, podcast: MadePodcast) -> list[tuple[str, int]]:
    rows = await ledger.conn.fetch(
        "select key, downloads from app.metrics_daily where episode_no = $1 and dimension = 'os' order by key",
        podcast.episodes["a"],
    )
    return [(row["key"], row["downloads"]) for row in rows]


async def test_lists_that_an_operator_changes_are_taken_and_damaged_ones_told(
    ledger: Ledger, database: DatabaseSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "agents"
    folder.mkdir()

    def write(app: str, pattern: str) -> None:
        for name in LIST_FILES:
            (folder / name).write_text(json.dumps({"entries": [{"name": app, "pattern": pattern}]}))

    write("Earwig", "^Earwig/")
    settings = load_settings(
        {"DATABASE_URL": str(database.url), "CASTLEDGER_AGENT_LISTS": str(folder)}, data_dir=tmp_path
    )
    ingest = Ingest(settings, ledger.pool, clock=ledger.clock, metrics=ledger.metrics)
    health = Health()
    agents = ingest.pipeline.agents
    [first] = await agents.number(ledger.conn, [b"Earwig/1"])
    write("Earwig, newly named", "^Earwig/")
    await ingest.watch_agent_lists(health)
    assert health.faults() == []
    jobs = {kind.name: kind.work for kind in ingest.chores.kinds()}
    assert await jobs["agents"](ledger.conn) == {"agents": 1, "changed": 1}
    [second] = await agents.number(ledger.conn, [b"Earwig/1"])
    assert second.agent_no != first.agent_no
    write("Earwig", "(")
    await ingest.watch_agent_lists(health)
    [fault] = health.faults()
    assert fault.startswith("lists of user agents: bots.runtime.json:1: the pattern is no regular expression")
    assert await agents.number(ledger.conn, [b"Earwig/1"]) == [second]
    write("Earwig, newly named", "^Earwig/")
    await ingest.watch_agent_lists(health)
    assert health.faults() == []
    await ingest.close()


async def test_terms_are_numbered_cut_and_bounded(ledger: Ledger) -> None:
    numbers = TermNumbers("referrer", ledger.clock, limit=2)
    found = await numbers.number(ledger.conn, ["", "a.example", "a.example", "b.example"])
    assert found[""] == 0
    assert len(set(found.values())) == 3
    more = await numbers.number(ledger.conn, ["a.example", "c.example", "d.example"])
    assert more["a.example"] == found["a.example"]
    assert more["c.example"] == more["d.example"] not in found.values()
    assert await TermNumbers("referrer", ledger.clock).number(ledger.conn, ["other"]) == {"other": more["c.example"]}
    other_kind = await TermNumbers("feed_app", ledger.clock).number(ledger.conn, ["a.example", "x" * 300])
    assert other_kind["a.example"] not in found.values()
    assert await ledger.conn.fetchval("select max(length(term)) from ops.terms") == 255


def place(region: str, city: str = "") -> Place:
    return Place("US", region, city)


async def test_places_are_numbered_once_with_their_keys(ledger: Ledger) -> None:
    wanted = [place("CA", "Oakland"), place("CA"), place("", "Nowhere"), place("California", "Oakland")]
    found = await PlaceNumbers(ledger.clock).number(ledger.conn, wanted)
    assert len(set(found.values())) == 4
    assert 0 not in found.values()
    assert await PlaceNumbers(ledger.clock).number(ledger.conn, wanted[::-1]) == found
    rows = await ledger.conn.fetch("select place, region, city from ops.places order by place")
    assert [tuple(row) for row in rows] == [
        ("US//Nowhere", "", "US/Nowhere"),
        ("US/CA/", "US-CA", ""),
        ("US/CA/Oakland", "US-CA", "US-CA/Oakland"),
        ("US/California/Oakland", "US/California", "US/California/Oakland"),
    ]


@pytest.mark.parametrize("bounds", [{"limit": 2}, {"most": 2}])
async def test_cities_beyond_a_bound_are_their_region(ledger: Ledger, bounds: dict[str, int]) -> None:
    numbers = PlaceNumbers(ledger.clock, **bounds)
    kept = await numbers.number(ledger.conn, [place("CA", "Albany"), place("CA", "Burbank")])
    beyond = [place("CA", "Chico"), place("CA", "Davis"), place("", "Elsewhere")]
    found = await numbers.number(ledger.conn, beyond)
    assert found[beyond[0]] == found[beyond[1]] not in {0, *kept.values()}
    assert found[beyond[2]] == 0
    assert await numbers.number(ledger.conn, beyond) == found
    assert await ledger.count("ops.places") == 3
    assert await numbers.number(ledger.conn, kept) == kept
    ledger.clock.advance(dt.timedelta(days=1))
    tomorrow = await numbers.number(ledger.conn, beyond)
    assert (tomorrow[beyond[0]] == found[beyond[0]]) is ("most" in bounds)
