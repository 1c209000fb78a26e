"""What the words of attribution mean, in sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from analytics_core.attribution.histories import Reason, Status
from analytics_core.attribution.leaks import Leak
from analytics_core.attribution.parameters import Model
from analytics_core.attribution.signals import Missing
from analytics_core.attribution.touches import MAX_TOUCHES, Setback

__all__ = ("METHODS", "SINCE", "explain_reason")

SINCE: Final = "entered_since"
"""Why a touch that would compete now has no part in a run."""

METHODS: Final[Mapping[Model, str]] = MappingProxyType(
    {
        Model.FIRST: "all to the first touch",
        Model.LAST: "all to the last touch",
        Model.LINEAR: "alike to every touch",
        Model.POSITION: "40 % to the first touch, 40 % to the last, the rest alike to those between",
        Model.TIME_DECAY: "to every touch, the more the later it was: half as much for each half-life before the last",
        Model.SHAPLEY: "alike to every campaign that touched, at its last touch",
        Model.MARKOV: "to every campaign that touched, by what would be lost without it, at its last touch",
    }
)
"""How each model shares a conversion."""

_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        Status.ATTRIBUTED: "It is credited to the flights of its touches.",
        Reason.NO_SIGNAL: "Neither it nor anything that its customer did before names a flight.",
        Reason.OUTSIDE_WINDOW: "It came longer after what names a flight than the flight's window.",
        Reason.PRIOR_CUSTOMER: "The campaign is not credited with those who were customers before.",
        Reason.COUNTED_BEFORE: "Its action counts once a customer, and did before.",
        Reason.RETRACTED: "It was retracted: it was no conversion after all.",
        Missing.UNKNOWN_CLICK: "No click of this id is kept: it has not landed, its time is over, or it was erased.",
        Missing.UNKNOWN_LINK: "There is no link of this name.",
        Missing.NO_FLIGHT: "The link is no flight's.",
        Missing.OTHER_SPONSOR: "The link is another sponsor's.",
        Missing.UNKNOWN_CODE: "The sponsor has no such promo code.",
        Missing.CODE_NOT_VALID: "The promo code was not valid then, nor within its grace.",
        Missing.UNKNOWN_ANSWER: "No flight has this answer.",
        Setback.LATER: "It came after the conversion.",
        Setback.REPEATED: "Another touch of the same flight at the same instant is surer, or says the same.",
        Setback.TOO_MANY: f"There are {MAX_TOUCHES:,} later touches, which are as many as can compete.",
        SINCE: "What it names was entered or changed after the run; another run looks at it.",
        Leak.OVER_LIMIT: "The code had been redeemed before as often as was agreed on.",
        Leak.COUPON_REFERRER: "Whoever entered the code came from a site that collects codes.",
        Leak.NO_EXPOSURE: "No episode with the flight was downloaded in the window before the code was entered.",
    }
)


def explain_reason(reason: str) -> str:
    """Say what a reason means, whichever part of attribution it is from.

    >>> explain_reason("unknown_code")
    'The sponsor has no such promo code.'
    """
    return _REASONS[reason]
