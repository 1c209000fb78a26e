"""Stored hits judged again: nothing changes but what their agents are, whatever feeds say by now."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import example, given
from hypothesis import strategies as st

from analytics_core.byte_ranges import ByteRange, RangeKind
from analytics_core.db.hits import HIT_COLUMNS, HitColumns
from analytics_core.db.recounting import StoredHits
from analytics_core.downloads import HitFacts, evidence_of, judge, verdict_of
from analytics_core.hits import HitFlag, Method
from analytics_core.profiles import DEFAULT_PROFILE
from analytics_core.user_agents import AgentKind
from analytics_core.verdicts import NO_VERDICT, Evidence, Verdict
from ingest.recounts import judge_again

LENGTHS = st.sampled_from([None, 33, 400_000, 4_000_000, 28_800_000])
DURATIONS = st.sampled_from([None, 30, 250, 1800])
RANGES = st.sampled_from(
    [
        ByteRange(RangeKind.NONE, -1, -1),
        ByteRange(RangeKind.INVALID, -1, -1),
        ByteRange(RangeKind.CLOSED, 0, 1),
        ByteRange(RangeKind.CLOSED, 0, 399_999),
        ByteRange(RangeKind.CLOSED, 0, 2_000_000),
        ByteRange(RangeKind.CLOSED, 1_000_000, 28_799_999),
        ByteRange(RangeKind.OPEN, 0, -1),
        ByteRange(RangeKind.OPEN, 3_000_000, -1),
        ByteRange(RangeKind.SUFFIX, -1, 128),
        ByteRange(RangeKind.SUFFIX, -1, 28_800_000),
        ByteRange(RangeKind.MULTIPLE, 0, 1_500_000),
    ]
)
FACTS = st.builds(
    HitFacts,
    method=st.sampled_from(Method),
    episode_known=st.sampled_from([True, True, True, False]),
    live=st.sampled_from([False, False, False, True]),
    published_at_us=st.sampled_from([None, None, None, 1]),
    agent_empty=st.sampled_from([False, False, False, True]),
    agent_kind=st.sampled_from(AgentKind),
    prefetch=st.sampled_from([False, False, False, True]),
    blocked=st.sampled_from([False, False, False, True]),
    datacenter=st.sampled_from([False, False, False, True]),
    vpn=st.sampled_from([False, False, False, True]),
)


class Case(NamedTuple):
    """A hit, what its feed said when it landed, and what is known of it now."""

    facts: HitFacts
    byte_range: ByteRange
    length_bytes: int | None
    duration_s: int | None
    kind_now: int
    length_now: int | None
    duration_now: int | None
    is_playlist: bool


CASES = st.lists(
    st.builds(
        Case,
        FACTS,
        RANGES,
        LENGTHS,
        DURATIONS,
        st.sampled_from(AgentKind),
        LENGTHS,
        DURATIONS,
        st.sampled_from([False, False, False, True]),
    )
)


# A bot that turned out to be an app, and asked for everything.
BOT_BEFORE = Case(
    HitFacts(agent_kind=AgentKind.BOT),
    ByteRange(RangeKind.NONE, -1, -1),
    28_800_000,
    1800,
    AgentKind.APP,
    28_800_000,
    1800,
    is_playlist=False,
)


def column(values: list[Any]) -> npt.NDArray[np.int64]:
    return np.array([-1 if value is None else int(value) for value in values], np.int64)


def judged(cases: list[Case]) -> tuple[list[int], list[int], list[int]]:
    """What the rules for one hit say: bits, verdicts, evidence."""
    weighed = [
        evidence_of(case.byte_range, case.length_bytes, case.duration_s, is_playlist=case.is_playlist) for case in cases
    ]
    bits = [judge(case.facts._replace(tiny=tiny)) for case, (_, tiny) in zip(cases, weighed, strict=True)]
    verdicts = [verdict_of(one) for one in bits]
    evidence = [Evidence.NONE if verdict else found for verdict, (found, _) in zip(verdicts, weighed, strict=True)]
    return bits, [int(one) for one in verdicts], [int(one) for one in evidence]


def stored(cases: list[Case], **columns: npt.NDArray[Any]) -> StoredHits:
    """Store hits as they landed, each with the number 7 for its agent, which is 8 by now."""
    bits, verdicts, evidence = judged(cases)
    known: dict[str, npt.NDArray[Any]] = {
        "agent_no": column([7] * len(cases)),
        "verdict_bits": column(bits),
        "verdict": column(verdicts),
        "evidence": column(evidence),
        "range_kind": column([case.byte_range.kind for case in cases]),
        "range_first": column([case.byte_range.first for case in cases]),
        "range_last": column([case.byte_range.last for case in cases]),
        "flags": column([HitFlag.PLAYLIST if case.is_playlist else 0 for case in cases]),
        "listener_key": np.zeros((len(cases), 2), np.uint64),
        **columns,
    }
    hits = HitColumns(**{name: known.get(name, np.arange(len(cases), dtype=np.int64)) for name, _ in HIT_COLUMNS})
    return StoredHits(
        hits=hits,
        agent_no=column([8] * len(cases)),
        agent_kind=column([case.kind_now for case in cases]),
        length_bytes=column([case.length_now for case in cases]),
        duration_s=column([case.duration_now for case in cases]),
    )


def changes(before: HitColumns, after: HitColumns) -> set[str]:
    return {name for name, _ in HIT_COLUMNS if not np.array_equal(getattr(before, name), getattr(after, name))}


@given(CASES)
def test_who_is_what_it_was_is_judged_as_it_was(cases: list[Case]) -> None:
    same = [case._replace(kind_now=case.facts.agent_kind) for case in cases]
    rules = column([DEFAULT_PROFILE.version] * len(cases))
    for hits in (stored(same, rules=rules), stored([case._replace(kind_now=-1) for case in cases], rules=rules)):
        assert changes(hits.hits, judge_again(hits)) <= {"agent_no"}


@given(CASES)
@example([BOT_BEFORE, BOT_BEFORE._replace(is_playlist=True)])
def test_who_is_something_else_is_judged_as_if_it_had_landed_so(cases: list[Case]) -> None:
    steady = [case._replace(length_now=case.length_bytes, duration_now=case.duration_s) for case in cases]
    found = judge_again(stored(steady))
    wanted = judged([case._replace(facts=case.facts._replace(agent_kind=case.kind_now)) for case in steady])
    assert (found.verdict_bits.tolist(), found.verdict.tolist(), found.evidence.tolist()) == wanted
    assert set(found.agent_no.tolist()) <= {8}


@given(CASES)
def test_what_counts_has_evidence_whatever_its_feed_says_by_now(cases: list[Case]) -> None:
    hits = stored(cases)
    found = judge_again(hits)
    assert np.array_equal(found.evidence > 0, found.verdict == Verdict.ELIGIBLE)
    still = (hits.hits.verdict == Verdict.ELIGIBLE) & (found.verdict == Verdict.ELIGIBLE)
    assert np.array_equal(found.evidence[still], hits.hits.evidence[still])


@given(CASES)
def test_clicks_stay_as_they_are(cases: list[Case]) -> None:
    nothing = column([0] * len(cases))
    clicks = stored(cases, verdict=nothing + NO_VERDICT, verdict_bits=nothing, evidence=nothing)
    assert changes(clicks.hits, judge_again(clicks)) == set()
