"""By which rules, and by which software, something was attributed."""

from __future__ import annotations

from typing import Final

from analytics_core.software import software_version

__all__ = ("RULES", "code_version")

RULES: Final = "attribution-2"
"""The rules; whoever changes what they give changes this too."""


def code_version() -> str:
    """Name the rules and the software, as a run keeps them."""
    return f"{RULES} ({software_version()})"
