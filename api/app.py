"""The composition of the API: its routes, who may use them, and what surrounds every request."""

from __future__ import annotations

import copy
import functools
import sys
from typing import Any, Final

from litestar import Litestar, Router
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute

from analytics_core.software import software_version
from api.answers import JsonAnswer
from api.auth import require_key, require_permission, require_person
from api.bodies import refuse_media_type
from api.gate import Gate
from api.guards import Guards
from api.idempotency import Replayed, answer_replayed
from api.limits import Limited, Limits, limit_network
from api.logs import RequestLog
from api.metrics import RequestMetrics
from api.origins import CrossOrigin
from api.pages.assets import Assets
from api.pages.errors import answer_error
from api.pages.router import page_routes, page_state
from api.pages.views import template_config
from api.queries import Query
from api.requests import Observer
from api.resources import Resources
from api.routes.ad_slots import (
    archive_ad_slot,
    create_ad_slot,
    get_inventory,
    list_ad_slots,
    update_ad_slot,
)
from api.routes.analytics import explain_day, get_downloads
from api.routes.attribution_paths import get_conversion_path, get_leakage
from api.routes.attribution_runs import create_attribution_run, get_attribution_run, list_attribution_runs
from api.routes.audit import export_audit, list_audit
from api.routes.auth import forgot_password, refresh, register, reset_password, sign_in, sign_out, verify
from api.routes.campaigns import (
    activate_campaign,
    cancel_campaign,
    complete_campaign,
    create_campaign,
    duplicate_campaign,
    get_campaign,
    list_campaigns,
    pause_campaign,
    resume_campaign,
    schedule_campaign,
    update_campaign,
)
from api.routes.claims import check_claim, claim_podcast, get_one_claim, list_podcast_claims
from api.routes.comparisons import compare
from api.routes.conversion_actions import (
    archive_conversion_action,
    create_conversion_action,
    get_conversion_action,
    list_conversion_actions,
    update_conversion_action,
)
from api.routes.conversions import (
    adjust_conversion,
    answer_survey,
    get_conversion,
    list_conversions,
    send_conversions,
)
from api.routes.curves import get_curves
from api.routes.deliveries import (
    get_campaign_delivery,
    get_campaign_performance,
    get_campaign_reach,
    get_flight_delivery,
    get_invoice,
)
from api.routes.documentation import get_docs, get_openapi, publish
from api.routes.erasures import create_erasure, get_erasure, list_erasures
from api.routes.event_intake import get_intake
from api.routes.events import list_events
from api.routes.flights import (
    cancel_flight,
    create_flight,
    get_flight,
    list_flights,
    update_flight,
)
from api.routes.health import get_health
from api.routes.hits import get_hit, list_hits
from api.routes.insertion_orders import (
    cancel_insertion_order,
    close_insertion_order,
    create_insertion_order,
    get_insertion_order,
    list_insertion_orders,
    open_insertion_order,
    update_insertion_order,
)
from api.routes.invitations import accept_invitation, create_invitation, list_invitations, revoke_invitation
from api.routes.keys import (
    create_api_key,
    get_api_key,
    list_api_keys,
    revoke_api_key,
    rotate_api_key,
    update_api_key,
)
from api.routes.ledger import get_ledger
from api.routes.links import (
    create_link,
    delete_link,
    get_clicks,
    get_link,
    get_link_clicks,
    list_links,
    update_link,
)
from api.routes.members import list_members, remove_member, update_member
from api.routes.overviews import get_overview
from api.routes.placements import (
    create_placement,
    get_placement,
    go_live,
    list_placements,
    miss_placement,
    pull_placement,
    update_placement,
    verify_placement,
)
from api.routes.podcasts import create_podcast, get_one_podcast, list_episodes, list_podcasts
from api.routes.promo_codes import (
    archive_promo_code,
    create_promo_codes,
    get_promo_code,
    list_promo_codes,
    update_promo_code,
)
from api.routes.qr_codes import get_link_qr
from api.routes.redemptions import send_redemptions
from api.routes.report_shares import (
    create_report_share,
    list_report_shares,
    open_shared_report,
    revoke_report_share,
    unlock_shared_report,
)
from api.routes.reports import create_report, delete_report, get_report, get_report_file, list_reports
from api.routes.restatements import get_restatement, list_restatements
from api.routes.roles import create_role, delete_role, get_role, list_roles, update_role
from api.routes.spikes import accept_spike, dismiss_spike, get_spike, list_spikes, revert_spike
from api.routes.sponsors import (
    archive_sponsor,
    create_sponsor,
    erase_sponsor_contacts,
    get_sponsor,
    get_sponsor_clicks,
    list_sponsors,
    merge_sponsor,
    restore_sponsor,
    update_sponsor,
)
from api.routes.standings import list_campaign_standings
from api.routes.survey_options import create_survey_option, delete_survey_option, list_survey_options
from api.routes.tenant import (
    close_own_tenant,
    get_own_tenant,
    get_settings,
    get_usage,
    rename_own_tenant,
    reopen_own_tenant,
    update_settings,
)
from api.routes.tenants import (
    close_tenant,
    create_tenant,
    get_tenant,
    get_tenant_quotas,
    list_tenants,
    set_tenant_quotas,
    update_tenant,
)
from api.routes.unknown_hosts import accept_unknown_host, get_unknown_hosts
from api.routes.users import (
    change_me,
    change_my_membership,
    change_my_password,
    delete_me,
    end_my_session,
    export_me,
    found_my_tenant,
    get_me,
    list_my_sessions,
)
from api.routes.vanity_hosts import create_vanity_host, delete_vanity_host, list_vanity_hosts
from api.writing import trying_again

