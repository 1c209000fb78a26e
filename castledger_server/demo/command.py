"""``castledger demo``: play a month, count it, hold it up to the truth; or take it away again."""

from __future__ import annotations

import asyncio
import datetime as dt
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from analytics_core.clock import SystemClock
from analytics_core.settings import Settings
from castledger_server.api_access import Api
from castledger_server.commands import say, write_lines
from castledger_server.data_dir import RunningUp
from castledger_server.demo.figures import count_truth, days_of, read_counted, settled_hits
from castledger_server.demo.player import play
from castledger_server.demo.podcast import GUID, TITLE, write_feed
from castledger_server.demo.progress import Progress
from castledger_server.demo.report import Ink, choose_ink, count_differences, write_report
from castledger_server.demo.running import find_up, places
from castledger_server.demo.schedule import Schedule, plan
from castledger_server.demo.stage import replaying_tracker, wait_until_landed
from castledger_server.demo.tenancy import found_tenant, make_tenant, only_demo, remove_tenant

__all__ = ("MAX_DAYS", "MAX_USERS", "DemoOptions", "remove_demo", "run_demo")

MAX_DAYS: Final = 45
"""Older days may be keyed under secrets that were destroyed, so that nobody can be told to be the same any more."""

MAX_USERS: Final = 10_000
_SUM_UP_S: Final = 60.0
_LOOK_S: Final = 0.25


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says.

    Attributes:
        users: Regular listeners, from 1 to ``MAX_USERS``.
        days: UTC days that end yesterday, from 1 to ``MAX_DAYS``.
        seed: The same one plays the same.
        data_dir: The data folder as it was given, for the commands that are shown; ``None`` for the default one.
    """

    users: int
    days: int
    seed: int
    data_dir: Path | None = None


def run_demo(options: DemoOptions, settings: Settings, environ: Mapping[str, str]) -> int:
    """Play the demo on the ``up`` of a data folder; a former one is taken away first.

    Returns:
        0 when what was counted is what is true, 1 when it is not.

    Raises:
        ConfigError: No ``up`` runs there.
        Conflict: Another demo is at work, or somebody's own tenant has its name.
        CastledgerError: Something does not answer.
    """
    return asyncio.run(_run(options, settings, environ))


def remove_demo(settings: Settings) -> None:
    """Take the demo away.

    Raises:
        ConfigError: No ``up`` runs on the data folder.
        Conflict: Another demo is at work, somebody's own tenant has its name, or its podcast was claimed.
        CastledgerError: Something does not answer.
    """
    asyncio.run(_remove(settings))


async def _remove(settings: Settings) -> None:
    database, spool_dir, key_file = places(find_up(settings.data_dir), settings)
    async with only_demo(database) as conn:
        row = await found_tenant(conn)
        if row is None:
            key_file.unlink(missing_ok=True)
            say("there is no demo here")
            return
        # What an interrupted one left in the spool would come back as hits of a podcast that nobody knows.
        for folder in (spool_dir, settings.collector.spool_dir):
            await wait_until_landed(folder)
        await remove_tenant(database, row, key_file)
    say("the demo is gone")


async def _run(options: DemoOptions, settings: Settings, environ: Mapping[str, str]) -> int:
    running = find_up(settings.data_dir)
    database, spool_dir, key_file = places(running, settings)
    ink = choose_ink(sys.stdout.encoding)
    first_day = SystemClock().now().date() - dt.timedelta(days=options.days)
    schedule = plan(seed=options.seed, users=options.users, first_day=first_day, days=options.days)
    async with only_demo(database) as conn:
        former = await found_tenant(conn)
        for folder in (spool_dir, settings.collector.spool_dir):
            await wait_until_landed(folder)
        if former is not None:
            say("taking the former demo away")
            await remove_tenant(database, former, key_file)
        _, key = await make_tenant(conn, key_file)
        try:
            api = Api(running.answers["api_url"], key)
            added = await asyncio.to_thread(
                api.post, "/podcasts", write_feed(schedule.episodes), media_type="application/rss+xml"
            )
            podcast_id: str = msgspec.json.decode(added)["podcast_id"]
            async with replaying_tracker(spool_dir, environ) as port:
                with Progress(len(schedule.requests)) as progress:
                    await play(port, schedule.requests, GUID, progress=progress)
            say("waiting until all of it has landed")
            await wait_until_landed(spool_dir)
            truth = count_truth(schedule)
            await _wait_until_summed_up(api, podcast_id, truth.hits)
            counted = await asyncio.to_thread(read_counted, api, podcast_id, days_of(schedule))
        except BaseException:
            say("the demo is not whole; run it again, or take it away with `castledger demo --remove`")
            raise
    differences = count_differences(counted, truth)
    write_lines(_introduce(options, schedule))
    write_lines(write_report(counted, truth, ink=ink))
    write_lines(_conclude(differences, ink))
    write_lines(_look_next(options, running, key_file, podcast_id, schedule))
    return 1 if differences else 0


async def _wait_until_summed_up(api: Api, podcast_id: str, hits: Mapping[dt.date, int]) -> None:
    """Wait until every day has its hits and no rollup is out of date; what does not come is left to be shown."""
    waiting = dict(hits)
    deadline = time.monotonic() + _SUM_UP_S
    while waiting and time.monotonic() < deadline:
        settled = await asyncio.to_thread(settled_hits, api, podcast_id, list(waiting))
        waiting = {day: count for day, count in waiting.items() if settled.get(day, -1) < count}
        if waiting:
            await asyncio.sleep(_LOOK_S)


def _introduce(options: DemoOptions, schedule: Schedule) -> Iterator[str]:
    last_day = schedule.first_day + dt.timedelta(days=schedule.days - 1)
    yield (
        f"{TITLE}: {len(schedule.requests):,} requests by {options.users:,} listeners and some bots, "
        f"{schedule.first_day} to {last_day}, seed {options.seed}"
    )
    yield ""


def _conclude(differences: int, ink: Ink) -> Iterator[str]:
    yield ""
    if differences:
        yield f"{differences} figures differ from what is true; they are marked {ink.differs}"
    else:
        yield "every figure is what it should be"


def _look_next(
    options: DemoOptions, running: RunningUp, key_file: Path, podcast_id: str, schedule: Schedule
) -> Iterator[str]:
    folder = f" --data-dir {shlex.quote(str(options.data_dir))}" if options.data_dir is not None else ""
    key = f'"$(cat {shlex.quote(str(key_file))})"'
    newest = min(schedule.episodes[-1].published_at.date(), schedule.first_day + dt.timedelta(days=schedule.days - 1))
    api_url = running.answers["api_url"].rstrip("/")
    yield ""
    yield "look next:"
    yield f"  the page, with the key in {key_file}:"
    yield f"    {api_url}/"
    yield f"  why the hits of the day on which “{schedule.episodes[-1].title}” came out count, or do not:"
    yield f"    castledger explain{folder} --api-key {key} --podcast {podcast_id} --day {newest}"
    yield "  how listeners moved from one app to another, week by week:"
    yield (
        f"    curl -H {_bearer(key_file)} "
        f"'{api_url}/api/v1/analytics/downloads?podcast_id={podcast_id}&by=app&interval=week"
        f"&from={schedule.first_day}'"
    )
    yield "  take all of it away again:"
    yield f"    castledger demo --remove{folder}"


def _bearer(key_file: Path) -> str:
    return f'"Authorization: Bearer $(cat {shlex.quote(str(key_file))})"'
