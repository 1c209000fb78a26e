"""Signals: what a conversion or an event of its customer said, and which flight that names, or why it names none."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from analytics_core.attribution.touches import Signal, Touch
from analytics_core.conversions import answer_key
from analytics_core.promo_codes import Validity, fold_code, validity_at

__all__ = (
    "DAY_US",
    "Devices",
    "KnownClick",
    "KnownCode",
    "KnownFlight",
    "KnownLink",
    "KnownOption",
    "Missing",
    "Named",
    "Said",
    "name_flights",
)

DAY_US: Final = 86_400_000_000
"""Microseconds of a day."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Missing(enum.StrEnum):
    """Why a signal names no flight of the sponsor."""

    UNKNOWN_CLICK = "unknown_click"
    """No click of this id is kept: it has not landed, its time is over, or it was erased."""
    UNKNOWN_LINK = "unknown_link"
    """There is no link of this name."""
    NO_FLIGHT = "no_flight"
    """The link is no flight's."""
    OTHER_SPONSOR = "other_sponsor"
    """The link is another sponsor's."""
    UNKNOWN_CODE = "unknown_code"
    """The sponsor has no such code."""
    CODE_NOT_VALID = "code_not_valid"
    """The sponsor has the code, but it was not valid then, nor within its grace."""
    UNKNOWN_ANSWER = "unknown_answer"
    """No flight of the sponsor has this answer."""


class Said(NamedTuple):
    """What a conversion said, or an event of a customer.

    Attributes:
        at_us: When it happened, microseconds since 1970-01-01 UTC.
        promo_code: As it was entered.
        survey_answer: As it was given.
    """

    at_us: int
    click_id: UUID | None = None
    link: str | None = None
    promo_code: str | None = None
    survey_answer: str | None = None


class KnownFlight(NamedTuple):
    """A flight of the sponsor.

    Attributes:
        window_us: For how long after a touch a conversion is credited to it, in microseconds.
        excludes_prior: Whether its campaign is not credited with conversions of those who were customers before.
    """

    flight_id: UUID
    campaign_id: UUID
    window_us: int
    excludes_prior: bool


class KnownClick(NamedTuple):
    """A click that has landed: when, and on which link."""

    at_us: int
    link_no: int


class KnownLink(NamedTuple):
    """A link of the tenant; ``None`` where it is no sponsor's, or no flight's."""

    link_no: int
    slug: str
    sponsor_id: UUID | None
    flight_id: UUID | None


class KnownCode(NamedTuple):
    """A promo code of the sponsor, and when it is valid (:func:`analytics_core.promo_codes.validity_at`)."""

    promo_code_id: UUID
    code: str
    flight_id: UUID
    valid_from: dt.datetime
    valid_until: dt.datetime | None
    grace_days: int


class KnownOption(NamedTuple):
    """An answer that names a flight, until before it was archived."""

    answer_key: UUID
    flight_id: UUID
    until_us: int | None


class Named(NamedTuple):
    """A signal, and the touch that it is or why it is none.

    Attributes:
        promo_code_id: The code, where it is one of the sponsor's that was valid or late.
        is_late: Whether the code was over already, and within its grace.
    """

    signal: Signal
    touch: Touch | None
    missing: Missing | None = None
    promo_code_id: UUID | None = None
    is_late: bool = False


