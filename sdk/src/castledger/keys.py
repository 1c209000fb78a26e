"""API keys: ``client.keys``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from msgspec import UNSET, UnsetType

from castledger._models import ApiKey, NewApiKey
from castledger._nouns import AsyncNoun, Noun, pages, sends
from castledger._requests import Call, Paged, path_id

__all__ = ("AsyncKeys", "Keys")


def _listed(name: str, texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(f"{name}: is a list of texts, not one text")
    return list(texts)


class Keys(Noun):
    """API keys, such as the one that this client uses.

    A new key's text is in one answer and kept nowhere. Where that answer is lost on its way, the repeated request
    raises ``Conflict`` with ``idempotency_answer_gone``, which names the key: revoke it and make another.
    """

    @sends
    def create(
        self,
        *,
        name: str,
        kind: Literal["secret", "publishable"] = "secret",
        scopes: Sequence[str] | None = None,
        origins: Sequence[str] = (),
        expires_at: dt.datetime | None = None,
    ) -> Call[NewApiKey]:
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
        fields = {
            "name": name,
            "kind": kind,
            "scopes": None if scopes is None else _listed("scopes", scopes),
            "origins": _listed("origins", origins),
            "expires_at": expires_at,
        }
        return Call(NewApiKey, "POST", "/api-keys", json=fields)

    @pages
    def list(self) -> Paged[ApiKey]:
        """Go through all keys, in the order in which they were made; revoked ones too."""
        return Paged(ApiKey, "/api-keys")

    @sends
    def get(self, key_id: UUID | str) -> Call[ApiKey]:
        """Read one key, without its text."""
        return Call(ApiKey, "GET", f"/api-keys/{path_id(key_id)}")

    @sends
    def update(
        self, key_id: UUID | str, *, name: str | UnsetType = UNSET, origins: Sequence[str] | UnsetType = UNSET
    ) -> Call[ApiKey]:
        """Change what is given: a key's name, or all origins of a publishable one."""
        fields = {"name": name, "origins": UNSET if origins is UNSET else _listed("origins", origins)}
        return Call(ApiKey, "PATCH", f"/api-keys/{path_id(key_id)}", json=fields)

    @sends
    def rotate(self, key_id: UUID | str, *, overlap: dt.timedelta = dt.timedelta(days=1)) -> Call[NewApiKey]:
        """Make a new key in the place of one, with its name, scopes and origins.

        Args:
            key_id: The old one.
            overlap: For how long the old one goes on being good, at most 30 days.
        """
        fields = {"overlap_s": int(overlap.total_seconds())}
        return Call(NewApiKey, "POST", f"/api-keys/{path_id(key_id)}/rotate", json=fields)

    @sends
    def revoke(self, key_id: UUID | str) -> Call[None]:
        """Revoke a key at once; it may be the one that asks."""
        return Call(type(None), "DELETE", f"/api-keys/{path_id(key_id)}")


class AsyncKeys(AsyncNoun, Keys):
    """:class:`Keys`, awaited."""
