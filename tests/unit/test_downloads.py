"""Counting: thresholds, evidence, verdicts, and rows that are a pure function of the set of hits."""

from __future__ import annotations

import datetime as dt
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.byte_ranges import ByteRange, RangeKind, parse_range
from analytics_core.downloads import (
    Download,
    HitFacts,
    JudgedHit,
    believable_duration_s,
    believable_length_bytes,
    better,
    count_downloads,
    evidence_of,
    judge,
    merge,
    threshold_bytes,
    utc_day,
    verdict_of,
)
from analytics_core.hits import Method
from analytics_core.profiles import CASTLEDGER_1, PTMG_2_3, Profile
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Evidence, Verdict, verdict_names

HALF_HOUR = (28_800_000, 1800)
"""128 kbit/s for half an hour: the threshold is 300,000 + 60 * 16,000 bytes."""

FULL = (Evidence.FULL, False)
PARTIAL = (Evidence.PARTIAL, False)
PROBE = (Evidence.PROBE, False)
TINY = (Evidence.NONE, True)

lengths = st.none() | st.integers(-5, 500_000_000)
durations = st.none() | st.integers(-5, 40_000)


def at(text: str) -> int:
    instant = dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
    return (instant - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("length", "duration", "believed"),
    [
        (None, None, (None, None)),
        (None, 1800, (None, None)),
        (0, 1800, (None, None)),
        (33, None, (None, None)),
        (12_345, None, (None, None)),
        (-1, 1800, (None, None)),
        (28_800_000, None, (28_800_000, None)),
        (28_800_000, 0, (28_800_000, None)),
        (28_800_000, 1800, (28_800_000, 1800)),
        (28_800_000, 2, (28_800_000, None)),
        (100_000, 3600, (None, None)),
        # The bounds themselves are believed: 16,000 bytes, 500 bytes a second, 5 MB a second.
        (15_999, None, (None, None)),
        (16_000, None, (16_000, None)),
        (899_999, 1800, (None, None)),
        (900_000, 1800, (900_000, 1800)),
        (10_000_000, 2, (10_000_000, 2)),
        (10_000_001, 2, (10_000_001, None)),
    ],
)
def test_feeds_are_believed_only_so_far(
    length: int | None, duration: int | None, believed: tuple[int | None, int | None]
) -> None:
    assert (believable_length_bytes(length, duration), believable_duration_s(length, duration)) == believed


@pytest.mark.parametrize(
    ("length", "duration", "threshold"),
    [
        (*HALF_HOUR, 1_260_000),
        (None, None, 1_260_000),
        (33, 1800, 1_260_000),
        (14_400_000, 1800, 300_000 + 60 * 8_000),
        (500_000, None, 500_000),
        (400_000, 30, 400_000),
        (960_000, 60, 960_000),
        # A rate that is no whole number rounds up.
        (10_000_001, 1800, 633_334),
    ],
)
def test_the_threshold_is_a_minute_behind_the_header(length: int | None, duration: int | None, threshold: int) -> None:
    assert threshold_bytes(length, duration) == threshold


@given(lengths, durations)
def test_the_threshold_never_exceeds_the_file(length: int | None, duration: int | None) -> None:
    threshold = threshold_bytes(length, duration)
    assert threshold >= 1
    believed = believable_length_bytes(length, duration)
    assert believed is None or threshold <= believed
    shortened = believable_duration_s(length, duration)
    if shortened is not None and shortened <= 60:
        assert threshold == believed


