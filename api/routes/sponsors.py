"""Sponsors: who pays, what is theirs, and how often it was followed."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, patch, post

from analytics_core.db.clicks import count_clicks
from analytics_core.db.sponsors import SponsorRow, find_sponsor
from analytics_core.db.sponsors import list_sponsors as read_sponsors
from analytics_core.permissions import Permission
from api.auth import caller_of
from api.bodies import read_json
from api.clicks import CLICK_QUERY, read_plan
from api.pagination import LIMIT, id_cursor, page_of
from api.queries import Parameter, Query, Refusal
from api.resources import resources_of
from api.schemas.clicks import ClicksAnswer
from api.schemas.common import Page
from api.schemas.sponsors import AddSponsor, ChangeSponsor, MergedSponsors, MergeSponsors, Sponsor
from api.scopes import path_id
from api.sponsors import add as add_new
from api.sponsors import archive as put_away
from api.sponsors import change as change_given
from api.sponsors import erase_contacts as erase_people
from api.sponsors import merge as merge_into
from api.sponsors import restore as take_back
from api.versions import answer_version, read_version

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


def _sponsor_id(request: Request[Any, Any, Any]) -> UUID:
    return path_id(request, "sponsor_id", what="sponsor")


@post(
    "/sponsors",
    tags=["sponsors"],
    opt={"permission": Permission.SPONSORS_WRITE, "bodies": {"application/json": AddSponsor}, "refusals": (409,)},
)
async def create_sponsor(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Add a sponsor.

    A tenant has one sponsor of a name, without regard to case; archived ones keep theirs.
    """
    given = await read_json(request, AddSponsor)
    return _show(await add_new(request, given))


@get("/sponsors", tags=["sponsors"], opt={"permission": Permission.SPONSORS_READ, "query": (_STATE, LIMIT, _CURSOR)})
async def list_sponsors(request: Request[Any, Any, Any]) -> Page[Sponsor]:
    """List sponsors in the order in which they were added, archived ones too."""
    query = Query.of(request)
    archived, limit, after = query.get(_STATE), query.get(LIMIT), query.get(_CURSOR)
    query.finish()
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
        rows = await read_sponsors(conn, after=after, limit=limit + 1, archived=archived)
    return page_of(rows, limit, Sponsor.of, _LIST, lambda row: (row.created_at, row.sponsor_id))


@get("/sponsors/{sponsor_id:str}", tags=["sponsors"], opt={"permission": Permission.SPONSORS_READ})
async def get_sponsor(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Read one sponsor, with all that is kept of the people to ask there."""
    wanted = _sponsor_id(request)
    async with resources_of(request).database.reading(caller_of(request).tenant) as conn:
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
    change = await read_json(request, ChangeSponsor)
    return _show(await change_given(request, wanted, change, version=version))


@post(
    "/sponsors/{sponsor_id:str}/archive",
    tags=["sponsors"],
    status_code=200,
    opt={"permission": Permission.SPONSORS_WRITE, "is_versioned": True},
)
async def archive_sponsor(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Put a sponsor away. It keeps its name and its links, which lead on, and gets no new ones."""
    return _show(await put_away(request, _sponsor_id(request), version=read_version(request)))


@post(
    "/sponsors/{sponsor_id:str}/restore",
    tags=["sponsors"],
    status_code=200,
    opt={"permission": Permission.SPONSORS_WRITE, "is_versioned": True},
)
async def restore_sponsor(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Take an archived sponsor back."""
    return _show(await take_back(request, _sponsor_id(request), version=read_version(request)))


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
    into = (await read_json(request, MergeSponsors)).into
    row, links = await merge_into(request, wanted, into=into, version=version)
    return answer_version(MergedSponsors(sponsor=Sponsor.of(row), links_moved=links), version=row.version)


@post(
    "/sponsors/{sponsor_id:str}/contacts/erase",
    tags=["sponsors"],
    status_code=200,
    opt={"permission": Permission.SPONSORS_WRITE, "is_versioned": True},
)
async def erase_sponsor_contacts(request: Request[Any, Any, Any]) -> Response[Sponsor]:
    """Erase all people to ask at a sponsor's, of an archived one as well; one of them goes by `PATCH`."""
    return _show(await erase_people(request, _sponsor_id(request), version=read_version(request)))


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
