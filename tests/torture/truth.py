"""What has to come out, from nothing but what stood in the spool: one hit after the other, by the rules themselves."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from analytics_core.agent_table import classify
from analytics_core.byte_ranges import parse_range
from analytics_core.downloads import HitFacts, JudgedHit, count_downloads, evidence_of, judge
from analytics_core.hits import Hit
from analytics_core.listeners import truncate_address
from analytics_core.spool import HEADER_BYTES, decode_hits, parse_header, read_frames
from tests.torture.load import MARK

__all__ = ("Kept", "KeptHit", "Winner", "count_winners")


class Winner(NamedTuple):
    """A download, told by the hit that it keeps."""

    episode_no: int
    at_us: int
    segment_no: int
    ordinal: int
    evidence: int


class KeptHit(NamedTuple):
    """A hit as it stood in the spool."""

    segment_id: UUID
    ordinal: int
    hit: Hit

    @property
    def mark(self) -> int:
        """The request's number."""
        return int(self.hit.target.decode().rpartition(MARK)[2])

    @property
    def path(self) -> str:
        """What was asked for, without the mark."""
        return self.hit.target.decode().rpartition(MARK)[0]


class Kept:
    """A second name for each of a spool's segments, by which it can be read once ingest has removed the first.

    Args:
        spool: The spool's folder.
        folder: Where the names go; on the same disk.
    """

    def __init__(self, spool: Path, folder: Path) -> None:
        self._spool = spool
        self._folder = folder
        folder.mkdir()

    def look(self) -> None:
        """Keep the segments that are new."""
        for path in self._spool.glob("*.*"):
            kept = self._folder / path.stem
            if path.suffix in (".open", ".sealed") and not kept.exists():
                try:
                    os.link(path, kept)
                except FileNotFoundError:
                    # Sealed between the two looks: the next one finds it under its new name.
                    continue

    def read(self) -> list[KeptHit]:
        """Read all hits of all segments that were kept."""
        found: list[KeptHit] = []
        for path in sorted(self._folder.iterdir()):
            data = path.read_bytes()
            segment_id = parse_header(data).segment_id
            hits = [
                hit for frame in read_frames(data[HEADER_BYTES:], offset=HEADER_BYTES) for hit in decode_hits(frame)
            ]
            found += [KeptHit(segment_id, ordinal, hit) for ordinal, hit in enumerate(hits)]
        return found


def count_winners(
    kept: list[KeptHit],
    *,
    segments: Mapping[UUID, int],
    episodes: Mapping[str, int],
    length_bytes: int,
    duration_s: int,
) -> Counter[Winner]:
    """Count downloads.

    Args:
        kept: All hits.
        segments: The segments' numbers by their ids.
        episodes: The episodes' numbers by what is asked for; all else is unknown.
        length_bytes: Of every enclosure.
        duration_s: Of every episode.
    """
    judged = []
    for segment_id, ordinal, hit in kept:
        episode_no = episodes.get(hit.target.decode().rpartition(MARK)[0])
        evidence, is_tiny = evidence_of(parse_range(hit.byte_range), length_bytes, duration_s)
        facts = HitFacts(
            method=hit.method,
            episode_known=episode_no is not None,
            agent_empty=not hit.agent,
            agent_kind=classify(hit.agent.decode()).kind,
            tiny=is_tiny,
        )
        # By which key listeners are told apart does not matter.
        who = hashlib.blake2b(truncate_address(hit.address) + hit.agent, digest_size=16).digest()
        judged.append(JudgedHit(hit.at_us, episode_no, who, judge(facts), evidence, segments[segment_id], ordinal))
    return Counter(
        Winner(key.episode_no, row.winner.at_us, row.winner.segment_no, row.winner.ordinal, int(row.winner.evidence))
        for key, row in count_downloads(judged).items()
    )
