"""``castledger tenants``: all tenants of an installation, by command, over the API."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from analytics_core.errors import InvalidInput
from analytics_core.quotas import Metric, Period, Quota, parse_quota
from analytics_core.tenants import GRACE_DAYS, MAX_GRACE_DAYS, parse_slug, parse_tenant_name
from castledger_server.api_options import add_api_options, api_of

if TYPE_CHECKING:
    from castledger_server.api_access import Api

__all__ = ("add_tenants",)

_UNITS: Final = {Period.TOTAL: "", Period.DAY: "/day", Period.MONTH: "/month"}


class _Tenant(msgspec.Struct):
    tenant_id: str
    slug: str
    name: str
    is_installation: bool
    status: str
    created_at: dt.datetime
    closes_at: dt.datetime | None
    closed_by: str | None
    owner: str = ""
    api_key: str | None = None


class _Tenants(msgspec.Struct):
    data: list[_Tenant]


class _Used(msgspec.Struct):
    metric: Metric
    period: Period
    limit: int | None
    used: int


class _Usage(msgspec.Struct):
    data: list[_Used]


def add_tenants(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``tenants`` with its actions to the command line."""
    tenants = commands.add_parser(
        "tenants",
        help="list, make, suspend, limit and close tenants",
        description="List, make, suspend, limit and close the tenants of an installation, with its owner's key.",
    )
    actions = tenants.add_subparsers(metavar="ACTION", required=True)
    _add(
        actions,
        "ls",
        _list,
        help_="list tenants in the order in which they were made",
        description="List tenants: their slugs, by which commands name them, and how they stand.",
        examples=("ls",),
    )
    _add_slug(
        _add(
            actions,
            "show",
            _show,
            help_="show a tenant and what it uses",
            description="Show how a tenant stands, how much there is of what is counted, and how much there may be.",
            examples=("show studio",),
        )
    )
    add = _add(
        actions,
        "add",
        _make,
        help_="make a tenant with its first owner",
        description=(
            "Make a tenant with its first owner, both or neither. With --owner-email that is a person, who is invited\n"
            "by mail unless they are known here; with --owner-key an API key, which is printed this once."
        ),
        examples=(
            "add --slug studio --name 'Night Shift Studio' --owner-email ann@example.com",
            "add --slug studio --name 'Night Shift Studio' --owner-key > studio.key",
        ),
    )
    add.add_argument(
        "--slug", required=True, metavar="SLUG", help="how commands name it, for good: a-z, 0-9 and hyphens"
    )
    add.add_argument("--name", required=True, metavar="NAME", help="how people call it")
    owner = add.add_mutually_exclusive_group(required=True)
    owner.add_argument("--owner-email", metavar="ADDRESS", help="of the person who owns it")
    owner.add_argument("--owner-key", action="store_true", help="have an API key own it, and print that")
    _add_slug(
        _add(
            actions,
            "suspend",
            _suspend,
            help_="let a tenant be read alone",
            description=(
                "Let a tenant be read and not be changed. Its prefixes and links lead on, and hits are counted."
            ),
            examples=("suspend studio",),
        )
    )
    _add_slug(
        _add(
            actions,
            "resume",
            _resume,
            help_="have a tenant be as before it was suspended or closed",
            description="Take a suspension back, or a closing, as long as the tenant's erasure has not begun.",
            examples=("resume studio",),
        )
    )
    quota = _add(
        actions,
        "quota",
        _quota,
        help_="limit how many there may be of a thing, or may be made in a day or month",
        description=(
            f"Limit {', '.join(Metric)}: how many there may be, or with /day or /month how many\n"
            "may be made since a UTC day or month began. Quotas that are not named stay. What there is already stays\n"
            "too, also where it is more than that. Without a quota, the command shows what is used."
        ),
        examples=("quota studio", "quota studio podcasts=5 links/day=100", "quota studio podcasts=unlimited --dry-run"),
    )
    _add_slug(quota)
    quota.add_argument("quotas", nargs="*", metavar="QUOTA", help="such as links=100, links/day=20, links=unlimited")
    quota.add_argument("--dry-run", action="store_true", help="show what would hold, and change nothing")
    close = _add(
        actions,
        "close",
        _close,
        help_="close a tenant, which is erased once its time is over",
        description=(
            "Close a tenant: it can be read and exported until all of it is erased, and `resume` takes that back\n"
            "until then. Its prefixes and links lead on meanwhile, and hits are counted. Keep what is its own with\n"
            "`castledger export --tenant SLUG`: afterwards nothing but a record of the erasure is left."
        ),
        examples=(
            "close studio",
            f"close studio --days 7 --yes   # instead of {GRACE_DAYS} days",
            "close studio --dry-run",
        ),
    )
    _add_slug(close)
    close.add_argument(
        "--days", type=_days, default=GRACE_DAYS, metavar="N", help=f"until it is erased, 0 to {MAX_GRACE_DAYS} (30)"
    )
    close.add_argument("--yes", action="store_true", help="do not ask for its slug once more")
    close.add_argument("--dry-run", action="store_true", help="only say what there is of it, and when it would go")


def _add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace, Mapping[str, str]], int],
    *,
    help_: str,
    description: str,
    examples: tuple[str, ...],
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=help_,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=description,
        epilog="examples:\n" + "".join(f"  castledger tenants {example}\n" for example in examples),
    )
    add_api_options(parser, key="the owner's key to it")
    parser.set_defaults(run=run)
    return parser


def _add_slug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slug", metavar="SLUG", help="as `castledger tenants ls` names it")


def _days(text: str) -> int:
    number = int(text)
    if not 0 <= number <= MAX_GRACE_DAYS:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to {MAX_GRACE_DAYS}")
    return number


