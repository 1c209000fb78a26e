"""Who gets in, and what everyone gets to see of a refusal."""

from __future__ import annotations

import contextlib
import io
from uuid import UUID

import msgspec
import pytest
from litestar import Litestar

from analytics_core.api_keys import new_key
from analytics_core.clock import FixedClock
from analytics_core.db.pool import open_pool
from analytics_core.errors import ConfigError
from analytics_core.roles import Role
from analytics_core.settings import DatabaseSettings, Secret, Settings
from api.app import create_app
from api.known_keys import KnownKeys
from api.logs import RequestLog
from api.openapi import list_operations
from api.resources import Database, Resources, open_resources
from tests.integration.api.ledger import Api, Ledger, codes, lines_of, problem, unreachable

pytestmark = pytest.mark.anyio

OPEN = {("get", "/api/v1/health")}


@pytest.fixture
def app(resources: Resources, log_stream: io.StringIO) -> Litestar:
    return create_app(resources, log=RequestLog(log_stream))


async def test_every_closed_route_wants_a_key(app: Litestar, api: Api) -> None:
    operations = list_operations(app)
    assert len(operations) >= 12
    for operation in operations:
        path = operation.path.replace("{podcast_id}", str(UUID(int=1))).replace("{hit_id}", "h_1-1")
        answer = await api.http.request(operation.method, path)
        if (operation.method, operation.path) in OPEN:
            assert answer.status_code == 200
        elif not operation.is_open:
            problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"] == 'Bearer realm="castledger"'


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic abc", "cl_live_x", f"Bearer {'x' * 46}", "Bearer ü"])
async def test_a_credential_that_is_none_is_refused(api: Api, header: str) -> None:
    answer = await api.http.get("/api/v1/podcasts", headers=[(b"Authorization", header.encode())])
    problem(answer, 401, "unauthenticated")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_a_well_formed_key_that_nobody_has_is_refused(api: Api) -> None:
    problem(await api.get("/podcasts", key=new_key()), 401, "unauthenticated")


async def test_a_key_is_shown_once_works_and_is_refused_once_revoked(api: Api) -> None:
    made = await api.request("POST", "/api-keys", json={"name": "dashboard"})
    assert made.status_code == 201
    body = made.json()
    assert (body["name"], body["hint"]) == ("dashboard", body["key"][:12] + "…")
    assert (await api.get("/podcasts", key=body["key"])).status_code == 200

    listed = await api.data("/api-keys")
    assert [row["name"] for row in listed["data"]] == ["test", "dashboard"]
    assert body["key"] not in str(listed)

    gone = await api.request("DELETE", f"/api-keys/{body['key_id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    problem(await api.get("/podcasts", key=body["key"]), 401, "unauthenticated")
    problem(await api.request("DELETE", f"/api-keys/{body['key_id']}"), 404, "not_found")


async def test_another_tenants_key_cannot_be_seen_or_revoked(api: Api, ledger: Ledger) -> None:
    other = await ledger.make_key("other")
    keys = await api.data("/api-keys")
    assert len(keys["data"]) == 1
    answer = await api.request("DELETE", f"/api-keys/{keys['data'][0]['key_id']}", key=other)
    problem(answer, 404, "not_found")
    assert (await api.get("/podcasts")).status_code == 200


async def test_a_suspended_tenant_reads_and_does_not_write(api: Api, ledger: Ledger) -> None:
    key = await ledger.make_key("late-payer")
    # Only an operator may do this; no role of a service can.
    await ledger.suspend("late-payer")
    assert (await api.get("/podcasts", key=key)).status_code == 200
    problem(await api.request("POST", "/api-keys", key=key, json={"name": "x"}), 403, "tenant_suspended")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/name", "missing"),
        ({"name": 1}, "/name", "invalid"),
        ({"name": ""}, "/name", "invalid"),
        ({"name": "a\x00b"}, "/name", "invalid"),
        ({"name": "x" * 201}, "/name", "invalid"),
        ([], "", "invalid"),
    ],
)
async def test_a_body_of_another_form_is_refused_by_field(api: Api, body: object, pointer: str, code: str) -> None:
    assert codes(await api.request("POST", "/api-keys", json=body)) == {(pointer, code)}


