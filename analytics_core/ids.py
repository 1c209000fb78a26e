"""Identifiers: UUIDv7 for what people see, small integers in the time series, `h_…` for a hit."""

from __future__ import annotations

import re
from typing import NewType
from uuid import UUID

import uuid_utils

from analytics_core.errors import InvalidInput

__all__ = (
    "AgentNo",
    "EpisodeId",
    "EpisodeNo",
    "HitId",
    "KeyId",
    "PodcastId",
    "PodcastNo",
    "TenantId",
    "TenantNo",
    "UserId",
    "format_hit_id",
    "new_id",
    "new_id_text",
    "parse_hit_id",
)

TenantId = NewType("TenantId", UUID)
PodcastId = NewType("PodcastId", UUID)
EpisodeId = NewType("EpisodeId", UUID)
KeyId = NewType("KeyId", UUID)
UserId = NewType("UserId", UUID)
TenantNo = NewType("TenantNo", int)
PodcastNo = NewType("PodcastNo", int)
EpisodeNo = NewType("EpisodeNo", int)
AgentNo = NewType("AgentNo", int)
HitId = NewType("HitId", str)

_HIT_ID = re.compile(r"h_([0-9a-f]{1,8})-([0-9a-f]{1,8})")


def new_id() -> UUID:
    """Make a UUIDv7: unique, and in order of creation."""
    return UUID(int=uuid_utils.uuid7().int)


def new_id_text() -> str:
    """Make a UUIDv7 as text, for what is no more than shown: without the object it costs a fifth."""
    return str(uuid_utils.uuid7())


def format_hit_id(segment_no: int, ordinal: int) -> HitId:
    """Write the id of a hit from its segment's number and its place therein.

    >>> format_hit_id(26, 255)
    'h_1a-ff'
    """
    return HitId(f"h_{segment_no:x}-{ordinal:x}")


def parse_hit_id(text: str) -> tuple[int, int]:
    """Read what :func:`format_hit_id` wrote.

    Returns:
        The segment's number and the hit's place in it, both 0 to 2**31 - 1.

    Raises:
        InvalidInput: *text* is no hit id.

    >>> parse_hit_id("h_1a-ff")
    (26, 255)
    """
    match = _HIT_ID.fullmatch(text)
    if match is not None:
        segment_no, ordinal = int(match[1], 16), int(match[2], 16)
        if segment_no < 2**31 and ordinal < 2**31:
            return segment_no, ordinal
    raise InvalidInput("hit_id", "a hit id looks like h_1a-ff")
