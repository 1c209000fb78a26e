"""Playlists: enclosures that say where the sound is, and hold none of it.

An HLS enclosure is a text of a few hundred bytes. A player asks for it when somebody presses play, and from then on for
segments, which it finds in the playlist and which never come to a prefix. So a request for one shows that much and no
more: not a minute of sound, whatever its Range says, and whatever the feed says of length and duration. Its evidence is
that of a probe.

Source:
    Podcast Technical Measurement Guidelines v2.3, section 2.2 (HLS is in scope) and 1.3 (a request in HLS counts when a
    minute was delivered, which a prefix cannot see); RFC 8216, section 4 (what a playlist is known by).
"""

from __future__ import annotations

from typing import Final

__all__ = ("PLAYLIST_ENDINGS", "is_playlist")

PLAYLIST_ENDINGS: Final = (".m3u8", ".m3u")
_TYPES: Final = frozenset(
    (
        "application/vnd.apple.mpegurl",
        "application/mpegurl",
        "application/x-mpegurl",
        "audio/mpegurl",
        "audio/x-mpegurl",
    )
)


def is_playlist(file_name: str, media_type: str | None = None) -> bool:
    """Tell whether an enclosure is a playlist, by the name of its file or by the type that its feed gives.

    Args:
        file_name: The last segment of its path, in lower case, as ``EnclosureIdentity.file_name``.
        media_type: As the feed has it, parameters included; ``None`` when it has none.

    >>> is_playlist("master.m3u8"), is_playlist("episode.mp3"), is_playlist("42", "application/x-mpegURL")
    (True, False, True)
    """
    if file_name.endswith(PLAYLIST_ENDINGS):
        return True
    return media_type is not None and media_type.partition(";")[0].strip().lower() in _TYPES
