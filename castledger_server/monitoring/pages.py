"""The parts of docs/operations.md that are made from alerts and metrics."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from analytics_core.metric_names import METRICS
from castledger_server.monitoring.alerts import ALERTS

__all__ = ("fill_page",)

_WIDTH: Final = 120
_PORTS: Final = {"tracker": 8081, "api": 8082, "ingest": 8083, "collector": 8084}


def _wrap(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _alerts() -> Iterator[str]:
    for alert in ALERTS:
        after = {0: "at once", 1: "after a minute"}.get(alert.minutes, f"after {alert.minutes} minutes")
        yield f"### {alert.name}"
        yield ""
        yield _wrap(f"*{alert.severity}*, {after}. {alert.meaning}")
        yield ""
        yield _wrap(f"What to do: {alert.action}")
        yield ""


def _metrics() -> Iterator[str]:
    for service, port in _PORTS.items():
        yield f"### {service}, port {port}"
        yield ""
        yield "| metric | kind | labels | what it tells |"
        yield "|---|---|---|---|"
        for metric in METRICS:
            if metric.service == service:
                labels = ", ".join(f"`{label}`" for label in metric.labels)
                yield f"| `{metric.series}` | {metric.kind.value} | {labels} | {metric.help} |"
        yield ""


def fill_page(page: str) -> str:
    """Write the generated parts of a page anew, between the comments that mark them.

    Raises:
        ValueError: A mark is missing.
    """
    for name, lines in (("alerts", _alerts()), ("metrics", _metrics())):
        begins, ends = f"<!-- generated: {name} -->\n", f"<!-- end of {name} -->"
        before, mark, rest = page.partition(begins)
        _, end, after = rest.partition(ends)
        if not mark or not end:
            raise ValueError(f"the page has no part {name}: {begins.strip()} … {ends}")
        page = before + mark + "\n" + "\n".join(lines) + "\n" + end + after
    return page
