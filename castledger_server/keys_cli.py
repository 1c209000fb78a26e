"""``castledger keys``: the API keys of a tenant, by command, over the API."""

from __future__ import annotations

import argparse
import datetime as dt
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from analytics_core.errors import InvalidInput
from castledger_server.api_options import add_api_options, api_of

if TYPE_CHECKING:
    from castledger_server.api_access import Api

__all__ = ("add_keys", "add_one", "list_lines", "revoke", "rotate")

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SHOWN_SCOPES: Final = 3


class _Key(msgspec.Struct):
    key_id: UUID
    kind: str
    name: str
    hint: str
    scopes: list[str] | None
    origins: list[str]
    last_used_at: dt.datetime | None
    expires_at: dt.datetime | None
    revoked_at: dt.datetime | None
    replaced_by: UUID | None
    key: str = ""


def add_keys(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``keys`` with its actions to the command line."""
    keys = commands.add_parser(
        "keys",
        help="list, make, rotate and revoke API keys",
        description="List, make, rotate and revoke the API keys of the tenant whose key is used.",
    )
    actions = keys.add_subparsers(metavar="ACTION", required=True)
    ls = _add(
        actions,
        "ls",
        _list,
        help_="list keys in the order in which they were made",
        description="List keys: their ids, what they may do, and when they were used last (up to a minute late).",
        examples=("ls", "ls --all"),
    )
    ls.add_argument("--all", action="store_true", help="revoked and expired ones too")
    add = _add(
        actions,
        "add",
        _make,
        help_="make a key",
        description=(
            "Make a key and print its text, which is shown this once. A secret key is for programs; without --scopes\n"
            "it may do all that the key may that is used here, and never more. A publishable key may be in pages: it\n"
            "only sends events (events:write), from the origins that are named."
        ),
        examples=(
            "add dashboard --scopes analytics:read,podcasts:read",
            "add nightly-export --expires 90d > key.txt",
            "add 'the shop' --publishable --origin https://shop.example.com --origin http://localhost:3000",
        ),
    )
    add.add_argument("name", metavar="NAME", help="what it is for")
    add.add_argument("--scopes", metavar="LIST", help="what it may do, such as links:read,links:write")
    add.add_argument("--publishable", action="store_true", help="make one that may be in pages")
    add.add_argument(
        "--origin", action="append", default=[], metavar="ORIGIN", help="of pages that may use it, 1 to 50 of them"
    )
    add.add_argument("--expires", metavar="WHEN", help="a UTC day, such as 2027-11-01, or a time, such as 90d; never")
    rotate_ = _add(
        actions,
        "rotate",
        _rotate,
        help_="make a key in the place of another",
        description=(
            "Make a key with the name, scopes and origins of another, and print its text, which is shown this once.\n"
            "The old key goes on being good for the overlap, in which programs change over."
        ),
        examples=(
            "rotate 019abc00-0000-7000-8000-000000000000 --overlap 7d > key.txt",
            "rotate 019abc00-0000-7000-8000-000000000000 --overlap 0 --dry-run",
        ),
    )
    _add_id(rotate_)
    rotate_.add_argument("--overlap", default="1d", metavar="TIME", help="such as 0, 90m, 12h or 30d, the most (1d)")
    revoke_ = _add(
        actions,
        "revoke",
        _revoke,
        help_="end a key at once",
        description="End a key at once, with the page's sessions that were opened with it. It cannot be undone.",
        examples=("revoke 019abc00-0000-7000-8000-000000000000 --dry-run",),
    )
    _add_id(revoke_)


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
        epilog="examples:\n" + "".join(f"  castledger keys {example}\n" for example in examples),
    )
    add_api_options(parser)
    parser.set_defaults(run=run)
    return parser


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("key", metavar="ID", help="as `castledger keys ls` shows it")
    parser.add_argument("--dry-run", action="store_true", help="show which key it would be, and change nothing")


def _read_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput("ID", f"{text!r} is no id; `castledger keys ls` shows them") from None


def _read_seconds(text: str, *, option: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if match is None or (not match[2] and match[1] != "0"):
        raise InvalidInput(option, f"{text!r} is no time such as 90m, 12h or 30d")
    return int(match[1]) * _UNITS.get(match[2], 1)


def _read_end(text: str | None, *, now: dt.datetime) -> str | None:
    if text is None or text == "never":
        return None
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        return f"{text}T00:00:00Z"
    try:
        return (now + dt.timedelta(seconds=_read_seconds(text, option="--expires"))).isoformat()
    except (InvalidInput, OverflowError):
        raise InvalidInput("--expires", f"{text!r} is no day such as 2027-11-01 and no time such as 90d") from None


def _list(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.clock import SystemClock
    from castledger_server.commands import write_lines

    write_lines(list_lines(api_of(options, environ), now=SystemClock().now(), is_all=options.all))
    return 0


def _make(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.clock import SystemClock

    wanted: dict[str, Any] = {"name": options.name, "origins": options.origin}
    if options.publishable:
        wanted["kind"] = "publishable"
    if options.scopes is not None:
        wanted["scopes"] = [scope.strip() for scope in options.scopes.split(",") if scope.strip()]
    wanted["expires_at"] = _read_end(options.expires, now=SystemClock().now())
    _tell_text(add_one(api_of(options, environ), wanted))
    return 0


def _rotate(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    overlap_s = _read_seconds(options.overlap, option="--overlap")
    key_id, api = _read_id(options.key), api_of(options, environ)
    if options.dry_run:
        sys.stdout.write(f"{_name(_read(api, key_id))} would be replaced, and end {_after(overlap_s)}\n")
        return 0
    new = rotate(api, key_id, overlap_s=overlap_s)
    _tell_text(new)
    sys.stderr.write(f"castledger: the old key {key_id} ends {_after(overlap_s)}\n")
    return 0


def _revoke(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    key_id, api = _read_id(options.key), api_of(options, environ)
    found = _read(api, key_id)
    if options.dry_run:
        sys.stdout.write(f"{_name(found)} would be revoked; {_used(found)}\n")
        return 0
    revoke(api, key_id)
    sys.stdout.write(f"{_name(found)} is revoked\n")
    return 0


def _tell_text(key: _Key) -> None:
    """Write a key's text alone to standard output, so that it can go where it belongs, and all else beside it."""
    sys.stdout.write(f"{key.key}\n")
    sys.stdout.flush()
    sys.stderr.write(f"castledger: {_name(key)} is made; its text is not shown again\n")


def _name(key: _Key) -> str:
    return f"{key.name} ({key.hint}, {key.key_id})"


def _after(overlap_s: int) -> str:
    size, unit = next(
        ((size, unit) for unit, size in reversed(_UNITS.items()) if overlap_s and overlap_s % size == 0), (1, "s")
    )
    return f"after {overlap_s // size}{unit}" if overlap_s else "at once"


def _used(key: _Key) -> str:
    return "never used" if key.last_used_at is None else f"last used {key.last_used_at:%Y-%m-%d %H:%M} UTC"


def _state(key: _Key, *, now: dt.datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None:
        return "expired" if key.expires_at <= now else f"until {key.expires_at:%Y-%m-%d}"
    return "good"


def _rights(key: _Key) -> str:
    if key.scopes is None:
        return "everything"
    shown = ", ".join(key.scopes[:_SHOWN_SCOPES])
    more = len(key.scopes) - _SHOWN_SCOPES
    return shown + (f" and {more} more" if more > 0 else "") + (f" on {', '.join(key.origins)}" if key.origins else "")


def _read(api: Api, key_id: UUID) -> _Key:
    return msgspec.json.decode(api.get(f"/api-keys/{key_id}", {}), type=_Key)


def list_lines(api: Api, *, now: dt.datetime, is_all: bool) -> Iterator[str]:
    """List keys, a line each under a heading.

    Raises:
        ApiRefusal: The API refused, or does not answer.
    """
    yield f"{'id':<38}{'begins with':<15}{'state':<18}{'last used (UTC)':<18}name: what it may do"
    for key in api.get_all("/api-keys", _Key):
        state = _state(key, now=now)
        if is_all or state not in ("revoked", "expired"):
            used = "never" if key.last_used_at is None else f"{key.last_used_at:%Y-%m-%d %H:%M}"
            yield f"{key.key_id!s:<38}{key.hint:<15}{state:<18}{used:<18}{key.name}: {_rights(key)}"


def add_one(api: Api, wanted: Mapping[str, Any]) -> _Key:
    """Make a key.

    Args:
        api: With the key of whoever makes it.
        wanted: Its fields, as the API takes them.

    Raises:
        ApiRefusal: The API refused, or does not answer.
    """
    made = api.post("/api-keys", msgspec.json.encode(wanted), media_type="application/json")
    return msgspec.json.decode(made, type=_Key)


def rotate(api: Api, key_id: UUID, *, overlap_s: int) -> _Key:
    """Make a key in the place of another, which ends after *overlap_s* seconds.

    Raises:
        ApiRefusal: The API refused, or does not answer.
    """
    body = msgspec.json.encode({"overlap_s": overlap_s})
    return msgspec.json.decode(api.post(f"/api-keys/{key_id}/rotate", body, media_type="application/json"), type=_Key)


def revoke(api: Api, key_id: UUID) -> None:
    """End a key at once.

    Raises:
        ApiRefusal: The API refused, or does not answer.
    """
    api.delete(f"/api-keys/{key_id}")
