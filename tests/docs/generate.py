"""Generate the pages that follow from code: `python -m tests.docs.generate [--write]`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from analytics_core.campaign_changes import CAMPAIGN_FIELDS, FLIGHT_FIELDS, PLACEMENT_FIELDS
from analytics_core.campaigns import CampaignStatus, FlightStatus
from analytics_core.settings import variables
from analytics_core.tenant_settings import SETTINGS
from castledger_server.monitoring.alerts import write_rules
from castledger_server.monitoring.dashboard import write_dashboard
from castledger_server.monitoring.pages import fill_page
from tests.docs.drawings import draw_windows
from tests.docs.sdk_reference import write_reference

CONFIGURATION = Path(__file__).parents[2] / "docs" / "configuration.md"
ENVIRONMENT = Path(__file__).parents[2] / ".env.example"
CAMPAIGNS = Path(__file__).parents[2] / "docs" / "campaigns.md"
TENANTS = Path(__file__).parents[2] / "docs" / "tenants.md"
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "castledger.json"
SDK_REFERENCE = Path(__file__).parents[2] / "docs" / "sdk-reference.md"
WINDOWS = Path(__file__).parents[2] / "docs" / "methodology" / "windows.svg"


def configuration() -> str:
    """Write the page of all settings."""
    lines = [
        "# Configuration",
        "",
        "Settings are environment variables. A service that finds one malformed or contradictory refuses to start and",
        "lists all faults at once. This page is generated from `analytics_core/settings`.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for variable in variables():
        default = f"`{variable.default}`" if variable.default else ""
        secret = " Kept secret." if variable.secret else ""
        lines.append(f"| `{variable.name}` | {default} | {variable.help}{secret} |")
    return "\n".join([*lines, ""])


def environment() -> str:
    """Write the file of all settings that is copied to `.env`; each is commented out, with its default."""
    lines = [
        "# All settings with their defaults: copy this to .env and take the # away from what you change.",
        "# Generated from analytics_core/settings; `castledger doctor` checks what is set.",
    ]
    for variable in variables():
        lines += ["", *textwrap.wrap(variable.help.replace("`", ""), 118, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"#{variable.name}={variable.default}")
    lines += ["", "# The name of the API and the web page, which compose.yaml and deploy/Caddyfile alone read."]
    return "\n".join([*lines, "#LEDGER_NAME=", ""])


def tenants(page: str) -> str:
    """Write the table of what tenants may set into the page about tenants."""
    before, begin, rest = page.partition("<!-- settings -->\n")
    _, end, after = rest.partition("<!-- /settings -->\n")
    lines = ["| setting | default | values | what it does |", "|---|---|---|---|"]
    for key, setting in SETTINGS.items():
        lines.append(f"| `{key}` | `{setting.default}` | {setting.form} | {setting.description} |")
    return before + begin + "\n".join([*lines, ""]) + end + after


def campaigns(page: str) -> str:
    """Write the table of what may be changed in which state into the page about campaigns."""
    before, begin, rest = page.partition("<!-- changes -->\n")
    _, end, after = rest.partition("<!-- /changes -->\n")
    lines = ["| of | may be changed | in these states |", "|---|---|---|"]
    tables: tuple[tuple[str, Mapping[str, Collection[str]], type[StrEnum]], ...] = (
        ("a campaign", CAMPAIGN_FIELDS, CampaignStatus),
        ("a flight", FLIGHT_FIELDS, FlightStatus),
        ("a placement", PLACEMENT_FIELDS, CampaignStatus),
    )
    for of, fields, states in tables:
        by_states: dict[str, list[str]] = {}
        for name, allowed in fields.items():
            by_states.setdefault(", ".join(state for state in states if state in allowed), []).append(f"`{name}`")
        lines += [f"| {of} | {', '.join(names)} | {found} |" for found, names in by_states.items()]
    return before + begin + "\n".join([*lines, ""]) + end + after


def main(argv: Sequence[str]) -> int:
    """Write the pages with `--write`, else tell whether they are up to date."""
    pages = {
        CONFIGURATION: configuration(),
        ENVIRONMENT: environment(),
        CAMPAIGNS: campaigns(CAMPAIGNS.read_text()),
        TENANTS: tenants(TENANTS.read_text()),
        OPERATIONS: fill_page(OPERATIONS.read_text()),
        RULES: write_rules(),
        DASHBOARD: write_dashboard(),
        WINDOWS: draw_windows(),
        SDK_REFERENCE: write_reference(),
    }
    if "--write" in argv:
        for path, text in pages.items():
            path.write_text(text)
        return 0
    stale = [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text]
    for name in stale:
        sys.stderr.write(f"{name} is out of date: run `nox -s docs -- --write`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
