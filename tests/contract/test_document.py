"""Requests made up from the OpenAPI document, sent to a running API over a filled database.

A small run stands among the tests; `nox -s contract` takes minutes over it. What is looked for: no 5xx, no status that
the document does not name, no answer outside its schema, nothing accepted that the document forbids, no method that is
not there, and no credential that is ignored. What fails is printed as a `curl` command.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import pytest

from analytics_core.settings import DatabaseSettings, load_settings
from api.app import create_app
from api.resources import open_resources
from tests.api_processes import Running, start
from tests.integration.api.ledger import Api, Ledger
from tests.integration.api.nouns import MAKERS, QUERIES, Owner

pytestmark = pytest.mark.anyio

_EXAMPLES: Final = os.environ.get("CASTLEDGER_CONTRACT_EXAMPLES", "2")
_SEED: Final = os.environ.get("CASTLEDGER_CONTRACT_SEED", "1")
_PHASES: Final = os.environ.get("CASTLEDGER_CONTRACT_PHASES", "fuzzing")
_MAX_S: Final = os.environ.get("CASTLEDGER_CONTRACT_SECONDS", "60")

# A schema says less than a rule: that a time zone is known, an address one of a feed, two times are in order.
_NOT_ASKED: Final = "positive_data_acceptance"

# More items than a request may have are too large to take, which is a refusal like 422, and no other operation's.
_TOO_MANY: Final = """
[[operations]]
include-name = "POST /api/v1/attribution/conversions"

[operations.checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 409, 413, 415, 422, 429]
"""


class Filled(NamedTuple):
    """A running API, the key of a tenant with one of everything and its ids, and the installation's key."""

    running: Running
    key: str
    ids: dict[str, str]
    installation_key: str


@pytest.fixture
async def filled(database: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Filled]:
    """Start the API over a database in which a tenant has one of everything."""
    given = {
        "DATABASE_URL": str(database.url),
        "CASTLEDGER_DATA_DIR": str(tmp_path),
        "TRACKER_PUBLIC_URL": "https://pod.example.com",
        # One key asks for everything here.
        "CASTLEDGER_API_RATE": "600000",
        "CASTLEDGER_API_BURST": "10000",
        "CASTLEDGER_API_NETWORK_RATE": "10000",
    }
    async with contextlib.AsyncExitStack() as stack:
        settings = load_settings({**given, "CASTLEDGER_FEED_ALLOW_PRIVATE": "true"})
        ledger = await stack.enter_async_context(Ledger.open(database))
        resources = await stack.enter_async_context(open_resources(settings))
        installation_key = await ledger.make_key("home", is_installation=True)
        app = create_app(resources)
        api = await stack.enter_async_context(Api.open(app, installation_key))
        owner = Owner(api, ledger, "ours", await ledger.make_key("ours"), 1)
        await owner.sign_in(app)
        await owner.make_all()
        await ledger.roll_up()
        log = stack.enter_context((tmp_path / "api.log").open("w"))
        running = stack.enter_context(start(tmp_path, log=log, **given))
        yield Filled(running, owner.key, owner.made, installation_key)


def write_config(folder: Path, ids: dict[str, str]) -> Path:
    """Have half of the made-up requests be about what there is."""
    lines = []
    for noun, made in {**QUERIES, **ids}.items():
        lines += [f"[dictionaries.{noun}]", f"values = [{msgspec.json.encode(made).decode()}]"]
    lines.append("[parameters]")
    for noun in ids:
        bound = f'{{ dictionary = "{noun}", probability = 0.5 }}'
        lines += [f'"{place}.{noun}" = {bound}' for place in ("path", "query", "body")]
    lines += [f'"query.{noun}" = {{ dictionary = "{noun}", probability = 0.3 }}' for noun in QUERIES]
    path = folder / "schemathesis.toml"
    path.write_text("\n".join([*lines, _TOO_MANY]))
    return path


async def ask(filled: Filled, folder: Path, key: str, *options: str) -> tuple[int, str]:
    """Run schemathesis in a process of its own; return how it ended and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(write_config(folder, filled.ids)), "run"),
        *("--header", f"Authorization: Bearer {key}", "--checks", "all", "--exclude-checks", _NOT_ASKED),
        *("--generation-database", "none", "--suppress-health-check", "all"),
        *("--warnings", "off", "--request-timeout", "30", "--continue-on-failure", "--seed", _SEED),
        *("--max-examples", _EXAMPLES, "--phases", _PHASES, "--max-time", _MAX_S),
        *("--output-truncate", "false"),
        *options,
        f"{filled.running.url}/api/v1/openapi.json",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return await process.wait(), said.decode(errors="replace")


async def test_nothing_is_answered_that_the_document_does_not_say(filled: Filled, tmp_path: Path) -> None:
    assert filled.ids.keys() == MAKERS.keys()
    status, said = await ask(filled, tmp_path, filled.key)
    assert status == 0, said
    # None was left out for want of time.
    selected, tested = re.search(r"Selected: (\d+)/", said), re.search(r"Tested: (\d+)", said)
    assert selected is not None, said
    assert tested is not None, said
    assert int(selected[1]) == int(tested[1]) > 37


async def test_the_installations_own_tenant_is_answered_as_the_document_says(filled: Filled, tmp_path: Path) -> None:
    # Made-up requests go on for as long as they may, however few routes there are.
    options = ("--include-path", "/api/v1/ledger", "--max-time", "15")
    status, said = await ask(filled, tmp_path, filled.installation_key, *options)
    assert status == 0, said
