"""Sponsors: who pays, what is theirs, and how often it was followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from msgspec.structs import replace

from analytics_core.db.clicks import count_clicks
from analytics_core.db.sponsors import (
    SponsorFields,
    SponsorRow,
    add_sponsor,
    change_sponsor,
    erase_contacts,
    find_sponsor,
    hold_sponsor,
    merge_sponsors,
)
from analytics_core.db.sponsors import archive_sponsor as put_away
from analytics_core.db.sponsors import list_sponsors as read_sponsors
from analytics_core.db.sponsors import restore_sponsor as take_back
from analytics_core.errors import InvalidInput
from analytics_core.hosts import parse_host_name
from analytics_core.permissions import Permission
from analytics_core.sponsors import parse_category, parse_contacts, parse_name, parse_targeting
from api.auth import caller_of
from api.bodies import read_json
from api.clicks import CLICK_QUERY, read_plan
from api.errors import Fault, InvalidRequest
from api.pagination import LIMIT, id_cursor, write_cursor
from api.queries import Parameter, Query, Refusal
from api.resources import resources_of
from api.schemas.clicks import ClicksAnswer
from api.schemas.common import Page
from api.schemas.sponsors import AddSponsor, ChangeSponsor, MergedSponsors, MergeSponsors, Sponsor
from api.scopes import path_id
from api.versions import answer_version, read_version
from api.writing import Work, writing

__all__ = (
    "archive_sponsor",
    "create_sponsor",
    "erase_sponsor_contacts",
    "get_sponsor",
    "get_sponsor_clicks",
    "list_sponsors",
    "merge_sponsor",
    "restore_sponsor",
    "update_sponsor",
)

T = TypeVar("T")

_LIST: Final = "sponsors"
_CURSOR: Final = id_cursor(_LIST)
_STATES: Final = {"active": False, "archived": True}


def _state(text: str) -> bool | None:
    if text not in _STATES:
        raise Refusal("invalid", f"has to be one of {', '.join(_STATES)}")
    return _STATES[text]


_STATE: Final[Parameter[bool | None]] = Parameter(
    "state", _state, None, "Only active ones, or only archived ones.", {"type": "string", "enum": list(_STATES)}
)


def _show(row: SponsorRow) -> Response[Sponsor]:
    return answer_version(Sponsor.of(row), version=row.version)


def _on_record(row: SponsorRow) -> dict[str, Any]:
    """Describe a sponsor for the record of changes, which outlives whoever is to be asked there."""
    return {**msgspec.structs.asdict(row), "contacts": len(row.contacts)}


def _done(work: Work, row: SponsorRow, *, was: SponsorRow) -> Response[Sponsor]:
    return work.done(_show(row), resource=row.sponsor_id, before=_on_record(was), after=_on_record(row))


def _sponsor_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "sponsor_id", what="sponsor")


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


@post(
    "/sponsors",
    tags=["sponsors"],
    opt={"permission": Permission.SPONSORS_WRITE, "bodies": {"application/json": AddSponsor}, "refusals": (409,)},
)
async def create_sponsor(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Add a sponsor.

    A tenant has one sponsor of a name, without regard to case; archived ones keep theirs.
    """
    resources = resources_of(request)
    fields = SponsorFields(**_parse(await read_json(request, AddSponsor)))
    async with writing(request, "sponsor.create") as work:
        row = await add_sponsor(work.conn, work.tenant, fields, now=resources.clock.now())
        return work.done(_show(row), resource=row.sponsor_id, after=_on_record(row))


@get("/sponsors", tags=["sponsors"], opt={"permission": Permission.SPONSORS_READ, "query": (_STATE, LIMIT, _CURSOR)})
async def list_sponsors(request: Request[Any, Any, Any]) -> Page[Sponsor]:
    """List sponsors in the order in which they were added, archived ones too."""
    query = Query.of(request)
    archived, limit, after = query.get(_STATE), query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        rows = await read_sponsors(conn, after=after, limit=limit + 1, archived=archived)
    last = rows[limit - 1] if len(rows) > limit else None
    cursor = None if last is None else write_cursor(_LIST, last.created_at, last.sponsor_id)
    return Page([Sponsor.of(row) for row in rows[:limit]], cursor)


