"""Hits that waited for their episode: judged again when it comes, let go after 30 days."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from analytics_core.byte_ranges import ByteRange, RangeKind
from analytics_core.db.catalogue import NEVER_US, OwnerRow
from analytics_core.db.copying import pack_keys
from analytics_core.db.dictionaries import AgentKindRow, read_agent_kinds
from analytics_core.db.hits import HitColumns
from analytics_core.db.ledger import add_entries
from analytics_core.db.ownership import lock_ownership, read_ownership
from analytics_core.db.pending import (
    PendingHit,
    PendingTarget,
    list_pending_targets,
    lock_pending,
    take_aged,
    take_pending,
)
from analytics_core.db.pool import Connection
from analytics_core.db.restating import want_restatement
from analytics_core.hits import HitFlag, Method
from analytics_core.keeping import WAITING_DAYS
from analytics_core.listeners import listener_key
from analytics_core.profiles import DEFAULT_PROFILE
from analytics_core.verdicts import Verdict, first_verdict
from ingest.batches import distinct
from ingest.bookkeeping import book_rejudged
from ingest.catalogue import Episode, episode_of, match_targets
from ingest.secrets import SecretStore
from ingest.steps.verdicts import FactColumns, eligible_evidence, judge_facts, weigh_ranges
from ingest.writer import OwnershipMoved, hold_ownership, write_hits

__all__ = ("KEEP_DAYS", "rejudge_pending", "release_aged")

KEEP_DAYS: Final = WAITING_DAYS
"""Days that a hit waits for its episode."""

_TARGETS: Final = 5_000
_HITS: Final = 20_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NOBODY: Final = AgentKindRow(0, 0, is_empty=True)


async def rejudge_pending(conn: Connection, secrets: SecretStore, *, limit: int = _HITS) -> int:
    """Judge all waiting hits again whose episodes have come, and land them.

    Args:
        conn: As ingest, outside a transaction.
        secrets: For keys under the tenants' secrets.
        limit: Hits that are moved in one transaction.

    Returns:
        How many hits were moved. When a podcast moves to another tenant meanwhile the rest waits for the next call.
    """
    moved = 0
    after: PendingTarget | None = None
    ownership = await read_ownership(conn)
    while targets := await list_pending_targets(conn, after=after, limit=_TARGETS):
        after = targets[-1]
        owners = dict(zip(targets, await match_targets(conn, targets), strict=True))
        found = {target: owner for target, owner in owners.items() if owner is not None}
        while found:
            try:
                count = await _move(conn, found, secrets, ownership=ownership, limit=limit)
            except OwnershipMoved:
                return moved
            moved += count
            if count < limit:
                break
    return moved


async def _move(
    conn: Connection, owners: dict[PendingTarget, OwnerRow], secrets: SecretStore, *, ownership: int, limit: int
) -> int:
    """Move hits of these targets to where landed ones are; 0 also when another process is at it."""
    async with conn.transaction():
        if not await lock_pending(conn):
            return 0
        await hold_ownership(conn, ownership)
        hits = await take_pending(conn, list(owners), limit=limit)
        if hits:
            by_key = {(target.enclosure_key, target.podcast_no): owner for target, owner in owners.items()}
            episodes = [episode_of(by_key[hit.enclosure_key, hit.podcast_no]) for hit in hits]
            kinds = await read_agent_kinds(conn, {hit.agent_no for hit in hits})
            judged = await _judge_again(hits, episodes, kinds, secrets)
            written = await write_hits(conn, judged, late_flags=HitFlag.LATE | HitFlag.WAITED)
            await want_restatement(conn, _late_days(written))
            await add_entries(conn, book_rejudged(hits, written))
        return len(hits)


def _late_days(hits: HitColumns) -> set[tuple[int, dt.date]]:
    """Name the tenants' days for which hits came too late."""
    late = hits.select(hits.flags & int(HitFlag.LATE) != 0)
    return {
        (tenant_no, _EPOCH.date() + dt.timedelta(days=day))
        for tenant_no, day in zip(late.tenant_no.tolist(), late.day.tolist(), strict=True)
    }


async def release_aged(conn: Connection, secrets: SecretStore, *, now: dt.datetime, limit: int = _HITS) -> int:
    """Let hits go that have waited ``KEEP_DAYS`` in vain: they are kept, as they are, with the landed ones."""
    released = 0
    while True:
        async with conn.transaction():
            if not await lock_pending(conn):
                return released
            await lock_ownership(conn)
            hits = await take_aged(conn, before=now - dt.timedelta(days=KEEP_DAYS), limit=limit)
            if hits:
                keys, rekeyed = await _keys(hits, [hit.tenant_no for hit in hits], secrets)
                columns = _columns(hits, [(hit.tenant_no, hit.podcast_no, 0) for hit in hits], keys, rekeyed)
                written = await write_hits(conn, columns)
                await add_entries(conn, book_rejudged(hits, written))
        released += len(hits)
        if len(hits) < limit:
            return released


