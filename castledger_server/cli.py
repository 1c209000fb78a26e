"""The ``castledger`` command. Each command loads only what it needs."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from analytics_core.errors import CastledgerError, ConfigError, Conflict, InvalidInput
from analytics_core.settings import Settings, load_settings
from castledger_server.archive_cli import add_archive
from castledger_server.audit_cli import add_audit
from castledger_server.backup_cli import add_backup
from castledger_server.campaigns_cli import add_campaigns
from castledger_server.compare_cli import add_compare
from castledger_server.erase_cli import add_erase
from castledger_server.import_log_cli import add_import_log
from castledger_server.jobs_cli import add_jobs
from castledger_server.keys_cli import add_keys
from castledger_server.lists_cli import add_lists
from castledger_server.mail_cli import add_mail
from castledger_server.profile_cli import add_profile
from castledger_server.recount_cli import add_recount
from castledger_server.replaced_cli import add_replaced
from castledger_server.report_cli import add_report
from castledger_server.restate_cli import add_restate
from castledger_server.retention_cli import add_retention, find_settings
from castledger_server.spikes_cli import add_spikes
from castledger_server.sponsors_cli import add_sponsors
from castledger_server.spool_cli import add_spool
from castledger_server.tenants_cli import add_tenants
from castledger_server.users_cli import add_users
from castledger_server.what_if_cli import ASKED_EPILOG, add_asked, explain_asked

__all__ = ("main",)

_Command = Callable[[argparse.Namespace, Mapping[str, str]], int]

_SERVICES: Final = {
    "tracker": "run a tracker alone",
    "collector": "run a collector of events alone",
    "ingest": "run ingest alone, against DATABASE_URL",
    "api": "run the API alone, against DATABASE_URL",
    "migrate": "bring a database to the schema of this version: up, status or verify",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; those of the process by default.

    Returns:
        0 when it did what was asked, 1 when it could not, 2 when arguments or settings cannot be used, 3 when a backup
        could not be verified, 130 when it was stopped.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        # The settings warn of contradictions; a person wants the sentence, not the place in our code.
        warnings.showwarning = _show_warning
        return _run(arguments, os.environ)


def _run(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    try:
        if arguments and arguments[0] in _SERVICES:
            return _run_service(arguments[0], arguments[1:], environ)
        options = _parser().parse_args(arguments)
        command: _Command = options.run
        return command(options, environ)
    except ConfigError as error:
        for fault in error.faults:
            sys.stderr.write(f"castledger: {fault}\n")
        return 2
    except CastledgerError as error:
        sys.stderr.write(f"castledger: {error}\n")
        return 2 if isinstance(error, InvalidInput | Conflict) else 1
    except BrokenPipeError:
        # Whoever reads us has seen enough; nothing may be written to them at exit either.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    sys.stderr.write(f"castledger: {message}\n")


def _run_service(name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    if name == "tracker":
        from prefix_redirect.__main__ import main as run_tracker

        return run_tracker(arguments)
    if name == "collector":
        from ingest.collector.__main__ import main as run_collector

        return run_collector(arguments)
    if name == "ingest":
        from ingest.__main__ import main as run_ingest

        return run_ingest(arguments)
    if name == "api":
        from api.server import main as run_api

        return run_api(arguments)
    from migrations.__main__ import main as run_migrations

    if not environ.get("DATABASE_URL") and not environ.get("POSTGRES_HOST"):
        from castledger_server.data_dir import read_running_up

        running = read_running_up(load_settings(environ).data_dir)
        if running is not None and running.database_url:
            return run_migrations(arguments, {**environ, "DATABASE_URL": running.database_url})
    return run_migrations(arguments)


def _settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    data_dir: Path | None = options.data_dir
    return load_settings(environ, data_dir=data_dir.absolute() if data_dir else None)


def _up(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.up import UpOptions, run_up

    return run_up(
        UpOptions(
            data_dir=options.data_dir,
            tracker_port=options.tracker_port,
            collector_port=options.collector_port,
            api_port=options.api_port,
            ready_file=options.ready_file,
            postgres_bin=options.postgres_bin,
            demo=options.demo,
        ),
        environ,
    )


def _demo(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.demo.command import DemoOptions, remove_demo, run_demo

    settings = _settings(options, environ)
    if options.remove:
        remove_demo(settings)
        return 0
    if options.scale and not options.sponsorship:
        raise ConfigError(["--scale: says how large a world of sponsors is; say --sponsorship as well"])
    if options.sponsorship:
        if options.users or options.days:
            raise ConfigError(["--sponsorship: has listeners and days of its own; leave out --users and --days"])
        from castledger_server.demo.sponsorship.playing import run_sponsorship
        from castledger_server.demo.sponsorship.world import SIZES

        return run_sponsorship(options.seed, SIZES[options.scale or "full"], settings, environ)
    wanted = DemoOptions(
        users=options.users or 200, days=options.days or 30, seed=options.seed, data_dir=options.data_dir
    )
    return run_demo(wanted, settings, environ)


def _doctor(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import write_lines
    from castledger_server.doctor import Finding, Level, examine, report_json

    findings: list[Finding] = []
    for finding in examine(environ, data_dir=options.data_dir):
        findings.append(finding)
        if not options.json:
            write_lines([str(finding)])
    if options.json:
        sys.stdout.buffer.write(report_json(findings))
        sys.stdout.buffer.flush()
    return int(any(finding.level is Level.FAIL for finding in findings))


def _health(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import write_lines
    from castledger_server.health import ask_health

    said = list(ask_health(_settings(options, environ), options.service))
    write_lines(str(health) for health in said)
    return int(not all(health.is_ready for health in said))


def _owner_key(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import write_lines
    from castledger_server.data_dir import API_KEY_FILE, claim_data_dir
    from castledger_server.owner import keep_owner_key

    settings = _settings(options, environ)
    database = settings.require_database()
    claim_data_dir(settings.data_dir)
    write_lines([keep_owner_key(database, settings.data_dir / API_KEY_FILE)])
    return 0


def _podcast_add(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.api_access import find_api
    from castledger_server.commands import add_podcast, write_lines

    settings = _settings(options, environ)
    api = find_api(options.api_url, options.api_key, environ, data_dir=settings.data_dir)
    write_lines(add_podcast(api, options.feed, settings=settings.feed))
    return 0


def _feed_rewrite(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from castledger_server.commands import find_public_url, say
    from castledger_server.feed_commands import rewrite

    settings = _settings(options, environ)
    public_url = find_public_url(options.public_url, settings.tracker.public_url, settings.data_dir)
    data = rewrite(options.feed, public_url=public_url, settings=settings.feed, say=say)
    output: Path | None = options.output
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return 0
    try:
        output.write_bytes(data)
    except OSError as error:
        raise ConfigError([f"--output: {output} cannot be written ({error.strerror})"]) from error
    return 0


def _feed_check(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.feed_rules import FeedLevel
    from castledger_server.commands import find_public_url, say, write_lines
    from castledger_server.feed_commands import check, tell_report

    settings = _settings(options, environ)
    public_url: str | None
    try:
        public_url = find_public_url(options.public_url, settings.tracker.public_url, settings.data_dir)
    except ConfigError:
        if options.public_url:
            raise
        public_url = None
    report = check(
        options.feed,
        public_url=public_url,
        settings=settings.feed,
        episodes=options.episodes,
        concurrency=options.concurrency,
        say=say,
    )
    if options.json:
        sys.stdout.buffer.write(report.as_json())
        sys.stdout.buffer.flush()
    else:
        write_lines(tell_report(report))
    return 1 if report.count(FeedLevel.FAULT) else 0


def _classify(_: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.agent_lists import AgentLists
    from castledger_server.commands import classify_lines

    settings = load_settings(environ).ingest
    lists = AgentLists(settings.agent_lists, settings.agent_lists_mode, keep=settings.agent_lists_kept)
    if lists.fault is not None:
        print(f"lists of user agents cannot be used, those before stay in force: {lists.fault}", file=sys.stderr)
    for row in classify_lines(sys.stdin.buffer, lists.table):
        sys.stdout.buffer.write(row)
    sys.stdout.buffer.flush()
    return 0


def _explain(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    from analytics_core.clock import SystemClock
    from castledger_server.api_access import find_api
    from castledger_server.commands import explain_day, write_lines

    if options.url is not None:
        return explain_asked(options, find_settings(options, environ))
    settings = _settings(options, environ)
    api = find_api(options.api_url, options.api_key, environ, data_dir=settings.data_dir)
    day: str = options.day or SystemClock().now().date().isoformat()
    write_lines(explain_day(api, day=day, episode_id=options.episode, podcast_id=options.podcast))
    return 0


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


_port.__name__ = "port"


def _count(text: str) -> int:
    count = int(text)
    if not 0 <= count <= 100_000:
        raise ValueError
    return count


_count.__name__ = "count"


def _workers(text: str) -> int:
    workers = int(text)
    if not 1 <= workers <= 32:
        raise ValueError
    return workers


_workers.__name__ = "number from 1 to 32"


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise ValueError
        return number

    parse.__name__ = f"number from {low:,} to {high:,}"
    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="castledger",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A self-hosted ledger of podcast downloads.",
        epilog=(
            "a first look, without any set-up:\n"
            "  castledger up --data-dir ./ledger\n"
            "  castledger podcast add https://example.com/feed.xml --data-dir ./ledger\n"
            "  castledger feed rewrite feed.xml --data-dir ./ledger --output public.xml\n"
            "\n"
            "settings come from the environment (DATABASE_URL, TRACKER_PUBLIC_URL, …); `castledger doctor` checks\n"
            "them.\n"
        ),
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_up(commands)
    for name, text in _SERVICES.items():
        # Only listed here: `_run_service` hands their arguments on unread.
        commands.add_parser(name, help=text, add_help=False)
    doctor = commands.add_parser(
        "doctor",
        help="look at everything that can be wrong, and say how to mend it",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Look at settings (malformed, misspelt, easily guessed), folder, disk, ports, the database with its clock\n"
            "and schema, Redis, mail, the spool, the lists of networks, and whether our public name leads to us.\n"
            "Changes nothing. Ends with 1 when something fails; what only warns ends with 0."
        ),
        epilog=(
            "examples:\n"
            "  castledger doctor\n"
            "  castledger doctor --json | jq -r '.findings[] | select(.level != \"ok\") | .text'\n"
        ),
    )
    doctor.add_argument("--json", action="store_true", help="write the findings as JSON")
    _add_data_dir(doctor)
    doctor.set_defaults(run=_doctor)
    _add_health(commands)
    owner_key = commands.add_parser(
        "owner-key",
        help="print the owner's API key, where no `up` has",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Print the API key of the installation's owner, which is kept in the data folder; make a new one when the\n"
            "file is gone or the key was revoked. `up` does this by itself; services that run alone need it once."
        ),
        epilog="example:\n  CASTLEDGER_API_KEY=$(castledger owner-key) castledger podcast add https://example.com/feed.xml\n",
    )
    _add_data_dir(owner_key)
    owner_key.set_defaults(run=_owner_key)
    add_keys(commands)
    _add_podcast(commands)
    _add_feed(commands)
    classify = commands.add_parser(
        "classify",
        help="tell what user agents are",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Read user agents from standard input, one a line, and write a line of JSON for each:\n"
            "kind (app, browser, library, bot, watch or unknown), app, device, the rule that decided, and os, the\n"
            "operating system. Lists that CASTLEDGER_AGENT_LISTS names decide as they do for ingest."
        ),
        epilog="example:\n  printf 'Overcast/3.0\\n' | castledger classify\n",
    )
    classify.set_defaults(run=_classify)
    _add_explain(commands)
    add_compare(commands)
    add_sponsors(commands)
    add_campaigns(commands)
    add_report(commands)
    add_spool(commands)
    add_jobs(commands)
    add_lists(commands)
    add_mail(commands)
    add_users(commands)
    add_tenants(commands)
    add_retention(commands)
    add_backup(commands)
    add_restate(commands)
    add_recount(commands)
    add_profile(commands)
    add_spikes(commands)
    add_erase(commands)
    add_archive(commands)
    add_audit(commands)
    add_import_log(commands)
    add_replaced(commands)
    _add_demo(commands)
    return parser


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="folder of everything we keep (CASTLEDGER_DATA_DIR; by default /var/lib/castledger for root, "
        "else ~/.local/share/castledger)",
    )


def _add_api(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--api-url", metavar="URL", help="the API (CASTLEDGER_API_URL); else that of a running `up`")
    parser.add_argument("--api-key", metavar="KEY", help="the key to it (CASTLEDGER_API_KEY)")
    _add_data_dir(parser)


def _add_up(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = commands.add_parser(
        "up",
        help="run everything on this machine",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Run trackers, the collector, ingest, the API and, unless DATABASE_URL or POSTGRES_HOST names a database,\n"
            "a PostgreSQL of our own. Prints `name: value` lines once everything answers. Ctrl-C stops."
        ),
        epilog="example:\n  castledger up --data-dir ./ledger --tracker-port 0 --api-port 0 --ready-file ready.json\n",
    )
    _add_data_dir(up)
    up.add_argument("--tracker-port", type=_port, metavar="PORT", help="of the redirect (TRACKER_PORT, 8080); 0: free")
    up.add_argument("--collector-port", type=_port, metavar="PORT", help="of events (COLLECTOR_PORT, 8001); 0: free")
    up.add_argument("--api-port", type=_port, metavar="PORT", help="of the API (CASTLEDGER_API_PORT, 8000); 0: free")
    up.add_argument("--ready-file", type=Path, metavar="PATH", help="gets the printed lines as JSON when all answers")
    up.add_argument("--postgres-bin", type=Path, metavar="DIR", help="PostgreSQL programs to use, 15 or newer")
    up.add_argument("--demo", action="store_true", help="play `castledger demo` once everything answers")
    up.set_defaults(run=_up)


def _add_health(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    health = commands.add_parser(
        "health",
        help="ask whether services can do their work, for containers and monitors",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Ask a service on this machine, at its port of CASTLEDGER_ADMIN_PORTS, or all of the running `up`,\n"
            "whether it can do its work. Ends with 0 when all can, else with 1; with 2 when there is none to ask."
        ),
        epilog="examples:\n  castledger health\n  castledger health tracker\n",
    )
    health.add_argument(
        "service", nargs="?", choices=("tracker", "collector", "ingest", "api"), metavar="tracker|collector|ingest|api"
    )
    _add_data_dir(health)
    health.set_defaults(run=_health)


def _add_podcast(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    podcast = commands.add_parser("podcast", help="register a podcast")
    actions = podcast.add_subparsers(metavar="ACTION", required=True)
    add = actions.add_parser(
        "add",
        help="register a podcast by its feed",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Register a podcast by its feed's address, which is polled from then on, or by a file.",
        epilog="example:\n  castledger podcast add https://example.com/feed.xml\n",
    )
    add.add_argument("feed", metavar="FEED_URL_OR_FILE")
    _add_api(add)
    add.set_defaults(run=_podcast_add)


def _add_feed(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    feed = commands.add_parser("feed", help="put our prefix into a feed, and check what a feed does to the numbers")
    actions = feed.add_subparsers(metavar="ACTION", required=True)
    rewrite = actions.add_parser(
        "rewrite",
        help="write a feed whose enclosures have our prefix",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Put our prefix in front of every enclosure of a feed, alternate ones too; no other byte changes.\n"
            "Live items and torrents are left alone, and what has our prefix already keeps it."
        ),
        epilog="example:\n  castledger feed rewrite in.xml --public-url https://pod.example.com --output out.xml\n",
    )
    rewrite.add_argument("feed", metavar="FEED_URL_OR_FILE")
    rewrite.add_argument("--output", type=Path, metavar="PATH", help="file to write; standard output by default")
    rewrite.add_argument("--public-url", metavar="URL", help="the tracker's name (TRACKER_PUBLIC_URL)")
    _add_data_dir(rewrite)
    rewrite.set_defaults(run=_feed_rewrite)
    check = actions.add_parser(
        "check",
        help="say what is wrong with a feed for measuring",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Say what is wrong with a feed for measuring: episodes without our prefix, lost extensions, long chains,\n"
            "missing or repeated guids, http addresses, sizes and durations that cannot be. The newest episodes are\n"
            "followed to their files as a player would, with HEAD and one byte at the end, which counts nowhere: slow\n"
            "and broken hops, and hosts that do not answer Range. Each finding says what it does to the numbers and\n"
            "what to do. Ends with 1 when there is a fault; warnings and notes alone end with 0."
        ),
        epilog=(
            "examples:\n"
            "  castledger feed check https://example.com/feed.xml --public-url https://pod.example.com\n"
            "  castledger feed check feed.xml --episodes 0        what stands in the feed, asking nobody\n"
            "  castledger feed check feed.xml --json | jq '.findings[] | select(.level == \"fault\")'\n"
        ),
    )
    check.add_argument("feed", metavar="FEED_URL_OR_FILE")
    check.add_argument(
        "--episodes", type=_count, default=3, metavar="N", help="newest episodes to follow to their files (default 3)"
    )
    check.add_argument(
        "--concurrency", type=_workers, default=4, metavar="N", help="how many to follow at a time (default 4)"
    )
    check.add_argument("--json", action="store_true", help="write the findings as JSON")
    check.add_argument("--public-url", metavar="URL", help="the tracker's name (TRACKER_PUBLIC_URL)")
    _add_data_dir(check)
    check.set_defaults(run=_feed_check)


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    explain = commands.add_parser(
        "explain",
        help="tell why a day's hits count or do not, and how a request would",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Show a UTC day's hits by verdict; they add up to all that was recorded. With --url: say what a tracker\n"
            "would answer to a request that nobody sends, and walk it through the rules."
        ),
        epilog=(
            "examples:\n  castledger explain\n  castledger explain --episode 0198f0c2-… --day 2026-11-23\n"
            f"{ASKED_EPILOG}"
        ),
    )
    what = explain.add_mutually_exclusive_group()
    what.add_argument("--episode", metavar="ID", help="an episode_id")
    what.add_argument(
        "--podcast",
        metavar="ID",
        help="a podcast_id: all of its episodes; by default the only podcast. With --url a podcast's guid, as by pg=",
    )
    explain.add_argument("--day", metavar="YYYY-MM-DD", help="a UTC day; today by default")
    add_asked(explain)
    _add_api(explain)
    explain.set_defaults(run=_explain)


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="play a month of a sample podcast, and see it counted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Play a believable month of a sample podcast on a running `castledger up`: through a tracker of its\n"
            "own on this machine, into the same ledger, under a tenant of its own. Then print what was counted\n"
            "beside what is known to be true: downloads by day, hits by verdict, and by app, country and episode.\n"
            "Ends with 1 when they differ. A former demo is taken away first; nobody else's figures are touched."
        ),
        epilog=(
            "examples:\n"
            "  castledger up --data-dir ./ledger            in one terminal, and in another:\n"
            "  castledger demo --data-dir ./ledger          a month of 200 listeners, ending yesterday\n"
            "  castledger demo --days 7 --users 1000 --seed 5 --data-dir ./ledger\n"
            "  castledger demo --sponsorship --data-dir ./ledger\n"
            "                                               a year of sponsors, some minutes\n"
            "  castledger demo --remove --data-dir ./ledger without a trace\n"
        ),
    )
    demo.add_argument("--users", type=_whole_number(1, 10_000), metavar="N", help="regular listeners (default 200)")
    demo.add_argument(
        "--days",
        type=_whole_number(1, 45),
        metavar="N",
        help="days, ending yesterday (default 30, most 45)",
    )
    demo.add_argument(
        "--seed",
        type=_whole_number(0, 2**31 - 1),
        default=1,
        metavar="N",
        help="the same one plays the same (default 1)",
    )
    demo.add_argument(
        "--sponsorship",
        action="store_true",
        help="a year of sponsors instead: 40 campaigns, attributed and held up to why people really bought",
    )
    demo.add_argument(
        "--scale",
        choices=("small", "full"),
        help="of --sponsorship: a year, or a month of two podcasts (default full)",
    )
    demo.add_argument("--remove", action="store_true", help="take the demo away instead")
    _add_data_dir(demo)
    demo.set_defaults(run=_demo)
