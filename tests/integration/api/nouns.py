"""A tenant with one of each thing there is, and requests about them made from the routes themselves.

Whoever adds a route with a new parameter in its path adds a maker for what it names, or says that it names nothing of a
tenant's; whoever adds a body with an id in it, an example of that body. The walks over all routes fail until then.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import httpx
import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from analytics_core.clock import FixedClock
from analytics_core.hits import HitFlag
from analytics_core.ids import new_id
from analytics_core.permissions import INSTALLATION_PERMISSIONS, RoleName
from api.openapi import Operation, list_operations
from api.pages.forms import FIELD, form_token
from api.pages.sessions import SESSION_COOKIE
from api.schemas.common import alternatives
from ingest.restatements import restate
from tests.integration.api.attributing import attribute_said
from tests.integration.api.browsers import ORIGIN, Browser
from tests.integration.api.feed_hosts import feed_host
from tests.integration.api.kept_reports import keep_report
from tests.integration.api.ledger import Api, Ledger, make_feed
from tests.integration.api.people import make_person, sign_in

__all__ = (
    "BODIES",
    "FILES",
    "FILTERS",
    "FORMS",
    "FREE",
    "MAKERS",
    "QUERIES",
    "Asked",
    "Owner",
    "ids_in_bodies",
    "list_asked",
)

_DAY: Final = "2026-11-02"
_NOW: Final = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
_CAMPAIGN: Final[dict[str, Any]] = {
    "name": "Launch",
    "starts_on": "2026-11-01",
    "ends_on": "2026-11-30",
    "pricing": "cpm",
    "budget_amount": 100_000,
    "model": "linear",
    "window_days": 30,
}
_FLIGHT: Final[dict[str, Any]] = {
    "name": "First",
    "starts_at": "2026-11-01T00:00:00Z",
    "ends_at": "2026-11-30T00:00:00Z",
    "price_amount": 2_500,
}
_PARAMETER: Final = re.compile(r"{(\w+)}")
_BASE: Final = "/api/v1"
_PERSONAL: Final = f"{_BASE}/users/me"
"""Where people see to themselves: a key is nobody there."""


class Owner:
    """A tenant; each thing of it is made when it is first asked for, and stays the same.

    Args:
        api: Through which most is made.
        ledger: By which is made what no request makes.
        slug: The tenant's.
        key: Of the tenant, with which it may do everything.
        number: Tells its feeds and links from those of others.
    """

    def __init__(self, api: Api, ledger: Ledger, slug: str, key: str, number: int) -> None:
        self.api = api
        self.ledger = ledger
        self.slug = slug
        self.key = key
        self.number = number
        self.session = ""
        self.access: dict[RoleName, str] = {}
        self.made: dict[str, str] = {}

    async def one(self, noun: str) -> str:
        """Return the id of the one thing that a parameter names, or what stands for a parameter that names none."""
        if noun in FREE:
            return FREE[noun]
        if noun not in self.made:
            self.made[noun] = await MAKERS[noun](self)
        return self.made[noun]

    async def make_all(self) -> None:
        """Make one of each."""
        for noun in MAKERS:
            await self.one(noun)

    async def fill_in(self, template: Any) -> Any:
        """Put this tenant's ids in the place of parameters, in a path or in any value that JSON knows."""
        if isinstance(template, dict):
            return {name: await self.fill_in(value) for name, value in template.items()}
        if isinstance(template, list):
            return [await self.fill_in(value) for value in template]
        if not isinstance(template, str):
            return template
        for noun in _PARAMETER.findall(template):
            template = template.replace(f"{{{noun}}}", await self.one(noun))
        return template

    async def sign_in(self, app: Litestar) -> None:
        """Sign in to the page with the key, and to the API as somebody of each role."""
        for role in RoleName:
            email = f"{role}@{self.slug}.example.com"
            await make_person(self.ledger, email, self.slug, role=role)
            self.access[role] = (await sign_in(self.api, email)).access
        async with Browser.open(app) as browser:
            await browser.sign_in(self.key)
            self.session = browser.http.cookies[SESSION_COOKIE]

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Make something by a request."""
        answer = await self.api.request("POST", path, key=self.key, **({"json": body} if body else {}))
        assert answer.status_code in (201, 202), answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def send(
        self, asked: Asked, *, of: Owner, path_of: Owner | None = None, role: RoleName | None = None
    ) -> httpx.Response:
        """Send a request with this tenant's key, or as somebody of a role, about things of another or its own."""
        path = await (path_of or of).fill_in(asked.path)
        query = {name: await of.fill_in(value) for name, value in asked.query.items()}
        if asked.is_page:
            form = {**await of.fill_in(asked.body), FIELD: form_token(self.session)} if asked.body is not None else None
            return await self.api.http.request(
                asked.method,
                f"{ORIGIN}{path}",
                params=query,
                headers={"Cookie": f"{SESSION_COOKIE}={self.session}", "Origin": ORIGIN},
                data=form,
            )
        body = {} if asked.body is None else {"json": await of.fill_in(asked.body)}
        if asked.name in FILES:
            body = {"content": FILES[asked.name], "headers": {"Content-Type": "text/csv"}}
        if role is None and path.startswith(_PERSONAL):
            role = RoleName.OWNER
        credential = self.key if role is None else self.access[role]
        return await self.api.request(asked.method, path.removeprefix(_BASE), key=credential, params=query, **body)


