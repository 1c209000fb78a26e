"""What came in as events, and what became of it: the counts, and the words for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from analytics_core.event_conversions import Outcome

__all__ = ("OUTCOME_WORDS", "IntakeKey")


class IntakeKey(NamedTuple):
    """By what events are counted.

    Attributes:
        day: The UTC day of their receipt.
        sponsor_id: Whose they were found to be; ``None`` for nobody's.
    """

    tenant_id: UUID
    day: dt.date
    type: str
    outcome: Outcome
    sponsor_id: UUID | None


OUTCOME_WORDS: Final[Mapping[Outcome, str]] = MappingProxyType(
    {
        Outcome.CONVERSION: "It is a conversion.",
        Outcome.REPEATED: "It was there already, and says the same.",
        Outcome.DIFFERS: "It says something else than is stored under its external_id, which stays as it is.",
        Outcome.SIGNAL: "It is no conversion, and tells what led a customer in.",
        Outcome.REFUND: "It took money from its purchase.",
        Outcome.WAITING: "It waits for its purchase.",
        Outcome.NO_PURCHASE: "It is a refund of no purchase: none came within 90 days, or it names none.",
        Outcome.OTHER_CURRENCY: "It is a refund in another currency than its purchase.",
        Outcome.BOT: "A bot sent it.",
        Outcome.UNKNOWN_SPONSOR: "Its property sponsor is neither the name nor the id of one.",
        Outcome.UNKNOWN_CLICK: "Its click_id is of no click on a sponsor's link, and nothing else tells whose it is.",
        Outcome.UNKNOWN_LINK: "Its link is no sponsor's, and nothing else tells whose it is.",
        Outcome.UNKNOWN_CODE: "Its promo code was no one sponsor's then, and nothing else tells whose it is.",
        Outcome.NO_SPONSOR: "Nothing in it tells whose it is: no sponsor, click, link, code, or page of one.",
        Outcome.NO_ACTION: "Its sponsor has no conversion action with this event_type that is not archived.",
        Outcome.GONE: "It was erased before it was looked at.",
        Outcome.REFUSED: "The database refused it; the log of ingest has the reason.",
    }
)
"""What became of an event, for people."""
