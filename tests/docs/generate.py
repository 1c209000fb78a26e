"""Generate the pages that follow from code: `python -m tests.docs.generate [--write]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from analytics_core.settings import variables

CONFIGURATION = Path(__file__).parents[2] / "docs" / "configuration.md"


def configuration() -> str:
    """Write the page of all settings."""
    lines = [
        "# Configuration",
        "",
        "Settings are environment variables. A service that finds one malformed or contradictory refuses to start and",
        "lists all faults at once. This page is generated from `analytics_core/settings.py`.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for variable in variables():
        default = f"`{variable.default}`" if variable.default else ""
        secret = " Kept secret." if variable.secret else ""
        lines.append(f"| `{variable.name}` | {default} | {variable.help}{secret} |")
    return "\n".join([*lines, ""])


def main(argv: Sequence[str]) -> int:
    """Write the pages with `--write`, else tell whether they are up to date."""
    text = configuration()
    if "--write" in argv:
        CONFIGURATION.write_text(text)
        return 0
    if CONFIGURATION.read_text() != text:
        sys.stderr.write("docs/configuration.md is out of date: run `nox -s docs -- --write`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
