"""For tests of what uses the SDK: a server in memory, and clients that only record."""

from castledger.testing._api import Downloads, make_episode, make_podcast
from castledger.testing._server import AsyncRecordingClient, RecordedEvent, RecordingClient, ServedRequest, Server

__all__ = (
    "AsyncRecordingClient",
    "Downloads",
    "RecordedEvent",
    "RecordingClient",
    "ServedRequest",
    "Server",
    "make_episode",
    "make_podcast",
)