async def _podcast(owner: Owner) -> str:
    podcast = await owner.api.add_podcast(10 * owner.number, key=owner.key)
    return str(podcast["podcast_id"])


async def _episode(owner: Owner) -> str:
    answer = await owner.api.get(f"/podcasts/{await owner.one('podcast_id')}/episodes", key=owner.key)
    return str(answer.json()["data"][0]["episode_id"])


async def _hit(owner: Owner) -> str:
    return await owner.ledger.land(f"{_DAY}T10:00+00:00", await owner.one("episode_id"), listener=owner.number)


async def _link(owner: Owner) -> str:
    made = await owner.post("/links", slug=f"offer-{owner.number}", url="https://sponsor.example.com/")
    return str(made["link_id"])


async def _key(owner: Owner) -> str:
    return str((await owner.post("/api-keys", name="spare"))["key_id"])


async def _claim(owner: Owner) -> str:
    with feed_host(make_feed(10 * owner.number + 1)) as host:
        podcast = await owner.post("/podcasts", feed_url=host.url)
    return str((await owner.post(f"/podcasts/{podcast['podcast_id']}/claims"))["claim_id"])


async def _erasure(owner: Owner) -> str:
    hit_id = await owner.ledger.land(f"{_DAY}T12:00+00:00", await owner.one("episode_id"), listener=100 + owner.number)
    return str((await owner.post("/erasures", kind="listener", hit_id=hit_id))["erasure_id"])


async def _restatement(owner: Owner) -> str:
    late = 200 + owner.number
    await owner.ledger.finalise(owner.slug, ["2026-11-01"])
    await owner.ledger.land("2026-11-01T10:00+00:00", await owner.one("episode_id"), listener=late, flags=HitFlag.LATE)
    await owner.ledger.ingest.execute("delete from ts.downloads where listener_key = $1", UUID(int=late))
    tenant = await owner.ledger.tenant_of(owner.slug)
    days, clock = [dt.date(2026, 11, 1)], FixedClock(_NOW)
    await restate(owner.ledger.ingest, int(tenant.tenant_no), days, reason="late", origin="command", clock=clock)
    return str((await owner.api.get("/restatements", key=owner.key)).json()["data"][0]["restatement_id"])


async def _spike(owner: Owner) -> str:
    spike_id, begins = new_id(), dt.datetime.fromisoformat(f"{_DAY}T11:00+00:00")
    await owner.ledger.ingest.execute(
        """insert into app.spikes (tenant_no, spike_id, podcast_no, kind, begins_at, ends_at, app, usual, hits,
            downloads, episodes, found_at)
        select tenant_no, $2, podcast_no, 'agent', $3, $4, 'Earwig', '{1}', 2, 2, 1, $5 from app.podcasts
        where podcast_id = $1""",
        UUID(await owner.one("podcast_id")),
        spike_id,
        begins,
        begins + dt.timedelta(hours=1),
        _NOW,
    )
    return str(spike_id)


async def _tenant(owner: Owner) -> str:
    return str(UUID(int=(await owner.ledger.tenant_of(owner.slug)).tenant_id.int))


async def _role(owner: Owner) -> str:
    return str((await owner.post("/roles", name="Editor", permissions=["links:read"]))["role_id"])


