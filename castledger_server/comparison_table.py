"""A comparison of profiles as a table for people, as the API answers it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from castledger_server.api_access import Api

__all__ = ("compare_lines",)

_MAX_HITS: Final = 3


class _Profile(msgspec.Struct):
    profile: str
    downloads: int
    differences: list[str] = []


class _Day(msgspec.Struct):
    day: str
    downloads: dict[str, int] | None


class _Reason(msgspec.Struct):
    counted_by: str
    why: str
    downloads: int
    hits: list[str]


class _Pair(msgspec.Struct):
    one: str
    other: str
    difference: int
    reasons: list[_Reason]


class _Comparison(msgspec.Struct):
    profiles: list[_Profile]
    data: list[_Day]
    pairs: list[_Pair]
    state: str
    partial: bool


def compare_lines(
    api: Api, *, episode_id: str, start: str | None, end: str | None, profiles: str | None
) -> Iterator[str]:
    """Write the table of a comparison, and what makes each pair of profiles differ.

    Raises:
        ApiRefusal: The API refused.
    """
    wanted = {"episode_id": episode_id, "from": start, "to": end, "profiles": profiles}
    parameters = {name: value for name, value in wanted.items() if value is not None}
    said = msgspec.json.decode(api.get("/analytics/compare", parameters), type=_Comparison)
    widths = [max(12, len(profile.profile) + 2) for profile in said.profiles]
    columns = list(zip(said.profiles, widths, strict=True))
    yield f"{'day (UTC)':<12}" + "".join(f"{profile.profile:>{width}}" for profile, width in columns)
    for day in said.data:
        figures = day.downloads
        cells = ("-" if figures is None else f"{figures[profile.profile]:,}" for profile, _ in columns)
        yield f"{day.day:<12}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    yield f"{'all':<12}" + "".join(f"{profile.downloads:>{width},}" for profile, width in columns)
    for pair in said.pairs:
        if not pair.reasons:
            continue
        yield ""
        yield f"{pair.one} against {pair.other}: {pair.difference:+,}"
        for reason in pair.reasons:
            shown = ", ".join(reason.hits[:_MAX_HITS]) + (", …" if reason.downloads > _MAX_HITS else "")
            yield f"{reason.downloads:>10,} in {reason.counted_by} alone. {reason.why} ({shown})"
    for profile in said.profiles:
        if not profile.differences:
            continue
        yield ""
        yield f"where {profile.profile} may differ from what it stands for:"
        yield from (f"  {difference}" for difference in profile.differences)
    yield ""
    yield f"these days are {said.state}{', and hits may still be missing' if said.partial else ''}"