__all__ = ("create_app",)

_BASE: Final = "/api/v1"
_OPEN: Final = (
    accept_invitation,
    forgot_password,
    get_docs,
    get_health,
    get_openapi,
    open_shared_report,
    refresh,
    register,
    reset_password,
    sign_in,
    unlock_shared_report,
    verify,
)
_PERSONAL: Final = (
    change_me,
    change_my_membership,
    change_my_password,
    delete_me,
    end_my_session,
    export_me,
    found_my_tenant,
    get_me,
    list_my_sessions,
    sign_out,
)
_CLOSED: Final = (
    accept_spike,
    accept_unknown_host,
    adjust_conversion,
    answer_survey,
    archive_conversion_action,
    activate_campaign,
    archive_ad_slot,
    archive_promo_code,
    archive_sponsor,
    cancel_campaign,
    cancel_flight,
    cancel_insertion_order,
    check_claim,
    claim_podcast,
    close_insertion_order,
    close_own_tenant,
    close_tenant,
    compare,
    complete_campaign,
    create_ad_slot,
    create_api_key,
    create_attribution_run,
    create_conversion_action,
    create_campaign,
    create_erasure,
    create_flight,
    create_insertion_order,
    create_invitation,
    create_link,
    create_placement,
    create_podcast,
    create_promo_codes,
    create_report,
    create_report_share,
    create_role,
    create_sponsor,
    create_survey_option,
    create_tenant,
    create_vanity_host,
    delete_link,
    delete_report,
    delete_role,
    delete_survey_option,
    delete_vanity_host,
    dismiss_spike,
    duplicate_campaign,
    erase_sponsor_contacts,
    explain_day,
    export_audit,
    get_api_key,
    get_attribution_run,
    get_campaign,
    get_campaign_delivery,
    get_campaign_performance,
    get_campaign_reach,
    get_clicks,
    get_conversion,
    get_conversion_action,
    get_conversion_path,
    get_curves,
    get_downloads,
    get_erasure,
    get_flight,
    get_flight_delivery,
    get_hit,
    get_insertion_order,
    get_intake,
    get_inventory,
    get_invoice,
    get_leakage,
    get_ledger,
    get_link,
    get_link_clicks,
    get_link_qr,
    get_one_claim,
    get_one_podcast,
    get_overview,
    get_own_tenant,
    get_placement,
    get_promo_code,
    get_report,
    get_report_file,
    get_restatement,
    get_role,
    get_settings,
    get_spike,
    get_sponsor,
    get_sponsor_clicks,
    get_tenant,
    get_tenant_quotas,
    get_unknown_hosts,
    get_usage,
    go_live,
    list_ad_slots,
    list_api_keys,
    list_attribution_runs,
    list_audit,
    list_conversion_actions,
    list_conversions,
    list_campaign_standings,
    list_campaigns,
    list_episodes,
    list_erasures,
    list_events,
    list_flights,
    list_hits,
    list_insertion_orders,
    list_invitations,
    list_links,
    list_members,
    list_placements,
    list_podcast_claims,
    list_podcasts,
    list_promo_codes,
    list_report_shares,
    list_reports,
    list_restatements,
    list_roles,
    list_spikes,
    list_sponsors,
    list_survey_options,
    list_tenants,
    list_vanity_hosts,
    merge_sponsor,
    miss_placement,
    open_insertion_order,
    pause_campaign,
    pull_placement,
    remove_member,
    rename_own_tenant,
    reopen_own_tenant,
    restore_sponsor,
    resume_campaign,
    revert_spike,
    revoke_api_key,
    revoke_invitation,
    revoke_report_share,
    rotate_api_key,
    send_conversions,
    send_redemptions,
    schedule_campaign,
    set_tenant_quotas,
    update_ad_slot,
    update_api_key,
    update_conversion_action,
    update_campaign,
    update_flight,
    update_insertion_order,
    update_link,
    update_member,
    update_placement,
    update_promo_code,
    update_role,
    update_settings,
    update_sponsor,
    update_tenant,
    verify_placement,
)


