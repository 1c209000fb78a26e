"""Which version is installed."""

from __future__ import annotations

import functools
import importlib.metadata

__all__ = ("software_version",)


@functools.cache
def software_version() -> str:
    """Name the version that is installed."""
    try:
        return importlib.metadata.version("castledger-server")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
