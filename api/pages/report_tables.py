"""A report's tables as people read them: words for columns, amounts with their currency, dates that are dates."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from analytics_core.countries import country_names
from analytics_core.db.states import State
from analytics_core.money import Money, format_money
from api.pages.campaign_figures import METHODS
from api.pages.charts import BarChart, BarPoint, draw_bars
from api.pages.words import day, instant, month, number, short_day

__all__ = ("MAX_SHOWN", "ReportPage", "Shown", "read_page")

MAX_SHOWN: Final = 100
"""Rows of a table on the page; all of them are in the file."""

_Row: TypeAlias = Mapping[str, Any]

_TITLES: Final = {
    "campaigns": "Campaigns",
    "flights": "Flights",
    "placements": "Where it was to be heard",
    "conversions": "What came of it",
    "codes": "Promo codes",
    "links": "Links",
    "reach": "How many people it reached",
    "episodes": "Episodes",
    "apps": "Apps",
    "countries": "Countries",
}
_LABELS: Final = {
    "booked": "Booked",
    "delivered": "Delivered",
    "delivered_in_range": "Delivered in these days",
    "downloads_strict": "Strict",
    "expected": "Expected by then",
    "pacing": "Pacing",
    "pace": "",
    "makegood_owed": "Make-good owed",
    "makegood_booked": "Make-good booked",
    "pricing": "Priced by",
    "cpa_amount": "Cost per conversion",
    "roas": "Return on cost",
    "late": "Too late",
    "coupon_referrer": "From coupon sites",
    "no_exposure": "Before it was heard",
    "over_limit": "Beyond its limit",
    "valid_from": "Valid from",
    "valid_until": "Valid until",
    "live_from": "From",
    "live_until": "Until",
    "published_at": "Published",
    "projected_low": "At the end, at least",
    "projected": "At the end",
    "projected_high": "At the end, at most",
}
_WORDS: Final = {name: method.name for name, method in METHODS.items()} | {
    "cpm": "thousand impressions",
    "flat": "flat fee",
    "cpa": "conversion",
    "on_pace": "on pace",
    "insufficient_data": "too little to go by",
    "other_currencies": "also worth other currencies",
    "no_cost": "the cost is not known",
    "nothing_paid": "nothing was paid",
    "not_counted": "not counted",
    "changed_since": "changed since it was counted",
    "pre": "pre-roll",
    "mid": "mid-roll",
    "post": "post-roll",
}
_HEAD: Final = ("downloads", "listeners", "downloads_strict", "delivered_in_range", "booked", "clicks", "redemptions")
_NAMED: Final = re.compile(r"`(\w+)`")
_WORDY: Final = frozenset({"model", "pricing", "pace", "reason", "position"})
_ABOUT: Final = ("sponsor", "podcast", "from", "to", "tz", "cutoff", "state", "rules", "run_cutoff", "run_version")
_ABOUT_LABELS: Final = {
    "from": "From",
    "to": "To before",
    "tz": "Time zone",
    "cutoff": "Hits until",
    "rules": "Counted by",
    "run_cutoff": "Conversions until",
    "run_version": "Attributed by",
}


class ShownCell(msgspec.Struct, frozen=True):
    """A cell as it is shown."""

    text: str
    is_number: bool


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A table as it is shown.

    Attributes:
        heads: Names of the columns, and whether they hold numbers.
        left_out: Rows that are in the file alone.
    """

    name: str
    title: str
    heads: Sequence[ShownCell]
    rows: Sequence[Sequence[ShownCell]]
    left_out: int


class ReportPage(msgspec.Struct, frozen=True, kw_only=True):
    """A report for a page.

    Attributes:
        totals: What stands at its head, by name.
        about: What it is about, by name.
        chart: Its days; ``None`` without a figure in them.
        days: The same as a table.
    """

    title: str
    totals: Sequence[tuple[str, str]]
    about: Sequence[tuple[str, str]]
    notes: Sequence[str]
    chart: BarChart | None
    days: Shown | None
    tables: Sequence[Shown]


def _label(name: str) -> str:
    return _LABELS.get(name, name.removesuffix("_amount").replace("_", " ").capitalize())


def _instant(text: str) -> str:
    """Write what is a day or an instant in JSON for people; anything else stays as it is."""
    try:
        if len(text) == len("2026-11-01"):
            return day(dt.date.fromisoformat(text))
        return instant(dt.datetime.fromisoformat(text))
    except ValueError:
        return text


def _cell(name: str, row: _Row) -> ShownCell:
    value = row[name]
    match value:
        case None:
            return ShownCell("–", False)
        case bool():
            return ShownCell("yes" if value else "no", False)
        case int() if name.endswith("_amount"):
            return ShownCell(format_money(Money(value, row["currency"])), True)
        case int():
            return ShownCell(number(value), True)
        case float():
            return ShownCell(f"{value:,.2f}", True)
        case _ if name in _WORDY:
            return ShownCell(_WORDS.get(str(value), str(value)), False)
        case str() if name == "month":
            return ShownCell(month(dt.date.fromisoformat(value)), False)
        case _ if name.endswith(("_at", "_on", "_from", "_until", "day")):
            return ShownCell(_instant(value), False)
        case _ if name == "country":
            return ShownCell(country_names().get(value, value) or "not known", False)
        case _:
            return ShownCell(value or "not known", False)


def _note(text: str) -> str:
    """Call columns in a note by what they are called on the page."""
    return _NAMED.sub(lambda found: f"“{_WORDS.get(found[1]) or _label(found[1])}”", text)


def _show(name: str, rows: Sequence[_Row], *, limit: int = MAX_SHOWN) -> Shown:
    """Show a table without its ids, and without columns in which nothing stands."""
    names = [
        column
        for column in (rows[0] if rows else ())
        if not column.endswith("_id") and column != "currency" and any(row[column] is not None for row in rows)
    ]
    shown = [[_cell(column, row) for column in names] for row in rows[:limit]]
    numbers = [any(cells[place].is_number for cells in shown) for place in range(len(names))]
    return Shown(
        name=name,
        title=_TITLES.get(name, _label(name)),
        heads=[ShownCell(_label(column), is_number) for column, is_number in zip(names, numbers, strict=True)],
        rows=shown,
        left_out=max(0, len(rows) - limit),
    )


def _chart(rows: Sequence[_Row], state: State) -> BarChart | None:
    counts = [row.get("downloads", row.get("impressions")) or 0 for row in rows]
    if not any(counts):
        return None
    days = [dt.date.fromisoformat(row["day"]) for row in rows]
    return draw_bars(
        [BarPoint(short_day(one), count, count, None, state) for one, count in zip(days, counts, strict=True)]
    )


def read_page(figures: bytes) -> ReportPage:
    """Make what a page shows of a report.

    Args:
        figures: The report as JSON.
    """
    report = msgspec.json.decode(figures)
    tables: dict[str, list[_Row]] = report["tables"]
    (totals,) = tables.pop("totals", [{}])
    days = tables.pop("days", [])
    about = report["about"]
    return ReportPage(
        title=report["title"],
        totals=[(_label(name), number(totals[name])) for name in _HEAD if totals.get(name) is not None],
        about=[
            (_ABOUT_LABELS.get(name, _label(name)), _instant(str(about[name])))
            for name in _ABOUT
            if about.get(name) is not None
        ],
        notes=[_note(note) for note in report["notes"]],
        chart=_chart(days, State(about["state"])),
        days=_show("days", days, limit=len(days)) if days else None,
        tables=[_show(name, rows) for name, rows in tables.items() if rows],
    )
