"""QR codes: links as pictures that a telephone reads."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from analytics_core.permissions import Permission
from api.qr_codes import MEDIA_TYPES, QR_QUERY, draw_link

__all__ = ("get_link_qr",)


@get(
    "/links/{link_id:str}/qr",
    tags=["links"],
    opt={
        "permission": Permission.LINKS_READ,
        "query": QR_QUERY,
        "files": tuple(MEDIA_TYPES.values()),
        "refusals": (409,),
    },
)
async def get_link_qr(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Draw a link as a QR code: its short address, or that of one of its vanity hosts.

    Error correction M, four modules of quiet zone, black on white. A PNG is as large as whole pixels a module allow.
    """
    return await draw_link(request)
