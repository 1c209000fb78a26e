"""What the rules cost a hit: ``python benchmarks/rules.py``.

Ours is ingest's pipeline on batches of 100,000 hits whose texts, targets, agents and secrets it has met before: the
steps that are rules, in processor time by step. Theirs are the same rules applied to one hit after the other, with
everything remembered that is the same for several. Both have to judge every hit alike. Keys, reading the spool and what
is done for the database are left out of both. Beside it what networks, autonomous systems and countries cost a distinct
address, looked up for a column at once.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import datetime as dt
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import iptocc
import maxminddb
import numpy as np

from analytics_core.addresses import V4_MAPPED, format_address
from analytics_core.agent_table import AgentTable, classify, our_table
from analytics_core.asns import DatabaseAsns
from analytics_core.byte_ranges import ByteRange, parse_range
from analytics_core.clock import SystemClock
from analytics_core.countries import pack_country
from analytics_core.db.hits import HitColumns
from analytics_core.db.pool import Connection, connection, open_pool
from analytics_core.downloads import Download, better
from analytics_core.errors import Unavailable
from analytics_core.evidence import evidence_of
from analytics_core.geo import RegistryCountries
from analytics_core.hits import HitFlag, Method
from analytics_core.judging import HitFacts, judge, verdict_of
from analytics_core.network_tables import NetworkTable
from analytics_core.networks import NetworkClass, load_network_lists
from analytics_core.referrers import referrer_host
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings
from analytics_core.spool import HEADER_BYTES, FrameKind, read_frames
from analytics_core.user_agents import AgentClass
from analytics_core.verdicts import Evidence
from analytics_core.windows import DAY_US
from benchmarks.agents import known_us, read_agents, take_times
from benchmarks.database import start_server
from benchmarks.ingest import fill_catalogue
from benchmarks.made_places import write_asn_database, write_network_lists
from benchmarks.made_traffic import TrafficShape, made_episodes, write_traffic
from benchmarks.workbench import Comparison, Workbench, WrongResult, host_load, median, run_measurement
from ingest.batches import Batch, Piece, build_batch
from ingest.metrics import Metrics
from ingest.pipeline import Judged, Pipeline
from ingest.place_sources import PlaceSources
from ingest.secrets import SecretStore

RULES: Final = ("resolve", "agents", "terms", "place", "range", "judge", "winners")
"""The pipeline's steps that are rules."""

BATCH_HITS: Final = 100_000
_NOWHERE: Final = frozenset(map(pack_country, ("AP", "EU", "XX", "ZZ")))


class Row(NamedTuple):
    """One hit, decoded, and its listener's key, which is made elsewhere."""

    at_us: int
    address: bytes
    target: bytes
    agent: bytes
    referrer: bytes
    byte_range: bytes
    method: int
    flags: int
    segment_no: int
    ordinal: int
    listener_key: bytes


class Found(NamedTuple):
    """What was found out about a hit, to be compared."""

    verdict: int
    evidence: int
    country: int
    asn: int
    networks: int


class EpisodeFacts(NamedTuple):
    """What judging needs of an episode."""

    episode_no: int
    length_bytes: int
    duration_s: int
    published_at_us: int


