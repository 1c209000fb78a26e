"""The example of the page about attribution runs, as it is told there."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import pytest

from analytics_core.attribution.histories import Reason, Status
from analytics_core.attribution.leaks import Leak
from analytics_core.attribution.parameters import Model
from analytics_core.attribution.signals import Missing
from analytics_core.attribution.summaries import Summary
from tests.attributions import START, MadeSponsor, customer
from tests.integration.api.attributing import compute_runs
from tests.integration.api.conftest import NOW
from tests.integration.api.ledger import Api, Ledger

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[3] / "docs" / "attribution.md").read_text()


def of_november(number: int) -> dt.datetime:
    return START + dt.timedelta(days=number - 1, hours=12)


def euros(credited: list[dict[str, Any]]) -> str:
    return "" if not credited else f"{credited[0]['value_amount'] / 100:.2f}"


async def test_the_pages_november_gives_the_pages_figures(api: Api, ledger: Ledger) -> None:
    acme = await MadeSponsor.make(ledger.operator, await ledger.tenant_of("home"))
    autumn, launch = [await acme.flight(await acme.campaign(name)) for name in ("Autumn", "Launch")]
    link = await acme.link("autumn", autumn)
    await acme.code(launch, "LAUNCH10")
    action, ann = await acme.action(), customer("ann")
    await acme.signal(ann, of_november(2), click_id=await acme.click(link, of_november(2)))
    said: dict[str, Any] = {"promo_code": "LAUNCH10"}
    await acme.conversion(action, of_november(9), 9_999, customer_key=ann, **said)
    await acme.adjust(await acme.conversion(action, of_november(10), 5_000, **said), None, of_november(15))
    cems = await acme.conversion(action, of_november(11), 3_000, new_customer=True, **said)
    await acme.adjust(cems, 2_000, of_november(15))
    await acme.conversion(action, of_november(12), 2_000)
    command = re.search(r"-d '(\{\"sponsor_id\".*?\})'\n", PAGE)
    assert command is not None
    body = json.loads(command[1].replace("'\"$SPONSOR_ID\"'", str(acme.sponsor_id)))
    asked = await api.request("POST", "/attribution/runs", json=body)
    assert asked.status_code == 202, asked.text
    await compute_runs(api, NOW)
    found = await api.data(f"/attribution/runs/{asked.json()['run_id']}")
    header, *rows = re.findall(r"^\| ((?:campaign|Autumn|Launch) .*?) \|$", PAGE, re.MULTILINE)
    models = [one["model"] for one in found["campaigns"][0]["models"]]
    assert header.split(" | ") == ["campaign", "deterministic", *models]
    assert [re.split(r" ?\| ", row) for row in rows] == [
        [
            campaign["name"],
            euros(campaign["deterministic"]),
            *(euros(one["credited"]) for one in campaign["models"]),
        ]
        for campaign in found["campaigns"]
    ]
    summary = found["run"]["summary"]
    assert [(one["status"], one["value_amount"]) for one in summary["counted"]] == [
        ("attributed", 11_999),
        ("retracted", 5_000),
        ("unattributed", 2_000),
    ]
    assert summary["refunded"] == [{"currency": "EUR", "conversions": 2, "value_amount": 6_000}]


def test_the_page_names_every_word_of_an_answer() -> None:
    words: list[str] = [*Status, *Reason, *Missing, *Leak, *Model, *Summary.__struct_fields__]
    words.remove("conversions")
    assert [word for word in words if f"`{word}`" not in PAGE] == []
