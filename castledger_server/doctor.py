"""``castledger doctor``: look at everything that can be wrong and say how to mend it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from analytics_core.settings import Settings
from castledger_server.data_dir import read_running_up
from castledger_server.doctor_machine import (
    look_at_folder,
    look_at_lists,
    look_at_ports,
    look_at_profiles,
    look_at_spool,
)
from castledger_server.doctor_mail import look_at_mail_server
from castledger_server.doctor_services import look_at_database, look_at_public_name, look_at_redis
from castledger_server.doctor_settings import look_at_environment, look_at_secrets
from castledger_server.findings import Finding, Level
from castledger_server.processes import is_running

__all__ = ("Finding", "Level", "examine", "report_json")


def examine(environ: Mapping[str, str], *, data_dir: Path | None = None) -> Iterator[Finding]:
    """Look at one thing after the other; changes nothing.

    Args:
        environ: The environment.
        data_dir: Wins over what the environment says.
    """
    settings: Settings | None = None
    for found in look_at_environment(environ, data_dir=data_dir):
        if isinstance(found, Settings):
            settings = found
        else:
            yield found
    if settings is None:
        return
    yield from look_at_secrets(environ, settings)
    yield from look_at_folder(settings)
    running = read_running_up(settings.data_dir)
    if running is not None and not is_running(running.pid):
        yield Finding(Level.WARN, "up", f"process {running.pid} was killed; start `castledger up` again")
        running = None
    elif running is not None:
        yield Finding(Level.OK, "up", f"runs as process {running.pid} with {len(running.children)} services")
    yield from look_at_ports(settings, running)
    yield from look_at_database(settings, running)
    yield from look_at_redis(settings.redis)
    yield from look_at_mail_server(settings.mail)
    yield from look_at_spool(settings.tracker.spool_dir)
    yield from look_at_spool(settings.collector.spool_dir, name="events", noun="events")
    yield from look_at_lists(settings.ingest)
    yield from look_at_profiles(settings.api.profiles)
    yield from look_at_public_name(settings.tracker.public_url)


def report_json(findings: Sequence[Finding]) -> bytes:
    """Write findings for programs: ``ok``, and each finding's ``level``, ``what`` and ``text``."""
    rows = [{"level": found.level.value, "what": found.what, "text": found.text} for found in findings]
    is_ok = all(found.level is not Level.FAIL for found in findings)
    return msgspec.json.format(msgspec.json.encode({"ok": is_ok, "findings": rows})) + b"\n"
