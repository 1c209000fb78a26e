"""Laws that counting keeps under every profile, whatever hits there are."""

from __future__ import annotations

import datetime as dt
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.byte_ranges import ByteRange, RangeKind, parse_range
from analytics_core.comparing import MAX_SAMPLES, Comparison, StoredHit
from analytics_core.downloads import CountedDownload, DownloadKey, JudgedHit, count_downloads, merge
from analytics_core.evidence import evidence_of
from analytics_core.hits import Method
from analytics_core.judging import HitFacts, judge
from analytics_core.network_classes import NetworkClass
from analytics_core.profiles import CASTLEDGER_1, DEFAULT_PROFILE, PROFILES, PTMG_2_3, Profile
from analytics_core.rejudging import Judge, StoredFacts
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import Verdict
from analytics_core.windows import DAY_US, Window
from tests.factories import micros

FIRST = dt.date(2026, 11, 2)
DAYS = 3
START = micros(dt.datetime.combine(FIRST, dt.time(), dt.UTC))
SIZES = (28_800_000, 1800)
CALENDAR = [profile for profile in PROFILES.values() if profile.window is Window.CALENDAR_DAY]
STORABLE = [profile for profile in CALENDAR if not profile.is_for_comparing]
RANGES = ("", "junk", "bytes=0-", "bytes=0-1", "bytes=0-0", "bytes=0-9999999", "bytes=5-99", "bytes=-128")


def landed(
    at_us: int,
    listener: bytes,
    text: str,
    kind: AgentKind,
    networks: NetworkClass,
    referrer: str,
    method: Method,
    is_playlist: bool,
    ordinal: int,
) -> StoredHit:
    """Make a hit as it is stored."""
    asked = parse_range(text)
    facts = HitFacts(
        method=method,
        agent_kind=kind,
        blocked=bool(networks & NetworkClass.BLOCKED),
        datacenter=bool(networks & NetworkClass.DATACENTER) and not networks & NetworkClass.SHARED,
        vpn=bool(networks & NetworkClass.VPN) and not networks & NetworkClass.SHARED,
        tiny=evidence_of(asked, *SIZES, is_playlist=is_playlist)[1],
    )
    stored = StoredFacts(judge(facts), *asked, int(kind), int(networks), referrer, is_playlist)
    return StoredHit(at_us, 1, ordinal, listener, stored)


