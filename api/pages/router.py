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
from api.pages.assets import Assets, get_asset, get_favicon
from api.pages.campaigns import show_campaign, show_campaigns
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
    add_podcast,
    add_sponsor,
    change_account,
    choose_account_mail,
    change_one_member,
    change_sponsor,
    decide_spike,
    export_account,
    invite_member,
    leave_account,
    make_key,
    revoke_one_invitation,
    revoke_one_key,
    rewrite_by_address,
    rewrite_sent,
    rotate_key,
    set_own_password,
    show_account,
    show_campaign,
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
    show_overview,
    show_podcast_hits,
    show_podcasts,
    show_setup,
    show_spike,
    show_spikes,
    show_sponsors,
    show_tenants,
    show_what_if,
    sign_out,
    sign_out_elsewhere,
    switch_tenant,
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


def page_state(resources: Resources, assets: Assets) -> dict[str, Any]:
    """Make what the routes share over all requests."""
    return {
        "assets": assets,
        "sign_in_limit": SignInLimit(resources.clock),
        "agent_tables": AgentTables(resources.settings.ingest),
    }