async def _member(owner: Owner) -> str:
    email = f"member@{owner.slug}.example.com"
    return str(await make_person(owner.ledger, email, owner.slug, role=RoleName.VIEWER))


async def _session(owner: Owner) -> str:
    email = f"{RoleName.OWNER}@{owner.slug}.example.com"
    body = (await sign_in(owner.api, email)).body
    listed = await owner.api.get("/users/me/sessions", key=body["access_token"])
    return str(next(one["session_id"] for one in listed.json()["data"] if one["is_current"]))


async def _invitation(owner: Owner) -> str:
    made = await owner.post("/members/invitations", email=f"guest@{owner.slug}.example.com", role="viewer")
    return str(made["invitation_id"])


async def _sponsor(owner: Owner) -> str:
    return str((await owner.post("/sponsors", name=f"Sponsor {owner.number}"))["sponsor_id"])


async def _action(owner: Owner) -> str:
    sponsor_id = await owner.one("sponsor_id")
    made = await owner.post("/conversion-actions", sponsor_id=sponsor_id, name="Purchase", category="purchase")
    return str(made["action_id"])


async def _conversion(owner: Owner) -> str:
    said = {"action_id": await owner.one("action_id"), "external_id": "order-1", "occurred_at": f"{_DAY}T10:00:00Z"}
    return str((await owner.post("/attribution/conversions", **said))["conversion_id"])


async def _survey_option(owner: Owner) -> str:
    made = await owner.post(f"/flights/{await owner.one('flight_id')}/survey-options", answer="The Daily")
    return str(made["survey_option_id"])


async def _insertion_order(owner: Owner) -> str:
    sponsor_id = await owner.one("sponsor_id")
    made = await owner.post("/insertion-orders", sponsor_id=sponsor_id, name="Autumn", currency="EUR")
    return str(made["insertion_order_id"])


async def _campaign(owner: Owner) -> str:
    made = await owner.post("/campaigns", **_CAMPAIGN, insertion_order_id=await owner.one("insertion_order_id"))
    return str(made["campaign_id"])


async def _flight(owner: Owner) -> str:
    campaign_id = await owner.one("campaign_id")
    return str((await owner.post(f"/campaigns/{campaign_id}/flights", **_FLIGHT))["flight_id"])


async def _ad_slot(owner: Owner) -> str:
    podcast_id = await owner.one("podcast_id")
    made = await owner.post(f"/podcasts/{podcast_id}/ad-slots", name="Middle", position="mid", per_episode=9)
    return str(made["ad_slot_id"])


async def _placement(owner: Owner) -> str:
    flight_id, episode_id = await owner.one("flight_id"), await owner.one("episode_id")
    ad_slot_id = await owner.one("ad_slot_id")
    made = await owner.post(
        f"/flights/{flight_id}/placements", episode_id=episode_id, delivery="dynamic", ad_slot_id=ad_slot_id
    )
    return str(made["placement_id"])


async def _promo_code(owner: Owner) -> str:
    made = await owner.post(f"/flights/{await owner.one('flight_id')}/promo-codes", code=f"SAVE{owner.number}0")
    return str(made["data"][0]["promo_code_id"])


async def _vanity_host(owner: Owner) -> str:
    host = f"acme.{owner.slug}.example.net"
    return str((await owner.post("/vanity-hosts", host=host, link_id=await owner.one("link_id")))["vanity_host_id"])


async def _run(owner: Owner) -> str:
    await owner.one("conversion_id")
    return await attribute_said(owner.api, await owner.one("sponsor_id"), key=owner.key)


async def _report(owner: Owner) -> str:
    podcast_id = await owner.one("podcast_id")
    return await keep_report(owner.api, owner.ledger, key=owner.key, kind="podcast", podcast_id=podcast_id)


async def _share(owner: Owner) -> str:
    path = f"/reports/{await owner.one('report_id')}/shares"
    return str((await owner.post(path, expires_at="2026-12-24T12:00:00Z"))["share"]["share_id"])


