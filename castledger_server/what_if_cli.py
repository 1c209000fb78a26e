"""``castledger explain --url``: the options, and what they are answered from."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from analytics_core.errors import InvalidInput

if TYPE_CHECKING:
    from analytics_core.profiles import Profile
    from analytics_core.settings import Settings

__all__ = ("ASKED_EPILOG", "add_asked", "explain_asked")

ASKED_EPILOG: Final = (
    "  castledger explain --url https://pod.example.org/e,pg=…/cdn.example.com/ep.mp3 --range bytes=0-1 \\\n"
    "      --user-agent 'AppleCoreMedia/1.0.0.20G75 (iPhone; U; CPU OS 16_6 like Mac OS X; en_us)'\n"
    "  castledger explain --url https://cdn.example.com/ep.mp3 --address 192.0.2.1 --profile op3 --json\n"
)
"""Examples of it."""


def add_asked(explain: argparse.ArgumentParser) -> None:
    """Add what is said of a request that nobody sends."""
    asked = explain.add_argument_group(
        "a request that nobody sends",
        "What would a tracker answer, and how would the hit count? Nothing is sent and nothing is recorded. The\n"
        "episode is looked up in the ledger's database (DATABASE_URL, or that of a running `up`); without one the\n"
        "request is taken for an episode's, of which nothing is known.",
    )
    asked.add_argument("--url", metavar="URL", help="at the tracker, or an enclosure's own")
    asked.add_argument("--user-agent", default="", metavar="TEXT", help="what the player calls itself")
    asked.add_argument("--range", dest="byte_range", default="", metavar="TEXT", help="the Range header: bytes=0-1")
    asked.add_argument("--referrer", default="", metavar="URL", help="the page that it came from")
    asked.add_argument("--address", metavar="ADDRESS", help="looked up in the lists that are installed")
    asked.add_argument("--method", default="GET", metavar="METHOD", help="GET by default")
    asked.add_argument("--at", metavar="TIME", help="when, with an offset: 2026-11-23T10:00:00Z; now by default")
    asked.add_argument("--navigation", action="store_true", help="a browser asks for a page, not a player for a file")
    asked.add_argument(
        "--profile",
        dest="profiles",
        action="append",
        metavar="NAME",
        help="by which profiles; may be given again (by default castledger-1 and ptmg-2.3)",
    )
    asked.add_argument("--offline", action="store_true", help="ask no database")
    asked.add_argument("--json", action="store_true", help="write JSON")


def explain_asked(options: argparse.Namespace, settings: Settings) -> int:
    """Explain a request; 0 whatever becomes of it.

    Raises:
        ConfigError: A list or a profile's file cannot be used.
        InvalidInput: Something of the request cannot be meant.
        Unavailable: The database does not answer.
    """
    import msgspec

    from analytics_core.agent_lists import AgentLists
    from analytics_core.hits import HitKind
    from castledger_server.what_if import (
        Asked,
        Found,
        answer,
        assume_episode,
        explain_request,
        find_episode,
        open_registry,
        place,
        tell,
    )
    from ingest.registry_writer import own_hosts

    asked = Asked(
        url=options.url,
        method=options.method.upper(),
        agent=_line(options.user_agent, "--user-agent"),
        byte_range=_line(options.byte_range, "--range"),
        referrer=_line(options.referrer, "--referrer"),
        address=options.address,
        podcast=options.podcast,
        at=_read_time(options.at),
        is_navigation=options.navigation,
    )
    profiles = _choose(options.profiles, settings)
    answered, decision = answer(asked, settings.tracker, open_registry(settings.tracker))
    is_click = decision.kind == HitKind.CLICK
    is_assumed = settings.database is None or options.offline
    found = Found(None, False)
    if answered.recorded and not is_click:
        own = own_hosts(settings.tracker.public_url)
        found = (
            assume_episode(decision, own_hosts=own)
            if is_assumed
            else asyncio.run(
                find_episode(settings.require_database(), decision, own_hosts=own, podcast=options.podcast)
            )
        )
    ingest = settings.ingest
    lists = AgentLists(ingest.agent_lists, ingest.agent_lists_mode, keep=ingest.agent_lists_kept)
    if lists.fault is not None:
        sys.stderr.write(f"castledger: lists of user agents cannot be used, those before stay: {lists.fault}\n")
    explained = explain_request(
        asked,
        answered,
        found=found,
        is_assumed=is_assumed,
        placed=place(options.address, ingest, at=asked.at),
        table=lists.table,
        profiles=profiles,
        is_click=is_click,
    )
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(explained), indent=2).decode() + "\n")
        return 0
    for line in tell(explained):
        sys.stdout.write(f"{line}\n")
    return 0


def _line(text: str, name: str) -> str:
    from analytics_core.hits import MAX_TEXT_BYTES

    if len(text.encode("utf-8", "surrogateescape")) > MAX_TEXT_BYTES or "\n" in text or "\r" in text:
        raise InvalidInput(name, f"is a line of at most {MAX_TEXT_BYTES:,} bytes")
    return text


def _read_time(text: str | None) -> datetime:
    from analytics_core.clock import SystemClock

    if text is None:
        return SystemClock().now()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidInput("--at", f"is a time with an offset such as 2026-11-23T10:00:00Z, not {text!r}")
    return at.astimezone(UTC)


def _choose(names: Sequence[str] | None, settings: Settings) -> list[Profile]:
    """Choose profiles by their names; what is counted and what is counted strictly where none is named."""
    from analytics_core.own_profiles import load_profiles
    from api.what_if import DEFAULT_PROFILES

    if not names:
        return list(DEFAULT_PROFILES)
    known: Mapping[str, Profile] = load_profiles(settings.api.profiles)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}" if near else ""
            raise InvalidInput("--profile", f"there is no {name!r}{meant}? There are {', '.join(sorted(known))}")
    return [known[name] for name in dict.fromkeys(names)]
