"""Hits, and a day taken apart."""

from __future__ import annotations

import datetime as dt
from uuid import UUID

import msgspec

from castledger._models.common import Instant, Table, Tabular

__all__ = ("ByteRange", "Explanation", "Hit", "VerdictCount")


class VerdictCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many hits have one verdict, and how many downloads they won."""

    verdict: str
    hits: int
    downloads: int
    evidence: str | None = None


class Explanation(Tabular, frozen=True, kw_only=True):
    """A day taken apart: the verdicts' hits add up to all hits, the eligible ones to downloads, repeats and
    those that are left out: of accepted spikes, or because another source counts for the day.

    Hits are not kept for ever: then ``hits`` and ``repeats`` are ``None``, and ``hits_reason`` says why.
    """

    podcast_id: UUID
    day: dt.date
    hits: int | None
    downloads: int
    downloads_strict: int
    repeats: int | None
    verdicts: tuple[VerdictCount, ...]
    profile: str
    rules: str
    state: str
    partial: bool
    restated: int = 0
    left_out: int | None = None
    hits_reason: str | None = None
    episode_id: UUID | None = None
    cutoff: Instant | None = None

    def as_table(self) -> Table:
        """Give the verdicts."""
        return Table(VerdictCount, self.verdicts)


class ByteRange(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that a hit asked for."""

    kind: str
    first: int | None = None
    last: int | None = None


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One hit and why it counts or does not."""

    hit_id: str
    at: Instant
    verdict: str
    verdicts: tuple[str, ...]
    method: str
    agent: str
    agent_kind: str
    app: str
    device: str
    counted: bool
    why: str
    podcast_id: UUID | None = None
    episode_id: UUID | None = None
    evidence: str | None = None
    os: str | None = None
    country: str | None = None
    region: str | None = None
    city: str | None = None
    referrer: str | None = None
    range: ByteRange | None = None
    target: str | None = None
    networks: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    spike_id: UUID | None = None
    profile: str | None = None
