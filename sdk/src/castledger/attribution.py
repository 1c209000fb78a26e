"""Attribution: ``client.attribution``. Events that have landed."""

from __future__ import annotations

from castledger._models import LandedEvent
from castledger._nouns import AsyncNoun, Noun
from castledger._paging import AsyncItems, Items
from castledger._requests import Moment, Paged, given, given_range

__all__ = ("AsyncAttribution", "Attribution")


def _events(start: Moment | None, end: Moment | None, type_: str | None) -> Paged[LandedEvent]:
    return Paged(LandedEvent, "/attribution/events", given(type=type_) | given_range(start, end))


class Attribution(Noun):
    """What came of podcasts: attribution events."""

    def events(
        self,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        type: str | None = None,  # noqa: A002 - the event's field is called so
    ) -> Items[LandedEvent]:
        """Go through events that have landed, in the order in which collectors received them.

        Args:
            start: A date (UTC) or an aware instant; by default a day before *end*. Of when an event was received.
            end: Likewise, itself excluded, at most 31 days later; by default the end of today.
            type: Only events of this type, such as ``purchase``.
        """
        return self._client.pages(_events(start, end, type))


class AsyncAttribution(AsyncNoun):
    """:class:`Attribution`, awaited."""

    def events(
        self,
        *,
        start: Moment | None = None,
        end: Moment | None = None,
        type: str | None = None,  # noqa: A002 - the event's field is called so
    ) -> AsyncItems[LandedEvent]:
        """Go through events that have landed, in the order in which collectors received them.

        Args:
            start: A date (UTC) or an aware instant; by default a day before *end*. Of when an event was received.
            end: Likewise, itself excluded, at most 31 days later; by default the end of today.
            type: Only events of this type, such as ``purchase``.
        """
        return self._client.pages(_events(start, end, type))
