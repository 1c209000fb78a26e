"""From spool files to the ledger: what lands, once, whatever happens to files, processes and databases."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from analytics_core.asns import open_asns
from analytics_core.countries import pack_country
from analytics_core.db.pool import connect
from analytics_core.errors import Unavailable
from analytics_core.geo import open_countries
from analytics_core.hits import HitFlag, Method
from analytics_core.network_tables import NetworkTable
from analytics_core.networks import NetworkClass, NetworkLists, load_network_lists
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.spool import HEADER_BYTES
from analytics_core.verdicts import Evidence, Verdict
from ingest.pending import rejudge_pending
from tests.address_databases import write_database
from tests.factories import (
    MadePodcast,
    make_episode,
    make_header,
    make_hit,
    make_podcast,
    make_tenant,
    open_segment,
    segment_bytes,
    write_segment,
)
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio


async def test_hits_land_with_their_verdicts_and_downloads(ledger: Ledger, podcast: MadePodcast) -> None:
    a, b = podcast.episodes["a"], podcast.episodes["b"]
    hits = [
        make_hit(minute(0), byte_range="bytes=0-1"),
        make_hit(minute(1)),
        make_hit(minute(2), byte_range="bytes=2000000-"),
        make_hit(minute(3), address="192.0.2.2", method=Method.HEAD),
        make_hit(minute(4), address="192.0.2.3", agent=b""),
        make_hit(minute(5), "op3.dev/e/cdn.example.com/b.mp3?_from=x", address="2001:db8::1", byte_range="bytes=0-1"),
        make_hit(minute(6), "cdn.example.com/b.mp3", address="2001:db8::2", byte_range="bytes=0-999999999"),
        make_hit(minute(7), address="192.0.2.5", byte_range="bytes=-128"),
        make_hit(minute(8), address="192.0.2.6", flags=HitFlag.PREFETCH),
    ]
    write_segment(ledger.folder, hits, frame_hits=4)
    assert await ledger.ship_all() == len(hits)
    full, partial, probe, none = Evidence.FULL, Evidence.PARTIAL, Evidence.PROBE, Evidence.NONE
    assert [row[1:] for row in await ledger.hits()] == [
        (0, a, Verdict.ELIGIBLE, probe),
        (1, a, Verdict.ELIGIBLE, full),
        (2, a, Verdict.ELIGIBLE, partial),
        (3, a, Verdict.HEAD, none),
        (4, a, Verdict.NO_USER_AGENT, none),
        (5, b, Verdict.ELIGIBLE, probe),
        (6, b, Verdict.ELIGIBLE, full),
        (7, a, Verdict.TINY_RANGE, none),
        (8, a, Verdict.PRELOAD, none),
    ]
    assert [(row[0], row[1], row[5], row[6]) for row in await ledger.downloads()] == [
        (DAY, a, 1, full),
        (DAY, b, 6, full),
    ]
    marks = await ledger.conn.fetch("select episode_no, day from ops.dirty_marks order by 1")
    assert [tuple(mark) for mark in marks] == [(a, DAY), (b, DAY)]
    assert list(ledger.folder.iterdir()) == []
    segment = await ledger.conn.fetchrow("select hits, finished_why, first_hit_at, totals from ops.segments")
    assert segment is not None
    assert (segment["hits"], segment["finished_why"]) == (len(hits), "sealed")
    assert segment["first_hit_at"] == minute(0)
    assert segment["totals"]["recorded"] == len(hits)


async def test_an_episode_counts_from_the_instant_of_its_publication_on(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    """Whether its feed was read before its hits came, or only when they waited."""
    published = minute(5)
    hits = [published - dt.timedelta(microseconds=1), published, published + dt.timedelta(microseconds=1)]
    for target in ("early", "late"):
        if target == "late":
            write_segment(ledger.folder, [make_hit(at, f"cdn.example.com/{target}.mp3") for at in hits])
            await ledger.ship_all()
        await make_podcast(database, podcast.tenant, make_episode(target, published_at=published))
        ledger.pipeline.catalogue.forget()
        if target == "early":
            write_segment(ledger.folder, [make_hit(at, f"cdn.example.com/{target}.mp3") for at in hits])
            await ledger.ship_all()
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 3
    verdicts = await ledger.conn.fetch("select verdict from ts.listener_events order by segment_no, ordinal")
    assert [row[0] for row in verdicts] == [Verdict.UNPUBLISHED, Verdict.ELIGIBLE, Verdict.ELIGIBLE] * 2


async def test_networks_speak_against_hits(ledger: Ledger, podcast: MadePodcast) -> None:
    ledger.pipeline = ledger.make_pipeline(
        NetworkLists(
            datacenter=NetworkTable.from_lines(["198.51.100.0/24"]),
            vpn=NetworkTable.from_lines(["198.51.100.0/25"]),
            blocked=NetworkTable.from_lines(["203.0.113.7"]),
        )
    )
    ledger.shipper = ledger.make_shipper()
    addresses = ["198.51.100.1", "198.51.100.200", "203.0.113.7", "203.0.113.8"]
    write_segment(ledger.folder, [make_hit(minute(0), address=address) for address in addresses])
    await ledger.ship_all()
    rows = await ledger.conn.fetch("select verdict, verdict_bits from ts.listener_events order by ordinal")
    datacenter, vpn, blocked = Verdict.DATACENTER, Verdict.VPN, Verdict.BLOCKED
    assert [tuple(row) for row in rows] == [
        (datacenter, datacenter.bit | vpn.bit),
        (datacenter, datacenter.bit),
        (blocked, blocked.bit),
        (Verdict.ELIGIBLE, 0),
    ]


async def test_what_an_address_tells_is_kept_with_the_hit(ledger: Ledger, podcast: MadePodcast, folder: Path) -> None:
    database = write_database(
        folder / "asn.mmdb", {"asn": "AS64496"}, {"autonomous_system_number": (64511).to_bytes(4)}
    )
    lists = NetworkLists(
        relay=NetworkTable.from_lines(["203.0.113.0/24"]), datacenter_asns=frozenset({64496}), version="test"
    )
    ledger.pipeline = ledger.make_pipeline(lists, countries=open_countries(None), asns=open_asns(database))
    ledger.shipper = ledger.make_shipper()
    hits = [make_hit(minute(0), address=address) for address in ("8.8.8.8", "203.0.113.7", "2001:db8::1")]
    write_segment(ledger.folder, [*hits, make_hit(minute(1), "cdn.example.com/none.mp3", address="8.8.8.8")])
    await ledger.ship_all()
    datacenter = Verdict.DATACENTER
    columns = "country, asn, networks, verdict, verdict_bits"
    rows = await ledger.conn.fetch(f"select {columns} from ts.listener_events order by ordinal")
    assert [tuple(row) for row in rows] == [
        (pack_country("US"), 64496, NetworkClass.DATACENTER, datacenter, datacenter.bit),
        (0, 64511, NetworkClass.RELAY, Verdict.ELIGIBLE, 0),
        (0, 0, NetworkClass.NONE, Verdict.ELIGIBLE, 0),
    ]
    # A hit that waits for its episode keeps them as well: its address is gone when it is judged again.
    waiting = await ledger.conn.fetch("select asn, networks from ops.pending_hits")
    assert [tuple(row) for row in waiting] == [(64496, NetworkClass.DATACENTER)]


async def test_shared_addresses_count_until_90_days_behind_their_validation(
    ledger: Ledger, podcast: MadePodcast, tmp_path: Path
) -> None:
    """By the time of the hit: the same lists make the same classes, whenever it lands."""
    (tmp_path / "vpn.txt").write_text("198.51.100.0/24\n")
    (tmp_path / "blocked.txt").write_text("198.51.100.9\n")
    last = DAY - dt.timedelta(days=90)
    (tmp_path / "shared.txt").write_text(
        f"198.51.100.0/28 {last} Office\n198.51.100.16/28 {last - dt.timedelta(days=1)} Another\n"
    )
    ledger.pipeline = ledger.make_pipeline(load_network_lists(tmp_path, today=DAY))
    ledger.shipper = ledger.make_shipper()
    late = minute(0) + dt.timedelta(days=1)
    hits = [make_hit(minute(0), address=f"198.51.100.{host}") for host in (1, 9, 17, 33)]
    write_segment(ledger.folder, [*hits, make_hit(late, address="198.51.100.1")])
    await ledger.ship_all()
    rows = await ledger.conn.fetch("select networks, verdict, verdict_bits from ts.listener_events order by ordinal")
    vpn, shared, blocked = NetworkClass.VPN, NetworkClass.SHARED, NetworkClass.BLOCKED
    against = (Verdict.VPN, Verdict.VPN.bit)
    assert [tuple(row) for row in rows] == [
        (vpn | shared, Verdict.ELIGIBLE, 0),
        (vpn | shared | blocked, Verdict.BLOCKED, Verdict.BLOCKED.bit),
        (vpn, *against),
        (vpn, *against),
        (vpn, *against),
    ]


async def test_the_same_spool_lands_once(ledger: Ledger, podcast: MadePodcast) -> None:
    hits = [make_hit(minute(number), address=f"192.0.2.{number}") for number in range(20)]
    path = write_segment(ledger.folder, hits, frame_hits=3)
    copy = path.read_bytes()
    assert await ledger.ship_all() == 20
    before = (await ledger.hits(), await ledger.downloads())
    path.write_bytes(copy)
    again = ledger.make_shipper()
    ledger.shipper = again
    assert await ledger.ship_all() == 0
    assert (await ledger.hits(), await ledger.downloads()) == before
    assert list(ledger.folder.iterdir()) == []


async def test_two_shippers_of_one_spool_land_it_once(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    hits = [make_hit(minute(number), address=f"192.0.2.{number}") for number in range(30)]
    write_segment(ledger.folder, hits, frame_hits=10)
    first, second = ledger.make_shipper(batch_hits=10), ledger.make_shipper(batch_hits=30)
    other = await connect(database, Role.INGEST, application_name="other")
    # Both know the checkpoint before either moves it: the second then has a batch that landed in part.
    for shipper in (first, second):
        await shipper._walker.look(ledger.conn)
    assert (await first.ship(ledger.conn)).hits == 10
    assert await second.ship(other) == (0, False, False)
    assert await ledger.count("ts.listener_events") == 10
    assert ledger.metrics.batches.labels("fenced")._value.get() == 1
    while not (await second.ship(other)).caught_up:
        continue
    await first.ship(ledger.conn)
    await other.close()
    assert [row[1] for row in await ledger.hits()] == list(range(30))
    assert len(await ledger.downloads()) == 30


async def test_a_living_writers_segment_is_followed(ledger: Ledger, podcast: MadePodcast) -> None:
    hits = [make_hit(minute(number), address=f"192.0.2.{number}") for number in range(6)]
    path, descriptor = open_segment(ledger.folder, hits[:3], frame_hits=3)
    whole = segment_bytes(make_header(), hits, frame_hits=3, sealed=False)
    rest = whole[path.stat().st_size :]
    assert await ledger.ship_all() == 3
    os.write(descriptor, rest[:-1])
    assert await ledger.ship_all() == 0
    assert await ledger.ending() is None
    os.write(descriptor, rest[-1:])
    assert await ledger.ship_all() == 3
    os.close(descriptor)
    await ledger.ship_all()
    assert await ledger.ending() == "abandoned"
    assert list(ledger.folder.iterdir()) == []


async def test_a_dead_writers_torn_end_is_ignored(ledger: Ledger, podcast: MadePodcast) -> None:
    hits = [make_hit(minute(number), address=f"192.0.2.{number}") for number in range(6)]
    path = write_segment(ledger.folder, hits, frame_hits=3, sealed=False)
    os.truncate(path, path.stat().st_size - 5)
    assert await ledger.ship_all() == 3
    assert await ledger.ending() == "torn"
    assert list(ledger.folder.iterdir()) == []


@pytest.mark.parametrize("left", ["nothing", "header", "some"])
async def test_a_segment_shorter_than_what_landed_is_finished(ledger: Ledger, podcast: MadePodcast, left: str) -> None:
    hits = [make_hit(minute(number), address=f"192.0.2.{number}") for number in range(6)]
    path, descriptor = open_segment(ledger.folder, hits, frame_hits=3)
    assert await ledger.ship_all() == 6
    before = await ledger.hits()
    os.truncate(path, {"nothing": 0, "header": HEADER_BYTES, "some": path.stat().st_size - 40}[left])
    os.close(descriptor)
    ledger.shipper = ledger.make_shipper()
    assert await ledger.ship_all() == 0
    assert await ledger.hits() == before
    assert await ledger.ending() == "shorter"
    assert list(ledger.folder.iterdir()) == []


async def test_a_segment_that_neither_header_nor_name_tell_of_is_set_aside(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    path = write_segment(ledger.folder, [make_hit(minute(0))])
    stray = path.rename(path.with_name("stray.sealed"))
    stray.write_bytes(b"x" + stray.read_bytes()[1:])
    sound = write_segment(ledger.folder, [make_hit(minute(1))])
    assert await ledger.ship_all() == 1
    assert {kept.name for kept in ledger.folder.iterdir()} == {"stray.damaged"}
    assert sound.exists() is False
    faults = await ledger.conn.fetch("select file, start_offset, segment_no, reason from ops.spool_faults")
    assert [tuple(fault) for fault in faults] == [("stray", 0, None, "not a spool segment")]


async def test_many_segments_share_a_batch_and_full_batches_are_cut(ledger: Ledger, podcast: MadePodcast) -> None:
    for number in range(5):
        hits = [make_hit(minute(number * 4 + n), address=f"192.0.2.{number * 4 + n}") for n in range(4)]
        write_segment(ledger.folder, hits, frame_hits=2, source=f"tracker-{number}")
    ledger.shipper = ledger.make_shipper(batch_hits=7)
    first = await ledger.shipper.ship(ledger.conn)
    assert first == (8, False, True)
    cutoff = await ledger.conn.fetchval("select cutoff_at from ops.ingest_status")
    assert cutoff == minute(8)
    assert await ledger.ship_all() == 12
    assert await ledger.conn.fetchval("select cutoff_at from ops.ingest_status") == NOW
    assert await ledger.count("ts.downloads") == 20


async def test_the_cutoff_is_the_begin_of_the_look_that_found_nothing_more(ledger: Ledger) -> None:
    await ledger.ship_all()
    assert await ledger.conn.fetchval("select cutoff_at from ops.ingest_status") == NOW


async def test_an_idle_writers_totals_move_the_checkpoint(ledger: Ledger, podcast: MadePodcast) -> None:
    path = write_segment(ledger.folder, [])
    assert path.stat().st_size > HEADER_BYTES
    assert await ledger.ship_all() == 0
    assert await ledger.ending() == "sealed"
    assert await ledger.count("ts.listener_events") == 0


def seeded_orders(count: int) -> list[Sequence[int]]:
    import random

    return [random.Random(seed).sample(range(count), count) for seed in range(4)]


@pytest.mark.parametrize("order", seeded_orders(6))
async def test_any_order_of_batches_gives_the_same_downloads(
    ledger: Ledger, podcast: MadePodcast, order: Sequence[int]
) -> None:
    ranges = ["", "bytes=0-1", "bytes=0-1999999", "bytes=5000000-"]
    batches = [
        [
            make_hit(
                minute((batch * 7 + n * 5) % 60),
                f"cdn.example.com/{'ab'[(batch + n) % 2]}.mp3",
                address=f"192.0.2.{n % 3}",
                byte_range=ranges[(batch + n * 3) % 4],
            )
            for n in range(12)
        ]
        for batch in range(6)
    ]
    # Numbers are given in the order of arrival; the winner may depend on them only where all else is equal.
    for batch in order:
        write_segment(ledger.folder, batches[batch], segment_id=UUID(int=batch + 1))
        await ledger.ship_all()
    rows = await ledger.conn.fetch("select episode_no, occurred_at, evidence from ts.downloads order by 1, 2, 3")
    best: dict[tuple[bytes, bytes], tuple[int, int]] = {}
    weight = {b"": 3, b"bytes=0-1": 1, b"bytes=0-1999999": 2, b"bytes=5000000-": 2}
    for hit in (hit for batch in batches for hit in batch):
        merit = (-weight[hit.byte_range], hit.at_us)
        key = (hit.target, hit.address)
        best[key] = min(best.get(key, merit), merit)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    numbers = {f"cdn.example.com/{guid}.mp3".encode(): number for guid, number in podcast.episodes.items()}
    expected = sorted(
        (numbers[target], epoch + dt.timedelta(microseconds=at_us), -evidence)
        for (target, _), (evidence, at_us) in best.items()
    )
    assert [tuple(row) for row in rows] == expected


async def test_a_final_day_keeps_its_figures_and_late_hits_are_kept(ledger: Ledger, podcast: MadePodcast) -> None:
    write_segment(ledger.folder, [make_hit(minute(0))])
    await ledger.ship_all()
    before = await ledger.downloads()
    await ledger.conn.execute("update ops.days set final_at = now()")
    await ledger.conn.execute("delete from ops.dirty_marks")
    yesterday = minute(0) - dt.timedelta(days=1)
    write_segment(ledger.folder, [make_hit(minute(1), address="192.0.2.9"), make_hit(yesterday)])
    await ledger.ship_all()
    flags = await ledger.conn.fetch("select flags from ts.listener_events order by segment_no, ordinal")
    assert [row["flags"] for row in flags] == [0, HitFlag.LATE, 0]
    assert [row for row in await ledger.downloads() if row[0] == DAY] == before
    marks = await ledger.conn.fetch("select day from ops.dirty_marks")
    assert [mark["day"] for mark in marks] == [yesterday.date()]


async def test_hits_whose_time_cannot_be_right_are_kept_under_that_of_their_reading(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    far = [dt.datetime(1970, 1, 1, tzinfo=dt.UTC), NOW + dt.timedelta(hours=25), dt.datetime(2016, 1, 1, tzinfo=dt.UTC)]
    near = [NOW + dt.timedelta(hours=23), minute(0)]
    write_segment(ledger.folder, [make_hit(at, address=f"192.0.2.{number}") for number, at in enumerate([*far, *near])])
    await ledger.ship_all()
    rows = await ledger.conn.fetch("select occurred_at, flags from ts.listener_events order by ordinal")
    assert [tuple(row) for row in rows] == [(NOW, HitFlag.SKEW)] * 3 + [(at, 0) for at in near]
    segment = await ledger.conn.fetchrow("select first_hit_at, last_hit_at from ops.segments")
    assert segment is not None
    assert tuple(segment) == (minute(0), near[0])
    assert {row[0] for row in await ledger.downloads()} == {DAY, near[0].date()}


async def test_a_month_whose_secret_is_gone_is_keyed_anew_and_says_so(ledger: Ledger, podcast: MadePodcast) -> None:
    old = dt.datetime(2026, 8, 3, tzinfo=dt.UTC)
    write_segment(ledger.folder, [make_hit(old), make_hit(old + dt.timedelta(minutes=1)), make_hit(minute(0))])
    await ledger.ship_all()
    rows = await ledger.conn.fetch("select flags, listener_key, verdict_bits from ts.listener_events order by ordinal")
    assert [row["flags"] for row in rows] == [HitFlag.REKEYED, HitFlag.REKEYED, 0]
    assert rows[0]["listener_key"] == rows[1]["listener_key"]
    days = await ledger.conn.fetch("select day, rekeyed from ops.days order by day")
    assert [tuple(day) for day in days] == [(old.date(), True), (DAY, False)]
    months = await ledger.conn.fetch("select distinct month from ops.listener_secrets")
    assert [row["month"] for row in months] == [dt.date(2026, 11, 1)]


async def test_listeners_are_not_comparable_across_tenants(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    other = await make_podcast(
        database, await make_tenant(database, "two"), make_episode("z", "https://other.example.com/z.mp3")
    )
    write_segment(
        ledger.folder,
        [
            make_hit(minute(0)),
            make_hit(minute(1), "cdn.example.com/b.mp3"),
            make_hit(minute(2), "other.example.com/z.mp3"),
        ],
    )
    await ledger.ship_all()
    rows = await ledger.conn.fetch("select listener_key, tenant_no from ts.listener_events order by ordinal")
    assert rows[0]["listener_key"] == rows[1]["listener_key"] != rows[2]["listener_key"]
    assert rows[2]["tenant_no"] == other.tenant.tenant_no


async def test_targets_match_by_key_without_query_and_by_file_name_in_the_named_podcast(
    ledger: Ledger, database: DatabaseSettings
) -> None:
    tenant = await make_tenant(database)
    one = await make_podcast(
        database,
        tenant,
        make_episode("q1", "https://cdn.example.com/play?id=1"),
        make_episode("q2", "https://cdn.example.com/play?id=2"),
        make_episode("s", "https://cdn.example.com/s.mp3?v=1"),
        make_episode("n", "https://cdn.example.com/x/Name.mp3"),
        make_episode("d1", "https://cdn.example.com/1/dup.mp3"),
        make_episode("d2", "https://cdn.example.com/2/dup.mp3"),
    )
    named = f"pg={one.guid}"
    hits = [
        make_hit(minute(0), "cdn.example.com/play?id=2"),
        make_hit(minute(1), "cdn.example.com/play?id=3"),
        make_hit(minute(2), "cdn.example.com/s.mp3?v=2"),
        make_hit(minute(3), "mirror.example.net/NAME.mp3", arguments=named),
        make_hit(minute(4), "mirror.example.net/name.mp3"),
        make_hit(minute(5), "mirror.example.net/dup.mp3", arguments=named),
        make_hit(minute(6), f"pod.example.org/e,{named}/cdn.example.com/s.mp3?v=1"),
    ]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    assert [(row[1], row[2]) for row in await ledger.hits()] == [
        (0, one.episodes["q2"]),
        (2, one.episodes["s"]),
        (3, one.episodes["n"]),
        (6, one.episodes["s"]),
    ]
    rows = await ledger.conn.fetch(
        "select ordinal, podcast_no, tenant_no, target from ops.pending_hits order by ordinal"
    )
    nobody = (0, 0)
    assert [tuple(row) for row in rows] == [
        (1, *nobody, "cdn.example.com/play?id=3"),
        (4, *nobody, "mirror.example.net/name.mp3"),
        (5, one.podcast_no, tenant.tenant_no, "mirror.example.net/dup.mp3"),
    ]


TRIP = """
create sequence public.attempts;
grant usage on public.attempts to castledger_ingest;
create function public.trip() returns trigger language plpgsql as $$
begin
    if nextval('public.attempts') <= {times} then
        raise exception 'as if' using errcode = '{code}';
    end if;
    return null;
