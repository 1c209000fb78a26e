"""Columns say what hits say: decoding, distinct values, keys, facts and winners against the rules for one hit."""

from __future__ import annotations

import datetime as dt
import itertools
import struct
from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_core.byte_ranges import ByteRange, RangeKind
from analytics_core.db.copying import CopyFormat, pack_keys, unpack_key
from analytics_core.db.hits import HitColumns
from analytics_core.downloads import HitFacts, JudgedHit, count_downloads, evidence_of, judge
from analytics_core.evidence import threshold_bytes
from analytics_core.hits import Hit, HitFlag, HitKind, Method
from analytics_core.listeners import KEY_BYTES, early_key, listener_key
from analytics_core.profiles import DEFAULT_PROFILE, Profile
from analytics_core.skew import MAX_AHEAD_US
from analytics_core.spool import HEADER_BYTES, ROW_BYTES, decode_hits, read_frames
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence, Verdict, first_verdict
from ingest.batches import ODD, ROW_DTYPE, Batch, Piece, build_batch, distinct, text_bytes
from ingest.secrets import MonthSecret
from ingest.steps.listeners import hash_addresses, hash_tenants, truncated
from ingest.steps.verdicts import FactColumns, eligible_evidence, judge_facts, weigh_ranges
from ingest.winners import pick_winners
from tests.factories import make_header, segment_bytes

TEXT = st.sampled_from([b"", b"a", b"cdn.example.com/a.mp3", b"\x00\xff"]) | st.binary(max_size=12)

RECEIVED_US = 1_900_000_000_000_000

HITS = st.lists(
    st.builds(
        Hit,
        at_us=st.integers(1_700_000_000_000_000, 1_900_000_000_000_000),
        address=st.binary(min_size=16, max_size=16),
        target=TEXT,
        arguments=TEXT,
        agent=TEXT,
        referrer=TEXT,
        byte_range=TEXT,
        method=st.sampled_from(Method),
        kind=st.sampled_from(HitKind),
        flags=st.integers(0, 127),
    ),
    max_size=30,
)


def pieces(hits: list[Hit], *, frame_hits: int, segment_no: int, ordinal: int) -> Piece:
    data = segment_bytes(make_header(), hits, frame_hits=frame_hits)
    frames = list(read_frames(data[HEADER_BYTES:]))
    assert [hit for frame in frames for hit in decode_hits(frame)] == hits
    return Piece(
        segment_no, ordinal, b"".join(frame.rows for frame in frames), b"".join(frame.texts for frame in frames)
    )


def as_hits(batch: Batch) -> list[Hit]:
    def text(name: str, place: int) -> bytes:
        column = getattr(batch, name)
        value: bytes = column.values[column.codes[place]]
        return value

    return [
        Hit(
            at_us=int(batch.at_us[place]),
            address=batch.address[place].astype(">u8").tobytes(),
            target=text("target", place),
            arguments=text("arguments", place),
            agent=text("agent", place),
            referrer=text("referrer", place),
            byte_range=text("byte_range", place),
            method=Method(int(batch.method[place])),
            kind=HitKind(int(batch.kind[place])),
            flags=int(batch.flags[place]),
        )
        for place in range(len(batch))
    ]


@given(HITS, HITS, st.integers(1, 7))
def test_a_batch_says_what_its_hits_say(one: list[Hit], other: list[Hit], frame_hits: int) -> None:
    batch = build_batch(
        [
            pieces(one, frame_hits=frame_hits, segment_no=3, ordinal=7),
            pieces(other, frame_hits=frame_hits, segment_no=2, ordinal=0),
        ],
        received_us=RECEIVED_US,
    )
    assert as_hits(batch) == one + other
    ids = [(3, 7 + place) for place in range(len(one))] + [(2, place) for place in range(len(other))]
    assert list(zip(batch.segment_no.tolist(), batch.ordinal.tolist(), strict=True)) == ids
    for texts in (batch.target, batch.arguments, batch.agent, batch.referrer, batch.byte_range):
        assert len(set(texts.values)) == len(texts.values)
        assert texts.values[0] == b""


def test_the_rows_of_the_spool_are_as_long_for_numpy() -> None:
    assert ROW_DTYPE.itemsize == ROW_BYTES


