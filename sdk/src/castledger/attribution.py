"""Attribution: ``client.attribution``. Events that have landed."""

from __future__ import annotations

from castledger._models import LandedEvent
from castledger._nouns import AsyncNoun, Noun, pages
from castledger._requests import Moment, Paged, given, given_range

__all__ = ("AsyncAttribution", "Attribution")


class Attribution(Noun):
    """What came of podcasts: attribution events."""

    @pages
    def events(
        self,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        type: str | None = None,  # noqa: A002 - the event's field is called so
    ) -> Paged[LandedEvent]:
        """Go through events that have landed, in the order in which collectors received them.

        Args:
            start: A date (UTC) or an aware instant; by default a day before *end*. Of when an event was received.
            end: Likewise, itself excluded, at most 31 days later; by default the end of today.
            type: Only events of this type, such as ``purchase``.
        """
        return Paged(LandedEvent, "/attribution/events", given(type=type) | given_range(start, end))


class AsyncAttribution(AsyncNoun, Attribution):
    """:class:`Attribution`, awaited."""
