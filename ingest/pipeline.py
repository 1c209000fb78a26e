"""The pipeline: a batch of hits goes through ordered, named, timed steps and comes out judged.

What needs the database (numbers, secrets, owners) is asked for distinct values only; the rest is arithmetic on
columns. Nothing is written but dictionaries: landing is the writer's.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import functools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt

from analytics_core.agent_table import AgentTable, our_table
from analytics_core.clock import Clock
from analytics_core.db.copying import unpack_key
from analytics_core.db.dead_letters import DeadLetter
from analytics_core.db.hits import Downloads, HitColumns, HitRows, HitSource, encode_hits
from analytics_core.db.links import Click
from analytics_core.db.pending import PendingHit
from analytics_core.db.pool import Connection
from analytics_core.hits import HitFlag, HitKind, Method
from analytics_core.hosts import HostSighting, merge_sightings
from analytics_core.networks import NetworkClass
from analytics_core.profiles import DEFAULT_PROFILE
from analytics_core.verdicts import NO_VERDICT
from ingest.batches import Batch
from ingest.catalogue import Catalogue
from ingest.dictionaries import AgentNumbers, PlaceNumbers, TermNumbers
from ingest.metrics import Metrics
from ingest.place_sources import PlaceSources
from ingest.secrets import SecretStore
from ingest.sieve import Places
from ingest.steps.agents import AgentColumns, TermColumns, number_agents, number_terms
from ingest.steps.clicks import name_clicks, resolve_links
from ingest.steps.listeners import ListenerColumns, ListenerSecrets, find_secrets, key_listeners
from ingest.steps.places import PlaceColumns, number_places, place_addresses
from ingest.steps.targets import TargetColumns, resolve_targets
from ingest.steps.verdicts import (
    FactColumns,
    RangeColumns,
    VerdictColumns,
    eligible_evidence,
    judge_facts,
    read_range,
    weigh_ranges,
)
from ingest.unknown_hosts import UnknownHosts
from ingest.winners import pick_winners

__all__ = ("MAX_TARGET_CHARS", "Judged", "Pipeline")

MAX_TARGET_CHARS: Final = 2048
"""A pending hit's target is cut here for people to read; its key is of the whole."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a batch: every hit is in one of the two.

    Attributes:
        hits: Hits of known episodes, with their verdicts.
        pending: Hits that wait for their episode.
        ownership: The generation of ownership that they were judged under; ``None`` where there is no hit.
        sightings: Unknown hosts among those that wait.
        clicks: Those on known links, whose hits are among *hits*.
        winners: The best of *hits* for each download, unless some of them turn out to be late; ``None`` when they have
            not been picked yet.
        rows: *hits* as they are sent; ``None`` when they have not been laid out yet, or one of them cannot be.
        dead: Hits that could not be judged, in neither of the two.
    """

    hits: HitColumns
    pending: list[PendingHit]
    ownership: int | None = None
    sightings: Sequence[HostSighting] = ()
    clicks: Sequence[Click] = ()
    winners: Downloads | None = None
    rows: HitRows | None = None
    dead: Sequence[DeadLetter] = ()

    def __len__(self) -> int:
        return len(self.hits) + len(self.pending)

    def take(self, places: Places) -> Judged:
        """Take some of those that are judged, by their places: *hits* first, *pending* behind; none of the dead."""
        own = places[places < len(self.hits)]
        hits = self.hits.select(own)
        pending = [self.pending[place - len(self.hits)] for place in places[places >= len(self.hits)].tolist()]
        clicks: Sequence[Click] = ()
        if self.clicks:
            ids = set(zip(hits.segment_no.tolist(), hits.ordinal.tolist(), strict=True))
            clicks = [click for click in self.clicks if (click.segment_no, click.ordinal) in ids]
        return Judged(hits, pending, self.ownership, clicks=clicks)

    @classmethod
    def joined(cls, parts: Sequence[Judged], *, dead: Sequence[DeadLetter]) -> Judged:
        """Put parts of a batch together again, without those hits that are *dead*."""
        generations = [part.ownership for part in parts if part.ownership is not None]
        return cls(
            functools.reduce(HitColumns.followed_by, (part.hits for part in parts), HitColumns.empty()),
            [hit for part in parts for hit in part.pending],
            # The oldest: what was looked up under it has to hold still.
            min(generations, default=None),
            merge_sightings(sighting for part in parts for sighting in part.sightings),
            [click for part in parts for click in part.clicks],
            dead=dead,
        )


class Pipeline:
    """The steps with what they need and remember.

    Args:
        clock: For what is bounded a day.
        secrets: Of listeners.
        own_hosts: Host names of our trackers.
        places: What addresses are looked up in.
        metrics: Takes each step's time.
        agent_table: Returns the table of user agents in force.
        source: How the hits were told to us.
        timer: Seconds from wherever, that steps are timed by.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        secrets: SecretStore,
        own_hosts: Collection[str],
        places: PlaceSources,
        metrics: Metrics,
        agent_table: Callable[[], AgentTable] = our_table,
        source: HitSource = HitSource.PREFIX,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.catalogue = Catalogue(own_hosts=own_hosts)
        self.unknown_hosts = UnknownHosts(own_hosts=own_hosts)
        self._secrets = secrets
        self.agents = AgentNumbers(clock, table=agent_table)
        self._referrers = TermNumbers("referrer", clock)
        self._feed_apps = TermNumbers("feed_app", clock)
        self._place_numbers = PlaceNumbers(clock)
        self.places = places
        """May be replaced at any time: a batch looks all its addresses up in one of them."""
        self._metrics = metrics
        self._source = source
        self._timer = timer
        self._ownership: int | None = None

    @contextlib.contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        began = self._timer()
        yield
        self._metrics.step_seconds.labels(step).inc(self._timer() - began)

    async def judge(self, conn: Connection, batch: Batch) -> Judged:
        """Judge a batch.

        Args:
            conn: As ingest, outside a transaction.
            batch: Not empty.
        """
        is_click = batch.kind == HitKind.CLICK
        if not is_click.any():
            return await self._judge_requests(conn, batch)
        clicks = await self._take_clicks(conn, batch.select(is_click))
        if is_click.all():
            return clicks
        requests = await self._judge_requests(conn, batch.select(~is_click))
        # The older generation: what was looked up under it has to hold still.
        generations = [one.ownership for one in (requests, clicks) if one.ownership is not None]
        return dataclasses.replace(
            requests,
            hits=requests.hits.followed_by(clicks.hits),
            clicks=clicks.clicks,
            ownership=min(generations),
            rows=None,
        )

    async def _take_clicks(self, conn: Connection, batch: Batch) -> Judged:
        """Find whose links were followed, and by whom; no verdict is about it."""
        with self._timed("clicks"):
            links = await resolve_links(conn, batch)
            self._forget_before(links.targets.ownership)
            agents = await number_agents(conn, batch, self.agents)
            terms = await number_terms(conn, batch, links.targets, self._referrers, self._feed_apps)
            listeners = key_listeners(batch, links.targets, await find_secrets(batch, links.targets, self._secrets))
            places = place_addresses(batch, self.places)
            place_no = await number_places(conn, places, self._place_numbers)
            ranges, evidence, _ = _weigh(batch, links.targets)
            nothing = np.zeros(len(batch), np.int64)
            verdicts = VerdictColumns(bits=nothing, verdict=nothing + NO_VERDICT)
            hits = _columns(
                batch,
                self._source,
                links.targets,
                agents,
                terms,
                listeners,
                places,
                place_no,
                ranges,
                evidence,
                verdicts,
            )
            clicks = name_clicks(batch, links, agents.kind)
        return Judged(hits, [], links.targets.ownership, clicks=clicks)

    async def _judge_requests(self, conn: Connection, batch: Batch) -> Judged:
        with self._timed("resolve"):
            targets = await resolve_targets(conn, batch, self.catalogue)
        self._forget_before(targets.ownership)
        with self._timed("agents"):
            agents = await number_agents(conn, batch, self.agents)
        with self._timed("terms"):
            terms = await number_terms(conn, batch, targets, self._referrers, self._feed_apps)
        secrets = await find_secrets(batch, targets, self._secrets)
        # In a thread: meanwhile the batch before is on its way to the database.
        with self._timed("place"):
            places = await asyncio.to_thread(place_addresses, batch, self.places)
        place_no = await number_places(conn, places, self._place_numbers)
        judged = await asyncio.to_thread(self._work_out, batch, targets, agents, terms, secrets, places, place_no)
        if not judged.pending:
            return judged
        with self._timed("hosts"):
            return dataclasses.replace(judged, sightings=self.unknown_hosts.find(judged.pending))

    def _work_out(
        self,
        batch: Batch,
        targets: TargetColumns,
        agents: AgentColumns,
        terms: TermColumns,
        secrets: ListenerSecrets,
        places: PlaceColumns,
        place_no: npt.NDArray[np.int64],
    ) -> Judged:
        """Do all that needs no database."""
        with self._timed("key"):
            listeners = key_listeners(batch, targets, secrets)
        with self._timed("range"):
            ranges, evidence, tiny = _weigh(batch, targets)
        with self._timed("judge"):
            verdicts = judge_facts(_facts(batch, targets, agents, places, tiny))
        with self._timed("split"):
            judged = _split(
                batch, self._source, targets, agents, terms, listeners, places, place_no, ranges, evidence, verdicts
            )
        with self._timed("winners"):
            winners = pick_winners(judged.hits)
        with self._timed("lay out"):
            return dataclasses.replace(judged, winners=winners, rows=_lay_out(judged.hits))

    def _forget_before(self, ownership: int) -> None:
        """Drop what was remembered under another generation of ownership: an erasure may have taken it along.

        What is looked up from here on is at least as new as the generation, which landing compares once more.
        """
        if ownership != self._ownership:
            self.agents.forget()
            self._secrets.forget_stored()
            self._ownership = ownership


