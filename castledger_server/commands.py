"""What the commands that talk to the API, or only to standard input, do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from analytics_core.agent_table import AgentTable, our_table
from analytics_core.errors import ConfigError, InvalidInput
from analytics_core.feed_fetch import read_feed_file
from analytics_core.settings import FeedSettings, parse_public_url
from castledger_server.api_access import Api
from castledger_server.data_dir import read_running_up

__all__ = (
    "add_podcast",
    "classify_lines",
    "explain_day",
    "find_only_podcast",
    "find_public_url",
    "is_web_address",
    "printable",
    "say",
    "write_lines",
)


class _Podcast(msgspec.Struct):
    podcast_id: str
    title: str
    episodes: int
    prefix: str | None = None
    warnings: list[str] = []


class _Listed(msgspec.Struct):
    podcast_id: str
    title: str


class _Podcasts(msgspec.Struct):
    data: list[_Listed]
    next_cursor: str | None = None


class _Verdict(msgspec.Struct):
    verdict: str
    evidence: str | None
    hits: int
    downloads: int


class _Explanation(msgspec.Struct):
    day: str
    hits: int | None
    downloads: int
    downloads_strict: int
    repeats: int | None
    verdicts: list[_Verdict]
    cutoff: str | None
    profile: str
    rules: str
    partial: bool
    state: str
    left_out: int | None = None


def is_web_address(text: str) -> bool:
    """Tell an address from the name of a file.

    >>> is_web_address("HTTPS://example.com/feed"), is_web_address("feed.xml")
    (True, False)
    """
    return text.lower().startswith(("http://", "https://"))


def printable(text: str) -> str:
    """Keep what others have written from steering the terminal.

    >>> printable("One\x1b[2J")
    'One\ufffd[2J'
    """
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def add_podcast(api: Api, feed: str, *, settings: FeedSettings) -> Iterator[str]:
    """Register a podcast by its feed's address, or by the feed in a file, and tell what is next.

    Raises:
        InvalidInput: The file cannot be read.
        ApiRefusal: The API refused.
    """
    if is_web_address(feed):
        content, media_type = msgspec.json.encode({"feed_url": feed}), "application/json"
    else:
        content, media_type = read_feed_file(Path(feed), settings=settings), "application/rss+xml"
    podcast = msgspec.json.decode(api.post("/podcasts", content, media_type=media_type), type=_Podcast)
    yield f"podcast_id: {podcast.podcast_id}"
    yield f"title: {podcast.title}"
    yield f"episodes: {podcast.episodes}"
    if podcast.prefix:
        yield f"prefix: {podcast.prefix}"
    for warning in podcast.warnings:
        yield f"warning: {warning}"
    yield (
        "next: put the prefix in front of every enclosure URL, leaving out its `https://`, where your host lets you, "
        f"or publish the feed that `castledger feed rewrite {feed}` writes"
    )


def find_public_url(given: str | None, configured: str, data_dir: Path) -> str:
    """Choose the tracker's name for prefixes: what is given, else configured, else that of the running ``up``.

    Raises:
        ConfigError: Nothing names it, or what was given is no address.
    """
    if given:
        try:
            return parse_public_url(given)
        except ValueError as error:
            raise ConfigError([f"--public-url: {given!r} is not {error}"]) from error
    if configured:
        return configured
    running = read_running_up(data_dir)
    prefix = running.answers.get("prefix", "") if running is not None else ""
    if not prefix:
        raise ConfigError(
            [
                "the tracker's name is not known: give --public-url, set TRACKER_PUBLIC_URL, or name the folder of a"
                " running `up` by --data-dir"
            ]
        )
    return prefix.partition("/e,")[0]


def classify_lines(lines: Iterable[bytes], table: AgentTable | None = None) -> Iterator[bytes]:
    r"""Classify a user agent a line: as many lines of JSON come out as lines go in.

    Args:
        lines: With or without their ends; a byte that is no UTF-8 stands for a sign that is none.
        table: Says what they are; our own by default.

    >>> next(classify_lines([b"\n"]))
    b'{"kind":"unknown","app":"","device":"unknown","rule":"empty","os":""}\n'
    """
    classify = (table or our_table()).classify
    for line in lines:
        agent = line.removesuffix(b"\n").removesuffix(b"\r").decode(errors="replace")
        found = classify(agent)
        row = {"kind": found.kind.label, "app": found.app, "device": found.device, "rule": found.rule, "os": found.os}
        yield msgspec.json.encode(row) + b"\n"


def find_only_podcast(api: Api) -> str:
    """Name the podcast that is meant when none was named: the only one.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: There is none, or a choice; the message lists up to ten.
    """
    found = msgspec.json.decode(api.get("/podcasts", {"limit": "10"}), type=_Podcasts)
    if not found.data:
        raise InvalidInput("podcast", "there is no podcast yet; add one with `castledger podcast add`")
    if len(found.data) > 1:
        listed = "\n".join(f"  {podcast.podcast_id}  {podcast.title}" for podcast in found.data)
        more = "\n  …" if found.next_cursor is not None else ""
        raise InvalidInput("podcast", f"there are several; say which with --podcast ID:\n{listed}{more}")
    return found.data[0].podcast_id


def explain_day(api: Api, *, day: str, episode_id: str | None, podcast_id: str | None) -> Iterator[str]:
    """Write the table of a day's verdicts: of an episode, of a podcast, or of the only podcast there is.

    Raises:
        ApiRefusal: The API refused.
        InvalidInput: Neither was named, and there is not exactly one podcast.
    """
    if episode_id is None and podcast_id is None:
        podcast_id = find_only_podcast(api)
    wanted = {"episode_id": episode_id, "podcast_id": podcast_id, "day": day}
    parameters = {name: value for name, value in wanted.items() if value is not None}
    said = msgspec.json.decode(api.get("/analytics/explain", parameters), type=_Explanation)
    if said.hits is None or said.repeats is None:
        yield f"hits of {said.day} (UTC) are not kept any more"
        yield f"{said.downloads:,} downloads were counted, strictly {said.downloads_strict:,}"
        yield f"profile {said.profile}, rules {said.rules}"
        return
    yield f"{'verdict':<18}{'evidence':<10}{'hits':>12}{'downloads':>12}"
    for row in said.verdicts:
        yield f"{row.verdict:<18}{row.evidence or '':<10}{row.hits:>12,}{row.downloads:>12,}"
    yield f"{'all':<28}{said.hits:>12,}{said.downloads:>12,}"
    yield f"{said.repeats:,} eligible hits repeat a download; counted strictly, there are {said.downloads_strict:,}"
    if said.left_out:
        yield f"{said.left_out:,} eligible hits are left out: accepted spikes, or another source counts for this day"
    yield f"{said.day} (UTC) is {said.state}{', and hits may still be missing' if said.partial else ''}"
    yield f"profile {said.profile}, rules {said.rules}, complete up to {said.cutoff or 'nothing yet'}"


def say(line: str) -> None:
    """Tell whoever waits how far it is, beside what a command writes."""
    sys.stderr.write(f"castledger: {line}\n")
    sys.stderr.flush()


def write_lines(lines: Iterable[str]) -> None:
    """Write lines to standard output as they come."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
