"""What if: a request that nobody sends, typed in and walked through the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request, Response, get

from analytics_core.agent_lists import AgentLists
from analytics_core.agent_table import AgentTable
from analytics_core.db.catalogue import OwnerRow, find_owners, find_owners_by_bare_key, find_title
from analytics_core.db.pool import Connection, Tenant
from analytics_core.enclosures import identify
from analytics_core.errors import InvalidInput
from analytics_core.hits import MAX_AGENT_BYTES, Method
from analytics_core.permissions import Permission
from analytics_core.playlists import is_playlist
from analytics_core.settings import IngestSettings
from api.auth import caller_of
from api.limits import REPORT_COST
from api.pages.rules import EpisodeFacts
from api.pages.views import show
from api.resources import resources_of
from api.what_if import AskedRequest, WhatIf, what_if

__all__ = ("AgentTables", "show_what_if")

_MAX_URL: Final = 2_048
_MAX_RANGE: Final = 256
_AGENTS: Final = (
    "AppleCoreMedia/1.0.0.20G75 (iPhone; U; CPU OS 16_6 like Mac OS X; en_us)",
    "Overcast/3.0 (+http://overcast.fm/; iOS podcast app)",
    "Podcasts/1575.1.2 CFNetwork/1240.0.4 Darwin/20.6.0",
    "atc/1.0 watchOS/9.6.3 model/Watch6,2 hwp/t8301 build/20U90 (6; dt:240)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
    "curl/8.5.0",
)
_RANGES: Final = ("bytes=0-", "bytes=0-1", "bytes=0-1048575", "bytes=10000000-19999999", "bytes=-128")
_FIELDS: Final = {"url": _MAX_URL, "user_agent": MAX_AGENT_BYTES, "range": _MAX_RANGE}


class AgentTables:
    """The table of user agents in force, read when somebody asks first and again where its lists have changed."""

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._lists: AgentLists | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> AgentTable:
        """Return it; reading takes some tenths of a second, in which others are answered."""
        async with self._lock:
            return await asyncio.to_thread(self._look)

    def _look(self) -> AgentTable:
        if self._lists is None:
            of = self._settings
            self._lists = AgentLists(of.agent_lists, of.agent_lists_mode, keep=of.agent_lists_kept)
        else:
            self._lists.refresh()
        return self._lists.table


def _only(owners: list[OwnerRow]) -> OwnerRow | None:
    return owners[0] if len({owner.episode_no for owner in owners}) == 1 else None


async def _find_episode(
    conn: Connection, tenant: Tenant, url: str, own_hosts: tuple[str, ...]
) -> tuple[EpisodeFacts | None, bool]:
    """Find the tenant's episode by its enclosure, with the query or, where that leaves one, without.

    Returns:
        The episode, and whether the file is a playlist.
    """
    identity = identify(url, own_hosts=own_hosts)
    owner = _only(await find_owners(conn, [identity.key])) or _only(
        await find_owners_by_bare_key(conn, [identity.bare_key])
    )
    if owner is None or owner.tenant_no != tenant.tenant_no:
        return None, is_playlist(identity.file_name)
    title = await find_title(conn, owner.episode_no)
    facts = EpisodeFacts(title, owner.published_at, owner.live, owner.length_bytes, owner.duration_s)
    return facts, owner.is_playlist or is_playlist(identity.file_name)


def _read(params: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Read the form's fields, and what is wrong with them."""
    given = {name: params.get(name, "").strip() for name in _FIELDS}
    for name, most in _FIELDS.items():
        if len(given[name].encode("utf-8", "replace")) > most or not given[name].isprintable():
            return {**given, name: ""}, f"The {name.replace('_', ' ')} has to be a line of at most {most:,} bytes."
    return given, ""


@get("/what-if", opt={"permission": Permission.HITS_READ, "cost": REPORT_COST})
async def show_what_if(request: Request[Any, Any, Any]) -> Response[Any]:
    """Say how a request would count, and why; with no address given, ask for one."""
    resources = resources_of(request)
    given, fault = _read(dict(request.query_params.multi_items()))
    is_head = request.query_params.get("method") == "HEAD"
    found: WhatIf | None = None
    episode: EpisodeFacts | None = None
    if given["url"] and not fault:
        tenant = caller_of(request).tenant
        try:
            async with resources.database.tenant(tenant) as conn:
                episode, playlist = await _find_episode(conn, tenant, given["url"], resources.own_hosts)
        except InvalidInput as error:
            fault = f"The address cannot be read: {error.reason}."
        else:
            asked = AskedRequest(
                method=Method.HEAD if is_head else Method.GET,
                agent=given["user_agent"],
                byte_range=given["range"],
                at=resources.clock.now(),
                episode=episode,
                is_playlist=playlist,
            )
            tables: AgentTables = request.app.state.agent_tables
            found = what_if(asked, await tables.current(), profiles=list(resources.profiles.values()))
    return show(
        request,
        "what_if.html",
        tab="what_if",
        given=given,
        is_head=is_head,
        fault=fault,
        found=found,
        steps=() if found is None else found.steps,
        episode=episode,
        agents=_AGENTS,
        ranges=_RANGES,
    )
