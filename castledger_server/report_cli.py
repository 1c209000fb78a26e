"""``castledger report``: a report asked for, waited for and written, by command, over the API."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from analytics_core.errors import CastledgerError, ConfigError, InvalidInput
from castledger_server.api_options import add_api_options, api_of
from castledger_server.restate_cli import read_range

if TYPE_CHECKING:
    from castledger_server.api_access import Api

__all__ = ("ReportNotMade", "add_report", "wait_for_report")

_FORMATS: Final = ("json", "csv", "xlsx", "parquet")
_BINARY: Final = ("xlsx", "parquet")
_WAIT_S: Final = 600
_MOST_WAIT_S: Final = 86_400
_LOOK_EVERY_S: Final = 1.0
_A_WHOLE: Final = 1_000_000


class ReportNotMade(CastledgerError):
    """A report failed, or was not ready in time."""

    code = "report_not_made"


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    report_id: UUID
    format: str
    status: str
    done_ppm: int
    error: str | None
    sha256: str | None


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
        "--wait", type=_seconds, default=_WAIT_S, metavar="SECONDS", help=f"how long to wait for it ({_WAIT_S})"
    )
    add_api_options(parser)


def _seconds(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _MOST_WAIT_S:
        raise ValueError
    return number


_seconds.__name__ = f"number of seconds from 0 to {_MOST_WAIT_S:,}"


def _make(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    first, until = read_range(options)
    out: Path | None = options.out
    format_ = options.format or _format_of(out)
    _check_out(out, format_)
    api = api_of(options, environ)
    wanted = {"kind": options.kind, "format": format_, "from": str(first), "to": str(until), **_subject(api, options)}
    report = msgspec.json.decode(api.send("POST", "/reports", wanted), type=_Report)
    _say(f"report {report.report_id} is asked for; `castledger report fetch` gets it later, too")
    _write(api, report, out, wait_s=options.wait)
    return 0


def _fetch(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    report_id = _read_id(options.report, "ID", "it was told when the report was asked for")
    out: Path | None = options.out
    _check_out(out)
    api = api_of(options, environ)
    report = _read(api, report_id)
    _check_out(out, report.format)
    _write(api, report, out, wait_s=options.wait)
    return 0


def _subject(api: Api, options: argparse.Namespace) -> dict[str, Any]:
    """Say what a report is about, as the API takes it."""
    from castledger_server.campaign_answers import find_sponsor
    from castledger_server.commands import find_only_podcast

    if options.kind == "podcast":
        return {"podcast_id": options.podcast or find_only_podcast(api), "tz": options.tz}
    about: dict[str, Any] = {}
    if options.sponsor is not None:
        about["sponsor_id"] = find_sponsor(api, options.sponsor).sponsor_id
    if options.campaign is not None:
        about["campaign_id"] = _read_id(options.campaign, "--campaign", "`castledger campaigns` shows them")
    if options.kind == "sponsor" and options.run_id is not None:
        about["run_id"] = _read_id(options.run_id, "--run", "`GET /api/v1/attribution/runs` lists them")
    return about


def _read_id(text: str, option: str, hint: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput(option, f"{text!r} is no id; {hint}") from None


def _format_of(out: Path | None) -> str:
    ending = "" if out is None else out.suffix.removeprefix(".").lower()
    return ending if ending in _FORMATS else "csv"


def _check_out(out: Path | None, format_: str = "csv") -> None:
    """See that a file can be written before anything is asked for."""
    if out is None:
        if format_ in _BINARY and sys.stdout.isatty():
            raise InvalidInput("--out", f"is needed: {format_} is nothing to look at in a terminal")
    elif not out.absolute().parent.is_dir():
        raise InvalidInput("--out", f"there is no folder {out.absolute().parent}")


def _read(api: Api, report_id: UUID) -> _Report:
    return msgspec.json.decode(api.get(f"/reports/{report_id}", {}), type=_Report)


def wait_for_report(api: Api, report: _Report, *, wait_s: float) -> _Report:
    """Look at a report until it is ready, and tell how far it is.

    Raises:
        ApiRefusal: The API refused.
        ReportNotMade: It failed, or was not ready in time.
    """
    deadline = time.monotonic() + wait_s
    told = 0
    while report.status not in ("ready", "failed"):
        if report.done_ppm > told:
            told = report.done_ppm
            _say(f"{100 * told // _A_WHOLE} % is made")
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise ReportNotMade(
                f"the report is {report.status} after {wait_s:,} s; later: castledger report fetch {report.report_id}"
            )
        time.sleep(min(_LOOK_EVERY_S, left_s))
        report = _read(api, report.report_id)
    if report.status == "failed":
        raise ReportNotMade(f"the report {report.report_id} could not be made: {report.error}")
    return report


def _write(api: Api, report: _Report, out: Path | None, *, wait_s: float) -> None:
    report = wait_for_report(api, report, wait_s=wait_s)
    content = api.get(f"/reports/{report.report_id}/file", {})
    if hashlib.sha256(content).hexdigest() != report.sha256:
        raise ReportNotMade(f"another file came than was made; try again: castledger report fetch {report.report_id}")
    if out is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise ConfigError([f"--out: {out} cannot be written ({error.strerror})"]) from error
    _say(f"{out}: {len(content):,} bytes")


def _say(line: str) -> None:
    sys.stderr.write(f"castledger: {line}\n")
    sys.stderr.flush()