def test_an_empty_batch_has_no_hits() -> None:
    assert len(build_batch([], received_us=RECEIVED_US)) == 0
    assert text_bytes(b"") == 0


def test_texts_that_are_too_short_are_refused() -> None:
    piece = pieces([Hit(at_us=1, address=bytes(16), target=b"abc")], frame_hits=1, segment_no=1, ordinal=0)
    with pytest.raises(ValueError, match="as long as"):
        build_batch([piece._replace(texts=b"ab")], received_us=RECEIVED_US)


@pytest.mark.parametrize("at_us", [-(2**63), 0, RECEIVED_US + MAX_AHEAD_US + 1, 2**63 - 1])
def test_a_time_that_cannot_be_right_is_replaced_and_flagged(at_us: int) -> None:
    flags = int(HitFlag.PREFETCH | HitFlag.SKEW)
    hits = [Hit(at_us=at, address=bytes(16), target=b"a", flags=flags) for at in (at_us, RECEIVED_US)]
    batch = build_batch([pieces(hits, frame_hits=1, segment_no=1, ordinal=0)], received_us=RECEIVED_US)
    assert batch.at_us.tolist() == [RECEIVED_US, RECEIVED_US]
    assert batch.flags.tolist() == [HitFlag.PREFETCH | HitFlag.SKEW, HitFlag.PREFETCH]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2**63, 2**64 - 1]), st.integers(0, 3), st.sampled_from([0, 5, -(2**62), 2**62])
        ),
        max_size=40,
    )
)
def test_distinct_finds_each_combination_once(rows: list[tuple[int, int, int]]) -> None:
    columns = (
        np.array([row[0] for row in rows], np.uint64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
    )
    for chosen in ((0, 1, 2), (1, 2), (1,)):
        places, codes = distinct(*(columns[number] for number in chosen))
        combinations = [tuple(row[number] for number in chosen) for row in rows]
        assert len(places) == len(set(combinations))
        assert [combinations[places[code]] for code in codes] == combinations


@given(st.lists(st.tuples(st.integers(-3, 2**40), st.integers(0, 5)), min_size=1, max_size=40))
def test_distinct_keeps_narrow_combinations_in_their_order(rows: list[tuple[int, int]]) -> None:
    for wide in (rows, [(number % 7, other) for number, other in rows]):
        places, _ = distinct(np.array([row[0] for row in wide]), np.array([row[1] for row in wide]))
        assert [wide[place] for place in places] == sorted(set(wide))


@given(st.lists(st.tuples(st.sampled_from([0, 1, ODD, 2 * ODD % 2**64]), st.integers(0, 3)), min_size=2, max_size=20))
def test_distinct_tells_combinations_apart_whose_sums_are_equal(rows: list[tuple[int, int]]) -> None:
    # (ODD, 0) and (0, 1) fold into one number, and the largest makes them too wide to be packed.
    rows = [*rows, (ODD, 0), (0, 1), (2**64 - 1, 3)]
    columns = (np.array([row[0] for row in rows], np.uint64), np.array([row[1] for row in rows], np.int64))
    places, codes = distinct(*columns)
    assert len(places) == len(set(rows))
    assert [rows[places[code]] for code in codes] == rows


@given(
    st.lists(
        st.tuples(st.binary(min_size=16, max_size=16) | st.binary(min_size=4, max_size=4), st.binary(max_size=9)),
        min_size=1,
        max_size=20,
    )
)
def test_keys_by_column_are_the_keys_of_one_listener(people: list[tuple[bytes, bytes]]) -> None:
    secrets = [MonthSecret(bytes([month]) * 32, False) for month in (1, 2)]
    addresses = [a if len(a) == 16 else bytes(10) + b"\xff\xff" + a for a, _ in people]
    agents = [agent for _, agent in people]
    months = [number % 2 for number in range(len(people))]
    column = truncated(pack_keys(addresses)).astype(">u8").tobytes()
    k0 = hash_addresses(column, agents, months, secrets)
    assert k0 == [
        early_key(address, agent, secrets[month].secret)
        for address, agent, month in zip(addresses, agents, months, strict=True)
    ]
    tenants = b"t" * 32
    keys = hash_tenants(k0, months, [None, tenants])
    assert keys == [listener_key(early, tenants) if month else early for early, month in zip(k0, months, strict=True)]
    packed = pack_keys(keys)
    assert [unpack_key(key) for key in packed] == keys
    # Two columns sort as the bytes do, and so as PostgreSQL sorts uuids.
    order = np.lexsort((packed[:, 1], packed[:, 0])).tolist()
    assert [keys[place] for place in order] == sorted(keys)
    assert all(len(key) == KEY_BYTES for key in keys)


FACTS = st.builds(
    HitFacts,
    method=st.sampled_from(Method),
    episode_known=st.booleans(),
    live=st.booleans(),
    at_us=st.just(0),
    published_at_us=st.sampled_from([None, 0, 1]),
    agent_empty=st.booleans(),
    agent_kind=st.sampled_from(AgentKind),
    prefetch=st.booleans(),
    blocked=st.booleans(),
    datacenter=st.booleans(),
    vpn=st.booleans(),
    tiny=st.booleans(),
)


@given(st.lists(FACTS, max_size=25))
def test_facts_by_column_are_judged_as_one_hits_are(facts: list[HitFacts]) -> None:
    columns = FactColumns(
        is_head=np.array([one.method is Method.HEAD for one in facts], np.bool_),
        episode_known=np.array([one.episode_known for one in facts], np.bool_),
        live=np.array([one.live for one in facts], np.bool_),
        is_unpublished=np.array([one.published_at_us == 1 for one in facts], np.bool_),
        agent_empty=np.array([one.agent_empty for one in facts], np.bool_),
        agent_kind=np.array([one.agent_kind for one in facts], np.int64),
        prefetch=np.array([one.prefetch for one in facts], np.bool_),
        blocked=np.array([one.blocked for one in facts], np.bool_),
        datacenter=np.array([one.datacenter for one in facts], np.bool_),
        vpn=np.array([one.vpn for one in facts], np.bool_),
        tiny=np.array([one.tiny for one in facts], np.bool_),
    )
    found = judge_facts(columns)
    bits = [judge(one) for one in facts]
    assert found.bits.tolist() == bits
    assert found.verdict.tolist() == [first_verdict(one & DEFAULT_PROFILE.excluding) for one in bits]
    evidence = eligible_evidence(found, np.full(len(facts), int(Evidence.FULL), np.int64))
    assert [bool(one) for one in evidence.tolist()] == [verdict == 0 for verdict in found.verdict.tolist()]


# Around what decides: the file's end, a minute of it, the largest offset there is.
OFFSETS = (
    st.sampled_from([0, 1, 2, 2**63 - 2, 2**63 - 1])
    | st.builds(
        int.__add__, st.sampled_from([1_000_000, 1_259_999, 2_740_000, 3_999_999, 4_000_000]), st.integers(-2, 2)
    )
    | st.integers(0, 2**63 - 1)
)
RANGES = st.one_of(
    st.sampled_from([ByteRange(RangeKind.NONE, -1, -1), ByteRange(RangeKind.INVALID, -1, -1)]),
    st.builds(lambda first: ByteRange(RangeKind.OPEN, first, -1), OFFSETS),
    st.builds(lambda last: ByteRange(RangeKind.SUFFIX, -1, last), OFFSETS),
    st.builds(
        lambda kind, ends: ByteRange(kind, min(ends), max(ends)),
        st.sampled_from([RangeKind.CLOSED, RangeKind.MULTIPLE]),
        st.tuples(OFFSETS, OFFSETS),
    ),
)
LENGTHS = st.sampled_from([-1, 0, 1, 2, 300_000, 1_260_000, 4_000_000, 2**53]) | st.integers(1, 2**53)
DURATIONS = st.sampled_from([-1, 0, 1, 30, 250, 86_400])


def weigh_both_ways(rows: Sequence[tuple[ByteRange, int, int, bool]], profile: Profile = DEFAULT_PROFILE) -> None:
    """Weigh by column and one by one, and compare."""
    ranges = {byte_range: place for place, byte_range in enumerate(dict.fromkeys(row[0] for row in rows))}
    columns, evidence, tiny = weigh_ranges(
        list(ranges),
        np.array([ranges[row[0]] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.bool_),
        profile,
    )
    expected = [
        evidence_of(row[0], None if row[1] < 0 else row[1], None if row[2] < 0 else row[2], profile, is_playlist=row[3])
        for row in rows
    ]
    assert list(zip(evidence.tolist(), tiny.tolist(), strict=True)) == expected
    assert list(zip(columns.kind.tolist(), columns.first.tolist(), columns.last.tolist(), strict=True)) == [
        tuple(row[0]) for row in rows
    ]


@given(st.lists(st.tuples(RANGES, LENGTHS, DURATIONS, st.booleans()), max_size=20))
def test_ranges_by_column_weigh_what_one_hits_does(rows: list[tuple[ByteRange, int, int, bool]]) -> None:
    weigh_both_ways(rows)


# Thresholds of all kinds: what profiles may say at most, and what they may leave out.
PROFILES = st.builds(
    lambda **changes: msgspec.structs.replace(DEFAULT_PROFILE, **changes),
    counts_tails=st.booleans(),
    header_bytes=st.sampled_from([1, 300_000, 100_000_000]),
    seconds=st.sampled_from([1, 60, 3600, 86_400]),
    believes_sizes=st.booleans(),
    least_length_bytes=st.sampled_from([0, 1, 16_000]),
    least_bytes_per_second=st.sampled_from([0, 500]),
    most_bytes_per_second=st.sampled_from([16_000, 5_000_000, 10**9]),
)


@given(
    st.lists(
        st.tuples(RANGES, LENGTHS | st.integers(1, 10**7), DURATIONS | st.integers(1, 2**31 - 1), st.booleans()),
        max_size=20,
    ),
    PROFILES,
)
def test_ranges_by_column_weigh_what_one_hits_does_under_any_profile(
    rows: list[tuple[ByteRange, int, int, bool]], profile: Profile
) -> None:
    thresholds = [
        threshold_bytes(None if length < 0 else length, None if duration < 0 else duration, profile)
        for _, length, duration, _ in rows
    ]
    # The edges too: as many bytes as are needed, and one less.
    edges = [
        (ByteRange(RangeKind.CLOSED, 7, 7 + threshold - missing), *row[1:])
        for row, threshold in zip(rows, thresholds, strict=True)
        for missing in (1, 2)
        if threshold >= missing
    ]
    weigh_both_ways([*rows, *edges], profile)


@pytest.mark.parametrize("duration", [-1, 30, 250, 1800])
@pytest.mark.parametrize("length", [-1, 33, 16_000, 1_260_000, 4_000_000])
def test_ranges_by_column_weigh_every_edge_as_one_hits_does(length: int, duration: int) -> None:
    threshold = threshold_bytes(None if length < 0 else length, None if duration < 0 else duration)
    edges = sorted(
        edge + near for edge in {1, threshold, length, length - threshold} for near in (-1, 0, 1) if edge + near >= 0
    )
    ranges = [ByteRange(kind, -1, -1) for kind in (RangeKind.NONE, RangeKind.INVALID)]
    ranges += [ByteRange(RangeKind.OPEN, edge, -1) for edge in edges]
    ranges += [ByteRange(RangeKind.SUFFIX, -1, edge) for edge in edges]
    for kind in (RangeKind.CLOSED, RangeKind.MULTIPLE):
        ranges += [ByteRange(kind, *ends) for ends in itertools.combinations_with_replacement(edges, 2)]
    weigh_both_ways([(byte_range, length, duration, False) for byte_range in ranges])


def hit_columns(hits: list[JudgedHit], flags: list[int]) -> HitColumns:
    count = len(hits)
    known: dict[str, npt.NDArray[Any]] = {
        "occurred_at": np.array([hit.at_us for hit in hits], np.int64),
        "listener_key": pack_keys([hit.listener_key for hit in hits]),
        "segment_no": np.array([hit.segment_no for hit in hits], np.int64),
        "ordinal": np.array([hit.ordinal for hit in hits], np.int64),
        "episode_no": np.array([hit.episode_no or 0 for hit in hits], np.int64),
        "verdict_bits": np.array([hit.verdict_bits for hit in hits], np.int64),
        "verdict": np.array([first_verdict(hit.verdict_bits) for hit in hits], np.int64),
        "evidence": np.array([hit.evidence if not hit.verdict_bits else 0 for hit in hits], np.int64),
        "flags": np.array(flags, np.int64),
    }
    return HitColumns(**{field.name: known.get(field.name, np.zeros(count, np.int64)) for field in fields(HitColumns)})


KEYS = st.sampled_from([bytes(16), b"\xff" * 16, b"\x00" * 8 + b"\x01" * 8, b"\x80" + bytes(15)])
DAY_US = 86_400_000_000
JUDGED = st.lists(
    st.builds(
        JudgedHit,
        at_us=st.sampled_from([20_000 * DAY_US - 1, 20_000 * DAY_US, 20_000 * DAY_US + 5, 20_001 * DAY_US]),
        episode_no=st.sampled_from([None, 1, 2, 2**31 - 1]),
        listener_key=KEYS,
        verdict_bits=st.sampled_from([0, 0, 0, Verdict.BOT.bit]),
        evidence=st.sampled_from([Evidence.PROBE, Evidence.PARTIAL, Evidence.FULL]),
        segment_no=st.sampled_from([1, 2, 2**31 - 1]),
        ordinal=st.integers(0, 2**31 - 1),
    ),
    max_size=40,
    unique_by=lambda hit: (hit.segment_no, hit.ordinal),
)


@settings(max_examples=300)
@given(JUDGED)
def test_winners_are_those_of_the_reference(hits: list[JudgedHit]) -> None:
    judged = [hit._replace(verdict_bits=hit.verdict_bits or (0 if hit.episode_no else 2)) for hit in hits]
    won = pick_winners(hit_columns(judged, [0] * len(judged)))
    epoch = dt.date(1970, 1, 1)
    found = [
        (
            (epoch + dt.timedelta(days=int(won.day[place])), int(won.episode_no[place]), unpack_key(key)),
            (
                int(won.evidence[place]),
                int(won.occurred_at[place]),
                int(won.segment_no[place]),
                int(won.ordinal[place]),
            ),
        )
        for place, key in enumerate(won.listener_key)
    ]
    expected = {tuple(key): tuple(row.winner) for key, row in count_downloads(judged).items()}
    assert dict(found) == expected
    assert [key for key, _ in found] == sorted(expected)


def test_late_hits_win_nothing() -> None:
    hit = JudgedHit(5, 1, bytes(16), 0, Evidence.FULL, 1, 0)
    assert len(pick_winners(hit_columns([hit], [HitFlag.LATE | HitFlag.PREFETCH]))) == 0
    assert len(pick_winners(hit_columns([hit], [HitFlag.PREFETCH]))) == 1


def test_rows_are_written_as_postgresql_reads_them() -> None:
    every = CopyFormat(
        "t",
        schema="s",
        columns=(
            ("a", "smallint"),
            ("b", "integer"),
            ("c", "bigint"),
            ("d", "date"),
            ("e", "timestamptz"),
            ("f", "uuid"),
        ),
    )
    key = UUID("00112233-4455-6677-8899-aabbccddeeff")
    rows = every.encode(
        {
            "a": np.array([-2, 1]),
            "b": np.array([3, 0]),
            "c": np.array([-(2**40), 0]),
            "d": np.array([10_958, 0]),
            "e": np.array([10_957 * DAY_US + 7, 0]),
            "f": pack_keys([key.bytes, bytes(16)]),
            "left out": np.array([1, 2]),
        }
    )
    first = struct.pack(">hihiiiqiiiqi16s", 6, 2, -2, 4, 3, 8, -(2**40), 4, 1, 8, 7, 16, key.bytes)
    assert rows.tobytes()[: len(first)] == first
    assert len(rows.tobytes()) == 2 * len(first)


@given(HITS, st.data())
def test_extracted_hits_are_themselves_and_bring_no_texts_of_others(hits: list[Hit], data: st.DataObject) -> None:
    batch = build_batch([pieces(hits, frame_hits=4, segment_no=1, ordinal=0)], received_us=RECEIVED_US)
    chosen = data.draw(st.lists(st.integers(0, len(hits) - 1), unique=True, max_size=10)) if hits else []
    own = batch.extract(np.array(chosen, np.intp))
    assert as_hits(own) == [as_hits(batch)[place] for place in chosen]
    assert set(own.target.values) == {b""} | {hits[place].target for place in chosen}
    assert set(own.agent.values) == {b""} | {hits[place].agent for place in chosen}