async def _refuse_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse parameters where a route knows none; the others tell all of theirs at once."""
    if not handler.opt.get("query") and connection.scope["query_string"]:
        Query(connection.query_params.multi_items(), ()).finish()


async def _refuse_media_type(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Refuse a body of a type that the route does not read, before anything of it is."""
    bodies = handler.opt.get("bodies")
    given = connection.headers.get("content-type") if bodies else None
    if bodies and given and given.partition(";")[0].strip().lower() not in bodies:
        raise refuse_media_type(*bodies)


@functools.cache
def _assemble(max_body: int) -> Litestar:
    """Put the routes together, with the document about them and the page's files in the state.

    Once for all applications of a process: it takes nearly all of what making one does, and what differs between them
    is in the rest of their state.
    """
    checks = (_refuse_query, _refuse_media_type)
    assets = Assets()
    app = Litestar(
        [
            Router(_BASE, route_handlers=list(_OPEN), before_request=Guards(limit_network, *checks)),
            Router(
                _BASE,
                route_handlers=list(_CLOSED),
                before_request=Guards(Limited(require_key), require_permission, *checks),
            ),
            Router(
                _BASE,
                route_handlers=list(_PERSONAL),
                before_request=Guards(Limited(require_person), require_permission, *checks),
            ),
            *page_routes(),
        ],
        exception_handlers={Exception: answer_error, Replayed: answer_replayed},
        logging_config=None,
        openapi_config=None,
        response_class=JsonAnswer,
        request_max_body_size=max_body,
        state=State({"assets": assets}),
        template_config=template_config(assets),
    )
    publish(app, version=software_version())
    for handler in (handler for route in _routes(app) for handler in route.route_handlers):
        if handler.http_methods.isdisjoint(("GET", "OPTIONS")):
            handler(trying_again(handler.fn))
    return app


def _routes(app: Litestar) -> list[HTTPRoute]:
    return [route for route in app.routes if isinstance(route, HTTPRoute)]


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
    app = copy.copy(_assemble(resources.settings.api.max_body_mb * 1024 * 1024))
    # Routes find the state through the application that was asked, which is the copy.
    app.state = State({**app.state, "resources": resources, "log": log, "limits": limits, **page_state(resources)})
    # Outermost, so that what no route answers is observed as well.
    methods = {route.path_format: route.methods for route in _routes(app)}
    gate = Gate(CrossOrigin(app, app.asgi_handler, resources.settings.api.origins), resources.settings.api)
    app.asgi_handler = Observer(gate, log, metrics, methods=methods)
    return app