async def test_all_faults_of_a_body_are_told_at_once(api: Api) -> None:
    answer = await api.request("POST", "/api-keys", json={"nam": "x", "scope": []})
    assert codes(answer) == {("/nam", "unknown_field"), ("/scope", "unknown_field"), ("/name", "missing")}
    assert "allowed: name" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"{", b"", b'{"name": "\\ud800"}', b"\xff\xfe"])
async def test_what_is_no_json_is_400(api: Api, body: bytes) -> None:
    answer = await api.request(
        "POST", "/api-keys", content=body, headers={"Content-Type": "application/json; charset=utf-8"}
    )
    problem(answer, 400, "malformed_json")


async def test_a_body_of_another_type_is_415_and_one_too_large_413(api: Api) -> None:
    problem(await api.request("POST", "/api-keys", content=b"name=x"), 415, "unsupported_media_type")
    large = b'{"name": "' + b"x" * (1024 * 1024) + b'"}'
    answer = await api.request("POST", "/api-keys", content=large, headers={"Content-Type": "application/json"})
    problem(answer, 413, "too_large")


@pytest.mark.parametrize(
    "path", ["/podcasts", "/api-keys", "/health", "/analytics/hits/h_1-1", "/openapi.json", "/docs"]
)
async def test_an_unknown_parameter_is_refused_everywhere_naming_the_allowed(api: Api, path: str) -> None:
    answer = await api.get(path, sort="asc", podcast="1")
    body = problem(answer, 422, "unknown_parameter")
    assert {fault["pointer"] for fault in body["errors"]} == {"sort", "podcast"}
    allowed = "allowed: limit, cursor" if path in ("/podcasts", "/api-keys") else "there are none here"
    assert allowed in body["detail"]


