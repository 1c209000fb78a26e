"""Alerts and the dashboard ask for what services export, and say what somebody can act upon."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from analytics_core.metric_names import METRICS, Metric, MetricKind
from analytics_core.settings import DatabaseSettings
from castledger_server.monitoring.alerts import ALERTS, Alert
from castledger_server.monitoring.dashboard import ROWS
from tests.acceptance.services import running

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "castledger.json"


def series_of(metric: Metric) -> set[str]:
    """List the names by which a metric's values can be asked for."""
    if metric.kind is MetricKind.HISTOGRAM:
        return {f"{metric.name}{suffix}" for suffix in ("_bucket", "_sum", "_count")}
    return {metric.series}


def asked_in(expression: str) -> set[str]:
    return set(re.findall(r"castledger_\w+", expression))


def test_services_export_what_is_declared_and_nothing_else(database: DatabaseSettings, tmp_path: Path) -> None:
    environ = {
        "DATABASE_URL": str(database.url),
        "CASTLEDGER_DATA_DIR": str(tmp_path),
        "CASTLEDGER_ADMIN_PORTS": "tracker=0,ingest=0,api=0,collector=0",
        "TRACKER_PORT": "0",
        "TRACKER_HOST": "127.0.0.1",
        "CASTLEDGER_API_PORT": "0",
        "COLLECTOR_PORT": "0",
        "TRACKER_PUBLIC_URL": "https://pod.example.org",
    }
    found = {}
    for module in ("prefix_redirect", "ingest", "api", "ingest.collector"):
        with running(module, environ=environ) as told:
            text = httpx.get(f"http://127.0.0.1:{told['admin_port']}/metrics", timeout=20).text
        for family in text_string_to_metric_families(text):
            # What a counter or histogram began at is told beside it, and the process's own is not ours to declare.
            if not family.name.startswith("process_") and not family.name.endswith("_created"):
                found[family.name] = (family.type, family.documentation)
    assert found == {metric.name: (metric.kind.value, metric.help) for metric in METRICS}


def test_no_label_tells_of_a_tenant_or_a_person() -> None:
    labels = {label for metric in METRICS for label in metric.labels}
    assert labels == {
        *("slot", "status", "kind", "reason", "account"),
        *("verdict", "outcome", "step", "source"),
        *("method", "route", "by", "library"),
    }


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_asks_for_what_there_is_and_says_what_to_do(alert: Alert) -> None:
    known = set().union(*(series_of(metric) for metric in METRICS))
    asked = asked_in(alert.expression)
    assert asked <= known
    assert asked or re.search(r"\bup\b", alert.expression)
    labels = {label for metric in METRICS if series_of(metric) & asked for label in metric.labels} | {"job", "instance"}
    assert set(re.findall(r"\$labels\.(\w+)", alert.summary)) <= labels
    for text in (alert.summary, alert.meaning, alert.action):
        assert text.endswith((".", "`)."))
    assert re.fullmatch(r"Castledger[A-Za-z]+", alert.name)


def test_every_alert_has_a_heading_where_its_runbook_points() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    (group,) = YAML(typ="safe", pure=True).load(RULES.read_text())["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [alert.name for alert in ALERTS]
    for rule, alert in zip(group["rules"], ALERTS, strict=True):
        # As it is folded by the reader, which knows nothing of lines.
        assert rule["expr"] == alert.expression
        assert rule["labels"] == {"severity": alert.severity}
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert path == "docs/operations.md"
        assert anchor in {heading.lower() for heading in re.findall(r"^### (\w+)$", page, re.MULTILINE)}


def test_the_dashboard_asks_for_what_there_is_and_its_panels_do_not_overlap() -> None:
    known = set().union(*(series_of(metric) for metric in METRICS))
    document: dict[str, Any] = json.loads(DASHBOARD.read_text())
    asked: set[str] = set()
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        for target in panel.get("targets", ()):
            asked |= asked_in(target["expr"])
    assert asked <= known
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    assert [panel["title"] for panel in document["panels"] if panel["type"] == "row"] == [title for title, _ in ROWS]
    # All but a few numbers that only say how another is to be read.
    unseen = {metric.name for metric in METRICS if not series_of(metric) & asked}
    assert unseen == {
        "castledger_collector_registry_version",
        "castledger_collector_spool_bytes",
        "castledger_ingest_damaged_bytes",
        "castledger_ingest_damaged_segments",
        "castledger_ingest_job_seconds",
        "castledger_ingest_mail_waiting",
        "castledger_tracker_recorded_hits",
        "castledger_tracker_redirected_hits",
        "castledger_tracker_registry_version",
        "castledger_tracker_spool_bytes",
    }


def test_prometheus_takes_the_rules_and_they_fire_when_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: it comes with Prometheus")
    for command in (
        ("check", "config", str(ROOT / "deploy" / "prometheus" / "prometheus.yml")),
        ("test", "rules", str(Path(__file__).parent / "alerts_test.yml")),
    ):
        ended = subprocess.run([promtool, *command], capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