@pytest.mark.parametrize(
    ("header", "feed", "expected"),
    [
        ("", HALF_HOUR, FULL),
        ("junk", HALF_HOUR, FULL),
        ("bytes=0-", HALF_HOUR, FULL),
        ("bytes=0-", (None, None), FULL),
        ("bytes=0-1", HALF_HOUR, PROBE),
        ("bytes=0-1", (None, None), PROBE),
        ("bytes=0-0", HALF_HOUR, TINY),
        ("bytes=1-2", HALF_HOUR, TINY),
        ("bytes=0-0,1-1", HALF_HOUR, TINY),
        ("bytes=0-28799999", HALF_HOUR, FULL),
        ("bytes=0-99999999", HALF_HOUR, FULL),
        ("bytes=0-28799998", HALF_HOUR, PARTIAL),
        ("bytes=0-1259999", HALF_HOUR, PARTIAL),
        ("bytes=0-1259998", HALF_HOUR, TINY),
        ("bytes=5000000-6259999", HALF_HOUR, PARTIAL),
        ("bytes=5000000-6259998", HALF_HOUR, TINY),
        ("bytes=0-1259999", (None, None), PARTIAL),
        ("bytes=0-99999999999", (None, None), PARTIAL),
        ("bytes=0-1259998", (33, 1800), TINY),
        # Only what lies inside the file can be sent.
        ("bytes=28000000-99999999", HALF_HOUR, TINY),
        ("bytes=99999999-199999999", HALF_HOUR, TINY),
        ("bytes=5000000-", HALF_HOUR, PARTIAL),
        ("bytes=27540000-", HALF_HOUR, PARTIAL),
        ("bytes=27540001-", HALF_HOUR, TINY),
        ("bytes=27540001-", (None, None), PARTIAL),
        ("bytes=-128", HALF_HOUR, TINY),
        ("bytes=-20000000", HALF_HOUR, TINY),
        ("bytes=-28800000", HALF_HOUR, FULL),
        ("bytes=-28800000", (None, None), TINY),
        ("bytes=0-699999,500000-1259999", HALF_HOUR, PARTIAL),
        ("bytes=0-699999,500000-1259998", HALF_HOUR, TINY),
        ("bytes=0-9999999,10000000-28799999", HALF_HOUR, FULL),
        # A file shorter than a minute has to be asked for whole.
        ("bytes=0-399998", (400_000, 30), TINY),
        ("bytes=0-399999", (400_000, 30), FULL),
        ("bytes=1-", (400_000, 30), TINY),
    ],
)
def test_evidence_follows_from_what_was_asked_for(
    header: str, feed: tuple[int | None, int | None], expected: tuple[Evidence, bool]
) -> None:
    assert evidence_of(parse_range(header), *feed) == expected


@pytest.mark.parametrize("feed", [HALF_HOUR, (None, None)])
def test_the_strict_profile_disregards_two_byte_probes(feed: tuple[int | None, int | None]) -> None:
    assert evidence_of(parse_range("bytes=0-1"), *feed, PTMG_2_3) == TINY
    assert evidence_of(parse_range("bytes=0-1"), *feed, CASTLEDGER_1) == PROBE


@given(
    st.from_regex(r"(bytes=[0-9]{0,9}-[0-9]{0,9}(,[0-9]{1,9}-[0-9]{0,9}){0,2})?", fullmatch=True), lengths, durations
)
def test_evidence_is_none_exactly_when_a_range_is_tiny_and_strict_is_what_is_above_a_probe(
    header: str, length: int | None, duration: int | None
) -> None:
    evidence, tiny = evidence_of(parse_range(header), length, duration)
    assert tiny is (evidence is Evidence.NONE)
    strict, disregarded = evidence_of(parse_range(header), length, duration, PTMG_2_3)
    assert (strict, disregarded) == ((evidence, tiny) if evidence is not Evidence.PROBE else TINY)


@given(st.integers(0, 60_000_000), st.integers(2, 60_000_000), st.integers(0, 1_000_000), lengths, durations)
def test_asking_for_more_is_never_less_evidence(
    first: int, size: int, more: int, length: int | None, duration: int | None
) -> None:
    less_asked = ByteRange(RangeKind.CLOSED, first, first + size)
    more_asked = ByteRange(RangeKind.CLOSED, first, first + size + more)
    assert evidence_of(more_asked, length, duration)[0] >= evidence_of(less_asked, length, duration)[0]


