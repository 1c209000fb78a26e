"""Feeds in encodings whose characters take two or four bytes, in which no byte of ASCII stands alone."""

from __future__ import annotations

from typing import Final

__all__ = ("wide_encoding",)

_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    # Without a mark, by the `<` that a document begins with.
    (b"<\x00\x00\x00", "utf-32-le"),
    (b"\x00\x00\x00<", "utf-32-be"),
    (b"<\x00", "utf-16-le"),
    (b"\x00<", "utf-16-be"),
)


def wide_encoding(data: bytes) -> str | None:
    """Name a document's encoding when its characters are wider than a byte.

    Args:
        data: A document from its first byte on.

    Returns:
        Python's name of the encoding; ``None`` for UTF-8 and all others that contain ASCII.

    Source:
        XML 1.0, appendix F.1.

    >>> wide_encoding("<rss/>".encode("utf-16")), wide_encoding(b"<rss/>"), wide_encoding(b"")
    ('utf-16-le', None, None)
    """
    return next((name for mark, name in _MARKS if data.startswith(mark)), None)
