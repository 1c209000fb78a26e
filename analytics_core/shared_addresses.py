"""The operator's list of shared addresses, behind which many people sit: offices, dormitories, campuses.

Pure: the text of the list in, its entries out. An entry acts for hits of up to 90 days behind its validation, by the
hit's own time and no clock, so that the same hits and the same list always make the same classes.

Source:
    Podcast Technical Measurement Guidelines v2.3, section 1.2, the note on addresses that are known to be good: an
    inclusion list, validated again at least every 90 days, with a record.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from analytics_core.addresses import IPNetwork, is_private, pack_address
from analytics_core.errors import InvalidInput

__all__ = (
    "FILE_NAME",
    "MAX_ENTRIES",
    "MAX_FILE_BYTES",
    "MAX_NOTE",
    "RECORD_NAME",
    "VALID_DAYS",
    "WARN_DAYS",
    "SharedEntry",
    "describe_due",
    "parse_entry",
    "parse_shared",
    "parse_shared_network",
)

FILE_NAME: Final = "shared.txt"
"""In the folder of lists."""

RECORD_NAME: Final = "shared.record.jsonl"
"""Beside it: who changed what and when, a line each, only ever added to."""

VALID_DAYS: Final = 90
"""Days for which a validation holds, as the guideline asks."""

WARN_DAYS: Final = 75
"""From so many days after its validation on an entry is named to the operator: time enough to ask."""

MAX_ENTRIES: Final = 10_000
"""No list holds more."""

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
"""Room for as many entries, whatever they say, and for comments."""

MAX_NOTE: Final = 200

_WIDEST: Final = {4: 16, 6: 32}
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")
_LINE: Final = re.compile(r"(\S+)\s+(\S+)\s+(\S.*)")


class SharedEntry(NamedTuple):
    """A network of the list.

    Attributes:
        network: Its addresses, without bits behind its length.
        validated: UTC day on which somebody last found out that people are behind it.
        note: Who they are, and how that is known.
    """

    network: IPNetwork
    validated: dt.date
    note: str

    @property
    def last_day(self) -> dt.date:
        """The last UTC day whose hits it acts for."""
        return self.validated + dt.timedelta(days=VALID_DAYS)

    def age_days(self, today: dt.date) -> int:
        """Count the days since the validation."""
        return (today - self.validated).days


def parse_shared_network(text: str) -> IPNetwork:
    """Read a network that may stand in the list.

    Args:
        text: An address, or a network such as ``192.0.2.0/24``; bits behind its length are cleared.

    Returns:
        The network; a mapped one (``::ffff:192.0.2.0/120``) as the IPv4 that it is.

    Raises:
        InvalidInput: It is none, is wider than any office (an IPv4 /16, an IPv6 /32), or is private.

    >>> str(parse_shared_network("192.0.2.77/24"))
    '192.0.2.0/24'
    >>> parse_shared_network("203.0.0.0/8")
    Traceback (most recent call last):
        ...
    analytics_core.errors.InvalidInput: network: '203.0.0.0/8' is wider than /16: that is a provider, and no office
    """
    address, slash, length = text.partition("/")
    try:
        if slash and not (length.isascii() and length.isdigit()):
            raise ValueError("the length behind the slash is a number")
        if "%" in address:
            raise ValueError("a network has no zone")
        network: IPNetwork = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidInput(
            "network", f"{text[:60]!r} is no network such as 192.0.2.0/24, 192.0.2.1 or 2001:db8::/48"
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        network = ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    widest = _WIDEST[network.version]
    if network.prefixlen < widest:
        raise InvalidInput("network", f"{text!r} is wider than /{widest}: that is a provider, and no office")
    if is_private(pack_address(network.network_address)) or is_private(pack_address(network.broadcast_address)):
        raise InvalidInput("network", f"{text!r} is private: no hit comes from there but through a proxy of your own")
    if network.is_multicast or network.network_address.is_unspecified:
        raise InvalidInput("network", f"{text!r} holds nobody's address")
    return network


def parse_entry(line: str, *, today: dt.date | None = None) -> SharedEntry | None:
    """Read a line: a network, the day of its validation, and a note, apart by white space.

    Args:
        line: With or without its end.
        today: A validation is not of a later day than the one after; ``None`` where no clock is at hand.

    Returns:
        ``None`` for a blank line and one that begins with ``#``.

    Raises:
        InvalidInput: It is none; the reason says why.

    >>> parse_entry("192.0.2.0/24  2026-11-20  Dormitory, told by its network office").note
    'Dormitory, told by its network office'
    """
    text = line.strip().lstrip("\ufeff")
    if not text or text.startswith("#"):
        return None
    match = _LINE.fullmatch(text)
    if match is None:
        raise InvalidInput("line", f"{text[:60]!r} is not such as: 192.0.2.0/24 2026-11-20 Who is behind it")
    network = parse_shared_network(match[1])
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", match[2]) is None:
            raise ValueError("other spellings are refused")
        validated = dt.date.fromisoformat(match[2])
    except ValueError:
        raise InvalidInput("validated", f"{match[2][:60]!r} is no day such as 2026-11-20") from None
    if today is not None and (validated - today).days > 1:
        raise InvalidInput("validated", f"{validated} has not come yet")
    if not 1970 <= validated.year < 9000:
        raise InvalidInput("validated", f"{validated} cannot be when it was validated")
    note = match[3]
    if len(note) > MAX_NOTE or not note.isprintable():
        raise InvalidInput("note", f"is at most {MAX_NOTE} characters that can be printed")
    return SharedEntry(network, validated, note)


def parse_shared(lines: Iterable[str], *, name: str = FILE_NAME, today: dt.date | None = None) -> list[SharedEntry]:
    """Read the list.

    Args:
        lines: As :func:`parse_entry` reads them.
        name: What errors call the list.
        today: As of :func:`parse_entry`.

    Returns:
        The entries in their order.

    Raises:
        InvalidInput: A line is no entry, a network is there twice, or there are more than ``MAX_ENTRIES``; the path is
            ``name:line``.
    """
    entries: list[SharedEntry] = []
    seen: dict[IPNetwork, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            entry = parse_entry(line, today=today)
            if entry is None:
                continue
            if entry.network in seen:
                raise InvalidInput("network", f"{entry.network} is on line {seen[entry.network]} too")
        except InvalidInput as error:
            raise InvalidInput(f"{name}:{number}", error.reason) from None
        if len(entries) >= MAX_ENTRIES:
            raise InvalidInput(f"{name}:{number}", f"a list has at most {MAX_ENTRIES:,} networks")
        seen[entry.network] = number
        entries.append(entry)
    return entries


def describe_due(entries: Iterable[SharedEntry], today: dt.date, *, most: int = 5) -> str | None:
    """Name the entries that have to be validated again, those that act no longer first.

    Args:
        entries: In any order.
        today: UTC day.
        most: No more are named; the rest is counted.

    Returns:
        ``None`` while none has to be.

    >>> office = parse_entry("192.0.2.0/24  2026-08-01  Office")
    >>> describe_due([office], dt.date(2026, 10, 15))
    '192.0.2.0/24 (Office): validated 75 days ago, acts for 15 days more'
    >>> describe_due([office], dt.date(2026, 10, 14)) is None
    True
    """
    due = sorted(
        (entry for entry in entries if entry.age_days(today) >= WARN_DAYS),
        key=lambda entry: (entry.validated, entry.network.version, entry.network),
    )
    if not due:
        return None
    told = []
    for entry in due[:most]:
        days = entry.age_days(today)
        left = VALID_DAYS - days
        more = f"acts for {left} day{'s' if left > 1 else ''} more" if left > 0 else "acts until today"
        acts = more if left >= 0 else "acts no longer"
        told.append(f"{entry.network} ({entry.note}): validated {days} days ago, {acts}")
    if len(due) > most:
        told.append(f"and {len(due) - most} more")
    return "; ".join(told)
