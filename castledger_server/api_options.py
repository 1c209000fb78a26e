"""The options by which commands are told which API to talk to."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from castledger_server.data_dir_options import settings_of

if TYPE_CHECKING:
    from castledger_server.api_access import Api

__all__ = ("add_api_options", "add_making_options", "api_of")


def add_api_options(parser: argparse._ActionsContainer, *, key: str = "the key to it", is_below: bool = False) -> None:
    """Add the API's address, the key, and the folder of the ``up`` that is meant where neither is given.

    Args:
        parser: Of a command.
        key: What the key is, where not any will do.
        is_below: Whether it is the action of a command that has them too: what was given before it is kept.
    """
    default = argparse.SUPPRESS if is_below else None
    parser.add_argument(
        "--api-url", default=default, metavar="URL", help="the API (CASTLEDGER_API_URL); else that of a running `up`"
    )
    parser.add_argument("--api-key", default=default, metavar="KEY", help=f"{key} (CASTLEDGER_API_KEY)")
    parser.add_argument(
        "--data-dir", type=Path, default=default, metavar="DIR", help="of a running `up` (CASTLEDGER_DATA_DIR)"
    )


def add_making_options(parser: argparse.ArgumentParser) -> None:
    """Add to an action that makes or changes something whether it is only shown, and how it is told of."""
    asking = parser.add_argument_group("how the API is asked")
    asking.add_argument("--dry-run", action="store_true", help="show what would be asked, and change nothing")
    asking.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="write the API's answers instead, one a line"
    )
    add_api_options(asking, is_below=True)


def api_of(options: argparse.Namespace, environ: Mapping[str, str]) -> Api:
    """Find the API that the options name.

    Raises:
        ConfigError: Nothing names one, or only half of it is named.
    """
    from castledger_server.api_access import find_api

    return find_api(options.api_url, options.api_key, environ, data_dir=settings_of(options, environ).data_dir)
