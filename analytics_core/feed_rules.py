"""What a finding about a feed stands for: how bad it is, what it does to the numbers, and how it is mended."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = ("RULES", "FeedLevel", "Rule")


class FeedLevel(enum.Enum):
    """How bad it is: a fault loses or bends numbers, a warning may, a note only says."""

    FAULT = "fault"
    WARNING = "warning"
    NOTE = "note"


class Rule(NamedTuple):
    """What a finding's code stands for.

    Attributes:
        level: How bad it is.
        means: What it does to the numbers.
        remedy: What mends it.
    """

    level: FeedLevel
    means: str
    remedy: str


_FAULT, _WARNING, _NOTE = FeedLevel

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "no_episodes": Rule(
            _FAULT,
            "there is nothing to measure",
            "publish an item with an <enclosure>, or give the address of the podcast's own feed",
        ),
        "no_prefix": Rule(
            _FAULT,
            "its downloads never reach us and are missing from every number",
            "set the prefix at your host for old episodes too, or publish what `castledger feed rewrite` writes",
        ),
        "prefix_of_other_podcast": Rule(
            _FAULT,
            "its downloads are looked for under another podcast and may stay without an episode",
            "put this podcast's own prefix there; `castledger podcast add` prints it",
        ),
        "prefix_without_podcast": Rule(
            _NOTE,
            "a new episode is counted only once the feed was read, and a repeated file name may not be told apart",
            "hand out the prefix with `,pg=…` for new episodes; leave old ones, since a new address is fetched again",
        ),
        "prefix_twice": Rule(
            _WARNING,
            "every play makes two hits; they count as one download, but cost a redirect and fill the explanation",
            "take one of the two away where it was put: at the host, or in the rewritten feed",
        ),
        "refused_here": Rule(
            _FAULT,
            "our own tracker does not redirect it: players get an error, and nothing is counted",
            "register the podcast with `castledger podcast add`, or see TRACKER_HOSTS and TRACKER_DENY_HOSTS",
        ),
        "extension_lost": Rule(
            _FAULT,
            "directories have stopped taking in episodes whose address does not end like audio or video; "
            "without new episodes there are no downloads, and our tracker redirects it only while its host is known",
            "use an address whose path ends in .mp3, .m4a or the like; a file name in the query does not do",
        ),
        "extension_differs": Rule(
            _WARNING,
            "players that believe the one refuse what the other says, and their downloads are missing",
            "make the enclosure's type and the address's ending say the same",
        ),
        "many_prefixes": Rule(
            _WARNING,
            "each service may be slow, down or on a block list; where one is, nothing behind it is reached or counted",
            "take away the services whose numbers nobody reads",
        ),
        "many_redirects": Rule(
            _WARNING,
            "some players give up on the way: our hit is counted although nobody heard the episode",
            "shorten the chain: fewer services, and https addresses that need no redirect of their own",
        ),
        "too_many_redirects": Rule(
            _FAULT,
            "players give up: our hits are counted although nobody heard the episode, or we are never reached",
            "shorten the chain; ask the owner of a hop that redirects to itself",
        ),
        "hop_failed": Rule(
            _FAULT,
            "players that reached us before it were counted and got nothing; behind it nobody is counted at all",
            "mend or remove that hop; try the address by hand with `curl -IL`",
        ),
        "address_not_public": Rule(
            _FAULT,
            "nobody outside your own network can fetch it",
            "give the enclosure a public address; CASTLEDGER_FEED_ALLOW_PRIVATE=true lets us look all the same",
        ),
        "not_media": Rule(
            _FAULT,
            "a page stands at the end instead of the episode: requests are counted as downloads of nothing",
            "mend the enclosure's address at the host",
        ),
        "hop_slow": Rule(
            _WARNING,
            "impatient players give up or ask again, which makes plays without hits and hits without plays",
            "ask that service, or take it away",
        ),
        "range_lost": Rule(
            _FAULT,
            "players cannot jump or resume and start over: more full requests reach us than episodes were fetched, "
            "and some players refuse to stream",
            "serve the file from a host that answers Range with 206, and keep services from answering themselves",
        ),
        "address_invalid": Rule(
            _FAULT,
            "no player can fetch it, so that it has no downloads",
            "mend the enclosure's address at the host",
        ),
        "http": Rule(
            _WARNING,
            "players that insist on https refuse it, and networks on the way may cache or change it: "
            "hits that never reach us",
            "use https in the feed, and behind the prefix too",
        ),
        "guid_missing": Rule(
            _FAULT,
            "the episode is known by its address alone: when that changes, apps fetch it again and its count starts "
            "anew",
            "give the item a <guid> that never changes",
        ),
        "guid_repeated": Rule(
            _FAULT,
            "apps and we take it for the earlier episode with this guid: it has no numbers of its own",
            "give every item a <guid> of its own",
        ),
        "podcast_guid_missing": Rule(
            _WARNING,
            "the prefix carries a guid computed from the feed's address; after a move to another address it is "
            "another one, and changed enclosures are fetched again",
            "put <podcast:guid> into the channel, with the guid that the prefix names",
        ),
        "date_missing": Rule(
            _WARNING,
            "its first days are counted from the first hit instead of its publication",
            "give the item a <pubDate> as RFC 2822 writes it",
        ),
        "length_missing": Rule(
            _WARNING,
            "partial requests are held against a minute at 128 kbit/s instead of the file's own rate",
            'give the enclosure the file\'s size in bytes as length="…"',
        ),
        "length_unbelievable": Rule(
            _WARNING,
            "the stated size is set aside, and partial requests are held against a minute at 128 kbit/s",
            'give the enclosure the file\'s size in bytes as length="…"',
        ),
        "length_differs": Rule(
            _NOTE,
            "partial requests near a minute may fall on the other side of the threshold; inserted advertisements do "
            "the same",
            "state the size of the file as it is served without advertisements",
        ),
        "duration_missing": Rule(
            _WARNING,
            "a minute of it cannot be worked out, so partial requests are held against 128 kbit/s",
            "give the item an <itunes:duration>",
        ),
        "duration_unbelievable": Rule(
            _WARNING,
            "size and duration do not go together, so partial requests are held against 128 kbit/s",
            "state the duration in seconds, or as hours, minutes and seconds",
        ),
        "prefix_unknown": Rule(
            _NOTE,
            "whether episodes have our prefix could not be told",
            "give --public-url, set TRACKER_PUBLIC_URL, or name the folder of a running `up` with --data-dir",
        ),
    }
)
"""Every code that a finding may have."""
