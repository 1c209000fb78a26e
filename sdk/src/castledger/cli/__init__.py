"""The command line: ``python -m castledger``, what its commands ask for, and how they show it."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TextIO, TypeAlias, TypeVar, get_args
from uuid import UUID

import msgspec

from castledger._client import Castledger
from castledger._errors import CastledgerError
from castledger._models import DownloadReport, DownloadRow, Episode, Link, Podcast, VerdictCount
from castledger._requests import Dimension, Interval, Moment, __version__
from castledger.cli._terminal import Column, Row, Terminal, View, write_view
from castledger.frames import columns_of

__all__ = ("main",)

T = TypeVar("T")

_MOST_NAMED: Final = 5
_CURVE_DAYS: Final = (1, 7, 30)
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_Show: TypeAlias = Callable[[Castledger, argparse.Namespace], View]
_FAILED: Final = 1
_INTERRUPTED: Final = 130
_MOST_VALUES: Final = 100
_NAMING: Final = "by its id, its guid, or a part of its title that no other has"


class NotChosen(CastledgerError):
    """Nothing, or more than one thing, is named so."""


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _name_some(titles: Iterable[str], *, what: str) -> str:
    named = [f"“{title}”" for title in titles]
    if not named:
        return f"there is no {what} yet"
    more = len(named) - _MOST_NAMED
    verb = "is" if len(named) == 1 else "are"
    return f"there {verb} {', '.join(named[:_MOST_NAMED])}" + (f" and {more} more" if more > 0 else "")


def _choose(
    items: list[T], text: str, *, what: str, title: Callable[[T], str], keys: Callable[[T], tuple[str, ...]]
) -> T:
    """Choose the one that *text* names: a key first, then a whole title, then a part of one."""
    wanted = text.strip().casefold()
    for matches in (
        [item for item in items if wanted in (key.casefold() for key in keys(item))],
        [item for item in items if title(item).casefold() == wanted],
        [item for item in items if wanted in title(item).casefold()],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            named = ", ".join(f"“{title(item)}” ({keys(item)[0]})" for item in matches[:_MOST_NAMED])
            raise NotChosen(f"“{text}” names {len(matches)} {what}s: {named}; write more of the title, or the id")
    raise NotChosen(f"no {what} is named “{text}”: {_name_some(map(title, items), what=what)}")


def choose_podcast(client: Castledger, text: str | None) -> Podcast:
    """Find a podcast by its id, its guid or a part of its title; ``None`` is for the only one there is."""
    podcasts = list(client.podcasts.list())
    if text is None:
        if len(podcasts) == 1:
            return podcasts[0]
        known = _name_some((podcast.title for podcast in podcasts), what="podcast")
        raise NotChosen(f"name one with --podcast: {known}" if podcasts else known)
    return _choose(
        podcasts,
        text,
        what="podcast",
        title=lambda podcast: podcast.title,
        keys=lambda podcast: (str(podcast.podcast_id), str(podcast.podcast_guid)),
    )


def choose_episode(client: Castledger, text: str, *, podcast: str | None) -> tuple[UUID, str]:
    """Find an episode by its id, or, of a podcast, by its guid or a part of its title.

    Returns:
        Its id, and what to call it.
    """
    if podcast is None and _is_id(text):
        return UUID(text), text
    found: Episode = _choose(
        list(client.episodes.list(choose_podcast(client, podcast).podcast_id)),
        text,
        what="episode",
        title=lambda episode: episode.title,
        keys=lambda episode: (str(episode.episode_id), episode.guid),
    )
    return found.episode_id, found.title


def _plain(struct: msgspec.Struct) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(struct)
    return fields


def _fields(kind: type[msgspec.Struct]) -> list[str]:
    """Name a CSV's columns, as frames do."""
    return [column.name for column in columns_of(kind)]


def _day(text: str | None) -> str | None:
    return None if text is None else text[:10]


def _when(at: dt.datetime) -> str:
    return f"{at:%Y-%m-%d}" if at.time() == dt.time() else f"{at:%Y-%m-%d %H:%M}"


