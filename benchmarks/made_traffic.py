"""Made-up traffic for ingest: a catalogue, a day of hits, and how many downloads they make.

Listeners and episodes are drawn so that an exact share of the hits repeats an earlier pair of both; episodes follow
Zipf's law. What should count is known from how each hit was drawn, not from the rules that are measured.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt

from analytics_core.enclosures import identify
from analytics_core.spool import (
    FrameKind,
    SegmentHeader,
    Totals,
    encode_header,
    encode_hits_frame,
    encode_totals_frame,
    segment_name,
)
from ingest.batches import ROW_DTYPE

__all__ = ("Expected", "MadeEpisode", "TrafficShape", "made_episodes", "podcast_guid", "write_traffic")

EPISODES_A_PODCAST: Final = 50
LEAST_LENGTH_BYTES: Final = 20_000_000
BYTES_PER_SECOND: Final = 16_000

_SEGMENT_BYTES: Final = 64 * 1024 * 1024
_CHUNK_HITS: Final = 100_000
_DAY_US: Final = 86_400_000_000
_HEAD_SHARE: Final = 0.01
_V6_SHARE: Final = 0.15
_REFERRER_SHARE: Final = 0.08
# First bytes of IPv4 addresses that belong to nobody, to ourselves, or to multicast.
_RESERVED_FIRST: Final = (0, 10, 100, 127, 169, 172, 192)


class TrafficShape(NamedTuple):
    """What the traffic is like.

    Attributes:
        hits: All of them.
        episodes: In the catalogue.
        repeats: Share of hits whose listener asked for the same episode before on that day.
        frame_hits: Hits that the tracker wrote at once; busy trackers write many, idle ones one.
        day: The UTC day of all hits.
        seed: Of the generator.
    """

    hits: int
    episodes: int
    repeats: float
    frame_hits: int
    day: dt.date
    seed: int = 7


class Expected(NamedTuple):
    """What has to be in the ledger afterwards."""

    hits: int
    downloads: int
    segments: int
    spool_bytes: int


class MadeEpisode(NamedTuple):
    """An episode, by its place in the catalogue."""

    place: int
    podcast: int
    target: str
    file_name: str
    enclosure_key: UUID
    length_bytes: int
    duration_s: int


@dataclass(frozen=True)
class _Choices:
    """Texts to draw from, each with its weight and whether a hit with it may count."""

    values: list[bytes]
    weights: npt.NDArray[np.float64]
    counts: npt.NDArray[np.bool_]

    def draw(self, random: np.random.Generator, size: int) -> npt.NDArray[np.int64]:
        return random.choice(len(self.values), size, p=self.weights / self.weights.sum())


def podcast_guid(podcast: int) -> UUID:
    """Name a podcast."""
    return UUID(bytes=blake2b(b"podcast %d" % podcast, digest_size=16).digest())


def _target(place: int) -> str:
    return f"cdn{place % 7}.example.com/podcasts/p{place // EPISODES_A_PODCAST:05d}/episode-{place:07d}.mp3"


def _length_bytes(place: int) -> int:
    return LEAST_LENGTH_BYTES + place * 7919 % 40_000_000


def made_episodes(number: int) -> Iterator[MadeEpisode]:
    """List the catalogue.

    Hashing a plain address gives the key that ``identify`` finds for it, and takes a tenth of the time.
    """
    for place in range(number):
        target = _target(place)
        key = UUID(bytes=blake2b(target.encode(), digest_size=16).digest())
        if place < 3 and identify(target).key != key:
            raise AssertionError("an enclosure's key is made in another way than here")
        length = _length_bytes(place)
        file_name = target.rpartition("/")[2]
        yield MadeEpisode(
            place, place // EPISODES_A_PODCAST, target, file_name, key, length, length // BYTES_PER_SECOND
        )


def _agents() -> _Choices:
    players = [
        *(
            f"AppleCoreMedia/1.0.0.{build}F{minor} (iPhone; U; CPU OS 17_{minor % 7} like Mac OS X; en_us)"
            for build in range(15, 22)
            for minor in range(60, 92)
        ),
        *(
            f"Podcasts/{build}.{minor} CFNetwork/1494.0.7 Darwin/23.4.0"
            for build in (1600, 1700)
            for minor in range(40)
        ),
        *(f"Spotify/8.9.{minor} Android/34 (SM-S918B)" for minor in range(90)),
        *(f"Pocket Casts/7.{minor} (Android 14)" for minor in range(40)),
        *(f"AntennaPod/3.{minor}.{patch}" for minor in range(5) for patch in range(6)),
        *(f"Castbox/11.{minor}.0 (Android 14; Pixel 8)" for minor in range(30)),
        *(
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
            f"Chrome/{major}.0.0.0 Safari/537.36"
            for major in range(90, 130)
        ),
        "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)",
    ]
    bots = [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    ]
    weights = 1 / np.arange(1, len(players) + 1)
    return _Choices(
        [agent.encode() for agent in (*players, *bots)],
        np.concatenate([weights / weights.sum() * 0.96, np.full(len(bots), 0.04 / len(bots))]),
        np.arange(len(players) + len(bots)) < len(players),
    )


def _ranges(random: np.random.Generator) -> _Choices:
    """Ranges as players send them; all are clear of the threshold, on one side or the other."""
    starts = random.integers(0, 120, 4000) * 65_536
    sizes = random.integers(2_000_000, 12_000_000, 4000)
    resumed = random.integers(1, 10_000_000, 4000)
    groups: list[tuple[list[str], float, bool]] = [
        ([""], 0.45, True),
        (["bytes=0-"], 0.20, True),
        (["bytes=0-1"], 0.06, True),
        ([f"bytes={first}-{first + size}" for first, size in zip(starts, sizes, strict=True)], 0.14, True),
        ([f"bytes={first}-" for first in resumed], 0.10, True),
        ([f"bytes=0-{last}" for last in range(1000, 1200)], 0.05, False),
    ]
    return _Choices(
        [text.encode() for texts, _, _ in groups for text in texts],
        np.concatenate([np.full(len(texts), share / len(texts)) for texts, share, _ in groups]),
        np.concatenate([np.full(len(texts), counts) for texts, _, counts in groups]),
    )


def _keys(shape: TrafficShape, random: np.random.Generator, listeners: int) -> npt.NDArray[np.int64]:
    """Draw distinct pairs of episode and listener, as many as there are hits that repeat nothing."""
    wanted = shape.hits - round(shape.hits * shape.repeats)
    weights = 1 / np.arange(1, shape.episodes + 1)
    steps = np.cumsum(weights / weights.sum())
    keys = np.empty(0, np.int64)
    while len(keys) < wanted:
        size = (wanted - len(keys)) * 5 // 4 + 1000
        episode = np.minimum(np.searchsorted(steps, random.random(size)), shape.episodes - 1)
        keys = np.unique(np.concatenate([keys, episode * listeners + random.integers(0, listeners, size)]))
    return random.permutation(keys)[:wanted]


def _key_of_hit(shape: TrafficShape, random: np.random.Generator, keys: int) -> npt.NDArray[np.int64]:
    """Say which key each hit has: a new one, or one that came before, recent ones rather than old ones."""
    is_new = np.zeros(shape.hits, np.bool_)
    is_new[0] = True
    is_new[1 + random.permutation(shape.hits - 1)[: keys - 1]] = True
    seen = np.cumsum(is_new)
    back = (seen * random.random(shape.hits) ** 3).astype(np.int64)
    return np.where(is_new, seen - 1, seen - 1 - back)


def _addresses(random: np.random.Generator, listeners: int) -> npt.NDArray[np.uint64]:
    """Give each listener an IPv4 address or an IPv6 network of its own, as two columns, the higher half first."""
    numbers = np.empty(0, np.int64)
    while len(numbers) < listeners:
        drawn = random.integers(1 << 24, 224 << 24, listeners * 5 // 4 + 1000)
        drawn = drawn[~np.isin(drawn >> 24, _RESERVED_FIRST)]
        numbers = np.unique(np.concatenate([numbers, drawn]))
    numbers = random.permutation(numbers)[:listeners].astype(np.uint64)
    addresses = np.zeros((listeners, 2), np.uint64)
    is_v6 = random.random(listeners) < _V6_SHARE
    addresses[:, 1] = np.where(is_v6, 0, numbers | np.uint64(0xFFFF << 32))
    addresses[is_v6, 0] = numbers[is_v6] | np.uint64(0x2A02 << 48)
    return addresses


class _Segments:
    """Writes sealed segments as a tracker leaves them."""

    def __init__(self, folder: Path, created_us: int) -> None:
        self._folder = folder
        self._created_us = created_us
        self._parts: list[bytes] = []
        self._size = 0
        self._header = self._next_header()
        self.totals = Totals()
        self.written = 0
        self.written_bytes = 0

    def _next_header(self) -> SegmentHeader:
        self._created_us += 1
        segment_id = UUID(bytes=blake2b(b"segment %d" % self._created_us, digest_size=16).digest())
        return SegmentHeader(segment_id, self._created_us, "tracker-0")

    def add(self, rows: list[bytes], texts: list[bytes]) -> None:
        self.totals.answered += len(rows)
        self.totals.recorded += len(rows)
        frame = encode_hits_frame(rows, texts, self.totals)
        self._parts.append(frame)
        self._size += len(frame)
        if self._size >= _SEGMENT_BYTES:
            self.seal()

    def seal(self) -> None:
        if not self._parts:
            return
        data = b"".join((encode_header(self._header), *self._parts, encode_totals_frame(FrameKind.SEAL, self.totals)))
        (self._folder / f"{segment_name(self._header)}.sealed").write_bytes(data)
        self.written += 1
        self.written_bytes += len(data)
        self._parts, self._size = [], 0
        self._header = self._next_header()


def write_traffic(folder: Path, shape: TrafficShape) -> Expected:
    """Write a day's hits as a spool.

    Args:
        folder: Empty; segments are sealed.
        shape: What the traffic is like; the same shape gives the same bytes.
    """
    random = np.random.default_rng(shape.seed)
    listeners = max(1000, shape.hits * 2 // 5)
    keys = _keys(shape, random, listeners)
    key_of_hit = _key_of_hit(shape, random, len(keys))
    agents, ranges = _agents(), _ranges(random)
    agent_of_listener = agents.draw(random, listeners)
    addresses = _addresses(random, listeners)
    began_us = (shape.day - dt.date(1970, 1, 1)).days * _DAY_US
    arguments = [
        f"pg={podcast_guid(podcast)}".encode() for podcast in range((shape.episodes - 1) // EPISODES_A_PODCAST + 1)
    ]
    referrers = [b"", *(f"https://www.site{number}.example.org/player".encode() for number in range(300))]
    counted = np.zeros(len(keys), np.bool_)
    segments = _Segments(folder, began_us)
    for start in range(0, shape.hits, _CHUNK_HITS):
        stop = min(start + _CHUNK_HITS, shape.hits)
        size = stop - start
        key = key_of_hit[start:stop]
        episode, listener = np.divmod(keys[key], listeners)
        agent = agent_of_listener[listener]
        byte_range = ranges.draw(random, size)
        referrer = np.where(random.random(size) < _REFERRER_SHARE, random.integers(1, len(referrers), size), 0)
        is_head = random.random(size) < _HEAD_SHARE
        counted[key[agents.counts[agent] & ranges.counts[byte_range] & ~is_head]] = True
        address = addresses[listener]
        is_v6 = address[:, 0] != 0
        # Privacy addresses: the lower half changes all the time, the listener's network does not.
        address[is_v6, 1] = random.integers(0, 2**63, int(is_v6.sum()), np.uint64)
        texts = [
            [_target(place).encode() for place in episode.tolist()],
            [arguments[place // EPISODES_A_PODCAST] for place in episode.tolist()],
            [agents.values[place] for place in agent.tolist()],
            [referrers[place] for place in referrer.tolist()],
            [ranges.values[place] for place in byte_range.tolist()],
        ]
        table: npt.NDArray[Any] = np.zeros(size, ROW_DTYPE)
        table["at_us"] = began_us + np.arange(start, stop) * (_DAY_US - 1_000_000) // shape.hits
        table["address"] = address
        for name, column in zip(("target", "arguments", "agent", "referrer", "byte_range"), texts, strict=True):
            table[name] = [len(text) for text in column]
        table["method"] = is_head
        table["kind"] = 1
        table["status"] = 302
        packed, width = table.tobytes(), ROW_DTYPE.itemsize
        rows = [packed[at : at + width] for at in range(0, len(packed), width)]
        together = [b"".join(parts) for parts in zip(*texts, strict=True)]
        for at in range(0, size, shape.frame_hits):
            segments.add(rows[at : at + shape.frame_hits], together[at : at + shape.frame_hits])
    segments.seal()
    return Expected(shape.hits, int(counted.sum()), segments.written, segments.written_bytes)
