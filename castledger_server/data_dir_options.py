"""The option by which commands are told which folder is meant, and the settings with it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from analytics_core.settings import Settings, load_settings

__all__ = ("add_data_dir", "settings_of")


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add the folder of everything we keep."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of everything we keep (CASTLEDGER_DATA_DIR; by default /var/lib/castledger for root, "
        "else ~/.local/share/castledger)",
    )


def settings_of(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """Load the settings, with the folder that the options name.

    Raises:
        ConfigError: They cannot be used.
    """
    data_dir: Path | None = options.data_dir
    return load_settings(environ, data_dir=data_dir.absolute() if data_dir else None)
