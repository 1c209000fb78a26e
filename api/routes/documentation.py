"""The API's own documentation: as a document for programs and as a page for people."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Litestar, MediaType, Request, Response, get

from api.docs_page import CONTENT_SECURITY_POLICY, render_page
from api.openapi import build_document

__all__ = ("get_docs", "get_openapi", "publish")

_DOCUMENT: Final = "openapi_document"
_CACHE: Final = {"Cache-Control": "public, max-age=300"}


def publish(app: Litestar, *, version: str) -> None:
    """Make the document of an application with all its routes."""
    app.state[_DOCUMENT] = build_document(app, version=version)


@get("/openapi.json", include_in_schema=False, opt={"is_open": True})
async def get_openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Describe the API as an OpenAPI document."""
    body = msgspec.json.encode(request.app.state[_DOCUMENT])
    return Response(body, media_type=MediaType.JSON, headers=_CACHE)


@get("/docs", include_in_schema=False, opt={"is_open": True})
async def get_docs(request: Request[Any, Any, Any]) -> Response[str]:
    """Describe the API on a page."""
    page = render_page(request.app.state[_DOCUMENT])
    headers = {**_CACHE, "Content-Security-Policy": CONTENT_SECURITY_POLICY}
    return Response(page, media_type=MediaType.HTML, headers=headers)
