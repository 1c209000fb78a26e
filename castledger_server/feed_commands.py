"""What ``castledger feed rewrite`` and ``castledger feed check`` do."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from analytics_core.chain_probes import follow_chains
from analytics_core.enclosures import find_own_prefix
from analytics_core.errors import InvalidInput
from analytics_core.feed_checks import Chain, FeedFinding, check_chain, check_feed, newest_episodes
from analytics_core.feed_fetch import Fetched, fetch_feed, read_feed_file
from analytics_core.feed_rewriting import is_torrent, rewrite_feed
from analytics_core.feed_rules import RULES, FeedLevel
from analytics_core.feeds import Feed, parse_feed
from analytics_core.guarded_http import MayReach, Resolver, is_public_address, resolve
from analytics_core.settings import FeedSettings
from castledger_server.commands import is_web_address, printable

__all__ = ("FeedReport", "FollowedChain", "check", "is_own_address", "read_feed", "rewrite", "tell_report")

_HOP_S: Final = 10.0
_NAMED: Final = 3


class FollowedChain(msgspec.Struct, frozen=True, kw_only=True):
    """An episode's first enclosure and the way to its file."""

    guid: str
    title: str
    url: str
    chain: Chain


class FeedReport(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found."""

    feed: Feed
    followed: tuple[FollowedChain, ...]
    findings: tuple[FeedFinding, ...]

    def count(self, level: FeedLevel) -> int:
        """Count findings of a level."""
        return sum(finding.rule.level is level for finding in self.findings)

    def as_json(self) -> bytes:
        """Write the report for programs."""
        findings = [
            {
                "level": finding.rule.level.value,
                **msgspec.structs.asdict(finding),
                "means": finding.rule.means,
                "remedy": finding.rule.remedy,
            }
            for finding in self.findings
        ]
        report: dict[str, Any] = {
            "title": self.feed.title,
            "feed_url": self.feed.feed_url,
            "podcast_guid": self.feed.podcast_guid,
            "episodes": len(self.feed.episodes),
            **{f"{level.value}s": self.count(level) for level in FeedLevel},
            "findings": findings,
            "followed": self.followed,
        }
        return msgspec.json.format(msgspec.json.encode(report)) + b"\n"


def read_feed(feed: str, *, settings: FeedSettings) -> tuple[bytes, str | None]:
    """Read a feed from an address or a file; return its bytes and the address.

    The address is the caller's own choice on the caller's own machine, so private ones are allowed.

    Raises:
        InvalidInput: It cannot be read.
    """
    if not is_web_address(feed):
        return read_feed_file(Path(feed), settings=settings), None
    fetched = asyncio.run(fetch_feed(feed, settings=msgspec.structs.replace(settings, allow_private=True)))
    if not isinstance(fetched, Fetched):
        raise InvalidInput("feed_url", "the feed's host says that nothing changed", code="feed_status")
    return fetched.data, feed


def rewrite(feed: str, *, public_url: str, settings: FeedSettings, say: Callable[[str], None]) -> bytes:
    """Read a feed from an address or a file and put the prefix in front of its enclosures.

    Args:
        feed: The address or file.
        public_url: Our tracker's address.
        settings: How feeds are fetched.
        say: Told how many enclosures there are, and which could not be given the prefix.

    Raises:
        InvalidInput: It cannot be read, or is no feed.
    """
    data, feed_url = read_feed(feed, settings=settings)
    before = parse_feed(data, feed_url=feed_url)
    rewritten = rewrite_feed(data, public_url=public_url, podcast_guid=before.podcast_guid)
    had, has, without = _count_prefixes(before, public_url), 0, 0
    for url, is_ours in _prefixed(parse_feed(rewritten, feed_url=feed_url), public_url):
        has += is_ours
        if not is_ours:
            without += 1
            say(f"warning: {url} could not be given the prefix: the feed is not well-formed there")
    given = has - had
    say(f"{given} {'enclosure was' if given == 1 else 'enclosures were'} given the prefix, {had} had it already")
    if not has and not without:
        say("warning: there is no enclosure in this feed")
    for warning in before.warnings:
        say(f"warning: {warning}")
    return rewritten


def _prefixed(feed: Feed, public_url: str) -> Iterator[tuple[str, bool]]:
    for episode in feed.episodes:
        for enclosure in episode.enclosures:
            if not episode.live and not is_torrent(enclosure.url, enclosure.media_type):
                yield enclosure.url, find_own_prefix(enclosure.url, public_url=public_url) is not None


def _count_prefixes(feed: Feed, public_url: str) -> int:
    return sum(is_ours for _, is_ours in _prefixed(feed, public_url))


def is_own_address(address: str) -> bool:
    """Tell whether an address is one of this machine: only those can be bound.

    >>> is_own_address("127.0.0.1"), is_own_address("192.0.2.1")
    (True, False)
    """
    parsed = ipaddress.ip_address(address)
    if parsed.is_loopback:
        return True
    if parsed.is_unspecified or parsed.is_multicast:
        return False
    family = socket.AF_INET6 if parsed.version == 6 else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as handle:
        handle.bind((address, 0))
        return True
    return False


def check(
    feed: str,
    *,
    public_url: str | None,
    settings: FeedSettings,
    episodes: int,
    concurrency: int,
    say: Callable[[str], None],
    resolver: Resolver = resolve,
    may_reach: MayReach | None = None,
) -> FeedReport:
    """Find out what is wrong with a feed for measuring.

    Enclosures lead where the feed's owner wants, so hops have to be public, this machine's own, or allowed by
    ``CASTLEDGER_FEED_ALLOW_PRIVATE``.

    Args:
        feed: Its address or file.
        public_url: Our tracker's address; ``None`` when it is not known.
        settings: How feeds are fetched.
        episodes: How many of the newest have their first enclosure followed over the network, 0 or more.
        concurrency: How many are followed at a time, 1 or more.
        say: Told how far it is.
        resolver: Turns a host into addresses.
        may_reach: Whether an address may be connected to; by default as above.

    Raises:
        InvalidInput: It cannot be read, or is no feed.
    """
    say(f"reading {feed}")
    data, feed_url = read_feed(feed, settings=settings)
    parsed = parse_feed(data, feed_url=feed_url)
    findings = check_feed(parsed, public_url=public_url)
    newest = {episode.enclosures[0].url: episode for episode in newest_episodes(parsed, episodes)}
    if newest:
        say(f"following the newest {len(newest)} of {len(parsed.episodes)} episodes to their files")
    done = 0

    def on_done(url: str, chain: Chain) -> None:
        nonlocal done
        done += 1
        ms = sum(hop.ms for hop in chain.hops)
        say(f"{done}/{len(newest)} {len(chain.hops)} hops, {ms / 1000:.2f} s: {printable(newest[url].title)}")

    if may_reach is None:
        may_reach = _allow_all if settings.allow_private else _allow_public_and_own
    chains = asyncio.run(
        follow_chains(
            newest,
            timeout_s=min(_HOP_S, settings.timeout_s),
            may_reach=may_reach,
            concurrency=concurrency,
            resolver=resolver,
            on_done=on_done,
        )
    )
    followed = []
    for url, episode in newest.items():
        findings += check_chain(episode, chains[url], public_url=public_url)
        followed.append(FollowedChain(guid=episode.guid, title=episode.title, url=url, chain=chains[url]))
    return FeedReport(feed=parsed, followed=tuple(followed), findings=tuple(findings))


def _allow_all(_: str) -> bool:
    return True


def _allow_public_and_own(address: str) -> bool:
    return is_public_address(address) or is_own_address(address)


def tell_report(report: FeedReport) -> Iterator[str]:
    """Tell people what was found, the worst first, alike findings together."""
    numbers = f"{len(report.feed.episodes)} episodes, {len(report.followed)} followed to their files"
    yield f"{printable(report.feed.title)}: {numbers}"
    order = list(FeedLevel)
    codes = dict.fromkeys(finding.code for finding in report.findings)
    for code in sorted(codes, key=lambda code: order.index(RULES[code].level)):
        alike = [finding for finding in report.findings if finding.code == code]
        yield ""
        yield from _tell(alike)
    yield ""
    counts = ", ".join(f"{report.count(level)} {level.value}s" for level in FeedLevel)
    yield counts if report.findings else "nothing is wrong"


def _tell(alike: list[FeedFinding]) -> Iterator[str]:
    first = alike[0]
    many = f" ({len(alike)} times)" if len(alike) > 1 else ""
    yield f"{first.rule.level.value}: {first.code}{many}"
    for finding in alike[:_NAMED]:
        where = f"{printable(finding.title)}: " if finding.title is not None else ""
        yield f"  {where}{printable(finding.text)}"
        if finding.url is not None:
            yield f"    {printable(finding.url)}"
    if len(alike) > _NAMED:
        yield f"  … and {len(alike) - _NAMED} more; --json lists all"
    yield f"  what it means: {first.rule.means}"
    yield f"  what to do:    {first.rule.remedy}"
