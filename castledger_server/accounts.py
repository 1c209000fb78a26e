"""As whom PostgreSQL runs when we are root, and what that account can reach.

PostgreSQL refuses to run as root. We do not create accounts, so we look for one: the owner of an existing database,
else ``castledger`` or ``postgres`` (made for this), else ``daemon``, which Debian keeps for services that own files,
and last ``nobody``, which should own none but is better than not starting. PostgreSQL's own programs look their
account up by name, so an id without an entry in the system's list would not do.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from analytics_core.errors import ConfigError

__all__ = ("Account", "choose_account", "first_unreachable", "run_as")

_CANDIDATES: Final = ("castledger", "postgres", "daemon", "nobody")
_FIND_CLOSED: Final = 'for path; do [ -x "$path" ] || { printf %s "$path"; exit 1; }; done'


class Account(NamedTuple):
    """An unprivileged user of this machine."""

    name: str
    uid: int
    gid: int


def choose_account(database: Path, *, candidates: Iterable[str] = _CANDIDATES) -> Account | None:
    """Choose the account that runs the database in the folder *database*.

    Returns:
        The account, or ``None`` when we are not root and run it as ourselves.

    Raises:
        ConfigError: We are root and the machine has none of the accounts that we look for.
    """
    if os.geteuid() != 0:
        return None
    try:
        owner = database.stat()
    except FileNotFoundError:
        owner = None
    if owner is not None and owner.st_uid != 0:
        try:
            return Account(pwd.getpwuid(owner.st_uid).pw_name, owner.st_uid, owner.st_gid)
        except KeyError:
            return Account(str(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in candidates:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise ConfigError(
        [
            "PostgreSQL does not run as root, and this machine has no account for it; "
            "make one with `useradd --system castledger`, or run castledger as an ordinary user"
        ]
    )


def run_as(account: Account | None) -> dict[str, Any]:
    """Give the arguments with which ``subprocess`` starts a program as that account."""
    if account is None:
        return {"cwd": "/"}
    # The current folder may be closed to the account, and PostgreSQL's programs look at it.
    return {"cwd": "/", "user": account.uid, "group": account.gid, "extra_groups": []}


def first_unreachable(account: Account | None, path: Path) -> Path | None:
    """Find the outermost folder on the way to *path* that the account may not enter.

    The account itself tries, so that access lists and mounts are judged as the system judges them.

    Args:
        account: ``None`` is ourselves.
        path: Absolute, existing; a file has to be executable.

    Returns:
        The first of the parents, or *path* itself, that is closed; ``None`` when the way is open.
    """
    way = [str(part) for part in (*reversed(path.parents), path)]
    done = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", _FIND_CLOSED, "sh", *way], capture_output=True, check=False, env={}, **run_as(account)
    )
    return Path(os.fsdecode(done.stdout)) if done.returncode else None
