"""The form of episodes' curves: what each had after so many days."""

from __future__ import annotations

import datetime as dt
from typing import Literal
from uuid import UUID

import msgspec

from api.schemas.analytics import Envelope

__all__ = ("Curve", "CurveOrigin", "CurvePoint", "CurvesAnswer", "NoPoint")

CurveOrigin = Literal["published", "first_hit"]
NoPoint = Literal["not_over", "counted_later", "no_publish_date", "no_downloads"]


class CurvePoint(msgspec.Struct, frozen=True):
    """The downloads of an episode's first `day` times 24 hours, which end at `ends_at`.

    They are null with a `reason`: `not_over` while these hours run, `counted_later` when the podcast was added after
    the episode's origin, `no_publish_date` or `no_downloads` when there is no origin.
    """

    day: int
    ends_at: dt.datetime | None
    downloads: int | None
    downloads_strict: int | None
    reason: NoPoint | None


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """An episode's curve; it starts at the quarter hour of its publish date or of its first download."""

    episode_id: UUID
    title: str
    published_at: dt.datetime | None
    starts_at: dt.datetime | None
    points: list[CurvePoint]


class CurvesAnswer(Envelope, frozen=True, kw_only=True):
    """Curves of episodes, newest first; `next_cursor` is null on the last page."""

    data: list[Curve]
    next_cursor: str | None
    origin: CurveOrigin
