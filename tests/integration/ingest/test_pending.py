"""Hits that wait for their episode: judged again when it comes, as if it had been known all along."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from analytics_core.db.pool import connect
from analytics_core.geo import open_countries
from analytics_core.hits import HitFlag, Method
from analytics_core.network_tables import NetworkTable
from analytics_core.networks import NetworkLists
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.verdicts import Evidence, Verdict
from ingest.pending import KEEP_DAYS, rejudge_pending, release_aged
from tests.address_databases import write_database
from tests.factories import MadePodcast, make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import DAY, NOW, Ledger, minute

pytestmark = pytest.mark.anyio

COLUMNS = (
    "occurred_at, range_first, range_last, segment_no, ordinal, agent_no, referrer_no, feed_app_no, verdict_bits,"
    " verdict, evidence, country, kind, method, range_kind, flags, source, rules, asn,"
    " networks, place_no"
)


async def test_hits_are_judged_again_as_if_the_episode_had_been_known(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings, tmp_path: Path
) -> None:
    cities = write_database(tmp_path / "x.mmdb", {}, {"country_code": "FR", "state1": "Var", "city": "Toulon"})
    ledger.pipeline = ledger.make_pipeline(
        NetworkLists(vpn=NetworkTable.from_lines(["203.0.113.0/24"])), countries=open_countries(cities, cities=True)
    )
    ledger.shipper = ledger.make_shipper()

    def ask(target: str) -> None:
        write_segment(
            ledger.folder,
            [
                make_hit(minute(0), target, byte_range="bytes=0-1", referrer="https://example.org/"),
                make_hit(minute(1), f"{target}?_from=overcast"),
                make_hit(minute(2), target, method=Method.HEAD),
                make_hit(minute(3), target, agent=b""),
                make_hit(minute(4), target, agent=b"Googlebot/2.1"),
                make_hit(minute(5), target, address="203.0.113.9"),
                make_hit(minute(6), target, address="192.0.2.7", byte_range="bytes=0-500000"),
                make_hit(minute(7), target, address="192.0.2.8", flags=HitFlag.PREFETCH),
                make_hit(minute(8), target, address="192.0.2.9", byte_range="bytes=0-9,20-3000000"),
                make_hit(minute(9) - dt.timedelta(days=60), target, address="192.0.2.10"),
            ],
        )

    published_at = NOW - dt.timedelta(days=30)
    ask("cdn.example.com/new.mp3")
    await ledger.ship_all()
    assert await ledger.count("ts.listener_events") == 0
    assert await ledger.count("ops.pending_hits") == 10
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 0
    late = await make_podcast(
        database,
        podcast.tenant,
        make_episode("new", published_at=published_at, length_bytes=9_000_000, duration_s=600),
    )
    assert await rejudge_pending(ledger.conn, ledger.secrets, limit=3) == 10
    assert await ledger.count("ops.pending_hits") == 0
    again = await ledger.conn.fetch(f"select {COLUMNS} from ts.listener_events order by ordinal")
    downloads = await ledger.downloads()
    known = await make_podcast(
        database,
        podcast.tenant,
        make_episode("twin", published_at=published_at, length_bytes=9_000_000, duration_s=600),
    )
    ask("cdn.example.com/twin.mp3")
    await ledger.ship_all()
    at_once = await ledger.conn.fetch(
        f"select {COLUMNS} from ts.listener_events where episode_no = $1 order by ordinal", known.episodes["twin"]
    )
    assert [tuple(row)[:3] + tuple(row)[4:] for row in again] == [tuple(row)[:3] + tuple(row)[4:] for row in at_once]
    assert {row["verdict"] for row in again} == {
        Verdict.ELIGIBLE,
        Verdict.HEAD,
        Verdict.NO_USER_AGENT,
        Verdict.BOT,
        Verdict.VPN,
        Verdict.TINY_RANGE,
        Verdict.PRELOAD,
        Verdict.UNPUBLISHED,
    }
    twins = [row for row in await ledger.downloads() if row[1] == known.episodes["twin"]]
    # The same listeners, by the same keys, with the same winning hits.
    assert [(row[0], row[2], row[3], row[6]) for row in downloads] == [(r[0], r[2], r[3], r[6]) for r in twins]
    assert {row[1] for row in downloads} == {late.episodes["new"]}
    marks = await ledger.conn.fetch("select distinct episode_no, day from ops.dirty_marks order by 1")
    assert [tuple(mark) for mark in marks] == [(late.episodes["new"], DAY), (known.episodes["twin"], DAY)]


async def test_a_hit_of_a_final_day_comes_late(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    write_segment(ledger.folder, [make_hit(minute(0), "cdn.example.com/new.mp3", arguments=f"pg={podcast.guid}")])
    await ledger.ship_all()
    assert await ledger.conn.execute("update ops.days set final_at = now()") == "UPDATE 1"
    await make_podcast(database, podcast.tenant, make_episode("new"))
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 1
    row = await ledger.conn.fetchrow("select flags, verdict, evidence from ts.listener_events")
    assert row is not None
    assert tuple(row) == (HitFlag.LATE | HitFlag.WAITED, Verdict.ELIGIBLE, Evidence.FULL)
    assert await ledger.count("ts.downloads") == await ledger.count("ops.dirty_marks") == 0


async def test_only_one_process_moves_waiting_hits(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    write_segment(ledger.folder, [make_hit(minute(0), "cdn.example.com/new.mp3")])
    await ledger.ship_all()
    await make_podcast(database, podcast.tenant, make_episode("new"))
    other = await connect(database, Role.INGEST, application_name="other")
    async with other.transaction():
        await other.execute("select pg_advisory_xact_lock(hashtext('castledger.pending'))")
        assert await rejudge_pending(ledger.conn, ledger.secrets) == 0
    await other.close()
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 1


async def test_hits_that_waited_in_vain_are_kept_as_they_are(ledger: Ledger, podcast: MadePodcast) -> None:
    hits = [
        make_hit(minute(0), "cdn.example.com/gone.mp3", arguments=f"pg={podcast.guid}"),
        make_hit(minute(1), "nowhere.example.net/x.mp3"),
        make_hit(minute(2), "nowhere.example.net/y.mp3"),
    ]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    edge = minute(2) + dt.timedelta(days=KEEP_DAYS)
    assert await release_aged(ledger.conn, ledger.secrets, now=edge, limit=1) == 2
    rows = await ledger.conn.fetch(
        "select ordinal, tenant_no, podcast_no, episode_no, verdict, evidence from ts.listener_events order by ordinal"
    )
    unknown = Verdict.UNKNOWN_EPISODE
    assert [tuple(row) for row in rows] == [
        (0, podcast.tenant.tenant_no, podcast.podcast_no, 0, unknown, 0),
        (1, 0, 0, 0, unknown, 0),
    ]
    assert await ledger.count("ops.pending_hits") == 1
    assert await ledger.count("ts.downloads") == 0


async def test_a_target_that_is_no_address_waits_like_any_other(ledger: Ledger, podcast: MadePodcast) -> None:
    write_segment(ledger.folder, [make_hit(minute(0), "ftp://\x00nonsense" + "é" * 5000)])
    await ledger.ship_all()
    row = await ledger.conn.fetchrow("select target, file_name, verdict_bits from ops.pending_hits")
    assert row is not None
    assert row["target"].startswith("ftp://\ufffdnonsense")
    assert len(row["target"]) == 2048
    assert row["verdict_bits"] & Verdict.UNKNOWN_EPISODE.bit


async def test_waiting_hits_have_no_owner_of_another_tenants_podcast_by_file_name(
    ledger: Ledger, podcast: MadePodcast, database: DatabaseSettings
) -> None:
    write_segment(ledger.folder, [make_hit(minute(0), "mirror.example.net/z.mp3", arguments=f"pg={podcast.guid}")])
    await ledger.ship_all()
    await make_podcast(
        database, await make_tenant(database, "two"), make_episode("z", "https://other.example.com/z.mp3")
    )
    assert await rejudge_pending(ledger.conn, ledger.secrets) == 0
    assert await ledger.count("ops.pending_hits") == 1
