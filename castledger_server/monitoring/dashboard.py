"""The Grafana dashboard: a row a service, from what clients notice to why."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from analytics_core import metric_names as names
from analytics_core.metric_names import Metric

__all__ = ("ROWS", "Panel", "write_dashboard")

_WIDTH: Final = 8
_HEIGHT: Final = 8
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


class Panel(NamedTuple):
    """One drawing.

    Attributes:
        unit: As Grafana calls it.
        queries: What is drawn, each with its legend.
    """

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def _rate(metric: Metric, by: str = "") -> tuple[str, str]:
    grouped = f"sum by ({by})" if by else "sum"
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")) if by else metric.series
    return f"{grouped} (rate({metric.series}[$__rate_interval]))", legend


def _quantiles(metric: Metric, matchers: str = "") -> tuple[tuple[str, str], ...]:
    counted = f"sum by (le) (rate({metric.buckets}{matchers}[$__rate_interval]))"
    return tuple((f"histogram_quantile({share}, {counted})", f"p{share * 100:g}") for share in (0.5, 0.95, 0.99))


def _value(metric: Metric, how: str = "max", by: str = "") -> tuple[str, str]:
    return (f"{how} by ({by}) ({metric.series})", f"{{{{{by}}}}}") if by else (f"{how}({metric.series})", metric.series)


_API_ERRORS: Final = f'sum by (route) (rate({names.API_REQUESTS.series}{{status=~"5.."}}[$__rate_interval]))'
_API_ROUTES: Final = f"sum by (route, le) (rate({names.API_REQUEST_SECONDS.buckets}[$__rate_interval]))"

ROWS: Final = (
    (
        "Trackers",
        (
            Panel("Answers", "reqps", (_rate(names.TRACKER_ANSWERS, "status"),)),
            Panel("Time to answer", "s", _quantiles(names.TRACKER_ANSWER_SECONDS)),
            Panel("Hits", "reqps", (_rate(names.TRACKER_HITS, "kind"),)),
            Panel(
                "Lost hits",
                "reqps",
                (_rate(names.TRACKER_LOST_HITS, "reason"), _rate(names.TRACKER_AT_RISK_HITS)),
            ),
            Panel("Disk of the spool", "bytes", (_value(names.TRACKER_DISK_FREE_BYTES, "min"),)),
            Panel(
                "What is wrong",
                "none",
                (
                    _value(names.TRACKER_SPOOL_FAILING),
                    _value(names.TRACKER_REGISTRY_STALE),
                    _value(names.TRACKER_RESERVE_HELD, "min"),
                    _value(names.INGEST_SILENT_TRACKER, by="source"),
                ),
            ),
            Panel("Connections", "short", (_value(names.TRACKER_CONNECTIONS, "sum"),)),
            Panel("Clients turned away", "reqps", (_rate(names.TRACKER_ACCEPT_FAILURES),)),
            Panel("Last sync", "s", (_value(names.TRACKER_SYNC_SECONDS),)),
        ),
    ),
    (
        "Ingest",
        (
            Panel("Lag", "s", (_value(names.INGEST_LAG_SECONDS), _value(names.TRACKER_OLDEST_HIT_SECONDS))),
            Panel("Hits landed", "reqps", (_rate(names.INGEST_HITS, "verdict"),)),
            Panel("Unaccounted answers", "short", (_value(names.INGEST_LEDGER_DIFFERENCE),)),
            Panel("Backlog", "bytes", (_value(names.INGEST_BACKLOG_BYTES, "sum"),)),
            Panel("Batches", "ops", (_rate(names.INGEST_BATCHES, "outcome"),)),
            Panel("Events landed", "reqps", (_rate(names.INGEST_EVENTS, "account"),)),
            Panel("Lag of events", "s", (_value(names.INGEST_EVENT_LAG_SECONDS),)),
            Panel("Backlog of events", "bytes", (_value(names.INGEST_EVENT_BACKLOG_BYTES, "sum"),)),
            Panel("Batches of events", "ops", (_rate(names.INGEST_EVENT_BATCHES, "outcome"),)),
            Panel("What events became", "reqps", (_rate(names.INGEST_MARKED_EVENTS, "outcome"),)),
            Panel("Time by step", "percentunit", (_rate(names.INGEST_STEP_SECONDS, "step"),)),
            Panel(
                "Not landed",
                "reqps",
                (_rate(names.INGEST_DEAD_LETTERS, "step, reason"), _rate(names.INGEST_DAMAGED_HITS)),
            ),
            Panel("Job runs", "ops", (_rate(names.INGEST_JOB_RUNS, "kind, outcome"),)),
            Panel("Jobs overdue", "s", (_value(names.INGEST_JOBS_OVERDUE_SECONDS),)),
            Panel("Days to recompute", "short", (_value(names.INGEST_MARKS),)),
            Panel("Feeds polled", "ops", (_rate(names.INGEST_POLLS, "outcome"),)),
            Panel(
                "Mail",
                "ops",
                (
                    _rate(names.INGEST_MAIL_SENT),
                    _rate(names.INGEST_MAIL_RETRIED, "reason"),
                    _rate(names.INGEST_MAIL_FAILED, "reason"),
                ),
            ),
            Panel(
                "Flights behind", "none", (_value(names.INGEST_FLIGHTS_BEHIND), _value(names.INGEST_FLIGHTS_AT_RISK))
            ),
            Panel("Mail waiting", "s", (_value(names.INGEST_MAIL_OLDEST_SECONDS),)),
            Panel(
                "Lists",
                "none",
                (_value(names.INGEST_LISTS_DAMAGED), _value(names.INGEST_SHARED_ADDRESSES_DUE)),
            ),
        ),
    ),
    (
        "Collector",
        (
            Panel("Events", "reqps", (_rate(names.COLLECTOR_EVENTS, "source"),)),
            Panel("Requests", "reqps", (_rate(names.COLLECTOR_REQUESTS, "status"),)),
            Panel("Time to answer", "s", _quantiles(names.COLLECTOR_REQUEST_SECONDS)),
            Panel(
                "Events refused",
                "reqps",
                (
                    _rate(names.COLLECTOR_REFUSED_EVENTS, "reason"),
                    _rate(names.COLLECTOR_UNRECORDED_PIXELS, "reason"),
                    _rate(names.COLLECTOR_RATE_LIMITED, "by"),
                    _rate(names.COLLECTOR_AT_RISK_EVENTS),
                ),
            ),
            Panel(
                "Senders",
                "reqps",
                (
                    _rate(names.COLLECTOR_BATCHES, "library"),
                    _rate(names.COLLECTOR_SENDER_LOST_EVENTS, "reason"),
                    _rate(names.COLLECTOR_IGNORED_FIELDS),
                ),
            ),
            Panel(
                "What is wrong",
                "none",
                (_value(names.COLLECTOR_SPOOL_FAILING), _value(names.COLLECTOR_REGISTRY_STALE)),
            ),
        ),
    ),
    (
        "API",
        (
            Panel("Requests", "reqps", (_rate(names.API_REQUESTS, "status"),)),
            Panel("Errors of ours", "reqps", ((_API_ERRORS, "{{route}}"),)),
            Panel("Time to answer", "s", _quantiles(names.API_REQUEST_SECONDS)),
            Panel("Requests by route", "reqps", (_rate(names.API_REQUESTS, "method, route"),)),
            Panel(
                "Refused for their rate",
                "reqps",
                (_rate(names.API_RATE_LIMITED, "by"), _rate(names.API_RATE_LIMITS_ALONE)),
            ),
            Panel("p95 by route", "s", ((f"histogram_quantile(0.95, {_API_ROUTES})", "{{route}}"),)),
        ),
    ),
)
"""Rows of panels."""


def _draw(panel: Panel, *, number: int, x: int, y: int) -> dict[str, Any]:
    targets = [
        {"datasource": _SOURCE, "expr": expression, "legendFormat": legend, "refId": chr(ord("A") + place)}
        for place, (expression, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def write_dashboard() -> str:
    """Write the dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        grid = {"x": 0, "y": y, "w": 3 * _WIDTH, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": grid, "panels": []})
        y += 1
        for place, panel in enumerate(row):
            at = y + place // 3 * _HEIGHT
            panels.append(_draw(panel, number=len(panels) + 1, x=place % 3 * _WIDTH, y=at))
        y += (len(row) + 2) // 3 * _HEIGHT
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    document = {
        "uid": "castledger",
        "title": "Castledger",
        "description": "Generated by `python -m tests.docs.generate --write` from castledger_server/monitoring.",
        "tags": ["castledger"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [source]},
        "panels": panels,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
