"""For how long what is kept is kept, where it is not for the operator to say; the methodology page tells."""

from __future__ import annotations

from typing import Final

__all__ = ("DOWNLOAD_DAYS", "SECRET_DAYS", "WAITING_DAYS")

DOWNLOAD_DAYS: Final = 90
"""Downloads, after their day is final for every tenant."""

SECRET_DAYS: Final = 45
"""Secrets by which listeners are keyed, after the end of their month."""

WAITING_DAYS: Final = 30
"""Whole targets of hits whose episode is not known."""
