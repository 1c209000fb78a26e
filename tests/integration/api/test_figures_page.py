"""The page about figures is followed to the letter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analytics_core.db.analytics import MAX_SUMS
from analytics_core.db.audience import MAX_COUNTED
from analytics_core.reports import CURVE_DAYS, MAX_HOURLY_DAYS, MAX_RANGE_DAYS
from api.app import create_app
from api.openapi import list_operations
from api.resources import Resources
from api.routes.analytics import MAX_VALUES
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.test_downloads import World

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[3] / "docs" / "figures.md"


async def test_every_request_of_the_page_is_answered(api: Api, ledger: Ledger, resources: Resources) -> None:
    world = await World(api, ledger).fill()
    requests = re.findall(r"^GET (\S+)$", PAGE.read_text(), re.MULTILINE)
    for request in requests:
        address = request.replace("PODCAST_ID", world.podcast).replace("EPISODE_ID", world.episodes[0])
        answer = await api.request("GET", address.removeprefix("/api/v1"))
        assert answer.status_code == 200, (request, answer.text)
    paths = {
        operation.path
        for operation in list_operations(create_app(resources))
        if operation.path.startswith("/api/v1/analytics/")
    }
    # One hit is read by its id, which the list of hits tells.
    assert {request.split("?")[0] for request in requests} == paths - {"/api/v1/analytics/hits/{hit_id}"}


def test_the_page_gives_the_limits_of_the_code() -> None:
    page = PAGE.read_text()
    for number in (MAX_COUNTED, MAX_VALUES, MAX_RANGE_DAYS, MAX_HOURLY_DAYS, MAX_SUMS):
        assert f"{number:,}" in page
    *days, last = CURVE_DAYS
    assert f"{', '.join(map(str, days))} and {last} days" in page
