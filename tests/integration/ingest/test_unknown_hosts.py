"""Unknown hosts are counted with the hits that asked for them: once, bounded, and for the podcast's owner."""

from __future__ import annotations

import pytest

from analytics_core.db.podcasts import read_known_hosts
from analytics_core.hosts import MAX_UNKNOWN_HOSTS
from tests.factories import MadePodcast, make_hit, write_segment
from tests.ledgers import Ledger, minute

pytestmark = pytest.mark.anyio


async def listed(ledger: Ledger) -> list[tuple[object, ...]]:
    rows = await ledger.conn.fetch(
        "select podcast_no, host, first_seen_at, last_seen_at, hits from app.unknown_hosts order by 1, 2"
    )
    return [tuple(row) for row in rows]


async def test_hosts_that_nobody_registered_are_counted_under_the_podcast_that_was_named(
    ledger: Ledger, podcast: MadePodcast
) -> None:
    ledger.pipeline.unknown_hosts.know(await read_known_hosts(ledger.conn))
    named = f"pg={podcast.guid}"
    hits = [
        make_hit(minute(3), "new.example.net/x.mp3", arguments=named),
        make_hit(minute(1), "NEW.example.net:443/y.mp3", arguments=named),
        # Behind a known prefix service it is the innermost host that counts.
        make_hit(minute(2), "pdst.fm/e/inner.example.net/z.mp3", arguments=named),
        # A registered host, though the episode is not known; a known episode; no podcast named; no address at all.
        make_hit(minute(4), "cdn.example.com/not-yet.mp3", arguments=named),
        make_hit(minute(5), "cdn.example.com/a.mp3", arguments=named),
        make_hit(minute(6), "elsewhere.example.net/x.mp3"),
        make_hit(minute(7), "ftp://nonsense", arguments=named),
    ]
    write_segment(ledger.folder, hits)
    await ledger.ship_all()
    assert await listed(ledger) == [
        (podcast.podcast_no, "inner.example.net", minute(2), minute(2), 1),
        (podcast.podcast_no, "new.example.net", minute(1), minute(3), 2),
    ]
    write_segment(ledger.folder, [make_hit(minute(9), "new.example.net/x.mp3", arguments=named)])
    await ledger.ship_all()
    assert (await listed(ledger))[1] == (podcast.podcast_no, "new.example.net", minute(1), minute(9), 3)


async def test_whoever_makes_hosts_up_fills_one_row(ledger: Ledger, podcast: MadePodcast) -> None:
    named = f"pg={podcast.guid}"
    many = MAX_UNKNOWN_HOSTS + 50
    write_segment(
        ledger.folder, [make_hit(minute(0), f"h{number}.example.net/x.mp3", arguments=named) for number in range(many)]
    )
    await ledger.ship_all()
    rows = await listed(ledger)
    assert len(rows) == MAX_UNKNOWN_HOSTS + 1
    assert {row[1]: row[4] for row in rows}["other"] == 50
    write_segment(ledger.folder, [make_hit(minute(1), "late.example.net/x.mp3", arguments=named)])
    await ledger.ship_all()
    rows = await listed(ledger)
    assert len(rows) == MAX_UNKNOWN_HOSTS + 1
    assert sum(int(str(row[4])) for row in rows) == many + 1
