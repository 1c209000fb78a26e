"""The forms of API keys."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, TypeAlias
from uuid import UUID

import msgspec

from analytics_core.api_keys import KeyKind
from analytics_core.db.keys import ListedKey
from analytics_core.origins import MAX_ORIGINS
from analytics_core.permissions import ALL_PERMISSIONS

__all__ = ("MAX_OVERLAP_S", "AddKey", "ApiKey", "ChangeKey", "NewApiKey", "RotateKey")

MAX_OVERLAP_S = 30 * 24 * 3600
"""Seconds for which a key may go on being good beside the one that takes its place."""

_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
_Scope: TypeAlias = Annotated[str, msgspec.Meta(max_length=100)]
_Scopes: TypeAlias = Annotated[list[_Scope], msgspec.Meta(max_length=len(ALL_PERMISSIONS))]
_Origin: TypeAlias = Annotated[str, msgspec.Meta(max_length=1_000)]
_Origins: TypeAlias = Annotated[list[_Origin], msgspec.Meta(max_length=MAX_ORIGINS)]


class AddKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made; `name` is what it is for, in your own words.

    A secret key without `scopes` may do what you may. A publishable key may only `events:write`, on pages of `origins`.
    """

    name: _Name
    kind: KeyKind = KeyKind.SECRET
    scopes: _Scopes | None = None
    origins: _Origins = []
    expires_at: dt.datetime | None = None


class ChangeKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays as it is, and `origins` are replaced as a whole."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    origins: _Origins | msgspec.UnsetType = msgspec.UNSET


class RotateKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many seconds the old key goes on being good; a day unless you say otherwise, at most thirty."""

    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=MAX_OVERLAP_S)] = 24 * 3600


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its text; `hint` is how it begins.

    `scopes` is null for a key that may do everything. `last_used_at` is up to a minute late.
    """

    key_id: UUID
    kind: KeyKind
    name: str
    hint: str
    scopes: tuple[str, ...] | None
    origins: tuple[str, ...]
    created_at: dt.datetime
    last_used_at: dt.datetime | None
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    replaces: UUID | None
    replaced_by: UUID | None

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
