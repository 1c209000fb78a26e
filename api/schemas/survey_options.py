"""The forms of answers to surveys."""

from __future__ import annotations

import datetime as dt
from typing import Annotated
from uuid import UUID

import msgspec

from analytics_core.conversions import MAX_ANSWER
from analytics_core.db.survey_options import OptionRow

__all__ = ("AddSurveyOption", "SurveyOption")


class AddSurveyOption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An answer to the question where somebody heard of a sponsor."""

    answer: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ANSWER)]


class SurveyOption(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that stands for a flight; once it is archived, for none."""

    survey_option_id: UUID
    sponsor_id: UUID
    campaign_id: UUID
    flight_id: UUID
    answer: str
    created_at: dt.datetime
    archived_at: dt.datetime | None

    @classmethod
    def of(cls, row: OptionRow) -> SurveyOption:
        """Show a stored option."""
        return cls(**msgspec.structs.asdict(row))
