"""Frames of what the API answers: the same columns and types, however many rows there are."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
from typing import Annotated, Any
from uuid import UUID

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from castledger import (
    AsyncCastledger,
    Castledger,
    ClickReport,
    Comparison,
    Curve,
    DownloadReport,
    DownloadRow,
    Episode,
    Explanation,
    Hit,
    LandedEvent,
    Podcast,
)
from castledger.frames import to_pandas, to_polars
from sdk.tests.twin import API, END, KEY, NOW, PODCASTS, REPORT, START

pl = pytest.importorskip("polars")
pd = pytest.importorskip("pandas")

EPISODE = {
    "episode_id": str(UUID(int=1)),
    "podcast_id": str(UUID(int=2)),
    "guid": "g",
    "title": "T",
    "live": False,
    "duration_s": 61,
    "enclosures": [{"url": "https://cdn.example.com/a.mp3", "kind": "enclosure", "length_bytes": 5}],
}
HIT = {
    "hit_id": "h_1-1",
    "at": NOW,
    "verdict": "eligible",
    "verdicts": ["bot", "tiny_range"],
    "method": "GET",
    "agent": "A/1",
    "agent_kind": "app",
    "app": "A",
    "device": "phone",
    "counted": True,
    "why": "w",
}
CURVE = {
    "episode_id": str(UUID(int=1)),
    "title": "T",
    "published_at": NOW,
    "points": [{"day": 1, "downloads": 5, "downloads_strict": 4, "ends_at": NOW}, {"day": 7, "reason": "not_over"}],
}


def report(**more: Any) -> DownloadReport:
    return msgspec.convert({**REPORT, **more}, DownloadReport, strict=False)


def test_a_report_becomes_a_polars_frame_in_its_time_zone() -> None:
    frame = report().to_polars()
    assert frame.schema == {
        "start": pl.Datetime("us", "Europe/Berlin"),
        "downloads": pl.Int64,
        "downloads_strict": pl.Int64,
        "key": pl.String,
        "listeners": pl.Int64,
        "values": pl.Int64,
    }
    first = frame.row(0, named=True)
    assert first["start"] == dt.datetime(2026, 11, 2, 8, tzinfo=dt.UTC)
    assert first["start"].isoformat() == "2026-11-02T09:00:00+01:00"
    assert (first["downloads"], first["key"], first["listeners"], frame["downloads"].sum()) == (7, None, 5, 14)


def test_a_report_becomes_a_pandas_frame_in_its_time_zone() -> None:
    frame = report().to_pandas()
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "start": "datetime64[us, Europe/Berlin]",
        "downloads": "int64",
        "downloads_strict": "int64",
        "key": "string",
        "listeners": "Int64",
        "values": "Int64",
    }
    assert frame["start"][0].isoformat() == "2026-11-02T09:00:00+01:00"
    assert frame["downloads"].sum() == 14
    assert frame["key"].isna().all()
    assert frame["listeners"].to_list() == [5, 5]


EVENT = {
    "event_id": str(UUID(int=9)),
    "type": "purchase",
    "occurred_at": NOW,
    "received_at": NOW,
    "source": "browser",
    "properties": {"plan": "pro", "seats": 3},
    "browser": {"bot": False, "networks": ["vpn"]},
}
KINDS: list[tuple[type[msgspec.Struct], dict[str, Any]]] = [
    (Podcast, PODCASTS[0]),
    (Episode, EPISODE),
    (Hit, HIT),
    (Curve, CURVE),
    (LandedEvent, EVENT),
]


@pytest.mark.parametrize(("kind", "row"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_no_rows_make_the_same_columns(kind: type[msgspec.Struct], row: dict[str, Any]) -> None:
    one = msgspec.convert(row, kind, strict=False)
    assert to_polars([], kind=kind).schema == to_polars([one]).schema
    assert to_pandas([], kind=kind).dtypes.to_dict() == to_pandas([one, one]).dtypes.to_dict()
    assert (len(to_polars([], kind=kind)), len(to_pandas([], kind=kind))) == (0, 0)


class Elsewhere(msgspec.Struct):
    """A row of somebody else, whose instants are theirs."""

    at: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    ended_at: Annotated[dt.datetime, msgspec.Meta(tz=True)] | None = None


def test_an_instant_is_one_whoever_wrote_its_type() -> None:
    row = Elsewhere(at=dt.datetime(2026, 11, 1, tzinfo=dt.UTC))
    assert to_polars([row]).schema == {"at": pl.Datetime("us", "UTC"), "ended_at": pl.Datetime("us", "UTC")}
    assert str(to_pandas([row]).dtypes["ended_at"]) == "datetime64[us, UTC]"


def test_reports_without_rows_keep_their_columns() -> None:
    assert report(data=[]).to_polars().schema == report().to_polars().schema
    assert report(data=[]).to_pandas().dtypes.to_dict() == report().to_pandas().dtypes.to_dict()


def test_nested_fields_stand_beside_their_parents_and_lists_stay_lists() -> None:
    with_range = {**HIT, "range": {"kind": "first-last", "first": 0, "last": 9}}
    rows = [msgspec.convert(row, Hit, strict=False) for row in (HIT, with_range)]
    frame = to_polars(rows)
    assert frame.select("range_kind", "range_first", "range_last").rows() == [(None,) * 3, ("first-last", 0, 9)]
    assert frame["verdicts"].to_list() == [["bot", "tiny_range"]] * 2
    assert to_pandas(rows)["range_last"].to_list() == [pd.NA, 9]
    [episode] = to_polars([msgspec.convert(EPISODE, Episode, strict=False)]).rows(named=True)
    assert episode["enclosures"] == [
        {"url": "https://cdn.example.com/a.mp3", "kind": "enclosure", "type": None, "length_bytes": 5}
    ]
    assert episode["episode_id"] == str(UUID(int=1))
    event = msgspec.convert(EVENT, LandedEvent, strict=False)
    for row in (to_polars([event]).to_dicts()[0], to_pandas([event]).iloc[0].to_dict()):
        assert (row["properties"], row["utm"]) == ('{"plan":"pro","seats":3}', "{}")
        assert (row["browser_bot"], list(row["browser_networks"])) == (False, ["vpn"])


def test_a_row_of_curves_is_a_point() -> None:
    curve = msgspec.convert(CURVE, Curve, strict=False)
    assert (curve.after(1), curve.after(7), curve.after(8)) == (5, None, None)
    frame = to_polars([curve, curve])
    assert (
        frame.select("title", "day", "downloads", "reason").rows()
        == [
            ("T", 1, 5, None),
            ("T", 7, None, "not_over"),
        ]
        * 2
    )


def test_other_reports_have_frames() -> None:
    clicks = {"data": [{"start": NOW, "clicks": 3, "bots": 1}], "from": NOW, "to": NOW, "tz": "UTC", "interval": "day"}
    sums = {"totals": {"clicks": 3, "bots": 1}, "undated": {"clicks": 0, "bots": 0}}
    assert msgspec.convert({**clicks, **sums}, ClickReport, strict=False).to_polars()["clicks"].to_list() == [3]
    day = {"day": "2026-11-01", "counted": 5, "hits": 9, "late": 0}
    compared = msgspec.convert(
        {
            "episode_id": str(UUID(int=1)),
            "from": "2026-11-01",
            "to": "2026-11-03",
            "profiles": [],
            "data": [{**day, "downloads": {"castledger-1": 5, "op3": 4}}, {**day, "downloads": None}],
            "pairs": [],
            "state": "final",
            "partial": False,
        },
        Comparison,
        strict=False,
    )
    assert compared.to_polars().rows() == [
        (dt.date(2026, 11, 1), "castledger-1", 5),
        (dt.date(2026, 11, 1), "op3", 4),
    ]
    assert str(compared.to_pandas()["day"].dtype) == "datetime64[s]"
    explained = msgspec.convert(
        {
            "podcast_id": str(UUID(int=1)),
            "day": "2026-11-01",
            "hits": 2,
            "downloads": 1,
            "downloads_strict": 1,
            "repeats": 1,
            "verdicts": [{"verdict": "eligible", "evidence": "full", "hits": 2, "downloads": 1}],
            "profile": "castledger-1",
            "rules": "castledger-1.1",
            "state": "final",
            "partial": False,
        },
        Explanation,
        strict=False,
    )
    assert explained.to_pandas()["verdict"].to_list() == ["eligible"]


def test_lists_become_frames_page_by_page() -> None:
    with Castledger(KEY, transport=httpx.MockTransport(API())) as client:
        assert client.podcasts.list().to_polars()["title"].to_list() == [f"Show {number}" for number in range(5)]
        podcasts = client.podcasts.list()
        next(podcasts)
        assert len(podcasts.to_pandas()) == 4
        # What is read is read; its columns stay.
        assert podcasts.to_polars().schema == client.podcasts.list().to_polars().schema
        assert to_polars(podcasts).schema == to_polars(client.podcasts.list()).schema

    async def read() -> list[int]:
        async with AsyncCastledger(KEY, transport=httpx.MockTransport(API())) as ledger:
            report = await ledger.analytics.downloads(start=START, end=END)
            lengths = [len(await ledger.podcasts.list().to_polars()), len(await ledger.podcasts.list().to_pandas())]
            return [*lengths, len(report.to_polars())]

    assert asyncio.run(read()) == [5, 5, 2]


instants = st.datetimes(min_value=dt.datetime(1971, 1, 1), max_value=dt.datetime(2100, 1, 1), timezones=st.timezones())  # noqa: DTZ001
rows = st.builds(
    DownloadRow,
    start=instants,
    downloads=st.integers(0, 2**63 - 1),
    downloads_strict=st.integers(0, 2**63 - 1),
    key=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    listeners=st.none() | st.integers(0, 2**63 - 1),
    values=st.none() | st.integers(0, 1000),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(rows, max_size=5))
def test_a_frame_holds_what_the_rows_do(data: list[DownloadRow]) -> None:
    names = ("start", "downloads", "downloads_strict", "key", "listeners", "values")
    # In UTC on both sides: Python calls times of two zones unequal where a clock was changed.
    expected = [(row.start.astimezone(dt.UTC), *(getattr(row, name) for name in names[1:])) for row in data]
    answer = msgspec.structs.replace(report(), data=tuple(data))
    for found in (
        answer.to_polars().select(names).rows(),
        answer.to_pandas()[list(names)].astype("object").itertuples(index=False, name=None),
    ):
        plain: list[tuple[Any, ...]] = [tuple(None if one is pd.NA else one for one in row) for row in found]
        assert [(start.astimezone(dt.UTC), *others) for start, *others in plain] == expected


def test_misuse_is_said() -> None:
    with pytest.raises(ValueError, match=r"kind: say what an empty list is of"):
        to_polars([])
    for wrong in ([1], [report(), msgspec.convert(EPISODE, Episode, strict=False)], ["text"]):
        with pytest.raises(TypeError, match="a frame is made of a report, or of a list of one kind"):
            to_pandas(wrong)


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_a_missing_library_is_named_with_its_extra(library: str) -> None:
    code = f"""
import sys
sys.modules[{library!r}] = None
from castledger import MissingExtra
from castledger.frames import to_{library}
try:
    to_{library}([])
except MissingExtra as error:
    assert isinstance(error, ImportError)
    print(error)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == f"{library} is not installed: pip install 'castledger[{library}]'\n"
