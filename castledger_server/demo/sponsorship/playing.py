"""``castledger demo --sponsorship``: make a year of sponsorship, attribute it, and hold it up to the truth."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from analytics_core.attribution.parameters import Model
from analytics_core.clock import SystemClock
from analytics_core.db.attribution_outcomes import list_outcomes, list_shares
from analytics_core.db.event_marks import count_undecided
from analytics_core.db.pool import Pool, connection, open_pool, tenant_transaction
from analytics_core.db.rollups import count_marks
from analytics_core.db.tenants import TenantRow
from analytics_core.errors import Unavailable
from analytics_core.registry import read_registry
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Settings
from castledger_server.api_access import Api
from castledger_server.commands import write_lines
from castledger_server.demo.progress import Progress, say
from castledger_server.demo.report import choose_ink
from castledger_server.demo.running import find_up, places
from castledger_server.demo.sponsorship.comparing import (
    Figure,
    Found,
    Leaked,
    ModelError,
    compare,
    credit_of,
    leaked,
    true_credit,
    weigh,
)
from castledger_server.demo.sponsorship.telling import (
    Agreed,
    add_podcasts,
    agree,
    tell_clicks,
    tell_downloads,
    tell_events,
)
from castledger_server.demo.sponsorship.truth import make_world
from castledger_server.demo.sponsorship.world import Fate, Leak, Signal, Size, World, currency_of
from castledger_server.demo.stage import replaying_collector, replaying_tracker, wait_until_landed
from castledger_server.demo.tenancy import found_tenant, make_tenant, only_demo, remove_tenant

__all__ = ("run_sponsorship",)

_APPLICATION: Final = "castledger demo"
_PATIENCE_S: Final = 180.0
_LOOK_S: Final = 1.0
_LOOK_AT_FIGURES_S: Final = 4.0
_MOST_TOLD: Final = 20
_DETERMINISTIC: Final = "deterministic"
_MILLION: Final = 1_000_000


def run_sponsorship(seed: int, size: Size, settings: Settings, environ: Mapping[str, str]) -> int:
    """Play a world of sponsors on the ``up`` of a data folder; a former demo is taken away first.

    Returns:
        0 when what was attributed is what is true, 1 when it is not.

    Raises:
        ConfigError: No ``up`` runs there.
        Conflict: Another demo is at work, or somebody's own tenant has its name.
        CastledgerError: Something does not answer.
    """
    return asyncio.run(_run(seed, size, settings, environ))


async def _run(seed: int, size: Size, settings: Settings, environ: Mapping[str, str]) -> int:
    began_s = time.monotonic()
    running = find_up(settings.data_dir)
    database, spool_dir, key_file = places(running, settings)
    first_day = SystemClock().now().date() - dt.timedelta(days=size.days)
    world = make_world(seed=seed, size=size, first_day=first_day)
    async with only_demo(database) as conn:
        former = await found_tenant(conn)
        for folder in (spool_dir, settings.collector.spool_dir):
            await wait_until_landed(folder)
        if former is not None:
            say("taking the former demo away")
            await remove_tenant(database, former, key_file)
        tenant, key = await make_tenant(conn, key_file)
        try:
            api = Api(running.answers["api_url"], key)
            agreed = await _tell(world, api, key, spool_dir, settings, environ)
            impressions = await _settle(database, tenant, api, world, agreed)
            say("attributing")
            results = await _attribute(api, world, agreed)
            found, shares = await _read_outcomes(database, tenant, agreed, [result["run"] for result in results])
            leaks = [await asyncio.to_thread(_read_leaks, api, world, sponsor_id) for sponsor_id in agreed.sponsors]
        except BaseException:
            say("the demo is not whole; run it again, or take it away with `castledger demo --remove`")
            raise
    figures = list(_figures(world, agreed, impressions, results, leaks, found))
    wrong = list(compare(world, found))
    differing = len(wrong) + sum(one.counted != one.true for one in figures)
    errors = _weigh_all(world, found, shares, results)
    write_lines(_introduce(world, seed))
    write_lines(_report(figures, wrong))
    write_lines(_model_report(errors))
    write_lines(_conclude(world, differing, time.monotonic() - began_s))
    return 1 if differing else 0


async def _tell(
    world: World, api: Api, key: str, spool_dir: Path, settings: Settings, environ: Mapping[str, str]
) -> Agreed:
    """Tell the ledger all that happens in the world, each part when what it refers to is known."""
    registry = settings.tracker.registry_path
    say(f"adding {len(world.podcasts)} podcasts")
    episodes = await asyncio.to_thread(add_podcasts, api, world)
    say(f"agreeing on {len(world.campaigns)} campaigns")

    async def listen() -> None:
        async with replaying_tracker(spool_dir, environ, registry=registry) as port:
            with Progress(len(world.downloads)) as progress:
                await tell_downloads(port, world, progress=progress)

    # The API lets itself be asked so often and no oftener; meanwhile there is time to listen.
    agreed, _ = await asyncio.gather(asyncio.to_thread(agree, api, world, episodes), listen())

    async def is_known() -> bool:
        links = (await asyncio.to_thread(read_registry, registry)).links
        return all(links.get(slug) is not None for slug in agreed.slugs)

    await _wait_until(is_known, "the tracker is not told of the demo's links")
    async with replaying_tracker(spool_dir, environ, registry=registry) as port:
        click_ids = await tell_clicks(port, world, agreed.slugs)
    say("waiting until all of it has landed")
    await wait_until_landed(spool_dir)
    events_dir = settings.collector.spool_dir
    say(f"telling {len(world.events):,} events")
    async with replaying_collector(events_dir, environ, registry=registry) as port:
        await tell_events(port, key, world, agreed, click_ids)
    await wait_until_landed(events_dir)
    return agreed


async def _wait_until(is_so: Callable[[], Awaitable[bool]], otherwise: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not await is_so():
        if time.monotonic() > deadline:
            raise Unavailable(otherwise)
        await asyncio.sleep(_LOOK_S)


async def _settle(
    database: DatabaseSettings, tenant: TenantRow, api: Api, world: World, agreed: Agreed
) -> dict[tuple[int, int], int]:
    """Wait until ingest has made of hits and events what is to be made of them; return what placements delivered."""
    pool = await open_pool(database, Role.INGEST, application_name=_APPLICATION, max_size=1)

    async def is_decided() -> bool:
        async with connection(pool) as conn:
            return not await count_undecided(conn, int(tenant.tenant_no))

    try:
        # Refunds that came too early have found their purchase then, too.
        await _wait_until(is_decided, "ingest does not decide what is a conversion")
        return await _wait_until_delivered(pool, api, world, agreed)
    finally:
        pool.terminate()


async def _wait_until_delivered(pool: Pool, api: Api, world: World, agreed: Agreed) -> dict[tuple[int, int], int]:
    """Wait until placements have delivered what they have to; what does not come is left to be shown."""
    delivered: dict[tuple[int, int], int] = {}
    waiting = [campaign.number for campaign in world.campaigns]
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        async with connection(pool) as conn:
            is_summed_up = not await count_marks(conn)
        for number in waiting:
            delivered |= await asyncio.to_thread(_read_delivered, api, agreed, number)
        waiting = [
            number
            for number in waiting
            if any(count != delivered.get(key) for key, count in world.delivered.items() if key[0] == number)
        ]
        if not waiting or is_summed_up or time.monotonic() > deadline:
            return delivered
        await asyncio.sleep(_LOOK_AT_FIGURES_S)


def _read_delivered(api: Api, agreed: Agreed, campaign: int) -> dict[tuple[int, int], int]:
    listed = _read(api, "/placements", campaign_id=agreed.campaigns[campaign], limit="200")
    return {(campaign, agreed.episodes.index(one["episode_id"])): one["downloads"] for one in listed["data"]}


def _read(api: Api, path: str, **query: str) -> dict[str, Any]:
    answer: dict[str, Any] = msgspec.json.decode(api.get(path, query))
    return answer


async def _attribute(api: Api, world: World, agreed: Agreed) -> list[dict[str, Any]]:
    """Ask for a run over all of the time for each sponsor, and return what they found."""
    asked = {"from": world.begin.date().isoformat(), "to": world.end.date().isoformat()}
    paths: list[str] = []
    for sponsor_id in agreed.sponsors:
        sent = await asyncio.to_thread(api.send, "POST", "/attribution/runs", {"sponsor_id": sponsor_id, **asked})
        paths.append(f"/attribution/runs/{msgspec.json.decode(sent)['run_id']}")
    return [await _wait_until_attributed(api, path) for path in paths]


async def _wait_until_attributed(api: Api, path: str) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        result = await asyncio.to_thread(_read, api, path)
        if result["run"]["status"] == "ready":
            return result
        if result["run"]["status"] == "failed":
            raise Unavailable(f"a run failed: {result['run']['error']}")
        if time.monotonic() > deadline:
            raise Unavailable("ingest does not attribute")
        await asyncio.sleep(_LOOK_S)


async def _read_outcomes(
    database: DatabaseSettings, tenant: TenantRow, agreed: Agreed, runs: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Found], dict[str, dict[str, dict[int, int]]]]:
    """Read what became of each conversion, and what each model gave: the API has a path a time."""
    pool = await open_pool(database, Role.API, application_name=_APPLICATION, max_size=1)
    found: dict[str, Found] = {}
    shares: dict[str, dict[str, dict[int, int]]] = {model.value: {} for model in Model}
    try:
        for run in runs:
            await _read_run(pool, tenant, UUID(run["run_id"]), agreed, found, shares)
    finally:
        pool.terminate()
    return found, shares


async def _read_run(
    pool: Pool,
    tenant: TenantRow,
    run_id: UUID,
    agreed: Agreed,
    found: dict[str, Found],
    shares: dict[str, dict[str, dict[int, int]]],
) -> None:
    async with tenant_transaction(pool, tenant.tenant, readonly=True) as conn:
        for row in await list_outcomes(conn, run_id):
            found[row.external_id] = Found(
                status=row.status,
                value_amount=row.value_amount,
                campaign=agreed.campaign_number(row.campaign_id),
                signal=row.signal,
                is_late=row.is_late_code,
                leak=row.leak,
            )
        for share in await list_shares(conn, run_id):
            number = agreed.campaigns.index(str(share.campaign_id))
            shares[share.model].setdefault(share.external_id, {})[number] = share.credit_ppm


def _read_leaks(api: Api, world: World, sponsor_id: str) -> Leaked:
    asked = {"from": world.begin.date().isoformat(), "to": world.end.date().isoformat()}
    totals = _read(api, "/attribution/leakage", sponsor_id=sponsor_id, **asked)["totals"]
    return Leaked(totals["redemptions"], totals["late"], totals["leaked"])


def _figures(
    world: World,
    agreed: Agreed,
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
    yield from _by_campaign(world, agreed, impressions, results)


def _by_campaign(
    world: World,
    agreed: Agreed,
    impressions: Mapping[tuple[int, int], int],
    results: Sequence[Mapping[str, Any]],
) -> Iterator[Figure]:
    true = true_credit(world)
    counted = {
        agreed.campaign_number(row["campaign_id"]): (
            sum(one["conversions_ppm"] for one in row[_DETERMINISTIC]) // _MILLION,
            sum(one["value_amount"] for one in row[_DETERMINISTIC]),
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


def _weigh_all(
    world: World,
    found: Mapping[str, Found],
    shares: Mapping[str, Mapping[str, Mapping[int, int]]],
    results: Sequence[Mapping[str, Any]],
) -> list[ModelError]:
    everybody = range(world.size.sponsors)
    errors = [weigh(world, _DETERMINISTIC, credit_of(found), everybody)]
    for model in Model:
        answering = [
            sponsor for sponsor in everybody if model.value not in results[sponsor]["run"]["summary"]["insufficient"]
        ]
        errors.append(weigh(world, model.value, shares[model.value], answering))
    return errors


def _introduce(world: World, seed: int) -> Iterator[str]:
    last = (world.end - dt.timedelta(days=1)).date()
    yield (
        f"{len(world.podcasts)} podcasts and {len(world.campaigns)} campaigns of {world.size.sponsors} sponsors, "
        f"{world.begin.date()} to {last}, seed {seed}: {len(world.downloads):,} requests, {len(world.clicks):,} "
        f"clicks, {len(world.events):,} events"
    )
    yield ""


def _report(figures: Sequence[Figure], wrong: Sequence[str]) -> Iterator[str]:
    ink = choose_ink(sys.stdout.encoding)
    yield f"{'':44}{'counted':>12}{'true':>12}"
    for one in figures:
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


def _model_report(errors: Sequence[ModelError]) -> Iterator[str]:
    yield ""
    yield "models beside what made people buy: how far a campaign's share is off in the mean, caused conversions that"
    yield "are whole with their campaign, and credit for what no campaign caused"
    yield f"{'':20}{'share off':>14}{'whole and right':>18}{'uncaused':>12}{'sponsors':>10}"
    for one in errors:
        right, uncaused = (f"{100 * ppm / _MILLION:.1f} %" for ppm in (one.right_ppm, one.uncaused_ppm))
        if one.sponsors:
            yield f"{one.model:20}{one.share_points:>7.1f} points{right:>18}{uncaused:>12}{one.sponsors:>10}"
        else:
            yield f"{one.model:20}{'too few paths':>14}{'':>18}{'':>12}{0:>10}"


def _conclude(world: World, differing: int, took_s: float) -> Iterator[str]:
    yield ""
    if differing:
        yield f"{differing:,} figures and conversions differ from what is true, {took_s:.0f} s"
    else:
        count = len(world.conversions)
        yield f"all {count:,} conversions are attributed to what they name, to the cent, {took_s:.0f} s"
