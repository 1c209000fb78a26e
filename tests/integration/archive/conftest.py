"""Fixtures of archives: a ledger with something of everything, and exports of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics_core.settings import DatabaseSettings
from tests.archives import fill
from tests.factories import MadePodcast


@pytest.fixture
async def podcast(database: DatabaseSettings, tmp_path: Path) -> MadePodcast:
    """The first podcast of a filled ledger."""
    return await fill(database, tmp_path / "spool")
