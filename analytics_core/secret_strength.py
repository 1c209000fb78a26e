"""Whether a secret of the settings is one that nobody finds by trying."""

from __future__ import annotations

import collections
import math
from typing import Final

__all__ = ("MIN_SECRET_BYTES", "is_weak_secret")

MIN_SECRET_BYTES: Final = 32

_MIN_BITS: Final = 96
_DEFAULTS: Final = ("change", "default", "example", "insecure", "password", "secret")


def is_weak_secret(secret: str) -> bool:
    """Tell whether a secret is too short, too regular, or one from somebody's example.

    >>> is_weak_secret("x" * 64), is_weak_secret("change-me-change-me-change-me-now"), is_weak_secret("8f41c2" * 6)
    (True, True, True)
    >>> is_weak_secret("3d6b8e0f51a74c29b0d2e8f6a91c5374")
    False
    """
    if len(secret.encode()) < MIN_SECRET_BYTES:
        return True
    folded = secret.casefold()
    if any(word in folded for word in _DEFAULTS):
        return True
    counts = collections.Counter(secret).values()
    bits = -sum(count * math.log2(count / len(secret)) for count in counts)
    # What repeats itself has no more in it than one of its repetitions.
    period = (secret + secret).index(secret, 1)
    return bits * period / len(secret) < _MIN_BITS
