"""The page on tracking devices: its requests are sent as they stand, its numbers and words are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from analytics_core.db.promo_codes import MAX_PROMO_CODES
from analytics_core.db.vanity_hosts import MAX_VANITY_HOSTS
from analytics_core.promo_codes import (
    ALPHABET,
    DEFAULT_RANDOM,
    MAX_CODES_AT_ONCE,
    MAX_RANDOM,
    MIN_RANDOM,
    fold_code,
    parse_code,
)
from analytics_core.qr_codes import MAX_SIZE, MIN_SIZE
from analytics_core.utm_templates import PLACEHOLDERS, slugify
from tests.campaigns import make_campaign, make_flight
from tests.integration.api.conftest import api, clock, ledger, log_stream, resources, settings  # noqa: F401 - fixtures
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.test_sponsors import make as make_sponsor

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tracking.md").read_text()
_CURL = re.compile(r'^curl (?:-X (\w+) )?"\$CASTLEDGER_API_URL/api/v1(\S+)"(.*?)$', re.MULTILINE | re.DOTALL)


async def test_the_requests_do_what_the_page_says(api: Api, ledger: Ledger) -> None:  # noqa: F811
    sponsor = await make_sponsor(api, "Acme")
    campaign = await make_campaign(
        ledger.operator, await ledger.tenant_of("home"), sponsor["sponsor_id"], name="Spring Sale", status="draft"
    )
    ids = {
        "CAMPAIGN_ID": str(campaign.campaign_id),
        "FLIGHT_ID": str(await make_flight(ledger.operator, campaign, status="planned")),
    }
    answers = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        found = _CURL.match(block.replace("\\\n", "").strip())
        assert found is not None, block
        method, path, rest = found.groups()
        for name, value in ids.items():
            path, rest = path.replace(f"${name}", value), rest.replace(f"'${name}'", value)
        body = re.search(r"-d '(.*)'$", rest.strip())
        sent = {} if body is None else {"json": json.loads(body[1])}
        answer = await api.request(method or ("POST" if sent else "GET"), path, **sent)
        assert answer.status_code in (200, 201), (block, answer.text)
        answers.append(answer)
        if path == "/links":
            ids["LINK_ID"] = answer.json()["link_id"]
    chosen, made, link, _, host, picture = answers
    assert chosen.json()["data"][0]["code"] == "ACME20"
    assert {len(row["code"]) for row in made.json()["data"]} == {9}
    assert (len(made.json()["data"]), link.json()["sponsor_id"]) == (250, sponsor["sponsor_id"])
    filled = (await api.data(f"/links/{ids['LINK_ID']}"))["target"]
    assert filled == "https://shop.example.com/landing?utm_medium=podcast&utm_campaign=spring-sale"
    assert host.json()["url"] == "https://acme.show.example.net/"
    assert picture.content.startswith(b"\x89PNG")


def test_the_page_gives_the_numbers_and_words_of_the_code() -> None:
    assert f"`{ALPHABET}`" in PAGE
    assert f"up to {MAX_CODES_AT_ONCE:,} at once" in PAGE
    assert f"({MIN_RANDOM} to {MAX_RANDOM}, else {DEFAULT_RANDOM})" in PAGE
    assert f"more than {MAX_PROMO_CODES:,} codes" in PAGE
    assert f"more than {MAX_VANITY_HOSTS:,} hosts" in PAGE
    assert f"{MIN_SIZE} to {MAX_SIZE:,} pixels" in PAGE
    assert all(f"`{{{name}}}`" in PAGE for name in PLACEHOLDERS)
    assert f"`Spring Sale` as `{slugify('Spring Sale')}`" in PAGE
    written = re.search(r"`ACME20`, and known again however\na customer enters it: (.*?)\.", PAGE)
    assert written is not None
    assert {fold_code(text) for text in re.findall(r"`([^`]+)`", written[1])} == {parse_code("Acme 20")}


def test_every_refusal_is_one_of_the_code() -> None:
    table = PAGE[PAGE.index("## What is refused") :]
    words = set(re.findall(r"`(\w+)`", "".join(re.findall(r"\| (?:409|422) [^|]+\|", table))))
    code = "".join(path.read_text() for folder in ("analytics_core", "api") for path in (ROOT / folder).rglob("*.py"))
    assert len(words) > 15
    assert {word for word in words if f'"{word}"' not in code} == set()