@get("/sponsors/{sponsor_id:str}", tags=["sponsors"], opt={"permission": Permission.SPONSORS_READ})
async def get_sponsor(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Read one sponsor, with all that is kept of the people to ask there."""
    wanted = _sponsor_id(request)
    async with resources_of(request).database.tenant(caller_of(request).tenant) as conn:
        return _show(await find_sponsor(conn, wanted))


@patch(
    "/sponsors/{sponsor_id:str}",
    tags=["sponsors"],
    opt={
        "permission": Permission.SPONSORS_WRITE,
        "bodies": {"application/json": ChangeSponsor},
        "is_versioned": True,
        "refusals": (409,),
    },
)
async def update_sponsor(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Change what is said of a sponsor.

    With `If-Match`, only the version that it names: who has not seen the last change does not undo it.
    """
    wanted, version = _sponsor_id(request), read_version(request)
    change = _parse(await read_json(request, ChangeSponsor))
    async with writing(request, "sponsor.update") as work:
        was = await hold_sponsor(work.conn, wanted, version=version)
        row = await change_sponsor(work.conn, was, replace(was, **change))
        return _done(work, row, was=was)


@post(
    "/sponsors/{sponsor_id:str}/archive",
    tags=["sponsors"],
    status_code=200,
    opt={"permission": Permission.SPONSORS_WRITE, "is_versioned": True},
)
async def archive_sponsor(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Put a sponsor away. It keeps its name and its links, which lead on, and gets no new ones."""
    wanted, version = _sponsor_id(request), read_version(request)
    resources = resources_of(request)
    async with writing(request, "sponsor.archive") as work:
        was = await hold_sponsor(work.conn, wanted, version=version)
        return _done(work, await put_away(work.conn, was, now=resources.clock.now()), was=was)


@post(
    "/sponsors/{sponsor_id:str}/restore",
    tags=["sponsors"],
    status_code=200,
    opt={"permission": Permission.SPONSORS_WRITE, "is_versioned": True},
)
async def restore_sponsor(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Take an archived sponsor back."""
    wanted, version = _sponsor_id(request), read_version(request)
    async with writing(request, "sponsor.restore") as work:
        was = await hold_sponsor(work.conn, wanted, version=version)
        return _done(work, await take_back(work.conn, was), was=was)


@post(
    "/sponsors/{sponsor_id:str}/merge",
    tags=["sponsors"],
    status_code=200,
    opt={
        "permission": Permission.SPONSORS_WRITE,
        "bodies": {"application/json": MergeSponsors},
        "is_versioned": True,
        "refusals": (409,),
    },
)
async def merge_sponsor(request: Request[Any, Any, Any]) -> Response[MergedSponsors]:
    """Make two sponsors one: `into` gets all links of this one, which is archived.

    What is said of either stays as it is. Whoever could see this one alone does not see the other one's by this.
    """
    wanted, version = _sponsor_id(request), read_version(request)
    resources = resources_of(request)
    into = (await read_json(request, MergeSponsors)).into
    async with writing(request, "sponsor.merge") as work:
        row, links = await merge_sponsors(work.conn, wanted, into=into, now=resources.clock.now(), version=version)
        answer = MergedSponsors(sponsor=Sponsor.of(row), links_moved=links)
        return work.done(
            answer_version(answer, version=row.version), resource=wanted, after={"into": into, "links_moved": links}
        )


@post(
    "/sponsors/{sponsor_id:str}/contacts/erase",
    tags=["sponsors"],
    status_code=200,
    opt={"permission": Permission.SPONSORS_WRITE, "is_versioned": True},
)
async def erase_sponsor_contacts(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Erase all people to ask at a sponsor's, of an archived one as well; one of them goes by `PATCH`."""
    wanted, version = _sponsor_id(request), read_version(request)
    async with writing(request, "sponsor.erase_contacts") as work:
        was = await hold_sponsor(work.conn, wanted, version=version)
        return _done(work, await erase_contacts(work.conn, was), was=was)


@get(
    "/sponsors/{sponsor_id:str}/clicks",
    tags=["sponsors"],
    opt={"permission": Permission.SPONSORS_READ, "query": CLICK_QUERY},
)
async def get_sponsor_clicks(request: Request[Any, Any, Any]) -> ClicksAnswer:
    """Count the clicks on all links of a sponsor by time, deleted links too."""
    wanted, plan = _sponsor_id(request), read_plan(request)
    async with resources_of(request).database.tenant(caller_of(request).tenant, snapshot=True) as conn:
        await find_sponsor(conn, wanted)
        return plan.answer(await count_clicks(conn, plan.buckets, sponsor_id=wanted))