def _span(start: dt.datetime, end: dt.datetime, tz: str) -> str:
    """Write a range as people do: with its last day where it is of whole days."""
    if start.time() == end.time() == dt.time():
        first, last = start.date(), end.date() - dt.timedelta(days=1)
        return f"{first} ({tz})" if first == last else f"{first} to {last} ({tz})"
    return f"{_when(start)} up to {_when(end)} ({tz})"


def _standing(report: DownloadReport) -> list[str]:
    """Tell how settled a report's figures are."""
    counted = f"counted by {report.rules}, {report.state}"
    if report.restated:
        counted += f", {report.restated} days restated"
    if not report.partial:
        return [counted]
    until = "nothing has landed yet" if report.cutoff is None else f"complete up to {report.cutoff:%Y-%m-%d %H:%M} UTC"
    return [f"{counted}; more may come: {until}"]


def _about(report: DownloadReport) -> dict[str, Any]:
    return {name: value for name, value in _plain(report).items() if name != "data"}


def _scope(client: Castledger, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Read what figures are wanted of; both its parameters and its name."""
    if options.episode is not None:
        episode_id, title = choose_episode(client, options.episode, podcast=options.podcast)
        return {"episode_id": episode_id}, title
    if options.podcast is not None:
        podcast = choose_podcast(client, options.podcast)
        return {"podcast_id": podcast.podcast_id}, podcast.title
    return {}, "All podcasts"


def _sum_up(rows: Iterable[DownloadRow]) -> list[dict[str, Any]]:
    """Add up the rows of each value; the one for all others last."""

    # A value may be called "other" itself; the row of the others tells how many they are.
    def order(row: DownloadRow) -> tuple[bool, str]:
        return row.values is not None, row.key or ""

    summed: list[dict[str, Any]] = []
    total = 0
    for (_, key), found in itertools.groupby(sorted(rows, key=order), key=order):
        group = list(found)
        downloads = sum(row.downloads for row in group)
        total += downloads
        strict = sum(row.downloads_strict for row in group)
        summed.append({"key": key, "downloads": downloads, "downloads_strict": strict, "values": group[0].values})
    summed.sort(key=lambda row: (row["values"] is not None, -row["downloads"]))
    return [{**row, "share": row["downloads"] / total if total else 0.0} for row in summed]


def _name_key(row: Row) -> str:
    if row.get("title"):
        return str(row["title"])
    if row["values"] is not None:
        return f"{row['values']:,} others"
    return row["key"] or "(unknown)"


def _titles(client: Castledger, report: DownloadReport, *, podcast_id: UUID | None, limit: int) -> dict[str, str]:
    """Look up the titles of the episodes with the most downloads, which are those that a report names."""
    overview = client.analytics.overview(
        podcast_id=podcast_id, start=report.start, end=report.end, limit=limit, tz=report.tz
    )
    return {row.key: row.title for row in overview.episodes.data if row.title is not None}


def show_downloads(client: Castledger, options: argparse.Namespace) -> View:
    """Show downloads by time, or by what they are broken down by; by both where an interval is named too."""
    scope, name = _scope(client, options)
    is_summed = options.by is not None and options.interval is None
    report = client.analytics.downloads(
        **scope,
        start=options.start,
        end=options.end,
        # A sum over the range needs no more rows than one can have.
        interval="month" if is_summed else options.interval,
        by=options.by,
        limit=None if options.by is None else options.limit,
        tz=options.tz,
    )
    rows = _sum_up(report.data) if is_summed else [_plain(row) for row in report.data]
    fields = ["key", "downloads", "downloads_strict", "values", "share"] if is_summed else _fields(DownloadRow)
    if options.by == "episode":
        titles = _titles(client, report, podcast_id=scope.get("podcast_id"), limit=options.limit)
        rows = [{**row, "title": titles.get(row["key"])} for row in rows]
        fields.append("title")
    columns = []
    if not is_summed:
        columns.append(Column("start", lambda row: _when(dt.datetime.fromisoformat(row["start"])), is_whole=True))
    if options.by is not None:
        columns.append(Column(options.by.replace("_", " "), _name_key))
    columns.append(Column("downloads", lambda row: row["downloads"]))
    if is_summed:
        columns.append(Column("share", lambda row: f"{row['share']:6.1%}"))
    if options.by is None:
        columns.append(Column("listeners", lambda row: row["listeners"]))
    columns.append(Column("", lambda row: row["downloads"], is_bar=True))
    notes = [f"downloads: {report.total:,}", *_standing(report)]
    if options.by is None and report.listeners_reason is not None:
        notes.append(f"- : listeners are not known ({report.listeners_reason.replace('_', ' ')})")
    by = f" by {options.by.replace('_', ' ')}" if options.by else ""
    return View(
        title=f"{name} · downloads{by} · {_span(report.start, report.end, report.tz)}",
        fields=fields,
        rows=rows,
        columns=columns,
        notes=notes,
        about=_about(report),
        if_empty="No downloads in this range.",
    )


def show_podcasts(client: Castledger, options: argparse.Namespace) -> View:
    """Show all podcasts."""
    rows = [_plain(podcast) for podcast in client.podcasts.list()]
    return View(
        title="Podcasts",
        fields=_fields(Podcast),
        rows=rows,
        columns=[
            Column("title", lambda row: row["title"]),
            Column("episodes", lambda row: row["episodes"]),
            Column("state", _podcast_state),
            Column("id", lambda row: row["podcast_id"], is_whole=True),
        ],
        if_empty="There are none yet: `castledger podcast add FEED_URL`, or client.podcasts.create(feed_url=…).",
    )


def _podcast_state(row: Row) -> str:
    if row["transferred_at"]:
        return "transferred"
    if row["archived_at"]:
        return "archived"
    if row["feed_error"]:
        return "feed unreadable"
    return "verified" if row["verified"] else "not verified"


def show_episodes(client: Castledger, options: argparse.Namespace) -> View:
    """Show a podcast's newest episodes and how they began."""
    podcast = choose_podcast(client, options.podcast)
    curves = itertools.islice(client.episodes.curves(podcast_id=podcast.podcast_id), options.limit or None)
    rows = []
    for curve in curves:
        row = {name: value for name, value in _plain(curve).items() if name != "points"}
        rows.append(row | {f"downloads_{point.day}d": point.downloads for point in curve.points})
    fields = list(rows[0]) if rows else ["episode_id", "title", "published_at", "starts_at"]
    columns = [
        Column("published", lambda row: _day(row["published_at"]), is_whole=True),
        Column("title", lambda row: row["title"]),
        *(_curve_column(days) for days in _CURVE_DAYS),
        Column("id", lambda row: row["episode_id"], is_whole=True),
    ]
    return View(
        title=f"{podcast.title} · episodes, newest first, and their downloads after {_listed(_CURVE_DAYS)} days",
        fields=fields,
        rows=rows,
        columns=columns,
        notes=["- : these days are not over, or were not counted"],
        if_empty="It has no episodes yet.",
    )


def _listed(numbers: Iterable[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}"


def _curve_column(days: int) -> Column:
    return Column(f"{days} d", lambda row: row[f"downloads_{days}d"])


def show_explanation(client: Castledger, options: argparse.Namespace) -> View:
    """Show what became of each hit of a day."""
    if options.episode is not None:
        scope, name = _scope(client, options)
    else:
        podcast = choose_podcast(client, options.podcast)
        scope, name = {"podcast_id": podcast.podcast_id}, podcast.title
    day = options.day or dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    found = client.analytics.explain(**scope, day=day)
    rows = [_plain(verdict) for verdict in found.verdicts]
    notes = [f"downloads: {found.downloads:,}"]
    if found.hits is not None:
        eligible = sum(verdict.hits for verdict in found.verdicts if verdict.verdict == "eligible")
        notes = [
            f"hits: {found.hits:,}, of them {eligible:,} eligible and {found.hits - eligible:,} that do not count",
            f"eligible: {eligible:,}, of them {found.downloads:,} downloads, {found.repeats or 0:,} repeats and "
            f"{found.left_out or 0:,} left out",
        ]
    return View(
        title=f"{name} · every hit of {day} (UTC)",
        fields=_fields(VerdictCount),
        rows=rows,
        columns=[
            Column("verdict", lambda row: row["verdict"]),
            Column("evidence", lambda row: row["evidence"] or ""),
            Column("hits", lambda row: row["hits"]),
            Column("downloads", lambda row: row["downloads"]),
            Column("", lambda row: row["hits"], is_bar=True),
        ],
        notes=[*notes, f"counted by {found.rules}, {found.state}"],
        about={name: value for name, value in _plain(found).items() if name != "verdicts"},
        if_empty="Its hits are not kept any more." if found.hits is None else "There was no hit.",
    )


def show_links(client: Castledger, options: argparse.Namespace) -> View:
    """Show links and their clicks."""
    rows = [_plain(link) for link in client.links.list() if options.all or link.archived_at is None]
    return View(
        title="Links",
        fields=_fields(Link),
        rows=rows,
        columns=[
            Column("link", lambda row: row["short_url"] or f"/go/{row['slug']}", is_whole=True),
            Column("clicks", lambda row: row["clicks"]),
            Column("bots", lambda row: row["bots"]),
            Column("target", lambda row: row["target"]),
            Column("", lambda row: row["clicks"], is_bar=True),
        ],
        if_empty="There are none yet: client.links.create(url=…) makes one.",
    )


def _moment(text: str) -> Moment:
    try:
        if len(text) == len("2026-11-01"):
            return dt.date.fromisoformat(text)
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date such as 2026-11-01") from None
    if at.utcoffset() is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no offset; write 2026-11-01, or 2026-11-01T12:00+01:00")
    return at


def _date(text: str) -> dt.date:
    found = _moment(text)
    if isinstance(found, dt.datetime):
        raise argparse.ArgumentTypeError(f"{text!r} is no day such as 2026-11-01")
    return found


def _count(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def _add(commands: _Commands, name: str, show: _Show, *, summary: str, examples: str) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forms = command.add_mutually_exclusive_group()
    forms.add_argument("--json", dest="form", action="store_const", const="json", help="write JSON, whole")
    forms.add_argument(
        "--csv",
        dest="form",
        action="store_const",
        const="csv",
        help="write CSV; texts that a spreadsheet would run as a formula get an apostrophe in front",
    )
    command.add_argument("--api-url", metavar="URL", help="the API (CASTLEDGER_API_URL), else http://127.0.0.1:8000")
    command.add_argument("--api-key", metavar="KEY", help="the key to it (CASTLEDGER_API_KEY), better kept out of here")
    command.set_defaults(show=show, form="table")
    return command


def _add_scope(command: argparse.ArgumentParser) -> None:
    command.add_argument("--podcast", metavar="NAME", help=f"{_NAMING}; see `podcasts`")
    command.add_argument("--episode", metavar="NAME", help=f"an episode of it, {_NAMING}; see `episodes`")


def _add_downloads(commands: _Commands) -> None:
    downloads = _add(
        commands,
        "downloads",
        show_downloads,
        summary="count downloads by time, or by app, country and more",
        examples=(
            "  python -m castledger downloads --podcast 'castle talk'\n"
            "  python -m castledger downloads --podcast castle --by app --from 2026-11-01 --to 2026-12-01\n"
            "  python -m castledger downloads --by country --interval week --tz Europe/Berlin --csv\n"
        ),
    )
    _add_scope(downloads)
    downloads.add_argument(
        "--from", dest="start", type=_moment, metavar="DAY", help="first day, such as 2026-11-01 (30 days before --to)"
    )
    downloads.add_argument("--to", dest="end", type=_moment, metavar="DAY", help="the day behind the last (tomorrow)")
    downloads.add_argument(
        "--by", choices=get_args(Dimension), help="break them down; summed up unless --interval is named"
    )
    downloads.add_argument("--interval", choices=get_args(Interval), help="how long a row's time is (day)")
    downloads.add_argument(
        "--limit",
        type=_count(1, _MOST_VALUES),
        default=20,
        metavar="N",
        help=f"with --by: how many values to name, up to {_MOST_VALUES} (20)",
    )
    downloads.add_argument("--tz", metavar="ZONE", help="whose days, such as Europe/Berlin (the tenant's, or UTC)")


def _add_others(commands: _Commands) -> None:
    _add(
        commands,
        "podcasts",
        show_podcasts,
        summary="list your podcasts",
        examples="  python -m castledger podcasts\n  python -m castledger podcasts --json\n",
    )
    episodes = _add(
        commands,
        "episodes",
        show_episodes,
        summary="list a podcast's episodes, newest first, and how each began",
        examples=(
            "  python -m castledger episodes --podcast 'castle talk'\n"
            "  python -m castledger episodes --podcast castle --limit 0 --csv > episodes.csv\n"
        ),
    )
    episodes.add_argument("--podcast", metavar="NAME", help=f"{_NAMING}; not needed where there is one podcast")
    episodes.add_argument(
        "--limit", type=_count(0, 1_000_000), default=20, metavar="N", help="how many; 0 for all of them (20)"
    )
    explain = _add(
        commands,
        "explain",
        show_explanation,
        summary="take a day apart: every hit, and why it counts or does not",
        examples=(
            "  python -m castledger explain --podcast 'castle talk' --day 2026-11-24\n"
            "  python -m castledger explain --podcast castle --episode 'the moat'\n"
        ),
    )
    _add_scope(explain)
    explain.add_argument("--day", type=_date, metavar="DAY", help="a UTC day, such as 2026-11-24 (yesterday)")
    links = _add(
        commands,
        "links",
        show_links,
        summary="list your links and the clicks on them",
        examples="  python -m castledger links\n  python -m castledger links --all --csv\n",
    )
    links.add_argument("--all", action="store_true", help="deleted ones too")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m castledger",
        description=(
            "Read a Castledger ledger: downloads, and what they are made of.\n\n"
            "CASTLEDGER_API_KEY holds the key that `castledger up` printed, CASTLEDGER_API_URL the API's address.\n"
            "Every command shows a table, or writes the same as --json or --csv."
        ),
        epilog=(
            "examples:\n"
            "  python -m castledger podcasts\n"
            "  python -m castledger downloads --podcast 'castle talk' --by app\n\n"
            "exit codes: 0 done, 1 refused or not reached, 2 misused, 130 interrupted"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"castledger {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_downloads(commands)
    _add_others(commands)
    return parser


def _connect(options: argparse.Namespace) -> Castledger:
    return Castledger(options.api_key, base_url=options.api_url)


def main(
    argv: Sequence[str] | None = None,
    *,
    connect: Callable[[argparse.Namespace], Castledger] = _connect,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Run a command.

    Returns:
        0, or what the process is to exit with.

    Raises:
        SystemExit: With 2 where the arguments are none, with 0 behind ``--help``.
    """
    out, err = out or sys.stdout, err or sys.stderr
    options = _parser().parse_args(argv)
    try:
        with connect(options) as client:
            view = options.show(client, options)
        if options.form != "table" and isinstance(out, io.TextIOWrapper):
            # Programs read it, whatever the terminal's language is.
            out.reconfigure(encoding="utf-8")
        write_view(view, form=options.form, terminal=Terminal.of(out, os.environ), out=out)
        out.flush()
    except CastledgerError as error:
        # One line, and none of what others wrote, such as a title, may command the terminal.
        said = Terminal.of(err, os.environ).clean(" ".join(str(error).split()))
        err.write(f"castledger: {said}\n")
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read has seen enough, as `head` does; nothing is to be said at the interpreter's end either.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
