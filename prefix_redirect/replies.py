"""What requests came to, remembered by their very bytes.

Players ask alike: the same app on the same system sends the same headers, and most requests of an hour are for a few
hundred episodes. Reading such a request, deciding on it and writing the hit down takes several times as long as all
the rest of our work on it; so whoever has done it once for some bytes keeps what came of it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from prefix_redirect.recorder import Trace

__all__ = ("Replies", "Reply", "part_forwarded")

_LONGEST: Final = 1024
_FORWARDED_FOR: Final = b"\r\nX-Forwarded-For: "
_PLAIN: Final = re.compile(rb"[0-9A-Fa-f:., ]{1,128}")


def part_forwarded(request: bytes) -> tuple[bytes, bytes] | None:
    """Take the client's address, as proxies write it, out of a request: hardly any two are alike with it.

    Returns:
        The request without the header, and its value; ``None`` where there is not exactly one, plainly written.

    >>> part_forwarded(b"GET / HTTP/1.1\\r\\nHost: a\\r\\nX-Forwarded-For: 192.0.2.1\\r\\nAccept: */*\\r\\n\\r\\n")
    (b'GET / HTTP/1.1\\r\\nHost: a\\r\\nAccept: */*\\r\\n\\r\\n', b'192.0.2.1')
    """
    before, name, behind = request.partition(_FORWARDED_FOR)
    # What stands behind the request's end is another one, or nonsense.
    if not name or request.find(b"\r\n\r\n") != len(request) - 4:
        return None
    lowered = request.lower()
    if lowered.count(b"x-forwarded-for") != 1 or b"\r\nforwarded" in lowered:
        return None
    value, end, after = behind.partition(b"\r\n")
    if not end or not _PLAIN.fullmatch(value):
        return None
    return b"%b\r\n%b" % (before, after), value


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What a request is answered with, and what it leaves behind.

    Attributes:
        status: The answer's.
        rest: The answer behind its status line and ``Date``, body included.
        closes: Whether the connection ends with it.
        trace: The hit; ``None`` for an answer that is only counted.
    """

    status: int
    rest: bytes
    closes: bool
    trace: Trace | None


class Replies:
    """Replies to whole requests, by their bytes, under one policy: a new one means new replies.

    Args:
        most: Most replies remembered; 0 remembers none. Long requests never are.
    """

    def __init__(self, *, most: int = 8192) -> None:
        self._most = most
        self._known: dict[bytes, Reply] = {}
        self.get: Final = self._known.get
        """Look a request up."""

    def __len__(self) -> int:
        return len(self._known)

    def keep(self, request: bytes, reply: Reply) -> None:
        """Remember a reply that holds for everyone who sends these bytes."""
        if len(request) > _LONGEST or not self._most:
            return
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[request] = reply
