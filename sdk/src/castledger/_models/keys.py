"""API keys."""

from __future__ import annotations

from uuid import UUID

import msgspec

from castledger._models.common import Instant

__all__ = ("ApiKey", "NewApiKey")


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its text.

    Attributes:
        kind: ``secret`` or ``publishable``.
        hint: How its text begins.
        scopes: What it may do; ``None`` for one that may do everything.
        origins: On whose pages a publishable one may be used.
        last_used_at: Up to a minute late.
        replaces: The key in whose place this one was made.
        replaced_by: The key that was made in its place.
    """

    key_id: UUID
    kind: str
    name: str
    hint: str
    created_at: Instant
    scopes: tuple[str, ...] | None = None
    origins: tuple[str, ...] = ()
    last_used_at: Instant | None = None
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
    replaces: UUID | None = None
    replaced_by: UUID | None = None


class NewApiKey(ApiKey, frozen=True, kw_only=True):
    """An API key that was just made; ``key`` is told this once, and left out where the object is printed."""

    key: str

    def __repr__(self) -> str:
        return f"NewApiKey(key_id={self.key_id!r}, name={self.name!r}, hint={self.hint!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("key_id", self.key_id), ("name", self.name), ("hint", self.hint)]