# Few listeners, and times around the ends of days and of windows of 24 hours.
TIMES = st.builds(
    lambda day, offset: START + day * DAY_US + offset,
    st.integers(-1, DAYS),
    st.sampled_from([-1, 0, 1, DAY_US // 2]),
)
HITS = st.lists(
    st.builds(
        landed,
        TIMES,
        st.sampled_from([b"a", b"b"]),
        st.sampled_from(RANGES),
        st.sampled_from([AgentKind.APP, AgentKind.APP, AgentKind.BROWSER, AgentKind.BOT]),
        st.sampled_from([NetworkClass.NONE, NetworkClass.NONE, *NetworkClass]).flatmap(
            lambda one: st.sampled_from([one, one, one | NetworkClass.SHARED])
        ),
        st.sampled_from(["", "example.com", "podverse.fm"]),
        st.sampled_from([Method.GET, Method.GET, Method.GET, Method.HEAD]),
        st.sampled_from([False, False, True]),
        st.integers(0, 1_000_000),
    ),
    max_size=25,
    unique_by=lambda hit: hit.ordinal,
)
ANY = st.sampled_from(sorted(PROFILES))


def compare(hits: list[StoredHit], *profiles: Profile, first: dt.date = FIRST, days: int = DAYS) -> Comparison:
    """Compare as hits come from the database: in the order of time, from the day before the first one on."""
    begin = micros(dt.datetime.combine(first, dt.time(), dt.UTC))
    chosen = [hit for hit in hits if begin - DAY_US <= hit.at_us < begin + days * DAY_US]
    comparison = Comparison(profiles, length_bytes=SIZES[0], duration_s=SIZES[1], start=first, days=days)
    comparison.add(sorted(chosen, key=lambda hit: hit.at_us))
    comparison.finish()
    return comparison


def count(hits: list[StoredHit], profile: Profile) -> dict[DownloadKey, CountedDownload]:
    """Count rows as storage keeps them: with the hit that each takes its dimensions from."""
    judged = []
    judge = Judge(profile, length_bytes=SIZES[0], duration_s=SIZES[1])
    for hit in hits:
        facts = hit.facts
        asked = ByteRange(RangeKind(facts.range_kind), facts.range_first, facts.range_last)
        evidence, _ = evidence_of(asked, *SIZES, profile, is_playlist=facts.is_playlist)
        verdict = judge.verdict(facts)
        assert isinstance(hit.listener, bytes)
        judged.append(JudgedHit(hit.at_us, 1, hit.listener, verdict.bit, evidence, hit.segment_no, hit.ordinal))
    return count_downloads(judged)


@pytest.mark.parametrize("profile", STORABLE, ids=lambda profile: profile.name)
@given(hits=HITS, seed=st.integers(0, 2**32), batches=st.integers(1, 5))
def test_rows_are_the_same_in_any_order_again_and_in_batches(
    profile: Profile, hits: list[StoredHit], seed: int, batches: int
) -> None:
    chance = random.Random(seed)
    rows = {key: row.winner for key, row in count(hits, profile).items()}
    again = [*hits, *chance.sample(hits, len(hits) // 2)]
    chance.shuffle(again)
    merged = dict.fromkeys(rows)
    for number in range(batches):
        for key, row in count(again[number::batches], profile).items():
            held = merged[key]
            merged[key] = row.winner if held is None else merge(held, row.winner)
    assert merged == rows


@pytest.mark.parametrize("profile", CALENDAR, ids=lambda profile: profile.name)
@given(hits=HITS, seed=st.integers(0, 2**32))
def test_a_comparison_counts_the_same_in_any_order_and_again(
    profile: Profile, hits: list[StoredHit], seed: int
) -> None:
    chance = random.Random(seed)
    again = [*hits, *chance.sample(hits, len(hits) // 2)]
    chance.shuffle(again)
    assert compare(again, profile).downloads == compare(hits, profile).downloads


@pytest.mark.parametrize("profile", CALENDAR, ids=lambda profile: profile.name)
@given(hits=HITS)
def test_a_hit_more_is_at_most_a_download_more(profile: Profile, hits: list[StoredHit]) -> None:
    (less,), (more,) = compare(hits[:-1], profile).downloads, compare(hits, profile).downloads
    assert sum(more) - sum(less) in (0, 1)
    assert all(one <= other for one, other in zip(less, more, strict=True))


@given(HITS)
def test_strict_never_exceeds_the_default(hits: list[StoredHit]) -> None:
    default, strict = compare(hits, CASTLEDGER_1, PTMG_2_3).downloads
    assert all(one <= other for one, other in zip(strict, default, strict=True))


@pytest.mark.parametrize("profile", CALENDAR, ids=lambda profile: profile.name)
@given(hits=HITS)
def test_days_add_up(profile: Profile, hits: list[StoredHit]) -> None:
    (whole,) = compare(hits, profile).downloads
    days = [compare(hits, profile, first=FIRST + dt.timedelta(days=day), days=1).downloads[0] for day in range(DAYS)]
    assert [one for (one,) in days] == whole


@pytest.mark.parametrize("profile", STORABLE, ids=lambda profile: profile.name)
@given(hits=HITS)
def test_a_comparison_says_what_storage_would(profile: Profile, hits: list[StoredHit]) -> None:
    rows = Counter(key.day for key in count(hits, profile))
    (found,) = compare(hits, profile).downloads
    assert found == [rows[FIRST + dt.timedelta(days=day)] for day in range(DAYS)]


@given(HITS)
def test_the_default_decides_as_it_did_when_a_hit_landed(hits: list[StoredHit]) -> None:
    for hit in hits:
        verdict = Judge(DEFAULT_PROFILE, length_bytes=1, duration_s=1).verdict(hit.facts)
        assert (verdict is Verdict.ELIGIBLE) == (hit.facts.verdict_bits == 0)


@given(HITS, st.lists(ANY, min_size=2, max_size=4, unique=True))
def test_reasons_make_the_whole_difference(hits: list[StoredHit], names: list[str]) -> None:
    profiles = [PROFILES[name] for name in names]
    comparison = compare(hits, *profiles)
    known = {(hit.segment_no, hit.ordinal) for hit in hits}
    for one in range(len(names)):
        for other in range(len(names)):
            found, back = comparison.reasons[one, other], comparison.reasons[other, one]
            difference = sum(reason.downloads for reason in found.values()) - sum(
                reason.downloads for reason in back.values()
            )
            assert difference == sum(comparison.downloads[one]) - sum(comparison.downloads[other])
            for reason in found.values():
                assert len(reason.hits) == min(reason.downloads, MAX_SAMPLES)
                assert known.issuperset(reason.hits)


def made(at: str, *, listener: bytes = b"a", text: str = "", ordinal: int, **facts: str | AgentKind) -> StoredHit:
    moment = micros(dt.datetime.fromisoformat(at).replace(tzinfo=dt.UTC))
    referrer = facts.get("referrer", "")
    kind = facts.get("kind", AgentKind.APP)
    networks = NetworkClass.DATACENTER if facts.get("network") else NetworkClass.NONE
    assert isinstance(referrer, str)
    assert isinstance(kind, AgentKind)
    return landed(moment, listener, text, kind, networks, referrer, Method.GET, bool(facts.get("playlist")), ordinal)


def reasons(comparison: Comparison, one: int, other: int) -> dict[str, tuple[int, list[tuple[int, int]]]]:
    return {name: (reason.downloads, reason.hits) for name, reason in comparison.reasons[one, other].items()}


def test_each_reason_has_its_name_and_its_hits() -> None:
    hits = [
        made("2026-11-02T10:00", text="bytes=0-1", ordinal=1),
        made("2026-11-02T10:00", listener=b"b", text="bytes=0-1", ordinal=2),
        # The full request is the download where the probe was none: no difference.
        made("2026-11-02T10:01", listener=b"b", ordinal=3),
        made("2026-11-02T11:00", listener=b"c", text="bytes=5-99", ordinal=4),
        made("2026-11-02T12:00", listener=b"d", network="datacenter", ordinal=5),
        made("2026-11-02T12:00", listener=b"e", network="datacenter", kind=AgentKind.BROWSER, ordinal=6),
        made("2026-11-02T13:00", listener=b"f", ordinal=7),
        made("2026-11-02T14:00", listener=b"f", referrer="example.com", ordinal=8),
        made("2026-11-03T01:00", listener=b"f", ordinal=9),
        made("2026-11-02T15:00", listener=b"g", referrer="podverse.fm", ordinal=10),
    ]
    names = ("castledger-1", "ptmg-2.3", "op3", "first-touch")
    found = compare(hits, *(PROFILES[name] for name in names))
    assert found.downloads == [[4, 1, 0], [3, 1, 0], [6, 1, 0], [4, 0, 0]]
    assert reasons(found, 0, 1) == {"probe": (1, [(1, 1)])}
    assert reasons(found, 1, 0) == {}
    assert reasons(found, 2, 0) == {
        "tiny_range": (1, [(1, 4)]),
        "datacenter": (1, [(1, 5)]),
        "referrer": (1, [(1, 8)]),
    }
    assert reasons(found, 0, 2) == {"preload": (1, [(1, 10)])}
    assert reasons(found, 0, 3) == {"window": (1, [(1, 9)])}


def test_a_playlist_that_does_not_count_is_called_one() -> None:
    hits = [
        made("2026-11-02T10:00", playlist="yes", ordinal=1),
        made("2026-11-02T10:00", listener=b"b", playlist="yes", text="bytes=0-1", ordinal=2),
        made("2026-11-02T10:00", listener=b"c", text="bytes=0-1", ordinal=3),
        # The whole of another file is better evidence under each of them: no difference.
        made("2026-11-02T10:00", listener=b"d", playlist="yes", ordinal=4),
        made("2026-11-02T10:01", listener=b"d", ordinal=5),
    ]
    found = compare(hits, CASTLEDGER_1, PTMG_2_3)
    assert [sum(days) for days in found.downloads] == [4, 1]
    assert reasons(found, 0, 1) == {"playlist": (2, [(1, 1), (1, 2)]), "probe": (1, [(1, 3)])}


def test_no_more_hits_are_named_than_can_be_looked_at() -> None:
    hits = [
        made("2026-11-02T10:00", listener=bytes([number]), text="bytes=0-1", ordinal=number) for number in range(50)
    ]
    found = compare(hits, CASTLEDGER_1, PTMG_2_3)
    assert reasons(found, 0, 1) == {"probe": (50, [(1, number) for number in range(MAX_SAMPLES)])}


def test_a_rolling_window_reaches_over_the_days_that_are_compared() -> None:
    hits = [
        made("2026-11-01T23:00", ordinal=1),
        made("2026-11-02T22:00", ordinal=2),
        made("2026-11-03T22:00", ordinal=3),
    ]
    found = compare(hits, CASTLEDGER_1, PROFILES["first-touch"], PROFILES["last-touch"])
    assert found.downloads == [[1, 1, 0], [0, 1, 0], [0, 1, 0]]


def test_what_lies_outside_of_the_days_that_are_compared_counts_nothing() -> None:
    comparison = Comparison([CASTLEDGER_1], length_bytes=SIZES[0], duration_s=SIZES[1], start=FIRST, days=DAYS)
    comparison.add(made(f"2026-11-0{day}T10:00", ordinal=day) for day in range(1, 6))
    comparison.finish()
    assert comparison.downloads == [[1, 1, 1]]


def test_hits_of_before_networks_were_kept_are_judged_by_their_verdicts() -> None:
    facts = StoredFacts(Verdict.DATACENTER.bit, *parse_range(""), int(AgentKind.APP), 0, "")
    assert Judge(CASTLEDGER_1).verdict(facts) is Verdict.DATACENTER
    assert Judge(PROFILES["op3"]).verdict(facts) is Verdict.ELIGIBLE
    browser = facts._replace(agent_kind=int(AgentKind.BROWSER))
    assert Judge(PROFILES["op3"]).verdict(browser) is Verdict.DATACENTER