async def test_unknown_paths_and_methods_are_problems_too(api: Api) -> None:
    problem(await api.get("/nothing"), 404, "not_found")
    problem(await api.http.get("/api/v2/podcasts"), 404, "not_found")
    answer = await api.request("PUT", "/podcasts")
    problem(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(answer.headers["allow"].replace(" ", "").split(","))


@pytest.mark.parametrize(
    ("path", "allowed"), [("/podcasts", "GET, OPTIONS, POST"), (f"/links/{UUID(int=1)}", "DELETE, GET, OPTIONS, PATCH")]
)
async def test_options_names_the_methods_that_there_are(api: Api, path: str, allowed: str) -> None:
    answer = await api.request("OPTIONS", path)
    assert (answer.status_code, answer.headers["allow"]) == (204, allowed)
    problem(await api.http.options(f"/api/v1{path}"), 401, "unauthenticated")


async def test_a_sane_request_id_is_kept_and_another_replaced(api: Api) -> None:
    kept = await api.request("GET", "/podcasts", headers={"X-Request-Id": "abc-123.DEF_4"})
    assert kept.headers["x-request-id"] == "abc-123.DEF_4"
    for strange in ("short", "x" * 65, "with blank in it", 'quote"quote'):
        answer = await api.request("GET", "/podcasts", headers={"X-Request-Id": strange})
        assert answer.headers["x-request-id"] != strange
        assert UUID(answer.headers["x-request-id"]).version == 7


async def test_every_answer_keeps_browsers_careful(api: Api) -> None:
    for answer in (await api.get("/podcasts"), await api.get("/nothing"), await api.http.get("/api/v1/docs")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


async def test_head_answers_as_get_without_a_body(api: Api) -> None:
    answer = await api.http.head("/api/v1/health")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_the_log_tells_of_requests_without_keys_queries_or_addresses(api: Api, log_stream: io.StringIO) -> None:
    await api.get("/podcasts", cursor="secret-looking-cursor")
    await api.get("/podcasts/0b7d8a10-0000-7000-8000-000000000001")
    lines = [msgspec.json.decode(line) for line in lines_of(log_stream)]
    assert [(line["event"], line["route"], line["status"]) for line in lines] == [
        ("request", "/api/v1/podcasts", 422),
        ("request", "/api/v1/podcasts/{podcast_id}", 404),
    ]
    text = log_stream.getvalue()
    assert api.key not in text
    assert "secret-looking-cursor" not in text
    assert "127.0.0.1" not in text


async def test_what_nobody_foresaw_is_500_and_tells_only_its_id(
    api: Api, ledger: Ledger, log_stream: io.StringIO
) -> None:
    # A hit of a kind that this version does not know cannot be shown.
    podcast = await api.add_podcast()
    hit_id = await ledger.land(
        "2026-11-24T01:00+00:00", None, podcast_id=podcast["podcast_id"], bits=2, byte_range=(9, 0, 0)
    )
    body = problem(await api.get(f"/analytics/hits/{hit_id}"), 500, "internal")
    assert "RangeKind" not in str(body)
    logged = next(line for line in map(msgspec.json.decode, lines_of(log_stream)) if line["event"] == "error")
    assert logged["request_id"] == body["request_id"]
    assert "RangeKind" in logged["causes"][0]["text"]


@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:1/none", "postgresql://castledger@/no_such_database?host={host}"]
)
async def test_without_a_database_answers_are_503_with_retry_after(
    settings: Settings, url: str, log_stream: io.StringIO
) -> None:
    database = settings.require_database()
    host = str(database.url).partition("host=")[2]
    gone = msgspec.structs.replace(database, url=Secret(url.format(host=host)))
    async with open_resources(settings, database=gone) as resources:
        app = create_app(resources, log=RequestLog(log_stream))
        async with Api.open(app, new_key()) as api:
            for answer in (await api.get("/health"), await api.get("/podcasts")):
                problem(answer, 503, "unavailable")
                assert int(answer.headers["retry-after"]) > 0
            assert (await api.get("/openapi.json")).status_code == 200
            problem(await api.http.get("/api/v1/podcasts"), 401, "unauthenticated")


async def test_a_database_that_was_never_migrated_is_503(
    settings: Settings, empty_database: DatabaseSettings, log_stream: io.StringIO
) -> None:
    async with (
        open_resources(settings, database=empty_database) as resources,
        Api.open(create_app(resources, log=RequestLog(log_stream)), new_key()) as api,
    ):
        problem(await api.get("/podcasts"), 503, "unavailable")


async def test_a_database_that_lets_us_act_as_someone_else_is_not_used(
    settings: Settings, clock: FixedClock, log_stream: io.StringIO
) -> None:
    database = settings.require_database()
    async with contextlib.AsyncExitStack() as stack:
        pools = {}
        for role in (Role.API, Role.INGEST):
            pools[role] = await open_pool(database, role, application_name="test")
            stack.push_async_callback(pools[role].close)
        swapped = Database(api=pools[Role.API], auth=pools[Role.INGEST], reading=pools[Role.API])
        with pytest.raises(ConfigError, match="castledger_ingest"):
            await swapped.check()
        async with open_resources(settings, clock=clock) as resources:
            known_keys = KnownKeys(unreachable, swapped.auth, clock=clock)
            resources = msgspec.structs.replace(resources, database=swapped, known_keys=known_keys)
            async with Api.open(create_app(resources, log=RequestLog(log_stream)), new_key()) as api:
                problem(await api.get("/podcasts"), 503, "unavailable")


async def test_a_database_that_comes_back_is_found_again(api: Api, ledger: Ledger) -> None:
    await api.data("/podcasts")
    # Ends the pools' connections as a restart would.
    await ledger.end_others()
    answers = [await api.get("/podcasts") for _ in range(4)]
    assert answers[-1].status_code == 200
    assert {answer.status_code for answer in answers} <= {200, 503}
