"""Real rows and real spool files in one call each."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

from analytics_core.addresses import pack_address
from analytics_core.db.episodes import list_episodes
from analytics_core.db.podcasts import add_podcast
from analytics_core.db.pool import Tenant, connect, open_pool, tenant_transaction
from analytics_core.db.tenants import create_tenant
from analytics_core.feeds import Feed, FeedEnclosure, FeedEpisode
from analytics_core.hits import Hit, HitKind, Method
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.spool import (
    FrameKind,
    SegmentHeader,
    Totals,
    encode_header,
    encode_hit,
    encode_hits_frame,
    encode_totals_frame,
    segment_name,
)

__all__ = (
    "OVERCAST",
    "MadePodcast",
    "make_episode",
    "make_header",
    "make_hit",
    "make_podcast",
    "make_tenant",
    "micros",
    "open_segment",
    "segment_bytes",
    "write_segment",
)

OVERCAST = b"Overcast/3.0 (+http://overcast.fm/; iOS podcast app)"

_PUBLISHED = dt.datetime(2026, 10, 1, tzinfo=dt.UTC)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class MadePodcast(NamedTuple):
    """A stored podcast; ``episodes`` are its episodes' numbers by guid."""

    podcast_id: UUID
    podcast_no: int
    guid: UUID
    tenant: Tenant
    episodes: dict[str, int]


def micros(at: dt.datetime) -> int:
    """Count microseconds since 1970."""
    return (at - _EPOCH) // dt.timedelta(microseconds=1)


async def make_tenant(database: DatabaseSettings, slug: str = "one") -> Tenant:
    """Store a tenant."""
    conn = await connect(database, Role.AUTH, application_name="factory")
    try:
        return (await create_tenant(conn, slug=slug, name=slug.title())).tenant
    finally:
        await conn.close()


def make_episode(
    guid: str,
    *urls: str,
    published_at: dt.datetime | None = _PUBLISHED,
    duration_s: int | None = 1800,
    length_bytes: int | None = 28_800_000,
    live: bool = False,
) -> FeedEpisode:
    """Make an episode as a feed tells it; by default half an hour at 128 kbit/s at ``cdn.example.com/{guid}.mp3``."""
    enclosures = tuple(
        FeedEnclosure(url, "audio/mpeg", length_bytes, "enclosure")
        for url in urls or (f"https://cdn.example.com/{guid}.mp3",)
    )
    return FeedEpisode(guid, "feed", f"Episode {guid}", published_at, duration_s, live, enclosures)


async def make_podcast(
    database: DatabaseSettings,
    tenant: Tenant,
    *episodes: FeedEpisode,
    guid: UUID | None = None,
    feed_url: str | None = None,
    now: dt.datetime = _PUBLISHED,
    verified: bool = True,
) -> MadePodcast:
    """Store a podcast with its episodes."""
    feed = Feed("Podcast", None, "en", feed_url, guid or uuid4(), True, (), episodes, ())
    pool = await open_pool(database, Role.API, application_name="factory", max_size=1)
    try:
        async with tenant_transaction(pool, tenant) as conn:
            row = await add_podcast(conn, tenant, feed, feed_url=feed_url, verified=verified, now=now)
            stored = await list_episodes(conn, row.podcast_id, after=None, limit=10_000)
    finally:
        await pool.close()
    numbers = {episode.guid: int(episode.episode_no) for episode in stored}
    return MadePodcast(row.podcast_id, int(row.podcast_no), feed.podcast_guid, tenant, numbers)


def make_hit(
    at: dt.datetime,
    target: str = "cdn.example.com/a.mp3",
    *,
    address: str = "192.0.2.1",
    agent: bytes = OVERCAST,
    byte_range: str = "",
    arguments: str = "",
    referrer: str = "",
    method: Method = Method.GET,
    flags: int = 0,
) -> Hit:
    """Make a hit: by default someone's Overcast asking for all of an episode."""
    return Hit(
        at_us=micros(at),
        address=pack_address(address),
        target=target.encode(),
        arguments=arguments.encode(),
        agent=agent,
        referrer=referrer.encode(),
        byte_range=byte_range.encode(),
        method=method,
        kind=HitKind.REQUEST,
        flags=flags,
    )


def make_header(source: str = "tracker-0", *, created_us: int = 0, segment_id: UUID | None = None) -> SegmentHeader:
    """Make a segment's header, by default with an id of its own."""
    return SegmentHeader(segment_id or uuid4(), created_us, source)


def segment_bytes(header: SegmentHeader, hits: Sequence[Hit], *, frame_hits: int = 100, sealed: bool = True) -> bytes:
    """Write hits as the bytes of a whole segment."""
    parts = [encode_header(header)]
    totals = Totals()
    for at in range(0, len(hits), frame_hits):
        some = hits[at : at + frame_hits]
        totals.answered += len(some)
        totals.recorded += len(some)
        rows, texts = zip(*map(encode_hit, some), strict=True)
        parts.append(encode_hits_frame(rows, texts, totals))
    if sealed:
        parts.append(encode_totals_frame(FrameKind.SEAL, totals))
    return b"".join(parts)


def write_segment(
    folder: Path,
    hits: Sequence[Hit],
    *,
    source: str = "tracker-0",
    segment_id: UUID | None = None,
    frame_hits: int = 100,
    sealed: bool = True,
) -> Path:
    """Write a segment that nobody writes to any more: a sealed one, or one whose writer died."""
    folder.mkdir(parents=True, exist_ok=True)
    created_us = hits[0].at_us if hits else 0
    header = make_header(source, created_us=created_us, segment_id=segment_id)
    path = folder / f"{segment_name(header)}.{'sealed' if sealed else 'open'}"
    path.write_bytes(segment_bytes(header, hits, frame_hits=frame_hits, sealed=sealed))
    return path


def open_segment(folder: Path, hits: Sequence[Hit], *, frame_hits: int = 100) -> tuple[Path, int]:
    """Write a segment as a living writer has it: locked until the descriptor that is returned is closed."""
    path = write_segment(folder, hits, frame_hits=frame_hits, sealed=False)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return path, descriptor