def _find(api: Api, slug: str) -> _Tenant:
    parse_slug(slug, path="SLUG")
    found = msgspec.json.decode(api.get("/tenants", {"slug": slug}), type=_Tenants)
    if not found.data:
        raise InvalidInput("SLUG", f"there is no tenant {slug!r}; `castledger tenants ls` names them")
    return found.data[0]


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _state(tenant: _Tenant) -> str:
    if tenant.closes_at is not None:
        return f"closing, erased from {tenant.closes_at:%Y-%m-%d %H:%M}Z (closed by the {tenant.closed_by})"
    return tenant.status + (", the installation's own" if tenant.is_installation else "")


def _lines(api: Api) -> Iterator[str]:
    yield f"{'slug':<24}{'made (UTC)':<12}{'name':<32}state"
    for tenant in api.get_all("/tenants", _Tenant):
        yield f"{tenant.slug:<24}{tenant.created_at:%Y-%m-%d}  {tenant.name:<32}{_state(tenant)}"


def _usage(api: Api, tenant: _Tenant) -> list[_Used]:
    return msgspec.json.decode(api.get(f"/tenants/{tenant.tenant_id}/quotas", {}), type=_Usage).data


def _tell_usage(usage: list[_Used]) -> None:
    for one in usage:
        # What was made in a day or month is of interest where there is a limit to it.
        if one.period is Period.TOTAL or one.limit is not None:
            limit = "no limit" if one.limit is None else f"of {one.limit:,}"
            _tell(f"  {one.metric + _UNITS[one.period]:<18}{one.used:>12,} {limit}")


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    for line in _lines(api_of(options, environ)):
        _tell(line)
    return 0


def _show(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    api = api_of(options, environ)
    tenant = _find(api, options.slug)
    for name, value in (
        ("slug", tenant.slug),
        ("name", tenant.name),
        ("tenant_id", tenant.tenant_id),
        ("state", _state(tenant)),
        ("made", f"{tenant.created_at:%Y-%m-%d %H:%M}Z"),
    ):
        _tell(f"{name}: {value}")
    _tell("used:")
    _tell_usage(_usage(api, tenant))
    return 0


def _make(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    wanted = {
        "slug": parse_slug(options.slug, path="--slug"),
        "name": parse_tenant_name(options.name, path="--name"),
        **({} if options.owner_email is None else {"owner_email": options.owner_email}),
    }
    made = msgspec.json.decode(api_of(options, environ).send("POST", "/tenants", wanted), type=_Tenant)
    said = f"the tenant {made.slug} is made ({made.tenant_id})"
    if made.api_key is not None:
        # The key's text alone, so that it can go where it belongs.
        _tell(made.api_key)
        sys.stdout.flush()
        sys.stderr.write(f"castledger: {said}; its owner's key is not shown again\n")
    else:
        how = "owns it" if made.owner == "member" else "is invited by mail and owns it once they accept"
        _tell(f"{said}; {options.owner_email} {how}")
    return 0


def _set_status(options: argparse.Namespace, environ: Mapping[str, str], status: str) -> int:
    api = api_of(options, environ)
    tenant = _find(api, options.slug)
    answer = api.send("PATCH", f"/tenants/{tenant.tenant_id}", {"status": status})
    _tell(f"{tenant.slug} is {msgspec.json.decode(answer, type=_Tenant).status}")
    return 0


def _suspend(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    return _set_status(options, environ, "suspended")


def _resume(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    return _set_status(options, environ, "active")


def _quota(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    given = {(quota.metric, quota.period): quota for quota in map(parse_quota, options.quotas)}
    if len(given) < len(options.quotas):
        raise InvalidInput("QUOTA", "is given twice for the same thing")
    api = api_of(options, environ)
    tenant = _find(api, options.slug)
    usage = _usage(api, tenant)
    if given:
        now = {(one.metric, one.period): Quota(one.metric, one.period, one.limit) for one in usage}
        wanted = [quota for quota in {**now, **given}.values() if quota.limit is not None]
        if options.dry_run:
            limits = {(quota.metric, quota.period): quota.limit for quota in wanted}
            usage = [_Used(one.metric, one.period, limits.get((one.metric, one.period)), one.used) for one in usage]
        else:
            answer = api.send("PUT", f"/tenants/{tenant.tenant_id}/quotas", {"quotas": wanted})
            usage = msgspec.json.decode(answer, type=_Usage).data
    _tell(f"{tenant.slug} {'would have' if given and options.dry_run else 'has'}:")
    _tell_usage(usage)
    return 0


def _close(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    api = api_of(options, environ)
    tenant = _find(api, options.slug)
    if options.dry_run:
        _tell(f"{tenant.slug} would be read alone, and erased in {options.days} days, with all of:")
        _tell_usage(_usage(api, tenant))
        return 0
    if not options.yes:
        _confirm(tenant, options.days)
    body = {"confirm": tenant.slug, "grace_days": options.days}
    closed = msgspec.json.decode(api.send("POST", f"/tenants/{tenant.tenant_id}/close", body), type=_Tenant)
    _tell(f"{tenant.slug} is {_state(closed)}; `castledger tenants resume {tenant.slug}` takes that back until then")
    return 0


def _confirm(tenant: _Tenant, days: int) -> None:
    """Have the slug typed.

    Raises:
        InvalidInput: It was not, or nobody is there to do it.
    """
    if not sys.stdin.isatty():
        raise InvalidInput("--yes", "is needed where nobody is at a terminal: nothing that is erased can be had back")
    sys.stderr.write(f"All of {tenant.name!r} is erased in {days} days. Type its slug to close it: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != tenant.slug:
        raise InvalidInput("SLUG", "is not the tenant's: nothing was closed")