AT = 1_000_000


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (HitFacts(), Verdict.ELIGIBLE),
        (HitFacts(method=Method.HEAD), Verdict.HEAD),
        (HitFacts(episode_known=False), Verdict.UNKNOWN_EPISODE),
        (HitFacts(live=True), Verdict.LIVE),
        (HitFacts(at_us=AT - 1, published_at_us=AT), Verdict.UNPUBLISHED),
        (HitFacts(at_us=AT, published_at_us=AT), Verdict.ELIGIBLE),
        (HitFacts(agent_empty=True, agent_kind=AgentKind.UNKNOWN), Verdict.NO_USER_AGENT),
        (HitFacts(agent_kind=AgentKind.BOT), Verdict.BOT),
        (HitFacts(agent_kind=AgentKind.WATCH), Verdict.WATCH),
        (HitFacts(agent_kind=AgentKind.LIBRARY), Verdict.ELIGIBLE),
        (HitFacts(agent_kind=AgentKind.UNKNOWN), Verdict.ELIGIBLE),
        (HitFacts(prefetch=True), Verdict.PRELOAD),
        (HitFacts(blocked=True), Verdict.BLOCKED),
        (HitFacts(datacenter=True), Verdict.DATACENTER),
        (HitFacts(vpn=True), Verdict.VPN),
        (HitFacts(tiny=True), Verdict.TINY_RANGE),
    ],
)
def test_each_fact_has_its_own_verdict(facts: HitFacts, verdict: Verdict) -> None:
    assert judge(facts) == verdict.bit
    assert verdict_of(judge(facts)) is verdict


def test_all_that_applies_is_kept_and_the_first_in_order_decides() -> None:
    facts = HitFacts(
        method=Method.HEAD,
        episode_known=False,
        live=True,
        at_us=0,
        published_at_us=1,
        agent_empty=True,
        agent_kind=AgentKind.BOT,
        prefetch=True,
        blocked=True,
        datacenter=True,
        vpn=True,
        tiny=True,
    )
    bits = judge(facts)
    names = [verdict.label for verdict in Verdict if verdict not in (Verdict.ELIGIBLE, Verdict.WATCH)]
    assert verdict_names(bits) == names
    assert verdict_of(bits) is Verdict.HEAD
    assert verdict_of(judge(facts._replace(method=Method.GET))) is Verdict.UNKNOWN_EPISODE


def test_a_profile_may_forgive_a_verdict() -> None:
    lenient = Profile(
        name="lenient",
        version=1,
        summary="Data centres count.",
        counts_probes=True,
        excluding=CASTLEDGER_1.excluding & ~Verdict.DATACENTER.bit,
    )
    bits = judge(HitFacts(datacenter=True, vpn=True))
    assert (verdict_of(bits), verdict_of(bits, lenient)) == (Verdict.DATACENTER, Verdict.VPN)
    hit = JudgedHit(0, 1, b"k", Verdict.DATACENTER.bit, Evidence.FULL, 1, 1)
    assert (len(count_downloads([hit])), len(count_downloads([hit], profile=lenient))) == (0, 1)


@given(
    st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)),  # noqa: DTZ001 # strategies take naive bounds
)
def test_the_day_is_the_date_in_utc(naive: dt.datetime) -> None:
    assert utc_day(at(naive.isoformat())) == naive.date()


@pytest.mark.parametrize("at_us", [2**63 - 1, -(2**63), 2**90])
def test_an_instant_beyond_the_calendar_has_no_day(at_us: int) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        utc_day(at_us)


winners = st.builds(Download, st.sampled_from(Evidence), st.integers(0, 3), st.integers(0, 2), st.integers(0, 2))


@given(winners, winners, winners)
def test_merging_is_commutative_associative_and_idempotent(one: Download, two: Download, three: Download) -> None:
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three))
    assert merge(one, one) == one
    assert merge(one, two) in (one, two)


@given(winners, winners)
def test_the_order_of_winners_is_total(one: Download, other: Download) -> None:
    assert [better(one, other), better(other, one), one == other].count(True) == 1


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (Download(Evidence.FULL, 9, 9, 9), Download(Evidence.PARTIAL, 1, 1, 1)),
        (Download(Evidence.PARTIAL, 9, 9, 9), Download(Evidence.PROBE, 1, 1, 1)),
        (Download(Evidence.FULL, 1, 9, 9), Download(Evidence.FULL, 2, 1, 1)),
        (Download(Evidence.FULL, 1, 1, 9), Download(Evidence.FULL, 1, 2, 1)),
        (Download(Evidence.FULL, 1, 1, 1), Download(Evidence.FULL, 1, 1, 2)),
    ],
)
def test_more_evidence_wins_then_the_earlier_time_then_the_lower_id(winner: Download, loser: Download) -> None:
    assert better(winner, loser)
    assert not better(loser, winner)


def play(text: str, *, ordinal: int = 0, evidence: Evidence = Evidence.FULL, bits: int = 0) -> JudgedHit:
    return JudgedHit(at(text), 1, b"listener", bits, evidence, 1, ordinal)