class Devices:
    """By what flights of one sponsor are recognised, as it was known at a cutoff.

    Args:
        sponsor_id: Whose.
        flights: All of its flights.
        links: All links of the tenant: those of others are told from those that there are not.
        codes: All promo codes of the sponsor.
        options: All answers that name a flight of it; of those with one key, the one made last comes first.
    """

    def __init__(
        self,
        sponsor_id: UUID,
        *,
        flights: Sequence[KnownFlight] = (),
        links: Sequence[KnownLink] = (),
        codes: Sequence[KnownCode] = (),
        options: Sequence[KnownOption] = (),
    ) -> None:
        self.sponsor_id: Final = sponsor_id
        self.flights: Final = {flight.flight_id: flight for flight in flights}
        self._links = {link.slug: link for link in links}
        self._links_by_number = {link.link_no: link for link in links}
        self._codes: dict[str, list[KnownCode]] = {}
        for code in sorted(codes, key=lambda one: (one.valid_from, one.promo_code_id)):
            self._codes.setdefault(code.code, []).append(code)
        self._options: dict[UUID, list[KnownOption]] = {}
        for option in options:
            self._options.setdefault(option.answer_key, []).append(option)

    def link(self, slug: str) -> KnownLink | None:
        """Find a link by its name."""
        return self._links.get(slug.lower())

    def link_of(self, click: KnownClick) -> KnownLink | None:
        """Find the link that was followed."""
        return self._links_by_number.get(click.link_no)

    def code(self, text: str, at_us: int) -> tuple[KnownCode, bool] | Missing:
        """Find the code that was valid at an instant, else the one that was over last and is within its grace.

        Returns:
            The code, and whether it was late.
        """
        known = self._codes.get(fold_code(text))
        if known is None:
            return Missing.UNKNOWN_CODE
        at = _EPOCH + dt.timedelta(microseconds=at_us)
        late: KnownCode | None = None
        # By when they begin, so that of several late ones the last to be valid stays.
        for code in known:
            found = validity_at(
                at, valid_from=code.valid_from, valid_until=code.valid_until, grace_days=code.grace_days
            )
            if found is Validity.VALID:
                return code, False
            if found is Validity.LATE:
                late = code
        return Missing.CODE_NOT_VALID if late is None else (late, True)

    def option(self, answer: str, at_us: int) -> KnownOption | None:
        """Find the answer that somebody gave at an instant."""
        for option in self._options.get(answer_key(answer), ()):
            if option.until_us is None or at_us < option.until_us:
                return option
        return None


def name_flights(
    said: Said, devices: Devices, clicks: Mapping[UUID, KnownClick], *, is_own: bool = False
) -> list[Named]:
    """Tell which flights something that was said names, surest first.

    A link that came with a click which is known is that click, and no visit beside it.

    Args:
        said: By a conversion, or by an event of its customer.
        devices: By what the sponsor's flights are recognised.
        clicks: Those that are known, by id.
        is_own: Whether a conversion said it, which is then to be credited.

    Source:
        ``docs/methodology/attribution.md``, "Signals".
    """
    found: list[Named] = []

    def name(signal: Signal, flight_id: UUID, at_us: int, code: UUID | None = None, *, is_late: bool = False) -> None:
        flight = devices.flights[flight_id]
        touch = Touch(at_us, signal, flight_id, flight.campaign_id, flight.window_us, is_own)
        found.append(Named(signal, touch, None, code, is_late))

    def name_link(signal: Signal, link: KnownLink | None, at_us: int, unknown: Missing) -> None:
        if link is None:
            found.append(Named(signal, None, unknown))
        elif link.sponsor_id not in (None, devices.sponsor_id):
            found.append(Named(signal, None, Missing.OTHER_SPONSOR))
        elif link.flight_id is None or link.flight_id not in devices.flights:
            found.append(Named(signal, None, Missing.NO_FLIGHT))
        else:
            name(signal, link.flight_id, at_us)

    click = None
    if said.click_id is not None:
        click = clicks.get(said.click_id)
        if click is None:
            found.append(Named(Signal.CLICK, None, Missing.UNKNOWN_CLICK))
        else:
            name_link(Signal.CLICK, devices.link_of(click), click.at_us, Missing.UNKNOWN_CLICK)
    if said.link is not None and click is None:
        name_link(Signal.VANITY, devices.link(said.link), said.at_us, Missing.UNKNOWN_LINK)
    if said.promo_code is not None:
        code = devices.code(said.promo_code, said.at_us)
        if isinstance(code, Missing):
            found.append(Named(Signal.CODE, None, code))
        else:
            name(Signal.CODE, code[0].flight_id, said.at_us, code[0].promo_code_id, is_late=code[1])
    if said.survey_answer is not None:
        option = devices.option(said.survey_answer, said.at_us)
        if option is None:
            found.append(Named(Signal.SURVEY, None, Missing.UNKNOWN_ANSWER))
        else:
            name(Signal.SURVEY, option.flight_id, said.at_us)
    return found
