"""Benchmarks that fill tables by SQL of their own: each goes through, at its smallest, on the schema of today."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.database import TIMESCALE_VARIABLE

_FOLDER = Path(__file__).parents[2] / "benchmarks"

SMALLEST = {
    "attribution": ("--conversions=200", "--sample=100"),
    "campaign": ("--campaigns=3", "--requests=5"),
    "ingest": ("--hits=20000", "--episodes=50", "--rounds=1"),
    "page": ("--episodes=60", "--days=20", "--requests=5"),
    "recount": ("--hits=20000", "--days=1", "--episodes=50"),
}

OWN_SERVER = ("recount",)
"""What tells the processor time of PostgreSQL, which a server that is lent does not show."""


@pytest.mark.parametrize("name", sorted(SMALLEST))
def test_it_measures_what_was_really_done(name: str) -> None:
    command = (sys.executable, str(_FOLDER / f"{name}.py"), *SMALLEST[name])
    left_out = {TIMESCALE_VARIABLE} if name in OWN_SERVER else set()
    environ = {key: value for key, value in os.environ.items() if key not in left_out}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["name"] == name
    assert found["ours"] > 0
