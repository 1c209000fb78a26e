"""The page about keys: its commands are run as they stand."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from analytics_core.api_keys import is_well_formed
from analytics_core.db.keys import MAX_KEYS
from castledger_server.cli import main
from tests.integration.test_keys_cli import api  # noqa: F401 - a fixture

PAGE = (Path(__file__).parents[2] / "docs" / "keys.md").read_text()
PLACEHOLDER = "019abc00-0000-7000-8000-000000000000"


@pytest.mark.usefixtures("api")
def test_the_commands_do_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    commands = re.findall(r"^castledger (keys .*)$", PAGE, re.MULTILINE)
    assert [shlex.split(command)[1] for command in commands] == ["add", "add", "add", "ls", "rotate", "revoke"]
    key_id = ""
    for command in commands:
        assert main(shlex.split(command.replace(PLACEHOLDER, key_id))) == 0, command
        said = capsys.readouterr().out
        if " add " in command or " rotate " in command:
            assert is_well_formed(said.strip())
        elif " ls" in command:
            key_id = said.splitlines()[-1].split()[0]
            assert len(said.splitlines()) == 5


def test_the_page_gives_the_numbers_of_the_code() -> None:
    assert f"more than {MAX_KEYS:,} keys" in PAGE
