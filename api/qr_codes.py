"""QR codes as the API and the page hand them out alike."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar import Request, Response

from analytics_core.db.links import get_link
from analytics_core.db.vanity_hosts import require_vanity_host
from analytics_core.errors import Conflict, InvalidInput, NotFound
from analytics_core.links import parse_vanity_host
from analytics_core.qr_codes import MAX_SIZE, MIN_SIZE, QrFormat, draw_qr_code
from api.auth import caller_of
from api.queries import Parameter, Query, Refusal, choice, whole_number
from api.resources import resources_of
from api.schemas.links import Link
from api.scopes import path_id

__all__ = ("MEDIA_TYPES", "QR_QUERY", "draw_link")

MEDIA_TYPES: Final = {QrFormat.SVG: "image/svg+xml", QrFormat.PNG: "image/png"}


def _host(text: str) -> str:
    try:
        return parse_vanity_host(text)
    except InvalidInput as error:
        raise Refusal(error.code, error.reason) from None


_PICTURE: Final = Parameter(
    "format", choice(QrFormat), QrFormat.SVG, "How it is drawn.", {"type": "string", "enum": ["svg", "png"]}
)
_SIZE: Final = Parameter(
    "size",
    whole_number(MIN_SIZE, MAX_SIZE),
    512,
    "Pixels a side; of a PNG the most.",
    {"type": "integer", "minimum": MIN_SIZE, "maximum": MAX_SIZE, "default": 512},
)
_HOST: Final[Parameter[str | None]] = Parameter(
    "host", _host, None, "One of the link's vanity hosts, to be drawn instead of its short address.", {"type": "string"}
)

QR_QUERY: Final = (_PICTURE, _SIZE, _HOST)
"""Parameters of whatever draws one."""


async def draw_link(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Draw the link that the path names, as the query says it.

    Raises:
        InvalidRequest: A parameter cannot be used.
        NotFound: There is no such link that is in use.
        Conflict: ``no_public_url``.
    """
    wanted = path_id(request, "link_id", what="link")
    query = Query.of(request)
    picture, size, host = query.get(_PICTURE), query.get(_SIZE), query.get(_HOST)
    query.finish()
    resources = resources_of(request)
    async with resources.database.tenant(caller_of(request).tenant) as conn:
        row = await get_link(conn, wanted)
        if row is None or row.archived_at is not None:
            raise NotFound("link")
        if host is not None:
            await require_vanity_host(conn, wanted, host)
    url = (
        Link.of(row, public_url=resources.settings.tracker.public_url).short_url if host is None else f"https://{host}/"
    )
    if url is None:
        raise Conflict(
            "no_public_url",
            "this installation has no public address yet: its operator sets TRACKER_PUBLIC_URL, or name a vanity host",
        )
    content = await asyncio.to_thread(draw_qr_code, url, picture, size=size)
    return Response(content, media_type=MEDIA_TYPES[picture])
