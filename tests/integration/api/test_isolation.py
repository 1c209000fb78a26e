"""Nobody sees or touches what is another tenant's: walks over all routes with ids of others."""

from __future__ import annotations

import re

import httpx
import pytest

from analytics_core.permissions import RoleName
from api.openapi import list_operations
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.nouns import (
    BODIES,
    FILTERS,
    FREE,
    MAKERS,
    QUERIES,
    Asked,
    Owner,
    ids_in_bodies,
    list_asked,
)

pytestmark = pytest.mark.anyio

_TABLES = """
select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('app', 'ops', 'ts') and c.relkind in ('r', 'p') and not c.relispartition order by 1"""


async def contents(ledger: Ledger) -> dict[str, str]:
    """Digest the rows of every table."""
    names = [row["name"] for row in await ledger.operator.fetch(_TABLES)]
    assert len(names) > 40
    union = " union all ".join(
        f"select '{name}' as name, md5(coalesce(string_agg(t::text, '|' order by t::text), '')) as rows from {name} t"
        for name in names
    )
    return {row["name"]: row["rows"] for row in await ledger.operator.fetch(union)}


def names_things(template: object) -> bool:
    """Tell whether an id is to be put into a path or a body."""
    return re.search(r"{\w+}", str(template)) is not None


def is_refused(answer: httpx.Response, asked: Asked) -> bool:
    """Tell whether an answer says that there is no such thing: 404, or 422 of the field in a body that names it."""
    if answer.status_code == 404:
        return True
    in_body = answer.status_code == 422 and names_things(asked.body)
    # Two ids that are the same are refused before anybody looks what they name.
    return in_body and {fault["code"] for fault in answer.json()["errors"]} <= {"not_found", "same_sponsor"}


async def test_every_parameter_of_a_path_and_every_id_in_a_body_can_be_made(api: Api) -> None:
    asked = list_asked(api.app)
    assert len(asked) > 40
    assert {request.is_page for request in asked} == {True, False}
    for request in asked:
        assert set(re.findall(r"{(\w+)}", request.path)) <= MAKERS.keys() | FREE.keys(), (
            f"{request.path}: tests/integration/api/nouns.py makes no such thing yet"
        )
    for operation in list_operations(api.app):
        name = operation.function.__name__
        named = {field for body in BODIES.get(name, ()) for field, value in body.items() if "{" in str(value)}
        assert ids_in_bodies(operation) <= named, f"{name}: add a body to BODIES of nouns.py"
        of_ids = {parameter.name for parameter in operation.query if parameter.schema.get("format") == "uuid"}
        assert of_ids <= MAKERS.keys() | FILTERS, f"{name}: add a maker to MAKERS of nouns.py"


async def test_every_route_with_an_id_of_another_tenant_is_404_and_changes_nothing(
    api: Api, ledger: Ledger, owners: tuple[Owner, Owner]
) -> None:
    ours, theirs = owners
    installation = Owner(api, ledger, "home", api.key, 9)
    await installation.sign_in(api.app)
    strangers = (theirs, installation)
    for stranger in strangers:
        # A key's first use is noted.
        assert (await api.get("/podcasts", key=stranger.key)).status_code == 200
    await api.app.state.resources.key_uses.flush()
    before = await contents(ledger)
    for request in list_asked(api.app):
        is_operators = "{tenant_id}" in request.path
        for stranger in strangers:
            if is_operators and stranger is installation:
                # Whoever runs an installation sees its tenants, and closes them.
                continue
            answer = await stranger.send(request, of=ours)
            assert (is_operators and answer.status_code == 403) or is_refused(answer, request), (
                f"{stranger.slug}: {request} {answer.status_code} {answer.text[:500]}"
            )
            for noun, made in ours.made.items():
                assert made not in answer.text.replace(str(answer.url), ""), f"{request} tells {noun}"
        for role in () if request.is_page else RoleName:
            answer = await theirs.send(request, of=ours, role=role)
            is_out = answer.status_code == 403 or is_refused(answer, request)
            assert is_out, f"{role}: {request} {answer.status_code} {answer.text[:500]}"
        if names_things(request.body) and names_things(request.path):
            # What is one's own cannot be tied to what is another's.
            answer = await theirs.send(request, of=ours, path_of=theirs)
            assert is_refused(answer, request), f"{request} {answer.status_code} {answer.text[:500]}"
        if request.method != "GET":
            after = await contents(ledger)
            assert {name for name in after if after[name] != before[name]} == set(), request
    assert await contents(ledger) == before


async def test_the_same_requests_about_ones_own_things_are_answered(api: Api, owners: tuple[Owner, Owner]) -> None:
    ours, _ = owners
    for request in list_asked(api.app):
        # A key is gone once it is revoked, on the page or by the API.
        if "{tenant_id}" in request.path or request.name == "revoke_one_key":
            continue
        if request.name == "revoke_invitation":
            # The page has taken the one before back.
            ours.made["invitation_id"] = await MAKERS["invitation_id"](ours)
        if request.name in ("delete_link", "delete_vanity_host", "remove_link", "remove_vanity_host"):
            # Likewise, and nothing comes under a campaign that was cancelled by one before.
            await ours.make_anew("insertion_order_id", "campaign_id", "flight_id", "link_id", "vanity_host_id")
        if request.name in ("revoke_api_key", "revoke_one_key", "rotate_key"):
            # The one that a request before has rotated or revoked is not there any more.
            ours.made["key_id"] = await MAKERS["key_id"](ours)
        answer = await ours.send(request, of=ours)
        # What was decided or erased by a request before may clash, and a feed without an address cannot be fetched.
        is_answered = answer.status_code < 400 or answer.status_code == 409
        if request.name in ("create_erasure", "merge_sponsor", "rewrite_sent"):
            is_answered = is_answered or answer.status_code == 422
        assert is_answered, f"{request} {answer.status_code} {answer.text[:500]}"
        assert answer.status_code != 404, f"{request} {answer.status_code} {answer.text[:500]}"


async def test_no_list_and_no_total_holds_anything_of_another_tenant(api: Api, owners: tuple[Owner, Owner]) -> None:
    ours, theirs = owners
    seen, named = "", 0
    for operation in list_operations(api.app):
        if operation.method != "get" or "{" in operation.path:
            continue
        query = {parameter.name: QUERIES[parameter.name] for parameter in operation.query if parameter.name in QUERIES}
        for parameter in operation.query:
            if parameter.required and parameter.name in MAKERS:
                query[parameter.name] = theirs.made[parameter.name]
        path = operation.path.removeprefix("/api/v1")
        foreign = await api.request("GET", path, key=theirs.key, params=query)
        assert foreign.status_code in (200, 403, 422), foreign.text
        for noun, made in ours.made.items():
            assert made not in foreign.text, f"{operation.path} tells {noun}"
        seen += (await api.request("GET", path, key=ours.key, params=query)).text
        named += 1
    assert named >= 12
    assert {noun for noun, made in ours.made.items() if made not in seen} <= {
        "episode_id",
        "session_id",
        "share_id",
        "survey_option_id",
    }