MAKERS: Final[Mapping[str, Callable[[Owner], Awaitable[str]]]] = {
    "sponsor_id": _sponsor,
    "podcast_id": _podcast,
    "episode_id": _episode,
    "hit_id": _hit,
    "link_id": _link,
    "insertion_order_id": _insertion_order,
    "campaign_id": _campaign,
    "flight_id": _flight,
    "ad_slot_id": _ad_slot,
    "placement_id": _placement,
    "key_id": _key,
    "claim_id": _claim,
    "erasure_id": _erasure,
    "restatement_id": _restatement,
    "spike_id": _spike,
    "tenant_id": _tenant,
    "role_id": _role,
    "user_id": _member,
    "invitation_id": _invitation,
    "session_id": _session,
    "action_id": _action,
    "conversion_id": _conversion,
    "survey_option_id": _survey_option,
    "run_id": _run,
    "promo_code_id": _promo_code,
    "vanity_host_id": _vanity_host,
    "report_id": _report,
    "share_id": _share,
}
"""How one of each is made, by the parameter that names it; what others are made of comes first."""

FREE: Final[Mapping[str, str]] = {"host": "media.example.net", "name": "page.css"}
"""Parameters of paths that name nothing of a tenant's, with a value."""

FILTERS: Final = frozenset({"actor_id"})
"""Query parameters with an id by which a list is searched: where it has nothing of theirs, the list is empty."""

QUERIES: Final[Mapping[str, str]] = {"day": _DAY, "from": _DAY, "to": "2026-11-03", "profiles": "ptmg-2.3"}
"""Values of query parameters that routes want to have."""

BODIES: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "accept_spike": [{"reason": "a crawler"}],
    "adjust_conversion": [{"kind": "retract"}],
    "answer_survey": [{"action_id": "{action_id}", "external_id": "order-1", "answer": "The Daily"}],
    "change_my_membership": [{"delivery_mail": False}],
    "create_conversion_action": [{"sponsor_id": "{sponsor_id}", "name": "Signup", "category": "signup"}],
    "create_attribution_run": [{"sponsor_id": "{sponsor_id}", "from": _DAY, "to": "2026-11-03"}],
    "create_ad_slot": [{"name": "First", "position": "pre"}],
    "create_campaign": [
        {**_CAMPAIGN, "insertion_order_id": "{insertion_order_id}"},
        {**_CAMPAIGN, "sponsor_id": "{sponsor_id}", "currency": "EUR"},
    ],
    "create_erasure": [
        {"kind": "podcast", "podcast_id": "{podcast_id}", "confirm": "Podcast"},
        {"kind": "listener", "hit_id": "{hit_id}"},
    ],
    "create_flight": [_FLIGHT, {**_FLIGHT, "makegood_of": "{flight_id}"}],
    "create_insertion_order": [{"sponsor_id": "{sponsor_id}", "name": "Autumn", "currency": "EUR"}],
    "create_invitation": [
        {"email": "other@example.com", "role_id": "{role_id}"},
        {"email": "other@example.com", "role": "sponsor", "sponsor_ids": ["{sponsor_id}"]},
    ],
    "create_link": [
        {"url": "https://elsewhere.example.com/", "sponsor_id": "{sponsor_id}"},
        {"url": "https://elsewhere.example.com/", "flight_id": "{flight_id}"},
    ],
    "create_survey_option": [{"answer": "Friends"}],
    "create_report": [
        {"kind": "podcast", "format": "csv", "from": _DAY, "to": "2026-11-03", "podcast_id": "{podcast_id}"},
        {"kind": "sponsor", "format": "csv", "from": _DAY, "to": "2026-11-03", "sponsor_id": "{sponsor_id}"},
        {
            "kind": "sponsor",
            "format": "csv",
            "from": _DAY,
            "to": "2026-11-03",
            "sponsor_id": "{sponsor_id}",
            "campaign_id": "{campaign_id}",
            "run_id": "{run_id}",
        },
        {"kind": "delivery", "format": "csv", "from": _DAY, "to": "2026-11-03", "campaign_id": "{campaign_id}"},
    ],
    "create_report_share": [{"expires_at": "2026-12-24T12:00:00Z"}],
    "create_placement": [
        {"episode_id": "{episode_id}", "delivery": "dynamic", "ad_slot_id": "{ad_slot_id}", "slot_no": 2},
    ],
    "create_promo_codes": [{}],
    "create_vanity_host": [{"host": "other.example.net", "link_id": "{link_id}"}],
    "dismiss_spike": [{"reason": "a crawler"}],
    "duplicate_campaign": [{}],
    "revert_spike": [{"reason": "a crawler"}],
    "merge_sponsor": [{"into": "{sponsor_id}"}],
    "send_conversions": [{"action_id": "{action_id}", "external_id": "order-2"}],
    "rotate_api_key": [{"overlap_s": 60}],
    "update_ad_slot": [{"name": "Other"}],
    "update_api_key": [{"name": "other"}],
    "update_conversion_action": [{"name": "Other"}],
    "update_campaign": [{"name": "Other"}],
    "update_flight": [{"name": "Other"}],
    "update_insertion_order": [{"name": "Other"}],
    "update_link": [
        {"url": "https://elsewhere.example.com/", "sponsor_id": "{sponsor_id}"},
        {"url": "https://elsewhere.example.com/", "flight_id": "{flight_id}"},
    ],
    "update_member": [{"role_id": "{role_id}"}, {"role": "sponsor", "sponsor_ids": ["{sponsor_id}"]}],
    "update_placement": [{"ad_slot_id": "{ad_slot_id}", "slot_no": 3}],
    "update_promo_code": [{"grace_days": 3}],
    "update_role": [{"name": "Other"}],
    "update_sponsor": [{"name": "Other"}],
}
"""Bodies of requests about something, by the name of the function that answers; ids stand in braces."""

