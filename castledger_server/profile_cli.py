"""``castledger profile``: by which rules each tenant's days are judged."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

from analytics_core.errors import InvalidInput
from castledger_server.retention_cli import add_data_dir, find_settings

if TYPE_CHECKING:
    from analytics_core.profiles import Profile
    from analytics_core.settings import DatabaseSettings, Settings

__all__ = ("add_profile", "find_profile", "list_lines", "use_profile")

_NAME: Final = "castledger profile"
_INSTALLATION: Final = "home"


def add_profile(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``profile`` with its actions to the command line."""
    profile = commands.add_parser("profile", help="see and choose by which rules tenants' hits are judged")
    actions = profile.add_subparsers(metavar="ACTION", required=True)
    ls = actions.add_parser("ls", help="list profiles, and what each tenant's days are judged by")
    add_data_dir(ls)
    ls.set_defaults(run=_list)
    use = actions.add_parser(
        "use",
        help="have a tenant's days to come judged by a profile",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Have hits of a tenant judged by a profile from the next UTC day on. Days that have hits already keep\n"
            "what they were judged by: `castledger recount --profile NAME` judges those again. The profile is kept as\n"
            "it is now; once an own one has changed, use it again."
        ),
        epilog=(
            "examples:\n  castledger profile use ptmg-2.3\n  castledger profile use castledger-1 --tenant studio\n"
        ),
    )
    use.add_argument("name", metavar="NAME", help="as `castledger profile ls` names it")
    use.add_argument("--tenant", default=_INSTALLATION, metavar="TENANT", help=f"whose days ({_INSTALLATION})")
    add_data_dir(use)
    use.set_defaults(run=_use)


def find_profile(name: str, settings: Settings) -> Profile:
    """Find a profile that days can be judged by, ours or the installation's own.

    Raises:
        ConfigError: The file of own profiles cannot be used.
        InvalidInput: There is none of that name, or days cannot be judged by it.
    """
    from analytics_core.day_profiles import choose_profile
    from analytics_core.own_profiles import load_profiles

    return choose_profile(name, load_profiles(settings.api.profiles))


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = find_settings(options, environ)
    for line in asyncio.run(list_lines(settings)):
        sys.stdout.write(f"{line}\n")
    return 0


def _use(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    settings = find_settings(options, environ)
    profile = find_profile(options.name, settings)
    today = datetime.now(UTC).date()
    first = asyncio.run(use_profile(settings.require_database(), options.tenant, profile, today=today))
    sys.stdout.write(
        f"hits of {options.tenant} are judged by {profile.rules_version} from {first} (UTC) on\n"
        f"days before stay as they are: castledger recount --from … --to {first} --profile {profile.name}"
        f" --tenant {options.tenant}\n"
    )
    return 0


async def list_lines(settings: Settings) -> list[str]:
    """Tell which profiles there are, and what each tenant's days are judged by.

    Raises:
        ConfigError: The login may not act as ingest, or the file of own profiles cannot be used.
        Unavailable: The database does not answer.
    """
    from analytics_core.db.day_profiles import list_profiles
    from analytics_core.db.pool import connect
    from analytics_core.own_profiles import load_profiles
    from analytics_core.profiles import DEFAULT_PROFILE
    from analytics_core.roles import Role

    profiles = load_profiles(settings.api.profiles)
    lines = [
        f"{profile.rules_version:<24}{profile.summary}{' For comparing alone.' * profile.is_for_comparing}"
        for profile in profiles.values()
    ]
    conn = await connect(settings.require_database(), Role.INGEST, application_name=_NAME)
    try:
        tenants = await list_profiles(conn, default=DEFAULT_PROFILE)
    finally:
        await conn.close()
    lines += ["", f"{'tenant':<24}{'judged by':<24}{'from':<12}days with hits"]
    for tenant in tenants:
        since = "" if tenant.profile_from is None else str(tenant.profile_from)
        days = ", ".join(f"{count:,} by {rules}" for rules, count in sorted(tenant.days.items())) or "none"
        lines.append(f"{tenant.slug:<24}{tenant.profile.rules_version:<24}{since:<12}{days}")
    return lines


async def use_profile(database: DatabaseSettings, slug: str, profile: Profile, *, today: date) -> date:
    """Have a tenant's days be judged by a profile from the next one on; return that day.

    Raises:
        ConfigError: The login may not act as ingest.
        InvalidInput: There is no such tenant.
        Unavailable: The database does not answer.
    """
    from analytics_core.db import day_profiles
    from analytics_core.db.pool import connect
    from analytics_core.roles import Role

    conn = await connect(database, Role.INGEST, application_name=_NAME)
    try:
        first = await day_profiles.use_profile(conn, slug, profile, today=today)
    finally:
        await conn.close()
    if first is None:
        raise InvalidInput("--tenant", f"there is no tenant {slug!r}; `castledger profile ls` names them")
    return first