def test_the_guidelines_window_counts_three_by_calendar_day() -> None:
    times = ["2026-11-02T22:00", "2026-11-03T03:00", "2026-11-03T22:15", "2026-11-04T23:15"]
    hits = [play(time, ordinal=ordinal) for ordinal, time in enumerate(times)]
    downloads_after_each = [len(count_downloads(hits[: seen + 1])) for seen in range(4)]
    assert downloads_after_each == [1, 2, 2, 3]
    assert [row.hits for row in count_downloads(hits).values()] == [1, 2, 1]


def test_play_pause_play_is_one_download() -> None:
    hits = [play(f"2026-11-02T10:0{minute}", ordinal=minute) for minute in range(5)]
    (row,) = count_downloads(hits).values()
    assert row.hits == 5
    assert row.winner == Download(Evidence.FULL, hits[0].at_us, 1, 0)


def test_a_later_full_request_takes_the_row_from_a_probe() -> None:
    probe = play("2026-11-02T10:00", evidence=Evidence.PROBE)
    full = play("2026-11-02T10:01", ordinal=1)
    (row,) = count_downloads([probe, full]).values()
    assert (row.winner.evidence, row.winner.at_us, row.hits) == (Evidence.FULL, full.at_us, 2)


def test_six_listeners_of_one_episode_are_six_downloads() -> None:
    hits = [play("2026-11-02T10:00", ordinal=n)._replace(listener_key=bytes([n])) for n in range(6)]
    assert len(count_downloads(hits)) == 6


def test_a_hit_without_an_episode_or_with_a_verdict_counts_nothing() -> None:
    hits = [
        play("2026-11-02T10:00")._replace(episode_no=None),
        play("2026-11-02T10:00", ordinal=1, bits=Verdict.BOT.bit),
    ]
    assert count_downloads(hits) == {}


judged_hits = st.lists(
    st.builds(
        JudgedHit,
        st.integers(0, 3 * 86_400).map(lambda second: second * 1_000_000),
        st.none() | st.integers(1, 2),
        st.sampled_from([b"a", b"b"]),
        st.sampled_from([0, 0, 0, Verdict.BOT.bit, Verdict.HEAD.bit | Verdict.VPN.bit]),
        st.sampled_from([Evidence.PROBE, Evidence.PARTIAL, Evidence.FULL]),
        st.integers(0, 2),
        st.integers(0, 50),
    ),
    max_size=25,
    unique_by=lambda hit: (hit.segment_no, hit.ordinal),
)


@given(judged_hits, st.integers(0, 2**32))
def test_counting_does_not_depend_on_order(hits: list[JudgedHit], seed: int) -> None:
    shuffled = random.Random(seed).sample(hits, len(hits))
    assert count_downloads(shuffled) == count_downloads(hits)


@given(judged_hits, st.integers(0, 25))
def test_counting_a_replay_changes_nothing(hits: list[JudgedHit], replayed: int) -> None:
    assert count_downloads([*hits, *hits[:replayed]]) == count_downloads(hits)


@given(judged_hits)
def test_adding_a_hit_never_lowers_a_count(hits: list[JudgedHit]) -> None:
    rows = count_downloads(hits[:-1])
    more = count_downloads(hits)
    assert len(more) >= len(rows)
    for key, row in rows.items():
        assert more[key].hits >= row.hits
        assert not better(row.winner, more[key].winner)


@given(judged_hits, st.integers(0, 25))
def test_rows_of_two_halves_merge_into_the_rows_of_the_whole(hits: list[JudgedHit], cut: int) -> None:
    one, other = count_downloads(hits[:cut]), count_downloads(hits[cut:])
    whole = count_downloads(hits)
    assert whole.keys() == one.keys() | other.keys()
    for key, row in whole.items():
        halves = [half[key].winner for half in (one, other) if key in half]
        assert row.winner == (halves[0] if len(halves) == 1 else merge(*halves))


@given(judged_hits)
def test_every_eligible_hit_is_a_download_or_a_repeat(hits: list[JudgedHit]) -> None:
    rows = count_downloads(hits)
    eligible = sum(1 for hit in hits if hit.verdict_bits == 0 and hit.episode_no is not None)
    repeats = sum(row.hits - 1 for row in rows.values())
    assert eligible == len(rows) + repeats