async def _keys(
    hits: Sequence[PendingHit], tenant_nos: Sequence[int], secrets: SecretStore
) -> tuple[list[bytes], list[bool]]:
    """Make the tenants' keys of waiting hits; where there is no tenant the first-stage key stays."""
    keys, rekeyed = [], []
    for hit, tenant_no in zip(hits, tenant_nos, strict=True):
        if not tenant_no:
            keys.append(hit.k0.bytes)
            rekeyed.append(False)
            continue
        month = hit.occurred_at.astimezone(dt.UTC).date().replace(day=1)
        secret = await secrets.get(month, tenant_no)
        keys.append(listener_key(hit.k0.bytes, secret.secret))
        rekeyed.append(secret.is_fresh)
    return keys, rekeyed


def _integers(values: Sequence[int]) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)


def _columns(
    hits: Sequence[PendingHit], places: Sequence[tuple[int, int, int]], keys: Sequence[bytes], rekeyed: Sequence[bool]
) -> HitColumns:
    """Lay waiting hits out by column; *places* are their numbers of tenant, podcast and episode."""
    at_us = [(hit.occurred_at - _EPOCH) // dt.timedelta(microseconds=1) for hit in hits]
    bits = [hit.verdict_bits for hit in hits]
    table = _integers([number for place in places for number in place]).reshape(-1, 3)
    flags = _integers([hit.flags for hit in hits]) | np.where(np.array(rekeyed, np.bool_), int(HitFlag.REKEYED), 0)
    return HitColumns(
        occurred_at=_integers(at_us),
        range_first=_integers([hit.range_first for hit in hits]),
        range_last=_integers([hit.range_last for hit in hits]),
        listener_key=pack_keys(keys),
        segment_no=_integers([hit.segment_no for hit in hits]),
        ordinal=_integers([hit.ordinal for hit in hits]),
        tenant_no=table[:, 0],
        podcast_no=table[:, 1],
        episode_no=table[:, 2],
        agent_no=_integers([hit.agent_no for hit in hits]),
        referrer_no=_integers([hit.referrer_no for hit in hits]),
        feed_app_no=_integers([hit.feed_app_no for hit in hits]),
        verdict_bits=_integers(bits),
        verdict=_integers([int(first_verdict(one & DEFAULT_PROFILE.excluding)) for one in bits]),
        evidence=np.zeros(len(hits), np.int64),
        country=_integers([hit.country for hit in hits]),
        kind=_integers([hit.kind for hit in hits]),
        method=_integers([hit.method for hit in hits]),
        range_kind=_integers([hit.range_kind for hit in hits]),
        flags=flags,
        source=_integers([hit.source for hit in hits]),
        rules=np.full(len(hits), DEFAULT_PROFILE.version, np.int64),
        asn=_integers([hit.asn for hit in hits]),
        networks=_integers([hit.networks for hit in hits]),
        place_no=_integers([hit.place_no for hit in hits]),
    )


async def _judge_again(
    hits: Sequence[PendingHit],
    episodes: Sequence[Episode],
    kinds: dict[int, AgentKindRow],
    secrets: SecretStore,
) -> HitColumns:
    """Judge hits from the facts that were stored; what only the address could tell stands as it was found then."""
    keys, rekeyed = await _keys(hits, [episode.tenant_no for episode in episodes], secrets)
    places = [(episode.tenant_no, episode.podcast_no, episode.episode_no) for episode in episodes]
    columns = _columns(hits, places, keys, rekeyed)
    range_places, range_codes = distinct(columns.range_kind, columns.range_first, columns.range_last)
    ranges = [
        ByteRange(RangeKind(hits[place].range_kind), hits[place].range_first, hits[place].range_last)
        for place in range_places.tolist()
    ]
    playlists = np.array([episode.is_playlist for episode in episodes], np.bool_)
    _, evidence, tiny = weigh_ranges(
        ranges,
        range_codes,
        _integers([-1 if episode.length_bytes is None else episode.length_bytes for episode in episodes]),
        _integers([-1 if episode.duration_s is None else episode.duration_s for episode in episodes]),
        playlists,
    )
    agents = [kinds.get(hit.agent_no, _NOBODY) for hit in hits]
    published = _integers([NEVER_US if e.published_at_us is None else e.published_at_us for e in episodes])
    verdicts = judge_facts(
        FactColumns(
            is_head=columns.method == Method.HEAD,
            episode_known=np.ones(len(hits), np.bool_),
            live=np.array([episode.live for episode in episodes], np.bool_),
            is_unpublished=columns.occurred_at < published,
            agent_empty=np.array([agent.is_empty for agent in agents], np.bool_),
            agent_kind=_integers([agent.kind for agent in agents]),
            prefetch=columns.flags & int(HitFlag.PREFETCH) != 0,
            blocked=columns.verdict_bits & Verdict.BLOCKED.bit != 0,
            datacenter=columns.verdict_bits & Verdict.DATACENTER.bit != 0,
            vpn=columns.verdict_bits & Verdict.VPN.bit != 0,
            tiny=tiny,
        )
    )
    return HitColumns(
        **{
            **columns.as_mapping(),
            "flags": columns.flags | np.where(playlists, int(HitFlag.PLAYLIST), 0),
            "verdict_bits": verdicts.bits,
            "verdict": verdicts.verdict,
            "evidence": eligible_evidence(verdicts, evidence),
        }
    )
