"""The secrets that access tokens are signed with: those of the settings, else one that is kept in the data folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from analytics_core.errors import ConfigError
from analytics_core.secret_strength import is_weak_secret
from analytics_core.tokens import TokenKeys

__all__ = ("FILE_NAME", "load_token_keys")

FILE_NAME: Final = "jwt-secret"
"""Name, in the data folder, of the file with the secret."""


def load_token_keys(given: Sequence[str], data_dir: Path) -> TokenKeys:
    """Return the keys of the given secrets; without any, of the data folder's own, which is made when it is missing.

    Raises:
        ConfigError: The file in the data folder holds no good secret, or cannot be read or made.
    """
    if given:
        return TokenKeys(given)
    path = data_dir / FILE_NAME
    try:
        secret = _read(path) or _make(path)
    except OSError as error:
        raise ConfigError(
            [f"JWT_SECRET: is not set, and {path} cannot be kept ({error.strerror}); set one of the two"]
        ) from error
    if is_weak_secret(secret):
        raise ConfigError([f"{path}: holds no good secret; remove the file, and a new one is made"])
    return TokenKeys([secret])


def _read(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii", errors="replace").strip()
    return None


def _make(path: Path) -> str:
    """Make the file, whole or not at all; of several who do, one's is taken by all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_urlsafe(48)}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path.read_text(encoding="ascii").strip()
