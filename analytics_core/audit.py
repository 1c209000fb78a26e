"""The record of changes: what an entry says, what it never says, and the chain of hashes that ties entries together."""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

__all__ = (
    "HIDDEN",
    "Actor",
    "AuditEntry",
    "Changes",
    "SealedEntry",
    "chain_hash",
    "describe_changes",
    "find_break",
)

HIDDEN: Final = "(hidden)"
"""What stands in an entry where a value is secret or somebody's address."""

_MAX_BYTES: Final = 8_192
_START: Final = bytes(32)

# Credentials are never kept, and mail addresses are not either: an entry outlives the person that it is about.
_HIDDEN_NAMES: Final = frozenset(
    {
        "cookie",
        "email",
        "jwt",
        "key",
        "mail",
        "password",
        "secret",
        "session",
        "token",
    }
)
_HIDDEN_ENDINGS: Final = ("_email", "_hash", "_key", "_password", "_secret", "_token")

Changes = dict[str, Any]


class Actor(enum.StrEnum):
    """Who changes things: an API key, a person, or an operator with a command."""

    KEY = "key"
    USER = "user"
    COMMAND = "command"


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was changed.

    Attributes:
        actor_id: The key's or the person's; ``None`` for a command.
        action: Such as ``link.create``: the resource, and what was done to it.
        resource_id: Which one, where there is one.
        request_id: Of the request that did it.
        before: What it was, without secrets; of a change only what differs.
        after: What it became, likewise.
    """

    entry_id: UUID
    at: dt.datetime
    actor: Actor
    actor_id: UUID | None
    action: str
    resource_id: str | None
    request_id: str | None
    before: Changes | None
    after: Changes | None


class SealedEntry(msgspec.Struct, frozen=True):
    """A place in a tenant's sequence, the hash that was stored there, and the entry; ``None`` where that is gone."""

    seq: int
    hash: bytes
    entry: AuditEntry | None


def _is_hidden(name: str) -> bool:
    return name.lower() in _HIDDEN_NAMES or name.lower().endswith(_HIDDEN_ENDINGS)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if _is_hidden(name) and item is not None else _without_secrets(item)
            for name, item in value.items()
        }
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


def _described(value: msgspec.Struct | Mapping[str, Any] | None) -> Changes | None:
    described: Changes | None = msgspec.to_builtins(value, str_keys=True)
    return described


def _kept(value: Changes | None) -> Changes | None:
    if value is None:
        return None
    kept: Changes = _without_secrets(value)
    size = len(msgspec.json.encode(kept))
    return {"too_long_bytes": size} if size > _MAX_BYTES else kept


def describe_changes(
    before: msgspec.Struct | Mapping[str, Any] | None, after: msgspec.Struct | Mapping[str, Any] | None
) -> tuple[Changes | None, Changes | None]:
    """Say what is kept of a change: what a thing was and what it became, without secrets.

    Where there are both, only what differs is kept; of a secret, that it does. What is longer than 8 KiB is replaced by
    its length.

    >>> describe_changes(None, {"name": "site", "key": "cl_live_abc"})
    (None, {'name': 'site', 'key': '(hidden)'})
    >>> describe_changes({"url": "a", "slug": "x"}, {"url": "b", "slug": "x"})
    ({'url': 'a'}, {'url': 'b'})

    Args:
        before: What it was; ``None`` for what was made.
        after: What it is; ``None`` for what was taken away.
    """
    old, new = _described(before), _described(after)
    if old is not None and new is not None:
        missing = object()
        differing = {name for name in {*old, *new} if old.get(name, missing) != new.get(name, missing)}
        old = {name: value for name, value in old.items() if name in differing}
        new = {name: value for name, value in new.items() if name in differing}
    return _kept(old), _kept(new)


def chain_hash(previous: bytes | None, tenant_id: UUID, seq: int, entry: AuditEntry) -> bytes:
    """Hash an entry with all that were before it in its tenant's sequence.

    Args:
        previous: The hash of the entry before; ``None`` for the first.
        tenant_id: Whose sequence.
        seq: The entry's place in it, from 1.
        entry: As it is stored.

    Returns:
        SHA-256 over the previous hash and the entry as JSON with sorted names, 32 bytes.
    """
    said = msgspec.json.encode(
        {"tenant_id": tenant_id, "seq": seq, **msgspec.structs.asdict(entry), "at": entry.at.astimezone(dt.UTC)},
        order="sorted",
    )
    return hashlib.sha256((previous or _START) + said).digest()


def find_break(tenant_id: UUID, links: Iterable[SealedEntry], *, after: tuple[int, bytes] | None = None) -> str | None:
    """Walk a part of a tenant's sequence and say where it breaks first.

    Args:
        tenant_id: Whose sequence.
        links: In the order of ``seq``.
        after: The place before the first of them with its hash; ``None`` at the beginning.

    Returns:
        Such as ``sequence 7: the entry is gone``, or ``None`` when each follows from the one before.
    """
    seq, previous = after if after is not None else (0, None)
    for link in links:
        seq += 1
        if link.seq != seq:
            return f"sequence {seq}: there is none, the next one is {link.seq}"
        if link.entry is None:
            return f"sequence {seq}: the entry is gone"
        if chain_hash(previous, tenant_id, seq, link.entry) != link.hash:
            return f"sequence {seq}: the entry, or one before it, is not what was sealed"
        previous = link.hash
    return None
