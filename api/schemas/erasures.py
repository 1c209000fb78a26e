"""The forms of erasures."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from analytics_core.db.erasure_requests import StoredErasure

__all__ = ("AskErasure", "Erasure")

_Key = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
_Month = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}$")]


class AskErasure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be erased.

    A `listener` is named by `hit_id`, one of its hits, or by `listener_key` with the `month` in which it has that key,
    such as `2026-11`. A `podcast` is named by `podcast_id`, and `confirm` is its title: nothing of it can be had back.
    """

    kind: Literal["listener", "podcast"]
    hit_id: str | None = None
    listener_key: _Key | None = None
    month: _Month | None = None
    podcast_id: UUID | None = None
    confirm: str | None = None


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure, and once it is `done` the proof of it; it names nobody.

    `removed` counts the rows that were taken away, by table; `remaining` those that were left when it was looked, none.
    `subject_hash` is the SHA-256 of the erasure's id (16 bytes), its kind, a zero byte and the listener's or customer's
    key, or the podcast's or tenant's id (16 bytes): whoever knows both can tell that it is about them. `digest` is a
    SHA-256 over the record, and `whole` tells whether the record still is what was written.
    """

    erasure_id: UUID
    kind: Literal["listener", "podcast", "tenant", "customer"]
    state: Literal["waiting", "working", "done"]
    month: dt.date | None
    started_at: dt.datetime
    removed: dict[str, int]
    finished_at: dt.datetime | None
    remaining: dict[str, int] | None
    subject_hash: str
    digest: str | None
    whole: bool

    @classmethod
    def of(cls, stored: StoredErasure) -> Erasure:
        """Show an erasure as it stands."""
        record = stored.record
        state: Literal["waiting", "working", "done"] = "working" if record.removed else "waiting"
        return cls(
            erasure_id=record.erasure_id,
            kind=record.kind,
            state=state if record.finished_at is None else "done",
            month=record.month,
            started_at=record.started_at,
            removed=record.removed,
            finished_at=record.finished_at,
            remaining=record.remaining,
            subject_hash=record.subject_hash.hex(),
            digest=None if stored.digest is None else stored.digest.hex(),
            whole=stored.is_whole,
        )
