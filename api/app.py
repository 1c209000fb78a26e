"""The composition of the API: its routes, who may use them, and what surrounds every request."""

from __future__ import annotations

import sys
from typing import Any, Final

from litestar import Litestar, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from api.auth import require_key, require_permission
from api.bodies import refuse_media_type
from api.gate import Gate
from api.guards import Guards
from api.limits import Limits, limit_network, limited
from api.logs import RequestLog
from api.metrics import RequestMetrics
from api.pages.assets import Assets
from api.pages.errors import answer_error
from api.pages.router import page_routes, page_state
from api.pages.views import template_config
from api.queries import Query
from api.requests import Observer
from api.resources import Resources
from api.routes.analytics import explain_day, get_downloads
from api.routes.claims import check_claim, claim_podcast, get_one_claim, list_podcast_claims
from api.routes.comparisons import compare
from api.routes.curves import get_curves
from api.routes.documentation import get_docs, get_openapi, publish
from api.routes.erasures import create_erasure, get_erasure, list_erasures
from api.routes.health import get_health
from api.routes.hits import get_hit, list_hits
from api.routes.keys import create_api_key, list_api_keys, revoke_api_key
from api.routes.ledger import get_ledger
from api.routes.links import create_link, delete_link, get_link, list_links, update_link
from api.routes.overviews import get_overview
from api.routes.podcasts import create_podcast, get_one_podcast, list_episodes, list_podcasts
from api.routes.restatements import get_restatement, list_restatements
from api.routes.spikes import accept_spike, dismiss_spike, get_spike, list_spikes, revert_spike
from api.routes.unknown_hosts import accept_unknown_host, get_unknown_hosts
from api.tags import software_version

__all__ = ("create_app",)

_BASE: Final = "/api/v1"
_OPEN: Final = (get_health, get_openapi, get_docs)
_CLOSED: Final = (
    accept_spike,
    accept_unknown_host,
    check_claim,
    claim_podcast,
    compare,
    create_api_key,
    create_erasure,
    create_link,
    create_podcast,
    delete_link,
    dismiss_spike,
    explain_day,
    get_curves,
    get_downloads,
    get_erasure,
    get_hit,
    get_ledger,
    get_link,
    get_one_claim,
    get_one_podcast,
    get_overview,
    get_restatement,
    get_spike,
    get_unknown_hosts,
    list_api_keys,
    list_episodes,
    list_erasures,
    list_hits,
    list_links,
    list_podcast_claims,
    list_podcasts,
    list_restatements,
    list_spikes,
    revert_spike,
    revoke_api_key,
    update_link,
)


async def _refuse_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse parameters where a route knows none; the others tell all of theirs at once."""
    if not handler.opt.get("query") and connection.scope["query_string"]:
        Query(connection.query_params.multi_items(), ()).finish()


async def _refuse_media_type(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse a body of a type that the route does not read, before anything of it is."""
    bodies = handler.opt.get("bodies")
    given = connection.headers.get("content-type")
    if bodies and given and given.partition(";")[0].strip().lower() not in bodies:
        raise refuse_media_type(*bodies)


def create_app(
    resources: Resources, *, log: RequestLog | None = None, metrics: RequestMetrics | None = None
) -> Litestar:
    """Make the application.

    Args:
        resources: What the routes work with; opened and closed by the caller.
        log: Where lines go; standard error when ``None``.
        metrics: Where requests are counted; nobody's when ``None``.
    """
    log = log or RequestLog(sys.stderr, level=resources.settings.log_level)
    metrics = metrics or RequestMetrics()
    limits = Limits(resources.limiter, resources.settings.api, metrics)
    assets = Assets()
    app = Litestar(
        [
            Router(_BASE, route_handlers=list(_OPEN), guards=[Guards(limit_network, _refuse_query)]),
            Router(
                _BASE,
                route_handlers=list(_CLOSED),
                guards=[Guards(limited(require_key), require_permission, _refuse_query, _refuse_media_type)],
            ),
            *page_routes(),
        ],
        exception_handlers={Exception: answer_error},
        logging_config=None,
        openapi_config=None,
        request_max_body_size=resources.settings.api.max_body_mb * 1024 * 1024,
        state=State({"resources": resources, "log": log, "limits": limits, **page_state(resources, assets)}),
        template_config=template_config(assets),
    )
    publish(app, version=software_version())
    # Outermost, so that what no route answers is observed as well.
    app.asgi_handler = Observer(Gate(app.asgi_handler, resources.settings.api), log, metrics)
    return app
