"""The page on campaigns: its example is carried out, and its tables are the code's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from analytics_core.campaigns import CAMPAIGN_MOVES, PLACEMENT_MOVES, Delivery, Model, Position, Pricing
from analytics_core.db.ad_slots import MAX_SLOTS
from analytics_core.db.flights import MAX_FLIGHTS
from analytics_core.db.placements import MAX_PLACEMENTS
from ingest.rollups import refresh_rollups
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.test_campaigns import an_episode
from tests.integration.api.test_sponsors import make

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parents[3] / "docs" / "campaigns.md").read_text()


async def test_the_example_leads_from_an_order_to_a_download(api: Api, ledger: Ledger) -> None:
    episode = await an_episode(api)
    ids = {"SPONSOR_ID": (await make(api))["sponsor_id"], "EPISODE_ID": episode["episode_id"]}
    commands = re.findall(r"```sh\n(curl .*?)```", PAGE, re.DOTALL)
    assert len(commands) == 5
    for command in commands:
        for name, value in ids.items():
            command = command.replace(f"${name}", value)
        (path,) = re.findall(r'"\$CASTLEDGER_API_URL/api/v1([^"]+)"', command)
        body = re.search(r"-d '(.*)'", command, re.DOTALL)
        given = {} if body is None else {"json": json.loads(body[1])}
        answer = await api.request("POST", path, **given)
        assert answer.status_code in (200, 201), answer.text
        # What is made names itself first.
        name, value = next(iter(answer.json().items()))
        if isinstance(value, str):
            ids[name.upper()] = value
    campaign = await api.data(f"/campaigns/{ids['CAMPAIGN_ID']}")
    assert campaign["status"] == "active"
    await ledger.land("2026-11-24T10:00+00:00", episode["episode_id"])
    await ledger.roll_up()
    while await refresh_rollups(ledger.ingest):
        continue
    (placed,) = (await api.data("/placements", campaign_id=ids["CAMPAIGN_ID"]))["data"]
    assert placed["downloads"] == 1


def test_steps_words_and_bounds_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| ([\w, ]+) \| ([^|;:]+)", PAGE, re.MULTILINE)
    # Two steps in a row stand beside a state each.
    told = {
        step: (set(sources.split(", ")) if len(names) == 1 else {sources.split(", ")[place]}, targets)
        for column, sources, targets in rows
        for names in [re.findall(r"`([\w-]+)`", column)]
        for place, step in enumerate(names)
    }
    moves = {**CAMPAIGN_MOVES, **PLACEMENT_MOVES}
    assert {step: told[step][0] for step in moves} == {step: found.sources for step, found in moves.items()}
    assert all(found.target in told[step][1] for step, found in moves.items())
    for words in (Model, Pricing, Delivery, Position):
        assert all(f"`{word}`" in PAGE for word in words)
    assert f"{MAX_FLIGHTS} flights, a flight {MAX_PLACEMENTS:,} placements, a podcast {MAX_SLOTS} slots" in PAGE
