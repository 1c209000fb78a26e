"""Summaries: what a run counted beside its credit, and what whoever reads it should know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from analytics_core.attribution.histories import JudgedConversion, Status
from analytics_core.attribution.parameters import Model
from analytics_core.attribution.signals import Missing
from analytics_core.attribution.touches import Signal

__all__ = ("UNKNOWN_PPM", "Counted", "Refunded", "Summary", "Tally", "Warned")

UNKNOWN_PPM: Final = 50_000
"""Parts of a million of the conversions: with more unknown codes, or clicks, than that there is a warning."""


class Counted(msgspec.Struct, frozen=True):
    """Conversions of one status and currency.

    Attributes:
        currency: ``None`` of those without a value.
        value_amount: Of all of them, in minor units; of retracted ones what they were before.
    """

    status: Status
    currency: str | None
    conversions: int
    value_amount: int


class Refunded(msgspec.Struct, frozen=True):
    """What was taken back, by retracting conversions or by saying that they were worth less."""

    currency: str
    conversions: int
    value_amount: int


class Warned(msgspec.Struct, frozen=True):
    """Something to be seen to: a word for programs, and a sentence for people."""

    code: str
    message: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run counted.

    Attributes:
        conversions: All of the range.
        counted: The same by status and currency.
        reasons: By reason, those that are not attributed.
        signals: By signal, those that are attributed by one of their own.
        late_codes: Those whose code was over, and within its grace.
        leaks: By reason, those whose code may have leaked; they are attributed all the same.
        codes: Those with a promo code,
        unknown_codes: and those with one that the sponsor does not have.
        refunded: What was taken back.
        insufficient: By model, why it has no result.
        removal_ppm: By campaign, which part of the conversions would be lost without it, by the model ``markov``.
        warnings: What to see to.
        campaigns: All that conversions could be credited to, whether any was; ``None`` where nobody noted it. Of any
            other campaign, one that a merge of sponsors brought say, the run tells nothing.
    """

    conversions: int
    counted: list[Counted]
    reasons: dict[str, int]
    signals: dict[str, int]
    late_codes: int
    leaks: dict[str, int]
    codes: int
    unknown_codes: int
    refunded: list[Refunded]
    insufficient: dict[Model, str]
    removal_ppm: dict[UUID, int]
    warnings: list[Warned]
    campaigns: list[UUID] | None = None


class Tally:
    """Counts judged conversions, in any order."""

    def __init__(self) -> None:
        self._conversions: Counter[tuple[Status, str]] = Counter()
        self._values: Counter[tuple[Status, str]] = Counter()
        self._refunds: Counter[str] = Counter()
        self._refunded: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._signals: Counter[str] = Counter()
        self._leaks: Counter[str] = Counter()
        self._late_codes = self._codes = self._unknown_codes = self._unknown_clicks = self._shared = 0

    def add(self, judged: JudgedConversion, *, is_shared: bool = False) -> None:
        """Count one.

        Args:
            judged: Which.
            is_shared: Whether its customer's key is many people's.
        """
        conversion, standing = judged.conversion, judged.standing
        currency = conversion.currency or ""
        told = conversion.value_amount or 0
        now = 0 if standing.is_retracted else standing.value_amount or 0
        key = judged.status, currency
        self._conversions[key] += 1
        self._values[key] += told if standing.is_retracted else now
        if currency and now < told:
            self._refunds[currency] += 1
            self._refunded[currency] += told - now
        if judged.reason is not None:
            self._reasons[judged.reason.value] += 1
        if judged.surest is not None:
            self._signals[judged.surest.signal.label] += 1
        if judged.leak is not None:
            self._leaks[judged.leak.value] += 1
        self._late_codes += judged.is_late_code
        self._codes += conversion.said.promo_code is not None
        self._unknown_codes += any(named.missing is Missing.UNKNOWN_CODE for named in judged.own)
        self._unknown_clicks += any(named.missing is Missing.UNKNOWN_CLICK for named in judged.own)
        self._shared += is_shared

    def summary(
        self,
        *,
        insufficient: Mapping[Model, str],
        removal_ppm: Mapping[UUID, int],
        campaigns: Sequence[UUID] | None = None,
    ) -> Summary:
        """Sum up; the same whatever order conversions came in."""
        return Summary(
            conversions=self._conversions.total(),
            counted=[
                Counted(status, currency or None, count, self._values[status, currency])
                for (status, currency), count in sorted(self._conversions.items())
            ],
            reasons=dict(sorted(self._reasons.items())),
            signals={one.label: self._signals[one.label] for one in Signal if self._signals[one.label]},
            late_codes=self._late_codes,
            leaks=dict(sorted(self._leaks.items())),
            codes=self._codes,
            unknown_codes=self._unknown_codes,
            refunded=[
                Refunded(currency, count, self._refunded[currency]) for currency, count in sorted(self._refunds.items())
            ],
            insufficient=dict(insufficient),
            removal_ppm=dict(removal_ppm),
            warnings=self._warnings(),
            campaigns=None if campaigns is None else list(campaigns),
        )

    def _warnings(self) -> list[Warned]:
        found = []
        if self._is_much(self._unknown_codes):
            share = self._share(self._unknown_codes)
            found.append(
                Warned("unknown_codes", f"{share} came with a promo code that the sponsor does not have: enter it")
            )
        if self._is_much(self._unknown_clicks):
            share = self._share(self._unknown_clicks)
            found.append(
                Warned("unknown_clicks", f"{share} came with a click that is not kept: it has not landed, or is gone")
            )
        if self._shared:
            share = self._share(self._shared)
            found.append(
                Warned("shared_customers", f"{share} have a customer whom many share: each was looked at by itself")
            )
        return found

    def _is_much(self, count: int) -> bool:
        return count * 1_000_000 > UNKNOWN_PPM * self._conversions.total()

    def _share(self, count: int) -> str:
        total = self._conversions.total()
        return f"{count:,} of {total:,} conversions ({count / total:.1%})"
