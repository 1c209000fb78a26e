"""``castledger owner-key``: the key of the installation's owner."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from castledger_server.data_dir_options import add_data_dir, settings_of

__all__ = ("add_owner_key",)


def add_owner_key(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``owner-key`` to the command line."""
    owner_key = commands.add_parser(
        "owner-key",
        help="print the owner's API key, where no `up` has",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Print the API key of the installation's owner, which is kept in the data folder; make a new one when the\n"
            "file is gone or the key was revoked. `up` does this by itself; services that run alone need it once."
        ),
        epilog="example:\n  CASTLEDGER_API_KEY=$(castledger owner-key) castledger podcast add https://example.com/feed.xml\n",
    )
    add_data_dir(owner_key)
    owner_key.set_defaults(run=_owner_key)


def _owner_key(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import write_lines
    from castledger_server.data_dir import API_KEY_FILE, claim_data_dir
    from castledger_server.owner import keep_owner_key

    settings = settings_of(options, environ)
    database = settings.require_database()
    claim_data_dir(settings.data_dir)
    write_lines([keep_owner_key(database, settings.data_dir / API_KEY_FILE)])
    return 0
