"""The page about conversions: its examples are run as they stand, and its lists are those of the code."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from analytics_core.conversions import FIELDS, MAX_CONVERSIONS, ActionCategory
from analytics_core.event_conversions import REFUND_WAITS, Outcome
from analytics_core.event_rules import MAX_AGE, MAX_AHEAD
from analytics_core.redemptions import MAX_BYTES, MAX_ROWS
from analytics_core.settings import DatabaseSettings
from ingest.retention import SIGNAL_DAYS
from tests.api_processes import make_owner_key, start
from tests.collectors import CollectorProcess, write_keys

PAGE = (Path(__file__).parents[2] / "docs" / "conversions.md").read_text()
FLAT = re.sub(r"\s+", " ", PAGE)


def rows(heading: str) -> set[str]:
    """List what the first column of the table under a heading names."""
    section = PAGE[PAGE.index(f"## {heading}") :].partition("\n## ")[0]
    firsts = [row.partition(" | ")[0] for row in re.findall(r"^\| (`.*)$", section, re.MULTILINE)]
    return {name for first in firsts for name in re.findall(r"`(\w+)`", first)}


def test_the_commands_do_what_the_page_says(database: DatabaseSettings, tmp_path: Path) -> None:
    key = make_owner_key(database)
    (listed_orders,) = re.findall(r"```csv\n(.*?)```", PAGE, re.DOTALL)
    # However long ago the page was written.
    recent = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=10)
    (tmp_path / "orders.csv").write_text(listed_orders.replace("2026-11-20", recent.isoformat()))
    answers: list[Any] = []
    with start(tmp_path, DATABASE_URL=str(database.url)) as running:
        environ = {**os.environ, "CASTLEDGER_API_URL": running.url, "CASTLEDGER_API_KEY": key}

        def run(command: str) -> Any:
            done = subprocess.run(
                ["sh", "-c", command], env=environ, capture_output=True, check=True, timeout=30, cwd=tmp_path
            )
            return json.loads(done.stdout)

        sponsor = run(
            'curl -sS "$CASTLEDGER_API_URL/api/v1/sponsors" -H "Authorization: Bearer $CASTLEDGER_API_KEY"'
            """ -H "Content-Type: application/json" -d '{"name": "Acme"}'"""
        )
        environ["SPONSOR_ID"] = sponsor["sponsor_id"]
        for command in re.findall(r"```sh\n(curl .*?)```", PAGE, re.DOTALL):
            answers.append(run(command))
            environ["ACTION_ID"] = answers[0]["action_id"]
            if len(answers) > 1:
                environ["CONVERSION_ID"] = answers[1]["conversion_id"]
    action, conversion, intake, adjusted, tried, answered, listed = answers
    # What is told over the API is no event.
    assert (intake["data"], intake["undecided"]) == ([], 0)
    assert action["event_type"] == "purchase"
    assert (conversion["value_amount"], conversion["promo_code"]) == (4999, "SAVE20")
    assert adjusted["effective_value_amount"] == 3999
    assert tried == {"rows": 2, "created": 2, "repeated": 0, "is_dry_run": True, "warnings": []}
    assert answered["survey_answer"] == "The Daily Show"
    assert [row["external_id"] for row in listed["data"]] == ["order-77"]


def test_the_programs_send_what_becomes_of_them(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    with CollectorProcess(tmp_path) as collector:
        environ = {**os.environ, "CASTLEDGER_COLLECTOR_URL": collector.url, "CASTLEDGER_API_KEY": keys.secret}
        program = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
        subprocess.run([sys.executable, "-c", program], env=environ, check=True, timeout=60)
        purchase, refund = (stored.record for stored in collector.events())
    assert (purchase.type, refund.type) == ("purchase", "refund")
    assert purchase.external_id == refund.external_id == "order-78"
    assert refund.properties["refund_id"] == "refund-9"


def test_the_lists_and_numbers_are_those_of_the_code() -> None:
    assert rows("From a server") == set(FIELDS)
    assert rows("As events") == {outcome.value for outcome in Outcome}
    assert all(f"`{category}`" in PAGE for category in ActionCategory)
    for number in (
        f"Up to {MAX_CONVERSIONS} go at once",
        f"{MAX_CONVERSIONS + 1} are 413",
        f"More than {MAX_AHEAD.total_seconds() // 3600:.0f} hours ahead or {MAX_AGE.days} days back",
        f"waits for it, up to {REFUND_WAITS.days} days",
        f"goes after {SIGNAL_DAYS} days",
        f"{MAX_BYTES // 1024**2} MiB and {MAX_ROWS:,} lines",
    ):
        assert number in FLAT, number
