"""The page's routes, who may see them, and what the application needs for them."""

from __future__ import annotations

from typing import Any, Final

from litestar import Router

from api.auth import require_permission
from api.guards import Guards
from api.limits import Limited, limit_network
from api.pages.account import (
    confirm_on_page,
    forget_on_page,
    reset_on_page,
    show_confirmation,
    show_forgot,
    show_reset,
)
from api.pages.assets import get_asset, get_favicon
from api.pages.campaign_conversions import (
    add_action,
    attribute_campaign,
    show_new_action,
    show_redemptions,
    upload_redemptions,
)
from api.pages.campaign_devices import (
    add_link,
    add_promo_codes,
    add_vanity_host,
    get_codes_file,
    get_qr_file,
    show_new_link,
    show_new_promo_codes,
    show_new_vanity_host,
)
from api.pages.campaign_flights import add_flight, add_placement, show_new_flight, show_new_placement
from api.pages.campaign_parts import end_promo_code, remove_link, remove_vanity_host, step_flight, step_placement
from api.pages.campaign_terms import change_campaign, make_campaign, show_campaign_change, show_new_campaign
from api.pages.campaigns import show_campaign, show_campaigns, step_campaign
from api.pages.comparisons import show_comparison
from api.pages.episodes import show_episode, show_episodes
from api.pages.hits import show_episode_hits, show_hit, show_podcast_hits
from api.pages.intake import add_podcast, show_new
from api.pages.invitation import accept_on_page, show_invitation
from api.pages.keys import make_key, revoke_one_key, rotate_key, show_keys
from api.pages.limits import SignInLimit
from api.pages.members import change_one_member, invite_member, revoke_one_invitation, show_members
from api.pages.methodology import show_methodology
from api.pages.oneself import (
    change_account,
    choose_account_mail,
    export_account,
    leave_account,
    set_own_password,
    show_account,
    sign_out_elsewhere,
)
from api.pages.overview import show_front, show_overview, show_podcasts
from api.pages.reports import (
    ask_for_report,
    get_report_on_page,
    revoke_share,
    share_report,
    show_new_report,
    show_report,
)
from api.pages.sessions import require_session
from api.pages.setup import accept_unknown, rewrite_by_address, rewrite_sent, show_setup
from api.pages.shared import open_on_page, show_shared
from api.pages.sign_in import show_sign_in, show_tenants, sign_in, sign_out, switch_tenant
from api.pages.spikes import decide_spike, show_spike, show_spikes
from api.pages.sponsors import add_sponsor, change_sponsor, show_sponsors
from api.pages.views import compression
from api.pages.what_if import AgentTables, show_what_if
from api.resources import Resources

__all__ = ("page_routes", "page_state")

_OPEN: Final = (
    accept_on_page,
    confirm_on_page,
    forget_on_page,
    get_asset,
    get_favicon,
    open_on_page,
    reset_on_page,
    show_confirmation,
    show_forgot,
    show_invitation,
    show_methodology,
    show_reset,
    show_shared,
    show_sign_in,
    sign_in,
)
_CLOSED: Final = (
    accept_unknown,
    add_action,
    add_flight,
    add_link,
    add_placement,
    add_podcast,
    add_promo_codes,
    add_sponsor,
    add_vanity_host,
    ask_for_report,
    attribute_campaign,
    change_account,
    change_campaign,
    choose_account_mail,
    change_one_member,
    change_sponsor,
    decide_spike,
    end_promo_code,
    export_account,
    get_codes_file,
    get_qr_file,
    get_report_on_page,
    invite_member,
    leave_account,
    make_campaign,
    make_key,
    remove_link,
    remove_vanity_host,
    revoke_one_invitation,
    revoke_one_key,
    revoke_share,
    rewrite_by_address,
    rewrite_sent,
    rotate_key,
    set_own_password,
    share_report,
    show_account,
    show_campaign,
    show_campaign_change,
    show_campaigns,
    show_comparison,
    show_episode,
    show_episode_hits,
    show_episodes,
    show_front,
    show_hit,
    show_keys,
    show_members,
    show_new,
    show_new_action,
    show_new_campaign,
    show_new_flight,
    show_new_link,
    show_new_placement,
    show_new_promo_codes,
    show_new_report,
    show_new_vanity_host,
    show_overview,
    show_podcast_hits,
    show_podcasts,
    show_redemptions,
    show_report,
    show_setup,
    show_spike,
    show_spikes,
    show_sponsors,
    show_tenants,
    show_what_if,
    sign_out,
    sign_out_elsewhere,
    step_campaign,
    step_flight,
    step_placement,
    switch_tenant,
    upload_redemptions,
)


def page_routes() -> list[Router]:
    """Make the routes: those open to everyone, and those behind the sign-in."""
    return [
        Router(
            "/",
            route_handlers=list(_OPEN),
            before_request=Guards(limit_network),
            include_in_schema=False,
            middleware=[compression()],
        ),
        Router(
            "/",
            route_handlers=list(_CLOSED),
            before_request=Guards(Limited(require_session), require_permission),
            include_in_schema=False,
            middleware=[compression()],
        ),
    ]


def page_state(resources: Resources) -> dict[str, Any]:
    """Make what the routes share over all requests."""
    return {
        "sign_in_limit": SignInLimit(resources.clock),
        "agent_tables": AgentTables(resources.settings.ingest),
    }
