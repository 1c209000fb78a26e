"""``castledger report``: a report asked for, waited for and written, by command, over the API."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from analytics_core.errors import InvalidInput
from castledger_server.api_options import add_api_options, add_making_options, api_of
from castledger_server.argument_kinds import whole_number
from castledger_server.restate_cli import read_range

if TYPE_CHECKING:
    from castledger_server.api_access import Api
    from castledger_server.report_files import Report

__all__ = ("add_report",)

_FORMATS: Final = ("json", "csv", "xlsx", "parquet")
_BINARY: Final = ("xlsx", "parquet")
_WAIT_S: Final = 600
_MOST_WAIT_S: Final = 86_400


def add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``report`` with its kinds to the command line."""
    report = commands.add_parser(
        "report",
        help="have a report made, and write its file",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Have a report of some days made, wait until it is, and write its file. Ends with 1 when it could not be\n"
            "made or was not ready in time; what is asked for is made all the same, and `fetch` writes it later."
        ),
        epilog=(
            "examples:\n"
            "  castledger report podcast --from 2026-10-01 --to 2026-11-01 --out october.csv\n"
            "  castledger report sponsor --sponsor Acme --from 2026-10-01 --to 2026-11-01 --out acme.xlsx\n"
            "  castledger report sponsor --help        what else a kind takes\n"
        ),
    )
    kinds = report.add_subparsers(metavar="KIND", required=True)
    sponsor = _add(
        kinds,
        "sponsor",
        help_="what a sponsor got for its money",
        description=(
            "What a sponsor got for its money: delivered beside booked, where it was heard, codes and links,\n"
            "conversions by model and what each cost. Days are those of UTC. Without --run, conversions are those of\n"
            "the latest attribution run of exactly these days; without any, nothing is said of them."
        ),
        examples=(
            "sponsor --sponsor Acme --from 2026-10-01 --to 2026-11-01 --out acme.xlsx",
            "sponsor --sponsor Acme --from 2026-10-01 --to 2026-11-01 --format json | jq .tables.flights",
        ),
    )
    sponsor.add_argument("--sponsor", required=True, metavar="NAME", help="of which one; its id will do as well")
    sponsor.add_argument("--campaign", metavar="ID", help="only this one, as `castledger campaigns` shows it")
    sponsor.add_argument("--run", dest="run_id", metavar="ID", help="the attribution run to tell conversions by")
    _add_days(sponsor)
    podcast = _add(
        kinds,
        "podcast",
        help_="a podcast's downloads and listeners",
        description="A podcast: downloads and listeners by day, episodes, apps, countries.",
        examples=(
            "podcast --from 2026-10-01 --to 2026-11-01 --format csv --out october.csv",
            "podcast --podcast 0198f0c2-… --tz Europe/Berlin --from 2026-10-01 --to 2026-11-01 --out october.xlsx",
        ),
    )
    podcast.add_argument("--podcast", metavar="ID", help="a podcast_id; by default the only podcast")
    podcast.add_argument("--tz", default="UTC", metavar="ZONE", help="whose days they are, such as Europe/Berlin (UTC)")
    _add_days(podcast)
    delivery = _add(
        kinds,
        "delivery",
        help_="how flights stand",
        description="Flights: booked, delivered, pacing, how they will end, make-goods. Days are those of UTC.",
        examples=("delivery --from 2026-10-01 --to 2026-11-01 --out flights.csv",),
    )
    delivery.add_argument("--sponsor", metavar="NAME", help="only this one's; its id will do as well")
    delivery.add_argument("--campaign", metavar="ID", help="only this one's, as `castledger campaigns` shows it")
    _add_days(delivery)
    fetch = kinds.add_parser(
        "fetch",
        help="write the file of a report that was asked for before",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Wait for a report that was asked for before, and write its file.",
        epilog="examples:\n  castledger report fetch 0198f0c2-… --out october.csv\n",
    )
    fetch.add_argument("report", metavar="ID", help="as it was told when it was asked for")
    _add_file(fetch)
    fetch.set_defaults(run=_fetch)
    share = kinds.add_parser(
        "share",
        help="make a link by which somebody without a login reads a report",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Make a link by which somebody without a login reads a report. Its address is told this once; whoever has\n"
            "it may read, so send it like a key. `report fetch` and a report that is made tell the report's id."
        ),
        epilog="examples:\n  castledger report share 0198f0c2-… --days 14 --max-views 20\n",
    )
    share.add_argument("report", metavar="ID", help="as it was told when it was asked for")
    share.add_argument("--days", type=whole_number(1, 365), default=30, metavar="N", help="for how long (30)")
    share.add_argument("--max-views", type=whole_number(1, 1_000_000), metavar="N", help="and how often at most")
    share.set_defaults(json=False, api_url=None, api_key=None, data_dir=None, run=_share)
    add_making_options(share)


