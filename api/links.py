"""What the API and the page do to links alike."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from uuid import UUID

from litestar import Request

from analytics_core.db.links import LinkRow, add_link, archive_link, get_link
from analytics_core.db.pool import Connection
from analytics_core.db.sponsors import lock_sponsor, refuse_archived
from analytics_core.db.tracked_flights import TrackedFlight, hold_flight
from analytics_core.db.vanity_hosts import refuse_vanity_target
from analytics_core.errors import InvalidInput, NotFound
from analytics_core.links import link_target, new_slug, parse_slug, parse_target_url
from api.errors import Fault, InvalidRequest
from api.resources import Resources, resources_of
from api.schemas.links import AddLink, Link
from api.writing import writing

__all__ = ("create", "find_link", "naming", "refuse_other_sponsor", "show_link", "take_away")

T = TypeVar("T")


def show_link(row: LinkRow, resources: Resources) -> Link:
    """Show a link with its short address."""
    return Link.of(row, public_url=resources.settings.tracker.public_url)


def _collect(faults: list[Fault], pointer: str, read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InvalidInput as error:
        faults.append(Fault(pointer, error.code, error.reason))
        return None


@contextlib.contextmanager
def naming(pointer: str) -> Iterator[None]:
    """Say where in the body that stands which a rule refuses."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidRequest([Fault(pointer, error.code, error.reason)]) from error


def refuse_other_sponsor(flight: TrackedFlight, sponsor_id: UUID | None) -> None:
    """Refuse a sponsor for a link whose flight is another's.

    Raises:
        InvalidRequest: ``not_of_flight``.
    """
    if sponsor_id != flight.sponsor_id:
        raise InvalidRequest(
            [Fault("/sponsor_id", "not_of_flight", "is not the sponsor of the link's flight; leave it out")]
        )


async def find_link(conn: Connection, link_id: UUID) -> LinkRow:
    """Read one link that the transaction sees.

    Raises:
        NotFound: It sees none of this id.
    """
    row = await get_link(conn, link_id)
    if row is None:
        raise NotFound("link")
    return row


async def create(request: Request[Any, Any, Any], wanted: AddLink) -> Link:
    """Make a link, live on the trackers within two seconds.

    Raises:
        InvalidRequest: Something is wrong with what is wanted; all is listed.
        NotFound: There is no such sponsor or flight.
        Conflict: As :func:`analytics_core.db.links.add_link`.
    """
    resources = resources_of(request)
    faults: list[Fault] = []
    slug = _collect(faults, "/slug", lambda: new_slug() if wanted.slug is None else parse_slug(wanted.slug))
    own_hosts = resources.own_hosts
    url = _collect(faults, "/url", lambda: parse_target_url(wanted.url, own_hosts=own_hosts))
    if url is not None:
        _collect(faults, "/utm", lambda: link_target(url, wanted.utm.as_mapping()))
    if faults or slug is None or url is None:
        raise InvalidRequest(faults)
    async with writing(request, "link.create") as work:
        flight = None
        if wanted.flight_id is not None:
            flight = await hold_flight(work.conn, wanted.flight_id)
            if wanted.sponsor_id is not None:
                refuse_other_sponsor(flight, wanted.sponsor_id)
        elif wanted.sponsor_id is not None:
            refuse_archived(await lock_sponsor(work.conn, wanted.sponsor_id))
        with naming("/url"):
            await refuse_vanity_target(work.conn, url)
        with naming("/utm"):
            link_id = await add_link(
                work.conn,
                work.tenant,
                slug=slug,
                url=url,
                utm=wanted.utm.as_mapping(),
                click_id=wanted.click_id,
                sponsor_id=wanted.sponsor_id,
                flight=flight,
                now=resources.clock.now(),
            )
        return work.done(show_link(await find_link(work.conn, link_id), resources), resource=link_id)


async def take_away(request: Request[Any, Any, Any], link_id: UUID) -> None:
    """Take a link away: trackers then answer 404. Its clicks stay, and nobody else gets its slug.

    Raises:
        NotFound: There is none of this id that is in use.
    """
    async with writing(request, "link.delete") as work:
        if not await archive_link(work.conn, link_id, now=resources_of(request).clock.now()):
            raise NotFound("link")
        work.done(None, resource=link_id)
