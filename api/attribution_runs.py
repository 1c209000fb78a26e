"""What the API and the page do with attribution runs alike: ask for one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final, TypeVar

from litestar import Request

from analytics_core.attribution.parameters import parse_models, parse_parameters
from analytics_core.attribution.versions import code_version
from analytics_core.db.attribution_runs import add_run
from analytics_core.errors import InvalidInput
from analytics_core.reports import start_of_day
from api.errors import Fault, InvalidRequest
from api.queries import Refusal, moment
from api.ranges import UTC
from api.resources import resources_of
from api.schemas.attribution_runs import AddAttributionRun, AttributionRun
from api.writing import writing

__all__ = ("MAX_DAYS", "create")

T = TypeVar("T")

MAX_DAYS: Final = 400
"""Days of a run's range."""


def _instant(text: str) -> dt.datetime:
    found = moment(text)
    return found.astimezone(dt.UTC) if isinstance(found, dt.datetime) else start_of_day(found, UTC)


def _collect(faults: list[Fault], pointer: str, read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InvalidInput as error:
        faults.append(Fault(error.path, error.code, error.reason))
    except Refusal as refusal:
        faults.append(Fault(pointer, refusal.code, str(refusal)))
    return None


def _check_range(faults: list[Fault], starts_at: dt.datetime, ends_at: dt.datetime) -> None:
    if ends_at <= starts_at:
        faults.append(Fault("/to", "reversed_range", "has to lie behind `from`: the range is half-open"))
    elif ends_at - starts_at > dt.timedelta(days=MAX_DAYS):
        faults.append(Fault("/to", "range_too_long", f"lies more than {MAX_DAYS} days behind `from`"))


async def create(request: Request[Any, Any, Any], wanted: AddAttributionRun) -> AttributionRun:
    """Ask for a sponsor's conversions to be attributed.

    Raises:
        InvalidRequest: Something is wrong with what is wanted; all is listed.
        NotFound: There is no such sponsor.
        Conflict: ``too_many_runs``.
    """
    now = resources_of(request).clock.now()
    faults: list[Fault] = []
    starts_at = _collect(faults, "/from", lambda: _instant(wanted.start))
    ends_at = _collect(faults, "/to", lambda: _instant(wanted.end))
    if starts_at is not None and ends_at is not None:
        _check_range(faults, starts_at, ends_at)
    models = _collect(faults, "/models", lambda: parse_models(wanted.models))
    params = _collect(faults, "/params", lambda: parse_parameters(wanted.params))
    given = wanted.cutoff_at
    cutoff_at = now if given is None else _collect(faults, "/cutoff_at", lambda: _instant(given))
    if cutoff_at is not None and cutoff_at > now:
        faults.append(Fault("/cutoff_at", "in_the_future", "lies ahead: what is received until then is not known yet"))
    if faults or starts_at is None or ends_at is None or models is None or params is None or cutoff_at is None:
        raise InvalidRequest(faults)
    async with writing(request, "attribution_run.create") as work:
        row = await add_run(
            work.conn,
            work.tenant,
            sponsor_id=wanted.sponsor_id,
            starts_at=starts_at,
            ends_at=ends_at,
            models=models,
            params=params,
            cutoff_at=cutoff_at,
            code_version=code_version(),
            now=now,
        )
        return work.done(AttributionRun.of(row), resource=row.run_id)
