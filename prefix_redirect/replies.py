"""What requests came to, remembered by their very bytes.

Players ask alike: the same app on the same system sends the same headers, and most requests of an hour are for a few
hundred episodes. Reading such a request, deciding on it and writing the hit down takes several times as long as all
the rest of our work on it; so whoever has done it once for some bytes keeps what came of it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from prefix_redirect.recorder import Trace

__all__ = ("Replies", "Reply")

_LONGEST: Final = 1024


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
