"""Simulated hits, landed by ingest, against a count that knows nothing of its code.

What counts is written down here once more, from the guideline and from ``docs/methodology.md``, hit by hit and without
any of our rules, so that a mistake would have to be made twice. ``nox -s simulate`` takes a million hits.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import random
import re
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

import pytest

from analytics_core.hits import Hit, HitFlag, Method
from analytics_core.network_tables import NetworkTable
from analytics_core.networks import NetworkLists, load_network_lists
from analytics_core.settings import DatabaseSettings
from tests.factories import make_episode, make_hit, make_podcast, make_tenant, write_segment
from tests.ledgers import Ledger

pytestmark = pytest.mark.anyio

HITS: Final = int(os.environ.get("CASTLEDGER_SIMULATED_HITS", "50000"))
SEED: Final = 20261102
BEGIN: Final = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
SECONDS: Final = 2 * 86_400
SEGMENT_HITS: Final = 20_000


class Show(NamedTuple):
    """An episode as its feed tells it."""

    length: int | None
    duration: int | None
    published: dt.datetime
    live: bool = False


SHOWS: Final = {
    "long": Show(28_800_000, 1800, dt.datetime(2026, 10, 1, tzinfo=dt.UTC)),
    "odd-rate": Show(10_000_001, 1799, dt.datetime(2026, 10, 1, tzinfo=dt.UTC)),
    "short": Show(400_000, 30, dt.datetime(2026, 10, 1, tzinfo=dt.UTC)),
    "placeholder": Show(33, 1800, dt.datetime(2026, 10, 1, tzinfo=dt.UTC)),
    "no-duration": Show(5_000_000, None, dt.datetime(2026, 10, 1, tzinfo=dt.UTC)),
    "new": Show(28_800_000, 1800, BEGIN + dt.timedelta(hours=13)),
    "stream": Show(28_800_000, 1800, dt.datetime(2026, 10, 1, tzinfo=dt.UTC), live=True),
}
PEOPLE: Final = (
    "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)",
    "AntennaPod/3.4.0",
    "Podcasts/1575.1.2 CFNetwork/1240.0.4 Darwin/20.6.0",
    "AppleCoreMedia/1.0.0.20G75 (iPhone; U; CPU OS 16_6 like Mac OS X; en_us)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
)
MACHINES: Final = ("Googlebot/2.1 (+http://www.google.com/bot.html)", "atc/1.0 watchOS/9.6.3", "")
MACHINE_NETWORKS: Final = {"datacenter": "203.0.113.0/24", "vpn": "2001:db8:f::/48", "blocked": "198.51.100.0/24"}
# People behind machines' addresses, as somebody found out 90 days before the first day, and behind a blocked one.
SHARED: Final = ("203.0.113.8/30", "198.51.100.0/28")
VALIDATED: Final = BEGIN.date() - dt.timedelta(days=90)
HLS: Final = ("long", "short", "stream")
RANGES: Final = (
    "",
    "bytes=0-",
    "bytes=0-1",
    "bytes=0-0",
    "bytes=1-2",
    "bytes=-128",
    "bytes=-90000000",
    "bytes=0-399999",
    "bytes=0-399998",
    "bytes=0-633517",
    "bytes=0-633516",
    "bytes=0-1259999",
    "bytes=0-1259998",
    "bytes=10000000-19999999",
    "bytes=3740000-",
    "bytes=3740001-",
    "bytes=28799999-90000000",
    "bytes=30000000-30000001",
    "bytes=9-0",
    "chapters=1-2",
)


def simulate(chance: random.Random, count: int) -> list[Hit]:
    """Make hits of a few listeners, so that many of them meet in a day."""
    addresses = [f"192.0.2.{host}" for host in range(count // 1000 + 2)][:250]
    addresses += [f"::ffff:{address}" for address in addresses[:20]]
    addresses += [f"2001:db8:1:{net:x}::{host:x}" for net in range(count // 1000 + 2) for host in (1, 2)]
    addresses += ["203.0.113.9", "203.0.113.99", "2001:db8:f::1", "198.51.100.7"]
    made = []
    for _ in range(count):
        at = BEGIN + dt.timedelta(microseconds=chance.randrange(SECONDS * 1_000_000))
        if chance.random() < 0.01:
            at = SHOWS["new"].published
        name = chance.choice([*SHOWS, "long", "long"]) if chance.random() > 0.01 else "nobody-knows"
        kind = "m3u8" if name in HLS and chance.random() < 0.2 else "mp3"
        made.append(
            make_hit(
                at,
                f"cdn.example.com/{name}.{kind}",
                address=chance.choice(addresses),
                agent=chance.choice(PEOPLE if chance.random() > 0.1 else MACHINES).encode(),
                byte_range=chance.choice(RANGES),
                method=Method.HEAD if chance.random() < 0.03 else Method.GET,
                flags=int(HitFlag.PREFETCH) if chance.random() < 0.03 else 0,
            )
        )
    return made


def asked_for(header: str, show: Show) -> int:
    """Weigh a request: 3 for all, 2 for a minute, 1 for the first two bytes, 0 for less."""
    # A size is believed from 16,000 bytes on, here never contradicted by the duration.
    length = show.length if show.length is not None and show.length >= 16_000 else None
    rate = Fraction(length, show.duration) if length is not None and show.duration else Fraction(16_000)
    needed = 300_000 + 60 * rate
    if length is not None:
        needed = min(needed, Fraction(length))
    read = re.fullmatch(r"bytes=(\d*)-(\d*)", header)
    if read is None or (read[1] and read[2] and int(read[1]) > int(read[2])):
        return 3
    if header == "bytes=0-1":
        return 1
    if not read[1]:
        return 3 if length is not None and int(read[2]) >= length else 0
    first = int(read[1])
    if not read[2]:
        if first == 0:
            return 3
        return 2 if length is None or length - first >= needed else 0
    last = int(read[2])
    sent = last - first + 1 if length is None else min(last, length - 1) - first + 1
    if first == 0 and sent == length:
        return 3
    return 2 if sent >= needed else 0


def listener(address: bytes) -> str:
    """Cut an address to what a listener is told apart by."""
    found = ipaddress.IPv6Address(address)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False).network_address)


def is_machine(address: bytes, day: dt.date) -> bool:
    found: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv6Address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    of = {name for name, network in MACHINE_NETWORKS.items() if found in ipaddress.ip_network(network)}
    if day <= VALIDATED + dt.timedelta(days=90) and any(found in ipaddress.ip_network(one) for one in SHARED):
        of &= {"blocked"}
    return bool(of)


def expect(segments: dict[int, list[Hit]]) -> list[tuple[str, str, int, int, int, int]]:
    """Count: the best hit of each day, episode, address and agent, with its worth, time, segment and place in it."""
    best: dict[tuple[str, str, str, str], tuple[int, int, int, int]] = {}
    for segment, hits in segments.items():
        for place, hit in enumerate(hits):
            name, _, kind = hit.target.decode().removeprefix("cdn.example.com/").partition(".")
            show = SHOWS.get(name)
            at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=hit.at_us)
            if (
                hit.method is Method.HEAD
                or hit.flags
                or show is None
                or show.live
                or at < show.published
                or hit.agent.decode() not in PEOPLE
                or is_machine(hit.address, at.date())
            ):
                continue
            worth = 1 if kind == "m3u8" else asked_for(hit.byte_range.decode(), show)
            if worth:
                key = (at.strftime("%Y-%m-%d"), name, listener(hit.address), hit.agent.decode())
                found = (-worth, hit.at_us, segment, place)
                best[key] = min(best.get(key, found), found)
    return sorted(
        (day, name, -worth, at_us, segment, place) for (day, name, _, _), (worth, at_us, segment, place) in best.items()
    )


async def test_ingest_counts_what_the_definitions_say(
    ledger: Ledger, database: DatabaseSettings, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    hits = simulate(chance, HITS)
    segments = [hits[at : at + SEGMENT_HITS] for at in range(0, len(hits), SEGMENT_HITS)]
    tenant = await make_tenant(database)
    podcast = await make_podcast(
        database,
        tenant,
        *(
            make_episode(
                name,
                f"https://cdn.example.com/{name}.mp3",
                *([f"https://cdn.example.com/{name}.m3u8"] if name in HLS else []),
                published_at=show.published,
                duration_s=show.duration,
                length_bytes=show.length,
                live=show.live,
            )
            for name, show in SHOWS.items()
        ),
    )
    datacenter, vpn, blocked = (NetworkTable.from_lines([network]) for network in MACHINE_NETWORKS.values())
    (folder := tmp_path / "lists").mkdir()
    (folder / "shared.txt").write_text("".join(f"{network} {VALIDATED} Dormitory\n" for network in SHARED))
    shared = load_network_lists(folder).shared
    lists = NetworkLists(datacenter=datacenter, vpn=vpn, blocked=blocked, shared=shared, version="simulated")
    ledger.pipeline = ledger.make_pipeline(lists)
    ledger.shipper = ledger.make_shipper(batch_hits=7_000)
    ids = [uuid4() for _ in segments]
    for segment_id, some in zip(ids, segments, strict=True):
        write_segment(ledger.folder, some, segment_id=segment_id)
    assert await ledger.ship_all() == HITS

    rows = await ledger.conn.fetch("select segment_no, segment_id from ops.segments")
    expected = expect({row["segment_no"]: segments[ids.index(row["segment_id"])] for row in rows})
    names = {number: name for name, number in podcast.episodes.items()}
    stored = await ledger.conn.fetch(
        """select day::text as day, episode_no, evidence,
            (extract(epoch from occurred_at) * 1000000)::bigint as at_us, segment_no, ordinal from ts.downloads"""
    )
    assert sorted((row[0], names[row[1]], *row[2:]) for row in map(tuple, stored)) == expected
    # Something of everything, and repeats.
    assert {worth for _, _, worth, *_ in expected} == {1, 2, 3}
    assert {name for _, name, *_ in expected} == set(SHOWS) - {"stream"}
    assert HITS // 20 < len(expected) < HITS // 2
