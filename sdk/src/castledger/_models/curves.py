"""How episodes began."""

from __future__ import annotations

from uuid import UUID

import msgspec

from castledger._models.common import Instant

__all__ = ("Curve", "CurvePoint")


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """The downloads of an episode's first ``day`` times 24 hours.

    Attributes:
        downloads: ``None`` with a ``reason``.
        reason: ``not_over`` while these hours run, ``counted_later`` when the podcast was added after the episode came
            out, ``no_publish_date`` or ``no_downloads`` when nobody knows where they begin.
    """

    day: int
    downloads: int | None = None
    downloads_strict: int | None = None
    ends_at: Instant | None = None
    reason: str | None = None


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What an episode had after 1, 3, 7, 14, 28, 30, 60 and 90 days from ``starts_at`` on."""

    episode_id: UUID
    title: str
    points: tuple[CurvePoint, ...]
    published_at: Instant | None = None
    starts_at: Instant | None = None

    def after(self, days: int) -> int | None:
        """Downloads of the first *days* days; ``None`` where that is not known, or no point of the curve."""
        return next((point.downloads for point in self.points if point.day == days), None)
