"""API keys: ``client.keys``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from msgspec import UNSET, UnsetType

from castledger._models import ApiKey, NewApiKey
from castledger._nouns import AsyncNoun, Noun
from castledger._paging import AsyncItems, Items
from castledger._requests import Call, Paged, path_id

__all__ = ("AsyncKeys", "Keys")


def _create(
    name: str, kind: str, scopes: Sequence[str] | None, origins: Sequence[str], expires_at: dt.datetime | None
) -> Call[NewApiKey]:
    fields = {
        "name": name,
        "kind": kind,
        "scopes": None if scopes is None else _listed("scopes", scopes),
        "origins": _listed("origins", origins),
        "expires_at": expires_at,
    }
    return Call(NewApiKey, "POST", "/api-keys", json=fields)


def _list() -> Paged[ApiKey]:
    return Paged(ApiKey, "/api-keys")


def _get(key_id: UUID | str) -> Call[ApiKey]:
    return Call(ApiKey, "GET", f"/api-keys/{path_id(key_id)}")


def _update(key_id: UUID | str, name: str | UnsetType, origins: Sequence[str] | UnsetType) -> Call[ApiKey]:
    fields = {"name": name, "origins": UNSET if origins is UNSET else _listed("origins", origins)}
    return Call(ApiKey, "PATCH", f"/api-keys/{path_id(key_id)}", json=fields)


def _rotate(key_id: UUID | str, overlap: dt.timedelta) -> Call[NewApiKey]:
    fields = {"overlap_s": int(overlap.total_seconds())}
    return Call(NewApiKey, "POST", f"/api-keys/{path_id(key_id)}/rotate", json=fields)


def _revoke(key_id: UUID | str) -> Call[None]:
    return Call(type(None), "DELETE", f"/api-keys/{path_id(key_id)}")


def _listed(name: str, texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(f"{name}: is a list of texts, not one text")
    return list(texts)


class Keys(Noun):
    """API keys, such as the one that this client uses.

    A new key's text is in one answer and kept nowhere. Where that answer is lost on its way, the repeated request
    raises ``Conflict`` with ``idempotency_answer_gone``, which names the key: revoke it and make another.
    """

    def create(
        self,
        *,
        name: str,
        kind: Literal["secret", "publishable"] = "secret",
        scopes: Sequence[str] | None = None,
        origins: Sequence[str] = (),
        expires_at: dt.datetime | None = None,
    ) -> NewApiKey:
        """Make an API key; its text is in the answer's ``key`` and nowhere else.

        Args:
            name: What it is for.
            kind: ``publishable`` for pages of *origins*, where it can do nothing but send events.
            scopes: What a secret one may do; ``None`` for all that the asking key may.
            origins: Such as ``https://shop.example.com``.
            expires_at: When it stops being good; aware.

        Raises:
            PermissionDenied: ``escalation``: the asking key may not do that itself.
            ValueError: *expires_at* has no time zone.
        """
        return self._client.send(_create(name, kind, scopes, origins, expires_at))

    def list(self) -> Items[ApiKey]:
        """Go through all keys, in the order in which they were made; revoked ones too."""
        return self._client.pages(_list())

    def get(self, key_id: UUID | str) -> ApiKey:
        """Read one key, without its text."""
        return self._client.send(_get(key_id))

    def update(
        self, key_id: UUID | str, *, name: str | UnsetType = UNSET, origins: Sequence[str] | UnsetType = UNSET
    ) -> ApiKey:
        """Change what is given: a key's name, or all origins of a publishable one."""
        return self._client.send(_update(key_id, name, origins))

    def rotate(self, key_id: UUID | str, *, overlap: dt.timedelta = dt.timedelta(days=1)) -> NewApiKey:
        """Make a new key in the place of one, with its name, scopes and origins.

        Args:
            key_id: The old one.
            overlap: For how long the old one goes on being good, at most 30 days.
        """
        return self._client.send(_rotate(key_id, overlap))

    def revoke(self, key_id: UUID | str) -> None:
        """Revoke a key at once; it may be the one that asks."""
        self._client.send(_revoke(key_id))


class AsyncKeys(AsyncNoun):
    """:class:`Keys`, awaited."""

    async def create(
        self,
        *,
        name: str,
        kind: Literal["secret", "publishable"] = "secret",
        scopes: Sequence[str] | None = None,
        origins: Sequence[str] = (),
        expires_at: dt.datetime | None = None,
    ) -> NewApiKey:
        """Make an API key; its text is in the answer's ``key`` and nowhere else.

        Args:
            name: What it is for.
            kind: ``publishable`` for pages of *origins*, where it can do nothing but send events.
            scopes: What a secret one may do; ``None`` for all that the asking key may.
            origins: Such as ``https://shop.example.com``.
            expires_at: When it stops being good; aware.

        Raises:
            PermissionDenied: ``escalation``: the asking key may not do that itself.
            ValueError: *expires_at* has no time zone.
        """
        return await self._client.send(_create(name, kind, scopes, origins, expires_at))

    def list(self) -> AsyncItems[ApiKey]:
        """Go through all keys, in the order in which they were made; revoked ones too."""
        return self._client.pages(_list())

    async def get(self, key_id: UUID | str) -> ApiKey:
        """Read one key, without its text."""
        return await self._client.send(_get(key_id))

    async def update(
        self, key_id: UUID | str, *, name: str | UnsetType = UNSET, origins: Sequence[str] | UnsetType = UNSET
    ) -> ApiKey:
        """Change what is given: a key's name, or all origins of a publishable one."""
        return await self._client.send(_update(key_id, name, origins))

    async def rotate(self, key_id: UUID | str, *, overlap: dt.timedelta = dt.timedelta(days=1)) -> NewApiKey:
        """Make a new key in the place of one, with its name, scopes and origins.

        Args:
            key_id: The old one.
            overlap: For how long the old one goes on being good, at most 30 days.
        """
        return await self._client.send(_rotate(key_id, overlap))

    async def revoke(self, key_id: UUID | str) -> None:
        """Revoke a key at once; it may be the one that asks."""
        await self._client.send(_revoke(key_id))
