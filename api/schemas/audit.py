"""The forms of the record of changes."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import msgspec

from analytics_core.audit import Actor, AuditEntry
from analytics_core.db.audit import AuditRow

__all__ = ("AuditRecord",)


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was changed: `action` is what was done, `resource_id` to which one, `actor_id` by whom.

    `before` and `after` hold no secret; of a change they hold what differs. `seq` is the place in your sequence and
    `hash` ties the entry to all before it; both are null in the second before it is sealed.
    """

    entry_id: UUID
    seq: int | None
    at: dt.datetime
    actor: Actor
    actor_id: UUID | None
    action: str
    resource_id: str | None
    request_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    hash: str | None

    @classmethod
    def of(cls, row: AuditRow) -> AuditRecord:
        """Show an entry as it stands."""
        return cls.sealed(row, row.seq, row.hash)

    @classmethod
    def sealed(cls, entry: AuditEntry, seq: int | None, digest: bytes | None) -> AuditRecord:
        """Show an entry with its place."""
        fields = {name: getattr(entry, name) for name in AuditEntry.__struct_fields__}
        return cls(**fields, seq=seq, hash=None if digest is None else digest.hex())