end $$;
create trigger trip after insert on ts.downloads for each statement execute function public.trip();
"""


async def trip(database: DatabaseSettings, code: str, *, times: int) -> None:
    """Have the next landings fail as PostgreSQL would."""
    owner = await asyncpg.connect(str(database.url))
    await owner.execute(TRIP.format(code=code, times=times))
    await owner.close()


@pytest.mark.parametrize("code", ["40P01", "40001"])
async def test_a_batch_that_meets_another_writer_is_tried_again(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, code: str
) -> None:
    await trip(database, code, times=2)
    write_segment(ledger.folder, [make_hit(minute(0)), make_hit(minute(1), address="192.0.2.2")])
    assert await ledger.ship_all() == 2
    assert (len(await ledger.hits()), len(await ledger.downloads())) == (2, 2)
    assert ledger.metrics.batches.labels("retried")._value.get() == 2


async def test_a_batch_that_fails_leaves_nothing_behind_and_lands_later(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    await trip(database, "53100", times=1)
    path = write_segment(
        ledger.folder, [make_hit(minute(0)), make_hit(minute(1), "x.example.net/x.mp3", address="192.0.2.2")]
    )
    with pytest.raises(asyncpg.DiskFullError):
        await ledger.ship_all()
    for table in ("ts.listener_events", "ts.downloads", "ops.dirty_marks", "ops.pending_hits", "ops.days"):
        assert await ledger.count(table) == 0
    assert await ledger.conn.fetchval("select committed from ops.segments") == HEADER_BYTES
    assert path.exists()
    assert await ledger.ship_all() == 2


async def test_a_lost_connection_loses_no_hit(ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings) -> None:
    hits = [make_hit(minute(number), address=f"192.0.2.{number}") for number in range(4)]
    write_segment(ledger.folder, hits, frame_hits=2)
    ledger.shipper = ledger.make_shipper(batch_hits=2)
    assert (await ledger.shipper.ship(ledger.conn)).hits == 2
    admin = await asyncpg.connect(str(database.url))
    await admin.execute("select pg_terminate_backend($1)", ledger.conn.get_server_pid())
    with pytest.raises(Unavailable):
        await ledger.ship_all()
    ledger.conn = await connect(database, Role.INGEST, application_name="test")
    assert await ledger.ship_all() == 2
    assert [row[1] for row in await ledger.hits()] == [0, 1, 2, 3]
    await ledger.conn.close()
    await admin.close()
