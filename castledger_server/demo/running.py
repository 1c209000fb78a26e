"""The running ``up`` that the demo is played on."""

from __future__ import annotations

import shlex
from pathlib import Path

from analytics_core.errors import ConfigError
from analytics_core.settings import DatabaseSettings, Secret, Settings
from castledger_server.data_dir import RunningUp, read_running_up
from castledger_server.demo.tenancy import KEY_FILE
from castledger_server.processes import is_running

__all__ = ("find_up", "places")


def find_up(data_dir: Path) -> RunningUp:
    """Find the ``up`` that runs on a data folder.

    Raises:
        ConfigError: None does, or it does not answer yet.
    """
    running = read_running_up(data_dir)
    if running is None or not is_running(running.pid):
        start = f"castledger up --data-dir {shlex.quote(str(data_dir))}"
        raise ConfigError(
            [f"no `castledger up` that we may talk to runs on {data_dir}; start one in another terminal: {start}"]
        )
    if not running.answers:
        raise ConfigError([f"`castledger up` on {data_dir} is still starting; try again when it says that it answers"])
    return running


def places(running: RunningUp, settings: Settings) -> tuple[DatabaseSettings, Path, Path]:
    """Say where the database of a running ``up`` is, its spool, and the file of the demo's key."""
    spool_dir = Path(running.spool_dir) if running.spool_dir else settings.tracker.spool_dir
    return DatabaseSettings(url=Secret(running.database_url)), spool_dir, settings.data_dir / KEY_FILE