FILES: Final[Mapping[str, bytes]] = {"send_redemptions": b"order,occurred_at,code\n1,2026-11-02T10:00:00Z,SAVE20\n"}
"""Bodies in CSV of requests about something, by the name of the function that answers."""

FORMS: Final[Mapping[str, Mapping[str, str]]] = {
    "accept_unknown": {"host": "media.example.net"},
    "change_one_member": {"do": "change", "role": "analyst"},
    "change_sponsor": {"name": "Other"},
    "decide_spike": {"decision": "accept", "reason": "a crawler"},
    "revoke_one_invitation": {},
    "revoke_one_key": {"do": "revoke"},
    "rewrite_sent": {"feed": ""},
    "rotate_key": {"overlap_s": "86400"},
}
"""Fields of the page's forms that are about something."""


class Asked(NamedTuple):
    """A request about something: its ids stand in braces, in the path, in the query or in the body."""

    name: str
    method: str
    path: str
    query: Mapping[str, str]
    body: Mapping[str, Any] | None
    is_page: bool = False


def ids_in_bodies(operation: Operation) -> set[str]:
    """List the fields of an operation's body that name a thing."""
    structs = [kind for body in operation.bodies.values() if body is not None for kind in alternatives(body)]
    fields = [field for body in structs for field in msgspec.structs.fields(body)]
    return {field.encode_name for field in fields if field.encode_name in MAKERS or "UUID" in str(field.type)}


def _page_handlers(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                    if not handler.resolve_include_in_schema() and not handler.opt.get("is_open"):
                        yield method, route.path_format, handler


def list_asked(app: Litestar) -> list[Asked]:
    """Make every request that names a thing, reads first and deletions last."""
    asked = []
    for operation in list_operations(app):
        # What is about all tenants is refused to all but one, whichever id they name: test_tenants.py.
        # What anybody may open by its secret is nobody's.
        if operation.handler.opt.get("permission") in INSTALLATION_PERMISSIONS or operation.is_open:
            continue
        name, method, path = operation.function.__name__, operation.method.upper(), operation.path
        needed = {
            parameter.name: QUERIES[parameter.name]
            for parameter in operation.query
            if parameter.required and parameter.name not in MAKERS
        }
        bodies: Sequence[Mapping[str, Any] | None] = BODIES.get(name, [None])
        if _PARAMETER.search(path) or ids_in_bodies(operation):
            asked += [Asked(name, method, path, needed, body) for body in bodies]
        asked += [
            Asked(name, method, path, {**needed, parameter.name: f"{{{parameter.name}}}"}, bodies[0])
            for parameter in operation.query
            if parameter.name in MAKERS
        ]
    for method, path, handler in _page_handlers(app):
        if _PARAMETER.search(path):
            name = handler.fn.__name__
            asked.append(Asked(name, method, path, {}, FORMS[name] if method == "POST" else None, is_page=True))
    return sorted(asked, key=lambda request: ("GET", "PATCH", "PUT", "POST", "DELETE").index(request.method))
