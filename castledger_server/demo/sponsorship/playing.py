"""``castledger demo --sponsorship``: make a year of sponsorship, attribute it, and hold it up to the truth."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
from castledger_server.commands import say, write_lines
from castledger_server.demo.progress import Progress
from castledger_server.demo.running import find_up, places
from castledger_server.demo.sponsorship.comparing import (
    DETERMINISTIC,
    Found,
    Leaked,
    ModelError,
    compare,
    credit_of,
    weigh,
)
from castledger_server.demo.sponsorship.report import (
    conclude,
    introduce,
    list_by_campaign,
    list_sums,
    look_next,
    write_figures,
    write_models,
)
from castledger_server.demo.sponsorship.telling import (
    Agreed,
    add_podcasts,
    agree,
    make_keys,
    tell_clicks,
    tell_downloads,
    tell_events,
    tell_lists,
)
from castledger_server.demo.sponsorship.truth import make_world
from castledger_server.demo.sponsorship.world import Size, World, is_listed
from castledger_server.demo.stage import replaying_collector, replaying_tracker, wait_until_landed
from castledger_server.demo.tenancy import found_tenant, make_tenant, only_demo, remove_tenant
from ingest.rollups import refresh_rollups

__all__ = ("run_sponsorship",)

_APPLICATION: Final = "castledger demo"
_PATIENCE_S: Final = 180.0
_SUM_UP_S: Final = 600.0
_LOOK_S: Final = 1.0


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
            keys = await asyncio.to_thread(make_keys, api, world, now=SystemClock().now())
            apis = [Api(running.answers["api_url"], one) for one in keys]
            agreed = await _tell(world, api, apis, key, spool_dir, settings, environ)
            impressions = await _settle(database, tenant, api, world, agreed)
            say("attributing")
            results = await _attribute(api, world, agreed)
            found, shares = await _read_outcomes(database, tenant, agreed, [result["run"] for result in results])
            leaks = [await asyncio.to_thread(_read_leaks, api, world, sponsor_id) for sponsor_id in agreed.sponsors]
        except BaseException:
            say("the demo is not whole; run it again, or take it away with `castledger demo --remove`")
            raise
    sums = list(list_sums(world, impressions, results, leaks, found))
    by_campaign = list(list_by_campaign(world, agreed, impressions, results))
    wrong = list(compare(world, found))
    differing = len(wrong) + sum(one.counted != one.true for one in (*sums, *by_campaign))
    errors = _weigh_all(world, found, shares, results)
    write_lines(introduce(world, seed))
    write_lines(write_figures(sums, by_campaign, wrong))
    write_lines(write_models(errors))
    write_lines(look_next(running, key_file))
    write_lines(conclude(world, differing, time.monotonic() - began_s))
    return 1 if differing else 0


async def _tell(
    world: World,
    api: Api,
    apis: Sequence[Api],
    key: str,
    spool_dir: Path,
    settings: Settings,
    environ: Mapping[str, str],
) -> Agreed:
    """Tell the ledger all that happens in the world, each part when what it refers to is known."""
    registry = settings.tracker.registry_path
    say(f"adding {len(world.podcasts)} podcasts")
    episodes = await asyncio.to_thread(add_podcasts, apis, world)
    say(f"agreeing on {len(world.campaigns)} campaigns")

    async def listen() -> None:
        async with replaying_tracker(spool_dir, environ, registry=registry) as port:
            with Progress(len(world.downloads)) as progress:
                await tell_downloads(port, world, progress=progress)

    agreed, _ = await asyncio.gather(asyncio.to_thread(agree, apis, world, episodes), listen())

    hosts = [campaign.vanity_host for campaign in world.campaigns if campaign.vanity_host is not None]

    async def is_known() -> bool:
        known = await asyncio.to_thread(read_registry, registry)
        return all(known.links.get(slug) is not None for slug in agreed.slugs) and all(
            known.vanity_hosts.get(host) is not None for host in hosts
        )

    await _wait_until(is_known, "the tracker is not told of the demo's links")
    async with replaying_tracker(spool_dir, environ, registry=registry) as port:
        click_ids = await tell_clicks(port, world, agreed.slugs)
    say("waiting until all of it has landed")
    await wait_until_landed(spool_dir)
    # Refunds of orders in them are events.
    say("sending the lists of shops that keep one")
    await asyncio.to_thread(tell_lists, api, world, agreed)
    events_dir = settings.collector.spool_dir
    say(f"telling {sum(not is_listed(event) for event in world.events):,} events")
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
    deadline = time.monotonic() + _SUM_UP_S
    # One after the other, as a key may ask only so often.
    for campaign in world.campaigns:
        while True:
            async with connection(pool) as conn:
                # Beside ingest, which rests for as long as it took, as somebody may want the database.
                has_worked = await refresh_rollups(conn)
                is_summed_up = not await count_marks(conn)
            delivered |= await asyncio.to_thread(_read_delivered, api, agreed, campaign.number)
            is_there = all(
                count == delivered.get(key) for key, count in world.delivered.items() if key[0] == campaign.number
            )
            if is_there or is_summed_up or time.monotonic() > deadline:
                break
            if not has_worked:
                await asyncio.sleep(_LOOK_S)
    return delivered


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


def _weigh_all(
    world: World,
    found: Mapping[str, Found],
    shares: Mapping[str, Mapping[str, Mapping[int, int]]],
    results: Sequence[Mapping[str, Any]],
) -> list[ModelError]:
    everybody = range(world.size.sponsors)
    errors = [weigh(world, DETERMINISTIC, credit_of(found), everybody)]
    for model in Model:
        answering = [
            sponsor for sponsor in everybody if model.value not in results[sponsor]["run"]["summary"]["insufficient"]
        ]
        errors.append(weigh(world, model.value, shares[model.value], answering))
    return errors
