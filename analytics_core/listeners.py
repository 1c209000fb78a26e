"""Listener keys: an estimate of a person from a truncated address and a user agent, worthless without two secrets.

The key is made in two stages. The early key needs the address, and can be kept when the podcast is not yet known;
the listener key is made from it once the tenant is. Both secrets live for one UTC month and are then destroyed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from typing import Final

__all__ = (
    "KEY_BYTES",
    "SECRET_BYTES",
    "early_key",
    "listener_key",
    "month_of",
    "new_secret",
    "truncate_address",
)

KEY_BYTES: Final = 16
"""Length of both keys: among ten billion listeners, two share a key with a chance of about one in 10**19."""

SECRET_BYTES: Final = 32
"""Length of a secret. A keyed BLAKE2b with an empty key is a plain hash, so no other length is taken."""

_V4_MAPPED: Final = bytes(10) + b"\xff\xff"
_EPOCH_ORDINAL: Final = dt.date(1970, 1, 1).toordinal()
_DAY_US: Final = 86_400_000_000


def truncate_address(address: bytes) -> bytes:
    """Keep of an address what tells households apart: all of IPv4, the first 64 bits of IPv6.

    IPv6 devices choose and change the other 64 bits by themselves. An IPv4-mapped address is IPv4.

    Args:
        address: 16 bytes.

    Returns:
        16 bytes; of IPv6 the last eight are zero.

    Raises:
        ValueError: *address* is not 16 bytes long.

    Source:
        Podcast Technical Measurement Guidelines v2.3, sections 5.5.4 and 6.2.

    >>> truncate_address(bytes.fromhex("20010db8000000010123456789abcdef")).hex()
    '20010db8000000010000000000000000'
    >>> truncate_address(bytes.fromhex("00000000000000000000ffff01020304")).hex()
    '00000000000000000000ffff01020304'
    """
    if len(address) != 16:
        raise ValueError("an address is 16 bytes; IPv4 is mapped into IPv6")
    return address if address.startswith(_V4_MAPPED) else address[:8] + bytes(8)


def _checked(secret: bytes) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret is {SECRET_BYTES} bytes")
    return secret


def early_key(address: bytes, agent: bytes, secret: bytes) -> bytes:
    """Make the key of an address and a user agent that can outlive the address.

    Args:
        address: 16 bytes, whole; it is truncated here.
        agent: The user agent as recorded; may be empty.
        secret: The installation's secret of the hit's UTC month.

    Returns:
        16 bytes.

    Raises:
        ValueError: *address* or *secret* has the wrong length.

    Source:
        Podcast Technical Measurement Guidelines v2.3, section 5.5.4: requests are told apart by address and agent.

    >>> secret = bytes(32)
    >>> one, other = (bytes.fromhex("20010db8000000010000000000000" + tail) for tail in ("001", "002"))
    >>> early_key(one, b"Overcast/3.0", secret) == early_key(other, b"Overcast/3.0", secret)
    True
    """
    text = truncate_address(address) + agent
    return hashlib.blake2b(text, key=_checked(secret), digest_size=KEY_BYTES).digest()


def listener_key(early: bytes, secret: bytes) -> bytes:
    """Make a tenant's key of a listener; the same listener has another one at every tenant and in every month.

    Args:
        early: What :func:`early_key` made.
        secret: The tenant's secret of the hit's UTC month.

    Returns:
        16 bytes.

    Raises:
        ValueError: *early* or *secret* has the wrong length.

    >>> listener_key(bytes(16), bytes(32)) == listener_key(bytes(16), b"x" * 32)
    False
    """
    if len(early) != KEY_BYTES:
        raise ValueError(f"an early key is {KEY_BYTES} bytes")
    return hashlib.blake2b(early, key=_checked(secret), digest_size=KEY_BYTES).digest()


def month_of(at_us: int) -> dt.date:
    """Name the UTC month of an instant by its first day.

    Args:
        at_us: Microseconds since 1970-01-01 UTC.

    Returns:
        The first day of the month. It begins with a UTC day, so that no day has two secrets.

    Raises:
        ValueError: The instant is outside the years 1 to 9999.

    >>> month_of(1_798_761_599_999_999), month_of(1_798_761_600_000_000)
    (datetime.date(2026, 12, 1), datetime.date(2027, 1, 1))
    """
    try:
        return dt.date.fromordinal(_EPOCH_ORDINAL + at_us // _DAY_US).replace(day=1)
    except (OverflowError, ValueError):
        raise ValueError("an instant has to fall into the years 1 to 9999") from None


def new_secret() -> bytes:
    """Make a secret of ``SECRET_BYTES`` from the system's random source.

    >>> len(new_secret())
    32
    """
    return secrets.token_bytes(SECRET_BYTES)
