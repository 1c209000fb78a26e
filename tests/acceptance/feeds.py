"""A feed for where no real one lies."""

from __future__ import annotations


def own_feed() -> bytes:
    """A small feed of our own with prefixes stacked behind ours."""
    items = "".join(
        f"<item><guid>e{number}</guid><title>Episode {number}</title>"
        f"<pubDate>Mon, {number + 1:02} Jun 2026 06:00:00 GMT</pubDate><itunes:duration>1800</itunes:duration>"
        f'<enclosure url="https://dts.podtrac.com/redirect.mp3/pdst.fm/e/cdn.example.org/s/e{number}.mp3?s=1&amp;_from=a"'
        ' type="audio/mpeg" length="28800000"/></item>'
        for number in range(8)
    )
    return (
        '<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel><title>Ours</title>'
        f"<link>https://show.example.org/</link>{items}</channel></rss>"
    ).encode()
