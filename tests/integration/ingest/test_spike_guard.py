"""The guard finds planted floods in what has landed, once, and nothing in usual traffic, releases included."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import pytest

from analytics_core.asns import open_asns
from analytics_core.db.spike_traffic import Sighting, enter_sighting
from analytics_core.db.spikes import SpikeFilter, SpikeRow, decide, list_spikes
from analytics_core.hits import Hit
from analytics_core.settings import DatabaseSettings
from analytics_core.spikes import SpikeLimits
from ingest.spike_guard import guard
from tests.address_databases import write_database
from tests.factories import OVERCAST, MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import NOW, Ledger
from tests.postgres import operator_url

pytestmark = pytest.mark.anyio

HOUR: Final = dt.datetime(2026, 11, 2, 10, tzinfo=dt.UTC)
DAY: Final = dt.timedelta(days=1)
LIMITS: Final = SpikeLimits(source_episodes_hour=5, source_episodes_day=8, floor=20)
ANTENNA: Final = b"AntennaPod/3.3.2"
CASTBOX: Final = b"CastBox/11.10.0-240116515 (Linux;Android 14) ExoPlayerLib/2.10.4"
NOBODY: Final = b"Earwig/%d"
HOME: Final = 64500
"""Its addresses begin with a bit that is not set,"""
HOST: Final = 64501
"""and these with one that is."""


class People(NamedTuple):
    """So many listeners of an agent, each of whom asks for one episode."""

    agent: bytes
    number: int
    of: str = "home"


@pytest.fixture
async def podcast(database: DatabaseSettings) -> MadePodcast:
    return await make_podcast(database, await make_tenant(database), *[make_episode(f"e{n}") for n in range(12)])


@pytest.fixture(autouse=True)
def networks(ledger: Ledger, tmp_path: Path) -> None:
    path = write_database(
        tmp_path / "asn.mmdb",
        {"autonomous_system_number": HOME.to_bytes(4)},
        {"autonomous_system_number": HOST.to_bytes(4)},
    )
    ledger.pipeline = ledger.make_pipeline(asns=open_asns(path))
    ledger.shipper = ledger.make_shipper()


_listeners = count(1)


def ask(at: dt.datetime, *people: People) -> Iterator[Hit]:
    """Have people ask, each at a second of the hour, from addresses that nobody else has."""
    for agent, number, of in people:
        for _ in range(number):
            listener = next(_listeners)
            base = {"home": "81.2", "host": "203.0"}[of]
            yield make_hit(
                at + dt.timedelta(seconds=listener % 3600),
                f"cdn.example.com/e{listener % 3}.mp3",
                address=f"{base}.{listener // 250}.{listener % 250}",
                agent=agent % listener if b"%d" in agent else agent,
            )


USUAL: Final = (People(OVERCAST, 6), People(ANTENNA, 3), People(OVERCAST, 1, "host"))


async def land(ledger: Ledger, hits: Iterable[Hit]) -> None:
    write_segment(ledger.folder, sorted(hits, key=lambda hit: hit.at_us))
    await ledger.ship_all()
    await ledger.refresh()


async def live_on(ledger: Ledger, *today: People, days: int = 20) -> None:
    """Land some weeks of usual hours, and one that may be another."""
    hits = [hit for ago in range(1, days + 1) for hit in ask(HOUR - ago * DAY, *USUAL)]
    await land(ledger, [*hits, *ask(HOUR, *(today or USUAL))])


async def look(ledger: Ledger, at: dt.datetime = NOW) -> dict[str, int]:
    ledger.clock.advance(at - ledger.clock.now())
    return dict(await guard(ledger.conn, clock=ledger.clock, limits=LIMITS))


async def found(ledger: Ledger) -> list[SpikeRow]:
    return await list_spikes(ledger.conn, SpikeFilter(), limit=100)


def what(spike: SpikeRow) -> tuple[object, ...]:
    return spike.kind, spike.app, spike.user_agent, spike.asn, spike.country


async def test_usual_hours_and_a_release_are_no_floods(ledger: Ledger, podcast: MadePodcast) -> None:
    await live_on(ledger, People(OVERCAST, 120), People(ANTENNA, 60), People(OVERCAST, 20, "host"))
    done = await look(ledger)
    assert (done["spikes"], await found(ledger)) == (0, [])
    assert done["hours"] == 24 - 1


async def test_an_agent_that_rises_alone_is_found_with_what_makes_it(ledger: Ledger, podcast: MadePodcast) -> None:
    await live_on(ledger, *USUAL, People(ANTENNA, 60, "host"))
    assert (await look(ledger))["spikes"] == 1
    (spike,) = await found(ledger)
    assert what(spike) == ("agent", "AntennaPod", ANTENNA.decode(), HOST, None)
    assert (spike.begins_at, spike.ends_at) == (HOUR, HOUR + dt.timedelta(hours=1))
    assert (spike.hits, spike.downloads, spike.usual, spike.state) == (60, 60, [3], "open")
    # Twice is once.
    await ledger.conn.execute("update ops.spike_looks set until_at = until_at - interval '1 day'")
    await look(ledger)
    assert await found(ledger) == [spike]


async def test_a_network_whose_agents_vary_is_found(ledger: Ledger, podcast: MadePodcast) -> None:
    agents = [People(NOBODY, 15, "host"), People(OVERCAST, 15, "host"), People(CASTBOX, 15, "host")]
    await live_on(ledger, *USUAL, *agents)
    await look(ledger)
    assert [what(spike) for spike in await found(ledger)] == [("network", None, None, HOST, None)]


async def test_a_source_is_found_and_its_app_is_not_blamed(ledger: Ledger, podcast: MadePodcast) -> None:
    flood = [
        make_hit(HOUR + n * dt.timedelta(minutes=1), f"cdn.example.com/e{n}.mp3", address="203.0.113.9", agent=ANTENNA)
        for n in range(12)
    ]
    await live_on(ledger, *USUAL, People(ANTENNA, 12))
    await land(ledger, flood)
    await look(ledger)
    (spike,) = await found(ledger)
    assert (spike.kind, spike.hits, spike.downloads, spike.episodes, spike.app) == ("source", 12, 12, 12, None)


async def test_a_source_that_spreads_over_the_day_is_found_at_its_end(ledger: Ledger, podcast: MadePodcast) -> None:
    start = HOUR.replace(hour=0)
    await land(
        ledger,
        [
            make_hit(start + n * dt.timedelta(minutes=70), f"cdn.example.com/e{n}.mp3", address="203.0.113.9")
            for n in range(12)
        ],
    )
    await ledger.conn.execute("update ops.ingest_status set cutoff_at = $1", NOW + DAY)
    assert (await look(ledger))["spikes"] == 0
    assert (await look(ledger, NOW + DAY))["spikes"] == 1
    (spike,) = await found(ledger)
    assert (spike.begins_at, spike.ends_at, spike.downloads) == (start, start + DAY, 12)


async def test_hours_in_a_row_are_one_spike(ledger: Ledger, podcast: MadePodcast) -> None:
    await live_on(ledger, *USUAL, People(ANTENNA, 60, "host"))
    await land(ledger, ask(HOUR - dt.timedelta(hours=1), *USUAL, People(ANTENNA, 40, "host")))
    await look(ledger)
    (spike,) = await found(ledger)
    assert (spike.begins_at, spike.ends_at) == (HOUR - dt.timedelta(hours=1), HOUR + dt.timedelta(hours=1))
    # Of the hour before nothing is known: the share of all hours says what is likely.
    assert (spike.hits, spike.usual) == (100, [3, 3])


async def test_what_came_late_is_seen_by_the_second_look_and_what_was_dismissed_stays_so(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    await live_on(ledger, *USUAL, People(ANTENNA, 60, "host"))
    await look(ledger)
    (spike,) = await found(ledger)
    await land(ledger, ask(HOUR, People(ANTENNA, 10, "host")))
    await ledger.conn.execute("update ops.ingest_status set cutoff_at = $1", NOW + 4 * DAY)
    await look(ledger, NOW + DAY)
    (seen,) = await found(ledger)
    assert (seen.spike_id, seen.hits) == (spike.spike_id, 70)
    assert await decide(ledger.conn, spike.spike_id, "dismissed", reason="featured", key_id=None, now=NOW)
    # No third look, and the same is not told again.
    await land(ledger, ask(HOUR, People(ANTENNA, 30, "host")))
    await land(ledger, ask(HOUR + DAY, *USUAL, People(ANTENNA, 90, "host")))
    await look(ledger, NOW + 3 * DAY)
    assert [(one.state, one.hits) for one in await found(ledger)] == [("dismissed", 70)]


async def test_hours_that_are_not_closed_wait(ledger: Ledger, podcast: MadePodcast) -> None:
    await live_on(ledger, *USUAL, People(ANTENNA, 60, "host"))
    await ledger.conn.execute("update ops.ingest_status set cutoff_at = $1", HOUR + dt.timedelta(minutes=59))
    assert (await look(ledger))["spikes"] == 0
    await ledger.conn.execute("update ops.ingest_status set cutoff_at = $1", NOW)
    assert (await look(ledger, HOUR + dt.timedelta(minutes=70)))["spikes"] == 0
    assert (await look(ledger, HOUR + dt.timedelta(minutes=75)))["spikes"] == 1


async def test_shared_addresses_are_many_people(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    hits = [make_hit(HOUR + n * dt.timedelta(minutes=1), f"cdn.example.com/e{n}.mp3") for n in range(12)]
    await land(ledger, hits)
    operator = await asyncpg.connect(operator_url(database))
    await operator.execute("update ts.listener_events set networks = 16")
    assert (await look(ledger))["spikes"] == 0
    await operator.execute("update ts.listener_events set networks = 15")
    await operator.close()
    await ledger.conn.execute("update ops.spike_looks set until_at = until_at - interval '1 day'")
    assert (await look(ledger))["spikes"] == 1


async def test_nothing_is_entered_of_a_podcast_that_is_gone(ledger: Ledger, podcast: MadePodcast) -> None:
    seen = Sighting(
        tenant_no=podcast.tenant.tenant_no,
        podcast_no=podcast.podcast_no + 1,
        kind="network",
        begins_at=HOUR,
        ends_at=HOUR + dt.timedelta(hours=1),
        asn=HOST,
        usual=(0,),
    )
    async with ledger.conn.transaction():
        assert not await enter_sighting(ledger.conn, seen, now=NOW)
    assert await found(ledger) == []


async def test_a_short_history_says_nothing(ledger: Ledger, podcast: MadePodcast) -> None:
    await live_on(ledger, *USUAL, People(ANTENNA, 60, "host"), days=LIMITS.least_days - 1)
    assert (await look(ledger))["spikes"] == 0
