"""Styles, scripts and pictures under names that carry a hash of their content, so that browsers may keep them."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any, Final

import msgspec
from litestar import Request, Response, get

from analytics_core.errors import NotFound

__all__ = ("Assets", "get_asset", "get_favicon")

_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS: Final = {"Cache-Control": "public, max-age=31536000, immutable"}


class _Asset(msgspec.Struct, frozen=True):
    body: bytes
    media_type: str


class Assets:
    """All files of the folder ``static``, read once."""

    def __init__(self) -> None:
        self._urls: dict[str, str] = {}
        self._files: dict[str, _Asset] = {}
        for file in resources.files("api.pages").joinpath("static").iterdir():
            stem, dot, suffix = file.name.rpartition(".")
            media_type = _MEDIA_TYPES.get(dot + suffix)
            if media_type is None:
                continue
            body = file.read_bytes()
            name = f"{stem}.{hashlib.blake2b(body, digest_size=8).hexdigest()}.{suffix}"
            self._urls[file.name] = f"/static/{name}"
            self._files[name] = _Asset(body, media_type)

    def url(self, name: str) -> str:
        """Address a file by its name in the folder.

        Raises:
            KeyError: There is no such file.
        """
        return self._urls[name]

    def answer(self, name: str) -> Response[bytes]:
        """Serve a file under its hashed name.

        Raises:
            NotFound: There is no such file, or no longer.
        """
        asset = self._files.get(name)
        if asset is None:
            raise NotFound("file")
        return Response(asset.body, media_type=asset.media_type, headers=_HEADERS)


@get("/static/{name:str}", opt={"is_open": True, "cost": 0})
async def get_asset(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Serve a style, a script or a picture."""
    assets: Assets = request.app.state.assets
    return assets.answer(str(request.path_params["name"]))


@get("/favicon.ico", opt={"is_open": True, "cost": 0})
async def get_favicon(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Serve the icon that browsers ask for unasked."""
    assets: Assets = request.app.state.assets
    return assets.answer(assets.url("icon.svg").rpartition("/")[2])
