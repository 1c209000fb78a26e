"""Scenes: what an app asks for when somebody listens, and what the methodology says of each request.

The second half is written here by hand, beside the request that it is about, and never worked out by the code that
counts: it is what the counting is held up to.
"""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from castledger_server.demo.cast import Style
from castledger_server.demo.podcast import Episode

__all__ = ("Ask", "ask_for")

_CHUNK: Final = 524_288
_RESUMES: Final = 0.08
_SEEKS: Final = 0.15
_PROBES_ONLY: Final = 0.4
_PRELOADS: Final = 0.2


class Ask(NamedTuple):
    """One request of a scene.

    Attributes:
        after_s: Seconds after the scene began.
        verdict: What has to be said of it, by the name of the verdict.
        evidence: What it shows when it is eligible: ``full``, ``partial`` or ``probe``.
        byte_range: Its ``Range``; empty for none.
        method: ``GET`` or ``HEAD``.
        is_prefetch: Whether it says that nobody asked for it yet.
    """

    after_s: float
    verdict: str
    evidence: str = ""
    byte_range: str = ""
    method: str = "GET"
    is_prefetch: bool = False


def ask_for(episode: Episode, style: Style, rng: Random) -> list[Ask]:
    """Play one scene: somebody listens to an episode, one long enough for its half to be more than a minute."""
    length = episode.length_bytes
    match style:
        case Style.DOWNLOAD | Style.CAUTIOUS_DOWNLOAD:
            asks = [Ask(0, "eligible", "full")]
            if style is Style.CAUTIOUS_DOWNLOAD:
                asks = [Ask(0, "head", method="HEAD"), Ask(1, "eligible", "full")]
            if rng.random() < _RESUMES:
                # The connection broke; half of the file is more than a minute.
                asks.append(Ask(rng.uniform(20, 400), "eligible", "partial", f"bytes={length // 2}-"))
            return asks
        case Style.APPLE_STREAM:
            asks = [Ask(0, "eligible", "probe", "bytes=0-1")]
            if rng.random() >= _PROBES_ONLY:
                asks.append(Ask(0.4, "eligible", "full", f"bytes=0-{length - 1}"))
            return asks
        case Style.STREAM:
            if rng.random() < 0.5:
                return [Ask(0, "eligible", "full", "bytes=0-")]
            # The first half megabyte is half a minute: too little by itself.
            return [
                Ask(0, "tiny_range", byte_range=f"bytes=0-{_CHUNK - 1}"),
                Ask(9, "eligible", "partial", f"bytes={_CHUNK}-{8 * _CHUNK - 1}"),
                Ask(160, "eligible", "partial", f"bytes={8 * _CHUNK}-"),
            ]
        case Style.BROWSER:
            asks = []
            if rng.random() < _PRELOADS:
                asks.append(Ask(0, "preload", byte_range="bytes=0-", is_prefetch=True))
            # A browser looks at the last bytes for the tags that stand there.
            asks += [
                Ask(20, "eligible", "full", "bytes=0-"),
                Ask(21, "tiny_range", byte_range=f"bytes={length - 128}-"),
            ]
            if rng.random() < _SEEKS:
                asks.append(Ask(rng.uniform(60, 900), "eligible", "partial", f"bytes={length // 3}-"))
            return asks
