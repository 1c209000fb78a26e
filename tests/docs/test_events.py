"""The pages about events: their examples are run as they stand, and their numbers are those of the code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_core.event_batches import MAX_BODY_BYTES, MAX_EVENT_BYTES, MAX_EVENTS
from analytics_core.event_rules import FIELDS, MAX_AGE, MAX_AHEAD
from analytics_core.origins import parse_origin
from analytics_core.settings import load_settings
from castledger_server.cli import main
from ingest.collector.limits import WRONG_COST
from tests.collectors import EVENTS, ORIGIN, CollectorProcess, Keys, write_keys

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "events.md").read_text()
PIXEL = (DOCS / "pixel.md").read_text()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return write_keys(tmp_path)


@pytest.fixture
def collector(tmp_path: Path, keys: Keys) -> Iterator[CollectorProcess]:
    with CollectorProcess(tmp_path) as process:
        yield process


def test_the_request_is_answered_as_the_page_says(collector: CollectorProcess, keys: Keys) -> None:
    [command] = re.findall(r"```sh\n(curl .*?)```", PAGE, re.DOTALL)
    environ = {**os.environ, "CASTLEDGER_COLLECTOR_URL": collector.url, "CASTLEDGER_API_KEY": keys.secret}
    done = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, check=True, timeout=30)
    told = json.loads(done.stdout)
    answer, refusal = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    assert told == answer
    [stored] = collector.events()
    assert (stored.record.promo_code, stored.record.value_amount) == ("SAVE20", 4999)
    old = {"event_id": refusal["event_id"], "type": "signup", "occurred_at": "2020-01-01T00:00:00Z"}
    sent = collector.send(keys.secret, {"events": [0, 0, 0, old]})
    assert sent.json()["results"][3] == refusal


def test_the_page_lists_every_field_and_no_other() -> None:
    table = PAGE[PAGE.index("### An event") : PAGE.index("### Time")]
    rows = [row.partition(" | ")[0] for row in re.findall(r"^\| (`.*)$", table, re.MULTILINE)]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == FIELDS


def test_the_page_gives_the_numbers_of_the_code() -> None:
    settings = load_settings({}).collector
    for number in (
        f"at most {MAX_EVENTS} events",
        f"at most {MAX_BODY_BYTES // 1024**2} MiB",
        f"At most {MAX_EVENT_BYTES // 1024} KiB",
        f"more than {MAX_AGE.days} days back",
        f"more than {MAX_AHEAD.total_seconds() // 3600:.0f} hours ahead",
        f"{settings.rate:,} events a minute",
        f"{settings.network_rate} requests a minute",
        f"`http://127.0.0.1:{settings.port}`",
    ):
        assert number in re.sub(r"\s+", " ", PAGE), number
    assert WRONG_COST == 5
    assert "a key that is not valid costs five" in PAGE


def test_every_code_that_the_page_names_is_one_of_ours() -> None:
    root = DOCS.parent
    sources = [*(root / "ingest" / "collector").glob("*.py"), root / "analytics_core" / "origins.py"]
    sources += [root / "analytics_core" / name for name in ("event_rules.py", "event_batches.py", "errors.py")]
    text = "".join(path.read_text() for path in sources)
    answers = PAGE[PAGE.index("## The answer") : PAGE.index("## Limits")]
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+|unauthenticated|unavailable|missing|invalid)`", answers))
    named -= {"event_id"}
    assert len(named) > 15
    assert {code for code in named if f'"{code}"' not in text} == set()


def test_what_pages_embed_is_served(collector: CollectorProcess, keys: Keys) -> None:
    [script] = re.findall(
        r'<script async src="https://ledger.example.com(/[^"]+)" data-key="cl_pub_…"></script>', PIXEL
    )
    assert collector.client.get(script).status_code == 200
    [image] = re.findall(r'<img src="https://ledger.example.com(/[^"]+)"', PIXEL)
    shown = collector.client.get(image.replace("cl_pub_…", keys.publishable), headers={"Referer": f"{ORIGIN}/"})
    assert shown.status_code == 200
    [stored] = collector.events()
    assert (stored.record.type, stored.record.promo_code) == ("signup", "SAVE20")


def test_the_key_of_a_site_is_made_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    [command] = re.findall(r"^castledger (keys add .*)$", PIXEL, re.MULTILINE)
    words = shlex.split(command)
    assert parse_origin(words[words.index("--origin") + 1], path="/origins/0") == ORIGIN
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    assert "--publishable" in capsys.readouterr().out


def test_the_path_is_the_one_that_is_served() -> None:
    assert f"`POST {EVENTS}`" in PAGE