def _add(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    help_: str,
    description: str,
    examples: tuple[str, ...],
) -> argparse.ArgumentParser:
    parser = kinds.add_parser(
        name,
        help=help_,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=description,
        epilog="examples:\n" + "".join(f"  castledger report {example}\n" for example in examples),
    )
    parser.set_defaults(run=_make, kind=name)
    return parser


def _add_days(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="first", required=True, metavar="DATE", help="the first day")
    parser.add_argument("--to", dest="until", required=True, metavar="DATE", help="the day after the last one")
    parser.add_argument("--format", choices=_FORMATS, help="by default that of --out's ending, else csv")
    _add_file(parser)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="file to write; standard output by default")
    parser.add_argument(
        "--wait",
        type=whole_number(0, _MOST_WAIT_S),
        default=_WAIT_S,
        metavar="SECONDS",
        help=f"how long to wait for it ({_WAIT_S})",
    )
    add_api_options(parser)


def _make(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import say
    from castledger_server.report_files import ask_for_report

    first, until = read_range(options)
    out: Path | None = options.out
    _check_out(out)
    format_ = options.format or _format_of(out)
    _check_format(out, format_)
    wanted = {"kind": options.kind, "format": format_, "from": str(first), "to": str(until), **_ids(options)}
    api = api_of(options, environ)
    report = ask_for_report(api, wanted | _names(api, options))
    say(f"report {report.report_id} is asked for; `castledger report fetch` gets it later, too")
    return _write(api, report, options)


def _fetch(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.report_files import read_report

    report_id = _read_id(options.report, "ID", "it was told when the report was asked for")
    _check_out(options.out)
    api = api_of(options, environ)
    report = read_report(api, report_id)
    _check_format(options.out, report.format)
    return _write(api, report, options)


def _share(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    import datetime as dt

    from analytics_core.clock import SystemClock
    from castledger_server.making import carry_out
    from castledger_server.report_files import want_share

    report_id = _read_id(options.report, "ID", "it was told when the report was asked for")
    expires_at = SystemClock().now() + dt.timedelta(days=options.days)
    wanted = want_share(report_id, expires_at=expires_at, max_views=options.max_views)
    return carry_out(api_of(options, environ), wanted, options)


def _write(api: Api, report: Report, options: argparse.Namespace) -> int:
    from castledger_server.commands import say
    from castledger_server.report_files import wait_for_report, write_report

    report = wait_for_report(api, report, wait_s=options.wait, say=say)
    write_report(api, report, options.out, say=say)
    return 0


def _ids(options: argparse.Namespace) -> dict[str, Any]:
    """Read what is named by its id."""
    about: dict[str, Any] = {}
    if getattr(options, "campaign", None) is not None:
        about["campaign_id"] = _read_id(options.campaign, "--campaign", "`castledger campaigns` shows them")
    if getattr(options, "run_id", None) is not None:
        about["run_id"] = _read_id(options.run_id, "--run", "`GET /api/v1/attribution/runs` lists them")
    return about


def _names(api: Api, options: argparse.Namespace) -> dict[str, Any]:
    """Find what the API has to be asked for: a sponsor by its name, or the only podcast."""
    from castledger_server.campaign_answers import find_sponsor
    from castledger_server.commands import find_only_podcast

    if options.kind == "podcast":
        return {"podcast_id": options.podcast or find_only_podcast(api), "tz": options.tz}
    return {} if options.sponsor is None else {"sponsor_id": find_sponsor(api, options.sponsor).sponsor_id}


def _read_id(text: str, option: str, hint: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput(option, f"{text!r} is no id; {hint}") from None


def _format_of(out: Path | None) -> str:
    ending = "" if out is None else out.suffix.removeprefix(".").lower()
    return ending if ending in _FORMATS else "csv"


def _check_out(out: Path | None) -> None:
    """See that there is a place for the file before anything is asked for."""
    if out is not None and not out.absolute().parent.is_dir():
        raise InvalidInput("--out", f"there is no folder {out.absolute().parent}")
    if out is not None and out.is_dir():
        raise InvalidInput("--out", f"{out} is a folder; name a file in it")


def _check_format(out: Path | None, format_: str) -> None:
    if out is None and format_ in _BINARY and sys.stdout.isatty():
        raise InvalidInput("--out", f"is needed: {format_} is nothing to look at in a terminal")
