"""What is kept of the pages of an event, and of its customer."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from analytics_core.referrers import referrer_host

__all__ = ("SECRET_BYTES", "UTM", "Page", "customer_key", "describe_page")

SECRET_BYTES: Final = 32
"""Length of a tenant's secret under which its customers are keyed."""

UTM: Final = ("source", "medium", "campaign", "term", "content", "id")
"""The parameters that are kept of a page's query, without their ``utm_``; nothing else of it is."""

_MAX_PATH_CHARS: Final = 1024
_MAX_UTM_CHARS: Final = 255
_MAX_PARAMETERS: Final = 100
_KEY_BYTES: Final = 16


class Page(NamedTuple):
    """What is kept of a page's address.

    Attributes:
        host: In lower case, without ``www.``; empty where it is none.
        path: Cut to a bound.
        utm: By the names of :data:`UTM`; the first of each counts.
    """

    host: str
    path: str
    utm: dict[str, str]


def describe_page(url: str) -> Page:
    """Take what is kept out of a page's address; an address that cannot be read leaves nothing.

    >>> describe_page("https://www.Shop.example.com/a/b?utm_source=pod&mail=x@example.com#top")
    Page(host='shop.example.com', path='/a/b', utm={'source': 'pod'})
    >>> describe_page("mailto:x@example.com")
    Page(host='', path='', utm={})
    """
    host = referrer_host(url)
    if not host:
        return Page("", "", {})
    parts = urlsplit(url)
    utm: dict[str, str] = {}
    try:
        parameters = parse_qsl(parts.query, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        # More of them than anybody has in earnest.
        parameters = []
    for name, value in parameters:
        kind = name.removeprefix("utm_")
        if kind != name and kind in UTM:
            # PostgreSQL stores no NUL.
            utm.setdefault(kind, value.replace("\x00", "\ufffd")[:_MAX_UTM_CHARS])
    return Page(host, parts.path.replace("\x00", "\ufffd")[:_MAX_PATH_CHARS], utm)


def customer_key(customer_id: str, secret: bytes) -> UUID:
    """Key a customer by a tenant's secret: the same person at two tenants shows no likeness.

    Args:
        customer_id: The sender's own name for the customer.
        secret: The tenant's, of ``SECRET_BYTES``.

    Raises:
        ValueError: The secret is of another length.

    >>> one, other = (customer_key("u_1", bytes([number]) * 32) for number in (1, 2))
    >>> one == other, customer_key("u_1", bytes([1]) * 32) == one
    (False, True)
    """
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret of customers has {SECRET_BYTES} bytes")
    return UUID(bytes=hashlib.blake2b(customer_id.encode(), key=secret, digest_size=_KEY_BYTES).digest())
