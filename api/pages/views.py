"""From figures to a page: the templates, what all of them may use, and the headers that every page has."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Request
from litestar.config.compression import CompressionConfig
from litestar.datastructures import Cookie
from litestar.enums import MediaType
from litestar.middleware import DefineMiddleware
from litestar.middleware.compression import CompressionMiddleware
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.template.config import TemplateConfig

from api.pages import words
from api.pages.assets import Assets
from api.pages.forms import FIELD, form_token
from api.pages.sessions import FORM_COOKIE, cookie_of, make_cookie, session_of
from api.resources import resources_of

__all__ = ("HEADERS", "compression", "is_fragment", "show", "show_form", "show_plain", "template_config")

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    # With `no-referrer` browsers would send forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Of every page; what else keeps browsers careful has every answer."""

_FORM_MAX_AGE: Final = 24 * 3600
_FRAGMENT: Final = "x-castledger-fragment"
_FILTERS: Final = (
    "ago",
    "compact",
    "country_name",
    "day",
    "day_range",
    "duration",
    "instant",
    "last_day",
    "money",
    "month",
    "number",
    "percent",
    "short_day",
    "until",
    "weekday",
)


def template_config(assets: Assets) -> TemplateConfig[JinjaTemplateEngine]:
    """Make the templates' environment: everything escaped, and what is not given is an error."""
    environment = Environment(
        loader=PackageLoader("api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["asset"] = assets.url
    environment.globals["form_field"] = FIELD
    for name in _FILTERS:
        environment.filters[name] = getattr(words, name)
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))


def compression() -> DefineMiddleware:
    """Compress pages, not the API's answers, which clients ask for by the thousand."""
    config = CompressionConfig(backend="gzip", gzip_compress_level=6, minimum_size=1000)
    return DefineMiddleware(CompressionMiddleware, config=config)


def is_fragment(request: Request[Any, Any, Any]) -> bool:
    """Tell whether our script asks for the part of a page that changes by itself."""
    return _FRAGMENT in request.headers


def show_plain(
    name: str,
    *,
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> Template:
    """Show a page to whoever asks, signed in or not."""
    return Template(
        name,
        context={"viewer": None, "podcast": None, "tab": "", **context},
        media_type=MediaType.HTML,
        status_code=status_code,
        headers={**HEADERS, **(headers or {})},
    )


def show_form(request: Request[Any, Any, Any], name: str, *, status_code: int = 200, **context: Any) -> Template:
    """Show a form to somebody without a session: a cookie of its own ties it to their browser."""
    held = cookie_of(request, FORM_COOKIE)
    cookies: list[Cookie] = []
    if not held:
        held = secrets.token_urlsafe(32)
        cookies = [make_cookie(request, FORM_COOKIE, held, max_age=_FORM_MAX_AGE, samesite="strict")]
    page = show_plain(name, status_code=status_code, token=form_token(held), **context)
    page.cookies.extend(cookies)
    return page


def show(request: Request[Any, Any, Any], name: str, *, status_code: int = 200, **context: Any) -> Template:
    """Show a page to somebody who signed in."""
    return show_plain(
        name,
        status_code=status_code,
        viewer=request.scope["auth"],
        token=form_token(session_of(request)),
        now=resources_of(request).clock.now(),
        **context,
    )
