"""Settings: defaults, every fault at once, secrets masked."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics_core.errors import ConfigError
from analytics_core.settings import Service, load_settings, variables


def test_the_tracker_needs_nothing() -> None:
    settings = load_settings({}, service=Service.TRACKER, data_dir=Path("/x"))
    assert settings.tracker.port == 8080
    assert settings.tracker.spool_dir == Path("/x/spool")


@pytest.mark.parametrize("service", [Service.API, Service.INGEST, Service.MIGRATE])
def test_the_others_need_a_database(service: Service) -> None:
    with pytest.raises(ConfigError, match="DATABASE_URL: is required"):
        load_settings({}, service=service)


def test_all_faults_are_told_at_once() -> None:
    environ = {
        "TRACKER_PORT": "70000",
        "TRACKER_HOSTS": "some",
        "TRACKER_TRUSTED_PROXIES": "10.0.0.0/99",
        "TRACKER_PUBLIC_URL": "pod.example.com",
        "CASTLEDGER_ADMIN_PORTS": "nonsense",
        "DATABASE_URL": "mysql://x",
        "CASTLEDGER_STORAGE": "floppy",
        "CASTLEDGER_LOG_LEVEL": "loud",
    }
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, service=Service.API)
    faults = "\n".join(caught.value.faults)
    assert all(name in faults for name in environ)


def test_contradictions_are_faults() -> None:
    environ = {"TRACKER_PROXY_PROTOCOL": "true", "TRACKER_TRUSTED_PROXIES": "10.0.0.0/8"}
    with pytest.raises(ConfigError, match="contradicts"):
        load_settings(environ)
    with pytest.raises(ConfigError, match="POSTGRES_HOST: is missing"):
        load_settings({"POSTGRES_USER": "x"})


def test_the_url_wins_over_its_parts_and_says_so() -> None:
    environ = {"DATABASE_URL": "postgresql://a:b@h/d", "POSTGRES_HOST": "other"}
    with pytest.warns(UserWarning, match="POSTGRES_HOST"):
        settings = load_settings(environ)
    assert str(settings.require_database().url) == "postgresql://a:b@h/d"


def test_parts_make_a_url_and_secrets_are_masked() -> None:
    settings = load_settings({"POSTGRES_HOST": "h", "POSTGRES_PASSWORD": "p@ss/word"})
    assert str(settings.require_database().url) == "postgresql://castledger:p%40ss%2Fword@h:5432/castledger"
    assert "p%40ss" not in repr(settings)


def test_every_variable_is_listed_once() -> None:
    names = [variable.name for variable in variables()]
    assert len(names) == len(set(names))
    assert all(variable.help.endswith(".") for variable in variables())


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "https://*",
        "https://*.example.com",
        "https://a.example/",
        "a.example",
        "null",
        "ftp://a.example",
        "https://",
    ],
)
def test_an_origin_is_exact_or_refused_at_start(text: str) -> None:
    with pytest.raises(ConfigError, match="CASTLEDGER_API_ORIGINS"):
        load_settings({"CASTLEDGER_API_ORIGINS": f"https://good.example, {text}"})


@pytest.mark.parametrize("text", ["*", "a.example:8000", "https://a.example", "a b", "-"])
def test_a_host_of_the_api_is_a_name_or_refused_at_start(text: str) -> None:
    with pytest.raises(ConfigError, match="CASTLEDGER_API_HOSTS"):
        load_settings({"CASTLEDGER_API_HOSTS": text})


def test_hosts_and_origins_are_read_in_lower_case() -> None:
    environ = {
        "CASTLEDGER_API_HOSTS": "Ledger.Example.com, [2001:db8::1], 127.0.0.1",
        "CASTLEDGER_API_ORIGINS": "https://Dash.example.com , http://localhost:5173,http://[::1]:3000",
    }
    api = load_settings(environ).api
    assert api.hosts == {"ledger.example.com", "[2001:db8::1]", "127.0.0.1"}
    assert api.origins == {"https://dash.example.com", "http://localhost:5173", "http://[::1]:3000"}


def test_the_api_believes_the_trackers_proxies_unless_it_is_told_others() -> None:
    environ = {"TRACKER_TRUSTED_PROXIES": "10.0.0.0/8"}
    assert load_settings(environ).api.trusted_proxies == load_settings(environ).tracker.trusted_proxies
    api = load_settings({**environ, "CASTLEDGER_API_TRUSTED_PROXIES": "127.0.0.1"}).api
    assert [str(network) for network in api.trusted_proxies] == ["127.0.0.1/32"]
