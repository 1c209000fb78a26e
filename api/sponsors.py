"""What the API and the page do to sponsors alike: each in its unit of work, with its entry in the record of changes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response
from msgspec.structs import replace

from analytics_core.db import sponsors as storage
from analytics_core.db.sponsors import SponsorFields, SponsorRow, hold_sponsor
from analytics_core.errors import InvalidInput
from analytics_core.hosts import parse_host_name
from analytics_core.sponsors import parse_category, parse_contacts, parse_name, parse_targeting
from api.errors import Fault, InvalidRequest
from api.resources import resources_of
from api.schemas.sponsors import AddSponsor, ChangeSponsor, MergedSponsors, Sponsor
from api.versions import answer_version
from api.writing import Work, writing

__all__ = ("add", "add_within", "archive", "change", "erase_contacts", "merge", "parse_sponsor", "restore")


def _parse_domain(text: str) -> str:
    try:
        return parse_host_name(text)
    except InvalidInput as error:
        raise InvalidInput("/domain", error.reason, code=error.code) from error


_PARSERS: Final[dict[str, Callable[[Any], object]]] = {
    "name": parse_name,
    "domain": _parse_domain,
    "category": parse_category,
    "contacts": parse_contacts,
    "targeting": parse_targeting,
}


def _parse(given: AddSponsor | ChangeSponsor) -> dict[str, Any]:
    """Check what is given of a sponsor, field by field.

    Raises:
        InvalidRequest: Something is wrong; the first fault of each field is listed.
    """
    faults: list[Fault] = []
    found: dict[str, Any] = {}
    for name, parse in _PARSERS.items():
        value = getattr(given, name)
        if value is msgspec.UNSET:
            continue
        try:
            found[name] = None if value is None else parse(value)
        except InvalidInput as error:
            faults.append(Fault(error.path, error.code, error.reason))
    if faults:
        raise InvalidRequest(faults)
    return found


def _on_record(row: SponsorRow) -> dict[str, Any]:
    """Describe a sponsor for the record of changes, which outlives whoever is to be asked there."""
    return {**msgspec.structs.asdict(row), "contacts": len(row.contacts)}


def _answer(row: SponsorRow) -> Response[Sponsor]:
    return answer_version(Sponsor.of(row), version=row.version)


def _done(work: Work, row: SponsorRow, *, was: SponsorRow) -> SponsorRow:
    return work.done(row, resource=row.sponsor_id, before=_on_record(was), after=_on_record(row), answer=_answer(row))


def parse_sponsor(given: AddSponsor) -> SponsorFields:
    """Check a sponsor that is to be added.

    Raises:
        InvalidRequest: Something is wrong with what is given; all is listed.
    """
    return SponsorFields(**_parse(given))


async def add_within(work: Work, fields: SponsorFields, *, now: dt.datetime) -> SponsorRow:
    """Add a sponsor on the way to something else.

    Raises:
        Conflict: As :func:`analytics_core.db.sponsors.add_sponsor`.
    """
    row = await storage.add_sponsor(work.conn, work.tenant, fields, now=now)
    work.also_made("sponsor.create", resource=row.sponsor_id, after=_on_record(row))
    return row


async def add(request: Request[Any, Any, Any], given: AddSponsor) -> SponsorRow:
    """Add a sponsor.

    Raises:
        InvalidRequest: Something is wrong with what is given; all is listed.
        Conflict: As :func:`analytics_core.db.sponsors.add_sponsor`.
    """
    fields = parse_sponsor(given)
    async with writing(request, "sponsor.create") as work:
        row = await storage.add_sponsor(work.conn, work.tenant, fields, now=resources_of(request).clock.now())
        return work.done(row, resource=row.sponsor_id, after=_on_record(row), answer=_answer(row))


async def change(
    request: Request[Any, Any, Any], sponsor_id: UUID, given: ChangeSponsor, *, version: int | None
) -> SponsorRow:
    """Change what is said of a sponsor.

    Raises:
        InvalidRequest: Something is wrong with what is given; all is listed.
        NotFound: There is none of this id.
        Conflict: As :func:`analytics_core.db.sponsors.change_sponsor`.
        Outdated: There is another version.
    """
    fields = _parse(given)
    async with writing(request, "sponsor.update") as work:
        was = await hold_sponsor(work.conn, sponsor_id, version=version)
        return _done(work, await storage.change_sponsor(work.conn, was, replace(was, **fields)), was=was)


async def archive(request: Request[Any, Any, Any], sponsor_id: UUID, *, version: int | None) -> SponsorRow:
    """Put a sponsor away.

    Raises:
        NotFound: There is none of this id.
        Outdated: There is another version.
    """
    async with writing(request, "sponsor.archive") as work:
        was = await hold_sponsor(work.conn, sponsor_id, version=version)
        row = await storage.archive_sponsor(work.conn, was, now=resources_of(request).clock.now())
        return _done(work, row, was=was)


async def restore(request: Request[Any, Any, Any], sponsor_id: UUID, *, version: int | None) -> SponsorRow:
    """Take an archived sponsor back.

    Raises:
        NotFound: There is none of this id.
        Outdated: There is another version.
    """
    async with writing(request, "sponsor.restore") as work:
        was = await hold_sponsor(work.conn, sponsor_id, version=version)
        return _done(work, await storage.restore_sponsor(work.conn, was), was=was)


async def erase_contacts(request: Request[Any, Any, Any], sponsor_id: UUID, *, version: int | None) -> SponsorRow:
    """Forget whom to ask at a sponsor's.

    Raises:
        NotFound: There is none of this id.
        Outdated: There is another version.
    """
    async with writing(request, "sponsor.erase_contacts") as work:
        was = await hold_sponsor(work.conn, sponsor_id, version=version)
        return _done(work, await storage.erase_contacts(work.conn, was), was=was)


async def merge(
    request: Request[Any, Any, Any], sponsor_id: UUID, *, into: UUID, version: int | None
) -> tuple[SponsorRow, int]:
    """Give all that a sponsor has to another one; returns that one, and how many links it got.

    Raises:
        InvalidInput, NotFound, Conflict, Outdated: As :func:`analytics_core.db.sponsors.merge_sponsors`.
    """
    async with writing(request, "sponsor.merge") as work:
        now = resources_of(request).clock.now()
        row, links = await storage.merge_sponsors(work.conn, sponsor_id, into=into, now=now, version=version)
        merged = MergedSponsors(sponsor=Sponsor.of(row), links_moved=links)
        answer = answer_version(merged, version=row.version)
        return work.done((row, links), resource=sponsor_id, after={"into": into, "links_moved": links}, answer=answer)
