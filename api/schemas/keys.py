"""The forms of API keys."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.db.keys import ListedKey

__all__ = ("AddKey", "ApiKey", "NewApiKey")


class AddKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the key is for, in your own words."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its text; `hint` is how it begins."""

    key_id: UUID
    name: str
    hint: str
    created_at: dt.datetime
    last_used_at: dt.datetime | None
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None

    @classmethod
    def of(cls, row: ListedKey) -> ApiKey:
        """Show a stored key."""
        return cls(**msgspec.structs.asdict(row))


class NewApiKey(ApiKey, frozen=True, kw_only=True):
    """An API key that was just made; `key` is shown this once."""

    key: str

    @classmethod
    def with_text(cls, key: ApiKey, text: str) -> NewApiKey:
        """Show a key that was just made."""
        return cls(**msgspec.structs.asdict(key), key=text)
