"""Proof of an erasure: a record that names nobody, and a digest over it that shows whether it is what was written."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
from typing import Literal
from uuid import UUID

import msgspec

__all__ = ("ErasureRecord", "is_about", "record_digest", "subject_hash")


class ErasureRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was erased.

    Attributes:
        kind: Of what: of a ``listener``, a ``podcast``, a ``customer``, or a whole ``tenant`` that was closed.
        subject_hash: 32 bytes, as :func:`subject_hash` makes them.
        month: The first day of the UTC month in which the listener had its key; ``None`` of all else.
        removed: Rows that were taken away, by table.
        finished_at: When it was looked whether any were left; ``None`` while it is not done.
        remaining: How many were left then, by table.
    """

    erasure_id: UUID
    kind: Literal["listener", "podcast", "tenant", "customer"]
    subject_hash: bytes
    month: dt.date | None
    started_at: dt.datetime
    removed: dict[str, int]
    finished_at: dt.datetime | None
    remaining: dict[str, int] | None


def subject_hash(erasure_id: UUID, kind: str, subject: bytes) -> bytes:
    """Hash whom an erasure is about, under its own id: two erasures of one listener show no likeness.

    >>> one, other = (subject_hash(UUID(int=number), "listener", b"x") for number in (1, 2))
    >>> len(one), one == other
    (32, False)
    """
    return hashlib.sha256(erasure_id.bytes + kind.encode() + b"\0" + subject).digest()


def is_about(record: ErasureRecord, subject: bytes) -> bool:
    """Tell whether a record is about someone."""
    return hmac.compare_digest(record.subject_hash, subject_hash(record.erasure_id, record.kind, subject))


def record_digest(record: ErasureRecord) -> bytes:
    """Digest a record: SHA-256 over its JSON with sorted keys, times in UTC and bytes as base64."""
    started_at = record.started_at.astimezone(dt.UTC)
    finished_at = None if record.finished_at is None else record.finished_at.astimezone(dt.UTC)
    plain = msgspec.structs.replace(record, started_at=started_at, finished_at=finished_at)
    return hashlib.sha256(msgspec.json.encode(plain, order="sorted")).digest()
