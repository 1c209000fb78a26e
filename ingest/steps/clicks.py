"""Clicks: whose links were followed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt

from analytics_core.db.catalogue import NEVER_US
from analytics_core.db.links import Click, LinkOwner, find_links
from analytics_core.db.ownership import read_ownership
from analytics_core.db.pool import Connection
from analytics_core.hits import HitFlag, Method
from analytics_core.links import parse_link_arguments
from analytics_core.user_agents import AgentKind
from ingest.batches import Batch
from ingest.steps.targets import TargetColumns

__all__ = ("LinkColumns", "name_clicks", "resolve_links")

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class LinkColumns:
    """The links of a batch of clicks.

    Attributes:
        targets: As those of requests: one a distinct text of arguments; of podcasts and episodes there is none.
        link_no: For each of these; 0 where the link is not known.
        click_ids: For each of these.
    """

    targets: TargetColumns
    link_no: list[int]
    click_ids: list[UUID | None]


async def resolve_links(conn: Connection, batch: Batch) -> LinkColumns:
    """Find the link of each distinct text of arguments; one that was taken away since is still known."""
    ownership = await read_ownership(conn)
    # The table may hold the texts of other hits too.
    clicked = set(batch.arguments.codes.tolist())
    read = [
        parse_link_arguments(arguments if code in clicked else b"")
        for code, arguments in enumerate(batch.arguments.values)
    ]
    owners = await find_links(conn, sorted({one.slug for one in read if one.slug}))
    nobody = LinkOwner("", 0, 0)
    found = [owners.get(one.slug, nobody) for one in read]
    nothing = np.zeros(len(read), np.int64)
    targets = TargetColumns(
        codes=batch.arguments.codes,
        feed_apps=[""] * len(found),
        waiting={},
        ownership=ownership,
        tenant_no=np.array([owner.tenant_no for owner in found], np.int64),
        podcast_no=nothing,
        episode_no=nothing,
        length_bytes=nothing - 1,
        duration_s=nothing - 1,
        published_us=nothing + NEVER_US,
        live=nothing.astype(np.bool_),
        playlist=nothing.astype(np.bool_),
    )
    return LinkColumns(targets, [owner.link_no for owner in found], [one.click_id for one in read])


def name_clicks(batch: Batch, links: LinkColumns, agent_kind: npt.NDArray[np.int64]) -> list[Click]:
    """List the clicks on known links."""
    is_bot = (
        (agent_kind == int(AgentKind.BOT))
        | (batch.method == int(Method.HEAD))
        | (batch.flags & int(HitFlag.PREFETCH) != 0)
    )
    codes = links.targets.codes
    return [
        Click(
            tenant_no=int(links.targets.tenant_no[code]),
            link_no=links.link_no[code],
            occurred_at=_EPOCH + dt.timedelta(microseconds=int(batch.at_us[place])),
            segment_no=int(batch.segment_no[place]),
            ordinal=int(batch.ordinal[place]),
            is_bot=bool(is_bot[place]),
            click_id=links.click_ids[code],
        )
        for place, code in enumerate(codes.tolist())
        if links.link_no[code]
    ]