def read_batches(folder: Path) -> Iterator[Batch]:
    """Read a spool as batches, a piece a frame."""
    pieces: list[Piece] = []
    hits = 0
    for segment_no, path in enumerate(sorted(folder.iterdir()), 1):
        ordinal = 0
        for frame in read_frames(path.read_bytes()[HEADER_BYTES:]):
            if frame.kind is not FrameKind.HITS:
                continue
            pieces.append(Piece(segment_no, ordinal, bytes(frame.rows), bytes(frame.texts)))
            ordinal += frame.hits
            hits += frame.hits
            if hits >= BATCH_HITS:
                yield build_batch(pieces, received_us=time.time_ns() // 1000)
                pieces, hits = [], 0
    if pieces:
        yield build_batch(pieces, received_us=time.time_ns() // 1000)


def list_rows(batch: Batch, hits: HitColumns) -> list[Row]:
    """Take a batch apart."""
    texts = [
        [column.values[code] for code in column.codes.tolist()]
        for column in (batch.target, batch.agent, batch.referrer, batch.byte_range)
    ]
    packed = batch.address.astype(">u8").tobytes()
    addresses = [packed[at : at + 16] for at in range(0, len(packed), 16)]
    packed = hits.listener_key.tobytes()
    keys = [packed[at : at + 16] for at in range(0, len(packed), 16)]
    numbers = (batch.method, batch.flags, batch.segment_no, batch.ordinal)
    return [
        Row(*row)
        for row in zip(
            batch.at_us.tolist(), addresses, *texts, *(column.tolist() for column in numbers), keys, strict=True
        )
    ]


class OneByOne:
    """The rules applied to one hit after the other; what several hits have in common is remembered.

    Args:
        episodes: By their targets.
        lists: A folder of lists of networks.
        asns: A database of autonomous systems.
    """

    def __init__(self, episodes: Mapping[bytes, EpisodeFacts], lists: Path, asns: Path) -> None:
        self._episodes = episodes
        read = load_network_lists(lists)
        self._networks = [
            (_changes(table), bit)
            for table, bit in (
                (read.datacenter, NetworkClass.DATACENTER),
                (read.vpn, NetworkClass.VPN),
                (read.relay, NetworkClass.RELAY),
                (read.blocked, NetworkClass.BLOCKED),
            )
        ]
        self._datacenter_asns = read.datacenter_asns
        self._asns = maxminddb.open_database(asns)
        self._agents: dict[bytes, AgentClass] = {}
        self._hosts: dict[bytes, str] = {}
        self._countries: dict[bytes, int] = {}
        self._ranges: dict[bytes, ByteRange] = {}

    def judge(self, row: Row) -> Found:
        """Judge one hit."""
        episode = self._episodes[row.target]
        agent = self._agents.get(row.agent)
        if agent is None:
            agent = self._agents[row.agent] = classify(row.agent.decode("utf-8", "replace"))
        if row.referrer not in self._hosts:
            self._hosts[row.referrer] = referrer_host(row.referrer.decode("utf-8", "replace"))
        asked = self._ranges.get(row.byte_range)
        if asked is None:
            asked = self._ranges[row.byte_range] = parse_range(row.byte_range)
        evidence, is_tiny = evidence_of(asked, episode.length_bytes, episode.duration_s)
        text = format_address(row.address)
        network = row.address[:15] if row.address.startswith(V4_MAPPED) else row.address[:6]
        country = self._countries.get(network)
        if country is None:
            country = pack_country(iptocc.country_code(format_address(network.ljust(16, b"\0"))))
            country = self._countries[network] = 0 if country in _NOWHERE else country
        asn, networks = self._place(row.address, text)
        bits = judge(
            HitFacts(
                method=Method(row.method),
                at_us=row.at_us,
                published_at_us=episode.published_at_us,
                agent_empty=not row.agent,
                agent_kind=agent.kind,
                prefetch=bool(row.flags & HitFlag.PREFETCH),
                blocked=bool(networks & NetworkClass.BLOCKED),
                datacenter=bool(networks & NetworkClass.DATACENTER),
                vpn=bool(networks & NetworkClass.VPN),
                tiny=is_tiny,
            )
        )
        verdict = verdict_of(bits)
        return Found(verdict, Evidence.NONE if verdict else evidence, country, asn, networks)

    def _place(self, address: bytes, text: str) -> tuple[int, int]:
        number = int.from_bytes(address)
        networks = 0
        for changes, bit in self._networks:
            if bisect.bisect(changes, number) & 1:
                networks |= bit
        record = self._asns.get(text) if address.startswith(V4_MAPPED) else None
        found = record.get("autonomous_system_number") if isinstance(record, dict) else None
        asn = found if isinstance(found, int) else 0
        if asn in self._datacenter_asns and not networks & NetworkClass.RELAY:
            networks |= NetworkClass.DATACENTER
        return asn, networks

    def pick(self, rows: Sequence[Row], found: Sequence[Found]) -> set[tuple[int, int]]:
        """Pick the best hit of each day, episode and listener, by its id."""
        best: dict[tuple[int, int, bytes], Download] = {}
        for row, one in zip(rows, found, strict=True):
            if one.verdict or not one.evidence:
                continue
            key = row.at_us // DAY_US, self._episodes[row.target].episode_no, row.listener_key
            download = Download(Evidence(one.evidence), row.at_us, row.segment_no, row.ordinal)
            held = best.get(key)
            if held is None or better(download, held):
                best[key] = download
        return {(one.segment_no, one.ordinal) for one in best.values()}


def _changes(table: NetworkTable) -> list[int]:
    return [number for first, last in table.intervals() for number in (first, last + 1)]


def list_episodes(shape: TrafficShape) -> dict[bytes, EpisodeFacts]:
    """List what judging needs of all episodes, by the targets that players ask for."""
    midnight = (shape.day - dt.date(1970, 1, 1)).days * DAY_US
    return {
        episode.target.encode(): EpisodeFacts(
            episode.place + 1,
            episode.length_bytes,
            episode.duration_s,
            midnight - (episode.place % 300 + 1) * DAY_US,
        )
        for episode in made_episodes(shape.episodes)
    }


def check(judged: Judged, rows: Sequence[Row], one_by_one: OneByOne) -> None:
    """Look whether both ways judge every hit alike, and pick the same downloads.

    Raises:
        WrongResult: They do not.
    """
    hits, winners = judged.hits, judged.winners
    if winners is None or judged.pending:
        raise WrongResult("not all hits were judged")
    columns = (hits.verdict, hits.evidence, hits.country, hits.asn, hits.networks)
    ours = [Found(*one) for one in zip(*(column.tolist() for column in columns), strict=True)]
    theirs = [one_by_one.judge(row) for row in rows]
    for row, mine, its in zip(rows, ours, theirs, strict=True):
        if mine != its:
            raise WrongResult(f"{row} is {mine} by column, {its} by itself")
    picked = set(zip(winners.segment_no.tolist(), winners.ordinal.tolist(), strict=True))
    if picked != one_by_one.pick(rows, theirs):
        raise WrongResult("both pick other downloads")


def steps_of(metrics: Metrics) -> dict[str, float]:
    """Read the seconds of each step."""
    return {
        sample.labels["step"]: sample.value
        for metric in metrics.step_seconds.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of processor time that something takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def look_ups(batches: Sequence[Batch], places: PlaceSources, rounds: int) -> dict[str, float]:
    """Time looking distinct addresses up, in microseconds an address of a batch."""
    # Sorted, as a batch looks its own up.
    addresses = np.unique(batches[0].address[:, ::-1], axis=0)[:, ::-1]
    rows = np.ascontiguousarray(addresses.astype(">u8")).view(np.uint8).reshape(-1, 16)
    asns = places.asns.asns(rows)
    work: dict[str, Callable[[], object]] = {
        "networks": lambda: places.networks.classes(rows, asns),
        "asns": lambda: places.asns.asns(rows),
        "countries": lambda: places.countries.countries(rows),
    }
    return {
        name: round(median([timed(look) for _ in range(rounds)]) / len(rows) * 1e6, 3) for name, look in work.items()
    }


async def time_ours(
    conn: Connection, pipeline: Pipeline, metrics: Metrics, batches: Sequence[Batch], rounds: int
) -> tuple[list[Judged], list[dict[str, float]]]:
    """Judge all batches once to warm what is remembered, then time each round by step."""
    judged = [await pipeline.judge(conn, batch) for batch in batches]
    found = []
    for _ in range(rounds):
        before = steps_of(metrics)
        for batch in batches:
            await pipeline.judge(conn, batch)
        found.append({step: seconds - before.get(step, 0.0) for step, seconds in steps_of(metrics).items()})
    return judged, found


async def run_ours(
    database: DatabaseSettings, places: PlaceSources, batches: Sequence[Batch], rounds: int
) -> tuple[list[Judged], list[dict[str, float]]]:
    """Time the pipeline on a database."""
    metrics, clock = Metrics(), SystemClock()
    pool = await open_pool(database, Role.INGEST, application_name="bench", max_size=3)
    try:
        pipeline = Pipeline(
            clock=clock,
            secrets=SecretStore(pool, clock),
            own_hosts=(),
            places=places,
            metrics=metrics,
            timer=time.process_time,
        )
        async with connection(pool) as conn:
            return await time_ours(conn, pipeline, metrics, batches, rounds)
    finally:
        pool.terminate()


def measure(bench: Workbench, options: argparse.Namespace) -> Comparison:
    """Time both ways over the same hits, once they agree."""
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    shape = TrafficShape(options.hits, options.episodes, 0.3, 32, yesterday)
    lists = write_network_lists(bench.folder / "lists")
    asns = write_asn_database(bench.folder / "asn.mmdb")
    places = PlaceSources(RegistryCountries(), DatabaseAsns(asns), load_network_lists(lists))
    spool = bench.folder / "spool"
    spool.mkdir()
    write_traffic(spool, shape)
    batches = list(read_batches(spool))
    try:
        server = start_server(bench, [])
        asyncio.run(fill_catalogue(server.database, shape))
        judged, rounds = asyncio.run(run_ours(server.database, places, batches, options.rounds))
    except Unavailable as error:
        raise WrongResult(str(error)) from error
    one_by_one = OneByOne(list_episodes(shape), lists, asns)
    rows = [list_rows(batch, one.hits) for batch, one in zip(batches, judged, strict=True)]
    for some, one in zip(rows, judged, strict=True):
        check(one, some, one_by_one)

    def theirs() -> None:
        for some in rows:
            one_by_one.pick(some, [one_by_one.judge(row) for row in some])

    per_hit = 1e6 / shape.hits
    steps = {step: round(median([one[step] for one in rounds]) * per_hit, 3) for step in rounds[0]}
    ours = median([sum(one[step] for step in RULES) for one in rounds]) * per_hit
    other = median([timed(theirs) for _ in range(min(options.rounds, 3))]) * per_hit
    for step, us in steps.items():
        print(f"{step:10} {us:6.3f} us a hit{'' if step in RULES else ', no rule'}", flush=True)
    addresses = look_ups(batches, places, options.rounds)
    for name, us in addresses.items():
        print(f"{name:10} {us:6.3f} us a distinct address", flush=True)
    agents = read_agents()
    table = AgentTable(our_table().agents, our_table().devices, version="")
    new, known = take_times(table.classify, agents), known_us(agents)
    print(f"agents     {new.mean:6.1f} us a new one (p99 {new.p99:.0f}), {known:.3f} a known one", flush=True)
    return Comparison(
        "rules",
        ours,
        other,
        "us/hit",
        other / ours,
        {
            "hits": shape.hits,
            "steps": {step: steps[step] for step in RULES},
            "addresses": addresses,
            "new_agent": round(new.mean, 1),
            "known_agent": round(known, 3),
            "host_load": host_load(),
        },
    )


def main() -> int:
    """Measure; see :func:`benchmarks.workbench.run_measurement` for the exit status."""
    parser = argparse.ArgumentParser(prog="rules.py", description=__doc__)
    add = parser.add_argument
    add("--hits", type=int, default=300_000, help="hits to judge, in batches of 100,000 (default 300,000)")
    add("--episodes", type=int, default=5_000, help="episodes in the catalogue (default 5,000)")
    add("--rounds", type=int, default=5, help="rounds of ours (default 5); the other side has three at most")
    options = parser.parse_args()
    return run_measurement(lambda bench: measure(bench, options))


if __name__ == "__main__":
    sys.exit(main())
