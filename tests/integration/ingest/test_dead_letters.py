"""Hits that cannot be judged or that the database refuses: they alone stay out, and are named."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import asyncpg
import numpy as np
import pytest
from numpy.typing import NDArray

from analytics_core.addresses import pack_address
from analytics_core.db.dead_letters import count_dead_letters, drop_dead_letters
from analytics_core.db.erasure import erase_tenant
from analytics_core.db.pool import connect, open_pool, tenant_transaction
from analytics_core.geo import NoCountries
from analytics_core.hits import Hit
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from ingest.sieve import MOST_IN_A_ROW
from tests.factories import OVERCAST, MadePodcast, make_hit, write_segment
from tests.ledgers import Ledger, minute

pytestmark = pytest.mark.anyio

BAD = b'Bad "Agent"/1.0'
STONE = pack_address("203.0.113.7")

# Refuses hits of one user agent, in one table, or with a word of its own at the end of the transaction.
REFUSE = """
create function public.refuse() returns trigger language plpgsql security definer as $$
begin
    if exists (select from ops.agents a where a.agent_no = new.agent_no and a.user_agent = 'Bad "Agent"/1.0') then
        raise exception 'as if' using errcode = '{code}';
    end if;
    return new;
end $$;
create {kind} trigger refuse {when} insert on {table} {how} for each row execute function public.refuse();
"""


async def refuse(database: DatabaseSettings, table: str, *, code: str = "23514", deferred: bool = False) -> None:
    """Have the database refuse the rows of ``BAD``."""
    kind, when, how = ("constraint", "after", "deferrable initially deferred") if deferred else ("", "before", "")
    owner = await asyncpg.connect(str(database.url))
    await owner.execute(REFUSE.format(code=code, table=table, kind=kind, when=when, how=how))
    await owner.close()


def crowd(count: int, bad: Sequence[int], target: str = "cdn.example.com/a.mp3") -> list[Hit]:
    return [
        make_hit(
            minute(0), target, address=f"192.0.{number // 250}.{number % 250}", agent=BAD if number in bad else OVERCAST
        )
        for number in range(count)
    ]


async def letters(ledger: Ledger) -> list[tuple[object, ...]]:
    rows = await ledger.conn.fetch(
        "select ordinal, occurred_at, tenant_no, step, reason, message, target, agent from ops.dead_letters order by 1"
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(
    ("table", "code"), [("ts.listener_events", "23514"), ("ts.downloads", "22003"), ("ts.downloads", "P0001")]
)
async def test_refused_hits_are_buried_and_all_others_land(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, table: str, code: str
) -> None:
    await refuse(database, table, code=code)
    bad = [0, 7, 8, 199]
    write_segment(ledger.folder, crowd(200, bad), frame_hits=30)
    assert await ledger.ship_all() == 200
    assert [row[1] for row in await ledger.hits()] == [place for place in range(200) if place not in bad]
    assert len(await ledger.downloads()) == 196
    said = ("cdn.example.com/a.mp3", BAD.decode())
    assert await letters(ledger) == [
        (place, minute(0), podcast.tenant.tenant_no, "land", code, "as if", *said) for place in bad
    ]
    segment = await ledger.conn.fetchrow("select hits, finished_why from ops.segments")
    assert segment is not None
    assert tuple(segment) == (200, "sealed")
    assert ledger.metrics.dead_letters.labels("land", code)._value.get() == len(bad)
    assert list(ledger.folder.iterdir()) == []


async def test_hits_that_wait_are_refused_alone_too(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await refuse(database, "ops.pending_hits")
    write_segment(ledger.folder, crowd(5, [3], "cdn.example.com/unknown.mp3") + crowd(5, []))
    await ledger.ship_all()
    assert [letter[:3] for letter in await letters(ledger)] == [(3, minute(0), None)]
    assert (await ledger.count("ops.pending_hits"), len(await ledger.hits())) == (4, 5)


async def test_what_only_the_commit_would_refuse_is_found(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await refuse(database, "ops.pending_hits", deferred=True)
    write_segment(ledger.folder, crowd(5, [3], "cdn.example.com/unknown.mp3"))
    await ledger.ship_all()
    assert [letter[0] for letter in await letters(ledger)] == [3]
    assert await ledger.count("ops.pending_hits") == 4


class Stumbling(NoCountries):
    """A database of countries with a fault at one address."""

    def countries(self, addresses: NDArray[np.uint8]) -> NDArray[np.int16]:
        if STONE in map(bytes, addresses):
            raise ValueError(f"no country for {STONE!r}")
        return super().countries(addresses)


async def test_hits_over_which_a_step_stumbles_are_buried_without_their_address(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    ledger.pipeline = ledger.make_pipeline(countries=Stumbling())
    ledger.shipper = ledger.make_shipper()
    hits = [*crowd(40, []), make_hit(minute(1), address="203.0.113.7"), *crowd(9, [])]
    write_segment(ledger.folder, hits, frame_hits=7)
    assert await ledger.ship_all() == 50
    assert [row[1] for row in await ledger.hits()] == [place for place in range(50) if place != 40]
    ((ordinal, _, tenant_no, step, reason, message, *_),) = await letters(ledger)
    assert (ordinal, tenant_no, step, reason) == (40, None, "judge", "ValueError")
    assert str(message).startswith("raised in countries, line ")


async def test_where_nothing_can_land_nothing_is_buried(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await refuse(database, "ts.listener_events")
    many = MOST_IN_A_ROW + 1
    path = write_segment(ledger.folder, crowd(many, range(many)))
    with pytest.raises(asyncpg.CheckViolationError):
        await ledger.ship_all()
    assert path.exists()
    assert await letters(ledger) == []
    owner = await asyncpg.connect(str(database.url))
    await owner.execute("drop trigger refuse on ts.listener_events")
    await owner.close()
    assert await ledger.ship_all() == many
    assert len(await ledger.hits()) == many


async def test_two_shippers_bury_a_hit_once(ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings) -> None:
    await refuse(database, "ts.listener_events")
    write_segment(ledger.folder, crowd(20, [5]))
    first, second = ledger.make_shipper(), ledger.make_shipper()
    other = await connect(database, Role.INGEST, application_name="other")
    for shipper in (first, second):
        await shipper._walker.look(ledger.conn)
    assert (await first.ship(ledger.conn)).hits == 20
    assert await second.ship(other) == (0, False, False)
    await other.close()
    assert (await count_dead_letters(ledger.conn), len(await ledger.hits())) == (1, 19)


async def test_dead_letters_go_with_their_tenant_or_after_a_while(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await refuse(database, "ts.listener_events")
    write_segment(ledger.folder, crowd(4, [1, 2]))
    await ledger.ship_all()
    assert await drop_dead_letters(ledger.conn, before=dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)) == 0
    assert await count_dead_letters(ledger.conn) == 2
    pool = await open_pool(database, Role.OWNER, application_name="test", max_size=1)
    async with tenant_transaction(pool, podcast.tenant) as conn:
        await erase_tenant(conn, podcast.tenant)
    await pool.close()
    assert await count_dead_letters(ledger.conn) == 0
