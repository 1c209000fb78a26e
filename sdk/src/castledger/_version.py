"""The version, in one place: the build reads it here, and so does the ``User-Agent``."""

from __future__ import annotations

__all__ = ("__version__",)

__version__ = "0.2.0"
