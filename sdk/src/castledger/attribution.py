"""Attribution: ``client.attribution``. Events that have landed, and runs that share conversions among campaigns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from castledger._models import LandedEvent
from castledger._nouns import AsyncNoun, Noun, pages, sends
from castledger._requests import Call, Moment, Paged, given, given_range, path_id
from castledger._sponsorship import AttributionResult, AttributionRun, Model

__all__ = ("AsyncAttribution", "Attribution")


class Attribution(Noun):
    """What came of podcasts: attribution events, and what each model makes of conversions."""

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

    @sends
    def create_run(
        self,
        *,
        sponsor_id: UUID | str,
        start: Moment,
        end: Moment,
        models: Sequence[Model] | None = None,
        params: Mapping[str, Any] | None = None,
        cutoff_at: Moment | None = None,
    ) -> Call[AttributionRun]:
        """Have a sponsor's conversions attributed that occurred from *start* to before *end*; :meth:`wait` for it.

        Args:
            sponsor_id: Whose.
            start: A date (UTC) or an aware instant.
            end: Likewise.
            models: All unless given.
            params: ``half_life_days`` and ``counting_days``.
            cutoff_at: What was received before is in it; by default now.
        """
        more = {"models": models, "params": params, "cutoff_at": cutoff_at}
        fields = {name: value for name, value in more.items() if value is not None}
        required = {"sponsor_id": sponsor_id, **given_range(start, end)}
        return Call(AttributionRun, "POST", "/attribution/runs", json={**required, **fields})

    @pages
    def runs(self, *, sponsor_id: UUID | str | None = None) -> Paged[AttributionRun]:
        """Go through runs, in the order in which they were asked for."""
        return Paged(AttributionRun, "/attribution/runs", given(sponsor_id=sponsor_id))

    @sends
    def get_run(self, run_id: UUID | str) -> Call[AttributionResult]:
        """Read a run, with what it gave to campaigns and flights once it is ready."""
        return Call(AttributionResult, "GET", f"/attribution/runs/{path_id(run_id)}")

    @sends
    def wait(self, run_id: UUID | str, *, timeout: float = 300.0) -> Call[AttributionResult]:
        """Wait until a run is ready or has failed, which its ``status`` says.

        Raises:
            TimeoutError: It is neither after *timeout* seconds.
        """
        return Call(AttributionResult, "GET", f"/attribution/runs/{path_id(run_id)}", patience_s=timeout)

    @sends
    def path(self, conversion_id: UUID | str, *, run_id: UUID | str | None = None) -> Call[dict[str, Any]]:
        """Explain a conversion: what led to it, what each model gave to that, and why; as the API writes it."""
        return Call(dict[str, Any], "GET", f"/attribution/paths/{path_id(conversion_id)}", params=given(run_id=run_id))

    @sends
    def leakage(
        self, sponsor_id: UUID | str, *, start: Moment | None = None, end: Moment | None = None
    ) -> Call[dict[str, Any]]:
        """Tell which promo codes have leaked; as the API writes it."""
        params = given(sponsor_id=sponsor_id) | given_range(start, end)
        return Call(dict[str, Any], "GET", "/attribution/leakage", params=params)


class AsyncAttribution(AsyncNoun, Attribution):
    """:class:`Attribution`, awaited."""
