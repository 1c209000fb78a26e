"""The report of a world of sponsors, for a terminal: what was attributed beside what is true."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from castledger_server.data_dir import RunningUp
from castledger_server.demo.report import choose_ink
from castledger_server.demo.sponsorship.comparing import (
    DETERMINISTIC,
    MILLION,
    Figure,
    Found,
    Leaked,
    ModelError,
    leaked,
    true_credit,
)
from castledger_server.demo.sponsorship.telling import Agreed
from castledger_server.demo.sponsorship.world import Fate, Leak, Signal, World, currency_of

__all__ = (
    "conclude",
    "introduce",
    "list_by_campaign",
    "list_sums",
    "look_next",
    "write_figures",
    "write_models",
)

_MOST_TOLD: Final = 20


def list_sums(
    world: World,
    impressions: Mapping[tuple[int, int], int],
    results: Sequence[Mapping[str, Any]],
    leaks: Sequence[Leaked],
    found: Mapping[str, Found],
) -> Iterator[Figure]:
    """Lay the sums of the API beside the true ones."""
    conversions = world.conversions
    yield Figure("conversions", sum(one["run"]["summary"]["conversions"] for one in results), len(conversions))
    for fate in Fate:
        counted = sum(
            (one.status == fate) or (fate is Fate.COUNTED and one.status.endswith("attributed"))
            for one in found.values()
        )
        yield Figure(f"  {fate.value.replace('_', ' ')}", counted, sum(one.fate is fate for one in conversions))
    for signal in Signal:
        counted = sum(one["run"]["summary"]["signals"].get(signal.value, 0) for one in results)
        true = sum(one.signal is signal and one.fate is Fate.COUNTED for one in conversions)
        yield Figure(f"named by {signal.value}", counted, true)
    true_leaks = [leaked(world, sponsor) for sponsor in range(world.size.sponsors)]
    yield Figure("codes redeemed", sum(one.redemptions for one in leaks), sum(one.redemptions for one in true_leaks))
    yield Figure("  late", sum(one.late for one in leaks), sum(one.late for one in true_leaks))
    for leak in Leak:
        counted = sum(one.leaks.get(leak.value, 0) for one in leaks)
        true = sum(one.leaks.get(leak.value, 0) for one in true_leaks)
        yield Figure(f"  leaked: {leak.value.replace('_', ' ')}", counted, true)
    yield Figure("impressions", sum(impressions.values()), sum(world.delivered.values()))


def list_by_campaign(
    world: World,
    agreed: Agreed,
    impressions: Mapping[tuple[int, int], int],
    results: Sequence[Mapping[str, Any]],
) -> Iterator[Figure]:
    """Lay what the API says of each campaign beside what is true of it."""
    true = true_credit(world)
    counted = {
        agreed.campaign_number(row["campaign_id"]): (
            sum(one["conversions_ppm"] for one in row[DETERMINISTIC]) // MILLION,
            sum(one["value_amount"] for one in row[DETERMINISTIC]),
        )
        for result in results
        for row in result["campaigns"]
    }
    for campaign in world.campaigns:
        of_it = [key for key in {*impressions, *world.delivered} if key[0] == campaign.number]
        (count, amount), (true_count, true_amount) = (sums.get(campaign.number, (0, 0)) for sums in (counted, true))
        yield Figure(
            f"{campaign.name}: impressions",
            sum(impressions.get(key, 0) for key in of_it),
            sum(world.delivered.get(key, 0) for key in of_it),
        )
        yield Figure(f"{campaign.name}: conversions", count, true_count)
        yield Figure(f"{campaign.name}: cents of {currency_of(campaign.sponsor)}", amount, true_amount)


def introduce(world: World, seed: int) -> Iterator[str]:
    """Say what was played."""
    last = (world.end - dt.timedelta(days=1)).date()
    yield (
        f"{len(world.podcasts)} podcasts and {len(world.campaigns)} campaigns of {world.size.sponsors} sponsors, "
        f"{world.begin.date()} to {last}, seed {seed}: {len(world.downloads):,} requests, {len(world.clicks):,} "
        f"clicks, {len(world.events):,} events"
    )
    yield ""


def write_figures(sums: Sequence[Figure], by_campaign: Sequence[Figure], wrong: Sequence[str]) -> Iterator[str]:
    """Write what was counted beside what is true, and each conversion that differs."""
    ink = choose_ink(sys.stdout.encoding)
    yield f"{'':44}{'counted':>12}{'true':>12}"
    same = sum(one.counted == one.true for one in by_campaign)
    of_campaigns = Figure("figures of single campaigns", same, len(by_campaign))
    for one in (*sums, of_campaigns, *(one for one in by_campaign if one.counted != one.true)):
        yield f"{one.name:44}{one.counted:>12,}{one.true:>12,}" + (
            f"  {ink.differs}" if one.counted != one.true else ""
        )
    if wrong:
        yield ""
        yield f"{len(wrong):,} conversions are not what they are in truth:"
        for line in wrong[:_MOST_TOLD]:
            yield f"  {line}"
        if len(wrong) > _MOST_TOLD:
            yield f"  and {len(wrong) - _MOST_TOLD:,} more"


def write_models(errors: Sequence[ModelError]) -> Iterator[str]:
    """Write how far each model is from why people bought."""
    yield ""
    yield "models beside what made people buy: how far a campaign's share is off in the mean, caused conversions that"
    yield "are whole with their campaign, and credit for what no campaign caused"
    yield f"{'':20}{'share off':>14}{'whole and right':>18}{'uncaused':>12}{'sponsors':>10}"
    for one in errors:
        right, uncaused = (f"{100 * ppm / MILLION:.1f} %" for ppm in (one.right_ppm, one.uncaused_ppm))
        if one.sponsors:
            yield f"{one.model:20}{one.share_points:>7.1f} points{right:>18}{uncaused:>12}{one.sponsors:>10}"
        else:
            yield f"{one.model:20}{'too few paths':>14}{'':>18}{'':>12}{0:>10}"


def look_next(running: RunningUp, key_file: Path) -> Iterator[str]:
    """Say where all of it is to be seen."""
    yield ""
    yield f"look next: each campaign's page at {running.answers['api_url'].rstrip('/')}/, with the key in {key_file}"


def conclude(world: World, differing: int, took_s: float) -> Iterator[str]:
    """Write the last line: whether all is true."""
    yield ""
    if differing:
        yield f"{differing:,} figures and conversions differ from what is true, {took_s:.0f} s"
    else:
        count = len(world.conversions)
        yield f"all {count:,} conversions are attributed to what they name, to the cent, {took_s:.0f} s"
