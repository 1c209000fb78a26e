"""No key that could be somebody's is in the repository: what looks like one has a checksum that no real key has."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_core.api_keys import is_well_formed, new_key

ROOT = Path(__file__).parents[2]
FORM = re.compile(r"cl_[a-z]+_[0-9A-Za-z]{38}")


def keys_in(text: str) -> set[str]:
    """Find what could open something: the form of a key, and its checksum."""
    return {found for found in FORM.findall(text) if is_well_formed(found)}


def tracked_files() -> Iterator[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a clone of the repository")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    yield from (ROOT / name for name in listed.stdout.split("\0") if name)


def test_a_real_key_would_be_found_and_one_of_an_example_is_not() -> None:
    key = new_key()
    other = key[:-1] + ("A" if key[-1] != "A" else "B")
    assert keys_in(f"Authorization: Bearer {key}\nKEY={other}") == {key}


def test_no_file_of_the_repository_holds_a_key() -> None:
    found = {}
    for path in tracked_files():
        if path.is_file():
            keys = keys_in(path.read_bytes().decode("latin-1"))
            if keys:
                found[str(path.relative_to(ROOT))] = keys
    assert found == {}