def _lay_out(hits: HitColumns) -> HitRows | None:
    try:
        return encode_hits(hits)
    except OverflowError:
        # Landing finds the hit and buries it.
        return None


def _weigh(batch: Batch, targets: TargetColumns) -> tuple[RangeColumns, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    return weigh_ranges(
        list(map(read_range, batch.byte_range.values)),
        batch.byte_range.codes,
        targets.length_bytes[targets.codes],
        targets.duration_s[targets.codes],
        targets.playlist[targets.codes],
    )


def _facts(
    batch: Batch,
    targets: TargetColumns,
    agents: AgentColumns,
    places: PlaceColumns,
    tiny: npt.NDArray[np.bool_],
) -> FactColumns:
    return FactColumns(
        is_head=batch.method == Method.HEAD,
        episode_known=(targets.episode_no > 0)[targets.codes],
        live=targets.live[targets.codes],
        is_unpublished=batch.at_us < targets.published_us[targets.codes],
        agent_empty=agents.is_empty,
        agent_kind=agents.kind,
        prefetch=(batch.flags & HitFlag.PREFETCH) != 0,
        blocked=places.is_in(NetworkClass.BLOCKED),
        datacenter=places.is_machine(NetworkClass.DATACENTER),
        vpn=places.is_machine(NetworkClass.VPN),
        tiny=tiny,
    )


def _split(
    batch: Batch,
    source: HitSource,
    targets: TargetColumns,
    agents: AgentColumns,
    terms: TermColumns,
    listeners: ListenerColumns,
    places: PlaceColumns,
    place_no: npt.NDArray[np.int64],
    ranges: RangeColumns,
    evidence: npt.NDArray[np.int64],
    verdicts: VerdictColumns,
) -> Judged:
    columns = _columns(batch, source, targets, agents, terms, listeners, places, place_no, ranges, evidence, verdicts)
    known = columns.episode_no > 0
    if known.all():
        return Judged(columns, [], targets.ownership)
    waiting = np.flatnonzero(~known)
    pending = _pending(columns.select(waiting), waiting, batch, targets, listeners)
    return Judged(columns.select(known), pending, targets.ownership)


def _columns(
    batch: Batch,
    source: HitSource,
    targets: TargetColumns,
    agents: AgentColumns,
    terms: TermColumns,
    listeners: ListenerColumns,
    places: PlaceColumns,
    place_no: npt.NDArray[np.int64],
    ranges: RangeColumns,
    evidence: npt.NDArray[np.int64],
    verdicts: VerdictColumns,
) -> HitColumns:
    return HitColumns(
        occurred_at=batch.at_us,
        range_first=ranges.first,
        range_last=ranges.last,
        listener_key=listeners.listener_key,
        segment_no=batch.segment_no,
        ordinal=batch.ordinal,
        tenant_no=targets.tenant_no[targets.codes],
        podcast_no=targets.podcast_no[targets.codes],
        episode_no=targets.episode_no[targets.codes],
        agent_no=agents.agent_no,
        referrer_no=terms.referrer_no,
        feed_app_no=terms.feed_app_no,
        verdict_bits=verdicts.bits,
        verdict=verdicts.verdict,
        evidence=eligible_evidence(verdicts, evidence),
        country=places.country,
        kind=batch.kind,
        method=batch.method,
        range_kind=ranges.kind,
        flags=batch.flags
        | np.where(listeners.is_rekeyed, int(HitFlag.REKEYED), 0)
        | np.where(targets.playlist, int(HitFlag.PLAYLIST), 0)[targets.codes],
        source=np.full(len(batch), int(source), np.int64),
        rules=np.full(len(batch), DEFAULT_PROFILE.version, np.int64),
        asn=places.asn,
        networks=places.networks,
        place_no=place_no,
    )


def _pending(
    columns: HitColumns,
    waiting: npt.NDArray[np.intp],
    batch: Batch,
    targets: TargetColumns,
    listeners: ListenerColumns,
) -> list[PendingHit]:
    hits = []
    for place, at in enumerate(waiting.tolist()):
        target = targets.waiting[int(targets.codes[at])]
        text = batch.target.values[int(batch.target.codes[at])].decode("utf-8", "replace").replace("\x00", "\ufffd")
        hits.append(
            PendingHit(
                segment_no=int(columns.segment_no[place]),
                ordinal=int(columns.ordinal[place]),
                occurred_at=_EPOCH + dt.timedelta(microseconds=int(columns.occurred_at[place])),
                tenant_no=int(columns.tenant_no[place]),
                podcast_no=int(columns.podcast_no[place]),
                enclosure_key=target.enclosure_key,
                bare_key=target.bare_key,
                file_name=target.file_name,
                target=text[:MAX_TARGET_CHARS],
                k0=UUID(bytes=unpack_key(listeners.k0[at])),
                range_first=int(columns.range_first[place]),
                range_last=int(columns.range_last[place]),
                agent_no=int(columns.agent_no[place]),
                referrer_no=int(columns.referrer_no[place]),
                feed_app_no=int(columns.feed_app_no[place]),
                verdict_bits=int(columns.verdict_bits[place]),
                country=int(columns.country[place]),
                kind=int(columns.kind[place]),
                method=int(columns.method[place]),
                range_kind=int(columns.range_kind[place]),
                flags=int(columns.flags[place]),
                source=int(columns.source[place]),
                asn=int(columns.asn[place]),
                networks=int(columns.networks[place]),
                place_no=int(columns.place_no[place]),
            )
        )
    return hits
