"""What is shipped to run it elsewhere is well-formed, names only what there is, and gives away no more than it must."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from analytics_core.settings import load_settings, variables
from castledger_server.cli import main

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
REQUIRED = {
    "TRACKER_PUBLIC_URL": "https://pod.example.com",
    "LEDGER_NAME": "ledger.example.com",
    "POSTGRES_PASSWORD": "q8Xw2-vT19-zz",
    "REDIS_PASSWORD": "q8Xw2-vT19-zy",
}


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environ}, check=False, timeout=120
    )


def compose() -> dict[str, Any]:
    loaded = YAML(typ="safe", pure=True).load((ROOT / "compose.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


def ours() -> dict[str, Any]:
    return {name: service for name, service in compose()["services"].items() if service["image"] == "castledger:local"}


@pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="check-jsonschema is not installed")
def test_the_compose_file_follows_the_schema() -> None:
    command = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    done = run(*command, str(ROOT / "compose.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
@pytest.mark.parametrize("missing", [None, *REQUIRED])
def test_docker_reads_the_compose_file_and_asks_for_what_is_missing(tmp_path: Path, missing: str | None) -> None:
    text = (ROOT / "compose.yaml").read_text()
    if run("docker", "compose", "version").returncode == 0:
        command = ["docker", "compose", "--file", str(tmp_path / "compose.yaml"), "config", "--quiet"]
    else:
        # Without Compose itself its elder, which knows neither names nor conditions.
        command = ["docker", "stack", "config", "--compose-file", str(tmp_path / "compose.yaml")]
        text = text.replace("name: castledger\n", "", 1).replace("    profiles: [tools]\n", "")
        text = re.sub(r"(\n +)(\w+):\n +condition: \w+", r"\1- \2", text)
    (tmp_path / "compose.yaml").write_text(text)
    given = {name: value for name, value in REQUIRED.items() if name != missing}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    done = run(*command, **(given | ({missing: ""} if missing else {})))
    assert (done.returncode == 0) is (missing is None), done.stderr
    assert missing is None or "is missing in .env" in done.stderr


def test_services_of_ours_run_with_as_little_as_they_need() -> None:
    assert {"tracker", "collector", "ingest", "api", "migrate"} <= set(ours())
    for name, service in ours().items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service
    assert "depends_on" not in ours()["tracker"] | ours()["collector"]


def test_nothing_but_the_proxy_is_reached_from_outside_and_every_image_is_pinned() -> None:
    for name, service in compose()["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert name == "caddy" or "network_mode" not in service
        tag = service["image"].rpartition(":")[2]
        assert tag == "local" or re.match(r"\d+\.\d+", tag), service["image"]


def test_services_of_ours_get_settings_that_there_are_and_that_can_be_read() -> None:
    known = {variable.name for variable in variables()}
    for name, service in ours().items():
        assert set(service["environment"]) <= known, name
        settled = {
            key: re.sub(r"\$\{(\w+):[^}]*\}", lambda match: REQUIRED[match[1]], str(value))
            for key, value in service["environment"].items()
        }
        settings = load_settings(settled)
        assert settings.require_database().url.startswith("postgresql://castledger:q8Xw2-vT19-zz@database:5432/")
        subnet = compose()["networks"]["default"]["ipam"]["config"][0]["subnet"]
        assert [str(network) for network in settings.tracker.trusted_proxies] == [subnet]


@pytest.mark.parametrize("name", ["tracker", "collector", "ingest", "api", "migrate", "castledger"])
def test_commands_and_checks_of_services_are_ours(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    service = ours()[name]
    with pytest.raises(SystemExit) as caught:
        main([*service["command"], "--help"])
    assert caught.value.code == 0
    if "test" in service["healthcheck"]:
        with pytest.raises(SystemExit) as caught:
            main([*service["healthcheck"]["test"][2:], "--help"])
        assert caught.value.code == 0


def test_every_volume_is_declared_and_every_file_is_there() -> None:
    whole = compose()
    named = set()
    for service in whole["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                named.add(source)
    assert named == set(whole["volumes"])


def test_the_image_is_built_of_what_there_is_and_runs_as_nobody_special() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = text.split("\nFROM ")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)
    copied = [
        source for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE) for source in line.split()[:-1]
    ]
    assert all((ROOT / source).exists() for source in copied)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {f"!{source}" for source in copied} == {line for line in ignored if line.startswith("!")}
    for room in ("analytics_core", "api", "castledger_server", "ingest", "migrations", "prefix_redirect"):
        assert room in copied
    assert re.search(r"^USER (?!root)\w+$", stages[-1], re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*CMD \[\"castledger\", \"health\"\]$", stages[-1], re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["castledger"\]$', stages[-1], re.MULTILINE)


def test_what_the_image_copies_is_enough_to_build_the_application(tmp_path: Path) -> None:
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            source = ROOT / line[1:]
            if source.is_dir():
                shutil.copytree(source, tmp_path / "src" / source.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                (tmp_path / "src").mkdir(exist_ok=True)
                shutil.copy(source, tmp_path / "src")
    command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path))
    done = run(*command, str(tmp_path / "src"))
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        built = set(archive.namelist())
    wanted = {
        str(path.relative_to(ROOT))
        for room in ("analytics_core", "api", "castledger_server", "ingest", "migrations", "prefix_redirect")
        for path in (ROOT / room).rglob("*")
        if path.suffix in (".py", ".sql", ".toml", ".html", ".js", ".css", ".typed")
    }
    assert wanted <= built


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")
def test_caddy_can_read_its_file_with_and_without_settings() -> None:
    command = ("caddy", "validate", "--adapter", "caddyfile", "--config", str(ROOT / "deploy" / "Caddyfile"))
    for environ in ({}, {"LEDGER_NAME": "ledger.example.com", "TRACKER": "127.0.0.1:9000"}):
        done = run(*command, **environ)
        assert done.returncode == 0, done.stderr
    assert run("caddy", "fmt", str(ROOT / "deploy" / "Caddyfile")).stdout == (ROOT / "deploy/Caddyfile").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_can_read_the_units_and_finds_them_closed(tmp_path: Path) -> None:
    copies = []
    for unit in UNITS:
        copies.append(tmp_path / unit.name)
        # The program is not installed where the tests run.
        copies[-1].write_text(unit.read_text().replace("/opt/castledger/bin/castledger", "/bin/true"))
    done = run("systemd-analyze", "verify", "--man=no", *map(str, copies))
    assert (done.returncode, done.stderr) == (0, "")
    for copy in copies:
        done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", str(copy))
        assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_run_commands_of_ours_as_one_account(unit: Path) -> None:
    text = unit.read_text()
    command = re.search(r"^ExecStart=/opt/castledger/bin/castledger (.+)$", text, re.MULTILINE)
    assert command is not None
    with pytest.raises(SystemExit) as caught:
        main([*command[1].split(), "--help"])
    assert caught.value.code == 0
    assert "\nUser=castledger\n" in text
    assert "u castledger " in (ROOT / "deploy" / "systemd" / "castledger.sysusers.conf").read_text()
    for needed in re.findall(r"^Requires=(.+)$", text, re.MULTILINE):
        assert (unit.parent / needed).exists()


def test_every_command_that_the_live_page_shows_is_ours() -> None:
    page = (ROOT / "docs" / "live.md").read_text()
    shown = re.findall(r"(?:run --rm castledger|/opt/castledger/bin/castledger|^castledger) ([a-z][\w-]*)", page, re.M)
    assert len(shown) >= 5
    for command in shown:
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0, command
    for path in re.findall(r"`((?:deploy|docs)/[\w./*-]+)`", page):
        assert list(ROOT.glob(path)), path
