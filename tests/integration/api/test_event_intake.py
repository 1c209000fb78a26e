"""What became of events, over the API and on the page: by day, type and sponsor, with the reason."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import pytest

from analytics_core.db.event_intake import add_intake
from analytics_core.event_conversions import Outcome
from analytics_core.intake import OUTCOME_WORDS, IntakeKey
from analytics_core.permissions import RoleName
from api.app import create_app
from api.resources import Resources
from tests.integration.api.browsers import Browser
from tests.integration.api.ledger import Api, Ledger, codes, problem
from tests.integration.api.people import make_person, sign_in
from tests.integration.api.test_sponsor_logins import hold
from tests.integration.api.test_sponsors import make as make_sponsor

pytestmark = pytest.mark.anyio

TODAY = dt.date(2026, 11, 24)
RANGE = {"from_": "2026-11-20", "to": "2026-11-25"}


async def count(
    ledger: Ledger, outcome: Outcome, events: int, *, day: dt.date = TODAY, sponsor: str | None = None
) -> None:
    tenant = await ledger.tenant_of("home")
    key = IntakeKey(tenant.tenant_id, day, "purchase", outcome, None if sponsor is None else UUID(sponsor))
    await add_intake(ledger.ingest, {key: events})


def shown(row: dict[str, Any]) -> tuple[str, str | None, str, int]:
    return row["day"], row["sponsor"], row["outcome"], row["events"]


async def test_what_became_of_events_is_told_by_day_sponsor_and_outcome(api: Api, ledger: Ledger) -> None:
    acme = (await make_sponsor(api, "Acme"))["sponsor_id"]
    await count(ledger, Outcome.CONVERSION, 3, sponsor=acme)
    await count(ledger, Outcome.CONVERSION, 2, sponsor=acme)
    await count(ledger, Outcome.UNKNOWN_CODE, 7)
    await count(ledger, Outcome.NO_ACTION, 1, sponsor=acme, day=dt.date(2026, 11, 20))
    await count(ledger, Outcome.NO_SPONSOR, 9, day=dt.date(2026, 11, 19))
    tenant = await ledger.tenant_of("home")
    await ledger.operator.execute(
        "insert into ops.event_marks (tenant_no, event_id, received_at) values ($1, $2, now()), ($3, $2, now())",
        tenant.tenant_no,
        UUID(int=1),
        tenant.tenant_no + 1,
    )
    found = await api.data("/attribution/intake", **RANGE)
    assert [shown(row) for row in found["data"]] == [
        ("2026-11-24", None, "unknown_code", 7),
        ("2026-11-24", "Acme", "conversion", 5),
        ("2026-11-20", "Acme", "no_action", 1),
    ]
    assert found["data"][0] == {
        "day": "2026-11-24",
        "type": "purchase",
        "sponsor_id": None,
        "sponsor": None,
        "outcome": "unknown_code",
        "explanation": OUTCOME_WORDS[Outcome.UNKNOWN_CODE],
        "events": 7,
    }
    assert found["totals"] == {"unknown_code": 7, "conversion": 5, "no_action": 1}
    assert (found["undecided"], found["left_out"], found["from"], found["to"]) == (1, 0, "2026-11-20", "2026-11-25")
    short = await api.data("/attribution/intake", **RANGE, limit=1)
    assert (short["data"], short["left_out"], short["totals"]) == (found["data"][:1], 2, found["totals"])
    theirs = await api.data("/attribution/intake", **RANGE, sponsor_id=acme)
    assert theirs["totals"] == {"conversion": 5, "no_action": 1}
    # By default the last thirty days, today among them.
    usual = await api.data("/attribution/intake")
    assert (usual["from"], usual["to"]) == ("2026-10-26", "2026-11-25")
    assert usual["totals"]["no_sponsor"] == 9
    assert (await api.data("/attribution/intake", from_="2026-11-01", to="2026-11-02"))["data"] == []


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ({"from_": "2026-11-02", "to": "2026-11-02"}, {("to", "reversed_range")}),
        ({"from_": "2026-08-01", "to": "2026-11-02"}, {("to", "range_too_long")}),
        ({"from_": "2026-11-01T00:00:00Z"}, {("from", "invalid")}),
        ({"sponsor_id": "acme", "day": "2026-11-01"}, {("sponsor_id", "invalid"), ("day", "unknown_parameter")}),
    ],
)
async def test_bad_queries_are_named(api: Api, query: dict[str, str], faults: set[tuple[str, str]]) -> None:
    answer = await api.get("/attribution/intake", **query)
    assert answer.status_code == 422
    assert codes(answer) == faults


async def test_merged_sponsors_are_counted_as_one_and_what_comes_later_is_added(api: Api, ledger: Ledger) -> None:
    acme, other = [(await make_sponsor(api, name))["sponsor_id"] for name in ("Acme", "Acme Inc.")]
    for sponsor in (acme, other):
        await count(ledger, Outcome.CONVERSION, 2, sponsor=sponsor)
    answer = await api.request("POST", f"/sponsors/{other}/merge", json={"into": acme})
    assert answer.status_code == 200, answer.text
    # Of an event that was decided about just before the merge.
    await count(ledger, Outcome.CONVERSION, 1, sponsor=other)
    found = await api.data("/attribution/intake", **RANGE)
    assert [shown(row) for row in found["data"]] == [("2026-11-24", "Acme", "conversion", 5)]


async def test_a_sponsors_login_sees_what_is_its_sponsors(api: Api, ledger: Ledger) -> None:
    acme, zenith = [(await make_sponsor(api, name))["sponsor_id"] for name in ("Acme", "Zenith")]
    for sponsor in (acme, zenith, None):
        await count(ledger, Outcome.NO_ACTION if sponsor else Outcome.NO_SPONSOR, 2, sponsor=sponsor)
    user_id = await make_person(ledger, "sam@example.com", "home", role=RoleName.SPONSOR)
    await hold(api, ledger, user_id, acme)
    access = (await sign_in(api, "sam@example.com")).access
    found = (await api.get("/attribution/intake", key=access, **RANGE)).json()
    assert [shown(row) for row in found["data"]] == [("2026-11-24", "Acme", "no_action", 2)]
    assert (found["totals"], found["undecided"]) == ({"no_action": 2}, None)
    problem(await api.get("/attribution/intake", key=access, sponsor_id=zenith), 404, "not_found")


async def test_the_page_of_sponsors_tells_what_became_of_events(resources: Resources, api: Api, ledger: Ledger) -> None:
    name = "Acme <b>"
    acme = (await make_sponsor(api, name))["sponsor_id"]
    await count(ledger, Outcome.CONVERSION, 1500, sponsor=acme)
    await count(ledger, Outcome.CONVERSION, 1, sponsor=acme, day=TODAY - dt.timedelta(days=29))
    await count(ledger, Outcome.UNKNOWN_CODE, 7)
    await count(ledger, Outcome.BOT, 5, day=TODAY - dt.timedelta(days=30))
    async with Browser.open(create_app(resources)) as browser:
        await browser.sign_in(api.key)
        page = await browser.get("/sponsors")
    table = "//section[@aria-labelledby='came']//tbody/tr"
    assert page.texts(f"{table}/th/code") == ["purchase", "purchase"]
    assert page.texts(f"{table}/td[1]") == [name, "–"]
    assert page.texts(f"{table}/td[3]") == ["1,501", "7"]
    assert OUTCOME_WORDS[Outcome.UNKNOWN_CODE] in page.text.replace("&#39;", "'")
