"""`castledger health` and `owner-key`, as containers use them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analytics_core.api_keys import is_well_formed
from analytics_core.errors import ConfigError
from analytics_core.settings import DatabaseSettings, load_settings
from castledger_server.cli import main
from castledger_server.data_dir import RunningUp, write_running_up
from castledger_server.health import ask_health
from castledger_server.owner import keep_owner_key
from tests.trackers import TrackerProcess


def test_a_service_is_asked_at_its_admin_port(tmp_path: Path) -> None:
    with TrackerProcess(tmp_path) as tracker:
        port = tracker.admin_url.rpartition(":")[2]
        settings = load_settings({"CASTLEDGER_ADMIN_PORTS": f"tracker={port}", "CASTLEDGER_ADMIN_HOST": "0.0.0.0"})
        [said] = ask_health(settings, "tracker")
        assert (str(said), said.is_ready) == ("tracker: ready", True)
    [said] = ask_health(settings, "tracker")
    assert (said.is_ready, f"http://127.0.0.1:{port}/health/ready says why" in str(said)) == (False, True)


def test_all_of_a_running_up_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--data-dir", str(tmp_path)]) == 2
    assert "name a service: tracker, collector, ingest, api" in capsys.readouterr().err
    with TrackerProcess(tmp_path) as tracker:
        admin_urls = {"tracker-0": tracker.admin_url}
        up = RunningUp(pid=os.getpid(), database_url="", answers={"x": "y"}, admin_urls=admin_urls, children={})
        write_running_up(tmp_path, up)
        assert main(["health", "--data-dir", str(tmp_path)]) == 0
        up.admin_urls["api"] = "http://127.0.0.1:1"
        write_running_up(tmp_path, up)
        assert main(["health", "--data-dir", str(tmp_path)]) == 1
    assert "tracker-0: ready\napi: not ready" in capsys.readouterr().out
    up.answers.clear()
    write_running_up(tmp_path, up)
    with pytest.raises(ConfigError, match="still starting"):
        list(ask_health(load_settings({}, data_dir=tmp_path), None))


def test_a_port_that_nobody_knows_cannot_be_asked() -> None:
    with pytest.raises(ConfigError, match="free port"):
        list(ask_health(load_settings({"CASTLEDGER_ADMIN_PORTS": "api=0"}), "api"))


def test_the_owner_key_is_made_once_and_kept(database: DatabaseSettings, tmp_path: Path) -> None:
    key = keep_owner_key(database, tmp_path / "api_key")
    assert is_well_formed(key)
    assert (tmp_path / "api_key").stat().st_mode & 0o777 == 0o600
    assert keep_owner_key(database, tmp_path / "api_key") == key


def test_the_owner_key_needs_a_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["owner-key", "--data-dir", str(tmp_path)]) == 2
    assert "DATABASE_URL: is required" in capsys.readouterr().err
