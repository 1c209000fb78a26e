"""What is asked of the API for a sponsor, by what somebody wrote in a terminal."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import msgspec

from castledger_server.api_access import Api
from castledger_server.campaign_answers import Sponsor
from castledger_server.commands import printable, say
from castledger_server.making import Wanted
from castledger_server.restate_cli import read_range
from castledger_server.waiting import wait_until_made

__all__ = ("list_lines", "want_action", "want_run", "want_sponsor")


class _Listed(msgspec.Struct, frozen=True, kw_only=True):
    sponsor_id: UUID
    name: str
    domain: str | None


class _Action(msgspec.Struct, frozen=True):
    name: str
    event_type: str | None


class _Counted(msgspec.Struct, frozen=True):
    status: str
    conversions: int


class _Warned(msgspec.Struct, frozen=True):
    message: str


class _Summary(msgspec.Struct, frozen=True):
    conversions: int
    counted: list[_Counted]
    warnings: list[_Warned]


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    run_id: UUID
    status: str
    done_ppm: int
    error: str | None
    summary: _Summary | None


class _Result(msgspec.Struct, frozen=True):
    run: _Run


def list_lines(api: Api, *, is_json: bool) -> Iterator[str]:
    """List sponsors that are not archived, a line each.

    Raises:
        ApiRefusal: The API refused.
    """
    found = api.get_all("/sponsors", msgspec.Raw, state="active")
    if is_json:
        yield from (bytes(one).decode() for one in found)
        return
    number = 0
    for number, one in enumerate((msgspec.json.decode(raw, type=_Listed) for raw in found), 1):
        if number == 1:
            yield f"{'id':<38}{'shop':<32}sponsor"
        yield f"{one.sponsor_id!s:<38}{printable(one.domain or '–'):<32}{printable(one.name)}"
    if not number:
        yield "there is no sponsor; add one: castledger sponsors add Acme --domain shop.example.com"


def want_sponsor(options: argparse.Namespace) -> list[Wanted]:
    """Want a sponsor more."""

    def tell(answer: bytes) -> Iterator[str]:
        made = msgspec.json.decode(answer, type=_Listed)
        yield f"sponsor_id: {made.sponsor_id}"
        yield f"sponsor: {printable(made.name)}" + (f", {printable(made.domain)}" if made.domain else "")
        name = shlex.quote(printable(made.name))
        yield f"next: castledger sponsor {name} action add Order --category purchase --event-type purchase"
        yield f"next: castledger campaigns add --sponsor {name} --help"

    body = {"name": options.name, "domain": options.domain, "category": options.category}
    return [Wanted("/sponsors", body, tell, {"name": "NAME", "domain": "--domain", "category": "--category"})]


def want_action(sponsor: Sponsor, options: argparse.Namespace) -> list[Wanted]:
    """Want something to count as a conversion of a sponsor's."""

    def tell(answer: bytes) -> Iterator[str]:
        made = msgspec.json.decode(answer, type=_Action)
        events = "what the API is told of" if made.event_type is None else f"events of type {made.event_type}"
        yield f"{printable(made.name)} counts for {printable(sponsor.name)}: {events}"

    body = {
        "sponsor_id": sponsor.sponsor_id,
        "name": options.name,
        "category": options.category,
        "event_type": options.event_type,
        "counting": options.counting,
    }
    return [Wanted("/conversion-actions", body, tell, {"name": "NAME", "event_type": "--event-type"})]


def want_run(api: Api, sponsor: Sponsor, options: argparse.Namespace) -> list[Wanted]:
    """Want conversions of some days attributed; what is told of it is waited for.

    Raises:
        InvalidInput: The days cannot be.
    """
    first, until = read_range(options)
    body: dict[str, Any] = {"sponsor_id": sponsor.sponsor_id, "from": str(first), "to": str(until)}
    if options.models:
        body["models"] = options.models

    def settle(answer: bytes) -> bytes:
        asked = msgspec.json.decode(answer, type=_Run)
        say(f"run {asked.run_id} is asked for")
        path = f"/attribution/runs/{asked.run_id}"
        wait_until_made(
            asked,
            lambda: msgspec.json.decode(api.get(path, {}), type=_Result).run,
            wait_s=options.wait,
            say=say,
            what=f"the run {asked.run_id}",
            later="it goes on being made, and `castledger campaigns` tells of it once it is ready",
        )
        return api.get(path, {})

    def tell(answer: bytes) -> Iterator[str]:
        run = msgspec.json.decode(answer, type=_Result).run
        yield f"run_id: {run.run_id}"
        if run.summary is not None:
            counts: Counter[str] = Counter()
            for one in run.summary.counted:
                counts[one.status] += one.conversions
            parts = ", ".join(f"{count:,} {status}" for status, count in counts.items())
            yield f"conversions: {run.summary.conversions:,}" + (f" ({parts})" if parts else "")
            yield from (f"warning: {one.message}" for one in run.summary.warnings)
        yield f"next: castledger campaigns --sponsor {shlex.quote(printable(sponsor.name))}"

    return [Wanted("/attribution/runs", body, tell, {"from": "--from", "to": "--to"}, settle)]
